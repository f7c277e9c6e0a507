//! A workflow: tasks whose promises form a directed acyclic graph.

use std::fmt;

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use crate::{
    Cid, DecodeError, Error, Nonce, Promise, Requirements, Task, Value, check_effects, check_files,
    content_cid, encode,
    instruction::OP_WASM_RUN,
    limits::{NAME_BYTES_MAX, VALUE_DEPTH_MAX, WORKFLOW_TASKS_MAX},
    value,
};

/// Tasks in the order they were written; the promises between them are the edges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// The tasks.
    pub tasks: Vec<Task>,
}

/// What a receipt says was run: `{"task": Task}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Invocation<'a> {
    /// The task.
    pub task: &'a Task,
}

impl Invocation<'_> {
    /// `ran` of its receipt.
    #[must_use]
    pub fn cid(&self) -> Cid {
        content_cid(&encode(self))
    }
}

/// Why tasks are not a workflow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    /// No tasks at all.
    #[error("a workflow needs at least one task")]
    Empty,
    /// More tasks than the bound.
    #[error("{tasks} tasks are more than the {max} that one workflow may have")]
    TooManyTasks {
        /// How many there are.
        tasks: usize,
        /// How many there may be.
        max: usize,
    },
    /// A task that this project cannot perform.
    #[error("tasks[{task}]: {error}")]
    Task {
        /// Its place in the list.
        task: usize,
        /// What is wrong with it.
        error: Error,
    },
    /// Bytes that are no task.
    #[error("tasks[{task}]: {error}")]
    Unreadable {
        /// Its place in the list.
        task: usize,
        /// What is wrong with them.
        error: DecodeError,
    },
    /// An operation other than `wasm/run`.
    #[error("tasks[{task}]: op `{op}` is not known, `wasm/run` is")]
    Operation {
        /// Its place in the list.
        task: usize,
        /// What it asks for.
        op: String,
    },
    /// Tasks that wait for each other.
    #[error("tasks wait for each other in a circle: {}", Circle(cycle.iter().map(|task| format!("tasks[{task}]"))))]
    Cycle {
        /// The places on the circle, the first one again at the end.
        cycle: Vec<usize>,
    },
}

/// What the promises of a workflow say: which task waits for which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// The CID of each task's instruction.
    pub instructions: Vec<Cid>,
    /// The first place of each task's instruction: its own, or that of an earlier task that asks for the same.
    pub first: Vec<u32>,
    /// The places that each task waits for, ascending, each once; of equal instructions the first.
    pub needs: Vec<Vec<u32>>,
    /// Promises of instructions that are not in this workflow, by the place of the task that waits for them.
    pub external: Vec<(u32, Promise)>,
    /// All places in an order in which each comes after those it waits for.
    pub order: Vec<u32>,
}

impl Workflow {
    /// The workflow's name by content.
    #[must_use]
    pub fn cid(&self) -> Cid {
        content_cid(&encode(self))
    }

    /// Checks that every task is one that this project can perform, within the bounds.
    ///
    /// # Errors
    /// The first task that is not, or too few or too many tasks.
    pub fn check(&self) -> Result<(), WorkflowError> {
        Self::check_count(self.tasks.len())?;
        let mut tasks = self.tasks.iter().enumerate();
        tasks.try_for_each(|(index, task)| Self::check_task(index, task))
    }

    /// Checks that a workflow may have so many tasks.
    ///
    /// # Errors
    /// None, or more than [`WORKFLOW_TASKS_MAX`].
    pub fn check_count(tasks: usize) -> Result<(), WorkflowError> {
        match tasks {
            0 => Err(WorkflowError::Empty),
            1..=WORKFLOW_TASKS_MAX => Ok(()),
            _ => Err(WorkflowError::TooManyTasks {
                tasks,
                max: WORKFLOW_TASKS_MAX,
            }),
        }
    }

    /// [`Workflow::check`] of the task at one place, for whoever has one at a time.
    ///
    /// # Errors
    /// It is not one that this project can perform, within the bounds.
    pub fn check_task(index: usize, task: &Task) -> Result<(), WorkflowError> {
        if task.run.op != OP_WASM_RUN {
            return Err(WorkflowError::Operation {
                task: index,
                op: shorten(&task.run.op),
            });
        }
        check_task(task).map_err(|error| WorkflowError::Task { task: index, error })
    }

    /// Checks the workflow and reads its edges.
    ///
    /// # Errors
    /// As [`Workflow::check`]; tasks that wait for each other.
    pub fn graph(&self) -> Result<Graph, WorkflowError> {
        self.check()?;
        let instructions = self.tasks.iter().map(|task| task.run.cid()).collect();
        let promises = (0..).zip(&self.tasks).flat_map(|(index, task)| {
            let promises = task.run.promises().into_iter();
            promises.map(move |promise| (index, promise))
        });
        Graph::of(instructions, promises)
    }
}

impl Graph {
    /// The edges between tasks, of which the instructions and the promises are known (see [`crate::EncodedTask`]): promises are
    /// told with the place of the task that waits for them, in the order of the tasks.
    ///
    /// # Errors
    /// Tasks wait for each other.
    ///
    /// # Panics
    /// A promise is of a task that is not there.
    pub fn of(
        instructions: Vec<Cid>,
        promises: impl IntoIterator<Item = (u32, Promise)>,
    ) -> Result<Self, WorkflowError> {
        // Sorted once and searched: no map of a million nodes, and no hash that an author could make collide.
        let mut places: Vec<(Cid, u32)> = instructions.iter().copied().zip(0..).collect();
        places.sort_unstable();
        places.dedup_by_key(|(cid, _)| *cid);
        let place = |cid: &Cid| {
            places
                .binary_search_by_key(cid, |(cid, _)| *cid)
                .ok()
                .map(|found| places[found].1)
        };

        let mut external = Vec::new();
        let mut needs: Vec<Vec<u32>> = vec![Vec::new(); instructions.len()];
        for (index, promise) in promises {
            match place(&promise.instruction) {
                Some(place) => needs[index as usize].push(place),
                None => external.push((index, promise)),
            }
        }
        for needs in &mut needs {
            needs.sort_unstable();
            needs.dedup();
        }
        let first = (0..)
            .zip(&instructions)
            .map(|(index, cid)| place(cid).unwrap_or(index))
            .collect();
        let order = topological_order(&needs).map_err(|cycle| WorkflowError::Cycle { cycle })?;
        Ok(Self {
            instructions,
            first,
            needs,
            external,
            order,
        })
    }
}

/// Resource, names, depths and promises of one task.
pub(crate) fn check_task(task: &Task) -> Result<(), Error> {
    let refuse = |path: String, reason: String| Err(Error::Value { path, reason });
    task.run.component()?;
    let func = &task.run.input.func;
    if func.is_empty() {
        return refuse("run.input.func".into(), "a function needs a name".into());
    }
    if func.len() > NAME_BYTES_MAX {
        return refuse(
            "run.input.func".into(),
            format!(
                "a name has at most {NAME_BYTES_MAX} bytes, this one {}",
                func.len()
            ),
        );
    }
    for (index, arg) in task.run.input.args.iter().enumerate() {
        if value::depth(arg) > VALUE_DEPTH_MAX {
            return refuse(
                format!("run.input.args[{index}]"),
                format!("nested deeper than {VALUE_DEPTH_MAX} levels"),
            );
        }
        if let Some(reason) = misshapen_promise(arg) {
            return refuse(format!("run.input.args[{index}]"), reason);
        }
    }
    check_files(&task.run.input.files).map_err(|error| error.inside("run.input"))?;
    check_effects(&task.run.input.effects).map_err(|error| error.inside("run.input"))?;
    if task.run.is_effectful() && task.run.nnc == Nonce::Empty {
        return refuse(
            "run.nnc".into(),
            "a task with `effects` needs a nonce, as its outcome is remembered under that alone: write one that you never \
             wrote before to have it done, and the same one again to have it replayed"
                .into(),
        );
    }
    match task
        .meta
        .0
        .iter()
        .find(|(_, value)| value::depth(value) > VALUE_DEPTH_MAX)
    {
        Some((key, _)) => refuse(
            format!("meta.{}", shorten(key)),
            format!("nested deeper than {VALUE_DEPTH_MAX} levels"),
        ),
        None => Requirements::of_task(task).map(|_| ()),
    }
}

/// What is wrong with a map that is written like a promise but awaits no instruction: passed on as a plain map it would
/// surprise the guest, not the author.
pub(crate) fn misshapen_promise(value: &Value) -> Option<String> {
    match value {
        Ipld::Map(map) => match map.first_key_value() {
            Some((key, _)) if map.len() == 1 && key.starts_with("await/") => Promise::of_value(
                value,
            )
            .is_none()
            .then(|| {
                format!(
                    "`{key}` takes a link to an instruction: {{\"{key}\": {{\"/\": \"bafyrmi…\"}}}}"
                )
            }),
            _ => map.values().find_map(misshapen_promise),
        },
        Ipld::List(items) => items.iter().find_map(misshapen_promise),
        _ => None,
    }
}

/// Every place after those it needs, smallest places first where there is a choice by rounds; or a circle, its first
/// place again at the end. Without recursion: a chain may have a million links.
pub(crate) fn topological_order(needs: &[Vec<u32>]) -> Result<Vec<u32>, Vec<usize>> {
    let mut missing: Vec<u32> = needs.iter().map(|needs| needs.len() as u32).collect();
    // Dependants of all places in one list: those of place `p` are `dependants[starts[p]..starts[p + 1]]`.
    let mut starts = vec![0_u32; needs.len() + 1];
    needs
        .iter()
        .flatten()
        .for_each(|need| starts[*need as usize + 1] += 1);
    (1..starts.len()).for_each(|place| starts[place] += starts[place - 1]);
    let mut dependants = vec![0_u32; starts[needs.len()] as usize];
    let mut next = starts.clone();
    for (place, needs) in (0..).zip(needs) {
        for need in needs {
            let slot = &mut next[*need as usize];
            dependants[*slot as usize] = place;
            *slot += 1;
        }
    }

    let mut order: Vec<u32> = (0..)
        .zip(&missing)
        .filter(|(_, missing)| **missing == 0)
        .map(|(place, _)| place)
        .collect();
    let mut done = 0;
    while let Some(place) = order.get(done).map(|place| *place as usize) {
        done += 1;
        for dependant in &dependants[starts[place] as usize..starts[place + 1] as usize] {
            missing[*dependant as usize] -= 1;
            if missing[*dependant as usize] == 0 {
                order.push(*dependant);
            }
        }
    }
    if order.len() == needs.len() {
        Ok(order)
    } else {
        Err(circle(needs, &missing))
    }
}

/// A circle among the places that still miss something: each of them needs another one of them, so whoever
/// follows needs long enough comes by a place for the second time.
fn circle(needs: &[Vec<u32>], missing: &[u32]) -> Vec<usize> {
    let mut seen_at = vec![usize::MAX; needs.len()];
    let mut way = Vec::new();
    let mut place = missing
        .iter()
        .position(|missing| *missing > 0)
        .unwrap_or_default();
    while seen_at[place] == usize::MAX {
        seen_at[place] = way.len();
        way.push(place);
        let stuck = needs[place]
            .iter()
            .map(|need| *need as usize)
            .find(|need| missing[*need] > 0);
        place = stuck.expect("a place that misses something needs one that does");
    }
    way.drain(..seen_at[place]);
    way.push(place);
    way
}

/// At most a hundred characters of what an author wrote, for an error text.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS: usize = 100;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Writes the places of a circle, not more than can be read.
pub(crate) struct Circle<I>(pub(crate) I);

impl<I: Iterator<Item: fmt::Display> + Clone> fmt::Display for Circle<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        let places = self.0.clone().count();
        for (index, place) in self.0.clone().take(SHOWN).enumerate() {
            let arrow = if index == 0 { "" } else { " → " };
            write!(f, "{arrow}{place}")?;
        }
        if places > SHOWN {
            write!(f, " → … ({} more)", places - SHOWN)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Circle, topological_order};

    #[test]
    fn a_circle_is_found_from_a_place_outside_it() {
        assert_eq!(
            topological_order(&[vec![1], vec![2], vec![3], vec![1], vec![]]),
            Err(vec![1, 2, 3, 1])
        );
    }

    #[test]
    fn a_circle_of_a_million_is_found_without_recursion() {
        let count = 1_000_000;
        let needs: Vec<Vec<u32>> = (0..count).map(|place| vec![(place + 1) % count]).collect();
        let circle = topological_order(&needs).expect_err("it is one circle");
        assert_eq!(circle.len(), count as usize + 1);
        let text = Circle(circle.iter()).to_string();
        assert!(text.ends_with("→ 11 → … (999989 more)"), "{text}");
    }

    #[test]
    fn the_order_is_by_rounds_and_then_by_place() {
        assert_eq!(
            topological_order(&[vec![2], vec![], vec![], vec![0, 1]]),
            Ok(vec![1, 2, 0, 3])
        );
    }
}
