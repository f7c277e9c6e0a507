//! `cargo xtask bench [NAME…] [--json]`: sets up and runs the benchmark program.

use std::ffi::OsString;

use anyhow::Result;

use crate::{bundle, process::Step, setup, trunk, workspace};

/// Hands every argument on; a missing browser is only a warning, not every benchmark needs one.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    bundle::build_if_stale()?;
    measure()?;
    let mut bench = Step::cargo("run the benchmarks")
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "asterism-tests",
            "--bin",
            "bench",
            "--",
        ])
        .args(args);
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
