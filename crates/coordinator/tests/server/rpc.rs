//! JSON-RPC over a WebSocket, as Homestar's client speaks it.

use crate::common::{FakeExecutor, SOON, Server, task, workflow};
use asterism_protocol::{Out, Receipt, Remark, Value, encode, from_value, value_of_json};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

struct Rpc(crate::common::Socket);

impl Rpc {
    async fn connect(server: &Server) -> Self {
        let url = server.url.replace("http", "ws");
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    async fn hear(&mut self) -> Json {
        loop {
            let frame = timeout(SOON, self.0.next())
                .await
                .expect("something is said");
            if let Message::Text(text) = frame.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    async fn ask(&mut self, method: &str, params: Json) -> Json {
        self.say(
            &json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string(),
        )
        .await;
        let answer = self.hear().await;
        assert_eq!(
            (&answer["jsonrpc"], &answer["id"]),
            (&json!("2.0"), &json!(7)),
            "{answer}"
        );
        answer
    }

    /// The value inside the next notification.
    async fn notified(&mut self, subscription: &Json) -> Value {
        let notification = self.hear().await;
        assert_eq!(
            notification["params"]["subscription"], *subscription,
            "{notification}"
        );
        let bytes: Vec<u8> =
            serde_json::from_value(notification["params"]["result"].clone()).unwrap();
        value_of_json(&bytes).unwrap()
    }
}

fn field<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |value, key| match value {
        Value::Map(map) => &map[*key],
        other => panic!("{other:?} has no {key}"),
    })
}

fn two_steps() -> Json {
    let text = workflow(&[
        task("add", "add", "[1, 2]"),
        task("half", "divide", r#"["{{needs.add.output}}", 2]"#),
    ]);
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn every_task_of_a_workflow_is_told_with_its_receipt() {
    let server = Server::in_memory().await;
    server.add_math().await;
    tokio::spawn(FakeExecutor::connect(&server.url, 1).await.work());
    let mut rpc = Rpc::connect(&server).await;
    for replayed in [false, true] {
        let params = json!([{ "name": "two", "workflow": two_steps() }]);
        let answer = rpc.ask("subscribe_run_workflow", params).await;
        let subscription = answer["result"].clone();
        assert!(subscription.is_string(), "{answer}");
        let mut outs = Vec::new();
        for _ in 0..2 {
            let told = rpc.notified(&subscription).await;
            assert_eq!(
                field(&told, &["metadata", "replayed"]),
                &Value::Bool(replayed)
            );
            assert_eq!(
                field(&told, &["metadata", "name"]),
                &Value::String("two".into())
            );
            let receipt: Receipt =
                from_value("receipt", field(&told, &["receipt"]).clone()).unwrap();
            let named = field(&told, &["receipt_cid"]);
            assert_eq!(
                named,
                &Value::Link(receipt.cid().to_link()),
                "the receipt is the one that is named"
            );
            outs.push(receipt.out);
        }
        assert_eq!(outs, [3.0, 1.5].map(|number| Out::Ok(Value::Float(number))));
        let gone = rpc
            .ask("unsubscribe_run_workflow", json!([subscription]))
            .await;
        assert!(gone["result"].is_boolean(), "{gone}");
    }

    // As an array of the bytes of DAG-CBOR.
    let document = value_of_json(
        json!({ "name": "two", "workflow": two_steps() })
            .to_string()
            .as_bytes(),
    )
    .unwrap();
    let answer = rpc
        .ask("subscribe_run_workflow", json!([encode(&document)]))
        .await;
    rpc.notified(&answer["result"]).await;
    server.stop().await;
}

#[tokio::test]
async fn tasks_that_fail_are_told_too() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let mut rpc = Rpc::connect(&server).await;
    let answer = rpc
        .ask(
            "subscribe_run_workflow",
            json!([{ "name": "x", "workflow": two_steps() }]),
        )
        .await;
    let leases = executor.lease(1).await;
    executor
        .deliver(
            &leases[0],
            Out::Error(Value::String("no".into())),
            Remark::default(),
        )
        .await;
    let failed = rpc.notified(&answer["result"]).await;
    assert_eq!(
        field(&failed, &["receipt", "out"]),
        &Out::Error(Value::String("no".into())).to_value()
    );
    // Nothing was computed of it, and the client counts it all the same.
    let broken = rpc.notified(&answer["result"]).await;
    let Value::List(out) = field(&broken, &["receipt", "out"]) else {
        panic!("{broken:?}")
    };
    assert_eq!(out[0], Value::String("error".into()));
    assert_eq!(field(&broken, &["receipt", "iss"]), &Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn the_other_methods_answer_in_their_form() {
    let server = Server::in_memory().await;
    let mut rpc = Rpc::connect(&server).await;
    assert_eq!(
        rpc.ask("health", json!([])).await["result"],
        json!({ "healthy": true })
    );
    let node = rpc.ask("node", Json::Null).await;
    assert!(node["result"]["static"]["peer_id"].is_string());
    assert!(
        node["result"]["dynamic"]["listeners"][0]
            .as_str()
            .unwrap()
            .starts_with("ws://127.0.0.1:")
    );
    let metrics = rpc.ask("metrics", json!([])).await;
    let metrics = metrics["result"]["metrics"].as_array().unwrap().clone();
    let executors = metrics
        .iter()
        .find(|metric| metric["metric_name"] == "asterism_executors");
    let executors = executors.unwrap_or_else(|| panic!("{metrics:?}"));
    assert_eq!(
        (&executors["metric_type"], &executors["data"][0]["value"]),
        (&json!("gauge"), &json!("0"))
    );
    let methods = rpc.ask("rpc_discover", json!([])).await;
    assert_eq!(methods["result"]["methods"].as_array().unwrap().len(), 8);

    let events = rpc.ask("subscribe_network_events", json!([])).await;
    let _executor = FakeExecutor::connect(&server.url, 1).await;
    let event = rpc.notified(&events["result"]).await;
    assert_eq!(
        field(&event, &["type"]),
        &Value::String("network:executor_connected".into())
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_the_connection_goes_on() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let mut rpc = Rpc::connect(&server).await;
    let mut check = async |text: &str, code: i64, words: &str| {
        rpc.say(text).await;
        let answer = rpc.hear().await;
        assert_eq!(answer["error"]["code"], code, "{text}: {answer}");
        assert!(
            answer["error"]["message"].as_str().unwrap().contains(words),
            "{text}: {answer}"
        );
    };
    check("{", -32_700, "EOF").await;
    check("[]", -32_600, "").await;
    check("{}", -32_600, "jsonrpc").await;
    check(
        r#"{"jsonrpc":"1.0","id":1,"method":"health"}"#,
        -32_600,
        "2.0",
    )
    .await;
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"helth"}"#,
        -32_601,
        "did you mean `health`?",
    )
    .await;
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"subscribe_run_workflow"}"#,
        -32_602,
        "params are",
    )
    .await;
    check(
        r#"{"jsonrpc":"2.0","id":1,"method":"subscribe_run_workflow","params":[[256]]}"#,
        -32_602,
        "params are",
    )
    .await;
    check(r#"{"jsonrpc":"2.0","id":1,"method":"subscribe_run_workflow","params":[{"name":"x","workflow":{"tasks":[]}}]}"#, -32_602, "at least one task").await;
    check(r#"{"jsonrpc":"2.0","id":1,"method":"subscribe_run_workflow","params":[{"name":"x","workflow":{"tasks":[{"run":{"input":{"func":"ad","args":[]}}}]}}]}"#, -32_602, "did you mean `add`?").await;
    assert_eq!(
        rpc.ask("health", json!([])).await["result"]["healthy"],
        true
    );
    assert_eq!(
        server.json("/workflows").await,
        json!([]),
        "nothing of it ran"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_stops_says_so() {
    let server = Server::in_memory().await;
    let mut rpc = Rpc::connect(&server).await;
    rpc.ask("health", json!([])).await;
    let stopping = tokio::spawn(server.stop());
    let end = loop {
        let frame = timeout(SOON, rpc.0.next()).await.expect("it ends");
        if let Message::Close(end) = frame.unwrap().unwrap() {
            break end.expect("with a reason");
        }
    };
    assert_eq!(u16::from(end.code), 1001);
    assert!(end.reason.contains("connect again later"), "{end}");
    stopping.await.unwrap();
}
