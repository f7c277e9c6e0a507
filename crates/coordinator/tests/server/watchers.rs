//! Those who watch: all runs as they change, or one of them from near.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use asterism_protocol::{
    encode,
    message::{Change, ToWatched, ToWatcher, decode_frame},
    view::{RunId, RunState, RunView, TaskState},
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    common::{FakeExecutor, SOON, Server, Socket, frame, socket},
    gateway::json_of,
    sum, two_steps,
};

async fn hear(watcher: &mut Socket) -> ToWatcher {
    decode_frame(&frame(watcher).await.unwrap()).unwrap()
}

#[tokio::test]
async fn a_watcher_sees_a_snapshot_and_then_changes() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let mut watcher = socket(&server.url, "/ws/watch").await.unwrap();
    let ToWatcher::Snapshot(overview) = hear(&mut watcher).await else {
        panic!("a snapshot comes first")
    };
    assert_eq!((overview.runs.len(), overview.components.len()), (0, 1));

    let waiting = tokio::spawn({
        let url = server.at("/run?name=seen");
        async move {
            reqwest::Client::new()
                .post(url)
                .body(two_steps())
                .send()
                .await
                .unwrap()
        }
    });
    let run = loop {
        if let ToWatcher::Changes(changes) = hear(&mut watcher).await
            && let Some(Change::Run(summary)) = changes
                .iter()
                .find(|change| matches!(change, Change::Run(_)))
        {
            assert_eq!(summary.name, "seen");
            break summary.run;
        }
    };
    watcher
        .send(Message::Binary(
            encode(&ToWatched::Watch {
                run: Some(run),
                from: 0,
            })
            .into(),
        ))
        .await
        .unwrap();
    let view = loop {
        if let ToWatcher::Run(view) = hear(&mut watcher).await {
            break view;
        }
    };
    assert_eq!(view.tasks[1].state, TaskState::Waiting);

    tokio::spawn(FakeExecutor::connect(&server.url, 1).await.work());
    let (mut computed, mut ended, mut executor) = (0, false, false);
    while !ended || computed < 2 || !executor {
        let ToWatcher::Changes(changes) = hear(&mut watcher).await else {
            continue;
        };
        for change in changes {
            match change {
                Change::Task { task, .. } => {
                    computed += usize::from(task.state == TaskState::Computed)
                }
                Change::Run(summary) => ended |= summary.state == RunState::Done,
                Change::Executor(view) => executor |= view.host == "null",
                Change::ExecutorGone(_) | Change::Component(_) | Change::Paused(_) => {}
            }
        }
    }
    assert_eq!(
        timeout(SOON, waiting)
            .await
            .unwrap()
            .unwrap()
            .text()
            .await
            .unwrap(),
        "1.5"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_large_run_is_seen_in_parts() {
    const TASKS: usize = 2_500;
    let server = Server::in_memory().await;
    server.add_math().await;
    let tasks: Vec<Json> = (0..TASKS)
        .map(|n| json!({"run": {"input": {"func": "add", "args": [n, 0.5]}}}))
        .collect();
    let answer = server
        .post("/run?wait=false", json!({ "tasks": tasks }).to_string())
        .await;
    assert_eq!(answer.status(), 202);

    let mut address = "/workflows/1?limit=1000".to_owned();
    let mut places = Vec::new();
    loop {
        let answer = server.get(&address).await;
        let link = answer.headers().get("link").cloned();
        let view: RunView = answer.json().await.unwrap();
        assert_eq!(view.summary.counts.total() as usize, TASKS);
        places.extend(view.tasks.iter().map(|task| task.index as usize));
        let Some(link) = link else { break };
        let (next, relation) = link.to_str().unwrap().split_once('>').unwrap();
        assert_eq!(relation, "; rel=\"next\"");
        address = next.trim_start_matches('<').to_owned();
    }
    assert_eq!(places, (0..TASKS).collect::<Vec<_>>());
    let beyond: RunView = server
        .get("/workflows/1?from=9999")
        .await
        .json()
        .await
        .unwrap();
    assert!(beyond.tasks.is_empty());
    for limit in ["0", "10001"] {
        let answer = server.get(&format!("/workflows/1?limit={limit}")).await;
        assert_eq!(answer.status(), 400);
        let error: Json = answer.json().await.unwrap();
        assert_eq!(
            error["message"],
            format!("limit={limit} is not from 1 to 10000")
        );
    }

    let mut watcher = socket(&server.url, "/ws/watch").await.unwrap();
    for (from, first, last) in [(0, 0, 1_999), (2_000, 2_000, 2_499)] {
        let watch = ToWatched::Watch {
            run: Some(RunId(1)),
            from,
        };
        watcher
            .send(Message::Binary(encode(&watch).into()))
            .await
            .unwrap();
        let view = loop {
            if let ToWatcher::Run(view) = hear(&mut watcher).await {
                break view;
            }
        };
        let ends = [view.tasks.first(), view.tasks.last()];
        assert_eq!(ends.map(|task| task.unwrap().index), [first, last]);
    }
    // What becomes of tasks beside the window is not told.
    tokio::spawn(FakeExecutor::connect(&server.url, 4).await.work());
    let (mut told, mut ended) = (BTreeSet::new(), false);
    while !ended || told.len() < 500 {
        let ToWatcher::Changes(changes) = hear(&mut watcher).await else {
            continue;
        };
        for change in changes {
            match change {
                Change::Task { task, .. } => drop(told.insert(task.index)),
                Change::Run(summary) => ended |= summary.state == RunState::Done,
                _ => {}
            }
        }
    }
    assert_eq!(told, (2_000..2_500).collect());

    // Who follows it as a stream is told every task, part after part.
    let events = server
        .get("/workflows/1/events")
        .await
        .text()
        .await
        .unwrap();
    let tasks = events.matches("event: task").count();
    assert_eq!(tasks, TASKS);
    assert!(events.contains("event: end"), "{}", events.len());
    server.stop().await;
}

#[tokio::test]
async fn watchers_of_a_network_are_bounded_and_places_come_back() {
    let server = Server::in_memory().await;
    server.add_math().await;
    let (_, started) = json_of(server.post("/run?wait=false", sum()).await).await;
    let at = server.at(&format!("/workflows/{}/events", started["run"]));
    let client = reqwest::Client::new();
    let mut open = Vec::new();
    let full = loop {
        let response = timeout(SOON, client.get(&at).send())
            .await
            .unwrap()
            .unwrap();
        if response.status() != 200 {
            break response;
        }
        open.push(response);
        assert!(open.len() < 10_000, "somebody is refused at last");
    };
    assert_eq!(full.status(), 429);
    assert!(full.headers().contains_key("retry-after"));
    // A browser is told no status, so its socket is closed with the reason.
    let mut socket = socket(&server.url, "/ws/watch").await.unwrap();
    let last = timeout(SOON, socket.next()).await.unwrap().unwrap();
    let Ok(Message::Close(Some(end))) = last else {
        panic!("{last:?}");
    };
    assert_eq!(u16::from(end.code), 1013);
    assert!(end.reason.contains("watchers are of your network"), "{end}");
    // Other networks find room.
    let elsewhere = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2]));
    let elsewhere = elsewhere.build().unwrap().get(&at).send();
    assert_eq!(elsewhere.await.unwrap().status(), 200);
    // Other requests go on, and whoever leaves makes room.
    assert_eq!(server.json("/health").await["status"], "ok");
    open.clear();
    timeout(SOON, async {
        while client.get(&at).send().await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("places come back");
    server.stop().await;
}
