//! Our runtime in node and in Chromium, and jco, beside Wasmtime: the conformance table, and generated modules and values.
#![cfg(not(target_arch = "wasm32"))]

use std::{collections::BTreeMap, fs, process::Command};

use asterism_executor::{Host as _, Job};
use asterism_host_wasmtime::WasmtimeEngine;
use asterism_protocol::{Effects, Files, Limits, Out, Value, blob_cid, message::FaultKind};
use asterism_tests::{
    conformance::{Hosts, Programs, corpus, differences, make},
    fuzz,
    harness::{asterism, root},
    hosts::{node, node_with},
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

/// Grows its memory by so many pages, and says how many there were, or -1.
const GROWS: &str = r#"(component
    (core module $m
        (memory (export "memory") 1)
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
    (core instance $i (instantiate $m))
    (func (export "grow") (param "pages" s32) (result s32) (canon lift (core func $i "grow"))))"#;

/// The same with elements of tables: what many of them take, of eight bytes each, is too much for all four and not for three.
const GROWS_TABLES: &str = r#"(component
    (core module $m
        (table $a 1 funcref) (table $b 1 funcref) (table $c 1 funcref) (table $d 1 funcref)
        (func (export "grow") (param i32) (result i32)
            (drop (table.grow $a (ref.null func) (local.get 0)))
            (drop (table.grow $b (ref.null func) (local.get 0)))
            (drop (table.grow $c (ref.null func) (local.get 0)))
            (table.grow $d (ref.null func) (local.get 0))))
    (core instance $i (instantiate $m))
    (func (export "grow") (param "elements" s32) (result s32) (canon lift (core func $i "grow"))))"#;

/// Pages, or elements, that are there and such that are not, where there is a quarter of a GiB.
const FEW: i32 = 16;
const MANY: i32 = 8_192;
const MANY_ELEMENTS: i32 = 9_000_000;

#[test]
fn a_machine_that_is_short_of_memory_is_a_fault_and_no_outcome_in_node() {
    let programs = Programs::find().expect("`cargo xtask test` has made them");
    // Most pages that V8 gives a memory: 256 MiB.
    let mut node = node_with(
        &programs.node,
        &programs.performer,
        &["--wasm-max-mem-pages=4096"],
    );
    let component = wat::parse_str(GROWS).expect("the text of the test is right");
    let cid = blob_cid(&component);
    node.prepare(cid, &component).expect("it is fit");
    let mut grow = |pages: i32| {
        node.run(&Job {
            instruction: cid,
            component: cid,
            func: "grow".to_owned(),
            args: vec![Value::Integer(pages.into())],
            files: Files::new(),
            effects: Effects::new(),
            blobs: BTreeMap::new(),
            limits: Limits::default(),
        })
    };
    let fault = grow(MANY).expect_err("it has not so much");
    assert_eq!(fault.kind, FaultKind::Host, "{}", fault.message);
    assert!(
        fault.message.contains("has not as much memory"),
        "{}",
        fault.message
    );
    let attempt = grow(FEW).expect("the host goes on");
    assert_eq!(attempt.outcome.out, Out::Ok(Value::Integer(1)));
}

#[test]
fn a_machine_that_is_short_of_memory_is_a_fault_and_no_outcome_on_wasmtime() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("grows.wat");
    let grow = |by: i32| {
        // Of writable memory of its own the process may have 256 MiB; the pool's tables want more, so this is on demand.
        Command::new("sh")
            .args(["-c", "ulimit -d 262144 && exec \"$0\" \"$@\""])
            // Stacks of threads count.
            .envs([("TOKIO_WORKER_THREADS", "2"), ("RAYON_NUM_THREADS", "2")])
            .arg(asterism())
            .args(["fn", "call"])
            .arg(&file)
            .args(["grow", &by.to_string()])
            .output()
            .expect("the shell runs")
    };
    for (component, many) in [(GROWS, MANY), (GROWS_TABLES, MANY_ELEMENTS)] {
        fs::write(&file, component).expect("the file can be written");
        let few = grow(FEW);
        assert!(few.status.success(), "{few:?}");
        assert_eq!(String::from_utf8_lossy(&few.stdout).trim(), "1");
        let many = grow(many);
        let said = String::from_utf8_lossy(&many.stderr);
        assert!(!many.status.success(), "{many:?}");
        assert!(said.contains("the machine is short of memory"), "{said}");
        assert!(many.stdout.is_empty(), "{many:?}");
    }
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
