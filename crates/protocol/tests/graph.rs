//! The edges of full workflows.

use asterism_protocol::{
    Await, Cid, Effects, Error, Files, Input, Instruction, Nonce, Promise, Task, Value, Workflow,
    WorkflowError, blob_cid,
    limits::{NAME_BYTES_MAX, VALUE_DEPTH_MAX},
};

fn task(func: &str, args: Vec<Value>) -> Task {
    let input = Input {
        func: func.into(),
        args,
        files: Files::new(),
        effects: Effects::new(),
    };
    let rsc = format!("ipfs://{}", blob_cid(b"component"));
    let run = Instruction {
        rsc,
        op: "wasm/run".into(),
        input,
        nnc: Nonce::Empty,
    };
    Task {
        run,
        cause: None,
        meta: Default::default(),
        prf: Vec::new(),
    }
}

fn awaited(branch: Await, task: &Task) -> Value {
    Promise {
        branch,
        instruction: task.run.cid(),
    }
    .to_value()
}

#[test]
fn nested_and_repeated_promises_are_one_edge() {
    let a = task("a", vec![]);
    let b = task("b", vec![awaited(Await::Ok, &a)]);
    let nested = Value::List(vec![
        Value::Map([("k".to_owned(), awaited(Await::Error, &a))].into()),
        awaited(Await::Any, &b),
    ]);
    let c = task("c", vec![awaited(Await::Ok, &b), nested]);
    let graph = Workflow {
        tasks: vec![c, b, a],
    }
    .graph()
    .expect("it is a graph");
    assert_eq!(graph.needs, [vec![1, 2], vec![2], vec![]]);
    assert_eq!(graph.order, [2, 1, 0]);
    assert!(graph.external.is_empty());
}

#[test]
fn promises_of_instructions_elsewhere_are_told_apart() {
    let elsewhere = task("elsewhere", vec![]);
    let a = task("a", vec![awaited(Await::Any, &elsewhere)]);
    let graph = Workflow {
        tasks: vec![task("b", vec![]), a],
    }
    .graph()
    .expect("it is a graph");
    assert_eq!(
        graph.external,
        [(
            1,
            Promise {
                branch: Await::Any,
                instruction: elsewhere.run.cid()
            }
        )]
    );
    assert!(graph.needs.iter().all(Vec::is_empty));
}

#[test]
fn equal_instructions_are_needed_at_their_first_place() {
    let mut again = task("a", vec![]);
    again.meta.0.insert("time".into(), Value::Integer(1));
    let b = task("b", vec![awaited(Await::Ok, &again)]);
    let graph = Workflow {
        tasks: vec![b, task("a", vec![]), again],
    }
    .graph()
    .expect("it is a graph");
    assert_eq!(graph.first, [0, 1, 1]);
    assert_eq!(graph.needs, [vec![1], vec![], vec![]]);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test of the stack needs a thread with a small one"
)]
fn a_long_chain_needs_no_stack() {
    let mut tasks = vec![task("start", vec![])];
    for _ in 1..20_000 {
        let before = awaited(Await::Ok, &tasks[tasks.len() - 1]);
        tasks.push(task("next", vec![before]));
    }
    tasks.reverse();
    let graph = std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn(move || Workflow { tasks }.graph())
        .expect("a thread can be started")
        .join()
        .expect("the stack suffices");
    assert_eq!(graph.expect("it is a graph").order[0], 19_999);
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut Task), error: Error) {
    let mut bad = task("bad", vec![]);
    change(&mut bad);
    assert_eq!(
        Workflow {
            tasks: vec![task("good", vec![]), bad]
        }
        .graph(),
        Err(WorkflowError::Task { task: 1, error })
    );
}

#[test]
fn resources_that_are_not_blobs_are_refused() {
    let instruction: Cid = task("a", vec![]).run.cid();
    for rsc in [
        format!("ipfs://{instruction}"),
        "ipfs://x".into(),
        blob_cid(b"").to_string(),
        String::new(),
    ] {
        check_refused(
            |task| task.run.rsc.clone_from(&rsc),
            Error::Resource(rsc.clone()),
        );
    }
}

#[test]
fn names_and_depths_are_bounded() {
    let at = |path: &str, reason: &str| Error::Value {
        path: path.into(),
        reason: reason.into(),
    };
    check_refused(
        |task| task.run.input.func.clear(),
        at("run.input.func", "a function needs a name"),
    );
    check_refused(
        |task| task.run.input.func = "x".repeat(NAME_BYTES_MAX + 1),
        at(
            "run.input.func",
            "a name has at most 256 bytes, this one 257",
        ),
    );
    let deep = (0..=VALUE_DEPTH_MAX).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let too_deep = "nested deeper than 64 levels";
    check_refused(
        |task| task.run.input.args = vec![Value::Null, deep.clone()],
        at("run.input.args[1]", too_deep),
    );
    check_refused(
        |task| drop(task.meta.0.insert("k".into(), deep.clone())),
        at("meta.k", too_deep),
    );
}

#[test]
fn other_operations_are_refused() {
    let mut other = task("a", vec![]);
    other.run.op = "http/get".into();
    let error = WorkflowError::Operation {
        task: 0,
        op: "http/get".into(),
    };
    assert_eq!(Workflow { tasks: vec![other] }.graph(), Err(error));
}
