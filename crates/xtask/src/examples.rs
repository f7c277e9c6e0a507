//! `cargo xtask examples`: what the page runs without a server, made into target/examples/. Trunk calls it before each build.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{process::Step, workspace};

/// Files of examples/image that go along as they are.
const FILES: [&str; 3] = [
    "picture.png",
    "crop-rotate-blur.json",
    "crop-rotate-grayscale.json",
];

/// Builds the image example and lays it beside its picture and workflows.
pub(crate) fn build() -> Result<()> {
    let (source, out) = (
        workspace::root().join("examples/image"),
        workspace::root().join("target/examples"),
    );
    let built = workspace::root().join("target/example-builds");
    Step::cargo("build the image example")
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--target",
            "wasm32-unknown-unknown",
            "--target-dir",
        ])
        .arg(&built)
        .arg("--manifest-path")
        .arg(source.join("Cargo.toml"))
        // The flags of this workspace are for its own programs.
        .env("CARGO_ENCODED_RUSTFLAGS", "")
        .remedy("`cargo xtask examples` again, when what it says above is mended")
        .run()?;
    fs::create_dir_all(&out).with_context(|| format!("failed to make {}", out.display()))?;
    Step::cargo("make a component of the image example")
        // Not `--package`: the features of the whole workspace, so that what other commands compiled is used again.
        .args(["run", "--quiet", "--example", "wrap", "--"])
        .arg(built.join("wasm32-unknown-unknown/release/image_example.wasm"))
        .arg(out.join("image.wasm"))
        .remedy("`cargo xtask examples` again, when what it says above is mended")
        .run()?;
    for file in FILES {
        fs::copy(source.join(file), out.join(file))
            .with_context(|| format!("failed to copy examples/image/{file}"))?;
    }
    Ok(())
}
