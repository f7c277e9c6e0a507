//! What is handed over to another coordinator.

use super::*;
use crate::{
    limits::ASK_EVERY,
    store::{Asked, Holder},
};

/// One that says for long that it is here, and takes nothing by itself.
fn present(disk: &Disk, name: &str) -> Holder {
    let holder = Holder {
        name: name.into(),
        address: "http://127.0.0.1:1".into(),
    };
    disk.journal.meet(&holder, LONG, &[]).unwrap();
    holder
}

/// A partition that was handed over to such a one.
async fn handed_over(disk: &Disk, to: &Holder) -> Partition {
    let begun = Instant::now();
    loop {
        let seen = disk.journal.meet(to, LONG, &[]).unwrap().partitions;
        if let Some(free) = seen.iter().position(|seen| seen.holder.is_none()) {
            return Partition(free as u16);
        }
        assert!(begun.elapsed() < LONG, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_over_is_left_to_others() {
    let disk = disk();
    let server = serve(&disk).await;
    shared(&[&server]).await;
    let take = |holder: &Holder, partition| {
        let asked = disk.journal.acquire(partition, holder, LONG).unwrap();
        assert!(matches!(asked, Asked::Granted(_)), "{asked:?}");
    };
    let other = present(&disk, "other");
    for _ in 0..PARTITIONS / 2 {
        take(&other, handed_over(&disk, &other).await);
    }
    // Of its two one is the third's, and with one it could take another one by its share.
    let third = present(&disk, "third");
    let free = handed_over(&disk, &third).await;
    // Meanwhile it looks twice.
    tokio::time::sleep(2 * ASK_EVERY).await;
    take(&third, free);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_not_handed_over_again() {
    let disk = disk();
    let server = serve(&disk).await;
    shared(&[&server]).await;
    let epochs = || -> u64 {
        let partitions = (0..PARTITIONS).map(Partition);
        partitions
            .map(|partition| disk.journal.epoch(partition).0)
            .sum()
    };
    let before = epochs();
    present(&disk, "sick");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(epochs() - before, 2, "given back once, and taken again");
    shared(&[&server]).await;
    server.stop().await;
}
