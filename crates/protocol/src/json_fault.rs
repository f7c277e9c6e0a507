//! Why a text is no DAG-JSON of ours, in words that name the remedy.

use ipld_core::ipld::Ipld;

use crate::{Value, outcome::cut_text};

/// Most bytes that are told of what was written.
const SHOWN_BYTES_MAX: usize = 60;

/// What says that a whole number beyond 64 bits would be rounded, of a text and the value that it was read as.
pub(crate) fn rounding(text: &[u8], value: &Value) -> Option<String> {
    let mut digits = has_large_float(value)
        .then(|| rounded_whole(text))
        .flatten()?;
    cut_text(&mut digits, SHOWN_BYTES_MAX);
    Some(format!(
        "`{digits}` is a whole number beyond 64 bits that no float holds exactly: write it as a text, or with `.0` behind it \
         where a float may be rounded"
    ))
}

/// Is there a float that may have been written as a whole number beyond 64 bits?
fn has_large_float(value: &Value) -> bool {
    match value {
        Ipld::Float(x) => x.abs() >= -(i64::MIN as f64),
        Ipld::List(items) => items.iter().any(has_large_float),
        Ipld::Map(map) => map.values().any(has_large_float),
        _ => false,
    }
}

/// The first whole number beyond 64 bits, of a text that is JSON, which its float is not written as: neither with all of its
/// digits nor, as JavaScript does, with as many as tell it from others.
fn rounded_whole(text: &[u8]) -> Option<String> {
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'"' => behind_string(behind),
            b'-' | b'0'..=b'9' => {
                let is_digits = |byte: &u8| matches!(byte, b'-' | b'0'..=b'9');
                let is_number =
                    |byte: &u8| is_digits(byte) || matches!(byte, b'+' | b'.' | b'e' | b'E');
                let end = rest.iter().position(|byte| !is_number(byte));
                let (number, behind) = rest.split_at(end.unwrap_or(rest.len()));
                if number.iter().all(is_digits) {
                    let number = String::from_utf8_lossy(number);
                    if is_rounded(&number) {
                        return Some(number.into_owned());
                    }
                }
                behind
            }
            _ => behind,
        };
    }
    None
}

/// What follows a string of JSON, whose first quote was read.
fn behind_string(mut rest: &[u8]) -> &[u8] {
    while let Some((first, behind)) = rest.split_first() {
        rest = match first {
            b'"' => return behind,
            b'\\' => behind.get(1..).unwrap_or_default(),
            _ => behind,
        };
    }
    rest
}

fn is_rounded(whole: &str) -> bool {
    if whole.parse::<i64>().is_ok() || whole.parse::<u64>().is_ok() {
        return false;
    }
    whole
        .parse::<f64>()
        .is_ok_and(|x| format!("{x}") != whole && format!("{x:.0}") != whole)
}
