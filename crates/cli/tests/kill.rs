//! The real program, ended by signal 9: what it acknowledged is still there afterwards.

#[path = "../../coordinator/tests/common/mod.rs"]
#[expect(dead_code, reason = "a part of what tests of the server need")]
mod common;

#[path = "../../coordinator/tests/common/steady.rs"]
mod steady;

#[path = "../../coordinator/tests/common/servers/mod.rs"]
#[expect(dead_code, reason = "a part of what tests of stores need")]
mod servers;

mod random_kills;
mod served;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use asterism_protocol::{
    Remark,
    message::ToExecutor,
    view::{RunState, RunSummary, RunView, TaskState},
};
use common::{FakeExecutor, compute, math, task, workflow};
use served::Served;

fn start(data: &Path, listen: &str) -> Served {
    let (folder, data) = (data.parent().unwrap(), data.to_str().unwrap());
    let args = ["coordinator", "--listen", listen, "--data", data];
    Served::start(folder, &args).0
}

async fn runs(coordinator: &Served) -> Vec<RunSummary> {
    reqwest::get(format!("{}/workflows", coordinator.url))
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

async fn post(url: String, body: impl Into<reqwest::Body>) -> reqwest::Response {
    reqwest::Client::new()
        .post(url)
        .body(body)
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_survives_signal_9() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = start(folder.path(), "127.0.0.1:0");
    assert_eq!(
        post(format!("{}/components?name=math", coordinator.url), math())
            .await
            .status(),
        201
    );
    let tasks = workflow(&[
        task("add", "add", "[1, 2]"),
        task("half", "divide", r#"["{{needs.add.output}}", 2]"#),
    ]);

    // Accepted, and not waited for.
    assert_eq!(
        post(format!("{}/run?timeout=0", coordinator.url), tasks.clone())
            .await
            .status(),
        504
    );
    let mut executor = FakeExecutor::connect(&coordinator.url, 1).await;
    let lease = executor.lease(1).await.remove(0);
    executor
        .deliver(&lease, compute(&lease), Remark::default())
        .await;
    executor.accepted(lease.id).await;
    let listen = coordinator.url.trim_start_matches("http://").to_owned();
    drop(coordinator);
    while !matches!(executor.hear().await, None | Some(ToExecutor::Bye { .. })) {}

    let coordinator = start(folder.path(), &listen);
    let runs = runs(&coordinator).await;
    assert_eq!((runs.len(), runs[0].state), (1, RunState::Running));
    let mut executor = FakeExecutor::connect(&coordinator.url, 1).await;
    let leases = executor.lease(8).await;
    assert_eq!(leases.len(), 1, "what is final is not computed again");
    assert_eq!(leases[0].task.run.input.func, "divide");
    assert!(
        leases[0].id > lease.id,
        "numbers of leases are not used twice"
    );
    executor
        .deliver(&leases[0], compute(&leases[0]), Remark::default())
        .await;
    executor.accepted(leases[0].id).await;

    let view = reqwest::get(format!(
        "{}/workflows/{}",
        coordinator.url, runs[0].workflow
    ))
    .await
    .unwrap();
    let view: RunView = view.json().await.unwrap();
    assert_eq!(view.summary.state, RunState::Done);
    assert!(
        view.tasks
            .iter()
            .all(|task| task.state == TaskState::Computed)
    );
    let result = post(format!("{}/run", coordinator.url), tasks).await;
    assert_eq!(result.headers()["asterism-replayed"], "true");
    assert_eq!(result.text().await.unwrap(), "1.5");
}

#[tokio::test]
async fn a_run_that_is_waited_for_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut coordinator = start(&data, "127.0.0.1:0");
    let listen = coordinator.url.trim_start_matches("http://").to_owned();
    post(format!("{}/components?name=math", coordinator.url), math()).await;
    let file = folder.path().join("add.json");
    std::fs::write(&file, workflow(&[task("add", "add", "[1, 2]")])).unwrap();
    let run = loop {
        let before = runs(&coordinator).await.len();
        let mut run = Command::new(env!("CARGO_BIN_EXE_asterism"))
            .args(["run", "--coordinator", &coordinator.url])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while runs(&coordinator).await.len() == before {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        drop(coordinator);
        let mut line = String::new();
        let mut said = BufReader::new(run.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        if line.contains("waiting for it to come back") {
            break run;
        }
        // The answer had not come yet, and who was told nothing waits for nothing.
        assert!(line.contains("no coordinator can be reached"), "{line}");
        run.wait().unwrap();
        coordinator = start(&data, &listen);
    };

    let coordinator = start(&data, &listen);
    let mut executor = FakeExecutor::connect(&coordinator.url, 1).await;
    let lease = executor.lease(1).await.remove(0);
    executor
        .deliver(&lease, compute(&lease), Remark::default())
        .await;
    executor.accepted(lease.id).await;
    let output = tokio::task::spawn_blocking(move || run.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "3");
}

#[test]
fn a_second_coordinator_on_the_same_data_says_why_it_cannot_start() {
    let folder = tempfile::tempdir().unwrap();
    let _first = start(folder.path(), "127.0.0.1:0");
    let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
    let second = command
        .args(["coordinator", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use by another coordinator"), "{said}");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workflow.json");
    std::fs::write(&file, "{").unwrap();
    let coordinator = start(&folder.path().join("data"), "127.0.0.1:0");
    let check = |args: &[&str], code: i32, words: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_asterism"))
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "errors are not data");
    };
    let path = file.to_str().unwrap();
    check(&["run"], 2, "Usage");
    check(
        &["run", path, "--coordinator", "http://127.0.0.1:9"],
        3,
        "no coordinator can be reached",
    );
    check(
        &["run", path, "--coordinator", &coordinator.url],
        5,
        "not a valid",
    );
    check(
        &["run", "absent.json", "--coordinator", &coordinator.url],
        5,
        "could not read absent.json because",
    );
    check(
        &[
            "receipt",
            "get",
            "nonsense",
            "--coordinator",
            &coordinator.url,
        ],
        5,
        "not a CID",
    );
    check(
        &[
            "--json",
            "component",
            "add",
            path,
            "--coordinator",
            &coordinator.url,
        ],
        5,
        "\"code\":\"component-refused\"",
    );

    let output = Command::new(env!("CARGO_BIN_EXE_asterism"))
        .args(["blob", "put", path, "--coordinator", &coordinator.url])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        asterism_protocol::blob_cid(b"{").to_string()
    );
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_interrupted_goes_on_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = start(&folder.path().join("data"), "127.0.0.1:0");
    post(format!("{}/components", coordinator.url), math()).await;
    let file = folder.path().join("sum.json");
    std::fs::write(&file, workflow(&[task("sum", "add", "[1, 2]")])).unwrap();
    // Nobody is here who would compute it.
    let run = Command::new(env!("CARGO_BIN_EXE_asterism"))
        .args(["run", "--coordinator", &coordinator.url])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    while runs(&coordinator).await.is_empty() {
        assert!(began.elapsed().as_secs() < 60, "no run was submitted");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let sent = Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("error: interrupted\nhint: "), "{said}");
    // The run may have been made and its number not have come yet.
    let named = ["workflow cancel 1", "workflow cancel RUN"];
    assert!(named.iter().any(|way| said.contains(way)), "{said}");
    assert_eq!(runs(&coordinator).await[0].state, RunState::Running);
}
