//! The journal's side: batches are made durable, then what waited for them is done.

use std::{sync::Arc, time::Instant};

use asterism_protocol::message::{Change, ToExecutor};
use asterism_protocol::view::RunId;
use asterism_scheduler::{ConnectionId, SubmitError};
use tokio::sync::mpsc;
use tracing::info;

use super::{Answer, condition::Trouble, outbox::Outbox};
use crate::{
    hub::{Edition, Hub},
    metrics::Metrics,
    store::{Batch, Journal, Sequence},
};

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
#[derive(Default)]
pub(super) struct Pending {
    pub(super) batch: Batch,
    pub(super) duties: Vec<Duty>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.batch.events.is_empty() && self.duties.is_empty()
    }
}

/// The journal's side.
pub(super) struct Keeper {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) sequence: Sequence,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) trouble: Arc<Trouble>,
}

impl Keeper {
    pub(super) fn run(mut self, mut batches: mpsc::Receiver<Pending>) {
        while let Some(Pending { batch, duties }) = batches.blocking_recv() {
            if !batch.events.is_empty() && self.trouble.text().is_none() {
                let begun = Instant::now();
                match self.journal.append(self.sequence, &batch) {
                    Ok(sequence) => self.sequence = sequence,
                    Err(error) => self.trouble.set(error.to_string()),
                }
                self.metrics
                    .journal_seconds
                    .observe(begun.elapsed().as_secs_f64());
                self.metrics
                    .journal_events
                    .observe(batch.events.len() as f64);
            }
            self.release(duties);
        }
    }

    fn release(&self, duties: Vec<Duty>) {
        let durable = self.trouble.text().is_none();
        // Neighbours among the changes go out as one.
        let mut changes = Vec::new();
        for duty in duties {
            match duty {
                Duty::Publish(change) if durable => {
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
                _ => self.hub.publish(std::mem::take(&mut changes)),
            }
            match duty {
                // Looking is possible in trouble as well, and what was seen says so.
                Duty::Answer(answer) => answer(self.hub.edition()),
                Duty::Acknowledge {
                    connection,
                    outbox,
                    message,
                } if durable => outbox.send(connection, message),
                // Whoever asked may have gone away.
                Duty::Reply { answer, result } if durable => drop(answer.send(result)),
                Duty::Acknowledge { .. }
                | Duty::Reply { .. }
                | Duty::Publish(_)
                | Duty::Close { .. } => {}
            }
        }
        self.hub.publish(changes);
    }
}
