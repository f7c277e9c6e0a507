//! How executors come, what they get, and what becomes of what they hold.

use asterism_protocol::{
    Identity, Value,
    message::{Change, FaultKind, Held, LeaseId, ToCoordinator, ToExecutor},
    view::{RunState, TaskState},
};
use asterism_scheduler::{Config, Event, Input, TimeoutReason};

use crate::driver::{Driver, Executor, config, delivery, error, held, ok, task, with_fuel};

use TaskState::{Computed, Failed, Leased, Ready, Waiting};

fn numbered(n: i128) -> Vec<asterism_protocol::Task> {
    (0..n).map(|n| task("f", vec![Value::Integer(n)])).collect()
}

#[test]
fn poll_is_kept_until_tasks_become_ready() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    assert_eq!(driver.poll_for(&executor, 8).len(), 0);
    driver.submit(numbered(3));
    assert_eq!(driver.assigned(&executor).len(), 3);
    driver.submit(numbered(5));
    assert_eq!(driver.assigned(&executor).len(), 0, "one answer a poll");
}

#[test]
fn poll_is_answered_with_nothing_after_its_wait() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.say(
        &executor,
        ToCoordinator::Poll {
            slots: 1,
            wait_ms: 700,
        },
    );
    let due = driver.scheduler.poll_timeout();
    assert_eq!(due, Some((driver.now.after_ms(700), TimeoutReason::Poll)));
    driver.pass(699);
    assert_eq!(driver.take(&executor), []);
    driver.pass(1);
    assert_eq!(
        driver.take(&executor),
        [ToExecutor::Assign { leases: vec![] }]
    );
}

#[test]
fn never_more_is_leased_than_was_asked_for() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(numbered(5));
    assert_eq!(driver.poll_for(&executor, 2).len(), 2);
    assert_eq!(driver.poll_for(&executor, 2).len(), 2);
    assert_eq!(driver.poll_for(&executor, 2).len(), 1);
}

#[test]
fn one_executor_cannot_hoard() {
    let mut driver = Driver::with(Config {
        live_tasks_max: 5_000,
        ..config()
    });
    let executor = driver.executor(1);
    driver.submit(numbered(2_000));
    let mut total = 0;
    for _ in 0..8 {
        total += driver.poll_for(&executor, 256).len();
    }
    assert_eq!(total, asterism_protocol::limits::LEASES_HELD_MAX);
}

#[test]
fn waiting_polls_are_filled_in_turn() {
    let mut driver = Driver::new();
    let (one, two, three) = (driver.executor(1), driver.executor(2), driver.executor(3));
    for executor in [&one, &two, &three] {
        driver.poll(executor, 4);
    }
    driver.submit(numbered(5));
    let counts = [&one, &two, &three].map(|executor| driver.assigned(executor).len());
    assert_eq!(counts, [2, 2, 1]);
}

#[test]
fn what_became_ready_first_goes_first() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(numbered(3));
    let args: Vec<_> = (0..3)
        .map(|_| driver.poll_for_one(&executor).task.run.input.args.clone())
        .collect();
    assert_eq!(args, [0, 1, 2].map(|n| vec![Value::Integer(n)]));
}

#[test]
fn heartbeats_keep_a_lease() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(numbered(1));
    let lease = driver.poll_for_one(&executor);
    for _ in 0..5 {
        driver.pass(4_000);
        driver.say(
            &executor,
            ToCoordinator::Heartbeat {
                leases: vec![lease.id],
            },
        );
    }
    assert_eq!(driver.states(run), [Leased]);
    driver.complete(&executor, &lease, ok(1));
    assert_eq!(driver.state(run), RunState::Done);
}

#[test]
fn silent_executor_loses_its_lease_to_another_at_once() {
    let mut driver = Driver::new();
    let (frozen, other) = (driver.executor(1), driver.executor(2));
    let run = driver.submit(numbered(1));
    let lease = driver.poll_for_one(&frozen);
    driver.poll(&frozen, 1);
    driver.poll(&other, 1);
    driver.pass(5_000);
    assert_eq!(driver.assigned(&frozen).len(), 0);
    assert_eq!(driver.assigned(&other).len(), 1);
    let view = driver.task(run, 0);
    assert_eq!(view.executor, Some(other.key()));
    assert_eq!(view.attempts.len(), 1);
    assert_eq!(view.attempts[0].fault.kind, FaultKind::Lost);
    // It wakes up: it hears that the lease is gone.
    driver.say(
        &frozen,
        ToCoordinator::Heartbeat {
            leases: vec![lease.id],
        },
    );
    assert_eq!(driver.revoked(&frozen), [lease.id]);
}

#[test]
fn late_delivery_is_accepted_while_the_instruction_is_wanted() {
    let mut driver = Driver::new();
    let (slow, other) = (driver.executor(1), driver.executor(2));
    let run = driver.submit(numbered(1));
    let lease = driver.poll_for_one(&slow);
    driver.poll(&other, 1);
    driver.pass(5_000);
    let again = driver.assigned(&other);
    driver.complete(&slow, &lease, ok(1));
    assert_eq!(driver.state(run), RunState::Done);
    assert_eq!(driver.revoked(&other), [again[0].id], "the other may stop");
    // The other was done already, and says the same.
    driver.complete(&other, &again[0], ok(1));
    let computed = driver
        .journal
        .iter()
        .filter(|event| matches!(event, Event::Computed { .. }));
    assert_eq!(computed.count(), 1);
}

#[test]
fn late_delivery_that_differs_is_refused() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(numbered(1));
    let lease = driver.poll_for_one(&executor);
    driver.complete(&executor, &lease, ok(1));
    driver.take(&executor);
    driver.deliver(&executor, vec![delivery(&lease, ok(2))]);
    let rejections = driver.rejections(&executor);
    assert!(
        rejections[0].starts_with("it differs from the canonical outcome"),
        "{rejections:?}"
    );
}

#[test]
fn fault_is_tried_again_after_a_pause_that_grows() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(numbered(1));
    let lease = driver.poll_for_one(&executor);
    driver.fault(&executor, lease.id, FaultKind::Host);
    assert_eq!(driver.states(run), [Waiting]);
    assert!(
        driver
            .task(run, 0)
            .reason
            .starts_with("after a fault: again in 1 s")
    );
    driver.poll(&executor, 1);
    driver.pass(499);
    assert_eq!(
        driver.assigned(&executor).len(),
        0,
        "half of the pause is certain"
    );
    driver.pass(501);
    let lease = driver.assigned(&executor).remove(0);
    driver.fault(&executor, lease.id, FaultKind::Host);
    driver.poll(&executor, 1);
    driver.pass(999);
    assert_eq!(
        driver.assigned(&executor).len(),
        0,
        "the second pause is twice as long"
    );
    driver.pass(1_001);
    let lease = driver.assigned(&executor).remove(0);
    driver.complete(&executor, &lease, ok(1));
    assert_eq!(
        driver.task(run, 0).attempts.len(),
        2,
        "what failed before stays to be seen"
    );
    assert_eq!(driver.state(run), RunState::Done);
}

#[test]
fn fault_is_tried_at_once_on_another_executor() {
    let mut driver = Driver::new();
    let (first, other) = (driver.executor(1), driver.executor(2));
    driver.submit(numbered(1));
    let lease = driver.poll_for_one(&first);
    driver.fault(&first, lease.id, FaultKind::TimeLimit);
    driver.poll_for_one(&other);
}

#[test]
fn a_recursion_without_an_end_is_given_up_before_attempts_are_used_up() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(numbered(1));
    for _ in 0..2 {
        assert_ne!(driver.states(run), [Failed]);
        driver.poll(&executor, 1);
        driver.pass(4_500);
        let lease = driver.assigned(&executor).remove(0);
        driver.fault(&executor, lease.id, FaultKind::StackOverflow);
    }
    assert_eq!(driver.states(run), [Failed]);
    assert_eq!(driver.task(run, 0).attempts.len(), 2);
    assert_eq!(driver.restarted().state(run), RunState::Failed);
}

#[test]
fn attempts_are_used_up() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(numbered(1));
    for _ in 0..3 {
        driver.poll(&executor, 1);
        driver.pass(4_500);
        let lease = driver.assigned(&executor).remove(0);
        driver.fault(&executor, lease.id, FaultKind::TimeLimit);
    }
    assert_eq!(driver.states(run), [Failed]);
    assert_eq!(driver.state(run), RunState::Failed);
    let view = driver.task(run, 0);
    assert_eq!(
        view.reason,
        "given up after 3 attempts, the last one: as told"
    );
    assert_eq!(view.attempts.len(), 3);
    assert!(
        driver
            .journal
            .iter()
            .any(|event| matches!(event, Event::GaveUp { .. }))
    );
    assert_eq!(driver.restarted().task(run, 0).attempts, view.attempts);
    // Nothing of it is remembered as a result: the next run tries again.
    let again = driver.submit(numbered(1));
    assert_eq!(driver.states(again), [Ready]);
}

#[test]
fn refusal_is_no_attempt_and_is_not_repeated() {
    let mut driver = Driver::new();
    let (picky, other) = (driver.executor(1), driver.executor(2));
    let run = driver.submit(numbered(1));
    let lease = driver.poll_for_one(&picky);
    driver.say(
        &picky,
        ToCoordinator::Refuse {
            lease: lease.id,
            reason: "no such import".into(),
        },
    );
    driver.poll(&picky, 1);
    driver.pass(30_000);
    assert_eq!(driver.assigned(&picky).len(), 0);
    assert_eq!(driver.task(run, 0).attempts, []);
    let lease = driver.poll_for_one(&other);
    driver.say(
        &other,
        ToCoordinator::Refuse {
            lease: lease.id,
            reason: "neither here".into(),
        },
    );
    assert_eq!(driver.states(run), [Ready]);
    assert_eq!(
        driver.task(run, 0).reason,
        "no executor here can have it: it refused: neither here"
    );
}

#[test]
fn refusal_lasts_as_long_as_its_connection_and_its_limits() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let refuse = |driver: &mut Driver, executor: &Executor, lease| {
        let reason = "more memory than is allowed here".to_owned();
        driver.say(executor, ToCoordinator::Refuse { lease, reason });
    };
    let large = driver.submit(vec![with_fuel(task("a", vec![]), 1_000)]);
    let small = driver.submit(vec![with_fuel(task("a", vec![]), 100)]);
    let lease = driver.poll_for_one(&executor);
    assert_eq!(lease.limits.fuel, 1_000);
    refuse(&mut driver, &executor, lease.id);
    assert_eq!(driver.poll_for(&executor, 1), []);
    // What is asked for now was not refused.
    driver.cancel(large).expect("it is there");
    let lease = driver.poll_for_one(&executor);
    assert_eq!(lease.limits.fuel, 100);
    refuse(&mut driver, &executor, lease.id);
    assert_eq!(driver.poll_for(&executor, 1), []);
    // Whoever comes back may allow more.
    driver.disconnect(&executor);
    let executor = driver.executor(1);
    let lease = driver.poll_for_one(&executor);
    driver.complete(&executor, &lease, ok(1));
    assert_eq!(driver.state(small), RunState::Done);
}

#[test]
fn memory_limit_is_a_requirement() {
    let mut driver = Driver::new();
    let small = driver.connect(1);
    let mut hello = small.hello(vec![]);
    hello.capabilities.memory = 1 << 30;
    driver.say(&small, ToCoordinator::Hello(Box::new(hello)));
    let mut fits = task("fits", vec![]);
    fits.meta
        .0
        .insert("memory".into(), Value::Integer(1_000_000_000));
    let run = driver.submit(vec![task("large", vec![]), fits]);
    let leases = driver.poll_for(&small, 2);
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].task.run.input.func, "fits");
    let reason = driver.task(run, 0).reason;
    assert_eq!(
        reason,
        "no executor here can have it: it accepts 1073741824 bytes of memory, 4294967296 are the limit"
    );
}

#[test]
fn handed_back_is_leased_at_once_and_no_attempt() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(numbered(2));
    let leases = driver.poll_for(&executor, 2);
    driver.say(
        &executor,
        ToCoordinator::HandBack {
            leases: vec![leases[0].id],
        },
    );
    assert_eq!(driver.states(run), [Ready, Leased]);
    let again = driver.poll_for_one(&executor);
    assert_eq!(again.task, leases[0].task);
    assert_ne!(again.id, leases[0].id);
    assert_eq!(driver.task(run, 0).attempts, []);
}

#[test]
fn whoever_leaves_hands_everything_back() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(numbered(2));
    driver.poll_for(&executor, 2);
    driver.say(&executor, ToCoordinator::Leave);
    assert_eq!(driver.states(run), [Ready, Ready]);
    assert_eq!(driver.closed, [executor.connection]);
    assert!(
        driver
            .changes
            .contains(&Change::ExecutorGone(executor.key()))
    );
    driver.disconnect(&executor);
    assert_eq!(driver.scheduler.overview().executors, []);
    assert_eq!(
        driver.scheduler.poll_timeout(),
        None,
        "nobody is waited for"
    );
}

#[test]
fn closed_tab_is_retried() {
    let mut driver = Driver::new();
    let (tab, other) = (driver.executor(1), driver.executor(2));
    let run = driver.submit(numbered(1));
    driver.poll_for_one(&tab);
    driver.poll(&other, 1);
    driver.disconnect(&tab);
    driver.pass(1_999);
    assert_eq!(driver.assigned(&other).len(), 0, "it may come back");
    driver.pass(1);
    let lease = driver.assigned(&other).remove(0);
    driver.complete(&other, &lease, ok(1));
    assert_eq!(driver.state(run), RunState::Done);
}

#[test]
fn executor_that_comes_back_goes_on() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(numbered(2));
    let leases = driver.poll_for(&executor, 2);
    driver.disconnect(&executor);
    driver.pass(1_000);
    let (executor, resumed) = driver.executor_holding(1, vec![held(&leases[0])]);
    assert_eq!(resumed, [leases[0].id]);
    assert_eq!(
        driver.states(run),
        [Leased, Waiting],
        "the other one is lost"
    );
    driver.pass(4_999);
    assert_eq!(
        driver.states(run)[0],
        Leased,
        "its deadline counts from the return"
    );
    driver.complete(&executor, &leases[0], ok(1));
    assert_eq!(driver.states(run)[0], Computed);
}

#[test]
fn second_connection_of_a_key_replaces_the_first() {
    let mut driver = Driver::new();
    let first = driver.executor(1);
    driver.submit(numbered(1));
    let lease = driver.poll_for_one(&first);
    let (second, resumed) = driver.executor_holding(1, vec![held(&lease)]);
    assert_eq!(resumed, [lease.id]);
    assert_eq!(driver.closed, [first.connection]);
    assert!(matches!(driver.take(&first)[..], [ToExecutor::Bye { .. }]));
    driver.disconnect(&first);
    driver.complete(&second, &lease, ok(1));
    assert_eq!(driver.scheduler.overview().executors.len(), 1);
}

#[test]
fn lease_from_before_a_restart_is_adopted() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(numbered(2));
    let leases = driver.poll_for(&executor, 2);
    driver.complete(&executor, &leases[1], ok(1));

    let mut driver = driver.restarted();
    assert_eq!(driver.states(run), [Ready, Computed]);
    let holding = vec![held(&leases[0]), held(&leases[1])];
    let (executor, resumed) = driver.executor_holding(1, holding);
    assert_eq!(resumed, [leases[0].id], "what is final is not gone on with");
    assert_eq!(driver.states(run), [Leased, Computed]);
    assert_eq!(driver.poll_for(&executor, 4).len(), 0);
    driver.complete(&executor, &leases[0], ok(1));
    assert_eq!(driver.state(run), RunState::Done);
}

#[test]
fn lease_from_before_a_restart_is_not_adopted_once_another_holds_the_task() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(numbered(1));
    let lease = driver.poll_for_one(&executor);
    let mut driver = driver.restarted();
    let other = driver.executor(2);
    driver.poll_for_one(&other);
    assert_eq!(driver.executor_holding(1, vec![held(&lease)]).1, []);
}

#[test]
fn lease_numbers_are_never_used_again() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(numbered(1));
    let before = driver.poll_for_one(&executor);
    let mut driver = driver.restarted();
    let executor = driver.executor(1);
    let after = driver.poll_for_one(&executor);
    assert!(after.id > before.id);
    // Nor may an executor name one that was never given out.
    let made_up = Held {
        lease: LeaseId(1 << 40),
        instruction: before.task.run.cid(),
    };
    driver.say(
        &executor,
        ToCoordinator::HandBack {
            leases: vec![after.id],
        },
    );
    assert_eq!(driver.executor_holding(1, vec![made_up]).1, []);
}

#[test]
fn wrong_proof_is_turned_away() {
    let mut driver = Driver::new();
    let stranger = driver.connect(1);
    let mut hello = stranger.hello(vec![]);
    hello.key = Identity::from_seed(&[9; 32]).public_key();
    driver.say(&stranger, ToCoordinator::Hello(Box::new(hello)));
    assert_eq!(driver.rejections(&stranger).len(), 1);
    assert_eq!(driver.closed, [stranger.connection]);
    assert_eq!(driver.scheduler.overview().executors, []);
}

#[test]
fn proof_for_another_connection_is_turned_away() {
    let mut driver = Driver::new();
    let old = driver.executor(1);
    let stranger = driver.connect(2);
    driver.say(&stranger, ToCoordinator::Hello(Box::new(old.hello(vec![]))));
    assert_eq!(driver.closed, [stranger.connection]);
}

#[test]
fn other_cost_table_is_turned_away() {
    let mut driver = Driver::new();
    let old = driver.connect(1);
    let mut hello = old.hello(vec![]);
    hello.capabilities.metering = "wasmtime-12".into();
    driver.say(&old, ToCoordinator::Hello(Box::new(hello)));
    let rejections = driver.rejections(&old);
    assert_eq!(
        rejections,
        ["fuel is counted by wasmtime-48 here, not by wasmtime-12: update the executor"]
    );
}

#[test]
fn whoever_speaks_before_hello_is_turned_away() {
    let mut driver = Driver::new();
    let stranger = driver.connect(1);
    driver.say(&stranger, ToCoordinator::Leave);
    assert_eq!(driver.rejections(&stranger), ["say hello first"]);
    assert_eq!(driver.closed, [stranger.connection]);
}

#[test]
fn wrong_signature_is_turned_away_and_others_are_not_affected() {
    let mut driver = Driver::new();
    let (liar, honest) = (driver.executor(1), driver.executor(2));
    let run = driver.submit(numbered(2));
    let (a, b) = (driver.poll_for_one(&liar), driver.poll_for_one(&honest));
    let ToCoordinator::Deliver { items, .. } = liar.signed(vec![delivery(&a, ok(1))]) else {
        unreachable!()
    };
    let ToCoordinator::Deliver { signature, .. } = honest.signed(items.clone()) else {
        unreachable!()
    };
    driver.poll(&honest, 1);
    driver.say(&liar, ToCoordinator::Deliver { items, signature });
    assert_eq!(driver.rejections(&liar).len(), 1);
    assert_eq!(driver.closed, [liar.connection]);
    let again = driver.assigned(&honest).remove(0);
    assert_eq!(again.task, a.task, "it is leased elsewhere at once");
    driver.complete(&honest, &again, ok(1));
    driver.complete(&honest, &b, ok(1));
    assert_eq!(driver.state(run), RunState::Done);
}

#[test]
fn batch_with_one_bad_outcome_is_believed_but_for_that() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(numbered(4));
    let leases = driver.poll_for(&executor, 4);
    let mut items: Vec<_> = leases.iter().map(|lease| delivery(lease, ok(1))).collect();
    items[1].outcome.metering = "mine".into();
    items[2].conditions.fuel -= 1;
    items[3].outcome.instruction = items[0].outcome.instruction;
    driver.deliver(&executor, items);
    let (mut accepted, mut rejected) = (vec![], vec![]);
    for message in driver.take(&executor) {
        match message {
            ToExecutor::Accepted { leases } => accepted.extend(leases),
            ToExecutor::Rejected { lease, .. } => rejected.extend(lease),
            _ => {}
        }
    }
    assert_eq!(accepted, [leases[0].id]);
    assert_eq!(rejected, [leases[1].id, leases[2].id, leases[3].id]);
    assert_eq!(driver.states(run), [Computed, Waiting, Waiting, Waiting]);
    assert_eq!(driver.task(run, 1).attempts.len(), 1);
}

#[test]
fn receipt_carries_its_evidence() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(numbered(3));
    let leases = driver.poll_for(&executor, 3);
    driver.deliver(
        &executor,
        leases.iter().map(|lease| delivery(lease, ok(1))).collect(),
    );
    for lease in leases {
        let receipt = driver
            .scheduler
            .receipt_of(lease.task.run.cid())
            .expect("canonical");
        let attestation = receipt.attestation().expect("ours");
        let outcome = receipt.outcome().expect("ours").cid();
        let statement = asterism_protocol::Statement {
            outcome,
            conditions: attestation.conditions,
        };
        let signed = attestation.path.signed_bytes(&statement).expect("a path");
        attestation
            .key
            .verify(&signed, &attestation.signature)
            .expect("signed");
    }
}

#[test]
fn receipt_is_journaled_before_anybody_is_told() {
    use asterism_scheduler::Output;
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(numbered(1));
    let lease = driver.poll_for_one(&executor);
    driver.trace.clear();
    driver.complete(&executor, &lease, ok(1));
    let place =
        |found: &dyn Fn(&Output) -> bool| driver.trace.iter().position(found).expect("it is there");
    let persisted = place(&|output| matches!(output, Output::Persist(Event::Computed { .. })));
    let accepted = place(&|output| matches!(output, Output::Acknowledge { .. }));
    let published = place(&|output| matches!(output, Output::Publish(_)));
    assert!(persisted < accepted && persisted < published);
}

#[test]
fn executor_is_welcomed_once_lease_numbers_are_durable() {
    use asterism_scheduler::Output;
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let place =
        |found: &dyn Fn(&Output) -> bool| driver.trace.iter().position(found).expect("it is there");
    let reserved = place(&|output| matches!(output, Output::Persist(Event::LeasesReserved { .. })));
    let welcomed = place(&|output| {
        matches!(
            output,
            Output::Acknowledge {
                message: ToExecutor::Welcome { .. },
                ..
            }
        )
    });
    assert!(reserved < welcomed);
    // After that, no lease waits for the journal.
    driver.submit(numbered(1));
    driver.trace.clear();
    driver.poll_for_one(&executor);
    assert!(driver.trace.iter().any(|output| matches!(
        output,
        Output::Send {
            message: ToExecutor::Assign { .. },
            ..
        }
    )));
}

#[test]
fn executor_view_says_what_it_does() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(vec![task("a", vec![]), task("b", vec![])]);
    let leases = driver.poll_for(&executor, 2);
    driver.say(
        &executor,
        ToCoordinator::Started {
            leases: vec![leases[1].id],
        },
    );
    let view = |driver: &Driver| driver.scheduler.overview().executors.remove(0);
    assert_eq!(
        view(&driver).doing,
        ["b", "a"],
        "what has begun comes first"
    );
    driver.complete(&executor, &leases[1], ok(1));
    let seen = view(&driver);
    assert_eq!((seen.leases, seen.tasks, seen.fuel), (1, 1, 10));
    // Its tally is there when it comes back.
    driver.say(&executor, ToCoordinator::Leave);
    driver.executor(1);
    assert_eq!(view(&driver).tasks, 1);
}

#[test]
fn cancelled_while_limits_differ_blames_nobody() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let large = driver.submit(vec![with_fuel(task("a", vec![]), 1_000)]);
    let lease = driver.poll_for_one(&executor);
    let small = driver.submit(vec![with_fuel(task("a", vec![]), 100)]);
    driver.cancel(large).expect("it is there");
    let mut item = delivery(&lease, error("trap"));
    item.outcome.fuel = None;
    driver.deliver(&executor, vec![item]);
    assert_eq!(driver.states(small), [Ready]);
    assert_eq!(driver.task(small, 0).attempts, []);
}

#[test]
fn unknown_connections_are_ignored() {
    let mut driver = Driver::new();
    let ghost = Executor {
        connection: asterism_scheduler::ConnectionId(77),
        identity: Identity::from_seed(&[7; 32]),
        nonce: [7; 32],
    };
    driver.say(&ghost, ToCoordinator::Leave);
    driver.disconnect(&ghost);
    driver.handle(Input::Unwatch {
        run: asterism_protocol::view::RunId(3),
    });
    assert_eq!(driver.trace, []);
}
