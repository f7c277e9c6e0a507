//! What a fresh machine lacks: found, or installed where we can, or named with the command that installs it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::{Step, on_path},
    workspace,
};

/// Newer ones need a newer compiler than rust-toolchain.toml names.
const TRUNK_VERSION: &str = "0.21.14";

/// The newest of the line that needs no newer compiler.
const MDBOOK_VERSION: &str = "0.4.52";

/// The newest.
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// What programs for browsers are built for, and guests of either kind.
const WASM_TARGETS: [&str; 2] = ["wasm32-unknown-unknown", "wasm32-wasip2"];

/// Debian's names; other distributions have one of these.
const BROWSERS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// The standard libraries for wasm.
pub(crate) fn wasm_targets() -> Result<()> {
    WASM_TARGETS.into_iter().try_for_each(wasm_target)
}

fn wasm_target(target: &str) -> Result<()> {
    let libdir = Step::new("ask rustc where its libraries are", "rustc")
        .args(["--print", "target-libdir", "--target", target])
        .read()?;
    if Path::new(libdir.trim()).is_dir() {
        return Ok(());
    }
    Step::new("install a wasm target", "rustup")
        .args(["target", "add", target])
        .remedy(format!(
            "`rustup target add {target}` where there is a network"
        ))
        .run()
}

/// Trunk in target/tools, so that nothing outside the repository is touched. Without encryption and its question for updates,
/// a third of what it is built of: it is lent every tool that it would fetch, and it talks to this machine.
pub(crate) fn trunk() -> Result<PathBuf> {
    tool("trunk", TRUNK_VERSION, &["--no-default-features"])
}

/// mdBook in target/tools. Without its search and server: the guide needs neither.
pub(crate) fn mdbook() -> Result<PathBuf> {
    tool("mdbook", MDBOOK_VERSION, &["--no-default-features"])
}

/// cargo-fuzz in target/tools.
pub(crate) fn cargo_fuzz() -> Result<()> {
    tool("cargo-fuzz", CARGO_FUZZ_VERSION, &[]).map(drop)
}

/// A tool of this version, installed if it was missing.
fn tool(name: &str, version: &str, flags: &[&str]) -> Result<PathBuf> {
    let root = workspace::tools();
    let program = root.join("bin").join(name);
    let is_right = || {
        let said = Step::new(format!("ask {name} for its version"), &program)
            .arg("--version")
            .read();
        said.is_ok_and(|text| text.trim().ends_with(version))
    };
    if program.is_file() && is_right() {
        return Ok(program);
    }
    eprintln!("installing {name} {version} into {}, once", root.display());
    // Unoptimised, with nothing for debuggers: its own build is waited for on every fresh machine, and it does not do much.
    Step::cargo(format!("install {name}"))
        .args([
            "install",
            name,
            "--version",
            version,
            "--locked",
            "--debug",
            "--force",
        ])
        .args(flags)
        .arg("--root")
        .arg(&root)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .remedy("it again where there is a network")
        .run()?;
    Ok(program)
}

/// node, for wasm tests without a browser.
pub(crate) fn node() -> Result<()> {
    if on_path("node").is_some() {
        return Ok(());
    }
    apt_install("node", &["nodejs"])
}

/// npm, for the builders of guests in JavaScript.
pub(crate) fn npm() -> Result<()> {
    node()?;
    if on_path("npm").is_some() {
        return Ok(());
    }
    apt_install("npm", &["npm"])
}

/// Python with virtual environments, for the builder of guests in it.
pub(crate) fn python() -> Result<()> {
    let asked = || {
        Step::new("ask Python for its virtual environments", "python3")
            .args(["-c", "import ensurepip, venv"])
            .read()
    };
    if on_path("python3").is_some() && asked().is_ok() {
        return Ok(());
    }
    apt_install("Python", &["python3", "python3-venv"])
}

/// What tests start to speak like S3, by its versions.
const MOTO: &str = include_str!("../../coordinator/tests/common/moto.txt");

/// moto's server in a virtual environment in target/tools; tests start it. A mark says that it is whole, and which one.
pub(crate) fn moto() -> Result<()> {
    let folder = workspace::tools().join("moto");
    let mark = folder.join(".whole");
    if fs::read_to_string(&mark).is_ok_and(|made_of| made_of == MOTO) {
        return Ok(());
    }
    python()?;
    eprintln!("installing moto into {}, once", folder.display());
    let wanted = folder.join("requirements.txt");
    let broken = || format!("failed to write {}", folder.display());
    // Of other versions, or half made.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(broken)?;
    }
    let remedy = "it again where there is a network";
    Step::new("make a virtual environment for moto", "python3")
        .args(["-m", "venv"])
        .arg(&folder)
        .remedy(remedy)
        .run()?;
    fs::write(&wanted, MOTO).with_context(broken)?;
    Step::new("install moto", folder.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "-r"])
        .arg(&wanted)
        .remedy(remedy)
        .run()?;
    fs::write(&mark, MOTO).with_context(broken)
}

/// clang and its linker, for guests in C.
pub(crate) fn clang() -> Result<()> {
    if on_path("clang").is_some() && on_path("wasm-ld").is_some() {
        return Ok(());
    }
    apt_install("clang and lld", &["clang", "lld"])
}

/// curl, which fetches modules for the command line.
pub(crate) fn curl() -> Result<()> {
    if on_path("curl").is_some() {
        return Ok(());
    }
    apt_install("curl", &["curl"])
}

/// PostgreSQL's programs; tests start a server of their own. Debian keeps them out of the path.
pub(crate) fn postgres() -> Result<()> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut folders = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    if on_path("initdb").is_some() || folders.any(|folder| folder.join("initdb").is_file()) {
        return Ok(());
    }
    apt_install("PostgreSQL", &["postgresql"])
}

/// Chromium and its driver; the driver's path.
pub(crate) fn chromedriver() -> Result<PathBuf> {
    if let Some(driver) = std::env::var_os("CHROMEDRIVER") {
        return Ok(driver.into());
    }
    let found = || {
        BROWSERS
            .iter()
            .find_map(|name| on_path(name))
            .and_then(|_| on_path("chromedriver"))
    };
    if let Some(driver) = found() {
        return Ok(driver);
    }
    apt_install(
        "Chromium and chromedriver",
        &["chromium", "chromium-driver"],
    )?;
    match found() {
        Some(driver) => Ok(driver),
        None => bail!(
            "failed to find chromedriver because its package brought none; run with CHROMEDRIVER=/path/to/it"
        ),
    }
}

/// Installs from a Debian-like distribution, if this is one and we may.
fn apt_install(what: &str, packages: &[&str]) -> Result<()> {
    let by_hand = format!(
        "`apt-get install {}` as root, or install {what} your system's way",
        packages.join(" ")
    );
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || on_path("apt-get").is_none() {
        let why = if is_root {
            "there is no apt-get"
        } else {
            "this is not root"
        };
        bail!("failed to find {what} because it is not installed and {why}; run {by_hand}");
    }
    eprintln!("installing {} with apt-get", packages.join(", "));
    let apt = |purpose: String, args: &[&str]| {
        Step::new(purpose, "apt-get")
            .args(["-q", "-y"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .remedy(by_hand.clone())
            .run_watched(Duration::from_mins(10), |_| ())
    };
    // Lists that are out of date are no reason to stop: the installation itself decides.
    if let Err(error) = apt("refresh the package lists".to_owned(), &["update"]) {
        eprintln!("warning: {error:#}");
    }
    let install: Vec<&str> = ["install", "--no-install-recommends"]
        .into_iter()
        .chain(packages.iter().copied())
        .collect();
    apt(format!("install {what}"), &install)
}
