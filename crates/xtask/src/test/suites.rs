//! Which tests there are, asked of cargo and of the sources: a list kept by hand would forget some.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::Step;

/// Wasm tests of one package.
pub(super) struct WasmSuite {
    /// The package.
    pub(super) package: String,
    /// Arguments of cargo that choose its test programs: `--lib`, `--test`, `name`.
    pub(super) targets: Vec<String>,
}

/// Packages that `cargo test` tests here, without this one.
pub(super) fn default_members() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let defaults: Vec<&Value> = list(&metadata["workspace_default_members"]).collect();
    let members = list(&metadata["packages"]).filter(|package| defaults.contains(&&package["id"]));
    Ok(members
        .map(|package| text(&package["name"]))
        .filter(|name| name != env!("CARGO_PKG_NAME"))
        .collect())
}

/// Libraries and test programs whose sources speak of `wasm_bindgen_test`.
pub(super) fn wasm_suites() -> Result<Vec<WasmSuite>> {
    let metadata = metadata()?;
    let mut suites = Vec::new();
    for package in
        list(&metadata["packages"]).filter(|package| package["name"] != env!("CARGO_PKG_NAME"))
    {
        let mut targets = Vec::new();
        // What is not tested by default is asked for by its level.
        for target in list(&package["targets"]).filter(|target| target["test"] == true) {
            let path = text(&target["src_path"]);
            let path = Path::new(&path);
            if list(&target["kind"]).any(|kind| kind == "lib")
                && is_wasm_test(path.parent().unwrap_or(path))?
            {
                targets.push("--lib".to_owned());
            } else if list(&target["kind"]).any(|kind| kind == "test") && is_wasm_test(path)? {
                targets.extend(["--test".to_owned(), text(&target["name"])]);
            }
        }
        if !targets.is_empty() {
            suites.push(WasmSuite {
                package: text(&package["name"]),
                targets,
            });
        }
    }
    Ok(suites)
}

fn metadata() -> Result<Value> {
    let text = Step::cargo("read what the workspace consists of")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .read()?;
    serde_json::from_str(&text).context("failed to understand `cargo metadata`")
}

fn is_wasm_test(path: &Path) -> Result<bool> {
    mentions(path).with_context(|| format!("failed to read {}", path.display()))
}

fn mentions(path: &Path) -> io::Result<bool> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            if mentions(&entry?.path())? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    Ok(path.extension().is_some_and(|ending| ending == "rs")
        && fs::read_to_string(path)?.contains("wasm_bindgen_test"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_members_are_found_without_this_one() {
        let members = default_members().unwrap();
        assert!(
            members.iter().any(|name| name == "asterism-protocol"),
            "{members:?}"
        );
        assert!(!members.iter().any(|name| name == "xtask"), "{members:?}");
    }

    #[test]
    fn wasm_tests_are_known_by_their_sources() {
        assert!(
            mentions(
                Path::new(file!())
                    .file_name()
                    .map(|name| Path::new("src/test").join(name))
                    .unwrap()
                    .as_path()
            )
            .unwrap()
        );
        assert!(!mentions(Path::new("Cargo.toml")).unwrap());
    }
}
