//! What a [`Journal`] must do: events in order, each partition by one writer at a time, and one index of receipts.

use std::{collections::BTreeSet, time::Duration};

use asterism_protocol::{
    Cid, Receipt, Remark, Timestamp, content_cid, decode, encode, limits::FRAME_BYTES_MAX,
};
use crc32fast::Hasher;
use tracing::error;

use super::{Decision, Meeting};

/// A part of all workflows with a log of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition(pub u16);

/// How often a partition changed hands. Whoever held it before is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// How many events a partition's log has seen; the next one gets this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(pub u64);

/// The right to write to a partition, as long as nobody else was given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// The partition.
    pub partition: Partition,
    /// The number of the holder.
    pub epoch: Epoch,
}

/// Who holds a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Tells one process from every other, also from one that had the same address before.
    pub name: String,
    /// Where others reach it, such as `http://10.0.0.7:3000`.
    pub address: String,
}

/// What came of asking for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is the asker's now; whoever held it before can write no more.
    Granted(Tenure),
    /// Somebody else holds it.
    Held(Holder),
}

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
    /// The receipt's name: it is told of, too, and making it takes as long as writing the receipt.
    pub cid: Cid,
    /// The instruction that it answers.
    pub instruction: Cid,
    /// The receipt's canonical bytes: to be written, it need not be decoded.
    pub receipt: Vec<u8>,
    /// What engine and guest said.
    pub remark: Remark,
}

/// A receipt as a database's row has it.
pub(super) struct ReceiptRow {
    pub(super) cid: [u8; 32],
    pub(super) instruction: [u8; 32],
    pub(super) receipt: Vec<u8>,
    pub(super) remark: Vec<u8>,
    pub(super) sum: i64,
}

impl Computed {
    pub(super) fn row(&self) -> ReceiptRow {
        let remark = encode(&self.remark);
        let cid = self.cid.digest();
        ReceiptRow {
            sum: sum_of_remark(&cid, &remark),
            cid,
            instruction: self.instruction.digest(),
            receipt: self.receipt.clone(),
            remark,
        }
    }
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
    /// The partition passed to somebody else.
    #[error(
        "partition {} passed to another coordinator (epoch {}, ours was {})",
        .tenure.partition.0, .found.0, .tenure.epoch.0
    )]
    Fenced {
        /// What the writer thought it had.
        tenure: Tenure,
        /// The epoch of whoever has it.
        found: Epoch,
    },
    /// What was read is not what was written.
    #[error("the journal is damaged at {place}: {reason}")]
    Damaged {
        /// Which entry.
        place: String,
        /// What is wrong with it.
        reason: String,
        /// The number of the last entry that is damaged, where entries have numbers: those behind it can be read.
        last: Option<u64>,
    },
    /// It was written by a newer program.
    #[error("the journal has version {found} and this program knows {known}: use a newer program")]
    Newer {
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// Its partitions were made with it.
    #[error(
        "the journal has {found} partitions and {wanted} are asked for: their number stays as it was made"
    )]
    Partitions {
        /// How many there are.
        found: u16,
        /// How many are asked for.
        wanted: u16,
    },
    /// The disk, the database or the way to it failed; it may work again later.
    #[error("the journal's database failed to {what}: {source}")]
    Failed {
        /// What was tried; completes "failed to".
        what: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Events in order, receipts by instruction, and the components that were added.
///
/// Events belong to a partition, which has one writer at a time: it is given a [`Tenure`] for a while, keeps it by
/// [`Journal::renew`], and is refused once somebody else was given one, however late it notices. Receipts and
/// components are known to all partitions.
pub trait Journal: Send + Sync + 'static {
    /// How many partitions there are, from the first day on. A journal that one process has for itself has one.
    fn partitions(&self) -> u16 {
        1
    }

    /// Says for `term` that a coordinator is here, and how much waits for executors in the partitions that it holds; learns who
    /// else is here and holds what.
    ///
    /// # Errors
    /// The disk failed.
    fn meet(
        &self,
        holder: &Holder,
        term: Duration,
        unmet: &[(Tenure, u64)],
    ) -> Result<Meeting, JournalError> {
        let _ = (term, unmet);
        Ok(Meeting {
            present: vec![holder.clone()],
            ..Meeting::default()
        })
    }

    /// Says that a coordinator is here no longer.
    ///
    /// # Errors
    /// The disk failed.
    fn part(&self, holder: &Holder) -> Result<(), JournalError> {
        let _ = holder;
        Ok(())
    }

    /// Notes a decision for all partitions, in place of an earlier one of the same executor.
    ///
    /// # Errors
    /// The disk failed.
    fn decide(&self, decision: &Decision) -> Result<(), JournalError> {
        let _ = decision;
        Ok(())
    }

    /// The decisions behind number `after`, with their numbers, which grow.
    ///
    /// # Errors
    /// The disk failed, or one is damaged.
    fn decisions(&self, after: u64) -> Result<Vec<(u64, Decision)>, JournalError> {
        let _ = after;
        Ok(Vec::new())
    }

    /// Asks for a partition, for `term`. It is granted when nobody holds it, when its holder's term is over, and to the
    /// holder itself; each grant begins a new epoch.
    ///
    /// # Errors
    /// The disk failed.
    fn acquire(
        &self,
        partition: Partition,
        holder: &Holder,
        term: Duration,
    ) -> Result<Asked, JournalError>;

    /// Keeps a partition for another `term` from now on.
    ///
    /// # Errors
    /// Somebody else was given it, or the disk failed.
    fn renew(&self, tenure: Tenure, term: Duration) -> Result<(), JournalError>;

    /// Gives a partition back before the term is over, so that nobody waits for its end. The tenure can write no more.
    ///
    /// # Errors
    /// Somebody else was given it, or the disk failed.
    fn release(&self, tenure: Tenure) -> Result<(), JournalError>;

    /// Appends a batch behind event number `expected`; durable when this returns. Returns the number behind it.
    ///
    /// A receipt that is known already stays as it is.
    ///
    /// # Errors
    /// Somebody else holds the partition, it is elsewhere, or the disk failed: then nothing of the batch is kept. Only
    /// after [`JournalError::Failed`] it may be kept all the same, whole: an answer that was lost tells nothing.
    fn append(
        &self,
        tenure: Tenure,
        expected: Sequence,
        batch: &Batch,
    ) -> Result<Sequence, JournalError>;

    /// How many events there were.
    ///
    /// # Errors
    /// The disk failed.
    fn end(&self, partition: Partition) -> Result<Sequence, JournalError>;

    /// At most `max` encoded events from `from` on, with their numbers. None is missing but those that
    /// [`Journal::compact`] dropped, and each is as it was written. It ends before one that is damaged.
    ///
    /// # Errors
    /// The disk failed, or the first event is damaged or missing.
    fn read(
        &self,
        partition: Partition,
        from: Sequence,
        max: usize,
    ) -> Result<Vec<(Sequence, Vec<u8>)>, JournalError>;

    /// Drops the events before `before` whose numbers are not in `keep`: what is left is the snapshot.
    ///
    /// # Errors
    /// Somebody else holds the partition, or the disk failed: then nothing is dropped.
    fn compact(
        &self,
        tenure: Tenure,
        before: Sequence,
        keep: &BTreeSet<Sequence>,
    ) -> Result<(), JournalError>;

    /// The receipts of these instructions, in the order of the instructions, older ones first; none for unknown ones. A
    /// damaged one is as good as unknown: its task is computed again.
    ///
    /// # Errors
    /// The disk failed.
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

    /// At most `max` receipts behind number `after`, with their numbers, which grow. It ends before one that is damaged.
    ///
    /// # Errors
    /// The disk failed, or the first receipt is damaged.
    fn receipts(&self, after: u64, max: usize) -> Result<Vec<(u64, Receipt)>, JournalError>;

    /// Remembers a component; one that is known gets the new name and time.
    ///
    /// # Errors
    /// The disk failed.
    fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError>;

    /// Changes whenever a component is added, by whomever.
    ///
    /// # Errors
    /// The disk failed.
    fn components_stamp(&self) -> Result<u64, JournalError> {
        Ok(0)
    }

    /// The components, the one added last at the end.
    ///
    /// # Errors
    /// The disk failed, or a row is damaged.
    fn components(&self) -> Result<Vec<ComponentRecord>, JournalError>;
}

/// What a log says of itself: events that were dropped are told from events that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compacted {
    /// Below this number events were dropped.
    pub(super) before: u64,
    /// So many were kept there.
    pub(super) kept: u64,
}

/// Numbers of events that were read, each checked to be the one that must come.
pub(super) struct InOrder {
    next: u64,
    compacted: Compacted,
}

impl InOrder {
    pub(super) fn new(from: Sequence, compacted: Compacted) -> Self {
        Self {
            next: from.0,
            compacted,
        }
    }

    /// Takes the next number.
    pub(super) fn take(&mut self, number: u64) -> Result<Sequence, JournalError> {
        // Where events were dropped, any later number will do; how many there are is checked where reading begins.
        let least = self.next.max(self.compacted.before);
        if number < self.next || number > least {
            return Err(JournalError::Damaged {
                place: format!("event {least}"),
                reason: format!("it is missing, {number} comes next"),
                last: number.checked_sub(1).filter(|last| *last >= least),
            });
        }
        self.next = number + 1;
        Ok(Sequence(number))
    }
}

/// Were all events kept that were to be kept?
pub(super) fn check_kept(compacted: Compacted, found: u64) -> Result<(), JournalError> {
    if found == compacted.kept {
        return Ok(());
    }
    let Compacted { before, kept } = compacted;
    Err(JournalError::Damaged {
        place: format!("the events before {before}"),
        reason: format!("{kept} were kept and {found} are there"),
        // Reading does not begin at the first event then, and they are not counted again.
        last: Some(0),
    })
}

/// What is stored beside an event to tell whether it changed, or came to another place.
pub(super) fn sum_of_event(partition: Partition, sequence: u64, event: &[u8]) -> i64 {
    let mut sum = Hasher::new();
    sum.update(&partition.0.to_le_bytes());
    sum.update(&sequence.to_le_bytes());
    sum.update(event);
    sum.finalize().into()
}

/// An event as it was stored with its sum.
pub(super) fn checked_event(
    partition: Partition,
    sequence: Sequence,
    event: Vec<u8>,
    sum: i64,
) -> Result<(Sequence, Vec<u8>), JournalError> {
    if sum == sum_of_event(partition, sequence.0, &event) {
        return Ok((sequence, event));
    }
    Err(JournalError::Damaged {
        place: format!("event {}", sequence.0),
        reason: "its bytes are not those that were written".to_owned(),
        last: Some(sequence.0),
    })
}

/// What is stored beside the remark of a receipt; the receipt itself is checked by its CID.
pub(super) fn sum_of_remark(receipt: &[u8], remark: &[u8]) -> i64 {
    let mut sum = Hasher::new();
    sum.update(receipt);
    sum.update(remark);
    sum.finalize().into()
}

/// A remark as it was stored with its sum, for the receipt of this CID.
pub(super) fn checked_remark(cid: Cid, bytes: &[u8], sum: i64) -> Result<Remark, JournalError> {
    let damaged = |reason| JournalError::Damaged {
        place: format!("the remark of receipt {cid}"),
        reason,
        last: None,
    };
    if sum != sum_of_remark(&cid.digest(), bytes) {
        return Err(damaged(
            "its bytes are not those that were written".to_owned(),
        ));
    }
    decode("remark", bytes, FRAME_BYTES_MAX).map_err(|error| damaged(error.to_string()))
}

/// The entries before the first one that is damaged; its error, if it is the very first.
pub(super) fn before_damage<T>(
    entries: impl Iterator<Item = Result<T, JournalError>>,
) -> Result<Vec<T>, JournalError> {
    let mut whole = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => whole.push(entry),
            Err(JournalError::Damaged { .. }) if !whole.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(whole)
}

/// The receipts that are whole; of the others it is said that they are not.
pub(super) fn whole_receipts(
    receipts: impl Iterator<Item = Result<Receipt, JournalError>>,
) -> Result<Vec<Receipt>, JournalError> {
    let whole = receipts.filter(|receipt| {
        if let Err(error @ JournalError::Damaged { last: Some(_), .. }) = receipt {
            error!(%error, "a receipt cannot be used and its task is computed again; `asterism doctor` tells more");
            return false;
        }
        true
    });
    whole.collect()
}

/// A receipt as it was stored under the digest of its CID; `number` is its own in the index.
pub(super) fn receipt_of_bytes(
    number: Option<u64>,
    cid: &[u8],
    bytes: &[u8],
) -> Result<Receipt, JournalError> {
    let damaged = |reason: String| JournalError::Damaged {
        place: match cid.try_into() {
            Ok(digest) => format!("receipt {}", Cid::of_content_digest(digest)),
            Err(_) => "a receipt whose name is damaged".to_owned(),
        },
        reason,
        last: number,
    };
    let receipt: Receipt =
        decode("receipt", bytes, FRAME_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
    // The encoding is canonical: these bytes are the receipt's own.
    if content_cid(bytes).digest() != cid {
        return Err(damaged("its bytes have another CID".to_owned()));
    }
    Ok(receipt)
}
