//! The outer state machine: takes facts, hands out duties. What it decides about is kept in the rooms beside it.

mod deliveries;
mod executors;
mod leases;
mod provisional;
mod replay;
mod runs;
mod verify;
mod views;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use asterism_protocol::{Attested, Cid, PublicKey, Timestamp, message::ToExecutor, view::RunId};
use serde_bytes::ByteArray;

use crate::{
    Config, ConnectionId, Event, Input, Output, TimeoutReason,
    changed::Changed,
    executors::Executors,
    leases::Leases,
    memory::Memory,
    random::Random,
    run::Run,
    trust::Trust,
    works::{Wanter, WorkId, Works},
};

/// What comes due beside leases.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Poll(PublicKey),
    Backoff(WorkId),
    Reconnect(PublicKey),
    Check(PublicKey),
}

/// A scheduler; see the crate's documentation for its contract.
pub struct Scheduler {
    config: Config,
    /// The cost table of the configuration, as receipts hold it.
    metering: Arc<str>,
    /// The latest time that was told: clocks jump back, this does not.
    now: Timestamp,
    random: Random,
    outputs: VecDeque<Output>,
    dues: BTreeSet<(Timestamp, Due)>,

    runs: BTreeMap<RunId, Run>,
    next_run: u64,
    latest: BTreeMap<Cid, RunId>,
    running: BTreeSet<RunId>,
    /// In the order in which they finished.
    finished: VecDeque<RunId>,
    memory: Memory,
    trust: Trust,
    /// Executors of which a check comes due.
    checks: BTreeSet<PublicKey>,
    /// Nodes whose provisional outcomes may be final now, because what they await is.
    regrounded: VecDeque<Wanter>,
    /// Is a journal being replayed? Then nothing is decided that is in it.
    recovering: bool,
    /// The number of the receipt that became canonical last: the next one has much in common with it, most often.
    latest_receipt: Option<u32>,
    /// Were votes recovered that nobody has weighed yet?
    unweighed: bool,

    works: Works,
    /// Nodes that became ready and were not looked at yet.
    ready: VecDeque<Wanter>,
    /// Empty; room for nodes that one other makes ready.
    made_ready: Vec<u32>,
    executors: Executors,
    leases: Leases,
    next_lease: u64,
    leases_reserved: u64,
    /// Why nothing is leased for now, though nobody paused anything.
    held: Option<String>,

    /// How many watch a run.
    watched: BTreeMap<RunId, u32>,
    changed_runs: Changed<RunId>,
    changed_executors: Changed<PublicKey>,
}

impl Scheduler {
    /// A scheduler that knows nothing yet. `seed` is for the jitter of pauses.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            metering: config.metering.as_str().into(),
            next_run: config.number_from(1),
            next_lease: config.number_from(1),
            config,
            now: Timestamp::default(),
            random: Random::new(seed),
            outputs: VecDeque::new(),
            dues: BTreeSet::new(),
            runs: BTreeMap::new(),
            latest: BTreeMap::new(),
            running: BTreeSet::new(),
            finished: VecDeque::new(),
            memory: Memory::default(),
            trust: Trust::default(),
            checks: BTreeSet::new(),
            regrounded: VecDeque::new(),
            recovering: false,
            latest_receipt: None,
            unweighed: false,
            works: Works::default(),
            ready: VecDeque::new(),
            made_ready: Vec::new(),
            executors: Executors::default(),
            leases: Leases::default(),
            leases_reserved: 0,
            held: None,
            watched: BTreeMap::new(),
            changed_runs: Changed::default(),
            changed_executors: Changed::default(),
        }
    }

    /// Takes back what the journal remembers, in its order, before anything else is handled. There are no outputs: whoever
    /// holds leases will come back and say so.
    pub fn recover(&mut self, events: impl IntoIterator<Item = Event>, now: Timestamp) {
        self.recovering = true;
        for event in events {
            self.apply(event);
            self.follow();
        }
        self.recovering = false;
        self.unweighed = true;
        self.now = self.now.max(now);
        // Lease numbers up to the reserved one may be in executors' hands.
        self.next_lease = self.config.number_from(self.leases_reserved + 1);
        self.outputs.clear();
        self.changed_runs.take();
        self.changed_executors.take();
    }

    /// Takes a fact. Then [`Scheduler::poll_output`] is to be drained.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        self.now = self.now.max(now);
        match input {
            Input::Submit {
                request,
                submission,
            } => self.submit(request, *submission),
            Input::Cancel { request, run } => self.cancel(request, run),
            Input::CancelTask { request, run, task } => self.cancel_task(request, run, task),
            Input::Pause {
                request,
                run,
                paused,
            } => self.pause(request, run, paused),
            // What waits goes out below, once nothing is held any more.
            Input::Hold { reason } => self.held = Some(reason),
            Input::Release => self.held = None,
            Input::Ban {
                request,
                executor,
                reason,
            } => self.ban(request, &executor, reason),
            Input::Lift { request, executor } => self.lift(request, &executor),
            Input::Drain {
                request,
                executor,
                draining,
            } => self.drain(request, &executor, draining),
            Input::Connected {
                connection,
                nonce,
                origin,
            } => {
                self.executors.connect(connection, nonce, &origin);
                let (nonce, build) = (ByteArray::new(nonce), self.config.build.clone());
                self.send(connection, ToExecutor::Challenge { nonce, build });
            }
            Input::Received {
                connection,
                message,
            } => self.received(connection, message),
            Input::Disconnected { connection } => self.disconnected(connection),
            Input::Watch { run } => {
                if let Some(entry) = self.runs.get_mut(&run) {
                    *self.watched.entry(run).or_default() += 1;
                    entry.graph.watch(true);
                }
            }
            Input::Unwatch { run } => self.unwatch(run),
        }
        self.conclude();
    }

    /// The next duty, in the order in which they are to be done; `None` when there are no more for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Scheduler::handle_timeout`] is to be called at the latest, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, TimeoutReason)> {
        let lease = self.leases.next_due();
        let (at, due) = match (lease, self.dues.first()) {
            (Some((at, _)), due) if due.is_none_or(|(other, _)| at <= *other) => {
                return Some((at, TimeoutReason::Lease));
            }
            (_, due) => due?,
        };
        let reason = match due {
            Due::Poll(_) => TimeoutReason::Poll,
            Due::Backoff(_) => TimeoutReason::Backoff,
            Due::Reconnect(_) => TimeoutReason::Reconnect,
            Due::Check(_) => TimeoutReason::Check,
        };
        Some((*at, reason))
    }

    /// Time has passed. Then [`Scheduler::poll_output`] is to be drained.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        loop {
            let lease = self.leases.next_due().filter(|(at, _)| *at <= self.now);
            let due = self.dues.first().filter(|(at, _)| *at <= self.now).copied();
            let (at, due) = match (lease, due) {
                (Some((at, id)), due) if due.is_none_or(|(other, _)| at <= other) => {
                    self.lose(id, "the lease ran out without a heartbeat");
                    continue;
                }
                (_, Some(due)) => due,
                (_, None) => break,
            };
            self.dues.remove(&(at, due));
            match due {
                Due::Poll(key) => {
                    let connection = self.executors.connection_of(&key);
                    self.end_poll(&key);
                    if let Some(connection) = connection {
                        self.send(connection, ToExecutor::Assign { leases: Vec::new() });
                    }
                }
                Due::Backoff(work) => self.offer(work),
                Due::Reconnect(key) => self.lose_executor(&key, "the executor did not come back"),
                Due::Check(key) => self.check_now(&key),
            }
        }
        self.conclude();
    }

    /// What every call ends with: ready tasks go out, changes are told.
    fn conclude(&mut self) {
        if std::mem::take(&mut self.unweighed) {
            for work in self.works.verified() {
                if self.works.contains(work) {
                    self.recount(work);
                }
            }
        }
        self.follow();
        self.assign();
        self.publish();
    }

    /// What every event ends with, live and recovered alike: the nodes that it made ready are looked at, what is too old
    /// is forgotten.
    fn follow(&mut self) {
        self.look_at_ready();
        while let Some(wanter) = self.regrounded.pop_front() {
            self.recount_above(wanter);
            self.look_at_ready();
        }
        self.evict();
    }

    /// A receipt to hold something in common with; some other one, if the latest is gone.
    fn latest_receipt(&self) -> Option<&Attested> {
        let known = self.memory.peek(self.latest_receipt?)?;
        Some(&known.receipt)
    }

    fn persist(&mut self, event: Event) {
        self.outputs.push_back(Output::Persist(event));
    }

    /// Sends once all that was persisted so far is durable.
    fn acknowledge(&mut self, connection: ConnectionId, message: ToExecutor) {
        self.outputs.push_back(Output::Acknowledge {
            connection,
            message,
        });
    }

    fn send(&mut self, connection: ConnectionId, message: ToExecutor) {
        self.outputs.push_back(Output::Send {
            connection,
            message,
        });
    }
}
