//! Connections between coordinators, over which executors and watchers talk with seats elsewhere.

use super::*;

/// The lines of others to a coordinator.
async fn lines(server: &Server) -> u64 {
    let metrics = reqwest::get(format!("{}/metrics", server.url)).await;
    let metrics = metrics.unwrap().text().await.unwrap();
    let mut counts = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("asterism_lines "));
    counts.next().expect("they are counted").parse().unwrap()
}

/// Waits until there are so many of them.
async fn are_lines(server: &Server, wanted: u64) {
    let begun = Instant::now();
    while lines(server).await != wanted {
        assert!(begun.elapsed() < LONG, "{}", lines(server).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_talks_with_many_seats_of_another_coordinator_has_one_connection_to_it() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    let mut executor = FakeExecutor::connect(&first.url, 1).await;
    let (_, leases) = all_leased(&second, &mut executor).await;
    let leased = partitions(leases.iter().map(|lease| lease.id.0));
    assert_eq!(leased.len(), usize::from(PARTITIONS));
    assert_eq!(held(&second).await.len(), 2);
    assert_eq!(lines(&second).await, 1);
    let mut watcher = socket(&first.url, "/ws/watch").await.unwrap();
    frame(&mut watcher).await.unwrap();
    assert_eq!(lines(&second).await, 2);
    assert_eq!(lines(&first).await, 0);
    deliver_all(&mut executor, &leases).await;
    drop((executor, watcher));
    are_lines(&second, 0).await;
    second.stop().await;
    first.stop().await;
}
