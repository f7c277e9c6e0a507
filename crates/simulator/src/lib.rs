//! A coordinator and its executors in virtual time: the real scheduler, real sessions, and a world that is as bad as its
//! seed says. Connections break, executors close and freeze, the coordinator is killed at any point and comes back with
//! what its journal kept. Everything follows from the seed: [`run`] with the same seed takes the same course.

mod coordinator;
mod drain;
mod executor;
mod random;
mod reference;
mod script;
mod workflows;
mod world;

pub use self::{
    drain::{Drained, scheduler_drain},
    random::Random,
    script::course,
    world::{Report, run},
};
