//! How runs go: readiness, memory, failure, cancellation, bounds.

use crate::driver::{Driver, awaits, cid, config, error, ok, task, with_fuel};
use asterism_protocol::{
    Await, Out, Prepared, TrapKind, Value, Workflow, WorkflowError, content_cid,
    message::{LeaseId, ToCoordinator},
    view::{RunState, TaskState},
};
use asterism_scheduler::{Config, Event, Planned, SubmitError};

use TaskState::{Cancelled, Computed, Failed, Leased, Ready, Replayed, Skipped, Waiting};

/// a → b → c
fn chain() -> Vec<asterism_protocol::Task> {
    let a = task("a", vec![Value::Integer(1)]);
    let b = task("b", vec![awaits(Await::Ok, &a)]);
    let c = task("c", vec![Value::List(vec![awaits(Await::Ok, &b)])]);
    vec![a, b, c]
}

#[test]
fn chain_is_computed_in_order() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(chain());
    assert_eq!(driver.states(run), [Ready, Waiting, Waiting]);
    let a = driver.poll_for_one(&executor);
    assert_eq!(a.task.run.input.func, "a");
    assert_eq!(driver.states(run), [Leased, Waiting, Waiting]);
    driver.complete(&executor, &a, ok(2));
    assert_eq!(driver.states(run), [Computed, Ready, Waiting]);
    let b = driver.poll_for_one(&executor);
    assert_eq!(b.inputs.len(), 1);
    assert_eq!(b.inputs[0].out, ok(2));
    driver.complete(&executor, &b, ok(3));
    let c = driver.poll_for_one(&executor);
    assert_eq!(
        c.inputs[0].out,
        ok(3),
        "a promise inside a list is kept too"
    );
    driver.complete(&executor, &c, ok(4));
    assert_eq!(driver.states(run), [Computed, Computed, Computed]);
    assert_eq!(driver.state(run), RunState::Done);
    assert_eq!(driver.view(run).summary.finished, Some(driver.now));
    assert_eq!(driver.task(run, 2).out, Some(ok(4)));
    assert_eq!(driver.task(run, 2).executor, Some(executor.key()));
    assert_eq!(driver.task(run, 2).needs, [1]);
}

#[test]
fn tasks_may_be_written_in_any_order() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let mut tasks = chain();
    tasks.reverse();
    let run = driver.submit(tasks);
    assert_eq!(driver.states(run), [Waiting, Waiting, Ready]);
    assert_eq!(driver.work_off(&executor, |_| ok(0)), 3);
    assert_eq!(driver.state(run), RunState::Done);
}

#[test]
fn equal_instructions_of_a_workflow_run_once() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(vec![
        task("a", vec![]),
        task("a", vec![]),
        task("b", vec![]),
    ]);
    assert_eq!(driver.view(run).summary.counts.ready, 3);
    assert_eq!(driver.work_off(&executor, |_| ok(0)), 2);
    assert_eq!(driver.states(run), [Computed, Computed, Computed]);
    assert_eq!(driver.view(run).summary.counts.computed, 3);
}

#[test]
fn equal_instructions_of_two_runs_run_once() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let first = driver.submit(chain());
    let a = driver.poll_for_one(&executor);
    let second = driver.submit(chain());
    assert_eq!(driver.states(second), [Leased, Waiting, Waiting]);
    driver.complete(&executor, &a, ok(1));
    assert_eq!(driver.work_off(&executor, |_| ok(0)), 2);
    assert_eq!(driver.state(first), RunState::Done);
    assert_eq!(driver.state(second), RunState::Done);
    let computed = driver
        .journal
        .iter()
        .filter(|event| matches!(event, Event::Computed { .. }));
    assert_eq!(computed.count(), 3);
}

#[test]
fn known_workflow_is_replayed_without_work() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(chain());
    driver.work_off(&executor, |_| ok(0));
    let again = driver.submit(chain());
    assert_eq!(driver.states(again), [Replayed, Replayed, Replayed]);
    assert_eq!(driver.state(again), RunState::Done);
    assert_eq!(driver.work_off(&executor, |_| ok(0)), 0);
}

#[test]
fn second_workflow_over_the_same_picture_computes_one_task() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(chain());
    driver.work_off(&executor, |_| ok(0));
    let mut tasks = chain();
    tasks[2].run.input.func = "d".into();
    let second = driver.submit(tasks);
    assert_eq!(driver.states(second), [Replayed, Replayed, Ready]);
    let lease = driver.poll_for_one(&executor);
    assert_eq!(lease.inputs[0].out, ok(0));
}

#[test]
fn what_only_feeds_known_tasks_is_skipped() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(chain());
    driver.work_off(&executor, |_| ok(0));
    let leaf = driver
        .scheduler
        .receipt_of(cid(&chain()[2]))
        .expect("it was computed");

    let mut fresh = Driver::new();
    let run = fresh.try_submit(chain(), vec![leaf]).expect("accepted");
    assert_eq!(fresh.states(run), [Skipped, Skipped, Replayed]);
    assert_eq!(fresh.state(run), RunState::Done);
}

#[test]
fn store_tells_what_the_last_coordinator_computed() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(chain());
    driver.work_off(&executor, |_| ok(5));
    let middle = driver
        .scheduler
        .receipt_of(cid(&chain()[1]))
        .expect("it was computed");

    let mut fresh = Driver::new();
    let executor = fresh.executor(2);
    let run = fresh.try_submit(chain(), vec![middle]).expect("accepted");
    assert_eq!(fresh.states(run), [Skipped, Replayed, Ready]);
    assert_eq!(fresh.poll_for_one(&executor).inputs[0].out, ok(5));
}

#[test]
fn promise_outside_of_the_workflow_is_kept_if_it_is_known() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(vec![task("a", vec![Value::Integer(1)])]);
    driver.work_off(&executor, |_| ok(9));
    let run = driver.submit(vec![chain().remove(1)]);
    assert_eq!(driver.states(run), [Ready]);
    assert_eq!(
        driver.view(run).summary.counts.replayed,
        0,
        "it is no task of this run"
    );
    let lease = driver.poll_for_one(&executor);
    assert_eq!(lease.inputs[0].out, ok(9));
}

#[test]
fn promise_of_something_unknown_is_refused() {
    let mut driver = Driver::new();
    let refused = driver.try_submit(vec![chain().remove(1)], Vec::new());
    let instruction = cid(&chain()[0]);
    assert_eq!(
        refused,
        Err(SubmitError::UnknownPromise {
            task: 0,
            instruction
        })
    );
    assert_eq!(driver.journal, []);
}

#[test]
fn empty_workflow_is_refused() {
    let (workflow, names) = (Workflow { tasks: vec![] }, vec![]);
    let refused = Planned::read(&Prepared { workflow, names });
    assert_eq!(refused, Err(WorkflowError::Empty));
}

#[test]
fn error_fails_what_awaits_a_value_and_siblings_go_on() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let mut tasks = chain();
    tasks.push(task("sibling", vec![]));
    let run = driver.submit(tasks);
    driver.work_off(
        &executor,
        |func| if func == "a" { error("no") } else { ok(1) },
    );
    assert_eq!(driver.states(run), [Computed, Failed, Failed, Computed]);
    assert_eq!(driver.state(run), RunState::Failed);
    assert_eq!(
        driver.task(run, 1).reason,
        "`t0` (tasks[0]) came to an error"
    );
    assert_eq!(driver.task(run, 2).reason, "`t1` (tasks[1]) failed");
}

#[test]
fn branches_take_the_outcome_they_await() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let a = task("a", vec![]);
    let on_error = task("on-error", vec![awaits(Await::Error, &a)]);
    let on_any = task("on-any", vec![awaits(Await::Any, &a)]);
    let tasks = vec![a, on_error, on_any];

    let run = driver.submit(tasks.clone());
    driver.work_off(
        &executor,
        |func| if func == "a" { error("no") } else { ok(1) },
    );
    assert_eq!(driver.states(run), [Computed, Computed, Computed]);
    assert_eq!(
        driver.state(run),
        RunState::Failed,
        "one of them came to an error"
    );

    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(tasks);
    driver.work_off(&executor, |_| ok(1));
    assert_eq!(driver.states(run), [Computed, Failed, Computed]);
    assert_eq!(
        driver.task(run, 1).reason,
        "`t0` (tasks[0]) came to a value, an error was awaited"
    );
}

#[test]
fn known_error_breaks_promises_at_submission() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(chain());
    driver.work_off(&executor, |_| error("no"));
    let again = driver.submit(chain());
    assert_eq!(driver.states(again), [Replayed, Failed, Failed]);
    assert_eq!(driver.state(again), RunState::Failed);
}

#[test]
fn smaller_fuel_limit_is_answered_with_out_of_fuel_without_running() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(vec![task("a", vec![])]);
    driver.work_off(&executor, |_| ok(1));
    // Deliveries of these tests used 10 units.
    let run = driver.submit(vec![with_fuel(task("a", vec![]), 9)]);
    assert_eq!(driver.states(run), [Replayed]);
    assert_eq!(driver.state(run), RunState::Failed);
    let view = driver.task(run, 0);
    let failure = view.out.and_then(|out| match out {
        Out::Error(value) => asterism_protocol::Failure::of_value(&value),
        Out::Ok(_) => None,
    });
    assert_eq!(
        failure.map(|failure| failure.trap),
        Some(TrapKind::OutOfFuel)
    );
    assert_eq!((view.fuel, view.receipt), (Some(9), None));
    assert_eq!(
        view.reason,
        "it is known to use up 10 units of fuel, its limit is 9"
    );
    let run = driver.submit(vec![with_fuel(task("a", vec![]), 10)]);
    assert_eq!(driver.state(run), RunState::Done);
}

#[test]
fn out_of_fuel_answers_no_larger_limit() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let small = driver.submit(vec![with_fuel(task("a", vec![]), 100)]);
    let lease = driver.poll_for_one(&executor);
    let large = driver.submit(vec![with_fuel(task("a", vec![]), 1_000)]);
    let mut item = crate::driver::delivery(&lease, ok(0));
    let failure = asterism_protocol::Failure {
        trap: TrapKind::OutOfFuel,
        func: "a".into(),
    };
    (item.outcome.out, item.outcome.fuel) = (Out::Error(failure.to_value()), Some(100));
    driver.deliver(&executor, vec![item]);
    assert_eq!(driver.states(small), [Computed]);
    assert_eq!(
        driver.states(large),
        [Ready],
        "it is run again, with the larger limit"
    );
    let lease = driver.poll_for_one(&executor);
    assert_eq!(lease.limits.fuel, 1_000);
    driver.complete(&executor, &lease, ok(1));
    assert_eq!(driver.state(large), RunState::Done);
    assert_eq!(driver.state(small), RunState::Failed);
}

#[test]
fn cancelled_run_is_revoked_and_what_others_want_goes_on() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let first = driver.submit(vec![task("shared", vec![]), task("own", vec![])]);
    let second = driver.submit(vec![task("shared", vec![])]);
    let leases = driver.poll_for(&executor, 2);
    assert_eq!(driver.cancel(first), Ok(first));
    assert_eq!(driver.states(first), [Cancelled, Cancelled]);
    assert_eq!(driver.state(first), RunState::Cancelled);
    assert_eq!(driver.revoked(&executor), [leases[1].id]);
    assert_eq!(driver.states(second), [Leased]);
    driver.complete(&executor, &leases[0], ok(1));
    assert_eq!(driver.state(second), RunState::Done);
    assert_eq!(driver.cancel(first), Ok(first), "twice is once");
    assert_eq!(
        driver.cancel(asterism_protocol::view::RunId(99)),
        Err(SubmitError::UnknownRun(asterism_protocol::view::RunId(99)))
    );
}

#[test]
fn delivery_for_a_cancelled_run_is_refused() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(vec![task("a", vec![])]);
    let lease = driver.poll_for_one(&executor);
    driver.cancel(run).expect("it is there");
    driver.take(&executor);
    driver.deliver(&executor, vec![crate::driver::delivery(&lease, ok(1))]);
    assert_eq!(
        driver.rejections(&executor),
        ["nobody waits for this instruction any more"]
    );
}

#[test]
fn too_many_live_tasks_are_refused_until_some_are_done() {
    let mut driver = Driver::with(Config {
        live_tasks_max: 3,
        ..config()
    });
    let executor = driver.executor(1);
    driver.submit(chain());
    let more = vec![task("d", vec![])];
    assert_eq!(
        driver.try_submit(more.clone(), vec![]),
        Err(SubmitError::Full { live: 3, max: 3 })
    );
    driver.work_off(&executor, |_| ok(0));
    assert!(driver.try_submit(more, vec![]).is_ok());
}

#[test]
fn numbers_of_one_of_several_tell_which_it_is_also_after_a_restart() {
    for (partition, first) in [(0, 3), (1, 1), (2, 2)] {
        let mut driver = Driver::with(Config {
            partition,
            partitions: 3,
            ..config()
        });
        let executor = driver.executor(1);
        let one = |n: i128| vec![task("a", vec![Value::Integer(n)])];
        assert_eq!(driver.submit(one(1)).0, first);
        assert_eq!(driver.submit(one(2)).0, first + 3);
        let before = driver.poll_for(&executor, 2);
        let is_ours = |number: u64| number % 3 == u64::from(partition);
        assert!(before.iter().all(|lease| is_ours(lease.id.0)), "{before:?}");

        let mut driver = driver.restarted();
        let executor = driver.executor(2);
        assert_eq!(driver.submit(one(3)).0, first + 6);
        for lease in driver.poll_for(&executor, 3) {
            assert!(is_ours(lease.id.0), "{lease:?}");
            assert!(before.iter().all(|other| other.id < lease.id));
        }
    }
}

#[test]
fn of_a_batch_each_of_several_takes_what_is_its_own() {
    let mut driver = Driver::with(Config {
        partition: 1,
        partitions: 2,
        ..config()
    });
    let executor = driver.executor(1);
    let run = driver.submit(vec![task("a", vec![])]);
    assert_eq!(driver.scheduler.unmet(), 1);
    let lease = driver.poll_for_one(&executor);
    assert_eq!(driver.scheduler.unmet(), 0);
    let own = crate::driver::delivery(&lease, ok(1));
    let mut other = own.clone();
    other.lease = LeaseId(lease.id.0 + 1);
    // What it is about nobody knows here.
    other.outcome.instruction = content_cid(b"elsewhere");
    driver.take(&executor);
    driver.deliver(&executor, vec![other, own]);
    assert_eq!(driver.rejections(&executor), [""; 0]);
    assert_eq!(driver.view(run).summary.state, RunState::Done);
}

#[test]
fn oldest_finished_runs_are_forgotten_with_their_receipts() {
    let mut driver = Driver::with(Config {
        finished_runs_max: 1,
        ..config()
    });
    let executor = driver.executor(1);
    let one = |n: i128| vec![task("a", vec![Value::Integer(n)])];
    let first = driver.submit(one(1));
    driver.work_off(&executor, |_| ok(0));
    let second = driver.submit(one(2));
    driver.work_off(&executor, |_| ok(0));
    assert_eq!(driver.scheduler.run_view(first), None);
    assert_eq!(driver.scheduler.receipt_of(cid(&one(1)[0])), None);
    assert!(driver.scheduler.receipt_of(cid(&one(2)[0])).is_some());
    let workflow = driver.view(second).summary.workflow;
    assert_eq!(driver.scheduler.latest_run_of(workflow), Some(second));
}

#[test]
fn a_run_that_is_done_is_found_and_shown_as_before() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    // Deliveries of these tests used 10 units.
    let equal = with_fuel(chain().remove(0), 9);
    let tasks: Vec<_> = chain().into_iter().chain([equal]).collect();
    let run = driver.submit(tasks.clone());
    for _ in 0..2 {
        let lease = driver.poll_for_one(&executor);
        driver.complete(&executor, &lease, ok(1));
    }
    let shown = |driver: &Driver| {
        let mut done = driver.view(run).tasks;
        done.remove(2);
        (done, driver.scheduler.prepared_of(run))
    };
    let before = shown(&driver);
    assert_eq!(driver.work_off(&executor, |_| ok(1)), 1);
    assert_eq!(shown(&driver), before);

    // This one is done before it begins.
    let again = driver.submit(tasks.clone());
    driver.compact();
    for driver in [&driver, &driver.restarted()] {
        let scheduler = &driver.scheduler;
        assert_eq!(scheduler.prepared_of(run), before.1);
        assert_eq!(scheduler.prepared_of(again), before.1);
        for (task, place) in tasks.iter().zip([0, 1, 2, 0]) {
            let instruction = cid(task);
            let found = scheduler.task_of_instruction(run, instruction);
            assert_eq!(found, Some(place));
            assert_eq!(scheduler.task_of(instruction), Some((again, place)));
        }
    }
}

#[test]
fn inputs_too_large_for_a_message_fail_the_task() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let parts: Vec<_> = (0..3)
        .map(|n| task("part", vec![Value::Integer(n)]))
        .collect();
    let all = task(
        "all",
        parts.iter().map(|part| awaits(Await::Ok, part)).collect(),
    );
    let run = driver.submit(parts.into_iter().chain([all]).collect());
    let long = || Out::Ok(Value::String("x".repeat(1_900_000)));
    for lease in driver.poll_for(&executor, 3) {
        driver.complete(&executor, &lease, long());
    }
    assert_eq!(driver.states(run)[3], Failed);
    assert!(
        driver
            .task(run, 3)
            .reason
            .contains("let tasks hand on blobs instead")
    );
    assert_eq!(driver.state(run), RunState::Failed);
}

#[test]
fn large_inputs_go_out_in_messages_that_fit() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let part = task("part", vec![]);
    let whole = |n| task("whole", vec![Value::Integer(n), awaits(Await::Ok, &part)]);
    let tasks: Vec<_> = (0..6).map(whole).chain([part.clone()]).collect();
    let run = driver.submit(tasks);
    let lease = driver.poll_for_one(&executor);
    driver.complete(
        &executor,
        &lease,
        Out::Ok(Value::String("x".repeat(700_000))),
    );
    let first = driver.poll_for(&executor, 6);
    assert_eq!(
        first.len(),
        2,
        "what is over the bound waits for the next poll"
    );
    driver.work_off(&executor, |_| ok(0));
    for lease in first {
        driver.complete(&executor, &lease, ok(0));
    }
    assert_eq!(driver.state(run), RunState::Done);
}

#[test]
fn tasks_are_told_to_watchers_and_runs_to_everybody() {
    use asterism_protocol::message::Change;
    use asterism_scheduler::Input;
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    let run = driver.submit(vec![task("a", vec![]), task("b", vec![])]);
    let lease = driver.poll_for_one(&executor);
    let told = |driver: &mut Driver| {
        let changes = std::mem::take(&mut driver.changes);
        let tasks: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Task { task, .. } => Some((task.index, task.state)),
                _ => None,
            })
            .collect();
        (
            tasks,
            changes
                .iter()
                .filter(|change| matches!(change, Change::Run(_)))
                .count(),
        )
    };
    assert_eq!(told(&mut driver), (vec![], 2));
    driver.handle(Input::Watch { run });
    driver.complete(&executor, &lease, ok(1));
    assert_eq!(told(&mut driver), (vec![(0, Computed)], 1));
    driver.poll(&executor, 1);
    assert_eq!(told(&mut driver), (vec![(1, Leased)], 1));
    driver.handle(Input::Unwatch { run });
    driver.say(&executor, ToCoordinator::Leave);
    assert_eq!(told(&mut driver), (vec![], 1));
}

#[test]
fn restart_gives_the_same_runs_back() {
    let mut driver = Driver::new();
    let executor = driver.executor(1);
    driver.submit(chain());
    driver.work_off(&executor, |_| ok(0));
    let run = driver.submit(vec![
        task("x", vec![]),
        task("y", vec![]),
        task("z", vec![]),
    ]);
    let cancelled = driver.submit(vec![task("never", vec![])]);
    driver.cancel(cancelled).expect("it is there");
    let lease = driver.poll_for_one(&executor);
    driver.complete(&executor, &lease, error("no"));
    driver.poll_for_one(&executor);

    let restarted = driver.restarted();
    assert_eq!(
        restarted.scheduler.state_digest(),
        driver.scheduler.state_digest()
    );
    assert_eq!(restarted.states(run), [Computed, Ready, Ready]);
    let names = |driver: &Driver| {
        driver
            .scheduler
            .overview()
            .runs
            .iter()
            .map(|run| run.run.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&restarted), names(&driver));
}
