//! Core modules, wrapped, do on the engine that runs this program (node's, Chromium's) what their authors meant.
#![cfg(target_arch = "wasm32")]

mod wrapping;

use asterism_host_browser::BrowserHost;
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn wrapped_core_modules_greet_in_every_language() {
    wrapping::check(&mut BrowserHost::new());
}
