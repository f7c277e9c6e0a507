//! What whoever runs a scheduler decides once.

use std::collections::{BTreeMap, BTreeSet};

use asterism_protocol::{Policy, PublicKey};

/// Times and bounds of a scheduler. All of them may change between restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The version that executors are told.
    pub build: String,
    /// The cost table of fuel that every executor must count by.
    pub metering: String,
    /// How often executors say that they are alive, in milliseconds.
    pub heartbeat_ms: u64,
    /// How long a lease lasts without a heartbeat, in milliseconds: several heartbeats.
    pub lease_ms: u64,
    /// How many attempts may end without an outcome before a task is given up.
    pub attempts_max: u32,
    /// How many of them may end without stack left: engines have different stacks, but a recursion without an end ends them all.
    pub stack_attempts_max: u32,
    /// How long an executor does not get a task again after its first failed attempt, in milliseconds; it doubles with each.
    pub backoff_base_ms: u64,
    /// The longest such pause, in milliseconds.
    pub backoff_cap_ms: u64,
    /// How long an executor that lost its connection keeps its leases, in milliseconds.
    pub reconnect_grace_ms: u64,
    /// How many tasks may be unfinished at the same time, over all runs.
    pub live_tasks_max: usize,
    /// How many of them may be one submitter's.
    pub submitter_tasks_max: usize,
    /// How many finished runs stay in memory; the one that finished first goes first, with the receipts that it alone held.
    pub finished_runs_max: usize,
    /// When outcomes of runs that do not say it are believed.
    pub verify: Policy,
    /// Executors that the operator trusts.
    pub trusted: BTreeSet<PublicKey>,
    /// Owners by what executors enrol with.
    pub owners: BTreeMap<String, String>,
    /// Shares of submitters, where that is not one.
    pub shares: BTreeMap<String, u32>,
    /// How many instructions that are equally entitled, and how many executors that are equally free, are looked at for one
    /// lease, to bring together two that need to fetch little; with 1 the first gets the first.
    pub affinity: usize,
    /// After this time, in milliseconds, a lease is slow: an executor that has nothing else to do is given the same.
    pub straggler_ms: u64,
    /// Which of several schedulers this is that share runs between them, from 0.
    pub partition: u16,
    /// How many they are, at least one. A number of a run or a lease, divided by this, leaves the partition as the rest: so it tells
    /// whose it is.
    pub partitions: u16,
}

impl Config {
    /// The first number of this scheduler that is not below `least`, which is not 0.
    pub(crate) fn number_from(&self, least: u64) -> u64 {
        let step = self.step();
        least + (u64::from(self.partition) + step - least % step) % step
    }

    /// Is it a number that this scheduler gives?
    pub(crate) fn is_ours(&self, number: u64) -> bool {
        number % self.step() == u64::from(self.partition)
    }

    /// What lies between two numbers of this scheduler.
    pub(crate) fn step(&self) -> u64 {
        u64::from(self.partitions.max(1))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            build: env!("CARGO_PKG_VERSION").to_owned(),
            metering: "wasmtime-48".to_owned(),
            heartbeat_ms: 3_000,
            lease_ms: 15_000,
            attempts_max: 5,
            stack_attempts_max: 2,
            backoff_base_ms: 500,
            backoff_cap_ms: 30_000,
            reconnect_grace_ms: 5_000,
            live_tasks_max: 2_000_000,
            // Half of all.
            submitter_tasks_max: 1_000_000,
            finished_runs_max: 1_000,
            verify: Policy::Any,
            trusted: BTreeSet::new(),
            owners: BTreeMap::new(),
            shares: BTreeMap::new(),
            affinity: 16,
            straggler_ms: 10_000,
            partition: 0,
            partitions: 1,
        }
    }
}
