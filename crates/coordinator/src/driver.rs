//! The one task that owns the scheduler, and the one thread that makes its events durable.
//!
//! Facts come in through a bounded queue. What the scheduler wants sent goes out at once; what has to wait until
//! the events before it are durable travels with them: the journal's thread commits a batch as one, then does the
//! duties that came with it, in their order. While it commits, further facts are handled and make up the next batch.
//! Looking at the scheduler is such a duty too, so nobody reads what is not durable.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use asterism_protocol::{
    Timestamp, decode, encode,
    message::{Change, ToCoordinator, ToExecutor},
    view::RunId,
};
use asterism_scheduler::{
    Config, ConnectionId, Event, Input, Output, RequestId, Scheduler, Submission, SubmitError,
};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{debug, error, info, warn};

use crate::{
    hub::{Edition, Hub},
    limits::{BATCH_EVENTS_MAX, BATCH_FACTS_MAX, FACTS_MAX, OUTBOX_MAX, READ_EVENTS},
    metrics::Metrics,
    store::{Batch, Computed, Journal, JournalError, Sequence},
};

/// Larger than any event that was accepted: a submission has the size of its request's body.
const EVENT_BYTES_MAX: usize = 4 * asterism_protocol::limits::WORKFLOW_BYTES_MAX;

/// Milliseconds since the epoch that never run backwards within one process.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    at_start: Timestamp,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let at_start = Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
        Self {
            started: Instant::now(),
            at_start,
        }
    }

    pub(crate) fn now(self) -> Timestamp {
        self.at_start
            .after_ms(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// What is wrong with the coordinator itself, once something is: it stops accepting and keeps answering.
#[derive(Default)]
pub(crate) struct Trouble(OnceLock<String>);

impl Trouble {
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    fn set(&self, text: String) {
        error!(trouble = text, "stopped accepting work");
        // The first trouble is the cause of the others.
        let _ = self.0.set(text);
    }
}

/// The way to one executor's socket.
#[derive(Clone)]
pub(crate) struct Outbox {
    /// Boxed: a queue keeps room for 32 of them from its beginning, and most executors are idle.
    queue: mpsc::Sender<Box<ToExecutor>>,
    cut: Arc<Notify>,
    was_cut: Arc<AtomicBool>,
}

/// The socket's end of an [`Outbox`].
pub(crate) struct OutboxReceiver {
    /// Messages to send; it ends when the connection is to be closed.
    pub(crate) queue: mpsc::Receiver<Box<ToExecutor>>,
    /// Close at once, unsent messages or not.
    pub(crate) cut: Arc<Notify>,
}

impl Outbox {
    fn new() -> (Self, OutboxReceiver) {
        let (sender, queue) = mpsc::channel(OUTBOX_MAX);
        let cut = Arc::new(Notify::new());
        (
            Self {
                queue: sender,
                cut: Arc::clone(&cut),
                was_cut: Arc::default(),
            },
            OutboxReceiver { queue, cut },
        )
    }

    /// A queue that is full belongs to somebody who does not listen: the connection is cut.
    fn send(&self, connection: ConnectionId, message: ToExecutor) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(Box::new(message))
            && !self.was_cut.swap(true, Ordering::Relaxed)
        {
            warn!(
                connection = connection.0,
                "an executor reads too slowly and is disconnected"
            );
            self.cut.notify_one();
        }
    }
}

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

/// What waits until the events before it are durable.
enum Duty {
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
struct Pending {
    batch: Batch,
    duties: Vec<Duty>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.batch.events.is_empty() && self.duties.is_empty()
    }
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

/// The scheduler's side.
struct Desk {
    scheduler: Scheduler,
    clock: Clock,
    metrics: Arc<Metrics>,
    trouble: Arc<Trouble>,
    outboxes: BTreeMap<ConnectionId, Outbox>,
    requests: BTreeMap<RequestId, Answer>,
    next_request: u64,
    pending: Pending,
}

impl Desk {
    async fn run(mut self, mut facts: mpsc::Receiver<Fact>, batches: mpsc::Sender<Pending>) {
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

/// The journal's side.
struct Keeper {
    journal: Arc<dyn Journal>,
    sequence: Sequence,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    trouble: Arc<Trouble>,
}

impl Keeper {
    fn run(mut self, mut batches: mpsc::Receiver<Pending>) {
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

#[cfg(test)]
mod tests {

    use asterism_protocol::{
        Cid, Input as TaskInput, Instruction, Meta, Nonce, Prepared, Receipt, Remark, Task,
        Workflow, blob_cid, message::LeaseId,
    };

    use super::*;
    use crate::store::{ComponentRecord, MemoryJournal};

    /// A disk that breaks when it is told to.
    #[derive(Default)]
    struct BreakingJournal {
        journal: MemoryJournal,
        broken: AtomicBool,
    }

    impl Journal for BreakingJournal {
        fn append(&self, expected: Sequence, batch: &Batch) -> Result<Sequence, JournalError> {
            if self.broken.load(Ordering::SeqCst) {
                return Err(JournalError::Damaged {
                    place: "disk".into(),
                    reason: "no space is left".into(),
                });
            }
            self.journal.append(expected, batch)
        }

        fn end(&self) -> Result<Sequence, JournalError> {
            self.journal.end()
        }

        fn read(&self, from: Sequence, max: usize) -> Result<Vec<Vec<u8>>, JournalError> {
            self.journal.read(from, max)
        }

        fn receipts_of(&self, instructions: &[Cid]) -> Result<Vec<Receipt>, JournalError> {
            self.journal.receipts_of(instructions)
        }

        fn receipt(&self, cid: Cid) -> Result<Option<Receipt>, JournalError> {
            self.journal.receipt(cid)
        }

        fn remark(&self, receipt: Cid) -> Result<Option<Remark>, JournalError> {
            self.journal.remark(receipt)
        }

        fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError> {
            self.journal.add_component(component)
        }

        fn components(&self) -> Result<Vec<ComponentRecord>, JournalError> {
            self.journal.components()
        }
    }

    fn start(journal: &Arc<BreakingJournal>, trouble: &Arc<Trouble>) -> (Driver, Threads) {
        let metrics = Arc::new(Metrics::new());
        let journal = Arc::clone(journal);
        let parts = Parts {
            config: Config::default(),
            seed: 1,
            journal,
            hub: Arc::new(Hub::new(Arc::clone(&metrics))),
            metrics,
            trouble: Arc::clone(trouble),
            clock: Clock::new(),
        };
        Driver::start(parts).unwrap()
    }

    fn submission(number: i128) -> Submission {
        let run = Instruction {
            rsc: format!("ipfs://{}", blob_cid(b"component")),
            op: "wasm/run".into(),
            input: TaskInput {
                func: "f".into(),
                args: vec![asterism_protocol::Value::Integer(number)],
            },
            nnc: Nonce::Empty,
        };
        let task = Task {
            run,
            cause: None,
            meta: Meta::default(),
            prf: Vec::new(),
        };
        let prepared = Prepared {
            workflow: Workflow { tasks: vec![task] },
            names: vec![String::new()],
        };
        Submission {
            prepared,
            name: "test".into(),
            submitter: "test".into(),
            known: Vec::new(),
            terms: asterism_protocol::Terms::default(),
        }
    }

    #[tokio::test]
    async fn what_cannot_be_made_durable_is_not_acknowledged() {
        let (journal, trouble) = (
            Arc::new(BreakingJournal::default()),
            Arc::new(Trouble::default()),
        );
        let (driver, threads) = start(&journal, &trouble);
        let run = driver.submit(submission(1)).await.unwrap();
        assert!(
            journal.end().unwrap() > Sequence(0),
            "acknowledged, so durable"
        );

        journal.broken.store(true, Ordering::SeqCst);
        assert!(matches!(
            driver.submit(submission(2)).await,
            Err(NoAnswer::Unavailable)
        ));
        assert!(trouble.text().unwrap().contains("no space is left"));
        // The disk comes back, the trust does not: what was handled meanwhile is lost.
        journal.broken.store(false, Ordering::SeqCst);
        assert!(matches!(
            driver.submit(submission(3)).await,
            Err(NoAnswer::Unavailable)
        ));
        let (view, _) = driver
            .look(move |scheduler| scheduler.run_view(run))
            .await
            .unwrap();
        assert!(view.is_some(), "reading goes on");
        driver.stop(threads).await;

        let (driver, threads) = start(&journal, &Arc::new(Trouble::default()));
        let (overview, _) = driver.look(Scheduler::overview).await.unwrap();
        assert_eq!(
            overview.runs.len(),
            1,
            "only what was acknowledged is there"
        );
        driver.stop(threads).await;
    }

    #[tokio::test]
    async fn who_does_not_read_is_cut_off() {
        let (outbox, receiver) = Outbox::new();
        let message = || ToExecutor::Revoke {
            leases: vec![LeaseId(1)],
            reason: String::new(),
        };
        (0..OUTBOX_MAX).for_each(|_| outbox.send(ConnectionId(1), message()));
        let cut = tokio::time::timeout(Duration::from_millis(10), receiver.cut.notified()).await;
        assert!(cut.is_err(), "a full queue is not yet too much");
        outbox.send(ConnectionId(1), message());
        receiver.cut.notified().await;
    }
}
