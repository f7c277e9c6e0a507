//! The real program looks after a data directory: copies it while a coordinator serves from it, checks it, cleans it up.

#[path = "../../coordinator/tests/common/mod.rs"]
#[expect(dead_code, reason = "a part of what tests of the server need")]
mod common;

mod served;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use asterism_coordinator::store::{
    Asked, Batch, Blobs, Computed, FolderBlobs, Holder, Journal as _, Partition, SqliteJournal,
};
use asterism_protocol::{Out, Remark, Value, blob_cid, encode};
use common::{FakeExecutor, compute, math, task, workflow};
use served::Served;

fn start(data: &Path) -> Served {
    let (folder, data) = (data.parent().unwrap(), data.to_str().unwrap());
    let args = ["coordinator", "--listen", "127.0.0.1:0", "--data", data];
    Served::start(folder, &args).0
}

async fn post(
    coordinator: &Served,
    path: &str,
    body: impl Into<reqwest::Body>,
) -> reqwest::Response {
    let post = reqwest::Client::new().post(format!("{}{path}", coordinator.url));
    post.body(body).send().await.unwrap()
}

fn asterism(args: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
    command
        .arg("--json")
        .args(args)
        .args(paths)
        .output()
        .unwrap()
}

#[track_caller]
fn works(args: &[&str], paths: &[&Path]) -> serde_json::Value {
    let output = asterism(args, paths);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn fails(args: &[&str], paths: &[&Path], words: &str) {
    let output = asterism(args, paths);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(said.contains(words), "{args:?}: {said}");
}

/// Adds a receipt to a journal that was signed for another outcome.
fn forge(path: &Path) {
    let journal = SqliteJournal::open(path).unwrap();
    let (_, mut receipt) = journal.receipts(0, 1).unwrap().remove(0);
    receipt.out = Out::Ok(Value::Float(4.0));
    let holder = Holder {
        name: "forger".into(),
        address: String::new(),
    };
    let term = Duration::from_secs(60);
    let asked = journal.acquire(Partition(0), &holder, term).unwrap();
    let Asked::Granted(tenure) = asked else {
        panic!("{asked:?}");
    };
    let batch = Batch {
        events: Vec::new(),
        receipts: vec![Computed {
            cid: receipt.cid(),
            instruction: receipt.outcome().unwrap().instruction,
            receipt: encode(&receipt),
            remark: Remark::default(),
        }],
    };
    let end = journal.end(Partition(0)).unwrap();
    journal.append(tenure, end, &batch).unwrap();
}

/// Changes the last bit of the only place in a file where these bytes stand.
fn flip_behind(file: &Path, bytes: &[u8]) {
    let mut all = fs::read(file).unwrap();
    let places: Vec<usize> = all
        .windows(bytes.len())
        .enumerate()
        .filter(|(_, window)| *window == bytes)
        .map(|(at, _)| at + bytes.len() - 1)
        .collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| all[*at] ^= 1);
    fs::write(file, all).unwrap();
}

#[tokio::test]
async fn all_damage_is_told_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, copy) = (at("data"), at("copy"));
    let coordinator = start(&data);
    post(&coordinator, "/components?name=math", math()).await;
    let tasks = workflow(&[
        task("first", "add", "[1, 2.5]"),
        task("second", "add", "[3, 4]"),
    ]);
    post(&coordinator, "/run?timeout=0", tasks).await;
    let mut executor = FakeExecutor::connect(&coordinator.url, 1).await;
    for lease in executor.lease(2).await {
        executor
            .deliver(&lease, compute(&lease), Remark::default())
            .await;
        executor.accepted(lease.id).await;
    }
    works(&["backup", "--data"], &[&data, &copy]);
    drop(coordinator);

    let journal = copy.join("journal.sqlite");
    let (first, second) = {
        let journal = SqliteJournal::open_existing(&journal).unwrap();
        let mut receipts = journal.receipts(0, 10).unwrap().into_iter();
        let mut next = || receipts.next().unwrap().1;
        (next(), next())
    };
    // In the index of receipts, and in the event that tells of it.
    flip_behind(&journal, &encode(&first));
    fs::remove_file(
        copy.join("blobs")
            .join(&blob_cid(&math()).to_string()[57..])
            .join(blob_cid(&math()).to_string()),
    )
    .unwrap();
    let output = asterism(&["doctor", "--data"], &[&copy]);
    assert_eq!(output.status.code(), Some(1));
    let health: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let problems: Vec<&str> = health["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem.as_str().unwrap())
        .collect();
    let [event, receipt, blob] = problems[..] else {
        panic!("{problems:?}")
    };
    assert!(
        event.contains("damaged at event ") && event.contains("restore"),
        "{event}"
    );
    let named = format!("receipt {}", first.cid());
    assert!(
        receipt.contains(&named) && receipt.contains("computed again"),
        "{receipt}"
    );
    assert!(blob.contains("is missing; upload it again"), "{blob}");
    assert_eq!(health["receipts"], 1, "the other one was looked at");
    assert!(
        !problems
            .iter()
            .any(|problem| problem.contains(&second.cid().to_string()))
    );

    fails(&["gc", "--dry-run", "--data"], &[&copy], "damaged at event");
    let args = ["coordinator", "--listen", "127.0.0.1:0", "--data"];
    for words in ["damaged at event", "asterism doctor", "asterism restore"] {
        fails(&args, &[&copy], words);
    }
}

#[tokio::test]
async fn data_is_copied_while_it_is_served_and_checked_and_brought_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, copy, again) = (at("data"), at("copy"), at("again"));
    let coordinator = start(&data);
    post(&coordinator, "/components?name=math", math()).await;
    let tasks = workflow(&[task("add", "add", "[1, 2.5]")]);
    post(&coordinator, "/run?timeout=0", tasks.clone()).await;
    let mut executor = FakeExecutor::connect(&coordinator.url, 1).await;
    let lease = executor.lease(1).await.remove(0);
    executor
        .deliver(&lease, compute(&lease), Remark::default())
        .await;
    executor.accepted(lease.id).await;
    let stray = post(&coordinator, "/blobs", "nobody speaks of this").await;
    assert_eq!(stray.status(), 201);

    let copied = works(&["backup", "--data"], &[&data, &copy]);
    assert_eq!(copied["blobs"], 2, "{copied}");
    fails(
        &["backup", "--data"],
        &[&data, &copy],
        "holds a journal already",
    );
    for place in [&data, &copy] {
        let health = works(&["doctor", "--data"], &[place]);
        assert_eq!([&health["receipts"], &health["blobs"]], [1, 2], "{health}");
    }
    fails(&["gc", "--data"], &[&data], "in use by another coordinator");
    let dry = works(&["gc", "--dry-run", "--grace", "0", "--data"], &[&data]);
    assert_eq!([&dry["blobs"], &dry["kept"]], [1, 1], "{dry}");
    fails(&["restore", "--data"], &[&data, &copy], "in use");
    drop(coordinator);

    works(&["restore", "--data"], &[&again, &copy]);
    fails(
        &["restore", "--data"],
        &[&again, &copy],
        "holds a journal already",
    );
    let coordinator = start(&again);
    let replayed = post(&coordinator, "/run", tasks).await;
    assert_eq!(replayed.headers()["asterism-replayed"], "true");
    assert_eq!(replayed.text().await.unwrap(), "3.5");
    drop(coordinator);

    // Younger than the grace it stays; then it goes, and nothing else.
    let young = works(&["gc", "--data"], &[&again]);
    assert_eq!(young["blobs"], 0, "{young}");
    let dry = works(&["gc", "--dry-run", "--grace", "0", "--data"], &[&again]);
    assert_eq!([&dry["blobs"], &dry["kept"]], [1, 1], "{dry}");
    works(&["gc", "--grace", "0", "--data"], &[&again]);
    let stray = blob_cid(b"nobody speaks of this");
    let blobs = FolderBlobs::open(&again.join("blobs")).unwrap();
    assert_eq!(blobs.size(stray).unwrap(), None);
    let health = works(&["doctor", "--data"], &[&again]);
    assert_eq!(health["blobs"], 1, "{health}");

    // What has one name and proves nothing is found, too.
    let forged = at("forged");
    works(&["backup", "--data"], &[&again, &forged]);
    forge(&forged.join("journal.sqlite"));
    fails(&["doctor", "--data"], &[&forged], "proves nothing");
    fs::write(at("forged").join("journal.sqlite"), "no database").unwrap();
    fails(&["doctor", "--data"], &[&forged], "could not look at");

    let component = blob_cid(&math()).to_string();
    let shard = &component[component.len() - 2..];
    let file = again.join("blobs").join(shard).join(&component);
    let mut bytes = fs::read(&file).unwrap();
    bytes[9] ^= 1;
    fs::write(&file, bytes).unwrap();
    fails(&["doctor", "--data"], &[&again], "are damaged");
    fs::remove_file(&file).unwrap();
    fails(&["doctor", "--data"], &[&again], "is missing");
    fails(&["doctor", "--data"], &[&at("nowhere")], "holds no journal");
}
