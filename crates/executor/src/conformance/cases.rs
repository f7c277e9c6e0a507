//! The cases.

use asterism_protocol::{
    Files, Limits, LogLevel, TrapKind, Value, blob_cid, json_of,
    limits::{FUEL_MAX, INLINE_BYTES_MAX},
    message::FaultKind,
};

use super::{Case, Expect, Subject};

/// A case that runs into the wall clock, for hosts that stop guests themselves.
#[must_use]
pub fn time_limit() -> Case {
    let case = Case::new(
        Subject::Guest,
        "spin",
        "[]",
        Expect::Fault(FaultKind::TimeLimit),
    );
    case.named("the clock stops a guest that fuel does not")
        .limited(|limits| {
            limits.fuel = FUEL_MAX;
            limits.time_ms = 200;
        })
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut all = echoes();
    all.extend(bits());
    all.extend(refused_arguments());
    all.extend(calls());
    all.extend(traps());
    all.extend(budgets());
    all.extend(super::values::cases());
    all.extend(super::world::resources());
    all.extend(super::world::versions());
    all.extend(super::world::wasip2());
    all.extend(super::world::files());
    all
}

impl Case {
    pub(super) fn new(subject: Subject, func: &str, args: &str, expect: Expect) -> Self {
        // Long arguments would make long names.
        let shown: String = args.chars().take(80).collect();
        Self {
            name: format!("{func} {shown}"),
            subject,
            func: func.to_owned(),
            args: args.to_owned(),
            files: Files::new(),
            blobs: Vec::new(),
            limits: Limits {
                fuel: 1_000_000_000,
                memory: 1 << 30,
                time_ms: 60_000,
            },
            expect,
            growth_refused: false,
            logs: Vec::new(),
        }
    }

    pub(super) fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    pub(super) fn limited(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    pub(super) fn refused(self) -> Self {
        Self {
            growth_refused: true,
            ..self
        }
    }
}

fn ok(func: &str, args: &str, value: &str) -> Case {
    Case::new(Subject::Guest, func, args, Expect::Ok(value.to_owned()))
}

fn raw(func: &str, args: &str, value: &str) -> Case {
    Case::new(
        Subject::Instructions,
        func,
        args,
        Expect::Ok(value.to_owned()),
    )
}

fn trap(subject: Subject, func: &str, args: &str, kind: TrapKind) -> Case {
    Case::new(subject, func, args, Expect::Trap(kind, String::new()))
}

const PERSON: &str = r#"{"age":-7,"col":"green","favourite":{"poly":[{"label":"","x":0.5,"y":-1.5}]},"home":{"label":"Zürich","x":8.5,"y":47.25},"id":18446744073709551615,"name":"Ада 🛰","p":["read","exec"],"r":{"err":"no"},"t":[255,-9223372036854775808,"𝛼"],"tags":["a","","ß"]}"#;

/// Values of every type come back as they went in.
fn echoes() -> Vec<Case> {
    let mut all = Vec::new();
    // Whatever is in canonical form already. DAG-CBOR here has one zero, so -0.0 comes out as 0.0.
    let same: [(&str, &[&str]); 27] = [
        ("echo-bool", &["true", "false"]),
        ("echo-u8", &["0", "255"]),
        ("echo-s8", &["-128", "127"]),
        ("echo-u16", &["0", "65535"]),
        ("echo-s16", &["-32768", "32767"]),
        ("echo-u32", &["0", "4294967295"]),
        ("echo-s32", &["-2147483648", "2147483647"]),
        (
            "echo-u64",
            &["0", "9007199254740993", "18446744073709551615"],
        ),
        ("echo-s64", &["-9223372036854775808", "9223372036854775807"]),
        (
            "echo-f32",
            &[
                "0.5",
                "-0.0",
                "16777216.0",
                "3.4028234663852886e38",
                "\"NaN\"",
                "\"Infinity\"",
                "\"-Infinity\"",
            ],
        ),
        (
            "echo-f64",
            &[
                "0.1",
                "-0.0",
                "0.0",
                "5e-324",
                "1.7976931348623157e308",
                "\"NaN\"",
                "\"Infinity\"",
                "\"-Infinity\"",
            ],
        ),
        (
            "echo-char",
            &[
                "\"a\"",
                "\"\\u0000\"",
                "\"ß\"",
                "\"🛰\"",
                "\"\u{10ffff}\"",
                "\"\u{d7ff}\"",
                "\"\u{e000}\"",
            ],
        ),
        (
            "echo-string",
            &[
                "\"\"",
                "\"plain\"",
                "\"null\"",
                "\"𝛼 → 🛰 ẞ\"",
                "\"line\\nend\\u0000\"",
            ],
        ),
        ("echo-strings", &["[]", "[\"\"]", "[\"a\",\"𝛼\",\"\"]"]),
        ("echo-matrix", &["[]", "[[]]", "[[1,2],[],[65535]]"]),
        ("echo-point", &[r#"{"label":"here","x":1.5,"y":-0.0}"#]),
        ("echo-person", &[PERSON]),
        ("echo-people", &["[]"]),
        (
            "echo-shape",
            &[r#"{"circle":2.5}"#, r#"{"nothing":null}"#, r#"{"poly":[]}"#],
        ),
        ("echo-color", &["\"red\"", "\"green\"", "\"blue\""]),
        (
            "echo-perms",
            &["[]", "[\"write\"]", "[\"read\",\"write\",\"exec\"]"],
        ),
        (
            "echo-many-flags",
            &["[]", "[\"f0\",\"f31\"]", "[\"f7\",\"f8\",\"f15\",\"f16\"]"],
        ),
        ("echo-option", &["null", "\"\"", "\"some\""]),
        ("echo-nested-option", &["[]", "[null]", "[4294967295]"]),
        (
            "echo-results",
            &["[]", r#"[{"ok":7},{"err":"seven"},{"ok":0}]"#],
        ),
        ("echo-tuple", &["[0,-1,\"z\"]"]),
        ("echo-pairs", &["[]", "[[\"b\",2],[\"a\",1],[\"b\",3]]"]),
    ];
    for (func, values) in same {
        all.extend(
            values
                .iter()
                .map(|value| ok(func, &format!("[{value}]"), value)),
        );
    }
    // Whatever is not.
    all.extend([
        ok(
            "echo-u64",
            "[\"18446744073709551615\"]",
            "18446744073709551615",
        ),
        ok(
            "echo-s64",
            "[\"-9223372036854775808\"]",
            "-9223372036854775808",
        ),
        ok("echo-s32", "[-5.0]", "-5"),
        ok("echo-f64", "[5]", "5.0"),
        ok("echo-f32", "[16777216]", "16777216.0"),
        ok("echo-shape", "[\"nothing\"]", r#"{"nothing":null}"#),
        ok("echo-perms", "[[\"exec\",\"read\"]]", r#"["read","exec"]"#),
        ok(
            "echo-results",
            "[[[1,null],[null,\"e\"]]]",
            r#"[{"ok":1},{"err":"e"}]"#,
        ),
        ok("echo-pairs", r#"[{"a":1,"b":2}]"#, r#"[["a",1],["b",2]]"#),
        ok("echo-bytes", "[[0,1,255]]", r#"{"/":{"bytes":"AAH/"}}"#),
        ok(
            "echo-bytes",
            r#"[{"/":{"bytes":""}}]"#,
            r#"{"/":{"bytes":""}}"#,
        )
        .named("no bytes are bytes"),
    ]);
    let people = format!("[{}]", vec![PERSON; 50].join(","));
    all.push(ok("echo-people", &format!("[{people}]"), &people).named("fifty people come back"));
    let strings = format!(
        "[{}]",
        (0..2_000)
            .map(|n| format!("\"{n}\""))
            .collect::<Vec<_>>()
            .join(",")
    );
    all.push(
        ok("echo-strings", &format!("[{strings}]"), &strings)
            .named("two thousand strings come back"),
    );
    let megabyte = pattern(1 << 20);
    let link = link_to(&megabyte);
    let megabyte_back = ok("echo-bytes", &format!("[{link}]"), &link)
        .named("a link to a megabyte comes back as a link");
    all.push(Case {
        blobs: vec![megabyte],
        ..megabyte_back
    });
    let few = Case {
        blobs: vec![vec![1, 2, 3]],
        ..ok("echo-bytes", &format!("[{}]", link_to(&[1, 2, 3])), "null")
    };
    let few = Case {
        expect: Expect::Ok(r#"{"/":{"bytes":"AQID"}}"#.to_owned()),
        ..few
    };
    all.push(few.named("a link to three bytes comes back as bytes"));
    all
}

/// Floats at the boundary, bit by bit. Values have one zero and one NaN, whatever a guest gives.
fn bits() -> Vec<Case> {
    const NAN_32: u32 = 0x7fc0_0000;
    const NAN_64: u64 = 0x7ff8_0000_0000_0000;
    let mut all = Vec::new();
    for (value, of_32, of_64) in [
        ("0.0", 0, 0),
        ("-0.0", 0, 0),
        ("1.0", 1.0_f32.to_bits(), 1.0_f64.to_bits()),
        ("-1.5", (-1.5_f32).to_bits(), (-1.5_f64).to_bits()),
        ("\"NaN\"", NAN_32, NAN_64),
        (
            "\"-Infinity\"",
            f32::NEG_INFINITY.to_bits(),
            f64::NEG_INFINITY.to_bits(),
        ),
    ] {
        let args = format!("[{value}]");
        all.push(raw("bits-of-f32", &args, &of_32.to_string()));
        all.push(raw("bits-of-f64", &args, &of_64.to_string()));
    }
    let minus = (1_u32 << 31, 1_u64 << 63);
    for (of_32, of_64, value) in [
        (0, 0, "0.0"),
        (minus.0, minus.1, "0.0"),
        (1.5_f32.to_bits(), 1.5_f64.to_bits(), "1.5"),
        (minus.0 | NAN_32 | 1, minus.1 | NAN_64 | 1, "\"NaN\""),
        // Signalling ones.
        (0x7f80_0001, 0x7ff0_0000_0000_0001, "\"NaN\""),
    ] {
        all.push(raw("f32-of-bits", &format!("[{of_32}]"), value));
        all.push(raw("f64-of-bits", &format!("[{of_64}]"), value));
    }
    // Inside the guest zero keeps its sign, and what is too small for an f32 becomes such a zero.
    all.extend([
        raw("bits-of-f32", "[-1e-50]", "2147483648"),
        raw("half-f32", "[2147483649]", "2147483648"),
        raw("half-f64", "[9223372036854775809]", "9223372036854775808"),
    ]);
    all.extend(least_and_greatest());
    all
}

/// Minima and maxima of bits: numbers, both zeros, and the NaN of the operand that is one, made quiet; of two the right one's.
/// The hosts have to agree on those of vectors as well, whatever these are.
fn least_and_greatest() -> Vec<Case> {
    let mut all = Vec::new();
    let one = 1.0_f64.to_bits();
    let (small, zero, minus) = (0x7ff4_0000_0000_1234_u64, 0_u64, 1_u64 << 63);
    let (own, negative) = (0x7ff8_0000_0000_0077_u64, 0xfff8_0000_0000_0001_u64);
    let quiet = |bits: u64| bits | 1 << 51;
    for (left, right, least, greatest) in [
        (one, zero, zero, one),
        (zero, minus, minus, zero),
        (minus, zero, minus, zero),
        (small, one, quiet(small), quiet(small)),
        (one, small, quiet(small), quiet(small)),
        (own, negative, negative, negative),
        (negative, own, own, own),
        (small, own, own, own),
        (negative, one, negative, negative),
        (one, own, own, own),
    ] {
        let args = format!("[{left},{right}]");
        all.push(raw("min-f64", &args, &least.to_string()));
        all.push(raw("max-f64", &args, &greatest.to_string()));
    }
    // Vectors forget the payload; what is left of a sign is for the hosts to agree on.
    let recorded =
        |func: &str, args: &str| Case::new(Subject::Instructions, func, args, Expect::Recorded);
    for (left, right) in [
        (small, one),
        (one, small),
        (own, negative),
        (negative, own),
        (one, negative),
    ] {
        let args = format!("[{left},{right}]");
        all.push(recorded("min-f64x2", &args));
        all.push(recorded("max-f64x2", &args));
    }
    let one = 1.0_f32.to_bits();
    let (small, own, negative) = (0x7fa0_1234_u32, 0x7fc0_0077_u32, 0xffc0_0001_u32);
    let quiet = |bits: u32| bits | 1 << 22;
    for (left, right, both) in [
        (small, one, quiet(small)),
        (one, small, quiet(small)),
        (own, negative, negative),
        (negative, own, own),
        (one, negative, negative),
    ] {
        let args = format!("[{left},{right}]");
        all.push(raw("min-f32", &args, &both.to_string()));
        all.push(raw("max-f32", &args, &both.to_string()));
    }
    for (left, right) in [(small, one), (one, small), (own, negative), (one, negative)] {
        let args = format!("[{left},{right}]");
        all.push(recorded("min-f32x4", &args));
        all.push(recorded("max-f32x4", &args));
    }
    all
}

/// Arguments that do not fit never reach the guest, and the message says which.
fn refused_arguments() -> Vec<Case> {
    let bad = |func: &str, args: &str, words: &str| {
        Case::new(
            Subject::Guest,
            func,
            args,
            Expect::Trap(TrapKind::BadArguments, words.to_owned()),
        )
    };
    let mut all = vec![
        bad("echo-u8", "[256]", "args[0]"),
        bad("echo-u8", "[-1]", "args[0]"),
        bad("echo-u8", "[1.5]", "args[0]"),
        bad("echo-u8", "[null]", "args[0]"),
        bad("echo-u8", "[\"1\"]", "args[0]"),
        bad("echo-s8", "[128]", "args[0]"),
        bad("echo-u16", "[65536]", "args[0]"),
        bad("echo-s16", "[-32769]", "args[0]"),
        bad("echo-u32", "[4294967296]", "args[0]"),
        bad("echo-s32", "[2147483648]", "args[0]"),
        bad("echo-s64", "[9223372036854775808]", "args[0]"),
        bad("echo-u64", "[-1]", "args[0]"),
        bad("echo-u64", "[\"18446744073709551616\"]", "args[0]"),
        bad("echo-bool", "[1]", "args[0]"),
        bad("echo-f64", "[\"nan\"]", "args[0]"),
        bad("echo-char", "[\"ab\"]", "args[0]"),
        bad("echo-char", "[\"\"]", "args[0]"),
        bad("echo-string", "[5]", "args[0]"),
        bad("echo-bytes", "[[0,256]]", "args[0][1]"),
        bad("echo-bytes", "[\"text\"]", "args[0]"),
        bad("echo-matrix", "[[[1],[2,-3]]]", "args[0][1][1]"),
        bad(
            "echo-point",
            r#"[{"label":"","x":1.5,"y":2.5,"z":3.5}]"#,
            "`z`",
        ),
        bad("echo-point", r#"[{"label":"","x":1.5}]"#, "`y`"),
        bad(
            "echo-point",
            r#"[{"label":"","x":1.5,"y":"high"}]"#,
            "args[0].y",
        ),
        bad("echo-shape", r#"[{"square":1}]"#, "`square`"),
        bad("echo-shape", "[\"circle\"]", "`circle`"),
        bad("echo-color", "[\"pink\"]", "`pink`"),
        bad("echo-perms", "[[\"fly\"]]", "`fly`"),
        bad("echo-tuple", "[[1,2]]", "args[0]"),
        bad("echo-u32", "[]", "1 argument"),
        bad("echo-u32", "[1,2]", "1 argument"),
        bad("log-it", "[\"many\"]", "args[0]"),
    ];
    for func in [
        "echo-nothing",
        "",
        "asterism:conformance/arith",
        "asterism:conformance/arith#sub",
        "cabi_realloc",
    ] {
        all.push(
            trap(Subject::Guest, func, "[]", TrapKind::UnknownFunction)
                .named(&format!("there is no function `{func}`")),
        );
    }
    all
}

/// Calls with more to them than one value.
fn calls() -> Vec<Case> {
    let many = r#"[255,65535,4294967295,18446744073709551615,-128,-32768,-2147483648,-9223372036854775808,0.5,-0.25,true,"🛰","text",{"/":{"bytes":"AQI"}},null,"blue",7]"#;
    let said = "\"255 65535 4294967295 18446744073709551615 -128 -32768 -2147483648 -9223372036854775808 0.5 -0.25 true 🛰 text [1, 2] None Color::Blue 7\"";
    let debug = |message: &str| {
        (
            LogLevel::Debug,
            "conformance".to_owned(),
            message.to_owned(),
        )
    };
    let levels = [
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warn,
        LogLevel::Error,
        LogLevel::Critical,
    ];
    let spread = |level: &LogLevel| (*level, String::new(), "𝛼 line\nand another".to_owned());
    let long = pattern(INLINE_BYTES_MAX as u32 + 1);
    let short = pattern(INLINE_BYTES_MAX as u32);
    vec![
        ok("many-args", many, said).named("seventeen arguments travel through memory"),
        ok("no-result", "[1]", "null"),
        ok("might-fail", "[true]", "\"fine\""),
        Case::new(
            Subject::Guest,
            "might-fail",
            "[false]",
            Expect::Err("\"bad\"".into()),
        ),
        ok("fail-bare", "[true]", "null"),
        Case::new(
            Subject::Guest,
            "fail-bare",
            "[false]",
            Expect::Err("null".into()),
        ),
        Case {
            logs: vec![debug("even"), debug("odd"), debug("even")],
            ..ok("log-it", "[3]", "null")
        },
        Case {
            logs: levels.iter().map(spread).collect(),
            ..ok("log-levels", "[]", "null")
        },
        ok("asterism:conformance/arith#add", "[40,2]", "42"),
        ok(
            "asterism:conformance/arith#add",
            "[2147483647,1]",
            "-2147483648",
        ),
        ok("nan", "[]", "\"NaN\""),
        ok("work", "[0]", "11400714819323198485"),
        ok("work", "[100000]", &work(100_000).to_string()),
        ok("stack", "[1000]", "1000"),
        ok("long-bytes", "[0]", r#"{"/":{"bytes":""}}"#),
        ok(
            "long-bytes",
            &format!("[{}]", short.len()),
            &json_of(&Value::Bytes(short)),
        )
        .named("16 KiB stay in the outcome"),
        ok("long-bytes", &format!("[{}]", long.len()), &link_to(&long))
            .named("more than 16 KiB become a blob"),
        ok("long-bytes", "[300000]", &link_to(&pattern(300_000)))
            .named("more than one chunk becomes a blob of several"),
        trap(
            Subject::Guest,
            "long-string",
            "[2097152]",
            TrapKind::OutputTooLarge,
        ),
        // The guest makes them in its memory; no outcome may hold so many.
        Case::new(
            Subject::Guest,
            "long-bytes",
            "[300000000]",
            Expect::Trap(TrapKind::OutputTooLarge, "bytes of strings".to_owned()),
        )
        .limited(|limits| limits.fuel = 100_000_000_000),
        raw("nothing", "[]", "null"),
        raw("branches", "[0]", "10"),
        raw("branches", "[1]", "11"),
        raw("branches", "[2]", "14"),
        raw("branches", "[9]", "13"),
        raw("fac", "[20]", "2432902008176640000"),
        raw("count", "[1000]", "1000"),
        raw("call", "[1]", "42"),
        // Tables grow up to a bound that every host has, or their own.
        raw("grow-table", "[0]", "1"),
        raw("grow-table", "[9999999]", "1"),
        raw("grow-table", "[10000000]", "-1"),
        // What is asked for costs fuel, whether or not it is given.
        raw("grow-table", "[4294967295]", "-1").limited(|limits| limits.fuel = 1 << 33),
        raw("grow-small-table", "[3]", "1"),
        raw("grow-small-table", "[4]", "-1"),
    ]
}

/// The same kind of trap on every engine.
fn traps() -> Vec<Case> {
    use Subject::{Guest, Instructions};
    use TrapKind::{
        BadConversion, DivideByZero, IndirectCall, IntegerOverflow, OutOfBounds, Unreachable,
    };
    vec![
        trap(Guest, "trap-unreachable", "[]", Unreachable),
        trap(Guest, "trap-panic", "[]", Unreachable),
        ok("trap-div", "[-7,2]", "-3"),
        trap(Guest, "trap-div", "[1,0]", DivideByZero),
        trap(Guest, "trap-div", "[-2147483648,-1]", IntegerOverflow),
        ok("trap-rem", "[-7,2]", "-1"),
        trap(Guest, "trap-rem", "[1,0]", DivideByZero),
        trap(Guest, "trap-oob", "[4294967295]", OutOfBounds),
        trap(Guest, "trap-indirect", "[0]", IndirectCall),
        trap(Instructions, "unreachable", "[]", Unreachable),
        trap(Instructions, "div-s32", "[1,0]", DivideByZero),
        trap(Instructions, "div-s32", "[-2147483648,-1]", IntegerOverflow),
        trap(Instructions, "div-u32", "[1,0]", DivideByZero),
        trap(Instructions, "div-s64", "[1,0]", DivideByZero),
        trap(
            Instructions,
            "div-s64",
            "[-9223372036854775808,-1]",
            IntegerOverflow,
        ),
        trap(Instructions, "rem-s32", "[1,0]", DivideByZero),
        raw("rem-s32", "[-2147483648,-1]", "0"),
        raw("trunc-s32", "[-1.75]", "-1"),
        trap(Instructions, "trunc-s32", "[\"NaN\"]", BadConversion),
        trap(Instructions, "trunc-s32", "[2147483648.0]", IntegerOverflow),
        trap(
            Instructions,
            "trunc-s32",
            "[\"-Infinity\"]",
            IntegerOverflow,
        ),
        trap(Instructions, "trunc-u64", "[\"NaN\"]", BadConversion),
        trap(Instructions, "trunc-u64", "[-1.0]", IntegerOverflow),
        raw("load", "[65532]", "0"),
        trap(Instructions, "load", "[65533]", OutOfBounds),
        trap(Instructions, "load", "[4294967295]", OutOfBounds),
        raw("store", "[65520]", "null"),
        trap(Instructions, "store", "[65521]", OutOfBounds),
        raw("fill", "[65536,0]", "null"),
        trap(Instructions, "fill", "[65535,2]", OutOfBounds),
        trap(Instructions, "call", "[0]", IndirectCall),
        trap(Instructions, "call", "[4]", OutOfBounds),
        trap(Instructions, "call-other", "[1]", IndirectCall),
        Case::new(
            Instructions,
            "recurse",
            "[]",
            Expect::Fault(FaultKind::StackOverflow),
        )
        .named("the stack's depth is the host's, not the guest's"),
    ]
}

/// Limits hold, and what came of them is remembered with them.
fn budgets() -> Vec<Case> {
    let mut all = Vec::new();
    for fuel in [0, 1, 10, 1_000, 1_000_000] {
        for (subject, func, args) in [
            (Subject::Guest, "spin", "[]"),
            (Subject::Guest, "work", "[18446744073709551615]"),
            (Subject::Instructions, "count", "[18446744073709551615]"),
        ] {
            let case =
                trap(subject, func, args, TrapKind::OutOfFuel).limited(|limits| limits.fuel = fuel);
            all.push(case.named(&format!("{func} ends when {fuel} fuel is consumed")));
        }
    }
    let memory = |case: Case, bytes: u64| {
        let name = format!("{} within {bytes} bytes", case.name);
        case.limited(|limits| limits.memory = bytes).named(&name)
    };
    // More than the tables of the module take.
    let tables = 1 << 10;
    all.extend([
        // One page of 64 KiB is there at first.
        memory(raw("grow", "[15]", "1"), (1 << 20) + tables),
        memory(raw("grow", "[16]", "-1").refused(), (1 << 20) + tables),
        memory(raw("grow", "[0]", "1"), (1 << 16) + tables),
        memory(raw("grow", "[1]", "-1").refused(), (1 << 16) + tables),
        // Tables count.
        memory(
            trap(
                Subject::Instructions,
                "nothing",
                "[]",
                TrapKind::OutOfMemory,
            )
            .refused(),
            1 << 16,
        ),
        // The module's own maximum is no limit of ours: whatever the limit, it comes out the same.
        memory(raw("grow", "[64]", "-1"), 1 << 30),
        memory(
            trap(
                Subject::Instructions,
                "nothing",
                "[]",
                TrapKind::OutOfMemory,
            )
            .refused(),
            1_000,
        ),
        // A little more than one MiB is there at first.
        memory(ok("grow", "[2]", "2"), 4 << 20),
        memory(ok("grow", "[10]", "2").refused(), 4 << 20),
    ]);
    all
}

/// What `long-bytes` of the guest gives.
pub(super) fn pattern(length: u32) -> Vec<u8> {
    (0..length)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 8)) as u8)
        .collect()
}

/// What `work` of the guest gives.
fn work(n: u64) -> u64 {
    (0..n).fold(0x9e37_79b9_7f4a_7c15, |hash: u64, i| {
        (hash ^ i).wrapping_mul(0x0100_0000_01b3)
    })
}

fn link_to(bytes: &[u8]) -> String {
    format!("{{\"/\":\"{}\"}}", blob_cid(bytes))
}
