//! The workers that compute.

use js_sys::Array;
use wasm_bindgen::prelude::wasm_bindgen;

/// Serves until the worker is ended; `early` is what the talking worker said before.
#[wasm_bindgen]
pub fn compute(early: &Array) {
    asterism_web::compute::start(early);
}

fn main() {
    console_error_panic_hook::set_once();
}
