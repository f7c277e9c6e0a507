//! The session itself: facts in, duties out. Here is what it knows and in which order it acts; the rooms say what it does
//! about its connection, the leases that come, their attempts, their deliveries and their ends.

mod assignment;
mod attempts;
mod bounds;
mod connection;
mod deliveries;
mod ends;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asterism_protocol::{
    Cid, Limits, MerkleTree, Signature, Statement, Timestamp, check_files, content_cid, encode,
    is_effect,
    limits::{
        DELIVERY_ITEMS_MAX, FRAME_BYTES_MAX, FUEL_MAX, LEASES_HELD_MAX, NAME_BYTES_MAX,
        POLL_SLOTS_MAX, TEXT_BYTES_MAX,
    },
    message::{
        Commitment, Delivery, Fault, FaultKind, Held, Hello, Lease as Leased, LeaseId,
        ToCoordinator, ToExecutor, commitment, hello_bytes,
    },
};
use serde_bytes::ByteArray;

use self::bounds::*;
use super::{
    Config, Doing, Input, Output, SignId, Status, ThreadId, TimeoutReason, TransferError,
    jitter::Backoff, links, transfers, transfers::Transfers,
};
use crate::{Attempt, Job};

/// An executor's session with a coordinator, over as many connections as it takes.
///
/// The first output is [`Output::Connect`]; the last one is [`Output::Finished`], after [`Input::Leave`].
#[derive(Debug)]
pub struct Session {
    config: Config,
    outputs: VecDeque<Output>,
    connection: Connection,
    backoff: Backoff,
    leases: BTreeMap<LeaseId, Lease>,
    /// Leases whose blobs are not all here.
    fetching: BTreeSet<LeaseId>,
    /// Leases that a thread can take, the oldest first.
    ready: BTreeSet<LeaseId>,
    /// What threads are done with and was not looked at yet: a free thread gets its next task first.
    ended: VecDeque<Ended>,
    /// Leases with an outcome to commit to.
    committing: BTreeSet<LeaseId>,
    /// Leases with an outcome to sign.
    concluded: BTreeSet<LeaseId>,
    /// Since when the oldest of them waits.
    concluded_since: Timestamp,
    /// Leases that end without an outcome, as soon as the coordinator can be told.
    ending: BTreeSet<LeaseId>,
    /// The batch that is being signed. One at a time: while one is, the next one gathers.
    signing: Option<(SignId, Vec<LeaseId>)>,
    signs: u64,
    threads: BTreeMap<ThreadId, Thread>,
    fetches: Transfers,
    uploads: Transfers,
    unaccepted_bytes: usize,
    /// Microseconds that a task takes and that a delivery takes to be accepted, smoothed: they say how far to prefetch.
    task_us: Option<u64>,
    trip_us: u64,
    refusals_in_a_row: u32,
    /// How often instructions, and tasks of components, were handed back because they could not be done then.
    postponed: BTreeMap<Cid, u32>,
    /// Components that cannot run here: why not, and until when that is believed.
    unfit: BTreeMap<Cid, (String, Timestamp)>,
    paused: Option<String>,
    /// Why the coordinator leases nothing to this executor any more.
    excluded: Option<String>,
    /// What was signed for the connection: only the coordinator knows it, so salts are made of it.
    proof: Option<Signature>,
    leaving: Option<Leaving>,
    status: Tally,
    changed: bool,
}

/// Where the connection stands.
#[derive(Debug)]
enum Connection {
    /// There is none until then.
    Offline { again: Timestamp, reason: String },
    /// It was asked for; the time limit starts when the clock is first seen.
    Connecting { until: Option<Timestamp> },
    /// It is open, the challenge has not come.
    Open { until: Timestamp },
    /// The challenge is being signed.
    Proving { until: Timestamp, sign: SignId },
    /// Hello was said.
    Greeted { until: Timestamp },
    /// The coordinator knows us.
    Welcomed {
        heartbeat_ms: u64,
        next_heartbeat: Timestamp,
        /// The outstanding poll.
        poll: Option<Poll>,
        /// No poll before this.
        poll_from: Timestamp,
    },
    /// The session is over.
    Over,
}

/// What came of a task, and when.
#[derive(Debug)]
struct Ended {
    lease: LeaseId,
    result: Result<Box<Attempt>, Farewell>,
    at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Poll {
    slots: u32,
    sent: Timestamp,
}

#[derive(Debug)]
struct Lease {
    instruction: Cid,
    /// The task's own limit of memory, which its owner's may be below.
    memory_bytes: u64,
    /// The task's own limit of time, which its owner's may be below.
    time_ms: u64,
    workflow: String,
    submitter: String,
    /// Must the outcome be committed to before it is told?
    commit: bool,
    /// The component, and the links among arguments and files.
    blobs: Vec<Cid>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// So many blobs are missing.
    Fetching {
        job: Box<Job>,
        missing: usize,
    },
    Ready {
        job: Box<Job>,
    },
    Running {
        thread: ThreadId,
    },
    /// There is an outcome.
    Concluded(Box<Concluded>),
    Ending(Farewell),
}

#[derive(Debug)]
struct Concluded {
    delivery: Delivery,
    statement: Statement,
    /// Bytes of the delivery, encoded.
    size: usize,
    uploads: Vec<Cid>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// So many blobs of the attempt are not with the coordinator.
    Uploading {
        missing: usize,
    },
    /// It is to be committed to.
    Committing,
    /// It was committed to, and is not asked for yet.
    Committed,
    Ready,
    Signing,
    Sent {
        at: Timestamp,
    },
}

/// How a lease ends without an outcome.
#[derive(Debug)]
enum Farewell {
    Fault(Fault),
    Refuse(String),
    HandBack,
}

#[derive(Debug, Default)]
struct Thread {
    work: Option<Work>,
    /// What it was given to do after that. Its lease may be over: it cannot be taken out again.
    next: Option<Work>,
    /// It computes nothing before this, to keep the duty cycle.
    rest_until: Timestamp,
    /// Rest owed that is too short to be taken, in microseconds.
    owed_us: u64,
}

#[derive(Debug)]
struct Work {
    lease: LeaseId,
    component: Cid,
    doing: Doing,
    time_ms: u64,
    /// When the thread is ended.
    deadline: Timestamp,
    /// Is its component being made ready, for which the task's own time does not count?
    preparing: bool,
    announced: bool,
}

#[derive(Clone, Copy, Debug)]
struct Leaving {
    finish: bool,
    deadline: Option<Timestamp>,
}

/// The part of [`Status`] that is counted.
#[derive(Debug, Default)]
struct Tally {
    tasks: u64,
    fuel: u64,
    trouble: String,
    coordinator_build: String,
}

impl Session {
    /// A session that wants to connect.
    #[must_use]
    pub fn new(mut config: Config) -> Self {
        config.name = cut(config.name, NAME_BYTES_MAX);
        let mut session = Self {
            outputs: VecDeque::from([Output::Connect]),
            connection: Connection::Connecting { until: None },
            backoff: Backoff::new(config.seed),
            leases: BTreeMap::new(),
            fetching: BTreeSet::new(),
            ready: BTreeSet::new(),
            ended: VecDeque::new(),
            committing: BTreeSet::new(),
            concluded: BTreeSet::new(),
            concluded_since: Timestamp::default(),
            ending: BTreeSet::new(),
            signing: None,
            signs: 0,
            threads: BTreeMap::new(),
            fetches: Transfers::default(),
            uploads: Transfers::default(),
            unaccepted_bytes: 0,
            task_us: None,
            trip_us: 1_000,
            refusals_in_a_row: 0,
            postponed: BTreeMap::new(),
            unfit: BTreeMap::new(),
            paused: None,
            excluded: None,
            proof: None,
            leaving: None,
            status: Tally::default(),
            changed: true,
            config,
        };
        session.set_threads(session.config.capabilities.threads);
        session.set_duty(session.config.duty_percent);
        session
    }

    /// Takes a fact. Facts that come too late, or make no sense where the session stands, change nothing.
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        if matches!(self.connection, Connection::Over) {
            return;
        }
        match input {
            Input::Connected => self.connected(now),
            Input::Disconnected { reason } => self.disconnected(reason, now),
            Input::Received(message) => self.received(message, now),
            Input::Signed { id, signature } => self.signed(id, signature, now),
            Input::Fetched { cid } => self.fetched(cid),
            Input::FetchFailed { cid, error } => {
                let failed = self.fetches.failed(cid, now, self.is_welcomed());
                let message = format!("{cid} could not be fetched: {error}");
                self.transfer_failed(failed, &error, &message, now);
            }
            Input::Uploaded { cid } => self.uploaded(cid, now),
            Input::UploadFailed { cid, error } => {
                let failed = self.uploads.failed(cid, now, self.is_welcomed());
                let message = format!("{cid} could not be brought to the coordinator: {error}");
                self.transfer_failed(failed, &error, &message, now);
            }
            Input::Preparing { thread } => {
                if let Some(work) = self.work_of(thread) {
                    work.deadline = now.after_ms(PREPARE_MS);
                    work.preparing = true;
                }
            }
            Input::Prepared { thread } => {
                if let Some(work) = self.work_of(thread) {
                    work.deadline = now.after_ms(work.time_ms).after_ms(GRACE_MS);
                    work.preparing = false;
                }
            }
            Input::Ended {
                thread,
                lease,
                result,
            } => self.ended(thread, lease, result.map_err(Farewell::Fault), now),
            Input::Unfit {
                thread,
                lease,
                reason,
            } => {
                self.learn_unfit(thread, lease, &reason, now);
                self.ended(thread, lease, Err(Farewell::Refuse(reason)), now);
            }
            Input::Threads(threads) => {
                self.set_threads(threads);
                self.trim();
            }
            Input::Duty(percent) => {
                self.set_duty(percent);
                self.threads
                    .values_mut()
                    .for_each(|thread| thread.rest_until = now);
            }
            Input::Memory(bytes) => self.config.memory_bytes = bytes,
            Input::Pause { reason } => {
                self.paused = Some(reason);
                self.hand_back_unbegun();
            }
            Input::Resume => self.paused = None,
            Input::Leave { finish } => self.leave(finish, now),
        }
        self.changed = true;
        self.pump(now);
    }

    /// The next duty; `None` when the shell may wait.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let Some(ended) = self.ended.pop_front() else {
                break;
            };
            let now = ended.at;
            self.look_at(ended);
            self.pump(now);
        }
        std::mem::take(&mut self.changed).then_some(Output::Changed)
    }

    /// When [`Session::handle_timeout`] wants to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, TimeoutReason)> {
        let mut due = Vec::new();
        match &self.connection {
            Connection::Offline { again, .. } => due.push((*again, TimeoutReason::Reconnect)),
            // The clock was not seen yet: the shell reports what came of connecting, or calls at once.
            Connection::Connecting { until: None } => {
                due.push((Timestamp::default(), TimeoutReason::Handshake))
            }
            Connection::Connecting { until: Some(until) }
            | Connection::Open { until }
            | Connection::Proving { until, .. }
            | Connection::Greeted { until } => due.push((*until, TimeoutReason::Handshake)),
            Connection::Welcomed {
                next_heartbeat,
                poll,
                poll_from,
                ..
            } => {
                due.push((*next_heartbeat, TimeoutReason::Heartbeat));
                match poll {
                    Some(poll) => due.push((silent_at(poll.sent), TimeoutReason::Silence)),
                    None if self.slots() > 0 => due.push((*poll_from, TimeoutReason::Poll)),
                    None => {}
                }
                if self.signing.is_none() && !self.concluded.is_empty() {
                    due.push((
                        self.concluded_since.after_ms(BATCH_MS),
                        TimeoutReason::Batch,
                    ));
                }
                let unannounced = self.works().filter(|(_, work)| !work.announced);
                due.extend(unannounced.map(|(_, work)| {
                    (
                        work.doing.since.after_ms(STARTED_MS),
                        TimeoutReason::Started,
                    )
                }));
            }
            Connection::Over => return None,
        }
        due.extend(
            self.works()
                .map(|(_, work)| (work.deadline, TimeoutReason::TimeLimit)),
        );
        if !self.ready.is_empty() && self.may_begin() {
            let idle = self
                .allowed_threads()
                .filter(|(_, thread)| thread.work.is_none());
            due.extend(idle.map(|(_, thread)| (thread.rest_until, TimeoutReason::Rest)));
        }
        due.extend(self.fetches.retry_at().map(|at| (at, TimeoutReason::Retry)));
        due.extend(self.uploads.retry_at().map(|at| (at, TimeoutReason::Retry)));
        due.extend(
            self.leaving
                .and_then(|leaving| leaving.deadline)
                .map(|at| (at, TimeoutReason::Leave)),
        );
        due.into_iter().min_by_key(|(at, _)| *at)
    }

    /// Does what became due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if !matches!(self.connection, Connection::Over) {
            self.pump(now);
        }
    }

    /// What an owner sees now.
    #[must_use]
    pub fn status(&self) -> Status {
        let doing: BTreeMap<_, _> = self
            .works()
            .map(|(id, work)| (id, work.doing.clone()))
            .collect();
        Status {
            connected: self.is_welcomed(),
            idle_because: if doing.is_empty() {
                self.idle_because()
            } else {
                String::new()
            },
            paused: self.paused.is_some(),
            doing,
            prefetched: (self.fetching.len() + self.ready.len() + self.given().count()) as u32,
            tasks: self.status.tasks,
            fuel: self.status.fuel,
            trouble: self.status.trouble.clone(),
            coordinator_build: self.status.coordinator_build.clone(),
        }
    }

    fn idle_because(&self) -> String {
        match &self.connection {
            Connection::Over => return "this executor has left".into(),
            _ if self.leaving.is_some() => return "this executor is leaving".into(),
            _ if self.paused.is_some() => return self.paused.clone().unwrap_or_default(),
            _ if self.excluded.is_some() => return self.excluded.clone().unwrap_or_default(),
            Connection::Offline { reason, .. } => {
                return format!("the coordinator is away and is called again soon: {reason}");
            }
            Connection::Connecting { .. }
            | Connection::Open { .. }
            | Connection::Proving { .. }
            | Connection::Greeted { .. } => return "connecting to the coordinator".into(),
            Connection::Welcomed { .. } => {}
        }
        if self.config.capabilities.threads == 0 {
            "no threads are allowed".into()
        } else if !self.ready.is_empty() {
            format!(
                "resting, to compute {} % of the time",
                self.config.duty_percent
            )
        } else if !self.fetching.is_empty() {
            "fetching what the next task needs".into()
        } else {
            "waiting for work".into()
        }
    }

    // ---- the owner's wishes ----

    fn set_threads(&mut self, threads: u32) {
        let threads = threads.min(THREADS_MAX);
        self.config.capabilities.threads = threads;
        for n in 0..threads {
            self.threads.entry(ThreadId(n)).or_default();
        }
        self.threads
            .retain(|id, thread| id.0 < threads || thread.work.is_some());
    }

    fn set_duty(&mut self, percent: u8) {
        self.config.duty_percent = percent.clamp(1, 100);
    }

    fn leave(&mut self, finish: bool, now: Timestamp) {
        if self.leaving.is_none_or(|leaving| leaving.finish) {
            self.leaving = Some(Leaving {
                finish,
                deadline: (!finish).then(|| now.after_ms(LEAVE_MS)),
            });
        }
        self.hand_back_unbegun();
        if !finish {
            let running: Vec<_> = self.works().map(|(_, work)| work.lease).collect();
            running
                .into_iter()
                .for_each(|id| self.end(id, Farewell::HandBack));
        }
    }

    // ---- what follows from all that ----

    /// Does whatever can be done now. All that depends on time is here, so that facts and timeouts take one way.
    fn pump(&mut self, now: Timestamp) {
        self.keep_connection(now);
        self.stop_overdue(now);
        self.begin(now);
        while let Some(cid) = self.fetches.start(now) {
            self.outputs.push_back(Output::Fetch { cid });
        }
        while let Some(cid) = self.uploads.start(now) {
            self.outputs.push_back(Output::Upload { cid });
        }
        if self.is_welcomed() {
            self.announce(now);
            self.say_farewells();
            self.commit();
            self.sign_batch(now);
            self.poll(now);
            self.heartbeat(now);
        }
        self.finish_leaving(now);
    }

    // ---- small questions ----

    /// May work be taken and begun?
    fn may_begin(&self) -> bool {
        self.paused.is_none() && self.excluded.is_none() && self.leaving.is_none()
    }

    /// Leases that wait for a thread or have one.
    fn active(&self) -> u32 {
        let begun = self.works().count() + self.given().count();
        (self.fetching.len() + self.ready.len() + begun) as u32
    }

    /// How many leases the threads are good for. Where tasks are short, more are held than the owner asked for, so that
    /// threads do not wait for the coordinator.
    fn capacity(&self) -> u32 {
        let ahead_us = (2 * self.trip_us).clamp(AHEAD_US, AHEAD_US_MAX);
        let wanted = self.task_us.map_or(0, |task_us| ahead_us / task_us.max(1));
        let depth = u32::try_from(wanted)
            .unwrap_or(u32::MAX)
            .min(PREFETCH_MAX)
            .max(self.config.prefetch);
        self.config
            .capabilities
            .threads
            .saturating_mul(depth.saturating_add(1))
    }

    /// How many leases to ask for now. With work ahead, a quarter of it has to be gone first: a poll for each task would
    /// cost more than the task.
    fn slots(&self) -> u32 {
        if !self.may_begin() || self.unaccepted_bytes >= UNACCEPTED_BYTES_MAX {
            return 0;
        }
        let room = LEASES_HELD_MAX.saturating_sub(self.leases.len()) as u32;
        let (capacity, active) = (self.capacity(), self.active());
        let wanted = capacity.saturating_sub(active);
        let has_work_ahead = !(self.ready.is_empty() && self.fetching.is_empty());
        if has_work_ahead && wanted < capacity / 4 {
            return 0;
        }
        wanted.min(POLL_SLOTS_MAX).min(room)
    }

    fn works(&self) -> impl Iterator<Item = (ThreadId, &Work)> {
        self.threads
            .iter()
            .filter_map(|(id, thread)| Some((*id, thread.work.as_ref()?)))
    }

    /// Leases that a thread has beside the one it works for.
    fn given(&self) -> impl Iterator<Item = LeaseId> {
        self.threads
            .values()
            .filter_map(|thread| thread.next.as_ref())
            .map(|work| work.lease)
            .filter(|id| self.is_running(*id))
    }

    fn is_running(&self, id: LeaseId) -> bool {
        self.leases
            .get(&id)
            .is_some_and(|lease| matches!(lease.phase, Phase::Running { .. }))
    }

    fn work_of(&mut self, thread: ThreadId) -> Option<&mut Work> {
        self.threads.get_mut(&thread)?.work.as_mut()
    }

    fn allowed_threads(&self) -> impl Iterator<Item = (ThreadId, &Thread)> {
        self.threads
            .range(..ThreadId(self.config.capabilities.threads))
            .map(|(id, thread)| (*id, thread))
    }

    fn next_sign(&mut self) -> SignId {
        self.signs += 1;
        SignId(self.signs)
    }

    fn send(&mut self, message: ToCoordinator) {
        self.outputs.push_back(Output::Send(message));
    }

    fn trouble(&mut self, text: String) {
        self.status.trouble = text;
    }
}

/// A text of at most `max` bytes, cut at the end of a character.
fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

/// When an unanswered poll means that nobody is there.
fn silent_at(sent: Timestamp) -> Timestamp {
    sent.after_ms(POLL_WAIT_MS).after_ms(SILENCE_MS)
}
