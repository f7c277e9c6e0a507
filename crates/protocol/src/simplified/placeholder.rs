//! Strings that stand for something else, and strings at any depth of a value.

use ipld_core::ipld::Ipld;

use super::nearest;
use crate::{Await, Cid, Error, Value, workflow::shorten};

/// A string that stands for something else.
pub(super) enum Placeholder<'a> {
    Needs { name: &'a str, branch: Await },
    Link(Cid),
}

impl<'a> Placeholder<'a> {
    /// `None` for a string that is itself; an error for a placeholder that cannot be one.
    pub(super) fn read(text: &'a str) -> Result<Option<Self>, String> {
        if !mentions_placeholder(text) {
            return check_literal(text).map(|()| None);
        }
        let inner = text
            .strip_prefix("{{")
            .and_then(|text| text.strip_suffix("}}"));
        let inner = inner.filter(|inner| !inner.contains("{{") && !inner.contains("}}")).ok_or_else(|| {
            format!(
                "`{}` has a placeholder inside a longer string: what a task will come to cannot be written into a text, \
                 so a placeholder must be the whole string",
                shorten(text)
            )
        })?;
        let inner = inner.trim();
        if let Some(cid) = inner.strip_prefix("cid:") {
            return cid
                .trim()
                .parse()
                .map(|cid| Some(Self::Link(cid)))
                .map_err(|error: Error| error.to_string());
        }
        let usage = || not_a_placeholder(text);
        let (name, branch) = inner
            .strip_prefix("needs.")
            .and_then(|inner| inner.rsplit_once('.'))
            .ok_or_else(usage)?;
        let branch = match branch {
            "output" => Await::Ok,
            "error" => Await::Error,
            "result" => Await::Any,
            _ => return Err(usage()),
        };
        Ok(Some(Self::Needs { name, branch }))
    }
}

/// Other double braces are a text's own business (templates are data too), unless [`check_literal`] knows better.
pub(super) fn mentions_placeholder(text: &str) -> bool {
    mentions(text, &["needs.", "cid:"])
}

/// Do double braces open before one of these?
fn mentions(text: &str, beginnings: &[&str]) -> bool {
    // Each part is looked at once: a text may be a million braces.
    text.split("{{").skip(1).any(|behind| {
        let inner = behind.trim_start_matches('{').trim_start();
        beginnings.iter().any(|begins| inner.starts_with(begins))
    })
}

/// Refuses a string without a placeholder that was meant to have one: a guest would get the braces as its argument, and
/// nobody would see why.
fn check_literal(text: &str) -> Result<(), String> {
    if mentions(text, &["args."]) {
        return Err(format!(
            "`{}` has no value: {{{{args.<name>}}}} is filled in by `asterism run --arg <name>=VALUE`, before a workflow is \
             submitted; whoever submits it another way writes the value here",
            shorten(text)
        ));
    }
    if is_misspelt_placeholder(text) {
        return Err(not_a_placeholder(text));
    }
    Ok(())
}

/// Is it nothing but a pair of double braces, and like a placeholder inside: its first word is nearly one of those, what
/// follows is a CID, or it ends as what a task comes to does?
fn is_misspelt_placeholder(text: &str) -> bool {
    let inner = text
        .strip_prefix("{{")
        .and_then(|text| text.strip_suffix("}}"))
        .map(str::trim)
        .filter(|inner| !inner.contains("{{") && !inner.contains("}}"));
    let Some((first, rest)) = inner.and_then(|inner| inner.split_once(['.', ':'])) else {
        return false;
    };
    let (first, rest) = (first.trim().to_lowercase(), rest.trim());
    let has_branch = || {
        let (name, branch) = rest.rsplit_once('.').unwrap_or_default();
        !name.is_empty() && matches!(branch, "output" | "error" | "result")
    };
    let is_near = || nearest(&first, ["needs", "args"].into_iter()).is_some();
    rest.parse::<Cid>().is_ok() || !rest.is_empty() && (is_near() || has_branch())
}

/// Why a text cannot be a placeholder, and which there are.
fn not_a_placeholder(text: &str) -> String {
    format!(
        "`{}` is not a placeholder: write {{{{needs.<name>.output}}}}, {{{{needs.<name>.error}}}} or {{{{needs.<name>.result}}}} for \
         what a task comes to, {{{{cid:<CID>}}}} for a blob, or {{{{args.<name>}}}} for what `asterism run --arg` gives",
        shorten(text)
    )
}

/// Shows every string of a value to `see`; an error comes back with its place inside the value.
pub(super) fn visit_strings(
    value: &Value,
    see: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<(), (String, String)> {
    let inside =
        |step: String| move |(path, reason): (String, String)| (format!("{step}{path}"), reason);
    match value {
        Ipld::String(text) => see(text).map_err(|reason| (String::new(), reason)),
        Ipld::List(items) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, item)| {
                visit_strings(item, see).map_err(inside(format!("[{index}]")))
            })
        }
        Ipld::Map(map) => map.iter().try_for_each(|(key, item)| {
            if mentions_placeholder(key) {
                return Err((
                    format!(".{}", shorten(key)),
                    "a placeholder cannot be a key".to_owned(),
                ));
            }
            visit_strings(item, see).map_err(inside(format!(".{}", shorten(key))))
        }),
        _ => Ok(()),
    }
}

/// The value with every string replaced by what `change` makes of it.
pub(super) fn map_strings(
    value: &Value,
    change: &mut dyn FnMut(&str) -> Result<Value, String>,
) -> Result<Value, String> {
    Ok(match value {
        Ipld::String(text) => change(text)?,
        Ipld::List(items) => Ipld::List(
            items
                .iter()
                .map(|item| map_strings(item, change))
                .collect::<Result<_, _>>()?,
        ),
        Ipld::Map(map) => {
            let entries = map
                .iter()
                .map(|(key, item)| Ok((key.clone(), map_strings(item, change)?)));
            Ipld::Map(entries.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}
