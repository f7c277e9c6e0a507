//! Worlds that chance made: whatever breaks, all work is done once, and done right. A scheduler that is told the same
//! says the same, natively and as wasm.
//!
//! A world that fails says how to repeat it, and its seed is kept among [`REGRESSIONS`].

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use asterism_protocol::Policy;
use asterism_simulator::{self as simulator, Report, Scenario};

/// How many small worlds are tried; a wasm engine is slower, and its worlds are the same.
const WORLDS: u64 = if cfg!(target_arch = "wasm32") {
    20
} else {
    400
};

/// Seeds of small worlds that failed once.
const REGRESSIONS: [u64; 0] = [];

/// Seeds of worlds with liars that failed once: checks that waited for each other, and executors that wanted to leave
/// once they had been asked for what they had committed to.
const VERIFIED_REGRESSIONS: [u64; 4] = [205, 229, 352, 447];

/// Stories told to a scheduler, and the digest of all that it said.
const COURSES: [(u64, &str); 3] = [
    (
        1,
        "48f904e584c348f73ef22a1f212f6e9c46fed58ff46aaeed7a840156f4f1b709",
    ),
    (
        2,
        "6d224b718180c48ee918035b0a0f8fb53d7dcfb7ed12539e2e0059cb10995f60",
    ),
    (
        3,
        "1af15c8fddad3dec6a8dc3d3ccaf090af614aa3aac81b70e8c95c808a5132e07",
    ),
];

/// Makes a scenario of a seed.
type Staged = fn(u64) -> Scenario;

/// Two of three must agree, and one executor lies.
fn agreed(seed: u64) -> Scenario {
    Scenario {
        executors: 5,
        workflows: 3,
        tasks: 60,
        liars: 1,
        verify: Policy::Quorum { agree: 2, of: 3 },
        ..Scenario::small(seed)
    }
}

/// Executors are believed until they are checked, and one lies.
fn checked(seed: u64) -> Scenario {
    Scenario {
        verify: Policy::Spot { per_mille: 100 },
        ..agreed(seed)
    }
}

/// Worlds, the digest of all that their scheduler said, and of what it knew in the end.
const ENDS: [(Staged, u64, &str, &str); 4] = [
    (
        Scenario::small,
        43,
        "152b3fba9f1d67bf05c798937ecab222e62ab7e97995d7942ffc90a524fa33a1",
        "c6f89254c50ff8dc0e27d6716c3cb0552714e74f7aa3027d0f4be6cab95910a8",
    ),
    (
        agreed,
        7,
        "5aedd3b62926c3046a300992b96cb32cd9d125a4cb0985025307863da148f5e9",
        "cfe9084fd4d005c39c32775f5b11a202be0a9dfe7bfd050b06ac4a2a6fc1d755",
    ),
    (
        checked,
        8,
        "43c4e6d21fe1bc92e757aed30143f09518b5a8f62e8ffe387cfb7df9cfd41b3f",
        "e4729bdb241c7dce5d108cdd89a4d6d84e9674bc8c1f3dbea64eeaa0bfb7ad6d",
    ),
    (
        Scenario::large,
        1,
        "c379827731d8dd5de1a3cba491d5f79ed00080b3db4f46e761fe119ead9b0add",
        "96ef4c8c352f7932314d2a79adad70e62c24e40a98d790865297db7580f45399",
    ),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lives through a world, and says which one it was if it was a bad one; `flag` names its kind to `cargo xtask sim`.
fn live(staged: Staged, flag: &'static str, seed: u64) -> Report {
    struct Named(&'static str, u64);
    impl Drop for Named {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!(
                    "repeat this world with: cargo xtask sim {} --seed {} --runs 1",
                    self.0, self.1
                );
            }
        }
    }
    let _named = Named(flag, seed);
    simulator::run(&staged(seed), false)
}

#[test]
fn all_work_is_done_in_every_world() {
    let (mut computed, mut kills, mut disasters) = (0, 0, 0);
    for seed in (0..WORLDS).chain(REGRESSIONS) {
        let report = live(Scenario::small, "--small", seed);
        computed += report.computed as u64;
        kills += report.kills;
        disasters += report.disasters;
    }
    assert!(
        computed > 10 * WORLDS && kills > WORLDS && disasters > 10 * WORLDS,
        "these worlds were too kind: {computed} computed, {kills} kills, {disasters} disasters"
    );
}

/// Liars of every kind, fewer than the policy can bear: every outcome is right and has the evidence that it asks for, and
/// nobody honest is excluded. All of that is asserted in the worlds themselves.
#[test]
fn liars_below_the_bound_change_nothing() {
    let (mut computed, mut excluded) = (0, 0);
    for seed in (0..WORLDS).chain(VERIFIED_REGRESSIONS) {
        let report = live(Scenario::verified, "--verified", seed);
        computed += report.computed as u64;
        excluded += report.excluded as u64;
    }
    assert!(
        computed > 5 * WORLDS && excluded > WORLDS / 2,
        "these worlds were too kind: {computed} computed, {excluded} liars excluded"
    );
}

/// Liars are real: where nobody verifies what one executor says, the world comes to something else.
#[test]
#[cfg(not(target_arch = "wasm32"))]
fn lies_show_where_nobody_verifies() {
    let noticed = (0..20).filter(|seed| {
        let scenario = Scenario {
            executors: 4,
            liars: 2,
            ..Scenario::small(*seed)
        };
        std::panic::catch_unwind(|| simulator::run(&scenario, false)).is_err()
    });
    let noticed = noticed.count();
    assert!(
        noticed >= 10,
        "liars were noticed in {noticed} of 20 worlds"
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
    let mut caught = 0;
    let found: Vec<(String, String)> = ENDS
        .iter()
        .map(|(scenario, seed, ..)| {
            let report = simulator::run(&scenario(*seed), true);
            caught += report.excluded;
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
    assert!(caught > 0, "no liar was caught");
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

/// The same worlds, without and with affinity: what executors have at hand is used again, and work does not pile up where it
/// is. A task in ten takes long, so times alone differ as much as that by chance.
#[test]
fn affinity_saves_fetching_and_compiling() {
    let lived = |affinity| {
        let world = |seed| Scenario {
            executors: 16,
            workflows: 4,
            tasks: 800,
            variety: 10_000,
            components: 24,
            affinity,
            disaster_ms: 0,
            healed_ms: 20_000,
            cancelled_per_mille: 0,
            ..Scenario::small(seed)
        };
        (0..10).fold((0, 0, 0), |(fetched, compiled, ms), seed| {
            let report = simulator::run(&world(seed), false);
            (
                fetched + report.fetched,
                compiled + report.compiled,
                ms + report.elapsed_ms,
            )
        })
    };
    let (without, with) = (lived(1), lived(Scenario::small(0).affinity));
    let said = format!(
        "inputs fetched, components compiled, milliseconds: {without:?} without affinity, {with:?} with it"
    );
    println!("{said}");
    assert!(10 * with.0 < 9 * without.0, "{said}");
    assert!(4 * with.1 < 3 * without.1, "{said}");
    assert!(3 * with.2 < 4 * without.2, "{said}");
}
