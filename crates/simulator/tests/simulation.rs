//! Worlds that chance made: whatever breaks, all work is done once, and done right. A scheduler that is told the same
//! says the same, natively and as wasm.
//!
//! A world that fails names its seed; `SEED=<it> cargo test -p asterism-simulator --test simulation one_world` repeats it.
//! `SEEDS=5000` tries more of them.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use asterism_simulator as simulator;

/// How many worlds are tried; a wasm engine is slower, and its worlds are the same.
const WORLDS: u64 = if cfg!(target_arch = "wasm32") {
    20
} else {
    200
};

/// Stories told to a scheduler, and the digest of all that it said.
const COURSES: [(u64, &str); 3] = [
    (
        1,
        "0c9acbe4c66d73acde49977155355a10b392dbacb23ed14cf7920e9afb6d1a1c",
    ),
    (
        2,
        "45acf0c9d2330489c0f1f199fb57a5b0a08e7e900f76571fee8ef83224eafe8c",
    ),
    (
        3,
        "9ea59d52fb8766c615b8f86b94a4fcb9d30471d8fb8f8d1d6b33f6d48ada8a01",
    ),
];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Says which world it was, if it was a bad one.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "repeat this world with: SEED={} cargo test -p asterism-simulator --test simulation one_world",
                self.0
            );
        }
    }
}

#[test]
fn all_work_is_done_in_every_world() {
    let (mut computed, mut kills, mut disasters) = (0, 0, 0);
    for seed in 0..number("SEEDS").unwrap_or(WORLDS) {
        let named = Seed(seed);
        let report = simulator::run(seed, false);
        drop(named);
        computed += report.computed as u64;
        kills += report.kills;
        disasters += report.disasters;
    }
    assert!(
        computed > 10 * WORLDS && kills > WORLDS && disasters > 10 * WORLDS,
        "these worlds were too kind"
    );
}

#[test]
fn one_world_takes_one_course() {
    let seed = number("SEED").unwrap_or(42);
    let _named = Seed(seed);
    let report = simulator::run(seed, true);
    assert_eq!(report.trace, simulator::run(seed, true).trace);
}

#[test]
fn scheduler_says_the_same_on_every_target() {
    for (seed, course) in COURSES {
        let said: String = simulator::course(seed)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            said, course,
            "story {seed} has another course: if that is meant, write it down"
        );
    }
}

#[test]
fn large_workflow_is_worked_off() {
    let drained = simulator::scheduler_drain(5_000, &|| 0);
    assert_eq!(drained.tasks, 5_000);
    assert!(
        drained.graph_bytes < 300.0,
        "{} bytes for each task",
        drained.graph_bytes
    );
}
