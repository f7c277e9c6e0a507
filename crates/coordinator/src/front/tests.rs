//! Several coordinators on one journal with several partitions.

mod away;
mod between;
mod crowded;
mod decided;
mod handed;
mod homestar;
mod lines;
mod watchers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use asterism_protocol::{
    Identity, MerkleTree, Remark, Statement,
    message::{
        Change, Held, Lease, LeaseId, ToCoordinator, ToExecutor, ToWatcher, decode_frame,
        hello_bytes,
    },
    view::{RunState, RunSummary, RunView},
};
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

use crate::{
    Options,
    disk::{
        Disk, LONG, Server,
        common::{FakeExecutor, compute, delivery, frame, hello, math, socket, task, workflow},
        steady::{Accepted, work},
    },
    store::{Journal as _, MemoryJournal, Partition, Sequence},
};

const TOKEN: &str = "0123456789abcdef";

/// How many partitions there are in these tests.
const PARTITIONS: u16 = 4;

/// So many workflows are in all of them.
const MANY: u32 = 24;

fn disk() -> Disk {
    Disk {
        journal: MemoryJournal::parted(PARTITIONS),
        ..Disk::default()
    }
}

async fn serve(disk: &Disk) -> Server {
    serve_as(disk, Options::default()).await
}

async fn serve_as(disk: &Disk, options: Options) -> Server {
    let options = Options {
        operator_token: Some(TOKEN.to_owned()),
        ..options
    };
    disk.serve(&Arc::default(), options).await.unwrap()
}

/// The partitions that a coordinator holds.
async fn held(server: &Server) -> BTreeSet<u64> {
    let health = server.json("/health").await.unwrap_or_default();
    let here = health["partitions"]["here"].as_array().cloned();
    here.into_iter()
        .flatten()
        .filter_map(|partition| partition.as_u64())
        .collect()
}

/// Waits until each of them holds its share.
async fn shared(servers: &[&Server]) {
    let begun = Instant::now();
    loop {
        let mut all = Vec::new();
        for server in servers {
            all.push(held(server).await);
        }
        let share = usize::from(PARTITIONS).div_ceil(servers.len());
        let fair = all
            .iter()
            .all(|held| !held.is_empty() && held.len() <= share);
        let together: BTreeSet<&u64> = all.iter().flatten().collect();
        if fair && together.len() == usize::from(PARTITIONS) {
            return;
        }
        assert!(begun.elapsed() < LONG, "{all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn two(disk: &Disk) -> (Server, Server) {
    let (first, second) = (serve(disk).await, serve(disk).await);
    shared(&[&first, &second]).await;
    (first, second)
}

/// A workflow of two tasks that no other one has, and what it comes to.
fn chain(number: u32) -> (Vec<u8>, f64) {
    let first = f64::from(number) + 0.5;
    let tasks = [
        task("one", "add", &format!("[{first:?}, 2.0]")),
        task("two", "add", r#"["{{needs.one.output}}", 3.5]"#),
    ];
    (workflow(&tasks).into_bytes(), first + 5.5)
}

async fn runs(server: &Server) -> Vec<RunSummary> {
    let runs = server.json("/workflows").await.expect("a list");
    serde_json::from_value(runs).unwrap()
}

async fn run_of(server: &Server, run: u64) -> RunView {
    let view = server.json(&format!("/workflows/{run}")).await;
    serde_json::from_value(view.expect("the run")).unwrap()
}

/// Waits until a run has ended.
async fn ended(server: &Server, run: u64) -> RunView {
    let begun = Instant::now();
    loop {
        if let Some(view) = server.json(&format!("/workflows/{run}")).await {
            let view: RunView = serde_json::from_value(view).unwrap();
            if view.summary.state != RunState::Running {
                return view;
            }
            assert!(begun.elapsed() < LONG, "{view:?}");
        }
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Which partitions these runs are in.
fn partitions(runs: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
    let partition = |run| run % u64::from(PARTITIONS);
    runs.into_iter().map(partition).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_executor_at_one_coordinator_does_what_is_submitted_to_any() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    second.post("/components?name=math", math(), &[201]).await;
    let working = tokio::spawn(work(first.url.clone(), 7, Accepted::default()));
    for number in 0..MANY {
        let server = if number % 2 == 0 { &first } else { &second };
        let (body, result) = chain(number);
        let said = server.post("/run?timeout=20000", body, &[200]).await;
        assert_eq!(said, result);
    }
    let all = runs(&first).await;
    assert_eq!(all.len(), MANY as usize);
    assert_eq!(all, runs(&second).await);
    let numbers = all.iter().map(|run| run.run.0);
    assert_eq!(partitions(numbers.clone()).len(), usize::from(PARTITIONS));
    assert_eq!(numbers.collect::<BTreeSet<u64>>().len(), all.len());
    for run in &all {
        for server in [&first, &second] {
            let path = format!("/workflows/{}", run.workflow);
            let view = server.json(&path).await.unwrap();
            let view: RunView = serde_json::from_value(view).unwrap();
            assert_eq!(view.summary, *run);
        }
        // However its number is written.
        let digits = run.run.0.to_string().into_bytes();
        let number: String = digits.iter().map(|digit| format!("%{digit:x}")).collect();
        let view = second.json(&format!("/workflows/{number}")).await;
        assert!(view.is_some(), "{number}");
        // Its log is the partition's.
        let partition = Partition((run.run.0 % u64::from(PARTITIONS)) as u16);
        assert!(disk.journal.end(partition).unwrap() > Sequence(0));
    }
    for server in [&first, &second] {
        let executors = server.json("/executors").await.unwrap();
        assert_eq!(executors.as_array().map(Vec::len), Some(1), "{executors}");
        assert_eq!(executors[0]["tasks"], 2 * MANY, "{executors}");
    }
    // It is connected to one of them, whoever it works for.
    for (server, connected) in [(&first, 1), (&second, 0)] {
        let health = server.json("/health").await.unwrap();
        assert_eq!(health["executors"], connected, "{health}");
    }
    working.abort();
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_partition_computed_no_other_one_computes_again() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    let working = tokio::spawn(work(second.url.clone(), 7, Accepted::default()));
    let common = task("common", "add", "[1.0, 2.0]");
    let mut computed = BTreeMap::new();
    let mut numbers = Vec::new();
    for number in 0..MANY {
        let own = task("own", "divide", &format!("[{number}.5, 2.0]"));
        let server = if number % 2 == 0 { &first } else { &second };
        let body = workflow(&[common.clone(), own]).into_bytes();
        let said = server.post("/run?wait=false", body, &[202]).await;
        let run = said["run"].as_u64().unwrap();
        let view = ended(server, run).await;
        assert_eq!(view.summary.state, RunState::Done);
        *computed.entry(view.tasks[0].state).or_insert(0) += 1;
        numbers.push(run);
    }
    assert_eq!(partitions(numbers).len(), usize::from(PARTITIONS));
    let states: Vec<u32> = computed.into_values().collect();
    assert_eq!(states, [1, MANY - 1], "computed once, and replayed");
    working.abort();
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_gets_its_share_and_gives_it_back() {
    let disk = disk();
    let first = serve(&disk).await;
    assert_eq!(held(&first).await.len(), usize::from(PARTITIONS));
    first.post("/components?name=math", math(), &[201]).await;
    let working = tokio::spawn(work(first.url.clone(), 7, Accepted::default()));
    let submit = async |server: &Server, number| {
        let (body, result) = chain(number);
        let said = server.post("/run?timeout=20000", body, &[200]).await;
        assert_eq!(said, result);
    };
    for number in 0..4 {
        submit(&first, number).await;
    }
    let second = serve(&disk).await;
    for number in 4..8 {
        submit(&second, number).await;
    }
    shared(&[&first, &second]).await;
    let third = serve(&disk).await;
    for number in 8..12 {
        submit(&third, number).await;
    }
    shared(&[&first, &second, &third]).await;
    for number in 12..16 {
        submit(&first, number).await;
    }
    first.stop().await;
    working.abort();
    let working = tokio::spawn(work(third.url.clone(), 8, Accepted::default()));
    for number in 16..20 {
        submit(&second, number).await;
    }
    shared(&[&second, &third]).await;
    assert_eq!(runs(&third).await.len(), 20);
    working.abort();
    second.stop().await;
    shared(&[&third]).await;
    third.stop().await;
}

/// An executor that comes with leases; which of them go on.
async fn holding(server: &Server, seed: u8, leases: &[&Lease]) -> (FakeExecutor, Vec<LeaseId>) {
    let mut executor = FakeExecutor {
        socket: socket(&server.url, "/ws/executor").await.unwrap(),
        identity: Identity::from_seed(&[seed; 32]),
    };
    let Some(ToExecutor::Challenge { nonce, .. }) = executor.hear().await else {
        panic!("no challenge")
    };
    let proof = executor.identity.sign(&hello_bytes(&nonce));
    let held = leases.iter().map(|lease| Held {
        lease: lease.id,
        instruction: lease.task.run.cid(),
    });
    let hello = hello(&executor.identity, proof, held.collect());
    executor.say(&hello).await;
    match executor.hear().await {
        Some(ToExecutor::Welcome { resumed, .. }) => (executor, resumed),
        other => panic!("{other:?}"),
    }
}

/// Submits workflows of one task each, and has an executor hold all of them.
async fn all_leased(server: &Server, executor: &mut FakeExecutor) -> (Vec<u64>, Vec<Lease>) {
    let (mut numbers, mut leases) = (Vec::new(), Vec::new());
    for number in 0..MANY {
        let body = workflow(&[task("one", "add", &format!("[{number}.5, 2.0]"))]);
        let said = server
            .post("/run?wait=false", body.into_bytes(), &[202])
            .await;
        numbers.push(said["run"].as_u64().unwrap());
    }
    while leases.len() < numbers.len() {
        leases.extend(executor.lease(8).await);
    }
    (numbers, leases)
}

/// Says what all of these came to, under one signature.
async fn say_all(executor: &mut FakeExecutor, leases: &[Lease]) {
    let deliver = |lease| delivery(lease, compute(lease), Remark::default());
    let items: Vec<_> = leases.iter().map(deliver).collect();
    let statements = items.iter().map(|item| Statement {
        outcome: item.outcome.cid(),
        conditions: item.conditions,
    });
    let tree = MerkleTree::new(&statements.collect::<Vec<_>>());
    let signature = executor.identity.sign(&tree.signed_bytes());
    executor
        .say(&ToCoordinator::Deliver { items, signature })
        .await;
}

/// Delivers all of these as one.
async fn deliver_all(executor: &mut FakeExecutor, leases: &[Lease]) {
    say_all(executor, leases).await;
    let mut open: BTreeSet<LeaseId> = leases.iter().map(|lease| lease.id).collect();
    while !open.is_empty() {
        match executor.hear().await {
            Some(ToExecutor::Accepted { leases }) => open.retain(|lease| !leases.contains(lease)),
            Some(ToExecutor::Rejected { reason, .. } | ToExecutor::Bye { reason }) => {
                panic!("{reason}")
            }
            Some(_) => {}
            None => panic!("disconnected with {open:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_several_partitions_is_accepted_by_each() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    let mut executor = FakeExecutor::connect(&first.url, 1).await;
    let (numbers, leases) = all_leased(&second, &mut executor).await;
    assert_eq!(
        partitions(numbers.iter().copied()).len(),
        usize::from(PARTITIONS)
    );
    // They belong together, whichever coordinator gave them.
    let leases_of = leases.iter().map(|lease| lease.id).collect();
    executor
        .say(&ToCoordinator::Heartbeat { leases: leases_of })
        .await;
    deliver_all(&mut executor, &leases).await;
    for run in numbers {
        assert_eq!(run_of(&first, run).await.summary.state, RunState::Done);
    }
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_go_on_at_whoever_takes_a_partition_over() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    let mut executor = FakeExecutor::connect(&second.url, 1).await;
    let (numbers, leases) = all_leased(&second, &mut executor).await;
    assert_eq!(held(&first).await.len(), 2);
    first.stop().await;
    // Its connection to the other one ends, since it has leases there.
    while executor.hear().await.is_some() {}
    shared(&[&second]).await;
    let (mut executor, resumed) = holding(&second, 1, &leases.iter().collect::<Vec<_>>()).await;
    assert_eq!(resumed.len(), leases.len(), "all go on");
    deliver_all(&mut executor, &leases).await;
    for run in numbers {
        let view = ended(&second, run).await;
        assert_eq!(view.summary.state, RunState::Done);
    }
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_decides_at_one_holds_for_all_partitions() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    let client = reqwest::Client::new();
    let post = async |server: &Server, path: &str| {
        let post = client.post(format!("{}{path}", server.url));
        post.bearer_auth(TOKEN).send().await.unwrap()
    };
    let working = tokio::spawn(work(first.url.clone(), 7, Accepted::default()));
    let key = Identity::from_seed(&[7; 32]).public_key();

    // Paused.
    assert_eq!(post(&second, "/pause").await.status(), StatusCode::OK);
    let mut numbers = Vec::new();
    for number in 0..MANY {
        let said = first.post("/run?wait=false", chain(number).0, &[202]).await;
        numbers.push(said["run"].as_u64().unwrap());
    }
    assert_eq!(
        partitions(numbers.iter().copied()).len(),
        usize::from(PARTITIONS)
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    for run in runs(&second).await {
        assert_eq!(run.counts.computed + run.counts.leased, 0, "{run:?}");
    }
    assert_eq!(post(&first, "/resume").await.status(), StatusCode::OK);
    for run in numbers {
        assert_eq!(ended(&second, run).await.summary.state, RunState::Done);
    }

    // Banned.
    let path = format!("/executors/{}/ban", key.did());
    let path = path.as_str();
    assert_eq!(post(&second, path).await.status(), StatusCode::OK);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in MANY..2 * MANY {
        let server = if number % 2 == 0 { &first } else { &second };
        server
            .post("/run?wait=false", chain(number).0, &[202])
            .await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for run in runs(&first).await.iter().take(MANY as usize) {
        assert_eq!(run.counts.computed + run.counts.leased, 0, "{run:?}");
    }
    let executors = first.json("/executors").await.unwrap();
    assert_eq!(executors[0]["standing"], "excluded", "{executors}");
    let undo = format!("{path}?undo=true");
    let undo = undo.as_str();
    assert_eq!(post(&first, undo).await.status(), StatusCode::OK);
    for run in runs(&second).await {
        assert_eq!(
            ended(&second, run.run.0).await.summary.state,
            RunState::Done
        );
    }
    assert_eq!(post(&first, undo).await.status(), StatusCode::CONFLICT);
    working.abort();
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_drained_is_so_until_it_is_gone() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    let mut executor = FakeExecutor::connect(&first.url, 1).await;
    let did = executor.identity.public_key().did();
    let drain = format!("{}/executors/{did}/drain", second.url);
    let drained = reqwest::Client::new().post(drain).bearer_auth(TOKEN).send();
    assert_eq!(drained.await.unwrap().status(), StatusCode::OK);
    for number in 0..MANY {
        first.post("/run?wait=false", chain(number).0, &[202]).await;
    }
    let (slots, wait_ms) = (1, 1_500);
    executor.say(&ToCoordinator::Poll { slots, wait_ms }).await;
    let said = executor.hear().await;
    assert!(
        matches!(&said, Some(ToExecutor::Assign { leases }) if leases.is_empty()),
        "{said:?}"
    );
    drop(executor);
    let begun = Instant::now();
    while first.json("/executors").await != Some(json!([])) {
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Also where it was not when that was decided.
    let mut executor = FakeExecutor::connect(&second.url, 1).await;
    assert_eq!(executor.lease(1).await.len(), 1);
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_hears_of_executors_that_are_at_other_partitions() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    // It wants nothing now, so it is where it came, and nowhere else.
    let _busy = FakeExecutor::connect(&first.url, 1).await;
    let mut numbers = Vec::new();
    for number in 0..MANY {
        let late = second
            .post("/run?timeout=50", chain(number).0, &[504])
            .await;
        let hint = late["hint"].as_str().unwrap();
        assert!(!hint.contains("no executor is here"), "{late}");
        let run = late["details"]["run"].as_u64().unwrap();
        let task = second.json(&format!("/workflows/{run}/tasks/one")).await;
        let task = task.expect("the task");
        assert_eq!(task["waits"], "", "{task}");
        let why = task["why"][1].as_str().unwrap();
        assert!(
            why.starts_with("1 executor with 1 thread is here"),
            "{task}"
        );
        numbers.push(run);
    }
    assert_eq!(partitions(numbers).len(), usize::from(PARTITIONS));
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_through_another_coordinator_is_the_same_run() {
    let disk = disk();
    // Tasks get nonces here, so what is submitted twice is not the same by itself.
    let fresh = Options {
        fresh: true,
        ..Options::default()
    };
    let first = serve_as(&disk, fresh.clone()).await;
    let second = serve_as(&disk, fresh).await;
    shared(&[&first, &second]).await;
    first.post("/components?name=math", math(), &[201]).await;
    let client = reqwest::Client::new();
    let submit = async |server: &Server, number: u32, key: &str| {
        let post = client.post(format!("{}/run?wait=false", server.url));
        let post = post.header("idempotency-key", key).body(chain(number).0);
        let response = post.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        response.json::<Json>().await.unwrap()["run"]
            .as_u64()
            .unwrap()
    };
    for number in 0..8 {
        let key = format!("key {number}");
        let key = key.as_str();
        let run = submit(&first, number, key).await;
        assert_eq!(submit(&second, number, key).await, run);
        let other = format!("another key {number}");
        assert_ne!(submit(&second, number, other.as_str()).await, run);
    }
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_coordinators_ask_a_partition() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    for path in [
        "/partitions/0/workflows",
        "/partitions/1/submitted",
        "/partitions/0/all/paused",
        "/coordinators/drain",
        "/coordinators/executor",
        "/coordinators/watcher",
    ] {
        let asked = reqwest::get(format!("{}{path}", first.url)).await.unwrap();
        assert_eq!(asked.status(), StatusCode::FORBIDDEN, "{path}");
    }
    second.stop().await;
    first.stop().await;
}
