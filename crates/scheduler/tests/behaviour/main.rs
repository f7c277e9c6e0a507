//! What a scheduler does, at the level of messages.

mod affinity;
mod budgets;
mod driver;
mod effects;
mod garbage;
mod leases;
mod matching;
mod order;
mod runs;
mod verification;
