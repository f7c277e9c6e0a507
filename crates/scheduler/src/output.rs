//! Duties that a scheduler hands out.

use std::sync::Arc;

use asterism_protocol::{
    Attestation, Attested, Cid, Outcome, Policy, PublicKey, Remark, Terms, Timestamp,
    message::{Change, ToExecutor},
    view::RunId,
};
use serde::{Deserialize, Serialize};

use crate::{ConnectionId, Owner, Planned, RequestId};

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Append this to the journal.
    Persist(Event),
    /// Send this now.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// What.
        message: ToExecutor,
    },
    /// Send this once all that was to be persisted before it is durable.
    Acknowledge {
        /// To whom.
        connection: ConnectionId,
        /// What.
        message: ToExecutor,
    },
    /// Answer a request once all that was to be persisted before it is durable.
    Reply {
        /// The request.
        request: RequestId,
        /// The run that it made or ended; number 0 for what is about the coordinator.
        result: Result<RunId, SubmitError>,
    },
    /// Tell watchers, once all that was to be persisted before it is durable.
    Publish(Box<Change>),
    /// Close a connection, after what was sent to it before.
    Disconnect {
        /// The connection.
        connection: ConnectionId,
    },
}

/// What the journal remembers: replaying all events through [`crate::Scheduler::recover`] gives the state back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A run was accepted.
    Submitted {
        /// Its number.
        run: RunId,
        /// When.
        at: Timestamp,
        /// The name for people.
        name: String,
        /// Who submitted it.
        submitter: String,
        /// The workflow and its tasks' names, read.
        #[serde(rename = "tasks", with = "shared")]
        plan: Arc<Planned>,
        /// Receipts known then: this run replays them.
        known: Vec<Attested>,
        /// How it is verified and ordered; the policy is never left open.
        #[serde(default)]
        terms: Terms,
    },
    /// An executor came to an outcome that is not final.
    Voted {
        /// When.
        at: Timestamp,
        /// When it is believed: with the next two, which of those that are to be done it is for.
        policy: Policy,
        /// See [`asterism_protocol::Receipt::rests_on`].
        rests_on: Vec<Cid>,
        /// Whom the executor counts for.
        owner: Owner,
        /// The outcome.
        outcome: Box<Outcome>,
        /// Its attestation.
        attestation: Box<Attestation>,
        /// What engine and guest said.
        remark: Box<Remark>,
        /// Is another executor asked for the same?
        picked: bool,
    },
    /// Outcomes of an instruction were too different: all of them count no longer.
    Parted {
        /// When.
        at: Timestamp,
        /// The instruction.
        instruction: Cid,
        /// As above.
        policy: Policy,
        /// As above.
        rests_on: Vec<Cid>,
    },
    /// An executor was caught with a wrong outcome.
    Caught {
        /// When.
        at: Timestamp,
        /// Which.
        executor: PublicKey,
        /// As it called itself.
        name: String,
        /// Whom it counts for.
        owner: Owner,
        /// What it was caught with.
        reason: String,
    },
    /// The operator excluded an executor.
    Banned {
        /// When.
        at: Timestamp,
        /// Which.
        executor: PublicKey,
        /// As it called itself.
        name: String,
        /// Whom it counts for.
        owner: Owner,
        /// Why.
        reason: String,
    },
    /// The operator took the exclusion of an executor back.
    Lifted {
        /// When.
        at: Timestamp,
        /// Which.
        executor: PublicKey,
    },
    /// What was known was done again, because somebody insisted. The canonical receipt stays.
    Repeated {
        /// When.
        at: Timestamp,
        /// The instruction.
        instruction: Cid,
        /// As above.
        policy: Policy,
        /// As above.
        rests_on: Vec<Cid>,
        /// What it came to now.
        outcome: Cid,
        /// There.
        executor: PublicKey,
        /// Is it the canonical outcome?
        agrees: bool,
    },
    /// A receipt became canonical, by work.
    Computed {
        /// When.
        at: Timestamp,
        /// The receipt.
        receipt: Box<Attested>,
        /// What engine and guest said.
        remark: Box<asterism_protocol::Remark>,
    },
    /// A task used up its attempts.
    GaveUp {
        /// When.
        at: Timestamp,
        /// The instruction.
        instruction: Cid,
        /// When an outcome of it would have been believed.
        #[serde(default)]
        policy: Policy,
        /// See [`asterism_protocol::Receipt::rests_on`].
        #[serde(default)]
        rests_on: Vec<Cid>,
        /// Why its attempts failed, the last one last.
        attempts: Vec<asterism_protocol::view::AttemptView>,
    },
    /// A run was cancelled.
    Cancelled {
        /// The run.
        run: RunId,
        /// When.
        at: Timestamp,
    },
    /// A task was cancelled.
    TaskCancelled {
        /// Its run.
        run: RunId,
        /// Its place there.
        task: u32,
        /// When.
        at: Timestamp,
    },
    /// A run, or the coordinator, was paused or resumed.
    Paused {
        /// The run; `None` for the coordinator.
        run: Option<RunId>,
        /// Paused?
        paused: bool,
    },
    /// How often executors were right and wrong, all that was before taken together: what told it may be dropped.
    Records {
        /// When.
        at: Timestamp,
        /// Each executor that others agreed or did not agree with.
        records: Vec<Right>,
    },
    /// Lease numbers up to this one may have been given out: after a restart, counting goes on behind it.
    LeasesReserved {
        /// The highest number reserved.
        up_to: u64,
    },
}

/// What is known of one executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Right {
    /// Which.
    pub executor: PublicKey,
    /// Outcomes that others agreed with.
    pub right: u64,
    /// Outcomes that were found to be wrong.
    pub wrong: u64,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A promise awaits an instruction that is neither in the workflow nor known.
    #[error("tasks[{task}] awaits {instruction}, which is neither in this workflow nor known here")]
    UnknownPromise {
        /// The task's place.
        task: usize,
        /// The instruction awaited.
        instruction: Cid,
    },
    /// A task has effects, and the policy compares outcomes.
    #[error(
        "tasks[{task}] has effects, so that its outcomes differ and cannot be compared, as `{policy}` would: submit with \
         `verify` `trusted` or `any`"
    )]
    Incomparable {
        /// The task's place.
        task: u32,
        /// What the run asks for, or the default.
        policy: Policy,
    },
    /// The terms are out of their bounds.
    #[error(transparent)]
    Terms(#[from] asterism_protocol::Error),
    /// Too much is live already; try again later.
    #[error("{live} tasks are live and {max} may be; try again when some are done")]
    Full {
        /// Tasks that are live.
        live: usize,
        /// How many may be.
        max: usize,
    },
    /// Too many tasks of one submitter are live already; try again later.
    #[error("{live} tasks of submitter `{submitter}` are live, {wanted} are more and {max} may be")]
    Quota {
        /// Whose tasks they are.
        submitter: String,
        /// Tasks of theirs that are live.
        live: usize,
        /// Tasks that were to be more.
        wanted: usize,
        /// How many may be live.
        max: usize,
    },
    /// There is no such executor.
    #[error("executor {0} is not here")]
    UnknownExecutor(PublicKey),
    /// The executor is not excluded.
    #[error("executor {0} is not excluded")]
    NotExcluded(PublicKey),
    /// There is no such run.
    #[error("there is no run {}", .0.0)]
    UnknownRun(RunId),
    /// There is no such task.
    #[error("run {} has no tasks[{task}]", .run.0)]
    UnknownTask {
        /// The run.
        run: RunId,
        /// The place asked for.
        task: u32,
    },
}

/// Why [`crate::Scheduler::poll_timeout`] wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutReason {
    /// A lease runs out unless a heartbeat comes.
    Lease,
    /// A poll has waited long enough.
    Poll,
    /// A backoff is over.
    Backoff,
    /// An executor's outcomes have waited long enough for a check of it.
    Check,
    /// An executor that lost its connection is not waited for any longer.
    Reconnect,
}

/// What is shared in memory is written where it stands.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        shared: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        T::serialize(shared, serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}
