//! What a call comes to, whole: fetched, shown, compared.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
};

use asterism_protocol::{Cid, Value, json_of, value_of_json};

use crate::{
    client::Coordinator,
    console::{Console, print, print_text},
    failure::{Exit, Failure},
};

/// What the last task came to, of an answer with the results of all.
pub(crate) fn last_result(answer: &[u8]) -> Result<Value, Failure> {
    let last = match value_of_json(answer) {
        Ok(Value::List(mut results)) => results.pop(),
        _ => None,
    };
    match last {
        Some(Value::Map(mut result)) => result.remove("out"),
        _ => None,
    }
    .ok_or_else(|| Failure::other("the coordinator's answer is not understood"))
}

/// A result that became a blob is what the author asked for, not its CID.
pub(crate) async fn fetched(value: Value, coordinator: &Coordinator) -> Result<Value, Failure> {
    match &value {
        Value::Link(link) => {
            let answer = coordinator.get(&format!("/blobs/{link}"), &[]).await?;
            Ok(Value::Bytes(answer.body))
        }
        _ => Ok(value),
    }
}

pub(super) fn with_bytes(value: Value, blobs: &BTreeMap<Cid, serde_bytes::ByteBuf>) -> Value {
    match &value {
        Value::Link(link) => match Cid::try_from(*link).ok().and_then(|cid| blobs.get(&cid)) {
            Some(bytes) => Value::Bytes(bytes.to_vec()),
            None => value,
        },
        _ => value,
    }
}

/// Prints a result: bytes as they are, unless that is to a terminal.
pub(crate) fn show(value: &Value, console: &Console) {
    match value {
        value if console.json => print(&json_of(value)),
        Value::Bytes(bytes) if std::io::stdout().is_terminal() => console.say(&format!(
            "the result is {} bytes: send them to a file with `> FILE`",
            bytes.len()
        )),
        Value::Bytes(bytes) => {
            let mut stdout = std::io::stdout().lock();
            // As `print`: a reader that went away is no error.
            let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
        }
        value => print_text(&text_of(value)),
    }
}

/// Texts as they are, the rest as JSON; whole numbers without `.0`, as JavaScript writes them.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            format!("{number:.0}")
        }
        value => json_of(value),
    }
}

pub(super) fn compare(called: &Value, expected: &str) -> Result<(), Failure> {
    let said = text_of(called);
    let equal = said == expected
        || value_of_json(expected.as_bytes())
            .is_ok_and(|value| value == *called || text_of(&value) == said);
    if equal {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Failed,
            format!("it is {said} and not {expected}"),
        ))
    }
}
