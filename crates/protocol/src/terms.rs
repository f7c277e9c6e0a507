//! What is asked for beside the work itself: how it is verified and ordered, and who may do it.

use std::collections::{BTreeMap, BTreeSet};

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use crate::{
    Effects, Error, Policy, Task, Timestamp, Value, is_effect,
    limits::{LABELS_MAX, NAME_BYTES_MAX, PRIORITY_MAX, at_most},
    nearest,
    workflow::shorten,
};

/// How a run is verified and ordered. No part of the workflow: it changes neither CIDs nor memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// When its outcomes are believed; `None` for the coordinator's default.
    #[serde(deserialize_with = "crate::codec::present")]
    pub verify: Option<Policy>,
    /// A head start of a fixed time for each step, before what has none; negative for a later start.
    pub priority: i32,
    /// By when it is wanted: as that comes near, it goes before others.
    #[serde(deserialize_with = "crate::codec::present")]
    pub deadline: Option<Timestamp>,
    /// Run what is known already too, and compare.
    pub force: bool,
}

impl Terms {
    /// Checks the bounds.
    ///
    /// # Errors
    /// A policy that cannot be satisfied, a priority out of range.
    pub fn check(&self) -> Result<(), Error> {
        if self.priority.unsigned_abs() > PRIORITY_MAX {
            return Err(Error::Value {
                path: "priority".to_owned(),
                reason: format!(
                    "{} is not between -{PRIORITY_MAX} and {PRIORITY_MAX}",
                    self.priority
                ),
            });
        }
        self.verify.as_ref().map_or(Ok(()), Policy::check)
    }
}

/// What an executor must offer for a task, beside enough memory: `requires` in a task's `meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// Capabilities, such as `gpu`; the task's effects among them.
    #[serde(deserialize_with = "crate::codec::ascending")]
    pub capabilities: BTreeSet<String>,
    /// Labels with their values, such as `region` = `eu`.
    pub labels: BTreeMap<String, String>,
    /// Must the operator trust it?
    pub trusted: bool,
    /// Its name or its did:key; empty for any.
    pub executor: String,
}

/// The key in a task's `meta`.
const REQUIRES: &str = "requires";

/// The keys of what stands there.
const KNOWN: [&str; 4] = ["capabilities", "labels", "trust", "executor"];

impl Requirements {
    /// Nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads `requires` of a task: `{"capabilities": ["gpu"], "labels": {"region": "eu"}, "trust": "trusted",
    /// "executor": "name or did:key"}`, each entry only where it is needed.
    ///
    /// # Errors
    /// Anything else, with its place.
    pub fn of_task(task: &Task) -> Result<Self, Error> {
        let (requirements, mistakes) = Self::read(&task.meta.0, &task.run.input.effects);
        match mistakes.into_iter().next() {
            Some(mistake) => Err(mistake),
            None => Ok(requirements),
        }
    }

    /// As [`Requirements::of_task`], of its `meta` and its effects: as far as it can be read, and every mistake in it.
    pub(crate) fn read(meta: &BTreeMap<String, Value>, effects: &Effects) -> (Self, Vec<Error>) {
        let mut mistakes = Vec::new();
        let mut requirements = match meta.get(REQUIRES) {
            None => Self::default(),
            Some(value) => Self::of_value(value, &mut mistakes),
        };
        // Whoever writes it there means that the guest may use it, which another instruction says.
        let idle = requirements
            .effects()
            .filter(|name| !effects.contains(*name));
        mistakes.extend(idle.map(|name| Error::Value {
            path: format!("meta.{REQUIRES}.capabilities"),
            reason: format!(
                "`{name}` is an effect: write `effects: [{name}]` beside `func` and `args` instead, which requires it, too"
            ),
        }));
        requirements.capabilities.extend(effects.iter().cloned());
        (requirements, mistakes)
    }

    /// The effects among the capabilities, which are the task's.
    pub fn effects(&self) -> impl Iterator<Item = &String> {
        self.capabilities.iter().filter(|name| is_effect(name))
    }

    /// Does the task's outcome depend on the world outside?
    #[must_use]
    pub fn is_effectful(&self) -> bool {
        self.effects().next().is_some()
    }

    fn of_value(value: &Value, mistakes: &mut Vec<Error>) -> Self {
        let mut refuse = |path: &str, reason: String| {
            mistakes.push(Error::Value {
                path: format!("meta.{REQUIRES}{path}"),
                reason,
            });
        };
        let Ipld::Map(map) = value else {
            let known = KNOWN.join(", ");
            refuse("", format!("it is a map of {known}"));
            return Self::default();
        };
        let mut requirements = Self::default();
        for (key, value) in map {
            match (key.as_str(), value) {
                // Once, however many there are: a document has room for millions.
                ("capabilities", Ipld::List(items)) => {
                    let names = items.iter().filter_map(|item| match item {
                        Ipld::String(name) => Some(name.clone()),
                        _ => None,
                    });
                    requirements.capabilities.extend(names);
                    if !items.iter().all(|item| matches!(item, Ipld::String(_))) {
                        refuse(".capabilities", "it is a list of names".to_owned());
                    }
                }
                ("labels", Ipld::Map(labels)) => {
                    let texts = labels.iter().filter_map(|(label, value)| match value {
                        Ipld::String(value) => Some((label.clone(), value.clone())),
                        _ => None,
                    });
                    requirements.labels.extend(texts);
                    if !labels
                        .values()
                        .all(|value| matches!(value, Ipld::String(_)))
                    {
                        refuse(".labels", "it is a map from names to texts".to_owned());
                    }
                }
                ("trust", Ipld::String(text)) if text == "trusted" => requirements.trusted = true,
                ("trust", Ipld::String(text)) if text == "any" => {}
                ("executor", Ipld::String(name)) => requirements.executor.clone_from(name),
                ("capabilities", _) => refuse(".capabilities", "it is a list of names".to_owned()),
                ("labels", _) => refuse(".labels", "it is a map from names to texts".to_owned()),
                ("trust", _) => refuse(".trust", "it is `trusted` or `any`".to_owned()),
                ("executor", _) => refuse(".executor", "it is a name or a did:key".to_owned()),
                (other, _) => {
                    let meant = match nearest(other, KNOWN.into_iter()) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("only {}", KNOWN.join(", ")),
                    };
                    refuse(
                        &format!(".{}", shorten(other)),
                        format!("not known here, {meant}"),
                    );
                }
            }
        }
        let path = "meta.requires";
        let bounds = [
            at_most(
                "meta.requires.executor",
                "bytes",
                requirements.executor.len(),
                NAME_BYTES_MAX,
            ),
            check_offers(path, &requirements.capabilities, &BTreeMap::new()),
            check_offers(path, &BTreeSet::new(), &requirements.labels),
        ];
        mistakes.extend(bounds.into_iter().filter_map(Result::err));
        requirements
    }
}

/// Checks names and labels against their bounds.
pub(crate) fn check_offers(
    path: &str,
    names: &BTreeSet<String>,
    labels: &BTreeMap<String, String>,
) -> Result<(), Error> {
    at_most(
        &format!("{path}.capabilities"),
        "names",
        names.len(),
        LABELS_MAX,
    )?;
    at_most(
        &format!("{path}.labels"),
        "labels",
        labels.len(),
        LABELS_MAX,
    )?;
    for name in names {
        at_most(
            &format!("{path}.capabilities"),
            "bytes in a name",
            name.len(),
            NAME_BYTES_MAX,
        )?;
    }
    for text in labels.iter().flat_map(|(label, value)| [label, value]) {
        at_most(
            &format!("{path}.labels"),
            "bytes in a text",
            text.len(),
            NAME_BYTES_MAX,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value_of_json;

    #[test]
    fn a_mistake_is_told_once_however_often_it_is_made() {
        let requires = br#"{"capabilities":["gpu",1,2,3],"labels":{"a":1,"b":"x","c":2}}"#;
        let requires = value_of_json(requires).expect("it is JSON");
        let meta = BTreeMap::from([(REQUIRES.to_owned(), requires)]);
        let (_, mistakes) = Requirements::read(&meta, &Effects::new());
        let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "meta.requires.capabilities: it is a list of names",
                "meta.requires.labels: it is a map from names to texts",
            ]
        );
    }
}
