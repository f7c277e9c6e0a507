//! `cargo xtask bench [NAME…] [--json]`: sets up and runs the benchmark programs.

use std::ffi::OsString;

use anyhow::Result;

use crate::{bundle, conformance, process::Step, setup, trunk, workspace};

/// The benchmark that needs neither hosts nor servers: a small program, so that it is built in a minute.
const SCHEDULER: &str = "scheduler";

/// The benchmark that needs the browser's host as a program, and components in other languages.
const HOSTS: &str = "hosts";

/// The benchmark that wants a database and an object store.
const STATE: &str = "state";

/// Hands every argument on; a missing browser is only a warning, not every benchmark needs one.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let (flags, names): (Vec<&OsString>, Vec<&OsString>) = args
        .iter()
        .partition(|arg| arg.to_string_lossy().starts_with("--"));
    let (scheduler, others): (Vec<&OsString>, Vec<&OsString>) =
        names.iter().partition(|name| **name == SCHEDULER);
    if names.is_empty() || !scheduler.is_empty() {
        Step::cargo("run the benchmark of the scheduler")
            .args([
                "run",
                "--quiet",
                "--profile",
                "dist",
                "--package",
                "asterism-simulator",
                "--bin",
                "scheduler-bench",
                "--",
            ])
            .args(&flags)
            .run()?;
    }
    if !names.is_empty() && others.is_empty() {
        return Ok(());
    }
    bundle::build_if_stale()?;
    measure()?;
    if others.is_empty() || others.iter().any(|name| **name == HOSTS) {
        conformance::set_up()?;
        conformance::performer("web", "performer-web")?;
    }
    if others.is_empty() || others.iter().any(|name| **name == STATE) {
        setup::postgres()?;
        setup::moto()?;
    }
    let mut bench = Step::cargo("run the benchmarks")
        .args([
            "run",
            "--quiet",
            "--release",
            // Not `--package`: the features of the whole, so that the programs it measures are built of the same.
            "--bin",
            "bench",
            "--",
        ])
        .args(&flags)
        .args(&others);
    match setup::chromedriver() {
        Ok(driver) => bench = bench.env("CHROMEDRIVER", driver),
        Err(error) => eprintln!("warning: {error:#}"),
    }
    bench.run()
}

/// The program that measures a host in a page with nothing around it, made into target/measure/.
fn measure() -> Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    trunk::cargo("build what measures in a page")
        .args(["build", "--quiet", "--profile", "web", "--target", TARGET])
        .args(["--package", "asterism-web", "--bin", "measure"])
        .run()?;
    let target = workspace::root().join("target");
    let program = target.join(TARGET).join("web/measure.wasm");
    trunk::wasm_bindgen(vec![
        "wasm-bindgen".into(),
        "--target=web".into(),
        "--no-typescript".into(),
        "--out-dir".into(),
        target.join("measure").into_os_string(),
        program.into_os_string(),
    ])
}
