//! The shell around an executor's session: does what [`Session`] asks for and tells it what came of it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::{Rc, Weak},
};

use asterism_executor::{Config, Input, Job, METERING, Output, Session, ThreadId, TransferError};
use asterism_protocol::{
    Cid, Timestamp,
    limits::MEMORY_BYTES_DEFAULT,
    message::{Capabilities, Fault, FaultKind, LeaseId, ToCoordinator},
    view::RunId,
};
use gloo_timers::callback::Timeout;
use js_sys::Uint8Array;
use wasm_bindgen_futures::spawn_local;

use super::{
    blobs::Blobs,
    key::Key,
    message::{Ask, FromTalk, Work},
    pool::{Pool, Said},
    programs::Programs,
    say,
};
use crate::{
    compute::message::{FromCompute, blobs, modules},
    js::{now, random},
};

/// Shortest time between two reports to the page, in milliseconds: nobody reads faster.
const REPORT_MS: u64 = 100;

/// Longest sleep: `setTimeout` counts in 31 bits.
const SLEEP_MS_MAX: u64 = 1 << 30;

/// Longest that a task may have a visitor's tab, in milliseconds: what takes hours is for executors that stay.
const TIME_MS_MAX: u64 = 15 * 60 * 1000;

/// Leases held beyond those that run, for each thread: enough that compute never waits for the network, few enough
/// that a closed tab costs others little.
const PREFETCH: u32 = 2;

/// The way to a coordinator, behind a network or in this worker.
pub(crate) trait Line {
    /// Opens the connection; the shell is told when it is there and when it ends.
    fn connect(&self, shell: &Rc<Shell>);
    /// Closes it.
    fn disconnect(&self);
    /// Sends, if it is open.
    fn send(&self, message: ToCoordinator);
    /// Fetches a blob; the shell is told what came of it.
    fn fetch(&self, shell: &Rc<Shell>, cid: Cid);
    /// Brings a blob; the shell is told what came of it.
    fn upload(&self, shell: &Rc<Shell>, cid: Cid, bytes: Uint8Array);
    /// The page wants to know everything about this run and its tasks from a place on.
    fn watch(&self, run: Option<RunId>, from: u32);
    /// The page asks the coordinator something.
    fn ask(&self, id: u32, ask: Ask);
}

/// What an owner allows.
pub(super) struct Allowed {
    pub(super) threads: u32,
    pub(super) duty_percent: u8,
    pub(super) memory_bytes: u64,
    pub(super) name: String,
}

/// A session with all that it needs.
pub(crate) struct Shell {
    session: RefCell<Session>,
    /// What the session was not told yet: facts may arise while it is being served.
    inbox: RefCell<VecDeque<Fact>>,
    serving: Cell<bool>,
    line: Rc<dyn Line>,
    key: Key,
    blobs: RefCell<Blobs>,
    pool: RefCell<Pool>,
    programs: Programs,
    alarm: RefCell<Option<(Timestamp, Timeout)>>,
    report: RefCell<Option<Timeout>>,
    reported: Cell<Timestamp>,
    me: Weak<Self>,
}

enum Fact {
    Input(Input),
    TimePassed,
}

impl Shell {
    /// Starts a session.
    pub(super) fn start(line: Rc<dyn Line>, key: Key, allowed: &Allowed) -> Rc<Self> {
        let session = Session::new(Config {
            key: key.public(),
            name: allowed.name.clone(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: Capabilities {
                host: "browser".to_owned(),
                metering: METERING.to_owned(),
                threads: allowed.threads,
                memory: MEMORY_BYTES_DEFAULT,
                ..Capabilities::default()
            },
            enrolment: String::new(),
            duty_percent: allowed.duty_percent,
            memory_bytes: allowed.memory_bytes,
            time_ms: TIME_MS_MAX,
            prefetch: PREFETCH,
            pipeline: true,
            seed: u64::from_le_bytes(random()),
        });
        let shell = Rc::new_cyclic(|me: &Weak<Self>| {
            let hear = me.clone();
            let pool = Pool::new(move |thread, said| {
                if let Some(shell) = hear.upgrade() {
                    shell.hear(thread, said);
                }
            });
            Self {
                session: RefCell::new(session),
                inbox: RefCell::default(),
                serving: Cell::new(false),
                line,
                key,
                blobs: RefCell::default(),
                programs: Programs::open(pool.build()),
                pool: RefCell::new(pool),
                alarm: RefCell::new(None),
                report: RefCell::new(None),
                reported: Cell::default(),
                me: me.clone(),
            }
        });
        shell.resize(allowed.threads);
        shell.serve(Fact::TimePassed);
        shell
    }

    /// Tells the session a fact, and does what it asks for then.
    pub(crate) fn tell(&self, input: Input) {
        self.serve(Fact::Input(input));
    }

    /// The owner allows this many threads.
    pub(super) fn resize(&self, threads: u32) {
        if let Err(reason) = self.pool.borrow_mut().resize(threads) {
            say(&FromTalk::Broken(format!(
                "compute workers cannot be started here: {reason}"
            )));
        }
    }

    fn serve(&self, fact: Fact) {
        self.inbox.borrow_mut().push_back(fact);
        if self.serving.replace(true) {
            return;
        }
        while let Some(fact) = self.take() {
            match fact {
                Fact::Input(input) => self.session.borrow_mut().handle(input, now()),
                Fact::TimePassed => self.session.borrow_mut().handle_timeout(now()),
            }
            while let Some(output) = self.poll() {
                self.perform(output);
            }
        }
        self.serving.set(false);
        self.set_alarm();
    }

    fn take(&self) -> Option<Fact> {
        self.inbox.borrow_mut().pop_front()
    }

    fn poll(&self) -> Option<Output> {
        self.session.borrow_mut().poll_output()
    }

    /// Wakes the session when it wants to be. An alarm that rings too early does no harm, and most facts move it later: it is
    /// set anew only when it would ring too late.
    fn set_alarm(&self) {
        let Some((at, _)) = self.session.borrow().poll_timeout() else {
            return;
        };
        if self
            .alarm
            .borrow()
            .as_ref()
            .is_some_and(|(set, _)| *set <= at)
        {
            return;
        }
        let me = self.me.clone();
        let wait_ms = at.since_ms(now()).min(SLEEP_MS_MAX) as u32;
        let alarm = Timeout::new(wait_ms, move || {
            if let Some(shell) = me.upgrade() {
                shell.alarm.take().map(|(_, alarm)| alarm.forget());
                shell.serve(Fact::TimePassed);
            }
        });
        self.alarm.replace(Some((at, alarm)));
    }

    fn perform(&self, output: Output) {
        match output {
            Output::Connect => self.connect(),
            Output::Disconnect => self.line.disconnect(),
            Output::Send(message) => self.line.send(message),
            Output::Sign { id, bytes } => {
                self.spawn(async move |shell| match shell.key.sign(&bytes).await {
                    Ok(signature) => Some(Input::Signed { id, signature }),
                    Err(error) => {
                        let reason = crate::js::message_of(&error);
                        say(&FromTalk::Broken(format!(
                            "this browser's key no longer signs: {reason}"
                        )));
                        None
                    }
                })
            }
            Output::Fetch { cid } => self.fetch(cid),
            Output::Upload { cid } => self.upload(cid),
            Output::Release { cid } => self.blobs.borrow_mut().release(cid),
            Output::Run {
                thread,
                lease,
                job,
                blobs,
            } => {
                if let Err(message) = self.run(thread, lease, job, &blobs) {
                    let fault = Fault {
                        kind: FaultKind::Host,
                        message,
                    };
                    self.tell(Input::Ended {
                        thread,
                        lease,
                        result: Err(fault),
                    });
                }
            }
            Output::Kill { thread } => drop(self.pool.borrow_mut().kill(thread)),
            Output::Changed => self.report(),
            Output::Finished => {
                self.report.take();
                self.say_status();
                say(&FromTalk::Finished);
            }
        }
    }

    fn connect(&self) {
        if let Some(me) = self.me.upgrade() {
            self.line.connect(&me);
        }
    }

    fn fetch(&self, cid: Cid) {
        if self.blobs.borrow_mut().need(cid) {
            self.tell(Input::Fetched { cid });
        } else if let Some(me) = self.me.upgrade() {
            self.line.fetch(&me, cid);
        }
    }

    /// Keeps bytes that a lease needs, which were checked against the CID, and gets what an earlier visit made of them.
    pub(crate) async fn fetched(&self, cid: Cid, bytes: Uint8Array) -> Input {
        self.blobs.borrow_mut().keep(cid, bytes);
        self.programs.recall(cid).await;
        Input::Fetched { cid }
    }

    fn upload(&self, cid: Cid) {
        let (Some(bytes), Some(me)) = (self.blobs.borrow_mut().get(cid), self.me.upgrade()) else {
            self.tell(Input::UploadFailed {
                cid,
                error: TransferError::Failed("it is not here any more".to_owned()),
            });
            return;
        };
        self.line.upload(&me, cid, bytes);
    }

    fn run(
        &self,
        thread: ThreadId,
        lease: LeaseId,
        job: Box<Job>,
        blobs: &[Cid],
    ) -> Result<(), String> {
        let mut here = self.blobs.borrow_mut();
        let mut find = |cid: Cid| {
            here.get(cid)
                .ok_or_else(|| format!("{cid} is not here any more"))
        };
        let component = job.component;
        let blobs = blobs
            .iter()
            .map(|cid| Ok((*cid, find(*cid)?)))
            .collect::<Result<Vec<_>, String>>()?;
        let mut pool = self.pool.borrow_mut();
        if !pool.holds(thread, component) {
            let kept = self.programs.of(component);
            pool.prepare(thread, component, find(component)?, &kept)?;
            self.tell(Input::Preparing { thread });
        }
        pool.run(thread, lease, job, blobs)
    }

    /// A compute worker said something.
    fn hear(&self, thread: ThreadId, said: Said) {
        let end = |result| {
            // Taken before the session is told: it may give the thread its next task at once.
            let lease = self.pool.borrow_mut().ended(thread);
            if let Some(lease) = lease {
                self.tell(Input::Ended {
                    thread,
                    lease,
                    result,
                });
            }
        };
        match said {
            Said::From(
                FromCompute::Prepared {
                    component,
                    unfit,
                    made,
                },
                mut parts,
            ) if unfit.is_empty() => {
                if !made.is_empty() {
                    let bytes = parts.split_off(made.len().min(parts.len()));
                    // Whatever is not understood is made again.
                    if let (Ok(compiled), Ok(bytes)) =
                        (modules(&made, parts), modules(&made, bytes))
                    {
                        self.programs.learn(component, compiled, bytes);
                    }
                }
                self.tell(Input::Prepared { thread });
            }
            Said::From(
                FromCompute::Prepared {
                    component, unfit, ..
                },
                _,
            ) => {
                let given = self.pool.borrow_mut().unfit(thread, component);
                for lease in given {
                    self.tell(Input::Unfit {
                        thread,
                        lease,
                        reason: unfit.clone(),
                    });
                }
            }
            Said::From(
                FromCompute::Ended {
                    lease,
                    result,
                    blobs: names,
                },
                parts,
            ) => {
                if self.pool.borrow().running(thread) != Some(lease) {
                    return;
                }
                for (cid, bytes) in names.iter().zip(blobs(parts).unwrap_or_default()) {
                    self.blobs.borrow_mut().keep(*cid, bytes);
                }
                end(result.map(|mut attempt| {
                    // The session reads their names only.
                    attempt.blobs = names
                        .into_iter()
                        .map(|cid| (cid, serde_bytes::ByteBuf::new()))
                        .collect();
                    attempt
                }));
            }
            Said::Broken(message) => {
                let given = self.pool.borrow_mut().kill(thread);
                for lease in given {
                    let fault = Fault {
                        kind: FaultKind::Host,
                        message: message.clone(),
                    };
                    self.tell(Input::Ended {
                        thread,
                        lease,
                        result: Err(fault),
                    });
                }
            }
        }
    }

    /// Does something that takes time, and tells the session what came of it.
    pub(crate) fn spawn(&self, work: impl AsyncFnOnce(Rc<Self>) -> Option<Input> + 'static) {
        let Some(shell) = self.me.upgrade() else {
            return;
        };
        spawn_local(async move {
            if let Some(input) = work(shell.clone()).await {
                shell.tell(input);
            }
        });
    }

    fn say_status(&self) {
        let work = Work {
            recalled: self.programs.recalled(),
            ..Work::from(&self.session.borrow().status())
        };
        say(&FromTalk::Status(Box::new(work)));
    }

    /// Shows the page how the work goes, now or a little later with whatever else changes until then.
    fn report(&self) {
        if self.report.borrow().is_some() {
            return;
        }
        let wait_ms = REPORT_MS.saturating_sub(now().since_ms(self.reported.get()));
        let me = self.me.clone();
        let report = Timeout::new(wait_ms as u32, move || {
            if let Some(shell) = me.upgrade() {
                shell.report.take().map(Timeout::forget);
                shell.reported.set(now());
                shell.say_status();
            }
        });
        self.report.replace(Some(report));
    }
}
