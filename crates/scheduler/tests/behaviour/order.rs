//! Whose turn it is.

use std::collections::BTreeMap;

use asterism_protocol::{
    Await, Task, Terms, Value,
    message::ToCoordinator,
    view::{RunState, TaskState},
};
use asterism_scheduler::{Config, Input};

use crate::driver::{Driver, awaits, config, ok, task};

fn many(func: &str, count: i128) -> Vec<Task> {
    (0..count)
        .map(|n| task(func, vec![Value::Integer(n)]))
        .collect()
}

fn priority(priority: i32) -> Terms {
    Terms {
        priority,
        ..Terms::default()
    }
}

/// Takes `count` leases one by one, `ms` apart, and says how many there were of each function.
fn served(driver: &mut Driver, count: usize, ms: u64) -> BTreeMap<String, usize> {
    let worker = driver.executor(200);
    let mut counts = BTreeMap::new();
    for _ in 0..count {
        let lease = driver.poll_for_one(&worker);
        driver.pass(ms);
        driver.complete(&worker, &lease, ok(1));
        *counts
            .entry(lease.task.into_inner().run.input.func)
            .or_default() += 1;
    }
    counts
}

#[test]
fn two_submitters_get_equal_shares_however_many_runs_they_have() {
    let mut driver = Driver::new();
    for n in 0..4 {
        let tasks = (0..100).map(|m| task("greedy", vec![Value::Integer(n * 100 + m)]));
        driver
            .submit_as("greedy", tasks.collect(), vec![], Terms::default())
            .expect("accepted");
    }
    driver
        .submit_as("modest", many("modest", 100), vec![], Terms::default())
        .expect("accepted");
    let counts = served(&mut driver, 100, 10);
    assert!((40..=60).contains(&counts["modest"]), "{counts:?}");
}

#[test]
fn a_larger_share_gets_more() {
    let config = Config {
        shares: [("rich".to_owned(), 3)].into(),
        ..config()
    };
    let mut driver = Driver::with(config);
    for who in ["poor", "rich"] {
        driver
            .submit_as(who, many(who, 200), vec![], Terms::default())
            .expect("accepted");
    }
    let counts = served(&mut driver, 100, 10);
    assert!((65..=85).contains(&counts["rich"]), "{counts:?}");
}

#[test]
fn a_run_that_comes_later_is_not_kept_waiting_by_a_large_one() {
    let mut driver = Driver::new();
    driver.submit(many("large", 500));
    served(&mut driver, 100, 10);
    driver.submit(many("late", 50));
    let counts = served(&mut driver, 60, 10);
    assert!(counts["late"] >= 20, "{counts:?}");
}

#[test]
fn priority_is_a_head_start() {
    let mut driver = Driver::new();
    driver.submit(many("usual", 50));
    driver.submit_on(priority(1), many("urgent", 50));
    driver.submit_on(priority(-1), many("idle", 50));
    assert_eq!(served(&mut driver, 50, 1)["urgent"], 50);
    assert_eq!(served(&mut driver, 50, 1)["usual"], 50);
    assert_eq!(served(&mut driver, 50, 1)["idle"], 50);
}

#[test]
fn a_stream_of_urgent_runs_starves_nobody() {
    let mut driver = Driver::new();
    let patient = driver.submit(many("patient", 1));
    let worker = driver.executor(1);
    let mut waited_ms = 0;
    for n in 0.. {
        let task = task("urgent", vec![Value::Integer(n)]);
        driver.submit_on(priority(1), vec![task]);
        let lease = driver.poll_for_one(&worker);
        driver.pass(1_000);
        driver.complete(&worker, &lease, ok(1));
        waited_ms += 1_000;
        if driver.state(patient) == RunState::Done {
            break;
        }
        assert!(waited_ms <= 70_000, "one step of priority is a minute");
    }
    assert!(waited_ms >= 50_000, "and not much less");
}

#[test]
fn a_run_whose_deadline_is_near_goes_first() {
    let mut driver = Driver::new();
    driver.submit(many("usual", 20));
    let deadline = Some(driver.now.after_ms(30_000));
    let terms = Terms {
        deadline,
        ..Terms::default()
    };
    driver.submit_on(terms, many("due", 20));
    assert_eq!(served(&mut driver, 20, 1)["due"], 20);
}

#[test]
fn the_longest_way_to_the_end_is_begun_first() {
    let mut driver = Driver::new();
    let mut tasks = many("leaf", 5);
    let head = task("head", vec![]);
    let middle = task("middle", vec![awaits(Await::Ok, &head)]);
    let end = task("end", vec![awaits(Await::Ok, &middle)]);
    tasks.extend([head, middle, end]);
    driver.submit(tasks);
    let worker = driver.executor(1);
    let order: Vec<String> = (0..4)
        .map(|_| {
            let lease = driver.poll_for_one(&worker);
            driver.complete(&worker, &lease, ok(1));
            lease.task.into_inner().run.input.func
        })
        .collect();
    assert_eq!(order[..2], ["head", "middle"]);
}

#[test]
fn a_paused_run_leases_nothing_until_it_is_resumed() {
    let mut driver = Driver::new();
    let run = driver.submit(many("a", 3));
    let worker = driver.executor(1);
    let held = driver.poll_for_one(&worker);
    driver.pause(Some(run), true).expect("it is there");
    assert!(driver.poll_for(&worker, 2).is_empty());
    driver.complete(&worker, &held, ok(1));
    let view = driver.view(run);
    assert!(view.summary.paused);
    assert_eq!(view.tasks[1].reason, "the run is paused");
    let restarted = driver.restarted();
    assert!(restarted.view(run).summary.paused, "also after a restart");
    driver.pause(Some(run), false).expect("it is there");
    assert_eq!(driver.work_off(&worker, |_| ok(1)), 2);
    assert_eq!(driver.state(run), RunState::Done);
}

#[test]
fn what_a_paused_run_shares_with_another_goes_on() {
    let mut driver = Driver::new();
    let paused = driver.submit(many("a", 1));
    let other = driver.submit(many("a", 1));
    driver.pause(Some(paused), true).expect("it is there");
    let worker = driver.executor(1);
    assert_eq!(driver.work_off(&worker, |_| ok(1)), 1);
    assert_eq!(driver.state(other), RunState::Done);
    assert_eq!(
        driver.state(paused),
        RunState::Done,
        "what is known is known"
    );
}

#[test]
fn a_paused_coordinator_leases_nothing() {
    let mut driver = Driver::new();
    let worker = driver.executor(1);
    driver.poll(&worker, 4);
    driver.pause(None, true).expect("it can");
    let run = driver.submit(many("a", 3));
    assert!(driver.assigned(&worker).is_empty());
    assert!(driver.scheduler.overview().paused);
    assert_eq!(driver.task(run, 0).reason, "the coordinator is paused");
    let mut restarted = driver.restarted();
    let again = restarted.executor(1);
    assert!(
        restarted.poll_for(&again, 4).is_empty(),
        "also after a restart"
    );
    driver.pause(None, false).expect("it can");
    assert_eq!(
        driver.assigned(&worker).len(),
        3,
        "whoever waits gets it at once"
    );
}

#[test]
fn a_held_coordinator_leases_nothing_and_is_not_paused() {
    let mut driver = Driver::new();
    let (worker, idle) = (driver.executor(1), driver.executor(2));
    let run = driver.submit(many("a", 4));
    let leases = driver.poll_for(&worker, 2);
    let before = driver.journal.len();
    driver.handle(Input::Hold {
        reason: "the store is away".into(),
    });
    driver.poll(&idle, 4);
    assert!(driver.assigned(&idle).is_empty());
    assert!(!driver.scheduler.overview().paused);
    assert!(!driver.view(run).summary.paused);
    assert_eq!(driver.task(run, 3).reason, "the store is away");
    assert_eq!(driver.task(run, 0).reason, "", "what is leased goes on");
    let explained = driver.scheduler.explain(run, 3).expect("it is there");
    assert_eq!(explained.waits, ["the store is away"]);

    // Who cannot have what it needs hands it back; that is no attempt, and nobody gets it meanwhile.
    driver.say(
        &worker,
        ToCoordinator::HandBack {
            leases: vec![leases[0].id],
        },
    );
    driver.poll(&worker, 2);
    driver.pass(1_000);
    assert!(driver.assigned(&worker).is_empty());
    assert!(driver.task(run, 0).attempts.is_empty());
    assert_eq!(driver.journal.len(), before, "nothing of it is recorded");

    let mut restarted = driver.restarted();
    let again = restarted.executor(1);
    assert!(
        !restarted.poll_for(&again, 4).is_empty(),
        "it is forgotten with a restart"
    );
    driver.handle(Input::Release);
    assert!(
        !driver.assigned(&idle).is_empty(),
        "whoever waits gets it at once"
    );
}

#[test]
fn a_cancelled_task_fails_what_awaits_it_and_nothing_else() {
    let mut driver = Driver::new();
    let a = task("a", vec![]);
    let b = task("b", vec![awaits(Await::Ok, &a)]);
    let c = task("c", vec![]);
    let run = driver.submit(vec![a, b, c]);
    let worker = driver.executor(1);
    let leases = driver.poll_for(&worker, 2);
    driver.cancel_task(run, 0).expect("it is there");
    assert_eq!(driver.revoked(&worker), [leases[0].id]);
    assert_eq!(
        driver.states(run),
        [TaskState::Cancelled, TaskState::Failed, TaskState::Leased]
    );
    driver.complete(&worker, &leases[1], ok(1));
    assert_eq!(driver.state(run), RunState::Failed);
    assert!(driver.cancel_task(run, 9).is_err());
    let restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
}

#[test]
fn what_one_is_slow_with_is_given_to_another_that_has_nothing_to_do() {
    let mut driver = Driver::new();
    let run = driver.submit(many("a", 1));
    let [slow, idle] = [1, 2].map(|seed| driver.executor(seed));
    let lease = driver.poll_for_one(&slow);
    let heartbeat = |driver: &mut Driver| {
        let leases = vec![lease.id];
        driver.say(
            &slow,
            asterism_protocol::message::ToCoordinator::Heartbeat { leases },
        );
    };
    for _ in 0..4 {
        assert!(driver.poll_for(&idle, 1).is_empty(), "it is not slow yet");
        driver.pass(2_000);
        heartbeat(&mut driver);
    }
    driver.poll(&idle, 1);
    driver.pass(4_000);
    heartbeat(&mut driver);
    let backup = driver.assigned(&idle);
    assert_eq!(backup.len(), 1);
    let leases = driver
        .scheduler
        .explain(run, 0)
        .expect("it is there")
        .leases;
    assert!(leases[1].reason.contains("another executor is slow"));
    driver.complete(&idle, &backup[0], ok(1));
    assert_eq!(driver.revoked(&slow), [lease.id]);
    assert_eq!(driver.state(run), RunState::Done);
}
