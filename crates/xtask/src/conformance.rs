//! `cargo xtask conformance`, and `cargo xtask fuzz` without a target: sets up the hosts that live in other programs, and runs what compares
//! them with Wasmtime.

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{languages, process::Step, setup, trunk, workspace};

/// What jco and node are installed from.
const ORACLE: [&str; 2] = ["package.json", "package-lock.json"];

/// The profile that tests are built with.
const DEV: &str = "dev";

/// Performs the corpus on every host; arguments are handed on.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let driver = setup::chromedriver()?;
    set_up()?;
    compare("compare the hosts", "conformance", args)
        .env("CHROMEDRIVER", driver)
        .run()
}

/// Compares generated modules and values on two hosts until something differs, or for so many seeds; arguments are handed on.
pub(crate) fn fuzz(args: &[OsString]) -> Result<()> {
    set_up()?;
    compare("fuzz the hosts", "fuzz", args).run()
}

/// All that is compared with Wasmtime, made or installed.
pub(crate) fn set_up() -> Result<()> {
    setup::wasm_targets()?;
    setup::clang()?;
    setup::npm()?;
    languages::build_if_stale()?;
    performer(DEV, "performer")?;
    oracle()
}

/// A program of asterism-tests, built with all default members: so it is the build that tests are.
fn compare(purpose: &str, what: &str, args: &[OsString]) -> Step {
    Step::cargo(purpose)
        .args(["run", "--quiet", "--bin", "compare", "--", what])
        .args(args)
}

/// The browser's host as a module for node and workers, built with this profile into a folder of target/.
pub(crate) fn performer(profile: &str, folder: &str) -> Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    Step::cargo("build the browser's host as a program")
        .args(["build", "--quiet", "--target", TARGET, "--profile", profile])
        .args(["--package", "asterism-tests", "--bin", "performer"])
        .run()?;
    let target = workspace::root().join("target");
    let built = target
        .join(TARGET)
        .join(if profile == DEV { "debug" } else { profile });
    trunk::wasm_bindgen(vec![
        "wasm-bindgen".into(),
        "--target=web".into(),
        "--no-typescript".into(),
        "--out-dir".into(),
        target.join(folder).into_os_string(),
        built.join("performer.wasm").into_os_string(),
    ])
}

/// jco and the node that is compared, in target/tools, so that nothing outside the repository is touched; fetched again only when its lock file changes.
fn oracle() -> Result<()> {
    let source = workspace::root().join("tests/performer");
    let folder = workspace::tools().join("oracle");
    let mark = folder.join(".whole");
    let same = |name: &str| fs::read(source.join(name)).ok() == fs::read(folder.join(name)).ok();
    if mark.exists() && ORACLE.into_iter().all(same) {
        return Ok(());
    }
    eprintln!("installing jco and node into {}, once", folder.display());
    copy(&source, &folder, &mark)
        .with_context(|| format!("failed to write into {}", folder.display()))?;
    Step::new("install jco and node", "npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .args(["--loglevel=error", "--prefix"])
        .arg(&folder)
        .remedy("it again where there is a network")
        .run()?;
    fs::write(&mark, "").with_context(|| format!("failed to write {}", mark.display()))
}

fn copy(source: &Path, folder: &Path, mark: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    if mark.exists() {
        fs::remove_file(mark)?;
    }
    for name in ORACLE {
        fs::copy(source.join(name), folder.join(name))?;
    }
    Ok(())
}
