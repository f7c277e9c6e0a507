//! Threads at work: which task they have, and who is told.

use asterism_executor::{Input, Output, ThreadId};
use asterism_protocol::{
    Value, blob_cid,
    message::{FaultKind, LeaseId, ToCoordinator, ToExecutor},
};

use crate::driver::{Driver, attempt, host_fault, lease, lease_of, task};

#[test]
fn no_more_run_than_there_are_threads() {
    let mut driver = Driver::welcomed(|config| config.capabilities.threads = 2);
    assert_eq!(driver.polled(), Some(4));
    driver.assign((1..=4).map(lease).collect());
    assert!(driver.run().is_some() && driver.run().is_some());
    assert_eq!(driver.run(), None);
    assert_eq!(driver.session.status().prefetched, 2);
    driver.input(Input::Threads(1));
    assert_eq!(driver.handed_back(), Some(vec![3, 4]), "two run already");
    driver.wait(5_000);
    driver.end(1, 2, Err(host_fault()));
    assert_eq!(driver.polled(), Some(1));
    driver.assign(vec![lease(5)]);
    assert_eq!(driver.run(), None, "the thread that is left is busy");
    driver.end(0, 1, Err(host_fault()));
    assert_eq!(
        driver.run().map(|(thread, lease, _)| (thread, lease)),
        Some((0, 5))
    );
}

#[test]
fn while_one_task_runs_another_is_made_ready_and_a_third_is_fetched() {
    let mut driver = Driver::welcomed(|config| config.capabilities.threads = 2);
    driver.assign(vec![lease(1)]);
    let (first, ..) = driver.run().expect("the first runs");
    let mut other = task("echo", Vec::new());
    other.run.rsc = format!("ipfs://{}", blob_cid(b"another component"));
    driver.assign(vec![lease_of(2, other)]);
    let (second, _, job) = driver.run().expect("the second begins");
    assert_ne!(first, second);
    driver.input(Input::Preparing {
        thread: ThreadId(second),
    });

    driver.fetched();
    driver.obliging = false;
    let picture = blob_cid(b"a picture");
    driver.assign(vec![lease_of(
        3,
        task("a", vec![Value::Link(picture.to_link())]),
    )]);
    assert_eq!(driver.fetched(), [picture]);
    driver.input(Input::Fetched { cid: picture });
    assert_eq!(driver.run(), None, "both threads are busy");

    driver.end(first, 1, Err(host_fault()));
    let begun = driver.run().map(|(thread, lease, _)| (thread, lease));
    assert_eq!(begun, Some((first, 3)), "the second is still made ready");
    driver.input(Input::Prepared {
        thread: ThreadId(second),
    });
    driver.end(second, 2, Ok(Box::new(attempt(&job))));
    assert_eq!(driver.faulted(), Some((1, FaultKind::Host)));
    assert_eq!(driver.faulted(), None, "the others are well");
}

#[test]
fn tasks_whose_component_cannot_run_here_are_left_to_others() {
    let mut driver = Driver::welcomed(|config| config.pipeline = true);
    driver.assign(vec![lease(1)]);
    assert!(driver.run().is_some());
    let unfit = |lease| Input::Unfit {
        thread: ThreadId(0),
        lease: LeaseId(lease),
        reason: "it has too many locals".into(),
    };
    driver.input(unfit(2));
    assert_eq!(driver.refused(), None, "the thread has no such lease");
    driver.assign(vec![lease(5)]);
    assert_eq!(driver.session.status().prefetched, 1);
    driver.input(unfit(1));
    let refused = |id| Some((id, "it has too many locals".to_owned()));
    assert_eq!(driver.refused(), refused(5), "it waited for the thread");
    assert_eq!(driver.refused(), refused(1), "and that is no attempt");
    assert_eq!(driver.faulted(), None);

    // Nor is it tried again with another task, and others are not kept from this thread.
    driver.wait(5_000);
    let mut other = task("echo", Vec::new());
    other.run.rsc = format!("ipfs://{}", blob_cid(b"another component"));
    driver.assign(vec![lease(2)]);
    assert_eq!(driver.refused(), refused(2));
    driver.wait(5_000);
    driver.assign(vec![lease_of(3, other)]);
    let (thread, id, job) = driver.run().expect("the other one runs");
    assert_eq!(id, 3);
    driver.end(thread, id, Ok(Box::new(attempt(&job))));

    for _ in 0..60 {
        driver.wait(10_000);
        driver.assign(Vec::new());
    }
    driver.wait(1_000);
    driver.assign(vec![lease(4)]);
    assert_eq!(driver.refused(), None, "what it was may have passed");
    assert!(driver.run().is_some());
}

#[test]
fn a_task_whose_component_is_not_ready_in_time_is_handed_back_some_times() {
    let mut driver = Driver::welcomed(|_| {});
    for id in 1..=9 {
        driver.assign(vec![lease(id)]);
        assert!(driver.run().is_some());
        driver.input(Input::Preparing {
            thread: ThreadId(0),
        });
        for _ in 0..7 {
            driver.wait(9_000);
            driver.assign(Vec::new());
        }
        assert_eq!(driver.faulted(), None, "nobody is to blame");
        let ended = (driver.handed_back(), driver.refused().map(|(id, _)| id));
        if id < 9 {
            assert_eq!(ended, (Some(vec![id]), None));
        } else {
            assert_eq!(ended, (None, Some(id)), "it will not be ready here");
        }
    }
    driver.wait(1_000);
    driver.assign(vec![lease(10)]);
    let (refused, reason) = driver.refused().expect("nor with another task");
    assert_eq!(refused, 10);
    assert!(reason.contains("60000 ms"), "{reason}");
}

#[test]
fn a_revoked_task_is_killed_and_its_thread_goes_on() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    assert!(driver.run().is_some());
    driver.receive(ToExecutor::Revoke {
        leases: vec![LeaseId(1)],
        reason: "cancelled".into(),
    });
    assert!(driver.took(|output| *output
        == Output::Kill {
            thread: ThreadId(0)
        }));
    assert_eq!(driver.run().map(|(_, lease, _)| lease), Some(2));
    driver.wait(1_000);
    assert_eq!(driver.heartbeat(), Some(vec![2]));
}

#[test]
fn an_answer_for_another_instruction_is_a_fault_of_the_host() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    let (thread, id, mut job) = driver.run().expect("it runs");
    job.instruction = blob_cid(b"other");
    driver.end(thread, id, Ok(Box::new(attempt(&job))));
    assert_eq!(driver.faulted(), Some((1, FaultKind::Host)));
}

#[test]
fn long_attempts_are_announced_and_short_ones_are_not() {
    let started = |message| match message {
        ToCoordinator::Started { leases } => Some(leases),
        _ => None,
    };
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    driver.wait(10);
    driver.perform();
    driver.wait(50);
    assert_eq!(driver.sent(started), None);
    driver.wait(60);
    assert_eq!(driver.sent(started), Some(vec![LeaseId(2)]));
}

#[test]
fn a_free_thread_has_its_next_task_before_its_last_one_is_looked_at() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    let (thread, id, job) = driver.run().expect("it runs");
    driver.outputs.clear();
    driver.obliging = false;
    let mut attempt = attempt(&job);
    attempt
        .blobs
        .insert(blob_cid(b"made"), b"made".to_vec().into());
    driver.end(thread, id, Ok(Box::new(attempt)));
    let place = |fits: fn(&Output) -> bool| driver.outputs.iter().position(fits);
    let next = place(|output| matches!(output, Output::Run { .. })).expect("the next one runs");
    let upload = place(|output| matches!(output, Output::Upload { .. })).expect("an upload");
    assert!(next < upload, "{:?}", driver.outputs);
}
