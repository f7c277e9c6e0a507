//! What a client hears of a run whose receipts cannot be read.

use std::time::{Duration, Instant};

use asterism_protocol::{from_value, value_of_json};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::{
    Options,
    disk::{
        Disk, LONG, Server,
        common::{FakeExecutor, Socket, math, task, workflow},
    },
    store::{
        JournalError,
        faults::{self, Faults},
    },
};

/// A client of a run of two tasks that ended, while no receipt can be read.
struct Unread {
    server: Server,
    faults: Arc<Faults>,
    client: Socket,
    subscription: Json,
}

impl Unread {
    async fn new(fault: fn() -> JournalError) -> Self {
        let faults = Arc::new(Faults::default());
        let disk = Disk::default();
        let server = disk.serve(&faults, Options::default()).await.unwrap();
        server.post("/components?name=math", math(), &[201]).await;
        faults.break_receipts(fault);
        tokio::spawn(FakeExecutor::connect(&server.url, 1).await.work());
        let url = server.url.replace("http", "ws");
        let (mut client, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let tasks = workflow(&[
            task("add", "add", "[1, 2]"),
            task("half", "divide", r#"["{{needs.add.output}}", 2]"#),
        ]);
        let tasks: Json = serde_json::from_str(&tasks).unwrap();
        let subscribe = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "subscribe_run_workflow",
            "params": [{ "name": "x", "workflow": tasks }],
        });
        let text = Message::Text(subscribe.to_string().into());
        client.send(text).await.unwrap();
        let subscription = hear(&mut client).await["result"].clone();
        let begun = Instant::now();
        loop {
            let runs = server.json("/workflows").await.unwrap();
            if runs[0]["state"] == "done" {
                break;
            }
            assert!(begun.elapsed() < LONG, "{runs}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self {
            server,
            faults,
            client,
            subscription,
        }
    }
}

async fn hear(client: &mut Socket) -> Json {
    loop {
        let frame = timeout(LONG, client.next()).await;
        let frame = frame.expect("something is said");
        if let Message::Text(text) = frame.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_cannot_be_read_is_told_once_it_can() {
    let mut unread = Unread::new(faults::broken).await;
    let early = timeout(Duration::from_millis(500), hear(&mut unread.client)).await;
    assert!(early.is_err(), "{early:?}");
    unread.faults.heal();
    let mut outs = Vec::new();
    for _ in 0..2 {
        let told = hear(&mut unread.client).await;
        assert_eq!(
            told["params"]["subscription"], unread.subscription,
            "{told}"
        );
        let bytes: Vec<u8> = serde_json::from_value(told["params"]["result"].clone()).unwrap();
        let Value::Map(mut told) = value_of_json(&bytes).unwrap() else {
            panic!("{told}")
        };
        let receipt: Receipt = from_value("receipt", told.remove("receipt").unwrap()).unwrap();
        assert!(receipt.iss.is_some(), "it is the one that was read");
        outs.push(receipt.out);
    }
    assert_eq!(outs, [3.0, 1.5].map(|number| Out::Ok(Value::Float(number))));
    unread.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_is_damaged_ends_the_subscription_and_the_client_hears_why() {
    let damaged = || JournalError::Damaged {
        place: "a receipt".to_owned(),
        reason: "the test asked for it".to_owned(),
        last: None,
    };
    let mut unread = Unread::new(damaged).await;
    let told = hear(&mut unread.client).await;
    // No task's: the client counts those.
    assert_eq!((&told["id"], &told["method"]), (&Json::Null, &Json::Null));
    assert!(told["params"].is_null(), "{told}");
    let error = &told["error"];
    assert_eq!(error["data"]["subscription"], unread.subscription);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("the test asked for it"), "{message}");
    assert!(
        message.contains("subscribe to the workflow again"),
        "{message}"
    );
    unread.server.stop().await;
}
