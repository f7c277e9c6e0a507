//! Where things are.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lies in crates/xtask")
}

/// Programs installed for this repository alone; it goes first on the PATH of Trunk.
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// Components of guests in languages that cargo does not build.
pub(crate) fn languages() -> PathBuf {
    root().join("target/languages")
}

/// The panel as a coordinator or any static host serves it.
pub(crate) fn dist() -> PathBuf {
    root().join("dist")
}
