//! The tables by which coordinators know of each other.

use std::time::Duration;

use asterism_protocol::Timestamp;
use tokio_postgres::Client;

use super::{PostgresJournal, damaged, id};
use crate::store::{
    Decision, Holder, JournalError, Meeting, Seen, Tenure,
    numbers::{signed, unsigned},
};

impl PostgresJournal {
    /// As [`Journal::meet`](crate::store::Journal::meet).
    pub(super) fn meet_others(
        &self,
        holder: &Holder,
        term: Duration,
        unmet: &[(Tenure, u64)],
    ) -> Result<Meeting, JournalError> {
        let partitions: Vec<i32> = unmet
            .iter()
            .map(|(tenure, _)| id(tenure.partition))
            .collect();
        let epochs: Vec<i64> = unmet
            .iter()
            .map(|(tenure, _)| signed(tenure.epoch.0))
            .collect();
        let unmet: Vec<i64> = unmet.iter().map(|(_, unmet)| signed(*unmet)).collect();
        let mut meeting = self.say("say that it is here", async |client| {
            let Holder { name, address } = holder;
            client
                .execute(
                    "INSERT INTO coordinators AS known (name, address, here_until)
                     VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
                     ON CONFLICT (name) DO UPDATE SET
                         address = excluded.address, here_until = excluded.here_until",
                    &[name, address, &term.as_secs_f64()],
                )
                .await?;
            if !partitions.is_empty() {
                client
                    .execute(
                        // One that is being written to is told of the next time: who waits for it here keeps all others waiting.
                        "WITH told AS (
                             SELECT told.partition, told.unmet
                             FROM unnest($1::integer[], $2::bigint[], $3::bigint[])
                                 AS told (partition, epoch, unmet)
                                 JOIN partitions AS known USING (partition)
                             WHERE known.epoch = told.epoch AND known.unmet <> told.unmet
                             FOR NO KEY UPDATE OF known SKIP LOCKED
                         )
                         UPDATE partitions SET unmet = told.unmet
                         FROM told WHERE partitions.partition = told.partition",
                        &[&partitions, &epochs, &unmet],
                    )
                    .await?;
            }
            look_around(client).await
        })?;
        meeting
            .partitions
            .resize(usize::from(self.partitions), Seen::default());
        Ok(meeting)
    }

    /// As [`Journal::part`](crate::store::Journal::part).
    pub(super) fn part_from_others(&self, holder: &Holder) -> Result<(), JournalError> {
        self.say("say that it is gone", async |client| {
            client
                .execute(
                    "DELETE FROM coordinators
                     WHERE name = $1 OR here_until < clock_timestamp() - interval '1 hour'",
                    &[&holder.name],
                )
                .await
                .map(drop)
        })
    }

    /// As [`Journal::decide`](crate::store::Journal::decide).
    pub(super) fn note_decision(&self, decision: &Decision) -> Result<(), JournalError> {
        let executor = decision.executor.did();
        self.say("note who is excluded", async |client| {
            let transaction = client.transaction().await?;
            // Numbers become visible in their order: whoever has read one does not look for smaller ones.
            transaction
                .batch_execute("LOCK TABLE decisions IN SHARE ROW EXCLUSIVE MODE")
                .await?;
            transaction
                .execute("DELETE FROM decisions WHERE executor = $1", &[&executor])
                .await?;
            transaction
                .execute(
                    "INSERT INTO decisions (executor, at, excluded) VALUES ($1, $2, $3)",
                    &[&executor, &signed(decision.at.0), &decision.excluded],
                )
                .await?;
            transaction.commit().await
        })
    }

    /// As [`Journal::decisions`](crate::store::Journal::decisions).
    pub(super) fn decisions_after(&self, after: u64) -> Result<Vec<(u64, Decision)>, JournalError> {
        let rows = self.say("read who is excluded", async |client| {
            client
                .query(
                    "SELECT number, executor, at, excluded FROM decisions
                     WHERE number > $1 ORDER BY number",
                    &[&signed(after)],
                )
                .await
        })?;
        rows.iter()
            .map(|row| {
                let (number, executor) = (unsigned(row.get(0)), row.get::<_, &str>(1));
                let executor = executor
                    .parse()
                    .map_err(|error: asterism_protocol::Error| {
                        damaged(format!("decision {number}"), error)
                    })?;
                let decision = Decision {
                    executor,
                    at: Timestamp(unsigned(row.get(2))),
                    excluded: row.get(3),
                };
                Ok((number, decision))
            })
            .collect()
    }
}

/// Who is here and holds what.
async fn look_around(client: &Client) -> Result<Meeting, tokio_postgres::Error> {
    let mut meeting = Meeting::default();
    let rows = client
        .query(
            "SELECT name, address FROM coordinators WHERE here_until >= clock_timestamp() ORDER BY name",
            &[],
        )
        .await?;
    meeting.present.extend(rows.iter().map(|row| Holder {
        name: row.get(0),
        address: row.get(1),
    }));
    let rows = client
        .query(
            "SELECT partition, holder, coalesce(address, ''), unmet,
                 coalesce(held_until >= clock_timestamp(), false)
             FROM partitions ORDER BY partition",
            &[],
        )
        .await?;
    for row in &rows {
        let place = usize::try_from(row.get::<_, i32>(0)).unwrap_or_default();
        if place >= meeting.partitions.len() {
            meeting.partitions.resize(place + 1, Seen::default());
        }
        let name: Option<String> = row.get(1);
        if let Some(name) = name.filter(|_| row.get(4)) {
            let address = row.get(2);
            meeting.partitions[place] = Seen {
                holder: Some(Holder { name, address }),
                unmet: unsigned(row.get(3)),
            };
        }
    }
    let row = client
        .query_one("SELECT coalesce(max(number), 0) FROM decisions", &[])
        .await?;
    meeting.decisions = unsigned(row.get(0));
    Ok(meeting)
}
