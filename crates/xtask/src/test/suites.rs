//! Which tests there are, asked of cargo and of the sources: a list kept by hand would forget some.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process::Step;

/// Wasm tests of all packages.
#[derive(Default)]
pub(super) struct WasmSuites {
    /// The packages.
    pub(super) packages: Vec<String>,
    /// Arguments of cargo that choose their test programs: `--lib`, `--test`, `name`.
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
pub(super) fn wasm_suites() -> Result<WasmSuites> {
    let metadata = metadata()?;
    let mut suites = WasmSuites::default();
    let mut has_libraries = false;
    for package in
        list(&metadata["packages"]).filter(|package| package["name"] != env!("CARGO_PKG_NAME"))
    {
        let mut has_tests = false;
        // What is not tested by default is asked for by its level.
        for target in list(&package["targets"]).filter(|target| target["test"] == true) {
            let path = text(&target["src_path"]);
            let path = Path::new(&path);
            if list(&target["kind"]).any(|kind| kind == "lib")
                && is_wasm_test(path.parent().unwrap_or(path))?
            {
                (has_libraries, has_tests) = (true, true);
            } else if list(&target["kind"]).any(|kind| kind == "test") && is_wasm_test(path)? {
                has_tests = true;
                suites
                    .targets
                    .extend(["--test".to_owned(), text(&target["name"])]);
            }
        }
        if has_tests {
            suites.packages.push(text(&package["name"]));
        }
    }
    // Of all packages: a library without wasm tests has nothing to do.
    if has_libraries {
        suites.targets.push("--lib".to_owned());
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
    fn wasm_tests_of_all_packages_are_chosen_at_once() {
        let WasmSuites { packages, targets } = wasm_suites().unwrap();
        for package in ["asterism-host-browser", "asterism-simulator"] {
            assert!(packages.iter().any(|name| name == package), "{packages:?}");
        }
        let libraries = targets.iter().filter(|target| *target == "--lib");
        assert_eq!(libraries.count(), 1, "{targets:?}");
        let simulation = ["--test".to_owned(), "simulation".to_owned()];
        assert!(
            targets.windows(2).any(|pair| pair == simulation),
            "{targets:?}"
        );
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
