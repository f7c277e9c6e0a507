//! The worker that has a coordinator of its own: for what is run here, or in a world that breaks.

use js_sys::Array;
use wasm_bindgen::prelude::wasm_bindgen;

/// Serves until the worker is ended; `early` is what the page said before.
#[wasm_bindgen]
pub fn here(early: &Array) {
    asterism_web::here::start(early);
}

/// Simulates until the worker is ended; `early` is what the page said before.
#[wasm_bindgen]
pub fn simulate(early: &Array) {
    asterism_web::simulate::start(early);
}

fn main() {
    console_error_panic_hook::set_once();
}
