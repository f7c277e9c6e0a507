//! Where a mistake is, and the keys that a map may have there.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;

use super::{SimplifiedError, grammar, nearest};
use crate::{Value, workflow::shorten};

/// Where a mistake is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) index: Option<usize>,
    pub(super) task: &'a str,
}

impl Place<'_> {
    /// What a lookup says of an argument: it names the argument, the place of the task is known here.
    pub(super) fn argument(self, error: &str) -> SimplifiedError {
        match error
            .split_once(": ")
            .filter(|(path, _)| path.starts_with("args"))
        {
            Some((path, reason)) => self.error(&format!("run.input.{path}"), reason),
            None => self.error("run.input.args", error),
        }
    }

    pub(super) fn error(self, path: &str, reason: impl Into<String>) -> SimplifiedError {
        let path = match self.index {
            Some(index) if path.is_empty() => format!("tasks[{index}]"),
            Some(index) => format!("tasks[{index}].{path}"),
            None => path.to_owned(),
        };
        SimplifiedError::At {
            path,
            task: self.task.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The entries of a map that may have these keys and no others; every other one is noted.
pub(super) fn fields<'a>(
    value: &'a Value,
    known: &[&str],
    place: Place<'_>,
    path: &str,
    mistakes: &mut Vec<SimplifiedError>,
) -> Option<&'a BTreeMap<String, Value>> {
    let Ipld::Map(map) = value else {
        let path = if place.index.is_none() {
            "workflow"
        } else {
            path
        };
        mistakes.push(place.error(path, format!("must be a map of {}", listed(known))));
        return None;
    };
    note_unknown(map, known, place, path, mistakes);
    Some(map)
}

/// Notes every key of a map that is none of these.
pub(super) fn note_unknown(
    map: &BTreeMap<String, Value>,
    known: &[&str],
    place: Place<'_>,
    path: &str,
    mistakes: &mut Vec<SimplifiedError>,
) {
    for unknown in map.keys().filter(|key| !known.contains(&key.as_str())) {
        let dot = if path.is_empty() { "" } else { "." };
        let reason = if let Some(right) = grammar::place_of(unknown) {
            format!("not known here: it stands {right}")
        } else if let Some(meant) = nearest(unknown, known.iter().copied()) {
            format!("not known here, did you mean `{meant}`?")
        } else {
            format!("not known here: {} are", listed(known))
        };
        mistakes.push(place.error(&format!("{path}{dot}{}", shorten(unknown)), reason));
    }
}

fn listed(keys: &[&str]) -> String {
    let quoted: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    quoted.join(", ")
}
