//! What a task may take of time and memory, and how much of the time its owner gives.

use asterism_executor::{Input, Output, ThreadId};
use asterism_protocol::{
    Limits,
    message::{Fault, FaultKind},
};

use crate::driver::{Driver, attempt, host_fault, lease};

#[test]
fn a_thread_rests_to_keep_the_duty_cycle() {
    let mut driver = Driver::welcomed(|config| config.duty_percent = 25);
    driver.assign(vec![lease(1), lease(2)]);
    let (thread, id, _) = driver.run().expect("the first runs");
    driver.wait(1_000);
    driver.end(thread, id, Err(host_fault()));
    assert_eq!(driver.run(), None);
    assert_eq!(
        driver.session.status().idle_because,
        "resting, to compute 25 % of the time"
    );
    driver.wait(2_900);
    assert_eq!(driver.run(), None);
    driver.wait(100);
    assert!(driver.run().is_some(), "one second of work, three of rest");
}

#[test]
fn short_tasks_rest_as_well() {
    let mut driver = Driver::welcomed(|config| config.duty_percent = 50);
    driver.wait(5);
    let (started, mut done) = (driver.now, 0);
    while driver.now.since_ms(started) < 1_000 {
        if let Some(slots) = driver.polled() {
            let first = driver.now.0 * 1_000;
            driver.assign((first..first + u64::from(slots)).map(lease).collect());
        }
        while let Some((thread, id, job)) = driver.run() {
            let mut attempt = attempt(&job);
            attempt.remark.elapsed_us = 500;
            driver.end(thread, id, Ok(Box::new(attempt)));
            done += 1;
        }
        while let Some(ids) = driver.delivered_ids() {
            driver.accept(&ids);
        }
        driver.wait(1);
    }
    assert!(
        (1_800..=2_200).contains(&done),
        "{done} tasks of half a millisecond in a second of rest"
    );
}

#[test]
fn a_task_that_runs_too_long_is_killed_and_a_fault() {
    let mut driver = Driver::welcomed(|_| {});
    let mut slow = lease(1);
    slow.limits.time_ms = 2_000;
    driver.assign(vec![slow, lease(2)]);
    assert!(driver.run().is_some());
    driver.wait(2_100);
    assert!(
        !driver.took(|output| matches!(output, Output::Kill { .. })),
        "the host may stop it itself"
    );
    driver.wait(500);
    assert!(driver.took(|output| *output
        == Output::Kill {
            thread: ThreadId(0)
        }));
    assert_eq!(driver.faulted(), Some((1, FaultKind::TimeLimit)));
    assert_eq!(
        driver.run().map(|(thread, lease, _)| (thread, lease)),
        Some((0, 2)),
        "the thread goes on"
    );
    driver.end(0, 1, Err(host_fault()));
    assert_eq!(
        driver.faulted(),
        None,
        "what a killed thread still says is not heard"
    );
}

#[test]
fn preparing_does_not_count_against_the_time_limit() {
    let mut driver = Driver::welcomed(|_| {});
    let mut quick = lease(1);
    quick.limits.time_ms = 1_000;
    driver.assign(vec![quick]);
    driver.input(Input::Preparing {
        thread: ThreadId(0),
    });
    driver.wait(9_000);
    driver.input(Input::Prepared {
        thread: ThreadId(0),
    });
    driver.wait(1_400);
    assert_eq!(driver.faulted(), None);
    driver.wait(200);
    assert_eq!(driver.faulted(), Some((1, FaultKind::TimeLimit)));
}

#[test]
fn a_task_that_wants_more_memory_than_its_owner_allows_is_refused() {
    let mut driver = Driver::welcomed(|config| config.memory_bytes = 64 << 20);
    driver.assign(vec![lease(1), lease(2)]);
    let (thread, id, job) = driver.run().expect("it runs");
    assert_eq!(job.limits.memory, 64 << 20);
    let mut wanting = attempt(&job);
    wanting.conditions.growth_refused = true;
    driver.end(thread, id, Ok(Box::new(wanting)));
    let (refused, reason) = driver.refused().expect("it is refused");
    assert_eq!(refused, 1);
    assert!(reason.contains("64 MiB"), "{reason}");
    let trouble = driver.session.status().trouble;
    assert_eq!(trouble, format!("a task was left to others: {reason}"));

    // What is content with it has the outcome that it has anywhere.
    driver.perform();
    let items = driver.delivered().expect("it is delivered");
    assert_eq!(items[0].conditions.memory, Limits::default().memory);
}

#[test]
fn a_task_that_its_own_limit_stops_is_an_outcome() {
    let mut driver = Driver::welcomed(|config| config.memory_bytes = 64 << 20);
    let mut small = lease(1);
    small.limits.memory = 1 << 20;
    driver.assign(vec![small]);
    let (thread, id, job) = driver.run().expect("it runs");
    let mut wanting = attempt(&job);
    wanting.conditions.growth_refused = true;
    driver.end(thread, id, Ok(Box::new(wanting)));
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
}

#[test]
fn a_task_that_takes_longer_than_its_owner_allows_is_left_to_others() {
    let mut driver = Driver::welcomed(|config| config.time_ms = 5_000);
    driver.assign(vec![lease(1), lease(2)]);
    let (_, _, job) = driver.run().expect("it runs");
    assert_eq!(job.limits.time_ms, 5_000);
    driver.wait(5_600);
    let (refused, reason) = driver.refused().expect("it is refused");
    assert_eq!(refused, 1);
    assert!(reason.contains("5000 ms"), "{reason}");
    assert_eq!(driver.faulted(), None, "it is no attempt");

    // The host may be first to say so.
    let (thread, id, _) = driver.run().expect("the next one runs");
    let late = Fault {
        kind: FaultKind::TimeLimit,
        message: "it took 5 s".into(),
    };
    driver.end(thread, id, Err(late));
    assert_eq!(driver.refused().map(|(refused, _)| refused), Some(2));
}
