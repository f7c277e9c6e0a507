//! The session against a driver that answers as a shell and a coordinator would.

use std::collections::BTreeMap;

use asterism_executor::{
    Attempt, Config, Host, Input, Job, NullHost, Output, Session, ThreadId, TimeoutReason,
    TransferError,
};
use asterism_protocol::{
    Cid, Effects, Files, HTTP, Identity, Instruction, Limits, MerkleTree, Meta, Nonce, Out,
    Promise, Statement, Task, Timestamp, Value, blob_cid,
    message::{
        Capabilities, Commitment, Delivery, Fault, FaultKind, Held, Hello, Kept, Lease, LeaseId,
        ToCoordinator, ToExecutor, commitment, hello_bytes,
    },
};
use serde_bytes::ByteArray;

const COMPONENT: &[u8] = b"a component";
const NONCE: [u8; 32] = [7; 32];

/// A shell and a coordinator at once: what the session asks for is written down, what is plain is answered.
struct Driver {
    session: Session,
    identity: Identity,
    now: Timestamp,
    /// What was asked for and not looked at yet.
    outputs: Vec<Output>,
    /// Answer fetches, uploads and signatures at once?
    obliging: bool,
    timeouts: Vec<TimeoutReason>,
}

impl Driver {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
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
    fn welcomed(change: impl FnOnce(&mut Config)) -> Self {
        let mut driver = Self::new(change);
        driver.connect(&[]);
        driver
    }

    fn connect(&mut self, resumed: &[u64]) -> Hello {
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

    fn input(&mut self, input: Input) {
        self.session.handle(input, self.now);
        self.drain();
    }

    fn receive(&mut self, message: ToExecutor) {
        self.input(Input::Received(message));
    }

    fn assign(&mut self, leases: Vec<Lease>) {
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
    fn wait(&mut self, ms: u64) {
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
    fn took(&mut self, fits: impl Fn(&Output) -> bool) -> bool {
        let before = self.outputs.len();
        self.outputs.retain(|output| !fits(output));
        self.outputs.len() < before
    }

    /// Takes the first message away that `pick` wants.
    fn sent<T>(&mut self, pick: impl Fn(ToCoordinator) -> Option<T>) -> Option<T> {
        let place = self.outputs.iter().position(|output| match output {
            Output::Send(message) => pick(message.clone()).is_some(),
            _ => false,
        })?;
        match self.outputs.remove(place) {
            Output::Send(message) => pick(message),
            _ => None,
        }
    }

    fn polled(&mut self) -> Option<u32> {
        self.sent(|message| match message {
            ToCoordinator::Poll {
                slots,
                wait_ms: 10_000,
            } => Some(slots),
            _ => None,
        })
    }

    fn delivered(&mut self) -> Option<Vec<Delivery>> {
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

    fn delivered_ids(&mut self) -> Option<Vec<u64>> {
        Some(self.delivered()?.iter().map(|item| item.lease.0).collect())
    }

    fn faulted(&mut self) -> Option<(u64, FaultKind)> {
        self.sent(|message| match message {
            ToCoordinator::Fault { lease, fault } => Some((lease.0, fault.kind)),
            _ => None,
        })
    }

    fn refused(&mut self) -> Option<(u64, String)> {
        self.sent(|message| match message {
            ToCoordinator::Refuse { lease, reason } => Some((lease.0, reason)),
            _ => None,
        })
    }

    fn handed_back(&mut self) -> Option<Vec<u64>> {
        self.sent(|message| match message {
            ToCoordinator::HandBack { leases } => Some(leases.iter().map(|id| id.0).collect()),
            _ => None,
        })
    }

    fn heartbeat(&mut self) -> Option<Vec<u64>> {
        self.sent(|message| match message {
            ToCoordinator::Heartbeat { leases } => Some(leases.iter().map(|id| id.0).collect()),
            _ => None,
        })
    }

    /// Takes the next run away: thread, lease, job.
    fn run(&mut self) -> Option<(u32, u64, Job)> {
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
    fn perform(&mut self) -> u64 {
        let (thread, lease, job) = self.run().expect("a task runs");
        self.end(thread, lease, Ok(Box::new(attempt(&job))));
        lease
    }

    fn end(&mut self, thread: u32, lease: u64, result: Result<Box<Attempt>, Fault>) {
        self.input(Input::Ended {
            thread: ThreadId(thread),
            lease: LeaseId(lease),
            result,
        });
    }

    fn accept(&mut self, leases: &[u64]) {
        self.receive(ToExecutor::Accepted {
            leases: leases.iter().map(|id| LeaseId(*id)).collect(),
        });
    }

    fn fetched(&mut self) -> Vec<Cid> {
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

fn attempt(job: &Job) -> Attempt {
    let mut host = NullHost::new();
    host.prepare(job.component, COMPONENT)
        .expect("a null host takes anything");
    host.run(job).expect("no fault")
}

fn task(func: &str, args: Vec<Value>) -> Task {
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

fn lease_of(id: u64, task: Task) -> Lease {
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
fn lease(id: u64) -> Lease {
    lease_of(id, task("echo", vec![Value::Integer(i128::from(id))]))
}

fn host_fault() -> Fault {
    Fault {
        kind: FaultKind::Host,
        message: "the host broke".into(),
    }
}

#[test]
fn a_task_goes_from_poll_to_acceptance() {
    let mut driver = Driver::new(|_| {});
    let hello = driver.connect(&[]);
    hello
        .key
        .verify(&hello_bytes(&NONCE), &hello.proof)
        .expect("the key is proven");
    assert_eq!(driver.polled(), Some(2), "one thread and one prefetched");
    driver.assign(vec![lease_of(
        1,
        task("add", vec![Value::Integer(2), Value::Integer(3)]),
    )]);
    assert_eq!(driver.fetched(), [blob_cid(COMPONENT)]);
    assert_eq!(
        driver.session.status().doing[&ThreadId(0)].workflow,
        "a workflow"
    );
    assert_eq!(
        driver.polled(),
        Some(1),
        "one more is held while this one runs"
    );
    assert_eq!(driver.perform(), 1);
    let items = driver
        .delivered()
        .expect("a lone task is delivered without delay");
    assert_eq!(items[0].outcome.out, Out::Ok(Value::Integer(5)));
    assert_eq!(
        driver.session.status().tasks,
        0,
        "what is not accepted does not count"
    );
    driver.accept(&[1]);
    let status = driver.session.status();
    assert_eq!(
        (status.tasks, status.fuel, status.idle_because.as_str()),
        (1, 3, "waiting for work")
    );
    driver.wait(1_000);
    assert_eq!(
        driver.heartbeat(),
        Some(vec![]),
        "an idle executor shows that it lives"
    );
}

#[test]
fn promises_are_resolved_and_the_instruction_keeps_its_name() {
    let mut driver = Driver::welcomed(|_| {});
    let awaited = task("echo", vec![]).run.cid();
    let promise = Promise {
        branch: asterism_protocol::Await::Ok,
        instruction: awaited,
    };
    let mut lease = lease_of(1, task("echo", vec![Value::List(vec![promise.to_value()])]));
    lease.inputs = vec![Kept {
        instruction: awaited,
        out: Out::Ok(Value::Integer(9)).into(),
    }];
    let instruction = lease.task.run.cid();
    driver.assign(vec![lease]);
    let (_, _, job) = driver.run().expect("it runs");
    assert_eq!(job.args, [Value::List(vec![Value::Integer(9)])]);
    assert_eq!(job.instruction, instruction);
}

#[test]
fn files_come_with_the_bytes_behind_their_links() {
    let mut driver = Driver::welcomed(|_| {});
    let awaited = task("echo", vec![]).run.cid();
    let promise = Promise {
        branch: asterism_protocol::Await::Ok,
        instruction: awaited,
    };
    let (given, made) = (blob_cid(b"given"), blob_cid(b"made"));
    let mut task = task("file", vec![Value::String("made/before".into())]);
    task.run.input.files = [
        ("data/given", Value::Link(given.to_link())),
        ("made/before", promise.to_value()),
    ]
    .map(|(path, file)| (path.to_owned(), file))
    .into();
    let mut lease = lease_of(1, task);
    lease.inputs = vec![Kept {
        instruction: awaited,
        out: Out::Ok(Value::Link(made.to_link())).into(),
    }];
    let instruction = lease.task.run.cid();
    driver.assign(vec![lease]);
    assert_eq!(driver.fetched(), [blob_cid(COMPONENT), given, made]);
    let (_, _, job) = driver.run().expect("it runs");
    assert_eq!(job.instruction, instruction);
    assert_eq!(job.links(), [given, made]);
    assert_eq!(job.files["made/before"], Value::Link(made.to_link()));
}

#[test]
fn what_cannot_be_performed_is_refused() {
    let awaited = task("echo", vec![]).run.cid();
    let promise = Promise {
        branch: asterism_protocol::Await::Error,
        instruction: awaited,
    };
    let mut broken_promise = lease_of(1, task("echo", vec![promise.to_value()]));
    broken_promise.inputs = vec![Kept {
        instruction: awaited,
        out: Out::Ok(Value::Null).into(),
    }];
    let mut operation = lease(1);
    operation.task.run.op = "http/get".into();
    let mut resource = lease(1);
    resource.task.run.rsc = "https://example.org/a.wasm".into();
    let mut memory = lease(1);
    memory.limits.memory = 1 << 40;
    let link = lease_of(1, task("echo", vec![Value::Link(awaited.to_link())]));
    let mut file = lease(1);
    let odd = ("a/../b".to_owned(), Value::Null);
    file.task.run.input.files = [odd].into();
    for (lease, reason) in [
        (broken_promise, "await/error"),
        (operation, "http/get"),
        (resource, "https://example.org/a.wasm"),
        (memory, "memory limit"),
        (link, "not a blob"),
        (file, "files.a/../b"),
    ] {
        let mut driver = Driver::welcomed(|_| {});
        driver.assign(vec![lease]);
        let (id, words) = driver.refused().expect("it is refused");
        assert!(id == 1 && words.contains(reason), "{words}");
        assert_eq!(driver.run(), None);
    }
}

#[test]
fn an_effect_is_granted_only_where_it_is_asked_for_and_offered() {
    let effectful = |effect: &str| {
        let mut lease = lease(1);
        lease.task.run.input.effects = Effects::from([effect.to_owned()]);
        lease.task.run.nnc = Nonce::Text("once".into());
        lease
    };
    let offering = |config: &mut Config| {
        let offers = ["gpu".to_owned(), HTTP.to_owned()];
        config.capabilities.offers = offers.into();
    };
    let mut closed = Driver::welcomed(|_| {});
    closed.assign(vec![effectful(HTTP)]);
    let (_, words) = closed.refused().expect("it is refused");
    assert_eq!(words, "the effect `wasi:http` is not offered here");

    for (asked, granted) in [(effectful(HTTP), true), (lease(1), false)] {
        let mut open = Driver::welcomed(offering);
        open.assign(vec![asked]);
        let (_, _, job) = open.run().expect("it is performed");
        assert_eq!(job.effects.contains(HTTP), granted);
    }

    // What is offered and is no effect that there is, is none.
    let mut open = Driver::welcomed(offering);
    open.assign(vec![effectful("gpu")]);
    let (_, words) = open.refused().expect("it is refused");
    assert_eq!(words, "the effect `gpu` is not offered here");
}

#[test]
fn a_coordinator_that_offers_only_what_is_refused_makes_no_busy_loop() {
    let mut driver = Driver::welcomed(|_| {});
    let mut polls = 0;
    for id in 0..100 {
        driver.wait(10);
        if driver.polled().is_some() {
            polls += 1;
            let mut lease = lease(id);
            lease.task.run.op = "other".into();
            driver.assign(vec![lease]);
        }
    }
    assert!((2..6).contains(&polls), "{polls} polls in a second");
}

#[test]
fn a_blob_that_two_leases_need_is_fetched_once_and_released_after_the_last() {
    let mut driver = Driver::welcomed(|config| config.prefetch = 3);
    let picture = blob_cid(b"a picture");
    let args = |n| vec![Value::Link(picture.to_link()), Value::Integer(n)];
    driver.obliging = false;
    driver.assign(vec![
        lease_of(1, task("a", args(1))),
        lease_of(2, task("a", args(2))),
    ]);
    assert_eq!(
        driver.fetched(),
        [blob_cid(COMPONENT), picture],
        "the component comes first"
    );
    assert_eq!(
        driver.session.status().idle_because,
        "fetching what the next task needs"
    );
    driver.input(Input::Fetched { cid: picture });
    assert_eq!(driver.run(), None);
    driver.input(Input::Fetched {
        cid: blob_cid(COMPONENT),
    });
    let (thread, lease, _) = driver.run().expect("all is here");
    driver.end(thread, lease, Err(host_fault()));
    assert!(
        !driver.took(|output| matches!(output, Output::Release { .. })),
        "the second lease needs it"
    );
    let (thread, lease, _) = driver.run().expect("the second runs");
    driver.end(thread, lease, Err(host_fault()));
    assert!(driver.took(|output| *output == Output::Release { cid: picture }));
}

#[test]
fn a_blob_that_cannot_be_had_is_tried_again_and_then_a_fault() {
    let mut driver = Driver::welcomed(|_| {});
    driver.obliging = false;
    driver.assign(vec![lease(1)]);
    let mut tries = 0;
    while driver
        .faulted()
        .is_none_or(|fault| fault != (1, FaultKind::Blob))
    {
        for cid in driver.fetched() {
            tries += 1;
            driver.input(Input::FetchFailed {
                cid,
                error: TransferError::Failed("404".into()),
            });
        }
        driver.heartbeat();
        if tries < 4 {
            driver.wait(1_000);
        }
    }
    assert_eq!(tries, 4);
    assert!(driver.session.status().trouble.contains("404"));
}

#[test]
fn no_more_run_than_there_are_threads() {
    let mut driver = Driver::welcomed(|config| config.capabilities.threads = 2);
    assert_eq!(driver.polled(), Some(4));
    driver.assign((1..=4).map(lease).collect());
    assert!(driver.run().is_some() && driver.run().is_some());
    assert_eq!(driver.run(), None);
    assert_eq!(driver.session.status().prefetched, 2);
    driver.input(Input::Threads(1));
    assert_eq!(driver.handed_back(), Some(vec![3, 4]), "two run already");
    driver.wait(5_000);
    driver.end(1, 2, Err(host_fault()));
    assert_eq!(driver.polled(), Some(1));
    driver.assign(vec![lease(5)]);
    assert_eq!(driver.run(), None, "the thread that is left is busy");
    driver.end(0, 1, Err(host_fault()));
    assert_eq!(
        driver.run().map(|(thread, lease, _)| (thread, lease)),
        Some((0, 5))
    );
}

#[test]
fn while_one_task_runs_another_is_made_ready_and_a_third_is_fetched() {
    let mut driver = Driver::welcomed(|config| config.capabilities.threads = 2);
    driver.assign(vec![lease(1)]);
    let (first, ..) = driver.run().expect("the first runs");
    let mut other = task("echo", Vec::new());
    other.run.rsc = format!("ipfs://{}", blob_cid(b"another component"));
    driver.assign(vec![lease_of(2, other)]);
    let (second, _, job) = driver.run().expect("the second begins");
    assert_ne!(first, second);
    driver.input(Input::Preparing {
        thread: ThreadId(second),
    });

    driver.fetched();
    driver.obliging = false;
    let picture = blob_cid(b"a picture");
    driver.assign(vec![lease_of(
        3,
        task("a", vec![Value::Link(picture.to_link())]),
    )]);
    assert_eq!(driver.fetched(), [picture]);
    driver.input(Input::Fetched { cid: picture });
    assert_eq!(driver.run(), None, "both threads are busy");

    driver.end(first, 1, Err(host_fault()));
    let begun = driver.run().map(|(thread, lease, _)| (thread, lease));
    assert_eq!(begun, Some((first, 3)), "the second is still made ready");
    driver.input(Input::Prepared {
        thread: ThreadId(second),
    });
    driver.end(second, 2, Ok(Box::new(attempt(&job))));
    assert_eq!(driver.faulted(), Some((1, FaultKind::Host)));
    assert_eq!(driver.faulted(), None, "the others are well");
}

#[test]
fn leases_that_were_not_asked_for_are_handed_back() {
    let mut driver = Driver::welcomed(|_| {});
    assert_eq!(driver.polled(), Some(2));
    driver.assign((1..=5).map(lease).collect());
    assert_eq!(driver.handed_back(), Some(vec![3, 4, 5]));
    driver.assign(vec![lease(6)]);
    assert_eq!(driver.handed_back(), Some(vec![6]));
    driver.assign(vec![lease(1)]);
    assert_eq!(
        driver.handed_back(),
        None,
        "a lease that is held stays held"
    );
}

#[test]
fn a_thread_rests_to_keep_the_duty_cycle() {
    let mut driver = Driver::welcomed(|config| config.duty_percent = 25);
    driver.assign(vec![lease(1), lease(2)]);
    let (thread, id, _) = driver.run().expect("the first runs");
    driver.wait(1_000);
    driver.end(thread, id, Err(host_fault()));
    assert_eq!(driver.run(), None);
    assert_eq!(
        driver.session.status().idle_because,
        "resting, to compute 25 % of the time"
    );
    driver.wait(2_900);
    assert_eq!(driver.run(), None);
    driver.wait(100);
    assert!(driver.run().is_some(), "one second of work, three of rest");
}

#[test]
fn short_tasks_rest_as_well() {
    let mut driver = Driver::welcomed(|config| config.duty_percent = 50);
    driver.wait(5);
    let (started, mut done) = (driver.now, 0);
    while driver.now.since_ms(started) < 1_000 {
        if let Some(slots) = driver.polled() {
            let first = driver.now.0 * 1_000;
            driver.assign((first..first + u64::from(slots)).map(lease).collect());
        }
        while let Some((thread, id, job)) = driver.run() {
            let mut attempt = attempt(&job);
            attempt.remark.elapsed_us = 500;
            driver.end(thread, id, Ok(Box::new(attempt)));
            done += 1;
        }
        while let Some(ids) = driver.delivered_ids() {
            driver.accept(&ids);
        }
        driver.wait(1);
    }
    assert!(
        (1_800..=2_200).contains(&done),
        "{done} tasks of half a millisecond in a second of rest"
    );
}

#[test]
fn a_task_that_runs_too_long_is_killed_and_a_fault() {
    let mut driver = Driver::welcomed(|_| {});
    let mut slow = lease(1);
    slow.limits.time_ms = 2_000;
    driver.assign(vec![slow, lease(2)]);
    assert!(driver.run().is_some());
    driver.wait(2_100);
    assert!(
        !driver.took(|output| matches!(output, Output::Kill { .. })),
        "the host may stop it itself"
    );
    driver.wait(500);
    assert!(driver.took(|output| *output
        == Output::Kill {
            thread: ThreadId(0)
        }));
    assert_eq!(driver.faulted(), Some((1, FaultKind::TimeLimit)));
    assert_eq!(
        driver.run().map(|(thread, lease, _)| (thread, lease)),
        Some((0, 2)),
        "the thread goes on"
    );
    driver.end(0, 1, Err(host_fault()));
    assert_eq!(
        driver.faulted(),
        None,
        "what a killed thread still says is not heard"
    );
}

#[test]
fn preparing_does_not_count_against_the_time_limit() {
    let mut driver = Driver::welcomed(|_| {});
    let mut quick = lease(1);
    quick.limits.time_ms = 1_000;
    driver.assign(vec![quick]);
    driver.input(Input::Preparing {
        thread: ThreadId(0),
    });
    driver.wait(9_000);
    driver.input(Input::Prepared {
        thread: ThreadId(0),
    });
    driver.wait(1_400);
    assert_eq!(driver.faulted(), None);
    driver.wait(200);
    assert_eq!(driver.faulted(), Some((1, FaultKind::TimeLimit)));
}

#[test]
fn blobs_are_uploaded_before_the_outcome_that_links_to_them() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease_of(
        1,
        task("blob", vec![Value::Integer(20_000)]),
    )]);
    driver.obliging = false;
    let (thread, id, job) = driver.run().expect("it runs");
    let attempt = attempt(&job);
    let blob = *attempt
        .blobs
        .first_key_value()
        .expect("long bytes become a blob")
        .0;
    driver.end(thread, id, Ok(Box::new(attempt)));
    assert!(driver.took(|output| *output == Output::Upload { cid: blob }));
    assert!(!driver.took(|output| matches!(output, Output::Sign { .. })));
    driver.obliging = true;
    driver.input(Input::Uploaded { cid: blob });
    assert!(driver.took(|output| *output == Output::Release { cid: blob }));
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
}

/// A task's result is on its way to the coordinator, as a blob.
fn uploading() -> (Driver, Cid) {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease_of(
        1,
        task("blob", vec![Value::Integer(20_000)]),
    )]);
    driver.obliging = false;
    let (thread, id, job) = driver.run().expect("it runs");
    let attempt = attempt(&job);
    let cid = *attempt
        .blobs
        .first_key_value()
        .expect("long bytes become a blob")
        .0;
    driver.end(thread, id, Ok(Box::new(attempt)));
    (driver, cid)
}

#[test]
fn a_blob_that_cannot_be_uploaded_is_a_fault() {
    let (mut driver, cid) = uploading();
    for _ in 0..4 {
        assert_eq!(driver.faulted(), None);
        driver.input(Input::UploadFailed {
            cid,
            error: TransferError::Failed("507".into()),
        });
        driver.wait(5_000);
    }
    assert_eq!(driver.faulted(), Some((1, FaultKind::Blob)));
}

/// Fails all fetches as a coordinator in trouble does, until the lease has ended.
fn fetch_in_vain(driver: &mut Driver) {
    for _ in 0..4 {
        for cid in driver.fetched() {
            driver.input(Input::FetchFailed {
                cid,
                error: TransferError::Unavailable("503".into()),
            });
        }
        driver.wait(4_000);
    }
}

#[test]
fn what_an_unavailable_coordinator_does_not_give_is_handed_back_and_asked_for_later() {
    let mut driver = Driver::welcomed(|_| {});
    driver.obliging = false;
    driver.polled();
    driver.assign(vec![lease(1)]);
    for tried in 1..=4 {
        driver.wait(4_000);
        assert_eq!(driver.handed_back(), None, "after {} tries", tried - 1);
        for cid in driver.fetched() {
            driver.input(Input::FetchFailed {
                cid,
                error: TransferError::Unavailable("503".into()),
            });
        }
    }
    assert_eq!(driver.handed_back(), Some(vec![1]));
    assert_eq!(driver.faulted(), None, "it is no attempt");
    assert!(driver.session.status().trouble.contains("503"));
    while driver.polled().is_some() {}
    driver.assign(Vec::new());
    driver.wait(1_800);
    assert_eq!(driver.polled(), None, "it does not come back at once");
    driver.wait(300);
    assert!(driver.polled().is_some());
    driver.obliging = true;
    driver.assign(vec![lease(1)]);
    driver.perform();
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
}

#[test]
fn a_result_that_an_unavailable_coordinator_does_not_take_is_handed_back() {
    let (mut driver, cid) = uploading();
    for _ in 0..4 {
        assert_eq!(driver.handed_back(), None);
        driver.input(Input::UploadFailed {
            cid,
            error: TransferError::Unavailable("503".into()),
        });
        driver.wait(5_000);
    }
    assert_eq!(driver.handed_back(), Some(vec![1]));
    assert_eq!(driver.faulted(), None, "it is no attempt");
    assert!(driver.took(|output| *output == Output::Release { cid }));
}

#[test]
fn what_is_unavailable_again_and_again_is_a_fault_at_last() {
    let mut driver = Driver::welcomed(|_| {});
    driver.obliging = false;
    let one = task("echo", vec![Value::Integer(1)]);
    for id in 1..=8 {
        driver.assign(vec![lease_of(id, one.clone())]);
        fetch_in_vain(&mut driver);
        assert_eq!(driver.handed_back(), Some(vec![id]));
        assert_eq!(driver.faulted(), None);
        // The next lease comes when it is asked for.
        while driver.polled().is_some() {}
    }
    driver.assign(vec![lease_of(9, one)]);
    fetch_in_vain(&mut driver);
    assert_eq!(driver.handed_back(), None);
    assert_eq!(driver.faulted(), Some((9, FaultKind::Blob)));
}

#[test]
fn under_load_outcomes_are_signed_together() {
    let mut driver = Driver::welcomed(|config| config.prefetch = 20);
    driver.assign((1..=20).map(lease).collect());
    for _ in 0..20 {
        driver.perform();
    }
    let mut batches = Vec::new();
    driver.wait(5);
    while let Some(ids) = driver.delivered_ids() {
        batches.push(ids);
    }
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 20);
    assert!(batches.len() <= 2, "{batches:?}");
}

#[test]
fn while_one_batch_is_signed_the_next_gathers() {
    let mut driver = Driver::welcomed(|config| config.prefetch = 9);
    driver.assign((1..=4).map(lease).collect());
    driver.obliging = false;
    driver.perform();
    driver.wait(10);
    let signs = |driver: &mut Driver| {
        let place = driver
            .outputs
            .iter()
            .position(|output| matches!(output, Output::Sign { .. }))?;
        match driver.outputs.remove(place) {
            Output::Sign { id, bytes } => Some(Input::Signed {
                id,
                signature: driver.identity.sign(&bytes),
            }),
            _ => None,
        }
    };
    let first = signs(&mut driver).expect("the first is signed");
    for _ in 0..3 {
        driver.perform();
    }
    driver.wait(10);
    assert!(signs(&mut driver).is_none());
    driver.input(first);
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    let second = signs(&mut driver).expect("the others are signed together");
    driver.input(second);
    assert_eq!(driver.delivered_ids(), Some(vec![2, 3, 4]));
}

#[test]
fn a_lease_that_is_revoked_while_its_batch_is_signed_is_left_out() {
    let mut driver = Driver::welcomed(|config| config.capabilities.threads = 2);
    driver.assign((1..=2).map(lease).collect());
    driver.obliging = false;
    driver.perform();
    driver.perform();
    driver.wait(10);
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(1)],
        reason: "cancelled".into(),
    });
    driver.obliging = true;
    for id in 1..10 {
        let signature = driver.identity.sign(b"whatever");
        driver.input(Input::Signed {
            id: asterism_executor::SignId(id),
            signature,
        });
    }
    assert_eq!(driver.delivered_ids(), Some(vec![2]));
}

#[test]
fn a_revoked_task_is_killed_and_its_thread_goes_on() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    assert!(driver.run().is_some());
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(1)],
        reason: "cancelled".into(),
    });
    assert!(driver.took(|output| *output
        == Output::Kill {
            thread: ThreadId(0)
        }));
    assert_eq!(driver.run().map(|(_, lease, _)| lease), Some(2));
    driver.wait(1_000);
    assert_eq!(driver.heartbeat(), Some(vec![2]));
}

#[test]
fn work_goes_on_while_the_coordinator_is_away_and_is_delivered_on_return() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    driver.input(Input::Disconnected {
        reason: "reset".into(),
    });
    assert!(!driver.session.status().connected);
    driver.perform();
    assert!(
        driver.session.status().doing.len() == 1,
        "the second began meanwhile"
    );
    assert_eq!(driver.delivered_ids(), None);
    driver.wait(400);
    let hello = driver.connect(&[1, 2]);
    let held = |id: u64| Held {
        lease: LeaseId(id),
        instruction: lease(id).task.run.cid(),
    };
    assert_eq!(hello.holding, [held(1), held(2)]);
    driver.wait(5);
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    driver.perform();
    assert_eq!(driver.delivered_ids(), Some(vec![2]));
}

#[test]
fn what_was_not_accepted_is_delivered_again_after_a_reconnection() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.perform();
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    driver.input(Input::Disconnected {
        reason: "reset".into(),
    });
    driver.wait(400);
    driver.connect(&[1]);
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    driver.accept(&[1]);
    assert_eq!(driver.session.status().tasks, 1);
}

#[test]
fn leases_that_are_not_resumed_are_dropped() {
    let mut driver = Driver::welcomed(|config| config.capabilities.threads = 2);
    driver.assign((1..=3).map(lease).collect());
    driver.input(Input::Disconnected {
        reason: "reset".into(),
    });
    driver.wait(400);
    driver.connect(&[2]);
    assert!(driver.took(|output| *output
        == Output::Kill {
            thread: ThreadId(0)
        }));
    assert!(!driver.took(|output| *output
        == Output::Kill {
            thread: ThreadId(1)
        }));
    assert_eq!(driver.session.status().doing.len(), 1);
    driver.wait(1_000);
    assert_eq!(driver.heartbeat(), Some(vec![2]));
}

#[test]
fn a_fault_while_the_coordinator_is_away_is_told_on_return() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.input(Input::Disconnected {
        reason: "reset".into(),
    });
    driver.end(0, 1, Err(host_fault()));
    driver.wait(400);
    driver.connect(&[1]);
    assert_eq!(driver.faulted(), Some((1, FaultKind::Host)));
}

#[test]
fn reconnections_wait_longer_and_are_the_same_for_a_seed() {
    let waits = |seed| {
        let mut driver = Driver::new(|config| config.seed = seed);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert!(driver.took(|output| *output == Output::Connect));
            driver.input(Input::Disconnected {
                reason: "refused".into(),
            });
            let (at, reason) = driver.session.poll_timeout().expect("it tries again");
            assert_eq!(reason, TimeoutReason::Reconnect);
            waits.push(at.since_ms(driver.now));
            driver.wait(at.since_ms(driver.now));
        }
        waits
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
    let (early, late) = (
        waits(3)[..4].iter().sum::<u64>(),
        waits(3)[8..].iter().sum::<u64>(),
    );
    assert!(early < 4_000 && late > 2 * early, "{early} {late}");
}

#[test]
fn a_coordinator_that_does_not_answer_is_left() {
    let mut driver = Driver::new(|_| {});
    driver.wait(16_000);
    assert!(
        driver.took(|output| *output == Output::Disconnect),
        "no connection came about"
    );
    let mut driver = Driver::welcomed(|_| {});
    driver.took(|output| *output == Output::Connect);
    driver.wait(19_000);
    assert!(!driver.took(|output| *output == Output::Disconnect));
    driver.wait(2_000);
    assert!(
        driver.took(|output| *output == Output::Disconnect),
        "the poll was not answered"
    );
    driver.wait(400);
    assert!(driver.took(|output| *output == Output::Connect));
}

#[test]
fn a_pause_hands_back_what_is_not_begun() {
    let mut driver = Driver::welcomed(|_| {});
    driver.polled();
    driver.assign(vec![lease(1), lease(2)]);
    driver.input(Input::Pause {
        reason: "on battery".into(),
    });
    assert_eq!(driver.handed_back(), Some(vec![2]));
    driver.perform();
    assert_eq!(
        driver.delivered_ids(),
        Some(vec![1]),
        "what runs is finished"
    );
    assert_eq!(driver.polled(), None);
    assert_eq!(driver.session.status().idle_because, "on battery");
    driver.receive(ToExecutor::Assign { leases: vec![] });
    assert_eq!(driver.polled(), None);
    driver.input(Input::Resume);
    driver.wait(100);
    assert!(driver.polled().is_some());
}

#[test]
fn leaving_at_once_hands_everything_back() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    driver.outputs.clear();
    driver.input(Input::Leave { finish: false });
    driver.outputs.retain(|output| *output != Output::Changed);
    assert_eq!(
        driver.outputs,
        [
            Output::Kill {
                thread: ThreadId(0)
            },
            Output::Release {
                cid: blob_cid(COMPONENT)
            },
            Output::Send(ToCoordinator::HandBack {
                leases: vec![LeaseId(1), LeaseId(2)]
            }),
            Output::Send(ToCoordinator::Leave),
            Output::Disconnect,
            Output::Finished
        ]
    );
    driver.outputs.clear();
    driver.input(Input::Connected);
    driver.wait(100_000);
    assert_eq!(driver.outputs, [], "nothing follows");
}

#[test]
fn leaving_after_finishing_delivers_first() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    driver.input(Input::Leave { finish: true });
    assert_eq!(driver.handed_back(), Some(vec![2]));
    driver.perform();
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    assert!(!driver.took(|output| *output == Output::Finished));
    driver.accept(&[1]);
    assert!(driver.took(|output| *output == Output::Send(ToCoordinator::Leave)));
    assert!(driver.took(|output| *output == Output::Finished));
}

#[test]
fn leaving_at_once_does_not_wait_long_for_acceptance() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.perform();
    driver.input(Input::Leave { finish: false });
    assert!(!driver.took(|output| *output == Output::Finished));
    driver.wait(2_000);
    assert!(driver.took(|output| *output == Output::Finished));
}

#[test]
fn leaving_without_a_coordinator_is_possible() {
    for finish in [true, false] {
        let mut driver = Driver::new(|_| {});
        driver.input(Input::Leave { finish });
        assert!(driver.took(|output| *output == Output::Finished));
    }
}

#[test]
fn a_rejected_delivery_is_dropped_and_shown() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.perform();
    driver.receive(ToExecutor::Rejected {
        lease: Some(LeaseId(1)),
        reason: "too late".into(),
    });
    assert_eq!(
        driver.session.status().trouble,
        "the coordinator refused: too late"
    );
    driver.wait(1_000);
    assert_eq!(driver.heartbeat(), Some(vec![]));
}

#[test]
fn an_answer_for_another_instruction_is_a_fault_of_the_host() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    let (thread, id, mut job) = driver.run().expect("it runs");
    job.instruction = blob_cid(b"other");
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    assert_eq!(driver.faulted(), Some((1, FaultKind::Host)));
}

#[test]
fn long_attempts_are_announced_and_short_ones_are_not() {
    let started = |message| match message {
        ToCoordinator::Started { leases } => Some(leases),
        _ => None,
    };
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    driver.wait(10);
    driver.perform();
    driver.wait(50);
    assert_eq!(driver.sent(started), None);
    driver.wait(60);
    assert_eq!(driver.sent(started), Some(vec![LeaseId(2)]));
}

#[test]
fn short_tasks_are_prefetched_further_than_long_ones() {
    let mut slots = BTreeMap::new();
    for task_ms in [0, 1_000] {
        let mut driver = Driver::welcomed(|_| {});
        driver.polled();
        for id in 1..=30 {
            driver.assign(vec![lease(id)]);
            driver.wait(task_ms);
            driver.perform();
            driver.wait(10);
            driver.accept(&[id]);
            slots.insert(task_ms, driver.polled());
            driver.outputs.clear();
        }
    }
    assert_eq!(slots[&1_000], Some(1));
    assert!(slots[&0] > Some(20), "{slots:?}");
}

#[test]
fn a_machine_under_load_prefetches_as_far_as_before() {
    let mut driver = Driver::welcomed(|_| {});
    driver.polled();
    let mut slots = None;
    for id in 1..=30 {
        driver.assign(vec![lease(id)]);
        // What takes a tenth of a millisecond took eight; the way to the coordinator is not longer for that.
        driver.wait(8);
        driver.perform();
        driver.wait(10);
        driver.accept(&[id]);
        slots = driver.polled();
        driver.outputs.clear();
    }
    assert!(slots > Some(10), "{slots:?}");
}

#[test]
fn a_coordinator_far_away_does_not_make_one_executor_hoard() {
    let mut driver = Driver::welcomed(|_| {});
    driver.polled();
    let mut slots = None;
    for id in 1..=30 {
        driver.assign(vec![lease(id)]);
        driver.wait(500);
        driver.perform();
        driver.wait(5_000);
        driver.accept(&[id]);
        slots = driver.polled();
        driver.outputs.clear();
    }
    assert!(slots <= Some(3), "a second of work and one more: {slots:?}");
}

#[test]
fn with_work_ahead_a_poll_waits_until_it_is_worth_it() {
    let mut driver = Driver::welcomed(|config| config.prefetch = 19);
    assert_eq!(driver.polled(), Some(20));
    driver.assign((1..=20).map(lease).collect());
    for _ in 0..4 {
        driver.wait(10);
        driver.perform();
        assert_eq!(driver.polled(), None);
    }
    driver.wait(10);
    driver.perform();
    assert_eq!(driver.polled(), Some(5));
}

#[test]
fn a_free_thread_has_its_next_task_before_its_last_one_is_looked_at() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    let (thread, id, job) = driver.run().expect("it runs");
    driver.outputs.clear();
    driver.obliging = false;
    let mut attempt = attempt(&job);
    attempt
        .blobs
        .insert(blob_cid(b"made"), b"made".to_vec().into());
    driver.end(thread, id, Ok(Box::new(attempt)));
    let place = |fits: fn(&Output) -> bool| driver.outputs.iter().position(fits);
    let next = place(|output| matches!(output, Output::Run { .. })).expect("the next one runs");
    let upload = place(|output| matches!(output, Output::Upload { .. })).expect("an upload");
    assert!(next < upload, "{:?}", driver.outputs);
}

#[test]
fn a_task_that_wants_more_memory_than_its_owner_allows_is_refused() {
    let mut driver = Driver::welcomed(|config| config.memory_bytes = 64 << 20);
    driver.assign(vec![lease(1), lease(2)]);
    let (thread, id, job) = driver.run().expect("it runs");
    assert_eq!(job.limits.memory, 64 << 20);
    let mut wanting = attempt(&job);
    wanting.conditions.growth_refused = true;
    driver.end(thread, id, Ok(Box::new(wanting)));
    let (refused, reason) = driver.refused().expect("it is refused");
    assert_eq!(refused, 1);
    assert!(reason.contains("64 MiB"), "{reason}");
    let trouble = driver.session.status().trouble;
    assert_eq!(trouble, format!("a task was left to others: {reason}"));

    // What is content with it has the outcome that it has anywhere.
    driver.perform();
    let items = driver.delivered().expect("it is delivered");
    assert_eq!(items[0].conditions.memory, Limits::default().memory);
}

#[test]
fn a_task_that_its_own_limit_stops_is_an_outcome() {
    let mut driver = Driver::welcomed(|config| config.memory_bytes = 64 << 20);
    let mut small = lease(1);
    small.limits.memory = 1 << 20;
    driver.assign(vec![small]);
    let (thread, id, job) = driver.run().expect("it runs");
    let mut wanting = attempt(&job);
    wanting.conditions.growth_refused = true;
    driver.end(thread, id, Ok(Box::new(wanting)));
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
}

#[test]
fn a_task_that_takes_longer_than_its_owner_allows_is_left_to_others() {
    let mut driver = Driver::welcomed(|config| config.time_ms = 5_000);
    driver.assign(vec![lease(1), lease(2)]);
    let (_, _, job) = driver.run().expect("it runs");
    assert_eq!(job.limits.time_ms, 5_000);
    driver.wait(5_600);
    let (refused, reason) = driver.refused().expect("it is refused");
    assert_eq!(refused, 1);
    assert!(reason.contains("5000 ms"), "{reason}");
    assert_eq!(driver.faulted(), None, "it is no attempt");

    // The host may be first to say so.
    let (thread, id, _) = driver.run().expect("the next one runs");
    let late = Fault {
        kind: FaultKind::TimeLimit,
        message: "it took 5 s".into(),
    };
    driver.end(thread, id, Err(late));
    assert_eq!(driver.refused().map(|(refused, _)| refused), Some(2));
}

#[test]
fn what_a_job_and_an_attempt_have_of_blobs_travels_with_them() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    let (_, _, mut job) = driver.run().expect("it runs");
    let mut attempt = attempt(&job);
    for bytes in [&b"one"[..], b"another"] {
        job.blobs.insert(blob_cid(bytes), bytes.to_vec().into());
        attempt.blobs.insert(blob_cid(bytes), bytes.to_vec().into());
    }
    let bytes = asterism_protocol::encode(&job);
    assert_eq!(asterism_protocol::decode("job", &bytes, 1 << 20), Ok(job));
    let bytes = asterism_protocol::encode(&attempt);
    let decoded = asterism_protocol::decode("attempt", &bytes, 1 << 20);
    assert_eq!(decoded, Ok(attempt));
}

#[test]
fn an_oversized_remark_does_not_cost_the_outcome() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    let (thread, id, job) = driver.run().expect("it runs");
    let mut attempt = attempt(&job);
    attempt.remark.backtrace = vec!["x".repeat(1 << 20); 8];
    driver.end(thread, id, Ok(Box::new(attempt)));
    let items = driver.delivered().expect("it is delivered");
    assert!(items[0].remark.backtrace.is_empty());
}

#[test]
fn the_blobs_of_an_attempt_that_came_to_nothing_are_released() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease_of(
        1,
        task("blob", vec![Value::Integer(20_000)]),
    )]);
    let (thread, id, job) = driver.run().expect("it runs");
    let attempt = attempt(&job);
    let blob = *attempt
        .blobs
        .first_key_value()
        .expect("long bytes become a blob")
        .0;
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(1)],
        reason: "cancelled".into(),
    });
    driver.end(thread, id, Ok(Box::new(attempt)));
    assert!(driver.took(|output| *output == Output::Release { cid: blob }));
}

#[test]
fn what_is_said_is_within_the_bounds_of_what_may_be_said() {
    let mut driver = Driver::new(|config| config.name = "ä".repeat(1_000));
    let hello = driver.connect(&[]);
    assert_eq!(hello.name.len(), 256);
    let mut resource = lease(1);
    resource.task.run.rsc = "x".repeat(100_000);
    driver.assign(vec![resource]);
    assert!(driver.refused().expect("it is refused").1.len() <= 8 << 10);
    driver.wait(200);
    assert!(driver.polled().is_some());
    driver.assign(vec![lease(2)]);
    driver.end(
        0,
        2,
        Err(Fault {
            kind: FaultKind::Lost,
            message: "ß".repeat(100_000),
        }),
    );
    assert_eq!(driver.faulted(), Some((2, FaultKind::Host)));
}

fn committing(id: u64) -> Lease {
    Lease {
        commit: true,
        ..lease(id)
    }
}

impl Driver {
    fn committed(&mut self) -> Option<Vec<Commitment>> {
        self.sent(|message| match message {
            ToCoordinator::Commit { items } => Some(items),
            _ => None,
        })
    }
}

#[test]
fn an_outcome_is_committed_to_and_told_only_when_it_is_asked_for() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![committing(1)]);
    driver.perform();
    let committed = driver.committed().expect("it commits");
    assert_eq!(committed.len(), 1);
    driver.wait(100);
    assert_eq!(driver.delivered(), None, "nobody asked");
    driver.receive(ToExecutor::Reveal {
        leases: vec![LeaseId(1)],
    });
    let items = driver.delivered().expect("it was asked for");
    let salt = items[0].salt.expect("the salt comes with it");
    let statement = Statement {
        outcome: items[0].outcome.cid(),
        conditions: items[0].conditions,
    };
    assert_eq!(*committed[0].digest, commitment(&salt, &statement));
    driver.accept(&[1]);
    assert_eq!(driver.session.status().tasks, 1);
}

#[test]
fn leaving_after_finishing_does_not_wait_for_ever_to_be_asked() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![committing(1)]);
    driver.perform();
    driver.committed().expect("it commits");
    driver.input(Input::Leave { finish: true });
    driver.wait(9_000);
    assert!(!driver.took(|output| *output == Output::Finished));
    driver.wait(1_000);
    assert_eq!(driver.handed_back(), Some(vec![1]));
    assert!(driver.took(|output| *output == Output::Finished));
}

#[test]
fn what_is_not_to_be_committed_to_is_told_at_once() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.perform();
    let items = driver.delivered().expect("it is told");
    assert_eq!(items[0].salt, None);
    assert_eq!(driver.committed(), None);
}

#[test]
fn after_a_reconnection_it_commits_again_and_is_asked_again() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![committing(1)]);
    driver.perform();
    let before = driver.committed().expect("it commits");
    driver.input(Input::Disconnected {
        reason: "gone".into(),
    });
    driver.wait(5_000);
    driver.connect(&[1]);
    assert_eq!(driver.committed().as_ref(), Some(&before), "the same again");
    driver.receive(ToExecutor::Reveal {
        leases: vec![LeaseId(1)],
    });
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
}

#[test]
fn an_excluded_executor_asks_for_nothing_and_says_why() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![]);
    driver.receive(ToExecutor::Excluded {
        reason: "caught".into(),
    });
    driver.polled();
    driver.receive(ToExecutor::Assign { leases: vec![] });
    driver.wait(60_000);
    assert_eq!(driver.polled(), None);
    let status = driver.session.status();
    assert_eq!(status.idle_because, "caught");
    assert_eq!(status.trouble, "caught");
}

/// One whose thread performed a short task and has two more.
fn with_pipeline(change: impl FnOnce(&mut Config)) -> Driver {
    let mut driver = Driver::welcomed(|config| {
        config.pipeline = true;
        config.prefetch = 4;
        change(config);
    });
    driver.assign(vec![lease(1)]);
    driver.perform();
    driver.outputs.clear();
    driver.wait(POLL_PAUSE);
    let leases = [2, 3, 4].map(|id| {
        let mut lease = lease(id);
        lease.limits.time_ms = TIME_LIMIT;
        lease
    });
    driver.assign(leases.to_vec());
    driver
}

/// What each of its tasks may take, in milliseconds.
const TIME_LIMIT: u64 = 2_000;

/// Longer than the pause between two polls, in milliseconds.
const POLL_PAUSE: u64 = 200;

fn killed(driver: &mut Driver) -> bool {
    let thread = ThreadId(0);
    driver.took(|output| *output == Output::Kill { thread })
}

#[test]
fn a_thread_with_short_tasks_has_its_next_one_beforehand() {
    let mut driver = with_pipeline(|_| {});
    let (thread, id, job) = driver.run().expect("it runs");
    assert_eq!(id, 2);
    let (_, next, next_job) = driver.run().expect("the next one is there");
    assert_eq!((next, driver.run()), (3, None), "two are enough");
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    assert_eq!(driver.run().map(|(_, lease, _)| lease), Some(4));
    driver.end(thread, next, Ok(Box::new(attempt(&next_job))));
    driver.wait(10);
    let mut delivered = driver.delivered_ids().expect("outcomes are delivered");
    delivered.extend(driver.delivered_ids().unwrap_or_default());
    assert_eq!(delivered, [2, 3]);
}

#[test]
fn only_short_tasks_of_one_component_at_full_duty_are_given_beforehand() {
    let mut driver = with_pipeline(|config| config.duty_percent = 50);
    assert!(driver.run().is_some());
    assert_eq!(
        driver.run(),
        None,
        "a thread that rests takes them one by one"
    );

    let mut driver = Driver::welcomed(|config| config.pipeline = true);
    driver.assign(vec![lease(1)]);
    let (thread, id, job) = driver.run().expect("it runs");
    driver.wait(40);
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    driver.wait(POLL_PAUSE);
    driver.assign(vec![lease(2), lease(3)]);
    assert!(driver.run().is_some());
    assert_eq!(driver.run(), None, "tasks of 40 ms are long");

    let mut driver = Driver::welcomed(|config| config.pipeline = true);
    driver.assign(vec![lease(1)]);
    driver.perform();
    driver.wait(POLL_PAUSE);
    let mut other = lease(3);
    other.task.run.rsc = format!("ipfs://{}", blob_cid(b"another component"));
    driver.assign(vec![lease(2), other]);
    assert!(driver.run().is_some());
    assert_eq!(driver.run(), None, "its component is not ready there");
}

#[test]
fn the_time_of_a_task_given_beforehand_counts_from_the_end_of_the_one_before() {
    let mut driver = with_pipeline(|_| {});
    let (thread, id, job) = driver.run().expect("it runs");
    driver.wait(90);
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    driver.wait(TIME_LIMIT + 450);
    assert_eq!(driver.faulted(), None);
    driver.wait(100);
    assert_eq!(driver.faulted(), Some((3, FaultKind::TimeLimit)));
}

#[test]
fn what_was_given_to_a_thread_that_is_killed_is_handed_back() {
    let mut driver = with_pipeline(|_| {});
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(2)],
        reason: "cancelled".into(),
    });
    assert!(killed(&mut driver));
    assert_eq!(driver.handed_back(), Some(vec![3]));
    driver
        .outputs
        .retain(|output| !matches!(output, Output::Run { lease, .. } if lease.0 != 4));
    assert_eq!(driver.run().map(|(_, lease, _)| lease), Some(4));
}

#[test]
fn what_was_given_beforehand_and_is_not_wanted_is_killed_when_it_begins() {
    let mut driver = with_pipeline(|_| {});
    let (thread, id, job) = driver.run().expect("it runs");
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(3)],
        reason: "cancelled".into(),
    });
    assert!(!killed(&mut driver), "the first one is wanted");
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    assert!(killed(&mut driver));
    driver
        .outputs
        .retain(|output| !matches!(output, Output::Run { lease, .. } if lease.0 != 4));
    assert_eq!(driver.run().map(|(_, lease, _)| lease), Some(4));
}

#[test]
fn what_waits_behind_a_task_that_is_long_after_all_is_handed_back() {
    let mut driver = with_pipeline(|_| {});
    driver.wait(50);
    assert_eq!(driver.handed_back(), None);
    driver.wait(100);
    assert_eq!(driver.handed_back(), Some(vec![3]));
}

#[test]
fn a_pause_hands_back_what_a_thread_has_not_begun() {
    let mut driver = with_pipeline(|_| {});
    driver.input(Input::Pause {
        reason: "on battery".into(),
    });
    assert_eq!(driver.handed_back(), Some(vec![3, 4]));
}

#[test]
fn a_task_given_beforehand_that_the_shell_cannot_pass_on_is_a_fault() {
    let mut driver = with_pipeline(|_| {});
    driver.end(0, 3, Err(host_fault()));
    assert_eq!(driver.faulted(), Some((3, FaultKind::Host)));
    let given: Vec<_> = std::iter::from_fn(|| driver.run())
        .map(|(_, lease, _)| lease)
        .collect();
    assert_eq!(given, [2, 3, 4]);
}
