//! What the operator decides at two coordinators in the same moment.

use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::*;
use crate::{
    authority::{Authority, BEHIND},
    store::faults::Faults,
};

fn options() -> Options {
    Options {
        operator_token: Some(TOKEN.to_owned()),
        ..Options::default()
    }
}

async fn post(server: &Server, path: &str) -> StatusCode {
    let post = reqwest::Client::new().post(format!("{}{path}", server.url));
    post.bearer_auth(TOKEN).send().await.unwrap().status()
}

/// Is a partition paused, as the coordinator that holds it tells another one?
async fn is_paused(server: &Server, partition: u64) -> bool {
    let url = server.url.replace("http", "ws");
    let request = format!("{url}/partitions/{partition}/ws/watch").into_client_request();
    let mut request = request.unwrap();
    let peer = std::net::IpAddr::from([192, 0, 2, 1]);
    let word = Authority::new(Some(TOKEN.to_owned()), true).unwrap();
    let behind = format!("{peer} {}", word.word_for(peer));
    let headers = request.headers_mut();
    headers.insert(BEHIND, behind.parse().unwrap());
    let protocol = asterism_protocol::SUBPROTOCOL.parse().unwrap();
    headers.insert("sec-websocket-protocol", protocol);
    let (mut watcher, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    match decode_frame(&frame(&mut watcher).await.unwrap()).unwrap() {
        ToWatcher::Snapshot(overview) => overview.paused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_last_of_an_executor_holds_everywhere() {
    let disk = disk();
    let faults = Arc::<Faults>::default();
    let first = disk.serve(&faults, options()).await.unwrap();
    let second = serve(&disk).await;
    shared(&[&first, &second]).await;
    let executor = FakeExecutor::connect(&first.url, 1).await;
    let path = format!("/executors/{}/ban", executor.identity.public_key().did());
    let undo = format!("{path}?undo=true");
    // It is noted, and who noted it is late to hear so.
    faults.slow_decisions(Duration::from_secs(2));
    let banned = async {
        assert_eq!(post(&first, &path).await, StatusCode::OK);
    };
    let lifted = async {
        let begun = Instant::now();
        while post(&second, &undo).await == StatusCode::CONFLICT {
            assert!(begun.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(banned, lifted);
    let decisions = disk.journal.decisions(0).unwrap();
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].1.excluded, None, "the last word");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for server in [&first, &second] {
        let executors = server.json("/executors").await.unwrap();
        let executors = executors.as_array().cloned().unwrap();
        let excluded = executors.iter().find(|view| view["standing"] == "excluded");
        assert_eq!(excluded, None);
    }
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_partitions_are_paused_or_none_is() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    let mut partitions = Vec::new();
    for server in [&first, &second] {
        let held = held(server).await.into_iter();
        partitions.extend(held.map(|partition| (server, partition)));
    }
    assert_eq!(partitions.len(), usize::from(PARTITIONS));
    for _ in 0..8 {
        let (paused, resumed) = tokio::join!(post(&first, "/pause"), post(&second, "/resume"));
        assert_eq!((paused, resumed), (StatusCode::OK, StatusCode::OK));
        let mut are = Vec::new();
        for (server, partition) in &partitions {
            are.push(is_paused(server, *partition).await);
        }
        assert!(are.iter().all(|is| *is == are[0]), "{are:?}");
    }
    second.stop().await;
    first.stop().await;
}
