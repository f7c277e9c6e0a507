//! C, by clang: every function that is not `static` is exported.

use std::path::Path;

use tokio::process::Command;

use super::{Missing, read_made, run, scratch};
use crate::failure::Failure;

const MISSING: Missing<'_> = Missing {
    program: "clang",
    remedy: "install clang and lld: `apt-get install clang lld`, `dnf install clang lld`, or `brew install llvm lld`",
};

/// A core module of one file, without a C library.
pub(super) async fn build(source: &Path) -> Result<Vec<u8>, Failure> {
    let folder = scratch()?;
    let made = folder.path().join("module.wasm");
    let mut command = Command::new("clang");
    // Bulk memory: copies become instructions and need no library.
    command
        .args([
            "--target=wasm32",
            "-O2",
            "-nostdlib",
            "-fvisibility=default",
            "-mbulk-memory",
        ])
        .args([
            "-Wl,--no-entry",
            "-Wl,--export-dynamic",
            "-Wl,--strip-debug",
        ])
        .arg("-o")
        .args([&made, source]);
    run(&mut command, MISSING).await?;
    read_made(&made, "clang")
}
