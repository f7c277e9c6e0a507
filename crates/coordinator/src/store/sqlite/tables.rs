//! The file's tables, of every version that there was.

use rusqlite::{Connection, Transaction, params};

use super::{Trying as _, begin, partitions::place_of};
use crate::store::{JournalError, sum_of_event, sum_of_remark};

/// What makes a file of each version one of the next. A file of a newer version than the last is refused.
pub(super) const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE events (sequence INTEGER PRIMARY KEY, event BLOB NOT NULL) STRICT;
    CREATE TABLE receipts (
        number INTEGER PRIMARY KEY,
        cid BLOB NOT NULL UNIQUE,
        instruction BLOB NOT NULL,
        receipt BLOB NOT NULL,
        remark BLOB NOT NULL
    ) STRICT;
    CREATE INDEX receipts_by_instruction ON receipts (instruction, number);
    CREATE TABLE components (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        cid TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        added INTEGER NOT NULL
    ) STRICT;
    ",
    "
    CREATE TABLE partitions (
        partition INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL,
        compacted INTEGER NOT NULL DEFAULT 0,
        kept INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    ",
    // What was there before is summed up as it is: see `sum_up`.
    "
    ALTER TABLE events ADD COLUMN sum INTEGER NOT NULL DEFAULT -1;
    ALTER TABLE receipts ADD COLUMN sum INTEGER NOT NULL DEFAULT -1;
    ",
];

/// The first version whose events and remarks have sums.
const SUMMED: i64 = 3;

pub(super) fn migrate(connection: &mut Connection) -> Result<(), JournalError> {
    const WHAT: &str = "bring its tables up to date";
    let transaction = begin(connection, WHAT)?;
    let found = version(&transaction)?;
    let known = MIGRATIONS.len() as i64;
    let done = usize::try_from(found).unwrap_or_default();
    let Some(missing) = MIGRATIONS.get(done..) else {
        return Err(JournalError::Newer { found, known });
    };
    for migration in missing {
        transaction.execute_batch(migration).trying(WHAT)?;
    }
    if found < SUMMED {
        sum_up(&transaction).trying(WHAT)?;
    }
    if !missing.is_empty() {
        transaction
            .pragma_update(None, "user_version", known)
            .trying(WHAT)?;
    }
    transaction.commit().trying(WHAT)
}

/// Gives sums to what was written before there were any.
fn sum_up(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut select = transaction.prepare("SELECT sequence, event FROM events")?;
    let mut update = transaction.prepare("UPDATE events SET sum = ?2 WHERE sequence = ?1")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (number, event): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let (partition, sequence) = place_of(number);
        update.execute(params![number, sum_of_event(partition, sequence, &event)])?;
    }
    let mut select = transaction.prepare("SELECT number, cid, remark FROM receipts")?;
    let mut update = transaction.prepare("UPDATE receipts SET sum = ?2 WHERE number = ?1")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (number, cid, remark): (i64, Vec<u8>, Vec<u8>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        update.execute(params![number, sum_of_remark(&cid, &remark)])?;
    }
    Ok(())
}

pub(super) fn version(connection: &Connection) -> Result<i64, JournalError> {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .trying("read its version")
}
