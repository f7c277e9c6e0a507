//! The coordinator in the tab: the scheduler of every coordinator around memory that lasts as long as the tab, in the
//! talking worker. Its one executor is the session beside it; messages pass from one to the other as they are.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::{Rc, Weak},
};

use asterism_component::Shelf;
use asterism_executor::{Input as ExecutorInput, TransferError};
use asterism_protocol::{
    Attested, Cid, Defaults, encode, limits,
    limits::{BLOB_BYTES_MAX, WATCHED_TASKS_MAX},
    message::{Change, ToCoordinator, ToWatcher},
    prepare, value_of_json,
    view::{Overview, RunId},
};
use asterism_scheduler::{
    Checker, Config, ConnectionId, Event, Input, Output, Planned, RequestId, Scheduler, Submission,
};
use gloo_timers::callback::Timeout;
use js_sys::Uint8Array;

use crate::{
    js::{now, random},
    talk::{
        Line, Shell, cid_of,
        message::{Answer, Ask, FromTalk},
        say, serve,
    },
};

/// Who submits what is run here, in the words that a donor reads.
const SUBMITTER: &str = "you, in this tab";

/// Shortest time between two reports of changes to the page, in milliseconds.
const REPORT_MS: u64 = 50;

/// Longest sleep: `setTimeout` counts in 31 bits.
const SLEEP_MS_MAX: u64 = 1 << 30;

/// Most bytes of blobs kept: a tab is ended when it takes much more memory than this.
const BLOBS_BYTES_MAX: u64 = 768 << 20;

/// Serves the page with a coordinator of the tab's own, until the worker is ended. `early` is what the page said while this
/// program was loading.
pub fn start(early: &js_sys::Array) {
    serve(early, |_| Here::start());
}

/// The coordinator in the tab.
struct Here {
    scheduler: RefCell<Scheduler>,
    inbox: RefCell<VecDeque<Fact>>,
    serving: Cell<bool>,
    /// The session, while it is connected, and the number of its connection.
    executor: RefCell<Weak<Shell>>,
    connection: Cell<ConnectionId>,
    checker: RefCell<Checker>,
    components: RefCell<Shelf>,
    blobs: RefCell<BTreeMap<Cid, Uint8Array>>,
    blob_bytes: Cell<u64>,
    /// Canonical receipts by instruction: what a later run replays.
    receipts: RefCell<BTreeMap<Cid, Box<Attested>>>,
    watched: Cell<Option<RunId>>,
    /// Changes that the page was not told yet.
    changes: RefCell<Vec<Change>>,
    alarm: RefCell<Option<Timeout>>,
    report: RefCell<Option<Timeout>>,
    me: Weak<Self>,
}

enum Fact {
    Input(Input),
    TimePassed,
}

/// Tells the page what a coordinator behind a network would.
fn tell_page(told: &ToWatcher) {
    say(&FromTalk::Watched(Uint8Array::from(
        encode(told).as_slice(),
    )));
}

impl Here {
    /// A coordinator that knows nothing yet.
    fn start() -> Rc<Self> {
        let config = Config {
            build: env!("CARGO_PKG_VERSION").to_owned(),
            ..Config::default()
        };
        let here = Rc::new_cyclic(|me| Self {
            scheduler: RefCell::new(Scheduler::new(config, u64::from_le_bytes(random()))),
            inbox: RefCell::default(),
            serving: Cell::new(false),
            executor: RefCell::default(),
            connection: Cell::new(ConnectionId(0)),
            checker: RefCell::default(),
            components: RefCell::default(),
            blobs: RefCell::default(),
            blob_bytes: Cell::new(0),
            receipts: RefCell::default(),
            watched: Cell::new(None),
            changes: RefCell::default(),
            alarm: RefCell::new(None),
            report: RefCell::new(None),
            me: me.clone(),
        });
        here.snapshot();
        here
    }

    /// The bytes of a blob.
    fn blob(&self, cid: Cid) -> Option<Uint8Array> {
        self.blobs.borrow().get(&cid).cloned()
    }

    /// Keeps a blob that was made here.
    fn keep(&self, cid: Cid, bytes: Uint8Array) {
        let size = u64::from(bytes.length());
        if self.blobs.borrow_mut().insert(cid, bytes).is_none() {
            self.blob_bytes.set(self.blob_bytes.get() + size);
        }
    }

    fn submission(&self, workflow: &str, name: String) -> Result<Submission, String> {
        if workflow.len() > limits::DOCUMENT_BYTES_MAX {
            return Err(format!(
                "the workflow has more than {} bytes",
                limits::DOCUMENT_BYTES_MAX
            ));
        }
        let document = value_of_json(workflow.as_bytes()).map_err(|error| error.to_string())?;
        let prepared = prepare(&document, &*self.components.borrow(), &Defaults::default())
            .map_err(|error| error.to_string())?;
        let plan = Planned::read(&prepared).map_err(|error| error.to_string())?;
        let receipts = self.receipts.borrow();
        let known = plan
            .instructions()
            .filter_map(|instruction| Some(receipts.get(&instruction)?.receipt()))
            .collect();
        Ok(Submission {
            plan,
            name,
            submitter: SUBMITTER.to_owned(),
            known,
            terms: asterism_protocol::Terms::default(),
        })
    }

    fn add_component(&self, name: String, bytes: Uint8Array) -> Result<Cid, String> {
        asterism_component::check_component_name(&name)
            .map_err(|reason| format!("a component cannot have this name: {reason}"))?;
        let read = bytes.to_vec();
        let cid = self.put(bytes)?;
        // The code of its functions is left to the engine to validate: a second validator would be a quarter of the worker.
        let component =
            asterism_component::outline(&read).map_err(|refusal| refusal.to_string())?;
        let shelved = asterism_world::shelved(cid, name, read.len() as u64, component);
        let view = shelved.view.clone();
        self.components.borrow_mut().add(shelved);
        self.publish(Change::Component(view));
        Ok(cid)
    }

    fn put(&self, bytes: Uint8Array) -> Result<Cid, String> {
        let size = u64::from(bytes.length());
        if size > BLOB_BYTES_MAX || self.blob_bytes.get() + size > BLOBS_BYTES_MAX {
            return Err(
                "this is more than a tab can keep; a coordinator on a server can".to_owned(),
            );
        }
        let cid = cid_of(&bytes);
        self.keep(cid, bytes);
        Ok(cid)
    }

    fn serve(&self, fact: Fact) {
        self.inbox.borrow_mut().push_back(fact);
        if self.serving.replace(true) {
            return;
        }
        while let Some(fact) = self.take() {
            match fact {
                Fact::Input(input) => self.scheduler.borrow_mut().handle(input, now()),
                Fact::TimePassed => self.scheduler.borrow_mut().handle_timeout(now()),
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
        self.scheduler.borrow_mut().poll_output()
    }

    fn perform(&self, output: Output) {
        match output {
            Output::Persist(Event::Computed { receipt, .. }) => {
                self.receipts
                    .borrow_mut()
                    .insert(receipt.instruction(), receipt);
            }
            // All else that a journal keeps lasts as long as the scheduler does.
            Output::Persist(
                Event::Submitted { .. }
                | Event::GaveUp { .. }
                | Event::Voted { .. }
                | Event::Parted { .. }
                | Event::Caught { .. }
                | Event::Banned { .. }
                | Event::Lifted { .. }
                | Event::Repeated { .. }
                | Event::TaskCancelled { .. }
                | Event::Paused { .. }
                | Event::Records { .. }
                | Event::Cancelled { .. }
                | Event::LeasesReserved { .. },
            ) => {}
            Output::Send {
                connection,
                message,
            }
            | Output::Acknowledge {
                connection,
                message,
            } => {
                self.tell_executor(connection, ExecutorInput::Received(message));
            }
            Output::Reply { request, result } => {
                let answer = match result {
                    Ok(run) => Answer::Run(run),
                    Err(error) => Answer::Refused(error.to_string()),
                };
                say(&FromTalk::Answer {
                    id: request.0 as u32,
                    answer,
                });
            }
            Output::Publish(change) => self.publish(*change),
            Output::Disconnect { connection } => {
                let reason = "the coordinator in this tab hung up".to_owned();
                self.tell_executor(connection, ExecutorInput::Disconnected { reason });
            }
        }
    }

    fn tell_executor(&self, connection: ConnectionId, input: ExecutorInput) {
        let executor = self.executor.borrow().upgrade();
        if let Some(executor) = executor.filter(|_| connection == self.connection.get()) {
            executor.tell(input);
        }
    }

    fn set_alarm(&self) {
        let due = self.scheduler.borrow().poll_timeout();
        let alarm = due.map(|(at, _)| {
            let me = self.me.clone();
            Timeout::new(at.since_ms(now()).min(SLEEP_MS_MAX) as u32, move || {
                if let Some(here) = me.upgrade() {
                    here.serve(Fact::TimePassed);
                }
            })
        });
        self.alarm.replace(alarm);
    }

    /// Tells the page of a change, a little later with whatever else changes until then.
    fn publish(&self, change: Change) {
        if let Change::Task { run, .. } = &change
            && self.watched.get() != Some(*run)
        {
            return;
        }
        self.changes.borrow_mut().push(change);
        if self.report.borrow().is_some() {
            return;
        }
        let me = self.me.clone();
        let report = Timeout::new(REPORT_MS as u32, move || {
            if let Some(here) = me.upgrade() {
                here.report.take().map(Timeout::forget);
                here.flush();
            }
        });
        self.report.replace(Some(report));
    }

    fn flush(&self) {
        let changes = self.changes.take();
        if !changes.is_empty() {
            tell_page(&ToWatcher::Changes(changes));
        }
    }

    fn snapshot(&self) {
        let overview = self.scheduler.borrow().overview();
        let overview = Overview {
            components: self.components.borrow().views(),
            ..overview
        };
        tell_page(&ToWatcher::Snapshot(overview));
    }
}

impl Line for Here {
    fn connect(&self, shell: &Rc<Shell>) {
        self.executor.replace(Rc::downgrade(shell));
        let connection = ConnectionId(self.connection.get().0 + 1);
        self.connection.set(connection);
        self.checker.take();
        shell.tell(ExecutorInput::Connected);
        self.serve(Fact::Input(Input::Connected {
            connection,
            nonce: random(),
            origin: String::new(),
        }));
    }

    fn disconnect(&self) {
        self.executor.take();
        self.serve(Fact::Input(Input::Disconnected {
            connection: self.connection.get(),
        }));
    }

    fn send(&self, message: ToCoordinator) {
        let message = self.checker.borrow_mut().check(message);
        self.serve(Fact::Input(Input::Received {
            connection: self.connection.get(),
            message,
        }));
    }

    fn fetch(&self, shell: &Rc<Shell>, cid: Cid) {
        let blob = self.blob(cid);
        shell.spawn(async move |shell| {
            Some(match blob {
                Some(bytes) => shell.fetched(cid, bytes).await,
                None => ExecutorInput::FetchFailed {
                    cid,
                    error: TransferError::Failed("nobody added it to this tab".to_owned()),
                },
            })
        });
    }

    fn upload(&self, shell: &Rc<Shell>, cid: Cid, bytes: Uint8Array) {
        self.keep(cid, bytes);
        shell.tell(ExecutorInput::Uploaded { cid });
    }

    fn watch(&self, run: Option<RunId>, from: u32) {
        if let Some(before) = self.watched.replace(run) {
            self.serve(Fact::Input(Input::Unwatch { run: before }));
        }
        if let Some(run) = run {
            self.serve(Fact::Input(Input::Watch { run }));
        }
        self.flush();
        let scheduler = self.scheduler.borrow();
        let view = run.and_then(|run| scheduler.part_view(run, from, WATCHED_TASKS_MAX));
        if let Some(view) = view {
            tell_page(&ToWatcher::Run(Box::new(view)));
        }
    }

    fn ask(&self, id: u32, ask: Ask) {
        let request = RequestId(u64::from(id));
        let answer = match ask {
            Ask::Run { workflow, name } => match self.submission(&workflow, name) {
                Ok(submission) => {
                    self.serve(Fact::Input(Input::Submit {
                        request,
                        submission: Box::new(submission),
                    }));
                    return;
                }
                Err(reason) => Answer::Refused(reason),
            },
            Ask::Cancel(run) => {
                self.serve(Fact::Input(Input::Cancel { request, run }));
                return;
            }
            Ask::AddComponent { name, bytes } => self
                .add_component(name, bytes)
                .map_or_else(Answer::Refused, Answer::Kept),
            Ask::PutBlob(bytes) => self.put(bytes).map_or_else(Answer::Refused, Answer::Kept),
            Ask::GetBlob(cid) => match self.blob(cid) {
                Some(bytes) => Answer::Blob(bytes),
                None => Answer::Refused(format!("{cid} is not in this tab")),
            },
        };
        say(&FromTalk::Answer { id, answer });
    }
}
