//! The session of an executor with a coordinator.

mod jitter;
mod machine;
mod transfers;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use asterism_protocol::{
    Cid, PublicKey, Signature, Value,
    message::{Capabilities, Fault, LeaseId, ToCoordinator, ToExecutor},
};

pub use self::machine::Session;
use crate::{Attempt, Job};

/// A compute thread (a Web Worker in a tab), numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub u32);

/// A signature that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignId(pub u64);

/// Who the executor is and what its owner allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Its identity; the secret key stays with the shell.
    pub key: PublicKey,
    /// A name for people; empty for none.
    pub name: String,
    /// What proves to which enrolled owner it belongs; empty for none.
    pub enrolment: String,
    /// Its version.
    pub build: String,
    /// What it offers; `threads` is where it starts, [`Input::Threads`] changes it.
    pub capabilities: Capabilities,
    /// Share of time that threads compute, in percent from 1 to 100.
    pub duty_percent: u8,
    /// Most memory that a task may have here, in bytes. A task that wants more is refused when it does, whatever its own
    /// limit: most ask for much and take little. [`Input::Memory`] changes it.
    pub memory_bytes: u64,
    /// Longest that a task may run here, in milliseconds. One that takes longer is left to others then, whatever its own limit.
    pub time_ms: u64,
    /// Leases held beyond those that run, for each thread.
    pub prefetch: u32,
    /// May a thread be given its next task before it ended the one it has? For shells whose threads take what they are
    /// given in order, and lose all of it at [`Output::Kill`].
    pub pipeline: bool,
    /// Seed of the jitter of reconnections.
    pub seed: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The connection that was asked for is open.
    Connected,
    /// The connection could not be made, or ended.
    Disconnected {
        /// Why, in words.
        reason: String,
    },
    /// A decoded message came.
    Received(ToExecutor),
    /// A signature was made.
    Signed {
        /// Which.
        id: SignId,
        /// The signature.
        signature: Signature,
    },
    /// A blob is here, checked against its CID, and the shell keeps it.
    Fetched {
        /// Which.
        cid: Cid,
    },
    /// A blob could not be had, or came with other bytes.
    FetchFailed {
        /// Which.
        cid: Cid,
        /// Why.
        error: TransferError,
    },
    /// A blob of an attempt is with the coordinator.
    Uploaded {
        /// Which.
        cid: Cid,
    },
    /// A blob of an attempt could not be brought.
    UploadFailed {
        /// Which.
        cid: Cid,
        /// Why.
        error: TransferError,
    },
    /// A thread began to make the component of its task ready, which may take long; until [`Input::Prepared`] the
    /// time limit of the task does not count. Shells that prepare quickly need not say either.
    Preparing {
        /// Which thread.
        thread: ThreadId,
    },
    /// The component is ready: the time limit of the task counts from here.
    Prepared {
        /// Which thread.
        thread: ThreadId,
    },
    /// A thread is done with what it was given.
    Ended {
        /// Which thread.
        thread: ThreadId,
        /// The lease.
        lease: LeaseId,
        /// What came of it; blobs of the attempt stay with the shell (their CIDs are all that is read here).
        result: Result<Box<Attempt>, Fault>,
    },
    /// A thread found that its host cannot run the component of what it was given ([`Unfit`](crate::Unfit)): the task is left to
    /// others, and so are, for some minutes, all with this component.
    Unfit {
        /// Which thread.
        thread: ThreadId,
        /// The lease.
        lease: LeaseId,
        /// What stands in the way.
        reason: String,
    },
    /// The owner allows this many threads from now on.
    Threads(u32),
    /// The owner allows this share of time, in percent.
    Duty(u8),
    /// The owner allows each task this much memory, in bytes; it counts for tasks that begin from now on.
    Memory(u64),
    /// Nothing new is begun until resumed; what runs goes on.
    Pause {
        /// Why, in words for the owner.
        reason: String,
    },
    /// Work goes on.
    Resume,
    /// The owner stops: at once, handing everything back, or after what runs is done.
    Leave {
        /// Finish what runs first?
        finish: bool,
    },
}

/// Why a blob did not come or go, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// The coordinator says that it cannot do that now (503 in HTTP). Nothing is wrong with the blob, nor with this executor.
    Unavailable(String),
    /// Anything else.
    Failed(String),
}

impl From<String> for TransferError {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) | Self::Failed(reason) => f.write_str(reason),
        }
    }
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open the connection.
    Connect,
    /// Close it. No [`Input::Disconnected`] needs to follow.
    Disconnect,
    /// Send this.
    Send(ToCoordinator),
    /// Sign these bytes, and come back with [`Input::Signed`].
    Sign {
        /// Which.
        id: SignId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Fetch this blob, check its CID, keep it until [`Output::Release`].
    Fetch {
        /// Which.
        cid: Cid,
    },
    /// Bring this blob of an attempt to the coordinator.
    Upload {
        /// Which.
        cid: Cid,
    },
    /// No lease needs this blob any more, fetched or to be brought; keep it only as a cache.
    Release {
        /// Which.
        cid: Cid,
    },
    /// Perform this on a thread, after what it was given before. The shell puts the bytes of `blobs` into the job; its
    /// component was fetched.
    Run {
        /// Where.
        thread: ThreadId,
        /// For which lease.
        lease: LeaseId,
        /// What; `job.blobs` is empty here.
        job: Box<Job>,
        /// The links among arguments and files.
        blobs: Vec<Cid>,
    },
    /// End a thread at once, with all it was given, and have a fresh one: its task ran too long or is not wanted any more.
    /// Neither [`Input::Ended`] nor [`Input::Unfit`] follows.
    Kill {
        /// Which.
        thread: ThreadId,
    },
    /// [`Status`] changed: show it.
    Changed,
    /// The session is over; nothing follows.
    Finished,
}

/// What an owner sees.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Status {
    /// Is the coordinator there?
    pub connected: bool,
    /// Why nothing is done now, in words; empty while work is done.
    pub idle_because: String,
    /// Does its owner want nothing to be begun?
    pub paused: bool,
    /// What runs, by thread.
    pub doing: BTreeMap<ThreadId, Doing>,
    /// Leases held beside what runs.
    pub prefetched: u32,
    /// Outcomes that the coordinator accepted.
    pub tasks: u64,
    /// Their fuel.
    pub fuel: u64,
    /// The last thing that went wrong, in words; empty for nothing.
    pub trouble: String,
    /// The coordinator's version; empty until it spoke.
    pub coordinator_build: String,
}

/// Why [`Session::poll_timeout`] wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutReason {
    /// The coordinator has had time enough to welcome.
    Handshake,
    /// It is time to connect again.
    Reconnect,
    /// A heartbeat is due.
    Heartbeat,
    /// The coordinator has had time enough to answer a poll.
    Silence,
    /// The pause between two polls is over.
    Poll,
    /// Outcomes have waited long enough for others to be signed with.
    Batch,
    /// An attempt has run long enough to be announced.
    Started,
    /// A task runs into its time limit.
    TimeLimit,
    /// A thread has rested.
    Rest,
    /// A blob is tried again.
    Retry,
    /// An executor that leaves has waited long enough.
    Leave,
}

/// What a thread does.
#[derive(Clone, Debug, PartialEq)]
pub struct Doing {
    /// The function.
    pub func: String,
    /// The workflow's name.
    pub workflow: String,
    /// Who submitted it.
    pub submitter: String,
    /// Since when.
    pub since: asterism_protocol::Timestamp,
}

/// Links among values, in order, each once.
#[must_use]
pub fn links<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<Cid> {
    fn collect(value: &Value, found: &mut Vec<Cid>, seen: &mut BTreeSet<Cid>) {
        match value {
            Value::Link(link) => {
                if let Ok(cid) = Cid::try_from(*link)
                    && seen.insert(cid)
                {
                    found.push(cid);
                }
            }
            Value::List(items) => items.iter().for_each(|item| collect(item, found, seen)),
            Value::Map(map) => map.values().for_each(|item| collect(item, found, seen)),
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::String(_)
            | Value::Bytes(_) => {}
        }
    }
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    values
        .into_iter()
        .for_each(|value| collect(value, &mut found, &mut seen));
    found
}
