//! Tasks that have effects: done at least once, replayed under their nonce, never compared.

use asterism_protocol::{
    Effects, HTTP, Nonce, Policy, Task, Terms, Value,
    message::ToCoordinator,
    view::{Determinism, RunState, Standing, TaskState},
};
use asterism_scheduler::SubmitError;

use crate::driver::{Driver, Executor, awaits, delivery, ok, task};

/// A task that reaches outside, under a nonce.
fn effectful(nonce: &str) -> Task {
    let mut task = task("fetch", vec![]);
    task.run.input.effects = Effects::from([HTTP.to_owned()]);
    task.run.nnc = Nonce::Text(nonce.to_owned());
    task
}

/// One that lets tasks reach outside.
fn open(driver: &mut Driver, seed: u8) -> Executor {
    driver.executor_that(seed, "", |hello| {
        hello.capabilities.offers.insert(HTTP.to_owned());
    })
}

fn verified(policy: Policy) -> Terms {
    Terms {
        verify: Some(policy),
        ..Terms::default()
    }
}

#[test]
fn an_effect_is_leased_to_whoever_offers_it_and_nobody_else() {
    let mut driver = Driver::new();
    let run = driver.submit(vec![effectful("1"), task("pure", vec![])]);
    let plain = driver.executor(1);
    let leases = driver.poll_for(&plain, 2);
    assert_eq!(leases.len(), 1, "the other one is for everybody");
    assert_eq!(leases[0].task.run.input.func, "pure");
    assert_eq!(
        driver.task(run, 0).reason,
        "no executor here can have it: it does not offer wasi:http"
    );
    let open = open(&mut driver, 2);
    let lease = driver.poll_for_one(&open);
    assert_eq!(lease.task.run.input.func, "fetch");
    let determinism: Vec<_> = [0, 1]
        .map(|task| driver.task(run, task).determinism())
        .into();
    assert_eq!(determinism, [Some(Determinism::Effectful), None]);
}

#[test]
fn a_nonce_is_done_once_and_replayed_also_where_doing_again_is_forced() {
    let mut driver = Driver::new();
    let executor = open(&mut driver, 1);
    let first = driver.submit(vec![effectful("order-7"), task("pure", vec![])]);
    assert_eq!(driver.work_off(&executor, |_| ok(1)), 2);
    assert_eq!(driver.state(first), RunState::Done);

    let again = driver.submit(vec![effectful("order-7")]);
    assert_eq!(driver.states(again), [TaskState::Replayed]);
    let forced = Terms {
        force: true,
        ..Terms::default()
    };
    let user = task(
        "use",
        vec![awaits(asterism_protocol::Await::Ok, &effectful("order-7"))],
    );
    let tasks = vec![effectful("order-7"), task("pure", vec![]), user];
    let again = driver.submit_on(forced, tasks);
    assert_eq!(driver.states(again)[0], TaskState::Replayed);
    assert_eq!(driver.work_off(&executor, |_| ok(1)), 2);
    assert_eq!(driver.state(again), RunState::Done);

    let other = driver.submit(vec![effectful("order-8")]);
    assert_eq!(driver.work_off(&executor, |_| ok(2)), 1);
    assert_eq!(driver.state(other), RunState::Done);
    let restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
}

#[test]
fn a_policy_that_compares_is_refused_for_effects() {
    let quorum = Policy::Quorum { agree: 2, of: 3 };
    let spot = Policy::Spot { per_mille: 50 };
    for policy in [quorum, spot] {
        let mut driver = Driver::new();
        let tasks = || vec![task("pure", vec![]), effectful("1")];
        let refused = driver.submit_as("me", tasks(), Vec::new(), verified(policy));
        assert_eq!(refused, Err(SubmitError::Incomparable { task: 1, policy }));
        let error = refused.unwrap_err().to_string();
        let message = format!(
            "tasks[1] has effects, so that its outcomes differ and cannot be compared, as `{policy}` would: \
             submit with `verify` `trusted` or `any`"
        );
        assert_eq!(error, message);
        assert!(driver.journal.is_empty());
        for policy in [Policy::Any, Policy::Trusted] {
            driver.submit_on(verified(policy), tasks());
        }
        // What only awaits it can be compared: its input is what it came to.
        driver.submit_on(verified(policy), vec![task("pure", vec![])]);

        // A default that compares is no different.
        let mut driver = Driver::with(asterism_scheduler::Config {
            verify: policy,
            ..crate::driver::config()
        });
        let refused = driver.try_submit(tasks(), Vec::new());
        assert_eq!(refused, Err(SubmitError::Incomparable { task: 1, policy }));
    }
}

#[test]
fn what_is_slow_outside_is_not_begun_a_second_time() {
    let mut driver = Driver::new();
    driver.submit(vec![effectful("1")]);
    let [slow, idle] = [1, 2].map(|seed| open(&mut driver, seed));
    let lease = driver.poll_for_one(&slow);
    for _ in 0..20 {
        driver.poll(&idle, 1);
        driver.pass(2_000);
        let leases = vec![lease.id];
        driver.say(&slow, ToCoordinator::Heartbeat { leases });
        assert!(driver.assigned(&idle).is_empty(), "it would be done twice");
    }
    driver.complete(&slow, &lease, ok(1));
}

#[test]
fn two_outcomes_of_an_effect_are_no_lie() {
    let mut driver = Driver::new();
    let run = driver.submit(vec![effectful("1")]);
    let [lost, other] = [1, 2].map(|seed| open(&mut driver, seed));
    let first = driver.poll_for_one(&lost);
    // It is silent for too long, and comes with what it did after all.
    driver.pass(6_000);
    let second = driver.poll_for_one(&other);
    assert_eq!(second.task.run, first.task.run);
    driver.complete(&other, &second, ok(2));
    driver.take(&lost);
    driver.deliver(&lost, vec![delivery(&first, ok(1))]);
    let rejections = driver.rejections(&lost);
    assert!(
        rejections[0].contains("differs from the canonical outcome"),
        "{rejections:?}"
    );
    assert_eq!(driver.state(run), RunState::Done);
    let out = driver.task(run, 0).out.expect("it came to something");
    assert_eq!(out.value(), &Value::Integer(2));
    for executor in driver.scheduler.overview().executors {
        assert_eq!(executor.standing, Standing::Stranger);
        assert_eq!(executor.wrong, 0);
    }
    let next = driver.submit(vec![effectful("2")]);
    let lease = driver.poll_for_one(&lost);
    driver.complete(&lost, &lease, ok(3));
    assert_eq!(driver.state(next), RunState::Done);
}
