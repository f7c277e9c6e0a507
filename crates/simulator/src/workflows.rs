//! Workflows that chance wrote: for the null host, small enough to overlap often.

use asterism_protocol::{
    Await, Input, Instruction, Meta, Nonce, Prepared, Promise, Task, Value, Workflow, blob_cid,
};

use super::Random;

/// The bytes of the component that all tasks name; the null host takes any.
pub(super) const COMPONENT: &[u8] = b"a component for the null host";

/// A workflow of at most `tasks_max` tasks.
pub(super) fn workflow(random: &mut Random, tasks_max: u64) -> Prepared {
    let count = 1 + random.below(tasks_max);
    let mut tasks: Vec<Task> = Vec::new();
    for _ in 0..count {
        let func = random.pick(&[
            "add", "add", "echo", "echo", "echo", "work", "fail", "trap", "blob",
        ]);
        let args = match func {
            "add" => vec![argument(random, &tasks, 700), argument(random, &tasks, 400)],
            "echo" => {
                let items = (0..=random.below(3))
                    .map(|_| argument(random, &tasks, 900))
                    .collect();
                vec![Value::List(items)]
            }
            "trap" => vec![Value::String(
                random.pick(&["unreachable", "divide-by-zero"]).into(),
            )],
            "blob" => vec![Value::Integer(i128::from(random.pick(&[3_u32, 20_000])))],
            _ => vec![argument(random, &tasks, 300)],
        };
        tasks.push(task(func, args));
    }
    // Any order is as good as the one of the promises.
    for at in (1..tasks.len()).rev() {
        let other = random.below(at as u64 + 1) as usize;
        tasks.swap(at, other);
    }
    let names = (0..tasks.len()).map(|index| format!("t{index}")).collect();
    Prepared {
        workflow: Workflow { tasks },
        names,
    }
}

/// A small number, or so often out of a thousand a promise of an earlier task.
fn argument(random: &mut Random, tasks: &[Task], promises: u64) -> Value {
    if tasks.is_empty() || !random.chance(promises) {
        return Value::Integer(i128::from(random.below(4)));
    }
    let branch = random.pick(&[
        Await::Ok,
        Await::Ok,
        Await::Ok,
        Await::Ok,
        Await::Error,
        Await::Any,
        Await::Any,
    ]);
    let awaited = &tasks[random.below(tasks.len() as u64) as usize];
    Promise {
        branch,
        instruction: awaited.run.cid(),
    }
    .to_value()
}

fn task(func: &str, args: Vec<Value>) -> Task {
    Task {
        run: Instruction {
            rsc: format!("ipfs://{}", blob_cid(COMPONENT)),
            op: "wasm/run".into(),
            input: Input {
                func: func.into(),
                args,
            },
            nnc: Nonce::Empty,
        },
        cause: None,
        meta: Meta::default(),
        prf: Vec::new(),
    }
}
