//! The arithmetic workflow over components in Rust, TypeScript, Python and JavaScript, and what their runtimes see of the
//! world: on Wasmtime and in a Web Worker of Chromium, with equal outcomes and equal fuel.
//!
//! Tools of these languages do not make the same component twice, so nothing can be recorded in the repository: Wasmtime
//! writes what came out to target/languages/recorded.json, and Chromium, which is tested after it, is held to that.

use std::collections::BTreeMap;

use asterism_executor::{Attempt, Host, Job};
use asterism_protocol::{
    Effects, Files, Input, Instruction, Limits, LogLevel, Nonce, Out, TrapKind, Value, blob_cid,
    json_of, value_of_json,
};
use asterism_tests::guests::WASIP2;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A component that `cargo xtask languages` made.
macro_rules! made {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/languages/",
            $name,
            ".wasm"
        ))
    };
}

/// TypeScript on SpiderMonkey, with all that it can ask of the world.
const SUBTRACT: &[u8] = made!("subtract");

/// The same, with nothing but logging.
const SUBTRACT_MINIMAL: &[u8] = made!("subtract-minimal");

/// Python on CPython.
const MULTIPLY: &[u8] = made!("multiply");

/// JavaScript on QuickJS.
const DIVIDE: &[u8] = made!("divide");

/// By their engines.
const LANGUAGES: [(&str, &[u8]); 4] = [
    ("SpiderMonkey", SUBTRACT),
    ("a minimal SpiderMonkey", SUBTRACT_MINIMAL),
    ("CPython", MULTIPLY),
    ("QuickJS", DIVIDE),
];

/// Enough for each of them.
const FUEL: u64 = 100_000_000_000;

/// Outcome's CID and fuel by the name of a call.
type Seen = BTreeMap<String, (String, Option<u64>)>;

#[cfg(not(target_arch = "wasm32"))]
fn host() -> impl Host {
    let cache = std::path::Path::new(RECORDED).with_file_name("compiled");
    asterism_host_wasmtime::WasmtimeEngine::new(Some(&cache))
        .expect("Wasmtime runs here")
        .host()
}

#[cfg(target_arch = "wasm32")]
fn host() -> impl Host {
    asterism_host_browser::BrowserHost::new()
}

fn call(host: &mut dyn Host, component: &[u8], func: &str, args: Vec<Value>) -> Attempt {
    call_with(host, component, func, args, FUEL)
}

fn call_with(
    host: &mut dyn Host,
    component: &[u8],
    func: &str,
    args: Vec<Value>,
    fuel: u64,
) -> Attempt {
    let input = Input {
        func: func.into(),
        args,
        files: Files::new(),
        effects: Effects::new(),
    };
    perform(host, component, input, fuel)
}

fn perform(host: &mut dyn Host, component: &[u8], input: Input, fuel: u64) -> Attempt {
    let cid = blob_cid(component);
    host.prepare(cid, component).expect("the component is fit");
    let instruction = Instruction {
        rsc: format!("ipfs://{cid}"),
        op: "wasm/run".into(),
        input,
        nnc: Nonce::Empty,
    };
    let instruction_cid = instruction.cid();
    let Input {
        func,
        args,
        files,
        effects,
    } = instruction.input;
    let job = Job {
        instruction: instruction_cid,
        component: cid,
        func: func.clone(),
        args,
        files,
        effects,
        blobs: BTreeMap::new(),
        limits: Limits {
            fuel,
            memory: 1 << 30,
            time_ms: 600_000,
        },
    };
    let attempt = host.run(&job).expect("no fault");
    let again = host.run(&job).expect("no fault");
    assert_eq!(attempt.outcome.cid(), again.outcome.cid(), "{func}");
    assert_eq!(attempt.remark.logs, again.remark.logs, "{func}");
    attempt
}

fn note(seen: &mut Seen, name: &str, attempt: &Attempt) {
    let outcome = (attempt.outcome.cid().to_string(), attempt.outcome.fuel);
    assert!(seen.insert(name.into(), outcome).is_none());
}

fn value(attempt: &Attempt) -> &Value {
    match &attempt.outcome.out {
        Out::Ok(value) => value,
        Out::Error(value) => panic!(
            "{} ({:?}, {:?})",
            json_of(value),
            attempt.remark.message,
            attempt.remark.logs
        ),
    }
}

fn line(attempt: &Attempt) -> (LogLevel, &str, &str) {
    match &attempt.remark.logs[..] {
        [line] => (line.level, &line.context, &line.message),
        lines => panic!("not one line: {lines:?}"),
    }
}

/// (3.1 + 5.2 − 4.4) × 2.3 ÷ 1.5, each step in another language.
fn arithmetic(host: &mut dyn Host, seen: &mut Seen, subtract: (&str, &[u8])) {
    let (name, subtract) = subtract;
    let steps = [
        ("add", WASIP2, 5.2, "guest:rust:add", "3.1 + 5.2 = 8.3"),
        (
            "subtract",
            subtract,
            4.4,
            "guest:typescript:subtract",
            "8.3 - 4.4 = 3.9000000000000004",
        ),
        (
            "multiply",
            MULTIPLY,
            2.3,
            "guest:python:multiply",
            "3.9000000000000004 * 2.3 = 8.97",
        ),
        (
            "divide",
            DIVIDE,
            1.5,
            "guest:javascript:divide",
            "8.97 / 1.5 = 5.98",
        ),
    ];
    let mut result = Value::Float(3.1);
    for (func, component, by, context, message) in steps {
        let attempt = call(host, component, func, vec![result, Value::Float(by)]);
        assert_eq!(line(&attempt), (LogLevel::Info, context, message));
        result = value(&attempt).clone();
        note(seen, &format!("{func}, with {name}"), &attempt);
    }
    assert_eq!(result, Value::Float(5.98));
}

/// What a runtime sees of its world, as the JSON that it made of it.
fn probe(host: &mut dyn Host, seen: &mut Seen, name: &str, component: &[u8]) -> (Value, Attempt) {
    probe_with(host, seen, name, component, Files::new())
}

fn probe_with(
    host: &mut dyn Host,
    seen: &mut Seen,
    name: &str,
    component: &[u8],
    files: Files,
) -> (Value, Attempt) {
    let input = Input {
        func: "probe".into(),
        args: Vec::new(),
        files,
        effects: Effects::new(),
    };
    let attempt = perform(host, component, input, FUEL);
    note(seen, name, &attempt);
    let Value::String(text) = value(&attempt) else {
        panic!("{name} gave no text")
    };
    let probed = value_of_json(text.as_bytes()).expect("it is JSON");
    (probed, attempt)
}

fn field<'a>(probed: &'a Value, name: &str) -> &'a Value {
    match probed {
        Value::Map(map) => &map[name],
        other => panic!("not an object: {other:?}"),
    }
}

fn number(probed: &Value, name: &str) -> f64 {
    match field(probed, name) {
        Value::Float(x) => *x,
        Value::Integer(n) => *n as f64,
        other => panic!("`{name}` is no number: {other:?}"),
    }
}

/// Is the time that of a virtual clock, in seconds?
fn is_virtual(seconds: f64) -> bool {
    (1_600_000_000.0..1_734_300_000.0).contains(&seconds)
}

#[test]
fn languages_come_out_alike_on_every_host() {
    let mut host = host();
    let mut seen = Seen::new();
    arithmetic(&mut host, &mut seen, ("SpiderMonkey", SUBTRACT));
    arithmetic(
        &mut host,
        &mut seen,
        ("a minimal SpiderMonkey", SUBTRACT_MINIMAL),
    );

    let (probed, _) = probe(&mut host, &mut seen, "SpiderMonkey", SUBTRACT);
    assert!(is_virtual(number(&probed, "now") / 1000.0), "{probed:?}");
    assert!((0.0..1.0).contains(&number(&probed, "random")));

    let (probed, _) = probe(&mut host, &mut seen, "QuickJS", DIVIDE);
    assert!(is_virtual(number(&probed, "now") / 1000.0), "{probed:?}");
    assert!((0.0..1.0).contains(&number(&probed, "random")));

    let (probed, attempt) = probe(&mut host, &mut seen, "CPython", MULTIPLY);
    assert!(is_virtual(number(&probed, "now")), "{probed:?}");
    let slept = number(&probed, "slept");
    assert!((slept - 1.5).abs() < 0.001, "it slept {slept} seconds");
    let Value::String(opened) = field(&probed, "opened") else {
        panic!("`opened` is no text")
    };
    assert!(opened.ends_with("Error"), "{opened}");
    assert_eq!(field(&probed, "hash"), &Value::String("ba7816bf".into()));
    assert_eq!(field(&probed, "environment"), &Value::Integer(0));
    assert_eq!(field(&probed, "arguments"), &Value::List(Vec::new()));
    let mut lines: Vec<_> = attempt
        .remark
        .logs
        .iter()
        .map(|line| &*line.message)
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a line for the console", "a line of trouble"]);

    // The file that it looks for, as one of the task.
    let users = Value::String("nobody, of no machine".into());
    let files = Files::from([("etc/passwd".to_owned(), users.clone())]);
    let name = "CPython with a file";
    let (probed, _) = probe_with(&mut host, &mut seen, name, MULTIPLY, files);
    assert_eq!(field(&probed, "opened"), &users);

    for (name, component) in LANGUAGES {
        failures(&mut host, &mut seen, name, component);
    }

    hold_to_the_recording(&seen);
}

/// An error of the function's own, an exception, arguments that do not fit, and every way of running out of fuel.
fn failures(host: &mut dyn Host, seen: &mut Seen, name: &str, component: &[u8]) {
    let why: Value = "Zürich → 🛰".to_owned().into();
    let declined = call(host, component, "decline", vec![why.clone()]);
    assert_eq!(declined.outcome.out, Out::Error(why), "{name}");
    note(seen, &format!("{name} declines"), &declined);

    let trap = |attempt: &Attempt| attempt.outcome.failure().map(|failure| failure.trap);
    let gave_up = call(host, component, "give-up", Vec::new());
    assert_eq!(trap(&gave_up), Some(TrapKind::Unreachable), "{name}");
    note(seen, &format!("{name} gives up"), &gave_up);

    let misfit = call(host, component, "decline", vec![Value::Integer(5)]);
    assert_eq!(trap(&misfit), Some(TrapKind::BadArguments), "{name}");
    note(seen, &format!("{name} is not entered"), &misfit);

    let enough = call(host, component, "probe", Vec::new());
    let enough = enough.outcome.fuel.expect("what returned used some");
    for fuel in [0, 1, 1_000, enough / 2, enough - 1, enough] {
        let attempt = call_with(host, component, "probe", Vec::new(), fuel);
        let starved = (fuel < enough).then_some(TrapKind::OutOfFuel);
        assert_eq!(
            trap(&attempt),
            starved,
            "{name} with {fuel} of {enough} fuel"
        );
        note(
            seen,
            &format!("{name} with {fuel} of {enough} fuel"),
            &attempt,
        );
    }
}

/// What Wasmtime made of them.
#[cfg(not(target_arch = "wasm32"))]
const RECORDED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/languages/recorded.json"
);

/// Wasmtime records.
#[cfg(not(target_arch = "wasm32"))]
fn hold_to_the_recording(seen: &Seen) {
    let text = serde_json::to_string_pretty(seen).expect("it is plain data");
    // The same bytes again are no reason to build anew what contains them.
    if std::fs::read_to_string(RECORDED).ok().as_deref() != Some(&*text) {
        std::fs::write(RECORDED, text).expect("the recording can be written");
    }
}

#[cfg(target_arch = "wasm32")]
fn hold_to_the_recording(seen: &Seen) {
    let recorded = include_str!("../../target/languages/recorded.json");
    let recorded: Seen = serde_json::from_str(recorded).expect("it is a recording");
    assert!(
        !recorded.is_empty(),
        "nothing was recorded: run the test natively first"
    );
    assert_eq!(*seen, recorded);
}
