//! Content in its encoding: handed on and seldom read, or named by parts of its bytes.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::OnceLock,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use crate::{
    Cid,
    cid::content_cid_of,
    codec::{behind_item, write::encoded},
    content_cid, decode,
};

/// Content in its canonical encoding until somebody looks at it. It is written and read as what it is; to write its encoding
/// into another one, nobody looks at it.
pub struct Encoded<T> {
    /// Empty where the content is there from the beginning.
    bytes: Box<[u8]>,
    /// Boxed: it is seldom there, and larger than its encoding.
    content: OnceLock<Box<T>>,
}

impl<T: DeserializeOwned> Encoded<T> {
    /// Content that was encoded before.
    ///
    /// Reading it panics if these are not the bytes of a `T`: what comes from elsewhere is decoded first.
    #[must_use]
    pub fn trusted(bytes: impl Into<Box<[u8]>>) -> Self {
        Self {
            bytes: bytes.into(),
            content: OnceLock::new(),
        }
    }

    /// The content.
    #[must_use]
    pub fn into_inner(mut self) -> T {
        self.read();
        *self.content.into_inner().expect("it was read just now")
    }

    fn read(&mut self) -> &mut T {
        let _ = &**self;
        self.bytes = Box::default();
        self.content.get_mut().expect("it was read just now")
    }
}

impl<T> From<T> for Encoded<T> {
    fn from(content: T) -> Self {
        Self {
            bytes: Box::default(),
            content: OnceLock::from(Box::new(content)),
        }
    }
}

impl<T: DeserializeOwned> Deref for Encoded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.content.get_or_init(|| {
            let content = decode("content", &self.bytes, self.bytes.len());
            Box::new(content.expect("it was encoded from such content"))
        })
    }
}

impl<T: DeserializeOwned> DerefMut for Encoded<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.read()
    }
}

impl<T: DeserializeOwned + Clone> Clone for Encoded<T> {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            content: self.content.clone(),
        }
    }
}

impl<T: DeserializeOwned + PartialEq> PartialEq for Encoded<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: DeserializeOwned + PartialEq> PartialEq<T> for Encoded<T> {
    fn eq(&self, other: &T) -> bool {
        **self == *other
    }
}

impl<T: DeserializeOwned + fmt::Debug> fmt::Debug for Encoded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: DeserializeOwned + Serialize> Serialize for Encoded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.bytes.is_empty() {
            (**self).serialize(serializer)
        } else {
            encoded(serializer, || &*self.bytes, || &**self)
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Encoded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

/// The canonical bytes of a [`crate::Task`]: it and what it runs are named without being decoded and encoded again, which
/// takes most of the time of reading a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedTask<'a> {
    bytes: &'a [u8],
    run: &'a [u8],
}

impl<'a> EncodedTask<'a> {
    /// The task that bytes begin with, and what follows it; `None` if they do not look like one.
    ///
    /// Whether it is a task is for [`decode`] to say: only where things stand is looked at.
    #[must_use]
    pub fn first_of(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        // A map of four, shorter keys first: `prf`, `run`, `meta`, `cause`.
        let prf = bytes.strip_prefix(b"\xa4\x63prf")?;
        let run = behind_item(prf).ok()?.strip_prefix(b"\x63run")?;
        let behind_run = behind_item(run).ok()?;
        let behind = behind_item(bytes).ok()?;
        let task = Self {
            bytes: &bytes[..bytes.len() - behind.len()],
            run: &run[..run.len() - behind_run.len()],
        };
        Some((task, behind))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The CID of the instruction that it runs: [`crate::Instruction::cid`].
    #[must_use]
    pub fn instruction(self) -> Cid {
        content_cid(self.run)
    }

    /// What its receipts say was run: [`crate::Invocation::cid`].
    #[must_use]
    pub fn invocation(self) -> Cid {
        content_cid_of([b"\xa1\x64task", self.bytes])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, encode, to_json, to_value};

    #[test]
    fn encoded_or_not_it_is_the_same() {
        let limits = Limits::default();
        let bytes = encode(&limits);
        let mut encoded = Encoded::<Limits>::trusted(&*bytes);
        assert!(encode(&encoded) == bytes);
        assert!(
            encoded.content.get().is_none(),
            "nobody has to read it to write it"
        );
        assert_eq!(to_json(&encoded), to_json(&limits));
        assert_eq!(to_value(&encoded), to_value(&limits));
        assert_eq!(encoded, Encoded::from(limits));
        assert_eq!(encoded, limits);
        assert_eq!(encoded.clone().into_inner(), limits);
        assert_eq!(format!("{encoded:?}"), format!("{limits:?}"));
        encoded.fuel = 1;
        assert!(encode(&encoded) != bytes, "what was changed is written");
        let read: Encoded<Limits> = decode("limits", &bytes, bytes.len()).unwrap();
        assert_eq!(*read, limits);
    }
}
