//! `conformance_browser.rs` where donors run it: in a Web Worker of Chromium.
#![cfg(target_arch = "wasm32")]

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[path = "conformance_browser.rs"]
mod conformance_browser;

/// Only here: what passes values between components has several memories, which node 20 does not know.
#[wasm_bindgen_test::wasm_bindgen_test]
fn composed_components_conform() {
    conformance_browser::conforms(
        asterism_executor::conformance::composed_cases(),
        include_str!("../composed.json"),
    );
}
