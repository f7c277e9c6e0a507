//! What authors get wrong is told at its place, in one form, and leaves nothing behind.

use asterism_protocol::blob_cid;
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::{
    common::{SOON, Server, task, workflow},
    gateway::json_of,
    sum,
};

#[tokio::test]
async fn a_call_that_cannot_be_made_is_refused_by_parameter() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let check = async |path: &str, status: u16, words: &str| {
        let (is, error) = json_of(server.get(path).await).await;
        assert_eq!(is, status, "{path}: {error}");
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{path}: {error}"
        );
    };
    check("/ad?a=1&b=2", 404, "did you mean `add`?").await;
    check("/ad/schema", 404, "did you mean `add`? `math` exports it").await;
    check("/math/ad?a=1&b=2", 404, "did you mean `add`?").await;
    check("/maths/add", 404, "did you mean `math/add`?").await;
    check("/math/add?a=1", 400, "b: it is missing").await;
    check(
        "/add?a=1&b=9007199254740993",
        400,
        "b: 9007199254740993 has no exact f64",
    )
    .await;
    check("/add?a=1", 400, "b: it is missing").await;
    check("/add?a=1&b=two", 400, "b: `two` is not a number").await;
    check("/add?a=1&b=2&c=3", 400, "c: there is no such parameter").await;
    check(
        "/add?a=1&b=2&timeout=soon",
        400,
        "`timeout` is `soon`, and a whole number from 0 to 18446744073709551615 is wanted",
    )
    .await;
    let (status, error) = json_of(server.post("/add", r#"{"a":"x","b":1}"#).await).await;
    assert_eq!(
        (status, &error["details"]["path"]),
        (400, &json!("a")),
        "{error}"
    );
    server.stop().await;
}

#[tokio::test]
async fn bad_requests_are_answered_clearly_and_at_once() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let absent = blob_cid(b"absent");
    let [blob, receipt, of_absent] =
        ["blobs", "receipts", "workflows"].map(|noun| format!("/{noun}/{absent}"));
    let full = |rsc: &str, func: &str, args: Json| {
        json!({"tasks": [{"cause": null, "meta": {}, "prf": [], "run": {
            "input": {"func": func, "args": args}, "nnc": "", "op": "wasm/run", "rsc": rsc}}]})
        .to_string()
    };
    let one = |run: Json| json!({ "tasks": [{ "run": run }] }).to_string();
    let add = |args: Json| one(json!({ "input": { "func": "add", "args": args } }));
    let table: Vec<(&str, &str, Vec<u8>, u16, &str)> = vec![
        ("POST", "/run", b"".to_vec(), 400, "empty"),
        ("POST", "/run", b"{".to_vec(), 400, "not a valid"),
        ("POST", "/run", b"{\"tasks\":".to_vec(), 400, "not a valid"),
        ("POST", "/run", b"\xff\xfe".to_vec(), 400, "neither a text in UTF-8"),
        ("POST", "/run", b"\xa1\x65tasks".to_vec(), 400, "ends too early"),
        ("POST", "/run", b"\xa1\x65tasks\x9f\xff".to_vec(), 400, "indefinite"),
        ("POST", "/run", "[".repeat(100_000).into(), 400, "not a valid"),
        ("POST", "/run", "{\"a\":".repeat(100_000).into(), 400, "not a valid"),
        ("POST", "/run", b"null".to_vec(), 400, "must be a map"),
        ("POST", "/run", b"{}".to_vec(), 400, "`tasks`"),
        ("POST", "/run", b"{\"task\":[]}".to_vec(), 400, "did you mean `tasks`?"),
        ("POST", "/run", b"{\"tasks\":{}}".to_vec(), 400, "list of tasks"),
        ("POST", "/run", b"{\"tasks\":[]}".to_vec(), 400, "at least one task"),
        ("POST", "/run", b"{\"tasks\":[1]}".to_vec(), 400, "tasks[0]"),
        ("POST", "/run", b"{\"tasks\":[{}]}".to_vec(), 400, "`run` is missing"),
        ("POST", "/run", one(json!({})).into(), 400, "`input` is missing"),
        ("POST", "/run", one(json!({"input": {"args": []}})).into(), 400, "run.input.func"),
        ("POST", "/run", one(json!({"input": {"func": 5}})).into(), 400, "run.input.func"),
        ("POST", "/run", one(json!({"input": {"func": "ad", "args": [1, 2]}})).into(), 400, "did you mean `add`?"),
        ("POST", "/run", one(json!({"input": {"func": "", "args": []}})).into(), 400, "a function needs a name"),
        ("POST", "/run", one(json!({"op": "wasm/walk", "input": {"func": "add", "args": [1, 2]}})).into(), 400, "wasm/walk"),
        ("POST", "/run", one(json!({"rsc": "https://x", "input": {"func": "add", "args": [1, 2]}})).into(), 400, "run.rsc"),
        ("POST", "/run", one(json!({"rsc": format!("ipfs://{absent}"), "input": {"func": "add", "args": [1, 2]}})).into(), 400, "is not here"),
        ("POST", "/run", one(json!({"nnc": 5, "input": {"func": "add", "args": [1, 2]}})).into(), 400, "run.nnc"),
        ("POST", "/run", one(json!({"name": "", "input": {"func": "add", "args": [1, 2]}})).into(), 400, "run.name"),
        ("POST", "/run", one(json!({"name": "x".repeat(300), "input": {"func": "add", "args": [1, 2]}})).into(), 400, "run.name"),
        ("POST", "/run", json!({"tasks": [{"meta": {"memory": -1}, "run": {"input": {"func": "add", "args": [1, 2]}}}]}).to_string().into(), 400, "meta.memory"),
        ("POST", "/run", add(json!([1])).into(), 400, "takes 2 arguments"),
        ("POST", "/run", add(json!([1, 2, 3])).into(), 400, "takes 2 arguments"),
        ("POST", "/run", add(json!([1, "x"])).into(), 400, "args[1]"),
        ("POST", "/run", add(json!([1, null])).into(), 400, "args[1]"),
        ("POST", "/run", add(json!({"a": 1})).into(), 400, "must be a list"),
        ("POST", "/run", add(json!([1, "{{needs.b.output}}"])).into(), 400, "no task has the name `b`"),
        ("POST", "/run", add(json!([1, "x {{needs.b.output}}"])).into(), 400, "placeholder"),
        ("POST", "/run", add(json!([1, "{{cid:bafy}}"])).into(), 400, "args"),
        ("POST", "/run", add(json!([{"await/ok": 5}, 1])).into(), 400, "await/ok"),
        ("POST", "/run", workflow(&[task("a", "add", r#"["{{needs.a.output}}", 1]"#)]).into(), 400, "circle"),
        ("POST", "/run", workflow(&[task("a", "add", "[1,2]"), task("a", "add", "[1,2]")]).into(), 400, "same name"),
        ("POST", "/run", full(&format!("ipfs://{absent}"), "f", json!([])).into(), 400, "is not here"),
        ("POST", "/run", full("ipfs://x", "f", json!([])).into(), 400, "run.rsc"),
        ("POST", "/run?timeout=soon", sum().into(), 400, "`timeout` is `soon`, and a whole number from 0 to "),
        ("POST", "/run?timeout=-1", sum().into(), 400, "`timeout` is `-1`, and"),
        ("POST", "/run?timeout=1&timeout=2", sum().into(), 400, "`timeout` is there twice"),
        ("POST", "/run?timout=5", sum().into(), 400, "`timout` is not known here, did you mean `timeout`?"),
        ("POST", "/run?wait=perhaps", sum().into(), 400, "`wait` is `perhaps`, and true or false is wanted"),
        ("POST", "/run?priority=high", sum().into(), 400, "`priority` is `high`, and a whole number from -2147483648 to"),
        ("POST", "/run?verify=much", sum().into(), 400, "verify: `much` is not a policy"),
        ("GET", "/workflows?state=finished", Vec::new(), 400, "`state` is `finished`, and one of running, done"),
        ("POST", "/workflow", b"{".to_vec(), 400, "not a valid"),
        ("POST", "/components", b"no wasm".to_vec(), 422, "WebAssembly"),
        ("POST", "/components", b"".to_vec(), 422, "WebAssembly"),
        ("POST", "/components", b"\0asm\x01\0\0\0".to_vec(), 422, ""),
        ("POST", "/components", b"\0asm\x0d\0\x01\0".to_vec(), 422, ""),
        ("POST", "/components?name=", b"no wasm".to_vec(), 422, "WebAssembly"),
        ("POST", "/components?name=..", b"no wasm".to_vec(), 400, "a folder"),
        ("POST", "/components?name=a%2Fb", b"no wasm".to_vec(), 400, "a `/`"),
        ("POST", "/components?name=a%0Ab", b"no wasm".to_vec(), 400, "U+000A"),
        ("POST", "/components?name=a%E2%80%AEb", b"no wasm".to_vec(), 400, "U+202E"),
        ("POST", "/components?name=ma%E2%80%8Bth", b"no wasm".to_vec(), 400, "U+200B"),
        ("GET", "/blobs/x", Vec::new(), 400, "x"),
        ("GET", &blob, Vec::new(), 404, "is not here"),
        ("PUT", &blob, b"other".to_vec(), 422, ""),
        ("GET", "/receipts/x", Vec::new(), 400, "x"),
        ("GET", &receipt, Vec::new(), 404, "neither a receipt"),
        ("GET", "/workflows/x", Vec::new(), 400, "x"),
        ("GET", "/workflows/77", Vec::new(), 404, "run 77"),
        ("GET", &of_absent, Vec::new(), 404, "no run of"),
        ("GET", "/workflows/77/result", Vec::new(), 404, "run 77"),
        ("GET", "/workflows/77/events", Vec::new(), 404, "run 77"),
        ("GET", "/workflows/77/tasks/0", Vec::new(), 404, "run 77"),
        ("DELETE", "/workflows/77", Vec::new(), 404, "run 77"),
        ("DELETE", "/run", Vec::new(), 405, "DELETE"),
        ("GET", "/nothing/at/all", Vec::new(), 404, "nothing at"),
        ("GET", "/nothing", Vec::new(), 404, "no component here exports"),
        ("GET", "/ws/watch", Vec::new(), 426, ""),
        ("POST", "/add", b"5".to_vec(), 400, "object by name"),
        ("POST", "/add", b"{".to_vec(), 400, "not a valid"),
        ("POST", "/add", b"{\"a\":1,\"a\":2}".to_vec(), 400, "the key `a` stands twice"),
        ("POST", "/add", b"".to_vec(), 400, "a: it is missing"),
    ];
    assert!(table.len() >= 60);
    let client = reqwest::Client::new();
    for (method, path, body, status, words) in table {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let request = client
            .request(method.parse().unwrap(), server.at(path))
            .body(body);
        let answered = timeout(SOON, request.send()).await;
        let response = answered
            .unwrap_or_else(|_| panic!("{method} {path} {shown} hangs"))
            .unwrap();
        let (is, error) = json_of(response).await;
        assert_eq!(is, status, "{method} {path} {shown}: {error}");
        assert!(
            error["code"].is_string(),
            "{method} {path} {shown}: {error}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            !message.is_empty() && message.contains(words),
            "{method} {path} {shown}: {message:?} does not say {words:?}"
        );
    }
    // None of it left anything behind.
    assert_eq!(server.json("/workflows").await, json!([]));
    assert_eq!(
        server.json("/components").await.as_array().unwrap().len(),
        1
    );
    server.stop().await;
}

#[tokio::test]
async fn every_mistake_is_found_at_once_with_its_place() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let yaml = "tasks:\n  - run:\n      name: sum\n      input: {func: ad, args: [1, 2]}\n  - run:\n      input:\n        func: divide\n        args: [one, 2]\n";
    let (status, answer) = json_of(server.post("/validate", yaml).await).await;
    assert_eq!(status, 200);
    let places: Vec<String> = answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            format!(
                "{}:{} {}",
                finding["line"],
                finding["column"],
                finding["path"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            "4:21 tasks[0].run.input.func",
            "8:16 tasks[1].run.input.args[0]"
        ],
        "{answer:#}"
    );
    // Whoever runs it is told all of them, too.
    let (status, error) = json_of(server.post("/run", yaml).await).await;
    assert_eq!(
        (
            status,
            error["details"]["findings"].as_array().unwrap().len()
        ),
        (400, 2),
        "{error}"
    );

    let absent = json!({"tasks": [{"run": {"input": {"func": "add", "args": [1, {"/": blob_cid(b"absent").to_string()}]}}}]});
    let (_, answer) = json_of(server.post("/validate", absent.to_string()).await).await;
    assert_eq!(answer["findings"].as_array().unwrap().len(), 1, "{answer}");
    let (_, answer) = json_of(server.post("/validate", sum()).await).await;
    assert_eq!(answer["findings"], json!([]));
    server.stop().await;
}
