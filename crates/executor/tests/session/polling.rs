//! How much is asked for, and when.

use std::collections::BTreeMap;

use asterism_protocol::message::ToExecutor;

use crate::driver::{Driver, lease};

#[test]
fn a_coordinator_that_offers_only_what_is_refused_makes_no_busy_loop() {
    let mut driver = Driver::welcomed(|_| {});
    let mut polls = 0;
    for id in 0..100 {
        driver.wait(10);
        if driver.polled().is_some() {
            polls += 1;
            let mut lease = lease(id);
            lease.task.run.op = "other".into();
            driver.assign(vec![lease]);
        }
    }
    assert!((2..6).contains(&polls), "{polls} polls in a second");
}

#[test]
fn short_tasks_are_prefetched_further_than_long_ones() {
    let mut slots = BTreeMap::new();
    for task_ms in [0, 1_000] {
        let mut driver = Driver::welcomed(|_| {});
        driver.polled();
        for id in 1..=30 {
            driver.assign(vec![lease(id)]);
            driver.wait(task_ms);
            driver.perform();
            driver.wait(10);
            driver.accept(&[id]);
            slots.insert(task_ms, driver.polled());
            driver.outputs.clear();
        }
    }
    assert_eq!(slots[&1_000], Some(1));
    assert!(slots[&0] > Some(20), "{slots:?}");
}

#[test]
fn a_machine_under_load_prefetches_as_far_as_before() {
    let mut driver = Driver::welcomed(|_| {});
    driver.polled();
    let mut slots = None;
    for id in 1..=30 {
        driver.assign(vec![lease(id)]);
        // What takes a tenth of a millisecond took eight; the way to the coordinator is not longer for that.
        driver.wait(8);
        driver.perform();
        driver.wait(10);
        driver.accept(&[id]);
        slots = driver.polled();
        driver.outputs.clear();
    }
    assert!(slots > Some(10), "{slots:?}");
}

#[test]
fn a_coordinator_far_away_does_not_make_one_executor_hoard() {
    let mut driver = Driver::welcomed(|_| {});
    driver.polled();
    let mut slots = None;
    for id in 1..=30 {
        driver.assign(vec![lease(id)]);
        driver.wait(500);
        driver.perform();
        driver.wait(5_000);
        driver.accept(&[id]);
        slots = driver.polled();
        driver.outputs.clear();
    }
    assert!(slots <= Some(3), "a second of work and one more: {slots:?}");
}

#[test]
fn with_work_ahead_a_poll_waits_until_it_is_worth_it() {
    let mut driver = Driver::welcomed(|config| config.prefetch = 19);
    assert_eq!(driver.polled(), Some(20));
    driver.assign((1..=20).map(lease).collect());
    for _ in 0..4 {
        driver.wait(10);
        driver.perform();
        assert_eq!(driver.polled(), None);
    }
    driver.wait(10);
    driver.perform();
    assert_eq!(driver.polled(), Some(5));
}

#[test]
fn an_excluded_executor_asks_for_nothing_and_says_why() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![]);
    driver.receive(ToExecutor::Excluded {
        reason: "caught".into(),
    });
    driver.polled();
    driver.receive(ToExecutor::Assign { leases: vec![] });
    driver.wait(60_000);
    assert_eq!(driver.polled(), None);
    let status = driver.session.status();
    assert_eq!(status.idle_because, "caught");
    assert_eq!(status.trouble, "caught");
}
