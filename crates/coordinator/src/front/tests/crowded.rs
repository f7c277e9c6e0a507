//! Coordinators that are asked for more than they can do at once.

use asterism_protocol::{
    Out, Value, blob_cid,
    limits::{FRAME_BYTES_MAX, OUTCOME_BYTES_MAX},
};

use super::*;
use crate::{
    limits::{FRAMES_AHEAD, SEND_MAX, TERM},
    store::{Holder, faults::Faults},
};

#[test]
fn a_coordinator_all_of_whose_threads_wait_says_that_it_is_here() {
    const THREADS: usize = 2;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(THREADS)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let disk = disk();
        let server = serve(&disk).await;
        shared(&[&server]).await;
        // As a store of blobs that stalls has whoever asks for one wait.
        let stalls: Vec<_> = (0..THREADS)
            .map(|_| {
                let (stall, stalled) = std::sync::mpsc::channel::<()>();
                tokio::task::spawn_blocking(move || stalled.recv().is_ok());
                stall
            })
            .collect();
        tokio::time::sleep(TERM + TERM / 3).await;
        let other = Holder {
            name: "other".to_owned(),
            address: "http://127.0.0.1:1".to_owned(),
        };
        let seen = disk.journal.meet(&other, Duration::ZERO, &[]).unwrap();
        drop(stalls);
        assert_eq!(seen.present.len(), 1, "{seen:?}");
        assert_ne!(seen.present[0].name, other.name);
        server.stop().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_does_not_listen_holds_no_other_one_up() {
    let disk = disk();
    let faults = Arc::<Faults>::default();
    let server = disk.serve(&faults, Options::default()).await.unwrap();
    shared(&[&server]).await;
    server.post("/components?name=math", math(), &[201]).await;
    let mut executor = FakeExecutor::connect(&server.url, 1).await;
    let (_, leases) = all_leased(&server, &mut executor).await;
    let stall = faults.stall();
    // So much waits for the store that the seat hears nothing more.
    let bytes = OUTCOME_BYTES_MAX / 2;
    let large = Value::List(vec![
        Value::Link(blob_cid(b"large").to_link()),
        Value::Bytes(vec![0; bytes]),
    ]);
    for _ in 0..2 * FRAME_BYTES_MAX / bytes {
        let out = Out::Ok(large.clone());
        executor.deliver(&leases[0], out, Remark::default()).await;
    }
    let begun = Instant::now();
    let held: Vec<LeaseId> = leases.iter().map(|lease| lease.id).collect();
    for _ in 0..FRAMES_AHEAD + 2 {
        let leases = held.clone();
        executor.say(&ToCoordinator::Heartbeat { leases }).await;
    }
    // It is sent away, to come back and be heard by all others.
    while executor.hear().await.is_some() {}
    assert!(begun.elapsed() < SEND_MAX * 2 / 3);
    drop(stall);
    server.stop().await;
}
