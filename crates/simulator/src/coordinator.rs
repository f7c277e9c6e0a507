//! The shell of the simulated coordinator: a journal in memory whose group commit takes its time, and a promise to keep.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asterism_protocol::{
    Cid, Outcome, Policy, PublicKey, Receipt, Timestamp,
    message::{Change, LeaseId, ToCoordinator, ToExecutor},
    view::{RunId, RunState, RunSummary, TaskState},
};
use asterism_scheduler::{
    Checker, Config, ConnectionId, Event, Input, Output, RequestId, Scheduler, Story, SubmitError,
};

/// What leaves the coordinator.
pub(super) enum Effect {
    Send(ConnectionId, ToExecutor),
    Close(ConnectionId),
    Reply(RequestId, Result<RunId, SubmitError>),
    /// There is something to be made durable.
    Commit,
}

/// So few leases are looked at after every step.
const LEASES_LOOKED_AT: usize = 32;

/// More of them after so many steps.
const STEPS_BETWEEN_LOOKS: u64 = 16;

/// A coordinator that may be down.
pub(super) struct Coordinator {
    config: Config,
    scheduler: Option<Scheduler>,
    /// What is durable.
    pub(super) journal: Vec<Event>,
    /// What is not yet.
    buffer: Vec<Event>,
    /// Outputs that wait for so many events of the buffer to be durable.
    held: VecDeque<(usize, Output)>,
    /// Slots of the poll that each connection waits on.
    polls: BTreeMap<ConnectionId, u32>,
    checkers: BTreeMap<ConnectionId, Checker>,
    delays: Delays,
    /// Receipts that are canonical, durable or not.
    canonical: BTreeMap<Cid, Receipt>,
    /// Every lease number ever sent.
    leased: BTreeSet<LeaseId>,
    /// Runs whose end is durable: from then on it stays what it is.
    ended: BTreeMap<RunId, RunState>,
    /// How many leases there were when they were looked at last.
    leases: usize,
    steps: u64,
    seed: u64,
    /// Every output in words, if they are wanted.
    pub(super) trace: Option<Vec<u8>>,
    pub(super) computed: usize,
}

impl Coordinator {
    pub(super) fn new(config: Config, seed: u64, traced: bool) -> Self {
        Self {
            scheduler: Some(Scheduler::new(config.clone(), seed)),
            config,
            journal: Vec::new(),
            buffer: Vec::new(),
            held: VecDeque::new(),
            polls: BTreeMap::new(),
            checkers: BTreeMap::new(),
            delays: Delays::default(),
            canonical: BTreeMap::new(),
            leased: BTreeSet::new(),
            ended: BTreeMap::new(),
            leases: 0,
            steps: 0,
            seed,
            trace: traced.then(Vec::new),
            computed: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.scheduler.is_some()
    }

    pub(super) fn scheduler(&self) -> Option<&Scheduler> {
        self.scheduler.as_ref()
    }

    /// What the store knows of these instructions.
    pub(super) fn known(&self, instructions: impl Iterator<Item = Cid>) -> Vec<Receipt> {
        instructions
            .filter_map(|cid| self.canonical.get(&cid).cloned())
            .collect()
    }

    /// An executor's message arrived.
    pub(super) fn received(
        &mut self,
        connection: ConnectionId,
        message: ToCoordinator,
        now: Timestamp,
    ) -> Vec<Effect> {
        if let ToCoordinator::Poll { slots, .. } = &message {
            self.polls.insert(connection, *slots);
        }
        self.delays.hear(connection, &message, now);
        let message = self.checkers.entry(connection).or_default().check(message);
        let input = Input::Received {
            connection,
            message,
        };
        self.handle(input, now)
    }

    pub(super) fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        if let Input::Disconnected { connection } = &input {
            self.checkers.remove(connection);
            self.delays.part(*connection);
        }
        let Some(scheduler) = &mut self.scheduler else {
            return Vec::new();
        };
        scheduler.handle(input, now);
        self.drain(now)
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) -> Vec<Effect> {
        let Some(scheduler) = &mut self.scheduler else {
            return Vec::new();
        };
        scheduler.handle_timeout(now);
        self.drain(now)
    }

    fn drain(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(mut scheduler) = self.scheduler.take() else {
            return effects;
        };
        while let Some(output) = scheduler.poll_output() {
            if let Some(trace) = &mut self.trace {
                trace.extend_from_slice(super::line(now, &output).as_bytes());
            }
            self.delays.see(&output, now);
            match output {
                Output::Persist(event) => {
                    self.note(&event);
                    if self.buffer.is_empty() {
                        effects.push(Effect::Commit);
                    }
                    self.buffer.push(event);
                }
                // Order among what one connection hears is kept by holding all of it back or none.
                Output::Send {
                    connection,
                    message,
                } => self.send(connection, message, &mut effects),
                held if self.buffer.is_empty() => self.release(held, &mut effects),
                held => self.held.push_back((self.buffer.len(), held)),
            }
        }
        self.check(&scheduler, now);
        self.scheduler = Some(scheduler);
        effects
    }

    /// A group commit is through.
    pub(super) fn commit(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.journal.append(&mut self.buffer);
        for (_, output) in std::mem::take(&mut self.held) {
            self.release(output, &mut effects);
        }
        effects
    }

    fn release(&mut self, output: Output, effects: &mut Vec<Effect>) {
        match output {
            Output::Acknowledge {
                connection,
                message,
            } => self.send(connection, message, effects),
            Output::Reply { request, result } => effects.push(Effect::Reply(request, result)),
            Output::Publish(change) => {
                if let Change::Run(run) = *change
                    && run.state != RunState::Running
                {
                    self.end(run.run, run.state);
                }
            }
            Output::Disconnect { connection } => effects.push(Effect::Close(connection)),
            Output::Persist(_) | Output::Send { .. } => unreachable!("these are done at once"),
        }
    }

    fn send(&mut self, connection: ConnectionId, message: ToExecutor, effects: &mut Vec<Effect>) {
        if let ToExecutor::Assign { leases } = &message {
            let slots = self
                .polls
                .remove(&connection)
                .expect("only polls are answered with leases");
            assert!(
                leases.len() <= slots as usize,
                "{} leases for {slots} slots",
                leases.len()
            );
            for lease in leases {
                assert!(
                    self.leased.insert(lease.id),
                    "lease {} was given out before",
                    lease.id.0
                );
                assert!(lease.lease_ms > 0, "a lease without an end");
            }
        }
        effects.push(Effect::Send(connection, message));
    }

    /// Nothing that is known is computed again.
    fn note(&mut self, event: &Event) {
        if let Event::Computed { receipt, .. } = event {
            let (instruction, receipt) = (receipt.instruction(), receipt.receipt());
            let outcome = receipt
                .outcome()
                .expect("receipts of ours say what they attest");
            check_evidence(&receipt, &outcome, &self.config.verify);
            let before = self.canonical.insert(instruction, receipt);
            assert!(before.is_none(), "{instruction} was computed a second time");
            self.computed += 1;
        }
    }

    fn check(&mut self, scheduler: &Scheduler, now: Timestamp) {
        self.steps += 1;
        let due = scheduler.poll_timeout().map(|(at, _)| at);
        // What is due at this very moment may be told as another step.
        assert!(
            due.is_none_or(|due| due >= now),
            "what was due at {due:?} was not done by {now:?}"
        );
        self.delays.check(&self.config, now);
        // Looking at every lease after every step would take most of a large world's time.
        if self.leases > LEASES_LOOKED_AT && !self.steps.is_multiple_of(STEPS_BETWEEN_LOOKS) {
            return;
        }
        let latest = now.after_ms(self.config.lease_ms);
        self.leases = 0;
        for (lease, key, instruction, deadline) in scheduler.leases() {
            self.leases += 1;
            self.delays.check_lease(&self.config, lease, &key, deadline);
            assert!(deadline >= now, "lease {} should have ended", lease.0);
            assert!(deadline <= latest, "lease {} lasts too long", lease.0);
            assert!(
                due.is_some_and(|due| due <= deadline),
                "nobody looks at lease {}",
                lease.0
            );
            assert!(
                !self.canonical.contains_key(&instruction),
                "{instruction} is leased and known"
            );
        }
    }

    /// A twin made of the journal, and of what is not durable yet, knows the same.
    pub(super) fn check_twin(&self, now: Timestamp) {
        let Some(scheduler) = &self.scheduler else {
            return;
        };
        let mut twin = Scheduler::new(self.config.clone(), self.seed);
        twin.recover(self.journal.iter().chain(&self.buffer).cloned(), now);
        assert!(
            twin.state_digest() == scheduler.state_digest(),
            "a twin of the journal differs"
        );
    }

    /// What would be left of the journal tells the same, also where next to no finished run is kept.
    pub(super) fn check_story(&self) {
        if self.scheduler.is_none() {
            return;
        }
        let events = || (0_u64..).zip(self.journal.iter().chain(&self.buffer));
        let mut story = Story::new(Config {
            finished_runs_max: 1,
            ..self.config.clone()
        });
        for (number, event) in events() {
            story.take(number, event.clone());
        }
        let records = story.records();
        let keep = story.needed();
        let left = events().filter(|(number, _)| keep.contains(number));
        let left = left.map(|(_, event)| event.clone()).chain([records]);
        assert!(
            story.is_told_by(left),
            "what is needed of the journal does not tell the whole story"
        );
    }

    /// Killed by signal 9: so many of the events that were being written are durable.
    pub(super) fn kill(&mut self, written: usize) {
        let written = written.min(self.buffer.len());
        self.journal.extend(self.buffer.drain(..written));
        self.buffer.clear();
        self.held.clear();
        self.polls.clear();
        self.checkers.clear();
        self.delays = Delays::default();
        self.scheduler = None;
        // What was not durable was not, whoever thought so.
        self.canonical.clear();
        for event in &self.journal {
            if let Event::Computed { receipt, .. } = event {
                self.canonical
                    .insert(receipt.instruction(), receipt.receipt());
            }
        }
    }

    pub(super) fn restart(&mut self, now: Timestamp) {
        self.seed = self.seed.wrapping_add(1);
        let mut scheduler = Scheduler::new(self.config.clone(), self.seed);
        scheduler.recover(self.journal.iter().cloned(), now);
        assert!(scheduler.poll_output().is_none(), "recovering says nothing");
        let runs = scheduler.overview().runs;
        for run in self.ended.keys() {
            assert!(
                runs.iter().any(|summary| summary.run == *run),
                "run {} is forgotten",
                run.0
            );
        }
        for summary in runs {
            self.delays.see_run(&summary);
            if summary.state != RunState::Running || self.ended.contains_key(&summary.run) {
                self.end(summary.run, summary.state);
            }
        }
        self.scheduler = Some(scheduler);
    }

    /// A run ends once.
    fn end(&mut self, run: RunId, state: RunState) {
        let before = *self.ended.entry(run).or_insert(state);
        assert_eq!(before, state, "the end of run {} was told already", run.0);
    }

    /// Where a run stands, as far as that is durable.
    pub(super) fn run_state(&self, run: RunId) -> RunState {
        self.ended.get(&run).copied().unwrap_or(RunState::Running)
    }

    /// What every task of a run came to.
    pub(super) fn outs(&self, run: RunId) -> Vec<(Cid, TaskState, Option<asterism_protocol::Out>)> {
        let view = self
            .scheduler
            .as_ref()
            .and_then(|scheduler| scheduler.run_view(run));
        let tasks = view.map(|view| view.tasks).unwrap_or_default();
        tasks
            .into_iter()
            .map(|task| (task.instruction, task.state, task.out))
            .collect()
    }
}

/// How long a task may be delayed, by a model that knows nothing of leases but what is said of them: whoever is slow or gone
/// delays it until its lease ends for want of a sign of life, and then it is anybody's who waits. (A pause after a fault is
/// shown as waiting, and is bounded where it is made.)
#[derive(Default)]
struct Delays {
    /// Who is behind a connection.
    keys: BTreeMap<ConnectionId, PublicKey>,
    /// Whom leases were sent to or named by, and when that one was last heard to hold them.
    alive: BTreeMap<(LeaseId, PublicKey), Timestamp>,
    /// Who asked for work and was not answered.
    waiting: BTreeSet<ConnectionId>,
    /// Somebody declined a task: from then on a task may wait for somebody else.
    refused: bool,
    /// How many tasks of each run could be leased.
    ready: BTreeMap<RunId, u32>,
}

impl Delays {
    fn hear(&mut self, connection: ConnectionId, message: &ToCoordinator, now: Timestamp) {
        match message {
            ToCoordinator::Hello(hello) => {
                self.keys.insert(connection, hello.key);
                for held in &hello.holding {
                    self.alive.insert((held.lease, hello.key), now);
                }
            }
            ToCoordinator::Heartbeat { leases } => {
                let Some(key) = self.keys.get(&connection) else {
                    return;
                };
                for lease in leases {
                    if let Some(at) = self.alive.get_mut(&(*lease, *key)) {
                        *at = now;
                    }
                }
            }
            ToCoordinator::Poll { slots, .. } => {
                if *slots > 0 && self.keys.contains_key(&connection) {
                    self.waiting.insert(connection);
                }
            }
            ToCoordinator::Refuse { .. } => self.refused = true,
            ToCoordinator::Started { .. }
            | ToCoordinator::Commit { .. }
            | ToCoordinator::Deliver { .. }
            | ToCoordinator::Fault { .. }
            | ToCoordinator::HandBack { .. }
            | ToCoordinator::Leave => {}
        }
    }

    fn part(&mut self, connection: ConnectionId) {
        self.keys.remove(&connection);
        self.waiting.remove(&connection);
    }

    fn see(&mut self, output: &Output, now: Timestamp) {
        match output {
            Output::Send {
                connection,
                message: ToExecutor::Assign { leases },
            }
            | Output::Acknowledge {
                connection,
                message: ToExecutor::Assign { leases },
            } => {
                self.waiting.remove(connection);
                if let Some(key) = self.keys.get(connection) {
                    let alive = leases.iter().map(|lease| ((lease.id, *key), now));
                    self.alive.extend(alive);
                }
            }
            Output::Disconnect { connection } => self.part(*connection),
            Output::Publish(change) => {
                if let Change::Run(run) = &**change {
                    self.see_run(run);
                }
            }
            Output::Persist(_)
            | Output::Send { .. }
            | Output::Acknowledge { .. }
            | Output::Reply { .. } => {}
        }
    }

    fn see_run(&mut self, run: &RunSummary) {
        if run.state == RunState::Running && run.counts.ready > 0 && !run.paused {
            self.ready.insert(run.run, run.counts.ready);
        } else {
            self.ready.remove(&run.run);
        }
    }

    /// Nothing is left lying while somebody waits for it. Where outcomes are compared, not everybody may have everything.
    fn check(&self, config: &Config, now: Timestamp) {
        if config.verify == Policy::Any && !self.refused && !self.waiting.is_empty() {
            assert!(
                self.ready.is_empty(),
                "at {now:?} tasks are ready ({:?}), executors wait, and nobody is given them",
                self.ready
            );
        }
    }

    /// A lease ends this long after the last sign of life at the latest.
    fn check_lease(&self, config: &Config, lease: LeaseId, key: &PublicKey, deadline: Timestamp) {
        let heard = self.alive.get(&(lease, *key));
        let heard = heard.expect("whoever holds a lease was told of it, or told of it");
        assert!(
            deadline <= heard.after_ms(config.lease_ms),
            "lease {} lasts until {deadline:?}, and was last heard of at {heard:?}",
            lease.0
        );
    }
}

/// No receipt is canonical that does not prove what it says, or without the evidence that its policy asks for.
fn check_evidence(receipt: &Receipt, outcome: &Outcome, asked: &Policy) {
    assert_eq!(receipt.verify(), Ok(()), "a receipt that proves nothing");
    let issuer = receipt.attestation().map(|attestation| attestation.key);
    assert_eq!(receipt.iss, issuer.map(|key| key.did()));
    let enough = match receipt.evidence() {
        Some(evidence) => evidence.policy == *asked && evidence.basis.satisfies(asked),
        None => *asked == Policy::Any,
    };
    assert!(
        enough,
        "{} is not believed as {asked} asks",
        outcome.instruction
    );
}
