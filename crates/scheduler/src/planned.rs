//! A workflow, checked, hashed and read, before the state machine hears of it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use asterism_protocol::{
    Await, Cid, EncodedTask, Limits, Prepared, Requirements, Task, Workflow, WorkflowError,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    affinity::{Mark, links},
    digests::Digest,
    matching::Needs,
    tasks::Tasks,
};

/// A workflow whose graph was read: tasks are valid, named and free of circles. Reading takes some microseconds for each
/// task and decides nothing, so it is done before a submission, on a thread that may take the time.
///
/// Nodes are distinct instructions, then the instructions outside of the workflow that are awaited.
#[derive(Clone, PartialEq)]
pub struct Planned {
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) contents: Arc<Contents>,
    pub(crate) promises: Vec<(u32, u32, Await)>,
    /// Every node after those it needs.
    pub(crate) order: Vec<u32>,
    /// What is awaited from outside, and the first task that does; their nodes are the last ones.
    pub(crate) externals: Vec<(u32, Cid)>,
}

/// What is asked of nodes again and again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contents {
    /// Instructions of all nodes.
    pub(crate) digests: Vec<Digest>,
    /// Invocations of the nodes that are inside.
    pub(crate) invocations: Vec<Digest>,
    pub(crate) node_of_task: Vec<u32>,
    /// The task with the largest limits of those that a node stands for.
    pub(crate) task_of_node: Vec<u32>,
    /// The blobs that nodes are given by link; most have none.
    pub(crate) blobs: BTreeMap<u32, Vec<Mark>>,
    /// What nodes need of an executor; most need nothing.
    pub(crate) needs: BTreeMap<u32, Needs>,
    kinds: Vec<Kind>,
    /// Which kind a node is of; empty if there is only one.
    kind_of_node: Vec<u32>,
}

/// What many tasks have in common.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kind {
    pub(crate) limits: Limits,
    pub(crate) func: Arc<str>,
    pub(crate) component: Mark,
    /// Does the outcome depend on the world outside? Then it is neither compared nor done twice on purpose.
    pub(crate) is_effectful: bool,
}

impl Planned {
    /// Checks a workflow and reads its graph.
    ///
    /// # Errors
    /// The tasks are not a workflow.
    pub fn read(prepared: &Prepared) -> Result<Self, WorkflowError> {
        // Before they are encoded: that is done for bounded depths.
        prepared.workflow.check()?;
        Self::of(Tasks::new(prepared), &prepared.workflow)
    }

    /// Reads the graph of a workflow that was checked, and encoded.
    fn of(encoded: Tasks, workflow: &Workflow) -> Result<Self, WorkflowError> {
        let instructions = encoded.parts().map(EncodedTask::instruction).collect();
        let graph = workflow.graph_of(instructions)?;
        let tasks = &workflow.tasks;
        // Equal instructions share a node, which works for the task with the largest limits.
        let mut node_of_task = vec![0_u32; tasks.len()];
        let mut task_of_node: Vec<u32> = Vec::with_capacity(tasks.len());
        for (task, first) in graph.first.iter().enumerate() {
            if *first as usize == task {
                node_of_task[task] = task_of_node.len() as u32;
                task_of_node.push(task as u32);
            } else {
                let node = node_of_task[*first as usize];
                node_of_task[task] = node;
                let chosen = &mut task_of_node[node as usize];
                if rank(&tasks[task].limits()) > rank(&tasks[*chosen as usize].limits()) {
                    *chosen = task as u32;
                }
            }
        }
        task_of_node.shrink_to_fit();
        let nodes = task_of_node.len();
        let mut digests: Vec<Digest> = Vec::with_capacity(nodes);
        digests.extend(
            task_of_node
                .iter()
                .map(|task| graph.instructions[*task as usize].digest()),
        );
        let mut places: Vec<(Digest, u32)> = digests.iter().copied().zip(0..).collect();
        places.sort_unstable();
        let inside = |digest: &Digest| {
            places
                .binary_search_by_key(&digest, |(digest, _)| digest)
                .ok()
                .map(|found| places[found].1)
        };

        let mut outside: BTreeMap<Digest, u32> = BTreeMap::new();
        let mut externals = Vec::new();
        for (task, promise) in &graph.external {
            let digest = promise.instruction.digest();
            outside.entry(digest).or_insert_with(|| {
                digests.push(digest);
                externals.push((*task, promise.instruction));
                digests.len() as u32 - 1
            });
        }
        let mut promises = Vec::new();
        for (node, task) in task_of_node.iter().enumerate() {
            for promise in tasks[*task as usize].run.promises() {
                let digest = promise.instruction.digest();
                let producer = inside(&digest).or_else(|| outside.get(&digest).copied());
                let producer = producer.expect("whatever is not inside was noted outside");
                promises.push((node as u32, producer, promise.branch));
            }
        }
        let first_of = |task: &u32| graph.first[*task as usize] == *task;
        let order = (nodes as u32..digests.len() as u32)
            .chain(
                graph
                    .order
                    .iter()
                    .filter(|task| first_of(task))
                    .map(|task| node_of_task[*task as usize]),
            )
            .collect();
        let chosen = || task_of_node.iter().map(|task| &tasks[*task as usize]);
        let bytes: Vec<EncodedTask<'_>> = encoded.parts().collect();
        let invocations = task_of_node
            .iter()
            .map(|task| bytes[*task as usize].invocation().digest())
            .collect();
        drop(bytes);
        let (kinds, kind_of_node) = kinds(chosen());
        let blobs = (0..).zip(chosen()).filter_map(|(node, task)| {
            let blobs = links(task.run.input.values());
            (!blobs.is_empty()).then_some((node, blobs))
        });
        let blobs = blobs.collect();
        let needs = (0..).zip(chosen()).filter_map(|(node, task)| {
            let needs = Requirements::of_task(task).ok()?;
            (!needs.is_empty()).then_some((node, Needs(needs)))
        });
        let needs = needs.collect();
        Ok(Self {
            tasks: Arc::new(encoded),
            contents: Arc::new(Contents {
                digests,
                invocations,
                node_of_task,
                task_of_node,
                blobs,
                needs,
                kinds,
                kind_of_node,
            }),
            promises,
            order,
            externals,
        })
    }

    /// The tasks.
    #[must_use]
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Every instruction that the workflow asks for or awaits: those whose receipts are worth looking up for it.
    pub fn instructions(&self) -> impl Iterator<Item = Cid> {
        self.contents
            .digests
            .iter()
            .map(|digest| Cid::of_content_digest(*digest))
    }

    /// Every node's instruction and kind; no kind for those outside of the workflow.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&Digest, Option<&Kind>)> {
        let inside = self.contents.task_of_node.len();
        let kind = move |node: usize| (node < inside).then(|| self.contents.kind(node as u32));
        self.contents
            .digests
            .iter()
            .enumerate()
            .map(move |(node, digest)| (digest, kind(node)))
    }

    /// The first task whose outcome depends on the world outside.
    pub(crate) fn effectful(&self) -> Option<u32> {
        let Contents {
            task_of_node,
            kinds,
            ..
        } = &*self.contents;
        if !kinds.iter().any(|kind| kind.is_effectful) {
            return None;
        }
        let mut nodes = (0..).zip(task_of_node);
        let first = nodes.find(|(node, _)| self.contents.kind(*node).is_effectful);
        first.map(|(_, task)| *task)
    }
}

impl fmt::Debug for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tasks.fmt(f)
    }
}

/// As its tasks and their names: the rest follows.
impl Serialize for Planned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.tasks.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Planned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        // A store is not trusted more than anybody else.
        let (tasks, workflow) = Tasks::read(deserializer)?;
        workflow.check().map_err(D::Error::custom)?;
        Self::of(tasks, &workflow).map_err(D::Error::custom)
    }
}

impl Contents {
    /// What a node inside the workflow has in common with others.
    pub(crate) fn kind(&self, node: u32) -> &Kind {
        let kind = self.kind_of_node.get(node as usize).copied().unwrap_or(0);
        &self.kinds[kind as usize]
    }
}

fn kinds<'a>(tasks: impl Iterator<Item = &'a Task>) -> (Vec<Kind>, Vec<u32>) {
    let mut kinds: Vec<Kind> = Vec::new();
    /// Limits, function, component, effectful?
    type Alike<'a> = ((u64, u64, u64), &'a str, &'a str, bool);
    let mut numbers: BTreeMap<Alike<'_>, u32> = BTreeMap::new();
    let kind_of_node: Vec<u32> = tasks
        .map(|task| {
            let (limits, func) = (task.limits(), task.run.input.func.as_str());
            let is_effectful = task.run.is_effectful();
            let key = (rank(&limits), func, task.run.rsc.as_str(), is_effectful);
            *numbers.entry(key).or_insert_with(|| {
                let component = task.run.component();
                kinds.push(Kind {
                    limits,
                    func: func.into(),
                    component: Mark::of(
                        &component.expect("the tasks of a workflow name components"),
                    ),
                    is_effectful,
                });
                kinds.len() as u32 - 1
            })
        })
        .collect();
    if kinds.len() == 1 {
        (kinds, Vec::new())
    } else {
        (kinds, kind_of_node)
    }
}

/// By which limits are compared; the largest ones answer the most requests.
pub(crate) fn rank(limits: &Limits) -> (u64, u64, u64) {
    (limits.fuel, limits.memory, limits.time_ms)
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{
        Effects, Files, Input, Instruction, Meta, Nonce, Promise, Value, blob_cid, content_cid,
        decode, encode,
    };

    use super::*;

    fn task(args: Vec<Value>, meta: &[(&str, i128)]) -> Task {
        let meta = meta
            .iter()
            .map(|(key, number)| ((*key).to_owned(), Value::Integer(*number)));
        Task {
            run: Instruction {
                rsc: format!("ipfs://{}", blob_cid(b"component")),
                op: "wasm/run".into(),
                input: Input {
                    func: "f".into(),
                    args,
                    files: Files::new(),
                    effects: Effects::new(),
                },
                nnc: Nonce::Empty,
            },
            cause: None,
            meta: Meta(meta.collect()),
            prf: Vec::new(),
        }
    }

    /// Equal tasks with other limits, a blob, what is awaited from inside and from outside.
    fn prepared() -> Prepared {
        let awaited = |instruction| {
            let branch = Await::Ok;
            let promise = Promise {
                branch,
                instruction,
            };
            promise.to_value()
        };
        let first = task(vec![Value::Integer(1)], &[]);
        let blob = Value::Link(blob_cid(b"blob").to_link());
        let tasks = vec![
            task(vec![awaited(first.run.cid()), blob], &[]),
            first,
            task(vec![Value::Integer(1)], &[("fuel", 1 << 50)]),
            task(vec![awaited(content_cid(b"elsewhere"))], &[]),
        ];
        Prepared {
            workflow: Workflow { tasks },
            names: ["a", "b", "", "d"].map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn a_plan_is_read_from_a_journal_as_it_was_written() {
        let plan = Planned::read(&prepared()).unwrap();
        assert_eq!(plan.contents.node_of_task, [0, 1, 1, 2]);
        assert_eq!(plan.contents.task_of_node, [0, 2, 3]);
        let bytes = encode(&plan);
        let read: Planned = decode("plan", &bytes, bytes.len()).unwrap();
        assert_eq!(read, plan);
        assert_eq!(encode(&read), bytes);
        let tasks = &prepared().workflow.tasks;
        for (node, task) in [(0, 0), (1, 2), (2, 3)] {
            let task = &tasks[task];
            assert_eq!(
                Cid::of_content_digest(plan.contents.digests[node]),
                task.run.cid()
            );
            let invocation = asterism_protocol::Invocation { task }.cid();
            assert_eq!(
                Cid::of_content_digest(plan.contents.invocations[node]),
                invocation
            );
        }
    }

    #[test]
    fn what_is_no_workflow_is_not_read_from_a_journal() {
        let plan = Planned::read(&prepared()).unwrap();
        let mut bytes = encode(&plan);
        // Another operation than the one that is known.
        let at = bytes
            .windows(8)
            .position(|bytes| bytes == b"wasm/run")
            .unwrap();
        bytes[at + 5] = b'R';
        let read: Result<Planned, _> = decode("plan", &bytes, bytes.len());
        let refused = read.unwrap_err().to_string();
        assert!(refused.contains("wasm/Run"), "{refused}");
    }
}
