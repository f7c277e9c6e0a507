//! What a run shows, and what it holds for that.

use asterism_protocol::{Await, Promise, Task, Value, Workflow};

use super::*;
use crate::{memory::tests::receipt, tasks};

fn task(func: &str, awaited: &[&Task]) -> Task {
    let promise = |task: &&Task| {
        let (branch, instruction) = (Await::Ok, task.run.cid());
        let promise = Promise {
            branch,
            instruction,
        };
        promise.to_value()
    };
    tasks::tests::task(b"component", func, awaited.iter().map(promise).collect())
}

/// What a task came to.
fn known(task: &Task) -> Known {
    Known::read(receipt(task.run.cid(), Value::Integer(1)), Timestamp(5))
}

/// A run of `a`, `b` that awaits it, and `c` that awaits `b` and something from outside; of as many of these there are receipts, and of
/// what is outside.
fn begun(count: usize, memory: &mut Memory) -> Run {
    let (outside, a) = (task("outside", &[]), task("a", &[]));
    let b = task("b", &[&a]);
    let c = task("c", &[&outside, &b]);
    let prepared = Prepared {
        workflow: Workflow {
            tasks: vec![a.clone(), b.clone(), c.clone()],
        },
        names: ["a", "b", "c"].map(str::to_owned).to_vec(),
    };
    let plan = Planned::read(&prepared).unwrap();
    let mut results = vec![Held::NOTHING; 4];
    let inside = [&a, &b, &c].into_iter().take(count);
    for (node, task) in inside.enumerate().chain([(3, &outside)]) {
        let slot = memory.insert(known(task));
        results[node] = memory.hold(slot, Answer::Whole);
    }
    let header = Header {
        id: RunId(1),
        workflow: plan.tasks.workflow(),
        name: String::new(),
        submitter: String::new(),
        submitted: Timestamp(1),
        terms: Terms::default(),
    };
    let run = Run::new(header, &plan, results, memory, &mut Vec::new());
    assert_eq!(run.prepared(memory), prepared);
    run
}

/// All that is shown of a run's tasks, and what they are leased as.
fn shown(run: &Run, memory: &Memory) -> (Vec<TaskView>, Vec<Vec<u8>>, Prepared, Vec<Digest>) {
    let tasks = 0..run.len();
    (
        tasks.clone().map(|task| run.view(task, memory)).collect(),
        tasks.map(|node| run.encoded(node, memory)).collect(),
        run.prepared(memory),
        (0..4).map(|node| *run.digest(node, memory)).collect(),
    )
}

#[test]
fn digests_that_receipts_name_are_given_back_at_the_end_and_shown_as_before() {
    let mut memory = Memory::default();
    let mut run = begun(3, &mut memory);
    let before = shown(&run, &memory);
    assert_eq!(run.digests.len(), 4);
    run.finish(Timestamp(9));
    assert!(run.digests.is_empty());
    assert_eq!(shown(&run, &memory), before);
}

#[test]
fn what_came_to_nothing_is_shown_as_before_the_end() {
    for ended in [TaskState::Failed, TaskState::Cancelled] {
        let mut memory = Memory::default();
        let mut run = begun(1, &mut memory);
        run.finished = Some(Timestamp(9));
        run.settle(1, ended, Held::NOTHING, &memory, &mut Vec::new());
        let before = shown(&run, &memory);
        assert_eq!(before.0[1].state, ended);
        assert_eq!(before.0[2].state, TaskState::Failed);
        run.finish(Timestamp(9));
        assert_eq!(run.digests.len(), 4);
        assert_eq!(shown(&run, &memory), before);
    }
}
