//! The one canonical encoding: strict DAG-CBOR, bounded.

pub(crate) mod write;

use std::{collections::BTreeSet, convert::Infallible, mem};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::{
    Cid, DecodeError, Value,
    limits::{TEXT_BYTES_MAX, VALUE_DEPTH_MAX},
    outcome::cut_text,
};

/// WebSocket sub-protocol of executors and watchers; its version changes when old parties would misunderstand.
pub const SUBPROTOCOL: &str = "asterism.v2+dag-cbor";

/// Media type of DAG-CBOR bodies over HTTP.
pub const CONTENT_TYPE: &str = "application/vnd.ipld.dag-cbor";

/// The canonical bytes of a content type or a message.
///
/// # Panics
/// Never for the types of this crate: they hold no maps with other keys than strings, and no NaN
/// enters a [`Value`] (decoders refuse it, conversions write the string `"NaN"`).
#[must_use]
pub fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    write::written(content).expect("types of the protocol have a DAG-CBOR form")
}

/// Decodes at most `max` bytes of strict DAG-CBOR (sorted keys, shortest forms, nothing behind the end).
///
/// # Errors
/// More bytes than `max`; not DAG-CBOR; not canonical; not a `T`.
pub fn decode<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLarge {
            what,
            size: bytes.len(),
            max,
        });
    }
    let malformed = |reason: String| DecodeError::Malformed {
        what,
        reason: cut(reason),
    };
    let rest = behind_item(bytes).map_err(|reason| malformed(reason.into()))?;
    if !rest.is_empty() {
        return Err(malformed("something follows its end".into()));
    }
    serde_ipld_dagcbor::from_slice(bytes).map_err(|error| malformed(in_words(&error)))
}

/// What the decoder found: it has no words for it but the names of its own variants.
fn in_words(error: &serde_ipld_dagcbor::DecodeError<Infallible>) -> String {
    use serde_ipld_dagcbor::DecodeError;
    match error {
        DecodeError::Msg(text) => text.clone(),
        DecodeError::Read(never) => match *never {},
        DecodeError::Eof { .. } => CUT_SHORT.to_owned(),
        DecodeError::Mismatch {
            name: "CBOR tag head" | "CBOR tag",
            ..
        } => "a tag that is not that of a link".to_owned(),
        DecodeError::Mismatch { name, found } => {
            format!("{} where `{name}` is wanted", kind_of(*found))
        }
        DecodeError::Unsupported { found, .. } => {
            format!("{} has no place in DAG-CBOR", kind_of(*found))
        }
        DecodeError::RequireLength { name, .. } => {
            format!("`{name}` has another number of entries than is wanted")
        }
        DecodeError::LengthMismatch {
            name,
            expect,
            value,
        } => format!("`{name}` of {value} where {expect} are wanted"),
        DecodeError::RequireBorrowed { name } => format!("`{name}` cannot be read from pieces"),
        DecodeError::RequireUtf8 { .. } => "a text is not UTF-8".to_owned(),
        DecodeError::LengthOverflow { name, .. }
        | DecodeError::CastOverflow { name }
        | DecodeError::ArithmeticOverflow { name, .. } => format!("`{name}` is too large"),
        DecodeError::DepthOverflow { .. } => "nested too deep".to_owned(),
        DecodeError::TrailingData => "something follows its end".to_owned(),
        DecodeError::IndefiniteSize => INDEFINITE.to_owned(),
        DecodeError::NonMinimal { name, .. } => {
            format!("`{name}` is not written in its shortest form")
        }
        DecodeError::UnorderedKey => {
            "keys of a map are not in order, the shorter ones first, or one is there twice"
                .to_owned()
        }
    }
}

/// What an item is that begins with this byte.
fn kind_of(head: u8) -> &'static str {
    match head >> 5 {
        0 | 1 => "an integer",
        2 => "a byte string",
        3 => "a text",
        4 => "a list",
        5 => "a map",
        6 => "a link",
        _ => match head & 0x1f {
            20 | 21 => "a boolean",
            22 => "null",
            25 | 26 => "a float of fewer than 64 bits",
            27 => "a float",
            _ => "a simple value",
        },
    }
}

/// A content type as a value, for its DAG-JSON form.
///
/// # Panics
/// As [`encode`].
#[must_use]
pub fn to_value<T: Serialize>(content: &T) -> Value {
    ipld_core::serde::to_ipld(content).expect("types of the protocol have an IPLD form")
}

/// A content type from a value: unknown and missing fields are refused, so that what was read has the CID of what came.
///
/// # Errors
/// A value that is not a `T`.
pub fn from_value<T: DeserializeOwned>(what: &'static str, value: Value) -> Result<T, DecodeError> {
    ipld_core::serde::from_ipld(value).map_err(|e| DecodeError::Malformed {
        what,
        reason: cut(e.to_string()),
    })
}

/// The JSON of a content type, a message or a view: CIDs and keys as text, values as DAG-JSON.
///
/// # Panics
/// As [`encode`].
#[must_use]
pub fn to_json<T: Serialize>(content: &T) -> String {
    let bytes =
        serde_ipld_dagjson::to_vec(content).expect("types of the protocol have a DAG-JSON form");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// What [`to_json`] wrote.
///
/// # Errors
/// Text that is not JSON, or not a `T`.
pub fn from_json<T: DeserializeOwned>(what: &'static str, text: &[u8]) -> Result<T, DecodeError> {
    serde_ipld_dagjson::from_slice(text).map_err(|e| DecodeError::Malformed {
        what,
        reason: cut(e.to_string()),
    })
}

/// Reads a field that may be null but not be absent: content without it would come back with another CID.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Reads a set: in order and each once, so that what was read is written the same.
pub(crate) fn ascending<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<String>, D::Error> {
    use serde::de::Error as _;
    let items = Vec::<String>::deserialize(deserializer)?;
    if !items.is_sorted_by(|one, next| one < next) {
        return Err(D::Error::custom("a set is in order, each entry once"));
    }
    Ok(items.into_iter().collect())
}

/// Decoders quote what they did not like, however long it was.
fn cut(mut reason: String) -> String {
    cut_text(&mut reason, TEXT_BYTES_MAX);
    reason
}

/// Levels of maps and lists that messages and content put around a value, with room.
const ENVELOPE_DEPTH: usize = 16;

const CUT_SHORT: &str = "it ends too early";

const INDEFINITE: &str = "indefinite lengths are not DAG-CBOR";

/// What follows the first item. Checks, before anything is allocated, that the bytes begin with an item of CBOR, no deeper
/// than a value in its message may be, and that no list or map claims more entries than there are bytes. The decoder checks
/// the rest (order of keys, shortest forms), but reads an enum as written either way, recurses, and allocates by claim.
pub(crate) fn behind_item(bytes: &[u8]) -> Result<&[u8], &'static str> {
    const DEPTH: usize = VALUE_DEPTH_MAX + ENVELOPE_DEPTH;
    // How many items are still to come in each open list or map; the outermost holds the one item.
    let mut awaited = [0_u64; DEPTH + 1];
    awaited[0] = 1;
    let mut level = 0;
    let mut rest = bytes;
    // A tag was read last. DAG-CBOR has one, 42: what it is on is a link.
    let mut is_link = false;
    loop {
        while awaited[level] == 0 {
            if level == 0 {
                return Ok(rest);
            }
            level -= 1;
        }
        awaited[level] -= 1;
        let (head, tail) = rest.split_first().ok_or(CUT_SHORT)?;
        let argument_bytes = match head & 0x1f {
            0..=23 => 0,
            info @ 24..=27 => 1 << (info - 24),
            _ => return Err(INDEFINITE),
        };
        let (argument, tail) = tail.split_at_checked(argument_bytes).ok_or(CUT_SHORT)?;
        let number = argument
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        let number = if argument_bytes == 0 {
            u64::from(head & 0x1f)
        } else {
            number
        };
        rest = tail;
        let inside = match head >> 5 {
            2 | 3 => {
                let length = usize::try_from(number).map_err(|_| CUT_SHORT)?;
                let (text, tail) = rest.split_at_checked(length).ok_or(CUT_SHORT)?;
                rest = tail;
                if mem::take(&mut is_link) && !is_one_cid(text) {
                    return Err("a link is not exactly one CID");
                }
                continue;
            }
            4 => number,
            5 => number.checked_mul(2).ok_or(CUT_SHORT)?,
            6 => {
                is_link = true;
                1
            }
            _ => continue,
        };
        if inside > rest.len() as u64 {
            return Err(CUT_SHORT);
        }
        level += 1;
        *awaited.get_mut(level).ok_or("nested too deep")? = inside;
    }
}

/// Is this the 0x00 of a link and one CID? The decoder of CIDs reads on from longer forms of its numbers, and leaves what
/// follows the digest alone.
fn is_one_cid(link: &[u8]) -> bool {
    let is_one = |bytes: &[u8]| {
        Cid::of_short(bytes).is_some()
            || ::cid::Cid::try_from(bytes).is_ok_and(|cid| cid.to_bytes() == bytes)
    };
    link.strip_prefix(&[0]).is_some_and(is_one)
}
