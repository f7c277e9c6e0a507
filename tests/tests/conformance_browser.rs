//! The conformance suite, and what only this host has, on the engine that runs this program: node's.
//! `conformance_browser_worker.rs` is the same in a Web Worker of Chromium.
#![cfg(target_arch = "wasm32")]

use std::collections::BTreeMap;

use asterism_executor::{
    Attempt, Host, Job,
    conformance::{Case, Fuel, cases, check_all},
};
use asterism_host_browser::BrowserHost;
use asterism_protocol::{
    Cid, Effects, Files, Limits, Out, TrapKind, Value, blob_cid,
    message::{Fault, FaultKind},
};
use asterism_tests::guests;
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Fuel that Wasmtime consumed.
const RECORDED: &str = include_str!("../conformance.json");

/// Performs cases and compares with what is recorded.
pub(crate) fn conforms(cases: Vec<Case>, recorded: &str) -> Fuel {
    let recorded = Fuel::of_json(recorded).expect("the recording is well-formed");
    let consumed = check_all(
        &mut BrowserHost::new(),
        cases,
        guests::COMPONENTS,
        &recorded,
    )
    .unwrap_or_else(|wrong| panic!("{wrong}"));
    assert_eq!(consumed, recorded);
    recorded
}

fn limits() -> Limits {
    Limits {
        fuel: 1_000_000_000,
        memory: 1 << 30,
        time_ms: 60_000,
    }
}

fn job(component: &[u8], func: &str, args: &[i128], limits: Limits) -> Job {
    Job {
        instruction: blob_cid(func.as_bytes()),
        component: blob_cid(component),
        func: func.to_owned(),
        args: args.iter().map(|arg| Value::Integer(*arg)).collect(),
        files: Files::new(),
        effects: Effects::new(),
        blobs: BTreeMap::new(),
        limits,
    }
}

fn prepare(host: &mut BrowserHost, component: &[u8]) -> Cid {
    let cid = blob_cid(component);
    host.prepare(cid, component).expect("the component is fit");
    cid
}

/// Another component that does the same: a custom section makes its bytes others.
fn variant(component: &[u8], number: u8) -> Vec<u8> {
    [component, &[0, 3, 1, b'n', number]].concat()
}

fn run(
    host: &mut BrowserHost,
    func: &str,
    args: &[i128],
    limits: Limits,
) -> Result<Attempt, Fault> {
    host.run(&job(guests::INSTRUCTIONS, func, args, limits))
}

#[test]
fn browser_host_conforms_and_consumes_the_fuel_that_wasmtime_does() {
    let recorded = conforms(cases(), RECORDED);
    assert!(
        recorded.0.values().flatten().count() > 50,
        "nothing was recorded"
    );
}

/// Does the engine know modules with several memories? Adapters between components are such; node has them from version 22.
fn has_several_memories() -> bool {
    let two_memories = [0, 97, 115, 109, 1, 0, 0, 0, 5, 5, 2, 0, 1, 0, 1];
    let bytes = js_sys::Uint8Array::new_from_slice(&two_memories);
    js_sys::WebAssembly::validate(&bytes).expect("it is an array of bytes")
}

#[test]
fn composed_components_are_declined_where_the_engine_cannot_join_them() {
    match BrowserHost::new().prepare(blob_cid(guests::COMPOSED), guests::COMPOSED) {
        Ok(()) => assert!(has_several_memories()),
        Err(unfit) => {
            assert!(!has_several_memories(), "{unfit}");
            let words = "this browser does not compile it";
            assert!(unfit.reason.contains(words), "{unfit}");
        }
    }
}

#[test]
fn one_compiled_module_serves_every_limit() {
    let mut host = BrowserHost::new();
    prepare(&mut host, guests::INSTRUCTIONS);
    // Its table counts, too, and has room in these.
    const TABLE: u64 = 1 << 12;
    for memory in [1 << 16, 2 << 16, 4 << 16, 1 << 30].map(|memory| memory + TABLE) {
        let attempt =
            run(&mut host, "grow", &[2], Limits { memory, ..limits() }).expect("an outcome");
        let granted = memory >= 3 << 16;
        assert_eq!(
            attempt.outcome.out,
            Out::Ok(Value::Integer(if granted { 1 } else { -1 })),
            "{memory} bytes"
        );
        assert_eq!(
            attempt.conditions.growth_refused, !granted,
            "{memory} bytes"
        );
    }
    let full = run(&mut host, "count", &[100], limits())
        .expect("an outcome")
        .outcome
        .fuel
        .expect("it returned");
    for fuel in [0, 1, full - 1, full, full + 1] {
        let attempt =
            run(&mut host, "count", &[100], Limits { fuel, ..limits() }).expect("an outcome");
        let failure = attempt.outcome.failure().map(|failure| failure.trap);
        assert_eq!(
            failure,
            (fuel < full).then_some(TrapKind::OutOfFuel),
            "with {fuel} of {full} fuel"
        );
    }
}

#[test]
fn memory_that_a_component_starts_with_counts() {
    let mut host = BrowserHost::new();
    prepare(&mut host, guests::INSTRUCTIONS);
    let attempt = run(
        &mut host,
        "nothing",
        &[],
        Limits {
            memory: (1 << 16) - 1,
            ..limits()
        },
    )
    .expect("an outcome");
    assert_eq!(
        attempt.outcome.failure().map(|failure| failure.trap),
        Some(TrapKind::OutOfMemory)
    );
    assert!(attempt.conditions.growth_refused);
}

#[test]
fn exhausted_stack_is_a_fault_and_the_host_goes_on() {
    let mut host = BrowserHost::new();
    prepare(&mut host, guests::INSTRUCTIONS);
    let plenty = Limits {
        fuel: 1 << 40,
        ..limits()
    };
    for _ in 0..20 {
        let fault = run(&mut host, "recurse", &[], plenty).expect_err("a fault");
        assert_eq!(fault.kind, FaultKind::StackOverflow, "{}", fault.message);
        assert!(
            fault.message.contains("recurses too deep"),
            "{}",
            fault.message
        );
    }
    assert_eq!(
        run(&mut host, "fac", &[5], limits())
            .expect("an outcome")
            .outcome
            .out,
        Out::Ok(Value::Integer(120))
    );
}

#[test]
fn a_trap_leaves_nothing_behind() {
    let mut host = BrowserHost::new();
    prepare(&mut host, guests::INSTRUCTIONS);
    for _ in 0..3 {
        assert!(
            run(&mut host, "unreachable", &[], limits())
                .expect("an outcome")
                .outcome
                .failure()
                .is_some()
        );
        assert_eq!(
            run(&mut host, "call", &[1], limits())
                .expect("an outcome")
                .outcome
                .out,
            Out::Ok(Value::Integer(42))
        );
    }
}

#[test]
fn backtraces_name_functions_of_the_guest_alone() {
    let mut host = BrowserHost::new();
    prepare(&mut host, guests::INSTRUCTIONS);
    let attempt = run(&mut host, "call-other", &[1], limits()).expect("an outcome");
    assert_eq!(
        attempt.remark.backtrace.len(),
        1,
        "{:?}",
        attempt.remark.backtrace
    );
}

#[test]
fn what_is_not_a_component_is_unfit_with_a_reason() {
    let mut host = BrowserHost::new();
    for bytes in [
        &b""[..],
        b"hello",
        b"\0asm\x01\0\0\0",
        &guests::INSTRUCTIONS[..guests::INSTRUCTIONS.len() - 1],
    ] {
        let unfit = host
            .prepare(blob_cid(bytes), bytes)
            .expect_err("it is unfit");
        assert!(!unfit.reason.is_empty());
        assert!(!host.holds(blob_cid(bytes)));
    }
}

#[test]
fn components_not_used_for_long_are_forgotten() {
    let mut host = BrowserHost::new();
    let first = prepare(&mut host, guests::INSTRUCTIONS);
    let others: Vec<Cid> = (0..40)
        .map(|n| {
            let cid = prepare(&mut host, &variant(guests::INSTRUCTIONS, n));
            run(&mut host, "nothing", &[], limits()).expect("it is used, and so kept");
            cid
        })
        .collect();
    assert!(host.holds(first));
    assert!(!host.holds(others[0]));
    assert!(host.holds(others[39]));
    let forgotten = job(&variant(guests::INSTRUCTIONS, 0), "nothing", &[], limits());
    assert_eq!(
        host.run(&forgotten).expect_err("a fault").kind,
        FaultKind::Host
    );
}
