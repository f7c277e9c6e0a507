//! What a page and its talking worker say to each other: one DAG-CBOR value a message, as with a coordinator.
//!
//! Both ends come from the same build, but a page may be older than the worker script that the server hands out, so
//! what cannot be decoded is said and not guessed.

use std::collections::BTreeMap;

use asterism_executor::Status;
use asterism_protocol::{PublicKey, Timestamp, message::ToWatcher, view::RunId};
use serde::{Deserialize, Serialize};

/// What the page says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToTalk {
    /// Become an executor. Said once, first.
    Start {
        /// Of which coordinator.
        place: Place,
        /// Compute workers to have.
        threads: u32,
        /// Share of time that they compute, in percent.
        duty_percent: u8,
        /// A name for people; empty for none.
        name: String,
    },
    /// Have this many compute workers from now on.
    Threads(u32),
    /// Compute this share of time, in percent.
    Duty(u8),
    /// Stop: at once, or after what runs is done.
    Leave {
        /// Finish what runs first?
        finish: bool,
    },
    /// For the coordinator in the tab: watch this run.
    Watch {
        /// The run, `None` for none.
        run: Option<RunId>,
    },
    /// For the coordinator in the tab: do this and answer.
    Ask {
        /// Comes back with the answer.
        id: u32,
        /// What.
        ask: Ask,
    },
}

/// Where the coordinator is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Place {
    /// Where the page came from (or a proxy of it).
    Server {
        /// Ends with `/`.
        base: String,
    },
    /// In the talking worker itself.
    Here,
}

/// A request to the coordinator in the tab: what a server takes over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
        bytes: serde_bytes::ByteBuf,
    },
    /// Keep a blob.
    PutBlob(serde_bytes::ByteBuf),
    /// The bytes of a blob.
    GetBlob(asterism_protocol::Cid),
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// The run that was made or ended.
    Run(RunId),
    /// The blob or component that was kept.
    Kept(asterism_protocol::Cid),
    /// The bytes.
    Blob(serde_bytes::ByteBuf),
    /// It was refused, and why.
    Refused(String),
}

/// What the talking worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromTalk {
    /// Who this browser is.
    Key(PublicKey),
    /// How the work goes.
    Status(Box<Work>),
    /// What a watcher of the coordinator in the tab hears.
    Watched(Box<ToWatcher>),
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
    /// What runs, by the number of the thread.
    pub doing: BTreeMap<String, Doing>,
    /// Leases held beside what runs.
    pub prefetched: u32,
    /// Outcomes that the coordinator accepted.
    pub tasks: u64,
    /// Their fuel.
    pub fuel: u64,
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
            // DAG-CBOR has string keys only; padded, so that their order is that of the numbers.
            (format!("{:03}", thread.0), doing)
        });
        Self {
            connected: status.connected,
            idle_because: status.idle_because.clone(),
            doing: doing.collect(),
            prefetched: status.prefetched,
            tasks: status.tasks,
            fuel: status.fuel,
            trouble: status.trouble.clone(),
        }
    }
}
