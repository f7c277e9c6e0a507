//! Outcomes on their way: signed in batches, delivered, refused.

use asterism_executor::{Input, Output};
use asterism_protocol::message::{Fault, FaultKind, LeaseId, ToExecutor};

use crate::driver::{Driver, attempt, lease};

#[test]
fn under_load_outcomes_are_signed_together() {
    let mut driver = Driver::welcomed(|config| config.prefetch = 20);
    driver.assign((1..=20).map(lease).collect());
    for _ in 0..20 {
        driver.perform();
    }
    let mut batches = Vec::new();
    driver.wait(5);
    while let Some(ids) = driver.delivered_ids() {
        batches.push(ids);
    }
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 20);
    assert!(batches.len() <= 2, "{batches:?}");
}

#[test]
fn while_one_batch_is_signed_the_next_gathers() {
    let mut driver = Driver::welcomed(|config| config.prefetch = 9);
    driver.assign((1..=4).map(lease).collect());
    driver.obliging = false;
    driver.perform();
    driver.wait(10);
    let signs = |driver: &mut Driver| {
        let place = driver
            .outputs
            .iter()
            .position(|output| matches!(output, Output::Sign { .. }))?;
        match driver.outputs.remove(place) {
            Output::Sign { id, bytes } => Some(Input::Signed {
                id,
                signature: driver.identity.sign(&bytes),
            }),
            _ => None,
        }
    };
    let first = signs(&mut driver).expect("the first is signed");
    for _ in 0..3 {
        driver.perform();
    }
    driver.wait(10);
    assert!(signs(&mut driver).is_none());
    driver.input(first);
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    let second = signs(&mut driver).expect("the others are signed together");
    driver.input(second);
    assert_eq!(driver.delivered_ids(), Some(vec![2, 3, 4]));
}

#[test]
fn a_lease_that_is_revoked_while_its_batch_is_signed_is_left_out() {
    let mut driver = Driver::welcomed(|config| config.capabilities.threads = 2);
    driver.assign((1..=2).map(lease).collect());
    driver.obliging = false;
    driver.perform();
    driver.perform();
    driver.wait(10);
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(1)],
        reason: "cancelled".into(),
    });
    driver.obliging = true;
    for id in 1..10 {
        let signature = driver.identity.sign(b"whatever");
        driver.input(Input::Signed {
            id: asterism_executor::SignId(id),
            signature,
        });
    }
    assert_eq!(driver.delivered_ids(), Some(vec![2]));
}

#[test]
fn a_rejected_delivery_is_dropped_and_shown() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.perform();
    driver.receive(ToExecutor::Rejected {
        lease: Some(LeaseId(1)),
        reason: "too late".into(),
    });
    assert_eq!(
        driver.session.status().trouble,
        "the coordinator refused: too late"
    );
    driver.wait(1_000);
    assert_eq!(driver.heartbeat(), Some(vec![]));
}

#[test]
fn an_oversized_remark_does_not_cost_the_outcome() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    let (thread, id, job) = driver.run().expect("it runs");
    let mut attempt = attempt(&job);
    attempt.remark.backtrace = vec!["x".repeat(1 << 20); 8];
    driver.end(thread, id, Ok(Box::new(attempt)));
    let items = driver.delivered().expect("it is delivered");
    assert!(items[0].remark.backtrace.is_empty());
}

#[test]
fn what_is_said_is_within_the_bounds_of_what_may_be_said() {
    let mut driver = Driver::new(|config| config.name = "ä".repeat(1_000));
    let hello = driver.connect(&[]);
    assert_eq!(hello.name.len(), 256);
    let mut resource = lease(1);
    resource.task.run.rsc = "x".repeat(100_000);
    driver.assign(vec![resource]);
    assert!(driver.refused().expect("it is refused").1.len() <= 8 << 10);
    driver.wait(200);
    assert!(driver.polled().is_some());
    driver.assign(vec![lease(2)]);
    driver.end(
        0,
        2,
        Err(Fault {
            kind: FaultKind::Lost,
            message: "ß".repeat(100_000),
        }),
    );
    assert_eq!(driver.faulted(), Some((2, FaultKind::Host)));
}
