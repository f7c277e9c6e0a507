//! Where in a text something stands.

use asterism_protocol::DecodeError;
use serde_json::{Map, Value as Json};

use crate::Finding;

/// A place in a text, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// The place behind a text.
    pub(crate) fn after(text: &str) -> Self {
        let last = text.rsplit('\n').next().unwrap_or_default();
        Self {
            line: count(text.bytes().filter(|byte| *byte == b'\n').count()),
            column: count(last.chars().count()),
        }
    }

    pub(crate) fn finding(self, message: String) -> Finding {
        Finding {
            line: self.line,
            column: self.column,
            path: String::new(),
            message,
            hint: String::new(),
        }
    }
}

fn count(before: usize) -> u32 {
    u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
}

/// A value with its place and those of all inside it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// Anything that has no inside. Only YAML's reader keeps it.
    Scalar(Json),
    List(Vec<Node>),
    /// Keys with their places, in the order they were written.
    Map(Vec<(String, Position, Node)>),
}

impl Node {
    /// The place of what a path leads to, or of the nearest thing around it that is there. For the entry of a map that is
    /// its key when the path ends there and the value is of no interest; values are where authors look first.
    pub(crate) fn find(&self, path: &str) -> Position {
        let (mut node, mut rest) = (self, path);
        while !rest.is_empty() {
            let next = if let Some(index) = rest.strip_prefix('[') {
                let Some((index, behind)) = index.split_once(']') else {
                    break;
                };
                rest = behind;
                match (&node.kind, index.parse::<usize>()) {
                    (Kind::List(items), Ok(index)) => items.get(index),
                    _ => None,
                }
            } else {
                rest = rest.strip_prefix('.').unwrap_or(rest);
                let Kind::Map(entries) = &node.kind else {
                    break;
                };
                // Keys may have dots and brackets in them: the longest that fits is meant.
                let fits = |key: &str| {
                    rest.strip_prefix(key)
                        .is_some_and(|behind| behind.is_empty() || behind.starts_with(['.', '[']))
                };
                let entry = entries.iter().filter(|(key, ..)| fits(key));
                let entry = entry.max_by_key(|(key, ..)| key.len());
                rest = entry.map_or("", |(key, ..)| &rest[key.len()..]);
                entry.map(|(_, _, value)| value)
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.at
    }

    /// A finding at what a path leads to.
    pub(crate) fn finding(&self, path: String, error: &DecodeError) -> Finding {
        let at = self.find(&path);
        Finding {
            path,
            ..at.finding(error.to_string())
        }
    }

    /// The same as JSON.
    pub(crate) fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.clone(),
            Kind::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(key, _, value)| (key.clone(), value.to_json()));
                Json::Object(entries.collect::<Map<_, _>>())
            }
        }
    }
}
