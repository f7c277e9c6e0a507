//! Worlds that chance made: whatever breaks, all work is done once, and done right. A scheduler that is told the same
//! says the same, natively and as wasm.
//!
//! A world that fails says how to repeat it, and its seed is kept among [`REGRESSIONS`].

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use asterism_simulator::{self as simulator, Report, Scenario};

/// How many small worlds are tried; a wasm engine is slower, and its worlds are the same.
const WORLDS: u64 = if cfg!(target_arch = "wasm32") {
    20
} else {
    400
};

/// Seeds of small worlds that failed once.
const REGRESSIONS: [u64; 0] = [];

/// Stories told to a scheduler, and the digest of all that it said.
const COURSES: [(u64, &str); 3] = [
    (
        1,
        "9d34ed8586eae5d7400f4a22c22b77738cbea7d12f88c1defb3b45bc54740c2c",
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

/// Worlds, the digest of all that their scheduler said, and of what it knew in the end.
const ENDS: [(fn(u64) -> Scenario, u64, &str, &str); 2] = [
    (
        Scenario::small,
        42,
        "b88e77178632266bdfd2be236acf9862faa2fc5ebbea9ee72c4d4a8bafdeafc7",
        "1b4e0e21188e2ce538b878f57bd8dfed43fe73244859fc36638aafca10bbb2b1",
    ),
    (Scenario::large, 1, "", ""),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lives through a small world, and says which one it was if it was a bad one.
fn live(seed: u64) -> Report {
    struct Named(u64);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!(
                    "repeat this world with: cargo xtask sim --small --seed {} --runs 1",
                    self.0
                );
            }
        }
    }
    let _named = Named(seed);
    simulator::run(&Scenario::small(seed), false)
}

#[test]
fn all_work_is_done_in_every_world() {
    let (mut computed, mut kills, mut disasters) = (0, 0, 0);
    for seed in (0..WORLDS).chain(REGRESSIONS) {
        let report = live(seed);
        computed += report.computed as u64;
        kills += report.kills;
        disasters += report.disasters;
    }
    assert!(
        computed > 10 * WORLDS && kills > WORLDS && disasters > 10 * WORLDS,
        "these worlds were too kind: {computed} computed, {kills} kills, {disasters} disasters"
    );
}

#[test]
fn one_world_takes_one_course() {
    let scenario = Scenario::small(42);
    assert_eq!(
        simulator::run(&scenario, true),
        simulator::run(&scenario, true)
    );
}

#[test]
fn scheduler_says_the_same_on_every_target() {
    let found = COURSES.map(|(seed, _)| hex(&simulator::course(seed)));
    let expected = COURSES.map(|(_, course)| course.to_owned());
    assert_eq!(
        found, expected,
        "stories have other courses: if that is meant, write it down"
    );
}

#[test]
fn worlds_end_the_same_on_every_target() {
    let found: Vec<(String, String)> = ENDS
        .iter()
        .map(|(scenario, seed, ..)| {
            let report = simulator::run(&scenario(*seed), true);
            (hex(&report.trace), hex(&report.state))
        })
        .collect();
    let expected: Vec<(String, String)> = ENDS
        .iter()
        .map(|(.., trace, state)| ((*trace).to_owned(), (*state).to_owned()))
        .collect();
    assert_eq!(
        found, expected,
        "worlds end otherwise: if that is meant, write it down"
    );
}

#[test]
fn large_workflow_is_worked_off() {
    let meter = simulator::Meter {
        nanoseconds: &|| 0,
        bytes: &|| 0,
    };
    let drained = simulator::scheduler_drain(5_000, &meter);
    assert_eq!(drained.tasks, 5_000);
}
