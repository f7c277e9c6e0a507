//! Outcomes that are committed to first, and told when they are asked for.

use asterism_executor::{Input, Output};
use asterism_protocol::{
    Statement,
    message::{Lease, LeaseId, ToExecutor, commitment},
};

use crate::driver::{Driver, lease};

fn committing(id: u64) -> Lease {
    Lease {
        commit: true,
        ..lease(id)
    }
}

#[test]
fn an_outcome_is_committed_to_and_told_only_when_it_is_asked_for() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![committing(1)]);
    driver.perform();
    let committed = driver.committed().expect("it commits");
    assert_eq!(committed.len(), 1);
    driver.wait(100);
    assert_eq!(driver.delivered(), None, "nobody asked");
    driver.receive(ToExecutor::Reveal {
        leases: vec![LeaseId(1)],
    });
    let items = driver.delivered().expect("it was asked for");
    let salt = items[0].salt.expect("the salt comes with it");
    let statement = Statement {
        outcome: items[0].outcome.cid(),
        conditions: items[0].conditions,
    };
    assert_eq!(*committed[0].digest, commitment(&salt, &statement));
    driver.accept(&[1]);
    assert_eq!(driver.session.status().tasks, 1);
}

#[test]
fn leaving_after_finishing_does_not_wait_for_ever_to_be_asked() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![committing(1)]);
    driver.perform();
    driver.committed().expect("it commits");
    driver.input(Input::Leave { finish: true });
    driver.wait(9_000);
    assert!(!driver.took(|output| *output == Output::Finished));
    driver.wait(1_000);
    assert_eq!(driver.handed_back(), Some(vec![1]));
    assert!(driver.took(|output| *output == Output::Finished));
}

#[test]
fn what_is_not_to_be_committed_to_is_told_at_once() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.perform();
    let items = driver.delivered().expect("it is told");
    assert_eq!(items[0].salt, None);
    assert_eq!(driver.committed(), None);
}

#[test]
fn after_a_reconnection_it_commits_again_and_is_asked_again() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![committing(1)]);
    driver.perform();
    let before = driver.committed().expect("it commits");
    driver.input(Input::Disconnected {
        reason: "gone".into(),
    });
    driver.wait(5_000);
    driver.connect(&[1]);
    assert_eq!(driver.committed().as_ref(), Some(&before), "the same again");
    driver.receive(ToExecutor::Reveal {
        leases: vec![LeaseId(1)],
    });
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
}
