//! The form people write: names instead of CIDs, `{{needs.<name>.output}}` instead of promises.
//!
//! A task may leave out what has a default. A full workflow, where every task says all of `rsc`, `op`, `input`
//! and `nnc` and none has a name or a placeholder, keeps the CIDs it came with.

mod draft;
mod grammar;
mod mistakes;
mod nearest;
mod place;
mod placeholder;
mod sketch;

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use self::{
    draft::{Draft, drafts},
    place::Place,
    placeholder::{Placeholder, map_strings, visit_strings},
};
pub use self::{
    mistakes::{mistakes, mistakes_of_prepared},
    nearest::nearest,
    sketch::{Sketched, sketch},
};
use crate::{
    Cid, EncodedTask, Error, Files, Input, Nonce, Promise, Task, Value, Workflow, WorkflowError,
    decode, encode,
    workflow::{Circle, shorten, topological_order},
};

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
    fn canonical(&self, component: Cid, func: &str, args: Vec<Value>)
    -> Result<Vec<Value>, String>;

    /// Every mistake in the arguments, each as [`FunctionLookup::canonical`] tells the first. So is a promise that no outcome
    /// can keep where it stands; `awaited` knows whose outcome it is, by the instruction.
    fn mistakes(
        &self,
        component: Cid,
        func: &str,
        args: Vec<Value>,
        _awaited: &dyn Fn(Cid) -> Option<Awaited>,
    ) -> Vec<String> {
        self.canonical(component, func, args)
            .err()
            .into_iter()
            .collect()
    }

    /// Can a guest of this component look at files? One that imports no file system never sees what a task gives it.
    fn reads_files(&self, _component: Cid) -> bool {
        true
    }

    /// Can a guest of this component have an effect? One that does not import what has it never does.
    fn has_effect(&self, _component: Cid, _effect: &str) -> bool {
        true
    }
}

/// Whose outcome a promise waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The task, in words: ``task `first` ``.
    pub task: String,
    /// The component of its function.
    pub component: Cid,
    /// Its function, in the component's spelling.
    pub func: String,
}

/// What a task that is silent gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Defaults {
    /// A nonce for every task that has none: nothing replays.
    pub nonce: Option<String>,
    /// What makes the nonces of tasks with effects that have none, which no two submissions may share. Where nothing is
    /// submitted, it may be anything.
    pub seed: [u8; 12],
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
    #[error("{path}{}: {reason}", if task.is_empty() { String::new() } else { format!(" (task `{}`)", shorten(task)) })]
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
pub fn prepare(
    document: &Value,
    functions: &dyn FunctionLookup,
    defaults: &Defaults,
) -> Result<Prepared, SimplifiedError> {
    let (drafts, mistakes) = drafts(document);
    if let Some(first) = mistakes.into_iter().next() {
        return Err(first);
    }
    let names = drafts.iter().map(|draft| draft.name.to_owned()).collect();
    let tasks = if drafts.iter().all(Draft::is_full) {
        drafts
            .into_iter()
            .map(|draft| draft.into_checked_task(functions))
            .collect::<Result<_, _>>()?
    } else {
        fill_in(drafts, functions, defaults)?
    };
    Ok(Prepared {
        workflow: Workflow { tasks },
        names,
    })
}

/// Prepares one task of a full workflow as [`prepare`] would: for whoever does not want all of them decoded at once. `None` if
/// only the whole document tells what it stands for: it does not say everything, or is encoded in another way than its task.
///
/// # Errors
/// The first mistake, with its place.
pub fn prepare_encoded(
    index: usize,
    encoded: EncodedTask<'_>,
    functions: &dyn FunctionLookup,
) -> Result<Option<Task>, SimplifiedError> {
    let bytes = encoded.bytes();
    let task: Value = decode("task", bytes, bytes.len())
        .map_err(|error| WorkflowError::Unreadable { task: index, error })?;
    let mut mistakes = Vec::new();
    let draft = Draft::read(index, &task, &mut mistakes);
    if let Some(first) = mistakes.into_iter().next() {
        return Err(first);
    }
    if !draft.is_full() {
        return Ok(None);
    }
    let task = draft.into_checked_task(functions)?;
    Ok((encode(&task) == bytes).then_some(task))
}

/// Makes tasks of drafts: names become promises, functions find their components, arguments their canonical form.
fn fill_in(
    drafts: Vec<Draft<'_>>,
    functions: &dyn FunctionLookup,
    defaults: &Defaults,
) -> Result<Vec<Task>, SimplifiedError> {
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    for draft in drafts.iter().filter(|draft| !draft.name.is_empty()) {
        if let Some(other) = places.insert(draft.name, draft.index as u32) {
            return Err(draft.place().error(
                "run.name",
                format!("tasks[{other}] has the same name: give each its own"),
            ));
        }
    }
    let needs = drafts
        .iter()
        .map(|draft| needs_of(draft, &places))
        .collect::<Result<Vec<_>, _>>()?;
    let order = topological_order(&needs).map_err(|circle| {
        let names = circle.iter().map(|place| drafts[*place].name);
        let first = &drafts[circle[0]];
        first.place().error(
            first.place_of_needs(),
            format!("tasks wait for each other in a circle: {}", Circle(names)),
        )
    })?;
    let nonce = match &defaults.nonce {
        Some(nonce) => Nonce::of_value(&Ipld::String(nonce.clone())).map_err(|reason| {
            Place {
                index: None,
                task: "",
            }
            .error("default nonce", reason)
        })?,
        None => Nonce::Empty,
    };
    let found = drafts
        .iter()
        .map(|draft| find(draft, functions))
        .collect::<Result<Vec<_>, _>>()?;

    let mut work: Vec<_> = drafts.into_iter().zip(found).map(Some).collect();
    let mut tasks: Vec<Option<Task>> = work.iter().map(|_| None).collect();
    let mut instructions: Vec<Option<Cid>> = vec![None; work.len()];
    for index in order.into_iter().map(|index| index as usize) {
        let (mut draft, (component, func)) =
            work[index].take().expect("an order names each place once");
        let place = draft.place();
        let mut substitute = |text: &str| match Placeholder::read(text)? {
            None => Ok(Ipld::String(text.to_owned())),
            Some(Placeholder::Link(cid)) => Ok(Ipld::Link(cid.to_link())),
            Some(Placeholder::Needs { name, branch }) => {
                let instruction = places
                    .get(name)
                    .and_then(|place| instructions[*place as usize]);
                let instruction = instruction
                    .expect("names were looked up, and what is needed comes first in the order");
                Ok(Promise {
                    branch,
                    instruction,
                }
                .to_value())
            }
        };
        let args = draft
            .args
            .iter()
            .map(|arg| map_strings(arg, &mut substitute))
            .collect::<Result<_, String>>();
        let args = args.map_err(|reason| place.error("run.input.args", reason))?;
        let args = functions
            .canonical(component, &func, args)
            .map_err(|error| place.argument(&error))?;
        draft.check_reader(Some(component), functions)?;
        draft.check_effects(Some(component), functions)?;
        draft.distinguish(&nonce, &defaults.seed);
        let files = draft.files().map(|(path, file)| {
            let file = map_strings(file, &mut substitute)
                .map_err(|reason| place.error("run.input.files", reason))?;
            Ok((path.clone(), file))
        });
        let files = files.collect::<Result<Files, SimplifiedError>>()?;
        if let Some(odd) = draft.odd_meta().into_iter().next() {
            return Err(odd);
        }
        let meta = draft.filled_meta()?;
        let rsc = format!("ipfs://{component}");
        let input = Input {
            func,
            args,
            files,
            effects: draft.effects.clone(),
        };
        let task = draft.finish(rsc, input, nonce.clone(), meta)?;
        instructions[index] = Some(task.run.cid());
        tasks[index] = Some(task);
    }
    Ok(tasks.into_iter().flatten().collect())
}

/// The places that a draft's placeholders name, ascending, each once.
fn needs_of(draft: &Draft<'_>, places: &BTreeMap<&str, u32>) -> Result<Vec<u32>, SimplifiedError> {
    let mut needs = Vec::new();
    for (place, value) in draft.values() {
        let mut note = |text: &str| {
            if let Some(Placeholder::Needs { name, .. }) = Placeholder::read(text)? {
                let place = places
                    .get(name)
                    .ok_or_else(|| mistakes::no_such_task(name, places))?;
                needs.push(*place);
            }
            Ok(())
        };
        visit_strings(value, &mut note)
            .map_err(|(path, reason)| draft.place().error(&format!("{place}{path}"), reason))?;
    }
    needs.sort_unstable();
    needs.dedup();
    Ok(needs)
}

/// The component and the function's own spelling.
fn find(
    draft: &Draft<'_>,
    functions: &dyn FunctionLookup,
) -> Result<(Cid, String), SimplifiedError> {
    let rsc = match draft.rsc {
        None => None,
        Some(rsc) => match draft.named_component() {
            Some(cid) => Some(cid),
            None => {
                return Err(draft
                    .place()
                    .error("run.rsc", Error::Resource(shorten(rsc)).to_string()));
            }
        },
    };
    functions
        .find(draft.func, rsc)
        .map_err(|reason| draft.place().error("run.input.func", reason))
}
