//! What survives: a [`Journal`] of events with its index of receipts, and [`Blobs`] by CID.
//!
//! Each has a memory twin here (tests, demonstrations) and a durable one: SQLite and a folder. All methods
//! block; callers keep them off the threads that serve sockets.

#[cfg(test)]
mod conformance;
mod folder;
mod lock;
mod memory;
mod sqlite;

use std::io::{Read, Seek};

use asterism_protocol::{Cid, Receipt, Remark, Timestamp};

pub use self::{
    folder::FolderBlobs,
    lock::{DataDirectory, LockError},
    memory::{MemoryBlobs, MemoryJournal},
    sqlite::SqliteJournal,
};

/// How many events the journal holds; the next one gets this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(pub u64);

/// What is appended as one: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Encoded events, in order.
    pub events: Vec<Vec<u8>>,
    /// Receipts among them that became canonical.
    pub receipts: Vec<Computed>,
}

/// A receipt as the index of receipts keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Computed {
    /// The instruction that it answers.
    pub instruction: Cid,
    /// The receipt.
    pub receipt: Receipt,
    /// What engine and guest said.
    pub remark: Remark,
}

/// A component that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentRecord {
    /// Its CID.
    pub cid: Cid,
    /// The name it was added under.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was added last.
    pub added: Timestamp,
}

/// Why a journal could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Somebody else appended.
    #[error(
        "the journal is at event {found}, not at {expected}: does another process write to it?"
    )]
    Sequence {
        /// Where the writer thought it was.
        expected: u64,
        /// Where it is.
        found: u64,
    },
    /// What was read is not what was written.
    #[error("the journal is damaged at {place}: {reason}")]
    Damaged {
        /// Which entry.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database failed.
    #[error("the journal's database failed: {0}")]
    Database(#[from] rusqlite::Error),
}

/// Events in order, receipts by instruction, and the components that were added.
pub trait Journal: Send + Sync + 'static {
    /// Appends a batch behind event number `expected`; durable when this returns. Returns the number behind it.
    ///
    /// A receipt that is known already stays as it is.
    ///
    /// # Errors
    /// The journal is elsewhere, or the disk failed: then nothing of the batch is kept.
    fn append(&self, expected: Sequence, batch: &Batch) -> Result<Sequence, JournalError>;

    /// How many events there are.
    ///
    /// # Errors
    /// The disk failed.
    fn end(&self) -> Result<Sequence, JournalError>;

    /// At most `max` encoded events from `from` on.
    ///
    /// # Errors
    /// The disk failed, or an event is missing.
    fn read(&self, from: Sequence, max: usize) -> Result<Vec<Vec<u8>>, JournalError>;

    /// The receipts of these instructions, in the order of the instructions, older ones first; none for unknown ones.
    ///
    /// # Errors
    /// The disk failed, or a receipt is damaged.
    fn receipts_of(&self, instructions: &[Cid]) -> Result<Vec<Receipt>, JournalError>;

    /// A receipt by its own CID.
    ///
    /// # Errors
    /// The disk failed, or the receipt is damaged.
    fn receipt(&self, cid: Cid) -> Result<Option<Receipt>, JournalError>;

    /// What engine and guest said when the receipt of this CID came about.
    ///
    /// # Errors
    /// The disk failed, or the remark is damaged.
    fn remark(&self, receipt: Cid) -> Result<Option<Remark>, JournalError>;

    /// Remembers a component; one that is known gets the new name and time.
    ///
    /// # Errors
    /// The disk failed.
    fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError>;

    /// The components, the one added last at the end.
    ///
    /// # Errors
    /// The disk failed, or a row is damaged.
    fn components(&self) -> Result<Vec<ComponentRecord>, JournalError>;
}

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
}

impl dyn Blobs {
    /// Stores bytes that are in memory.
    ///
    /// # Errors
    /// As [`BlobWriter::write`] and [`BlobWriter::finish`].
    pub fn put(&self, bytes: &[u8]) -> Result<Cid, BlobError> {
        let mut writer = self.begin()?;
        writer.write(bytes)?;
        writer.finish(None)
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
        reader
            .read_to_end(&mut bytes)
            .map_err(|source| BlobError::Io {
                what: "read a blob",
                source,
            })?;
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
    fn finish(self: Box<Self>, expected: Option<Cid>) -> Result<Cid, BlobError>;
}

/// A blob that is being read.
pub trait BlobReader: Read + Seek + Send {
    /// Its size in bytes.
    fn size(&self) -> u64;
}

/// A writer's bytes counted and named, for every implementation.
#[derive(Default)]
struct Naming {
    hasher: asterism_protocol::BlobHasher,
    bytes: u64,
}

impl Naming {
    fn update(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let max = asterism_protocol::limits::BLOB_BYTES_MAX;
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > max {
            return Err(BlobError::TooLarge { max });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    fn finish(self, expected: Option<Cid>) -> Result<Cid, BlobError> {
        let found = self.hasher.finish();
        match expected {
            Some(expected) if expected != found => {
                Err(BlobError::Mismatch(Box::new(Mismatch { expected, found })))
            }
            _ => Ok(found),
        }
    }
}
