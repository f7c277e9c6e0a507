//! Builders that authors usually do not have: fetched once by npm and pip, with their versions, into the user's cache.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::{Missing, run};
use crate::{console::Console, failure::Failure};

/// `$XDG_CACHE_HOME/asterism`, or `~/.cache/asterism`.
pub(crate) fn cache() -> Result<PathBuf, Failure> {
    let folder = |name: &str| env::var_os(name).filter(|path| !path.is_empty());
    let cache = folder("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(folder("HOME")?).join(".cache")));
    let cache = cache.ok_or_else(|| {
        Failure::invalid("there is no cache folder").hint("set HOME or XDG_CACHE_HOME")
    })?;
    Ok(cache.join("asterism"))
}

/// JavaScript's builders. The first of their versions is that of the script which drives them.
const NPM: [&str; 3] = [
    "@bytecodealliance/componentize-js@0.23.0",
    "esbuild@0.28.2",
    "typescript@5.9.3",
];

const PIP: [&str; 1] = ["componentize-py==0.25.0"];

const NODE: Missing<'_> = Missing {
    program: "npm",
    remedy: "install Node.js 20 or newer: `apt-get install nodejs npm`, `brew install node`, or https://nodejs.org",
};

const PYTHON: Missing<'_> = Missing {
    program: "python3",
    remedy: "install Python 3.10 or newer with venv: `apt-get install python3-venv`, `brew install python`, or https://python.org",
};

/// A folder that has JavaScript's builders in `node_modules`.
pub(super) async fn javascript(console: &Console) -> Result<PathBuf, Failure> {
    let folder = cache()?.join("tools/javascript-1");
    kept(
        &folder,
        console,
        "componentize-js, esbuild and typescript (npm)",
        async |made| {
            let mut command = Command::new("npm");
            command
                .current_dir(made)
                .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
                .args(["--loglevel=error", "--prefix"])
                .arg(made)
                .args(NPM);
            run(&mut command, NODE).await.map(drop)
        },
    )
    .await?;
    Ok(folder)
}

/// A virtual environment that has Python's builder.
pub(super) async fn python(console: &Console) -> Result<PathBuf, Failure> {
    let folder = cache()?.join("tools/python-1");
    kept(&folder, console, "componentize-py (pip)", async |made| {
        let mut command = Command::new("python3");
        command.args(["-m", "venv"]).arg(made);
        run(&mut command, PYTHON).await?;
        let mut command = Command::new(made.join("bin/python"));
        command
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(PIP);
        run(&mut command, PYTHON).await.map(drop)
    })
    .await?;
    Ok(folder)
}

/// Makes `folder` unless it was made before: a mark in it says that it is whole. It is made in its place, because
/// virtual environments cannot be moved; a lock keeps a second one away, and what was left half made is made again.
async fn kept(
    folder: &Path,
    console: &Console,
    what: &str,
    make: impl AsyncFnOnce(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let broken = |error: std::io::Error| {
        Failure::other(format!("{} cannot be made: {error}", folder.display()))
    };
    let mark = folder.join(".whole");
    if mark.exists() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(broken)?;
    let lock = fs::File::create(folder.with_extension("lock")).map_err(broken)?;
    let locked = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
    let _lock = locked
        .map_err(|error| Failure::other(error.to_string()))?
        .map_err(broken)?;
    if mark.exists() {
        return Ok(());
    }
    console.say(&format!(
        "fetching {what} into {}: once, this takes a minute",
        folder.display()
    ));
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(broken)?;
    }
    fs::create_dir_all(folder).map_err(broken)?;
    if let Err(failure) = make(folder).await {
        // What is left of it would be made again anyway.
        let _ = fs::remove_dir_all(folder);
        return Err(failure);
    }
    fs::write(&mark, b"").map_err(broken)
}
