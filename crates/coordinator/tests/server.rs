//! The coordinator as others see it: over a port, by HTTP and WebSocket.

mod authority;
mod common;
mod gateway;
mod quota;
mod rpc;

use std::{collections::BTreeSet, time::Duration};

use asterism_coordinator::Options;
use asterism_protocol::{
    CONTENT_TYPE, Failure, LogLevel, LogLine, Out, Receipt, Remark, Signature, TrapKind, Value,
    blob_cid, decode, encode,
    limits::FRAME_BYTES_MAX,
    message::{Change, ToCoordinator, ToExecutor, ToWatched, ToWatcher, decode_frame, hello_bytes},
    view::{RunId, RunState, RunSummary, RunView, TaskState},
};
use common::{FakeExecutor, SOON, Server, delivery, frame, socket, task, workflow};
use futures_util::SinkExt as _;
use serde_json::{Value as Json, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

async fn hear(watcher: &mut common::Socket) -> ToWatcher {
    decode_frame(&frame(watcher).await.unwrap()).unwrap()
}

pub(crate) fn sum() -> String {
    workflow(&[task("add", "add", "[3.1, 5.2]")])
}

fn two_steps() -> String {
    workflow(&[
        task("add", "add", "[1, 2]"),
        task("half", "divide", r#"["{{needs.add.output}}", 2]"#),
    ])
}

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
async fn what_cannot_run_is_refused_with_its_place() {
    let server = Server::in_memory().await;
    let check = async |body: String, words: &str| {
        let response = server.post("/run", body).await;
        let status = response.status();
        let error: Json = response.json().await.unwrap();
        assert_eq!(status, 400, "{error}");
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{error} does not say {words}"
        );
    };
    check(sum(), "none was added yet").await;
    server.add_math().await;
    check("{".into(), "not a valid").await;
    check("[1]".into(), "workflow").await;
    check(workflow(&[]), "at least one task").await;
    check(
        workflow(&[task("a", "ad", "[1, 2]")]),
        "did you mean `add`?",
    )
    .await;
    check(workflow(&[task("a", "add", "[1]")]), "args").await;
    check(workflow(&[task("a", "add", r#"[1, "x"]"#)]), "args[1]").await;
    check(
        workflow(&[task("a", "add", r#"["{{needs.b.output}}", 1]"#)]),
        "`b`",
    )
    .await;
    check(
        workflow(&[task("a", "add", r#"["{{needs.a.output}}", 1]"#)]),
        "circle",
    )
    .await;
    check("[".repeat(100_000), "not a valid").await;
    let absent = blob_cid(b"absent");
    let full = json!({"tasks": [{"cause": null, "meta": {}, "prf": [], "run": {
        "input": {"func": "f", "args": []}, "nnc": "", "op": "wasm/run", "rsc": format!("ipfs://{absent}")}}]});
    check(full.to_string(), &format!("component {absent} is not here")).await;
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
async fn components_are_described_and_refused_with_all_reasons() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let functions: Json = server.json("/functions").await;
    assert_eq!(functions[0]["name"], "add");
    assert_eq!(functions[0]["schema"]["type"], "object");
    let components: Json = server.json("/components").await;
    assert_eq!(components[0]["name"], "math");
    assert_eq!(
        components[0]["functions"][0]["signature"],
        "add(a: f64, b: f64) -> f64"
    );

    // Whoever brings the same bytes under another name does not take this one away.
    let again = server.post("/components?name=other", common::math()).await;
    let again: Json = again.json().await.unwrap();
    assert_eq!(again["name"], "math");
    let components: Json = server.json("/components").await;
    assert_eq!(components.as_array().map(Vec::len), Some(1));

    let refused = server.post("/components", "no wasm").await;
    assert_eq!(refused.status(), 422);
    let error: Json = refused.json().await.unwrap();
    assert_eq!(error["code"], "component-refused");
    assert!(
        error["details"]["reasons"][0]
            .as_str()
            .unwrap()
            .contains("not WebAssembly"),
        "{error}"
    );
    server.stop().await;
}

#[tokio::test]
async fn blobs_are_verified_ranged_and_cached_for_ever() {
    let server = Server::in_memory().await;
    let client = reqwest::Client::new();
    let bytes: Vec<u8> = (0..600_000_u32).map(|n| (n % 253) as u8).collect();
    let cid = blob_cid(&bytes);
    let at = server.at(&format!("/blobs/{cid}"));

    assert_eq!(client.get(&at).send().await.unwrap().status(), 404);
    let wrong = client.put(&at).body("other bytes").send().await.unwrap();
    assert_eq!(wrong.status(), 422);
    assert_eq!(wrong.json::<Json>().await.unwrap()["code"], "wrong-bytes");
    assert_eq!(client.head(&at).send().await.unwrap().status(), 404);
    assert_eq!(
        client
            .put(&at)
            .body(bytes.clone())
            .send()
            .await
            .unwrap()
            .status(),
        201
    );
    assert_eq!(
        client
            .put(&at)
            .body(bytes.clone())
            .send()
            .await
            .unwrap()
            .status(),
        200
    );

    let head = client.head(&at).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "600000");
    let whole = client.get(&at).send().await.unwrap();
    assert!(
        whole.headers()["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
    let etag = whole.headers()["etag"].clone();
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    assert_eq!(
        client
            .get(&at)
            .header("if-none-match", etag)
            .send()
            .await
            .unwrap()
            .status(),
        304
    );

    let check = async |range: &'static str, status: u16, part: &[u8], said: &str| {
        let response = client.get(&at).header("range", range).send().await.unwrap();
        assert_eq!(response.status(), status, "{range}");
        let header = response
            .headers()
            .get("content-range")
            .map_or("", |header| header.to_str().unwrap())
            .to_owned();
        assert_eq!(header, said);
        if status != 416 {
            assert_eq!(response.bytes().await.unwrap(), part, "{range}");
        }
    };
    check("bytes=0-0", 206, &bytes[..1], "bytes 0-0/600000").await;
    check(
        "bytes=262140-262150",
        206,
        &bytes[262_140..=262_150],
        "bytes 262140-262150/600000",
    )
    .await;
    check(
        "bytes=599990-",
        206,
        &bytes[599_990..],
        "bytes 599990-599999/600000",
    )
    .await;
    check(
        "bytes=-5",
        206,
        &bytes[599_995..],
        "bytes 599995-599999/600000",
    )
    .await;
    check(
        "bytes=5-99999999999999999999999",
        206,
        &bytes[5..],
        "bytes 5-599999/600000",
    )
    .await;
    check("bytes=600000-", 416, &[], "bytes */600000").await;
    check("bytes=9-2", 200, &bytes, "").await;
    check("furlongs=1-2", 200, &bytes, "").await;

    let posted: Json = client
        .post(server.at("/blobs"))
        .body("posted")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(posted["cid"], json!(blob_cid(b"posted")));
    server.stop().await;
}

#[tokio::test]
async fn a_blob_result_comes_as_its_bytes() {
    let server = Server::in_memory().await;
    server.add_math().await;
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
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let lease = executor.lease(1).await.remove(0);
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    picture.resize(100_000, 7);
    let link = Out::Ok(Value::Link(blob_cid(&picture).to_link()));

    // Not brought yet: refused, and the task is somebody's again.
    executor
        .deliver(&lease, link.clone(), Remark::default())
        .await;
    let said = executor.hear().await;
    assert!(
        matches!(&said, Some(ToExecutor::Rejected { reason, .. }) if reason.contains("bring the blobs")),
        "{said:?}"
    );

    server.post("/blobs", picture.clone()).await;
    let mut other = FakeExecutor::connect(&server.url, 2).await;
    let lease = other.lease(1).await.remove(0);
    other.deliver(&lease, link, Remark::default()).await;
    let response = timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(response.headers()["content-type"], "image/png");
    assert_eq!(response.bytes().await.unwrap(), picture);
    server.stop().await;
}

/// Sends what it should not, and returns the last words of the coordinator.
async fn last_words(executor: &mut FakeExecutor) -> String {
    loop {
        match executor.hear().await {
            Some(
                ToExecutor::Bye { reason }
                | ToExecutor::Rejected {
                    lease: None,
                    reason,
                },
            ) => return reason,
            Some(_) => {}
            None => return String::new(),
        }
    }
}

#[tokio::test]
async fn garbage_is_refused_with_a_reason_and_others_go_on() {
    let server = Server::in_memory().await;
    server.add_math().await;
    tokio::spawn(FakeExecutor::connect(&server.url, 1).await.work());

    for garbage in [
        Message::Binary(vec![0xff, 0x00, 0x13].into()),
        Message::Text("{}".into()),
        Message::Binary(Vec::new().into()),
    ] {
        let mut executor = FakeExecutor::connect(&server.url, 2).await;
        executor.socket.send(garbage).await.unwrap();
        assert_ne!(last_words(&mut executor).await, "");
        assert!(executor.hear().await.is_none(), "the connection ends");
    }
    let mut executor = FakeExecutor::connect(&server.url, 2).await;
    let giant = vec![0; FRAME_BYTES_MAX + 1];
    // It may be cut off before all of it is sent.
    let _ = executor.socket.send(Message::Binary(giant.into())).await;
    assert!(
        timeout(SOON, async { while executor.hear().await.is_some() {} })
            .await
            .is_ok()
    );

    // Nested deeper than any message is.
    let mut executor = FakeExecutor::connect(&server.url, 2).await;
    executor
        .socket
        .send(Message::Binary(vec![0x81; 1 << 20].into()))
        .await
        .unwrap();
    assert_ne!(last_words(&mut executor).await, "");

    let response = server.post("/run", sum()).await;
    assert_eq!(
        response.text().await.unwrap(),
        "8.3",
        "others are not concerned"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_signature_is_refused() {
    let server = Server::in_memory().await;
    server.add_math().await;
    // Of the hello.
    let mut liar = FakeExecutor {
        socket: socket(&server.url, "/ws/executor").await.unwrap(),
        identity: asterism_protocol::Identity::from_seed(&[3; 32]),
    };
    let Some(ToExecutor::Challenge { .. }) = liar.hear().await else {
        panic!("no challenge")
    };
    let proof = liar.identity.sign(&hello_bytes(&[9; 32]));
    liar.hello(proof).await;
    assert!(last_words(&mut liar).await.contains("signature"));

    // Of a delivery.
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
    let mut forger = FakeExecutor::connect(&server.url, 4).await;
    let lease = forger.lease(1).await.remove(0);
    let item = delivery(&lease, Out::Ok(Value::Float(9.9)), Remark::default());
    forger
        .say(&ToCoordinator::Deliver {
            items: vec![item],
            signature: Signature::new([1; 64]),
        })
        .await;
    assert!(last_words(&mut forger).await.contains("signature"));
    drop(forger);
    let honest = FakeExecutor::connect(&server.url, 5).await;
    tokio::spawn(honest.work());
    let response = timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(
        response.text().await.unwrap(),
        "8.3",
        "the forged outcome was not believed"
    );
    server.stop().await;
}

#[tokio::test]
async fn giant_bodies_are_refused() {
    let server = Server::in_memory().await;
    let client = reqwest::Client::new();
    // Announced: refused before it is sent.
    let announced = client
        .post(server.at("/run"))
        .header("content-length", "99999999999")
        .body(reqwest::Body::from("x"));
    match announced.send().await {
        Ok(response) => assert_eq!(response.status(), 413),
        // The client may notice first that less was sent than announced.
        Err(error) => assert!(error.is_request() || error.is_body(), "{error}"),
    }
    // A component that would not be looked at: what is told is the same bound.
    let announced = client
        .post(server.at("/components"))
        .header("content-length", (72 << 20 | 1).to_string())
        .body(reqwest::Body::from("x"));
    match announced.send().await {
        Ok(response) => {
            assert_eq!(response.status(), 413);
            let told = response.text().await.unwrap();
            assert!(
                told.contains("75497472") && told.contains("strip"),
                "{told}"
            );
        }
        Err(error) => assert!(error.is_request() || error.is_body(), "{error}"),
    }
    let chunks =
        futures_util::stream::iter((0..80).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
    match client
        .post(server.at("/run"))
        .body(reqwest::Body::wrap_stream(chunks))
        .send()
        .await
    {
        Ok(response) => assert_eq!(response.status(), 413),
        Err(error) => assert!(error.is_request() || error.is_body(), "{error}"),
    }
    assert_eq!(server.json("/health").await["status"], "ok");
    server.stop().await;
}

#[tokio::test]
async fn strangers_pages_change_nothing() {
    let server = Server::start(Options {
        allow_origins: vec!["https://panel.example".into()],
        ..Options::default()
    })
    .await;
    let client = reqwest::Client::new();
    let post = async |origin: &str| {
        client
            .post(server.at("/blobs"))
            .header("origin", origin)
            .body("x")
            .send()
            .await
            .unwrap()
    };
    assert_eq!(post("https://evil.example").await.status(), 403);
    assert_eq!(post("http://localhost:8080").await.status(), 201);
    let allowed = post("https://panel.example").await;
    assert_eq!(
        allowed.headers()["access-control-allow-origin"],
        "https://panel.example"
    );
    let rebound = client
        .get(server.at("/health"))
        .header("host", "rebound.example")
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), 421);
    for header in [
        "content-security-policy",
        "x-content-type-options",
        "cross-origin-resource-policy",
        "referrer-policy",
    ] {
        assert!(
            server.get("/health").await.headers().contains_key(header),
            "{header}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn the_sub_protocol_is_offered_or_named_in_the_address() {
    let server = Server::start(Options::default()).await;
    let plain = |path: &str| {
        let url = format!("{}{path}", server.url.replace("http", "ws"));
        async move { tokio_tungstenite::connect_async(url).await }
    };
    for path in ["/ws/executor", "/ws/watch"] {
        assert!(plain(path).await.is_err(), "{path} without a sub-protocol");
        let other = format!("{path}?protocol=asterism.v0");
        assert!(plain(&other).await.is_err(), "{other}");
        let named = format!("{path}?protocol={}", asterism_protocol::SUBPROTOCOL);
        assert!(plain(&named).await.is_ok(), "{named}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_watcher_sees_a_snapshot_and_then_changes() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let mut watcher = socket(&server.url, "/ws/watch").await.unwrap();
    let ToWatcher::Snapshot(overview) = hear(&mut watcher).await else {
        panic!("a snapshot comes first")
    };
    assert_eq!((overview.runs.len(), overview.components.len()), (0, 1));

    let waiting = tokio::spawn({
        let url = server.at("/run?name=seen");
        async move {
            reqwest::Client::new()
                .post(url)
                .body(two_steps())
                .send()
                .await
                .unwrap()
        }
    });
    let run = loop {
        if let ToWatcher::Changes(changes) = hear(&mut watcher).await
            && let Some(Change::Run(summary)) = changes
                .iter()
                .find(|change| matches!(change, Change::Run(_)))
        {
            assert_eq!(summary.name, "seen");
            break summary.run;
        }
    };
    watcher
        .send(Message::Binary(
            encode(&ToWatched::Watch {
                run: Some(run),
                from: 0,
            })
            .into(),
        ))
        .await
        .unwrap();
    let view = loop {
        if let ToWatcher::Run(view) = hear(&mut watcher).await {
            break view;
        }
    };
    assert_eq!(view.tasks[1].state, TaskState::Waiting);

    tokio::spawn(FakeExecutor::connect(&server.url, 1).await.work());
    let (mut computed, mut ended, mut executor) = (0, false, false);
    while !ended || computed < 2 || !executor {
        let ToWatcher::Changes(changes) = hear(&mut watcher).await else {
            continue;
        };
        for change in changes {
            match change {
                Change::Task { task, .. } => {
                    computed += usize::from(task.state == TaskState::Computed)
                }
                Change::Run(summary) => ended |= summary.state == RunState::Done,
                Change::Executor(view) => executor |= view.host == "null",
                Change::ExecutorGone(_) | Change::Component(_) | Change::Paused(_) => {}
            }
        }
    }
    assert_eq!(
        timeout(SOON, waiting)
            .await
            .unwrap()
            .unwrap()
            .text()
            .await
            .unwrap(),
        "1.5"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_large_run_is_seen_in_parts() {
    const TASKS: usize = 2_500;
    let server = Server::in_memory().await;
    server.add_math().await;
    let tasks: Vec<Json> = (0..TASKS)
        .map(|n| json!({"run": {"input": {"func": "add", "args": [n, 0.5]}}}))
        .collect();
    let answer = server
        .post("/run?wait=false", json!({ "tasks": tasks }).to_string())
        .await;
    assert_eq!(answer.status(), 202);

    let mut address = "/workflows/1?limit=1000".to_owned();
    let mut places = Vec::new();
    loop {
        let answer = server.get(&address).await;
        let link = answer.headers().get("link").cloned();
        let view: RunView = answer.json().await.unwrap();
        assert_eq!(view.summary.counts.total() as usize, TASKS);
        places.extend(view.tasks.iter().map(|task| task.index as usize));
        let Some(link) = link else { break };
        let (next, relation) = link.to_str().unwrap().split_once('>').unwrap();
        assert_eq!(relation, "; rel=\"next\"");
        address = next.trim_start_matches('<').to_owned();
    }
    assert_eq!(places, (0..TASKS).collect::<Vec<_>>());
    let beyond: RunView = server
        .get("/workflows/1?from=9999")
        .await
        .json()
        .await
        .unwrap();
    assert!(beyond.tasks.is_empty());
    for limit in ["0", "10001"] {
        let answer = server.get(&format!("/workflows/1?limit={limit}")).await;
        assert_eq!(answer.status(), 400);
        let error: Json = answer.json().await.unwrap();
        assert_eq!(
            error["message"],
            format!("limit={limit} is not from 1 to 10000")
        );
    }

    let mut watcher = socket(&server.url, "/ws/watch").await.unwrap();
    for (from, first, last) in [(0, 0, 1_999), (2_000, 2_000, 2_499)] {
        let watch = ToWatched::Watch {
            run: Some(RunId(1)),
            from,
        };
        watcher
            .send(Message::Binary(encode(&watch).into()))
            .await
            .unwrap();
        let view = loop {
            if let ToWatcher::Run(view) = hear(&mut watcher).await {
                break view;
            }
        };
        let ends = [view.tasks.first(), view.tasks.last()];
        assert_eq!(ends.map(|task| task.unwrap().index), [first, last]);
    }
    // What becomes of tasks beside the window is not told.
    tokio::spawn(FakeExecutor::connect(&server.url, 4).await.work());
    let (mut told, mut ended) = (BTreeSet::new(), false);
    while !ended || told.len() < 500 {
        let ToWatcher::Changes(changes) = hear(&mut watcher).await else {
            continue;
        };
        for change in changes {
            match change {
                Change::Task { task, .. } => drop(told.insert(task.index)),
                Change::Run(summary) => ended |= summary.state == RunState::Done,
                _ => {}
            }
        }
    }
    assert_eq!(told, (2_000..2_500).collect());

    // Who follows it as a stream is told every task, part after part.
    let events = server
        .get("/workflows/1/events")
        .await
        .text()
        .await
        .unwrap();
    let tasks = events.matches("event: task").count();
    assert_eq!(tasks, TASKS);
    assert!(events.contains("event: end"), "{}", events.len());
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
