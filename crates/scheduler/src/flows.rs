//! Whose turn it is: every run that has something to do has a queue, and a tag that says how far it has been served.
//!
//! The run with the smallest tag is served first. A tag begins at the time of the submission, a fixed time earlier for each
//! step of priority, and grows with each lease by the time that one lease takes the whole coordinator, times the share of
//! the others: so tags follow the clock, runs get equal shares from then on, and whoever waits comes before whoever was
//! submitted later with a head start. A submitter's runs share one share.

mod queue;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use asterism_protocol::{Timestamp, view::RunId};

use self::{queue::Queue, turns::Turns};
use crate::{
    matching::Asker,
    run::Header,
    works::{Lane, Place, WorkId},
};

/// The head start of one step of priority, in milliseconds.
const STEP_MS: u64 = 60_000;

/// From this long before its deadline on, in milliseconds, a run goes before others, the more the nearer it is.
const DEADLINE_MS: u64 = 600_000;

/// How many runs are looked at for one lease.
const RUNS_LOOKED_AT: usize = 1_024;

/// How many of the instructions that not everybody may get are looked at for one lease.
const PICKY_LOOKED_AT: usize = 256;

/// Longer pauses between leases are not for want of executors.
const LEASE_MS_MAX: u64 = 1_000;

/// Microseconds: finer than the clock, because a share of a lease is little.
type Tag = u64;

/// One run's queue.
struct Flow {
    tag: Tag,
    deadline: Option<Timestamp>,
    submitter: Arc<str>,
    paused: bool,
    queued: usize,
    /// At most 64 lanes: one for each power of two.
    by_memory: BTreeMap<u64, Queue>,
    picky: Queue,
}

/// Whoever submits.
#[derive(Default)]
struct Submitter {
    weight: u32,
    /// Runs of it.
    runs: u32,
    /// Those of them that have something to do.
    active: u32,
}

/// All queues.
#[derive(Default)]
pub(crate) struct Flows {
    flows: BTreeMap<RunId, Flow>,
    /// Those that have something to do and are not paused, by who is served first.
    turns: Turns,
    /// Those of them that have a deadline.
    deadlines: BTreeSet<(Timestamp, RunId)>,
    submitters: BTreeMap<Arc<str>, Submitter>,
    /// How much waits in all of them.
    queued: usize,
    /// The sum of the weights of those submitters that have something to do.
    active_weight: u64,
    /// Time between leases while there is something to do, smoothed, in microseconds.
    lease_us: u64,
    last_lease: Timestamp,
    pub(crate) all_paused: bool,
}

/// What a look through the queues came to.
pub(crate) struct Found {
    /// Where it waits, and its rank there.
    pub(crate) picked: Option<(Place, u64, WorkId)>,
    /// As many as were looked at in vain, if there were too many of them.
    pub(crate) passed: Vec<(Place, u64, WorkId)>,
}

impl Flows {
    /// A run begins.
    pub(crate) fn open(&mut self, run: RunId, header: &Header, weight: u32) {
        let submitter = header.submitter.as_str();
        let name: Arc<str> = match self.submitters.get_key_value(submitter) {
            Some((name, _)) => Arc::clone(name),
            None => submitter.into(),
        };
        let known = self.submitters.entry(Arc::clone(&name)).or_default();
        known.weight = weight.max(1);
        known.runs += 1;
        let head_start = i128::from(header.terms.priority) * i128::from(STEP_MS);
        let start = i128::from(header.submitted.0) - head_start;
        let start = u64::try_from(start.max(0)).unwrap_or(u64::MAX);
        self.flows.insert(
            run,
            Flow {
                tag: start.saturating_mul(1_000),
                deadline: header.terms.deadline,
                submitter: name,
                paused: false,
                queued: 0,
                by_memory: BTreeMap::new(),
                picky: Queue::default(),
            },
        );
    }

    /// A run has ended.
    pub(crate) fn close(&mut self, run: RunId) {
        self.rest(run);
        let Some(flow) = self.flows.remove(&run) else {
            return;
        };
        self.queued -= flow.queued;
        if let Some(submitter) = self.submitters.get_mut(&flow.submitter) {
            submitter.runs -= 1;
            if submitter.runs == 0 {
                self.submitters.remove(&flow.submitter);
            }
        }
    }

    /// Which of these runs is served first; none if all of them are paused.
    pub(crate) fn first_of(&self, runs: impl Iterator<Item = RunId>) -> Option<RunId> {
        runs.filter_map(|run| Some((self.flows.get(&run).filter(|flow| !flow.paused)?.tag, run)))
            .min()
            .map(|(_, run)| run)
    }

    /// Pauses a run or lets it go on; the caller queues again what it wants.
    pub(crate) fn pause(&mut self, run: RunId, paused: bool) {
        if let Some(flow) = self.flows.get_mut(&run) {
            flow.paused = paused;
        }
    }

    pub(crate) fn push(&mut self, run: RunId, lane: Lane, rank: u64, id: WorkId) {
        let Some(flow) = self.flows.get_mut(&run) else {
            return;
        };
        let new = match lane {
            Lane::Memory(memory) => flow.by_memory.entry(memory).or_default().insert(rank, id),
            Lane::Picky => flow.picky.insert(rank, id),
        };
        flow.queued += usize::from(new);
        self.queued += usize::from(new);
        if new && flow.queued == 1 {
            self.turns.insert((flow.tag, run));
            self.deadlines.extend(flow.deadline.map(|at| (at, run)));
            if let Some(submitter) = self.submitters.get_mut(&flow.submitter) {
                submitter.active += 1;
                if submitter.active == 1 {
                    self.active_weight += u64::from(submitter.weight);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, place: Place, rank: u64, id: WorkId) {
        let Some(flow) = self.flows.get_mut(&place.run) else {
            return;
        };
        let was = match place.lane {
            Lane::Memory(memory) => flow
                .by_memory
                .get_mut(&memory)
                .is_some_and(|lane| lane.remove(rank, id)),
            Lane::Picky => flow.picky.remove(rank, id),
        };
        flow.queued -= usize::from(was);
        self.queued -= usize::from(was);
        if was && flow.queued == 0 {
            self.rest(place.run);
        }
    }

    /// A run has nothing to do for now.
    fn rest(&mut self, run: RunId) {
        let Some(flow) = self.flows.get(&run) else {
            return;
        };
        if let Some(deadline) = flow.deadline {
            self.deadlines.remove(&(deadline, run));
        }
        if self.turns.remove((flow.tag, run))
            && let Some(submitter) = self.submitters.get_mut(&flow.submitter)
        {
            submitter.active -= 1;
            if submitter.active == 0 {
                self.active_weight -= u64::from(submitter.weight);
            }
        }
    }

    /// How much waits and is not paused.
    pub(crate) fn queued(&self) -> usize {
        if self.all_paused { 0 } else { self.queued }
    }

    pub(crate) fn any_queued(&self) -> bool {
        !self.all_paused && !self.turns.is_empty()
    }

    /// The instruction that an executor gets next: of the run whose turn it is, the one with the smallest rank that it may
    /// have; of another run, if it may have none of that one.
    pub(crate) fn pick(&self, asker: &Asker<'_>, suits: impl Fn(WorkId) -> bool) -> Found {
        let mut found = Found {
            picked: None,
            passed: Vec::new(),
        };
        let near = asker.now.after_ms(DEADLINE_MS);
        let urgent = self
            .deadlines
            .range((asker.now, RunId(0))..)
            .next()
            .filter(|(deadline, _)| *deadline <= near)
            .map(|(deadline, run)| (deadline.0.saturating_sub(DEADLINE_MS), *run));
        let first = urgent.filter(|(from, _)| {
            let usual = self.turns.first();
            usual.is_some_and(|(usual, _)| from.saturating_mul(1_000) < usual)
        });
        let in_turn = self.turns.iter().map(|(_, run)| run).take(RUNS_LOOKED_AT);
        let mut looks = PICKY_LOOKED_AT;
        for run in first.map(|(_, run)| run).into_iter().chain(in_turn) {
            let flow = &self.flows[&run];
            let plain = flow
                .by_memory
                .range(..=asker.memory)
                .filter_map(|(memory, lane)| Some((lane.first()?, Lane::Memory(*memory))))
                .min_by_key(|(first, _)| *first);
            let mut best = plain;
            for (rank, id) in flow.picky.iter() {
                if best.is_some_and(|((first, _), _)| first < rank) || looks == 0 {
                    break;
                }
                looks -= 1;
                if suits(id) {
                    best = Some(((rank, id), Lane::Picky));
                    break;
                }
                let lane = Lane::Picky;
                found.passed.push((Place { run, lane }, rank, id));
            }
            if let Some(((rank, id), lane)) = best {
                found.picked = Some((Place { run, lane }, rank, id));
                break;
            }
        }
        if looks > 0 {
            found.passed.clear();
        }
        found
    }

    /// Those that wait behind one, and are on an equally long way to the end: they became ready later, nothing else.
    pub(crate) fn behind(
        &self,
        place: Place,
        rank: u64,
        id: WorkId,
    ) -> impl Iterator<Item = WorkId> + '_ {
        let flow = self.flows.get(&place.run);
        let lane = flow.and_then(|flow| match place.lane {
            Lane::Memory(memory) => flow.by_memory.get(&memory),
            Lane::Picky => Some(&flow.picky),
        });
        lane.into_iter().flat_map(move |lane| lane.behind(rank, id))
    }

    /// A run was given a lease.
    pub(crate) fn served(&mut self, run: RunId, now: Timestamp) {
        // Before the first one there is nothing to measure; a pause in which nothing was to be done says nothing.
        let since = match self.last_lease {
            Timestamp(0) => 0,
            last => now.since_ms(last).min(LEASE_MS_MAX) * 1_000,
        };
        self.last_lease = now;
        self.lease_us = (self.lease_us * 7 + since) / 8;
        let Some(flow) = self.flows.get_mut(&run) else {
            return;
        };
        let Some(submitter) = self.submitters.get(&flow.submitter) else {
            return;
        };
        let others = self.active_weight.max(1) * u64::from(submitter.active.max(1));
        let share = (self.lease_us.max(1) * others / u64::from(submitter.weight)).max(1);
        // Time in which it had nothing to do is not saved up.
        let earliest = now.0.saturating_sub(STEP_MS).saturating_mul(1_000);
        let waits = flow.queued > 0;
        let alone = self.turns.len() == usize::from(waits);
        let unsaved = if flow.tag < earliest && alone {
            earliest
        } else {
            flow.tag
        };
        let tag = unsaved.saturating_add(share);
        if waits {
            self.turns.put_back((flow.tag, run), tag);
        }
        flow.tag = tag;
    }
}
