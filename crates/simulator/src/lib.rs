//! A coordinator and its executors in virtual time: the real scheduler, real sessions, and a world that is as bad as its
//! [`Scenario`] says. Connections break, executors close and freeze, the coordinator is killed at any point and comes back
//! with what its journal kept. Everything follows from the scenario: [`run`] with the same one takes the same course.
//!
//! A [`World`] may be left to itself, or be told what happens, [`Act`] by [`Act`]. What must hold in all of them is asserted
//! while they go on: in [`World::step`] and [`World::report`].

mod acts;
mod coordinator;
mod drain;
mod executor;
mod random;
mod reference;
mod scenario;
mod script;
mod workflows;
mod world;

use std::fmt;

use asterism_protocol::Timestamp;

pub use self::{
    acts::Act,
    drain::{Drained, Meter, scheduler_drain},
    executor::Honesty,
    random::Random,
    scenario::Scenario,
    script::course,
    world::{Doing, Report, Sight, World, run},
};

/// A line of a trace: what was said, and when. Tasks without files or effects say nothing of them here, as they do where they are
/// encoded: what was recorded of their traces holds.
fn line(now: Timestamp, said: &dyn fmt::Debug) -> String {
    format!("{} {said:?}\n", now.0)
        .replace(", files: {}", "")
        .replace(", effects: {}", "")
}
