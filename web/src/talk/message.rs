//! What a page and its talking worker say to each other: plain JavaScript values, as `postMessage` takes them. Byte arrays
//! in them pass from one to the other without a stay in either's wasm memory.
//!
//! Both ends come from the same build, but a page may be older than the worker script that the server hands out, so
//! what cannot be read is said and not guessed.

use std::collections::BTreeMap;

use asterism_executor::Status;
use asterism_protocol::{PublicKey, Timestamp, view::RunId};
use js_sys::Uint8Array;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_wasm_bindgen::{Serializer, preserve};
use wasm_bindgen::JsValue;

/// A message as `postMessage` takes it.
pub(crate) fn to_js(message: &impl Serialize) -> JsValue {
    // Fuel is more than a JavaScript number can tell.
    let serializer = Serializer::new().serialize_large_number_types_as_bigints(true);
    // Nothing in these types can fail; if it does, the other side says that it does not understand.
    message.serialize(&serializer).unwrap_or(JsValue::UNDEFINED)
}

/// A message that came.
///
/// # Errors
/// It is none of these, and why.
pub(crate) fn of_js<T: DeserializeOwned>(data: JsValue) -> Result<T, String> {
    serde_wasm_bindgen::from_value(data).map_err(|error| error.to_string())
}

/// What the page says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToTalk {
    /// Become an executor. Said once, first.
    Start {
        /// Where the page came from, with its coordinator if there is one; ends with `/`.
        base: String,
        /// Compute workers to have.
        threads: u32,
        /// Share of time that they compute, in percent.
        duty_percent: u8,
        /// Most memory that a task may have, in bytes.
        memory_bytes: u64,
        /// A name for people; empty for none.
        name: String,
    },
    /// Have this many compute workers from now on.
    Threads(u32),
    /// Compute this share of time, in percent.
    Duty(u8),
    /// Let a task have this much memory, in bytes.
    Memory(u64),
    /// Begin nothing new.
    Pause {
        /// Why, in words for the owner.
        reason: String,
    },
    /// Go on.
    Resume,
    /// Stop: at once, or after what runs is done.
    Leave {
        /// Finish what runs first?
        finish: bool,
    },
    /// For the coordinator in the tab: watch this run.
    Watch {
        /// The run, `None` for none.
        run: Option<RunId>,
        /// The place of its first task that is shown.
        from: u32,
    },
    /// For the coordinator in the tab: do this and answer.
    Ask {
        /// Comes back with the answer.
        id: u32,
        /// What.
        ask: Ask,
    },
}

/// A request to the coordinator in the tab: what a server takes over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Run a workflow, either form, as JSON text.
    Run {
        /// The text.
        workflow: String,
        /// A name for people.
        name: String,
    },
    /// End a run.
    Cancel(RunId),
    /// Add a component.
    AddComponent {
        /// The name it is added under.
        name: String,
        /// Its bytes.
        #[serde(with = "preserve")]
        bytes: Uint8Array,
    },
    /// Keep a blob.
    PutBlob(#[serde(with = "preserve")] Uint8Array),
    /// The bytes of a blob.
    GetBlob(asterism_protocol::Cid),
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// The run that was made or ended.
    Run(RunId),
    /// The blob or component that was kept.
    Kept(asterism_protocol::Cid),
    /// The bytes.
    Blob(#[serde(with = "preserve")] Uint8Array),
    /// It was refused, and why.
    Refused(String),
}

/// What the talking worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromTalk {
    /// Who this browser is.
    Key(PublicKey),
    /// How the work goes.
    Status(Box<Work>),
    /// What a watcher of the coordinator in the tab hears, encoded as for one behind a network.
    Watched(#[serde(with = "preserve")] Uint8Array),
    /// An answer.
    Answer {
        /// The number that was asked with.
        id: u32,
        /// The answer.
        answer: Answer,
    },
    /// The executor has left; the worker may be ended.
    Finished,
    /// The worker cannot go on, and why.
    Broken(String),
}

/// [`Status`] as the page shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Is the coordinator there?
    pub connected: bool,
    /// Why nothing is done now; empty while work is done.
    pub idle_because: String,
    /// Does the owner want nothing to be begun?
    pub paused: bool,
    /// What runs, by the number of the thread.
    pub doing: BTreeMap<u32, Doing>,
    /// Leases held beside what runs.
    pub prefetched: u32,
    /// Outcomes that the coordinator accepted.
    pub tasks: u64,
    /// Their fuel.
    pub fuel: u64,
    /// Components that an earlier visit had made ready.
    pub recalled: u32,
    /// The last thing that went wrong; empty for nothing.
    pub trouble: String,
}

/// What a thread does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doing {
    /// The function.
    pub func: String,
    /// The workflow's name.
    pub workflow: String,
    /// Who submitted it.
    pub submitter: String,
    /// Since when.
    pub since: Timestamp,
}

impl From<&Status> for Work {
    fn from(status: &Status) -> Self {
        let doing = status.doing.iter().map(|(thread, doing)| {
            let doing = Doing {
                func: doing.func.clone(),
                workflow: doing.workflow.clone(),
                submitter: doing.submitter.clone(),
                since: doing.since,
            };
            (thread.0, doing)
        });
        Self {
            connected: status.connected,
            idle_because: status.idle_because.clone(),
            paused: status.paused,
            doing: doing.collect(),
            prefetched: status.prefetched,
            tasks: status.tasks,
            fuel: status.fuel,
            recalled: 0,
            trouble: status.trouble.clone(),
        }
    }
}
