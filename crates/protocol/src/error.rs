//! What can be wrong with bytes and texts that claim to be content.

/// Bytes that are not the strict DAG-CBOR of the type expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the bound of its kind.
    #[error("{what} of {size} bytes is larger than {max} bytes")]
    TooLarge {
        /// What was decoded.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// Not DAG-CBOR, not canonical, or not of this type.
    #[error("not a valid {what}: {reason}")]
    Malformed {
        /// What was decoded.
        what: &'static str,
        /// The decoder's words.
        reason: String,
    },
}

/// A text or value that is not what its place asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a CID, or not one of the kinds that are used here.
    #[error("`{text}` is not a CID used here: {reason}")]
    Cid {
        /// What was read.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A resource that is not `ipfs://<cid>`.
    #[error("`{0}` is not a resource: write `ipfs://<cid of the component>`")]
    Resource(String),
    /// A value that has no place in the content model.
    #[error("{path}: {reason}")]
    Value {
        /// Where, such as `args[1].width`.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A key or signature that does not verify.
    #[error("signature refused: {0}")]
    Signature(&'static str),
}

impl Error {
    /// The same mistake, seen from further outside.
    pub(crate) fn inside(self, outer: &str) -> Self {
        match self {
            Self::Value { path, reason } => Self::Value {
                path: format!("{outer}.{path}"),
                reason,
            },
            other @ (Self::Cid { .. } | Self::Resource(_) | Self::Signature(_)) => other,
        }
    }
}
