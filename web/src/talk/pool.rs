//! The compute workers of a tab: started when they are first needed, ended when their task is not wanted any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asterism_executor::{Job, ThreadId};
use asterism_host_browser::Rewritten;
use asterism_protocol::{Cid, message::LeaseId};
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Event, MessageEvent, Worker};

use super::{message::FromTalk, say};
use crate::{
    compute::message::{About, FromCompute, ToCompute, pack, part, unpack},
    js::{Listener, compile, message_of, module_worker},
};

/// The script of a compute worker, beside that of the talking worker, and its program.
const SCRIPT: &str = "compute.js";
const PROGRAM: &str = "compute-worker_bg.wasm";

/// What the pool tells its owner.
pub(crate) enum Said {
    /// A worker said something; with it came these blobs or modules.
    From(FromCompute, Vec<JsValue>),
    /// The worker cannot go on, and why.
    Broken(String),
}

/// All compute workers.
pub(crate) struct Pool {
    threads: BTreeMap<ThreadId, Thread>,
    /// Their program, compiled once; they have no network to fetch it from.
    program: Promise,
    /// What the server calls the program's bytes, once it is there.
    build: Promise,
    hear: std::rc::Rc<dyn Fn(ThreadId, Said)>,
}

struct Thread {
    worker: Worker,
    components: BTreeSet<Cid>,
    /// What it was told to do and has not answered, in order.
    given: VecDeque<LeaseId>,
    _listeners: [Listener; 3],
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.worker.terminate();
    }
}

impl Pool {
    /// A pool without workers; `hear` is called with whatever they say.
    pub(crate) fn new(hear: impl Fn(ThreadId, Said) + 'static) -> Self {
        let (program, build) = compile(PROGRAM);
        Self {
            threads: BTreeMap::new(),
            program,
            build,
            hear: std::rc::Rc::new(hear),
        }
    }

    /// The name of the program's bytes, which changes with them: what one build rewrote is not for another. Undefined where
    /// the server gives none.
    pub(crate) fn build(&self) -> Promise {
        self.build.clone()
    }

    /// Has workers for the first `threads` threads, so that the first task need not wait for one, and ends idle ones beyond.
    pub(crate) fn resize(&mut self, threads: u32) -> Result<(), String> {
        self.threads
            .retain(|id, thread| id.0 < threads || !thread.given.is_empty());
        (0..threads).try_for_each(|id| self.thread(ThreadId(id)).map(drop))
    }

    /// Is the component ready on this thread?
    pub(crate) fn holds(&self, thread: ThreadId, component: Cid) -> bool {
        self.threads
            .get(&thread)
            .is_some_and(|thread| thread.components.contains(&component))
    }

    /// Makes a component ready on a thread, with its modules as they were rewritten before, if they are known.
    pub(crate) fn prepare(
        &mut self,
        thread: ThreadId,
        component: Cid,
        bytes: Uint8Array,
        kept: &[Rewritten],
    ) -> Result<(), String> {
        let thread = self.thread(thread)?;
        thread.components.insert(component);
        let told = ToCompute::Prepare {
            component,
            kept: kept.iter().map(About::from).collect(),
        };
        let parts = std::iter::once(bytes.into()).chain(kept.iter().map(part));
        post(&thread.worker, &told, parts)
    }

    /// Performs a task on a thread.
    pub(crate) fn run(
        &mut self,
        thread: ThreadId,
        lease: LeaseId,
        job: Box<Job>,
        blobs: Vec<(Cid, Uint8Array)>,
    ) -> Result<(), String> {
        let thread = self.thread(thread)?;
        let (names, bytes): (Vec<_>, Vec<_>) = blobs.into_iter().unzip();
        post(
            &thread.worker,
            &ToCompute::Run {
                lease,
                job,
                blobs: names,
            },
            bytes.into_iter().map(JsValue::from),
        )?;
        thread.given.push_back(lease);
        Ok(())
    }

    /// What a thread performs.
    pub(crate) fn running(&self, thread: ThreadId) -> Option<LeaseId> {
        self.threads.get(&thread)?.given.front().copied()
    }

    /// The thread answered what it performed; `None` if it was given nothing.
    pub(crate) fn ended(&mut self, thread: ThreadId) -> Option<LeaseId> {
        self.threads.get_mut(&thread)?.given.pop_front()
    }

    /// The thread cannot make a component ready. It has none of what it was given to do any more, all of which is for this
    /// component: what it still says of that is not listened to.
    pub(crate) fn unfit(&mut self, thread: ThreadId, component: Cid) -> VecDeque<LeaseId> {
        let Some(thread) = self.threads.get_mut(&thread) else {
            return VecDeque::new();
        };
        thread.components.remove(&component);
        std::mem::take(&mut thread.given)
    }

    /// Ends a thread at once, with all it was given. Another starts in its place at its next task.
    pub(crate) fn kill(&mut self, thread: ThreadId) -> VecDeque<LeaseId> {
        self.threads
            .remove(&thread)
            .map(|mut thread| std::mem::take(&mut thread.given))
            .unwrap_or_default()
    }

    fn thread(&mut self, id: ThreadId) -> Result<&mut Thread, String> {
        Ok(match self.threads.entry(id) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let thread = Thread::start(id, &self.program, &self.hear);
                entry.insert(thread.map_err(|error| message_of(&error))?)
            }
        })
    }
}

impl Thread {
    fn start(
        id: ThreadId,
        program: &Promise,
        hear: &std::rc::Rc<dyn Fn(ThreadId, Said)>,
    ) -> Result<Self, JsValue> {
        let worker = module_worker(SCRIPT, &format!("asterism compute {}", id.0))?;
        // What it is told before its program comes waits in the script.
        let (awaited, starting) = (JsFuture::from(program.clone()), worker.clone());
        spawn_local(async move {
            let sent = match awaited.await {
                Ok(program) => starting.post_message(&program),
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                say(&FromTalk::Broken(format!(
                    "the program that computes did not load, try again later: {}",
                    message_of(&error)
                )));
            }
        });
        let on = |event: &'static str, said: fn(Event) -> Said| {
            let hear = hear.clone();
            Listener::new(&worker, event, move |event| hear(id, said(event)))
        };
        let listeners = [
            on("message", |event| {
                match unpack(&event.unchecked_into::<MessageEvent>().data()) {
                    Ok((from, parts)) => Said::From(from, parts),
                    Err(error) => Said::Broken(format!(
                        "a compute worker said what is not understood: {error}"
                    )),
                }
            }),
            on("error", |event| {
                Said::Broken(format!("a compute worker broke: {}", message_of(&event)))
            }),
            on("messageerror", |_| {
                Said::Broken("a message of a compute worker did not arrive".to_owned())
            }),
        ];
        Ok(Self {
            worker,
            components: BTreeSet::new(),
            given: VecDeque::new(),
            _listeners: listeners,
        })
    }
}

fn post(
    worker: &Worker,
    told: &ToCompute,
    parts: impl IntoIterator<Item = JsValue>,
) -> Result<(), String> {
    let (message, transfer) = pack(told, parts);
    worker
        .post_message_with_transfer(&message, &transfer)
        .map_err(|error| message_of(&error))
}
