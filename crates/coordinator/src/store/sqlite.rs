//! A journal in SQLite: one file, write-ahead log, every commit on the disk before it counts.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use asterism_protocol::{Cid, Receipt, Remark, Timestamp, decode, encode, limits::FRAME_BYTES_MAX};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Batch, ComponentRecord, Computed, Journal, JournalError, Sequence};
use crate::limits::RECEIPTS_PER_INSTRUCTION_MAX;

/// Counted up when tables change; a file of a newer version is refused.
const VERSION: i64 = 1;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, event BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS receipts (
        number INTEGER PRIMARY KEY,
        cid BLOB NOT NULL UNIQUE,
        instruction BLOB NOT NULL,
        receipt BLOB NOT NULL,
        remark BLOB NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS receipts_by_instruction ON receipts (instruction, number);
    CREATE TABLE IF NOT EXISTS components (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        cid TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        added INTEGER NOT NULL
    ) STRICT;
";

/// A journal in a file.
pub struct SqliteJournal {
    writer: Mutex<Connection>,
    /// Reads do not wait for a commit.
    reader: Mutex<Connection>,
}

impl SqliteJournal {
    /// Opens the file, which is made if it is not there.
    ///
    /// # Errors
    /// It is no such file, or of a newer version, or the disk failed.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let writer = Connection::open(path)?;
        let mode: String = writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(damaged(
                "the file",
                format!("no write-ahead log is possible there (mode {mode})"),
            ));
        }
        writer.execute_batch("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")?;
        match writer.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? {
            0 => {
                writer.execute_batch(TABLES)?;
                writer.pragma_update(None, "user_version", VERSION)?;
            }
            VERSION => {}
            found => {
                let reason = format!(
                    "it has version {found}, this program knows {VERSION}: use a newer program"
                );
                return Err(damaged("the file", reason));
            }
        }
        let reader = Connection::open(path)?;
        reader.execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000;")?;
        Ok(Self {
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
        })
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn damaged(place: impl Into<String>, reason: impl std::fmt::Display) -> JournalError {
    JournalError::Damaged {
        place: place.into(),
        reason: format!("{reason}"),
    }
}

/// SQLite counts in signed integers; events, bytes and milliseconds stay far below their end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn end(connection: &Connection) -> Result<u64, JournalError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(sequence) FROM events")?
        .query_row([], |row| row.get(0))?;
    Ok(last.map_or(0, |last| unsigned(last) + 1))
}

fn receipt_of_row(cid: &[u8], bytes: &[u8]) -> Result<Receipt, JournalError> {
    let place = || format!("receipt {cid:02x?}");
    let receipt: Receipt =
        decode("receipt", bytes, FRAME_BYTES_MAX).map_err(|error| damaged(place(), error))?;
    if receipt.cid().digest() != cid {
        return Err(damaged(place(), "its bytes have another CID"));
    }
    Ok(receipt)
}

impl Journal for SqliteJournal {
    fn append(&self, expected: Sequence, batch: &Batch) -> Result<Sequence, JournalError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction()?;
        let found = end(&transaction)?;
        if found != expected.0 {
            return Err(JournalError::Sequence {
                expected: expected.0,
                found,
            });
        }
        let mut next = found;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO events (sequence, event) VALUES (?1, ?2)")?;
            for event in &batch.events {
                insert.execute(params![signed(next), event])?;
                next += 1;
            }
            let mut insert = transaction.prepare_cached(
                "INSERT INTO receipts (cid, instruction, receipt, remark) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (cid) DO NOTHING",
            )?;
            for Computed {
                instruction,
                receipt,
                remark,
            } in &batch.receipts
            {
                let bytes = encode(receipt);
                let cid = asterism_protocol::content_cid(&bytes);
                insert.execute(params![
                    cid.digest(),
                    instruction.digest(),
                    bytes,
                    encode(remark)
                ])?;
            }
        }
        transaction.commit()?;
        Ok(Sequence(next))
    }

    fn end(&self) -> Result<Sequence, JournalError> {
        end(&self.reader()).map(Sequence)
    }

    fn read(&self, from: Sequence, max: usize) -> Result<Vec<Vec<u8>>, JournalError> {
        let reader = self.reader();
        let mut select = reader.prepare_cached(
            "SELECT sequence, event FROM events WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2",
        )?;
        let mut rows = select.query(params![signed(from.0), signed(max as u64)])?;
        let (mut events, mut next) = (Vec::new(), from.0);
        while let Some(row) = rows.next()? {
            let sequence = unsigned(row.get(0)?);
            if sequence != next {
                return Err(damaged(
                    format!("event {next}"),
                    format!("it is missing, {sequence} comes next"),
                ));
            }
            events.push(row.get(1)?);
            next += 1;
        }
        Ok(events)
    }

    fn receipts_of(&self, instructions: &[Cid]) -> Result<Vec<Receipt>, JournalError> {
        let reader = self.reader();
        let mut select = reader.prepare_cached(
            "SELECT cid, receipt FROM (SELECT number, cid, receipt FROM receipts WHERE instruction = ?1
             ORDER BY number DESC LIMIT ?2) ORDER BY number",
        )?;
        let mut receipts = Vec::new();
        for instruction in instructions {
            let mut rows = select.query(params![
                instruction.digest(),
                signed(RECEIPTS_PER_INSTRUCTION_MAX as u64)
            ])?;
            while let Some(row) = rows.next()? {
                let (cid, bytes): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
                receipts.push(receipt_of_row(&cid, &bytes)?);
            }
        }
        Ok(receipts)
    }

    fn receipt(&self, cid: Cid) -> Result<Option<Receipt>, JournalError> {
        let reader = self.reader();
        let mut select = reader.prepare_cached("SELECT receipt FROM receipts WHERE cid = ?1")?;
        let bytes: Option<Vec<u8>> = select
            .query_row(params![cid.digest()], |row| row.get(0))
            .optional()?;
        bytes
            .map(|bytes| receipt_of_row(&cid.digest(), &bytes))
            .transpose()
            .map(|receipt| {
                // Only digests are stored: a CID of another kind with the same digest names something else.
                receipt.filter(|receipt| receipt.cid() == cid)
            })
    }

    fn remark(&self, receipt: Cid) -> Result<Option<Remark>, JournalError> {
        let reader = self.reader();
        let mut select = reader.prepare_cached("SELECT remark FROM receipts WHERE cid = ?1")?;
        let bytes: Option<Vec<u8>> = select
            .query_row(params![receipt.digest()], |row| row.get(0))
            .optional()?;
        let remark = bytes
            .map(|bytes| decode("remark", &bytes, FRAME_BYTES_MAX))
            .transpose();
        remark.map_err(|error| damaged(format!("the remark of receipt {receipt}"), error))
    }

    fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError> {
        let ComponentRecord {
            cid,
            name,
            bytes,
            added,
        } = component;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = writer.transaction()?;
        transaction.execute(
            "DELETE FROM components WHERE cid = ?1",
            params![cid.to_string()],
        )?;
        transaction.execute(
            "INSERT INTO components (cid, name, bytes, added) VALUES (?1, ?2, ?3, ?4)",
            params![cid.to_string(), name, signed(*bytes), signed(added.0)],
        )?;
        Ok(transaction.commit()?)
    }

    fn components(&self) -> Result<Vec<ComponentRecord>, JournalError> {
        let reader = self.reader();
        let mut select = reader
            .prepare_cached("SELECT cid, name, bytes, added FROM components ORDER BY number")?;
        let mut rows = select.query([])?;
        let mut components = Vec::new();
        while let Some(row) = rows.next()? {
            let cid: String = row.get(0)?;
            components.push(ComponentRecord {
                cid: cid
                    .parse()
                    .map_err(|error| damaged(format!("component {cid}"), error))?,
                name: row.get(1)?,
                bytes: unsigned(row.get(2)?),
                added: Timestamp(unsigned(row.get(3)?)),
            });
        }
        Ok(components)
    }
}
