//! TypeScript and JavaScript, by componentize-js or componentize-qjs. The world is inferred from types, see `javascript.mjs`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Engine, Missing, Options, kept, read_made, run, scratch, tools};
use crate::{console::Console, failure::Failure};

/// What infers, adapts, bundles and componentizes: written beside the builders, whose modules it imports.
const SCRIPT: &str = include_str!("javascript.mjs");

const NODE: Missing<'_> = Missing {
    program: "node",
    remedy: "install Node.js 20 or newer: `apt-get install nodejs npm`, `brew install node`, or https://nodejs.org",
};

/// A component of a module and what it imports.
pub(super) async fn build(
    source: &Path,
    options: &Options,
    console: &Console,
) -> Result<Vec<u8>, Failure> {
    let quickjs = options.engine == Engine::Quickjs;
    if quickjs && options.wit.is_none() {
        // Its view of 64-bit integers and of typed arrays is another one, which adapters do not know.
        return Err(Failure::invalid("the world cannot be inferred for QuickJS")
            .hint("give one: `--wit PATH`"));
    }
    let tools = tools::javascript(console).await?;
    let whole = fs::canonicalize(source).map_err(|error| Failure::invalid(error.to_string()))?;
    let (order, mut files) = options.order(&whole, &tools, SCRIPT);
    if let Some(made) = kept::find(&order) {
        return Ok(made);
    }
    let work = scratch()?;
    // In the work folder, where a build beside this one does not write; imports are found through the link.
    let script = work.path().join("build.mjs");
    let broken =
        |error: std::io::Error| Failure::other(format!("no script can be written: {error}"));
    fs::write(&script, SCRIPT).map_err(broken)?;
    link(
        &tools.join("node_modules"),
        &work.path().join("node_modules"),
    )
    .map_err(broken)?;
    let made = work.path().join("component.wasm");
    let orders = json!({
        "source": source,
        "work": work.path().join("work"),
        "out": made,
        "wit": options.wit,
        "world": options.world,
        "quickjs": quickjs,
        "wasi": options.wasi,
    });
    let mut command = Command::new("node");
    command.arg(&script).arg(orders.to_string());
    let said = run(&mut command, NODE).await?;
    let answer = answer(&said)?;
    let builder = if quickjs {
        "componentize-qjs"
    } else {
        "componentize-js"
    };
    let made = read_made(&made, builder)?;
    let read = answer["files"].as_array().into_iter().flatten();
    files.extend(read.filter_map(|file| file.as_str().map(PathBuf::from)));
    // They say how the source is read, wherever they are above it, and also by not being there.
    for folder in whole.ancestors().skip(1) {
        files.extend(["package.json", "tsconfig.json"].map(|name| folder.join(name)));
    }
    kept::keep(&order, files, &made);
    Ok(made)
}

/// The script's answer: its last word, after whatever its libraries print.
pub(super) fn answer(said: &[u8]) -> Result<Value, Failure> {
    let said = String::from_utf8_lossy(said);
    let last = said.lines().last().unwrap_or_default();
    let answer: Value = serde_json::from_str(last).unwrap_or_default();
    match (&answer["error"], &answer) {
        (Value::String(error), _) => Err(Failure::invalid(error.clone())),
        (_, Value::Object(_)) => Ok(answer),
        _ => Err(Failure::other(format!(
            "the builder broke off, saying {said:?}"
        ))),
    }
}

#[cfg(unix)]
fn link(original: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(original, link)
}

#[cfg(not(unix))]
fn link(original: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_dir(original, link)
}
