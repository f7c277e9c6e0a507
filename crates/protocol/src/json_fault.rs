//! Why a text is no DAG-JSON of ours, in words that name the remedy.

use std::{collections::BTreeSet, fmt};

use ipld_core::ipld::Ipld;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{Value, outcome::cut_text, text::one_line, workflow::shorten};

/// Most bytes that are told of what was written.
const SHOWN_BYTES_MAX: usize = 60;

/// What says that the bytes of a text are no base64 as DAG-JSON has it, of the reader's own words.
pub(crate) fn odd_base64(error: &str) -> Option<String> {
    let quoted = error.strip_prefix("Cannot base decode bytes `")?;
    // What was written may have such a mark in it, and the place behind it has none.
    let (written, _) = quoted.rsplit_once('`')?;
    let bare = written.trim_end_matches('=');
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let mut shown = one_line(written);
    cut_text(&mut shown, SHOWN_BYTES_MAX);
    Some(if !bare.bytes().all(is_letter) {
        format!("`{shown}` is no base64 (A to Z, a to z, 0 to 9, + and /, without padding)")
    } else if !is_whole(bare) {
        format!("`{shown}` is no base64 of whole bytes")
    } else {
        let mut right = bare.to_owned();
        cut_text(&mut right, SHOWN_BYTES_MAX);
        let cut = if right.len() < bare.len() { "…" } else { "" };
        format!(
            "`{shown}` is padded, and base64 in DAG-JSON is not: write {{\"/\": {{\"bytes\": \"{right}{cut}\"}}}}"
        )
    })
}

/// Are these letters of base64 whole bytes, and nothing left over?
fn is_whole(letters: &str) -> bool {
    let last_is_of = |ends: &str| letters.ends_with(|last: char| ends.contains(last));
    match letters.len() % 4 {
        0 => true,
        2 => last_is_of("AQgw"),
        3 => last_is_of("AEIMQUYcgkosw048"),
        _ => false,
    }
}

/// What says that a key stands twice in one map, of a text that is JSON otherwise.
pub(crate) fn key_twice(text: &[u8]) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(text).ok()?;
    let error = serde_json::from_slice::<EachOnce>(text).err()?;
    let mut reason = error.to_string();
    // Where it stands is for those to say who know what the text is part of.
    if let Some(end) = reason.rfind(" at line ") {
        reason.truncate(end);
    }
    reason.starts_with(KEY_TWICE).then_some(reason)
}

/// How it is told from what else may be wrong.
const KEY_TWICE: &str = "the key `";

/// JSON whose maps have each key once.
struct EachOnce;

impl<'de> Deserialize<'de> for EachOnce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for EachOnce {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if seen.contains(&key) {
                let shown = shorten(&one_line(&key));
                return Err(A::Error::custom(format!(
                    "{KEY_TWICE}{shown}` stands twice in one map"
                )));
            }
            seen.insert(key);
            entries.next_value::<Self>()?;
        }
        Ok(self)
    }
}

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
