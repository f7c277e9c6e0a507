//! How long a scheduler takes to decide: a large workflow is submitted and worked off by one tireless executor.

use std::collections::VecDeque;

use asterism_protocol::{
    Await, Conditions, Effects, Files, Identity, Input as Called, Instruction, Meta, Nonce, Out,
    Outcome, Prepared, Promise, Remark, Task, Terms, Timestamp, Value, Workflow, blob_cid,
    limits::POLL_SLOTS_MAX,
    message::{Capabilities, Delivery, Hello, Lease, ToCoordinator, ToExecutor, hello_bytes},
};
use asterism_scheduler::{
    Checked, Checker, Config, ConnectionId, Input, Output, Planned, RequestId, Scheduler,
    Submission,
};

use super::script::signed;

/// Tasks that are ready at the same time.
const WIDTH: usize = 1_000;

/// What measures: neither a clock nor an allocator is known here.
pub struct Meter<'a> {
    /// Nanoseconds since some time.
    pub nanoseconds: &'a dyn Fn() -> u64,
    /// Bytes that are allocated now.
    pub bytes: &'a dyn Fn() -> u64,
}

/// What it took, for each task.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    /// How many tasks there were.
    pub tasks: usize,
    /// Reading the workflow before it is submitted: hashes, graph, encodings. In nanoseconds.
    pub read_ns: f64,
    /// The submission, with its outputs taken. In nanoseconds.
    pub submit_ns: f64,
    /// Checking what the executor said, before the scheduler hears it: hashes, signatures. In nanoseconds.
    pub check_ns: f64,
    /// Polls and deliveries with their outputs taken, until the run was done. In nanoseconds.
    pub drain_ns: f64,
    /// The floor: the same graph worked off with a hash map and nothing else. In nanoseconds.
    pub floor_ns: f64,
    /// Outputs, over all.
    pub outputs: f64,
    /// What the scheduler holds after the submission, in bytes.
    pub submitted_bytes: f64,
    /// What it holds when the run is done, with all receipts, in bytes.
    pub done_bytes: f64,
}

/// Submits a workflow of `tasks` tasks, each but the first thousand awaiting one other, and works it off.
///
/// # Panics
/// If not every task is leased exactly once.
#[must_use]
pub fn scheduler_drain(tasks: usize, meter: &Meter<'_>) -> Drained {
    let clock = meter.nanoseconds;
    let floor = floor(tasks, clock);

    let prepared = Prepared {
        workflow: workflow(tasks),
        names: vec![String::new(); tasks],
    };
    let (before, begun) = ((meter.bytes)(), clock());
    let plan = Planned::read(&prepared).expect("it is a workflow");
    let (read, planned) = (clock() - begun, (meter.bytes)() - before);
    drop(prepared);

    let before = (meter.bytes)() - planned;
    let config = Config {
        live_tasks_max: tasks,
        ..Config::default()
    };
    let metering = config.metering.clone();
    let mut told = Told {
        scheduler: Scheduler::new(config, 1),
        leases: Vec::new(),
        outputs: 0,
        kept: Vec::new(),
        clock,
    };
    let identity = Identity::from_seed(&[1; 32]);
    let (connection, mut checker) = (ConnectionId(1), Checker::default());
    let nonce = [0; 32];
    told.tell(Input::Connected {
        connection,
        nonce,
        origin: String::new(),
    });
    let hello = Hello {
        key: identity.public_key(),
        proof: identity.sign(&hello_bytes(&nonce)),
        build: String::new(),
        name: String::new(),
        capabilities: Capabilities {
            host: "null".into(),
            metering: metering.clone(),
            threads: 1,
            memory: 4 << 30,
            ..Capabilities::default()
        },
        holding: Vec::new(),
        enrolment: String::new(),
    };
    let message = checker.check(ToCoordinator::Hello(Box::new(hello)));
    told.hear(message);

    let submit = told.tell(Input::Submit {
        request: RequestId(1),
        submission: Box::new(Submission {
            plan,
            name: "drain".into(),
            submitter: String::new(),
            known: Vec::new(),
            terms: Terms::default(),
        }),
    });
    let submitted_bytes = (meter.bytes)() - before;

    let (mut drain, mut check, mut done) = (0, 0, 0);
    loop {
        let poll = ToCoordinator::Poll {
            slots: POLL_SLOTS_MAX,
            wait_ms: 0,
        };
        drain += told.hear(checker.check(poll));
        if told.leases.is_empty() {
            break;
        }
        done += told.leases.len();
        let items = told.leases.drain(..);
        let items = items.map(|lease| delivery(&lease, &metering)).collect();
        let message = signed(&identity, items);
        let begun = clock();
        let message = checker.check(message);
        check += clock() - begun;
        drain += told.hear(message);
    }
    assert_eq!(done, tasks, "every task is leased once");
    told.leases = Vec::new();
    let done_bytes = (meter.bytes)() - before;

    let per_task = |count: u64| count as f64 / tasks as f64;
    Drained {
        tasks,
        read_ns: per_task(read),
        submit_ns: per_task(submit),
        check_ns: per_task(check),
        drain_ns: per_task(drain),
        floor_ns: per_task(floor),
        outputs: per_task(told.outputs),
        submitted_bytes: per_task(submitted_bytes),
        done_bytes: per_task(done_bytes),
    }
}

/// A scheduler that is told facts, and what it answered.
struct Told<'a> {
    scheduler: Scheduler,
    leases: Vec<Lease>,
    outputs: u64,
    /// The outputs of one call; freeing them is their receiver's.
    kept: Vec<Output>,
    clock: &'a dyn Fn() -> u64,
}

impl Told<'_> {
    fn hear(&mut self, message: Checked) -> u64 {
        self.tell(Input::Received {
            connection: ConnectionId(1),
            message,
        })
    }

    /// How long the scheduler took to take a fact and to hand out what follows from it.
    fn tell(&mut self, input: Input) -> u64 {
        let begun = (self.clock)();
        self.scheduler.handle(input, Timestamp(1_000_000));
        while let Some(output) = self.scheduler.poll_output() {
            self.kept.push(output);
        }
        let spent = (self.clock)() - begun;
        self.outputs += self.kept.len() as u64;
        for output in self.kept.drain(..) {
            if let Output::Send { message, .. } | Output::Acknowledge { message, .. } = output
                && let ToExecutor::Assign { leases } = message
            {
                self.leases.extend(leases);
            }
        }
        spent
    }
}

fn workflow(tasks: usize) -> Workflow {
    let rsc = format!("ipfs://{}", blob_cid(b"component"));
    let mut made: Vec<Task> = Vec::with_capacity(tasks);
    let mut cids = Vec::with_capacity(tasks);
    for index in 0..tasks {
        let mut args = vec![Value::Integer(index as i128)];
        if index >= WIDTH {
            args.push(
                Promise {
                    branch: Await::Ok,
                    instruction: cids[index - WIDTH],
                }
                .to_value(),
            );
        }
        let run = Instruction {
            rsc: rsc.clone(),
            op: "wasm/run".into(),
            input: Called {
                func: "f".into(),
                args,
                files: Files::new(),
                effects: Effects::new(),
            },
            nnc: Nonce::Empty,
        };
        cids.push(run.cid());
        made.push(Task {
            run,
            cause: None,
            meta: Meta::default(),
            prf: Vec::new(),
        });
    }
    Workflow { tasks: made }
}

fn delivery(lease: &Lease, metering: &str) -> Delivery {
    let outcome = Outcome {
        instruction: lease.task.run.cid(),
        out: Out::Ok(Value::Integer(1)),
        fuel: Some(1),
        metering: metering.to_owned(),
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

/// A bare topological drain over the same graph: names in a hash map, promises counted, a queue of what is ready.
#[expect(
    clippy::disallowed_types,
    reason = "the floor is what anybody would write first, and its order decides nothing"
)]
fn floor(tasks: usize, clock: &dyn Fn() -> u64) -> u64 {
    use std::collections::HashMap;
    let name = |index: usize| {
        let mut name = [0_u8; 32];
        name[..8].copy_from_slice(
            &(index as u64)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_le_bytes(),
        );
        name
    };
    let begun = clock();
    let mut nodes: HashMap<[u8; 32], (u32, Vec<[u8; 32]>)> = HashMap::with_capacity(tasks);
    let mut ready = VecDeque::new();
    for index in 0..tasks {
        let promises = u32::from(index >= WIDTH);
        nodes.insert(name(index), (promises, Vec::new()));
        if promises == 0 {
            ready.push_back(name(index));
        } else {
            let (_, feeds) = nodes
                .get_mut(&name(index - WIDTH))
                .expect("it was inserted before");
            feeds.push(name(index));
        }
    }
    let mut done = 0;
    while let Some(name) = ready.pop_front() {
        done += 1;
        let (_, feeds) = nodes.remove(&name).expect("each is ready once");
        for fed in feeds {
            let (promises, _) = nodes.get_mut(&fed).expect("it is not done");
            *promises -= 1;
            if *promises == 0 {
                ready.push_back(fed);
            }
        }
    }
    let spent = clock() - begun;
    assert_eq!(done, tasks);
    spent
}
