//! The one task that owns the scheduler, and the one thread that makes its events durable.
//!
//! Facts come in through a bounded queue. What the scheduler wants sent goes out at once; what has to wait until
//! the events before it are durable travels with them: the journal's thread commits a batch as one, then does the
//! duties that came with it, in their order. While it commits, further facts are handled and make up the next batch.
//! Looking at the scheduler is such a duty too, so nobody reads what is not durable.
//!
//! When a batch cannot be made durable, nothing behind it is: what waited is answered with nothing, executors are sent
//! away, and the scheduler is brought back from the journal when that can be written again, as after a crash.

mod compaction;
mod condition;
mod desk;
mod keeper;
mod outbox;
mod recovery;
#[cfg(test)]
mod tests;
mod unmet;

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc as blocking},
    thread,
};

use asterism_protocol::{PublicKey, view::RunId};
use asterism_scheduler::{Checked, Config, ConnectionId, Scheduler, Submission, SubmitError};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use self::{
    compaction::Compaction,
    desk::Desk,
    keeper::{Keeper, Pending},
    outbox::Outbox,
};
pub(crate) use self::{
    condition::{Clock, Trouble},
    outbox::OutboxReceiver,
    recovery::event_of,
    unmet::{Unmet, Waiting},
};
use crate::{
    hub::{Edition, Hub},
    limits::{FACTS_MAX, TERM},
    metrics::Metrics,
    store::{Asked, Blobs, Decision, Holder, Journal, JournalError, Partition, Tenure},
};

/// Larger than any event that was accepted: a submission has a workflow in its encoding, its names, and receipts that were brought.
const EVENT_BYTES_MAX: usize = 2 * asterism_protocol::limits::WORKFLOW_BYTES_MAX;

/// The first partition, and where there is one, that one.
pub(crate) const PARTITION: Partition = Partition(0);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The scheduler refused.
    #[error(transparent)]
    Refused(#[from] SubmitError),
    /// It is gone, or in trouble.
    #[error("the coordinator does not accept work now")]
    Unavailable,
    /// Its queue is full.
    #[error("too much is waiting to be handled")]
    Busy,
}

type Answer = oneshot::Sender<Result<RunId, SubmitError>>;

/// Runs where the scheduler is, and gives what is to be done once the state it saw is durable.
type Look = Box<dyn FnOnce(&Scheduler) -> Box<dyn FnOnce(Edition) + Send> + Send>;

enum Fact {
    Submit {
        submission: Box<Submission>,
        answer: Answer,
    },
    Cancel {
        run: RunId,
        answer: Answer,
    },
    CancelTask {
        run: RunId,
        task: u32,
        answer: Answer,
    },
    Pause {
        run: Option<RunId>,
        paused: bool,
        answer: Answer,
    },
    Ban {
        executor: PublicKey,
        reason: String,
        answer: Answer,
    },
    Lift {
        executor: PublicKey,
        answer: Answer,
    },
    Drain {
        executor: PublicKey,
        draining: bool,
        answer: Answer,
    },
    Connected {
        connection: ConnectionId,
        nonce: [u8; 32],
        origin: String,
        outbox: Outbox,
    },
    Received {
        connection: ConnectionId,
        message: Checked,
    },
    Disconnected {
        connection: ConnectionId,
    },
    Watch {
        run: RunId,
    },
    Unwatch {
        run: RunId,
    },
    Look {
        look: Look,
        /// Not answered from what may not be durable.
        durable: bool,
    },
    Stop,
}

/// What a driver works with.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) seed: u64,
    /// Who this coordinator is.
    pub(crate) holder: Holder,
    pub(crate) journal: Arc<dyn Journal>,
    /// Asked only whether they are in trouble.
    pub(crate) blobs: Arc<dyn Blobs>,
    /// Events after which the journal is compacted.
    pub(crate) compact_after: u64,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) clock: Clock,
    /// What waits here in vain is told to executors that wait elsewhere.
    pub(crate) unmet: Arc<Unmet>,
    /// Who is told of executors that were caught, where others have to know of them.
    pub(crate) caught: Option<mpsc::UnboundedSender<Decision>>,
}

impl Parts {
    /// The partition whose scheduler this is.
    fn partition(&self) -> Partition {
        Partition(self.config.partition)
    }
}

/// Tells facts to the scheduler.
#[derive(Clone)]
pub(crate) struct Driver {
    facts: mpsc::Sender<Fact>,
}

/// The threads behind a [`Driver`].
pub(crate) struct Threads {
    scheduler: thread::JoinHandle<()>,
    journal: thread::JoinHandle<()>,
}

/// Why there is no scheduler.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("another coordinator holds the journal, at {0}")]
    Held(String),
    #[error("failed to start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl Driver {
    /// Replays the journal, then starts both threads.
    pub(crate) fn start(mut parts: Parts) -> Result<(Self, Threads), StartError> {
        let partition = parts.partition();
        let tenure = acquire(&*parts.journal, partition, &parts.holder)?;
        let recovered = recovery::recover(
            &*parts.journal,
            partition,
            &parts.config,
            parts.seed,
            parts.clock.now(),
        )?;
        let scheduler = recovered.scheduler;
        let paused = i64::from(scheduler.is_paused_whole());
        parts.metrics.paused.set(paused);
        parts.clock = parts.clock.not_behind(recovered.latest);

        let (facts, received) = mpsc::channel(FACTS_MAX);
        // One batch waits while one is being committed.
        let (batches, to_commit) = mpsc::channel(1);
        let (report, progress) = blocking::channel();
        let keeper = Keeper {
            journal: Arc::clone(&parts.journal),
            hub: Arc::clone(&parts.hub),
            metrics: Arc::clone(&parts.metrics),
            trouble: Arc::clone(&parts.trouble),
            failed: None,
            progress: report,
        };
        let journal = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || keeper.run(to_commit))?;
        let desk = Desk {
            scheduler,
            parts,
            outboxes: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            watched: BTreeMap::new(),
            compaction: Compaction::new(recovered.count, recovered.end),
            pending: Pending::new(tenure, recovered.end),
            retry: None,
            held: false,
            progress,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let scheduler = thread::Builder::new()
            .name("scheduler".to_owned())
            .spawn(move || runtime.block_on(desk.run(received, batches)))?;
        Ok((Self { facts }, Threads { scheduler, journal }))
    }

    /// Nobody, who answers nothing.
    pub(crate) fn nobody() -> Self {
        let (facts, _) = mpsc::channel(1);
        Self { facts }
    }

    /// Asks for a run; the answer comes when it is durable.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<RunId, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        // A queue that is full now is not waited for: the author hears it and comes back.
        self.facts
            .try_send(Fact::Submit {
                submission: Box::new(submission),
                answer,
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NoAnswer::Busy,
                mpsc::error::TrySendError::Closed(_) => NoAnswer::Unavailable,
            })?;
        Ok(answered.await.map_err(|_| NoAnswer::Unavailable)??)
    }

    /// Ends a run.
    pub(crate) async fn cancel(&self, run: RunId) -> Result<RunId, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.facts
            .send(Fact::Cancel { run, answer })
            .await
            .map_err(|_| NoAnswer::Unavailable)?;
        Ok(answered.await.map_err(|_| NoAnswer::Unavailable)??)
    }

    /// Ends one task of a run.
    pub(crate) async fn cancel_task(&self, run: RunId, task: u32) -> Result<RunId, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.facts
            .send(Fact::CancelTask { run, task, answer })
            .await
            .map_err(|_| NoAnswer::Unavailable)?;
        Ok(answered.await.map_err(|_| NoAnswer::Unavailable)??)
    }

    /// Pauses or resumes a run, or the coordinator.
    pub(crate) async fn pause(&self, run: Option<RunId>, paused: bool) -> Result<(), NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.facts
            .send(Fact::Pause {
                run,
                paused,
                answer,
            })
            .await
            .map_err(|_| NoAnswer::Unavailable)?;
        answered.await.map_err(|_| NoAnswer::Unavailable)??;
        Ok(())
    }

    /// Excludes an executor.
    pub(crate) async fn ban(&self, executor: PublicKey, reason: String) -> Result<(), NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.facts
            .send(Fact::Ban {
                executor,
                reason,
                answer,
            })
            .await
            .map_err(|_| NoAnswer::Unavailable)?;
        answered.await.map_err(|_| NoAnswer::Unavailable)??;
        Ok(())
    }

    /// Takes an exclusion back.
    pub(crate) async fn lift(&self, executor: PublicKey) -> Result<(), NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.facts
            .send(Fact::Lift { executor, answer })
            .await
            .map_err(|_| NoAnswer::Unavailable)?;
        answered.await.map_err(|_| NoAnswer::Unavailable)??;
        Ok(())
    }

    /// Leases nothing more to an executor, or does again.
    pub(crate) async fn drain(&self, executor: PublicKey, draining: bool) -> Result<(), NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.facts
            .send(Fact::Drain {
                executor,
                draining,
                answer,
            })
            .await
            .map_err(|_| NoAnswer::Unavailable)?;
        answered.await.map_err(|_| NoAnswer::Unavailable)??;
        Ok(())
    }

    /// Looks at the scheduler's state, as durable as it is published; in trouble, at what there is.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Scheduler) -> T + Send + 'static,
    ) -> Result<(T, Edition), NoAnswer> {
        self.look_at(look, false).await
    }

    /// As [`Driver::look`], without an answer in trouble: what is seen may be told as final.
    pub(crate) async fn look_durable<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Scheduler) -> T + Send + 'static,
    ) -> Result<(T, Edition), NoAnswer> {
        self.look_at(look, true).await
    }

    async fn look_at<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Scheduler) -> T + Send + 'static,
        durable: bool,
    ) -> Result<(T, Edition), NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let look: Look = Box::new(move |scheduler| {
            let seen = look(scheduler);
            Box::new(move |edition| {
                // Whoever asked may have gone away.
                let _ = answer.send((seen, edition));
            })
        });
        self.facts
            .send(Fact::Look { look, durable })
            .await
            .map_err(|_| NoAnswer::Unavailable)?;
        answered.await.map_err(|_| NoAnswer::Unavailable)
    }

    /// Tells of an executor's connection and where it comes from; the scheduler's words come through what is returned.
    pub(crate) async fn connected(
        &self,
        connection: ConnectionId,
        nonce: [u8; 32],
        origin: String,
    ) -> Result<OutboxReceiver, NoAnswer> {
        let (outbox, receiver) = Outbox::new();
        let fact = Fact::Connected {
            connection,
            nonce,
            origin,
            outbox,
        };
        self.facts
            .send(fact)
            .await
            .map_err(|_| NoAnswer::Unavailable)?;
        Ok(receiver)
    }

    /// Tells what an executor said. Waits while the queue is full: the executor's socket waits with us.
    pub(crate) async fn received(
        &self,
        connection: ConnectionId,
        message: Checked,
    ) -> Result<(), NoAnswer> {
        self.facts
            .send(Fact::Received {
                connection,
                message,
            })
            .await
            .map_err(|_| NoAnswer::Unavailable)
    }

    /// Tells that a connection is gone.
    pub(crate) async fn disconnected(&self, connection: ConnectionId) {
        // Without a scheduler nobody misses it.
        let _ = self.facts.send(Fact::Disconnected { connection }).await;
    }

    /// The tasks of a run are published from now on, until [`Driver::unwatch`] was told as often.
    pub(crate) async fn watch(&self, run: RunId) {
        // Without a scheduler nothing changes.
        let _ = self.facts.send(Fact::Watch { run }).await;
    }

    /// Ends one [`Driver::watch`].
    pub(crate) async fn unwatch(&self, run: RunId) {
        // As above.
        let _ = self.facts.send(Fact::Unwatch { run }).await;
    }

    /// Has the scheduler ended?
    pub(crate) fn is_gone(&self) -> bool {
        self.facts.is_closed()
    }

    /// Ends when the scheduler has.
    pub(crate) async fn gone(&self) {
        self.facts.closed().await;
    }

    /// Handles what came before, makes it durable, and ends.
    pub(crate) async fn stop(self, threads: Threads) {
        // An error says that it has ended already.
        let _ = self.facts.send(Fact::Stop).await;
        drop(self.facts);
        let joined =
            tokio::task::spawn_blocking(move || (threads.scheduler.join(), threads.journal.join()))
                .await;
        if !matches!(joined, Ok((Ok(()), Ok(())))) {
            error!("a thread of the scheduler had panicked");
        }
    }
}

/// Takes a partition, for [`TERM`].
pub(crate) fn acquire(
    journal: &dyn Journal,
    partition: Partition,
    holder: &Holder,
) -> Result<Tenure, StartError> {
    match journal.acquire(partition, holder, TERM)? {
        Asked::Granted(tenure) => Ok(tenure),
        Asked::Held(other) => Err(StartError::Held(other.address)),
    }
}
