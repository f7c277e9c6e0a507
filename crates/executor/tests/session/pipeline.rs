//! Tasks that a thread is given before it is free.

use asterism_executor::{Config, Input, Output, ThreadId};
use asterism_protocol::{
    blob_cid,
    message::{FaultKind, LeaseId, ToExecutor},
};

use crate::driver::{Driver, attempt, host_fault, lease};

/// One whose thread performed a short task and has two more.
fn with_pipeline(change: impl FnOnce(&mut Config)) -> Driver {
    let mut driver = Driver::welcomed(|config| {
        config.pipeline = true;
        config.prefetch = 4;
        change(config);
    });
    driver.assign(vec![lease(1)]);
    driver.perform();
    driver.outputs.clear();
    driver.wait(POLL_PAUSE);
    let leases = [2, 3, 4].map(|id| {
        let mut lease = lease(id);
        lease.limits.time_ms = TIME_LIMIT;
        lease
    });
    driver.assign(leases.to_vec());
    driver
}

/// What each of its tasks may take, in milliseconds.
const TIME_LIMIT: u64 = 2_000;

/// Longer than the pause between two polls, in milliseconds.
const POLL_PAUSE: u64 = 200;

fn killed(driver: &mut Driver) -> bool {
    let thread = ThreadId(0);
    driver.took(|output| *output == Output::Kill { thread })
}

#[test]
fn a_thread_with_short_tasks_has_its_next_one_beforehand() {
    let mut driver = with_pipeline(|_| {});
    let (thread, id, job) = driver.run().expect("it runs");
    assert_eq!(id, 2);
    let (_, next, next_job) = driver.run().expect("the next one is there");
    assert_eq!((next, driver.run()), (3, None), "two are enough");
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    assert_eq!(driver.run().map(|(_, lease, _)| lease), Some(4));
    driver.end(thread, next, Ok(Box::new(attempt(&next_job))));
    driver.wait(10);
    let mut delivered = driver.delivered_ids().expect("outcomes are delivered");
    delivered.extend(driver.delivered_ids().unwrap_or_default());
    assert_eq!(delivered, [2, 3]);
}

#[test]
fn only_short_tasks_of_one_component_at_full_duty_are_given_beforehand() {
    let mut driver = with_pipeline(|config| config.duty_percent = 50);
    assert!(driver.run().is_some());
    assert_eq!(
        driver.run(),
        None,
        "a thread that rests takes them one by one"
    );

    let mut driver = Driver::welcomed(|config| config.pipeline = true);
    driver.assign(vec![lease(1)]);
    let (thread, id, job) = driver.run().expect("it runs");
    driver.wait(40);
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    driver.wait(POLL_PAUSE);
    driver.assign(vec![lease(2), lease(3)]);
    assert!(driver.run().is_some());
    assert_eq!(driver.run(), None, "tasks of 40 ms are long");

    let mut driver = Driver::welcomed(|config| config.pipeline = true);
    driver.assign(vec![lease(1)]);
    driver.perform();
    driver.wait(POLL_PAUSE);
    let mut other = lease(3);
    other.task.run.rsc = format!("ipfs://{}", blob_cid(b"another component"));
    driver.assign(vec![lease(2), other]);
    assert!(driver.run().is_some());
    assert_eq!(driver.run(), None, "its component is not ready there");
}

#[test]
fn the_time_of_a_task_given_beforehand_counts_from_the_end_of_the_one_before() {
    let mut driver = with_pipeline(|_| {});
    let (thread, id, job) = driver.run().expect("it runs");
    driver.wait(90);
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    driver.wait(TIME_LIMIT + 450);
    assert_eq!(driver.faulted(), None);
    driver.wait(100);
    assert_eq!(driver.faulted(), Some((3, FaultKind::TimeLimit)));
}

#[test]
fn what_was_given_to_a_thread_that_is_killed_is_handed_back() {
    let mut driver = with_pipeline(|_| {});
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(2)],
        reason: "cancelled".into(),
    });
    assert!(killed(&mut driver));
    assert_eq!(driver.handed_back(), Some(vec![3]));
    driver
        .outputs
        .retain(|output| !matches!(output, Output::Run { lease, .. } if lease.0 != 4));
    assert_eq!(driver.run().map(|(_, lease, _)| lease), Some(4));
}

#[test]
fn what_was_given_beforehand_and_is_not_wanted_is_killed_when_it_begins() {
    let mut driver = with_pipeline(|_| {});
    let (thread, id, job) = driver.run().expect("it runs");
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(3)],
        reason: "cancelled".into(),
    });
    assert!(!killed(&mut driver), "the first one is wanted");
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    assert!(killed(&mut driver));
    driver
        .outputs
        .retain(|output| !matches!(output, Output::Run { lease, .. } if lease.0 != 4));
    assert_eq!(driver.run().map(|(_, lease, _)| lease), Some(4));
}

#[test]
fn what_waits_behind_a_task_that_is_long_after_all_is_handed_back() {
    let mut driver = with_pipeline(|_| {});
    driver.wait(50);
    assert_eq!(driver.handed_back(), None);
    driver.wait(100);
    assert_eq!(driver.handed_back(), Some(vec![3]));
}

#[test]
fn a_pause_hands_back_what_a_thread_has_not_begun() {
    let mut driver = with_pipeline(|_| {});
    driver.input(Input::Pause {
        reason: "on battery".into(),
    });
    assert_eq!(driver.handed_back(), Some(vec![3, 4]));
}

#[test]
fn a_task_given_beforehand_that_the_shell_cannot_pass_on_is_a_fault() {
    let mut driver = with_pipeline(|_| {});
    driver.end(0, 3, Err(host_fault()));
    assert_eq!(driver.faulted(), Some((3, FaultKind::Host)));
    let given: Vec<_> = std::iter::from_fn(|| driver.run())
        .map(|(_, lease, _)| lease)
        .collect();
    assert_eq!(given, [2, 3, 4]);
}
