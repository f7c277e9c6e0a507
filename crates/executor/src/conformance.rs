//! What every host must do alike, as data: calls of four components, and what must come of them.
//!
//! A host's test builds the components (the guests in `tests/guests/conformance` and `tests/guests/wasip2`, [`INSTRUCTIONS_WAT`] and [`RESOURCES_WAT`]), reads the
//! recorded fuel with [`Fuel::of_json`], and calls [`check_all`]. The recording is made by a host that is trusted:
//! run with an empty one, and write what comes back.

mod world;

use std::collections::BTreeMap;

use asterism_protocol::{
    Cid, Input, Instruction, Limits, LogLevel, Nonce, Out, TrapKind, Value, blob_cid, encode,
    json_of,
    limits::{FUEL_MAX, INLINE_BYTES_MAX},
    message::FaultKind,
    value_of_json,
};
use serde_bytes::ByteBuf;

use crate::{Attempt, Host, Job, METERING};

/// A component of single instructions, for traps that no compiler emits without a guard.
pub const INSTRUCTIONS_WAT: &str = include_str!("conformance/instructions.wat");

/// A component of handles: of its own resources and of the world's.
pub const RESOURCES_WAT: &str = include_str!("conformance/resources.wat");

/// Which component a case calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The guest in `tests/guests/conformance`.
    Guest,
    /// [`INSTRUCTIONS_WAT`].
    Instructions,
    /// [`RESOURCES_WAT`].
    Resources,
    /// The guest in `tests/guests/wasip2`.
    Wasip2,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// A sentence, unique among the cases.
    pub name: String,
    /// The component.
    pub subject: Subject,
    /// The function.
    pub func: String,
    /// The arguments: a list in DAG-JSON.
    pub args: String,
    /// What the links among the arguments lead to.
    pub blobs: Vec<Vec<u8>>,
    /// The budget.
    pub limits: Limits,
    /// What must come of it.
    pub expect: Expect,
    /// Must a growth have been refused?
    pub growth_refused: bool,
    /// The lines that the guest must have logged: level, context, message.
    pub logs: Vec<(LogLevel, String, String)>,
}

/// What must come of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// This value, in DAG-JSON.
    Ok(String),
    /// The function's own error, in DAG-JSON.
    Err(String),
    /// This kind of trap, with this in the remark's message.
    Trap(TrapKind, String),
    /// No outcome: a fault of this kind.
    Fault(FaultKind),
    /// A value that the case cannot know, for it follows from the component's CID. Its outcome is recorded.
    Recorded,
}

/// Fuel by case, as recorded; `None` where an outcome carries none. With it, for cases that expect what is recorded,
/// the start of their outcomes' CIDs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fuel(pub BTreeMap<String, Option<u64>>);

impl Fuel {
    /// Reads a recording.
    ///
    /// # Errors
    /// Text that is not an object of numbers and nulls.
    pub fn of_json(text: &str) -> Result<Self, String> {
        let Value::Map(map) = value_of_json(text.as_bytes()).map_err(|error| error.to_string())?
        else {
            return Err("recorded fuel is not an object".into());
        };
        let entry = |(name, value): (String, Value)| match value {
            Value::Null => Ok((name, None)),
            Value::Integer(fuel) => match u64::try_from(fuel) {
                Ok(fuel) => Ok((name, Some(fuel))),
                Err(_) => Err(format!("recorded fuel of `{name}` is out of range")),
            },
            _ => Err(format!(
                "recorded fuel of `{name}` is neither a number nor null"
            )),
        };
        map.into_iter()
            .map(entry)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The recording as text, one case a line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let line = |(name, fuel): (&String, &Option<u64>)| {
            let fuel = fuel.map_or_else(|| "null".to_owned(), |fuel| fuel.to_string());
            format!("  {}: {fuel}", json_of(&Value::String(name.clone())))
        };
        format!(
            "{{\n{}\n}}\n",
            self.0.iter().map(line).collect::<Vec<_>>().join(",\n")
        )
    }
}

/// The bytes of the components.
#[derive(Clone, Copy, Debug)]
pub struct Components<'a> {
    /// [`Subject::Guest`].
    pub guest: &'a [u8],
    /// [`Subject::Instructions`], as binary.
    pub instructions: &'a [u8],
    /// [`Subject::Resources`], as binary.
    pub resources: &'a [u8],
    /// [`Subject::Wasip2`].
    pub wasip2: &'a [u8],
}

/// Performs all cases twice each; gives back the fuel that they consumed.
///
/// # Errors
/// Every case that came out otherwise than it must, or with other fuel than `recorded` where that knows the case.
pub fn check_all(
    host: &mut dyn Host,
    components: Components<'_>,
    recorded: &Fuel,
) -> Result<Fuel, String> {
    let (mut fuel, mut wrong) = (Fuel::default(), Vec::new());
    for case in cases() {
        let bytes = match case.subject {
            Subject::Guest => components.guest,
            Subject::Instructions => components.instructions,
            Subject::Resources => components.resources,
            Subject::Wasip2 => components.wasip2,
        };
        let component = (blob_cid(bytes), bytes);
        if let Expect::Fault(_) = case.expect {
            wrong.extend(check_fault(host, component, &case).err());
            continue;
        }
        match check(host, component, &case) {
            Ok(attempt) => {
                let known = recorded.0.get(&case.name);
                if known.is_some_and(|known| *known != attempt.outcome.fuel) {
                    let (is, was) = (attempt.outcome.fuel, known.copied().flatten());
                    wrong.push(format!(
                        "{}: it consumed {is:?} fuel, recorded are {was:?}",
                        case.name
                    ));
                }
                if case.expect == Expect::Recorded {
                    let name = format!("{}: its outcome", case.name);
                    let start = start_of(attempt.outcome.cid());
                    if recorded
                        .0
                        .get(&name)
                        .is_some_and(|known| *known != Some(start))
                    {
                        wrong.push(format!("{name} is another than the one that is recorded"));
                    }
                    fuel.0.insert(name, Some(start));
                }
                fuel.0.insert(case.name, attempt.outcome.fuel);
            }
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() {
        Ok(fuel)
    } else {
        Err(wrong.join("\n"))
    }
}

/// The start of a CID's digest, as a number: enough to tell outcomes apart.
fn start_of(cid: Cid) -> u64 {
    let digest = cid.digest();
    let start = digest.first_chunk().expect("a digest has 32 bytes");
    u64::from_le_bytes(*start)
}

/// Performs one case twice, and compares what came with what must come, and both with each other.
///
/// # Errors
/// The first difference, with the name of the case.
pub fn check(host: &mut dyn Host, component: (Cid, &[u8]), case: &Case) -> Result<Attempt, String> {
    let job = prepared(host, component, case)?;
    let mut run = || {
        host.run(&job)
            .map_err(|fault| case.wrong(&format!("fault {:?}: {}", fault.kind, fault.message)))
    };
    let (attempt, again) = (run()?, run()?);
    case.compare(&job, &attempt)?;
    if attempt.outcome.cid() != again.outcome.cid() || attempt.remark.logs != again.remark.logs {
        return Err(case.wrong(&format!(
            "twice it came out differently: {:?}, {:?}",
            attempt.outcome, again.outcome
        )));
    }
    Ok(attempt)
}

/// Performs a case that must end in a fault.
///
/// # Errors
/// Whatever else came.
pub fn check_fault(
    host: &mut dyn Host,
    component: (Cid, &[u8]),
    case: &Case,
) -> Result<(), String> {
    let job = prepared(host, component, case)?;
    let Expect::Fault(kind) = case.expect else {
        return Err(case.wrong("it expects an outcome, not a fault"));
    };
    match host.run(&job) {
        Err(fault) if fault.kind == kind => Ok(()),
        Err(fault) => Err(case.wrong(&format!(
            "fault {:?} instead of {kind:?}: {}",
            fault.kind, fault.message
        ))),
        Ok(attempt) => Err(case.wrong(&format!(
            "an outcome instead of a fault: {:?}",
            attempt.outcome
        ))),
    }
}

fn prepared(host: &mut dyn Host, component: (Cid, &[u8]), case: &Case) -> Result<Job, String> {
    let (cid, bytes) = component;
    if !host.holds(cid) {
        host.prepare(cid, bytes)
            .map_err(|unfit| case.wrong(&unfit.to_string()))?;
        if !host.holds(cid) {
            return Err(case.wrong("the host does not hold what it prepared"));
        }
    }
    let Ok(Value::List(args)) = value_of_json(case.args.as_bytes()) else {
        return Err(case.wrong("its arguments are not a list in DAG-JSON"));
    };
    let input = Input {
        func: case.func.clone(),
        args,
    };
    let instruction = Instruction {
        rsc: format!("ipfs://{cid}"),
        op: "wasm/run".into(),
        input,
        nnc: Nonce::Empty,
    };
    Ok(Job {
        instruction: instruction.cid(),
        component: cid,
        func: instruction.input.func,
        args: instruction.input.args,
        blobs: case
            .blobs
            .iter()
            .map(|bytes| (blob_cid(bytes), ByteBuf::from(bytes.clone())))
            .collect(),
        limits: case.limits,
    })
}

impl Case {
    fn wrong(&self, what: &str) -> String {
        format!("{}: {what}", self.name)
    }

    fn compare(&self, job: &Job, attempt: &Attempt) -> Result<(), String> {
        let Attempt {
            outcome,
            conditions,
            remark,
            blobs,
        } = attempt;
        let value = |text: &str| {
            value_of_json(text.as_bytes()).map_err(|error| self.wrong(&error.to_string()))
        };
        let said = remark.message.clone().unwrap_or_default();
        let expected = match &self.expect {
            Expect::Ok(text) => Some(Out::Ok(value(text)?)),
            Expect::Err(text) => Some(Out::Error(value(text)?)),
            Expect::Trap(..) | Expect::Recorded => None,
            Expect::Fault(kind) => {
                return Err(self.wrong(&format!("an outcome instead of a fault {kind:?}")));
            }
        };
        if let Some(expected) = expected
            // By their bytes: that is what executors agree on.
            && encode(&outcome.out) != encode(&expected)
        {
            let (is, must) = (
                json_of(&outcome.out.to_value()),
                json_of(&expected.to_value()),
            );
            return Err(self.wrong(&format!("{is} instead of {must} ({said})")));
        }
        if self.expect == Expect::Recorded && matches!(outcome.out, Out::Error(_)) {
            let is = json_of(&outcome.out.to_value());
            return Err(self.wrong(&format!("{is} instead of a value ({said})")));
        }
        if let Expect::Trap(kind, words) = &self.expect {
            let failure = outcome.failure();
            if failure
                .as_ref()
                .is_none_or(|failure| failure.trap != *kind || failure.func != self.func)
            {
                let is = json_of(&outcome.out.to_value());
                return Err(self.wrong(&format!("{is} instead of trap {} ({said})", kind.name())));
            }
            if !said.contains(words) {
                return Err(self.wrong(&format!("the remark `{said}` does not say `{words}`")));
            }
        }
        if outcome.instruction != job.instruction || outcome.metering != METERING {
            return Err(self.wrong("the outcome names another instruction or metering"));
        }
        if outcome.fuel.is_some_and(|fuel| fuel > self.limits.fuel) {
            return Err(self.wrong(&format!(
                "{:?} fuel is more than the limit {}",
                outcome.fuel, self.limits.fuel
            )));
        }
        if (conditions.fuel, conditions.memory) != (self.limits.fuel, self.limits.memory) {
            return Err(self.wrong(&format!(
                "{conditions:?} are not the limits {:?}",
                self.limits
            )));
        }
        if conditions.growth_refused != self.growth_refused {
            return Err(self.wrong(&format!("growth_refused is {}", conditions.growth_refused)));
        }
        let lines = remark
            .logs
            .iter()
            .map(|line| (line.level, line.context.clone(), line.message.clone()));
        let lines: Vec<_> = lines.collect();
        if lines != self.logs {
            return Err(self.wrong(&format!("it logged {lines:?} instead of {:?}", self.logs)));
        }
        for cid in crate::session::links(std::slice::from_ref(outcome.out.value())) {
            let known = self.blobs.iter().any(|bytes| blob_cid(bytes) == cid);
            if !known && blobs.get(&cid).is_none_or(|bytes| blob_cid(bytes) != cid) {
                return Err(self.wrong(&format!("the bytes of {cid} are missing or others")));
            }
        }
        Ok(())
    }
}

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
    all.extend(refused_arguments());
    all.extend(calls());
    all.extend(traps());
    all.extend(budgets());
    all.extend(world::resources());
    all.extend(world::wasip2());
    all
}

impl Case {
    fn new(subject: Subject, func: &str, args: &str, expect: Expect) -> Self {
        // Long arguments would make long names.
        let shown: String = args.chars().take(80).collect();
        Self {
            name: format!("{func} {shown}"),
            subject,
            func: func.to_owned(),
            args: args.to_owned(),
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

    fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    fn limited(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    fn refused(self) -> Self {
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
        raw("nothing", "[]", "null"),
        raw("branches", "[0]", "10"),
        raw("branches", "[1]", "11"),
        raw("branches", "[2]", "14"),
        raw("branches", "[9]", "13"),
        raw("fac", "[20]", "2432902008176640000"),
        raw("count", "[1000]", "1000"),
        raw("call", "[1]", "42"),
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
    all.extend([
        // One page of 64 KiB is there at first.
        memory(raw("grow", "[15]", "1"), 1 << 20),
        memory(raw("grow", "[16]", "-1").refused(), 1 << 20),
        memory(raw("grow", "[0]", "1"), 1 << 16),
        memory(raw("grow", "[1]", "-1").refused(), 1 << 16),
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
fn pattern(length: u32) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_its_own_name_and_texts_that_parse() {
        let mut names = BTreeSet::new();
        for case in cases() {
            assert!(
                names.insert(case.name.clone()),
                "{} is there twice",
                case.name
            );
            let args = value_of_json(case.args.as_bytes());
            assert!(
                matches!(args, Ok(Value::List(_))),
                "{}: {args:?}",
                case.name
            );
            if let Expect::Ok(text) | Expect::Err(text) = &case.expect {
                value_of_json(text.as_bytes())
                    .unwrap_or_else(|error| panic!("{}: {error}", case.name));
            }
        }
        assert!(names.len() > 150);
    }

    #[test]
    fn a_recording_is_read_as_it_was_written() {
        let fuel = Fuel(BTreeMap::from([
            ("a \"b\"".to_owned(), Some(u64::MAX)),
            ("c".to_owned(), None),
        ]));
        assert_eq!(Fuel::of_json(&fuel.to_json()), Ok(fuel));
        assert!(Fuel::of_json("[]").is_err());
        assert!(Fuel::of_json("{\"a\": -1}").is_err());
    }

    #[test]
    fn a_host_that_answers_otherwise_is_found_out() {
        let mut host = crate::NullHost::new();
        let bytes = b"anything";
        let case = Case::new(Subject::Guest, "echo", "[0.5]", Expect::Ok("1.5".into()));
        let found = check(&mut host, (blob_cid(bytes), bytes), &case);
        assert_eq!(
            found.map(|_| ()),
            Err("echo [0.5]: [\"ok\",0.5] instead of [\"ok\",1.5] ()".to_owned())
        );
        let case = Case::new(Subject::Guest, "echo", "[0.5]", Expect::Ok("0.5".into()));
        assert!(check(&mut host, (blob_cid(bytes), bytes), &case).is_ok());
        let components = Components {
            guest: bytes,
            instructions: bytes,
            resources: bytes,
            wasip2: bytes,
        };
        assert!(check_all(&mut host, components, &Fuel::default()).is_err());
    }
}
