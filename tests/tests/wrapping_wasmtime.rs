//! Core modules, wrapped, do on Wasmtime what their authors meant. `wrapping_browser.rs` holds the other host to the same.
#![cfg(not(target_arch = "wasm32"))]

mod wrapping;

use asterism_host_wasmtime::WasmtimeEngine;

#[test]
fn wrapped_core_modules_greet_in_every_language() {
    let engine = WasmtimeEngine::new(None).expect("Wasmtime runs here");
    wrapping::check(&mut engine.host());
}
