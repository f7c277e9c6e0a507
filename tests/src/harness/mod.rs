//! Real programs for tests: the `asterism` binary as coordinator and executor, and Chromium.
//!
//! Everything listens on loopback on a port that the system chose, keeps its files in a temporary folder, and ends
//! with the value that holds it.

mod api;
mod browser;
mod process;
mod proxy;

pub use self::{
    api::{Api, wait_until},
    browser::Browser,
    process::{
        Coordinator, Executor, TrunkServer, asterism, asterism_fails, asterism_in, asterism_says,
    },
    proxy::Proxy,
};

use std::path::PathBuf;

/// The root of the project.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The bundled panel, made by `cargo xtask bundle`.
///
/// # Panics
/// If it is not there: `cargo xtask test` makes it before it runs the tests.
#[must_use]
pub fn panel() -> PathBuf {
    let dist = root().join("dist");
    assert!(
        dist.join("index.html").exists(),
        "the panel is not bundled: run `cargo xtask bundle`"
    );
    dist
}
