//! A [`Host`](asterism_executor::Host) on the JavaScript WebAssembly API: the components that servers run, in a browser tab.
//!
//! `wasmtime-environ` (Wasmtime's own front end) turns a component into core modules and a list of initializers. Here
//! the modules are rewritten to count fuel ([`metering`]) and compiled by the engine, the list is interpreted for
//! each task, and values cross by the canonical ABI. No JavaScript is generated: a content security policy of
//! `script-src 'self' 'wasm-unsafe-eval'` suffices.
//!
//! From the outside in: `host` (cache and tasks) → `program` (a component made ready) → `instance` (one task's) → `abi`
//! (values), `handles` (resources), `trampoline` (host functions) and `transcode` (strings between components); `halt` says in one vocabulary why a call did not return.
//!
//! It never panics on what a guest does, and guests reach nothing but what [`asterism_world`] provides.

mod abi;
mod builtin;
mod counters;
mod flat;
mod halt;
mod handles;
mod host;
mod instance;
mod layout;
pub mod metering;
mod program;
mod stage;
mod trampoline;
mod transcode;

pub use crate::{
    host::BrowserHost,
    program::{Code, Rewritten},
};
