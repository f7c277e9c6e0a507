//! Coordinators that are asked for more than they can do at once.

use super::*;
use crate::{limits::TERM, store::Holder};

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
