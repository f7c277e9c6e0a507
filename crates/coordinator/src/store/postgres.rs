//! A journal in PostgreSQL: several coordinators may reach it, and one of them at a time writes to a partition.
//!
//! A batch is one statement, so that it costs one round trip and is whole by itself: it first takes the partition's row,
//! if that is still the writer's, and adds the events and receipts only then. Whoever was overtaken changes nothing.

mod connections;
mod sharing;
mod tables;
mod tls;

use std::{collections::BTreeSet, sync::atomic::AtomicUsize, time::Duration};

use asterism_protocol::{Cid, Receipt, Remark, Timestamp};
use tokio::{runtime::Runtime, sync::Mutex};
use tokio_postgres::{Client, Config, IsolationLevel, Row, types::ToSql};

pub(super) use self::tls::Tls;
use self::{
    connections::{CONNECT, Link, Place},
    tables::migrate,
};
use super::{
    Asked, Batch, Compacted, ComponentRecord, Computed, Database, Decision, Epoch, Holder, InOrder,
    Journal, JournalError, Meeting, Partition, Sequence, Tenure, before_damage, check_kept,
    checked_event, checked_remark,
    numbers::{signed, unsigned},
    receipt_of_bytes, sum_of_event, whole_receipts,
};
use crate::limits::{DATABASE_READERS, DATABASE_WRITERS, RECEIPTS_PER_INSTRUCTION_MAX};

/// Appends a batch whole, or nothing of it where the partition is not the writer's or elsewhere.
const APPEND: &str = "
    WITH tenant AS (
        UPDATE partitions SET next = next + $4
        WHERE partition = $1 AND epoch = $2 AND next = $3
        RETURNING partition
    ), appended AS (
        INSERT INTO events (partition, sequence, event, sum)
        SELECT tenant.partition, $3 + place - 1, event, sum
        FROM tenant, unnest($5::bytea[], $6::bigint[]) WITH ORDINALITY AS new (event, sum, place)
    ), indexed AS (
        INSERT INTO receipts (cid, instruction, receipt, remark, sum)
        SELECT new.cid, new.instruction, new.receipt, new.remark, new.sum
        FROM tenant, unnest($7::bytea[], $8::bytea[], $9::bytea[], $10::bytea[], $11::bigint[])
            WITH ORDINALITY AS new (cid, instruction, receipt, remark, sum, place)
        ORDER BY new.place
        ON CONFLICT (cid) DO NOTHING
    )
    SELECT count(*) FROM tenant";

/// A journal in a database.
pub struct PostgresJournal {
    config: Config,
    tls: Tls,
    /// Partitions share them: one that appends much does not hold all others up.
    writers: Vec<Place>,
    readers: Vec<Place>,
    next_reader: AtomicUsize,
    /// For what is short and must not wait for what is long.
    sayer: Place,
    partitions: u16,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

type Params<'a> = [&'a (dyn ToSql + Sync)];

impl PostgresJournal {
    /// Opens a journal, and makes its tables or brings them up to date.
    ///
    /// # Errors
    /// Nobody answers there, or the tables are of a newer version.
    pub fn open(database: &Database) -> Result<Self, JournalError> {
        Self::open_parted(database, None)
    }

    /// As [`PostgresJournal::open`], where so many partitions are wanted; one, where tables are made and no number is.
    ///
    /// # Errors
    /// As there, or there is another number of partitions.
    pub fn open_parted(database: &Database, partitions: Option<u16>) -> Result<Self, JournalError> {
        let mut journal = Self::connect(database)?;
        journal.partitions = journal.say("bring its tables up to date", async |client| {
            migrate(client, partitions).await
        })??;
        Ok(journal)
    }

    /// Connects to a database, as it is.
    pub(super) fn connect(database: &Database) -> Result<Self, JournalError> {
        Self::connect_by(database, Tls::default())
    }

    /// Connects where TLS is spoken in this way, if it is.
    pub(super) fn connect_by(database: &Database, tls: Tls) -> Result<Self, JournalError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|source| JournalError::Failed {
                what: "start a thread",
                source: source.into(),
            })?;
        let readers = (0..DATABASE_READERS).map(|_| Mutex::default()).collect();
        let journal = Self {
            config: database.config().clone(),
            tls,
            writers: (0..DATABASE_WRITERS).map(|_| Mutex::default()).collect(),
            readers,
            next_reader: AtomicUsize::new(0),
            sayer: Mutex::default(),
            partitions: 1,
            runtime: Some(runtime),
        };
        // Whoever starts it is told where; later on, strangers read what went wrong.
        match journal.say(CONNECT, async |_| Ok(())) {
            Err(JournalError::Failed { what, source }) => Err(JournalError::Failed {
                what,
                source: format!("{source}, at {database}").into(),
            }),
            other => other.map(|()| journal),
        }
    }

    /// What the database calls itself, wherever it is; `None` before it has tables.
    pub(super) fn name(&self) -> Result<Option<String>, JournalError> {
        self.look("find its name", async |client| {
            let row = client
                .query_one("SELECT to_regclass('asterism') IS NOT NULL", &[])
                .await?;
            if !row.get::<_, bool>(0) {
                return Ok(None);
            }
            let row = client.query_opt("SELECT name FROM asterism", &[]).await?;
            Ok(row.map(|row| row.get(0)))
        })
    }
}

fn id(partition: Partition) -> i32 {
    i32::from(partition.0)
}

/// The epoch of a partition and the number of its next event.
async fn state_of(
    client: &Client,
    partition: Partition,
) -> Result<(Epoch, u64), tokio_postgres::Error> {
    let row = client
        .query_opt(
            "SELECT epoch, next FROM partitions WHERE partition = $1",
            &[&id(partition)],
        )
        .await?;
    Ok(row.map_or((Epoch(0), 0), |row| {
        (Epoch(unsigned(row.get(0))), unsigned(row.get(1)))
    }))
}

/// A receipt of a row of number, digest and bytes.
fn numbered_receipt(row: &Row) -> Result<(u64, Receipt), JournalError> {
    let number = unsigned(row.get(0));
    let receipt = receipt_of_bytes(Some(number), row.get(1), row.get(2))?;
    Ok((number, receipt))
}

impl Journal for PostgresJournal {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    fn meet(
        &self,
        holder: &Holder,
        term: Duration,
        unmet: &[(Tenure, u64)],
    ) -> Result<Meeting, JournalError> {
        self.meet_others(holder, term, unmet)
    }

    fn part(&self, holder: &Holder) -> Result<(), JournalError> {
        self.part_from_others(holder)
    }

    fn decide(&self, decision: &Decision) -> Result<(), JournalError> {
        self.note_decision(decision)
    }

    fn decisions(&self, after: u64) -> Result<Vec<(u64, Decision)>, JournalError> {
        self.decisions_after(after)
    }

    fn acquire(
        &self,
        partition: Partition,
        holder: &Holder,
        term: Duration,
    ) -> Result<Asked, JournalError> {
        self.write(
            partition,
            "ask for a partition",
            async |Link { client, .. }| {
                let Holder { name, address } = holder;
                let granted = client
                .query_opt(
                    "INSERT INTO partitions AS held (partition, epoch, holder, address, held_until)
                     VALUES ($1, 1, $2, $3, clock_timestamp() + make_interval(secs => $4))
                     ON CONFLICT (partition) DO UPDATE SET
                         epoch = held.epoch + 1,
                         holder = excluded.holder,
                         address = excluded.address,
                         held_until = excluded.held_until
                     WHERE held.held_until IS NULL OR held.held_until < clock_timestamp()
                         OR held.holder = excluded.holder
                     RETURNING epoch",
                    &[&id(partition), name, address, &term.as_secs_f64()],
                )
                .await?;
                if let Some(row) = granted {
                    let epoch = Epoch(unsigned(row.get(0)));
                    return Ok(Asked::Granted(Tenure { partition, epoch }));
                }
                let other = client
                    .query_one(
                        "SELECT coalesce(holder, ''), coalesce(address, '') FROM partitions
                     WHERE partition = $1",
                        &[&id(partition)],
                    )
                    .await?;
                Ok(Asked::Held(Holder {
                    name: other.get(0),
                    address: other.get(1),
                }))
            },
        )
    }

    fn renew(&self, tenure: Tenure, term: Duration) -> Result<(), JournalError> {
        self.keep(
            tenure,
            "keep a partition",
            "UPDATE partitions SET held_until = clock_timestamp() + make_interval(secs => $3)
             WHERE partition = $1 AND epoch = $2",
            &[&term.as_secs_f64()],
        )
    }

    fn release(&self, tenure: Tenure) -> Result<(), JournalError> {
        self.keep(
            tenure,
            "give a partition back",
            "UPDATE partitions SET epoch = epoch + 1, holder = NULL, address = NULL, held_until = NULL
             WHERE partition = $1 AND epoch = $2",
            &[],
        )
    }

    fn append(
        &self,
        tenure: Tenure,
        expected: Sequence,
        batch: &Batch,
    ) -> Result<Sequence, JournalError> {
        let count = batch.events.len() as u64;
        let sums: Vec<i64> = (expected.0..)
            .zip(&batch.events)
            .map(|(sequence, event)| sum_of_event(tenure.partition, sequence, event))
            .collect();
        let (mut cids, mut instructions) = (Vec::new(), Vec::new());
        let (mut receipts, mut remarks, mut remark_sums) = (Vec::new(), Vec::new(), Vec::new());
        for row in batch.receipts.iter().map(Computed::row) {
            cids.push(row.cid.to_vec());
            instructions.push(row.instruction.to_vec());
            receipts.push(row.receipt);
            remarks.push(row.remark);
            remark_sums.push(row.sum);
        }
        let (appended, state) = self.write(tenure.partition, "append events", async |link| {
            let Link { client, append } = link;
            let statement = match append {
                Some(statement) => statement.clone(),
                None => append.insert(client.prepare(APPEND).await?).clone(),
            };
            let row = client
                .query_one(
                    &statement,
                    &[
                        &id(tenure.partition),
                        &signed(tenure.epoch.0),
                        &signed(expected.0),
                        &signed(count),
                        &batch.events,
                        &sums,
                        &cids,
                        &instructions,
                        &receipts,
                        &remarks,
                        &remark_sums,
                    ],
                )
                .await?;
            let appended = row.get::<_, i64>(0) == 1;
            let state = if appended {
                (tenure.epoch, expected.0 + count)
            } else {
                state_of(client, tenure.partition).await?
            };
            Ok((appended, state))
        })?;
        let (epoch, next) = state;
        if appended {
            Ok(Sequence(next))
        } else if epoch != tenure.epoch {
            Err(JournalError::Fenced {
                tenure,
                found: epoch,
            })
        } else {
            Err(JournalError::Sequence {
                expected: expected.0,
                found: next,
            })
        }
    }

    fn end(&self, partition: Partition) -> Result<Sequence, JournalError> {
        self.look("find the last event", async |client| {
            Ok(Sequence(state_of(client, partition).await?.1))
        })
    }

    fn read(
        &self,
        partition: Partition,
        from: Sequence,
        max: usize,
    ) -> Result<Vec<(Sequence, Vec<u8>)>, JournalError> {
        let (compacted, kept, rows) = self.look("read events", async |client| {
            // One state of the tables for all questions.
            let transaction = client
                .build_transaction()
                .isolation_level(IsolationLevel::RepeatableRead)
                .read_only(true)
                .start()
                .await?;
            let row = transaction
                .query_opt(
                    "SELECT compacted, kept FROM partitions WHERE partition = $1",
                    &[&id(partition)],
                )
                .await?;
            let compacted = row.map_or(Compacted::default(), |row| Compacted {
                before: unsigned(row.get(0)),
                kept: unsigned(row.get(1)),
            });
            let mut kept = None;
            if from == Sequence(0) && compacted.before > 0 {
                let row = transaction
                    .query_one(
                        "SELECT count(*) FROM events WHERE partition = $1 AND sequence < $2",
                        &[&id(partition), &signed(compacted.before)],
                    )
                    .await?;
                kept = Some(unsigned(row.get(0)));
            }
            let rows = transaction
                .query(
                    "SELECT sequence, event, sum FROM events WHERE partition = $1 AND sequence >= $2
                     ORDER BY sequence LIMIT $3",
                    &[&id(partition), &signed(from.0), &signed(max as u64)],
                )
                .await?;
            transaction.commit().await?;
            Ok((compacted, kept, rows))
        })?;
        if let Some(kept) = kept {
            check_kept(compacted, kept)?;
        }
        let mut order = InOrder::new(from, compacted);
        before_damage(rows.into_iter().map(|row| {
            let sequence = order.take(unsigned(row.get(0)))?;
            checked_event(partition, sequence, row.get(1), row.get(2))
        }))
    }

    fn compact(
        &self,
        tenure: Tenure,
        before: Sequence,
        keep: &BTreeSet<Sequence>,
    ) -> Result<(), JournalError> {
        const WHAT: &str = "drop events that are no longer needed";
        let keep: Vec<i64> = keep.iter().map(|number| signed(number.0)).collect();
        let (partition, before) = (id(tenure.partition), signed(before.0));
        // Deleting takes a while, and meanwhile others append: over another connection, and the partition's row is taken last.
        let state = self.look(WHAT, async |client| {
            let transaction = client.transaction().await?;
            transaction
                .execute(
                    "DELETE FROM events WHERE partition = $1 AND sequence < $2
                     AND NOT EXISTS (SELECT FROM unnest($3::bigint[]) AS keep (sequence)
                                     WHERE keep.sequence = events.sequence)",
                    &[&partition, &before, &keep],
                )
                .await?;
            let updated = transaction
                .execute(
                    "UPDATE partitions SET compacted = greatest(compacted, $3),
                         kept = (SELECT count(*) FROM events
                                 WHERE events.partition = $1
                                 AND events.sequence < greatest(compacted, $3))
                     WHERE partition = $1 AND epoch = $2",
                    &[&partition, &signed(tenure.epoch.0), &before],
                )
                .await?;
            if updated == 1 {
                transaction.commit().await?;
                return Ok(None);
            }
            transaction.rollback().await?;
            Ok(Some(state_of(client, tenure.partition).await?.0))
        })?;
        state.map_or(Ok(()), |found| Err(JournalError::Fenced { tenure, found }))
    }

    fn receipts_of(&self, instructions: &[Cid]) -> Result<Vec<Receipt>, JournalError> {
        let wanted: Vec<Vec<u8>> = instructions
            .iter()
            .map(|cid| cid.digest().to_vec())
            .collect();
        let most = signed(RECEIPTS_PER_INSTRUCTION_MAX as u64);
        let rows = self.look("find receipts", async |client| {
            client
                .query(
                    "SELECT found.number, found.cid, found.receipt
                     FROM unnest($1::bytea[]) WITH ORDINALITY AS wanted (instruction, place)
                     CROSS JOIN LATERAL (
                         SELECT number, cid, receipt FROM receipts
                         WHERE receipts.instruction = wanted.instruction
                         ORDER BY number DESC LIMIT $2
                     ) AS found
                     ORDER BY wanted.place, found.number",
                    &[&wanted, &most],
                )
                .await
        })?;
        whole_receipts(rows.iter().map(|row| Ok(numbered_receipt(row)?.1)))
    }

    fn receipt(&self, cid: Cid) -> Result<Option<Receipt>, JournalError> {
        let digest = cid.digest().to_vec();
        let row = self.look("find a receipt", async |client| {
            client
                .query_opt("SELECT receipt FROM receipts WHERE cid = $1", &[&digest])
                .await
        })?;
        let receipt = row
            .map(|row| receipt_of_bytes(None, &digest, row.get(0)))
            .transpose()?;
        // Only digests are stored: a CID of another kind with the same digest names something else.
        Ok(receipt.filter(|receipt| receipt.cid() == cid))
    }

    fn remark(&self, receipt: Cid) -> Result<Option<Remark>, JournalError> {
        let digest = receipt.digest().to_vec();
        let row = self.look("find a remark", async |client| {
            client
                .query_opt(
                    "SELECT remark, sum FROM receipts WHERE cid = $1",
                    &[&digest],
                )
                .await
        })?;
        row.map(|row| checked_remark(receipt, row.get(0), row.get(1)))
            .transpose()
    }

    fn receipts(&self, after: u64, max: usize) -> Result<Vec<(u64, Receipt)>, JournalError> {
        let rows = self.look("list receipts", async |client| {
            client
                .query(
                    "SELECT number, cid, receipt FROM receipts WHERE number > $1
                     ORDER BY number LIMIT $2",
                    &[&signed(after), &signed(max as u64)],
                )
                .await
        })?;
        before_damage(rows.iter().map(numbered_receipt))
    }

    fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError> {
        let ComponentRecord {
            cid,
            name,
            bytes,
            added,
        } = component;
        let (cid, bytes, added) = (cid.to_string(), signed(*bytes), signed(added.0));
        self.say("remember a component", async |client| {
            let transaction = client.transaction().await?;
            transaction
                .execute("DELETE FROM components WHERE cid = $1", &[&cid])
                .await?;
            transaction
                .execute(
                    "INSERT INTO components (cid, name, bytes, added) VALUES ($1, $2, $3, $4)",
                    &[&cid, name, &bytes, &added],
                )
                .await?;
            transaction.commit().await
        })
    }

    fn components_stamp(&self) -> Result<u64, JournalError> {
        // Strangers ask for it, and whoever says that it is here does not wait for them.
        let row = self.look("look at the components", async |client| {
            // It grows with every one: a known one gets a new number, and two that are added together come in any order.
            client
                .query_one(
                    "SELECT coalesce(sum(number), 0)::bigint FROM components",
                    &[],
                )
                .await
        })?;
        Ok(unsigned(row.get(0)))
    }

    fn components(&self) -> Result<Vec<ComponentRecord>, JournalError> {
        let rows = self.look("list components", async |client| {
            client
                .query(
                    "SELECT cid, name, bytes, added FROM components ORDER BY number",
                    &[],
                )
                .await
        })?;
        rows.iter()
            .map(|row| {
                let cid: &str = row.get(0);
                Ok(ComponentRecord {
                    cid: cid
                        .parse()
                        .map_err(|error| damaged(format!("component {cid}"), error))?,
                    name: row.get(1),
                    bytes: unsigned(row.get(2)),
                    added: Timestamp(unsigned(row.get(3))),
                })
            })
            .collect()
    }
}

impl PostgresJournal {
    /// Changes the row of a partition, if it is still the tenant's.
    fn keep(
        &self,
        tenure: Tenure,
        what: &'static str,
        statement: &str,
        more: &Params<'_>,
    ) -> Result<(), JournalError> {
        let found = self.write(tenure.partition, what, async |Link { client, .. }| {
            let (partition, epoch) = (id(tenure.partition), signed(tenure.epoch.0));
            let mut params: Vec<&(dyn ToSql + Sync)> = vec![&partition, &epoch];
            params.extend(more);
            if client.execute(statement, &params).await? == 1 {
                return Ok(None);
            }
            Ok(Some(state_of(client, tenure.partition).await?.0))
        })?;
        found.map_or(Ok(()), |found| Err(JournalError::Fenced { tenure, found }))
    }
}

fn damaged(place: String, reason: impl std::fmt::Display) -> JournalError {
    JournalError::Damaged {
        place,
        reason: reason.to_string(),
        last: None,
    }
}
