//! What is decided: a sans-I/O state machine of promises, memory, leases and attempts.
//!
//! **The contract: [`Scheduler::handle`] takes a fact; then [`Scheduler::poll_output`] is drained to `None`; then the
//! caller sleeps until [`Scheduler::poll_timeout`] and calls [`Scheduler::handle_timeout`].** Outputs are duties. The same
//! inputs give the same outputs, byte for byte, on every target.
//!
//! The order of outputs carries durability: whatever is [`Output::Reply`], [`Output::Publish`] or
//! [`Output::Acknowledge`] must wait until every [`Output::Persist`] before it is durable; [`Output::Send`] need not.
//!
//! What an executor says comes in as [`Checked`]: hashing and verifying are work for whoever holds the connection, not
//! decisions. So is reading a workflow, which comes in as [`Planned`].
//!
//! Inside are rooms that do not know each other: [`graph`] counts promises, `memory` keeps canonical receipts, `run` lays
//! a workflow's contents over a graph, `works` queues the instructions that are to be done now and picks the next one,
//! `flows` says whose turn it is, `matching` what an executor lacks for an instruction, `affinity` how much of it an
//! executor has at hand, `executors` knows who is here and what they hold, `proof` weighs what they came to, `trust` remembers who was right. `scheduler` is the outer machine that
//! opens the doors between them.
//!
//! This crate knows no clock, no socket, no randomness, no store, and not whether it runs in a server or in a tab.

mod affinity;
mod changed;
mod checked;
mod config;
mod digests;
mod executors;
mod flows;
pub mod graph;
mod input;
mod leases;
mod matching;
mod memory;
mod needed;
mod output;
mod packed;
mod planned;
mod proof;
mod random;
mod run;
mod scheduler;
mod slots;
mod tasks;
mod trust;
mod works;

pub use crate::{
    checked::{Checked, Checker},
    config::Config,
    input::{ConnectionId, Input, RequestId, Submission},
    needed::Story,
    output::{Event, Output, Right, SubmitError, TimeoutReason},
    planned::Planned,
    scheduler::Scheduler,
    tasks::Tasks,
    trust::Owner,
};
