//! The one task that owns the scheduler, and the one thread that makes its events durable.
//!
//! Facts come in through a bounded queue. What the scheduler wants sent goes out at once; what has to wait until
//! the events before it are durable travels with them: the journal's thread commits a batch as one, then does the
//! duties that came with it, in their order. While it commits, further facts are handled and make up the next batch.
//! Looking at the scheduler is such a duty too, so nobody reads what is not durable.

mod condition;
mod desk;
mod keeper;
mod outbox;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, thread, time::Instant};

use asterism_protocol::{decode, message::ToCoordinator, view::RunId};
use asterism_scheduler::{Config, ConnectionId, Event, Scheduler, Submission, SubmitError};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

pub(crate) use self::{
    condition::{Clock, Trouble},
    outbox::OutboxReceiver,
};
use self::{
    desk::Desk,
    keeper::{Keeper, Pending},
    outbox::Outbox,
};
use crate::{
    hub::{Edition, Hub},
    limits::{FACTS_MAX, READ_EVENTS},
    metrics::Metrics,
    store::{Journal, JournalError, Sequence},
};

/// Larger than any event that was accepted: a submission has the size of its request's body.
const EVENT_BYTES_MAX: usize = 4 * asterism_protocol::limits::WORKFLOW_BYTES_MAX;
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
    Connected {
        connection: ConnectionId,
        nonce: [u8; 32],
        origin: String,
        outbox: Outbox,
    },
    Received {
        connection: ConnectionId,
        message: ToCoordinator,
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
    Look(Look),
    Stop,
}

/// What a driver works with.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) seed: u64,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) clock: Clock,
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
    #[error("event {number} of the journal cannot be read: {source}")]
    Event {
        number: u64,
        source: asterism_protocol::DecodeError,
    },
    #[error("failed to start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl Driver {
    /// Replays the journal, then starts both threads.
    pub(crate) fn start(parts: Parts) -> Result<(Self, Threads), StartError> {
        let (events, sequence) = read_all(&*parts.journal)?;
        let begun = Instant::now();
        let count = events.len();
        let mut scheduler = Scheduler::new(parts.config.clone(), parts.seed);
        scheduler.recover(events, parts.clock.now());
        info!(
            events = count,
            ms = begun.elapsed().as_millis() as u64,
            "replayed the journal"
        );

        let (facts, received) = mpsc::channel(FACTS_MAX);
        // One batch waits while one is being committed.
        let (batches, to_commit) = mpsc::channel(1);
        let keeper = Keeper {
            journal: parts.journal,
            sequence,
            hub: parts.hub,
            metrics: Arc::clone(&parts.metrics),
            trouble: Arc::clone(&parts.trouble),
        };
        let journal = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || keeper.run(to_commit))?;
        let desk = Desk {
            scheduler,
            clock: parts.clock,
            metrics: parts.metrics,
            trouble: parts.trouble,
            outboxes: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            pending: Pending::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let scheduler = thread::Builder::new()
            .name("scheduler".to_owned())
            .spawn(move || runtime.block_on(desk.run(received, batches)))?;
        Ok((Self { facts }, Threads { scheduler, journal }))
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

    /// Looks at the scheduler's state, as durable as it is published.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Scheduler) -> T + Send + 'static,
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
            .send(Fact::Look(look))
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
        message: ToCoordinator,
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

fn read_all(journal: &dyn Journal) -> Result<(Vec<Event>, Sequence), StartError> {
    let mut events = Vec::new();
    loop {
        let from = Sequence(events.len() as u64);
        let read = journal.read(from, READ_EVENTS)?;
        if read.is_empty() {
            return Ok((events, from));
        }
        for bytes in read {
            let number = events.len() as u64;
            let event = decode("event", &bytes, EVENT_BYTES_MAX)
                .map_err(|source| StartError::Event { number, source })?;
            events.push(event);
        }
    }
}
