//! `conformance_browser.rs` where donors run it: in a Web Worker of Chromium.
#![cfg(target_arch = "wasm32")]

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[path = "conformance_browser.rs"]
mod conformance_browser;
