//! What tests are made of: real programs in a harness, real guests, a simulator. Tests themselves stand in `tests/`.

pub mod guests;
#[cfg(not(target_arch = "wasm32"))]
pub mod harness;
pub mod simulator;
