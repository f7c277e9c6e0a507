//! What [`Blobs`] must do: bytes by CID, streamed, and checked whenever they are read.

use std::{
    io::{Read, Seek},
    time::{SystemTime, UNIX_EPOCH},
};

use asterism_protocol::{Cid, Timestamp};

use super::chunks::Chunks;

/// Why bytes could not be stored or served.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes have another CID than the one they came under.
    #[error("these bytes are {}, not {}", .0.found, .0.expected)]
    Mismatch(Box<Mismatch>),
    /// The store's bytes changed since they were written. They are not served.
    #[error("the stored bytes of {cid} are damaged; delete {place} and upload them again")]
    Corrupted {
        /// Which blob.
        cid: Box<Cid>,
        /// Where it lies.
        place: String,
    },
    /// More bytes than a blob may have.
    #[error("a blob has at most {max} bytes")]
    TooLarge {
        /// The bound.
        max: u64,
    },
    /// The file system failed.
    #[error("failed to {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// An object store elsewhere refused, or did not answer.
    #[error("failed to {what} {place}: {problem}")]
    Store {
        /// What was tried.
        what: &'static str,
        /// With which object or bucket.
        place: String,
        /// Why not, and what helps.
        problem: StoreProblem,
    },
}

/// Why an object store did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreProblem {
    /// The keys do not allow it.
    #[error(
        "access is denied{said}; look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, whose owner must be allowed to list the \
         bucket, and to get, put and delete objects in it"
    )]
    Denied {
        /// The store's own word for it, in brackets, if there was one.
        said: String,
    },
    /// The bucket is not there.
    #[error(
        "there is no such bucket; make it, or look at AWS_ENDPOINT_URL and AWS_REGION, which say where it is"
    )]
    NoBucket,
    /// What was being read or written was deleted meanwhile.
    #[error("it is gone")]
    Gone,
    /// It cannot be used as it is set up.
    #[error("{0}")]
    Setting(String),
    /// It is away, or has too much to do: it may work again in a moment.
    #[error("{0}; it is tried again when it is asked for again")]
    Away(String),
}

impl BlobError {
    /// What a [`BlobReader`] of a blob says when it fails.
    pub(crate) fn of_reading(cid: Cid, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::InvalidData {
            let (cid, place) = (Box::new(cid), "it".to_owned());
            return Self::Corrupted { cid, place };
        }
        // Stores that are no files say it in their own words.
        source.downcast().unwrap_or_else(|source| Self::Io {
            what: "read a blob",
            source,
        })
    }
}

/// Bytes that came under another CID than theirs.
#[derive(Debug)]
pub struct Mismatch {
    /// The CID they came under.
    pub expected: Cid,
    /// The CID they have.
    pub found: Cid,
}

/// Bytes by CID. Nothing is ever changed, so a CID's bytes may be cached for ever.
pub trait Blobs: Send + Sync + 'static {
    /// Begins a blob. Nothing is seen of it before [`BlobWriter::finish`], nothing is left of it if that never comes.
    ///
    /// # Errors
    /// The disk failed.
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// The size of a blob, if it is here. Its bytes are not looked at.
    ///
    /// # Errors
    /// The disk failed.
    fn size(&self, cid: Cid) -> Result<Option<u64>, BlobError>;

    /// A blob, verified to be the bytes of its CID.
    ///
    /// # Errors
    /// The disk failed, or the bytes are damaged.
    fn open(&self, cid: Cid) -> Result<Option<Box<dyn BlobReader>>, BlobError>;

    /// [`Blobs::size`] of several, asked for together where that is faster.
    ///
    /// # Errors
    /// The disk failed.
    fn sizes(&self, cids: &[Cid]) -> Result<Vec<Option<u64>>, BlobError> {
        cids.iter().map(|cid| self.size(*cid)).collect()
    }

    /// Which of these blobs are here. Their bytes are not looked at.
    ///
    /// # Errors
    /// The disk failed.
    fn has(&self, cids: &[Cid]) -> Result<Vec<bool>, BlobError> {
        Ok(self.sizes(cids)?.iter().map(Option::is_some).collect())
    }

    /// Deletes a blob; was it here? Whoever reads it meanwhile reads on, or hears that it is gone: of a long one that is not
    /// on this machine not all may have come.
    ///
    /// # Errors
    /// The disk failed.
    fn delete(&self, cid: Cid) -> Result<bool, BlobError>;

    /// Calls `see` with every blob, in no order that could be relied on, until it returns false.
    ///
    /// # Errors
    /// The disk failed.
    fn each(&self, see: &mut dyn FnMut(BlobEntry) -> bool) -> Result<(), BlobError>;

    /// What keeps the store from being used at this moment: it is said by `/health`, and nothing is leased meanwhile. Asked often, and
    /// never waits. A store on this machine is asked, and fails or not.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A blob as its store lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// Its name.
    pub cid: Cid,
    /// Its size in bytes.
    pub size: u64,
    /// When it was stored, by the store's clock.
    pub stored: Timestamp,
}

impl dyn Blobs {
    /// Stores bytes that are in memory.
    ///
    /// # Errors
    /// As [`BlobWriter::write`] and [`BlobWriter::finish`].
    pub fn put(&self, bytes: &[u8]) -> Result<Cid, BlobError> {
        let mut writer = self.begin()?;
        writer.write(bytes)?;
        writer.finish(None).map(|stored| stored.cid)
    }

    /// All bytes of a blob.
    ///
    /// # Errors
    /// As [`Blobs::open`].
    pub fn get(&self, cid: Cid) -> Result<Option<Vec<u8>>, BlobError> {
        let Some(mut reader) = self.open(cid)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = reader.read_to_end(&mut bytes);
        read.map_err(|source| BlobError::of_reading(cid, source))?;
        Ok(Some(bytes))
    }
}

/// A blob that is being written.
pub trait BlobWriter: Send {
    /// Adds bytes.
    ///
    /// # Errors
    /// Too many, or the disk failed.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError>;

    /// Makes the blob durable and visible; storing what is there already changes nothing.
    ///
    /// # Errors
    /// The bytes are not those of `expected`, or the disk failed.
    fn finish(self: Box<Self>, expected: Option<Cid>) -> Result<Stored, BlobError>;
}

/// A blob that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub cid: Cid,
    /// It was not there before.
    pub is_new: bool,
}

/// A blob that is being read.
pub trait BlobReader: Read + Seek + Send {
    /// Its size in bytes.
    fn size(&self) -> u64;
}

/// A writer's bytes counted and named, for every implementation.
#[derive(Default)]
pub(super) struct Naming {
    hasher: asterism_protocol::BlobHasher,
    bytes: u64,
}

impl Naming {
    pub(super) fn update(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let max = asterism_protocol::limits::BLOB_BYTES_MAX;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > max {
            return Err(BlobError::TooLarge { max });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// How many came.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The CID of all that came.
    pub(super) fn finish(self, expected: Option<Cid>) -> Result<Cid, BlobError> {
        self.finish_with_chunks(expected).map(|(cid, _)| cid)
    }

    /// As [`Naming::finish`], with the CIDs of its chunks.
    pub(super) fn finish_with_chunks(
        self,
        expected: Option<Cid>,
    ) -> Result<(Cid, Chunks), BlobError> {
        let (found, chunks) = self.hasher.finish_with_chunks();
        match expected {
            Some(expected) if expected != found => {
                Err(BlobError::Mismatch(Box::new(Mismatch { expected, found })))
            }
            _ => Ok((found, chunks.into())),
        }
    }
}

/// A time of a file system.
pub(crate) fn timestamp_of(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
