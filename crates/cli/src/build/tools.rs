//! Builders that authors usually do not have: fetched once by npm and pip, with their versions, into the user's cache.

use std::{
    fs,
    path::{Path, PathBuf},
};

use asterism_protocol::blob_cid;
use tokio::process::Command;

use super::{Missing, run};
use crate::{console::Console, failure::Failure, folders};

/// `$XDG_CACHE_HOME/asterism`, or `~/.cache/asterism`.
pub(crate) fn cache() -> Result<PathBuf, Failure> {
    folders::of_user("XDG_CACHE_HOME", ".cache").ok_or_else(|| {
        Failure::invalid("there is no cache folder").hint("set HOME or XDG_CACHE_HOME")
    })
}

/// JavaScript's builders: componentize-js for SpiderMonkey and preview2-shim, which it needs without saying so; componentize-qjs
/// for QuickJS; what reads and
/// bundles sources. The lock file names each package by its hash and none by the place that it came from.
const NPM: [(&str, &str); 2] = [
    ("package.json", include_str!("tools/package.json")),
    ("package-lock.json", include_str!("tools/package-lock.json")),
];

/// Python's builder, by the hashes of its wheels.
const PIP: [(&str, &str); 1] = [("requirements.txt", include_str!("tools/requirements.txt"))];

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
    let what = "componentize-js, componentize-qjs, esbuild and typescript (npm)";
    kept("javascript", &NPM, console, what, async |made| {
        let mut command = Command::new("npm");
        command
            .current_dir(made)
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args(["--loglevel=error", "--prefix"])
            .arg(made);
        run(&mut command, NODE).await.map(drop)
    })
    .await
}

/// A virtual environment that has Python's builder.
pub(super) async fn python(console: &Console) -> Result<PathBuf, Failure> {
    kept(
        "python",
        &PIP,
        console,
        "componentize-py (pip)",
        async |made| {
            let mut command = Command::new("python3");
            command.args(["-m", "venv"]).arg(made);
            run(&mut command, PYTHON).await?;
            let mut command = Command::new(made.join("bin/python"));
            command
                .args(["-m", "pip", "install", "--quiet"])
                .args(["--disable-pip-version-check", "--require-hashes", "-r"])
                .arg(made.join(PIP[0].0));
            run(&mut command, PYTHON).await.map(drop)
        },
    )
    .await
}

/// The folder of a tool with what its `pins` name, made unless it was made before: a mark in it says that it is whole. It
/// is made in its place, because virtual environments cannot be moved; a lock keeps a second one away, and what was left
/// half made is made again. Other pins are another folder.
async fn kept(
    tool: &str,
    pins: &[(&str, &str)],
    console: &Console,
    what: &str,
    make: impl AsyncFnOnce(&Path) -> Result<(), Failure>,
) -> Result<PathBuf, Failure> {
    let pinned: String = pins.iter().map(|(_, text)| *text).collect();
    let digest = blob_cid(pinned.as_bytes()).to_string();
    // The start of a CID is the same for all of them.
    let version = &digest[digest.len() - 12..];
    let folder = cache()?.join(format!("tools/{tool}-{version}"));
    let broken = |error: std::io::Error| {
        Failure::other(format!("{} cannot be made: {error}", folder.display()))
    };
    let mark = folder.join(".whole");
    if mark.exists() {
        return Ok(folder);
    }
    let parent = folder.parent().unwrap_or(&folder);
    fs::create_dir_all(parent).map_err(broken)?;
    let lock = fs::File::create(folder.with_extension("lock")).map_err(broken)?;
    let locked = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
    let _lock = locked
        .map_err(|error| Failure::other(error.to_string()))?
        .map_err(broken)?;
    if mark.exists() {
        return Ok(folder);
    }
    console.say(&format!(
        "fetching {what} into {}: once, this takes a minute",
        folder.display()
    ));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(broken)?;
    }
    fs::create_dir_all(&folder).map_err(broken)?;
    for (name, text) in pins {
        fs::write(folder.join(name), text).map_err(broken)?;
    }
    if let Err(failure) = make(&folder).await {
        // What is left of it would be made again anyway.
        let _ = fs::remove_dir_all(&folder);
        return Err(failure);
    }
    fs::write(&mark, b"").map_err(broken)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_name_hashes_and_no_place_to_download_from() {
        let [(_, package), (_, lock)] = NPM;
        assert!(lock.matches("\"integrity\": \"sha512-").count() > 100);
        assert!(!lock.contains("\"resolved\""));
        let exact = |line: &str| line.contains("\": \"") && !line.contains(['^', '~']);
        assert_eq!(package.lines().filter(|line| exact(line)).count(), 6);
        assert!(PIP[0].1.contains("=="));
        assert!(PIP[0].1.contains("--hash=sha256:"));
    }
}
