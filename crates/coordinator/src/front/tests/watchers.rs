//! Watchers, to whom several partitions are one.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_any_sees_the_runs_of_all() {
    let disk = disk();
    let (first, second) = two(&disk).await;
    first.post("/components?name=math", math(), &[201]).await;
    let mut watcher = socket(&second.url, "/ws/watch").await.unwrap();
    let snapshot: ToWatcher = decode_frame(&frame(&mut watcher).await.unwrap()).unwrap();
    let ToWatcher::Snapshot(overview) = snapshot else {
        panic!("{snapshot:?}")
    };
    assert_eq!(
        (overview.components.len(), overview.trouble.as_str()),
        (1, "")
    );
    let working = tokio::spawn(work(first.url.clone(), 7, Accepted::default()));
    let mut done = BTreeSet::new();
    for number in 0..MANY {
        first.post("/run?wait=false", chain(number).0, &[202]).await;
    }
    let begun = Instant::now();
    while done.len() < MANY as usize {
        assert!(begun.elapsed() < LONG, "{done:?}");
        match decode_frame(&frame(&mut watcher).await.unwrap()).unwrap() {
            ToWatcher::Changes(changes) => {
                done.extend(changes.iter().filter_map(|change| match change {
                    Change::Run(run) if run.state == RunState::Done => Some(run.run.0),
                    _ => None,
                }))
            }
            ToWatcher::Snapshot(overview) => {
                let ended = overview
                    .runs
                    .iter()
                    .filter(|run| run.state == RunState::Done);
                done.extend(ended.map(|run| run.run.0));
            }
            ToWatcher::Run(_) => {}
        }
    }
    assert_eq!(partitions(done).len(), usize::from(PARTITIONS));
    working.abort();
    second.stop().await;
    first.stop().await;
}
