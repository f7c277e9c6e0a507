//! What authors write: workflows as JSON, YAML or DAG-CBOR, and every mistake in them at once, with line and column.
//!
//! Pure: text in, a value or findings out. What a workflow means is the protocol's to say; this crate knows how texts are
//! written and where in them something stands.

mod fill;
mod json;
mod place;
mod yaml;

use std::fmt;

use asterism_protocol::{
    Cid, DecodeError, Defaults, FunctionLookup, Prepared, SimplifiedError, Value, blob_cid, decode,
    limits::DOCUMENT_BYTES_MAX, mistakes, mistakes_of_prepared, prepare, value_of_json,
};
use serde::{Deserialize, Serialize};

pub use crate::fill::{Filled, asks_for_args, with_args};
use crate::place::Node;

/// A mistake in a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// The line, counted from 1; 0 where the document has no lines (DAG-CBOR).
    pub line: u32,
    /// The column in characters, counted from 1; 0 as above.
    pub column: u32,
    /// The place by its path, such as `tasks[1].run.input.args[0]`; empty where the text cannot be read so far.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; empty where the message says it.
    pub hint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// DAG-JSON.
    Json,
    /// YAML 1.2, in the part of it that has a JSON form.
    Yaml,
    /// DAG-CBOR.
    Cbor,
}

impl Format {
    /// What the first bytes tell: a map of DAG-CBOR begins with 0xa0 to 0xbf, which no text does, and JSON with a bracket.
    /// YAML in flow style begins with one as well: it is read as JSON, which is what it looks like.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match bytes.first() {
            Some(0xa0..=0xbf) => Self::Cbor,
            _ => match without_bom(bytes).trim_ascii_start().first() {
                Some(b'{' | b'[') => Self::Json,
                _ => Self::Yaml,
            },
        }
    }
}

fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Reads a document in any format into the value that it stands for. Maps that DAG-JSON reserves, such as
/// `{"/": "bafy…"}`, are links and bytes in YAML, too.
///
/// # Errors
/// What cannot be read, with its place; there is at least one finding. Larger than a workflow may be, nested too deep,
/// the same key twice in a map.
pub fn read(bytes: &[u8]) -> Result<Value, Vec<Finding>> {
    match Format::of(bytes) {
        Format::Cbor => {
            decode("workflow", bytes, DOCUMENT_BYTES_MAX).map_err(|error| vec![nowhere(&error)])
        }
        Format::Json => read_json(text_of(bytes)?),
        Format::Yaml => {
            let node = yaml::parse(text_of(bytes)?)?;
            // One reading of links and bytes for both.
            value_of_json(node.to_json().to_string().as_bytes())
                .map_err(|error| vec![node.finding(String::new(), &error)])
        }
    }
}

/// Every mistake in a document that is to be a workflow; empty when all is well.
#[must_use]
pub fn check(bytes: &[u8], functions: &dyn FunctionLookup) -> Vec<Finding> {
    match read(bytes) {
        Ok(document) => check_value(bytes, &document, functions),
        Err(findings) => findings,
    }
}

/// As [`check`], of what [`read`] made of the bytes already.
#[must_use]
pub fn check_value(bytes: &[u8], document: &Value, functions: &dyn FunctionLookup) -> Vec<Finding> {
    let (workflow, below) = inside(document);
    findings_of(bytes, below, &mistakes(workflow, functions))
}

/// The workflow of a document as it would be run: what passes [`check`] is read and prepared once.
///
/// # Errors
/// What [`check`] finds.
pub fn prepared(
    bytes: &[u8],
    functions: &dyn FunctionLookup,
    defaults: &Defaults,
) -> Result<Prepared, Vec<Finding>> {
    let document = read(bytes)?;
    let (workflow, below) = inside(&document);
    let prepared = prepare(workflow, functions, defaults).map_err(|first| {
        let mut all = mistakes(workflow, functions);
        if all.is_empty() {
            all.push(first);
        }
        findings_of(bytes, below, &all)
    })?;
    let odd = mistakes_of_prepared(workflow, &prepared, functions);
    match findings_of(bytes, below, &odd) {
        found if found.is_empty() => Ok(prepared),
        found => Err(found),
    }
}

/// Mistakes at their places in a text; `below` leads to the workflow in it.
fn findings_of(bytes: &[u8], below: &str, mistakes: &[SimplifiedError]) -> Vec<Finding> {
    if mistakes.is_empty() {
        return Vec::new();
    }
    let root = places(bytes);
    let mut findings: Vec<Finding> = mistakes
        .iter()
        .map(|mistake| finding_of(mistake, below, root.as_ref()))
        .collect();
    findings.sort();
    if findings.len() > FINDINGS_MAX {
        let more = findings.len() - FINDINGS_MAX;
        findings.truncate(FINDINGS_MAX);
        let last = findings.last().cloned();
        findings.extend(last.map(|last| Finding {
            path: String::new(),
            message: format!("{more} more mistakes follow"),
            hint: String::new(),
            ..last
        }));
    }
    findings
}

/// Findings that are told; nobody reads more at a time, and a generated document can have one in each of a million tasks.
const FINDINGS_MAX: usize = 1_000;

/// A finding of the caller's own, at the place of a path in the workflow of a document.
#[must_use]
pub fn finding(bytes: &[u8], path: &str, message: &str, hint: &str) -> Finding {
    let below = read(bytes).map_or("", |document| inside(&document).1);
    let found = at(
        format!("{below}{path}"),
        message.to_owned(),
        places(bytes).as_ref(),
    );
    Finding {
        hint: hint.to_owned(),
        ..found
    }
}

/// Where everything stands. It costs as much as the text is long: nobody pays who has made no mistake.
fn places(bytes: &[u8]) -> Option<Node> {
    let text = || std::str::from_utf8(without_bom(bytes)).ok();
    match Format::of(bytes) {
        Format::Cbor => None,
        Format::Json => text().and_then(json::places),
        Format::Yaml => text().and_then(|text| yaml::parse(text).ok()),
    }
}

/// The workflow of a document: clients of Homestar wrap it with its name. And the path that leads to it.
#[must_use]
pub fn inside(document: &Value) -> (&Value, &'static str) {
    match document {
        Value::Map(map) if !map.contains_key("tasks") => map
            .get("workflow")
            .map_or((document, ""), |workflow| (workflow, "workflow.")),
        _ => (document, ""),
    }
}

fn finding_of(mistake: &SimplifiedError, below: &str, root: Option<&Node>) -> Finding {
    let (path, message) = match mistake {
        SimplifiedError::At { path, task, reason } if !task.is_empty() => {
            (path.as_str(), format!("{reason} (task `{task}`)"))
        }
        SimplifiedError::At { path, reason, .. } => (path.as_str(), reason.clone()),
        // Its text begins with the place, where it has one.
        SimplifiedError::Workflow(error) => {
            let text = error.to_string();
            return match text
                .split_once(": ")
                .filter(|(path, _)| path.starts_with("tasks["))
            {
                Some((path, reason)) => at(format!("{below}{path}"), reason.to_owned(), root),
                None => at(format!("{below}tasks"), text, root),
            };
        }
    };
    if path != "workflow" {
        return at(format!("{below}{path}"), message, root);
    }
    // Of the whole there is no path to say what is meant.
    let message = match message.starts_with("must be") {
        true => format!("the workflow {message}"),
        false => message,
    };
    at(below.trim_end_matches('.').to_owned(), message, root)
}

fn at(path: String, message: String, root: Option<&Node>) -> Finding {
    let position = root.map(|root| root.find(&path));
    let hint = hint_of(&message);
    Finding {
        line: position.map_or(0, |position| position.line),
        column: position.map_or(0, |position| position.column),
        path,
        message,
        hint: hint.to_owned(),
    }
}

/// A remedy for what authors run into most, where the message does not carry it.
fn hint_of(message: &str) -> &'static str {
    if message.contains("`tasks` must be a list") || message.contains("must be a map of `tasks`") {
        "a workflow is {\"tasks\": [{\"run\": {\"input\": {\"func\": …, \"args\": […]}}}]}"
    } else if message.contains("no component here exports") || message.contains("is not here") {
        "add the component that exports it, or see the functions there are"
    } else if message.contains("in a circle") {
        "let one of them do without what another one waits for"
    } else if message.contains(" never fits ") {
        "let a function between the two make one of the other"
    } else {
        ""
    }
}

/// Exports every function, and takes any arguments for it: for documents that are looked at without a coordinator.
pub struct AnyFunction;

impl FunctionLookup for AnyFunction {
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String> {
        Ok((rsc.unwrap_or_else(|| blob_cid(b"")), func.to_owned()))
    }

    fn canonical(&self, _: Cid, _: &str, args: Vec<Value>) -> Result<Vec<Value>, String> {
        Ok(args)
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Vec<Finding>> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        let size = bytes.len();
        let message = format!("the document has {size} bytes, and may have {DOCUMENT_BYTES_MAX}");
        return Err(vec![at(String::new(), message, None)]);
    }
    let bytes = without_bom(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        // No text begins so, but a list in DAG-CBOR does.
        if error.valid_up_to() == 0 {
            let message = "the document is neither a text in UTF-8 nor a map in DAG-CBOR";
            return vec![at(String::new(), message.to_owned(), None)];
        }
        let before = &bytes[..error.valid_up_to()];
        let position = place::Position::after(&String::from_utf8_lossy(before));
        vec![position.finding("the document is not a valid text in UTF-8".to_owned())]
    })
}

fn read_json(text: &str) -> Result<Value, Vec<Finding>> {
    value_of_json(text.as_bytes()).map_err(|error| {
        if let Some(finding) = json::syntax(text) {
            return vec![finding];
        }
        // The reader refuses equal keys; where they stand is for this crate to say.
        let twice = json::keys_twice(text);
        if !twice.is_empty() {
            return twice;
        }
        vec![json::fault(text).unwrap_or_else(|| nowhere(&error))]
    })
}

fn nowhere(error: &DecodeError) -> Finding {
    let hint = "a workflow is {\"tasks\": [{\"run\": {\"input\": {\"func\": …, \"args\": […]}}}]}";
    Finding {
        hint: hint.to_owned(),
        ..at(String::new(), error.to_string(), None)
    }
}
