//! The gateway as authors use it: functions as paths, runs in every way they can be waited for.

use crate::common::{FakeExecutor, SOON, Server, compute, task, workflow};
use asterism_coordinator::Options;
use asterism_protocol::{Failure, Out, Remark, TrapKind, Value, blob_cid};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

const SUM: &str = r#"{"tasks":[{"run":{"name":"sum","input":{"func":"add","args":[3.1,5.2]}}}]}"#;

pub(crate) async fn json_of(response: reqwest::Response) -> (u16, Json) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let json =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} is not JSON: {text}"));
    (status, json)
}

/// Adds and divides; dividing by zero is a trap.
async fn work(mut executor: FakeExecutor) {
    loop {
        for lease in executor.lease(4).await {
            let out = match compute(&lease) {
                Out::Ok(Value::Float(number)) if !number.is_finite() => {
                    let trap = TrapKind::Unreachable;
                    let func = lease.task.run.input.func.clone();
                    Out::Error(Failure { trap, func }.to_value())
                }
                out => out,
            };
            executor.deliver(&lease, out, Remark::default()).await;
        }
    }
}

async fn working() -> Server {
    let server = Server::in_memory().await;
    server.add_math().await;
    tokio::spawn(work(FakeExecutor::connect(&server.url, 1).await));
    server
}

#[tokio::test]
async fn functions_are_paths() {
    let server = working().await;
    let text = async |response: reqwest::Response| {
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    };
    assert_eq!(text(server.get("/add?a=3.1&b=5.2").await).await, "8.3");
    assert_eq!(
        text(server.post("/add", r#"{"b":2,"a":1}"#).await).await,
        "3"
    );
    assert_eq!(text(server.post("/divide", "[1,4]").await).await, "0.25");

    let schema = server.json("/add/schema").await;
    assert_eq!(schema["propertyOrder"], json!(["a", "b"]));
    let by_query = server.json("/add/workflow?b=5.2&a=3.1").await;
    let (_, by_body) = json_of(server.post("/add/workflow", r#"{"a":3.1,"b":5.2}"#).await).await;
    let (_, prepared) = json_of(server.post("/workflow", SUM).await).await;
    assert_eq!(
        by_query["cid"], prepared["cid"],
        "one call has one CID however it is made"
    );
    for path in ["/math/add", "/math%2Fadd"] {
        let of_component = server.json(&format!("{path}/workflow?b=5.2&a=3.1")).await;
        assert_eq!(of_component["cid"], prepared["cid"], "{path}");
        let body = r#"{"a":3.1,"b":5.2}"#;
        assert_eq!(text(server.post(path, body).await).await, "8.3", "{path}");
        let called = server.get(&format!("{path}?a=3.1&b=5.2")).await;
        assert_eq!(text(called).await, "8.3", "{path}");
        assert_eq!(server.json(&format!("{path}/schema")).await, schema);
    }
    assert_eq!(by_body["cid"], prepared["cid"]);

    let functions = server.json("/functions").await;
    let add = functions
        .as_array()
        .unwrap()
        .iter()
        .find(|function| function["name"] == "add")
        .unwrap();
    assert_eq!(add["signature"], "add(a: f64, b: f64) -> f64");
    assert_eq!(server.json("/").await[0][1]["type"], "object");
    server.stop().await;
}

#[tokio::test]
async fn a_page_elsewhere_does_not_call_functions_in_passing() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let get = async |site: &str| {
        let request = reqwest::Client::new().get(server.at("/add?a=1&b=2&timeout=0"));
        request
            .header("sec-fetch-site", site)
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(get("cross-site").await, 403);
    assert_eq!(get("same-origin").await, 504);
    assert_eq!(get("none").await, 504, "an address that somebody typed");
    server.stop().await;
}

#[tokio::test]
async fn a_run_is_waited_for_later() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let response = server.post("/run?wait=false", SUM).await;
    assert_eq!(response.status(), 202);
    let at = response.headers()["location"].to_str().unwrap().to_owned();
    let started: Json = response.json().await.unwrap();
    assert_eq!(started["at"], json!(at));
    let (path, query) = at.split_once('?').unwrap();

    let late = server
        .get(&format!("{path}/result?{query}&timeout=20"))
        .await;
    assert_eq!(late.status(), 504);
    tokio::spawn(work(FakeExecutor::connect(&server.url, 1).await));
    let result = server.get(&format!("{path}/result?{query}")).await;
    assert_eq!(result.headers()["asterism-run"], started["run"].to_string());
    assert_eq!(result.text().await.unwrap(), "8.3");
    let all = server.json(&format!("{path}/result?allResults=true")).await;
    assert_eq!(all[0]["out"], json!(8.3));
    // A run is named by its number, too.
    assert_eq!(
        server
            .get(&format!("/workflows/{}/result", started["run"]))
            .await
            .text()
            .await
            .unwrap(),
        "8.3"
    );
    let (status, error) = json_of(server.get(&format!("{path}?run=99")).await).await;
    assert_eq!((status, &error["code"]), (404, &json!("not-found")));
    // Whatever number is meant, it is told.
    let huge = "99999999999999999999";
    for (path, status, said) in [
        (
            "/workflows/1?run=99999".to_owned(),
            400,
            "run 1, and the query run 99999",
        ),
        ("/workflows/1?run=1".to_owned(), 200, ""),
        (
            format!("/workflows/{huge}"),
            404,
            "run 99999999999999999999 is not here",
        ),
        ("/workflows/-1".to_owned(), 404, "run -1 is not here"),
        (
            format!("{path}?run={huge}"),
            404,
            "run 99999999999999999999 is not here",
        ),
        (format!("{path}/result?run=-1"), 404, "run -1 is not here"),
        (
            format!("{path}/document?run=one"),
            400,
            "`one` is not the number of a run",
        ),
    ] {
        let (is, answer) = json_of(server.get(&path).await).await;
        assert_eq!(is, status, "{path}: {answer}");
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.contains(said), "{path}: {message}");
    }
    let document = server.json(&format!("{path}/document")).await;
    assert_eq!(document["cid"], started["workflow"]);
    server.stop().await;
}

/// Names and data of a stream of events, to its end.
async fn events(response: reqwest::Response) -> Vec<(String, Json)> {
    assert_eq!(response.status(), 200);
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/event-stream")
    );
    let text = timeout(SOON, response.text())
        .await
        .expect("the stream ends")
        .unwrap();
    let events = text
        .split("\n\n")
        .filter(|event| event.starts_with("event:"));
    events
        .map(|event| {
            let field = |name: &str| {
                let line = event.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_else(|| panic!("{event} has no {name}"))
                    .trim()
                    .to_owned()
            };
            (
                field("event:"),
                serde_json::from_str(&field("data:")).unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_run_is_told_as_it_happens() {
    let server = working().await;
    let both = workflow(&[
        task("add", "add", "[1, 2]"),
        task("half", "divide", r#"["{{needs.add.output}}", 2]"#),
    ]);
    let stream = async |path: &str, body: Option<&str>| {
        let client = reqwest::Client::new();
        let request = match body {
            Some(body) => client.post(server.at(path)).body(body.to_owned()),
            None => client.get(server.at(path)),
        };
        events(
            request
                .header("accept", "text/event-stream")
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    let told = stream("/run", Some(&both)).await;
    assert_eq!(told[0].0, "run");
    assert_eq!(told[0].1["state"], "running");
    let computed = told
        .iter()
        .filter(|(name, data)| name == "task" && data["state"] == "computed");
    assert_eq!(computed.count(), 2, "{told:#?}");
    let (name, end) = told.last().unwrap();
    assert_eq!(
        (name.as_str(), &end["summary"]["state"]),
        ("end", &json!("done"))
    );
    assert_eq!(end["result"]["out"], json!(1.5));

    // Once it has ended, the stream is short.
    let workflow = end["summary"]["workflow"].as_str().unwrap();
    let again = stream(&format!("/workflows/{workflow}/events"), None).await;
    let names: Vec<&str> = again.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["run", "task", "task", "end"]);

    let failed = stream("/run", Some(&workflow_of_a_failure())).await;
    let (_, end) = failed.last().unwrap();
    assert_eq!(
        (&end["status"], &end["error"]["code"]),
        (&json!(422), &json!("task-failed"))
    );
    server.stop().await;
}

fn workflow_of_a_failure() -> String {
    workflow(&[
        task("bad", "divide", "[1, 0]"),
        task("good", "add", "[1, 2]"),
    ])
}

#[tokio::test]
async fn the_same_key_is_the_same_run() {
    let server = working().await;
    let ask = async |key: &str, body: &'static str| {
        let request = reqwest::Client::new()
            .post(server.at("/run?wait=false"))
            .header("idempotency-key", key)
            .body(body);
        json_of(request.send().await.unwrap()).await
    };
    let (first, again, other) = tokio::join!(ask("a", SUM), ask("a", SUM), ask("b", SUM));
    assert_eq!((first.0, again.0, other.0), (202, 202, 202));
    assert_eq!(first.1["run"], again.1["run"]);
    assert_ne!(first.1["run"], other.1["run"]);
    let product = r#"{"tasks":[{"run":{"input":{"func":"divide","args":[1,4]}}}]}"#;
    let (status, error) = ask("a", product).await;
    assert_eq!(
        (status, error["code"].as_str()),
        (422, Some("idempotency-key-reused"))
    );
    let (status, error) = ask(&"k".repeat(256), SUM).await;
    assert_eq!(
        (status, error["code"].as_str()),
        (400, Some("invalid-input"))
    );
    // What was refused leaves its key to what is right.
    assert_eq!(ask("c", "{").await.0, 400);
    assert_eq!(ask("c", SUM).await.0, 202);
    server.stop().await;
}

#[tokio::test]
async fn a_run_is_repeated_with_its_names_and_memory() {
    let server = working().await;
    let (_, first) = json_of(server.post("/run?wait=false&name=sums", SUM).await).await;
    let run = first["run"].as_u64().unwrap();
    server.json(&format!("/workflows/{run}/result")).await;
    let again = server.post(&format!("/workflows/{run}/rerun"), "").await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.text().await.unwrap(), "8.3");
    let view = server.json(&format!("/workflows/{}", run + 1)).await;
    assert_eq!(view["summary"]["name"], "sums");
    assert_eq!(view["summary"]["workflow"], first["workflow"]);
    assert_eq!(view["tasks"][0]["name"], "sum");
    assert_eq!(view["tasks"][0]["state"], "replayed");
    let (status, _) = json_of(server.post("/workflows/99/rerun", "").await).await;
    assert_eq!(status, 404);
    let (status, _) = json_of(
        server
            .post(&format!("/workflows/{run}/rerun?nonce=a"), "")
            .await,
    )
    .await;
    assert_eq!(status, 400);
    server.stop().await;
}

#[tokio::test]
async fn a_failure_that_nobody_awaits_is_not_passed_over() {
    let server = working().await;
    let (status, error) = json_of(server.post("/run", workflow_of_a_failure()).await).await;
    assert_eq!(status, 422);
    assert_eq!(
        [
            &error["details"]["task"],
            &error["details"]["function"],
            &error["details"]["kind"]
        ],
        ["bad", "divide", "unreachable"]
    );
    assert_eq!(
        error["details"]["result"]["out"],
        json!(3.0),
        "the last task's result is there all the same"
    );

    let (status, error) = json_of(
        server
            .post("/run?allResults=true", workflow_of_a_failure())
            .await,
    )
    .await;
    assert_eq!(status, 422);
    assert_eq!(error["details"]["results"][1]["out"], json!(3.0));
    server.stop().await;
}

#[tokio::test]
async fn a_failure_that_is_awaited_is_part_of_the_plan() {
    let server = Server::in_memory().await;
    // `say` takes whatever `bad` came to; the other branch is not taken.
    let component = wat::parse_str(
        r#"(component
            (core module $m (func (export "f") (param f64) (result f64) (local.get 0)))
            (core instance $i (instantiate $m))
            (func (export "bad") (param "a" f64) (result f64) (canon lift (core func $i "f")))
            (func (export "say") (param "a" f64) (result f64) (canon lift (core func $i "f"))))"#,
    )
    .unwrap();
    assert_eq!(server.post("/components", component).await.status(), 201);
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    tokio::spawn(async move {
        loop {
            for lease in executor.lease(4).await {
                let out = match lease.task.run.input.func.as_str() {
                    "bad" => Out::Error(Value::Integer(5)),
                    _ => Out::Ok(Value::Integer(6)),
                };
                executor.deliver(&lease, out, Remark::default()).await;
            }
        }
    });
    let tasks = [
        task("bad", "bad", "[1]"),
        task("else", "say", r#"["{{needs.bad.output}}"]"#),
        task("say", "say", r#"["{{needs.bad.error}}"]"#),
    ];
    let response = server.post("/run", workflow(&tasks)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "6");
    server.stop().await;
}

#[tokio::test]
async fn only_what_runs_is_cancelled() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let (_, started) = json_of(server.post("/run?wait=false", SUM).await).await;
    let at = format!("/workflows/{}", started["workflow"].as_str().unwrap());
    let cancel = async || json_of(server.post(&format!("{at}/cancel"), "").await).await;
    for _ in 0..2 {
        let (status, answer) = cancel().await;
        assert_eq!(
            (status, &answer["state"]),
            (200, &json!("cancelled")),
            "cancelling twice is no error"
        );
    }
    tokio::spawn(work(FakeExecutor::connect(&server.url, 1).await));
    assert_eq!(server.post("/run", SUM).await.status(), 200);
    let (status, error) = cancel().await;
    assert_eq!(
        (status, &error["code"]),
        (409, &json!("already-ended")),
        "{error}"
    );
    assert_eq!(error["details"]["state"], "done");
    server.stop().await;
}

#[tokio::test]
async fn a_task_says_why_it_waits() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let both = workflow(&[
        task("add", "add", "[1, 2]"),
        task("half", "divide", r#"["{{needs.add.output}}", 2]"#),
    ]);
    let (_, started) = json_of(server.post("/run?wait=false", both).await).await;
    let why = async |task: &str| {
        let at = format!(
            "/workflows/{}/tasks/{task}",
            started["workflow"].as_str().unwrap()
        );
        let (status, answer) = json_of(server.get(&at).await).await;
        assert_eq!(status, 200, "{answer}");
        answer["why"].to_string()
    };
    assert!(why("add").await.contains("no executor is here"));
    assert!(
        why("1")
            .await
            .contains("it waits for task `add`, which is ready")
    );
    tokio::spawn(work(FakeExecutor::connect(&server.url, 1).await));
    let done = format!("/workflows/{}/result", started["run"]);
    assert_eq!(server.get(&done).await.text().await.unwrap(), "1.5");
    assert!(why("half").await.contains("computed it"));
    let (status, error) = json_of(
        server
            .get(&format!("/workflows/{}/tasks/hal", started["run"]))
            .await,
    )
    .await;
    assert_eq!(status, 404);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("did you mean `half`?")
    );
    server.stop().await;
}

#[tokio::test]
async fn yaml_and_json_are_one_workflow() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let yaml = "# the same\ntasks:\n- run: {name: sum, input: {func: add, args: [3.1, 5.2]}}\n";
    let (_, by_yaml) = json_of(server.post("/workflow", yaml).await).await;
    let (_, by_json) = json_of(server.post("/workflow", SUM).await).await;
    assert!(by_json["cid"].is_string());
    assert_eq!(by_yaml["cid"], by_json["cid"]);
    server.stop().await;
}

#[tokio::test]
async fn every_route_is_described_and_answers() {
    let server = Server::in_memory().await;
    let api = server.json("/openapi.json").await;
    let page = server.get("/api").await.text().await.unwrap();
    assert!(
        !page.contains("<script") && !page.contains("src="),
        "the page loads nothing"
    );
    let paths = api["paths"].as_object().unwrap();
    for (path, operations) in paths {
        assert!(page.contains(path.as_str()), "{path} is not on the page");
        for (method, operation) in operations.as_object().unwrap() {
            assert!(
                operation["summary"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
            let address = path.replace("{function}", "f").replace(['{', '}'], "");
            let method: reqwest::Method = method.to_ascii_uppercase().parse().unwrap();
            let request = reqwest::Client::new().request(method.clone(), server.at(&address));
            let response = request.send().await.unwrap();
            assert_ne!(response.status(), 405, "{method} {path}");
            if response.status().as_u16() >= 400 && method != "HEAD" {
                let (_, error) = json_of(response).await;
                assert!(
                    error["code"].is_string() && error["message"] != "there is nothing at",
                    "{method} {path}: {error}"
                );
            }
        }
    }
    for path in [
        "/",
        "/run",
        "/workflow",
        "/functions",
        "/{function}",
        "/{function}/schema",
        "/{function}/workflow",
        "/openapi.json",
        "/api",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn browsers_get_the_page_and_programs_the_data() {
    let panel = tempfile::tempdir().unwrap();
    std::fs::write(panel.path().join("index.html"), "<html>panel</html>").unwrap();
    std::fs::write(panel.path().join("style.css"), "body{}").unwrap();
    let server = Server::start(Options {
        panel: Some(panel.path().into()),
        ..Options::default()
    })
    .await;
    server.add_math().await;
    tokio::spawn(work(FakeExecutor::connect(&server.url, 1).await));
    server.post("/run", SUM).await;
    let workflow = server.json("/workflows").await[0]["workflow"]
        .as_str()
        .unwrap()
        .to_owned();
    let get = async |path: &str| {
        let request = reqwest::Client::new().get(server.at(path));
        request
            .header("accept", "text/html,*/*;q=0.8")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    for path in [
        "/",
        "/donate",
        "/here",
        "/workflows",
        "/functions",
        "/executors",
        "/workflows/1",
        &format!("/workflows/{workflow}"),
        "/no-such-function",
    ] {
        assert_eq!(get(path).await, "<html>panel</html>", "{path}");
    }
    assert_eq!(get("/style.css").await, "body{}");
    assert_eq!(
        get("/add?a=1&b=2").await,
        "3",
        "a call is a call, whoever makes it"
    );
    assert!(server.json(&format!("/workflows/{workflow}")).await["tasks"].is_array());
    server.stop().await;
}

#[tokio::test]
async fn executors_are_drained_and_banned_by_name_or_key() {
    let server = working().await;
    let executors = server.json("/executors").await;
    let (key, name) = (&executors[0]["key"], &executors[0]["name"]);
    let at = |verb: &str, which: &Json| format!("/executors/{}/{verb}", which.as_str().unwrap());
    let (status, answer) = json_of(server.post(&at("drain", name), "").await).await;
    assert_eq!((status, &answer["executor"]), (200, key));
    let waiting = server.post("/run?timeout=200", SUM).await;
    assert_eq!(waiting.status(), 504, "nothing is leased");
    let undone = format!("{}?undo=true", at("drain", key));
    assert_eq!(server.post(&undone, "").await.status(), 200);
    assert_eq!(server.post("/run", SUM).await.text().await.unwrap(), "8.3");
    let banned = format!("{}?reason=noise", at("ban", key));
    assert_eq!(server.post(&banned, "").await.status(), 200);
    let view = &server.json("/executors").await[0];
    assert_eq!(view["standing"], "excluded");
    assert_eq!(view["reason"], "the operator excluded it: noise");
    let (status, error) = json_of(server.post(&undone, "").await).await;
    assert_eq!((status, error["code"].as_str()), (409, Some("excluded")));
    // By the key, as all commands: it is a stranger again, and told to come back.
    let lifted = format!("{}?undo=true", at("ban", key));
    let (status, answer) = json_of(server.post(&lifted, "").await).await;
    assert_eq!((status, &answer["banned"]), (200, &Json::Bool(false)));
    let left = server.json("/executors").await;
    assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
    let (status, error) = json_of(server.post(&lifted, "").await).await;
    assert_eq!(
        (status, error["code"].as_str()),
        (409, Some("not-excluded"))
    );
    let (status, error) = json_of(server.post("/executors/nobody/ban", "").await).await;
    assert_eq!((status, error["code"].as_str()), (404, Some("not-found")));
    server.stop().await;
}

#[tokio::test]
async fn a_component_that_finds_no_place_is_not_kept() {
    let server = Server::in_memory().await;
    let client = reqwest::Client::new();
    let add = |bytes: Vec<u8>| {
        let request = client.post(server.at("/components")).body(bytes);
        async move { request.send().await.unwrap().status() }
    };
    let mut here = 0;
    loop {
        let text = format!("(module (func (export \"f{here}\")))");
        match add(wat::parse_str(&text).unwrap()).await.as_u16() {
            201 => here += 1,
            status => break assert_eq!(status, 429),
        }
        assert!(here < 10_000, "somebody is refused at last");
    }
    let math = crate::common::math();
    assert_eq!(add(math.clone()).await, 429);
    let kept = server.get(&format!("/blobs/{}", blob_cid(&math))).await;
    assert_eq!(kept.status(), 404);
    // What is here already is added again.
    let first = wat::parse_str("(module (func (export \"f0\")))").unwrap();
    assert_eq!(add(first).await, 201);
    server.stop().await;
}
