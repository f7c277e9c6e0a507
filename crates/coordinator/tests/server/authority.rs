//! Who may decide for others, over HTTP: the operator by its token or by sitting at the machine, submitters by that of their run.

use asterism_coordinator::Options;
use serde_json::{Value as Json, json};

use crate::{
    common::{FakeExecutor, Server},
    sum,
};

const TOKEN: &str = "a-token-of-an-operator";

/// Somebody beyond a proxy that says so, or at the machine.
#[derive(Clone, Copy)]
enum From {
    Elsewhere,
    Here,
}

async fn post(server: &Server, path: &str, from: From, token: Option<&str>) -> (u16, Json) {
    let mut request = reqwest::Client::new().post(server.at(path));
    if let From::Elsewhere = from {
        request = request.header("x-forwarded-for", "192.0.2.1");
    }
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

async fn is_paused(server: &Server) -> bool {
    let health = server.get("/health").await;
    let health: Json = health.json().await.unwrap();
    health["paused"].as_bool().unwrap()
}

async fn served(options: Options) -> Server {
    let server = Server::start(Options {
        operator_token: Some(TOKEN.to_owned()),
        ..options
    })
    .await;
    server.add_math().await;
    server
}

#[tokio::test]
async fn what_is_the_operator_s_wants_the_token_from_elsewhere() {
    let server = served(Options::default()).await;
    let executor = FakeExecutor::connect(&server.url, 1).await;
    let did = executor.identity.public_key().did();
    let mut paths = vec!["/pause".to_owned(), "/resume".to_owned()];
    for verb in ["drain", "drain?undo=true", "ban", "ban?undo=true"] {
        paths.push(format!("/executors/{did}/{verb}"));
    }
    for path in &paths {
        for wrong in [None, Some("another-token-of-nobody")] {
            let (status, error) = post(&server, path, From::Elsewhere, wrong).await;
            assert_eq!(
                (status, &error["code"]),
                (401, &json!("operator-only")),
                "{path}: {error}"
            );
            assert!(
                error["hint"].as_str().unwrap().contains("operator-token"),
                "{error}"
            );
        }
        let (status, answer) = post(&server, path, From::Elsewhere, Some(TOKEN)).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
    let (status, _) = post(&server, "/pause", From::Here, None).await;
    assert_eq!(status, 200, "who sits at the machine needs none");
    // And is told of a wrong one all the same.
    let (status, error) = post(&server, "/resume", From::Here, Some("a-token-of-nobody")).await;
    assert_eq!((status, &error["code"]), (401, &json!("operator-only")));
    let (message, hint) = (error["message"].as_str(), error["hint"].as_str());
    assert!(
        message
            .unwrap()
            .ends_with("the token that came is not the operator's"),
        "{error}"
    );
    assert!(hint.unwrap().starts_with("leave the token away"), "{error}");
    assert!(is_paused(&server).await);
    let submitted = server.post("/run?wait=false", sum()).await;
    let started: Json = submitted.json().await.unwrap();
    let cancel = format!("/workflows/{}/cancel", started["run"]);
    let (status, error) = post(&server, &cancel, From::Here, Some("a-token-of-nobody")).await;
    assert_eq!((status, &error["code"]), (401, &json!("submitter-only")));
    let (status, error) = post(&server, &cancel, From::Here, None).await;
    assert_eq!(status, 200, "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_coordinator_may_want_the_token_from_everybody() {
    let strict = [
        Options {
            require_operator_token: true,
            ..Options::default()
        },
        Options {
            allow_origins: vec!["https://panel.example".into()],
            ..Options::default()
        },
    ];
    for options in strict {
        let server = served(options).await;
        for (token, wanted) in [
            (None, 401),
            (Some("another-token-of-nobody"), 401),
            (Some(TOKEN), 200),
        ] {
            let (status, answer) = post(&server, "/pause", From::Here, token).await;
            assert_eq!(status, wanted, "{answer}");
            assert_eq!(is_paused(&server).await, wanted == 200);
        }
        // Who waits in vain hears why.
        let late: Json = server
            .post("/run?timeout=10", sum())
            .await
            .json()
            .await
            .unwrap();
        let hint = late["hint"].as_str().unwrap();
        assert!(hint.starts_with("the coordinator is paused"), "{late}");
        server.stop().await;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options {
        operator_token: Some("short".to_owned()),
        ..Options::default()
    };
    let served = asterism_coordinator::serve(listener, options, async {}).await;
    let refused = served.unwrap_err().to_string();
    assert!(refused.contains("16 to 1024 visible"), "{refused}");
}

#[tokio::test]
async fn a_run_is_its_submitter_s_and_the_operator_s_to_end_and_pause() {
    let server = served(Options {
        require_operator_token: true,
        ..Options::default()
    })
    .await;
    let submit = async || {
        let response = server.post("/run?wait=false", sum()).await;
        let token = response.headers()["asterism-run-token"]
            .to_str()
            .unwrap()
            .to_owned();
        let started: Json = response.json().await.unwrap();
        assert_eq!(started["token"], token);
        (started["run"].as_u64().unwrap(), token)
    };
    let (run, token) = submit().await;
    let (other, other_token) = submit().await;
    assert_ne!(token, other_token);
    let paths = ["pause", "resume", "tasks/0/cancel", "cancel"];
    for path in paths.map(|verb| format!("/workflows/{run}/{verb}")) {
        for wrong in [None, Some(other_token.as_str())] {
            let (status, error) = post(&server, &path, From::Here, wrong).await;
            assert_eq!(
                (status, &error["code"]),
                (401, &json!("submitter-only")),
                "{path}: {error}"
            );
        }
        let (status, answer) = post(&server, &path, From::Elsewhere, Some(&token)).await;
        let answer = (status, answer);
        // Its only task was ended before the run is.
        let late = (409, json!("already-ended"));
        assert!(
            answer.0 == 200 || (answer.0, answer.1["code"].clone()) == late,
            "{path}: {answer:?}"
        );
    }
    let cancel = format!("/workflows/{other}/cancel");
    let (status, answer) = post(&server, &cancel, From::Elsewhere, Some(TOKEN)).await;
    assert_eq!((status, &answer["state"]), (200, &json!("cancelled")));
    // Whoever reads of a run is not told its token.
    let told = server.get(&format!("/workflows/{run}")).await;
    assert!(!told.headers().contains_key("asterism-run-token"));
    assert!(!told.text().await.unwrap().contains(&token));
    server.stop().await;
}

#[tokio::test]
async fn a_run_s_token_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options {
        data: Some(folder.path().to_owned()),
        require_operator_token: true,
        ..Options::default()
    };
    let server = served(options()).await;
    let started: Json = server
        .post("/run?wait=false", sum())
        .await
        .json()
        .await
        .unwrap();
    server.stop().await;
    let server = served(options()).await;
    let cancel = format!("/workflows/{}/cancel", started["run"]);
    let (status, answer) = post(&server, &cancel, From::Here, started["token"].as_str()).await;
    assert_eq!((status, &answer["state"]), (200, &json!("cancelled")));
    server.stop().await;
}

#[tokio::test]
async fn what_a_path_or_a_query_says_wrong_is_answered_in_the_one_form() {
    let server = Server::in_memory().await;
    for (path, said) in [
        ("/blobs/%ff", "the path is not understood"),
        ("/receipts/%ff", "the path is not understood"),
        ("/workflows/%ff", "the path is not understood"),
        ("/workflows/1/tasks/%ff", "the path is not understood"),
        ("/%ff/schema", "the path is not understood"),
        ("/workflows?limit=-1", "limit"),
        ("/workflows?limit=many", "limit"),
        ("/workflows?state=finished", "finished"),
        ("/workflows?stat=done", "stat"),
        ("/executors?state=done", "state"),
        ("/components?limit=1", "limit"),
        ("/functions?limit=1", "limit"),
    ] {
        let response = server.get(path).await;
        let status = response.status().as_u16();
        let error: Json = response.json().await.unwrap_or_default();
        let message = error["message"].as_str().unwrap_or_default();
        assert_eq!(status, 400, "{path}: {error}");
        assert_eq!(error["code"], "invalid-input", "{path}");
        assert!(message.contains(said), "{path}: {message}");
    }
    server.add_math().await;
    for _ in 0..3 {
        assert_eq!(server.post("/run?wait=false", sum()).await.status(), 202);
    }
    for (query, count) in [
        ("limit=2", 2),
        ("limit=0", 0),
        ("state=running", 3),
        ("state=done", 0),
        ("state=running&limit=1", 1),
    ] {
        let runs = server.json(&format!("/workflows?{query}")).await;
        assert_eq!(runs.as_array().map(Vec::len), Some(count), "{query}");
    }
    server.stop().await;
}
