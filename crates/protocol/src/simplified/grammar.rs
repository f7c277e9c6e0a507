//! Which keys a workflow has, and where.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use super::nearest;
use crate::Value;

/// Of a workflow.
pub(super) const WORKFLOW: &[&str] = &["tasks"];
/// Of a task.
pub(super) const TASK: &[&str] = &["run", "cause", "meta", "prf"];
/// Of a task's `run`.
pub(super) const RUN: &[&str] = &["name", "input", "rsc", "op", "nnc"];
/// Of its `input`.
pub(super) const INPUT: &[&str] = &["func", "args", "files", "effects"];
/// Of a task's `meta`.
pub(super) const META: &[&str] = &["memory", "time", "fuel", "requires"];

/// Where keys stand, in words. Of two rows with a key the first counts: `run` is not beside itself.
const PLACES: &[(&[&str], &str)] = &[
    (WORKFLOW, "at the top of the workflow"),
    (&["run"], "in each of `tasks`"),
    (TASK, "in a task, beside `run`"),
    (RUN, "in a task's `run`"),
    (INPUT, "in the `input` of a task's `run`"),
    (META, "in a task's `meta`, beside `run`"),
];

/// Where a key is right that is wrong where it was found: authors know the keys before they know the levels.
pub(super) fn place_of(key: &str) -> Option<&'static str> {
    let mut rows = PLACES.iter();
    rows.find(|(keys, _)| keys.contains(&key))
        .map(|(_, place)| *place)
}

/// May a key of a task's `run` that is not known be this one? Then what it says is not known, and nothing is missing.
pub(super) fn may_be_misspelt(wanted: &str, run: &BTreeMap<String, Value>) -> bool {
    if run.contains_key(wanted) {
        return false;
    }
    let mut unknown = run.iter().filter(|(key, _)| !RUN.contains(&key.as_str()));
    unknown.any(|(key, value)| match place_of(key) {
        // What stands in `input` is there instead of it.
        Some(_) => wanted == "input" && INPUT.contains(&key.as_str()),
        None => match nearest(key, RUN.iter().copied()) {
            Some(meant) => meant == wanted,
            None => match value {
                Ipld::Map(_) => wanted == "input",
                Ipld::String(text) if text.starts_with("ipfs://") => wanted == "rsc",
                Ipld::String(_) => wanted == "name",
                _ => false,
            },
        },
    })
}
