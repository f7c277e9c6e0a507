//! How work is taken: a sans-I/O session of an executor with a coordinator, the [`Host`] that performs tasks, and the
//! conformance suite that every host passes.
//!
//! **The contract: [`session::Session::handle`] takes a fact; then [`session::Session::poll_output`] is drained to `None`; then the
//! caller sleeps until [`session::Session::poll_timeout`] and calls [`session::Session::handle_timeout`].**
//!
//! This crate knows no clock, no socket, no randomness, no wasm engine, and not whether it runs in a tab or in a process.

pub mod conformance;
mod host;
mod null;
pub mod session;

pub use asterism_protocol::limits::{TABLE_ELEMENT_BYTES, TABLE_ELEMENTS_MAX};

pub use crate::{
    host::{
        Attempt, Ended, Host, HostInfo, INSTANTIATION_FUEL, Job, METERING, Ran, Stopper, Unfit,
        conclude, granted_fuel,
    },
    null::NullHost,
    session::{
        Config, Doing, Input, Output, Session, SignId, Status, ThreadId, TimeoutReason,
        TransferError, links,
    },
};
