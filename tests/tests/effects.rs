//! Tasks that reach the world outside: a guest that sends requests, an executor whose owner allows it, a server that counts.
#![cfg(not(target_arch = "wasm32"))]

#[path = "../../crates/coordinator/tests/common/servers/mod.rs"]
#[expect(dead_code, reason = "a part of what tests of stores need")]
mod servers;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use asterism_protocol::{
    Out, Value,
    view::{Determinism, RunView, TaskState},
};
use asterism_tests::{
    guests,
    harness::{Api, Coordinator, Executor, asterism_fails, asterism_in, asterism_says, wait_until},
};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse};
use servers::{certificate, s3::S3};

/// What the server was asked: path, body, and the key by which it would know that again.
type Asked = Arc<Mutex<Vec<(String, Vec<u8>, String)>>>;

/// A server that tells how many requests it got.
async fn counting() -> (String, Asked) {
    async fn answer(
        State(asked): State<Asked>,
        uri: axum::http::Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> impl IntoResponse {
        let key = headers.get("idempotency-key");
        let key = key.map_or("", |key| key.to_str().expect("it is text"));
        let mut asked = asked.lock().expect("nobody panicked");
        asked.push((uri.to_string(), body.to_vec(), key.to_owned()));
        ([("x-kind", "counted")], format!("{} of {uri}", asked.len()))
    }
    let asked = Asked::default();
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::clone(&asked));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("it listens").to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, asked)
}

/// A workflow of one request.
fn asking(authority: &str, more: &str, effects: &str) -> String {
    format!(
        r#"{{"tasks": [{{"run": {{{more}"input": {{"func": "ask", "args": ["GET", "{authority}", "/page?a=b", null]{effects}}}}}}}]}}"#
    )
}

const EFFECTS: &str = r#", "effects": ["wasi:http"]"#;

async fn outs(api: &Api, workflow: String) -> (RunView, Vec<Option<Out>>) {
    let answer = api.post("/run?timeout=120000", workflow).await;
    assert!(matches!(answer.status, 200 | 422), "{}", answer.text());
    let run = api.newest_run().await;
    let outs = run.tasks.iter().map(|task| task.out.clone()).collect();
    (run, outs)
}

fn answered(body: &str) -> Option<Out> {
    let fields = [
        ("status", Value::Integer(200)),
        ("kind", Value::String("counted".into())),
        ("body", Value::Bytes(body.as_bytes().to_vec())),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    Some(Out::Ok(Value::Map(fields.into())))
}

fn refused(code: &str) -> Option<Out> {
    Some(Out::Error(Value::String(code.into())))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_reaches_what_its_executor_allows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("outside", guests::HTTP).await;
    api.add_component("math", guests::MATH).await;
    let (server, asked) = counting().await;
    let count = || asked.lock().expect("nobody panicked").len();

    // Who offers nothing gets none of it, and says why.
    let closed = Executor::start(coordinator.url(), &folder.path().join("closed"), 1);
    let answer = api
        .post("/run?timeout=1000", asking(&server, "", EFFECTS))
        .await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    let waiting = wait_until("the executor is here", || async {
        let run = api.newest_run().await;
        (!api.executors().await.is_empty() && run.tasks[0].reason.contains("no executor here"))
            .then_some(run)
    })
    .await;
    assert_eq!(
        waiting.tasks[0].reason,
        "no executor here can have it: it does not offer wasi:http"
    );
    assert_eq!(waiting.tasks[0].determinism(), Some(Determinism::Effectful));
    // Without the effect the world is the virtual one, for the same component.
    let (_, virtually) = outs(&api, asking(&server, "", "")).await;
    assert_eq!(virtually, [refused("ErrorCode::HttpRequestDenied")]);
    assert_eq!(count(), 0);
    drop(closed);

    let allow = ["--allow-http", &server];
    let data = folder.path().join("open");
    let _open = Executor::start_with(coordinator.url(), &data, 2, &allow);
    let run = wait_until("the run that waited has ended", || async {
        let run = api.run_of(waiting.summary.workflow).await;
        (run.tasks[0].state == TaskState::Computed).then_some(run)
    })
    .await;
    assert_eq!(run.tasks[0].out, answered("1 of /page?a=b"));
    let executors = api.executors().await;
    assert!(
        executors
            .iter()
            .any(|executor| executor.offers.contains("wasi:http"))
    );

    // The same document is done again; what it awaits is what this one came to.
    let (run, again) = outs(&api, asking(&server, "", EFFECTS)).await;
    assert_eq!(again, [answered("2 of /page?a=b")]);
    assert_eq!(run.tasks[0].state, TaskState::Computed);
    // Under a nonce of its author's it is done once.
    for _ in 0..2 {
        let named = asking(&server, r#""nnc": "monday", "#, EFFECTS);
        let (_, outs) = outs(&api, named).await;
        assert_eq!(outs, [answered("3 of /page?a=b")]);
    }
    let named = asking(&server, r#""nnc": "monday", "#, EFFECTS);
    let answer = api.post("/run?timeout=120000&force=true", named).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let replayed = api.newest_run().await;
    assert_eq!(replayed.tasks[0].state, TaskState::Replayed);
    assert_eq!(count(), 3);

    // A body goes along, and the name by which a server knows the second attempt at it.
    let body = "a line\n".repeat(10_000);
    let post = format!(
        r#"
tasks:
  - run:
      name: order
      nnc: order-7
      input:
        func: ask
        args: [POST, "{server}", /order, {{ "/": {{ "bytes": "{}" }} }}]
        effects: [wasi:http]
  - run:
      name: twice
      input:
        func: ask
        args: [GET, "{server}", /one, null]
        effects: [wasi:http]
  - run:
      name: and-again
      input:
        func: ask
        args: [GET, "{server}", /one, null]
        effects: [wasi:http]
"#,
        base64_of(body.as_bytes())
    );
    let (run, made) = outs(&api, post).await;
    assert!(
        made.iter().all(|out| matches!(out, Some(Out::Ok(_)))),
        "{made:?}"
    );
    let instruction = run.tasks[0].instruction;
    let kept: Vec<_> = {
        let asked = asked.lock().expect("nobody panicked");
        asked[3..].to_vec()
    };
    assert_eq!(kept.len(), 3, "equal tasks are done each: {kept:?}");
    let order = kept.iter().find(|(path, ..)| path == "/order");
    let (_, sent, key) = order.expect("it was sent");
    assert_eq!(sent, body.as_bytes());
    assert_eq!(*key, format!("\"{instruction}\""));
    assert!(
        kept.iter()
            .all(|(path, _, key)| path == "/order" || key.is_empty())
    );

    // A receipt of it is signed like any other, and cannot be had again.
    let receipt = run.tasks[0].receipt.expect("it has one").to_string();
    let url = ["--coordinator", coordinator.url()];
    let _ = asterism_says(&[&["receipt", "verify", &receipt], &url[..]].concat());
    let rerun = [&["receipt", "verify", &receipt, "--rerun"], &url[..]].concat();
    let said = asterism_fails(&rerun);
    assert!(said.contains("its task has effects (wasi:http)"), "{said}");
    assert_eq!(count(), 6);
    let said = asterism_says(&[&["fn", "inspect", "outside"], &url[..]].concat());
    assert!(
        said.contains("virtual, effectful with `effects: [wasi:http]`"),
        "{said}"
    );

    // Other hosts are not asked, by whatever name.
    let port = server.rsplit(':').next().expect("it has a port");
    for (authority, code) in [
        ("127.0.0.1:1", "ErrorCode::HttpRequestDenied"),
        ("example.org", "ErrorCode::HttpRequestDenied"),
        (&format!("localhost:{port}"), "ErrorCode::HttpRequestDenied"),
    ] {
        let (_, outs) = outs(&api, asking(authority, "", EFFECTS)).await;
        assert_eq!(outs, [refused(code)], "{authority}");
    }

    for verify in ["quorum:2/3", "spot:5%25"] {
        let path = format!("/run?verify={verify}");
        let answer = api.post(&path, asking(&server, "", EFFECTS)).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        let message = answer.text();
        assert!(message.contains("tasks[0] has effects"), "{message}");
        assert!(message.contains("`trusted` or `any`"), "{message}");
    }
    let pure = r#"{"tasks": [{"run": {"input": {"func": "add", "args": [1, 2], "effects": ["wasi:http"]}}}]}"#;
    let answer = api.post("/run", pure).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let message = answer.text();
    assert!(
        message.contains("does not import wasi:http/outgoing-handler"),
        "{message}"
    );
    assert_eq!(count(), 6);

    // From a command line: on the coordinator, and of a source here.
    let file = folder.path().join("outside.wasm");
    std::fs::write(&file, guests::HTTP).expect("it can be written");
    let file = file.to_str().expect("the path is text");
    let ask = ["ask", "GET", &server, "/typed", "null"];
    let effect = ["--effect", "wasi:http"];
    let there = [&["fn", "call", "outside"], &ask[..], &effect, &url].concat();
    let said = asterism_says(&there);
    assert!(said.contains("counted"), "{said}");
    let here = [&["fn", "call", file], &ask[..]].concat();
    let said = asterism_says(&[&here[..], &effect, &allow].concat());
    assert!(said.contains("counted"), "{said}");
    assert_eq!(count(), 8);
    for (call, reason) in [
        (here.clone(), "ErrorCode::HttpRequestDenied"),
        ([&here[..], &effect].concat(), "no host is named"),
        (
            [&here[..], &allow].concat(),
            "for functions with that effect",
        ),
        ([&there[..], &allow].concat(), "for the executor to say"),
        (
            [&here[..], &["--effect", "wasi:htp"]].concat(),
            "`wasi:http` is",
        ),
        (
            [&["fn", "call", "math", "add", "1", "2"], &effect[..], &url].concat(),
            "imports nothing that has the effect",
        ),
    ] {
        let said = asterism_fails(&call);
        assert!(said.contains(reason), "{call:?}: {said}");
    }
    assert_eq!(count(), 8);
}

#[test]
fn a_secure_server_is_reached_if_its_certificate_is_trusted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("outside.wasm");
    std::fs::write(&file, guests::HTTP).expect("it can be written");
    let file = file.to_str().expect("the path is text");
    // Not of our making, so that both sides are not wrong in the same way.
    let server = S3::start_encrypted(folder.path());
    let other = folder.path().join("other");
    std::fs::create_dir(&other).expect("it can be made");
    certificate::make(&other);
    let here = server.address();
    let name = here.replace("127.0.0.1", "localhost");
    let ask = |authority: &str, trusted: &std::path::Path| {
        let roots = trusted.join("authority.pem");
        let roots = roots.to_str().expect("the path is text");
        let url = format!("https://{authority}");
        let call = ["fn", "call", file, "ask", "GET", &url, "/", "null"];
        let effect = ["--effect", "wasi:http", "--allow-http", authority];
        // A folder that is set here would be trusted beside the file.
        let environment = [("SSL_CERT_FILE", roots), ("SSL_CERT_DIR", "")];
        asterism_in(&environment, &[&call[..], &effect].concat())
    };
    let answered = ask(&here, folder.path());
    let said = String::from_utf8_lossy(&answered.stdout);
    let error = String::from_utf8_lossy(&answered.stderr);
    assert!(answered.status.success(), "{said}{error}");
    assert!(said.contains("200"), "{said}");
    for (authority, trusted) in [(&here, &*other), (&name, folder.path())] {
        let refused = ask(authority, trusted);
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{authority}");
        assert!(error.contains("ErrorCode::TlsCertificateError"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_holds_no_task_beyond_its_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start(&folder.path().join("data"));
    let api = coordinator.api();
    api.add_component("outside", guests::HTTP).await;
    let silent = async || {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it listens").to_string();
        (listener, address)
    };
    let (_silent, server) = silent().await;
    let (other, elsewhere) = silent().await;
    let allow = ["--allow-http", &server, "--allow-http", &elsewhere];
    let data = folder.path().join("open");
    let _open = Executor::start_with(coordinator.url(), &data, 1, &allow);
    let workflow = format!(
        r#"{{"tasks": [
            {{"run": {{"input": {{"func": "ask", "args": ["GET", "{server}", "/", null], "effects": ["wasi:http"]}}}}, "meta": {{"time": 300}}}},
            {{"run": {{"input": {{"func": "roll", "args": []}}}}}}
        ]}}"#
    );
    let answer = api.post("/run?wait=false", workflow).await;
    assert!(answer.status < 300, "{}", answer.text());
    let run = wait_until("an attempt was ended", || async {
        let run = api.newest_run().await;
        (!run.tasks[0].attempts.is_empty()).then_some(run)
    })
    .await;
    let fault = &run.tasks[0].attempts[0].fault;
    assert!(fault.message.contains("300 ms"), "{fault:?}");
    // Its thread is free for others, and a task that is not wanted any more ends at once.
    wait_until("the other task is done", || async {
        let run = api.newest_run().await;
        (run.tasks[1].state == TaskState::Computed).then_some(())
    })
    .await;
    let id = run.summary.run.0;
    api.post(&format!("/workflows/{id}/cancel"), "").await;
    let long = asking(&elsewhere, "", EFFECTS);
    let answer = api.post("/run?wait=false", long).await;
    assert!(answer.status < 300, "{}", answer.text());
    let asked = tokio::time::timeout(Duration::from_secs(60), other.accept()).await;
    let _asked = asked.expect("it asks").expect("it is heard");
    let id = api.newest_run().await.summary.run.0;
    api.post(&format!("/workflows/{id}/cancel"), "").await;
    let next = r#"{"tasks": [{"run": {"nnc": "next", "input": {"func": "roll", "args": []}}}]}"#;
    let answer = api.post("/run?timeout=20000", next).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// As DAG-JSON has it: without padding.
fn base64_of(bytes: &[u8]) -> String {
    let value = asterism_protocol::json_of(&Value::Bytes(bytes.to_vec()));
    let value: serde_json::Value = serde_json::from_str(&value).expect("it is JSON");
    value["/"]["bytes"].as_str().expect("it is text").to_owned()
}
