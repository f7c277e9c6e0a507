//! Values of the content model (IPLD), their DAG-JSON form, and what a task came to.

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DecodeError, json_fault, limits::VALUE_DEPTH_MAX};

/// An IPLD value. Integers fit -2^64 ..= 2^64-1, floats are finite, maps have string keys.
pub type Value = Ipld;

/// What a task came to: `["ok", value]` or `["error", value]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    /// The function's value.
    Ok(Value),
    /// The `err` payload of the function's own `result`, or a [`crate::Failure`].
    Error(Value),
}

impl Out {
    /// The value, whichever branch it is on.
    #[must_use]
    pub fn value(&self) -> &Value {
        match self {
            Self::Ok(value) | Self::Error(value) => value,
        }
    }

    /// The whole pair as a value, as `await/*` yields it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let (tag, value) = match self {
            Self::Ok(value) => ("ok", value),
            Self::Error(value) => ("error", value),
        };
        Ipld::List(vec![Ipld::String(tag.into()), value.clone()])
    }
}

impl Serialize for Out {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ok(value) => ("ok", value).serialize(serializer),
            Self::Error(value) => ("error", value).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Out {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let (tag, value) = <(String, Value)>::deserialize(deserializer)?;
        match tag.as_str() {
            "ok" => Ok(Self::Ok(value)),
            "error" => Ok(Self::Error(value)),
            other => Err(D::Error::custom(format!(
                "expected \"ok\" or \"error\", found {other:?}"
            ))),
        }
    }
}

/// Parses DAG-JSON (`{"/": "bafy…"}` is a link, `{"/": {"bytes": "…"}}` bytes) within the depth bound.
///
/// # Errors
/// Text that is not DAG-JSON, is nested deeper than [`VALUE_DEPTH_MAX`], or has a whole number beyond 64 bits that would be
/// rounded.
pub fn value_of_json(text: &[u8]) -> Result<Value, DecodeError> {
    let malformed = |reason: String| DecodeError::Malformed {
        what: "DAG-JSON value",
        reason,
    };
    let mut value = serde_ipld_dagjson::from_slice(text).map_err(|error| {
        let error = error.to_string();
        let reason = json_fault::odd_base64(&error).or_else(|| json_fault::key_twice(text));
        malformed(reason.unwrap_or(error))
    })?;
    if depth(&value) > VALUE_DEPTH_MAX {
        return Err(malformed(format!(
            "nested deeper than {VALUE_DEPTH_MAX} levels"
        )));
    }
    if let Some(reason) = json_fault::rounding(text, &value) {
        return Err(malformed(reason));
    }
    drop_signs_of_zero(&mut value);
    Ok(value)
}

/// The DAG-JSON text of a value.
///
/// # Panics
/// Never for a value that was decoded: floats are finite and maps have string keys.
#[must_use]
pub fn json_of(value: &Value) -> String {
    let bytes = serde_ipld_dagjson::to_vec(value).expect("an IPLD value has a DAG-JSON form");
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// The bytes of a byte string, or of a list of integers from 0 to 255.
#[must_use]
pub fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Ipld::Bytes(bytes) => Some(bytes.clone()),
        Ipld::List(items) => items
            .iter()
            .map(|item| match item {
                Ipld::Integer(n) => u8::try_from(*n).ok(),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// DAG-CBOR knows one zero. Who reads `-0.0` from JSON must not compute with another value than who reads its CBOR.
fn drop_signs_of_zero(value: &mut Value) {
    match value {
        Ipld::Float(x) if *x == 0.0 => *x = 0.0,
        Ipld::List(items) => items.iter_mut().for_each(drop_signs_of_zero),
        Ipld::Map(map) => map.values_mut().for_each(drop_signs_of_zero),
        _ => {}
    }
}

/// Levels of nesting; a scalar has none.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Ipld::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Ipld::Map(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The length of the longest byte string inside.
pub(crate) fn longest_bytes(value: &Value) -> usize {
    match value {
        Ipld::Bytes(bytes) => bytes.len(),
        Ipld::List(items) => items.iter().map(longest_bytes).max().unwrap_or(0),
        Ipld::Map(map) => map.values().map(longest_bytes).max().unwrap_or(0),
        _ => 0,
    }
}
