//! A component in a tab with nothing around it: from its bytes to its first result, each further call and each further task.

use anyhow::Context as _;
use asterism_tests::{
    guests,
    harness::{Browser, Coordinator, root, wait_until},
};

use crate::{
    hosts::{self, Bare},
    table::{Row, Table, median},
};

/// Pages that are opened; each starts cold.
const PAGES: usize = 7;

const PAGE: &str =
    "<!doctype html><title>measure</title><script type=module src=/page.js></script>";

/// An `add` that does nothing else: what others publish for a call.
const ADD: &str = r#"
(component
  (core module $add
    (func (export "add") (param f64 f64) (result f64)
      (f64.add (local.get 0) (local.get 1))))
  (core instance $core (instantiate $add))
  (func (export "add") (param "a" f64) (param "b" f64) (result f64)
    (canon lift (core func $core "add"))))
"#;

const SCRIPT: &str = r#"
import init, { measure, measure_bytes } from "/measure.js";
await init();
const measuredOf = async (name) =>
  [...measure(new Uint8Array(await (await fetch(name)).arrayBuffer()))];
const measured = [...await measuredOf("/math.wasm"), (await measuredOf("/add.wasm"))[1]];
// (module (memory (export "m") 17) (func (export "f") (param i64) (result i64) local.get 0)): the memory that Rust gives a guest.
const bare = new WebAssembly.Module(new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 126, 1, 126, 3, 2, 1, 0, 5, 3, 1, 0, 17,
  7, 9, 2, 1, 109, 2, 0, 1, 102, 0, 0, 10, 6, 1, 4, 0, 32, 0, 11,
]));
const INSTANCES = 20000;
const started = performance.now();
for (let i = 0; i < INSTANCES; i++) new WebAssembly.Instance(bare).exports.f(BigInt(i));
measured.push((performance.now() - started) * 1000 / INSTANCES);
const conformance = new Uint8Array(await (await fetch("/conformance.wasm")).arrayBuffer());
const megabyte = Uint8Array.from({ length: 1 << 20 }, (_, i) => i * 31);
const calls = Array.from({ length: 7 }, () => measure_bytes(conformance, megabyte));
measured.push(calls.sort((a, b) => a - b)[3]);
document.body.textContent = JSON.stringify(measured);
"#;

pub(crate) async fn run(table: &mut Table) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let panel = folder.path().join("page");
    std::fs::create_dir(&panel)?;
    for name in ["measure.js", "measure_bg.wasm"] {
        let built = root().join("target/measure").join(name);
        std::fs::copy(&built, panel.join(name)).with_context(|| {
            format!("{} is not built: run `cargo xtask bench`", built.display())
        })?;
    }
    std::fs::write(panel.join("index.html"), PAGE)?;
    std::fs::write(panel.join("page.js"), SCRIPT)?;
    std::fs::write(panel.join("math.wasm"), guests::MATH)?;
    std::fs::write(panel.join("conformance.wasm"), guests::CONFORMANCE)?;
    std::fs::write(panel.join("add.wasm"), wat::parse_str(ADD)?)?;
    let coordinator = Coordinator::start_with(&folder.path().join("data"), &panel);
    let browser = Browser::start().await;
    let (mut cold, mut calls, mut logging) = (Vec::new(), Vec::new(), Vec::new());
    let (mut tasks, mut bare, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAGES {
        browser.open(coordinator.url()).await;
        let measured = wait_until("the page has measured", || async {
            serde_json::from_str::<[f64; 6]>(&browser.text().await).ok()
        })
        .await;
        cold.push(measured[0]);
        logging.push(measured[1]);
        tasks.push(measured[2]);
        calls.push(measured[3]);
        bare.push(measured[4]);
        bytes.push(measured[5]);
    }
    let bench = "calls";
    table.row(&Row {
        bench,
        case: "cold start of a Rust component in a tab",
        value: median(cold),
        unit: "ms",
        floor: None,
    });
    table.row(&Row {
        bench,
        case: "call of add(f64, f64) in a tab",
        value: median(calls),
        unit: "µs",
        floor: None,
    });
    table.row(&Row {
        bench,
        case: "call of an add(f64, f64) that formats and logs a line",
        value: median(logging),
        unit: "µs",
        floor: None,
    });
    table.row(&Row {
        bench,
        case: "task of such an add, in an instance of its own",
        value: median(tasks),
        unit: "µs",
        floor: Some((
            median(bare),
            "instantiating and calling a module with a memory as large, from JavaScript",
        )),
    });
    table.row(&Row {
        bench,
        case: "1 MiB of bytes in and out, the call alone, in a tab",
        value: median(bytes),
        unit: "ms",
        floor: Some((
            Bare::new()?.bytes_ms(&hosts::bytes())?,
            "a typed call of Wasmtime, and copying it once",
        )),
    });
    Ok(())
}
