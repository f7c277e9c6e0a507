//! `cargo xtask languages`: the guests in TypeScript, JavaScript and Python, made into components by `asterism fn build`
//! itself, whose builders are installed under target/ for it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result, ensure};

use crate::{bundle::newest, process::Step, setup, up, workspace};

/// Sources of the guests.
const SOURCES: &str = "tests/guests/languages";

/// What they are made from and with.
const MADE_OF: [&str; 2] = [SOURCES, "crates/cli/src/build"];

/// Component, source, world, and how it is built.
const GUESTS: [(&str, &str, &str, &[&str]); 4] = [
    ("subtract", "subtract.ts", "subtraction", &["--wasi"]),
    ("subtract-minimal", "subtract.ts", "subtraction", &[]),
    ("multiply", "multiply.py", "multiplication", &[]),
    ("divide", "divide.js", "division", &["--engine", "quickjs"]),
];

/// Builds what is older than its sources.
pub(crate) fn build_if_stale() -> Result<()> {
    if is_fresh().unwrap_or(false) {
        return Ok(());
    }
    build()
}

/// Builds, whether or not it is needed.
pub(crate) fn build() -> Result<()> {
    setup::npm()?;
    setup::python()?;
    let started = SystemTime::now();
    let (out, asterism) = (workspace::languages(), up::program()?);
    fs::create_dir_all(&out).with_context(|| format!("failed to make {}", out.display()))?;
    for guest in GUESTS {
        build_one(&asterism, &out, guest)?;
    }
    let write = || fs::File::create(stamp())?.set_modified(started);
    write().with_context(|| format!("failed to write {}", stamp().display()))
}

fn build_one(
    asterism: &Path,
    out: &Path,
    (name, source, world, how): (&str, &str, &str, &[&str]),
) -> Result<()> {
    let sources = workspace::root().join(SOURCES);
    Step::new(format!("make a component of {source}"), asterism)
        .args(["fn", "build"])
        .arg(sources.join(source))
        .arg("--wit")
        .arg(sources.join("wit"))
        .args(["--world", world])
        .args(how)
        .arg("--out")
        .arg(out.join(name).with_extension("wasm"))
        // Its builders are this repository's, and not the user's.
        .env("XDG_CACHE_HOME", workspace::tools().join("cache"))
        .remedy("`cargo xtask languages` again, where there is a network")
        .run()?;
    let left = sources.join("__pycache__");
    ensure!(
        !left.exists(),
        "a builder left {} beside the source",
        left.display()
    );
    Ok(())
}

fn stamp() -> PathBuf {
    workspace::languages().join("stamp")
}

fn is_fresh() -> io::Result<bool> {
    let sources = MADE_OF.map(|source| workspace::root().join(source));
    Ok(newest(&sources)? < fs::metadata(stamp())?.modified()?)
}
