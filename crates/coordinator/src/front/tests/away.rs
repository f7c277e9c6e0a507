//! Coordinators that hold a partition and do not answer, and a journal that does not.

use axum::{Json as Answer, Router};
use tokio::{io::AsyncReadExt as _, net::TcpListener, time::timeout};

use super::*;
use crate::store::{Asked, Holder, faults::Faults};

/// Somebody at this address holds the first partition, for as long as the test takes.
pub(super) fn held_at(disk: &Disk, address: &str) {
    let holder = Holder {
        name: "away".to_owned(),
        address: address.to_owned(),
    };
    let asked = disk.journal.acquire(Partition(0), &holder, LONG);
    assert!(matches!(asked, Ok(Asked::Granted(_))));
}

/// Somebody who will listen holds a partition, for as long as the test takes, and says that something waits there for executors.
async fn waits_at(disk: &Disk, partition: u16) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let holder = Holder {
        name: format!("slow {partition}"),
        address: format!("http://{}", listener.local_addr().unwrap()),
    };
    let asked = disk.journal.acquire(Partition(partition), &holder, LONG);
    let Ok(Asked::Granted(tenure)) = asked else {
        panic!("nobody else holds it")
    };
    let waits = &[(tenure, 1)];
    disk.journal.meet(&holder, Duration::ZERO, waits).unwrap();
    listener
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_shown_everything_again_ever_more_rarely_while_one_is_away() {
    let disk = disk();
    // Nobody listens there.
    held_at(&disk, "http://127.0.0.1:1");
    let server = serve(&disk).await;
    let mut watcher = socket(&server.url, "/ws/watch").await.unwrap();
    let begun = Instant::now();
    let mut shown = 0;
    while let Some(left) = Duration::from_secs(4).checked_sub(begun.elapsed()) {
        let Ok(said) = timeout(left, frame(&mut watcher)).await else {
            break;
        };
        if let ToWatcher::Snapshot(overview) = decode_frame(&said.unwrap()).unwrap() {
            assert!(overview.trouble.contains("partition 0"), "{overview:?}");
            shown += 1;
        }
    }
    // At once, and after a half, one and a half, and three and a half seconds.
    assert!((2..=4).contains(&shown), "{shown} times");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_partition_is_not_told_the_operator_s_token() {
    let disk = disk();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    held_at(&disk, &format!("http://{}", listener.local_addr().unwrap()));
    let server = serve(&disk).await;
    let client = reqwest::Client::new();
    for path in ["/workflows", "/executors", "/pause"] {
        let url = format!("{}{path}", server.url);
        let asked = match path {
            "/pause" => client.post(url).bearer_auth(TOKEN).send(),
            _ => client.get(url).send(),
        };
        let asking = tokio::spawn(asked);
        let mut head = Vec::new();
        let (mut stream, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("/partitions/0/"), "{head}");
        assert!(!head.contains(TOKEN), "{head}");
        drop(stream);
        // Lists have what is elsewhere; all are paused, or it is told that they are not.
        let expected = if path == "/pause" { 503 } else { 200 };
        let status = asking.await.unwrap().unwrap().status();
        assert_eq!(status, expected, "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_components_is_told_while_the_journal_is_away() {
    let disk = disk();
    let faults = Arc::<Faults>::default();
    let server = disk.serve(&faults, Options::default()).await.unwrap();
    server.post("/components?name=math", math(), &[201]).await;
    faults.break_down();
    let components = server.json("/components").await;
    let known = components.as_ref().and_then(Json::as_array).map(Vec::len);
    assert_eq!(known, Some(1), "{components:?}");
    faults.heal();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_stored_while_upkeep_holds_the_journal() {
    let disk = disk();
    held_at(&disk, crate::upkeep::UPKEEP);
    let server = serve(&disk).await;
    for path in ["/components?name=math", "/blobs"] {
        let said = server.post(path, math(), &[503]).await;
        let message = said["message"].as_str().unwrap();
        assert!(message.contains("upkeep holds the journal"), "{said}");
    }
    disk.journal.expire(Partition(0));
    server.post("/components?name=math", math(), &[201]).await;
    server.stop().await;
}

/// How long a list is, and what it lacks; `None` where there is no list.
async fn listed(server: &Server, path: &str) -> Option<(usize, String)> {
    let answer = reqwest::get(format!("{}{path}", server.url)).await.unwrap();
    if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    let missing = answer.headers().get("asterism-missing-partitions");
    let missing = missing.map(|missing| missing.to_str().unwrap().to_owned());
    let list: Vec<Json> = answer.json().await.unwrap();
    Some((list.len(), missing.unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_what_is_there_and_say_what_is_not() {
    let disk = disk();
    let server = serve(&disk).await;
    shared(&[&server]).await;
    let both = async |server: &Server| {
        tokio::join!(listed(server, "/workflows"), listed(server, "/executors"))
    };
    let lists = |executors, missing: &str| {
        let list = |length| Some((length, missing.to_owned()));
        (list(0), list(executors))
    };
    assert_eq!(both(&server).await, lists(0, ""));
    server.stop().await;
    held_at(&disk, "http://127.0.0.1:1");
    let server = serve(&disk).await;
    let _executor = FakeExecutor::connect(&server.url, 1).await;
    assert_eq!(both(&server).await, lists(1, "0"));
    server.stop().await;
    let away = Holder {
        name: "away".to_owned(),
        address: "http://127.0.0.1:1".to_owned(),
    };
    for partition in 0..PARTITIONS {
        let asked = disk.journal.acquire(Partition(partition), &away, LONG);
        assert!(matches!(asked, Ok(Asked::Granted(_))));
    }
    let server = serve(&disk).await;
    assert_eq!(both(&server).await, (None, None), "nobody can be reached");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_is_heard_while_more_than_one_coordinator_is_away() {
    const SLOW: Duration = Duration::from_secs(4);
    let disk = disk();
    let mut slow = Vec::new();
    for partition in [0, 1] {
        let listener = waits_at(&disk, partition).await;
        slow.push(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::time::sleep(SLOW).await;
                drop(stream);
            }
        }));
    }
    let server = serve(&disk).await;
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let (slots, wait_ms) = (1, 500);
    let begun = Instant::now();
    executor.say(&ToCoordinator::Poll { slots, wait_ms }).await;
    let said = executor.hear().await;
    assert!(
        matches!(&said, Some(ToExecutor::Assign { leases }) if leases.is_empty()),
        "{said:?}"
    );
    assert!(
        begun.elapsed() < 2 * SLOW,
        "the second one is not tried first"
    );
    drop(executor);
    server.stop().await;
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_away_is_tried_ever_more_rarely() {
    let disk = disk();
    let listener = waits_at(&disk, 0).await;
    let server = serve(&disk).await;
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let (slots, wait_ms) = (1, 20_000);
    executor.say(&ToCoordinator::Poll { slots, wait_ms }).await;
    drop(timeout(LONG, listener.accept()).await.unwrap());
    let begun = Instant::now();
    let mut again = 0;
    while let Some(left) = Duration::from_secs(6).checked_sub(begun.elapsed()) {
        let tried = timeout(left, listener.accept()).await;
        again += u32::from(tried.is_ok());
    }
    // After one second, and after three.
    assert!((1..=2).contains(&again), "{again} times");
    drop(executor);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_makes_no_sense_is_an_error() {
    let disk = disk();
    let odd = waits_at(&disk, 0).await;
    let router = Router::new().fallback(async || Answer("no object"));
    let odd = tokio::spawn(async move { axum::serve(odd, router).await });
    // Beside it there is one that does not answer.
    drop(waits_at(&disk, 1).await);
    let server = serve(&disk).await;
    let path = format!("/receipts/{}/task", asterism_protocol::blob_cid(b"any"));
    let asked = reqwest::get(format!("{}{path}", server.url)).await;
    let status = asked.expect("it goes on").status();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    server.stop().await;
    odd.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_coordinator_of_an_older_version_it_is_said_what_to_do() {
    let disk = disk();
    let old = waits_at(&disk, 0).await;
    let old = tokio::spawn(async move { axum::serve(old, Router::new()).await });
    let server = serve(&disk).await;
    let mut watcher = socket(&server.url, "/ws/watch").await.unwrap();
    let said = frame(&mut watcher).await.unwrap();
    let ToWatcher::Snapshot(overview) = decode_frame(&said).unwrap() else {
        panic!("no snapshot")
    };
    let words = "partition 0: it is of an older version; update it, too";
    assert!(overview.trouble.contains(words), "{overview:?}");
    server.stop().await;
    old.abort();
}
