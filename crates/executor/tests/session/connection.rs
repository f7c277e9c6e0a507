//! The connection: lost, made again, given up.

use asterism_executor::{Input, Output, ThreadId, TimeoutReason};
use asterism_protocol::message::{FaultKind, Held, LeaseId};

use crate::driver::{Driver, host_fault, lease};

#[test]
fn work_goes_on_while_the_coordinator_is_away_and_is_delivered_on_return() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    driver.input(Input::Disconnected {
        reason: "reset".into(),
    });
    assert!(!driver.session.status().connected);
    driver.perform();
    assert!(
        driver.session.status().doing.len() == 1,
        "the second began meanwhile"
    );
    assert_eq!(driver.delivered_ids(), None);
    driver.wait(400);
    let hello = driver.connect(&[1, 2]);
    let held = |id: u64| Held {
        lease: LeaseId(id),
        instruction: lease(id).task.run.cid(),
    };
    assert_eq!(hello.holding, [held(1), held(2)]);
    driver.wait(5);
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    driver.perform();
    assert_eq!(driver.delivered_ids(), Some(vec![2]));
}

#[test]
fn what_was_not_accepted_is_delivered_again_after_a_reconnection() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.perform();
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    driver.input(Input::Disconnected {
        reason: "reset".into(),
    });
    driver.wait(400);
    driver.connect(&[1]);
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    driver.accept(&[1]);
    assert_eq!(driver.session.status().tasks, 1);
}

#[test]
fn leases_that_are_not_resumed_are_dropped() {
    let mut driver = Driver::welcomed(|config| config.capabilities.threads = 2);
    driver.assign((1..=3).map(lease).collect());
    driver.input(Input::Disconnected {
        reason: "reset".into(),
    });
    driver.wait(400);
    driver.connect(&[2]);
    assert!(driver.took(|output| *output
        == Output::Kill {
            thread: ThreadId(0)
        }));
    assert!(!driver.took(|output| *output
        == Output::Kill {
            thread: ThreadId(1)
        }));
    assert_eq!(driver.session.status().doing.len(), 1);
    driver.wait(1_000);
    assert_eq!(driver.heartbeat(), Some(vec![2]));
}

#[test]
fn a_fault_while_the_coordinator_is_away_is_told_on_return() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.input(Input::Disconnected {
        reason: "reset".into(),
    });
    driver.end(0, 1, Err(host_fault()));
    driver.wait(400);
    driver.connect(&[1]);
    assert_eq!(driver.faulted(), Some((1, FaultKind::Host)));
}

#[test]
fn reconnections_wait_longer_and_are_the_same_for_a_seed() {
    let waits = |seed| {
        let mut driver = Driver::new(|config| config.seed = seed);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert!(driver.took(|output| *output == Output::Connect));
            driver.input(Input::Disconnected {
                reason: "refused".into(),
            });
            let (at, reason) = driver.session.poll_timeout().expect("it tries again");
            assert_eq!(reason, TimeoutReason::Reconnect);
            waits.push(at.since_ms(driver.now));
            driver.wait(at.since_ms(driver.now));
        }
        waits
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
    let (early, late) = (
        waits(3)[..4].iter().sum::<u64>(),
        waits(3)[8..].iter().sum::<u64>(),
    );
    assert!(early < 4_000 && late > 2 * early, "{early} {late}");
}

#[test]
fn a_coordinator_that_does_not_answer_is_left() {
    let mut driver = Driver::new(|_| {});
    driver.wait(16_000);
    assert!(
        driver.took(|output| *output == Output::Disconnect),
        "no connection came about"
    );
    let mut driver = Driver::welcomed(|_| {});
    driver.took(|output| *output == Output::Connect);
    driver.wait(19_000);
    assert!(!driver.took(|output| *output == Output::Disconnect));
    driver.wait(2_000);
    assert!(
        driver.took(|output| *output == Output::Disconnect),
        "the poll was not answered"
    );
    driver.wait(400);
    assert!(driver.took(|output| *output == Output::Connect));
}
