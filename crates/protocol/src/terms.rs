//! What is asked for beside the work itself: how it is verified and ordered, and who may do it.

use std::collections::{BTreeMap, BTreeSet};

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Policy, Task, Timestamp, Value, is_effect,
    limits::{LABELS_MAX, NAME_BYTES_MAX, PRIORITY_MAX, at_most},
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
        let mut requirements = match task.meta.0.get(REQUIRES) {
            None => Self::default(),
            Some(value) => Self::of_value(value)?,
        };
        let effects = &task.run.input.effects;
        // Whoever writes it there means that the guest may use it, which another instruction says.
        let idle = requirements.effects().find(|name| !effects.contains(*name));
        if let Some(name) = idle {
            return Err(Error::Value {
                path: format!("meta.{REQUIRES}.capabilities"),
                reason: format!(
                    "`{name}` is an effect: write `effects: [{name}]` beside `func` and `args` instead, which requires it, too"
                ),
            });
        }
        requirements.capabilities.extend(effects.iter().cloned());
        Ok(requirements)
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

    fn of_value(value: &Value) -> Result<Self, Error> {
        let refuse = |path: &str, reason: &str| Error::Value {
            path: format!("meta.{REQUIRES}{path}"),
            reason: reason.to_owned(),
        };
        let Ipld::Map(map) = value else {
            return Err(refuse(
                "",
                "it is a map of capabilities, labels, trust and executor",
            ));
        };
        let mut requirements = Self::default();
        for (key, value) in map {
            match (key.as_str(), value) {
                ("capabilities", Ipld::List(items)) => {
                    for item in items {
                        let Ipld::String(name) = item else {
                            return Err(refuse(".capabilities", "it is a list of names"));
                        };
                        requirements.capabilities.insert(name.clone());
                    }
                }
                ("labels", Ipld::Map(labels)) => {
                    for (label, value) in labels {
                        let Ipld::String(value) = value else {
                            return Err(refuse(".labels", "it is a map from names to texts"));
                        };
                        requirements.labels.insert(label.clone(), value.clone());
                    }
                }
                ("trust", Ipld::String(text)) if text == "trusted" => requirements.trusted = true,
                ("trust", Ipld::String(text)) if text == "any" => {}
                ("executor", Ipld::String(name)) => requirements.executor.clone_from(name),
                ("capabilities", _) => {
                    return Err(refuse(".capabilities", "it is a list of names"));
                }
                ("labels", _) => return Err(refuse(".labels", "it is a map from names to texts")),
                ("trust", _) => return Err(refuse(".trust", "it is `trusted` or `any`")),
                ("executor", _) => return Err(refuse(".executor", "it is a name or a did:key")),
                _ => {
                    return Err(refuse(
                        "",
                        "it knows capabilities, labels, trust and executor only",
                    ));
                }
            }
        }
        at_most(
            "meta.requires.executor",
            "bytes",
            requirements.executor.len(),
            NAME_BYTES_MAX,
        )?;
        check_offers(
            "meta.requires",
            &requirements.capabilities,
            &requirements.labels,
        )?;
        Ok(requirements)
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
