//! What tests are made of: real programs in a harness, real guests, hosts in other programs. Tests themselves stand in `tests/`.

#[cfg(not(target_arch = "wasm32"))]
pub mod conformance;
#[cfg(not(target_arch = "wasm32"))]
pub mod fuzz;
pub mod guests;
#[cfg(not(target_arch = "wasm32"))]
pub mod harness;
pub mod hosts;
#[cfg(not(target_arch = "wasm32"))]
mod tool;
