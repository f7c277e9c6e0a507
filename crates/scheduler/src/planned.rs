//! A workflow, checked, hashed and read, before the state machine hears of it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use asterism_protocol::{
    Await, Cid, EncodedTask, Graph, Limits, Prepared, Promise, Requirements, Task, Workflow,
    WorkflowError, decode,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    affinity::{Mark, links},
    digests::Digest,
    matching::Needs,
    packed::Packed,
    tasks::Tasks,
};

/// A workflow whose graph was read: tasks are valid, named and free of circles. Reading takes some microseconds for each
/// task and decides nothing, so it is done before a submission, on a thread that may take the time.
///
/// Nodes are distinct instructions, then the instructions outside of the workflow that are awaited.
#[derive(Clone, PartialEq)]
pub struct Planned {
    pub(crate) tasks: Arc<Tasks>,
    /// The same, for a run to keep.
    pub(crate) packed: Arc<Packed>,
    pub(crate) contents: Arc<Contents>,
    /// Instructions of all nodes.
    pub(crate) digests: Arc<[Digest]>,
    /// Invocations of the nodes that are inside.
    pub(crate) invocations: Arc<[Digest]>,
    pub(crate) promises: Vec<(u32, u32, Await)>,
    /// Every node after those it needs.
    pub(crate) order: Vec<u32>,
    /// What is awaited from outside, and the first task that does; their nodes are the last ones.
    pub(crate) externals: Vec<(u32, Cid)>,
}

/// What is asked of nodes again and again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) node_of_task: Numbers,
    /// The task with the largest limits of those that a node inside stands for.
    pub(crate) task_of_node: Numbers,
    /// Limits of tasks that are not those of the task that their node works for; most have none of their own.
    pub(crate) own_limits: BTreeMap<u32, Limits>,
    /// The blobs that nodes are given by link; most have none.
    pub(crate) blobs: BTreeMap<u32, Vec<Mark>>,
    /// What nodes need of an executor; most need nothing.
    pub(crate) needs: BTreeMap<u32, Needs>,
    kinds: Vec<Kind>,
    /// Which kind a node is of; empty if there is only one.
    kind_of_node: Vec<u32>,
}

/// A number for each of what is numbered itself. Most often no two tasks ask for the same: then each has its own number, and
/// none is held.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Numbers {
    /// So many have their own.
    Own(u32),
    Others(Box<[u32]>),
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
        let mut found = Found::default();
        for (index, task) in (0..).zip(&prepared.workflow.tasks) {
            found.add(index, task);
        }
        Self::of(Tasks::new(prepared), found)
    }

    /// Reads tasks that were encoded before, one at a time as `read` decodes and checks them: decoded together they take ten
    /// times as much memory, and most of the time goes by until the system has given it.
    ///
    /// # Errors
    /// What `read` says of the first task that is none; the tasks are not a workflow.
    pub fn of_encoded<E: From<WorkflowError>>(
        encoded: Tasks,
        mut read: impl FnMut(usize, EncodedTask<'_>) -> Result<Task, E>,
    ) -> Result<Self, E> {
        Workflow::check_count(encoded.len())?;
        let mut found = Found::default();
        for (index, bytes) in encoded.parts().enumerate() {
            found.add(index as u32, &read(index, bytes)?);
        }
        Self::of(encoded, found).map_err(E::from)
    }

    /// Reads the graph of tasks that are checked and encoded.
    fn of(encoded: Tasks, mut found: Found) -> Result<Self, WorkflowError> {
        let instructions = encoded.parts().map(EncodedTask::instruction).collect();
        let graph = Graph::of(instructions, found.promises.iter().copied())?;
        // Equal instructions share a node, which works for the task with the largest limits.
        let mut node_of_task = vec![0_u32; encoded.len()];
        let mut task_of_node: Vec<u32> = Vec::with_capacity(encoded.len());
        for (task, first) in graph.first.iter().enumerate() {
            if *first as usize == task {
                node_of_task[task] = task_of_node.len() as u32;
                task_of_node.push(task as u32);
            } else {
                let node = node_of_task[*first as usize];
                node_of_task[task] = node;
                let chosen = &mut task_of_node[node as usize];
                let limits = |task: usize| rank(&found.kinds.of_task(task).limits);
                if limits(task) > limits(*chosen as usize) {
                    *chosen = task as u32;
                }
            }
        }
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
        // Those of the task that each node works for.
        let node_of = |task: u32| {
            let node = node_of_task[task as usize];
            (task_of_node[node as usize] == task).then_some(node)
        };
        let mut promises = Vec::with_capacity(found.promises.len());
        for (task, promise) in std::mem::take(&mut found.promises) {
            let Some(node) = node_of(task) else {
                continue;
            };
            let digest = promise.instruction.digest();
            let producer = inside(&digest).or_else(|| outside.get(&digest).copied());
            let producer = producer.expect("whatever is not inside was noted outside");
            promises.push((node, producer, promise.branch));
        }
        // Nodes are not in the order of the tasks that they work for; most are.
        promises.sort_by_key(|(node, _, _)| *node);
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
        let bytes: Vec<EncodedTask<'_>> = encoded.parts().collect();
        let invocations = task_of_node
            .iter()
            .map(|task| bytes[*task as usize].invocation().digest())
            .collect();
        drop(bytes);
        let Found {
            kinds,
            blobs,
            needs,
            promises: _,
        } = found;
        let own_limits = (0_u32..)
            .zip(&node_of_task)
            .filter_map(|(task, node)| {
                let own = kinds.of_task(task as usize).limits;
                let chosen = task_of_node[*node as usize];
                (own != kinds.of_task(chosen as usize).limits).then_some((task, own))
            })
            .collect();
        // Tasks that ask for the same await the same.
        let awaited = |task: u32| {
            let node = node_of_task[task as usize];
            let from = promises.partition_point(|(other, ..)| *other < node);
            let awaiting = promises[from..].iter();
            awaiting
                .take_while(move |(other, ..)| *other == node)
                .map(|(_, producer, _)| *producer)
        };
        let packed = Packed::new(&encoded, &kinds.of_task, awaited, &digests);
        let (kinds, kind_of_node) = kinds.of_nodes(&task_of_node);
        let blobs = by_node(blobs, node_of);
        let needs = by_node(needs, node_of);
        Ok(Self {
            tasks: Arc::new(encoded),
            packed: Arc::new(packed),
            contents: Arc::new(Contents {
                node_of_task: Numbers::new(node_of_task),
                task_of_node: Numbers::new(task_of_node),
                own_limits,
                blobs,
                needs,
                kinds,
                kind_of_node,
            }),
            digests: digests.into(),
            invocations,
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
        let digests = self.digests.iter();
        digests.map(|digest| Cid::of_content_digest(*digest))
    }

    /// Every node's instruction and kind; no kind for those outside of the workflow.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&Digest, Option<&Kind>)> {
        let inside = self.contents.task_of_node.len();
        let kind = move |node: u32| (node < inside).then(|| self.contents.kind(node));
        let digests = self.digests.iter().zip(0..);
        digests.map(move |(digest, node)| (digest, kind(node)))
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
        let mut nodes = 0..task_of_node.len();
        let first = nodes.find(|node| self.contents.kind(*node).is_effectful);
        first.map(|node| task_of_node.at(node))
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
        let tasks = Tasks::read(deserializer)?;
        let read = |index, encoded: EncodedTask<'_>| {
            let bytes = encoded.bytes();
            let task: Task = decode("task", bytes, bytes.len())
                .map_err(|error| WorkflowError::Unreadable { task: index, error })?;
            Workflow::check_task(index, &task)?;
            Ok::<_, WorkflowError>(task)
        };
        Self::of_encoded(tasks, read).map_err(D::Error::custom)
    }
}

impl Contents {
    /// What a node inside the workflow has in common with others.
    pub(crate) fn kind(&self, node: u32) -> &Kind {
        let kind = self.kind_of_node.get(node as usize).copied().unwrap_or(0);
        &self.kinds[kind as usize]
    }
}

impl Numbers {
    fn new(numbers: Vec<u32>) -> Self {
        if numbers.iter().copied().eq(0..numbers.len() as u32) {
            Self::Own(numbers.len() as u32)
        } else {
            Self::Others(numbers.into())
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        match self {
            Self::Own(count) => *count,
            Self::Others(numbers) => numbers.len() as u32,
        }
    }

    /// The number of one; `None` if there is no such one.
    pub(crate) fn get(&self, one: u32) -> Option<u32> {
        match self {
            Self::Own(count) => (one < *count).then_some(one),
            Self::Others(numbers) => numbers.get(one as usize).copied(),
        }
    }

    /// The number of one that there is.
    pub(crate) fn at(&self, one: u32) -> u32 {
        self.get(one).expect("only what is numbered is asked for")
    }
}

/// What is asked of tasks once they are encoded.
#[derive(Default)]
struct Found {
    /// With the task that waits for each.
    promises: Vec<(u32, Promise)>,
    kinds: Kinds,
    blobs: BTreeMap<u32, Vec<Mark>>,
    needs: BTreeMap<u32, Needs>,
}

impl Found {
    /// Reads the next task.
    fn add(&mut self, index: u32, task: &Task) {
        let promises = task.run.promises().into_iter();
        self.promises
            .extend(promises.map(|promise| (index, promise)));
        self.kinds.add(task);
        let blobs = links(task.run.input.values());
        if !blobs.is_empty() {
            self.blobs.insert(index, blobs);
        }
        if let Ok(needs) = Requirements::of_task(task)
            && !needs.is_empty()
        {
            self.needs.insert(index, Needs(needs));
        }
    }
}

/// What is known of tasks, of the nodes that work for them.
fn by_node<T>(of_task: BTreeMap<u32, T>, node_of: impl Fn(u32) -> Option<u32>) -> BTreeMap<u32, T> {
    let of_task = of_task.into_iter();
    of_task
        .filter_map(|(task, known)| Some((node_of(task)?, known)))
        .collect()
}

/// Kinds, and of which one each task is.
#[derive(Default)]
struct Kinds {
    all: Vec<Kind>,
    of_task: Vec<u32>,
    numbers: BTreeMap<Alike, u32>,
    /// Neighbours are alike, most often.
    last: Option<(Alike, u32)>,
}

/// What makes tasks one kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    limits: (u64, u64, u64),
    func: String,
    component: String,
    is_effectful: bool,
}

impl Alike {
    fn is_like(&self, task: &Task) -> bool {
        self.limits == rank(&task.limits())
            && self.func == task.run.input.func
            && self.component == task.run.rsc
            && self.is_effectful == task.run.is_effectful()
    }
}

impl Kinds {
    /// Reads the next task.
    fn add(&mut self, task: &Task) {
        let last = self.last.as_ref().filter(|(last, _)| last.is_like(task));
        let number = match last {
            Some((_, number)) => *number,
            None => self.find(task),
        };
        self.of_task.push(number);
    }

    fn find(&mut self, task: &Task) -> u32 {
        let limits = task.limits();
        let alike = Alike {
            limits: rank(&limits),
            func: task.run.input.func.clone(),
            component: task.run.rsc.clone(),
            is_effectful: task.run.is_effectful(),
        };
        let number = *self.numbers.entry(alike.clone()).or_insert_with(|| {
            let component = task.run.component();
            self.all.push(Kind {
                limits,
                func: alike.func.as_str().into(),
                component: Mark::of(&component.expect("the tasks of a workflow name components")),
                is_effectful: alike.is_effectful,
            });
            self.all.len() as u32 - 1
        });
        self.last = Some((alike, number));
        number
    }

    fn of_task(&self, task: usize) -> &Kind {
        &self.all[self.of_task[task] as usize]
    }

    /// All of them, and of which one each node is; nothing is said of that if there is only one.
    fn of_nodes(self, task_of_node: &[u32]) -> (Vec<Kind>, Vec<u32>) {
        let Self { all, of_task, .. } = self;
        if all.len() == 1 {
            return (all, Vec::new());
        }
        let of_node = task_of_node.iter().map(|task| of_task[*task as usize]);
        (all, of_node.collect())
    }
}

/// By which limits are compared; the largest ones answer the most requests.
pub(crate) fn rank(limits: &Limits) -> (u64, u64, u64) {
    (limits.fuel, limits.memory, limits.time_ms)
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{
        Effects, Files, Input, Instruction, Meta, Nonce, Value, blob_cid, content_cid, encode,
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
        let numbers = |numbers: &[u32]| Numbers::Others(numbers.into());
        assert_eq!(plan.contents.node_of_task, numbers(&[0, 1, 1, 2]));
        assert_eq!(plan.contents.task_of_node, numbers(&[0, 2, 3]));
        let bytes = encode(&plan);
        let read: Planned = decode("plan", &bytes, bytes.len()).unwrap();
        assert_eq!(read, plan);
        assert_eq!(encode(&read), bytes);
        let tasks = &prepared().workflow.tasks;
        for (node, task) in [(0, 0), (1, 2), (2, 3)] {
            let task = &tasks[task];
            assert_eq!(Cid::of_content_digest(plan.digests[node]), task.run.cid());
            let invocation = asterism_protocol::Invocation { task }.cid();
            assert_eq!(Cid::of_content_digest(plan.invocations[node]), invocation);
        }
    }

    #[test]
    fn tasks_that_all_ask_for_something_else_have_their_own_numbers() {
        let mut prepared = prepared();
        let equal = prepared.workflow.tasks.remove(2);
        prepared.names.remove(2);
        let contents = Planned::read(&prepared).unwrap().contents;
        assert_eq!(contents.node_of_task, Numbers::Own(3));
        assert_eq!(contents.task_of_node, Numbers::Own(3));
        // A fourth task shares the node of another: that is held of tasks, and still nothing of nodes.
        prepared.workflow.tasks.push(equal);
        prepared.names.push(String::new());
        prepared.workflow.tasks[3].meta = Meta::default();
        let contents = Planned::read(&prepared).unwrap().contents;
        assert_eq!(contents.node_of_task.at(3), 1);
        assert_eq!(contents.task_of_node, Numbers::Own(3));
    }

    #[test]
    fn numbers_are_told_as_they_were_given() {
        for given in [vec![], vec![0, 1, 2], vec![0, 2, 1], vec![1], vec![0, 1, 1]] {
            let numbers = Numbers::new(given.clone());
            assert_eq!(numbers.len() as usize, given.len());
            let told = (0..).map_while(|one| numbers.get(one));
            assert!(told.eq(given), "{numbers:?}");
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
