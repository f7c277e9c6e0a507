//! The journal's tables, of every version that there was.

use tokio_postgres::Client;

use crate::store::JournalError;

/// What makes tables of each version those of the next. Tables of a newer version than the last are refused.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE partitions (
        partition INTEGER PRIMARY KEY,
        epoch BIGINT NOT NULL,
        next BIGINT NOT NULL DEFAULT 0,
        compacted BIGINT NOT NULL DEFAULT 0,
        kept BIGINT NOT NULL DEFAULT 0,
        holder TEXT,
        address TEXT,
        held_until TIMESTAMPTZ
    ) WITH (fillfactor = 50);
    CREATE TABLE events (
        partition INTEGER NOT NULL,
        sequence BIGINT NOT NULL,
        event BYTEA NOT NULL,
        sum BIGINT NOT NULL,
        PRIMARY KEY (partition, sequence)
    );
    CREATE TABLE receipts (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        cid BYTEA NOT NULL UNIQUE,
        instruction BYTEA NOT NULL,
        receipt BYTEA NOT NULL,
        remark BYTEA NOT NULL,
        sum BIGINT NOT NULL
    );
    CREATE INDEX receipts_by_instruction ON receipts (instruction, number);
    CREATE TABLE components (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        cid TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        bytes BIGINT NOT NULL,
        added BIGINT NOT NULL
    );
    ",
    "
    ALTER TABLE asterism ADD COLUMN partitions INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE partitions ADD COLUMN unmet BIGINT NOT NULL DEFAULT 0;
    CREATE TABLE coordinators (
        name TEXT PRIMARY KEY,
        address TEXT NOT NULL,
        here_until TIMESTAMPTZ NOT NULL
    );
    CREATE TABLE decisions (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        executor TEXT NOT NULL,
        at BIGINT NOT NULL,
        excluded TEXT
    );
    ",
];

/// Keeps coordinators that start at the same time from making the tables at the same time; any number will do.
const MIGRATION_LOCK: i64 = 0x6173_7465_7269_736d;

/// Makes tables, with so many partitions, or brings them up to date; says how many partitions there are. An error inside says that
/// they are newer, or have another number of partitions than the one that is wanted.
pub(super) async fn migrate(
    client: &mut Client,
    wanted: Option<u16>,
) -> Result<Result<u16, JournalError>, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
        .await?;
    transaction
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS asterism (
                 version BIGINT NOT NULL, name TEXT NOT NULL DEFAULT gen_random_uuid()::text
             );
             INSERT INTO asterism (version) SELECT 0 WHERE NOT EXISTS (SELECT FROM asterism)",
        )
        .await?;
    let row = transaction
        .query_one("SELECT version FROM asterism", &[])
        .await?;
    let found: i64 = row.get(0);
    let known = MIGRATIONS.len() as i64;
    let done = usize::try_from(found).unwrap_or_default();
    let Some(missing) = MIGRATIONS.get(done..) else {
        return Ok(Err(JournalError::Newer { found, known }));
    };
    for migration in missing {
        transaction.batch_execute(migration).await?;
    }
    if !missing.is_empty() {
        transaction
            .execute("UPDATE asterism SET version = $1", &[&known])
            .await?;
    }
    if let (0, Some(wanted)) = (found, wanted) {
        let wanted = i32::from(wanted);
        transaction
            .execute("UPDATE asterism SET partitions = $1", &[&wanted])
            .await?;
    }
    let row = transaction
        .query_one("SELECT partitions FROM asterism", &[])
        .await?;
    let partitions: i32 = row.get(0);
    let partitions = u16::try_from(partitions).unwrap_or(1).max(1);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != partitions) {
        let found = partitions;
        return Ok(Err(JournalError::Partitions { found, wanted }));
    }
    transaction.commit().await?;
    Ok(Ok(partitions))
}
