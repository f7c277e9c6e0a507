//! `.ci/rustc` looks at what is compiled, in whatever order cargo compiles it.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A workspace in which the tools only write down that they were called.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&root);
        for folder in [".ci", "bin", "web", "crates/component"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/rustc");
        fs::copy(script, root.join(".ci/rustc")).unwrap();
        // As cargo names folders: links resolved.
        let root = root.canonicalize().unwrap();
        for tool in ["rustc", "clippy-driver", "rustdoc"] {
            let file = root.join("bin").join(tool);
            let says = format!("#!/bin/sh\necho {tool} >> {}/called\n", root.display());
            fs::write(&file, says).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(root)
    }

    /// Has a crate compiled, and gives how often clippy was called until now.
    fn compile(&self, package: &str, folder: &str, arguments: &[&str]) -> usize {
        let path = env::var("PATH").unwrap_or_default();
        let status = Command::new(self.0.join(".ci/rustc"))
            .arg("rustc")
            .args(["--crate-name", "lib", "src/lib.rs", "--crate-type", "lib"])
            .args(arguments)
            .current_dir(&self.0)
            .env("PATH", format!("{}/bin:{path}", self.0.display()))
            .env("CARGO_MANIFEST_DIR", self.0.join(folder))
            .env("CARGO_PKG_NAME", package)
            .env("CLIPPY_ARGS", "none")
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        let called = fs::read_to_string(self.0.join("called")).unwrap();
        called
            .lines()
            .filter(|line| *line == "clippy-driver")
            .count()
    }
}

// One test: while a process is made in one thread, none can run what another thread has just written.
#[test]
fn each_set_of_parts_is_looked_at_once_whatever_comes_first() {
    let place = Place::new("lints");
    let component =
        |arguments: &[&str]| place.compile("asterism-component", "crates/component", arguments);
    let wrap = ["--cfg", "feature=\"wrap\""];
    assert_eq!(component(&[]), 1);
    assert_eq!(component(&wrap), 2);
    assert_eq!(component(&["-C", "opt-level=3"]), 2, "another profile");
    assert_eq!(component(&wrap), 2, "again");

    let panel = |arguments: &[&str]| place.compile("asterism-web", "web", arguments);
    let erased = ["--cfg", "erase_components"];
    assert_eq!(panel(&[]), 3);
    assert_eq!(panel(&erased), 4);
    assert_eq!(component(&erased), 4, "views are the panel's");
}
