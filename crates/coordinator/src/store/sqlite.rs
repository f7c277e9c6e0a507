//! A journal in SQLite: one file, write-ahead log, every commit on the disk before it counts.

mod partitions;
mod tables;

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use asterism_protocol::{Cid, Receipt, Remark, Timestamp};
use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Row, Rows, Transaction, TransactionBehavior,
    params,
};

use self::{
    partitions::{check_tenant, end, partition_of, row_of, set_epoch},
    tables::{MIGRATIONS, migrate, version},
};
use super::{
    Asked, Batch, ComponentRecord, Computed, Epoch, Holder, InOrder, Journal, JournalError,
    Partition, ReceiptRow, Sequence, Tenure, before_damage, check_kept, checked_event,
    checked_remark,
    numbers::{signed, unsigned},
    receipt_of_bytes, sum_of_event,
    terms::Terms,
    whole_receipts,
};
use crate::limits::RECEIPTS_PER_INSTRUCTION_MAX;

/// A journal in a file. Who holds a partition is only remembered while it is open: the file has one process.
pub struct SqliteJournal {
    path: PathBuf,
    writer: Mutex<Writer>,
    /// Reads do not wait for a commit.
    reader: Mutex<Connection>,
}

struct Writer {
    connection: Connection,
    terms: Terms,
}

impl SqliteJournal {
    /// Opens the file, which is made if it is not there.
    ///
    /// # Errors
    /// It is no such file, or of a newer version, or the disk failed.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let mut connection = Connection::open(path).trying("open the file")?;
        let mode: String = connection
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .trying("begin a write-ahead log")?;
        if mode != "wal" {
            return Err(damaged(
                "the file",
                format!("no write-ahead log is possible there (mode {mode})"),
            ));
        }
        connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
            .trying("open the file")?;
        migrate(&mut connection)?;
        Self::beside(path, connection)
    }

    /// Opens a file that is there, to read it: another process may be writing.
    ///
    /// # Errors
    /// It is no such file, or of another version, or the disk failed.
    pub fn open_existing(path: &Path) -> Result<Self, JournalError> {
        // A write-ahead log that was left is read too, and that needs a place of its own beside the file.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).trying("open the file")?;
        connection
            .execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000;")
            .trying("open the file")?;
        let (found, known) = (version(&connection)?, MIGRATIONS.len() as i64);
        match found.cmp(&known) {
            Ordering::Equal => Self::beside(path, connection),
            Ordering::Greater => Err(JournalError::Newer { found, known }),
            Ordering::Less => Err(damaged(
                "the file",
                format!("it has version {found} of {known}; start a coordinator from it once"),
            )),
        }
    }

    /// A journal with this connection to write, and another one to read.
    fn beside(path: &Path, connection: Connection) -> Result<Self, JournalError> {
        let reader = Connection::open(path).trying("open the file")?;
        reader
            .execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000;")
            .trying("open the file")?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(Writer {
                connection,
                terms: Terms::default(),
            }),
            reader: Mutex::new(reader),
        })
    }

    /// Writes a copy of the whole journal, as it is at one moment, to a new file.
    ///
    /// # Errors
    /// There is a file already, or a disk failed.
    pub fn copy_to(&self, path: &Path) -> Result<(), JournalError> {
        // A connection of its own: copying takes a while, and the others are for those who wait.
        let copier = Connection::open(&self.path).trying("copy itself")?;
        copier
            .execute("VACUUM INTO ?1", [path.display().to_string()])
            .trying("copy itself")
            .map(drop)
    }

    /// What SQLite finds wrong with the file; nothing, if all is well.
    ///
    /// # Errors
    /// The disk failed.
    pub fn check(&self) -> Result<Vec<String>, JournalError> {
        const WHAT: &str = "check itself";
        let reader = self.reader();
        let mut check = reader.prepare("PRAGMA integrity_check").trying(WHAT)?;
        let lines = check.query_map([], |row| row.get(0)).trying(WHAT)?;
        let lines: Vec<String> = lines.collect::<Result<_, _>>().trying(WHAT)?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction that writes from its beginning: it waits for another's end then, and not in its middle.
fn begin<'a>(
    connection: &'a mut Connection,
    what: &'static str,
) -> Result<Transaction<'a>, JournalError> {
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .trying(what)
}

/// Says what was tried when the database refuses.
trait Trying<T> {
    fn trying(self, what: &'static str) -> Result<T, JournalError>;
}

impl<T> Trying<T> for rusqlite::Result<T> {
    fn trying(self, what: &'static str) -> Result<T, JournalError> {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        self.map_err(|source| match source.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => damaged("the file", source),
            _ => JournalError::Failed {
                what,
                source: source.into(),
            },
        })
    }
}

fn damaged(place: impl Into<String>, reason: impl std::fmt::Display) -> JournalError {
    JournalError::Damaged {
        place: place.into(),
        reason: format!("{reason}"),
        last: None,
    }
}

/// What is in the rows, one after the other.
fn each<'r, T>(
    rows: &'r mut Rows<'_>,
    what: &'static str,
    mut read: impl FnMut(&Row<'_>) -> Result<T, JournalError> + 'r,
) -> impl Iterator<Item = Result<T, JournalError>> + 'r {
    std::iter::from_fn(move || match rows.next().trying(what) {
        Ok(row) => row.map(&mut read),
        Err(error) => Some(Err(error)),
    })
}

/// A receipt of a row of number, digest and bytes.
fn numbered_receipt(row: &Row<'_>, what: &'static str) -> Result<(u64, Receipt), JournalError> {
    let number = unsigned(row.get(0).trying(what)?);
    let cid: Vec<u8> = row.get(1).trying(what)?;
    let bytes: Vec<u8> = row.get(2).trying(what)?;
    let receipt = receipt_of_bytes(Some(number), &cid, &bytes)?;
    Ok((number, receipt))
}

impl Journal for SqliteJournal {
    fn acquire(
        &self,
        partition: Partition,
        holder: &Holder,
        term: Duration,
    ) -> Result<Asked, JournalError> {
        let Writer { connection, terms } = &mut *self.writer();
        if let Some(other) = terms.begin(partition, holder, term) {
            return Ok(Asked::Held(other));
        }
        let transaction = begin(connection, "note who holds a partition")?;
        let epoch = Epoch(partition_of(&transaction, partition)?.0.0 + 1);
        set_epoch(&transaction, partition, epoch)?;
        transaction.commit().trying("note who holds a partition")?;
        Ok(Asked::Granted(Tenure { partition, epoch }))
    }

    fn renew(&self, tenure: Tenure, term: Duration) -> Result<(), JournalError> {
        let Writer { connection, terms } = &mut *self.writer();
        check_tenant(connection, tenure)?;
        terms.extend(tenure.partition, term);
        Ok(())
    }

    fn release(&self, tenure: Tenure) -> Result<(), JournalError> {
        let Writer { connection, terms } = &mut *self.writer();
        let transaction = begin(connection, "give a partition back")?;
        check_tenant(&transaction, tenure)?;
        set_epoch(&transaction, tenure.partition, Epoch(tenure.epoch.0 + 1))?;
        transaction.commit().trying("give a partition back")?;
        terms.end(tenure.partition);
        Ok(())
    }

    fn append(
        &self,
        tenure: Tenure,
        expected: Sequence,
        batch: &Batch,
    ) -> Result<Sequence, JournalError> {
        const WHAT: &str = "append events";
        let mut writer = self.writer();
        let transaction = begin(&mut writer.connection, WHAT)?;
        let partition = tenure.partition;
        let compacted = check_tenant(&transaction, tenure)?;
        let found = end(&transaction, partition, compacted)?;
        if found != expected.0 {
            return Err(JournalError::Sequence {
                expected: expected.0,
                found,
            });
        }
        let mut next = found;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO events (sequence, event, sum) VALUES (?1, ?2, ?3)")
                .trying(WHAT)?;
            for event in &batch.events {
                let sum = sum_of_event(partition, next, event);
                insert
                    .execute(params![row_of(partition, next), event, sum])
                    .trying(WHAT)?;
                next += 1;
            }
            let mut insert = transaction
                .prepare_cached(
                    "INSERT INTO receipts (cid, instruction, receipt, remark, sum) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (cid) DO NOTHING",
                )
                .trying(WHAT)?;
            for row in batch.receipts.iter().map(Computed::row) {
                let ReceiptRow {
                    cid,
                    instruction,
                    receipt,
                    remark,
                    sum,
                } = row;
                insert
                    .execute(params![cid, instruction, receipt, remark, sum])
                    .trying(WHAT)?;
            }
        }
        transaction.commit().trying(WHAT)?;
        Ok(Sequence(next))
    }

    fn end(&self, partition: Partition) -> Result<Sequence, JournalError> {
        let mut reader = self.reader();
        // One state of the file for both questions.
        let transaction = reader.transaction().trying("find the last event")?;
        let (_, compacted) = partition_of(&transaction, partition)?;
        end(&transaction, partition, compacted).map(Sequence)
    }

    fn read(
        &self,
        partition: Partition,
        from: Sequence,
        max: usize,
    ) -> Result<Vec<(Sequence, Vec<u8>)>, JournalError> {
        const WHAT: &str = "read events";
        let mut reader = self.reader();
        let transaction = reader.transaction().trying(WHAT)?;
        let (_, compacted) = partition_of(&transaction, partition)?;
        let first = row_of(partition, 0);
        if from == Sequence(0) && compacted.before > 0 {
            let kept: i64 = transaction
                .query_row(
                    "SELECT count(*) FROM events WHERE sequence >= ?1 AND sequence < ?2",
                    params![first, row_of(partition, compacted.before)],
                    |row| row.get(0),
                )
                .trying(WHAT)?;
            check_kept(compacted, unsigned(kept))?;
        }
        let mut order = InOrder::new(from, compacted);
        let mut select = transaction
            .prepare_cached(
                "SELECT sequence, event, sum FROM events WHERE sequence BETWEEN ?1 AND ?2
                 ORDER BY sequence LIMIT ?3",
            )
            .trying(WHAT)?;
        let mut rows = select
            .query(params![
                row_of(partition, from.0),
                row_of(partition, u64::MAX),
                signed(max as u64)
            ])
            .trying(WHAT)?;
        before_damage(each(&mut rows, WHAT, |row| {
            let number: i64 = row.get(0).trying(WHAT)?;
            let sequence = order.take(unsigned(number - first))?;
            let (event, sum) = (row.get(1).trying(WHAT)?, row.get(2).trying(WHAT)?);
            checked_event(partition, sequence, event, sum)
        }))
    }

    fn compact(
        &self,
        tenure: Tenure,
        before: Sequence,
        keep: &BTreeSet<Sequence>,
    ) -> Result<(), JournalError> {
        const WHAT: &str = "drop events that are no longer needed";
        let mut writer = self.writer();
        let transaction = begin(&mut writer.connection, WHAT)?;
        let partition = tenure.partition;
        let compacted = check_tenant(&transaction, tenure)?;
        transaction
            .execute_batch("CREATE TEMP TABLE IF NOT EXISTS keep (sequence INTEGER PRIMARY KEY) STRICT; DELETE FROM keep;")
            .trying(WHAT)?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO keep (sequence) VALUES (?1)")
                .trying(WHAT)?;
            for number in keep {
                insert.execute([row_of(partition, number.0)]).trying(WHAT)?;
            }
        }
        transaction
            .execute(
                "DELETE FROM events WHERE sequence >= ?1 AND sequence < ?2
                 AND sequence NOT IN (SELECT sequence FROM keep)",
                params![row_of(partition, 0), row_of(partition, before.0)],
            )
            .trying(WHAT)?;
        let before = before.0.max(compacted.before);
        let kept: i64 = transaction
            .query_row(
                "SELECT count(*) FROM events WHERE sequence >= ?1 AND sequence < ?2",
                params![row_of(partition, 0), row_of(partition, before)],
                |row| row.get(0),
            )
            .trying(WHAT)?;
        transaction
            .execute(
                "UPDATE partitions SET compacted = ?2, kept = ?3 WHERE partition = ?1",
                params![partition.0, signed(before), kept],
            )
            .trying(WHAT)?;
        transaction.execute("DELETE FROM keep", []).trying(WHAT)?;
        transaction.commit().trying(WHAT)
    }

    fn receipts_of(&self, instructions: &[Cid]) -> Result<Vec<Receipt>, JournalError> {
        const WHAT: &str = "find receipts";
        let reader = self.reader();
        let mut select = reader
            .prepare_cached(
                "SELECT number, cid, receipt FROM (SELECT number, cid, receipt FROM receipts WHERE instruction = ?1
                 ORDER BY number DESC LIMIT ?2) ORDER BY number",
            )
            .trying(WHAT)?;
        let mut receipts = Vec::new();
        for instruction in instructions {
            let mut rows = select
                .query(params![
                    instruction.digest(),
                    signed(RECEIPTS_PER_INSTRUCTION_MAX as u64)
                ])
                .trying(WHAT)?;
            let found = each(&mut rows, WHAT, |row| Ok(numbered_receipt(row, WHAT)?.1));
            receipts.extend(whole_receipts(found)?);
        }
        Ok(receipts)
    }

    fn receipt(&self, cid: Cid) -> Result<Option<Receipt>, JournalError> {
        let reader = self.reader();
        let bytes: Option<Vec<u8>> = reader
            .prepare_cached("SELECT receipt FROM receipts WHERE cid = ?1")
            .and_then(|mut select| {
                select
                    .query_row([cid.digest()], |row| row.get(0))
                    .optional()
            })
            .trying("find a receipt")?;
        bytes
            .map(|bytes| receipt_of_bytes(None, &cid.digest(), &bytes))
            .transpose()
            .map(|receipt| {
                // Only digests are stored: a CID of another kind with the same digest names something else.
                receipt.filter(|receipt| receipt.cid() == cid)
            })
    }

    fn remark(&self, receipt: Cid) -> Result<Option<Remark>, JournalError> {
        let reader = self.reader();
        let stored: Option<(Vec<u8>, i64)> = reader
            .prepare_cached("SELECT remark, sum FROM receipts WHERE cid = ?1")
            .and_then(|mut select| {
                select
                    .query_row([receipt.digest()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .trying("find a remark")?;
        stored
            .map(|(remark, sum)| checked_remark(receipt, &remark, sum))
            .transpose()
    }

    fn receipts(&self, after: u64, max: usize) -> Result<Vec<(u64, Receipt)>, JournalError> {
        const WHAT: &str = "list receipts";
        let reader = self.reader();
        let mut select = reader
            .prepare_cached(
                "SELECT number, cid, receipt FROM receipts WHERE number > ?1 ORDER BY number LIMIT ?2",
            )
            .trying(WHAT)?;
        let mut rows = select
            .query(params![signed(after), signed(max as u64)])
            .trying(WHAT)?;
        before_damage(each(&mut rows, WHAT, |row| numbered_receipt(row, WHAT)))
    }

    fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError> {
        const WHAT: &str = "remember a component";
        let ComponentRecord {
            cid,
            name,
            bytes,
            added,
        } = component;
        let mut writer = self.writer();
        let transaction = begin(&mut writer.connection, WHAT)?;
        transaction
            .execute("DELETE FROM components WHERE cid = ?1", [cid.to_string()])
            .trying(WHAT)?;
        transaction
            .execute(
                "INSERT INTO components (cid, name, bytes, added) VALUES (?1, ?2, ?3, ?4)",
                params![cid.to_string(), name, signed(*bytes), signed(added.0)],
            )
            .trying(WHAT)?;
        transaction.commit().trying(WHAT)
    }

    fn components(&self) -> Result<Vec<ComponentRecord>, JournalError> {
        const WHAT: &str = "list components";
        let reader = self.reader();
        let mut select = reader
            .prepare_cached("SELECT cid, name, bytes, added FROM components ORDER BY number")
            .trying(WHAT)?;
        let mut rows = select.query([]).trying(WHAT)?;
        let mut components = Vec::new();
        while let Some(row) = rows.next().trying(WHAT)? {
            let cid: String = row.get(0).trying(WHAT)?;
            components.push(ComponentRecord {
                cid: cid
                    .parse()
                    .map_err(|error| damaged(format!("component {cid}"), error))?,
                name: row.get(1).trying(WHAT)?,
                bytes: unsigned(row.get(2).trying(WHAT)?),
                added: Timestamp(unsigned(row.get(3).trying(WHAT)?)),
            });
        }
        Ok(components)
    }
}
