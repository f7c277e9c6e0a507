//! What is performed: the conformance suite, types at their edges, compute kernels, wrapped core modules, one call under every
//! budget of a range, and guests in other languages.

use anyhow::Result;
use asterism_component::Type;
use asterism_executor::conformance::{Case, Expect, Subject, cases, composed_cases};
use asterism_protocol::{Files, Limits, limits::FUEL_DEFAULT};

use super::{
    ask::Programs,
    compose::{Composer, Plug},
};
use crate::{
    fuzz::types::{Encoding, PARAMS_MORE, echo},
    guests,
};

/// A call, and under which limits.
#[derive(Clone, Debug)]
pub struct Call {
    /// Unique in the table.
    pub name: String,
    /// The component.
    pub component: Vec<u8>,
    /// The function.
    pub func: String,
    /// A list in DAG-JSON.
    pub args: String,
    /// What the guest finds in its file system.
    pub files: Files,
    /// What links among arguments and files lead to.
    pub blobs: Vec<Vec<u8>>,
    /// Under which limits it is performed: usually one.
    pub limits: Vec<Limits>,
    /// What jco is to it.
    pub twin: Twin,
    /// What of it stands in the table.
    pub recorded: Recorded,
}

/// What jco is to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twin {
    /// It does the same.
    Same,
    /// It is not asked: limits decide, how often a guest is asked for memory, or a task's files.
    NotAsked,
    /// It is wrong, for this reason.
    Wrong(&'static str),
}

/// What of a call stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Value, outcome and fuel.
    Outcome,
    /// The value: the component's compiler is this machine's, so its bytes are.
    Value,
    /// That hosts agree: the value follows from the bytes of a component that comes out otherwise with each build.
    Agreement,
}

/// All calls.
///
/// # Errors
/// A component of another language is missing.
pub fn corpus(programs: &Programs) -> Result<Vec<Call>> {
    let mut all: Vec<Call> = cases()
        .into_iter()
        .chain(composed_cases())
        .map(of_case)
        .collect();
    all.extend(edges());
    all.extend(kernels());
    all.extend(wrapped());
    all.extend(budgets());
    all.extend(languages(programs)?);
    all.extend(compositions(programs)?);
    Ok(all)
}

fn of_case(case: Case) -> Call {
    Call {
        component: guests::COMPONENTS.of(case.subject).to_vec(),
        twin: twin(&case),
        name: case.name,
        func: case.func,
        args: case.args,
        files: case.files,
        blobs: case.blobs,
        limits: vec![case.limits],
        recorded: Recorded::Outcome,
    }
}

fn twin(case: &Case) -> Twin {
    // jco shows its guests no files of ours.
    let is_ours = case.growth_refused || case.subject == Subject::Files;
    if is_ours || matches!(case.expect, Expect::Fault(_)) {
        return Twin::NotAsked;
    }
    match (case.subject, case.func.as_str()) {
        (Subject::Values, "asked-utf8" | "asked-utf16") => Twin::NotAsked,
        (Subject::Values, "surrogate" | "no-utf8") => Twin::Wrong("takes what is no text for text"),
        (Subject::Values, "odd-result") => Twin::Wrong("takes an address that is not aligned"),
        (Subject::Values, "outside-bytes") => Twin::Wrong("takes what is left of the memory"),
        (Subject::Values, "many-bytes-grown") if case.args == "[16777217]" => {
            Twin::Wrong("takes what is left of the memory")
        }
        (Subject::Values, "bool-of" | "s8-of" | "u16-of") => {
            Twin::Wrong("refuses upper bits, which do not count")
        }
        (Subject::Values, "echo-nested") => {
            Twin::Wrong("makes code for a map in a map that does not run")
        }
        (Subject::Instructions, "min-f32" | "max-f32") if has_nan(&case.args, &is_nan32) => {
            Twin::Wrong(ENGINES_NAN)
        }
        (Subject::Instructions, "min-f64" | "max-f64") if has_nan(&case.args, &is_nan64) => {
            Twin::Wrong(ENGINES_NAN)
        }
        (Subject::Lent, "lender#give") => Twin::Wrong("takes what was lent for what was given"),
        _ => Twin::Same,
    }
}

const ENGINES_NAN: &str = "has the NaN of its engine, where Wasmtime has the operand's";

/// Is one of these numbers, as bits, a NaN?
fn has_nan(args: &str, is_nan: &dyn Fn(u64) -> bool) -> bool {
    let numbers: Vec<u64> = serde_json::from_str(args).unwrap_or_default();
    numbers.into_iter().any(is_nan)
}

fn is_nan32(bits: u64) -> bool {
    u32::try_from(bits).is_ok_and(|bits| f32::from_bits(bits).is_nan())
}

fn is_nan64(bits: u64) -> bool {
    f64::from_bits(bits).is_nan()
}

fn call(name: String, component: &[u8], func: &str, args: &str) -> Call {
    Call {
        name,
        component: component.to_vec(),
        func: func.to_owned(),
        args: args.to_owned(),
        files: Files::new(),
        blobs: Vec::new(),
        limits: vec![Limits {
            fuel: FUEL_DEFAULT,
            memory: 1 << 30,
            time_ms: 60_000,
        }],
        twin: Twin::Same,
        recorded: Recorded::Outcome,
    }
}

/// Lists of every scalar with its extremes in them, long ones, and types as deep as they may be.
fn edges() -> Vec<Call> {
    let list = |ty: Type| Type::List(Box::new(ty));
    let option = |ty: Type| Type::Option(Box::new(ty));
    let floats = r#"[0.0,-0.0,1.0,-1.5,5e-324,"NaN","Infinity","-Infinity"]"#;
    let scalars = [
        (Type::Bool, "[true,false]"),
        (Type::S8, "[-128,-1,0,127]"),
        (Type::S16, "[-32768,-1,0,32767]"),
        (Type::U16, "[0,1,65535]"),
        (Type::S32, "[-2147483648,-1,0,2147483647]"),
        (Type::U32, "[0,1,4294967295]"),
        (Type::S64, "[-9223372036854775808,-1,0,9223372036854775807]"),
        (Type::U64, "[0,9007199254740993,18446744073709551615]"),
        (Type::F32, floats),
        (Type::F64, floats),
        (
            Type::Char,
            "[\"\\u0000\",\"a\",\"ÿ\",\"\u{d7ff}\",\"\u{e000}\",\"🛰\",\"\u{10ffff}\"]",
        ),
        (
            Type::String,
            "[\"\",\"latin ÿ\",\"Ā\",\"🛰 astral 𝛼\",\"\\u0000\"]",
        ),
    ];
    let mut all = Vec::new();
    for (ty, values) in scalars {
        for encoding in Encoding::ALL {
            if encoding != Encoding::Utf8 && !matches!(ty, Type::Char | Type::String) {
                continue;
            }
            let name = format!("extremes of list<{ty}> in {}", encoding.name());
            all.push(echoed(&name, &list(ty.clone()), encoding, values));
        }
    }
    let utf8 = Encoding::Utf8;
    let numbers: Vec<String> = (0..100_000_u64)
        .map(|n| (n * 0x9e37_79b9 % (1 << 53)).to_string())
        .collect();
    let numbers = format!("[{}]", numbers.join(","));
    all.push(echoed(
        "a hundred thousand u64 come back",
        &list(Type::U64),
        utf8,
        &numbers,
    ));
    let rows = format!("[{}]", vec!["[[],[1],[]]"; 5_000].join(","));
    let deep = list(list(list(Type::U32)));
    all.push(echoed(
        "fifteen thousand lists come back",
        &deep,
        utf8,
        &rows,
    ));
    for depth in [1, 2, 8, 28] {
        let (mut ty, mut whole) = (Type::U8, "7".to_owned());
        for _ in 0..depth {
            if ty.can_be_null() {
                whole = format!("[{whole}]");
            }
            ty = option(ty);
        }
        let name = format!("an option of an option, {depth} deep");
        all.push(Call {
            twin: match depth {
                1 | 2 => Twin::Same,
                _ => Twin::Wrong("does not tell more than two levels apart"),
            },
            ..echoed(&name, &ty, utf8, &whole)
        });
        let ty = (0..depth).fold(Type::U16, |ty, _| list(ty));
        let empty = "[".repeat(depth) + &"]".repeat(depth);
        all.push(echoed(
            &format!("a list of a list, {depth} deep"),
            &ty,
            utf8,
            &empty,
        ));
        let ty = (0..depth).fold(Type::F32, |ty, _| Type::Result {
            ok: Some(Box::new(ty)),
            err: Some(Box::new(Type::String)),
        });
        let ok = (0..depth).fold("0.5".to_owned(), |text, _| format!("{{\"ok\":{text}}}"));
        all.push(echoed(
            &format!("a result in a result, {depth} deep"),
            &ty,
            utf8,
            &ok,
        ));
    }
    all
}

/// A component of a few lines that gives back a value of this type.
fn echoed(name: &str, ty: &Type, encoding: Encoding, value: &str) -> Call {
    let (component, _) = echo(ty, encoding);
    let more: String = (0..PARAMS_MORE).map(|n| format!(",{n}")).collect();
    call(
        name.to_owned(),
        &component,
        "echo",
        &format!("[[{value},0]{more}]"),
    )
}

/// What programs do for a living.
fn kernels() -> Vec<Call> {
    let kernel =
        |func: &str, args: &str| call(format!("kernel {func} {args}"), guests::KERNELS, func, args);
    vec![
        kernel("mandelbrot", "[64,200]"),
        kernel("n-body", "[10000]"),
        kernel("sha256", "[65536]"),
        kernel("matrix", "[48]"),
        kernel("sort", "[20000]"),
        kernel("json", "[200]"),
        kernel("regex", "[\"[ab]+c(d|a{2})\",2000]"),
        kernel("blur", "[64,48,3]"),
        kernel("float-bits", "[1000]"),
        kernel("hashing-order", "[100]"),
    ]
}

fn wrapped() -> Vec<Call> {
    let case = |name: &str, component: &[u8], func: &str, args: &str| {
        call(format!("{name} {func} {args}"), component, func, args)
    };
    let in_c = |func: &str, args: &str| Call {
        recorded: Recorded::Value,
        ..case("wrapped C", guests::GREET_C, func, args)
    };
    vec![
        case("wrapped Rust", guests::GREET, "greet", "[\"Ада 🛰\"]"),
        case(
            "wrapped Rust",
            guests::GREET,
            "area",
            r#"["{\"width\":2.5,\"height\":4}"]"#,
        ),
        in_c("greet", "[\"Ада 🛰\"]"),
        in_c("checksum", "[[1,2,3]]"),
        in_c("factorial", "[20]"),
    ]
}

/// The same call under every budget of a range: out of fuel to the unit, and out of memory to the page.
fn budgets() -> Vec<Call> {
    let usual = |component, func: &str, args: &str, what: &str| {
        let mut call = call(format!("{func} {args} {what}"), component, func, args);
        call.twin = Twin::NotAsked;
        call
    };
    let fuel = |component, func: &str, args: &str, from: u64, to: u64| {
        let what = format!("with every budget from {from} to {to} fuel");
        let mut call = usual(component, func, args, &what);
        let limits = call.limits[0];
        call.limits = (from..=to).map(|fuel| Limits { fuel, ..limits }).collect();
        call
    };
    let memory = |component, func: &str, args: &str, pages: u64| {
        let what = format!("with every memory up to {pages} pages");
        let mut call = usual(component, func, args, &what);
        let limits = call.limits[0];
        let all = (0..=pages).map(|pages| Limits {
            memory: pages << 16,
            ..limits
        });
        call.limits = all.collect();
        call
    };
    vec![
        fuel(guests::INSTRUCTIONS, "fac", "[3]", 0, 60),
        fuel(guests::INSTRUCTIONS, "count", "[20]", 0, 200),
        fuel(guests::CONFORMANCE, "echo-string", "[\"🛰\"]", 0, 400),
        fuel(guests::CONFORMANCE, "log-it", "[2]", 0, 400),
        memory(guests::INSTRUCTIONS, "grow", "[10]", 20),
        memory(guests::CONFORMANCE, "grow", "[10]", 40),
        memory(guests::KERNELS, "blur", "[256,256,1]", 30),
    ]
}

/// How other languages' runtimes start, and what they see of time, chance and the order of hashes.
fn languages(programs: &Programs) -> Result<Vec<Call>> {
    let mut all = Vec::new();
    let mut add = |engine: &str, file: &str, func: &str, args: &str, recorded| -> Result<()> {
        let component = programs.language(file)?;
        let name = format!("{engine}: {func} {args}");
        let mut call = call(name, &component, func, args);
        call.limits[0].fuel = 100_000_000_000;
        call.twin = Twin::NotAsked;
        call.recorded = recorded;
        all.push(call);
        Ok(())
    };
    let (value, agreement) = (Recorded::Value, Recorded::Agreement);
    add("SpiderMonkey", "subtract", "subtract", "[8.3,4.4]", value)?;
    add("SpiderMonkey", "subtract", "probe", "[]", agreement)?;
    add(
        "a minimal SpiderMonkey",
        "subtract-minimal",
        "subtract",
        "[8.3,4.4]",
        value,
    )?;
    add("QuickJS", "divide", "divide", "[8.97,1.5]", value)?;
    add("QuickJS", "divide", "probe", "[]", agreement)?;
    add(
        "CPython",
        "multiply",
        "multiply",
        "[3.9000000000000004,2.3]",
        value,
    )?;
    add("CPython", "multiply", "probe", "[]", agreement)?;
    add("CPython", "multiply", "give-up", "[]", value)?;
    Ok(all)
}

/// A component in Rust that a tool composed with others: in Rust, C, Python and JavaScript.
fn compositions(programs: &Programs) -> Result<Vec<Call>> {
    let (multiply, divide) = (programs.language("multiply")?, programs.language("divide")?);
    let greet: Plug<'_> = ("say", guests::GREET, "greet");
    let greet_in_c: Plug<'_> = ("say", guests::GREET_C, "greet");
    let add: Plug<'_> = ("combine", guests::MATH, "add");
    let multiply: Plug<'_> = ("combine", &multiply, "multiply");
    let divide: Plug<'_> = ("combine", &divide, "divide");
    let mut composer = Composer::new();
    let mut all = Vec::new();
    for (with, plugs, recorded) in [
        ("Rust", [greet, add], Recorded::Outcome),
        ("C", [greet_in_c, add], Recorded::Value),
        ("CPython", [greet, multiply], Recorded::Value),
        ("QuickJS", [greet, divide], Recorded::Value),
    ] {
        let component = composer.compose(guests::RELAY, &plugs)?;
        for (func, args) in [
            ("say-all", r#"[["Ада 🛰","","world"]]"#),
            ("fold", "[[8.0,2.5,4.0]]"),
            ("fold", "[[]]"),
        ] {
            let name = format!("Rust composed with {with}: {func} {args}");
            let mut call = call(name, &component, func, args);
            call.limits[0].fuel = 100_000_000_000;
            call.recorded = recorded;
            all.push(call);
        }
    }
    Ok(all)
}
