//! The outer state machine: takes facts, hands out duties. What it decides about is kept in the rooms beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asterism_protocol::{
    Attestation, Cid, Conditions, Invocation, MerkleTree, Outcome, PublicKey, Receipt, Remark,
    Signature, Statement, Timestamp, content_cid, limits,
    message::{
        Change, Delivery, Fault, FaultKind, Held as HeldLease, Hello, Lease as LeaseMessage,
        LeaseId, ToCoordinator, ToExecutor,
    },
    view::{AttemptView, ExecutorView, Overview, RunId, RunView, TaskState, TaskView},
};
use serde_bytes::ByteArray;

use crate::{
    Config, ConnectionId, Event, Input, Output, RequestId, Submission, SubmitError, TimeoutReason,
    digests::Digest,
    executors::{Executor, Executors, LEASES_MAX, Lease, Poll, shorten},
    memory::{Answer, Held, Known, Memory, answer},
    random::Random,
    remark,
    run::{Header, LEASE_BYTES_MAX, Plan, Run, rank, replayed},
    trust::{self, Verdict},
    works::{Asker, Wanter, WorkId, Works},
};

/// How many lease numbers are reserved in the journal at a time.
const LEASE_BLOCK: u64 = 1_000;

/// Most bytes of tasks and inputs that one answer to a poll is filled with; a single larger lease still goes, alone.
const ASSIGN_BYTES_MAX: usize = 1 << 20;

/// Most runs in an overview.
const OVERVIEW_RUNS_MAX: usize = 1_000;

/// Most functions that an executor's view names.
const DOING_MAX: usize = 16;

/// What comes due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Lease(LeaseId),
    Poll(PublicKey),
    Backoff(WorkId),
    Reconnect(PublicKey),
}

/// A scheduler; see the crate's documentation for its contract.
pub struct Scheduler {
    config: Config,
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

    works: Works,
    /// Nodes that became ready and were not looked at yet.
    ready: VecDeque<Wanter>,
    executors: Executors,
    leases: BTreeMap<LeaseId, Lease>,
    next_lease: u64,
    leases_reserved: u64,

    /// How many watch a run.
    watched: BTreeMap<RunId, u32>,
    changed_runs: BTreeSet<RunId>,
    changed_executors: BTreeSet<PublicKey>,
}

/// The facts.
impl Scheduler {
    /// A scheduler that knows nothing yet. `seed` is for the jitter of pauses.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            now: Timestamp::default(),
            random: Random::new(seed),
            outputs: VecDeque::new(),
            dues: BTreeSet::new(),
            runs: BTreeMap::new(),
            next_run: 1,
            latest: BTreeMap::new(),
            running: BTreeSet::new(),
            finished: VecDeque::new(),
            memory: Memory::default(),
            works: Works::default(),
            ready: VecDeque::new(),
            executors: Executors::default(),
            leases: BTreeMap::new(),
            next_lease: 1,
            leases_reserved: 0,
            watched: BTreeMap::new(),
            changed_runs: BTreeSet::new(),
            changed_executors: BTreeSet::new(),
        }
    }

    /// Takes back what the journal remembers, in its order, before anything else is handled. There are no outputs: whoever
    /// holds leases will come back and say so.
    pub fn recover(&mut self, events: impl IntoIterator<Item = Event>, now: Timestamp) {
        for event in events {
            self.apply(event);
            self.follow();
        }
        self.now = self.now.max(now);
        // Lease numbers up to the reserved one may be in executors' hands.
        self.next_lease = self.leases_reserved + 1;
        self.outputs.clear();
        self.changed_runs.clear();
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
            Input::Connected { connection, nonce } => {
                self.executors.connect(connection, nonce);
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
        let (at, due) = self.dues.first()?;
        let reason = match due {
            Due::Lease(_) => TimeoutReason::Lease,
            Due::Poll(_) => TimeoutReason::Poll,
            Due::Backoff(_) => TimeoutReason::Backoff,
            Due::Reconnect(_) => TimeoutReason::Reconnect,
        };
        Some((*at, reason))
    }

    /// Time has passed. Then [`Scheduler::poll_output`] is to be drained.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some((at, due)) = self.dues.first().copied().filter(|(at, _)| *at <= self.now) {
            self.dues.remove(&(at, due));
            match due {
                Due::Lease(id) => self.lose(id, "the lease ran out without a heartbeat"),
                Due::Poll(key) => {
                    let connection = self.executors.connection_of(&key);
                    self.end_poll(&key);
                    if let Some(connection) = connection {
                        self.send(connection, ToExecutor::Assign { leases: Vec::new() });
                    }
                }
                Due::Backoff(work) => self.offer(work),
                Due::Reconnect(key) => self.lose_executor(&key, "the executor did not come back"),
            }
        }
        self.conclude();
    }

    /// What every call ends with: ready tasks go out, changes are told.
    fn conclude(&mut self) {
        self.follow();
        self.assign();
        self.publish();
    }

    /// What every event ends with, live and recovered alike: the nodes that it made ready are looked at, what is too old
    /// is forgotten.
    fn follow(&mut self) {
        self.look_at_ready();
        self.evict();
    }
}

/// Runs.
impl Scheduler {
    fn submit(&mut self, request: RequestId, submission: Submission) {
        let result = self.accept(submission);
        self.outputs.push_back(Output::Reply { request, result });
    }

    fn accept(&mut self, submission: Submission) -> Result<RunId, SubmitError> {
        let Submission {
            prepared,
            name,
            submitter,
            known,
        } = submission;
        let live: usize = self
            .running
            .iter()
            .map(|run| self.runs[run].graph.open() as usize)
            .sum();
        let max = self.config.live_tasks_max;
        if live + prepared.workflow.tasks.len() > max {
            return Err(SubmitError::Full { live, max });
        }
        let workflow = prepared.workflow.clone();
        let names = prepared.names.clone();
        let header = Header {
            id: RunId(self.next_run),
            workflow: prepared.workflow.cid(),
            name: shorten(&name, limits::NAME_BYTES_MAX),
            submitter: shorten(&submitter, limits::NAME_BYTES_MAX),
            submitted: self.now,
        };
        let (run, name, submitter) = (header.id, header.name.clone(), header.submitter.clone());
        let plan = self.plan(prepared.workflow, prepared.names, &known)?;
        let begun = self.begin(header, plan, known);
        let known = replayed(&begun, &self.memory);
        let at = self.now;
        self.persist(Event::Submitted {
            run,
            at,
            name,
            submitter,
            workflow,
            names,
            known,
        });
        self.enter(begun);
        Ok(run)
    }

    fn plan(
        &self,
        workflow: asterism_protocol::Workflow,
        names: Vec<String>,
        known: &[Receipt],
    ) -> Result<Plan, SubmitError> {
        let told: BTreeSet<Digest> = known
            .iter()
            .filter_map(|receipt| Some(receipt.outcome()?.instruction.digest()))
            .collect();
        Plan::read(workflow, names, |digest| {
            told.contains(digest) || self.memory.find(digest).is_some()
        })
    }

    /// Makes a run of a plan, with what memory and the submission know of it.
    fn begin(&mut self, header: Header, plan: Plan, known: Vec<Receipt>) -> Run {
        let mut told: BTreeMap<Digest, Known> = known
            .into_iter()
            .filter_map(Known::read)
            .map(|known| {
                (
                    known
                        .receipt
                        .outcome()
                        .map_or([0; 32], |outcome| outcome.instruction.digest()),
                    known,
                )
            })
            .collect();
        let results = plan
            .requests()
            .map(|(digest, limits)| {
                let answers = |known: &Known| match &limits {
                    Some(limits) => known.answer(limits),
                    None => Some(Answer::Whole),
                };
                let in_memory = self
                    .memory
                    .find(digest)
                    .and_then(|(slot, known)| Some((slot, answers(known)?)));
                let found = in_memory.or_else(|| {
                    let answer = answers(told.get(digest)?)?;
                    Some((self.memory.insert(told.remove(digest)?), answer))
                });
                found.map_or(Held::NOTHING, |(slot, answer)| {
                    self.memory.hold(slot);
                    Held::new(slot, answer)
                })
            })
            .collect();
        let mut ready = Vec::new();
        let run = Run::new(header, plan, results, &self.memory, &mut ready);
        self.ready.extend(ready.into_iter().map(|node| Wanter {
            run: run.header.id,
            node,
        }));
        run
    }

    /// A run that was begun takes its place.
    fn enter(&mut self, run: Run) {
        let id = run.header.id;
        self.next_run = self.next_run.max(id.0 + 1);
        self.latest.insert(run.header.workflow, id);
        let submitted = run.header.submitted;
        self.runs.insert(id, run);
        self.running.insert(id);
        self.changed_runs.insert(id);
        self.finish_if_done(id, submitted);
    }

    fn finish_if_done(&mut self, id: RunId, at: Timestamp) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        if run.graph.open() == 0 && self.running.remove(&id) {
            run.finished = Some(at);
            self.finished.push_back(id);
        }
    }

    fn cancel(&mut self, request: RequestId, run: RunId) {
        let result = if !self.runs.contains_key(&run) {
            Err(SubmitError::UnknownRun(run))
        } else {
            if self.running.contains(&run) {
                let at = self.now;
                self.persist(Event::Cancelled { run, at });
                self.end_run(run, at);
            }
            Ok(run)
        };
        self.outputs.push_back(Output::Reply { request, result });
    }

    /// Cancels whatever of a run is not done; what another run wants goes on for it.
    fn end_run(&mut self, id: RunId, at: Timestamp) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let mut left = Vec::new();
        for node in 0..run.graph.len() {
            match run.graph.state(node) {
                TaskState::Waiting | TaskState::Ready | TaskState::Leased => {
                    left.extend(
                        self.works
                            .find(&run.digests[node as usize])
                            .map(|work| (work, node)),
                    );
                    run.graph.set(node, TaskState::Cancelled);
                }
                TaskState::Computed
                | TaskState::Replayed
                | TaskState::Skipped
                | TaskState::Failed
                | TaskState::Cancelled => {}
            }
        }
        run.cancelled = true;
        self.changed_runs.insert(id);
        self.ready.retain(|wanter| wanter.run != id);
        self.finish_if_done(id, at);
        let mut revoked = BTreeMap::new();
        for (work, node) in left {
            self.unwant(work, Wanter { run: id, node }, &mut revoked);
        }
        self.revoke(revoked, "the run was cancelled");
    }

    /// A node wants an instruction no longer. Leases that nobody wants then are noted in `revoked`.
    fn unwant(
        &mut self,
        id: WorkId,
        wanter: Wanter,
        revoked: &mut BTreeMap<ConnectionId, Vec<LeaseId>>,
    ) {
        let work = self.works.get_mut(id);
        work.wanters.retain(|other| *other != wanter);
        if work.wanters.is_empty() {
            self.drop_work(id, revoked);
        } else {
            self.settle_limits(id);
            self.offer(id);
        }
    }

    /// Puts the wanter with the largest limits first. Its limits are leased: an outcome under them answers at least itself.
    fn settle_limits(&mut self, id: WorkId) {
        let work = self.works.get_mut(id);
        let limits = |wanter: &Wanter| self.runs[&wanter.run].limits(wanter.node);
        let largest = (0..work.wanters.len())
            .rev()
            .max_by_key(|at| rank(&limits(&work.wanters[*at])))
            .unwrap_or(0);
        work.wanters.swap(0, largest);
        work.limits = limits(&work.wanters[0]);
    }

    /// Ends all leases of an instruction and forgets it.
    fn drop_work(&mut self, id: WorkId, revoked: &mut BTreeMap<ConnectionId, Vec<LeaseId>>) {
        for lease in self.works.get(id).leases.clone() {
            let Some(lease_entry) = self.end_lease(lease) else {
                continue;
            };
            if let Some(connection) = self.executors.connection_of(&lease_entry.key) {
                revoked.entry(connection).or_default().push(lease);
            }
        }
        let work = self.works.remove(id);
        if let Some(until) = work.trouble.and_then(|trouble| trouble.backoff) {
            self.dues.remove(&(until, Due::Backoff(id)));
        }
    }

    /// Tells executors to stop, once the reason is durable.
    fn revoke(&mut self, revoked: BTreeMap<ConnectionId, Vec<LeaseId>>, reason: &str) {
        for (connection, leases) in revoked {
            let message = ToExecutor::Revoke {
                leases,
                reason: reason.to_owned(),
            };
            self.outputs.push_back(Output::Acknowledge {
                connection,
                message,
            });
        }
    }

    /// Nodes that became ready are answered from memory, or become work.
    fn look_at_ready(&mut self) {
        while let Some(wanter) = self.ready.pop_front() {
            let Some(run) = self.runs.get(&wanter.run) else {
                continue;
            };
            let (digest, limits) = (run.digests[wanter.node as usize], run.limits(wanter.node));
            let known = self
                .memory
                .find(&digest)
                .and_then(|(slot, known)| Some((slot, known.answer(&limits)?)));
            if let Some((slot, answer)) = known {
                self.settle(wanter, TaskState::Replayed, Some((slot, answer)), self.now);
            } else if run.lease_bytes(wanter.node, &self.memory) > LEASE_BYTES_MAX {
                self.settle(wanter, TaskState::Failed, None, self.now);
            } else if let Some(work) = self.works.find(&digest) {
                self.works.get_mut(work).wanters.push(wanter);
                self.settle_limits(work);
                self.offer(work);
            } else {
                let work = self.works.insert(digest, wanter, limits);
                self.offer(work);
            }
        }
    }

    /// Ends a node, holding its receipt if it has one; what it feeds becomes ready or fails.
    fn settle(
        &mut self,
        wanter: Wanter,
        state: TaskState,
        result: Option<(u32, Answer)>,
        at: Timestamp,
    ) {
        let Some(run) = self.runs.get_mut(&wanter.run) else {
            return;
        };
        let held = result.map_or(Held::NOTHING, |(slot, answer)| {
            self.memory.hold(slot);
            Held::new(slot, answer)
        });
        let mut ready = Vec::new();
        run.settle(wanter.node, state, held, &self.memory, &mut ready);
        self.ready.extend(ready.into_iter().map(|node| Wanter {
            run: wanter.run,
            node,
        }));
        self.changed_runs.insert(wanter.run);
        self.finish_if_done(wanter.run, at);
    }

    /// Takes an event of the journal. What live handling decides beside it is decided again.
    fn apply(&mut self, event: Event) {
        match event {
            Event::Submitted {
                run,
                at,
                name,
                submitter,
                workflow,
                names,
                known,
            } => {
                self.now = self.now.max(at);
                let cid = workflow.cid();
                let header = Header {
                    id: run,
                    workflow: cid,
                    name,
                    submitter,
                    submitted: at,
                };
                // What was accepted once is a workflow; a journal that says otherwise is not of this program.
                if let Ok(plan) = self.plan(workflow, names, &known) {
                    let run = self.begin(header, plan, known);
                    self.enter(run);
                }
            }
            Event::Computed {
                at,
                receipt,
                remark,
            } => {
                self.now = self.now.max(at);
                if let Some(mut known) = Known::read(*receipt) {
                    (known.at, known.remark) = (at, Some(*remark));
                    self.become_canonical(known);
                }
            }
            Event::GaveUp {
                at,
                instruction,
                attempts,
            } => {
                self.now = self.now.max(at);
                if let Some(work) = self.works.find(&instruction.digest()) {
                    self.give_up(work, &attempts, at);
                }
            }
            Event::Cancelled { run, at } => {
                self.now = self.now.max(at);
                self.end_run(run, at);
            }
            Event::LeasesReserved { up_to } => {
                self.leases_reserved = self.leases_reserved.max(up_to)
            }
        }
    }

    /// Forgets the runs that finished first, beyond those that are kept for show.
    fn evict(&mut self) {
        while self.finished.len() > self.config.finished_runs_max {
            let Some(run) = self
                .finished
                .pop_front()
                .and_then(|id| self.runs.remove(&id))
            else {
                continue;
            };
            for (slot, _) in run.results().iter().filter_map(|held| held.get()) {
                self.memory.release(slot);
            }
            let id = run.header.id;
            if self.latest.get(&run.header.workflow) == Some(&id) {
                self.latest.remove(&run.header.workflow);
            }
            self.watched.remove(&id);
        }
    }
}

/// Executors.
impl Scheduler {
    fn received(&mut self, connection: ConnectionId, message: ToCoordinator) {
        let Some(entry) = self.executors.connections.get(&connection) else {
            return;
        };
        match (entry.key, message) {
            (None, ToCoordinator::Hello(hello)) => self.hello(connection, &hello),
            (None, _) => self.turn_away(connection, "say hello first"),
            (Some(key), message) => {
                if let Err(reason) = self.told(connection, &key, message) {
                    self.turn_away(connection, &reason);
                }
            }
        }
    }

    /// A message of a welcomed executor. An error is a breach of the protocol and ends the connection.
    fn told(
        &mut self,
        connection: ConnectionId,
        key: &PublicKey,
        message: ToCoordinator,
    ) -> Result<(), String> {
        match message {
            ToCoordinator::Hello(_) => return Err("hello is said once".to_owned()),
            ToCoordinator::Poll { slots, wait_ms } => self.poll(connection, key, slots, wait_ms),
            ToCoordinator::Heartbeat { leases } => self.heartbeat(connection, key, leases)?,
            ToCoordinator::Started { leases } => {
                bounded(leases.len(), LEASES_MAX, "leases")?;
                if let Some(executor) = self.executors.by_key.get_mut(key) {
                    executor.begun.extend(
                        leases
                            .into_iter()
                            .filter(|lease| executor.leases.contains(lease)),
                    );
                    self.changed_executors.insert(*key);
                }
            }
            ToCoordinator::Deliver { items, signature } => {
                self.deliver(connection, key, items, &signature)?
            }
            ToCoordinator::Fault { lease, fault } => {
                if let Some(work) = self.end_own_lease(key, lease) {
                    let kind = match fault.kind {
                        // Said by the coordinator only.
                        FaultKind::Lost => FaultKind::Host,
                        FaultKind::TimeLimit
                        | FaultKind::StackOverflow
                        | FaultKind::Blob
                        | FaultKind::Host => fault.kind,
                    };
                    let message = shorten(&fault.message, limits::TEXT_BYTES_MAX);
                    self.attempt_failed(work, *key, Fault { kind, message });
                }
            }
            ToCoordinator::Refuse { lease, reason } => {
                if let Some(id) = self.end_own_lease(key, lease) {
                    let reason = shorten(&reason, limits::TEXT_BYTES_MAX);
                    self.works
                        .get_mut(id)
                        .trouble
                        .get_or_insert_default()
                        .refuse(*key, reason);
                    self.offer(id);
                }
            }
            ToCoordinator::HandBack { leases } => {
                bounded(leases.len(), LEASES_MAX, "leases")?;
                for lease in leases {
                    if let Some(work) = self.end_own_lease(key, lease) {
                        self.offer(work);
                    }
                }
            }
            ToCoordinator::Leave => {
                self.hand_back_all(key);
                self.executors.connections.remove(&connection);
                self.end_poll(key);
                self.executors.forget(key);
                self.outputs
                    .push_back(Output::Publish(Change::ExecutorGone(*key)));
                self.outputs.push_back(Output::Disconnect { connection });
            }
        }
        Ok(())
    }

    fn hello(&mut self, connection: ConnectionId, hello: &Hello) {
        if let Err(reason) = self
            .executors
            .check(connection, hello, &self.config.metering)
        {
            return self.turn_away(connection, &reason);
        }
        let key = hello.key;
        if let Some(older) = self.executors.connection_of(&key) {
            self.end_poll(&key);
            self.executors.connections.remove(&older);
            let reason = "the same executor connected again".to_owned();
            self.send(older, ToExecutor::Bye { reason });
            self.outputs
                .push_back(Output::Disconnect { connection: older });
        }
        let now = self.now;
        let executor = self.executors.by_key.get_mut(&key);
        if let Some(until) = executor.and_then(|executor| executor.grace.take()) {
            self.dues.remove(&(until, Due::Reconnect(key)));
        }
        let executor = self.executors.welcome(connection, hello, now);
        let before = executor.leases.clone();
        let resumed: Vec<LeaseId> = hello
            .holding
            .iter()
            .filter(|held| self.resume(&key, **held))
            .map(|held| held.lease)
            .collect();
        for lease in before.into_iter().filter(|lease| !resumed.contains(lease)) {
            self.lose(lease, "the executor came back without it");
        }
        let heartbeat_ms = self.config.heartbeat_ms;
        self.send(
            connection,
            ToExecutor::Welcome {
                heartbeat_ms,
                resumed,
            },
        );
        self.changed_executors.insert(key);
    }

    /// Goes on with a lease from before a connection was lost, or from before this scheduler began.
    fn resume(&mut self, key: &PublicKey, held: HeldLease) -> bool {
        let digest = held.instruction.digest();
        if let Some(lease) = self.leases.get(&held.lease) {
            let same = lease.key == *key && self.works.get(lease.work).digest == digest;
            if same {
                self.extend_lease(held.lease);
            }
            return same;
        }
        let Some(work) = self.works.find(&digest) else {
            return false;
        };
        let entry = self.works.get(work);
        let mine = held.lease.0 <= self.leases_reserved && held.lease.0 < self.next_lease;
        let room = self
            .executors
            .by_key
            .get(key)
            .is_some_and(|executor| executor.leases.len() < LEASES_MAX);
        if !entry.leases.is_empty() || !mine || !room {
            return false;
        }
        self.lease_to(held.lease, work, key);
        true
    }

    fn poll(&mut self, connection: ConnectionId, key: &PublicKey, slots: u32, wait_ms: u64) {
        self.end_poll(key);
        let turn = self.executors.next_turn();
        let Some(executor) = self.executors.by_key.get_mut(key) else {
            return;
        };
        let room = LEASES_MAX - executor.leases.len().min(LEASES_MAX);
        let slots = slots.min(limits::POLL_SLOTS_MAX).min(room as u32);
        let wait_ms = wait_ms.min(limits::POLL_WAIT_MS_MAX);
        if slots == 0 && wait_ms == 0 {
            return self.send(connection, ToExecutor::Assign { leases: Vec::new() });
        }
        let until = self.now.after_ms(wait_ms);
        executor.poll = Some(Poll { turn, slots, until });
        if slots > 0 {
            self.executors.turns.insert(turn, *key);
        }
        self.dues.insert((until, Due::Poll(*key)));
        if wait_ms == 0 {
            self.assign();
            if self
                .executors
                .by_key
                .get(key)
                .is_some_and(|executor| executor.poll.is_some())
            {
                self.end_poll(key);
                self.send(connection, ToExecutor::Assign { leases: Vec::new() });
            }
        }
    }

    /// Forgets a poll; whoever calls this answers it.
    fn end_poll(&mut self, key: &PublicKey) {
        let executor = self.executors.by_key.get_mut(key);
        if let Some(poll) = executor.and_then(|executor| executor.poll.take()) {
            self.executors.turns.remove(&poll.turn);
            self.dues.remove(&(poll.until, Due::Poll(*key)));
        }
    }

    fn heartbeat(
        &mut self,
        connection: ConnectionId,
        key: &PublicKey,
        leases: Vec<LeaseId>,
    ) -> Result<(), String> {
        // An executor may still name leases whose delivery or loss it has not heard of.
        bounded(leases.len(), 2 * LEASES_MAX, "leases")?;
        let (alive, ended): (Vec<_>, Vec<_>) = leases.into_iter().partition(|lease| {
            self.leases
                .get(lease)
                .is_some_and(|lease| lease.key == *key)
        });
        for lease in alive {
            self.extend_lease(lease);
        }
        if !ended.is_empty() {
            let reason = "these leases have ended".to_owned();
            self.send(
                connection,
                ToExecutor::Revoke {
                    leases: ended,
                    reason,
                },
            );
        }
        Ok(())
    }

    fn extend_lease(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        self.dues.remove(&(lease.deadline, Due::Lease(id)));
        lease.deadline = self.now.after_ms(self.config.lease_ms);
        self.dues.insert((lease.deadline, Due::Lease(id)));
    }

    /// Ready tasks go to those who wait, one each in turn.
    fn assign(&mut self) {
        let durable_before = self.leases_reserved;
        let mut given: BTreeMap<PublicKey, (Vec<LeaseMessage>, usize)> = BTreeMap::new();
        let mut turn = 0;
        while self.works.any_queued() {
            let Some((at, key)) = self
                .executors
                .turns
                .range(turn..)
                .next()
                .map(|(at, key)| (*at, *key))
            else {
                break;
            };
            turn = at + 1;
            let Some(executor) = self.executors.by_key.get(&key) else {
                continue;
            };
            let asker = Asker {
                key: &key,
                memory: executor.capabilities.memory,
                now: self.now,
            };
            let Some(work) = self.works.pick(&asker) else {
                continue;
            };
            let id = self.number();
            self.lease_to(id, work, &key);
            let (lease, bytes) = self.write_lease(id, work);
            let (leases, total) = given.entry(key).or_default();
            leases.push(lease);
            *total += bytes;
            let full = *total > ASSIGN_BYTES_MAX;
            let next_turn = self.executors.next_turn();
            self.executors.turns.remove(&at);
            let Some(poll) = self
                .executors
                .by_key
                .get_mut(&key)
                .and_then(|executor| executor.poll.as_mut())
            else {
                continue;
            };
            poll.slots -= 1;
            poll.turn = next_turn;
            if poll.slots > 0 && !full {
                self.executors.turns.insert(next_turn, key);
            }
        }
        for (key, (leases, _)) in given {
            self.end_poll(&key);
            let Some(connection) = self.executors.connection_of(&key) else {
                continue;
            };
            let durable = leases.iter().all(|lease| lease.id.0 <= durable_before);
            let message = ToExecutor::Assign { leases };
            self.outputs.push_back(if durable {
                Output::Send {
                    connection,
                    message,
                }
            } else {
                Output::Acknowledge {
                    connection,
                    message,
                }
            });
            self.changed_executors.insert(key);
        }
    }

    /// A lease number never given out before, not even by a scheduler before this one.
    fn number(&mut self) -> LeaseId {
        let id = LeaseId(self.next_lease);
        self.next_lease += 1;
        // Half a block ahead, so that hardly any lease must wait for its number to be durable.
        if self.next_lease + LEASE_BLOCK / 2 > self.leases_reserved {
            self.leases_reserved = self.leases_reserved.max(self.next_lease) + LEASE_BLOCK;
            self.persist(Event::LeasesReserved {
                up_to: self.leases_reserved,
            });
        }
        id
    }

    fn lease_to(&mut self, id: LeaseId, work: WorkId, key: &PublicKey) {
        self.works.unqueue(work);
        let entry = self.works.get_mut(work);
        entry.leases.push(id);
        let limits = entry.limits;
        if let Some(trouble) = &mut entry.trouble
            && let Some(until) = trouble.backoff.take()
        {
            self.dues.remove(&(until, Due::Backoff(work)));
        }
        let deadline = self.now.after_ms(self.config.lease_ms);
        self.leases.insert(
            id,
            Lease {
                work,
                key: *key,
                limits,
                leased: self.now,
                deadline,
            },
        );
        self.dues.insert((deadline, Due::Lease(id)));
        if let Some(executor) = self.executors.by_key.get_mut(key) {
            executor.leases.insert(id);
        }
        self.mirror(work);
    }

    /// A lease as it is sent, and the size of what is in it.
    fn write_lease(&self, id: LeaseId, work: WorkId) -> (LeaseMessage, usize) {
        let work = self.works.get(work);
        let Wanter { run, node } = work.wanters[0];
        let run = &self.runs[&run];
        let lease = LeaseMessage {
            id,
            task: run.task(node).clone(),
            inputs: run.inputs(node, &self.memory),
            limits: work.limits,
            lease_ms: self.config.lease_ms,
            workflow: run.header.name.clone(),
            submitter: run.header.submitter.clone(),
        };
        (lease, run.lease_bytes(node, &self.memory))
    }

    /// Ends a lease, whatever came of it. The instruction is not offered again yet.
    fn end_lease(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.leases.remove(&id)?;
        self.dues.remove(&(lease.deadline, Due::Lease(id)));
        self.works
            .get_mut(lease.work)
            .leases
            .retain(|other| *other != id);
        if let Some(executor) = self.executors.by_key.get_mut(&lease.key) {
            executor.leases.remove(&id);
            executor.begun.remove(&id);
            self.changed_executors.insert(lease.key);
        }
        Some(lease)
    }

    /// Ends a lease if it is this executor's.
    fn end_own_lease(&mut self, key: &PublicKey, id: LeaseId) -> Option<WorkId> {
        self.leases.get(&id).filter(|lease| lease.key == *key)?;
        self.end_lease(id).map(|lease| lease.work)
    }

    /// An instruction waits for an executor, unless one holds it; its nodes are told. While somebody is kept from it,
    /// the end of that pause comes due.
    fn offer(&mut self, id: WorkId) {
        let now = self.now;
        self.works.queue(id, now);
        let work = self.works.get_mut(id);
        let held = !work.leases.is_empty();
        if let Some(trouble) = &mut work.trouble {
            let pauses = trouble
                .avoid
                .iter()
                .map(|(_, until)| *until)
                .filter(|until| *until > now && !held);
            let next = pauses.min();
            let before = std::mem::replace(&mut trouble.backoff, next);
            if let Some(before) = before {
                self.dues.remove(&(before, Due::Backoff(id)));
            }
            if let Some(next) = next {
                self.dues.insert((next, Due::Backoff(id)));
            }
        }
        self.mirror(id);
    }

    /// Nodes show where their instruction stands.
    fn mirror(&mut self, work: WorkId) {
        let work = self.works.get(work);
        let state = work.state();
        for Wanter { run: id, node } in &work.wanters {
            if let Some(run) = self.runs.get_mut(id) {
                run.graph.set(*node, state);
                run.graph.touch(*node);
                self.changed_runs.insert(*id);
            }
        }
    }

    /// A lease was lost: an attempt that came to nothing.
    fn lose(&mut self, id: LeaseId, reason: &str) {
        if let Some(lease) = self.end_lease(id) {
            let fault = Fault {
                kind: FaultKind::Lost,
                message: reason.to_owned(),
            };
            self.attempt_failed(lease.work, lease.key, fault);
            self.forget_if_gone(&lease.key);
        }
    }

    fn lose_executor(&mut self, key: &PublicKey, reason: &str) {
        let leases = self
            .executors
            .by_key
            .get(key)
            .map(|executor| executor.leases.clone())
            .unwrap_or_default();
        for lease in leases {
            self.lose(lease, reason);
        }
        self.forget_if_gone(key);
    }

    /// An executor that is neither connected nor holds anything is not waited for.
    fn forget_if_gone(&mut self, key: &PublicKey) {
        let Some(executor) = self.executors.by_key.get(key) else {
            return;
        };
        if executor.connection.is_none() && executor.leases.is_empty() {
            if let Some(until) = executor.grace {
                self.dues.remove(&(until, Due::Reconnect(*key)));
            }
            self.executors.forget(key);
            self.changed_executors.remove(key);
        }
    }

    fn attempt_failed(&mut self, id: WorkId, key: PublicKey, fault: Fault) {
        let (now, config) = (self.now, &self.config);
        let work = self.works.get_mut(id);
        let trouble = work.trouble.get_or_insert_default();
        trouble.attempts.push(AttemptView {
            executor: key,
            ended: now,
            fault,
        });
        let failed = trouble.attempts.len() as u32;
        if failed >= config.attempts_max {
            let attempts = std::mem::take(&mut trouble.attempts);
            let instruction = Cid::of_content_digest(work.digest);
            self.persist(Event::GaveUp {
                at: now,
                instruction,
                attempts: attempts.clone(),
            });
            self.give_up(id, &attempts, now);
            return self.follow();
        }
        // Half of the pause is jitter, so that tasks that failed together do not come back together.
        let pause = config
            .backoff_base_ms
            .saturating_mul(1 << (failed - 1).min(20))
            .min(config.backoff_cap_ms);
        let until = now.after_ms(pause - pause / 2 + self.random.below(pause / 2 + 1));
        trouble
            .avoid
            .retain(|(other, until)| *other != key && *until > now);
        trouble.avoid.push((key, until));
        self.offer(id);
    }

    /// An instruction's attempts are used up: whoever waits for it fails.
    fn give_up(&mut self, id: WorkId, attempts: &[AttemptView], at: Timestamp) {
        let wanters = self.works.get(id).wanters.clone();
        let mut revoked = BTreeMap::new();
        self.drop_work(id, &mut revoked);
        for wanter in wanters {
            if let Some(run) = self.runs.get_mut(&wanter.run) {
                run.attempts.insert(wanter.node, attempts.to_vec());
            }
            self.settle(wanter, TaskState::Failed, None, at);
        }
        self.revoke(revoked, "the task was given up");
    }

    fn hand_back_all(&mut self, key: &PublicKey) {
        let leases = self
            .executors
            .by_key
            .get(key)
            .map(|executor| executor.leases.clone())
            .unwrap_or_default();
        for lease in leases {
            if let Some(work) = self.end_own_lease(key, lease) {
                self.offer(work);
            }
        }
    }

    fn disconnected(&mut self, connection: ConnectionId) {
        let Some(key) = self
            .executors
            .connections
            .remove(&connection)
            .and_then(|entry| entry.key)
        else {
            return;
        };
        self.end_poll(&key);
        let until = self.now.after_ms(self.config.reconnect_grace_ms);
        let Some(executor) = self.executors.by_key.get_mut(&key) else {
            return;
        };
        executor.connection = None;
        executor.grace = Some(until);
        self.dues.insert((until, Due::Reconnect(key)));
        self.changed_executors.remove(&key);
        self.outputs
            .push_back(Output::Publish(Change::ExecutorGone(key)));
        self.forget_if_gone(&key);
    }

    /// Ends a connection that broke the protocol. Its leases are lost at once: whoever breaks it is not waited for.
    fn turn_away(&mut self, connection: ConnectionId, reason: &str) {
        self.send(
            connection,
            ToExecutor::Rejected {
                lease: None,
                reason: reason.to_owned(),
            },
        );
        self.send(
            connection,
            ToExecutor::Bye {
                reason: reason.to_owned(),
            },
        );
        self.outputs.push_back(Output::Disconnect { connection });
        if let Some(key) = self
            .executors
            .connections
            .get(&connection)
            .and_then(|entry| entry.key)
        {
            self.disconnected(connection);
            self.lose_executor(&key, reason);
        }
        self.executors.connections.remove(&connection);
    }
}

/// Deliveries.
impl Scheduler {
    fn deliver(
        &mut self,
        connection: ConnectionId,
        key: &PublicKey,
        items: Vec<Delivery>,
        signature: &Signature,
    ) -> Result<(), String> {
        bounded(
            items.len(),
            limits::DELIVERY_ITEMS_MAX,
            "outcomes in one delivery",
        )?;
        if items.is_empty() {
            return Err("a delivery holds at least one outcome".to_owned());
        }
        let statements: Vec<Statement> = items
            .iter()
            .map(|item| Statement {
                outcome: item.outcome.cid(),
                conditions: item.conditions,
            })
            .collect();
        let tree = MerkleTree::new(&statements);
        key.verify(&tree.signed_bytes(), signature)
            .map_err(|error| error.to_string())?;
        let mut accepted = Vec::new();
        for (place, (item, statement)) in items.into_iter().zip(statements).enumerate() {
            let lease = item.lease;
            let attestation = || Attestation {
                key: *key,
                conditions: item.conditions,
                path: tree.path(place),
                signature: *signature,
            };
            match self.weigh(key, &item, statement.outcome) {
                Ok(None) => {
                    if let Some(work) = self.end_own_lease(key, lease) {
                        self.offer(work);
                    }
                    accepted.push(lease);
                }
                Ok(Some(work)) => {
                    let attestation = attestation();
                    self.believe(work, key, &item.outcome, item.remark, lease, &attestation);
                    accepted.push(lease);
                }
                Err(reason) => {
                    // Where the limits changed since, nobody is to blame that the outcome answers no one any more.
                    let limits = self.leases.get(&lease).map(|lease| lease.limits);
                    let Some(work) = self.end_own_lease(key, lease) else {
                        self.send(
                            connection,
                            ToExecutor::Rejected {
                                lease: Some(lease),
                                reason,
                            },
                        );
                        continue;
                    };
                    if limits != Some(self.works.get(work).limits) {
                        self.offer(work);
                    } else {
                        let message = format!("its outcome was rejected: {reason}");
                        self.attempt_failed(
                            work,
                            *key,
                            Fault {
                                kind: FaultKind::Host,
                                message,
                            },
                        );
                    }
                    self.send(
                        connection,
                        ToExecutor::Rejected {
                            lease: Some(lease),
                            reason,
                        },
                    );
                }
            }
            self.follow();
        }
        if !accepted.is_empty() {
            let message = ToExecutor::Accepted { leases: accepted };
            self.outputs.push_back(Output::Acknowledge {
                connection,
                message,
            });
        }
        Ok(())
    }

    /// Is an outcome one to be believed? `Some`: yes, for this instruction. `None`: it was believed before.
    fn weigh(
        &self,
        key: &PublicKey,
        item: &Delivery,
        outcome: Cid,
    ) -> Result<Option<WorkId>, String> {
        let Delivery {
            lease,
            outcome: said,
            conditions,
            remark: _,
        } = item;
        let digest = said.instruction.digest();
        if Cid::of_content_digest(digest) != said.instruction {
            return Err(format!(
                "{} is not the CID of an instruction",
                said.instruction
            ));
        }
        if said.metering != self.config.metering {
            return Err(format!("fuel is counted by {} here", self.config.metering));
        }
        if remark::too_deep(said.out.value(), limits::VALUE_DEPTH_MAX) {
            return Err(format!(
                "the value is nested deeper than {} levels",
                limits::VALUE_DEPTH_MAX
            ));
        }
        let size = asterism_protocol::encode(&said.out).len();
        if size > limits::OUTCOME_BYTES_MAX {
            return Err(format!(
                "the value has {size} bytes, {} is the most",
                limits::OUTCOME_BYTES_MAX
            ));
        }
        if let Some(lease) = self.leases.get(lease).filter(|lease| lease.key == *key) {
            if self.works.get(lease.work).digest != digest {
                return Err("the lease is for another instruction".to_owned());
            }
            if (conditions.fuel, conditions.memory) != (lease.limits.fuel, lease.limits.memory) {
                return Err("the limits are not those of the lease".to_owned());
            }
        }
        match trust::judge(key, said) {
            Verdict::Believed => {}
        }
        if let Some(id) = self.works.find(&digest) {
            let wanters = &self.works.get(id).wanters;
            let limits = |wanter: &Wanter| self.runs[&wanter.run].limits(wanter.node);
            if wanters
                .iter()
                .any(|wanter| answer(conditions, said, &limits(wanter)).is_some())
            {
                return Ok(Some(id));
            }
        }
        match self.memory.find(&digest) {
            Some((_, known)) if known.outcome == outcome => Ok(None),
            Some((_, known)) => Err(format!(
                "it differs from the canonical outcome {}",
                known.outcome
            )),
            None => Err("nobody waits for this instruction any more".to_owned()),
        }
    }

    /// An outcome becomes the canonical one.
    fn believe(
        &mut self,
        id: WorkId,
        key: &PublicKey,
        outcome: &Outcome,
        remark: Remark,
        lease: LeaseId,
        attestation: &Attestation,
    ) {
        let work = self.works.get(id);
        let Wanter { run, node } = work.wanters[0];
        let task = self.runs[&run].task(node);
        let receipt = Receipt::attested(
            Invocation { task }.cid(),
            &task.run.input.func,
            outcome,
            attestation,
        );
        let remark = remark::trim(remark);
        let at = self.now;
        let event_remark = Box::new(remark.clone());
        self.persist(Event::Computed {
            at,
            receipt: Box::new(receipt.clone()),
            remark: event_remark,
        });
        if let Some(executor) = self.executors.by_key.get_mut(key) {
            executor.tally.tasks += 1;
            executor.tally.fuel = executor
                .tally
                .fuel
                .saturating_add(outcome.fuel.unwrap_or(0));
            self.changed_executors.insert(*key);
        }
        let leased = self
            .leases
            .get(&lease)
            .filter(|lease| lease.key == *key)
            .map(|lease| lease.leased);
        // Its own lease ends without a word; others are told to stop.
        self.end_own_lease(key, lease);
        let Some(mut known) = Known::read(receipt) else {
            return;
        };
        (known.at, known.remark, known.leased) = (at, Some(remark), leased);
        self.become_canonical(known);
    }

    /// Whoever waits for an instruction has its receipt now, as far as it answers.
    fn become_canonical(&mut self, known: Known) {
        let Some(outcome) = known.receipt.outcome() else {
            return;
        };
        let Some(id) = self.works.find(&outcome.instruction.digest()) else {
            return;
        };
        let (conditions, at): (Conditions, Timestamp) = (known.conditions, known.at);
        let (answered, left): (Vec<_>, Vec<_>) = self
            .works
            .get(id)
            .wanters
            .iter()
            .map(|wanter| {
                (
                    *wanter,
                    answer(
                        &conditions,
                        &outcome,
                        &self.runs[&wanter.run].limits(wanter.node),
                    ),
                )
            })
            .partition(|(_, answer)| answer.is_some());
        if answered.is_empty() {
            return;
        }
        let attempts = self
            .works
            .get_mut(id)
            .trouble
            .as_mut()
            .map(|trouble| std::mem::take(&mut trouble.attempts));
        let mut revoked = BTreeMap::new();
        if left.is_empty() {
            self.drop_work(id, &mut revoked);
        } else {
            self.works.get_mut(id).wanters = left.into_iter().map(|(wanter, _)| wanter).collect();
            self.settle_limits(id);
            self.offer(id);
        }
        let slot = self.memory.insert(known);
        for (wanter, answer) in answered {
            if let Some(attempts) = attempts.as_ref().filter(|attempts| !attempts.is_empty())
                && let Some(run) = self.runs.get_mut(&wanter.run)
            {
                run.attempts.insert(wanter.node, attempts.clone());
            }
            self.settle(
                wanter,
                TaskState::Computed,
                answer.map(|answer| (slot, answer)),
                at,
            );
        }
        self.revoke(revoked, "another executor was faster");
    }
}

/// What is told and shown.
impl Scheduler {
    fn persist(&mut self, event: Event) {
        self.outputs.push_back(Output::Persist(event));
    }

    fn send(&mut self, connection: ConnectionId, message: ToExecutor) {
        self.outputs.push_back(Output::Send {
            connection,
            message,
        });
    }

    fn unwatch(&mut self, run: RunId) {
        let Some(watchers) = self.watched.get_mut(&run) else {
            return;
        };
        *watchers -= 1;
        if *watchers == 0 {
            self.watched.remove(&run);
            if let Some(entry) = self.runs.get_mut(&run) {
                entry.graph.watch(false);
            }
        }
    }

    /// What changed, each run, task and executor once.
    fn publish(&mut self) {
        for id in std::mem::take(&mut self.changed_runs) {
            let Some(run) = self.runs.get_mut(&id) else {
                continue;
            };
            let changed = run.graph.take_changed();
            let run = &self.runs[&id];
            self.outputs
                .push_back(Output::Publish(Change::Run(run.summary())));
            for node in changed {
                for index in run.tasks_of(node) {
                    let task = Box::new(self.task_view(run, index));
                    self.outputs
                        .push_back(Output::Publish(Change::Task { run: id, task }));
                }
            }
        }
        for key in std::mem::take(&mut self.changed_executors) {
            if let Some(executor) = self
                .executors
                .by_key
                .get(&key)
                .filter(|executor| executor.connection.is_some())
            {
                let view = self.executor_view(&key, executor);
                self.outputs
                    .push_back(Output::Publish(Change::Executor(view)));
            }
        }
    }

    /// All summaries; components are the shell's to add.
    #[must_use]
    pub fn overview(&self) -> Overview {
        Overview {
            runs: self
                .runs
                .values()
                .rev()
                .take(OVERVIEW_RUNS_MAX)
                .map(Run::summary)
                .collect(),
            executors: self
                .executors
                .here()
                .map(|(key, executor)| self.executor_view(key, executor))
                .collect(),
            components: Vec::new(),
            trouble: String::new(),
        }
    }

    /// A run with all of its tasks.
    #[must_use]
    pub fn run_view(&self, run: RunId) -> Option<RunView> {
        let run = self.runs.get(&run)?;
        let tasks = (0..run.len())
            .map(|index| self.task_view(run, index))
            .collect();
        Some(RunView {
            summary: run.summary(),
            tasks,
        })
    }

    /// The run of a workflow that was submitted last.
    #[must_use]
    pub fn latest_run_of(&self, workflow: Cid) -> Option<RunId> {
        self.latest.get(&workflow).copied()
    }

    /// The canonical receipt of an instruction, as long as a run in memory refers to it.
    #[must_use]
    pub fn receipt_of(&self, instruction: Cid) -> Option<&Receipt> {
        let (_, known) = self.memory.find(&instruction.digest())?;
        (Cid::of_content_digest(instruction.digest()) == instruction).then_some(&known.receipt)
    }

    /// Every lease: its number, who holds it, what for, and until when unless it is extended.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, PublicKey, Cid, Timestamp)> {
        self.leases.iter().map(|(id, lease)| {
            (
                *id,
                lease.key,
                Cid::of_content_digest(self.works.get(lease.work).digest),
                lease.deadline,
            )
        })
    }

    /// A digest of all that outlives a restart: runs with what each task came to, receipts, and numbers in use.
    /// A scheduler and its twin made by [`Scheduler::recover`] from the same events agree on it.
    #[must_use]
    pub fn state_digest(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        let mut number = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        number(self.next_run);
        number(self.leases_reserved);
        let mut words: Vec<[u8; 32]> = Vec::new();
        for (id, run) in &self.runs {
            number(id.0);
            number(run.header.submitted.0);
            number(run.finished.map_or(u64::MAX, |at| at.0));
            number(run.state() as u64);
            words.push(run.header.workflow.digest());
            for node in 0..run.graph.len() {
                number(match run.graph.state(node) {
                    TaskState::Waiting | TaskState::Ready | TaskState::Leased => 0,
                    done @ (TaskState::Computed
                    | TaskState::Replayed
                    | TaskState::Skipped
                    | TaskState::Failed
                    | TaskState::Cancelled) => 1 + done as u64,
                });
                if let Some((slot, answer)) = run.result(node).get() {
                    number(answer as u64);
                    words.push(self.memory.get(slot).cid().digest());
                }
            }
        }
        for id in self.running.iter().chain(&self.finished) {
            number(id.0);
        }
        bytes.extend(words.into_iter().flatten());
        content_cid(&bytes).digest()
    }

    fn task_view(&self, run: &Run, index: u32) -> TaskView {
        let mut view = run.view(index, &self.memory);
        let digest = view.instruction.digest();
        let work = match view.state {
            TaskState::Waiting | TaskState::Ready | TaskState::Leased => self.works.find(&digest),
            TaskState::Computed
            | TaskState::Replayed
            | TaskState::Skipped
            | TaskState::Failed
            | TaskState::Cancelled => None,
        };
        // A node that waits for promises may name an instruction that another run has in work already.
        let node = run.node_of_task[index as usize];
        let wanter = Wanter {
            run: run.header.id,
            node,
        };
        let Some(work) = work
            .map(|id| self.works.get(id))
            .filter(|work| work.wanters.contains(&wanter))
        else {
            return view;
        };
        if let Some(lease) = work.leases.first().and_then(|id| self.leases.get(id)) {
            (view.executor, view.leased) = (Some(lease.key), Some(lease.leased));
        }
        if let Some(trouble) = &work.trouble {
            view.attempts.clone_from(&trouble.attempts);
            if let (Some(until), TaskState::Waiting) = (trouble.backoff, view.state) {
                let seconds = until.since_ms(self.now).div_ceil(1_000);
                view.reason =
                    format!("after a fault: again in {seconds} s, or at once on another executor");
            }
        }
        if view.state == TaskState::Ready && self.executors.here().next().is_some() {
            let mut here = self.executors.here();
            if here.all(|(_, executor)| executor.capabilities.memory < work.limits.memory) {
                let memory = work.limits.memory;
                view.reason = format!("no executor here accepts a memory limit of {memory} bytes");
            } else if let Some(trouble) = &work.trouble
                && self
                    .executors
                    .here()
                    .all(|(key, _)| trouble.refused.contains(key))
            {
                view.reason = format!(
                    "every executor here refused it, the last one: {}",
                    trouble.refusal
                );
            }
        }
        view
    }

    fn executor_view(&self, key: &PublicKey, executor: &Executor) -> ExecutorView {
        let prefetched = executor
            .leases
            .iter()
            .filter(|lease| !executor.begun.contains(lease));
        let doing = executor
            .begun
            .iter()
            .chain(prefetched)
            .take(DOING_MAX)
            .filter_map(|lease| {
                let Wanter { run, node } = *self
                    .works
                    .get(self.leases.get(lease)?.work)
                    .wanters
                    .first()?;
                Some(self.runs.get(&run)?.task(node).run.input.func.clone())
            });
        ExecutorView {
            key: *key,
            name: executor.name.clone(),
            host: executor.capabilities.host.clone(),
            threads: executor.capabilities.threads,
            since: executor.since,
            doing: doing.collect(),
            leases: executor.leases.len() as u32,
            tasks: executor.tally.tasks,
            fuel: executor.tally.fuel,
        }
    }
}

/// Refuses a list that is longer than any honest one.
fn bounded(len: usize, max: usize, what: &str) -> Result<(), String> {
    if len > max {
        Err(format!("{len} {what} are more than {max}"))
    } else {
        Ok(())
    }
}
