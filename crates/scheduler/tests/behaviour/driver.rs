//! Drives a scheduler by messages, as a shell with an instant journal would.

use std::collections::BTreeMap;

use asterism_protocol::{
    Cid, Conditions, Identity, Instruction, MerkleTree, Meta, Nonce, Out, Outcome, Prepared,
    Promise, PublicKey, Receipt, Remark, Statement, Task, Timestamp, Value, Workflow, blob_cid,
    encode,
    limits::FRAME_BYTES_MAX,
    message::{
        Capabilities, Change, Delivery, Fault, FaultKind, Held, Hello, Lease, LeaseId,
        ToCoordinator, ToExecutor, hello_bytes,
    },
    view::{RunId, RunState, RunView, TaskState, TaskView},
};
use asterism_scheduler::{
    Config, ConnectionId, Event, Input, Output, RequestId, Scheduler, Submission, SubmitError,
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
    }
}

/// A scheduler and all that came out of it.
pub(crate) struct Driver {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Timestamp,
    pub(crate) journal: Vec<Event>,
    /// Messages that executors did not take yet.
    pub(crate) sent: BTreeMap<ConnectionId, Vec<ToExecutor>>,
    pub(crate) closed: Vec<ConnectionId>,
    pub(crate) changes: Vec<Change>,
    /// Every output, in order.
    pub(crate) trace: Vec<Output>,
    replies: BTreeMap<RequestId, Result<RunId, SubmitError>>,
    next: u64,
}

impl Driver {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self {
            scheduler: Scheduler::new(config, 7),
            now: Timestamp(1_000_000),
            journal: Vec::new(),
            sent: BTreeMap::new(),
            closed: Vec::new(),
            changes: Vec::new(),
            trace: Vec::new(),
            replies: BTreeMap::new(),
            next: 1,
        }
    }

    /// The same journal under a new scheduler: what a restart leaves.
    pub(crate) fn restarted(&self) -> Self {
        let mut driver = Self::with(config());
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
                Output::Publish(change) => self.changes.push(change),
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
        let names = (0..tasks.len()).map(|index| format!("t{index}")).collect();
        self.next += 1;
        let request = RequestId(self.next);
        let prepared = Prepared {
            workflow: Workflow { tasks },
            names,
        };
        let submission = Submission {
            prepared,
            name: "w".into(),
            submitter: "me".into(),
            known,
            terms: asterism_protocol::Terms::default(),
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
        self.next += 1;
        let request = RequestId(self.next);
        self.handle(Input::Cancel { request, run });
        self.replies
            .remove(&request)
            .expect("a cancellation is replied to")
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

    /// An executor that was challenged and has said nothing yet.
    pub(crate) fn connect(&mut self, seed: u8) -> Executor {
        self.next += 1;
        let connection = ConnectionId(self.next);
        self.handle(Input::Connected {
            connection,
            nonce: [seed; 32],
            origin: String::new(),
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
