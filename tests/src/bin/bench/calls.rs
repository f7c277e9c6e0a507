//! A component in a tab with nothing around it: from its bytes to its first result, and each further call.

use anyhow::Context as _;
use asterism_tests::{
    guests,
    harness::{Browser, Coordinator, root, wait_until},
};

use crate::table::{Row, Table, median};

/// Pages that are opened; each starts cold.
const PAGES: usize = 7;

const PAGE: &str =
    "<!doctype html><title>measure</title><script type=module src=/page.js></script>";

const SCRIPT: &str = r#"
import init, { measure } from "/measure.js";
await init();
const component = await (await fetch("/math.wasm")).arrayBuffer();
document.body.textContent = JSON.stringify([...measure(new Uint8Array(component))]);
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
    let coordinator = Coordinator::start_with(&folder.path().join("data"), &panel);
    let browser = Browser::start().await;
    let (mut cold, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..PAGES {
        browser.open(coordinator.url()).await;
        let measured = wait_until("the page has measured", || async {
            serde_json::from_str::<[f64; 2]>(&browser.text().await).ok()
        })
        .await;
        cold.push(measured[0]);
        calls.push(measured[1]);
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
    Ok(())
}
