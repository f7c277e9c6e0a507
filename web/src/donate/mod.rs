//! Giving time: what the owner decides, what the talking worker says of it, and what stays between visits.
//!
//! It never starts by itself. One tab of a browser gives at a time (a Web Lock); the others show.

mod lock;
pub mod page;
mod power;
mod sign;

use asterism_protocol::PublicKey;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;

use self::lock::Lock;
use crate::{
    js::Listener,
    talk::{
        Program, TalkWorker,
        message::{FromTalk, ToTalk, Work},
    },
};

/// Names in the browser's local storage.
mod stored {
    pub(super) const THREADS: &str = "asterism.threads";
    pub(super) const DUTY: &str = "asterism.duty";
    pub(super) const MEMORY: &str = "asterism.memory";
    pub(super) const MAINS_ONLY: &str = "asterism.mains-only";
    pub(super) const TASKS: &str = "asterism.given.tasks";
    pub(super) const FUEL: &str = "asterism.given.fuel";
}

/// What a task may have of memory, in bytes: from what small functions take to all that a 32-bit program can use.
pub const MEMORIES: [u64; 6] = [128 << 20, 256 << 20, 512 << 20, 1 << 30, 2 << 30, 4 << 30];

/// The one of them that a donor begins with: plenty for nearly all tasks, and little of a computer of today.
const MEMORY_USUAL: u64 = 1 << 30;

/// Where the donation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is given.
    Off,
    /// Another tab of this browser gives.
    Elsewhere,
    /// It was asked for.
    Starting,
    /// Time is given.
    On,
    /// What runs is finished, then it stops.
    Finishing,
    /// What is held is handed back.
    Stopping,
    /// The browser froze the page; it goes on when the page is shown again.
    Frozen,
}

/// The donation of this tab.
#[derive(Clone, Copy)]
pub struct Donation {
    /// Where it stands.
    pub state: RwSignal<State>,
    /// How the work goes.
    pub work: RwSignal<Work>,
    /// Who this browser is, once it ever started.
    pub key: RwSignal<Option<PublicKey>>,
    /// Compute workers allowed.
    pub threads: RwSignal<u32>,
    /// Share of time allowed, in percent.
    pub duty_percent: RwSignal<u8>,
    /// Memory allowed for each task, in bytes; one of [`MEMORIES`].
    pub memory_bytes: RwSignal<u64>,
    /// Is nothing begun while the computer runs on its battery?
    pub mains_only: RwSignal<bool>,
    /// Does it run on its battery? `None` where the browser does not tell.
    pub on_battery: RwSignal<Option<bool>>,
    /// Outcomes given from this browser, ever.
    pub tasks: RwSignal<u64>,
    /// Their fuel.
    pub fuel: RwSignal<u64>,
    /// Why it did not start or broke off; empty for nothing.
    pub trouble: RwSignal<String>,
    /// How many cores the browser tells of.
    pub cores: u32,
    inner: StoredValue<Inner, LocalStorage>,
}

#[derive(Default)]
struct Inner {
    base: String,
    worker: Option<TalkWorker>,
    lock: Option<Lock>,
    /// What of the session's counts is in the totals already.
    counted: (u64, u64),
}

impl Donation {
    /// A donation that has not started, to the coordinator at `base` (absolute).
    #[must_use]
    pub fn new(base: String) -> Self {
        let cores = (window().navigator().hardware_concurrency() as u32).max(1);
        let read = |name: &str| {
            storage()
                .and_then(|storage| storage.get_item(name).ok()?)?
                .parse::<u64>()
                .ok()
        };
        let threads = read(stored::THREADS).map_or(cores.div_ceil(2), |threads| threads as u32);
        let duty = read(stored::DUTY).unwrap_or(100);
        let memory = read(stored::MEMORY).filter(|bytes| MEMORIES.contains(bytes));
        let donation = Self {
            state: RwSignal::new(State::Off),
            work: RwSignal::default(),
            key: RwSignal::new(None),
            threads: RwSignal::new(threads.clamp(1, cores)),
            duty_percent: RwSignal::new(duty.clamp(25, 100) as u8),
            memory_bytes: RwSignal::new(memory.unwrap_or(MEMORY_USUAL)),
            mains_only: RwSignal::new(read(stored::MAINS_ONLY) == Some(1)),
            on_battery: RwSignal::new(None),
            tasks: RwSignal::new(read(stored::TASKS).unwrap_or(0)),
            fuel: RwSignal::new(read(stored::FUEL).unwrap_or(0)),
            trouble: RwSignal::default(),
            cores,
            inner: StoredValue::new_local(Inner {
                base,
                ..Inner::default()
            }),
        };
        donation.follow_page();
        donation.look_elsewhere();
        power::follow(donation.on_battery);
        donation.follow_power();
        sign::follow(donation);
        donation
    }

    /// Starts, as the owner asked.
    pub fn start(self) {
        if self.state.get_untracked() != State::Off {
            return;
        }
        self.state.set(State::Starting);
        self.trouble.set(String::new());
        leptos::task::spawn_local(async move {
            match Lock::take().await {
                Some(lock) => self.begin(lock),
                None => {
                    self.state.set(State::Elsewhere);
                    self.wait_for_other_tab();
                }
            }
        });
    }

    /// Stops at once: what is held is handed back.
    pub fn stop_now(self) {
        self.leave(false, State::Stopping);
    }

    /// Stops when what runs is done.
    pub fn finish_and_stop(self) {
        self.leave(true, State::Finishing);
    }

    /// Allows so many compute workers.
    pub fn set_threads(self, threads: u32) {
        let threads = threads.clamp(1, self.cores);
        self.threads.set(threads);
        remember(stored::THREADS, threads.into());
        self.tell(&ToTalk::Threads(threads));
    }

    /// Allows this share of time.
    pub fn set_duty(self, percent: u8) {
        let percent = percent.clamp(25, 100);
        self.duty_percent.set(percent);
        remember(stored::DUTY, percent.into());
        self.tell(&ToTalk::Duty(percent));
    }

    /// Allows each task this much memory; one of [`MEMORIES`].
    pub fn set_memory(self, bytes: u64) {
        self.memory_bytes.set(bytes);
        remember(stored::MEMORY, bytes);
        self.tell(&ToTalk::Memory(bytes));
    }

    /// Begins nothing while the computer runs on its battery, or does.
    pub fn set_mains_only(self, mains_only: bool) {
        self.mains_only.set(mains_only);
        remember(stored::MAINS_ONLY, mains_only.into());
    }

    /// Why nothing is begun, as the owner wished; `None` where work may be done.
    fn pause(self) -> Option<String> {
        let paused = self.mains_only.get() && self.on_battery.get() == Some(true);
        paused.then(|| {
            "this computer runs on its battery, and you allow work on mains only".to_owned()
        })
    }

    /// Pauses and goes on as the battery and the owner's wish have it.
    fn follow_power(self) {
        Effect::new(move |before: Option<Option<String>>| {
            let pause = self.pause();
            if before.is_some_and(|before| before != pause) {
                self.tell(&match &pause {
                    Some(reason) => ToTalk::Pause {
                        reason: reason.clone(),
                    },
                    None => ToTalk::Resume,
                });
            }
            pause
        });
    }

    fn begin(self, lock: Lock) {
        let base = self.inner.with_value(|inner| inner.base.clone());
        let worker = match TalkWorker::start(Program::Talk, &base, move |said| self.hear(said)) {
            Ok(worker) => worker,
            Err(reason) => {
                self.trouble
                    .set(format!("Workers cannot be started here: {reason}"));
                self.state.set(State::Off);
                return;
            }
        };
        worker.tell(&ToTalk::Start {
            base,
            threads: self.threads.get_untracked(),
            duty_percent: self.duty_percent.get_untracked(),
            memory_bytes: self.memory_bytes.get_untracked(),
            name: String::new(),
        });
        if let Some(reason) = untrack(|| self.pause()) {
            worker.tell(&ToTalk::Pause { reason });
        }
        self.work.set(Work {
            idle_because: "connecting to the coordinator".to_owned(),
            ..Work::default()
        });
        self.inner.update_value(|inner| {
            (inner.worker, inner.lock, inner.counted) = (Some(worker), Some(lock), (0, 0));
        });
        self.state.set(State::On);
    }

    fn leave(self, finish: bool, state: State) {
        if matches!(self.state.get_untracked(), State::On | State::Finishing) {
            self.state.set(state);
            self.tell(&ToTalk::Leave { finish });
        }
    }

    fn tell(self, told: &ToTalk) {
        self.inner.with_value(|inner| {
            if let Some(worker) = &inner.worker {
                worker.tell(told);
            }
        });
    }

    fn hear(self, said: FromTalk) {
        match said {
            FromTalk::Key(key) => self.key.set(Some(key)),
            FromTalk::Status(work) => {
                self.count(work.tasks, work.fuel);
                self.work.set(*work);
            }
            FromTalk::Finished => self.end(State::Off),
            FromTalk::Broken(reason) => {
                self.trouble.set(sentence(&reason));
                self.end(State::Off);
            }
            FromTalk::Watched(_) | FromTalk::Answer { .. } => {}
        }
    }

    /// Ends the worker and lets another tab give.
    fn end(self, state: State) {
        // Not dropped in the midst of its own message.
        let mut gone = None;
        self.inner
            .update_value(|inner| gone = Some((inner.worker.take(), inner.lock.take())));
        leptos::task::spawn_local(async move { drop(gone) });
        self.work.set(Work::default());
        self.state.set(state);
    }

    fn count(self, tasks: u64, fuel: u64) {
        let mut new = (0, 0);
        self.inner.update_value(|inner| {
            new = (
                tasks.saturating_sub(inner.counted.0),
                fuel.saturating_sub(inner.counted.1),
            );
            inner.counted = (tasks, fuel);
        });
        if new.0 > 0 {
            self.tasks.update(|total| *total += new.0);
            self.fuel
                .update(|total| *total = total.saturating_add(new.1));
            remember(stored::TASKS, self.tasks.get_untracked());
            remember(stored::FUEL, self.fuel.get_untracked());
        }
    }

    /// Ends the worker when the page is frozen or left, and goes on when it comes back as it was. A message to the worker
    /// would come too late; a connection that ends because its page goes away says so, and the coordinator takes back what
    /// it had leased.
    fn follow_page(self) {
        let leave = move || {
            if !matches!(
                self.state.get_untracked(),
                State::Off | State::Elsewhere | State::Frozen
            ) {
                self.inner.update_value(|inner| {
                    drop(inner.worker.take());
                    drop(inner.lock.take());
                });
                self.work.set(Work::default());
                self.state.set(State::Frozen);
            }
        };
        let back = move || {
            if self.state.get_untracked() == State::Frozen {
                self.state.set(State::Off);
                self.start();
            }
        };
        Listener::new(&window(), "pagehide", move |_| leave()).forever();
        Listener::new(&document(), "freeze", move |_| leave()).forever();
        Listener::new(&document(), "resume", move |_| back()).forever();
        Listener::new(&window(), "pageshow", move |event| {
            // The first showing of a page has nothing to come back to.
            if crate::js::get(event.unchecked_ref(), "persisted").is_truthy() {
                back();
            }
        })
        .forever();
    }

    /// Says so if another tab gives already.
    fn look_elsewhere(self) {
        leptos::task::spawn_local(async move {
            if Lock::is_taken().await && self.state.get_untracked() == State::Off {
                self.state.set(State::Elsewhere);
                self.wait_for_other_tab();
            }
        });
    }

    fn wait_for_other_tab(self) {
        leptos::task::spawn_local(async move {
            Lock::wait_until_free().await;
            if self.state.get_untracked() == State::Elsewhere {
                self.state.set(State::Off);
            }
        });
    }
}

/// A reason as a sentence of its own.
fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    match letters.next() {
        None => String::new(),
        Some(first) => {
            let dot = if reason.ends_with(['.', '…', '!']) {
                ""
            } else {
                "."
            };
            format!("{}{}{dot}", first.to_uppercase(), letters.as_str())
        }
    }
}

fn storage() -> Option<web_sys::Storage> {
    window().local_storage().ok().flatten()
}

fn remember(name: &str, number: u64) {
    if let Some(storage) = storage() {
        // A full or forbidden storage forgets, which harms nobody.
        let _ = storage.set_item(name, &number.to_string());
    }
}
