//! The form people write: names instead of CIDs, `{{needs.<name>.output}}` instead of promises.

use serde::{Deserialize, Serialize};

use crate::{Cid, Value, Workflow, WorkflowError};

/// What preparing needs to know of functions: which component exports one, and how its arguments are made canonical.
pub trait FunctionLookup {
    /// The component that exports `func` and the function's WIT spelling; `rsc` is the component if the task names one.
    ///
    /// # Errors
    /// A sentence for the author: unknown function with the nearest known one, several components that export it.
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String>;

    /// The arguments in canonical form by the function's types (integer 5 for an `f64` becomes 5.0). Promises pass unchecked.
    ///
    /// # Errors
    /// The place and what is wrong there: `args[1]: 300 does not fit u8`.
    fn canonical(&self, component: Cid, func: &str, args: Vec<Value>) -> Result<Vec<Value>, String>;
}

/// What a task that is silent gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Defaults {
    /// A nonce for every task that has none: nothing replays.
    pub nonce: Option<String>,
}

/// A simplified workflow, prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The full workflow.
    pub workflow: Workflow,
    /// The tasks' names, in the same order; empty for a task without one.
    pub names: Vec<String>,
}

/// Why a simplified workflow cannot be prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimplifiedError {
    /// The place and what is wrong there.
    #[error("{path}: {reason}")]
    At {
        /// Where, such as `tasks[1].run.input.args[0]`.
        path: String,
        /// The task's name, empty for none.
        task: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The tasks do not form a workflow.
    #[error(transparent)]
    Workflow(#[from] WorkflowError),
}

/// Prepares a workflow in either form: a full one passes as it came, a simplified one gets CIDs for names.
///
/// # Errors
/// The first mistake, with its place.
pub fn prepare(_document: &Value, _functions: &dyn FunctionLookup, _defaults: &Defaults) -> Result<Prepared, SimplifiedError> {
    Err(SimplifiedError::Workflow(WorkflowError::Empty))
}
