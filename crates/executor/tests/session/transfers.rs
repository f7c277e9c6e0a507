//! Blobs on their way: what tasks need, and what they made.

use asterism_executor::{Input, Output, TransferError};
use asterism_protocol::{
    Cid, Value, blob_cid,
    message::{FaultKind, LeaseId, ToExecutor},
};

use crate::driver::{COMPONENT, Driver, attempt, host_fault, lease, lease_of, task};

#[test]
fn a_blob_that_two_leases_need_is_fetched_once_and_released_after_the_last() {
    let mut driver = Driver::welcomed(|config| config.prefetch = 3);
    let picture = blob_cid(b"a picture");
    let args = |n| vec![Value::Link(picture.to_link()), Value::Integer(n)];
    driver.obliging = false;
    driver.assign(vec![
        lease_of(1, task("a", args(1))),
        lease_of(2, task("a", args(2))),
    ]);
    assert_eq!(
        driver.fetched(),
        [blob_cid(COMPONENT), picture],
        "the component comes first"
    );
    assert_eq!(
        driver.session.status().idle_because,
        "fetching what the next task needs"
    );
    driver.input(Input::Fetched { cid: picture });
    assert_eq!(driver.run(), None);
    driver.input(Input::Fetched {
        cid: blob_cid(COMPONENT),
    });
    let (thread, lease, _) = driver.run().expect("all is here");
    driver.end(thread, lease, Err(host_fault()));
    assert!(
        !driver.took(|output| matches!(output, Output::Release { .. })),
        "the second lease needs it"
    );
    let (thread, lease, _) = driver.run().expect("the second runs");
    driver.end(thread, lease, Err(host_fault()));
    assert!(driver.took(|output| *output == Output::Release { cid: picture }));
}

#[test]
fn a_blob_that_cannot_be_had_is_tried_again_and_then_a_fault() {
    let mut driver = Driver::welcomed(|_| {});
    driver.obliging = false;
    driver.assign(vec![lease(1)]);
    let mut tries = 0;
    while driver
        .faulted()
        .is_none_or(|fault| fault != (1, FaultKind::Blob))
    {
        for cid in driver.fetched() {
            tries += 1;
            driver.input(Input::FetchFailed {
                cid,
                error: TransferError::Failed("404".into()),
            });
        }
        driver.heartbeat();
        if tries < 4 {
            driver.wait(1_000);
        }
    }
    assert_eq!(tries, 4);
    assert!(driver.session.status().trouble.contains("404"));
}

#[test]
fn blobs_are_uploaded_before_the_outcome_that_links_to_them() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease_of(
        1,
        task("blob", vec![Value::Integer(20_000)]),
    )]);
    driver.obliging = false;
    let (thread, id, job) = driver.run().expect("it runs");
    let attempt = attempt(&job);
    let blob = *attempt
        .blobs
        .first_key_value()
        .expect("long bytes become a blob")
        .0;
    driver.end(thread, id, Ok(Box::new(attempt)));
    assert!(driver.took(|output| *output == Output::Upload { cid: blob }));
    assert!(!driver.took(|output| matches!(output, Output::Sign { .. })));
    driver.obliging = true;
    driver.input(Input::Uploaded { cid: blob });
    assert!(driver.took(|output| *output == Output::Release { cid: blob }));
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
}

/// A task's result is on its way to the coordinator, as a blob.
fn uploading() -> (Driver, Cid) {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease_of(
        1,
        task("blob", vec![Value::Integer(20_000)]),
    )]);
    driver.obliging = false;
    let (thread, id, job) = driver.run().expect("it runs");
    let attempt = attempt(&job);
    let cid = *attempt
        .blobs
        .first_key_value()
        .expect("long bytes become a blob")
        .0;
    driver.end(thread, id, Ok(Box::new(attempt)));
    (driver, cid)
}

#[test]
fn a_blob_that_cannot_be_uploaded_is_a_fault() {
    let (mut driver, cid) = uploading();
    for _ in 0..4 {
        assert_eq!(driver.faulted(), None);
        driver.input(Input::UploadFailed {
            cid,
            error: TransferError::Failed("507".into()),
        });
        driver.wait(5_000);
    }
    assert_eq!(driver.faulted(), Some((1, FaultKind::Blob)));
}

/// Fails all fetches as a coordinator in trouble does, until the lease has ended.
fn fetch_in_vain(driver: &mut Driver) {
    for _ in 0..4 {
        for cid in driver.fetched() {
            driver.input(Input::FetchFailed {
                cid,
                error: TransferError::Unavailable("503".into()),
            });
        }
        driver.wait(4_000);
    }
}

#[test]
fn what_an_unavailable_coordinator_does_not_give_is_handed_back_and_asked_for_later() {
    let mut driver = Driver::welcomed(|_| {});
    driver.obliging = false;
    driver.polled();
    driver.assign(vec![lease(1)]);
    for tried in 1..=4 {
        driver.wait(4_000);
        assert_eq!(driver.handed_back(), None, "after {} tries", tried - 1);
        for cid in driver.fetched() {
            driver.input(Input::FetchFailed {
                cid,
                error: TransferError::Unavailable("503".into()),
            });
        }
    }
    assert_eq!(driver.handed_back(), Some(vec![1]));
    assert_eq!(driver.faulted(), None, "it is no attempt");
    assert!(driver.session.status().trouble.contains("503"));
    while driver.polled().is_some() {}
    driver.assign(Vec::new());
    driver.wait(1_800);
    assert_eq!(driver.polled(), None, "it does not come back at once");
    driver.wait(300);
    assert!(driver.polled().is_some());
    driver.obliging = true;
    driver.assign(vec![lease(1)]);
    driver.perform();
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
}

#[test]
fn a_result_that_an_unavailable_coordinator_does_not_take_is_handed_back() {
    let (mut driver, cid) = uploading();
    for _ in 0..4 {
        assert_eq!(driver.handed_back(), None);
        driver.input(Input::UploadFailed {
            cid,
            error: TransferError::Unavailable("503".into()),
        });
        driver.wait(5_000);
    }
    assert_eq!(driver.handed_back(), Some(vec![1]));
    assert_eq!(driver.faulted(), None, "it is no attempt");
    assert!(driver.took(|output| *output == Output::Release { cid }));
}

#[test]
fn what_is_unavailable_again_and_again_is_a_fault_at_last() {
    let mut driver = Driver::welcomed(|_| {});
    driver.obliging = false;
    let one = task("echo", vec![Value::Integer(1)]);
    for id in 1..=8 {
        driver.assign(vec![lease_of(id, one.clone())]);
        fetch_in_vain(&mut driver);
        assert_eq!(driver.handed_back(), Some(vec![id]));
        assert_eq!(driver.faulted(), None);
        // The next lease comes when it is asked for.
        while driver.polled().is_some() {}
    }
    driver.assign(vec![lease_of(9, one)]);
    fetch_in_vain(&mut driver);
    assert_eq!(driver.handed_back(), None);
    assert_eq!(driver.faulted(), Some((9, FaultKind::Blob)));
}

#[test]
fn what_a_job_and_an_attempt_have_of_blobs_travels_with_them() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    let (_, _, mut job) = driver.run().expect("it runs");
    let mut attempt = attempt(&job);
    for bytes in [&b"one"[..], b"another"] {
        job.blobs.insert(blob_cid(bytes), bytes.to_vec().into());
        attempt.blobs.insert(blob_cid(bytes), bytes.to_vec().into());
    }
    let bytes = asterism_protocol::encode(&job);
    assert_eq!(asterism_protocol::decode("job", &bytes, 1 << 20), Ok(job));
    let bytes = asterism_protocol::encode(&attempt);
    let decoded = asterism_protocol::decode("attempt", &bytes, 1 << 20);
    assert_eq!(decoded, Ok(attempt));
}

#[test]
fn the_blobs_of_an_attempt_that_came_to_nothing_are_released() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease_of(
        1,
        task("blob", vec![Value::Integer(20_000)]),
    )]);
    let (thread, id, job) = driver.run().expect("it runs");
    let attempt = attempt(&job);
    let blob = *attempt
        .blobs
        .first_key_value()
        .expect("long bytes become a blob")
        .0;
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(1)],
        reason: "cancelled".into(),
    });
    driver.end(thread, id, Ok(Box::new(attempt)));
    assert!(driver.took(|output| *output == Output::Release { cid: blob }));
}
