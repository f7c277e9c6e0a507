//! Every mistake in a workflow at once, for whoever writes one.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    Awaited, FunctionLookup,
    draft::{Draft, drafts},
    find, nearest,
    placeholder::{Placeholder, map_strings, visit_strings},
};
use crate::{
    Cid, Files, Input, Prepared, Promise, SimplifiedError, Task, Value, Workflow, content_cid,
    files,
    workflow::{Circle, shorten, topological_order},
};

/// Most promises whose outcomes are compared with what is wanted: this is a courtesy, not worth a stranger's million.
const COMPARED_MAX: u32 = 10_000;

/// What a task calls, or why nothing.
type Found = Result<(Cid, String), SimplifiedError>;

/// Everything that keeps [`super::prepare`] from preparing a document, functions and arguments of full workflows as well, and
/// promises that can never be kept where they stand; empty when all is well. What depends on a mistake is not complained
/// about a second time.
#[must_use]
pub fn mistakes(document: &Value, functions: &dyn FunctionLookup) -> Vec<SimplifiedError> {
    let (drafts, mut mistakes) = drafts(document);
    let all_names_are_known = !drafts.iter().any(|draft| draft.has_hidden_name);
    let mut places: BTreeMap<&str, u32> = BTreeMap::new();
    for draft in drafts.iter().filter(|draft| !draft.name.is_empty()) {
        if let Some(other) = places.insert(draft.name, draft.index as u32) {
            mistakes.push(draft.place().error(
                "run.name",
                format!("tasks[{other}] has the same name: give each its own"),
            ));
        }
    }
    // Texts of a full workflow are what they are.
    let all_full = drafts.iter().all(Draft::is_full);
    let needs: Vec<Vec<u32>> = drafts
        .iter()
        .map(|draft| {
            if all_full {
                Vec::new()
            } else {
                needs_of(draft, &places, all_names_are_known, &mut mistakes)
            }
        })
        .collect();
    if let Err(circle) = topological_order(&needs) {
        let names = circle.iter().map(|place| drafts[*place].name);
        let first = &drafts[circle[0]];
        mistakes.push(first.place().error(
            first.place_of_needs(),
            format!("tasks wait for each other in a circle: {}", Circle(names)),
        ));
    }
    let find = |draft: &Draft<'_>| draft.is_call.then(|| find(draft, functions));
    let found: Vec<Option<Found>> = drafts.iter().map(find).collect();
    let full: Vec<Result<Task, SimplifiedError>> = if all_full {
        let drafts = drafts.iter().cloned();
        drafts.map(Draft::into_task_as_it_came).collect()
    } else {
        Vec::new()
    };
    let instruction = |draft: &Draft<'_>| match full.get(draft.index) {
        Some(made) => made.as_ref().ok().map(|task| task.run.cid()),
        None => Some(stand_in(draft.index as u32)),
    };
    let awaited = awaited(callable(&drafts, &found, &instruction));
    let (mut tasks, mut full) = (Vec::new(), full.into_iter());
    for (mut draft, found) in drafts.into_iter().zip(found) {
        let as_it_came = full.next();
        if !all_full {
            mistakes.extend(draft.odd_meta());
            mistakes.extend(draft.odd_limits());
        }
        mistakes.extend(draft.odd_requirements());
        let Some(found) = found else {
            continue;
        };
        let (args, files): (Option<Vec<Value>>, Option<Files>) = if all_full {
            let files = draft.files.cloned().unwrap_or_default();
            (Some(draft.args.to_vec()), Some(files))
        } else {
            stand_ins(&draft, &places).unzip()
        };
        match found {
            Ok((component, func)) => {
                if let Some(args) = args.clone() {
                    let odd = functions.mistakes(component, &func, args, &awaited);
                    mistakes.extend(odd.iter().map(|error| draft.place().argument(error)));
                }
                mistakes.extend(draft.check_reader(Some(component), functions).err());
                mistakes.extend(draft.check_effects(Some(component), functions).err());
            }
            Err(error) => mistakes.push(error),
        }
        let odd = files.iter().flat_map(files::mistakes);
        mistakes.extend(odd.map(|(path, reason)| {
            let path = format!("run.input.{path}");
            draft.place().error(&path, reason)
        }));
        // Depths, promises, operations and names are looked at where the task is made.
        let made = if let Some(made) = as_it_came {
            made
        } else if let (Some(args), Some(files), Ok(meta)) = (args, files, draft.filled_meta()) {
            let rsc = format!("ipfs://{}", crate::blob_cid(b""));
            let func = draft.func.to_owned();
            let input = Input {
                func,
                args,
                files,
                effects: draft.effects.clone(),
            };
            draft.distinguish(&crate::Nonce::Empty, &[0; 12]);
            draft.finish(rsc, input, crate::Nonce::Empty, meta)
        } else {
            continue;
        };
        match made {
            Ok(task) => tasks.push(task),
            Err(error) => mistakes.push(error),
        }
    }
    if mistakes.is_empty() && all_full {
        let workflow = Workflow { tasks };
        mistakes.extend(workflow.graph().err().map(SimplifiedError::from));
    }
    // Two ways may lead to one mistake.
    let mut told = BTreeSet::new();
    mistakes.retain(|mistake| told.insert(mistake.to_string()));
    mistakes
}

/// What [`mistakes`] finds in a document that [`super::prepare`] made a workflow of: functions and arguments of a full one,
/// promises that can never be kept where they stand, and tasks that form no graph. No task is made again for it.
#[must_use]
pub fn mistakes_of_prepared(
    document: &Value,
    prepared: &Prepared,
    functions: &dyn FunctionLookup,
) -> Vec<SimplifiedError> {
    let Workflow { tasks } = &prepared.workflow;
    let (drafts, mut mistakes) = drafts(document);
    let named = drafts.iter().filter(|draft| !draft.name.is_empty());
    let places: BTreeMap<&str, u32> = named
        .map(|draft| (draft.name, draft.index as u32))
        .collect();
    let all_full = drafts.iter().all(Draft::is_full);
    let found: Vec<Option<Found>> = drafts
        .iter()
        .map(|draft| Some(find(draft, functions)))
        .collect();
    let instruction = |draft: &Draft<'_>| {
        if all_full {
            tasks.get(draft.index).map(|task| task.run.cid())
        } else {
            Some(stand_in(draft.index as u32))
        }
    };
    let awaited = awaited(callable(&drafts, &found, &instruction));
    for (draft, found) in drafts.iter().zip(found.into_iter().flatten()) {
        let args = if all_full {
            Some(draft.args.to_vec())
        } else {
            stand_ins(draft, &places).map(|(args, _)| args)
        };
        match (found, args) {
            (Ok((component, func)), Some(args)) => {
                let odd = functions.mistakes(component, &func, args, &awaited);
                mistakes.extend(odd.iter().map(|error| draft.place().argument(error)));
            }
            (Ok(_), None) => {}
            (Err(error), _) => mistakes.push(error),
        }
    }
    if mistakes.is_empty() {
        let graph = prepared.workflow.graph();
        mistakes.extend(graph.err().map(SimplifiedError::from));
    }
    mistakes
}

/// Whose outcomes promises wait for, as long as they are looked at.
fn awaited(callable: BTreeMap<Cid, Awaited>) -> impl Fn(Cid) -> Option<Awaited> {
    let left = Cell::new(COMPARED_MAX);
    move |instruction| {
        left.set(left.get().checked_sub(1)?);
        callable.get(&instruction).cloned()
    }
}

/// The tasks whose functions are known, by what names them in promises: their instructions, or what stands for these in a
/// simplified workflow.
fn callable(
    drafts: &[Draft<'_>],
    found: &[Option<Found>],
    instruction: &dyn Fn(&Draft<'_>) -> Option<Cid>,
) -> BTreeMap<Cid, Awaited> {
    let known = drafts.iter().zip(found).filter_map(|(draft, found)| {
        let (component, func) = found.as_ref()?.as_ref().ok()?;
        let instruction = instruction(draft)?;
        let task = match draft.name {
            "" => format!("tasks[{}]", draft.index),
            name => format!("task `{}`", shorten(name)),
        };
        let (component, func) = (*component, func.clone());
        Some((
            instruction,
            Awaited {
                task,
                component,
                func,
            },
        ))
    });
    known.collect()
}

/// What stands for the instruction of the task at a place while it has none.
fn stand_in(place: u32) -> Cid {
    content_cid(&place.to_be_bytes())
}

/// The places that a draft's placeholders name; what names none is noted, where that can be known.
fn needs_of(
    draft: &Draft<'_>,
    places: &BTreeMap<&str, u32>,
    all_names_are_known: bool,
    mistakes: &mut Vec<SimplifiedError>,
) -> Vec<u32> {
    let mut needs = Vec::new();
    for (place, value) in draft.values() {
        let mut note = |text: &str| {
            if let Some(Placeholder::Needs { name, .. }) = Placeholder::read(text)? {
                match places.get(name) {
                    Some(place) => needs.push(*place),
                    None if all_names_are_known => return Err(no_such_task(name, places)),
                    // It may be the one whose name cannot be read.
                    None => {}
                }
            }
            Ok(())
        };
        if let Err((path, reason)) = visit_strings(value, &mut note) {
            let path = format!("{place}{path}");
            mistakes.push(draft.place().error(&path, reason));
        }
    }
    needs.sort_unstable();
    needs.dedup();
    needs
}

pub(super) fn no_such_task(name: &str, places: &BTreeMap<&str, u32>) -> String {
    let hint = nearest(name, places.keys().copied())
        .map(|name| format!(", did you mean `{}`?", shorten(name)))
        .unwrap_or_default();
    format!("no task has the name `{}`{hint}", shorten(name))
}

/// Arguments and files with a promise for every placeholder, of nothing in particular where no task has the name; none where a
/// placeholder is not one.
fn stand_ins(draft: &Draft<'_>, places: &BTreeMap<&str, u32>) -> Option<(Vec<Value>, Files)> {
    let nothing = content_cid(b"");
    let mut substitute = |text: &str| {
        Ok(match Placeholder::read(text)? {
            None => Value::String(text.to_owned()),
            Some(Placeholder::Link(cid)) => Value::Link(cid.to_link()),
            Some(Placeholder::Needs { name, branch }) => Promise {
                branch,
                instruction: places.get(name).map_or(nothing, |place| stand_in(*place)),
            }
            .to_value(),
        })
    };
    let args = draft.args.iter();
    let args = args.map(|arg| map_strings(arg, &mut substitute).ok());
    let args = args.collect::<Option<_>>()?;
    let files = draft.files();
    let files =
        files.map(|(path, file)| Some((path.clone(), map_strings(file, &mut substitute).ok()?)));
    Some((args, files.collect::<Option<_>>()?))
}
