//! Connections to the database: made when they are needed, one to write and several to read, and nobody waits for ever.

use std::{error::Error as _, future::Future, sync::atomic::Ordering, time::Duration};

use tokio::{sync::Mutex, time::timeout};
use tokio_postgres::{Client, Statement};

use super::{PostgresJournal, tls::NoHandshake};
use crate::{
    limits::{DATABASE_CALL_MAX, DATABASE_CONNECT_MAX, DATABASE_READ_MAX},
    store::{JournalError, Partition},
};

/// A commit is on the disk before it counts, whatever the server's settings say; nobody waits for ever.
const SESSION: &str = "
    SET synchronous_commit = on;
    SET statement_timeout = '60s';
    SET idle_in_transaction_session_timeout = '10s';
";

/// What fails when nobody answers; completes "failed to".
pub(super) const CONNECT: &str = "connect";

/// A connection that is not in use, if there is one.
pub(super) type Place = Mutex<Option<Link>>;

pub(super) struct Link {
    pub(super) client: Client,
    /// The statement that appends, understood by the database once.
    pub(super) append: Option<Statement>,
}

impl PostgresJournal {
    /// Does something over a connection that writes: the partition's usual one, or one that is free while that has much to do for
    /// another partition, whose term would end meanwhile. Whoever holds a partition says one thing after the other.
    pub(super) fn write<T>(
        &self,
        partition: Partition,
        what: &'static str,
        work: impl AsyncFnOnce(&mut Link) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, JournalError> {
        let (before, from) = self
            .writers
            .split_at(usize::from(partition.0) % self.writers.len());
        let mut writers = from.iter().chain(before);
        let free = writers.find(|writer| writer.try_lock().is_ok());
        let writer = free.unwrap_or(&from[0]);
        self.run(writer, what, DATABASE_CALL_MAX, work)
    }

    /// Does something short that is of no partition.
    pub(super) fn say<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, JournalError> {
        self.run(&self.sayer, what, DATABASE_CALL_MAX, async |link| {
            work(&mut link.client).await
        })
    }

    /// Does something over one of the connections that nobody has to wait for who appends.
    pub(super) fn look<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, JournalError> {
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed);
        let reader = &self.readers[turn % self.readers.len()];
        self.run(reader, what, DATABASE_READ_MAX, async |link| {
            work(&mut link.client).await
        })
    }

    fn run<T>(
        &self,
        place: &Place,
        what: &'static str,
        at_most: Duration,
        work: impl AsyncFnOnce(&mut Link) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, JournalError> {
        self.block_on(async {
            let mut place = place.lock().await;
            // Taken out: a call that is given up halfway leaves no connection behind that is in the middle of it.
            let mut link = match place.take().filter(|link| !link.client.is_closed()) {
                Some(link) => link,
                None => self.link().await?,
            };
            let done = timeout(at_most, work(&mut link)).await;
            let done = done.map_err(|_| JournalError::Failed {
                what,
                source: format!("there was no answer within {} s", at_most.as_secs()).into(),
            })?;
            if !link.client.is_closed() {
                *place = Some(link);
            }
            done.map_err(failed(what))
        })
    }

    async fn link(&self) -> Result<Link, JournalError> {
        let connected = timeout(DATABASE_CONNECT_MAX, async {
            let (client, connection) = self.config.connect(self.tls.clone()).await?;
            // It ends with the client, or tells it by closing.
            tokio::spawn(async move { drop(connection.await) });
            client.batch_execute(SESSION).await?;
            let append = None;
            Ok(Link { client, append })
        });
        let connected = connected.await.map_err(|_| JournalError::Failed {
            what: CONNECT,
            source: "nobody answers".into(),
        })?;
        connected.map_err(not_connected)
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let runtime = self.runtime.as_ref();
        let _entered = runtime.expect("it is there until it is dropped").enter();
        // Not the runtime's own way to wait, which must not be used on a thread of another runtime: the scheduler has one, and
        // comes back from trouble there. And without a share of that other runtime's turn, which never ends meanwhile.
        futures_executor::block_on(tokio::task::unconstrained(work))
    }
}

impl Drop for PostgresJournal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn failed(what: &'static str) -> impl Fn(tokio_postgres::Error) -> JournalError {
    move |error| {
        // The driver's own text says only "db error", or what it was doing; what happened is its cause.
        let source = match (error.as_db_error(), error.source()) {
            (Some(said), _) => format!("{} ({})", said.message(), said.code().code()).into(),
            (None, Some(cause)) => format!("{error} ({cause})").into(),
            (None, None) => error.into(),
        };
        JournalError::Failed { what, source }
    }
}

/// Somebody who is there and may not be believed is something else than nobody.
fn not_connected(error: tokio_postgres::Error) -> JournalError {
    let cause = error.source();
    match cause.and_then(|cause| cause.downcast_ref::<NoHandshake>()) {
        Some(refused) => JournalError::Failed {
            what: "speak TLS",
            source: refused.to_string().into(),
        },
        None => failed(CONNECT)(error),
    }
}
