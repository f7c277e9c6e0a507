//! A [`asterism_executor::Host`] on Wasmtime.
//!
//! [`WasmtimeEngine`] is one for the process: the compiler's configuration, compiled components, the clock that stops
//! guests. [`WasmtimeEngine::host`] gives each compute thread its own [`WasmtimeHost`]. Every task runs in a fresh store.
//!
//! This crate refuses to know where components come from and what becomes of outcomes.

mod abi;
mod cache;
mod code;
mod config;
mod engine;
mod host;
mod import;
mod limiter;
mod pool;
mod trap;

pub use crate::{
    engine::{EngineError, WasmtimeEngine},
    host::{MakeHttp, Over, WasmtimeHost},
};
