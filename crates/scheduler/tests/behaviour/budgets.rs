//! What is remembered of an instruction that was done under several limits.

use asterism_protocol::{
    Await, Cid, Failure, Identity, Out, Policy, Promise, Receipt, Task, Terms, TrapKind, Value,
    content_cid, encode,
    message::{Delivery, Lease},
    view::{RunId, RunState, TaskState},
};
use asterism_scheduler::{Config, Event, SubmitError};
use serde_bytes::Bytes;

use crate::driver::{Driver, Executor, awaits, cid, config, delivery, error, ok, task, with_fuel};

use TaskState::{Computed, Ready, Replayed};

/// Budgets of memory in bytes; no limit comes first.
const BUDGETS: [Option<u64>; 3] = [None, Some(2_000_000), Some(5_000_000)];

/// Keeps more runs than a test has.
fn keeping() -> Driver {
    Driver::with(Config {
        finished_runs_max: 100,
        ..config()
    })
}

fn with_memory(mut task: Task, memory: Option<u64>) -> Task {
    if let Some(memory) = memory {
        let memory = Value::Integer(memory.into());
        task.meta.0.insert("memory".into(), memory);
    }
    task
}

/// A task that wants more memory than all budgets but the whole.
fn grow(memory: Option<u64>) -> Task {
    with_memory(task("grow", vec![Value::Integer(90)]), memory)
}

/// What comes of it: where its growth is refused it says so.
fn grown(lease: &Lease) -> Delivery {
    if lease.limits.memory > 6_000_000 {
        delivery(lease, ok(90))
    } else {
        let mut item = delivery(lease, error("it does not grow"));
        item.conditions.growth_refused = true;
        item
    }
}

fn trapped(lease: &Lease, trap: TrapKind, fuel: Option<u64>) -> Delivery {
    let func = lease.task.run.input.func.clone();
    let failure = Failure { trap, func };
    let mut item = delivery(lease, Out::Error(failure.to_value()));
    item.outcome.fuel = fuel;
    item
}

/// Does the one task that is to be done.
fn perform(driver: &mut Driver, executor: &Executor, item: impl Fn(&Lease) -> Delivery) {
    let lease = driver.poll_for_one(executor);
    driver.deliver(executor, vec![item(&lease)]);
    assert!(driver.rejections(executor).is_empty());
}

/// Submits each and has it computed.
fn compute(driver: &mut Driver, executor: &Executor, budgets: &[Option<u64>]) {
    for memory in budgets {
        let run = driver.submit(vec![grow(*memory)]);
        perform(driver, executor, grown);
        assert_eq!(driver.states(run), [Computed]);
    }
}

/// Submits each, and says where it stands and what it came to.
fn ask(driver: &mut Driver, budgets: &[Option<u64>]) -> Vec<(TaskState, Option<Out>)> {
    let runs: Vec<RunId> = budgets
        .iter()
        .map(|memory| driver.submit(vec![grow(*memory)]))
        .collect();
    let tasks = runs.into_iter().map(|run| driver.task(run, 0));
    tasks.map(|task| (task.state, task.out)).collect()
}

/// What [`ask`] says of the three budgets once all of them are known.
fn all_known() -> [(TaskState, Option<Out>); 3] {
    [ok(90), error("it does not grow"), error("it does not grow")].map(|out| (Replayed, Some(out)))
}

/// The receipts that a journal has.
fn receipts(journal: &[Event]) -> Vec<Receipt> {
    let receipts = journal.iter().filter_map(|event| match event {
        Event::Computed { receipt, .. } => Some(receipt.receipt()),
        _ => None,
    });
    receipts.collect()
}

#[test]
fn each_memory_budget_has_its_outcome_remembered() {
    let mut driver = keeping();
    let executor = driver.executor(1);
    compute(&mut driver, &executor, &BUDGETS);
    for _ in 0..2 {
        assert_eq!(ask(&mut driver, &BUDGETS), all_known());
    }
    let mut restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
    assert_eq!(ask(&mut restarted, &BUDGETS), all_known());
    driver.compact();
    assert_eq!(ask(&mut driver.restarted(), &BUDGETS), all_known());
}

#[test]
fn the_store_tells_each_memory_budget_its_outcome() {
    let mut driver = keeping();
    let executor = driver.executor(1);
    compute(&mut driver, &executor, &BUDGETS);
    let mut known = receipts(&driver.journal);
    for _ in 0..known.len() {
        known.rotate_left(1);
        let mut later = keeping();
        for (memory, expected) in BUDGETS.into_iter().zip(all_known()) {
            let run = later.try_submit(vec![grow(memory)], known.clone());
            let task = later.task(run.expect("accepted"), 0);
            assert_eq!((task.state, task.out), expected);
        }
        let restarted = later.restarted();
        assert_eq!(
            restarted.scheduler.state_digest(),
            later.scheduler.state_digest()
        );
    }
}

#[test]
fn however_many_budgets_there_are_the_whole_one_is_remembered() {
    let mut driver = keeping();
    let executor = driver.executor(1);
    let narrow: Vec<_> = (1..=20).map(|n| Some(n * 100_000)).collect();
    compute(&mut driver, &executor, &[None]);
    compute(&mut driver, &executor, &narrow);
    let [whole, newest, oldest] = [None, narrow[19], narrow[0]];
    let states: Vec<_> = ask(&mut driver, &[whole, newest, oldest])
        .into_iter()
        .map(|(state, _)| state)
        .collect();
    assert_eq!(
        states,
        [Replayed, Replayed, Ready],
        "and of the others some"
    );
}

#[test]
fn less_memory_that_is_enough_answers_for_more() {
    let mut driver = keeping();
    let executor = driver.executor(1);
    for memory in [None, Some(500_000)] {
        driver.submit(vec![with_memory(task("a", vec![]), memory)]);
        perform(&mut driver, &executor, |lease| delivery(lease, ok(1)));
    }
    for memory in [None, Some(500_000), Some(600_000)] {
        let run = driver.submit(vec![with_memory(task("a", vec![]), memory)]);
        assert_eq!(driver.states(run), [Replayed]);
    }
}

#[test]
fn running_out_of_fuel_displaces_no_trap_under_more() {
    let mut driver = keeping();
    let executor = driver.executor(1);
    driver.submit(vec![with_fuel(task("a", vec![]), 1_000)]);
    perform(&mut driver, &executor, |lease| {
        trapped(lease, TrapKind::Unreachable, None)
    });
    driver.submit(vec![with_fuel(task("a", vec![]), 500)]);
    perform(&mut driver, &executor, |lease| {
        trapped(lease, TrapKind::OutOfFuel, Some(500))
    });
    for fuel in [1_000, 500, 2_000, 400] {
        let run = driver.submit(vec![with_fuel(task("a", vec![]), fuel)]);
        assert_eq!(driver.states(run), [Replayed], "with {fuel}");
    }
}

#[test]
fn a_word_under_less_memory_displaces_no_evidence() {
    let trusted = Terms {
        verify: Some(Policy::Trusted),
        ..Terms::default()
    };
    let mut driver = Driver::with(Config {
        trusted: [Identity::from_seed(&[1; 32]).public_key()].into(),
        ..config()
    });
    let believed = driver.executor(1);
    driver.submit_on(trusted, vec![task("a", vec![])]);
    perform(&mut driver, &believed, |lease| delivery(lease, ok(1)));
    let stranger = driver.executor(2);
    driver.submit(vec![with_memory(task("a", vec![]), Some(500_000))]);
    perform(&mut driver, &stranger, |lease| delivery(lease, ok(1)));
    let run = driver.submit_on(trusted, vec![task("a", vec![])]);
    assert_eq!(driver.states(run), [Replayed]);
}

#[test]
fn a_promise_from_outside_is_kept_by_the_outcome_of_the_largest_limits() {
    let mut driver = keeping();
    let executor = driver.executor(1);
    compute(&mut driver, &executor, &BUDGETS);
    let next = || vec![task("next", vec![awaits(Await::Ok, &grow(None))])];
    let run = driver.submit(next());
    assert_eq!(driver.states(run), [Ready]);
    let mut known = receipts(&driver.journal);
    for _ in 0..known.len() {
        known.rotate_left(1);
        let mut later = keeping();
        // A live run may hold what came of less memory.
        let narrow = later.try_submit(vec![grow(BUDGETS[1])], known.clone());
        assert_eq!(later.states(narrow.expect("accepted")), [Replayed]);
        let run = later.try_submit(next(), known.clone());
        assert_eq!(later.states(run.expect("accepted")), [Ready]);
        let restarted = later.restarted();
        assert_eq!(
            restarted.scheduler.state_digest(),
            later.scheduler.state_digest()
        );
    }
}

/// A task that rests on what a limit changed, and its receipt; who has both.
fn resting() -> (Driver, Task, Receipt) {
    let mut driver = keeping();
    let executor = driver.executor(1);
    let small = grow(BUDGETS[1]);
    let next = task("next", vec![awaits(Await::Any, &small)]);
    driver.submit(vec![small, next.clone()]);
    perform(&mut driver, &executor, grown);
    perform(&mut driver, &executor, |lease| delivery(lease, ok(1)));
    let mut known = receipts(&driver.journal);
    known.retain(|receipt| !receipt.rests_on().is_empty());
    let [receipt] = known
        .try_into()
        .expect("the receipt of the one that awaits");
    (driver, next, receipt)
}

/// What the receipts of an instruction are found by that rest on these.
fn found_by(instruction: Cid, rests_on: &[Cid]) -> Cid {
    let digest = instruction.digest();
    content_cid(&encode(&(Bytes::new(&digest), Policy::Any, rests_on)))
}

#[test]
fn what_rests_on_a_limit_keeps_no_promise_from_outside() {
    let (_, next, receipt) = resting();
    let last = task("last", vec![awaits(Await::Ok, &next)]);
    let submitted = keeping().try_submit(vec![last], vec![receipt]);
    assert_eq!(
        submitted,
        Err(SubmitError::UnknownPromise {
            task: 0,
            instruction: cid(&next)
        }),
        "nobody would compute it here"
    );
}

#[test]
fn what_a_receipt_that_rests_on_a_limit_is_found_by_is_no_instruction() {
    let (mut driver, next, receipt) = resting();
    let instruction = found_by(cid(&next), &receipt.rests_on());
    let branch = Await::Ok;
    let promise = Promise {
        branch,
        instruction,
    };
    assert_eq!(
        driver.try_submit(vec![task("last", vec![promise.to_value()])], Vec::new()),
        Err(SubmitError::UnknownPromise {
            task: 0,
            instruction
        })
    );
}

#[test]
fn nobody_answers_for_what_an_instruction_that_rests_on_a_limit_is_found_by() {
    let mut driver = keeping();
    let [executor, stranger] = [1, 2].map(|seed| driver.executor(seed));
    let small = grow(BUDGETS[1]);
    let next = task("next", vec![awaits(Await::Any, &small)]);
    let run = driver.submit(vec![small, next.clone()]);
    perform(&mut driver, &executor, grown);
    let lease = driver.poll_for_one(&executor);

    let rests_on = vec![driver.task(run, 0).outcome.expect("it is done")];
    let mut item = delivery(&lease, ok(7));
    item.outcome.instruction = found_by(cid(&next), &rests_on);
    driver.deliver(&stranger, vec![item]);
    assert_eq!(
        driver.rejections(&stranger),
        ["nobody waits for this instruction any more"]
    );
    driver.complete(&executor, &lease, ok(1));
    assert_eq!(driver.task(run, 1).out, Some(ok(1)));
    let receipts = receipts(&driver.journal);
    assert_eq!(receipts.last().map(Receipt::rests_on), Some(rests_on));
}

#[test]
fn what_is_told_again_was_believed_under_any_budget() {
    let mut driver = keeping();
    let executor = driver.executor(1);
    driver.submit(vec![grow(BUDGETS[1])]);
    let lease = driver.poll_for_one(&executor);
    driver.deliver(&executor, vec![grown(&lease)]);
    compute(&mut driver, &executor, &[None]);
    driver.deliver(&executor, vec![grown(&lease)]);
    assert!(driver.rejections(&executor).is_empty());
}

#[test]
fn equal_tasks_with_less_fuel_are_answered_as_alone() {
    let mut driver = keeping();
    let executor = driver.executor(1);
    // Deliveries of these tests used 10 units.
    let a = task("a", vec![]);
    let tasks = || {
        let next = task("next", vec![awaits(Await::Ok, &a)]);
        let [less, enough] = [9, 10].map(|fuel| with_fuel(a.clone(), fuel));
        vec![less, a.clone(), enough, next]
    };
    let run = driver.submit(tasks());
    assert_eq!(driver.work_off(&executor, |_| ok(1)), 2, "it is done once");
    let again = driver.submit(tasks());
    for (run, state) in [(run, Computed), (again, Replayed)] {
        assert_eq!(driver.states(run), [state; 4]);
        let alone = driver.submit(vec![with_fuel(a.clone(), 9)]);
        let (less, alone) = (driver.task(run, 0), driver.task(alone, 0));
        assert_eq!(less.out, alone.out);
        assert_eq!(less.outcome, alone.outcome);
        assert_eq!((less.fuel, less.receipt), (Some(9), None));
        assert_eq!(less.reason, alone.reason);
        for task in 1..4 {
            assert_eq!(driver.task(run, task).out, Some(ok(1)));
        }
        let summary = driver.view(run).summary;
        assert_eq!(
            (summary.state, summary.counts.errors),
            (RunState::Failed, 1)
        );
    }
    let restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
    assert_eq!(restarted.task(run, 0).fuel, Some(9));
    assert_eq!(restarted.task(run, 1).instruction, cid(&a));
}

#[test]
fn less_fuel_counts_beside_less_memory() {
    let mut driver = keeping();
    let executor = driver.executor(1);
    let a = task("a", vec![]);
    let less = with_memory(with_fuel(a.clone(), 9), Some(2_000_000));
    let run = driver.submit(vec![a, less]);
    assert_eq!(driver.work_off(&executor, |_| ok(1)), 1);
    assert_eq!(driver.task(run, 0).out, Some(ok(1)));
    assert_eq!(driver.task(run, 1).fuel, Some(9), "it ran out of it");
    assert_eq!(driver.view(run).summary.counts.errors, 1);
}

#[test]
fn equal_tasks_with_less_fuel_are_answered_as_alone_once_it_is_final() {
    let mut driver = keeping();
    let executors = [1, 2].map(|seed| driver.executor(seed));
    let quorum = Terms {
        verify: Some(Policy::Quorum { agree: 2, of: 3 }),
        ..Terms::default()
    };
    let a = task("a", vec![]);
    let run = driver.submit_on(quorum, vec![a.clone(), with_fuel(a, 9)]);
    driver.work_off_all(&executors, |_, _| ok(1));
    assert_eq!(driver.states(run), [Computed; 2]);
    let summary = driver.view(run).summary;
    assert_eq!(
        (summary.state, summary.counts.errors),
        (RunState::Failed, 1)
    );
}

#[test]
fn many_budgets_of_one_instruction_are_one_task_to_do() {
    let mut driver = Driver::with(Config {
        live_tasks_max: 100_000,
        ..config()
    });
    let executor = driver.executor(1);
    let budgets = (1..=20_000).map(|fuel| with_fuel(task("a", vec![]), fuel));
    let run = driver.submit(budgets.collect());
    assert_eq!(driver.work_off(&executor, |_| ok(1)), 1);
    let summary = driver.view(run).summary;
    assert_eq!(
        (summary.state, summary.counts.errors),
        (RunState::Failed, 9)
    );
}
