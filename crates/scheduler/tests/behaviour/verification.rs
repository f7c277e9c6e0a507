//! When outcomes are believed, and what becomes of those that are not.

use asterism_protocol::{
    Await, Basis, Policy, Terms, Value,
    message::{Lease, ToCoordinator, ToExecutor},
    view::{RunState, Standing, TaskState},
};
use asterism_scheduler::{Config, Event};

use crate::driver::{Driver, Executor, awaits, cid, config, delivery, ok, salted, task, with_fuel};

const QUORUM: Policy = Policy::Quorum { agree: 2, of: 3 };
const SPOT: Policy = Policy::Spot { per_mille: 10 };

fn on(policy: Policy) -> Terms {
    Terms {
        verify: Some(policy),
        ..Terms::default()
    }
}

/// Commits and, when it is asked, tells.
fn answer(driver: &mut Driver, executor: &Executor, lease: &Lease, n: i128) {
    assert!(
        driver.commit(executor, lease, ok(n)),
        "it is asked for at once"
    );
    driver.reveal(executor, lease, ok(n));
}

#[test]
fn a_quorum_asks_two_and_believes_what_they_agree_on() {
    let mut driver = Driver::new();
    let run = driver.submit_on(on(QUORUM), vec![task("a", vec![])]);
    let [first, second, third] = [1, 2, 3].map(|seed| driver.executor(seed));
    let one = driver.poll_for_one(&first);
    assert!(one.commit, "outcomes are committed to");
    let two = driver.poll_for_one(&second);
    assert!(driver.poll_for(&third, 1).is_empty(), "two are enough");
    for (executor, lease) in [(&first, &one), (&second, &two)] {
        let leases = vec![lease.id];
        driver.say(executor, ToCoordinator::Started { leases });
        driver.pass(5);
    }
    assert!(
        !driver.commit(&first, &one, ok(7)),
        "it could still be copied"
    );
    assert_eq!(driver.states(run), [TaskState::Leased]);
    assert!(driver.commit(&second, &two, ok(7)));
    assert_eq!(driver.revealed(&first), [one.id]);
    driver.reveal(&second, &two, ok(7));
    assert_eq!(
        driver.state(run),
        RunState::Running,
        "one word is not enough"
    );
    assert_eq!(driver.task(run, 0).out, None, "and is nobody's to see");
    driver.reveal(&first, &one, ok(7));
    let view = driver.task(run, 0);
    assert_eq!(view.state, TaskState::Computed);
    assert_eq!(view.basis, Some(Basis::Agreed { executors: 2 }));
    assert_eq!(view.out, Some(ok(7)));
    assert!(
        view.leased.is_some() && view.leased <= view.started,
        "{view:?}"
    );
    assert!(view.started < view.computed, "{view:?}");
    assert!(view.computed <= view.delivered && view.delivered <= view.verified);
    let receipt = driver
        .scheduler
        .receipt_of(cid(&task("a", vec![])))
        .expect("it is canonical");
    let evidence = receipt.evidence().expect("it says why");
    assert_eq!(evidence.policy, QUORUM);
    assert_eq!(evidence.agreeing.len(), 1, "beside its issuer");
}

#[test]
fn a_liar_is_outvoted_named_and_excluded() {
    let mut driver = Driver::new();
    let run = driver.submit_on(on(QUORUM), vec![task("a", vec![]), task("b", vec![])]);
    let [liar, honest, third] = [1, 2, 3].map(|seed| driver.executor(seed));
    let lie = driver.poll_for_one(&liar);
    let truth = driver.poll_for_one(&honest);
    assert_eq!(lie.task, truth.task, "what is begun is finished first");
    driver.commit(&liar, &lie, ok(666));
    driver.commit(&honest, &truth, ok(7));
    driver.reveal(&liar, &lie, ok(666));
    driver.reveal(&honest, &truth, ok(7));
    assert_eq!(
        driver.states(run)[0],
        TaskState::Ready,
        "a third one is asked"
    );
    let decides = driver.poll_for_one(&third);
    assert_eq!(decides.task, lie.task);
    answer(&mut driver, &third, &decides, 7);
    assert_eq!(driver.task(run, 0).out, Some(ok(7)));
    let told = driver.take(&liar);
    assert!(
        told.iter()
            .any(|message| matches!(message, ToExecutor::Excluded { reason } if reason.contains("caught"))),
        "its owner is told why: {told:?}"
    );
    assert!(
        driver.poll_for(&liar, 4).is_empty(),
        "nothing more is leased to it"
    );
    let executors = driver.scheduler.overview().executors;
    let view = executors
        .iter()
        .find(|view| view.key == liar.key())
        .expect("it is shown");
    assert_eq!(
        (view.standing, view.trust, view.wrong),
        (Standing::Excluded, 0, 1)
    );
    assert!(view.reason.contains("caught"));
    driver.disconnect(&liar);
    driver.pass(10_000);
    let executors = driver.scheduler.overview().executors;
    let view = executors.iter().find(|view| view.key == liar.key());
    assert!(
        view.is_some_and(|view| !view.connected),
        "shown when it is gone too"
    );
    let restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
    let executors = restarted.scheduler.overview().executors;
    assert_eq!(executors.len(), 1, "and after a restart");
}

#[test]
fn one_vote_is_never_a_quorum_however_long_it_waits() {
    let mut driver = Driver::new();
    let run = driver.submit_on(on(QUORUM), vec![task("a", vec![])]);
    let only = driver.executor(1);
    let lease = driver.poll_for_one(&only);
    assert!(!driver.scheduler.is_withheld(run, 0), "it is at it");
    assert!(
        driver.scheduler.lacks_executors(run, 0),
        "whoever waits hears it before it is done"
    );
    driver.commit(&only, &lease, ok(7));
    assert!(driver.scheduler.is_withheld(run, 0), "it is done");
    assert!(
        !driver.scheduler.is_withheld(run, 1),
        "there is no such task"
    );
    driver.pass(3_000);
    assert!(
        driver.poll_for(&only, 4).is_empty(),
        "it is not asked twice"
    );
    assert_eq!(driver.state(run), RunState::Running);
    let reason = driver.scheduler.explain(run, 0).expect("it is there").waits;
    assert!(
        reason[0]
            .contains("quorum:2/3 asks for 2 executors of different owners, 1 are at it or done"),
        "{reason:?}"
    );
    assert!(driver.scheduler.lacks_executors(run, 0));
}

#[test]
fn executors_of_one_origin_count_as_one_owner() {
    let mut driver = Driver::new();
    let run = driver.submit_on(on(QUORUM), vec![task("a", vec![])]);
    let [one, other] = [1, 2].map(|seed| driver.executor_that(seed, "net-1", |_| {}));
    assert!(!driver.scheduler.lacks_executors(run, 0), "nobody has it");
    driver.poll_for_one(&one);
    assert!(driver.poll_for(&other, 1).is_empty(), "the same owner");
    assert!(driver.scheduler.lacks_executors(run, 0));
    let elsewhere = driver.executor_that(3, "net-2", |_| {});
    assert!(!driver.scheduler.lacks_executors(run, 0), "it may have it");
    driver.poll_for_one(&elsewhere);
    assert!(!driver.scheduler.lacks_executors(run, 0), "two are at it");
}

#[test]
fn enrolled_executors_count_for_their_owners() {
    let owners = [("token-a", "ada"), ("token-b", "bob")];
    let config = Config {
        owners: owners
            .map(|(token, name)| (token.into(), name.into()))
            .into(),
        ..config()
    };
    let mut driver = Driver::with(config);
    driver.submit_on(on(QUORUM), vec![task("a", vec![])]);
    let enrolled = |driver: &mut Driver, seed, token: &str| {
        driver.executor_that(seed, "net-1", |hello| hello.enrolment = token.into())
    };
    let ada = enrolled(&mut driver, 1, "token-a");
    let ada_too = enrolled(&mut driver, 2, "token-a");
    let bob = enrolled(&mut driver, 3, "token-b");
    driver.poll_for_one(&ada);
    assert!(driver.poll_for(&ada_too, 1).is_empty());
    driver.poll_for_one(&bob);
    let unknown = driver.connect(4);
    let mut hello = unknown.hello(Vec::new());
    hello.enrolment = "guessed".into();
    driver.say(
        &unknown,
        asterism_protocol::message::ToCoordinator::Hello(Box::new(hello)),
    );
    assert!(driver.rejections(&unknown)[0].contains("enrolment is not known"));
}

#[test]
fn what_was_not_committed_to_is_refused() {
    let mut driver = Driver::new();
    let run = driver.submit_on(on(QUORUM), vec![task("a", vec![])]);
    let [one, two] = [1, 2].map(|seed| driver.executor(seed));
    let leases = [driver.poll_for_one(&one), driver.poll_for_one(&two)];
    driver.deliver(&one, vec![salted(&leases[0], ok(7))]);
    assert!(driver.rejections(&one)[0].contains("committed to"));
    let again = driver.executor(3);
    let lease = driver.poll_for_one(&again);
    driver.commit(&two, &leases[1], ok(7));
    driver.commit(&again, &lease, ok(8));
    // It saw what the other one told, and would rather say the same.
    driver.reveal(&two, &leases[1], ok(7));
    driver.reveal(&again, &lease, ok(7));
    assert!(driver.rejections(&again)[0].contains("not what was committed to"));
    assert_ne!(driver.task(run, 0).state, TaskState::Computed);
}

#[test]
fn too_many_different_outcomes_end_the_round_and_then_the_task() {
    let mut driver = Driver::new();
    let run = driver.submit_on(on(QUORUM), vec![task("a", vec![])]);
    let executors: Vec<Executor> = (1..=9).map(|seed| driver.executor(seed)).collect();
    driver.work_off_all(&executors, |who, _| ok(who as i128));
    let view = driver.task(run, 0);
    assert_eq!(view.state, TaskState::Failed, "{view:?}");
    assert!(view.reason.contains("do not agree"), "{}", view.reason);
    let restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
}

#[test]
fn trusted_work_is_for_trusted_executors_only() {
    let mut driver = Driver::new();
    let own = driver.executor(1).key();
    let config = Config {
        trusted: [own].into(),
        ..config()
    };
    let mut driver = Driver::with(config);
    let run = driver.submit_on(on(Policy::Trusted), vec![task("a", vec![])]);
    let stranger = driver.executor(2);
    assert!(driver.poll_for(&stranger, 1).is_empty());
    let reason = driver.task(run, 0).reason;
    assert!(
        reason.contains("the operator does not trust it"),
        "{reason}"
    );
    let trusted = driver.executor(1);
    let lease = driver.poll_for_one(&trusted);
    driver.deliver(&stranger, vec![delivery(&lease, ok(8))]);
    assert_eq!(driver.rejections(&stranger).len(), 1, "it is not believed");
    driver.complete(&trusted, &lease, ok(7));
    let view = driver.task(run, 0);
    assert_eq!((view.out, view.basis), (Some(ok(7)), Some(Basis::Trusted)));
}

#[test]
fn one_word_is_enough_without_a_policy_and_its_receipt_says_so() {
    let mut driver = Driver::new();
    let run = driver.submit(vec![task("a", vec![])]);
    let stranger = driver.executor(1);
    let lease = driver.poll_for_one(&stranger);
    assert!(!lease.commit);
    driver.complete(&stranger, &lease, ok(7));
    assert_eq!(driver.task(run, 0).basis, Some(Basis::Unverified));
    let believed = driver
        .scheduler
        .explain(run, 0)
        .expect("it is there")
        .believed;
    assert_eq!(believed, "one attestation; nobody checked it");
}

#[test]
fn what_was_believed_on_less_is_verified_before_it_answers() {
    let mut driver = Driver::new();
    driver.submit(vec![task("a", vec![])]);
    let executors = [1, 2, 3].map(|seed| driver.executor(seed));
    let lease = driver.poll_for_one(&executors[0]);
    driver.complete(&executors[0], &lease, ok(666));
    let run = driver.submit_on(on(QUORUM), vec![task("a", vec![])]);
    assert_eq!(driver.state(run), RunState::Running, "it is not replayed");
    driver.work_off_all(&executors[1..], |_, _| ok(7));
    assert_eq!(driver.task(run, 0).out, Some(ok(7)));
    let again = driver.submit(vec![task("a", vec![])]);
    assert_eq!(
        driver.task(again, 0).out,
        Some(ok(7)),
        "the better evidence stands"
    );
}

#[test]
fn a_new_executor_is_checked_by_another_owner_and_dependants_run_meanwhile() {
    let mut driver = Driver::new();
    let a = task("a", vec![]);
    let b = task("b", vec![awaits(Await::Ok, &a)]);
    let run = driver.submit_on(on(SPOT), vec![a, b]);
    let [new, other] = [1, 2].map(|seed| driver.executor(seed));
    let lease = driver.poll_for_one(&new);
    answer(&mut driver, &new, &lease, 7);
    assert_eq!(
        driver.states(run),
        [TaskState::Provisional, TaskState::Ready]
    );
    let next = driver.poll_for_one(&new);
    assert_eq!(next.inputs[0].out, ok(7), "dependants run on it");
    answer(&mut driver, &new, &next, 8);
    assert_eq!(driver.states(run), [TaskState::Provisional; 2]);
    assert_eq!(
        driver.state(run),
        RunState::Running,
        "nothing of it is final"
    );
    let restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
    assert_eq!(restarted.states(run), driver.states(run));
    driver.work_off_all(&[other], |_, lease| {
        match lease.task.run.input.func.as_str() {
            "a" => ok(7),
            _ => ok(8),
        }
    });
    assert_eq!(driver.state(run), RunState::Done);
    assert_eq!(
        driver.task(run, 1).basis,
        Some(Basis::Agreed { executors: 2 })
    );
}

#[test]
fn a_caught_lie_is_taken_back_with_everything_that_was_begun_on_it() {
    let mut driver = Driver::new();
    let a = task("a", vec![]);
    let b = task("b", vec![awaits(Await::Ok, &a)]);
    let c = task("c", vec![awaits(Await::Ok, &b)]);
    let d = task("d", vec![]);
    let run = driver.submit_on(on(SPOT), vec![a, b, c, d]);
    let liar = driver.executor(1);
    let [honest, third] = [2, 3].map(|seed| driver.executor(seed));
    let lie = driver.poll_for_one(&liar);
    answer(&mut driver, &liar, &lie, 666);
    let on_it = driver.poll_for_one(&liar);
    answer(&mut driver, &liar, &on_it, 667);
    let further = driver.poll_for(&liar, 2);
    let further = further
        .iter()
        .find(|lease| lease.task.run.input.func == "c")
        .expect("what was begun on it goes on");
    assert_eq!(further.inputs[0].out, ok(667));
    assert_eq!(
        driver.states(run)[..3],
        [
            TaskState::Provisional,
            TaskState::Provisional,
            TaskState::Leased
        ]
    );
    let executors = [honest, third];
    driver.work_off_all(&executors, |_, lease| {
        let input = lease.inputs.first().map(|kept| kept.out.value().clone());
        match (lease.task.run.input.func.as_str(), input) {
            ("a", _) => ok(1),
            ("b", Some(Value::Integer(1))) => ok(2),
            ("c", Some(Value::Integer(2))) => ok(3),
            ("d", _) => ok(4),
            (_, input) => ok(-input.map_or(1, |value| match value {
                Value::Integer(n) => n,
                _ => 1,
            })),
        }
    });
    let view = driver.view(run);
    let outs: Vec<_> = view.tasks.iter().map(|task| task.out.clone()).collect();
    assert_eq!(
        outs,
        [1, 2, 3, 4].map(|n| Some(ok(n))),
        "{:?}",
        view.summary
    );
    assert_eq!(driver.state(run), RunState::Done);
    let told = driver.take(&liar);
    assert!(
        told.iter()
            .any(|message| matches!(message, ToExecutor::Excluded { .. }))
    );
    assert!(
        driver.journal.iter().any(
            |event| matches!(event, Event::Caught { executor, .. } if *executor == liar.key())
        )
    );
    let restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
}

#[test]
fn checks_grow_rarer_and_what_was_not_picked_is_final_after_the_next_one() {
    let mut driver = Driver::new();
    let executors = [1, 2, 3].map(|seed| driver.executor(seed));
    let mut sampled = 0;
    for round in 0..30 {
        let tasks = (0..10).map(|n| task("a", vec![Value::Integer(round * 10 + n)]));
        let run = driver.submit_on(on(SPOT), tasks.collect());
        driver.work_off_all(&executors, |_, _| ok(7));
        assert_eq!(driver.state(run), RunState::Done, "round {round}");
        let view = driver.view(run);
        let bases = view.tasks.iter().filter_map(|task| task.basis);
        let unchecked = bases
            .filter(|basis| matches!(basis, Basis::Sampled { .. }))
            .count();
        if round == 0 {
            assert!(unchecked <= 5, "new executors are always checked");
        }
        sampled += unchecked;
    }
    assert!(sampled > 100, "{sampled} of 300 went unchecked");
    assert!(sampled < 300, "but not all");
}

#[test]
fn a_check_covers_what_was_told_before_it_was_picked_and_nothing_later() {
    let mut driver = Driver::with(Config {
        finished_runs_max: 1_000,
        ..config()
    });
    let executors = [1, 2].map(|seed| driver.executor(seed));
    let [subject, other] = &executors;
    let tasks = (0..60).map(|n| task("proven", vec![Value::Integer(n)]));
    let proven = driver.submit_on(on(SPOT), tasks.collect());
    driver.work_off_all(&executors, |_, _| ok(7));
    assert_eq!(driver.state(proven), RunState::Done);

    // The next outcome of the subject; was it picked for a check?
    let mut number = 0;
    let mut tell = |driver: &mut Driver| {
        number += 1;
        let run = driver.submit_on(on(SPOT), vec![task("a", vec![Value::Integer(number)])]);
        let lease = driver.poll_for_one(subject);
        answer(driver, subject, &lease, 7);
        let last = driver.journal.iter().rev().find_map(|event| match event {
            Event::Voted { picked, .. } => Some(*picked),
            _ => None,
        });
        (run, last.expect("it is journaled"))
    };
    let mut earlier = Vec::new();
    let covers = |told: &[_]| {
        let unpicked = told.iter().any(|(_, picked)| !picked);
        unpicked && matches!(told.last(), Some((_, true)))
    };
    while !covers(&earlier) {
        earlier.push(tell(&mut driver));
    }
    let later = loop {
        match tell(&mut driver) {
            (run, false) => break run,
            picked => earlier.push(picked),
        }
    };

    for lease in driver.poll_for(other, 100) {
        answer(&mut driver, other, &lease, 7);
    }
    for (run, _) in earlier {
        assert_eq!(driver.state(run), RunState::Done);
    }
    assert_eq!(
        driver.states(later),
        [TaskState::Provisional],
        "who turns liar does not hide behind what was told before"
    );
    driver.work_off_all(&executors, |_, _| ok(7));
    assert_eq!(driver.state(later), RunState::Done, "a check comes for it");
}

#[test]
fn forced_runs_do_known_work_again_and_tell_loudly_of_a_difference() {
    let mut driver = Driver::new();
    let worker = driver.executor(1);
    let first = driver.submit(vec![task("a", vec![])]);
    driver.work_off(&worker, |_| ok(7));
    let canonical = driver.task(first, 0).receipt;
    let force = Terms {
        force: true,
        ..Terms::default()
    };
    let agrees = driver.submit_on(force, vec![task("a", vec![])]);
    assert_eq!(driver.work_off(&worker, |_| ok(7)), 1, "it is run again");
    let view = driver.task(agrees, 0);
    assert_eq!((view.receipt, view.reason.as_str()), (canonical, ""));
    let differs = driver.submit_on(force, vec![task("a", vec![])]);
    driver.work_off(&worker, |_| ok(8));
    let view = driver.task(differs, 0);
    assert_eq!(view.receipt, canonical, "nothing is overwritten");
    assert_eq!(view.out, Some(ok(7)));
    assert!(view.reason.starts_with("DISAGREEMENT: "), "{}", view.reason);
    assert!(
        driver
            .journal
            .iter()
            .any(|event| matches!(event, Event::Repeated { agrees: false, .. }))
    );
    let restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
    assert_eq!(restarted.task(differs, 0).reason, view.reason);
}

#[test]
fn what_was_computed_from_an_exhausted_budget_is_not_replayed_for_a_larger_one() {
    let mut driver = Driver::new();
    let worker = driver.executor(1);
    let out_of_fuel = |func: &str| {
        let failure = asterism_protocol::Failure {
            trap: asterism_protocol::TrapKind::OutOfFuel,
            func: func.into(),
        };
        asterism_protocol::Out::Error(failure.to_value())
    };
    let both = |fuel| {
        let a = with_fuel(task("a", vec![]), fuel);
        let b = task("b", vec![awaits(Await::Any, &a)]);
        vec![a, b]
    };
    let poor = driver.submit(both(5));
    driver.work_off(&worker, |func| match func {
        "a" => out_of_fuel("a"),
        _ => ok(-1),
    });
    assert_eq!(driver.task(poor, 1).out, Some(ok(-1)));
    let rich = driver.submit(both(1_000));
    driver.work_off(&worker, |func| match func {
        "a" => ok(7),
        _ => ok(1),
    });
    assert_eq!(driver.task(rich, 0).out, Some(ok(7)));
    assert_eq!(
        driver.task(rich, 1).out,
        Some(ok(1)),
        "not what the poor one came to"
    );
    let poor_again = driver.submit(both(5));
    assert_eq!(driver.work_off(&worker, |_| ok(0)), 0, "all is known");
    let view = driver.task(poor_again, 1);
    assert_eq!(view.out, Some(ok(1)), "and the better result answers");
}

#[test]
fn votes_survive_a_restart() {
    let mut driver = Driver::new();
    let run = driver.submit_on(on(QUORUM), vec![task("a", vec![])]);
    let executors = [1, 2].map(|seed| driver.executor(seed));
    let leases = [0, 1].map(|who: usize| driver.poll_for_one(&executors[who]));
    driver.commit(&executors[0], &leases[0], ok(7));
    driver.commit(&executors[1], &leases[1], ok(7));
    driver.reveal(&executors[0], &leases[0], ok(7));
    let mut driver = driver.restarted();
    let first = driver.executor(1);
    assert!(driver.poll_for(&first, 1).is_empty(), "it has told already");
    let second = driver.executor(2);
    let lease = driver.poll_for_one(&second);
    answer(&mut driver, &second, &lease, 7);
    assert_eq!(
        driver.task(run, 0).basis,
        Some(Basis::Agreed { executors: 2 })
    );
}
