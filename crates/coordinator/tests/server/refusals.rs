//! Whatever strangers, liars and the careless send is refused with a reason, and others go on.

use asterism_coordinator::Options;
use asterism_protocol::{
    Out, Remark, Signature, Value, blob_cid,
    limits::FRAME_BYTES_MAX,
    message::{ToCoordinator, ToExecutor, hello_bytes},
};
use futures_util::SinkExt as _;
use serde_json::{Value as Json, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    common::{FakeExecutor, SOON, Server, delivery, socket, task, workflow},
    sum,
};

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
async fn what_a_query_cannot_mean_is_refused_by_its_parameter() {
    let server = Server::in_memory().await;
    server.add_math().await;
    for (path, said) in [
        ("/add?a=%FF&b=1", "`a`: its bytes are no text in UTF-8"),
        ("/add?a=1&b=%2", "`b`: `%2` is no byte"),
        ("/add?a=1&b=%+1", "`b`: `%+1` is no byte"),
        ("/add?%zz=1&b=1", "`%zz`: `%zz` is no byte"),
        ("/workflows?state=running%", "`state`: `%` is no byte"),
        ("/health?x=%C3%28", "`x`: its bytes are no text in UTF-8"),
        ("/ws/watch?protocol=%FF", "`protocol`: its bytes"),
    ] {
        let response = server.get(path).await;
        let status = response.status();
        let error: Json = response.json().await.unwrap();
        assert_eq!(
            (status.as_u16(), &error["code"]),
            (400, &json!("invalid-input")),
            "{path}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(said), "{path}: {message}");
        assert!(error["hint"].as_str().unwrap().contains("%25"), "{error}");
    }
    // What is written as it has to be is read as ever.
    let response = server.get("/workflows?state=r%75nning").await;
    assert_eq!(response.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_packed_is_refused_and_not_read_as_it_is() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let client = reqwest::Client::new();
    let send = async |method: reqwest::Method, path: &str, encoding: &str| {
        let request = client.request(method, server.at(path));
        let request = request.header("content-encoding", encoding).body(sum());
        request.send().await.unwrap()
    };
    let cid = blob_cid(sum().as_bytes());
    let put = format!("/blobs/{cid}");
    for (method, path) in [
        (reqwest::Method::POST, "/run?wait=false"),
        (reqwest::Method::POST, "/workflow"),
        (reqwest::Method::POST, "/add"),
        (reqwest::Method::POST, "/components"),
        (reqwest::Method::POST, "/blobs"),
        (reqwest::Method::PUT, put.as_str()),
    ] {
        let response = send(method, path, "gzip").await;
        assert_eq!(response.status(), 415, "{path}");
        assert_eq!(response.headers()["accept-encoding"], "identity", "{path}");
        let error: Json = response.json().await.unwrap();
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("content-encoding: gzip"),
            "{path}: {error}"
        );
    }
    let response = send(reqwest::Method::PUT, put.as_str(), "Identity").await;
    assert_eq!(response.status(), 201);
    server.stop().await;
}
