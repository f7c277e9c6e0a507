//! Hosts that live in other programs, each behind [`asterism_executor::Host`], and jco, which is asked for values alone: so one
//! table and one fuzzer hold them all to the same.

#[cfg(not(target_arch = "wasm32"))]
mod jco;
#[cfg(not(target_arch = "wasm32"))]
mod node;
#[cfg(not(target_arch = "wasm32"))]
mod remote;
#[cfg(not(target_arch = "wasm32"))]
mod tab;

#[cfg(not(target_arch = "wasm32"))]
pub use self::{
    jco::{Jco, Seen},
    node::{node, node_with},
    remote::RemoteHost,
    tab::tab,
};

use asterism_executor::Attempt;
use asterism_protocol::message::Fault;
use serde::{Deserialize, Serialize};

/// Most bytes of a job or an answer: what a guest may hand over, and more.
pub const ANSWER_BYTES_MAX: usize = 512 << 20;

/// The first byte of a question with a component after it.
pub const PREPARE: u8 = 0;

/// The first byte of a question with a job after it.
pub const PERFORM: u8 = 1;

/// What `bin/performer.rs` answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The component is ready.
    Prepared,
    /// It is not, for this reason.
    Unfit(String),
    /// The job came to this.
    Attempt(Box<Attempt>),
    /// The job came to nothing.
    Fault(Fault),
}
