//! The loop: facts to the session, duties from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use asterism_executor::{
    Attempt, Config, Host, Input, Job, METERING, Output, Session, ThreadId, TransferError,
};
use asterism_protocol::{
    Cid, HTTP, Identity, Timestamp,
    message::{Capabilities, Fault, FaultKind, LeaseId, ToCoordinator},
};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::{
    AllowHttp, KeyError, Server, ServerError,
    cache::Cache,
    key::{hold_key, load_key},
    line::{Heard, Line, Listener},
    store::Store,
    threads::{ComputeThread, Factory, Order, Said},
};

/// Facts that wait for the session. Whoever has more to say waits.
const FACTS: usize = 256;

/// What the owner of an executor decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// The coordinator: `http://host:port`.
    pub server: String,
    /// Other coordinators on the same journal, which are turned to when that one does not answer.
    pub others: Vec<String>,
    /// Where the key is kept.
    pub data: PathBuf,
    /// A name for people; empty for none.
    pub name: String,
    /// What proves to which enrolled owner it belongs; empty for none.
    pub enrolment: String,
    /// What the owner says of it, for tasks that ask for it.
    pub labels: BTreeMap<String, String>,
    /// Where tasks may send requests over HTTP; nowhere without any, and then it gets no such tasks. The hosts of the factory
    /// have the way out.
    pub http: Vec<AllowHttp>,
    /// How many tasks are performed at the same time.
    pub threads: u32,
    /// Share of time that threads compute, in percent from 1 to 100.
    pub duty_percent: u8,
    /// Most memory that a task may have, in bytes; what wants more is left to others.
    pub memory_bytes: u64,
    /// Longest that a task may run, in milliseconds; what takes longer is left to others.
    pub time_ms: u64,
    /// Leases held beyond those that run, for each thread. Where tasks are short, more are held.
    pub prefetch: u32,
    /// How many bytes of blobs stay in memory beyond those that are needed now.
    pub cache_bytes: usize,
}

impl Options {
    /// The usual choices: a thread for each processor, all the time, whatever memory tasks ask for, 256 MiB of blobs.
    #[must_use]
    pub fn new(server: impl Into<String>, data: impl Into<PathBuf>) -> Self {
        Self {
            server: server.into(),
            others: Vec::new(),
            data: data.into(),
            name: String::new(),
            enrolment: String::new(),
            labels: BTreeMap::new(),
            http: Vec::new(),
            threads: std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32),
            duty_percent: 100,
            memory_bytes: u64::MAX,
            time_ms: u64::MAX,
            prefetch: 1,
            cache_bytes: 256 << 20,
        }
    }
}

/// Why an executor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No address.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No HTTP client.
    #[error("the HTTP client cannot be made")]
    Http(#[source] reqwest::Error),
    /// The system has no randomness to give.
    #[error("the system has no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Performs tasks for a coordinator until `shutdown`, then hands back what is not done and leaves.
///
/// `factory` makes a host for each thread, on that thread, and once more to ask what it can do. A coordinator that is away
/// is waited for.
///
/// # Errors
/// What stands in the way of starting; once it runs, trouble is logged and overcome.
pub async fn run(
    options: Options,
    factory: impl Fn() -> Box<dyn Host + Send> + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let server = Server::parse(&options.server, &options.others)?;
    let identity = load_key(&options.data)?;
    let _held = hold_key(&options.data)?;
    let store = Store::new(server.clone()).map_err(Error::Http)?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(Error::Random)?;
    let host = factory().info();
    let config = Config {
        key: identity.public_key(),
        name: options.name,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        capabilities: Capabilities {
            host: host.name.to_owned(),
            metering: METERING.to_owned(),
            threads: options.threads,
            memory: host.memory_max,
            offers: if options.http.is_empty() {
                BTreeSet::new()
            } else {
                BTreeSet::from([HTTP.to_owned()])
            },
            labels: options.labels,
        },
        enrolment: options.enrolment,
        duty_percent: options.duty_percent,
        memory_bytes: options.memory_bytes,
        time_ms: options.time_ms,
        prefetch: options.prefetch,
        // Its threads are not ended, only the task that they have.
        pipeline: false,
        seed: u64::from_le_bytes(seed),
    };
    info!(%server, key = %identity.public_key(), host = host.name, threads = options.threads, "executor starts");
    let (facts, mut heard) = mpsc::channel(FACTS);
    let mut shell = Shell {
        session: Session::new(config),
        clock: Clock::new(),
        identity,
        server,
        store,
        factory: Arc::new(factory),
        facts,
        cache: Cache::new(options.cache_bytes),
        moving: BTreeSet::new(),
        line: None,
        lines: 0,
        threads: BTreeMap::new(),
        connected: false,
        trouble: String::new(),
        finished: false,
    };
    let mut shutdown = pin!(shutdown);
    let mut leaving = false;
    shell.work();
    while !shell.finished {
        let wait = shell
            .clock
            .until(shell.session.poll_timeout().map(|(at, _)| at));
        tokio::select! {
            Some(fact) = heard.recv() => shell.take(fact),
            () = &mut shutdown, if !leaving => {
                leaving = true;
                info!("executor leaves");
                shell.tell(Input::Leave { finish: false });
            }
            () = tokio::time::sleep(wait) => shell.session.handle_timeout(shell.clock.now()),
        }
        shell.work();
    }
    if let Some(line) = shell.line.take() {
        // What comes meanwhile is not looked at, but must not hold the line up.
        heard.close();
        line.close().await;
    }
    let status = shell.session.status();
    info!(
        tasks = status.tasks,
        fuel = status.fuel,
        "executor has left"
    );
    Ok(())
}

/// Time for the session: the system's at the start, and steady from there.
struct Clock {
    start: Instant,
    epoch_ms: u64,
}

impl Clock {
    fn new() -> Self {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            epoch_ms: since.as_millis() as u64,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.epoch_ms).after_ms(self.start.elapsed().as_millis() as u64)
    }

    /// How long to wait; without a reason, some time all the same.
    fn until(&self, at: Option<Timestamp>) -> Duration {
        at.map_or(Duration::from_secs(60), |at| {
            Duration::from_millis(at.since_ms(self.now()))
        })
    }
}

/// What lines, transfers and threads say.
enum Fact {
    Line {
        line: u64,
        heard: Heard,
    },
    Fetched {
        cid: Cid,
        result: Result<Vec<u8>, TransferError>,
    },
    Uploaded {
        cid: Cid,
        result: Result<(), TransferError>,
    },
    Thread {
        thread: ThreadId,
        said: Said,
    },
}

/// Puts what one line hears among the facts.
struct Ear {
    line: u64,
    facts: mpsc::Sender<Fact>,
}

impl Listener for Ear {
    async fn hear(&self, heard: Heard) {
        // A shell that is gone does not listen.
        let _ = self
            .facts
            .send(Fact::Line {
                line: self.line,
                heard,
            })
            .await;
    }
}

struct Shell {
    session: Session,
    clock: Clock,
    identity: Identity,
    server: Server,
    store: Store,
    factory: Factory,
    facts: mpsc::Sender<Fact>,
    cache: Cache,
    /// Blobs on their way here.
    moving: BTreeSet<Cid>,
    line: Option<Line>,
    /// How many lines there were: what an older one still says is not for the session.
    lines: u64,
    threads: BTreeMap<ThreadId, ComputeThread>,
    connected: bool,
    trouble: String,
    finished: bool,
}

impl Shell {
    fn tell(&mut self, input: Input) {
        self.session.handle(input, self.clock.now());
    }

    fn take(&mut self, fact: Fact) {
        match fact {
            Fact::Line { line, heard } if line == self.lines && self.line.is_some() => {
                match heard {
                    Heard::Connected => self.tell(Input::Connected),
                    Heard::Message(message) => self.tell(Input::Received(message)),
                    Heard::Closed { reason } => {
                        self.line = None;
                        // One that was there comes back, or another one takes its place: it is asked first.
                        if !self.connected {
                            self.server.turn();
                        }
                        self.tell(Input::Disconnected { reason });
                    }
                }
            }
            Fact::Line { .. } => {}
            Fact::Fetched { cid, result } => {
                self.moving.remove(&cid);
                match result {
                    Ok(bytes) => {
                        self.cache.insert(cid, Arc::new(bytes));
                        self.tell(Input::Fetched { cid });
                    }
                    Err(error) => {
                        debug!(%cid, %error, "blob not fetched");
                        self.tell(Input::FetchFailed { cid, error });
                    }
                }
            }
            Fact::Uploaded {
                cid,
                result: Ok(()),
            } => self.tell(Input::Uploaded { cid }),
            Fact::Uploaded {
                cid,
                result: Err(error),
            } => {
                debug!(%cid, %error, "blob not brought");
                self.tell(Input::UploadFailed { cid, error });
            }
            Fact::Thread { thread, said } => match said {
                Said::Preparing => self.tell(Input::Preparing { thread }),
                Said::Prepared => self.tell(Input::Prepared { thread }),
                Said::Ended { lease, result } => {
                    if let Some(state) = self.threads.get_mut(&thread) {
                        state.ended();
                    }
                    self.ended(thread, lease, result);
                }
                Said::Unfit { lease, reason } => {
                    if let Some(state) = self.threads.get_mut(&thread) {
                        state.ended();
                    }
                    debug!(
                        thread = thread.0,
                        lease = lease.0,
                        reason,
                        "component unfit"
                    );
                    self.tell(Input::Unfit {
                        thread,
                        lease,
                        reason,
                    });
                }
            },
        }
    }

    fn ended(&mut self, thread: ThreadId, lease: LeaseId, mut result: Result<Box<Attempt>, Fault>) {
        match &mut result {
            Ok(attempt) => {
                debug!(
                    thread = thread.0,
                    lease = lease.0,
                    elapsed_us = attempt.remark.elapsed_us,
                    "attempt ended"
                );
                for (cid, bytes) in &mut attempt.blobs {
                    self.cache.hold(*cid);
                    self.cache
                        .insert(*cid, Arc::new(std::mem::take(bytes).into_vec()));
                }
            }
            Err(fault) => debug!(
                thread = thread.0,
                lease = lease.0,
                fault = fault.message,
                "attempt broke"
            ),
        }
        self.tell(Input::Ended {
            thread,
            lease,
            result,
        });
    }

    /// Does all that the session asks for.
    fn work(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect => {
                    self.lines += 1;
                    let ear = Ear {
                        line: self.lines,
                        facts: self.facts.clone(),
                    };
                    self.line = Some(Line::open(&self.server, ear));
                }
                Output::Disconnect => self.hang_up(),
                Output::Send(message) => self.send(message),
                Output::Sign { id, bytes } => {
                    let signature = self.identity.sign(&bytes);
                    self.tell(Input::Signed { id, signature });
                }
                Output::Fetch { cid } => self.fetch(cid),
                Output::Upload { cid } => self.upload(cid),
                Output::Release { cid } => self.cache.release(cid),
                Output::Run {
                    thread,
                    lease,
                    job,
                    blobs,
                } => self.run(thread, lease, job, &blobs),
                Output::Kill { thread } => {
                    info!(thread = thread.0, "task stopped");
                    if let Some(state) = self.threads.get(&thread) {
                        state.stop();
                    }
                }
                Output::Changed => self.show(),
                Output::Finished => self.finished = true,
            }
        }
    }

    fn send(&mut self, message: ToCoordinator) {
        if self.line.as_ref().is_some_and(|line| !line.send(message)) {
            self.line = None;
            self.tell(Input::Disconnected {
                reason: "the coordinator does not read".into(),
            });
        }
    }

    /// The farewell goes out beside the loop; when the session is over, [`run`] waits for it.
    fn hang_up(&mut self) {
        if !self.session_is_over()
            && let Some(line) = self.line.take()
        {
            tokio::spawn(line.close());
        }
    }

    fn session_is_over(&self) -> bool {
        self.session.poll_timeout().is_none()
    }

    fn fetch(&mut self, cid: Cid) {
        self.cache.hold(cid);
        if self.cache.get(cid).is_some() {
            self.tell(Input::Fetched { cid });
        } else if self.moving.insert(cid) {
            let (store, facts) = (self.store.clone(), self.facts.clone());
            tokio::spawn(async move {
                let result = store.fetch(cid).await;
                // A shell that is gone does not listen; so below.
                let _ = facts.send(Fact::Fetched { cid, result }).await;
            });
        }
    }

    fn upload(&mut self, cid: Cid) {
        self.cache.hold(cid);
        let Some(bytes) = self.cache.get(cid) else {
            return self.tell(Input::UploadFailed {
                cid,
                error: TransferError::Failed("its bytes are not here any more".into()),
            });
        };
        let (store, facts) = (self.store.clone(), self.facts.clone());
        tokio::spawn(async move {
            let result = store.upload(cid, &bytes).await;
            let _ = facts.send(Fact::Uploaded { cid, result }).await;
        });
    }

    fn run(&mut self, thread: ThreadId, lease: LeaseId, mut job: Box<Job>, blobs: &[Cid]) {
        debug!(thread = thread.0, lease = lease.0, func = job.func, instruction = %job.instruction, "attempt begins");
        match self.gather(thread, &mut job, blobs) {
            Ok(component) => {
                // Until a task that is not wanted any more has ended, the clock of the next one stands still.
                let busy = self
                    .threads
                    .get(&thread)
                    .is_some_and(ComputeThread::is_busy);
                if busy {
                    self.tell(Input::Preparing { thread });
                }
                let order = Order {
                    lease,
                    job,
                    component,
                    announce: busy,
                };
                if !self
                    .threads
                    .get_mut(&thread)
                    .is_some_and(|state| state.order(order))
                {
                    self.threads.remove(&thread);
                    self.broke(thread, lease, "the compute thread is gone".into());
                }
            }
            Err(message) => self.broke(thread, lease, message),
        }
    }

    /// Gathers what a task needs, and starts its thread if it has none.
    fn gather(
        &mut self,
        thread: ThreadId,
        job: &mut Job,
        blobs: &[Cid],
    ) -> Result<Arc<Vec<u8>>, String> {
        let missing = |cid| format!("blob {cid} was here and is gone");
        for cid in blobs {
            let bytes = self.cache.get(*cid).ok_or_else(|| missing(*cid))?;
            job.blobs.insert(*cid, ByteBuf::from(bytes.to_vec()));
        }
        let component = self
            .cache
            .get(job.component)
            .ok_or_else(|| missing(job.component))?;
        if !self.threads.contains_key(&thread) {
            let facts = self.facts.clone();
            let say = move |said| {
                let _ = facts.blocking_send(Fact::Thread { thread, said });
            };
            let name = format!("compute-{}", thread.0);
            let started = ComputeThread::start(name, Arc::clone(&self.factory), say);
            self.threads.insert(
                thread,
                started.map_err(|error| format!("no thread can be started: {error}"))?,
            );
        }
        Ok(component)
    }

    fn broke(&mut self, thread: ThreadId, lease: LeaseId, message: String) {
        warn!(thread = thread.0, lease = lease.0, message, "attempt broke");
        self.tell(Input::Ended {
            thread,
            lease,
            result: Err(Fault {
                kind: FaultKind::Host,
                message,
            }),
        });
    }

    /// Tells the log what an owner should know.
    fn show(&mut self) {
        let status = self.session.status();
        if status.connected != self.connected {
            self.connected = status.connected;
            if status.connected {
                info!(server = %self.server, build = status.coordinator_build, "coordinator welcomes");
            }
        }
        if status.trouble != self.trouble {
            if !status.trouble.is_empty() {
                warn!("{}", status.trouble);
            }
            self.trouble = status.trouble;
        }
    }
}
