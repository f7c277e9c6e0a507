//! The worker that talks with a coordinator behind a network.

use js_sys::Array;
use wasm_bindgen::prelude::wasm_bindgen;

/// Serves until the worker is ended; `early` is what the page said before.
#[wasm_bindgen]
pub fn talk(early: &Array) {
    asterism_web::talk::start(early);
}

fn main() {
    console_error_panic_hook::set_once();
}
