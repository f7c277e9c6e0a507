//! The one canonical encoding: strict DAG-CBOR, bounded.

use serde::{Serialize, de::DeserializeOwned};

use crate::{DecodeError, Value};

/// WebSocket sub-protocol of executors and watchers; its version changes when old parties would misunderstand.
pub const SUBPROTOCOL: &str = "asterism.v1+dag-cbor";

/// Media type of DAG-CBOR bodies over HTTP.
pub const CONTENT_TYPE: &str = "application/vnd.ipld.dag-cbor";

/// The canonical bytes of a content type or a message.
///
/// # Panics
/// Never for the types of this crate: they hold no maps with other keys than strings, and no NaN
/// enters a [`Value`] (decoders refuse it, conversions write the string `"NaN"`).
#[must_use]
pub fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(content).expect("types of the protocol have a DAG-CBOR form")
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
    serde_ipld_dagcbor::from_slice(bytes).map_err(|e| DecodeError::Malformed {
        what,
        reason: e.to_string(),
    })
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
        reason: e.to_string(),
    })
}
