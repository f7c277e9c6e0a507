//! The bytes of everything that is encoded. A snapshot that changes is a change of the protocol: content gets other
//! CIDs, and parties of different age misunderstand each other. Then [`SUBPROTOCOL`] changes too.

use std::{collections::BTreeMap, fmt::Write as _};

use asterism_protocol::{
    Attestation, Await, Basis, Cid, Conditions, Effects, Evidence, Failure, Files, HTTP, Identity,
    Input, Instruction, Invocation, Limits, LogLevel, LogLine, MerkleTree, Meta, Nonce, Out,
    Outcome, Policy, Promise, PublicKey, Receipt, Remark, Requirements, Signature, Statement, Task,
    Terms, Timestamp, TrapKind, Value, Workflow, blob_cid, content_cid, decode, encode, from_json,
    message::{
        Capabilities, Change, Commitment, Delivery, Fault, FaultKind, Held, Hello, Kept, Lease,
        LeaseId, ToCoordinator, ToExecutor, ToWatched, ToWatcher,
    },
    to_json,
    view::{
        AttemptView, Candidate, ComponentView, Counts, Determinism, ExecutorView, Explanation,
        FunctionView, LeaseView, Overview, RunId, RunState, RunSummary, RunView, Standing,
        TaskState, TaskView, VoteView,
    },
};
use serde::{Serialize, de::DeserializeOwned};

/// Takes snapshots of the JSON and the bytes of content, and sees that both can be read back.
macro_rules! check {
    ($($name:literal: $content:expr,)+) => {
        $(insta::assert_snapshot!($name, encoded(&$content));)+
    };
}

fn encoded<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(content: &T) -> String {
    let bytes = encode(content);
    assert_eq!(
        decode::<T>("snapshot", &bytes, bytes.len()).as_ref(),
        Ok(content),
        "DAG-CBOR comes back"
    );
    let json = to_json(content);
    assert_eq!(
        from_json::<T>("snapshot", json.as_bytes()).as_ref(),
        Ok(content),
        "JSON comes back"
    );
    shown(&json, &bytes)
}

fn shown(json: &str, bytes: &[u8]) -> String {
    let mut text = format!("{json}\n{}", content_cid(bytes));
    for line in bytes.chunks(32) {
        text.push('\n');
        line.iter()
            .for_each(|byte| write!(text, "{byte:02x}").expect("a string takes all"));
    }
    text
}

fn component() -> Cid {
    blob_cid(b"component")
}

fn awaited(branch: Await) -> Value {
    Promise {
        branch,
        instruction: content_cid(b"awaited"),
    }
    .to_value()
}

fn instruction() -> Instruction {
    let map = [
        ("n", Value::Null),
        ("t", Value::Bool(true)),
        ("any", awaited(Await::Any)),
        ("err", awaited(Await::Error)),
    ];
    let args = vec![
        Value::Integer(1),
        Value::Integer(i64::MIN.into()),
        Value::Integer(u64::MAX.into()),
        Value::Float(0.1),
        Value::String("é".into()),
        Value::Bytes(vec![0, 255]),
        Value::Link(blob_cid(b"blob").to_link()),
        awaited(Await::Ok),
        Value::List(vec![
            Value::List(vec![]),
            Value::Map(map.map(|(key, value)| (key.to_owned(), value)).into()),
        ]),
    ];
    let input = Input {
        func: "ns:pkg/iface#name".into(),
        args,
        files: Files::new(),
        effects: Effects::new(),
    };
    Instruction {
        rsc: format!("ipfs://{}", component()),
        op: "wasm/run".into(),
        input,
        nnc: Nonce::Empty,
    }
}

fn files() -> Files {
    let files = [
        ("data/in.csv", Value::Link(blob_cid(b"blob").to_link())),
        ("made", awaited(Await::Error)),
        ("b", Value::Bytes(vec![0, 255])),
        ("ä.txt", Value::String("é".into())),
    ];
    files.map(|(path, file)| (path.to_owned(), file)).into()
}

fn task() -> Task {
    let mut run = instruction();
    run.input.args.truncate(1);
    let meta = [
        ("memory", Value::Integer(65_536)),
        ("time", Value::Integer(100)),
        ("note", Value::String("x".into())),
    ];
    let meta = Meta(meta.map(|(key, value)| (key.to_owned(), value)).into());
    Task {
        run,
        cause: Some(content_cid(b"cause")),
        meta,
        prf: vec![content_cid(b"proof")],
    }
}

fn outcome() -> Outcome {
    Outcome {
        instruction: task().run.cid(),
        out: Out::Ok(Value::Integer(2)),
        fuel: Some(1_000_000_000_000),
        metering: "wasmtime-48".into(),
    }
}

fn trapped() -> Outcome {
    let failure = Failure {
        trap: TrapKind::Unreachable,
        func: "f".into(),
    };
    Outcome {
        out: Out::Error(failure.to_value()),
        fuel: None,
        ..outcome()
    }
}

fn conditions() -> Conditions {
    Conditions {
        fuel: 100_000_000_000,
        memory: 4 << 30,
        growth_refused: false,
    }
}

fn statement(outcome: &Outcome) -> Statement {
    Statement {
        outcome: outcome.cid(),
        conditions: conditions(),
    }
}

fn identity() -> Identity {
    Identity::from_seed(&[7; 32])
}

fn receipt() -> Receipt {
    let statements = [statement(&trapped()), statement(&outcome())];
    let tree = MerkleTree::new(&statements);
    let attestation = Attestation {
        key: identity().public_key(),
        conditions: conditions(),
        path: tree.path(1),
        signature: identity().sign(&tree.signed_bytes()),
    };
    let receipt = Receipt::attested(
        Invocation { task: &task() }.cid(),
        "f",
        &outcome(),
        &attestation,
    );
    assert_eq!(receipt.outcome(), Some(outcome()));
    assert_eq!(receipt.attestation(), Some(attestation));
    receipt
}

fn evidence() -> Evidence {
    Evidence {
        policy: Policy::Quorum { agree: 2, of: 3 },
        basis: Basis::Agreed { executors: 2 },
        agreeing: receipt().attestation().into_iter().collect(),
    }
}

fn believed() -> Receipt {
    let receipt = receipt().believed(&evidence());
    assert_eq!(receipt.evidence(), Some(evidence()));
    assert_eq!(receipt.outcome(), Some(outcome()));
    receipt
}

fn resting() -> Receipt {
    let outcomes = [trapped().cid(), outcome().cid()];
    let receipt = receipt().resting_on(&outcomes);
    assert_eq!(receipt.rests_on(), outcomes);
    assert_eq!(receipt.clone().resting_on(&[]), receipt);
    receipt
}

fn requirements() -> Requirements {
    Requirements {
        capabilities: ["gpu".to_owned()].into(),
        labels: [("region".to_owned(), "eu".to_owned())].into(),
        trusted: true,
        executor: "laptop".into(),
    }
}

fn terms() -> Terms {
    Terms {
        verify: Some(Policy::Spot { per_mille: 50 }),
        priority: -2,
        deadline: Some(Timestamp(9)),
        force: true,
    }
}

fn remark() -> Remark {
    Remark {
        message: Some("wasm trap".into()),
        backtrace: vec!["f".into(), "g".into()],
        logs: vec![LogLine {
            level: LogLevel::Warn,
            context: "guest:rust:f".into(),
            message: "oh".into(),
        }],
        elapsed_us: 1_234,
    }
}

fn fault() -> Fault {
    Fault {
        kind: FaultKind::TimeLimit,
        message: "100 ms are over".into(),
    }
}

#[test]
fn content_keeps_its_bytes() {
    check! {
        "instruction": instruction(),
        "instruction-with-a-text-nonce": Instruction { nnc: Nonce::Text("1sod60ml6g26mfhsrsa0".into()), ..instruction() },
        "instruction-with-a-binary-nonce": Instruction { nnc: Nonce::Bytes(vec![9; 12]), ..instruction() },
        "instruction-with-files": Instruction { input: Input { files: files(), ..instruction().input }, ..instruction() },
        "instruction-with-effects": Instruction { input: Input { effects: Effects::from([HTTP.to_owned()]), ..instruction().input }, nnc: Nonce::Bytes(vec![9; 16]), ..instruction() },
        "task": task(),
        "task-without-cause": Task { cause: None, meta: Meta(BTreeMap::new()), prf: vec![], ..task() },
        "workflow": Workflow { tasks: vec![task(), task()] },
        "outcome": outcome(),
        "outcome-of-a-trap": trapped(),
        "conditions": conditions(),
        "statement": statement(&outcome()),
        "receipt": receipt(),
        "receipt-that-is-believed": believed(),
        "receipt-that-rests-on-limits": resting(),
        "requirements": requirements(),
        "terms": terms(),
        "policy-of-any": Policy::Any,
        "policy-of-trust": Policy::Trusted,
        "policy-of-a-quorum": Policy::Quorum { agree: 2, of: 3 },
        "policy-of-spot-checks": Policy::Spot { per_mille: 50 },
        "evidence": evidence(),
        "receipt-of-another-issuer": Receipt { meta: BTreeMap::new(), iss: None, prf: vec![content_cid(b"proof")], ..receipt() },
        "remark": remark(),
        "limits": Limits::default(),
        "key": identity().public_key(),
        "signature": identity().sign(b"message"),
        "merkle-path": MerkleTree::new(&[statement(&outcome()); 3]).path(1),
    }
    let task = task();
    let invocation = Invocation { task: &task };
    insta::assert_snapshot!(
        "invocation",
        shown(&to_json(&invocation), &encode(&invocation))
    );
}

#[test]
fn what_is_signed_keeps_its_bytes() {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    insta::assert_snapshot!(
        "bytes-signed-for-a-batch",
        hex(&MerkleTree::new(&[statement(&outcome()); 3]).signed_bytes())
    );
    insta::assert_snapshot!(
        "bytes-of-a-commitment",
        hex(&asterism_protocol::message::commitment(
            &[5; 32],
            &statement(&outcome())
        ))
    );
    insta::assert_snapshot!(
        "bytes-signed-for-a-hello",
        hex(&asterism_protocol::message::hello_bytes(&[5; 32]))
    );
}

#[test]
fn every_kind_of_trap_and_fault_keeps_its_name() {
    let traps = TrapKind::ALL.map(|kind| {
        assert_eq!(
            encode(&kind),
            encode(&kind.name()),
            "its name is its encoding"
        );
        let failure = Failure {
            trap: kind,
            func: "f".into(),
        };
        assert_eq!(
            encode(&failure),
            encode(&failure.to_value()),
            "its value is its encoding"
        );
        assert_eq!(Failure::of_value(&failure.to_value()), Some(failure));
        kind.name()
    });
    insta::assert_snapshot!("traps", traps.join("\n"));
    let kinds = [
        FaultKind::TimeLimit,
        FaultKind::StackOverflow,
        FaultKind::Blob,
        FaultKind::Host,
        FaultKind::Lost,
        FaultKind::Disagreement,
    ];
    insta::assert_snapshot!("faults", kinds.map(|kind| to_json(&kind)).join("\n"));
    let levels = [
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warn,
        LogLevel::Error,
        LogLevel::Critical,
    ];
    insta::assert_snapshot!("log-levels", levels.map(|level| to_json(&level)).join("\n"));
}

#[test]
fn what_executors_say_keeps_its_bytes() {
    let hello = Hello {
        key: identity().public_key(),
        proof: Signature::new([3; 64]),
        build: "0.1.0".into(),
        name: "laptop".into(),
        capabilities: Capabilities {
            host: "browser".into(),
            metering: "wasmtime-48".into(),
            threads: 2,
            memory: 1 << 30,
            offers: ["gpu".to_owned()].into(),
            labels: [("region".to_owned(), "eu".to_owned())].into(),
        },
        holding: vec![Held {
            lease: LeaseId(7),
            instruction: task().run.cid(),
        }],
        enrolment: "token".into(),
    };
    let delivery = |outcome, remark, salt: Option<[u8; 32]>| Delivery {
        lease: LeaseId(300),
        outcome,
        conditions: conditions(),
        remark,
        salt: salt.map(Into::into),
    };
    let items = vec![
        delivery(outcome(), Remark::default(), None),
        delivery(trapped(), remark(), Some([7; 32])),
    ];
    let leases = vec![LeaseId(1), LeaseId(1 << 40)];
    check! {
        "to-coordinator-hello": ToCoordinator::Hello(Box::new(hello)),
        "to-coordinator-commit": ToCoordinator::Commit { items: vec![Commitment { lease: LeaseId(300), digest: [8; 32].into() }] },
        "to-coordinator-poll": ToCoordinator::Poll { slots: 8, wait_ms: 30_000 },
        "to-coordinator-heartbeat": ToCoordinator::Heartbeat { leases: leases.clone() },
        "to-coordinator-started": ToCoordinator::Started { leases: leases.clone() },
        "to-coordinator-deliver": ToCoordinator::Deliver { items, signature: Signature::new([4; 64]) },
        "to-coordinator-fault": ToCoordinator::Fault { lease: LeaseId(1), fault: fault() },
        "to-coordinator-refuse": ToCoordinator::Refuse { lease: LeaseId(1), reason: "too little memory".into() },
        "to-coordinator-hand-back": ToCoordinator::HandBack { leases },
        "to-coordinator-leave": ToCoordinator::Leave,
    }
}

#[test]
fn what_executors_are_told_keeps_its_bytes() {
    let lease = Lease {
        id: LeaseId(9),
        task: task().into(),
        inputs: vec![Kept {
            instruction: content_cid(b"awaited"),
            out: Out::Error(Value::Bytes(vec![1])).into(),
        }],
        limits: Limits {
            fuel: 1,
            memory: 2,
            time_ms: 3,
        },
        lease_ms: 15_000,
        workflow: "image".into(),
        submitter: "ada".into(),
        commit: false,
    };
    let leases = vec![LeaseId(9)];
    let reason = || "cancelled".to_owned();
    check! {
        "to-executor-challenge": ToExecutor::Challenge { nonce: [6; 32].into(), build: "0.1.0".into() },
        "to-executor-welcome": ToExecutor::Welcome { heartbeat_ms: 5_000, resumed: leases.clone() },
        "to-executor-assign": ToExecutor::Assign { leases: vec![lease] },
        "to-executor-assign-nothing": ToExecutor::Assign { leases: vec![] },
        "to-executor-revoke": ToExecutor::Revoke { leases: leases.clone(), reason: reason() },
        "to-executor-reveal": ToExecutor::Reveal { leases: leases.clone() },
        "to-executor-excluded": ToExecutor::Excluded { reason: "two others agree on another outcome".into() },
        "to-executor-accepted": ToExecutor::Accepted { leases },
        "to-executor-rejected": ToExecutor::Rejected { lease: Some(LeaseId(9)), reason: reason() },
        "to-executor-rejected-message": ToExecutor::Rejected { lease: None, reason: reason() },
        "to-executor-bye": ToExecutor::Bye { reason: reason() },
    }
}

fn summary() -> RunSummary {
    RunSummary {
        run: RunId(3),
        workflow: content_cid(b"workflow"),
        name: "image".into(),
        submitter: "ada".into(),
        state: RunState::Running,
        counts: Counts {
            errors: 1,
            waiting: 1,
            ready: 2,
            leased: 3,
            provisional: 9,
            computed: 4,
            replayed: 5,
            skipped: 6,
            failed: 7,
            cancelled: 8,
        },
        submitted: Timestamp(1_700_000_000_000),
        finished: None,
        policy: Policy::Quorum { agree: 2, of: 3 },
        priority: -1,
        deadline: Some(Timestamp(1_700_000_060_000)),
        forced: true,
        paused: true,
    }
}

fn task_view() -> TaskView {
    TaskView {
        index: 1,
        name: "rotate".into(),
        instruction: task().run.cid(),
        component: component(),
        func: "rotate90".into(),
        args: vec![
            Promise {
                branch: Await::Ok,
                instruction: content_cid(b"awaited"),
            }
            .to_value(),
            Value::Bytes(vec![1]),
        ],
        files: Files::new(),
        needs: vec![0],
        limits: Limits {
            fuel: 1,
            memory: 2,
            time_ms: 3,
        },
        requires: requirements(),
        state: TaskState::Computed,
        reason: String::new(),
        out: Some(Out::Ok(Value::Link(blob_cid(b"picture").to_link()))),
        fuel: Some(5),
        receipt: Some(content_cid(b"receipt")),
        outcome: Some(outcome().cid()),
        basis: Some(Basis::Agreed { executors: 2 }),
        executor: Some(identity().public_key()),
        remark: Some(remark()),
        attempts: vec![AttemptView {
            executor: PublicKey::new([1; 32]),
            ended: Timestamp(8),
            fault: fault(),
        }],
        ready: Some(Timestamp(1)),
        leased: Some(Timestamp(2)),
        started: Some(Timestamp(3)),
        computed: Some(Timestamp(4)),
        delivered: Some(Timestamp(5)),
        verified: Some(Timestamp(6)),
        finished: Some(Timestamp(7)),
    }
}

fn waiting_view() -> TaskView {
    TaskView {
        state: TaskState::Waiting,
        reason: "for `crop`".into(),
        out: None,
        fuel: None,
        receipt: None,
        outcome: None,
        basis: None,
        executor: None,
        remark: None,
        attempts: vec![],
        ready: None,
        leased: None,
        started: None,
        computed: None,
        delivered: None,
        verified: None,
        finished: None,
        ..task_view()
    }
}

fn executor_view() -> ExecutorView {
    ExecutorView {
        key: identity().public_key(),
        name: "laptop".into(),
        host: "browser".into(),
        threads: 2,
        since: Timestamp(4),
        doing: vec!["blur".into()],
        leases: 3,
        tasks: 400,
        fuel: 5_000_000,
        connected: true,
        owner: "ada".into(),
        standing: Standing::Excluded,
        trust: 0,
        right: 7,
        wrong: 1,
        reason: "it lied".into(),
        fuel_per_s: 1_000_000_000,
        memory: 4 << 30,
        offers: ["gpu".to_owned()].into(),
        labels: [("region".to_owned(), "eu".to_owned())].into(),
    }
}

fn explanation() -> Explanation {
    Explanation {
        task: waiting_view(),
        policy: Policy::Trusted,
        waits: vec!["nobody here offers gpu".into()],
        candidates: vec![Candidate {
            executor: identity().public_key(),
            lacks: "gpu".into(),
        }],
        leases: vec![LeaseView {
            executor: identity().public_key(),
            leased: Timestamp(1),
            deadline: Timestamp(2),
            reason: "it keeps the component".into(),
        }],
        votes: vec![VoteView {
            executor: identity().public_key(),
            owner: "ada".into(),
            at: Timestamp(3),
            outcome: Some(outcome().cid()),
        }],
        believed: "two agree".into(),
        evidence: Some(evidence()),
    }
}

fn component_view() -> ComponentView {
    let function = FunctionView {
        name: "add".into(),
        signature: "add(a: f64, b: f64) -> f64".into(),
        schema: "{}".into(),
    };
    ComponentView {
        cid: component(),
        name: "math".into(),
        bytes: 35_000,
        determinism: Determinism::Pure,
        effects: Effects::from([HTTP.to_owned()]),
        functions: vec![function],
    }
}

#[test]
fn views_keep_their_bytes() {
    let overview = Overview {
        runs: vec![summary()],
        executors: vec![executor_view()],
        components: vec![component_view()],
        trouble: "the disk is full".into(),
        policy: Policy::Spot { per_mille: 50 },
        paused: true,
    };
    check! {
        "view-of-a-run": RunView { summary: summary(), tasks: vec![task_view()] },
        "view-of-a-finished-run": RunSummary { state: RunState::Done, finished: Some(Timestamp(9)), ..summary() },
        "view-of-a-task": task_view(),
        "view-of-a-waiting-task": waiting_view(),
        "view-of-an-executor": executor_view(),
        "explanation": explanation(),
        "view-of-a-component": component_view(),
        "overview": overview,
    }
    let states = [
        TaskState::Waiting,
        TaskState::Ready,
        TaskState::Leased,
        TaskState::Provisional,
        TaskState::Computed,
        TaskState::Replayed,
        TaskState::Skipped,
        TaskState::Failed,
        TaskState::Cancelled,
    ];
    insta::assert_snapshot!(
        "states-of-a-task",
        states.map(|state| to_json(&state)).join("\n")
    );
    let states = [
        RunState::Running,
        RunState::Done,
        RunState::Failed,
        RunState::Cancelled,
    ];
    insta::assert_snapshot!(
        "states-of-a-run",
        states.map(|state| to_json(&state)).join("\n")
    );
}

#[test]
fn what_watchers_say_and_hear_keeps_its_bytes() {
    let changes = vec![
        Change::Run(summary()),
        Change::Task {
            run: RunId(3),
            task: Box::new(waiting_view()),
        },
        Change::Executor(executor_view()),
        Change::ExecutorGone(identity().public_key()),
        Change::Component(component_view()),
        Change::Paused(true),
    ];
    check! {
        "to-watched-a-run": ToWatched::Watch { run: Some(RunId(3)), from: 2_000 },
        "to-watched-none": ToWatched::Watch { run: None, from: 0 },
        "to-watcher-snapshot": ToWatcher::Snapshot(Overview::default()),
        "to-watcher-run": ToWatcher::Run(Box::new(RunView { summary: summary(), tasks: vec![] })),
        "to-watcher-changes": ToWatcher::Changes(changes),
    }
}
