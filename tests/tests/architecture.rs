//! The arrows between crates, as ARCHITECTURE.md draws them.
#![cfg(not(target_arch = "wasm32"))]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

/// What each crate of ours may depend on (build and normal dependencies).
const ALLOWED: &[(&str, &[&str])] = &[
    ("asterism-protocol", &[]),
    ("asterism-scheduler", &["asterism-protocol"]),
    ("asterism-executor", &["asterism-protocol"]),
    (
        "asterism-simulator",
        &[
            "asterism-scheduler",
            "asterism-executor",
            "asterism-protocol",
        ],
    ),
    ("asterism-component", &["asterism-protocol"]),
    ("asterism-document", &["asterism-protocol"]),
    (
        "asterism-world",
        &["asterism-component", "asterism-protocol"],
    ),
    (
        "asterism-host-wasmtime",
        &[
            "asterism-executor",
            "asterism-world",
            "asterism-component",
            "asterism-protocol",
        ],
    ),
    (
        "asterism-host-browser",
        &[
            "asterism-executor",
            "asterism-world",
            "asterism-component",
            "asterism-protocol",
        ],
    ),
    (
        "asterism-executor-native",
        &["asterism-executor", "asterism-world", "asterism-protocol"],
    ),
    (
        "asterism-coordinator",
        &[
            "asterism-scheduler",
            "asterism-component",
            "asterism-document",
            "asterism-world",
            "asterism-protocol",
        ],
    ),
    (
        "asterism-web",
        &[
            "asterism-document",
            "asterism-scheduler",
            "asterism-simulator",
            "asterism-executor",
            "asterism-host-browser",
            "asterism-component",
            "asterism-world",
            "asterism-protocol",
        ],
    ),
    (
        "asterism-cli",
        &[
            "asterism-coordinator",
            "asterism-document",
            "asterism-executor-native",
            "asterism-executor",
            "asterism-host-wasmtime",
            "asterism-component",
            "asterism-world",
            "asterism-protocol",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that the pure ones must never reach, not even through others.
const IMPURE: &[&str] = &[
    "tokio",
    "wasm-bindgen",
    "getrandom",
    "web-sys",
    "js-sys",
    "rusqlite",
    "reqwest",
];

fn metadata() -> serde_json::Value {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--manifest-path",
            manifest,
        ])
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Normal and build dependencies of every package, by name.
fn dependencies(metadata: &serde_json::Value) -> BTreeMap<String, Vec<String>> {
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &serde_json::Value| value.as_str().expect("a name").to_owned();
    let edges = |package: &serde_json::Value| {
        let all = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter();
        all.filter(|d| d["kind"] != "dev" && d["optional"] != true)
            .map(|d| name(&d["name"]))
            .collect()
    };
    packages
        .iter()
        .map(|package| (name(&package["name"]), edges(package)))
        .collect()
}

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let metadata = metadata();
    let dependencies = dependencies(&metadata);
    let ours = |name: &str| name == "xtask" || name.starts_with("asterism-");
    let members = metadata["workspace_members"]
        .as_array()
        .expect("members")
        .len();
    assert_eq!(
        members,
        ALLOWED.len() + 1,
        "a crate was added or removed: draw its arrows here and in ARCHITECTURE.md"
    );
    for (name, allowed) in ALLOWED {
        let used = dependencies
            .get(*name)
            .unwrap_or_else(|| panic!("{name} is a member of the workspace"));
        for other in used.iter().filter(|other| ours(other)) {
            assert!(
                allowed.contains(&other.as_str()),
                "{name} must not depend on {other}"
            );
        }
    }
}

#[test]
fn pure_crates_reach_no_runtime_clock_or_socket() {
    let dependencies = dependencies(&metadata());
    for root in [
        "asterism-protocol",
        "asterism-scheduler",
        "asterism-executor",
        "asterism-simulator",
    ] {
        for direct in &dependencies[root] {
            assert!(
                !IMPURE.contains(&direct.as_str()),
                "{root} must not depend on {direct}"
            );
        }
    }
}

/// Crates with their features, along such edges.
fn features(edges: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", edges, "--prefix", "none"])
        .args(["--format", "{p} {f}", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .expect("cargo tree runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        // Those that were printed before.
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .collect()
}

#[test]
fn programs_are_made_of_what_tests_are_made_of() {
    let (programs, tests) = (features("normal,build"), features("normal,build,dev"));
    let others: Vec<&String> = programs.difference(&tests).collect();
    assert!(
        others.is_empty(),
        "compiled twice, with all that stands on them, as tests give them more features: have tests/Cargo.toml give them \
         these where nothing is tested, too: {others:#?}"
    );
}

/// What Wasmtime is made of and needs less of in its macros: small enough to be there twice.
const TWICE: [&str; 3] = [
    "cranelift-bitset",
    "pulley-interpreter",
    "wasmtime-internal-core",
];

#[test]
fn macros_and_programs_are_made_of_the_same() {
    let mut crates: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in features("normal,build,dev") {
        let mut words = line.split(' ');
        let (name, version) = (words.next(), words.next());
        if let (Some(name), Some(version)) = (name, version)
            && !TWICE.contains(&name)
        {
            let lines = crates.entry(format!("{name} {version}")).or_default();
            lines.push(line);
        }
    }
    crates.retain(|_, lines| lines.len() > 1);
    assert!(
        crates.is_empty(),
        "compiled twice, with all that stands on them: have the build-dependencies of tests/Cargo.toml give them the features \
         of the other side: {crates:#?}"
    );
}
