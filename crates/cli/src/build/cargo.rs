//! Rust: a Cargo package with a `cdylib`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use super::{Missing, read, run};
use crate::{console::Console, failure::Failure};

/// Needs nothing of the system: with wit-bindgen the module carries its world and is wrapped here.
const TARGET: &str = "wasm32-unknown-unknown";

const MISSING: Missing<'_> = Missing {
    program: "cargo",
    remedy: "install Rust: `curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh`",
};

/// What a package makes.
pub(super) struct Made {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Builds the package in release mode, in its own target folder.
pub(super) async fn build(
    source: &Path,
    target: Option<&str>,
    console: &Console,
) -> Result<Made, Failure> {
    let manifest = if source.is_dir() {
        source.join("Cargo.toml")
    } else {
        source.to_owned()
    };
    let manifest =
        std::fs::canonicalize(&manifest).map_err(|error| Failure::invalid(error.to_string()))?;
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let target = target.unwrap_or(TARGET);
    target_is_here(folder, target).await?;
    console.say(&format!("cargo builds {} for {target}", manifest.display()));
    let mut command = Command::new("cargo");
    // Where it is called from decides which rust-toolchain.toml counts.
    command
        .current_dir(folder)
        .args(["build", "--release", "--target", target, "--manifest-path"])
        .arg(&manifest)
        .arg("--message-format=json-render-diagnostics");
    let messages = run(&mut command, MISSING).await?;
    let (name, file) = artifact(&String::from_utf8_lossy(&messages), &manifest)?;
    Ok(Made {
        name,
        bytes: read(&file)?,
    })
}

async fn target_is_here(folder: &Path, target: &str) -> Result<(), Failure> {
    let mut command = Command::new("rustc");
    command
        .current_dir(folder)
        .args(["--print", "target-libdir", "--target", target]);
    let printed = run(&mut command, MISSING).await?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&printed).trim());
    if libraries.is_dir() {
        Ok(())
    } else {
        Err(
            Failure::invalid(format!("Rust's target {target} is not installed"))
                .hint(format!("`rustup target add {target}`")),
        )
    }
}

/// The package's name and the file that it made, by what cargo says.
fn artifact(messages: &str, manifest: &Path) -> Result<(String, PathBuf), Failure> {
    let made = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter(|message| message["manifest_path"].as_str().map(Path::new) == Some(manifest));
    let files = made.filter_map(|message| {
        let kinds = message["target"]["kind"].as_array()?;
        if !kinds.iter().any(|kind| kind == "cdylib" || kind == "bin") {
            return None;
        }
        let files = message["filenames"].as_array()?.iter();
        let wasm = files
            .filter_map(Value::as_str)
            .find(|file| file.ends_with(".wasm"))?;
        let name = message["target"]["name"].as_str()?;
        Some((name.to_owned(), PathBuf::from(wasm)))
    });
    let mut files: Vec<_> = files.collect();
    match (files.pop(), files.pop()) {
        (Some(file), None) => Ok(file),
        (None, _) => Err(Failure::invalid("the package makes no WebAssembly library")
            .hint("write `[lib] crate-type = [\"cdylib\"]` into its Cargo.toml; of a workspace, name the member")),
        (Some(_), Some(_)) => Err(Failure::invalid("the package makes several WebAssembly files")
            .hint("split it into packages with one library each")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_the_package_itself_is_taken() {
        let line = |manifest: &str, kind: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{"name":"math","kind":["{kind}"]}},"filenames":["{file}"]}}"#
            )
        };
        let messages = [
            line("/other/Cargo.toml", "cdylib", "/t/other.wasm"),
            line("/a/Cargo.toml", "custom-build", "/t/build"),
            line("/a/Cargo.toml", "cdylib", "/t/math.wasm"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ]
        .join("\n");
        let found = artifact(&messages, Path::new("/a/Cargo.toml")).unwrap();
        assert_eq!(found, ("math".to_owned(), PathBuf::from("/t/math.wasm")));
        let none = artifact(&messages, Path::new("/b/Cargo.toml")).unwrap_err();
        assert!(none.reason().contains("no WebAssembly library"));
    }
}
