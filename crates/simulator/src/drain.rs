//! How long a scheduler takes to decide: a large workflow is submitted and worked off by one tireless executor.

use asterism_protocol::{
    Await, Conditions, Identity, Input as Called, Instruction, Invocation, MerkleTree, Meta, Nonce,
    Out, Outcome, Prepared, Promise, Remark, Statement, Task, Timestamp, Value, Workflow, blob_cid,
    content_cid, encode,
    limits::POLL_SLOTS_MAX,
    message::{Capabilities, Delivery, Hello, Lease, ToCoordinator, ToExecutor, hello_bytes},
    view::TaskState,
};
use asterism_scheduler::{
    Config, ConnectionId, Input, Output, RequestId, Scheduler, Submission,
    graph::{Branch, Graph},
};

use super::script::signed;

/// Tasks that are ready at the same time.
const WIDTH: usize = 1_000;

/// Where the time went, in nanoseconds for each task.
#[derive(Clone, Copy, Debug)]
pub struct Drained {
    /// How many tasks there were.
    pub tasks: usize,
    /// Submitting: validation, hashing, graph, first queue.
    pub submit_ns: f64,
    /// Polls and deliveries with all of their outputs, until the run was done.
    pub drain_ns: f64,
    /// The same encodings, hashes and signatures without a scheduler: what draining cannot do without.
    pub hash_ns: f64,
    /// The graph alone: planned, then every node settled in order.
    pub graph_ns: f64,
    /// Bytes of the graph alone.
    pub graph_bytes: f64,
}

/// Submits a workflow of `tasks` tasks, each but the first thousand awaiting one other, and works it off.
/// `clock` gives nanoseconds.
///
/// # Panics
/// If the run is not done in the end.
#[must_use]
pub fn scheduler_drain(tasks: usize, clock: &dyn Fn() -> u64) -> Drained {
    let per_task = |ns: u64| ns as f64 / tasks as f64;
    let config = Config {
        live_tasks_max: tasks,
        ..Config::default()
    };
    let metering = config.metering.clone();
    let mut scheduler = Scheduler::new(config, 1);
    let now = Timestamp(1_000_000);
    let identity = Identity::from_seed(&[1; 32]);
    let connection = ConnectionId(1);
    let mut leases: Vec<Lease> = Vec::new();
    let mut tell = |input: Input, leases: &mut Vec<Lease>| {
        let begun = clock();
        scheduler.handle(input, now);
        let mut outputs = Vec::with_capacity(16);
        while let Some(output) = scheduler.poll_output() {
            outputs.push(output);
        }
        let spent = clock() - begun;
        for output in outputs {
            if let Output::Send {
                message: ToExecutor::Assign { leases: more },
                ..
            }
            | Output::Acknowledge {
                message: ToExecutor::Assign { leases: more },
                ..
            } = output
            {
                leases.extend(more);
            }
        }
        spent
    };

    tell(
        Input::Connected {
            connection,
            nonce: [0; 32],
            origin: String::new(),
        },
        &mut leases,
    );
    let hello = Hello {
        key: identity.public_key(),
        proof: identity.sign(&hello_bytes(&[0; 32])),
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
    let message = ToCoordinator::Hello(Box::new(hello));
    tell(
        Input::Received {
            connection,
            message,
        },
        &mut leases,
    );

    let prepared = Prepared {
        workflow: workflow(tasks),
        names: vec![String::new(); tasks],
    };
    let submission = Submission {
        prepared,
        name: "drain".into(),
        submitter: String::new(),
        known: Vec::new(),
        terms: asterism_protocol::Terms::default(),
    };
    let submit = tell(
        Input::Submit {
            request: RequestId(1),
            submission: Box::new(submission),
        },
        &mut leases,
    );

    let (mut drain, mut hash, mut done) = (0, 0, 0);
    loop {
        let poll = ToCoordinator::Poll {
            slots: POLL_SLOTS_MAX,
            wait_ms: 0,
        };
        drain += tell(
            Input::Received {
                connection,
                message: poll,
            },
            &mut leases,
        );
        if leases.is_empty() {
            break;
        }
        done += leases.len();
        let items: Vec<Delivery> = leases
            .drain(..)
            .map(|lease| delivery(&lease, &metering))
            .collect();
        let message = signed(&identity, items);
        hash += floor(&message, &identity, clock);
        drain += tell(
            Input::Received {
                connection,
                message,
            },
            &mut leases,
        );
    }
    assert_eq!(done, tasks, "every task is leased once");

    let (graph_ns, graph_bytes) = graph(tasks, clock);
    Drained {
        tasks,
        submit_ns: per_task(submit),
        drain_ns: per_task(drain),
        hash_ns: per_task(hash),
        graph_ns: per_task(graph_ns),
        graph_bytes: graph_bytes as f64 / tasks as f64,
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

/// What checking a delivery and naming its receipts costs by itself.
fn floor(message: &ToCoordinator, identity: &Identity, clock: &dyn Fn() -> u64) -> u64 {
    let ToCoordinator::Deliver { items, signature } = message else {
        return 0;
    };
    let task = Task {
        run: Instruction {
            rsc: format!("ipfs://{}", blob_cid(b"component")),
            op: "wasm/run".into(),
            input: Called {
                func: "f".into(),
                args: vec![Value::Integer(1)],
            },
            nnc: Nonce::Empty,
        },
        cause: None,
        meta: Meta::default(),
        prf: Vec::new(),
    };
    let begun = clock();
    message.check().expect("it is within all bounds");
    let statements: Vec<Statement> = items
        .iter()
        .map(|item| Statement {
            outcome: content_cid(&encode(&item.outcome)),
            conditions: item.conditions,
        })
        .collect();
    let tree = MerkleTree::new(&statements);
    identity
        .public_key()
        .verify(&tree.signed_bytes(), signature)
        .expect("it was signed just now");
    for _ in items {
        std::hint::black_box(Invocation { task: &task }.cid());
    }
    clock() - begun
}

/// The graph alone, of the same shape.
fn graph(tasks: usize, clock: &dyn Fn() -> u64) -> (u64, usize) {
    let promises: Vec<(u32, u32, Await)> = (WIDTH..tasks)
        .map(|index| (index as u32, (index - WIDTH) as u32, Await::Ok))
        .collect();
    let order: Vec<u32> = (0..tasks as u32).collect();
    let begun = clock();
    let mut graph = Graph::new(tasks as u32, &promises, std::collections::BTreeMap::new());
    let mut ready = Vec::new();
    graph.plan(&order, |_| None, &mut ready);
    let mut next = 0;
    while let Some(node) = ready.get(next).copied() {
        next += 1;
        graph.set(node, TaskState::Leased);
        graph.settle(node, TaskState::Computed, Some(Branch::Ok), &mut ready);
    }
    let spent = clock() - begun;
    assert_eq!(graph.counts().computed as usize, tasks);
    (spent, graph.bytes())
}
