//! No-op tasks through the whole path: HTTP, scheduler, journal, WebSocket, executor and back.

use std::time::Instant;

use asterism_executor::{Host as _, Job};
use asterism_host_wasmtime::WasmtimeEngine;
use asterism_protocol::{Effects, Files, Limits, Value, blob_cid, content_cid};
use asterism_tests::{
    guests,
    harness::{Api, Coordinator, Executor},
};

use crate::table::{Row, Table};

/// Tasks of one measured workflow, and of the one before that nobody measures.
const TASKS: u64 = 20_000;
const WARM_UP: u64 = 500;

/// All tasks of [`tasks_per_second`].
pub(crate) const TASKS_WITH_WARM_UP: u64 = TASKS + WARM_UP;

/// A workflow of `tasks` different calls of `echo-u64`.
fn no_ops(tasks: u64, salt: u64) -> String {
    let task = |i| {
        format!(
            r#"{{"run":{{"input":{{"func":"echo-u64","args":[{}]}}}}}}"#,
            salt * 1_000_000 + i
        )
    };
    format!(
        r#"{{"tasks":[{}]}}"#,
        (0..tasks).map(task).collect::<Vec<_>>().join(",")
    )
}

/// Durable tasks per second through `api`, after a warm-up.
pub(crate) async fn tasks_per_second(api: &Api) -> f64 {
    api.add_component("conformance", guests::CONFORMANCE).await;
    let warm = api.post("/run?timeout=60000", no_ops(WARM_UP, 0)).await;
    assert_eq!(warm.status, 200, "{}", warm.text());
    let document = no_ops(TASKS, 1);
    let start = Instant::now();
    let answer = api.post("/run?timeout=120000", document).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    TASKS as f64 / start.elapsed().as_secs_f64()
}

/// Calls per second of the same function in fresh instances, in this process, with nothing around them.
pub(crate) fn floor() -> f64 {
    let mut host = WasmtimeEngine::new(None).expect("an engine").host();
    let component = blob_cid(guests::CONFORMANCE);
    host.prepare(component, guests::CONFORMANCE)
        .expect("the guest is fit");
    let mut job = Job {
        instruction: content_cid(b""),
        component,
        func: "echo-u64".into(),
        args: vec![],
        files: Files::new(),
        effects: Effects::new(),
        blobs: Default::default(),
        limits: Limits::default(),
    };
    let start = Instant::now();
    for i in 0..TASKS {
        job.args = vec![Value::Integer(i.into())];
        host.run(&job).expect("no fault");
    }
    TASKS as f64 / start.elapsed().as_secs_f64()
}

pub(crate) async fn run(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start(&folder.path().join("data"));
    let _executor = Executor::start(coordinator.url(), &folder.path().join("executor"), 1);
    let value = tasks_per_second(&coordinator.api()).await;
    let floor = Some((
        floor(),
        "the same calls on Wasmtime in one thread, nothing around them",
    ));
    table.row(&Row {
        bench: "native",
        case: "no-op tasks, one executor",
        value,
        unit: "tasks/s",
        floor,
    });
}
