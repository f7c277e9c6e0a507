//! What is filled in before a workflow is sent: `{{args.NAME}}`, with or without spaces inside the braces.

use std::collections::{BTreeMap, BTreeSet};

use asterism_protocol::{Value, json_of};

use crate::{FINDINGS_MAX, Finding, at, places};

/// How the inside of a place begins that is filled in.
const BEGINS: &str = "args.";

/// Is there anything to be filled in, in a text that was not read yet?
#[must_use]
pub fn asks_for_args(written: &[u8]) -> bool {
    let pairs = written.windows(2).enumerate();
    let mut opened = pairs.filter(|(_, two)| *two == b"{{");
    opened.any(|(at, _)| {
        let inside = written[at + 2..].trim_ascii_start();
        inside.starts_with(BEGINS.as_bytes())
    })
}

/// A place to fill in.
struct Open<'a> {
    before: &'a str,
    /// As it stands, with its braces.
    whole: &'a str,
    name: &'a str,
    behind: &'a str,
}

impl<'a> Open<'a> {
    /// The first one in a text.
    fn first_of(text: &'a str) -> Option<Self> {
        // Braces may stand before those of a place.
        let mut from = 0;
        loop {
            let start = from + text[from..].find("{{")?;
            if let Some(inside) = text[start + 2..].trim_start().strip_prefix(BEGINS) {
                let (name, behind) = inside.split_once("}}")?;
                return Some(Self {
                    before: &text[..start],
                    whole: &text[start..text.len() - behind.len()],
                    name: name.trim(),
                    behind,
                });
            }
            from = start + 1;
        }
    }
}

/// The document with a value for every `{{args.NAME}}`: a string that is exactly that becomes the value, within a longer
/// string it becomes its text.
///
/// # Errors
/// A name without a value, and a value without a place, each as a sentence.
pub fn with_args(document: &Value, args: &BTreeMap<String, Value>) -> Result<Filled, String> {
    let filled = Filled::of(document, args)?;
    match filled.open.first() {
        Some((_, name)) => Err(format!("`{name}` has no value")),
        None => Ok(filled),
    }
}

/// A document with the values that there are, which may be looked at before all of them are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// What has no value stands there as it stood.
    pub document: Value,
    /// Names without a value, each after the path of a place where it stands.
    pub open: Vec<(String, String)>,
    /// Names with a value, each after the path of a place where it stands.
    given: Vec<(String, String)>,
}

impl Filled {
    /// As [`with_args`], as far as there are values.
    ///
    /// # Errors
    /// A value without a place, as a sentence.
    pub fn of(document: &Value, args: &BTreeMap<String, Value>) -> Result<Self, String> {
        let mut filling = Filling {
            args,
            used: BTreeSet::new(),
            open: Vec::new(),
            given: Vec::new(),
            path: String::new(),
        };
        let document = filling.fill(document);
        match args
            .keys()
            .find(|name| !filling.used.contains(name.as_str()))
        {
            Some(name) => Err(format!("nothing in it says {{{{args.{name}}}}}")),
            None => Ok(Self {
                document,
                open: filling.open,
                given: filling.given,
            }),
        }
    }

    /// What was found in the filled document, at its places in the text that the author wrote, and by the argument where a
    /// value is one: it does not stand there. What is open is a finding itself, instead of whatever else was found there: nobody wrote that value.
    #[must_use]
    pub fn findings(&self, written: &[u8], found: Vec<Finding>) -> Vec<Finding> {
        let root = places(written);
        let is_open: BTreeSet<&str> = self.open.iter().map(|(path, _)| path.as_str()).collect();
        let mut findings: Vec<Finding> = found
            .into_iter()
            .filter(|finding| !is_open.contains(finding.path.as_str()))
            .map(|finding| {
                let message = match self.args_at(&finding.path) {
                    Some(args) => format!("{args}: {}", finding.message),
                    None => finding.message,
                };
                Finding {
                    hint: finding.hint,
                    ..at(finding.path, message, root.as_ref())
                }
            })
            .collect();
        let open = self.open.iter().take(FINDINGS_MAX);
        findings.extend(open.map(|(path, name)| Finding {
            hint: format!("`--arg {name}=VALUE` gives it one, here as in `asterism run`"),
            ..at(
                path.clone(),
                format!("`{{{{args.{name}}}}}` has no value"),
                root.as_ref(),
            )
        }));
        // That more follow has no path, and is said at the end.
        findings
            .sort_by(|one, other| (one.path.is_empty(), one).cmp(&(other.path.is_empty(), other)));
        findings
    }

    /// The arguments that a value is made of, or that it is inside of; none if it stands in the text.
    fn args_at(&self, path: &str) -> Option<String> {
        let is_inside = |place: &str| {
            let rest = path.strip_prefix(place);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let names = self.given.iter().filter(|(place, _)| is_inside(place));
        let names: BTreeSet<&str> = names.map(|(_, name)| name.as_str()).collect();
        let args: Vec<String> = names.iter().map(|name| format!("`--arg {name}`")).collect();
        (!args.is_empty()).then(|| args.join(", "))
    }
}

/// A walk through a document.
struct Filling<'a> {
    args: &'a BTreeMap<String, Value>,
    used: BTreeSet<&'a str>,
    open: Vec<(String, String)>,
    given: Vec<(String, String)>,
    /// Of the value that is looked at.
    path: String,
}

impl<'a> Filling<'a> {
    fn fill(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill_text(text),
            Value::List(items) => {
                let items = items.iter().enumerate();
                let items = items.map(|(index, item)| self.fill_below(&format!("[{index}]"), item));
                Value::List(items.collect())
            }
            Value::Map(map) => {
                let dot = if self.path.is_empty() { "" } else { "." };
                let entries = map.iter().map(|(key, item)| {
                    let item = self.fill_below(&format!("{dot}{key}"), item);
                    (key.clone(), item)
                });
                Value::Map(entries.collect())
            }
            other => other.clone(),
        }
    }

    fn fill_below(&mut self, step: &str, value: &Value) -> Value {
        let above = self.path.len();
        self.path.push_str(step);
        let filled = self.fill(value);
        self.path.truncate(above);
        filled
    }

    fn fill_text(&mut self, text: &str) -> Value {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some(open) = Open::first_of(rest) {
            let value = self.value(open.name);
            if let Some(value) = value
                && open.whole == text
            {
                return value.clone();
            }
            filled.push_str(open.before);
            match value {
                Some(Value::String(text)) => filled.push_str(text),
                Some(other) => filled.push_str(&json_of(other)),
                None => filled.push_str(open.whole),
            }
            rest = open.behind;
        }
        Value::String(filled + rest)
    }

    /// The value of a name; one without is noted with its place.
    fn value(&mut self, name: &str) -> Option<&'a Value> {
        let args = self.args;
        match args.get_key_value(name) {
            Some((name, value)) => {
                self.used.insert(name.as_str());
                self.given.push((self.path.clone(), name.clone()));
                Some(value)
            }
            None => {
                self.open.push((self.path.clone(), name.to_owned()));
                None
            }
        }
    }
}
