//! What has a CID for a name: components and blobs.

use asterism_protocol::{Out, Remark, Value, blob_cid, message::ToExecutor};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::{
    common::{FakeExecutor, SOON, Server, math},
    sum,
};

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
    let again = server.post("/components?name=other", math()).await;
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
