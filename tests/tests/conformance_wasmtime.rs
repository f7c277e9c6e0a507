//! Wasmtime performs every case of the conformance suite, with the fuel that `conformance.json` and `composed.json`
//! record. Other hosts are held to the same files. `ASTERISM_RECORD=1` writes them anew.
#![cfg(not(target_arch = "wasm32"))]

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use asterism_executor::{
    Attempt, Host, Job,
    conformance::{Case, Fuel, cases, check_all, check_fault, composed_cases, time_limit},
};
use asterism_host_wasmtime::{WasmtimeEngine, WasmtimeHost};
use asterism_protocol::{
    Effects, Files, Limits, Out, TrapKind, Value, blob_cid, content_cid,
    message::{Fault, FaultKind},
};
use asterism_tests::guests;
use serde_bytes::ByteBuf;

fn host() -> WasmtimeHost {
    WasmtimeEngine::new(None)
        .expect("Wasmtime runs here")
        .host()
}

/// Performs cases and compares with what is recorded in a file of this folder, or records it.
fn conforms(cases: Vec<Case>, recording: &str) {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join(recording);
    let record = env::var_os("ASTERISM_RECORD").is_some();
    let recorded = if record {
        String::from("{}")
    } else {
        fs::read_to_string(&recording).expect("there is a recording")
    };
    let recorded = Fuel::of_json(&recorded).expect("the recording is one");
    let fuel = check_all(&mut host(), cases, guests::COMPONENTS, &recorded)
        .unwrap_or_else(|wrong| panic!("{wrong}"));
    if record {
        fs::write(recording, fuel.to_json()).expect("the recording can be written");
    } else {
        assert_eq!(
            fuel, recorded,
            "cases came or went: record again with ASTERISM_RECORD=1"
        );
    }
}

fn job(component: &[u8], func: &str, args: Vec<Value>) -> Job {
    Job {
        instruction: content_cid(func.as_bytes()),
        component: blob_cid(component),
        func: func.into(),
        args,
        files: Files::new(),
        effects: Effects::new(),
        blobs: BTreeMap::new(),
        limits: Limits::default(),
    }
}

fn run(host: &mut WasmtimeHost, component: &[u8], job: &Job) -> Result<Attempt, Fault> {
    host.prepare(job.component, component)
        .expect("the component is fit");
    host.run(job)
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text of the test is right")
}

/// A component of one core module that exports `run: func() -> u32`.
fn module(parts: &str) -> Vec<u8> {
    wat(&format!(
        "(component
            (core module $m {parts})
            (core instance $i (instantiate $m))
            (func (export \"run\") (result u32) (canon lift (core func $i \"run\"))))"
    ))
}

fn trap_of(attempt: &Attempt) -> Option<TrapKind> {
    attempt.outcome.failure().map(|failure| failure.trap)
}

#[test]
fn every_case_comes_out_as_it_must_with_the_recorded_fuel() {
    conforms(cases(), "conformance.json");
}

#[test]
fn every_case_of_a_composed_component_comes_out_as_it_must() {
    conforms(composed_cases(), "composed.json");
}

#[test]
fn the_clock_stops_a_guest_that_fuel_does_not() {
    let case = time_limit();
    check_fault(
        &mut host(),
        (blob_cid(guests::CONFORMANCE), guests::CONFORMANCE),
        &case,
    )
    .unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn a_run_is_stopped_from_another_thread_and_the_next_one_is_not() {
    let mut host = host();
    let mut spin = job(guests::CONFORMANCE, "spin", vec![]);
    spin.limits.fuel = asterism_protocol::limits::FUEL_MAX;
    host.prepare(spin.component, guests::CONFORMANCE)
        .expect("the component is fit");
    let stop = host.stopper().expect("this host has one");
    // Nothing is under way: it does nothing.
    stop();
    let has_ended = AtomicBool::new(false);
    let fault = thread::scope(|scope| {
        // Again and again, as nobody knows from when on it is under way.
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                stop();
                thread::sleep(Duration::from_millis(10));
            }
        });
        let ended = host.run(&spin);
        has_ended.store(true, Ordering::Relaxed);
        ended.expect_err("it never ends by itself")
    });
    assert_eq!(
        (fault.kind, fault.message.as_str()),
        (FaultKind::Host, "the run was stopped")
    );
    let add = job(
        guests::CONFORMANCE,
        "asterism:conformance/arith#add",
        vec![Value::Integer(1), Value::Integer(2)],
    );
    assert_eq!(
        run(&mut host, guests::CONFORMANCE, &add)
            .expect("no fault")
            .outcome
            .out,
        Out::Ok(Value::Integer(3))
    );
}

#[test]
fn a_start_function_that_never_ends_is_out_of_fuel() {
    let component = module(
        "(func $s (loop (br 0))) (start $s) (func (export \"run\") (result i32) (i32.const 1))",
    );
    let mut never = job(&component, "run", vec![]);
    // The machine may be busy; fuel ends it long before.
    never.limits.time_ms = 600_000;
    let attempt = run(&mut host(), &component, &never).expect("an outcome");
    assert_eq!(trap_of(&attempt), Some(TrapKind::OutOfFuel));
}

#[test]
fn a_start_function_that_traps_is_the_guests_failure() {
    let component = module(
        "(func $s unreachable) (start $s) (func (export \"run\") (result i32) (i32.const 1))",
    );
    let attempt =
        run(&mut host(), &component, &job(&component, "run", vec![])).expect("an outcome");
    assert_eq!(trap_of(&attempt), Some(TrapKind::Unreachable));
}

#[test]
fn fuel_of_the_start_function_is_not_counted() {
    let busy = "(func $s (local i32) (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000)))))
                (start $s)";
    let fuel = |start: &str| {
        let component = module(&format!(
            "{start} (func (export \"run\") (result i32) (i32.const 1))"
        ));
        run(&mut host(), &component, &job(&component, "run", vec![]))
            .expect("an outcome")
            .outcome
            .fuel
    };
    assert_eq!(fuel(busy), fuel(""));
    assert!(fuel("").is_some());
}

#[test]
fn growing_beyond_what_wasm32_has_is_no_refusal_of_ours() {
    let grow = |pages: i32| {
        let component = module(&format!(
            "(memory 1) (func (export \"run\") (result i32) (drop (memory.grow (i32.const 3))) (memory.grow (i32.const {pages})))"
        ));
        run(&mut host(), &component, &job(&component, "run", vec![])).expect("an outcome")
    };
    for pages in [65_535, -1] {
        let attempt = grow(pages);
        assert_eq!(
            attempt.outcome.out,
            Out::Ok(Value::Integer(u32::MAX.into()))
        );
        assert!(!attempt.conditions.growth_refused);
    }
}

#[test]
fn a_table_grows_no_further_than_in_a_browser() {
    let component = module(
        "(table 1 funcref) (func (export \"run\") (result i32) (table.grow (ref.null func) (i32.const 10000000)))",
    );
    let attempt =
        run(&mut host(), &component, &job(&component, "run", vec![])).expect("an outcome");
    assert_eq!(
        attempt.outcome.out,
        Out::Ok(Value::Integer(u32::MAX.into()))
    );
}

#[test]
fn logging_without_a_version_is_provided_too() {
    let add = job(
        guests::MATH,
        "add",
        vec![Value::Float(3.1), Value::Float(5.2)],
    );
    let attempt = run(&mut host(), guests::MATH, &add).expect("no fault");
    assert_eq!(attempt.outcome.out, Out::Ok(Value::Float(3.1 + 5.2)));
    let lines: Vec<_> = attempt
        .remark
        .logs
        .iter()
        .map(|line| (line.context.as_str(), line.message.as_str()))
        .collect();
    assert_eq!(lines, [("guest:rust:add", "3.1 + 5.2 = 8.3")]);
}

#[test]
fn a_panic_comes_with_what_was_logged_before() {
    let divide = job(
        guests::MATH,
        "divide",
        vec![Value::Float(8.3), Value::Integer(0)],
    );
    let attempt = run(&mut host(), guests::MATH, &divide).expect("no fault");
    assert_eq!(trap_of(&attempt), Some(TrapKind::Unreachable));
    assert_eq!(
        attempt.remark.logs.last().map(|line| line.message.as_str()),
        Some("Division by zero error")
    );
    assert!(
        attempt
            .remark
            .message
            .is_some_and(|message| message.contains("unreachable"))
    );
    assert!(!attempt.remark.backtrace.is_empty());
}

#[test]
fn an_import_that_is_not_provided_is_unfit() {
    let component = wat(
        "(component
            (import \"wasi:http/outgoing@0.2.0\" (instance $http (export \"get\" (func (result u32)))))
            (core module $m (import \"\" \"get\" (func (result i32))) (export \"run\" (func 0)))
            (core func $get (canon lower (func $http \"get\")))
            (core instance $i (instantiate $m (with \"\" (instance (export \"get\" (func $get))))))
            (func (export \"run\") (result u32) (canon lift (core func $i \"run\"))))",
    );
    let unfit = host()
        .prepare(blob_cid(&component), &component)
        .expect_err("nobody provides it");
    assert!(
        unfit
            .reason
            .contains("`wasi:http/outgoing@0.2.0#get`, which is not provided"),
        "{unfit}"
    );
}

#[test]
fn what_was_not_prepared_is_a_fault() {
    let fault = host()
        .run(&job(guests::MATH, "add", vec![]))
        .expect_err("it was never prepared");
    assert_eq!(fault.kind, FaultKind::Host);
}

#[test]
fn byte_strings_travel_whole() {
    let bytes = vec![7; 1 << 20];
    let mut echo = job(
        guests::CONFORMANCE,
        "echo-bytes",
        vec![Value::Link(blob_cid(&bytes).to_link())],
    );
    echo.blobs = BTreeMap::from([(blob_cid(&bytes), ByteBuf::from(bytes.clone()))]);
    let mut host = host();
    // The fastest of several: the machine may do something else meanwhile.
    let fastest = (0..20).map(|_| {
        let attempt = run(&mut host, guests::CONFORMANCE, &echo).expect("no fault");
        assert_eq!(
            attempt.outcome.out,
            Out::Ok(Value::Link(blob_cid(&bytes).to_link()))
        );
        attempt.remark.elapsed_us
    });
    // A value for each byte took some 58 ms here.
    let fastest = fastest.min().expect("there were several");
    assert!(fastest < 20_000, "{fastest} µs");
}

#[test]
fn compiled_components_are_kept_and_rotten_ones_thrown_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = dir.path().join("compiled");
    let add = job(
        guests::MATH,
        "add",
        vec![Value::Integer(1), Value::Integer(2)],
    );
    let sum = || {
        let mut host = WasmtimeEngine::new(Some(&cache))
            .expect("Wasmtime runs here")
            .host();
        run(&mut host, guests::MATH, &add)
            .expect("no fault")
            .outcome
            .out
    };
    let three = Out::Ok(Value::Float(3.0));
    let files = || {
        fs::read_dir(&cache)
            .expect("it is there")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "cwasm"))
            .collect::<Vec<_>>()
    };
    assert_eq!(sum(), three);
    let [file] = &files()[..] else {
        panic!("one file, not {:?}", files())
    };
    let written = fs::read(file).expect("readable");
    assert_eq!(sum(), three);
    assert_eq!(
        fs::read(file).expect("readable"),
        written,
        "it was loaded, not written again"
    );

    for damage in [
        &written[..100],
        &[&written[..written.len() - 1], b"?"].concat(),
        b"",
    ] {
        fs::write(file, damage).expect("writable");
        assert_eq!(sum(), three);
        assert_eq!(
            fs::read(file).expect("readable").len(),
            written.len(),
            "it was compiled again"
        );
    }
}

#[test]
fn a_compiled_component_under_the_name_of_another_one_is_not_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = || {
        WasmtimeEngine::new(Some(dir.path()))
            .expect("Wasmtime runs here")
            .host()
    };
    let [one, two] = ["1", "2"].map(|number| {
        module(&format!(
            "(func (export \"run\") (result i32) (i32.const {number}))"
        ))
    });
    let result = |component: &[u8]| {
        run(&mut host(), component, &job(component, "run", vec![]))
            .expect("no fault")
            .outcome
            .out
    };
    assert_eq!(result(&one), Out::Ok(Value::Integer(1)));
    let name_of = |component: &[u8]| blob_cid(component).to_string();
    let files: Vec<_> = fs::read_dir(dir.path())
        .expect("it is there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    assert_eq!(files.len(), 2, "code and its checksum: {files:?}");
    for file in &files {
        let name = file.file_name().expect("a name").to_string_lossy();
        let name = name.replace(&name_of(&one), &name_of(&two));
        fs::copy(file, file.with_file_name(name)).expect("writable");
    }
    assert_eq!(result(&two), Out::Ok(Value::Integer(2)));
    assert_eq!(result(&one), Out::Ok(Value::Integer(1)));
}

#[cfg(unix)]
#[test]
fn a_cache_that_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let error = WasmtimeEngine::new(Some(dir.path()))
        .map(|_| ())
        .expect_err("anybody could plant code");
    assert!(error.to_string().contains("chmod go-w"), "{error}");
}
