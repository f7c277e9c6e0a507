//! Who may have what, and what is said when nobody may.

use asterism_protocol::{
    Task, Value,
    message::Change,
    view::{Standing, TaskState},
};

use crate::driver::{Driver, ok, task};

fn requiring(json: &str) -> Task {
    let mut task = task("a", vec![Value::String(json.into())]);
    let value = asterism_protocol::value_of_json(json.as_bytes()).expect("it is JSON");
    task.meta.0.insert("requires".into(), value);
    task
}

#[test]
fn capabilities_labels_and_names_are_required() {
    let wishes = [
        (r#"{"capabilities": ["gpu"]}"#, "it does not offer gpu"),
        (
            r#"{"labels": {"region": "eu"}}"#,
            "its region is us, not eu",
        ),
        (r#"{"labels": {"rack": "7"}}"#, "it has no label rack=7"),
        (r#"{"executor": "rack-7"}"#, "it is not rack-7"),
        (r#"{"trust": "trusted"}"#, "the operator does not trust it"),
    ];
    for (wish, lack) in wishes {
        let mut driver = Driver::new();
        let run = driver.submit(vec![requiring(wish)]);
        let plain = driver.executor_that(1, "", |hello| {
            hello
                .capabilities
                .labels
                .insert("region".into(), "us".into());
        });
        assert!(driver.poll_for(&plain, 1).is_empty(), "{wish}");
        let reason = driver.task(run, 0).reason;
        assert_eq!(reason, format!("no executor here can have it: {lack}"));
        let explained = driver.scheduler.explain(run, 0).expect("it is there");
        assert_eq!(explained.candidates[0].lacks, lack);
        if wish.contains("trust") {
            continue;
        }
        let fit = driver.executor_that(2, "", |hello| {
            hello.name = "rack-7".into();
            hello.capabilities.offers.insert("gpu".into());
            let labels = [("region", "eu"), ("rack", "7")];
            hello.capabilities.labels = labels.map(|(a, b)| (a.into(), b.into())).into();
        });
        let lease = driver.poll_for_one(&fit);
        driver.complete(&fit, &lease, ok(1));
    }
}

#[test]
fn what_only_some_may_have_does_not_hold_up_the_others() {
    let mut driver = Driver::new();
    let mut tasks: Vec<Task> = (0..400)
        .map(|n| {
            let mut task = requiring(r#"{"capabilities": ["gpu"]}"#);
            task.run.input.args.push(Value::Integer(n));
            task
        })
        .collect();
    let mut trusted = requiring(r#"{"capabilities": ["npu"]}"#);
    trusted.run.input.func = "reached".into();
    tasks.push(trusted);
    driver.submit(tasks);
    let other = driver.executor_that(1, "", |hello| {
        hello.capabilities.offers.insert("npu".into());
    });
    let mut reached = false;
    for _ in 0..3 {
        let leases = driver.poll_for(&other, 1);
        reached |= leases
            .iter()
            .any(|lease| lease.task.run.input.func == "reached");
    }
    assert!(
        reached,
        "it comes into view behind 400 that it may not have"
    );
}

#[test]
fn a_drained_executor_finishes_what_it_holds_and_gets_nothing_more() {
    let mut driver = Driver::new();
    let run = driver.submit(vec![task("a", vec![]), task("b", vec![])]);
    let executor = driver.executor(1);
    let lease = driver.poll_for_one(&executor);
    assert!(driver.drain_executor(executor.key(), true).is_ok());
    driver.complete(&executor, &lease, ok(1));
    assert_eq!(driver.states(run)[0], TaskState::Computed);
    assert!(driver.poll_for(&executor, 1).is_empty());
    let explained = driver.scheduler.explain(run, 1).expect("it is there");
    assert_eq!(explained.candidates[0].lacks, "the operator drains it");
    assert!(driver.drain_executor(executor.key(), false).is_ok());
    assert_eq!(driver.assigned(&executor).len(), 1, "its poll still waits");
    let absent = driver.connect(9).key();
    assert!(
        driver.drain_executor(absent, true).is_err(),
        "it said no hello"
    );
}

#[test]
fn a_banned_executor_loses_its_leases_for_good() {
    let mut driver = Driver::new();
    let run = driver.submit(vec![task("a", vec![])]);
    let banned = driver.executor(1);
    let lease = driver.poll_for_one(&banned);
    driver.ban(banned.key());
    assert_eq!(driver.revoked(&banned), [lease.id]);
    assert!(driver.poll_for(&banned, 1).is_empty());
    let other = driver.executor(2);
    let lease = driver.poll_for_one(&other);
    driver.complete(&other, &lease, ok(1));
    assert_eq!(driver.states(run), [TaskState::Computed]);
    let mut restarted = driver.restarted();
    let back = restarted.executor(1);
    restarted.submit(vec![task("b", vec![])]);
    assert!(
        restarted.poll_for(&back, 1).is_empty(),
        "the journal remembers"
    );
    let view = restarted.scheduler.overview().executors;
    let view = view.iter().find(|view| view.key == back.key());
    let view = view.expect("it is shown");
    assert_eq!(view.reason, "the operator excluded it");
    assert_eq!(view.wrong, 0, "that is no lie");
}

#[test]
fn a_ban_is_lifted_for_good_and_the_executor_comes_back_to_work() {
    let mut driver = Driver::new();
    driver.submit(vec![task("a", vec![])]);
    let banned = driver.executor(1);
    assert!(driver.lift(banned.key()).is_err(), "there is no ban");
    driver.ban(banned.key());
    assert!(driver.lift(banned.key()).is_ok());
    assert!(
        driver.closed.contains(&banned.connection),
        "it is to come back"
    );
    let mut compacted = driver.restarted();
    compacted.compact();
    for driver in [&mut driver, &mut compacted.restarted()] {
        let back = driver.executor(1);
        let lease = driver.poll_for_one(&back);
        driver.complete(&back, &lease, ok(1));
        let views = driver.scheduler.overview().executors;
        let view = views.iter().find(|view| view.key == back.key());
        let view = view.expect("it is here");
        assert_eq!((view.standing, view.tasks), (Standing::Stranger, 1));
    }
}

#[test]
fn a_ban_of_somebody_who_is_gone_is_lifted_too() {
    let mut driver = Driver::new();
    let gone = driver.executor(1);
    driver.ban(gone.key());
    driver.disconnect(&gone);
    assert_eq!(driver.scheduler.overview().executors.len(), 1, "shown on");
    driver.changes.clear();
    assert!(driver.lift(gone.key()).is_ok());
    assert!(driver.scheduler.overview().executors.is_empty());
    assert!(matches!(driver.changes[..], [Change::ExecutorGone(key)] if key == gone.key()));
}
