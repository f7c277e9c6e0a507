//! Builds the guests: an untested guest does not compile. Each becomes a component, whose path is in the environment of
//! this package (`GUEST_CONFORMANCE`, `GUEST_MATH` …); [`crate::guests`] has their bytes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Name of the constant, folder, name of the library, target.
const GUESTS: [(&str, &str, &str, &str); 11] = [
    (
        "CONFORMANCE",
        "tests/guests/conformance",
        "conformance",
        "wasm32-unknown-unknown",
    ),
    (
        "WASIP2",
        "tests/guests/wasip2",
        "wasip2_guest",
        "wasm32-wasip2",
    ),
    (
        "FILES",
        "tests/guests/files",
        "files_guest",
        "wasm32-wasip2",
    ),
    ("HTTP", "tests/guests/http", "http_guest", "wasm32-wasip2"),
    (
        "KERNELS",
        "tests/guests/kernels",
        "kernels",
        "wasm32-unknown-unknown",
    ),
    (
        "RELAY",
        "tests/guests/relay",
        "relay",
        "wasm32-unknown-unknown",
    ),
    (
        "SMITH",
        "tests/guests/smith",
        "smith",
        "wasm32-unknown-unknown",
    ),
    (
        "COMPOSER",
        "tests/guests/composer",
        "composer",
        "wasm32-unknown-unknown",
    ),
    (
        "GREET",
        "examples/greet/rust",
        "greet",
        "wasm32-unknown-unknown",
    ),
    ("MATH", "examples/math", "math", "wasm32-unknown-unknown"),
    (
        "IMAGE",
        "examples/image",
        "image_example",
        "wasm32-unknown-unknown",
    ),
];

/// Core modules in C: name of the constant, file.
const IN_C: [(&str, &str); 1] = [("GREET_C", "examples/greet/greet.c")];

/// Components in text, which the executor's conformance suite keeps: name of the constant, file.
const TEXTS: [(&str, &str); 7] = [
    (
        "INSTRUCTIONS",
        "crates/executor/src/conformance/instructions.wat",
    ),
    ("VALUES", "crates/executor/src/conformance/values.wat"),
    ("LATIN1", "crates/executor/src/conformance/latin1.wat"),
    ("RESOURCES", "crates/executor/src/conformance/resources.wat"),
    ("VERSIONS", "crates/executor/src/conformance/versions.wat"),
    ("COMPOSED", "crates/executor/src/conformance/composed.wat"),
    ("LENT", "crates/executor/src/conformance/lent.wat"),
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is in a folder of the workspace");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=build.rs");

    for (name, folder, library, triple) in GUESTS {
        let folder = root.join(folder);
        for part in ["Cargo.toml", "Cargo.lock", "src", "wit"] {
            println!("cargo::rerun-if-changed={}", folder.join(part).display());
        }
        let module = build(root, &folder, library, triple);
        let bytes = fs::read(&module)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", module.display()));
        let component = asterism_component::wrap(&bytes)
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", folder.display()));
        publish(&out, name, &component);
    }

    for (name, source) in IN_C {
        let source = root.join(source);
        println!("cargo::rerun-if-changed={}", source.display());
        let component = compile_c(&source, &out).map(|module| {
            asterism_component::wrap(&module)
                .unwrap_or_else(|refusal| panic!("{}: {refusal}", source.display()))
        });
        publish(&out, name, &component.unwrap_or_default());
    }

    for (name, text) in TEXTS {
        let text = root.join(text);
        println!("cargo::rerun-if-changed={}", text.display());
        let component = wat::parse_file(&text).unwrap_or_else(|error| panic!("{error}"));
        publish(&out, name, &component);
    }
}

/// Builds one guest, and gives the path of its core module or component.
fn build(root: &Path, folder: &Path, library: &str, triple: &str) -> PathBuf {
    let target = root.join("target/guests");
    let cargo = env::var_os("CARGO").expect("cargo sets it");
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--target",
            triple,
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(folder);
    // What the outer build was told about flags, wrappers (clippy is one), targets and profiles is not for guests.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let ours = text.starts_with("CARGO_")
            && !["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_HTTP"]
                .iter()
                .any(|keep| text.starts_with(keep));
        if ours || text.starts_with("RUSTC") || text == "RUSTFLAGS" || text == "RUSTDOCFLAGS" {
            command.env_remove(&name);
        }
    }
    // Set, so that the workspace's own flags for wasm32 do not apply, and paths of this machine are not in the component:
    // the same sources give the same bytes and so the same CID everywhere.
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=/asterism", root.display())];
    flags.extend(home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));

    match command.status() {
        Ok(status) if status.success() => target.join(format!("{triple}/release/{library}.wasm")),
        Ok(status) => panic!(
            "building the guest in {} ended with {status}; is the target there? `rustup target add {triple}`",
            folder.display()
        ),
        Err(error) => panic!(
            "cargo could not be started for the guest in {}: {error}",
            folder.display()
        ),
    }
}

/// The core module of a C file; `None` without clang, which `cargo xtask test` installs: whoever only builds needs none.
fn compile_c(source: &Path, out: &Path) -> Option<Vec<u8>> {
    println!("cargo::rerun-if-env-changed=PATH");
    let module = out.join("c.wasm");
    let status = Command::new("clang")
        .args(["--target=wasm32", "-O2", "-nostdlib", "-Wl,--no-entry"])
        .arg("-o")
        .arg(&module)
        .arg(source)
        .status();
    match status {
        Ok(status) if status.success() => Some(fs::read(&module).expect("clang has written it")),
        Ok(status) => panic!("building {} ended with {status}", source.display()),
        Err(error) => {
            println!(
                "cargo::warning=without clang ({error}) the guest in C is not built, and its tests fail: `apt-get install clang lld`"
            );
            None
        }
    }
}

/// Writes a component and says where it is.
fn publish(out: &Path, name: &str, component: &[u8]) {
    let path = out.join(format!("{}.wasm", name.to_lowercase()));
    fs::write(&path, component)
        .unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
    println!("cargo::rustc-env=GUEST_{name}={}", path.display());
}
