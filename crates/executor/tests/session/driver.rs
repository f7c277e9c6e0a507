//! Drives a session as a shell and a coordinator would.

use asterism_executor::{
    Attempt, Config, Host as _, Input, Job, NullHost, Output, Session, ThreadId, TimeoutReason,
};
use asterism_protocol::{
    Cid, Effects, Files, Identity, Instruction, Limits, MerkleTree, Meta, Nonce, Statement, Task,
    Timestamp, Value, blob_cid,
    message::{
        Capabilities, Commitment, Delivery, Fault, FaultKind, Hello, Lease, LeaseId, ToCoordinator,
        ToExecutor,
    },
};
use serde_bytes::ByteArray;

pub(crate) const COMPONENT: &[u8] = b"a component";
pub(crate) const NONCE: [u8; 32] = [7; 32];

/// A shell and a coordinator at once: what the session asks for is written down, what is plain is answered.
pub(crate) struct Driver {
    pub(crate) session: Session,
    pub(crate) identity: Identity,
    pub(crate) now: Timestamp,
    /// What was asked for and not looked at yet.
    pub(crate) outputs: Vec<Output>,
    /// Answer fetches, uploads and signatures at once?
    pub(crate) obliging: bool,
    timeouts: Vec<TimeoutReason>,
}

impl Driver {
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let identity = Identity::from_seed(&[1; 32]);
        let mut config = Config {
            key: identity.public_key(),
            name: "test".into(),
            build: "0".into(),
            capabilities: Capabilities {
                host: "null".into(),
                metering: "wasmtime-48".into(),
                threads: 1,
                memory: 4 << 30,
                ..Capabilities::default()
            },
            enrolment: String::new(),
            duty_percent: 100,
            memory_bytes: 4 << 30,
            time_ms: 1_000_000,
            prefetch: 1,
            pipeline: false,
            seed: 1,
        };
        change(&mut config);
        let session = Session::new(config);
        let mut driver = Self {
            session,
            identity,
            now: Timestamp(1_000_000),
            outputs: Vec::new(),
            obliging: true,
            timeouts: Vec::new(),
        };
        driver.drain();
        driver
    }

    /// One that is connected and has polled.
    pub(crate) fn welcomed(change: impl FnOnce(&mut Config)) -> Self {
        let mut driver = Self::new(change);
        driver.connect(&[]);
        driver
    }

    pub(crate) fn connect(&mut self, resumed: &[u64]) -> Hello {
        assert!(
            self.took(|output| *output == Output::Connect),
            "it did not want to connect: {:?}",
            self.outputs
        );
        self.input(Input::Connected);
        self.receive(ToExecutor::Challenge {
            nonce: ByteArray::new(NONCE),
            build: "1".into(),
        });
        let hello = self.sent(|message| match message {
            ToCoordinator::Hello(hello) => Some(*hello),
            _ => None,
        });
        let resumed = resumed.iter().map(|id| LeaseId(*id)).collect();
        self.receive(ToExecutor::Welcome {
            heartbeat_ms: 1_000,
            resumed,
        });
        hello.expect("it says hello after the challenge")
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.session.handle(input, self.now);
        self.drain();
    }

    pub(crate) fn receive(&mut self, message: ToExecutor) {
        self.input(Input::Received(message));
    }

    pub(crate) fn assign(&mut self, leases: Vec<Lease>) {
        self.receive(ToExecutor::Assign { leases });
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let answer = match &output {
                _ if !self.obliging => None,
                Output::Fetch { cid } => Some(Input::Fetched { cid: *cid }),
                Output::Upload { cid } => Some(Input::Uploaded { cid: *cid }),
                Output::Sign { id, bytes } => Some(Input::Signed {
                    id: *id,
                    signature: self.identity.sign(bytes),
                }),
                _ => None,
            };
            if !(self.obliging && matches!(output, Output::Sign { .. })) {
                self.outputs.push(output);
            }
            if let Some(answer) = answer {
                self.session.handle(answer, self.now);
            }
        }
    }

    /// Time passes; timeouts come when they were asked for.
    pub(crate) fn wait(&mut self, ms: u64) {
        let until = self.now.after_ms(ms);
        while let Some((at, reason)) = self.session.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.timeouts.push(reason);
            self.session.handle_timeout(self.now);
            self.drain();
            let next = self.session.poll_timeout();
            assert!(
                next.is_none_or(|(at, _)| at > self.now),
                "{next:?} was not done at {:?}",
                self.now
            );
        }
        self.now = until;
    }

    /// Takes the outputs that fit away; were there any?
    pub(crate) fn took(&mut self, fits: impl Fn(&Output) -> bool) -> bool {
        let before = self.outputs.len();
        self.outputs.retain(|output| !fits(output));
        self.outputs.len() < before
    }

    /// Takes the first message away that `pick` wants.
    pub(crate) fn sent<T>(&mut self, pick: impl Fn(ToCoordinator) -> Option<T>) -> Option<T> {
        let place = self.outputs.iter().position(|output| match output {
            Output::Send(message) => pick(message.clone()).is_some(),
            _ => false,
        })?;
        match self.outputs.remove(place) {
            Output::Send(message) => pick(message),
            _ => None,
        }
    }

    pub(crate) fn polled(&mut self) -> Option<u32> {
        self.sent(|message| match message {
            ToCoordinator::Poll {
                slots,
                wait_ms: 10_000,
            } => Some(slots),
            _ => None,
        })
    }

    pub(crate) fn delivered(&mut self) -> Option<Vec<Delivery>> {
        let key = self.identity.public_key();
        self.sent(|message| match message {
            ToCoordinator::Deliver { items, signature } => {
                let statement = |item: &Delivery| Statement {
                    outcome: item.outcome.cid(),
                    conditions: item.conditions,
                };
                let tree = MerkleTree::new(&items.iter().map(statement).collect::<Vec<_>>());
                key.verify(&tree.signed_bytes(), &signature)
                    .expect("a delivery is signed");
                Some(items)
            }
            _ => None,
        })
    }

    pub(crate) fn delivered_ids(&mut self) -> Option<Vec<u64>> {
        Some(self.delivered()?.iter().map(|item| item.lease.0).collect())
    }

    pub(crate) fn committed(&mut self) -> Option<Vec<Commitment>> {
        self.sent(|message| match message {
            ToCoordinator::Commit { items } => Some(items),
            _ => None,
        })
    }

    pub(crate) fn faulted(&mut self) -> Option<(u64, FaultKind)> {
        self.sent(|message| match message {
            ToCoordinator::Fault { lease, fault } => Some((lease.0, fault.kind)),
            _ => None,
        })
    }

    pub(crate) fn refused(&mut self) -> Option<(u64, String)> {
        self.sent(|message| match message {
            ToCoordinator::Refuse { lease, reason } => Some((lease.0, reason)),
            _ => None,
        })
    }

    pub(crate) fn handed_back(&mut self) -> Option<Vec<u64>> {
        self.sent(|message| match message {
            ToCoordinator::HandBack { leases } => Some(leases.iter().map(|id| id.0).collect()),
            _ => None,
        })
    }

    pub(crate) fn heartbeat(&mut self) -> Option<Vec<u64>> {
        self.sent(|message| match message {
            ToCoordinator::Heartbeat { leases } => Some(leases.iter().map(|id| id.0).collect()),
            _ => None,
        })
    }

    /// Takes the next run away: thread, lease, job.
    pub(crate) fn run(&mut self) -> Option<(u32, u64, Job)> {
        let place = self
            .outputs
            .iter()
            .position(|output| matches!(output, Output::Run { .. }))?;
        match self.outputs.remove(place) {
            Output::Run {
                thread, lease, job, ..
            } => Some((thread.0, lease.0, *job)),
            _ => None,
        }
    }

    /// Performs the next run on a null host.
    pub(crate) fn perform(&mut self) -> u64 {
        let (thread, lease, job) = self.run().expect("a task runs");
        self.end(thread, lease, Ok(Box::new(attempt(&job))));
        lease
    }

    pub(crate) fn end(&mut self, thread: u32, lease: u64, result: Result<Box<Attempt>, Fault>) {
        self.input(Input::Ended {
            thread: ThreadId(thread),
            lease: LeaseId(lease),
            result,
        });
    }

    pub(crate) fn accept(&mut self, leases: &[u64]) {
        self.receive(ToExecutor::Accepted {
            leases: leases.iter().map(|id| LeaseId(*id)).collect(),
        });
    }

    pub(crate) fn fetched(&mut self) -> Vec<Cid> {
        let fetches = self.outputs.iter().filter_map(|output| match output {
            Output::Fetch { cid } => Some(*cid),
            _ => None,
        });
        let fetches = fetches.collect();
        self.outputs
            .retain(|output| !matches!(output, Output::Fetch { .. }));
        fetches
    }
}

pub(crate) fn attempt(job: &Job) -> Attempt {
    let mut host = NullHost::new();
    host.prepare(job.component, COMPONENT)
        .expect("a null host takes anything");
    host.run(job).expect("no fault")
}

pub(crate) fn task(func: &str, args: Vec<Value>) -> Task {
    let rsc = format!("ipfs://{}", blob_cid(COMPONENT));
    let input = asterism_protocol::Input {
        func: func.into(),
        args,
        files: Files::new(),
        effects: Effects::new(),
    };
    let run = Instruction {
        rsc,
        op: "wasm/run".into(),
        input,
        nnc: Nonce::Empty,
    };
    Task {
        run,
        cause: None,
        meta: Meta::default(),
        prf: Vec::new(),
    }
}

pub(crate) fn lease_of(id: u64, task: Task) -> Lease {
    Lease {
        id: LeaseId(id),
        task: task.into(),
        inputs: Vec::new(),
        limits: Limits::default(),
        lease_ms: 10_000,
        workflow: "a workflow".into(),
        submitter: "somebody".into(),
        commit: false,
    }
}

/// A task of its own for each number.
pub(crate) fn lease(id: u64) -> Lease {
    lease_of(id, task("echo", vec![Value::Integer(i128::from(id))]))
}

pub(crate) fn host_fault() -> Fault {
    Fault {
        kind: FaultKind::Host,
        message: "the host broke".into(),
    }
}
