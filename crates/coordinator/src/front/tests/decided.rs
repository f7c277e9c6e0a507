//! What the operator decides at two coordinators in the same moment.

use super::{lines::socket_of_another, *};
use crate::store::faults::Faults;

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
    let path = format!("/partitions/{partition}/ws/watch");
    let mut watcher = socket_of_another(server, &path).await.unwrap();
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
