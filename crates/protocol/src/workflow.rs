//! A workflow: tasks whose promises form a directed acyclic graph.

use serde::{Deserialize, Serialize};

use crate::{Cid, Error, Task, content_cid, encode};

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
    /// An operation other than `wasm/run`.
    #[error("tasks[{task}]: op `{op}` is not known, `wasm/run` is")]
    Operation {
        /// Its place in the list.
        task: usize,
        /// What it asks for.
        op: String,
    },
    /// Tasks that wait for each other.
    #[error("tasks wait for each other in a circle: {}", cycle.iter().map(|t| format!("tasks[{t}]")).collect::<Vec<_>>().join(" → "))]
    Cycle {
        /// The places on the circle, the first one again at the end.
        cycle: Vec<usize>,
    },
}

impl Workflow {
    /// The workflow's name by content.
    #[must_use]
    pub fn cid(&self) -> Cid {
        content_cid(&encode(self))
    }
}
