//! A small scenario in which the n-th call of the stores fails, for every n: nothing that was acknowledged is lost,
//! the coordinator says what is wrong, and goes on when the cause is gone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use asterism_protocol::{
    message::{ToWatcher, decode_frame},
    view::{RunState, RunView, TaskState},
};
use serde_json::Value as Json;

use crate::{
    Options,
    disk::{
        Disk, LONG,
        common::{frame, math, socket, task, workflow},
        steady::{Accepted, work},
    },
    store::{
        Journal as _,
        faults::{Faults, How},
    },
};

/// The scenario; the calls of the stores that it took.
async fn walk(first: u64, count: u64, how: How, options: &Options) -> u64 {
    let disk = Disk::default();
    let faults = Arc::new(Faults::default());
    faults.fail(first, count, how);
    let begun = Instant::now();
    let server = loop {
        match disk.serve(&faults, options.clone()).await {
            Ok(server) => break server,
            // Whoever starts it reads why, and starts it again. Where only the answer was lost, the first one holds the
            // journal until its term is over.
            Err(error) => {
                let said = error.to_string();
                assert!(
                    said.contains("the test asked for") || said.contains("another coordinator"),
                    "{said}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert!(begun.elapsed() < LONG);
    };
    let accepted = Accepted::default();
    let executor = tokio::spawn(work(server.url.clone(), 7, Arc::clone(&accepted)));

    server.post("/components?name=math", math(), &[201]).await;
    let tasks = [
        task("add", "add", "[1, 2]"),
        task("half", "divide", r#"["{{needs.add.output}}", 2]"#),
    ];
    let accepted_run = server
        .post("/run?timeout=1", workflow(&tasks).into_bytes(), &[200, 504])
        .await;
    let done = loop {
        assert!(!executor.is_finished(), "an executor saw what it must not");
        assert!(
            begun.elapsed() < LONG,
            "stuck with call {first} failing: {accepted_run}, health {:?}",
            server.json("/health").await
        );
        let runs = server.json("/workflows").await;
        let Some(runs) = runs.as_ref().and_then(Json::as_array) else {
            continue;
        };
        assert!(!runs.is_empty(), "an acknowledged run is gone");
        if runs.iter().all(|run| run["state"] == "done") {
            break runs[0]["workflow"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    // What is told as a result is one, and nobody has to compute it again.
    faults.heal();
    let health = async || server.json("/health").await;
    while health().await.is_none() {
        assert!(begun.elapsed() < LONG, "it does not recover");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let path = "/run?allResults=true";
    let results = server
        .post(path, workflow(&tasks).into_bytes(), &[200])
        .await;
    assert_eq!(results[1]["out"], 1.5, "{results}");
    executor.abort();
    let calls = faults.calls();
    server.stop().await;

    let server = disk.serve(&Arc::default(), options.clone()).await.unwrap();
    let view = server.json(&format!("/workflows/{done}")).await.unwrap();
    let view: RunView = serde_json::from_value(view).unwrap();
    assert_eq!(view.summary.state, RunState::Done);
    for task in &view.tasks {
        assert!(matches!(
            task.state,
            TaskState::Computed | TaskState::Replayed
        ));
        let receipt = disk.journal.receipts_of(&[task.instruction]).unwrap();
        assert_eq!(receipt.len(), 1);
    }
    for instruction in accepted.lock().unwrap().iter() {
        assert_eq!(disk.journal.receipts_of(&[*instruction]).unwrap().len(), 1);
    }
    server.stop().await;
    calls
}

async fn calls_fail(step: usize, count: u64, how: How, options: Options) {
    let calls = walk(u64::MAX, 0, how, &options).await;
    assert!(calls > 10, "{calls}");
    // A scenario with faults takes further calls; those of the first one are all there.
    for first in (1..=calls).step_by(step) {
        walk(first, count, how, &options).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_call_may_fail_once() {
    calls_fail(1, 1, How::Before, Options::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_of_any_call_may_be_lost() {
    calls_fail(1, 1, How::After, Options::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_call_may_fail_where_the_journal_is_compacted_all_the_time() {
    let mut options = Options {
        compact_after: Some(1),
        ..Options::default()
    };
    options.scheduler.finished_runs_max = 1;
    calls_fail(2, 1, How::Before, options.clone()).await;
    calls_fail(3, 1, How::After, options).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_calls_in_a_row_may_fail() {
    calls_fail(3, 4, How::Before, Options::default()).await;
}

#[tokio::test]
async fn trouble_is_said_with_its_reason_while_reading_goes_on() {
    let (disk, faults) = (Disk::default(), Arc::new(Faults::default()));
    let server = disk.serve(&faults, Options::default()).await.unwrap();
    server.post("/components?name=math", math(), &[201]).await;
    let run = |args| workflow(&[task("add", "add", args)]).into_bytes();
    server.post("/run?timeout=1", run("[1, 2]"), &[504]).await;
    let mut watcher = socket(&server.url, "/ws/watch").await.unwrap();
    let mut told = async || loop {
        let frame = frame(&mut watcher).await.expect("the watcher stays");
        if let ToWatcher::Snapshot(overview) = decode_frame(&frame).unwrap() {
            return overview.trouble;
        }
    };
    assert_eq!(told().await, "");

    faults.break_appends();
    server.post("/run?timeout=1", run("[3, 4]"), &[503]).await;
    assert!(told().await.contains("no space is left"));
    let response = reqwest::get(format!("{}/health", server.url))
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    let health: Json = response.json().await.unwrap();
    assert_eq!(health["status"], "trouble");
    let trouble = health["trouble"].as_str().unwrap();
    assert!(trouble.contains("no space is left"), "{trouble}");
    let runs = server.json("/workflows").await.unwrap();
    assert!(!runs.as_array().unwrap().is_empty(), "reading goes on");

    faults.heal();
    while !told().await.is_empty() {}
    server.post("/run?timeout=1", run("[3, 4]"), &[504]).await;
    server.stop().await;
}

#[tokio::test]
async fn whoever_brings_a_blob_hears_that_none_is_taken_now() {
    let (disk, faults) = (Disk::default(), Arc::new(Faults::default()));
    let server = disk.serve(&faults, Options::default()).await.unwrap();
    faults.take_no_blobs();
    let bytes = b"a few bytes, which are all there when it fails".to_vec();
    let cid = asterism_protocol::blob_cid(&bytes);
    let client = reqwest::Client::new();
    for request in [
        client.post(format!("{}/blobs", server.url)),
        client.put(format!("{}/blobs/{cid}", server.url)),
    ] {
        let response = request.body(bytes.clone()).send().await.unwrap();
        assert_eq!(response.status(), 503);
        let error: Json = response.json().await.unwrap();
        assert!(
            error.to_string().contains("the test asked for it"),
            "{error}"
        );
    }
    faults.heal();
    server.post("/blobs", bytes, &[201]).await;
    server.stop().await;
}
