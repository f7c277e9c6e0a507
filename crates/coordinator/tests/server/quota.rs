//! Who takes far more than others do is told to wait.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use asterism_coordinator::{Config, Options, Quotas};
use asterism_protocol::{Cid, blob_cid};
use serde_json::Value as Json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::common::{SOON, Server, task, workflow};

/// `{code, message, hint, details}` of an answer that says when to come back.
async fn told_to_wait(response: reqwest::Response) -> (u64, Json) {
    assert_eq!(response.status(), 429);
    let wait = response.headers()["retry-after"].to_str().unwrap();
    let wait = wait.parse().unwrap();
    let said: Json = response.json().await.unwrap();
    for word in ["code", "message", "hint"] {
        assert!(!said[word].as_str().unwrap().is_empty(), "{said}");
    }
    (wait, said)
}

#[tokio::test]
async fn a_submitter_whose_tasks_are_too_many_is_told_to_wait() {
    let scheduler = Config {
        submitter_tasks_max: 3,
        ..Config::default()
    };
    let server = Server::start(Options {
        scheduler,
        ..Options::default()
    })
    .await;
    server.add_math().await;
    let sums = |numbers: &[u32]| {
        let tasks: Vec<String> = numbers
            .iter()
            .map(|number| task(&format!("t{number}"), "add", &format!("[{number}, 1]")))
            .collect();
        workflow(&tasks)
    };
    let submit = |who: &str, numbers: &[u32]| {
        let path = format!("/run?wait=false&submitter={who}");
        let (body, server) = (sums(numbers), &server);
        async move { server.post(&path, body).await }
    };
    let first = submit("eager", &[1, 2]).await;
    assert_eq!(first.status(), 202);
    let (wait, said) = told_to_wait(submit("eager", &[3, 4]).await).await;
    assert!(wait > 0);
    assert_eq!(said["code"], "over-quota");
    assert_eq!(said["details"]["quota"], "tasks");
    assert_eq!([&said["details"]["used"], &said["details"]["max"]], [2, 3]);
    // Others are not meant, and what fits is taken.
    assert_eq!(submit("other", &[3, 4]).await.status(), 202);
    assert_eq!(submit("eager", &[5]).await.status(), 202);
    // What ended counts no more.
    let run: Json = first.json().await.unwrap();
    let gone = server.at(&format!("/workflows/{}", run["run"]));
    let gone = reqwest::Client::new().delete(gone).send().await.unwrap();
    assert_eq!(gone.status(), 200);
    assert_eq!(submit("eager", &[3, 4]).await.status(), 202);
    server.stop().await;
}

/// A coordinator that keeps 100,000 bytes of a network.
async fn of_100_kb() -> Server {
    Server::start(Options {
        quotas: Quotas {
            stored_bytes: 100_000,
            ..Quotas::default()
        },
        ..Options::default()
    })
    .await
}

/// Bytes of which there is room for these, and not for others.
fn bytes(byte: u8) -> Vec<u8> {
    vec![byte; 60_000]
}

#[tokio::test]
async fn one_network_leaves_places_for_large_bodies_to_others() {
    let server = Server::in_memory().await;
    let mut held = Vec::new();
    let refused = loop {
        let mut stream = slow(&server, "/run", 1_000_000).await;
        if let Ok(said) = timeout(Duration::from_millis(200), answer(&mut stream)).await {
            break said;
        }
        held.push(stream);
        assert!(held.len() < 100, "somebody is refused at last");
    };
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(
        refused.contains("large bodies are of your network"),
        "{refused}"
    );
    let elsewhere = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2]));
    let elsewhere = elsewhere.build().unwrap().post(server.at("/run"));
    let large = elsewhere.body(" ".repeat(1_000_000)).send().await.unwrap();
    assert_eq!(large.status(), 400, "it was read, and is no workflow");
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn large_uploads_of_one_network_wait_for_each_other_and_for_nobody_else() {
    let server = Server::in_memory().await;
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(slow(&server, "/blobs", 1_000_000).await);
    }
    let upload = |from: [u8; 4], byte: u8, bytes: usize| {
        let client = reqwest::Client::builder().local_address(IpAddr::from(from));
        let request = client.build().unwrap().post(server.at("/blobs"));
        let request = request.body(vec![byte; bytes]);
        async move { request.send().await.unwrap().status() }
    };
    let (here, elsewhere) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    // As many as half of all, once all of them have been seen.
    let begun = Instant::now();
    let moment = Duration::from_millis(300);
    while timeout(moment, upload(here, 1, 200_000)).await.is_ok() {
        assert!(begun.elapsed() < SOON, "somebody has to wait at last");
    }
    let waiting = tokio::spawn(upload(here, 2, 200_000));
    assert_eq!(upload(elsewhere, 3, 200_000).await, 201);
    assert_eq!(upload(here, 4, 1_000).await, 201, "small ones do not count");
    tokio::time::sleep(moment).await;
    assert!(!waiting.is_finished());
    drop(held.pop());
    let stored = timeout(SOON, waiting).await.expect("there is a place");
    assert_eq!(stored.unwrap(), 201);
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn what_is_refused_or_was_here_before_counts_for_nothing() {
    let server = of_100_kb().await;
    let put = |cid: Cid, bytes: Vec<u8>| {
        let at = server.at(&format!("/blobs/{cid}"));
        let request = reqwest::Client::new().put(at).body(bytes);
        async move { request.send().await.unwrap().status() }
    };
    let cid = blob_cid(&bytes(1));
    for _ in 0..5 {
        assert_eq!(put(cid, bytes(2)).await, 422, "other bytes than it names");
        assert_eq!(server.post("/components", bytes(3)).await.status(), 422);
    }
    assert_eq!(put(cid, bytes(1)).await, 201);
    for _ in 0..5 {
        assert_eq!(put(cid, bytes(1)).await, 200);
        let again = server.post("/blobs", bytes(1)).await.status();
        assert_eq!(again, 429, "what they are is known when they came");
    }
    // What would be too much is refused before it comes.
    let mut early = slow(&server, "/blobs", 60_000_000).await;
    let said = answer(&mut early).await;
    assert!(said.starts_with("HTTP/1.1 429"), "{said}");
    assert_eq!(server.post("/blobs", vec![4; 40_000]).await.status(), 201);
    server.stop().await;
}

#[tokio::test]
async fn a_network_that_brings_too_many_bytes_is_told_to_wait() {
    let server = of_100_kb().await;
    assert_eq!(server.post("/blobs", bytes(1)).await.status(), 201);
    let (wait, said) = told_to_wait(server.post("/blobs", bytes(2)).await).await;
    assert_eq!(said["code"], "over-quota");
    assert_eq!(said["details"]["quota"], "bytes");
    assert!(
        said["details"]["used"].as_u64().unwrap() >= 60_000,
        "{said}"
    );
    // 100,000 bytes are forgotten within a day.
    assert!((1..=86_400).contains(&wait), "{wait}");
    let component = vec![0; 60_000];
    let (_, said) = told_to_wait(server.post("/components", component).await).await;
    assert_eq!(said["details"]["quota"], "bytes");
    // Whoever asks for something brings nothing.
    let health = server.get("/health").await;
    assert_eq!(health.status(), 200);
    server.stop().await;
}

/// A request whose body does not come.
async fn slow(server: &Server, path: &str, bytes: u32) -> TcpStream {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// All that is answered on a connection that closes then.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut text)).await;
    read.expect("the connection is closed").unwrap();
    String::from_utf8(text).unwrap()
}

/// A coordinator that takes four bodies of a network at the same time.
async fn of_four_bodies(body_grace: Duration) -> Server {
    Server::start(Options {
        quotas: Quotas {
            bodies: 4,
            body_grace,
            ..Quotas::default()
        },
        ..Options::default()
    })
    .await
}

/// As many bodies as it takes, which do not come.
async fn four_slow(server: &Server) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for path in ["/run", "/blobs", "/components", "/workflow"] {
        held.push(slow(server, path, 1_000).await);
    }
    held
}

#[tokio::test]
async fn slow_bodies_are_not_held_in_any_number() {
    // None of them is late during the test.
    let server = of_four_bodies(10 * SOON).await;
    let held = four_slow(&server).await;
    let all_held = async {
        loop {
            let response = server.post("/workflow", "{}").await;
            if response.status() == 429 {
                return response;
            }
        }
    };
    let refused = timeout(SOON, all_held).await.expect("four are the most");
    let (_, said) = told_to_wait(refused).await;
    assert_eq!(said["code"], "busy");
    assert_eq!(said["details"]["quota"], "bodies");
    assert_eq!(server.get("/health").await.status(), 200);
    drop(held);
    let all_free = async { while server.post("/workflow", "{}").await.status() == 429 {} };
    timeout(SOON, all_free).await.expect("places come back");
    server.stop().await;
}

#[tokio::test]
async fn slow_bodies_are_not_held_for_long() {
    let grace = Duration::from_secs(1);
    let server = of_four_bodies(grace).await;
    let begun = Instant::now();
    let mut held = four_slow(&server).await;
    // One that sends a byte now and then is not quicker for it: all it has would take it more than a minute.
    let mut trickle = held.pop().unwrap();
    let trickling = tokio::spawn(async move {
        while trickle.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    for mut stream in held {
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
        assert!(said.contains("body-late"), "{said}");
    }
    assert!(begun.elapsed() >= grace);
    let cut = timeout(SOON, trickling).await;
    cut.expect("it is cut off as well").unwrap();
    // Their places are free again.
    for _ in 0..8 {
        assert_ne!(server.post("/workflow", "{}").await.status(), 429);
    }
    server.stop().await;
}
