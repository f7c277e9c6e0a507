//! Partitions: which rows are whose, who may write to them, and how far they go.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Trying as _;
use crate::store::{
    Compacted, Epoch, JournalError, Partition, Tenure,
    numbers::{signed, unsigned},
};

/// The number of a partition's first row in `events`: a log has the rows up to that of the next partition.
const ROWS_PER_PARTITION: i64 = 1 << 44;

/// The row of an event.
pub(super) fn row_of(partition: Partition, sequence: u64) -> i64 {
    let first = i64::from(partition.0) * ROWS_PER_PARTITION;
    first + signed(sequence).min(ROWS_PER_PARTITION - 1)
}

/// Whose event a row is.
pub(super) fn place_of(row: i64) -> (Partition, u64) {
    let partition = u16::try_from(row / ROWS_PER_PARTITION).unwrap_or(u16::MAX);
    (Partition(partition), unsigned(row % ROWS_PER_PARTITION))
}

/// What the file says of a partition: its epoch, and what was dropped.
pub(super) fn partition_of(
    connection: &Connection,
    partition: Partition,
) -> Result<(Epoch, Compacted), JournalError> {
    let row = connection
        .prepare_cached("SELECT epoch, compacted, kept FROM partitions WHERE partition = ?1")
        .and_then(|mut select| {
            select
                .query_row([partition.0], |row| {
                    let (before, kept) = (unsigned(row.get(1)?), unsigned(row.get(2)?));
                    Ok((Epoch(unsigned(row.get(0)?)), Compacted { before, kept }))
                })
                .optional()
        })
        .trying("look at a partition")?;
    Ok(row.unwrap_or_default())
}

/// Is the partition still the tenant's?
pub(super) fn check_tenant(
    connection: &Connection,
    tenure: Tenure,
) -> Result<Compacted, JournalError> {
    let (found, compacted) = partition_of(connection, tenure.partition)?;
    if found == tenure.epoch {
        return Ok(compacted);
    }
    Err(JournalError::Fenced { tenure, found })
}

pub(super) fn set_epoch(
    connection: &Connection,
    partition: Partition,
    epoch: Epoch,
) -> Result<(), JournalError> {
    connection
        .execute(
            "INSERT INTO partitions (partition, epoch) VALUES (?1, ?2)
             ON CONFLICT (partition) DO UPDATE SET epoch = excluded.epoch",
            params![partition.0, signed(epoch.0)],
        )
        .trying("note who holds a partition")
        .map(drop)
}

pub(super) fn end(
    connection: &Connection,
    partition: Partition,
    compacted: Compacted,
) -> Result<u64, JournalError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(sequence) FROM events WHERE sequence BETWEEN ?1 AND ?2")
        .and_then(|mut select| {
            select.query_row(
                params![row_of(partition, 0), row_of(partition, u64::MAX)],
                |row| row.get(0),
            )
        })
        .trying("find the last event")?;
    let end = last.map_or(0, |last| unsigned(last - row_of(partition, 0)) + 1);
    Ok(end.max(compacted.before))
}
