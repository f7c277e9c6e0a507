//! `cargo xtask bundle`: panel and workers, built by Trunk into dist/ and compressed there.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result};

use crate::{
    compress,
    process::{Running, Step},
    trunk, workspace,
};

/// What the bundle is made from.
const SOURCES: [&str; 16] = [
    ".cargo/config.toml",
    "Cargo.lock",
    "Cargo.toml",
    "Trunk.toml",
    "crates/component",
    "crates/executor",
    "crates/host-browser",
    "crates/protocol",
    "crates/scheduler",
    "crates/world",
    "crates/xtask/src/examples.rs",
    "examples/image",
    "examples/math",
    "index.html",
    "rust-toolchain.toml",
    "web",
];

/// Builds, whether or not it is needed.
pub(crate) fn build() -> Result<()> {
    let started = SystemTime::now();
    // Whoever looks meanwhile finds the old panel or none, but no half of one.
    let made = workspace::root().join("target/bundle");
    trunk::step("build the panel")?
        .args(["build", "--release", "--dist"])
        .arg(&made)
        .remedy("`cargo xtask bundle` again, when what it says above is mended")
        .run()?;
    compress::folder(&made)?;
    put(&made, &workspace::dist()).with_context(|| {
        format!(
            "failed to move {} to {}",
            made.display(),
            workspace::dist().display()
        )
    })?;
    // The page carries the hashes of all that it loads, so it stands for the whole folder.
    let write = || {
        fs::copy(workspace::dist().join("index.html"), stamp())?;
        fs::File::options()
            .append(true)
            .open(stamp())?
            .set_modified(started)
    };
    write().with_context(|| format!("failed to write {}", stamp().display()))
}

/// Moves a folder to where another one may be.
fn put(folder: &Path, place: &Path) -> io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::rename(folder, place),
    }
}

/// Builds if the sources are newer than dist/, or somebody else wrote there.
pub(crate) fn build_if_stale() -> Result<()> {
    if is_fresh().unwrap_or(false) {
        Ok(())
    } else {
        build()
    }
}

/// Begins to build if it is stale, behind everything else that runs here: it takes minutes, and tests leave processors idle.
pub(crate) fn start_if_stale() -> Option<Running> {
    if is_fresh().unwrap_or(false) {
        return None;
    }
    let me = env::current_exe().ok()?;
    Step::new("build the panel beside the tests", "nice")
        .args(["-n", "19"])
        .arg(me)
        .arg("bundle")
        .start()
        .ok()
}

/// When and what was last built.
fn stamp() -> PathBuf {
    workspace::tools().join("bundle-stamp")
}

fn is_fresh() -> io::Result<bool> {
    let built = fs::metadata(stamp())?.modified()?;
    if fs::read(stamp())? != fs::read(workspace::dist().join("index.html"))? {
        return Ok(false);
    }
    let sources = SOURCES.map(|source| workspace::root().join(source));
    Ok(newest(&sources)? < built)
}

/// When the newest of these files, and of those in these folders, was changed.
pub(crate) fn newest(paths: &[PathBuf]) -> io::Result<SystemTime> {
    paths
        .iter()
        .try_fold(SystemTime::UNIX_EPOCH, |newest, path| {
            Ok(newest.max(modified(path)?))
        })
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    let metadata = fs::metadata(path)?;
    let mut newest = metadata.modified()?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            newest = newest.max(modified(&entry?.path())?);
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_exists() {
        for source in SOURCES {
            assert!(workspace::root().join(source).exists(), "{source}");
        }
    }
}
