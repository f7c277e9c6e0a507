//! `cargo xtask bench [NAME…] [--json]`: sets up and runs the benchmark program.

use std::ffi::OsString;

use anyhow::Result;

use crate::{bundle, process::Step, setup};

/// Hands every argument on; a missing browser is only a warning, not every benchmark needs one.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    bundle::build_if_stale()?;
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
