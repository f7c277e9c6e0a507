//! What is wrong with a value, where, and how it is said.

use std::borrow::Cow;

use asterism_protocol::Value;

use super::ValueError;
use crate::Type;

/// What is wrong, and the steps from it outwards.
pub(super) struct Odd {
    steps: Vec<String>,
    reason: String,
}

pub(super) type Read<T> = Result<T, Odd>;

impl Odd {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            steps: Vec::new(),
            reason: reason.into(),
        }
    }

    pub(super) fn under(mut self, step: String) -> Self {
        self.steps.push(step);
        self
    }

    pub(super) fn at(self, start: &str) -> ValueError {
        let steps = self.steps.into_iter().rev();
        ValueError {
            path: steps.fold(start.to_owned(), |path, step| path + &step),
            reason: self.reason,
        }
    }
}

pub(super) fn mismatch(value: &Value, ty: &Type) -> Odd {
    Odd::new(format!("{} where {ty} is wanted", shown(value)))
}

/// A value in an error: short.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(bool) => bool.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Float(x) => format!("{x:?}"),
        Value::String(text) => format!("{:?}", cut(text)),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Map(map) => match map.keys().next() {
            Some(key) if map.len() == 1 => format!("a map with the key {:?}", cut(key)),
            _ => format!("a map of {}", map.len()),
        },
        Value::Link(_) => "a link".into(),
    }
}

/// A text in an error: its start.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    const CHARS: usize = 40;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
