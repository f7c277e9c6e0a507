//! Runs: answered, explained, cancelled, and known after a restart.

use std::time::Duration;

use asterism_coordinator::Options;
use asterism_protocol::{
    CONTENT_TYPE, Failure, LogLevel, LogLine, Out, Receipt, Remark, TrapKind, Value, decode,
    limits::FRAME_BYTES_MAX,
    view::{RunState, RunSummary, RunView, TaskState},
};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::{
    common::{FakeExecutor, SOON, Server, task, workflow},
    sum, two_steps,
};

#[tokio::test]
async fn a_workflow_is_leased_delivered_and_answered() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let waiting = tokio::spawn({
        let url = server.at("/run");
        async move {
            reqwest::Client::new()
                .post(url)
                .body(sum())
                .send()
                .await
                .unwrap()
        }
    });
    let leases = executor.lease(1).await;
    assert_eq!(
        leases[0].task.run.input.args,
        [Value::Float(3.1), Value::Float(5.2)]
    );
    executor
        .deliver(&leases[0], Out::Ok(Value::Float(8.3)), Remark::default())
        .await;
    executor.accepted(leases[0].id).await;

    let response = timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(response.text().await.unwrap(), "8.3");

    // Once more: nobody computes it again.
    let replayed = server.post("/run?allResults=true", sum()).await;
    let results: Json = replayed.json().await.unwrap();
    assert_eq!(results[0]["out"], json!(8.3));
    assert_eq!(results[0]["replayed"], json!(true));
    assert_eq!(results[0]["type"], json!("Number"));
    server.stop().await;
}

#[tokio::test]
async fn the_result_is_that_of_the_last_task_written() {
    let server = Server::in_memory().await;
    server.add_math().await;
    tokio::spawn(FakeExecutor::connect(&server.url, 1).await.work());
    let response = server.post("/run", two_steps()).await;
    assert_eq!(response.text().await.unwrap(), "1.5");
    let all: Json = server
        .post("/run?allResults=true", two_steps())
        .await
        .json()
        .await
        .unwrap();
    assert_eq!([&all[0]["out"], &all[1]["out"]], [&json!(3.0), &json!(1.5)]);

    let runs: Vec<RunSummary> = server.get("/workflows").await.json().await.unwrap();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0].counts.replayed, 2, "{:?}", runs[0].counts);
    let view: RunView = server
        .get(&format!("/workflows/{}?run=1", runs[0].workflow))
        .await
        .json()
        .await
        .unwrap();
    assert!(
        view.tasks
            .iter()
            .all(|task| task.state == TaskState::Computed)
    );

    // A receipt by its instruction and by itself, in both encodings.
    let by_instruction = server
        .get(&format!("/receipts/{}", view.tasks[1].instruction))
        .await
        .text()
        .await
        .unwrap();
    let by_cid = server
        .get(&format!("/receipts/{}", view.tasks[1].receipt.unwrap()))
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(by_instruction, by_cid);
    let request =
        reqwest::Client::new().get(server.at(&format!("/receipts/{}", view.tasks[1].instruction)));
    let bytes = request
        .header("accept", CONTENT_TYPE)
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let receipt: Receipt = decode("receipt", &bytes, FRAME_BYTES_MAX).unwrap();
    assert_eq!(receipt.out, Out::Ok(Value::Float(1.5)));
    assert_eq!(Some(receipt.cid()), view.tasks[1].receipt);
    server.stop().await;
}

#[tokio::test]
async fn a_failed_task_is_named_with_what_the_guest_said() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let tasks = [
        task("bad", "divide", "[1, 0]"),
        task("after", "add", r#"["{{needs.bad.output}}", 1]"#),
    ];
    let waiting = tokio::spawn({
        let (url, body) = (server.at("/run"), workflow(&tasks));
        async move {
            reqwest::Client::new()
                .post(url)
                .body(body)
                .send()
                .await
                .unwrap()
        }
    });
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let leases = executor.lease(1).await;
    let failure = Failure {
        trap: TrapKind::Unreachable,
        func: "divide".into(),
    };
    let line = LogLine {
        level: LogLevel::Error,
        context: "guest:rust:divide".into(),
        message: "division by zero".into(),
    };
    let remark = Remark {
        message: Some("wasm `unreachable`".into()),
        logs: vec![line],
        ..Remark::default()
    };
    executor
        .deliver(&leases[0], Out::Error(failure.to_value()), remark)
        .await;

    let check = async |response: reqwest::Response| {
        assert_eq!(response.status(), 422);
        let error: Json = response.json().await.unwrap();
        assert_eq!(error["code"], "task-failed");
        let details = &error["details"];
        assert_eq!(
            [&details["task"], &details["function"], &details["kind"]],
            ["bad", "divide", "unreachable"]
        );
        assert_eq!(details["logs"][0]["message"], "division by zero");
        assert_eq!(details["error"]["trap"], "unreachable");
        assert!(
            error["hint"].as_str().unwrap().contains("division by zero"),
            "{error}"
        );
    };
    check(timeout(SOON, waiting).await.unwrap().unwrap()).await;
    // Replayed, the guest's words are still there.
    check(server.post("/run", workflow(&tasks)).await).await;
    server.stop().await;
}

#[tokio::test]
async fn a_prepared_workflow_comes_with_its_cids() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let prepared: Json = server
        .post("/workflow", two_steps())
        .await
        .json()
        .await
        .unwrap();
    let full = prepared["workflow"].to_string();
    // The full form, submitted as such, keeps its CIDs.
    let again: Json = server.post("/workflow", full).await.json().await.unwrap();
    assert_eq!(prepared["cid"], again["cid"]);
    assert_eq!(
        prepared["tasks"][1]["instruction"],
        again["tasks"][1]["instruction"]
    );
    let promise = &prepared["workflow"]["tasks"][1]["run"]["input"]["args"][0]["await/ok"]["/"];
    assert_eq!(promise, &prepared["tasks"][0]["instruction"]);
    let runs: Vec<RunSummary> = server.get("/workflows").await.json().await.unwrap();
    assert!(runs.is_empty(), "preparing runs nothing");
    server.stop().await;
}

#[tokio::test]
async fn a_run_can_be_waited_for_in_vain_and_cancelled() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let response = server.post("/run?timeout=50", sum()).await;
    assert_eq!(response.status(), 504);
    let error: Json = response.json().await.unwrap();
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .contains("no executor is here"),
        "{error}"
    );
    let workflow = error["details"]["workflow"].as_str().unwrap().to_owned();

    let waiting = tokio::spawn({
        let url = server.at("/run");
        async move {
            reqwest::Client::new()
                .post(url)
                .body(sum())
                .send()
                .await
                .unwrap()
        }
    });
    // The second run is there once it is listed.
    while server.json("/workflows").await.as_array().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cancelled = reqwest::Client::new()
        .delete(server.at(&format!("/workflows/{workflow}")))
        .send()
        .await
        .unwrap();
    assert_eq!(cancelled.status(), 200);
    let response = timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(response.status(), 409);
    assert_eq!(response.json::<Json>().await.unwrap()["code"], "cancelled");
    server.stop().await;
}

#[tokio::test]
async fn what_was_known_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options {
        data: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let server = Server::start(options()).await;
    server.add_math().await;
    let worker = tokio::spawn(FakeExecutor::connect(&server.url, 1).await.work());
    assert_eq!(
        server.post("/run", sum()).await.text().await.unwrap(),
        "8.3"
    );
    worker.abort();
    let left = server.post("/run?timeout=50", two_steps()).await;
    assert_eq!(left.status(), 504);
    let paused = server.post("/pause", "").await;
    assert_eq!(paused.status(), 200);
    server.stop().await;

    let server = Server::start(options()).await;
    assert_eq!(server.json("/health").await["paused"], true);
    let resumed = server.post("/resume", "").await;
    assert_eq!(resumed.status(), 200);
    assert_eq!(server.json("/health").await["paused"], false);
    assert_eq!(server.json("/components").await[0]["name"], "math");
    let runs: Vec<RunSummary> = server.get("/workflows").await.json().await.unwrap();
    assert_eq!(
        runs.iter().map(|run| run.state).collect::<Vec<_>>(),
        [RunState::Running, RunState::Done]
    );
    let replayed = server.post("/run?allResults=true", sum()).await;
    assert_eq!(replayed.json::<Json>().await.unwrap()[0]["replayed"], true);
    // The run that was left goes on by itself.
    tokio::spawn(FakeExecutor::connect(&server.url, 1).await.work());
    assert_eq!(
        server.post("/run", two_steps()).await.text().await.unwrap(),
        "1.5"
    );
    server.stop().await;
}

#[tokio::test]
async fn metrics_and_health_tell_of_work() {
    let server = Server::in_memory().await;
    server.add_math().await;
    tokio::spawn(FakeExecutor::connect(&server.url, 1).await.work());
    server.post("/run", sum()).await;
    let metrics = server.get("/metrics").await.text().await.unwrap();
    for line in [
        "asterism_receipts_total 1",
        "asterism_runs_total 1",
        "asterism_executors 1",
        "asterism_journal_commit_seconds_count",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(server.json("/health").await["executors"], 1);
    server.stop().await;
}

#[tokio::test]
async fn whoever_waits_for_a_quorum_hears_that_nobody_here_completes_it() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let response = server
        .post("/run?wait=false&verify=quorum:2/3", sum())
        .await;
    let started: Json = response.json().await.unwrap();
    let mut only = FakeExecutor::connect(&server.url, 1).await;
    only.lease(1).await;
    // One owner with two executors is one owner.
    let _too = FakeExecutor::connect(&server.url, 2).await;
    let why = "quorum:2/3 asks for 2 executors of different owners, 1 are at it or done; none here can have it: \
        its owner was asked already: another one is needed";
    let run = &started["run"];
    let late = server
        .get(&format!("/workflows/{run}/result?timeout=20"))
        .await;
    assert_eq!(late.status(), 504);
    let late: Json = late.json().await.unwrap();
    let hint = late["hint"].as_str().unwrap();
    assert!(
        hint.starts_with(&format!("task `add` waits: {why}; the run is at /")),
        "{late}"
    );
    let task = server.json(&format!("/workflows/{run}/tasks/add")).await;
    assert_eq!(task["waits"], why, "{task}");
    server.stop().await;
}
