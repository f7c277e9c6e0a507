//! Two coordinators on one journal.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use asterism_protocol::{
    Remark,
    view::{RunState, RunView},
};
use reqwest::StatusCode;
use serde_json::Value as Json;

use crate::{
    Options, Quotas,
    authority::Authority,
    disk::{
        Disk, LONG, Server,
        common::{FakeExecutor, compute, math, task, workflow},
    },
    driver::PARTITION,
    store::{Holder, Journal as _},
};

const TOKEN: &str = "0123456789abcdef";

fn options() -> Options {
    Options {
        operator_token: Some(TOKEN.to_owned()),
        ..Options::default()
    }
}

/// One that holds the journal, and one that stands by.
async fn two(disk: &Disk) -> (Server, Server) {
    let first = disk.serve(&Arc::default(), options()).await.unwrap();
    let second = disk.serve(&Arc::default(), options()).await.unwrap();
    (first, second)
}

fn chain(first: &str) -> Vec<u8> {
    let tasks = [
        task("one", "add", first),
        task("two", "add", r#"["{{needs.one.output}}", 3.5]"#),
    ];
    workflow(&tasks).into_bytes()
}

async fn run_of(server: &Server, run: u64) -> Option<RunView> {
    let view = server.json(&format!("/workflows/{run}")).await?;
    serde_json::from_value(view).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_of_one_that_stands_by_the_holder_answers() {
    let disk = Disk::default();
    let (first, second) = two(&disk).await;
    second.post("/components?name=math", math(), &[201]).await;
    let executor = FakeExecutor::connect(&second.url, 1).await;
    let working = tokio::spawn(executor.work());
    let said = second
        .post("/run?timeout=20000", chain("[1.0, 2.0]"), &[200])
        .await;
    assert_eq!(said, 6.5);
    assert_eq!(
        first.json("/workflows").await,
        second.json("/workflows").await
    );
    let executors = first.json("/executors").await.unwrap();
    assert_eq!(executors.as_array().map(Vec::len), Some(1), "{executors}");

    // Whoever asks through another one does not sit at the holder's machine.
    let client = reqwest::Client::new();
    let pause = |server: &Server| client.post(format!("{}/pause", server.url));
    let status = |response: reqwest::Response| response.status();
    assert_eq!(
        status(pause(&second).send().await.unwrap()),
        StatusCode::UNAUTHORIZED
    );
    let operator = pause(&second).bearer_auth(TOKEN);
    assert_eq!(status(operator.send().await.unwrap()), StatusCode::OK);
    working.abort();
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_holder_goes_the_one_that_stands_by_goes_on() {
    let disk = Disk::default();
    let (first, second) = two(&disk).await;
    second.post("/components?name=math", math(), &[201]).await;
    let mut executor = FakeExecutor::connect(&second.url, 1).await;
    let said = second
        .post("/run?wait=false", chain("[1.0, 2.0]"), &[202])
        .await;
    let run = said["run"].as_u64().unwrap_or_else(|| panic!("{said}"));
    let lease = executor.lease(1).await.remove(0);
    first.stop().await;
    // Its connection ended with the holder; by then the other one decides.
    while executor.hear().await.is_some() {}
    let begun = Instant::now();
    let mut executor = loop {
        let view = run_of(&second, run).await;
        if view.is_some_and(|view| view.summary.state == RunState::Running) {
            break FakeExecutor::connect(&second.url, 1).await;
        }
        assert!(begun.elapsed() < LONG, "nobody takes over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    executor
        .deliver(&lease, compute(&lease), Remark::default())
        .await;
    executor.accepted(lease.id).await;
    let working = tokio::spawn(executor.work());
    let view = loop {
        let view = run_of(&second, run).await.unwrap();
        if view.summary.state == RunState::Done {
            break view;
        }
        assert!(begun.elapsed() < LONG, "{view:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(view.tasks.len(), 2);
    working.abort();
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_s_share_is_its_own_through_any_of_them() {
    let authority = Authority::new(Some(TOKEN.to_owned()), false).unwrap();
    let disk = Disk::default();
    let options = Options {
        quotas: Quotas {
            stored_bytes: 20,
            ..Quotas::default()
        },
        ..options()
    };
    let first = disk.serve(&Arc::default(), options).await.unwrap();
    let put = |peer: &'static str, word: String, body: &'static [u8]| {
        let cid = asterism_protocol::blob_cid(body);
        let put = reqwest::Client::new().put(format!("{}/blobs/{cid}", first.url));
        let put = put
            .header(super::BEHIND, format!("{peer} {word}"))
            .body(body);
        async move { put.send().await.unwrap().status() }
    };
    let word = |peer: &str| authority.word_for(peer.parse().unwrap());
    let one = || word("192.0.2.1");
    assert_eq!(put("192.0.2.1", one(), b"sixteen bytes one").await, 201);
    assert_eq!(put("192.0.2.1", one(), b"sixteen bytes two").await, 429);
    let other = word("198.51.100.1");
    assert_eq!(put("198.51.100.1", other, b"sixteen bytes two").await, 201);
    // Who does not know the token speaks for himself: the third network.
    assert_eq!(put("203.0.113.1", one(), b"sixteen bytes six").await, 201);
    assert_eq!(put("203.0.113.2", one(), b"sixteen bytes ten").await, 429);
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_decides_that_is_said_and_then_it_is_over() {
    let disk = Disk::default();
    let dead = Holder {
        name: "dead".to_owned(),
        // Nobody listens there.
        address: "http://127.0.0.1:9".to_owned(),
    };
    disk.journal.acquire(PARTITION, &dead, LONG).unwrap();
    let server = disk.serve(&Arc::default(), options()).await.unwrap();
    let answer = reqwest::get(format!("{}/health", server.url))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let said: Json = answer.json().await.unwrap();
    let message = said["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("no coordinator decides now: http://127.0.0.1:9 does not answer"),
        "{said}"
    );
    // Its term is over.
    disk.journal.expire(PARTITION);
    let begun = Instant::now();
    while server.json("/health").await.is_none() {
        assert!(begun.elapsed() < LONG, "it does not take over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
}
