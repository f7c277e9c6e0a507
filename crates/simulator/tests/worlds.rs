//! Two thousand large worlds: two hundred executors and five hundred tasks each.
//!
//! `cargo xtask sim` goes on from there, with any seed and as many worlds as there is time for.
#![cfg(not(target_arch = "wasm32"))]

use std::sync::atomic::{AtomicU64, Ordering};

use asterism_simulator::Scenario;

/// How many worlds are tried.
const WORLDS: u64 = 2_000;

/// Seeds of large worlds that failed once.
const REGRESSIONS: [u64; 0] = [];

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "worlds do not know of each other: as many go on at once as there are cores"
)]
fn large_worlds_come_to_rest() {
    let seeds: Vec<u64> = REGRESSIONS.into_iter().chain(0..WORLDS).collect();
    let next = AtomicU64::new(0);
    // Workflows are cancelled now and then as soon as they are accepted: in a few worlds, all of them.
    let idle = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let named = Named(*seed);
                    let report = asterism_simulator::run(&Scenario::large(*seed), false);
                    idle.fetch_add(u64::from(report.computed == 0), Ordering::Relaxed);
                    drop(named);
                }
            });
        }
    });
    let idle = idle.into_inner();
    assert!(
        idle * 50 < WORLDS,
        "in {idle} of {WORLDS} worlds nothing was done"
    );
}

/// Says which world it was, if it was a bad one.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "repeat this world with: cargo xtask sim --seed {} --runs 1",
                self.0
            );
        }
    }
}
