//! Places in JSON. Values are read by the protocol; this finds where they stand in a text that is known to be JSON.

use std::{borrow::Cow, collections::BTreeSet};

use asterism_protocol::{limits::VALUE_DEPTH_MAX, value_of_json};
use serde::de::IgnoredAny;
use serde_json::Value as Json;

use crate::{
    Finding,
    place::{Kind, Node, Position},
};

/// What keeps a text from being JSON; none if it is.
pub(crate) fn syntax(text: &str) -> Option<Finding> {
    let error = serde_json::from_str::<IgnoredAny>(text).err()?;
    let (line, column) = (error.line(), error.column());
    let mut message = error.to_string();
    // The place is told beside it.
    if let Some(end) = message.rfind(" at line ") {
        message.truncate(end);
    }
    let position = Position {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX).max(1),
    };
    Some(position.finding(format!("not a valid JSON document: {message}")))
}

/// The places of all values; none if the text is no JSON or nested too deep to be a document of ours.
pub(crate) fn places(text: &str) -> Option<Node> {
    let mut walk = Walk::new(text, true);
    let node = walk.value(0);
    (!walk.broken).then_some(node)
}

/// Keys that stand twice in one map, each time after the first.
pub(crate) fn keys_twice(text: &str) -> Vec<Finding> {
    let mut walk = Walk::new(text, false);
    walk.value(0);
    if walk.broken { Vec::new() } else { walk.twice }
}

/// The first value, of those that have nothing in them that is at fault itself, which is JSON and no DAG-JSON.
pub(crate) fn fault(text: &str) -> Option<Finding> {
    let mut walk = Walk::new(text, false);
    walk.looks = true;
    walk.value(0);
    walk.fault
}

/// Longest map that may be a link or bytes and is looked at for that: a link with room, and what a value inlines of bytes.
const RESERVED_BYTES_MAX: usize = 64 << 10;

/// Deeper than any document that the protocol reads.
const DEPTH_MAX: usize = 128;

/// A walk over a text that is JSON.
struct Walk<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    line: u32,
    /// Characters of this line before `counted`, and up to where they are counted: a document may be one long line.
    column: usize,
    counted: usize,
    keeps: bool,
    /// Is every value read, to find the one that cannot be?
    looks: bool,
    fault: Option<Finding>,
    broken: bool,
    twice: Vec<Finding>,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str, keeps: bool) -> Self {
        Self {
            bytes: text.as_bytes(),
            text,
            at: 0,
            line: 1,
            column: 0,
            counted: 0,
            keeps,
            looks: false,
            fault: None,
            broken: false,
            twice: Vec::new(),
        }
    }

    fn position(&mut self) -> Position {
        let behind = self.text.get(self.counted..self.at).unwrap_or_default();
        self.column += behind.chars().count();
        self.counted = self.at;
        Position {
            line: self.line,
            column: u32::try_from(self.column)
                .unwrap_or(u32::MAX)
                .saturating_add(1),
        }
    }

    fn space(&mut self) {
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'\n' => {
                    self.line += 1;
                    (self.column, self.counted) = (0, self.at + 1);
                }
                b' ' | b'\t' | b'\r' => {}
                _ => return,
            }
            self.at += 1;
        }
    }

    /// Steps over a byte that has to be here.
    fn step(&mut self, byte: u8) -> bool {
        self.space();
        let here = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(here);
        here
    }

    /// Steps over a string; gives it as it is written, quotes included.
    fn string(&mut self) -> &'a str {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'"' => return self.text.get(start..self.at).unwrap_or_default(),
                _ => {}
            }
        }
        self.broken = true;
        ""
    }

    fn value(&mut self, depth: usize) -> Node {
        self.space();
        if !self.looks {
            return self.value_here(depth);
        }
        let (start, place) = (self.at, self.position());
        if depth > VALUE_DEPTH_MAX && self.fault.is_none() {
            let deep = format!("it is nested deeper than {VALUE_DEPTH_MAX} lists and maps");
            self.fault = Some(place.finding(deep));
        }
        let node = self.value_here(depth);
        if self.fault.is_none() {
            self.fault = self
                .error_in(&node, start)
                .map(|error| place.finding(error));
        }
        node
    }

    /// Why a value cannot be read, if that is by itself: it has no inside, or is a map that DAG-JSON reserves.
    fn error_in(&self, node: &Node, start: usize) -> Option<String> {
        let written = self.text.get(start..self.at).unwrap_or_default();
        let is_one = match &node.kind {
            Kind::Scalar(_) => true,
            Kind::Map(_) => written.len() <= RESERVED_BYTES_MAX && written.contains("\"/\""),
            Kind::List(_) => false,
        };
        let read = is_one.then(|| value_of_json(written.as_bytes()))?;
        read.err().map(|error| error.to_string())
    }

    fn value_here(&mut self, depth: usize) -> Node {
        // Columns are counted where somebody will read them.
        let at = if self.keeps {
            self.position()
        } else {
            Position::START
        };
        let kind = match self.bytes.get(self.at) {
            _ if depth > DEPTH_MAX => {
                self.broken = true;
                Kind::Scalar(Json::Null)
            }
            Some(b'[') => {
                self.at += 1;
                Kind::List(self.list(depth))
            }
            Some(b'{') => {
                self.at += 1;
                Kind::Map(self.map(depth))
            }
            Some(b'"') => {
                self.string();
                Kind::Scalar(Json::Null)
            }
            _ => {
                let start = self.at;
                let is_end =
                    |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
                while self.bytes.get(self.at).is_some_and(|byte| !is_end(byte)) {
                    self.at += 1;
                }
                self.broken |= self.at == start;
                Kind::Scalar(Json::Null)
            }
        };
        Node { at, kind }
    }

    fn list(&mut self, depth: usize) -> Vec<Node> {
        let mut items = Vec::new();
        if self.step(b']') {
            return items;
        }
        loop {
            let item = self.value(depth + 1);
            if self.keeps {
                items.push(item);
            }
            if !self.step(b',') {
                self.broken |= !self.step(b']');
                return items;
            }
            if self.broken {
                return items;
            }
        }
    }

    fn map(&mut self, depth: usize) -> Vec<(String, Position, Node)> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        if self.step(b'}') {
            return entries;
        }
        loop {
            self.space();
            let start = self.at;
            if self.bytes.get(start) != Some(&b'"') {
                self.broken = true;
                return entries;
            }
            let written = self.string();
            let key = match written.get(1..written.len().saturating_sub(1)) {
                Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
                _ => Cow::Owned(serde_json::from_str(written).unwrap_or_default()),
            };
            let is_first = seen.insert(key.clone());
            let mut at = Position::START;
            if self.keeps || !is_first {
                let behind = std::mem::replace(&mut self.at, start);
                at = self.position();
                self.at = behind;
            }
            if !is_first {
                let key: String = key.chars().take(100).collect();
                self.twice
                    .push(at.finding(format!("the key `{key}` stands twice in one map")));
            }
            self.broken |= !self.step(b':');
            let value = self.value(depth + 1);
            if self.keeps {
                entries.push((key.into_owned(), at, value));
            }
            if !self.step(b',') {
                self.broken |= !self.step(b'}');
                return entries;
            }
            if self.broken {
                return entries;
            }
        }
    }
}
