//! What survives: a [`Journal`] of events with its index of receipts, and [`Blobs`] by CID.
//!
//! Each has a memory twin here (tests, demonstrations) and a durable one: SQLite and a folder. A journal may also be in
//! PostgreSQL, and blobs in an object store. All methods block; callers keep them off the threads that serve sockets.

mod belonging;
mod blob_place;
mod blobs;
mod chunks;
#[cfg(test)]
mod conformance;
mod database;
#[cfg(test)]
pub(crate) mod faults;
mod folder;
mod journal;
mod lock;
mod memory;
mod numbers;
mod objects;
mod postgres;
mod sharing;
mod sqlite;
mod terms;
mod tls;

pub(crate) use self::{
    belonging::{
        BLOBS, OpenedBlobs, Owner, open_blobs, open_existing_blobs, open_existing_in, open_in,
        open_inside, path_inside,
    },
    blobs::timestamp_of,
};
pub use self::{
    belonging::{BlobsElsewhere, WrongBlobs, WrongJournal},
    blob_place::{BlobPlace, NoBlobPlace},
    blobs::{BlobEntry, BlobError, BlobReader, BlobWriter, Blobs, Mismatch, StoreProblem, Stored},
    database::{Database, NoDatabase},
    folder::FolderBlobs,
    journal::{
        Asked, Batch, ComponentRecord, Computed, Epoch, Holder, Journal, JournalError, Partition,
        Sequence, Tenure,
    },
    lock::{DataDirectory, LockError, make_private_folder},
    memory::{MemoryBlobs, MemoryJournal},
    objects::{ObjectBlobs, S3Access},
    postgres::PostgresJournal,
    sharing::{Decision, Meeting, Seen},
    sqlite::SqliteJournal,
};
use self::{
    blobs::Naming,
    journal::{
        Compacted, InOrder, ReceiptRow, before_damage, check_kept, checked_event, checked_remark,
        receipt_of_bytes, sum_of_event, sum_of_remark, whole_receipts,
    },
};
