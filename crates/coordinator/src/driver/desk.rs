//! The scheduler's side: facts in, duties out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use asterism_protocol::{Timestamp, encode};
use asterism_scheduler::{ConnectionId, Event, Input, Output, RequestId, Scheduler};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::{
    Answer, Fact,
    condition::{Clock, Trouble},
    keeper::{Duty, Pending},
    outbox::Outbox,
};
use crate::{
    limits::{BATCH_EVENTS_MAX, BATCH_FACTS_MAX},
    metrics::Metrics,
    store::Computed,
};

/// The scheduler's side.
pub(super) struct Desk {
    pub(super) scheduler: Scheduler,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) trouble: Arc<Trouble>,
    pub(super) outboxes: BTreeMap<ConnectionId, Outbox>,
    pub(super) requests: BTreeMap<RequestId, Answer>,
    pub(super) next_request: u64,
    pub(super) pending: Pending,
}

impl Desk {
    pub(super) async fn run(
        mut self,
        mut facts: mpsc::Receiver<Fact>,
        batches: mpsc::Sender<Pending>,
    ) {
        let mut received = Vec::with_capacity(BATCH_FACTS_MAX);
        loop {
            // Not among the branches below: under load a fact is always ready, and time would stand still.
            let now = self.clock.now();
            if self.deadline().is_some_and(|at| at <= now) {
                self.scheduler.handle_timeout(now);
                self.drain();
            }
            if !self.pending.is_empty()
                && let Ok(permit) = batches.try_reserve()
            {
                permit.send(std::mem::take(&mut self.pending));
            }
            let deadline = self.deadline();
            let sleep = Duration::from_millis(
                deadline.map_or(0, |at| at.since_ms(self.clock.now()).max(1)),
            );
            let room = self
                .pending
                .batch
                .events
                .len()
                .max(self.pending.duties.len())
                < BATCH_EVENTS_MAX;
            tokio::select! {
                biased;
                count = facts.recv_many(&mut received, BATCH_FACTS_MAX), if room => {
                    let mut stop = count == 0;
                    for fact in received.drain(..) {
                        stop |= matches!(fact, Fact::Stop);
                        self.handle(fact);
                    }
                    if stop {
                        // The journal's thread ends after this batch. If it is gone already, so is its reader.
                        let _ = batches.send(self.pending).await;
                        return;
                    }
                }
                permit = batches.reserve(), if !self.pending.is_empty() => match permit {
                    Ok(permit) => permit.send(std::mem::take(&mut self.pending)),
                    Err(_) => return,
                },
                () = tokio::time::sleep(sleep), if deadline.is_some() => {}
            }
        }
    }

    /// When the scheduler wants to be called; never while nothing can be made durable.
    fn deadline(&self) -> Option<Timestamp> {
        self.scheduler
            .poll_timeout()
            .map(|(at, _)| at)
            .filter(|_| self.trouble.text().is_none())
    }

    fn handle(&mut self, fact: Fact) {
        let input = match fact {
            Fact::Look(look) => {
                self.pending
                    .duties
                    .push(Duty::Answer(look(&self.scheduler)));
                return;
            }
            Fact::Stop => return,
            // Nothing is accepted that cannot be made durable. Whoever waits for an answer sees it dropped.
            Fact::Connected { outbox, .. } if self.trouble.text().is_some() => {
                outbox.cut.notify_one();
                return;
            }
            _ if self.trouble.text().is_some() => {
                std::mem::take(&mut self.outboxes)
                    .values()
                    .for_each(|outbox| outbox.cut.notify_one());
                return;
            }
            Fact::Submit { submission, answer } => {
                self.metrics
                    .tasks
                    .inc_by(submission.prepared.workflow.tasks.len() as u64);
                Input::Submit {
                    request: self.request(answer),
                    submission,
                }
            }
            Fact::Cancel { run, answer } => Input::Cancel {
                request: self.request(answer),
                run,
            },
            Fact::CancelTask { run, task, answer } => Input::CancelTask {
                request: self.request(answer),
                run,
                task,
            },
            Fact::Pause {
                run,
                paused,
                answer,
            } => Input::Pause {
                request: self.request(answer),
                run,
                paused,
            },
            Fact::Connected {
                connection,
                nonce,
                origin,
                outbox,
            } => {
                self.outboxes.insert(connection, outbox);
                Input::Connected {
                    connection,
                    nonce,
                    origin,
                }
            }
            Fact::Received {
                connection,
                message,
            } => Input::Received {
                connection,
                message,
            },
            Fact::Watch { run } => Input::Watch { run },
            Fact::Unwatch { run } => Input::Unwatch { run },
            Fact::Disconnected { connection } => {
                self.outboxes.remove(&connection);
                Input::Disconnected { connection }
            }
        };
        self.scheduler.handle(input, self.clock.now());
        self.drain();
    }

    fn request(&mut self, answer: Answer) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.requests.insert(request, answer);
        request
    }

    fn drain(&mut self) {
        while let Some(output) = self.scheduler.poll_output() {
            match output {
                Output::Persist(event) => self.persist(&event),
                Output::Send {
                    connection,
                    message,
                } => {
                    if let Some(outbox) = self.outboxes.get(&connection) {
                        outbox.send(connection, message);
                    }
                }
                Output::Acknowledge {
                    connection,
                    message,
                } => {
                    if let Some(outbox) = self.outboxes.get(&connection).cloned() {
                        self.pending.duties.push(Duty::Acknowledge {
                            connection,
                            outbox,
                            message,
                        });
                    }
                }
                Output::Reply { request, result } => {
                    if let Some(answer) = self.requests.remove(&request) {
                        self.pending.duties.push(Duty::Reply { answer, result });
                    }
                }
                Output::Publish(change) => self.pending.duties.push(Duty::Publish(change)),
                Output::Disconnect { connection } => {
                    if let Some(outbox) = self.outboxes.remove(&connection) {
                        self.pending.duties.push(Duty::Close { _outbox: outbox });
                    }
                }
            }
        }
    }

    fn persist(&mut self, event: &Event) {
        match event {
            Event::Computed {
                receipt, remark, ..
            } => {
                self.metrics.receipts.inc();
                if let Some(outcome) = receipt.outcome() {
                    say_computed(receipt, remark, outcome.fuel);
                    self.pending.batch.receipts.push(Computed {
                        instruction: outcome.instruction,
                        receipt: (**receipt).clone(),
                        remark: (**remark).clone(),
                    });
                }
            }
            Event::Submitted {
                run,
                name,
                workflow,
                known,
                ..
            } => {
                self.metrics.runs.inc();
                info!(
                    run = run.0,
                    name,
                    tasks = workflow.tasks.len(),
                    known = known.len(),
                    "workflow initialized"
                );
                if !known.is_empty() {
                    info!(run = run.0, receipts = known.len(), "replaying receipts");
                }
            }
            Event::GaveUp {
                instruction,
                attempts,
                ..
            } => {
                self.metrics.given_up.inc();
                let last = attempts
                    .last()
                    .map_or("", |attempt| attempt.fault.message.as_str());
                warn!(%instruction, attempts = attempts.len(), last, "gave up");
            }
            Event::Cancelled { run, .. } => info!(run = run.0, "workflow cancelled"),
            Event::Caught {
                executor,
                name,
                reason,
                ..
            } => warn!(%executor, name, reason, "an executor is excluded"),
            Event::Parted {
                instruction,
                policy,
                ..
            } => warn!(%instruction, %policy, "executors do not agree"),
            Event::Repeated {
                instruction,
                outcome,
                executor,
                agrees: false,
                ..
            } => {
                error!(%instruction, %outcome, %executor, "done again, a task came to another outcome than the canonical one")
            }
            Event::TaskCancelled { run, task, .. } => info!(run = run.0, task, "task cancelled"),
            Event::Paused { run, paused } => {
                info!(run = run.map(|run| run.0), paused, "paused or resumed");
            }
            Event::Voted { .. } | Event::Repeated { .. } | Event::LeasesReserved { .. } => {}
        }
        self.pending.batch.events.push(encode(event));
    }
}

/// The lines that people look for: what was computed, and what the guest said meanwhile.
fn say_computed(
    receipt: &asterism_protocol::Receipt,
    remark: &asterism_protocol::Remark,
    fuel: Option<u64>,
) {
    use asterism_protocol::LogLevel;
    if !tracing::enabled!(tracing::Level::ERROR) {
        return;
    }
    for line in &remark.logs {
        let (category, message) = (line.context.as_str(), line.message.as_str());
        match line.level {
            LogLevel::Trace => tracing::trace!(subject = "wasm_execution", category, "{message}"),
            LogLevel::Debug => debug!(subject = "wasm_execution", category, "{message}"),
            LogLevel::Info => info!(subject = "wasm_execution", category, "{message}"),
            LogLevel::Warn => warn!(subject = "wasm_execution", category, "{message}"),
            LogLevel::Error | LogLevel::Critical => {
                error!(subject = "wasm_execution", category, "{message}")
            }
        }
    }
    if tracing::enabled!(tracing::Level::INFO) {
        let func = match receipt.meta.get("op") {
            Some(asterism_protocol::Value::String(func)) => func.as_str(),
            _ => "",
        };
        info!(func, receipt = %receipt.cid(), fuel, us = remark.elapsed_us, "computed receipt");
    }
}
