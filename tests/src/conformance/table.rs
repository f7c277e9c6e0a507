//! The table, and what is wrong in it.

use std::collections::BTreeMap;

use anyhow::Result;
use asterism_protocol::{Failure, Out, json_of};

use super::{
    ask::{Cell, Hosts, name_of},
    corpus::{Call, Recorded},
};

const HEAD: &str = "# Conformance

The same component, the same outcome and the same fuel on every host. `cargo xtask conformance --record` makes this file;
`cargo xtask conformance` fails where a cell comes out otherwise, and where hosts disagree.

- *Comes to* and *outcome* are what Wasmtime says: the value or the kind of trap, and the end of the outcome's CID, which covers
  the value, the fuel and how it is metered. Under several budgets they are the last value and the CID of all outcomes.
- `=`: the same, to the bit and to the unit of fuel. jco, the oracle for values, knows neither fuel nor kinds of traps: there it
  is the same value, or a trap too.
- `≠`: jco is wrong, and why. When it is right, that is said, too.
- `·`: was not asked, because limits, refused arguments and how often a guest is asked for memory are ours and not jco's.
- `–`: the engine does not know what the component needs: several memories, WASI and types that are not in jco yet.
- `*`: is not recorded, because the component's compiler is not pinned by this repository or does not make the same bytes twice.

| case | comes to | outcome | fuel | Chromium | node | jco |
|---|---|---|---|---|---|---|
";

/// A host that the engine keeps from it.
const UNABLE: &str = "–";

/// The table as text, and what was counted.
#[derive(Clone, Debug)]
pub struct Made {
    /// As it stands in docs/conformance.md.
    pub text: String,
    /// How many rows.
    pub cases: usize,
    /// Hosts that answered otherwise than Wasmtime: what, and how.
    pub disagreeing: Vec<String>,
}

/// Performs all calls.
///
/// # Errors
/// A call that is none.
pub fn make(hosts: &mut Hosts, calls: &[Call]) -> Result<Made> {
    let mut made = Made {
        text: HEAD.to_owned(),
        cases: calls.len(),
        disagreeing: Vec::new(),
    };
    for call in calls {
        let seen = hosts.perform(call)?;
        let wrong = disagreeing(&seen).into_iter();
        made.disagreeing
            .extend(wrong.map(|what| format!("{}: {what}", call.name)));
        made.text.push_str(&row(call, &seen));
    }
    Ok(made)
}

fn row(call: &Call, seen: &[(&'static str, Cell)]) -> String {
    let wasmtime = &seen[0].1;
    let (mut comes, mut cid, mut fuel) = match wasmtime {
        Cell::Outcome { cid, out, fuel, .. } => {
            let cid = cid.to_string();
            let fuel = fuel.map_or(String::new(), |fuel| fuel.to_string());
            (comes_to(out), cid[cid.len() - 8..].to_owned(), fuel)
        }
        other => (cell_text(&other.long()), String::new(), String::new()),
    };
    match call.recorded {
        Recorded::Outcome => {}
        Recorded::Value => (cid, fuel) = ("*".into(), "*".into()),
        Recorded::Agreement => (comes, cid, fuel) = ("*".into(), "*".into(), "*".into()),
    }
    let others: Vec<_> = seen[1..]
        .iter()
        .map(|(_, cell)| short(wasmtime, cell))
        .collect();
    let name = escaped(&call.name);
    format!(
        "| {name} | {comes} | {cid} | {fuel} | {} |\n",
        others.join(" | ")
    )
}

/// What differs between a recorded table and one that was made: cells, and rows that came or went.
#[must_use]
pub fn differences(recorded: &str, made: &str) -> Vec<String> {
    let (was, is) = (rows(recorded), rows(made));
    let mut all = Vec::new();
    for (name, cells) in &was {
        let Some(now) = is.get(name) else {
            all.push(format!("{name}: is recorded, and was not performed"));
            continue;
        };
        for (old, new) in cells.iter().zip(now) {
            // A newer engine is no mistake.
            let learned = *old == UNABLE && *new == "=";
            if old != new && !learned {
                all.push(format!("{name}: {new}, recorded is {old}"));
            }
        }
    }
    let new = is.keys().filter(|name| !was.contains_key(*name));
    all.extend(new.map(|name| format!("{name}: is not recorded")));
    all
}

/// Cells by the name of the case.
fn rows(table: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut rows = BTreeMap::new();
    for line in table.lines() {
        let line = line
            .strip_prefix("| ")
            .and_then(|line| line.strip_suffix(" |"));
        let Some(line) = line else { continue };
        let mut cells = line.split(" | ");
        if let Some(name) = cells.next() {
            rows.insert(name, cells.collect());
        }
    }
    rows
}

/// Hosts that answered otherwise than Wasmtime, and what.
#[must_use]
pub fn disagreeing(seen: &[(&'static str, Cell)]) -> Vec<String> {
    let Some(((_, wasmtime), others)) = seen.split_first() else {
        return Vec::new();
    };
    let say = |cell: &Cell| {
        let out = cell
            .out()
            .map(|out| format!(" {}", json_of(&out.to_value())));
        format!("{}{}", cell.long(), out.unwrap_or_default())
    };
    others
        .iter()
        .filter(|(name, cell)| match cell {
            // Where we run, we have to do all that a server does.
            Cell::Unable(_) => *name != "jco" && !matches!(wasmtime, Cell::Unable(_)),
            cell => !agrees(wasmtime, cell),
        })
        .map(|(name, cell)| format!("{name} says {}, Wasmtime {}", say(cell), say(wasmtime)))
        .collect()
}

fn agrees(wasmtime: &Cell, cell: &Cell) -> bool {
    match (wasmtime, cell) {
        (_, Cell::NotAsked | Cell::Unable(_)) => true,
        (_, Cell::Wrong { said, .. }) => !agrees(wasmtime, said),
        (Cell::Outcome { out, .. }, Cell::Value(value)) => name_of(out) == name_of(value),
        (
            Cell::Outcome {
                out: Out::Error(value),
                ..
            },
            Cell::Died(_),
        ) => Failure::of_value(value).is_some(),
        (wasmtime, cell) => wasmtime == cell,
    }
}

fn short(wasmtime: &Cell, cell: &Cell) -> String {
    match cell {
        Cell::NotAsked => "·".into(),
        Cell::Unable(_) => UNABLE.into(),
        Cell::Wrong { why, .. } if agrees(wasmtime, cell) => format!("≠ {why}"),
        cell if agrees(wasmtime, cell) => "=".into(),
        Cell::Value(out) => format!("**{}**", comes_to(out)),
        cell => format!("**{}**", cell_text(&cell.long())),
    }
}

fn comes_to(out: &Out) -> String {
    match out {
        Out::Error(value) => match Failure::of_value(value) {
            Some(failure) => failure.trap.name().to_owned(),
            None => format!("err `{}`", cell_text(&json_of(value))),
        },
        Out::Ok(value) => format!("`{}`", cell_text(&json_of(value))),
    }
}

/// The start of a text, for a cell.
fn cell_text(text: &str) -> String {
    const CHARS: usize = 60;
    let cut: String = text.chars().take(CHARS).collect();
    let more = if text.chars().nth(CHARS).is_some() {
        "…"
    } else {
        ""
    };
    escaped(&cut) + more
}

/// Nothing that ends a cell.
fn escaped(text: &str) -> String {
    let clean = |c: char| match c {
        '|' => '¦',
        '`' => '\'',
        c if c.is_control() => '␀',
        c => c,
    };
    text.chars().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{Value, content_cid};

    use super::*;

    #[test]
    fn cells_that_differ_are_named_and_learned_ones_are_not() {
        let was = "| a | `1` | x | 5 | = | – | = |\n| gone | `1` | x | 5 | = | = | = |\n";
        let is = "| a | `1` | x | 6 | = | = | – |\n| new | `1` | x | 5 | = | = | = |\n";
        let said = [
            "a: 6, recorded is 5",
            "a: –, recorded is =",
            "gone: is recorded, and was not performed",
            "new: is not recorded",
        ];
        assert_eq!(differences(was, is), said);
        assert!(differences(was, was).is_empty());
    }

    #[test]
    fn who_is_known_to_be_wrong_is_to_be_wrong() {
        let out = |value: i128| Out::Ok(Value::Integer(value));
        let wasmtime = Cell::Outcome {
            cid: content_cid(b"an outcome"),
            out: out(1),
            fuel: Some(1),
            growth_refused: false,
        };
        let jco = |said: Cell| Cell::Wrong {
            why: "miscounts",
            said: Box::new(said),
        };
        for (said, wrong) in [
            (Cell::Value(out(2)), true),
            (Cell::Died("it died".into()), true),
            (Cell::Value(out(1)), false),
        ] {
            let cell = jco(said);
            assert_eq!(short(&wasmtime, &cell) == "≠ miscounts", wrong, "{cell:?}");
            let seen = [("Wasmtime", wasmtime.clone()), ("jco", cell)];
            assert_eq!(disagreeing(&seen).is_empty(), wrong);
        }
    }
}
