//! What a task does to the world outside: part of its instruction's input, as whoever has none of it comes to something else.

use std::collections::BTreeSet;

use serde::Deserializer;

use crate::{Error, workflow::shorten};

/// Names of capabilities that let a guest reach beyond its virtual world. Each is also a requirement of its task.
pub type Effects = BTreeSet<String>;

/// Requests over HTTP, for components that import `wasi:http/outgoing-handler`.
pub const HTTP: &str = "wasi:http";

/// All that there are, and by which interface a guest has them.
const KNOWN: &[(&str, &str)] = &[(HTTP, "wasi:http/outgoing-handler")];

/// Is this the name of an effect?
#[must_use]
pub fn is_effect(name: &str) -> bool {
    means(name).is_some()
}

/// By which interface a guest has an effect.
pub(crate) fn means(effect: &str) -> Option<&'static str> {
    let known = KNOWN.iter().find(|(name, _)| *name == effect);
    known.map(|(_, interface)| *interface)
}

/// Reads effects that are there, in order. None at all are not written, so an empty list would be a second encoding of
/// that.
pub(crate) fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Effects, D::Error> {
    use serde::de::Error as _;
    let effects = crate::codec::ascending(deserializer)?;
    if effects.is_empty() {
        return Err(D::Error::custom(EMPTY));
    }
    Ok(effects)
}

/// What is wrong with a list of no effects.
pub(crate) const EMPTY: &str = "there are none: leave `effects` out";

/// Checks that these are effects that there are. An error's path is `effects`.
///
/// # Errors
/// The first that is not.
pub fn check_effects(effects: &Effects) -> Result<(), Error> {
    let Some(name) = effects.iter().find(|name| !is_effect(name)) else {
        return Ok(());
    };
    let known: Vec<_> = KNOWN.iter().map(|(name, _)| format!("`{name}`")).collect();
    Err(Error::Value {
        path: "effects".to_owned(),
        reason: format!("`{}` is not known: {} is", shorten(name), known.join(", ")),
    })
}
