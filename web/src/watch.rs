//! What the panel knows of a coordinator: a snapshot, then changes, kept in signals that pages read.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use asterism_protocol::{
    PublicKey, encode,
    message::{Change, ToWatched, ToWatcher, decode_frame},
    view::{ComponentView, ExecutorView, RunId, RunSummary, RunView, TaskView},
};
use js_sys::{ArrayBuffer, Uint8Array};
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{CloseEvent, MessageEvent, WebSocket};

use crate::js::{Listener, socket};

/// Where the coordinator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The first answer is awaited.
    Seeking,
    /// It tells what happens.
    Live,
    /// It did, and is called again.
    Lost,
    /// It never answered, and is called now and then.
    Absent,
    /// It is in this tab.
    Here,
}

/// Runs, executors and components, and one run in detail.
#[derive(Clone, Copy)]
pub struct Known {
    /// Where the coordinator is.
    pub reach: RwSignal<Reach>,
    /// Why it did not stay, in its words; empty where it said nothing.
    pub turned_away: RwSignal<String>,
    /// The newest first.
    pub runs: RwSignal<BTreeMap<Reverse<RunId>, RunSummary>>,
    /// By key.
    pub executors: RwSignal<BTreeMap<PublicKey, ExecutorView>>,
    /// In the order in which they were added.
    pub components: RwSignal<Vec<ComponentView>>,
    /// What is wrong with the coordinator itself; empty for nothing.
    pub trouble: RwSignal<String>,
    /// Does the coordinator lease nothing until it is resumed?
    pub paused: RwSignal<bool>,
    /// The run that is watched, once it is here.
    pub watched: RwSignal<Option<Watched>>,
}

/// A run in detail.
#[derive(Clone)]
pub struct Watched {
    /// Its number.
    pub run: RunId,
    /// As in the list.
    pub summary: ArcRwSignal<RunSummary>,
    /// The place of the first task that is here: of a large run these are a part.
    pub from: u32,
    /// One signal for each of them: a change redraws one node.
    pub tasks: Arc<Vec<ArcRwSignal<TaskView>>>,
    /// Counts changes of any task, for what is drawn as a whole.
    pub changes: ArcRwSignal<u32>,
}

impl Watched {
    /// Where a task of the run is among those that are here.
    #[must_use]
    pub fn place(&self, task: u32) -> Option<u32> {
        let place = task.checked_sub(self.from)?;
        ((place as usize) < self.tasks.len()).then_some(place)
    }
}

impl Default for Known {
    fn default() -> Self {
        Self {
            reach: RwSignal::new(Reach::Seeking),
            turned_away: RwSignal::default(),
            runs: RwSignal::default(),
            executors: RwSignal::default(),
            components: RwSignal::default(),
            trouble: RwSignal::default(),
            paused: RwSignal::default(),
            watched: RwSignal::new(None),
        }
    }
}

impl Known {
    /// Takes what a watcher is told.
    pub fn hear(&self, told: ToWatcher) {
        match told {
            ToWatcher::Snapshot(overview) => {
                self.runs.set(
                    overview
                        .runs
                        .into_iter()
                        .map(|run| (Reverse(run.run), run))
                        .collect(),
                );
                self.executors.set(
                    overview
                        .executors
                        .into_iter()
                        .map(|executor| (executor.key, executor))
                        .collect(),
                );
                self.components.set(overview.components);
                self.trouble.set(overview.trouble);
                self.paused.set(overview.paused);
            }
            ToWatcher::Run(view) => self.hear_run(*view),
            ToWatcher::Changes(changes) => changes
                .into_iter()
                .for_each(|change| self.hear_change(change)),
        }
    }

    fn hear_run(&self, view: RunView) {
        let known = self.watched.get_untracked();
        let from = view.tasks.first().map_or(0, |task| task.index);
        let is_same = |known: &Watched| {
            let part = (known.run, known.from, known.tasks.len());
            part == (view.summary.run, from, view.tasks.len())
        };
        if let Some(known) = known.filter(is_same) {
            // The same run again, after a reconnection: what is drawn stays.
            known.summary.set(view.summary);
            for (signal, task) in known.tasks.iter().zip(view.tasks) {
                if signal.with_untracked(|known| *known != task) {
                    signal.set(task);
                }
            }
            known.changes.update(|changes| *changes += 1);
            return;
        }
        self.watched.set(Some(Watched {
            run: view.summary.run,
            from,
            summary: ArcRwSignal::new(view.summary),
            tasks: Arc::new(view.tasks.into_iter().map(ArcRwSignal::new).collect()),
            changes: ArcRwSignal::new(0),
        }));
    }

    fn hear_change(&self, change: Change) {
        match change {
            Change::Run(summary) => {
                let watched = self
                    .watched
                    .get_untracked()
                    .filter(|watched| watched.run == summary.run);
                if let Some(watched) = watched {
                    watched.summary.set(summary.clone());
                }
                self.runs
                    .update(|runs| drop(runs.insert(Reverse(summary.run), summary)));
            }
            Change::Task { run, task } => {
                let Some(watched) = self
                    .watched
                    .get_untracked()
                    .filter(|watched| watched.run == run)
                else {
                    return;
                };
                if let Some(signal) = watched.place(task.index) {
                    let signal = &watched.tasks[signal as usize];
                    signal.set(*task);
                    watched.changes.update(|changes| *changes += 1);
                }
            }
            Change::Executor(executor) => {
                self.executors
                    .update(|executors| drop(executors.insert(executor.key, executor)));
            }
            Change::ExecutorGone(key) => self
                .executors
                .update(|executors| drop(executors.remove(&key))),
            Change::Component(component) => self.components.update(|components| {
                components.retain(|known| known.cid != component.cid);
                components.push(component);
            }),
            Change::Paused(paused) => self.paused.set(paused),
        }
    }
}

/// A connection that watches; it ends when this is dropped.
pub(crate) struct Watcher {
    socket: WebSocket,
    _listeners: [Listener; 3],
}

/// What a watching connection is heard of.
pub(crate) enum Heard {
    Opened,
    Told(ToWatcher),
    /// With the reason, where one was given.
    Closed(String),
}

impl Watcher {
    /// Connects to the coordinator at `base`, an absolute address that ends with `/`.
    pub(crate) fn open(base: &str, hear: impl Fn(Heard) + Clone + 'static) -> Result<Self, String> {
        let url = format!("{}ws/watch", base.replacen("http", "ws", 1));
        let socket = socket(&url)?;
        let (opened, told, closed, broken) = (hear.clone(), hear.clone(), hear, socket.clone());
        let listeners = [
            Listener::new(&socket, "open", move |_| opened(Heard::Opened)),
            Listener::new(&socket, "message", move |event| {
                let data = event.unchecked_into::<MessageEvent>().data();
                let frame = data
                    .dyn_ref::<ArrayBuffer>()
                    .map(|buffer| Uint8Array::new(buffer).to_vec());
                match frame.as_deref().map(decode_frame) {
                    Some(Ok(message)) => told(Heard::Told(message)),
                    // A coordinator of another version: what it says later is not understood either.
                    Some(Err(_)) | None => drop(broken.close()),
                }
            }),
            Listener::new(&socket, "close", move |event| {
                closed(Heard::Closed(event.unchecked_into::<CloseEvent>().reason()));
            }),
        ];
        Ok(Self {
            socket,
            _listeners: listeners,
        })
    }

    /// Asks for everything about a run and its tasks from a place on.
    pub(crate) fn watch(&self, run: Option<(RunId, u32)>) {
        let (run, from) = run.unzip();
        let from = from.unwrap_or_default();
        // Fails before the connection is open: then it is asked again when it is.
        let _ = self
            .socket
            .send_with_u8_array(&encode(&ToWatched::Watch { run, from }));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.socket.close();
    }
}
