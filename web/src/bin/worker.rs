//! Both kinds of Web Worker of a donating tab: which one it is, the script that loads it says.

use js_sys::Array;
use wasm_bindgen::prelude::wasm_bindgen;

/// Becomes the worker that talks; `early` is what the page said before.
#[wasm_bindgen]
pub fn talk(early: &Array) {
    asterism_web::talk::start(early);
}

/// Becomes a worker that computes.
#[wasm_bindgen]
pub fn compute() {
    asterism_web::compute::start();
}

fn main() {
    console_error_panic_hook::set_once();
}
