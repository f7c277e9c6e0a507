//! Homestar's own client for JavaScript, as npm has it, with the real coordinator.
#![cfg(not(target_arch = "wasm32"))]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use asterism_protocol::blob_cid;
use asterism_tests::{
    guests,
    harness::{Coordinator, Executor, root},
};
use serde_json::Value as Json;
use tokio::process::Command;

/// The longest that npm or the client may take, builds of others beside it.
const WITHIN: Duration = Duration::from_secs(180);

/// What the client is made of; its packages are named, with their hashes, in the lock file.
const FILES: [&str; 5] = [
    ".npmrc",
    "client.mjs",
    "package.json",
    "package-lock.json",
    "unused/package.json",
];

/// A folder with the client and its packages, fetched again only when the files change.
async fn installed() -> PathBuf {
    let source = root().join("tests/homestar-client");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("homestar-client");
    let mark = folder.join(".whole");
    let same = |name: &&str| fs::read(source.join(name)).ok() == fs::read(folder.join(name)).ok();
    if mark.exists() && FILES.iter().all(same) {
        return folder;
    }
    // What is left of another one would be mixed with this.
    let _ = fs::remove_dir_all(&folder);
    for name in FILES {
        let target = folder.join(name);
        fs::create_dir_all(target.parent().expect("it has a folder")).expect("it can be made");
        fs::copy(source.join(name), target).expect("it can be copied");
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    said(npm.current_dir(&folder)).await;
    fs::write(mark, "").expect("it can be written");
    folder
}

/// What a program writes, once it has ended well.
async fn said(command: &mut Command) -> String {
    let output = tokio::time::timeout(WITHIN, command.kill_on_drop(true).output())
        .await
        .unwrap_or_else(|_| panic!("{command:?} does not end"))
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {talk}");
    String::from_utf8(output.stdout).expect("it writes text")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_a_workflow_and_hears_every_receipt() {
    let client = installed().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let coordinator = Coordinator::start(&folder.path().join("data"));
    let _executor = Executor::start(coordinator.url(), &folder.path().join("executor"), 1);
    let api = coordinator.api();
    api.add_component("math", guests::MATH).await;

    let mut node = Command::new("node");
    node.arg("client.mjs")
        .arg(coordinator.url().replace("http://", "ws://"))
        .arg(blob_cid(guests::MATH).to_string());
    let heard = said(node.current_dir(&client)).await;
    let heard: Json = serde_json::from_str(&heard).expect("it writes JSON");

    assert_eq!(heard["health"]["healthy"], true);
    assert!(heard["node"]["static"]["peer_id"].is_string(), "{heard}");
    assert!(heard["metrics"]["metrics"].is_array(), "{heard}");
    for (round, replayed) in [(0, false), (1, true)] {
        let told = heard["runs"][round].as_array().expect("receipts");
        let outs: Vec<&Json> = told.iter().map(|told| &told["out"]).collect();
        assert_eq!(
            outs,
            [
                &serde_json::json!(["ok", 3.5]),
                &serde_json::json!(["ok", 1.75])
            ]
        );
        for told in told {
            assert_eq!(told["name"], "two-steps");
            assert_eq!(told["replayed"], replayed);
        }
    }
    // The client's names for things are ours.
    let last = &heard["runs"][1][1];
    let name = last["receipt"].as_str().expect("a CID");
    let receipt = api.get(&format!("/receipts/{name}")).await;
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    assert_eq!(receipt.json()["out"], last["out"]);
    assert_eq!(receipt.json()["ran"]["/"], last["ran"]);
    let run = api.newest_run().await;
    assert_eq!(last["workflow"], run.summary.workflow.to_string());
}
