//! Drives a scheduler by messages, as a shell with an instant journal would.

use std::collections::BTreeMap;

use asterism_protocol::{
    Cid, Conditions, Effects, Files, Identity, Instruction, MerkleTree, Meta, Nonce, Out, Outcome,
    Prepared, Promise, PublicKey, Receipt, Remark, Statement, Task, Terms, Timestamp, Value,
    Workflow, blob_cid, encode,
    limits::FRAME_BYTES_MAX,
    message::{
        Capabilities, Change, Commitment, Delivery, Fault, FaultKind, Held, Hello, Lease, LeaseId,
        ToCoordinator, ToExecutor, commitment, hello_bytes,
    },
    view::{RunId, RunState, RunView, TaskState, TaskView},
};
use asterism_scheduler::{
    Checker, Config, ConnectionId, Event, Input, Output, Planned, RequestId, Scheduler, Story,
    Submission, SubmitError,
};

/// The cost table of these tests.
pub(crate) const METERING: &str = "wasmtime-48";

/// Limits that are small enough to be told apart.
pub(crate) fn config() -> Config {
    Config {
        heartbeat_ms: 1_000,
        lease_ms: 5_000,
        attempts_max: 3,
        backoff_base_ms: 1_000,
        backoff_cap_ms: 8_000,
        reconnect_grace_ms: 2_000,
        live_tasks_max: 1_000,
        finished_runs_max: 4,
        build: "test".into(),
        metering: METERING.into(),
        ..Config::default()
    }
}

/// A scheduler and all that came out of it.
pub(crate) struct Driver {
    pub(crate) scheduler: Scheduler,
    config: Config,
    pub(crate) now: Timestamp,
    pub(crate) journal: Vec<Event>,
    /// Messages that executors did not take yet.
    pub(crate) sent: BTreeMap<ConnectionId, Vec<ToExecutor>>,
    pub(crate) closed: Vec<ConnectionId>,
    pub(crate) changes: Vec<Change>,
    /// Every output, in order.
    pub(crate) trace: Vec<Output>,
    replies: BTreeMap<RequestId, Result<RunId, SubmitError>>,
    checkers: BTreeMap<ConnectionId, Checker>,
    next: u64,
}

impl Driver {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            scheduler: Scheduler::new(config.clone(), 7),
            config,
            now: Timestamp(1_000_000),
            journal: Vec::new(),
            sent: BTreeMap::new(),
            closed: Vec::new(),
            changes: Vec::new(),
            trace: Vec::new(),
            replies: BTreeMap::new(),
            checkers: BTreeMap::new(),
            next: 1,
        }
    }

    /// The same journal under a new scheduler: what a restart leaves.
    pub(crate) fn restarted(&self) -> Self {
        let mut driver = Self::with(self.config.clone());
        driver.now = self.now;
        driver.next = self.next + 100;
        driver.journal = self.journal.clone();
        driver.scheduler.recover(self.journal.clone(), self.now);
        assert_eq!(
            driver.scheduler.poll_output(),
            None,
            "recovering says nothing"
        );
        driver
    }

    /// What is left of the journal when nothing is kept that is not needed.
    pub(crate) fn compact(&mut self) {
        self.scheduler.sum_up();
        self.drain();
        let before = self.journal.len() as u64 - 1;
        let mut story = Story::new(self.config.clone());
        let numbered = || (0_u64..).zip(self.journal.iter().cloned());
        for (number, event) in numbered() {
            story.take(number, event);
        }
        let keep = story.needed();
        let left = numbered().filter(|(number, _)| *number >= before || keep.contains(number));
        let left: Vec<Event> = left.map(|(_, event)| event).collect();
        assert!(
            story.is_told_by(left.iter().cloned()),
            "what is left tells less"
        );
        self.journal = left;
    }

    pub(crate) fn handle(&mut self, input: Input) {
        self.scheduler.handle(input, self.now);
        self.drain();
    }

    /// Lets time pass, with every timeout on the way.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while let Some((at, _)) = self.scheduler.poll_timeout().filter(|(at, _)| *at <= end) {
            assert!(
                at > self.now || self.now == Timestamp(1_000_000),
                "every timeout is in the future"
            );
            self.now = at.max(self.now);
            self.scheduler.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.scheduler.poll_output() {
            self.trace.push(output.clone());
            match output {
                Output::Persist(event) => self.journal.push(event),
                Output::Send {
                    connection,
                    message,
                }
                | Output::Acknowledge {
                    connection,
                    message,
                } => {
                    let size = encode(&message).len();
                    assert!(size <= FRAME_BYTES_MAX, "a message of {size} bytes");
                    self.sent.entry(connection).or_default().push(message);
                }
                Output::Reply { request, result } => {
                    assert!(
                        self.replies.insert(request, result).is_none(),
                        "one reply a request"
                    );
                }
                Output::Publish(change) => self.changes.push(*change),
                Output::Disconnect { connection } => self.closed.push(connection),
            }
        }
        if let Some((at, _)) = self.scheduler.poll_timeout() {
            assert!(at > self.now, "what was due was done");
        }
    }

    pub(crate) fn try_submit(
        &mut self,
        tasks: Vec<Task>,
        known: Vec<Receipt>,
    ) -> Result<RunId, SubmitError> {
        self.submit_as("me", tasks, known, Terms::default())
    }

    /// Submits under terms.
    pub(crate) fn submit_on(&mut self, terms: Terms, tasks: Vec<Task>) -> RunId {
        self.submit_as("me", tasks, Vec::new(), terms)
            .expect("accepted")
    }

    pub(crate) fn submit_as(
        &mut self,
        submitter: &str,
        tasks: Vec<Task>,
        known: Vec<Receipt>,
        terms: Terms,
    ) -> Result<RunId, SubmitError> {
        let names = (0..tasks.len()).map(|index| format!("t{index}")).collect();
        self.next += 1;
        let request = RequestId(self.next);
        let prepared = Prepared {
            workflow: Workflow { tasks },
            names,
        };
        let submission = Submission {
            plan: Planned::read(&prepared).expect("it is a workflow"),
            name: "w".into(),
            submitter: submitter.into(),
            known,
            terms,
        };
        self.handle(Input::Submit {
            request,
            submission: Box::new(submission),
        });
        self.replies
            .remove(&request)
            .expect("a submission is replied to")
    }

    pub(crate) fn submit(&mut self, tasks: Vec<Task>) -> RunId {
        self.try_submit(tasks, Vec::new()).expect("accepted")
    }

    pub(crate) fn cancel(&mut self, run: RunId) -> Result<RunId, SubmitError> {
        self.request(|request| Input::Cancel { request, run })
    }

    pub(crate) fn cancel_task(&mut self, run: RunId, task: u32) -> Result<RunId, SubmitError> {
        self.request(|request| Input::CancelTask { request, run, task })
    }

    pub(crate) fn pause(&mut self, run: Option<RunId>, paused: bool) -> Result<RunId, SubmitError> {
        self.request(|request| Input::Pause {
            request,
            run,
            paused,
        })
    }

    pub(crate) fn ban(&mut self, executor: PublicKey) {
        let reason = "the operator excluded it".to_owned();
        self.request(|request| Input::Ban {
            request,
            executor,
            reason,
        })
        .expect("anybody can be banned");
    }

    pub(crate) fn lift(&mut self, executor: PublicKey) -> Result<RunId, SubmitError> {
        self.request(|request| Input::Lift { request, executor })
    }

    pub(crate) fn drain_executor(
        &mut self,
        executor: PublicKey,
        draining: bool,
    ) -> Result<RunId, SubmitError> {
        self.request(|request| Input::Drain {
            request,
            executor,
            draining,
        })
    }

    fn request(&mut self, input: impl FnOnce(RequestId) -> Input) -> Result<RunId, SubmitError> {
        self.next += 1;
        let request = RequestId(self.next);
        self.handle(input(request));
        self.replies
            .remove(&request)
            .expect("a request is replied to")
    }

    pub(crate) fn view(&self, run: RunId) -> RunView {
        self.scheduler.run_view(run).expect("the run is there")
    }

    pub(crate) fn task(&self, run: RunId, index: usize) -> TaskView {
        self.view(run).tasks.remove(index)
    }

    pub(crate) fn states(&self, run: RunId) -> Vec<TaskState> {
        self.view(run).tasks.iter().map(|task| task.state).collect()
    }

    pub(crate) fn state(&self, run: RunId) -> RunState {
        self.view(run).summary.state
    }

    /// An executor that is welcomed.
    pub(crate) fn executor(&mut self, seed: u8) -> Executor {
        self.executor_holding(seed, Vec::new()).0
    }

    /// An executor that comes back with leases, and which of them go on.
    pub(crate) fn executor_holding(
        &mut self,
        seed: u8,
        holding: Vec<Held>,
    ) -> (Executor, Vec<LeaseId>) {
        let executor = self.connect(seed);
        let hello = executor.hello(holding);
        self.say(&executor, ToCoordinator::Hello(Box::new(hello)));
        let welcome = self
            .take(&executor)
            .into_iter()
            .find_map(|message| match message {
                ToExecutor::Welcome { resumed, .. } => Some(resumed),
                _ => None,
            });
        (executor, welcome.expect("it is welcomed"))
    }

    /// An executor that says of itself what `change` makes of a hello.
    pub(crate) fn executor_that(
        &mut self,
        seed: u8,
        origin: &str,
        change: impl FnOnce(&mut Hello),
    ) -> Executor {
        let executor = self.connect_from(seed, origin);
        let mut hello = executor.hello(Vec::new());
        change(&mut hello);
        self.say(&executor, ToCoordinator::Hello(Box::new(hello)));
        let welcomed = self.take(&executor);
        assert!(
            matches!(welcomed.first(), Some(ToExecutor::Welcome { .. })),
            "{welcomed:?}"
        );
        executor
    }

    /// An executor that was challenged and has said nothing yet.
    pub(crate) fn connect(&mut self, seed: u8) -> Executor {
        self.connect_from(seed, "")
    }

    /// As above, from an origin.
    pub(crate) fn connect_from(&mut self, seed: u8, origin: &str) -> Executor {
        self.next += 1;
        let connection = ConnectionId(self.next);
        self.handle(Input::Connected {
            connection,
            nonce: [seed; 32],
            origin: origin.to_owned(),
        });
        let executor = Executor {
            connection,
            identity: Identity::from_seed(&[seed; 32]),
            nonce: [seed; 32],
        };
        match &self.take(&executor)[..] {
            [ToExecutor::Challenge { nonce, .. }] => assert_eq!(**nonce, [seed; 32]),
            other => panic!("a challenge comes first, not {other:?}"),
        }
        executor
    }

    pub(crate) fn say(&mut self, executor: &Executor, message: ToCoordinator) {
        let checker = self.checkers.entry(executor.connection).or_default();
        let message = checker.check(message);
        self.handle(Input::Received {
            connection: executor.connection,
            message,
        });
    }

    /// The messages that came for an executor since the last call.
    pub(crate) fn take(&mut self, executor: &Executor) -> Vec<ToExecutor> {
        self.sent.remove(&executor.connection).unwrap_or_default()
    }

    pub(crate) fn poll(&mut self, executor: &Executor, slots: u32) {
        self.say(
            executor,
            ToCoordinator::Poll {
                slots,
                wait_ms: 60_000,
            },
        );
    }

    /// The leases of the assignments that came.
    pub(crate) fn assigned(&mut self, executor: &Executor) -> Vec<Lease> {
        let leases = self
            .take(executor)
            .into_iter()
            .filter_map(|message| match message {
                ToExecutor::Assign { leases } => Some(leases),
                _ => None,
            });
        leases.flatten().collect()
    }

    pub(crate) fn poll_for(&mut self, executor: &Executor, slots: u32) -> Vec<Lease> {
        self.poll(executor, slots);
        self.assigned(executor)
    }

    pub(crate) fn poll_for_one(&mut self, executor: &Executor) -> Lease {
        let mut leases = self.poll_for(executor, 1);
        assert_eq!(leases.len(), 1, "one lease");
        leases.remove(0)
    }

    pub(crate) fn deliver(&mut self, executor: &Executor, items: Vec<Delivery>) {
        let message = executor.signed(items);
        self.say(executor, message);
    }

    /// Delivers, and is sure that it was accepted.
    pub(crate) fn complete(&mut self, executor: &Executor, lease: &Lease, out: Out) {
        self.deliver(executor, vec![delivery(lease, out)]);
        let accepted = self
            .take(executor)
            .into_iter()
            .any(|message| match message {
                ToExecutor::Accepted { leases } => leases == [lease.id],
                _ => false,
            });
        assert!(accepted, "the delivery is accepted");
    }

    /// Commits to an outcome, and says whether it is asked for at once.
    pub(crate) fn commit(&mut self, executor: &Executor, lease: &Lease, out: Out) -> bool {
        let item = salted(lease, out);
        let statement = Statement {
            outcome: item.outcome.cid(),
            conditions: item.conditions,
        };
        let salt = item.salt.expect("it is salted");
        let digest = commitment(&salt, &statement).into();
        let items = vec![Commitment {
            lease: lease.id,
            digest,
        }];
        self.say(executor, ToCoordinator::Commit { items });
        self.revealed(executor).contains(&lease.id)
    }

    /// Tells what was committed to.
    pub(crate) fn reveal(&mut self, executor: &Executor, lease: &Lease, out: Out) {
        self.deliver(executor, vec![salted(lease, out)]);
    }

    /// The leases that an executor was asked to reveal, among what came for it.
    pub(crate) fn revealed(&mut self, executor: &Executor) -> Vec<LeaseId> {
        let asked = self
            .take(executor)
            .into_iter()
            .filter_map(|message| match message {
                ToExecutor::Reveal { leases } => Some(leases),
                _ => None,
            });
        asked.flatten().collect()
    }

    /// Everything that executors can do is done, with commitments where they are asked for. `out` says what each comes to.
    pub(crate) fn work_off_all(
        &mut self,
        executors: &[Executor],
        out: impl Fn(usize, &Lease) -> Out,
    ) {
        let mut held: Vec<(usize, Lease, Out)> = Vec::new();
        for _ in 0..200 {
            let mut idle = true;
            for (who, executor) in executors.iter().enumerate() {
                let wait_ms = 0;
                self.say(executor, ToCoordinator::Poll { slots: 4, wait_ms });
                for message in self.take(executor) {
                    match message {
                        ToExecutor::Assign { leases } => {
                            for lease in leases {
                                idle = false;
                                let out = out(who, &lease);
                                if lease.commit {
                                    held.push((who, lease.clone(), out.clone()));
                                    self.commit_quietly(executor, &lease, out);
                                } else {
                                    self.deliver(executor, vec![delivery(&lease, out)]);
                                }
                            }
                        }
                        ToExecutor::Reveal { leases } => {
                            idle = false;
                            for id in leases {
                                let mine = held.iter().find(|(_, lease, _)| lease.id == id);
                                let (_, lease, out) = mine.cloned().expect("it was leased");
                                self.reveal(executor, &lease, out);
                            }
                        }
                        _ => {}
                    }
                }
            }
            if idle {
                self.pass(500);
            }
        }
    }

    fn commit_quietly(&mut self, executor: &Executor, lease: &Lease, out: Out) {
        let item = salted(lease, out);
        let statement = Statement {
            outcome: item.outcome.cid(),
            conditions: item.conditions,
        };
        let salt = item.salt.expect("it is salted");
        let digest = commitment(&salt, &statement).into();
        let items = vec![Commitment {
            lease: lease.id,
            digest,
        }];
        self.say(executor, ToCoordinator::Commit { items });
    }

    pub(crate) fn fault(&mut self, executor: &Executor, lease: LeaseId, kind: FaultKind) {
        let fault = Fault {
            kind,
            message: "as told".into(),
        };
        self.say(executor, ToCoordinator::Fault { lease, fault });
    }

    pub(crate) fn disconnect(&mut self, executor: &Executor) {
        self.handle(Input::Disconnected {
            connection: executor.connection,
        });
    }

    /// Everything that an executor can do is done, each outcome being `out(func)`.
    pub(crate) fn work_off(&mut self, executor: &Executor, out: impl Fn(&str) -> Out) -> usize {
        let mut done = 0;
        loop {
            self.say(
                executor,
                ToCoordinator::Poll {
                    slots: 16,
                    wait_ms: 0,
                },
            );
            let leases = self.assigned(executor);
            if leases.is_empty() {
                return done;
            }
            done += leases.len();
            let items = leases
                .iter()
                .map(|lease| delivery(lease, out(&lease.task.run.input.func)));
            self.deliver(executor, items.collect());
        }
    }

    pub(crate) fn rejections(&mut self, executor: &Executor) -> Vec<String> {
        let rejected = self
            .take(executor)
            .into_iter()
            .filter_map(|message| match message {
                ToExecutor::Rejected { reason, .. } => Some(reason),
                _ => None,
            });
        rejected.collect()
    }

    pub(crate) fn revoked(&mut self, executor: &Executor) -> Vec<LeaseId> {
        let revoked = self
            .take(executor)
            .into_iter()
            .filter_map(|message| match message {
                ToExecutor::Revoke { leases, .. } => Some(leases),
                _ => None,
            });
        revoked.flatten().collect()
    }
}

/// An executor's end of a connection.
pub(crate) struct Executor {
    pub(crate) connection: ConnectionId,
    pub(crate) identity: Identity,
    pub(crate) nonce: [u8; 32],
}

impl Executor {
    pub(crate) fn key(&self) -> PublicKey {
        self.identity.public_key()
    }

    pub(crate) fn hello(&self, holding: Vec<Held>) -> Hello {
        Hello {
            key: self.key(),
            proof: self.identity.sign(&hello_bytes(&self.nonce)),
            build: "test".into(),
            name: "tester".into(),
            capabilities: Capabilities {
                host: "null".into(),
                metering: METERING.into(),
                threads: 2,
                memory: 4 << 30,
                ..Capabilities::default()
            },
            holding,
            enrolment: String::new(),
        }
    }

    pub(crate) fn signed(&self, items: Vec<Delivery>) -> ToCoordinator {
        let statements: Vec<Statement> = items
            .iter()
            .map(|item| Statement {
                outcome: item.outcome.cid(),
                conditions: item.conditions,
            })
            .collect();
        let signature = self
            .identity
            .sign(&MerkleTree::new(&statements).signed_bytes());
        ToCoordinator::Deliver { items, signature }
    }
}

pub(crate) fn delivery(lease: &Lease, out: Out) -> Delivery {
    let outcome = Outcome {
        instruction: lease.task.run.cid(),
        out,
        fuel: Some(10),
        metering: METERING.into(),
    };
    let conditions = Conditions {
        fuel: lease.limits.fuel,
        memory: lease.limits.memory,
        growth_refused: false,
    };
    Delivery {
        lease: lease.id,
        outcome,
        conditions,
        remark: Remark::default(),
        salt: None,
    }
}

/// A delivery of a lease that was committed to.
pub(crate) fn salted(lease: &Lease, out: Out) -> Delivery {
    Delivery {
        salt: Some([lease.id.0 as u8; 32].into()),
        ..delivery(lease, out)
    }
}

pub(crate) fn ok(n: i128) -> Out {
    Out::Ok(Value::Integer(n))
}

pub(crate) fn error(text: &str) -> Out {
    Out::Error(Value::String(text.into()))
}

/// A task that applies `func` to `args`.
pub(crate) fn task(func: &str, args: Vec<Value>) -> Task {
    Task {
        run: Instruction {
            rsc: format!("ipfs://{}", blob_cid(b"component")),
            op: "wasm/run".into(),
            input: asterism_protocol::Input {
                func: func.into(),
                args,
                files: Files::new(),
                effects: Effects::new(),
            },
            nnc: Nonce::Empty,
        },
        cause: None,
        meta: Meta::default(),
        prf: Vec::new(),
    }
}

/// The task with another fuel limit.
pub(crate) fn with_fuel(mut task: Task, fuel: u64) -> Task {
    task.meta
        .0
        .insert("fuel".into(), Value::Integer(fuel.into()));
    task
}

/// A promise of what `task` comes to.
pub(crate) fn awaits(branch: asterism_protocol::Await, task: &Task) -> Value {
    Promise {
        branch,
        instruction: task.run.cid(),
    }
    .to_value()
}

pub(crate) fn held(lease: &Lease) -> Held {
    Held {
        lease: lease.id,
        instruction: lease.task.run.cid(),
    }
}

pub(crate) fn cid(task: &Task) -> Cid {
    task.run.cid()
}
