//! A pause, and the end.

use asterism_executor::{Input, Output, ThreadId};
use asterism_protocol::{
    blob_cid,
    message::{LeaseId, ToCoordinator, ToExecutor},
};

use crate::driver::{COMPONENT, Driver, lease};

#[test]
fn a_pause_hands_back_what_is_not_begun() {
    let mut driver = Driver::welcomed(|_| {});
    driver.polled();
    driver.assign(vec![lease(1), lease(2)]);
    driver.input(Input::Pause {
        reason: "on battery".into(),
    });
    assert_eq!(driver.handed_back(), Some(vec![2]));
    driver.perform();
    assert_eq!(
        driver.delivered_ids(),
        Some(vec![1]),
        "what runs is finished"
    );
    assert_eq!(driver.polled(), None);
    assert_eq!(driver.session.status().idle_because, "on battery");
    driver.receive(ToExecutor::Assign { leases: vec![] });
    assert_eq!(driver.polled(), None);
    driver.input(Input::Resume);
    driver.wait(100);
    assert!(driver.polled().is_some());
}

#[test]
fn leaving_at_once_hands_everything_back() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    driver.outputs.clear();
    driver.input(Input::Leave { finish: false });
    driver.outputs.retain(|output| *output != Output::Changed);
    assert_eq!(
        driver.outputs,
        [
            Output::Kill {
                thread: ThreadId(0)
            },
            Output::Release {
                cid: blob_cid(COMPONENT)
            },
            Output::Send(ToCoordinator::HandBack {
                leases: vec![LeaseId(1), LeaseId(2)]
            }),
            Output::Send(ToCoordinator::Leave),
            Output::Disconnect,
            Output::Finished
        ]
    );
    driver.outputs.clear();
    driver.input(Input::Connected);
    driver.wait(100_000);
    assert_eq!(driver.outputs, [], "nothing follows");
}

#[test]
fn leaving_after_finishing_delivers_first() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1), lease(2)]);
    driver.input(Input::Leave { finish: true });
    assert_eq!(driver.handed_back(), Some(vec![2]));
    driver.perform();
    assert_eq!(driver.delivered_ids(), Some(vec![1]));
    assert!(!driver.took(|output| *output == Output::Finished));
    driver.accept(&[1]);
    assert!(driver.took(|output| *output == Output::Send(ToCoordinator::Leave)));
    assert!(driver.took(|output| *output == Output::Finished));
}

#[test]
fn leaving_at_once_does_not_wait_long_for_acceptance() {
    let mut driver = Driver::welcomed(|_| {});
    driver.assign(vec![lease(1)]);
    driver.perform();
    driver.input(Input::Leave { finish: false });
    assert!(!driver.took(|output| *output == Output::Finished));
    driver.wait(2_000);
    assert!(driver.took(|output| *output == Output::Finished));
}

#[test]
fn leaving_without_a_coordinator_is_possible() {
    for finish in [true, false] {
        let mut driver = Driver::new(|_| {});
        driver.input(Input::Leave { finish });
        assert!(driver.took(|output| *output == Output::Finished));
    }
}
