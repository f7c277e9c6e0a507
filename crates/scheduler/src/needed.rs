//! Which events of a journal are still needed: those without which a scheduler would not be what it is.
//!
//! A snapshot would have to know all that a scheduler is made of, and a field forgotten there is found after a crash. The
//! events say the same: those of runs that are forgotten can be dropped, and what is left is a journal like any other.
//! Whether enough is left is not argued but tried: see [`Story::is_told_by`].

use std::collections::{BTreeMap, BTreeSet};

use asterism_protocol::{Cid, Timestamp, view::RunId};

use crate::{Config, Event, Scheduler, digests::Digest};

/// What a journal tells so far, and which of its events told it.
pub struct Story {
    config: Config,
    scheduler: Scheduler,
    count: u64,
    /// Which events made each run what it is.
    events: BTreeMap<RunId, Vec<u64>>,
    /// What the runs that have not ended are about, both ways.
    instructions: BTreeMap<RunId, Vec<Digest>>,
    runs: BTreeMap<Digest, Vec<RunId>>,
    /// Runs that wanted the same at the same time: what came of one may have come of the other.
    together: BTreeMap<RunId, BTreeSet<RunId>>,
    /// The run with the highest number: the number stays in use.
    last_run: Option<RunId>,
    /// Who was excluded, and who no longer is.
    exclusions: Vec<u64>,
    /// The last events that say which lease numbers are in use, whether all is paused, and who was right.
    reserved: Option<u64>,
    paused: Option<u64>,
    records: Option<u64>,
}

impl Story {
    /// A story that begins with the journal's first event.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            scheduler: Scheduler::new(config.clone(), 0),
            config,
            count: 0,
            events: BTreeMap::new(),
            instructions: BTreeMap::new(),
            runs: BTreeMap::new(),
            together: BTreeMap::new(),
            last_run: None,
            exclusions: Vec::new(),
            reserved: None,
            paused: None,
            records: None,
        }
    }

    /// How many events there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes the next event, and the number that it has.
    pub fn take(&mut self, number: u64, event: Event) {
        self.count += 1;
        let submitted = match &event {
            Event::Submitted { run, .. } => Some(*run),
            _ => None,
        };
        let touched = match &event {
            Event::Submitted { run, .. } => vec![*run],
            Event::Voted { outcome, .. } => self.about(outcome.instruction),
            Event::Computed { receipt, .. } => self.about(receipt.instruction()),
            Event::Parted { instruction, .. }
            | Event::Repeated { instruction, .. }
            | Event::GaveUp { instruction, .. } => self.about(*instruction),
            Event::Cancelled { run, .. }
            | Event::TaskCancelled { run, .. }
            | Event::Paused { run: Some(run), .. } => vec![*run],
            Event::Caught { .. } | Event::Banned { .. } | Event::Lifted { .. } => {
                self.exclusions.push(number);
                Vec::new()
            }
            Event::Paused { run: None, .. } => {
                self.paused = Some(number);
                Vec::new()
            }
            Event::Records { .. } => {
                self.records = Some(number);
                Vec::new()
            }
            Event::LeasesReserved { .. } => {
                self.reserved = Some(number);
                Vec::new()
            }
        };
        for run in &touched {
            self.events.entry(*run).or_default().push(number);
            if touched.len() > 1 {
                self.together.entry(*run).or_default().extend(&touched);
            }
        }
        self.scheduler.recover([event], Timestamp::default());
        if let Some(run) = submitted {
            self.begin(run);
        }
        for run in touched {
            if !self.scheduler.is_running(run) {
                self.end(run);
            }
        }
    }

    /// The event that sums up what was told of executors: as [`Scheduler::sum_up`] has it persisted.
    #[must_use]
    pub fn records(&self) -> Event {
        self.scheduler.records()
    }

    /// The numbers of the events without which the scheduler would not be what it is, if one comes
    /// behind them that sums up.
    #[must_use]
    pub fn needed(&self) -> BTreeSet<u64> {
        let mut open: Vec<RunId> = self.scheduler.run_ids().chain(self.last_run).collect();
        let mut runs = BTreeSet::new();
        while let Some(run) = open.pop() {
            if runs.insert(run)
                && let Some(others) = self.together.get(&run)
            {
                open.extend(others);
            }
        }
        let of_runs = runs.iter().filter_map(|run| self.events.get(run)).flatten();
        let last = self
            .reserved
            .iter()
            .chain(&self.paused)
            .chain(&self.records);
        of_runs
            .chain(&self.exclusions)
            .chain(last)
            .copied()
            .collect()
    }

    /// Does a scheduler that is brought back from these events alone know the same? Takes what the story holds before
    /// the events are read, so that not two schedulers are in memory.
    pub fn is_told_by(self, events: impl IntoIterator<Item = Event>) -> bool {
        let expected = self.scheduler.state_digest();
        let config = self.config;
        drop(self.scheduler);
        let mut told = Scheduler::new(config, 0);
        told.recover(events, Timestamp::default());
        told.state_digest() == expected
    }

    /// The runs under way that have an instruction.
    fn about(&self, instruction: Cid) -> Vec<RunId> {
        self.runs
            .get(&instruction.digest())
            .cloned()
            .unwrap_or_default()
    }

    fn begin(&mut self, run: RunId) {
        self.last_run = self.last_run.max(Some(run));
        let digests = self.scheduler.digests_of(run);
        for digest in &digests {
            self.runs.entry(*digest).or_default().push(run);
        }
        self.instructions.insert(run, digests);
    }

    /// A run has ended: nothing comes of it any more.
    fn end(&mut self, run: RunId) {
        for digest in self.instructions.remove(&run).unwrap_or_default() {
            if let Some(runs) = self.runs.get_mut(&digest) {
                runs.retain(|other| *other != run);
                if runs.is_empty() {
                    self.runs.remove(&digest);
                }
            }
        }
    }
}
