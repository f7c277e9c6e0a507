//! `cargo xtask examples`: what the page runs without a server and `up` starts with, made into target/examples/. Trunk calls it before each build.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{process::Step, workspace};

/// An example in Rust: its folder and component, its crate's library, and the files that go along as they are.
struct Example {
    name: &'static str,
    library: &'static str,
    files: &'static [&'static str],
}

const EXAMPLES: [Example; 2] = [
    Example {
        name: "image",
        library: "image_example",
        files: &[
            "picture.png",
            "crop-rotate-blur.json",
            "crop-rotate-grayscale.json",
        ],
    },
    Example {
        name: "math",
        library: "math",
        files: &["add.json"],
    },
];

/// What was made of the examples: `math.wasm`, `picture.png` …
pub(crate) fn file(name: &str) -> PathBuf {
    folder().join(name)
}

fn folder() -> PathBuf {
    workspace::root().join("target/examples")
}

/// Builds the examples and lays them beside their pictures and workflows.
pub(crate) fn build() -> Result<()> {
    EXAMPLES.iter().try_for_each(Example::build)
}

impl Example {
    fn build(&self) -> Result<()> {
        let Self {
            name,
            library,
            files,
        } = self;
        let (source, out) = (workspace::root().join("examples").join(name), folder());
        let built = workspace::root().join("target/example-builds");
        Step::cargo(format!("build the {name} example"))
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
        let module = built
            .join("wasm32-unknown-unknown/release")
            .join(library)
            .with_extension("wasm");
        Step::cargo(format!("make a component of the {name} example"))
            // Not `--package`: the features of the whole workspace, so that what other commands compiled is used again.
            .args(["run", "--quiet", "--example", "wrap", "--"])
            .arg(module)
            .arg(out.join(name).with_extension("wasm"))
            .remedy("`cargo xtask examples` again, when what it says above is mended")
            .run()?;
        for file in *files {
            fs::copy(source.join(file), out.join(file))
                .with_context(|| format!("failed to copy examples/{name}/{file}"))?;
        }
        Ok(())
    }
}
