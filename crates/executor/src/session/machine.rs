//! The session itself: facts in, duties out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asterism_protocol::{
    Cid, Limits, MerkleTree, Signature, Statement, Timestamp, content_cid, encode,
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

use super::{
    Config, Doing, Input, Output, SignId, Status, ThreadId, TimeoutReason, jitter::Backoff, links,
    transfers, transfers::Transfers,
};
use crate::{Attempt, Job};

/// The operation that hosts perform.
const OPERATION: &str = "wasm/run";

/// Longest time from asking for a connection to being welcomed, in milliseconds.
const HANDSHAKE_MS: u64 = 15_000;

/// How long one poll waits for work, in milliseconds.
const POLL_WAIT_MS: u64 = 10_000;

/// How much later than asked a poll may be answered before the connection counts as dead, in milliseconds.
const SILENCE_MS: u64 = 10_000;

/// Pause after a poll that was answered at once with nothing, and after a refused lease, in milliseconds; it doubles
/// with each further refusal. Without it, a coordinator that keeps offering what is kept being refused makes a busy loop.
const POLL_PAUSE_MS: u64 = 100;

/// Bounds of the interval of heartbeats, in milliseconds: what a coordinator asks for is not trusted.
const HEARTBEAT_MS: std::ops::RangeInclusive<u64> = 50..=60_000;

/// How long a host may overrun the time limit before its thread is ended, in milliseconds: hosts that stop guests
/// themselves look at the clock only now and then, and say more about where the guest was.
const GRACE_MS: u64 = 500;

/// Longest time to make a component ready, in milliseconds: compiling a language runtime takes ten seconds of a slow machine.
const PREPARE_MS: u64 = 60_000;

/// Longest time that an outcome waits for others to be signed with, in milliseconds.
const BATCH_MS: u64 = 4;

/// Outcomes that are signed together at once, without waiting for more.
const BATCH_ITEMS: usize = 64;

/// Room in a frame for what is around the items of a delivery, in bytes.
const FRAME_ROOM_BYTES: usize = 64 << 10;

/// After this time, in milliseconds, an attempt is announced to watchers; shorter ones are over before anybody looks.
const STARTED_MS: u64 = 100;

/// How long an executor that leaves at once waits for its outcomes to be accepted, in milliseconds.
const LEAVE_MS: u64 = 2_000;

/// Most bytes of outcomes that wait to be accepted; with more, no work is asked for.
const UNACCEPTED_BYTES_MAX: usize = 64 << 20;

/// Most blobs that one lease may need.
const BLOBS_MAX: usize = 1_024;

/// Most threads.
const THREADS_MAX: u32 = 1_024;

/// Most leases held for a thread beyond the one that runs, however short the tasks.
const PREFETCH_MAX: u32 = 64;

/// How long the work that a thread has ahead of it shall last, in microseconds: several ways to a coordinator and back,
/// and no more than another executor can spare. It does not follow the measured way alone: a machine under load measures
/// long tasks as well, so that their quotient says the less the more it matters.
const AHEAD_US: u64 = 100_000;

/// The most of it, however far the coordinator, in microseconds: what is held here is computed by nobody else.
const AHEAD_US_MAX: u64 = 1_000_000;

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
    result: Result<Box<Attempt>, Fault>,
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
    workflow: String,
    submitter: String,
    /// Must the outcome be committed to before it is told?
    commit: bool,
    /// The component and the links among the arguments.
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
    /// It computes nothing before this, to keep the duty cycle.
    rest_until: Timestamp,
    /// Rest owed that is too short to be taken, in microseconds.
    owed_us: u64,
}

#[derive(Debug)]
struct Work {
    lease: LeaseId,
    doing: Doing,
    time_ms: u64,
    /// When the thread is ended.
    deadline: Timestamp,
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
            Input::FetchFailed { cid, reason } => {
                let failed = self.fetches.failed(cid, now, self.is_welcomed());
                self.transfer_failed(failed, &format!("{cid} could not be fetched: {reason}"));
            }
            Input::Uploaded { cid } => self.uploaded(cid, now),
            Input::UploadFailed { cid, reason } => {
                let failed = self.uploads.failed(cid, now, self.is_welcomed());
                self.transfer_failed(
                    failed,
                    &format!("{cid} could not be brought to the coordinator: {reason}"),
                );
            }
            Input::Preparing { thread } => {
                if let Some(work) = self.work_of(thread) {
                    work.deadline = now.after_ms(PREPARE_MS);
                }
            }
            Input::Prepared { thread } => {
                if let Some(work) = self.work_of(thread) {
                    work.deadline = now.after_ms(work.time_ms).after_ms(GRACE_MS);
                }
            }
            Input::Ended {
                thread,
                lease,
                result,
            } => self.ended(thread, lease, result, now),
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
            prefetched: (self.fetching.len() + self.ready.len()) as u32,
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

    // ---- connection ----

    fn connected(&mut self, now: Timestamp) {
        if let Connection::Connecting { .. } = self.connection {
            self.connection = Connection::Open {
                until: now.after_ms(HANDSHAKE_MS),
            };
        }
    }

    fn disconnected(&mut self, reason: String, now: Timestamp) {
        if !matches!(self.connection, Connection::Offline { .. }) {
            self.trouble(format!("the coordinator is away: {reason}"));
            let again = now.after_ms(self.backoff.next_ms());
            self.connection = Connection::Offline { again, reason };
        }
    }

    /// Ends the connection from this side.
    fn hang_up(&mut self, reason: &str, now: Timestamp) {
        self.outputs.push_back(Output::Disconnect);
        self.disconnected(reason.to_owned(), now);
        self.trouble(reason.to_owned());
    }

    fn received(&mut self, message: ToExecutor, now: Timestamp) {
        match (message, &self.connection) {
            (ToExecutor::Challenge { nonce, build }, Connection::Open { until }) => {
                let (until, sign) = (*until, self.next_sign());
                self.status.coordinator_build = build;
                self.outputs.push_back(Output::Sign {
                    id: sign,
                    bytes: hello_bytes(&nonce),
                });
                self.connection = Connection::Proving { until, sign };
            }
            (
                ToExecutor::Welcome {
                    heartbeat_ms,
                    resumed,
                },
                Connection::Greeted { .. },
            ) => {
                self.welcomed(heartbeat_ms, &resumed.into_iter().collect(), now);
            }
            (ToExecutor::Assign { leases }, Connection::Welcomed { .. }) => {
                self.assigned(leases, now)
            }
            (ToExecutor::Revoke { leases, reason: _ }, Connection::Welcomed { .. }) => {
                leases.into_iter().for_each(|lease| self.forget(lease));
            }
            (ToExecutor::Reveal { leases }, Connection::Welcomed { .. }) => {
                self.reveal(&leases, now)
            }
            (ToExecutor::Excluded { reason }, Connection::Welcomed { .. }) => {
                self.trouble(reason.clone());
                self.excluded = Some(reason);
            }
            (ToExecutor::Accepted { leases }, Connection::Welcomed { .. }) => {
                self.accepted(&leases, now)
            }
            (ToExecutor::Rejected { lease, reason }, Connection::Welcomed { .. }) => {
                if let Some(lease) = lease {
                    self.forget(lease);
                }
                self.trouble(format!("the coordinator refused: {reason}"));
            }
            (ToExecutor::Rejected { lease: _, reason }, _) => {
                self.hang_up(&format!("the coordinator refused: {reason}"), now);
            }
            (ToExecutor::Bye { reason }, _) => {
                self.hang_up(&format!("the coordinator said bye: {reason}"), now)
            }
            (
                ToExecutor::Challenge { .. }
                | ToExecutor::Welcome { .. }
                | ToExecutor::Assign { .. }
                | ToExecutor::Revoke { .. }
                | ToExecutor::Reveal { .. }
                | ToExecutor::Excluded { .. }
                | ToExecutor::Accepted { .. },
                // A message that was under way when this side hung up.
                Connection::Offline { .. } | Connection::Connecting { .. },
            ) => {}
            (ToExecutor::Challenge { .. } | ToExecutor::Welcome { .. }, _) => {
                self.hang_up("the coordinator began the handshake twice", now);
            }
            (
                ToExecutor::Assign { .. }
                | ToExecutor::Revoke { .. }
                | ToExecutor::Reveal { .. }
                | ToExecutor::Excluded { .. }
                | ToExecutor::Accepted { .. },
                _,
            ) => {
                self.hang_up("the coordinator spoke before the handshake was over", now);
            }
        }
    }

    fn signed(&mut self, id: SignId, signature: Signature, now: Timestamp) {
        match self.connection {
            Connection::Proving { until, sign } if sign == id => {
                self.proof = Some(signature);
                let hello = self.hello(signature);
                self.send(ToCoordinator::Hello(Box::new(hello)));
                self.connection = Connection::Greeted { until };
            }
            _ => self.batch_signed(id, signature, now),
        }
    }

    fn hello(&self, proof: Signature) -> Hello {
        let held = self.leases.iter().map(|(id, lease)| Held {
            lease: *id,
            instruction: lease.instruction,
        });
        Hello {
            key: self.config.key,
            proof,
            build: self.config.build.clone(),
            name: self.config.name.clone(),
            capabilities: self.config.capabilities.clone(),
            enrolment: self.config.enrolment.clone(),
            holding: held.collect(),
        }
    }

    fn welcomed(&mut self, heartbeat_ms: u64, resumed: &BTreeSet<LeaseId>, now: Timestamp) {
        let heartbeat_ms = heartbeat_ms.clamp(*HEARTBEAT_MS.start(), *HEARTBEAT_MS.end());
        let next_heartbeat = now.after_ms(heartbeat_ms);
        self.connection = Connection::Welcomed {
            heartbeat_ms,
            next_heartbeat,
            poll: None,
            poll_from: now,
        };
        let lost: Vec<_> = self
            .leases
            .keys()
            .filter(|id| !resumed.contains(id))
            .copied()
            .collect();
        lost.into_iter().for_each(|id| self.forget(id));
        // Whether what was sent before arrived is not known, nor whether a coordinator that started anew asked for it:
        // say it again, from the commitment on.
        for (id, lease) in &mut self.leases {
            let Phase::Concluded(concluded) = &mut lease.phase else {
                continue;
            };
            match concluded.stage {
                Stage::Uploading { .. } | Stage::Committing => {}
                _ if lease.commit => {
                    concluded.stage = Stage::Committing;
                    self.concluded.remove(id);
                    self.committing.insert(*id);
                }
                // What is being signed is sent once that is done.
                Stage::Signing => {}
                Stage::Committed | Stage::Ready | Stage::Sent { .. } => {
                    concluded.stage = Stage::Ready;
                    self.concluded.insert(*id);
                }
            }
        }
        self.fetches.resume();
        self.uploads.resume();
        self.status.trouble.clear();
        self.excluded = None;
    }

    fn is_welcomed(&self) -> bool {
        matches!(self.connection, Connection::Welcomed { .. })
    }

    // ---- leases come ----

    fn assigned(&mut self, leases: Vec<Leased>, now: Timestamp) {
        let Connection::Welcomed {
            poll, poll_from, ..
        } = &mut self.connection
        else {
            return;
        };
        let asked = poll.take();
        if leases.is_empty() && asked.is_some_and(|asked| now.since_ms(asked.sent) < POLL_PAUSE_MS)
        {
            *poll_from = now.after_ms(POLL_PAUSE_MS);
        }
        let mut wanted = asked.map_or(0, |asked| asked.slots);
        let mut refused = false;
        for lease in leases {
            let (id, instruction) = (lease.id, lease.task.run.cid());
            let memory_bytes = lease.limits.memory;
            if self.leases.contains_key(&id) {
                continue;
            }
            let (workflow, submitter) = (lease.workflow.clone(), lease.submitter.clone());
            let commit = lease.commit;
            let (phase, blobs) = if wanted == 0 || !self.may_begin() {
                (Phase::Ending(Farewell::HandBack), Vec::new())
            } else {
                match self.job_of(lease, instruction) {
                    Ok((job, blobs)) => (Phase::Fetching { job, missing: 0 }, blobs),
                    Err(reason) => {
                        refused = true;
                        (
                            Phase::Ending(Farewell::Refuse(cut(reason, TEXT_BYTES_MAX))),
                            Vec::new(),
                        )
                    }
                }
            };
            wanted = wanted.saturating_sub(1);
            if matches!(phase, Phase::Ending(_)) {
                self.ending.insert(id);
            } else {
                self.fetching.insert(id);
            }
            self.leases.insert(
                id,
                Lease {
                    instruction,
                    memory_bytes,
                    workflow,
                    submitter,
                    commit,
                    blobs,
                    phase,
                },
            );
            self.need_blobs(id);
        }
        if refused {
            self.refusals_in_a_row = (self.refusals_in_a_row + 1).min(8);
            let pause_ms = POLL_PAUSE_MS << (self.refusals_in_a_row - 1);
            if let Connection::Welcomed { poll_from, .. } = &mut self.connection {
                *poll_from = now.after_ms(pause_ms);
            }
        }
    }

    /// What a lease asks for, or why it is declined.
    fn job_of(&self, lease: Leased, instruction: Cid) -> Result<(Box<Job>, Vec<Cid>), String> {
        let run = lease.task.run;
        if run.op != OPERATION {
            return Err(format!(
                "op `{}` is not known here, `{OPERATION}` is",
                run.op
            ));
        }
        let component = run.component().map_err(|error| error.to_string())?;
        let Limits {
            fuel,
            memory,
            time_ms: _,
        } = lease.limits;
        if fuel > FUEL_MAX {
            return Err(format!("a fuel limit of {fuel} is more than {FUEL_MAX}"));
        }
        if memory > self.config.capabilities.memory {
            let most = self.config.capabilities.memory;
            return Err(format!(
                "a memory limit of {memory} bytes is more than the {most} that this host can keep"
            ));
        }
        let outs: BTreeMap<Cid, _> = lease
            .inputs
            .into_iter()
            .map(|kept| (kept.instruction, kept.out))
            .collect();
        let args = run
            .resolve(&|cid| outs.get(&cid).cloned())
            .map_err(|promise| {
                format!(
                    "the lease does not keep its promise {} of {}",
                    promise.branch.key(),
                    promise.instruction
                )
            })?;
        let mut blobs = vec![component];
        blobs.extend(links(&args).into_iter().filter(|cid| *cid != component));
        if blobs.len() > BLOBS_MAX {
            return Err(format!(
                "the task needs {} blobs, {BLOBS_MAX} is the most",
                blobs.len()
            ));
        }
        if let Some(other) = blobs.iter().find(|cid| !cid.is_blob()) {
            return Err(format!(
                "the arguments link to {other}, which is not a blob"
            ));
        }
        let limits = lease.limits;
        let func = run.input.func;
        Ok((
            Box::new(Job {
                instruction,
                component,
                func,
                args,
                blobs: BTreeMap::new(),
                limits,
            }),
            blobs,
        ))
    }

    fn need_blobs(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Phase::Fetching { missing, .. } = &mut lease.phase else {
            return;
        };
        *missing = lease
            .blobs
            .iter()
            .filter(|cid| !self.fetches.need(**cid, id))
            .count();
        self.ready_if_complete(id);
    }

    fn fetched(&mut self, cid: Cid) {
        for id in self.fetches.done(cid) {
            if let Some(Lease {
                phase: Phase::Fetching { missing, .. },
                ..
            }) = self.leases.get_mut(&id)
            {
                *missing -= 1;
            }
            self.ready_if_complete(id);
        }
    }

    fn ready_if_complete(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.phase = match std::mem::replace(&mut lease.phase, Phase::Ending(Farewell::HandBack)) {
            Phase::Fetching { job, missing: 0 } => {
                self.fetching.remove(&id);
                self.ready.insert(id);
                Phase::Ready { job }
            }
            other => other,
        };
    }

    fn transfer_failed(&mut self, failed: transfers::Failed, message: &str) {
        match failed {
            transfers::Failed::Goes => {}
            transfers::Failed::GivenUp(users) => {
                for id in users {
                    self.fault(id, FaultKind::Blob, message);
                }
            }
        }
    }

    // ---- attempts ----

    /// A thread is free; what it came to is looked at when it has its next task.
    fn ended(
        &mut self,
        thread: ThreadId,
        lease: LeaseId,
        result: Result<Box<Attempt>, Fault>,
        now: Timestamp,
    ) {
        let work = self
            .threads
            .get_mut(&thread)
            .and_then(|t| t.work.take_if(|work| work.lease == lease));
        if let Some(work) = work {
            let wall_us = now.since_ms(work.doing.since).saturating_sub(1) * 1_000;
            let took_us = result
                .as_ref()
                .map_or(0, |attempt| attempt.remark.elapsed_us)
                .clamp(wall_us, wall_us + 2_000);
            self.rest(thread, took_us, now);
            self.task_us = Some(
                self.task_us
                    .map_or(took_us, |known| (known * 3 + took_us) / 4),
            );
            self.ended.push_back(Ended {
                lease,
                result,
                at: now,
            });
        } else {
            self.release_made(&result);
        }
    }

    fn look_at(&mut self, ended: Ended) {
        let Ended { lease, result, at } = ended;
        let made = result.as_ref().map_or(Vec::new(), |attempt| {
            attempt.blobs.keys().copied().collect()
        });
        self.take_result(lease, result, at);
        self.release_unneeded(made);
    }

    fn release_made(&mut self, result: &Result<Box<Attempt>, Fault>) {
        if let Ok(attempt) = result {
            self.release_unneeded(attempt.blobs.keys().copied().collect());
        }
    }

    /// The shell keeps what an attempt made until it is told otherwise, also where the attempt came to nothing.
    fn release_unneeded(&mut self, made: Vec<Cid>) {
        for cid in made {
            if !self.uploads.contains(cid) && !self.fetches.contains(cid) {
                self.outputs.push_back(Output::Release { cid });
            }
        }
    }

    fn take_result(&mut self, id: LeaseId, result: Result<Box<Attempt>, Fault>, now: Timestamp) {
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        match result {
            Ok(mut attempt) if attempt.outcome.instruction == lease.instruction => {
                let wanted = lease.memory_bytes;
                if attempt.conditions.growth_refused && attempt.conditions.memory < wanted {
                    // With its own limit it could have come to something else.
                    let most = attempt.conditions.memory >> 20;
                    let reason =
                        format!("it wants more memory than the {most} MiB that are allowed here");
                    self.end(id, Farewell::Refuse(reason));
                    return;
                }
                attempt.conditions.memory = wanted;
                self.conclude(id, *attempt, now)
            }
            Ok(attempt) => {
                let other = attempt.outcome.instruction;
                self.fault(
                    id,
                    FaultKind::Host,
                    &format!("the host answered for instruction {other} instead"),
                );
            }
            Err(fault) => self.end(id, Farewell::Fault(fault)),
        }
    }

    /// A thread that computed rests, so that it computes only its share of the time.
    fn rest(&mut self, thread: ThreadId, took_us: u64, now: Timestamp) {
        let duty = u64::from(self.config.duty_percent);
        let Some(thread) = self.threads.get_mut(&thread) else {
            return;
        };
        thread.owed_us = thread
            .owed_us
            .saturating_add(took_us.saturating_mul(100 - duty) / duty);
        thread.rest_until = now.after_ms(thread.owed_us / 1_000);
        thread.owed_us %= 1_000;
    }

    fn conclude(&mut self, id: LeaseId, attempt: Attempt, now: Timestamp) {
        let Attempt {
            outcome,
            conditions,
            remark,
            blobs,
        } = attempt;
        if let Err(error) = outcome.check() {
            self.fault(
                id,
                FaultKind::Host,
                &format!("the host made an outcome that may not be: {error}"),
            );
            return;
        }
        let statement = Statement {
            outcome: outcome.cid(),
            conditions,
        };
        let commit = self.leases.get(&id).is_some_and(|lease| lease.commit);
        let delivery = Delivery {
            lease: id,
            outcome,
            conditions,
            remark: remark.cut(),
            salt: commit.then(|| self.salt(id)),
        };
        let size = encode(&delivery).len();
        if size > FRAME_BYTES_MAX - FRAME_ROOM_BYTES {
            let message =
                format!("the host made an outcome of {size} bytes, which no frame can carry");
            self.fault(id, FaultKind::Host, &message);
            return;
        }
        self.strip(id);
        let uploads: Vec<Cid> = blobs.into_keys().collect();
        let missing = uploads
            .iter()
            .filter(|cid| !self.uploads.need(**cid, id))
            .count();
        let stage = Stage::Uploading { missing };
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        lease.phase = Phase::Concluded(Box::new(Concluded {
            delivery,
            statement,
            size,
            uploads,
            stage,
        }));
        self.unaccepted_bytes += size;
        self.sign_if_uploaded(id, now);
    }

    fn uploaded(&mut self, cid: Cid, now: Timestamp) {
        for id in self.uploads.done(cid) {
            if let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get_mut(&id)
                && let Stage::Uploading { missing } = &mut concluded.stage
            {
                *missing -= 1;
            }
            self.sign_if_uploaded(id, now);
        }
    }

    fn sign_if_uploaded(&mut self, id: LeaseId, now: Timestamp) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let Phase::Concluded(concluded) = &mut lease.phase else {
            return;
        };
        if concluded.stage != (Stage::Uploading { missing: 0 }) {
            return;
        }
        let uploads = std::mem::take(&mut concluded.uploads);
        if lease.commit {
            concluded.stage = Stage::Committing;
            self.committing.insert(id);
            return self.release_uploads(id, &uploads);
        }
        concluded.stage = Stage::Ready;
        self.release_uploads(id, &uploads);
        if self.concluded.is_empty() {
            self.concluded_since = now;
        }
        self.concluded.insert(id);
    }

    // ---- deliveries ----

    /// Something that only this executor and the coordinator know, for one lease.
    fn salt(&self, id: LeaseId) -> ByteArray<32> {
        let proof = self.proof.map_or([0; 64], |proof| *proof.0);
        let said = [proof.as_slice(), &id.0.to_le_bytes()].concat();
        ByteArray::new(content_cid(&said).digest())
    }

    /// Commits to outcomes that are not to be told yet.
    fn commit(&mut self) {
        let mut items = Vec::new();
        for id in std::mem::take(&mut self.committing) {
            let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get_mut(&id)
            else {
                continue;
            };
            concluded.stage = Stage::Committed;
            let salt = concluded.delivery.salt.unwrap_or_default();
            let digest = ByteArray::new(commitment(&salt, &concluded.statement));
            items.push(Commitment { lease: id, digest });
        }
        for items in items.chunks(DELIVERY_ITEMS_MAX) {
            self.send(ToCoordinator::Commit {
                items: items.to_vec(),
            });
        }
    }

    /// The coordinator asks for what was committed to.
    fn reveal(&mut self, leases: &[LeaseId], now: Timestamp) {
        for id in leases {
            let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get_mut(id)
            else {
                continue;
            };
            if concluded.stage == Stage::Committed {
                concluded.stage = Stage::Ready;
                if self.concluded.is_empty() {
                    self.concluded_since = now;
                }
                self.concluded.insert(*id);
            }
        }
    }

    /// Asks for the signature of a batch, if it is time.
    fn sign_batch(&mut self, now: Timestamp) {
        let busy = self.works().next().is_some();
        let wait = busy
            && self.concluded.len() < BATCH_ITEMS
            && now < self.concluded_since.after_ms(BATCH_MS);
        if !self.is_welcomed() || self.signing.is_some() || self.concluded.is_empty() || wait {
            return;
        }
        let (mut batch, mut statements, mut bytes) = (Vec::new(), Vec::new(), FRAME_ROOM_BYTES);
        for id in &self.concluded {
            let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get_mut(id)
            else {
                continue;
            };
            bytes += concluded.size;
            if batch.len() == DELIVERY_ITEMS_MAX || bytes > FRAME_BYTES_MAX {
                break;
            }
            concluded.stage = Stage::Signing;
            statements.push(concluded.statement);
            batch.push(*id);
        }
        batch.iter().for_each(|id| {
            self.concluded.remove(id);
        });
        self.concluded_since = now;
        if !batch.is_empty() {
            let id = self.next_sign();
            self.outputs.push_back(Output::Sign {
                id,
                bytes: MerkleTree::new(&statements).signed_bytes(),
            });
            self.signing = Some((id, batch));
        }
    }

    fn batch_signed(&mut self, id: SignId, signature: Signature, now: Timestamp) {
        let Some((_, batch)) = self.signing.take_if(|(signing, _)| *signing == id) else {
            return;
        };
        let still = |lease: &LeaseId| match &self.leases.get(lease)?.phase {
            Phase::Concluded(concluded) => {
                (concluded.stage == Stage::Signing).then(|| concluded.delivery.clone())
            }
            Phase::Fetching { .. }
            | Phase::Ready { .. }
            | Phase::Running { .. }
            | Phase::Ending(_) => None,
        };
        let items: Vec<Delivery> = batch.iter().filter_map(still).collect();
        // The signature is over all of the batch: if the coordinator is away or revoked one, the rest is signed anew.
        let whole = self.is_welcomed() && items.len() == batch.len();
        for item in &items {
            let Some(lease) = self.leases.get_mut(&item.lease) else {
                continue;
            };
            let Phase::Concluded(concluded) = &mut lease.phase else {
                continue;
            };
            if whole {
                concluded.stage = Stage::Sent { at: now };
            } else {
                concluded.stage = Stage::Ready;
                self.concluded.insert(item.lease);
            }
        }
        if whole {
            self.send(ToCoordinator::Deliver { items, signature });
        }
    }

    fn accepted(&mut self, leases: &[LeaseId], now: Timestamp) {
        for id in leases {
            let Some(Lease {
                phase: Phase::Concluded(concluded),
                ..
            }) = self.leases.get(id)
            else {
                continue;
            };
            if let Stage::Sent { at } = concluded.stage {
                self.trip_us = (self.trip_us * 7 + now.since_ms(at).max(1) * 1_000) / 8;
            }
            self.status.tasks += 1;
            self.status.fuel = self
                .status
                .fuel
                .saturating_add(concluded.delivery.outcome.fuel.unwrap_or(0));
            self.forget(*id);
        }
    }

    // ---- the ends of leases ----

    fn fault(&mut self, id: LeaseId, kind: FaultKind, message: &str) {
        self.end(
            id,
            Farewell::Fault(Fault {
                kind,
                message: message.to_owned(),
            }),
        );
    }

    /// Ends a lease without an outcome; the coordinator is told once it is there.
    fn end(&mut self, id: LeaseId, mut farewell: Farewell) {
        self.strip(id);
        match &mut farewell {
            Farewell::Fault(fault) => {
                fault.message = cut(std::mem::take(&mut fault.message), TEXT_BYTES_MAX);
                if matches!(fault.kind, FaultKind::Lost | FaultKind::Disagreement) {
                    // Only the coordinator may say so.
                    fault.kind = FaultKind::Host;
                }
                self.trouble(fault.message.clone());
            }
            Farewell::Refuse(_) | Farewell::HandBack => {}
        }
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.phase = Phase::Ending(farewell);
            self.ending.insert(id);
        }
    }

    /// Drops a lease that the coordinator knows to be over.
    fn forget(&mut self, id: LeaseId) {
        self.strip(id);
        self.leases.remove(&id);
    }

    /// Undoes all that hangs on a lease but the lease itself: its thread, its blobs, its places in queues.
    fn strip(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        self.fetching.remove(&id);
        self.ready.remove(&id);
        self.committing.remove(&id);
        self.concluded.remove(&id);
        self.ending.remove(&id);
        let blobs = std::mem::take(&mut lease.blobs);
        let mut uploads = Vec::new();
        match &mut lease.phase {
            Phase::Running { thread } => {
                let thread = *thread;
                if let Some(state) = self.threads.get_mut(&thread)
                    && state.work.take_if(|work| work.lease == id).is_some()
                {
                    self.outputs.push_back(Output::Kill { thread });
                }
            }
            Phase::Concluded(concluded) => {
                self.unaccepted_bytes -= concluded.size;
                uploads = std::mem::take(&mut concluded.uploads);
            }
            Phase::Fetching { .. } | Phase::Ready { .. } | Phase::Ending(_) => {}
        }
        for cid in blobs {
            if self.fetches.release(cid, id) && !self.uploads.contains(cid) {
                self.outputs.push_back(Output::Release { cid });
            }
        }
        self.release_uploads(id, &uploads);
    }

    fn release_uploads(&mut self, id: LeaseId, uploads: &[Cid]) {
        for cid in uploads {
            if self.uploads.release(*cid, id) && !self.fetches.contains(*cid) {
                self.outputs.push_back(Output::Release { cid: *cid });
            }
        }
    }

    fn hand_back_unbegun(&mut self) {
        let unbegun: Vec<_> = self.fetching.union(&self.ready).copied().collect();
        unbegun
            .into_iter()
            .for_each(|id| self.end(id, Farewell::HandBack));
    }

    /// Hands back the newest leases that are more than the threads are good for.
    fn trim(&mut self) {
        while self.active() > self.capacity() {
            let Some(newest) = self.fetching.last().max(self.ready.last()).copied() else {
                break;
            };
            self.end(newest, Farewell::HandBack);
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
            self.say_farewells();
            self.commit();
            self.sign_batch(now);
            self.announce(now);
            self.poll(now);
            self.heartbeat(now);
        }
        self.finish_leaving(now);
    }

    fn keep_connection(&mut self, now: Timestamp) {
        match &mut self.connection {
            Connection::Offline { again, .. } if *again <= now => {
                self.connection = Connection::Connecting {
                    until: Some(now.after_ms(HANDSHAKE_MS)),
                };
                self.outputs.push_back(Output::Connect);
                self.changed = true;
            }
            Connection::Connecting {
                until: until @ None,
            } => *until = Some(now.after_ms(HANDSHAKE_MS)),
            Connection::Connecting { until: Some(until) }
            | Connection::Open { until }
            | Connection::Proving { until, .. }
            | Connection::Greeted { until }
                if *until <= now =>
            {
                self.hang_up("the coordinator did not welcome this executor in time", now);
                self.changed = true;
            }
            Connection::Welcomed {
                poll: Some(poll), ..
            } if silent_at(poll.sent) <= now => {
                self.hang_up("the coordinator did not answer", now);
                self.changed = true;
            }
            Connection::Offline { .. }
            | Connection::Connecting { .. }
            | Connection::Open { .. }
            | Connection::Proving { .. }
            | Connection::Greeted { .. }
            | Connection::Welcomed { .. }
            | Connection::Over => {}
        }
    }

    fn stop_overdue(&mut self, now: Timestamp) {
        let overdue = self.works().filter(|(_, work)| work.deadline <= now);
        let overdue: Vec<_> = overdue
            .map(|(_, work)| (work.lease, work.time_ms))
            .collect();
        for (id, time_ms) in overdue {
            self.fault(
                id,
                FaultKind::TimeLimit,
                &format!("stopped after {time_ms} ms, the time limit of the task"),
            );
            self.changed = true;
        }
        let threads = self.config.capabilities.threads;
        self.threads
            .retain(|id, thread| id.0 < threads || thread.work.is_some());
    }

    /// Gives what is ready to threads that are free and rested.
    fn begin(&mut self, now: Timestamp) {
        if !self.may_begin() {
            return;
        }
        let free = self
            .allowed_threads()
            .filter(|(_, t)| t.work.is_none() && t.rest_until <= now);
        let free: Vec<ThreadId> = free.map(|(id, _)| id).collect();
        for thread in free {
            let Some(id) = self.ready.pop_first() else {
                break;
            };
            let Some(lease) = self.leases.get_mut(&id) else {
                continue;
            };
            let phase = std::mem::replace(&mut lease.phase, Phase::Running { thread });
            let Phase::Ready { mut job } = phase else {
                lease.phase = phase;
                continue;
            };
            job.limits.memory = job.limits.memory.min(self.config.memory_bytes);
            let doing = Doing {
                func: job.func.clone(),
                workflow: lease.workflow.clone(),
                submitter: lease.submitter.clone(),
                since: now,
            };
            let time_ms = job.limits.time_ms;
            let deadline = now.after_ms(time_ms).after_ms(GRACE_MS);
            let work = Work {
                lease: id,
                doing,
                time_ms,
                deadline,
                announced: false,
            };
            let blobs = links(&job.args);
            self.threads.entry(thread).or_default().work = Some(work);
            self.outputs.push_back(Output::Run {
                thread,
                lease: id,
                job,
                blobs,
            });
            self.refusals_in_a_row = 0;
            self.changed = true;
        }
    }

    fn say_farewells(&mut self) {
        let mut handed_back = Vec::new();
        for id in std::mem::take(&mut self.ending) {
            let Some(lease) = self.leases.remove(&id) else {
                continue;
            };
            match lease.phase {
                Phase::Ending(Farewell::Fault(fault)) => {
                    self.send(ToCoordinator::Fault { lease: id, fault })
                }
                Phase::Ending(Farewell::Refuse(reason)) => {
                    self.send(ToCoordinator::Refuse { lease: id, reason })
                }
                Phase::Ending(Farewell::HandBack)
                | Phase::Fetching { .. }
                | Phase::Ready { .. }
                | Phase::Running { .. }
                | Phase::Concluded(_) => handed_back.push(id),
            }
        }
        for leases in handed_back.chunks(LEASES_HELD_MAX) {
            self.send(ToCoordinator::HandBack {
                leases: leases.to_vec(),
            });
        }
    }

    fn announce(&mut self, now: Timestamp) {
        let works = self
            .threads
            .values_mut()
            .filter_map(|thread| thread.work.as_mut());
        let due =
            works.filter(|work| !work.announced && work.doing.since.after_ms(STARTED_MS) <= now);
        let leases: Vec<_> = due
            .map(|work| {
                work.announced = true;
                work.lease
            })
            .collect();
        if !leases.is_empty() {
            self.send(ToCoordinator::Started { leases });
        }
    }

    fn poll(&mut self, now: Timestamp) {
        let slots = self.slots();
        let Connection::Welcomed {
            poll: poll @ None,
            poll_from,
            ..
        } = &mut self.connection
        else {
            return;
        };
        if slots > 0 && *poll_from <= now {
            *poll = Some(Poll { slots, sent: now });
            self.send(ToCoordinator::Poll {
                slots,
                wait_ms: POLL_WAIT_MS,
            });
        }
    }

    fn heartbeat(&mut self, now: Timestamp) {
        let Connection::Welcomed {
            heartbeat_ms,
            next_heartbeat,
            ..
        } = &mut self.connection
        else {
            return;
        };
        if *next_heartbeat <= now {
            *next_heartbeat = now.after_ms(*heartbeat_ms);
            // The connection lives: the next loss is not one of a series.
            self.backoff.reset();
            self.send(ToCoordinator::Heartbeat {
                leases: self.leases.keys().copied().collect(),
            });
        }
    }

    fn finish_leaving(&mut self, now: Timestamp) {
        let Some(leaving) = self.leaving else { return };
        let out_of_time = leaving.deadline.is_some_and(|deadline| deadline <= now);
        // Without a coordinator there is nobody to hand back to: its leases run out.
        let nobody = !self.is_welcomed()
            && self.works().next().is_none()
            && self.leases.len() == self.ending.len();
        if !self.leases.is_empty() && !out_of_time && !nobody {
            return;
        }
        if self.is_welcomed() {
            self.send(ToCoordinator::Leave);
        }
        if !matches!(self.connection, Connection::Offline { .. }) {
            self.outputs.push_back(Output::Disconnect);
        }
        self.connection = Connection::Over;
        self.outputs.push_back(Output::Changed);
        self.changed = false;
        self.outputs.push_back(Output::Finished);
    }

    // ---- small questions ----

    /// May work be taken and begun?
    fn may_begin(&self) -> bool {
        self.paused.is_none() && self.excluded.is_none() && self.leaving.is_none()
    }

    /// Leases that wait for a thread or have one.
    fn active(&self) -> u32 {
        (self.fetching.len() + self.ready.len() + self.works().count()) as u32
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
