//! The journal's side: batches are made durable, then what waited for them is done.

use std::{
    sync::{Arc, mpsc as blocking},
    time::Instant,
};

use asterism_protocol::{
    message::{Change, ToExecutor},
    view::RunId,
};
use asterism_scheduler::{ConnectionId, SubmitError};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Answer, condition::Trouble, outbox::Outbox};
use crate::{
    hub::{Edition, Hub},
    limits::{DATABASE_CALL_MAX, RENEW_EVERY, TERM},
    metrics::Metrics,
    store::{Batch, Journal, Sequence, Tenure},
};

/// A batch of more bytes may take longer than a term.
const LARGE_BATCH_BYTES: usize = 8 << 20;

/// What waits until the events before it are durable.
pub(super) enum Duty {
    Acknowledge {
        connection: ConnectionId,
        outbox: Outbox,
        message: ToExecutor,
    },
    Reply {
        answer: Answer,
        result: Result<RunId, SubmitError>,
    },
    Publish(Change),
    /// Dropping the last outbox closes the connection behind what was queued.
    Close {
        _outbox: Outbox,
    },
    Answer(Box<dyn FnOnce(Edition) + Send>),
}

/// Events and the duties that wait for them.
pub(super) struct Pending {
    /// As whom they are appended. After trouble there is another one, and what was meant for the one before is void.
    pub(super) tenure: Tenure,
    /// Behind which event they come.
    pub(super) at: Sequence,
    pub(super) batch: Batch,
    pub(super) duties: Vec<Duty>,
}

impl Pending {
    pub(super) fn new(tenure: Tenure, at: Sequence) -> Self {
        Self {
            tenure,
            at,
            batch: Batch::default(),
            duties: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.events.is_empty() && self.duties.is_empty()
    }

    /// Behind which event come those of the next batch.
    pub(super) fn end(&self) -> Sequence {
        Sequence(self.at.0 + self.batch.events.len() as u64)
    }

    /// What comes next, in its place.
    pub(super) fn take(&mut self) -> Self {
        let next = Self::new(self.tenure, self.end());
        std::mem::replace(self, next)
    }
}

/// What is told of a batch that is durable.
pub(super) struct Progress {
    pub(super) tenure: Tenure,
    /// The number behind it.
    pub(super) end: Sequence,
}

/// The journal's thread.
pub(super) struct Keeper {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) trouble: Arc<Trouble>,
    /// Batches that could not be appended make those behind them void.
    pub(super) failed: Option<Tenure>,
    /// Hears of each batch that is durable.
    pub(super) progress: blocking::Sender<Progress>,
}

impl Keeper {
    pub(super) fn run(mut self, mut batches: mpsc::Receiver<Pending>) {
        let mut last = None;
        let mut renewed = Instant::now();
        while let Some(pending) = batches.blocking_recv() {
            last = Some(pending.tenure);
            let bytes: usize = pending.batch.events.iter().map(Vec::len).sum();
            let is_large = bytes > LARGE_BATCH_BYTES;
            if (is_large || renewed.elapsed() >= RENEW_EVERY) && self.failed != last {
                renewed = Instant::now();
                // Nothing else is said until it is appended.
                let term = if is_large {
                    TERM + DATABASE_CALL_MAX
                } else {
                    TERM
                };
                if let Err(error) = self.journal.renew(pending.tenure, term) {
                    self.failed = last;
                    self.trouble.set(error.to_string());
                }
            }
            let Pending {
                tenure,
                at,
                batch,
                duties,
            } = pending;
            if !batch.events.is_empty() && self.failed != Some(tenure) {
                let begun = Instant::now();
                match self.journal.append(tenure, at, &batch) {
                    // Nobody listens any more when the coordinator stops.
                    Ok(end) => {
                        let _ = self.progress.send(Progress { tenure, end });
                    }
                    Err(error) => {
                        self.failed = Some(tenure);
                        self.trouble.set(error.to_string());
                    }
                }
                self.metrics
                    .journal_seconds
                    .observe(begun.elapsed().as_secs_f64());
                self.metrics
                    .journal_events
                    .observe(batch.events.len() as f64);
            }
            if self.failed != Some(tenure) {
                self.release(duties);
            }
            // Otherwise whoever waits sees that no answer will come.
        }
        // So that nobody has to wait until the term is over.
        if let Some(tenure) = last.filter(|tenure| self.failed != Some(*tenure))
            && let Err(error) = self.journal.release(tenure)
        {
            warn!(%error, "the partition could not be given back");
        }
    }

    fn release(&self, duties: Vec<Duty>) {
        // Neighbours among the changes go out as one.
        let mut changes = Vec::new();
        for duty in duties {
            match duty {
                Duty::Publish(change) => {
                    if let Change::Run(summary) = &change
                        && summary.finished.is_some()
                    {
                        let counts = summary.counts;
                        let (run, state) = (summary.run.0, summary.state);
                        info!(
                            run,
                            ?state,
                            computed = counts.computed,
                            replayed = counts.replayed,
                            "workflow ended"
                        );
                    }
                    changes.push(change);
                    continue;
                }
                Duty::Acknowledge { .. }
                | Duty::Reply { .. }
                | Duty::Close { .. }
                | Duty::Answer(_) => self.hub.publish(std::mem::take(&mut changes)),
            }
            match duty {
                Duty::Answer(answer) => answer(self.hub.edition()),
                Duty::Acknowledge {
                    connection,
                    outbox,
                    message,
                } => outbox.send(connection, message),
                // Whoever asked may have gone away.
                Duty::Reply { answer, result } => drop(answer.send(result)),
                Duty::Publish(_) | Duty::Close { .. } => {}
            }
        }
        self.hub.publish(changes);
    }
}
