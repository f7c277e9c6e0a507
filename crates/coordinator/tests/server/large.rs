//! Workflows that are larger than documents may be.

use asterism_protocol::{
    Cid, Effects, Files, Input, Instruction, Meta, Nonce, Task, Value, Workflow, encode,
    limits::DOCUMENT_BYTES_MAX,
};
use futures_util::stream;
use serde_json::json;

use crate::{
    common::{FakeExecutor, Server},
    gateway::json_of,
};

/// More bytes than a document may have, in few tasks.
fn large(component: Cid) -> Workflow {
    let text = "x".repeat(1 << 20);
    let task = |index: usize| Task {
        run: Instruction {
            rsc: format!("ipfs://{component}"),
            op: "wasm/run".into(),
            input: Input {
                func: "add".into(),
                args: vec![Value::Integer(index as i128), Value::String(text.clone())],
                files: Files::new(),
                effects: Effects::new(),
            },
            nnc: Nonce::Empty,
        },
        cause: None,
        meta: Meta::default(),
        prf: Vec::new(),
    };
    Workflow {
        tasks: (0..=DOCUMENT_BYTES_MAX >> 20).map(task).collect(),
    }
}

#[tokio::test]
async fn a_full_workflow_in_its_encoding_may_be_larger_than_a_document() {
    let server = Server::in_memory().await;
    let component = server.add_math().await;
    let workflow = large(component);
    let bytes = encode(&workflow);
    let answer = server.post("/run?wait=false", bytes.clone()).await;
    let told = answer.headers().get("asterism-workflow").cloned();
    let (status, said) = json_of(answer).await;
    assert_eq!(status, 202, "{said}");
    assert_eq!(told.unwrap().to_str().unwrap(), workflow.cid().to_string());
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let lease = executor.lease(1).await.remove(0);
    assert_eq!(*lease.task, workflow.tasks[0]);

    // Without its length nobody knows that there is room for it.
    let chunk = |chunk: &[u8]| Ok::<_, std::io::Error>(chunk.to_vec());
    let chunks: Vec<_> = bytes.chunks(1 << 20).map(chunk).collect();
    let body = reqwest::Body::wrap_stream(stream::iter(chunks));
    let sent = reqwest::Client::new().post(server.at("/run")).body(body);
    match sent.send().await {
        Ok(answer) => assert_eq!(answer.status(), 413),
        Err(error) => assert!(error.is_request() || error.is_body(), "{error}"),
    }
    server.stop().await;
}

#[tokio::test]
async fn a_large_workflow_that_is_not_full_is_refused_with_the_place() {
    let server = Server::in_memory().await;
    let component = server.add_math().await;
    let mut workflow = large(component);
    workflow.tasks[5]
        .run
        .input
        .args
        .push("{{needs.x.output}}".into());
    let (status, said) = json_of(server.post("/run", encode(&workflow)).await).await;
    assert_eq!(status, 400, "{said}");
    assert_eq!(said["details"]["path"], "tasks[5]", "{said}");
    assert!(
        said["message"].as_str().unwrap().contains("canonical"),
        "{said}"
    );

    workflow.tasks[5].run.op = "wasm/walk".into();
    workflow.tasks[5].run.input.args.pop();
    let (status, said) = json_of(server.post("/run", encode(&workflow)).await).await;
    assert_eq!(
        (status, &said["details"]["path"]),
        (400, &json!("tasks[5].run.op")),
        "{said}"
    );

    // Larger than a document, and nothing else.
    let text = vec![b' '; DOCUMENT_BYTES_MAX + 1];
    let (status, said) = json_of(server.post("/run", text).await).await;
    assert_eq!(status, 400, "{said}");
    assert_eq!(server.json("/health").await["status"], "ok");
    server.stop().await;
}
