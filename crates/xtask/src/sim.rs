//! `cargo xtask sim [--seed N] [--runs M] …`: builds the simulator and runs it.

use std::ffi::OsString;

use anyhow::Result;

use crate::process::Step;

/// Every argument is the simulator's.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    Step::cargo("live through simulated worlds")
        .args([
            "run",
            "--quiet",
            "--package",
            "asterism-simulator",
            "--bin",
            "sim",
            "--",
        ])
        .args(args)
        .run()
}
