//! The scheduler's side: facts in, duties out.

use std::{
    collections::BTreeMap,
    sync::mpsc as blocking,
    time::{Duration, Instant},
};

use asterism_protocol::{
    Attested, Cid, Remark, Timestamp, content_cid, encode, message::Change, view::RunId,
};
use asterism_scheduler::{ConnectionId, Event, Input, Output, RequestId, Scheduler};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tracing::{debug, error, info, warn};

use super::{
    Answer, Fact, Parts, StartError, acquire,
    compaction::{Compaction, Due},
    keeper::{Duty, Pending, Progress},
    outbox::Outbox,
    recovery,
};
use crate::{
    limits::{BATCH_EVENTS_MAX, BATCH_FACTS_MAX, RENEW_EVERY, RETRY_MAX, RETRY_MIN},
    store::{Computed, Decision},
};

/// The scheduler's side.
pub(super) struct Desk {
    pub(super) scheduler: Scheduler,
    pub(super) parts: Parts,
    pub(super) outboxes: BTreeMap<ConnectionId, Outbox>,
    pub(super) requests: BTreeMap<RequestId, Answer>,
    pub(super) next_request: u64,
    /// How many watch which run: a scheduler that is brought back has to be told.
    pub(super) watched: BTreeMap<RunId, u32>,
    pub(super) pending: Pending,
    pub(super) compaction: Compaction,
    /// When it is tried again, in trouble, and how long until the time after that.
    pub(super) retry: Option<(Instant, Duration)>,
    /// Was the scheduler told to lease nothing, because of the blobs?
    pub(super) held: bool,
    /// Hears of each batch that is durable.
    pub(super) progress: blocking::Receiver<Progress>,
}

impl Desk {
    pub(super) async fn run(
        mut self,
        mut facts: mpsc::Receiver<Fact>,
        batches: mpsc::Sender<Pending>,
    ) {
        let mut received = Vec::with_capacity(BATCH_FACTS_MAX);
        let mut trouble = self.parts.trouble.watch();
        let mut renewal = tokio::time::interval(RENEW_EVERY);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.parts.trouble.is_there() {
                self.suffer();
            }
            while let Ok(progress) = self.progress.try_recv() {
                self.retry = None;
                self.advance(progress);
            }
            // At least once a second: the renewal below sees to that.
            self.mind_blobs();
            // Not among the branches below: under load a fact is always ready, and time would stand still.
            let now = self.parts.clock.now();
            if self.deadline().is_some_and(|at| at <= now) {
                self.scheduler.handle_timeout(now);
                self.drain();
            }
            let (tenure, unmet) = (self.pending.tenure, self.unmet());
            self.parts.unmet.tell(tenure, unmet);
            if !self.pending.is_empty()
                && let Ok(permit) = batches.try_reserve()
            {
                permit.send(self.pending.take());
            }
            let deadline = self.deadline();
            let sleep = Duration::from_millis(
                deadline.map_or(0, |at| at.since_ms(self.parts.clock.now()).max(1)),
            );
            let retry = self
                .retry
                .filter(|_| self.parts.trouble.is_there())
                .map(|(at, _)| tokio::time::Instant::from_std(at));
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
                    Ok(permit) => permit.send(self.pending.take()),
                    Err(_) => return,
                },
                // An error would say that its sender is gone: we hold it.
                _ = trouble.changed() => {}
                _ = renewal.tick() => {
                    // The journal's thread says with each batch that we are here. One is made of nothing if none waits.
                    if let Ok(permit) = batches.try_reserve() {
                        permit.send(self.pending.take());
                    }
                }
                () = tokio::time::sleep(sleep), if deadline.is_some() => {}
                () = tokio::time::sleep_until(retry.unwrap_or_else(tokio::time::Instant::now)), if retry.is_some() => {}
            }
        }
    }

    /// A batch is durable.
    fn advance(&mut self, Progress { tenure, end }: Progress) {
        if tenure != self.pending.tenure {
            return;
        }
        match self.compaction.durable(&self.parts, tenure, end) {
            Due::Nothing => {}
            Due::Summary => {
                self.compaction.summed_up(self.pending.end());
                self.scheduler.sum_up();
                self.drain();
            }
        }
    }

    /// What can neither be fetched nor brought back is not given out. While nothing can be made durable, nothing is anyway.
    fn mind_blobs(&mut self) {
        let trouble = self.parts.blobs.trouble();
        if self.parts.trouble.is_there() || trouble.is_some() == self.held {
            return;
        }
        self.held = trouble.is_some();
        let input = match trouble {
            Some(trouble) => {
                warn!(trouble, "leasing nothing while blobs cannot be had");
                Input::Hold {
                    reason: format!("the store of the blobs is in trouble: {trouble}"),
                }
            }
            None => {
                info!("leasing again: blobs can be had");
                Input::Release
            }
        };
        self.scheduler.handle(input, self.parts.clock.now());
        self.drain();
    }

    /// What waits for executors from elsewhere; nothing while nothing can be made durable.
    fn unmet(&self) -> usize {
        if self.parts.trouble.is_there() {
            return 0;
        }
        self.scheduler.unmet()
    }

    /// When the scheduler wants to be called; never while nothing can be made durable.
    fn deadline(&self) -> Option<Timestamp> {
        self.scheduler
            .poll_timeout()
            .map(|(at, _)| at)
            .filter(|_| !self.parts.trouble.is_there())
    }

    /// Something could not be made durable. What the scheduler knows beyond the journal was told to nobody: it is
    /// forgotten, as a crash would have forgotten it, and the scheduler is brought back from the journal once that can
    /// be written again. Until then what is there can be looked at.
    fn suffer(&mut self) {
        let now = Instant::now();
        let Some((at, pause)) = self.retry else {
            self.turn_all_away();
            self.retry = Some((now + RETRY_MIN, RETRY_MIN));
            return;
        };
        if now < at {
            return;
        }
        // Also after success: it may last only until the next batch.
        let pause = (2 * pause).min(RETRY_MAX);
        self.retry = Some((now + pause, pause));
        match self.come_back() {
            Ok(()) => self.parts.trouble.clear(),
            Err(error) => {
                self.parts.trouble.set(error.to_string());
                if let StartError::Held(_) = error {
                    self.parts.trouble.set_overtaken();
                }
            }
        }
    }

    fn turn_all_away(&mut self) {
        std::mem::take(&mut self.outboxes)
            .values()
            .for_each(|outbox| outbox.cut.notify_one());
        // Whoever waits for an answer sees it dropped.
        self.requests.clear();
        self.pending = Pending::new(self.pending.tenure, self.pending.at);
    }

    fn come_back(&mut self) -> Result<(), StartError> {
        // A new epoch: what was sent to the journal before and has not arrived yet must not arrive any more.
        let partition = self.parts.partition();
        let tenure = acquire(&*self.parts.journal, partition, &self.parts.holder)?;
        let Parts { config, seed, .. } = &self.parts;
        let recovered = recovery::recover(
            &*self.parts.journal,
            partition,
            config,
            *seed,
            self.parts.clock.now(),
        )?;
        self.turn_all_away();
        self.compaction.forget();
        self.pending = Pending::new(tenure, recovered.end);
        let gone = self.scheduler.overview().executors;
        self.scheduler = recovered.scheduler;
        // Of what was not journaled it knows nothing.
        self.held = false;
        self.parts.clock = self.parts.clock.not_behind(recovered.latest);
        for executor in gone {
            let gone = Change::ExecutorGone(executor.key);
            self.pending.duties.push(Duty::Publish(gone));
        }
        for (run, watchers) in self.watched.clone() {
            for _ in 0..watchers {
                let now = self.parts.clock.now();
                self.scheduler.handle(Input::Watch { run }, now);
            }
        }
        self.drain();
        Ok(())
    }

    fn handle(&mut self, fact: Fact) {
        let in_trouble = self.parts.trouble.is_there();
        let input = match fact {
            Fact::Look { look, durable } => {
                if !in_trouble {
                    self.pending
                        .duties
                        .push(Duty::Answer(look(&self.scheduler)));
                } else if !durable {
                    look(&self.scheduler)(self.parts.hub.edition());
                }
                return;
            }
            Fact::Stop => return,
            Fact::Watch { run } => {
                *self.watched.entry(run).or_default() += 1;
                Input::Watch { run }
            }
            Fact::Unwatch { run } => {
                if let Some(watchers) = self.watched.get_mut(&run) {
                    *watchers -= 1;
                    if *watchers == 0 {
                        self.watched.remove(&run);
                    }
                }
                Input::Unwatch { run }
            }
            // Nothing is accepted that cannot be made durable. Whoever waits for an answer sees it dropped.
            Fact::Connected { outbox, .. } if in_trouble => {
                outbox.cut.notify_one();
                return;
            }
            _ if in_trouble => return,
            Fact::Submit { submission, answer } => {
                self.parts
                    .metrics
                    .tasks
                    .inc_by(submission.plan.tasks().len() as u64);
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
            Fact::Ban {
                executor,
                reason,
                answer,
            } => Input::Ban {
                request: self.request(answer),
                executor,
                reason,
            },
            Fact::Lift { executor, answer } => Input::Lift {
                request: self.request(answer),
                executor,
            },
            Fact::Drain {
                executor,
                draining,
                answer,
            } => Input::Drain {
                request: self.request(answer),
                executor,
                draining,
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
            Fact::Disconnected { connection } => {
                self.outboxes.remove(&connection);
                Input::Disconnected { connection }
            }
        };
        self.scheduler.handle(input, self.parts.clock.now());
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
                Output::Publish(change) => self.pending.duties.push(Duty::Publish(*change)),
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
                self.parts.metrics.receipts.inc();
                let bytes = receipt.encoded();
                let cid = content_cid(&bytes);
                say_computed(cid, receipt, remark);
                self.pending.batch.receipts.push(Computed {
                    cid,
                    instruction: receipt.instruction(),
                    receipt: bytes,
                    remark: (**remark).clone(),
                });
            }
            Event::Submitted {
                run,
                name,
                plan,
                known,
                ..
            } => {
                self.parts.metrics.runs.inc();
                info!(
                    run = run.0,
                    name,
                    tasks = plan.tasks().len(),
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
                self.parts.metrics.given_up.inc();
                let last = attempts
                    .last()
                    .map_or("", |attempt| attempt.fault.message.as_str());
                warn!(%instruction, attempts = attempts.len(), last, "gave up");
            }
            Event::Cancelled { run, .. } => info!(run = run.0, "workflow cancelled"),
            Event::Caught {
                at,
                executor,
                name,
                reason,
                ..
            } => {
                warn!(%executor, name, reason, "an executor is excluded");
                if let Some(caught) = self.parts.caught.clone() {
                    let decision = Decision {
                        executor: *executor,
                        at: *at,
                        excluded: Some(reason.clone()),
                    };
                    // Nobody listens any more when the coordinator stops.
                    let tell = move |_| drop(caught.send(decision));
                    self.pending.duties.push(Duty::Answer(Box::new(tell)));
                }
            }
            Event::Banned {
                executor,
                name,
                reason,
                ..
            } => warn!(%executor, name, reason, "an executor is excluded"),
            Event::Lifted { executor, .. } => info!(%executor, "an executor is excluded no longer"),
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
            Event::Voted { .. }
            | Event::Repeated { .. }
            | Event::Records { .. }
            | Event::LeasesReserved { .. } => {}
        }
        self.pending.batch.events.push(encode(event));
    }
}

/// The lines that people look for: what was computed, and what the guest said meanwhile.
fn say_computed(cid: Cid, receipt: &Attested, remark: &Remark) {
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
        let (func, fuel) = (receipt.func(), receipt.fuel());
        info!(func, receipt = %cid, fuel, us = remark.elapsed_us, "computed receipt");
    }
}
