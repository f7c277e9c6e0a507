//! `cargo xtask wasm-test`: the wasm-bindgen test runner of Cargo.lock, for cargo to call.

use std::{ffi::OsString, iter};

/// Runs one test program in node, or in a browser if it is written for one.
pub(crate) fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let args = iter::once(OsString::from("wasm-bindgen-test-runner")).chain(args);
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(args)
}
