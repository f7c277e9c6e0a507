//! Workflows that chance wrote: for the null host, small enough to overlap often.

use asterism_protocol::{
    Await, Cid, Effects, Files, Input, Instruction, Meta, Nonce, Prepared, Promise, Task, Value,
    Workflow, blob_cid,
};

use super::Random;

/// The bytes of a component; the null host takes any.
pub(super) fn component(number: u32) -> Vec<u8> {
    format!("component {number} for the null host").into_bytes()
}

/// A workflow of so many tasks, at least one. Numbers in it are below `variety`: the fewer there are, the more tasks are
/// equal, and equal to those of other workflows. They name so many components.
pub(super) fn workflow(random: &mut Random, count: u32, variety: u64, components: u32) -> Prepared {
    let mut writer = Writer {
        random,
        variety,
        components,
        cids: Vec::new(),
    };
    let mut tasks: Vec<Task> = (0..count.max(1)).map(|_| writer.task()).collect();
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

struct Writer<'a> {
    random: &'a mut Random,
    variety: u64,
    components: u32,
    /// Instructions so far: what may be awaited.
    cids: Vec<Cid>,
}

impl Writer<'_> {
    fn task(&mut self) -> Task {
        let func = self.random.pick(&[
            "add", "add", "echo", "echo", "echo", "work", "fail", "trap", "blob",
        ]);
        let args = match func {
            "add" => vec![self.argument(700), self.argument(400)],
            "echo" => {
                let items = (0..=self.random.below(3))
                    .map(|_| self.argument(900))
                    .collect();
                vec![Value::List(items)]
            }
            "trap" => vec![Value::String(
                self.random.pick(&["unreachable", "divide-by-zero"]).into(),
            )],
            "blob" => {
                let bytes = self.random.pick(&[3_u64, 20_000]);
                // With one component there is nothing to choose by, and few blobs overlap more.
                let more = match self.components {
                    0 | 1 => 0,
                    _ => self.random.below(self.variety.min(10_000)),
                };
                vec![Value::Integer(i128::from(bytes + more))]
            }
            _ => vec![self.argument(300)],
        };
        let component = match self.components {
            0 | 1 => 0,
            several => self.random.below(several.into()) as u32,
        };
        let task = task(component, func, args);
        self.cids.push(task.run.cid());
        task
    }

    /// A small number, or so often out of a thousand a promise of an earlier task.
    fn argument(&mut self, promises: u64) -> Value {
        if self.cids.is_empty() || !self.random.chance(promises) {
            return Value::Integer(i128::from(self.random.below(self.variety)));
        }
        let branch = self.random.pick(&[
            Await::Ok,
            Await::Ok,
            Await::Ok,
            Await::Ok,
            Await::Error,
            Await::Any,
            Await::Any,
        ]);
        let instruction = self.cids[self.random.below(self.cids.len() as u64) as usize];
        Promise {
            branch,
            instruction,
        }
        .to_value()
    }
}

fn task(number: u32, func: &str, args: Vec<Value>) -> Task {
    Task {
        run: Instruction {
            rsc: format!("ipfs://{}", blob_cid(&component(number))),
            op: "wasm/run".into(),
            input: Input {
                func: func.into(),
                args,
                files: Files::new(),
                effects: Effects::new(),
            },
            nnc: Nonce::Empty,
        },
        cause: None,
        meta: Meta::default(),
        prf: Vec::new(),
    }
}
