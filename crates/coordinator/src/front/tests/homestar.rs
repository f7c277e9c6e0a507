//! Clients of Homestar, to whom several partitions are one.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::{disk::common::Socket, limits::WATCHERS_MAX};

/// What a client of Homestar is told next.
async fn hear(client: &mut Socket) -> Json {
    loop {
        let said = tokio::time::timeout(LONG, client.next()).await;
        if let Message::Text(text) = said.expect("it says something").unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// A client that is told who comes and goes.
async fn listening(server: &Server) -> Socket {
    let url = server.url.replace("http", "ws");
    let (mut client, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let request = json!({
        "jsonrpc": "2.0", "id": 1, "method": "subscribe_network_events", "params": [],
    });
    let request = Message::Text(request.to_string().into());
    client.send(request).await.unwrap();
    assert!(hear(&mut client).await["result"].is_string());
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_homestar_is_told_of_runs_wherever_they_are() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    let working = tokio::spawn(work(first.url.clone(), 7, Accepted::default()));
    let url = second.url.replace("http", "ws");
    let (mut client, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for number in 0..8 {
        let document: Json = serde_json::from_slice(&chain(number).0).unwrap();
        let request = json!({
            "jsonrpc": "2.0",
            "id": number,
            "method": "subscribe_run_workflow",
            "params": [{ "name": "chain", "workflow": document }],
        });
        let request = Message::Text(request.to_string().into());
        client.send(request).await.unwrap();
        let answer = hear(&mut client).await;
        assert!(answer["result"].is_string(), "{answer}");
        for _ in 0..2 {
            let told = hear(&mut client).await;
            assert_eq!(told["params"]["subscription"], answer["result"], "{told}");
        }
    }
    assert!(partitions(runs(&first).await.iter().map(|run| run.run.0)).len() > 1);
    working.abort();
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_homestar_hears_who_comes_wherever_that_is() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    let mut client = listening(&second).await;
    let mut event = async || {
        let told = hear(&mut client).await;
        let bytes: Vec<u8> = serde_json::from_value(told["params"]["result"].clone()).unwrap();
        serde_json::from_slice::<Json>(&bytes).unwrap()["type"].clone()
    };
    let executor = FakeExecutor::connect(&first.url, 1).await;
    assert_eq!(event().await, "network:executor_connected");
    drop(executor);
    assert_eq!(event().await, "network:executor_disconnected");
    first.post("/components?name=math", math(), &[201]).await;
    assert_eq!(event().await, "network:component_added");
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hears_who_comes_has_a_watcher_s_place_for_it() {
    const CONNECTIONS: usize = 8;
    const SUBSCRIPTIONS: usize = 64;
    let disk = disk();
    let server = serve(&disk).await;
    let url = server.url.replace("http", "ws");
    let (mut clients, mut refused) = (Vec::new(), 0);
    for _ in 0..CONNECTIONS {
        let (mut client, _) = tokio_tungstenite::connect_async(url.as_str())
            .await
            .unwrap();
        for id in 0..SUBSCRIPTIONS {
            let request = json!({
                "jsonrpc": "2.0", "id": id, "method": "subscribe_network_events", "params": [],
            });
            let request = Message::Text(request.to_string().into());
            client.send(request).await.unwrap();
            let answer = hear(&mut client).await;
            if let Some(message) = answer["error"]["message"].as_str() {
                assert!(message.contains("watchers are of your network"), "{answer}");
                refused += 1;
            }
        }
        clients.push(client);
    }
    // A network has half of the places, and a connection takes one, too.
    let wanted = CONNECTIONS * (1 + SUBSCRIPTIONS);
    assert_eq!(refused, wanted - WATCHERS_MAX / 2);
    drop(clients);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_component_that_comes_again_others_hear_and_of_no_other_one() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    let half = wat::parse_str(
        r#"(component
            (core module $m
                (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2))))
            (core instance $i (instantiate $m))
            (func (export "half") (param "a" f64) (result f64) (canon lift (core func $i "half"))))"#,
    );
    first.post("/components?name=math", math(), &[201]).await;
    first
        .post("/components?name=half", half.unwrap(), &[201])
        .await;
    let names = async |server: &Server| {
        let components = server.json("/components").await.unwrap();
        let names = components.as_array().into_iter().flatten();
        let names = names.map(|component| component["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    assert_eq!(names(&second).await, ["math", "half"]);
    let mut client = listening(&second).await;
    let mut event = async || {
        let told = hear(&mut client).await;
        let bytes: Vec<u8> = serde_json::from_value(told["params"]["result"].clone()).unwrap();
        serde_json::from_slice::<Json>(&bytes).unwrap()
    };
    let _executor = FakeExecutor::connect(&first.url, 1).await;
    assert_eq!(event().await["type"], "network:executor_connected");
    first.post("/components?name=math", math(), &[201]).await;
    let again = event().await;
    assert_eq!(again["data"]["name"], "math", "{again}");
    for server in [&first, &second] {
        assert_eq!(names(server).await, ["half", "math"]);
    }
    second.stop().await;
    first.stop().await;
}
