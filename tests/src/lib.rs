//! What tests are made of: real programs in a harness, real guests. Tests themselves stand in `tests/`.

pub mod guests;
#[cfg(not(target_arch = "wasm32"))]
pub mod harness;
