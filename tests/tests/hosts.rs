//! Our runtime in node and in Chromium, and jco, beside Wasmtime: the conformance table, and generated modules and values.
#![cfg(not(target_arch = "wasm32"))]

use std::fs;

use asterism_host_wasmtime::WasmtimeEngine;
use asterism_tests::{
    conformance::{Hosts, Programs, corpus, differences, make},
    fuzz,
    harness::root,
    hosts::node,
};

/// Calls that are compared in node; `cargo xtask fuzz` goes on.
const CASES: u64 = 2_500;

/// Calls of components that call others, of which each takes longer.
const COMPOSED_CASES: u64 = 300;

#[test]
fn hosts_agree_on_every_case_as_recorded() {
    let programs = Programs::find().expect("`cargo xtask test` has made them");
    let mut hosts = Hosts::start(&programs).expect("they start");
    let calls = corpus(&programs).expect("every component is there");
    let made = make(&mut hosts, &calls).expect("every call is one");
    assert!(made.disagreeing.is_empty(), "{:#?}", made.disagreeing);
    let recorded = fs::read_to_string(root().join("docs/conformance.md")).unwrap_or_default();
    let differing = differences(&recorded, &made.text);
    assert!(
        differing.is_empty(),
        "{differing:#?}; `cargo xtask conformance --record` if it must be so"
    );
}

#[test]
fn generated_modules_and_values_come_out_alike() {
    let counts = fuzzed(&fuzz::Kind::ALONE, CASES);
    // Whatever nobody takes, or what ends at once, compares nothing.
    assert!(counts.returned > CASES / 4, "{counts}");
    assert!(counts.unfit < counts.components / 4, "{counts}");
    assert!(counts.faults < CASES / 10, "{counts}");
}

#[test]
fn generated_values_come_out_alike_when_components_pass_them_on() {
    let counts = fuzzed(&[fuzz::Kind::Composed], COMPOSED_CASES);
    assert!(counts.returned > COMPOSED_CASES / 2, "{counts}");
    assert_eq!(counts.unfit, 0, "{counts}");
}

/// Compares so many calls of generated components on Wasmtime and in node.
fn fuzzed(kinds: &[fuzz::Kind], cases: u64) -> fuzz::Counts {
    let programs = Programs::find().expect("`cargo xtask test` has made them");
    let mut wasmtime = WasmtimeEngine::new(None)
        .expect("Wasmtime runs here")
        .host();
    let until = fuzz::Until {
        cases: Some(cases),
        seeds: None,
    };
    let mut node = node(&programs.node, &programs.performer);
    let counts = fuzz::run(&mut wasmtime, &mut node, kinds, 1, until)
        .unwrap_or_else(|difference| panic!("{difference}"));
    println!("seeds from 1: {counts}");
    counts
}
