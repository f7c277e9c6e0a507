//! Which keys a workflow has, and where.

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
