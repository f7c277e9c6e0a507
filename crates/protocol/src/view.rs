//! What is shown of the state: the same types as JSON over HTTP and as DAG-CBOR to watchers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Basis, Cid, Effects, Evidence, Files, Limits, Out, Policy, PublicKey, Remark, Requirements,
    Timestamp, Value, message::Fault,
};

/// The number of a run: one execution of a workflow, counted from 1 in one data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// For promises to be kept, or after a fault for its next attempt.
    Waiting,
    /// Nobody has taken it yet.
    Ready,
    /// An executor holds it.
    Leased,
    /// There is an outcome, and it is being verified: dependants may run on it, it is not final.
    Provisional,
    /// An outcome came from work in this run; it may be an error value.
    Computed,
    /// An outcome was known.
    Replayed,
    /// Nothing below it needed it: what it feeds was known.
    Skipped,
    /// It cannot be done: a promise was broken, or attempts are used up.
    Failed,
    /// The run was cancelled before.
    Cancelled,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Tasks are still to be done.
    Running,
    /// Every task is computed, replayed or skipped, and none of them came to an error.
    Done,
    /// Nothing is left to do, and at least one task failed or came to an error.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// Tasks of a run by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named as the states of `TaskState` are")]
pub struct Counts {
    /// Of those that are computed or replayed: how many came to an error.
    pub errors: u32,
    pub waiting: u32,
    pub ready: u32,
    pub leased: u32,
    pub provisional: u32,
    pub computed: u32,
    pub replayed: u32,
    pub skipped: u32,
    pub failed: u32,
    pub cancelled: u32,
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// The workflow.
    pub workflow: Cid,
    /// The name it was submitted under.
    pub name: String,
    /// Who submitted it.
    pub submitter: String,
    /// Where it is.
    pub state: RunState,
    /// Its tasks by state.
    pub counts: Counts,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// When nothing was left to do.
    pub finished: Option<Timestamp>,
    /// When its outcomes are believed.
    pub policy: Policy,
    /// Its head start, in steps.
    pub priority: i32,
    /// By when it is wanted.
    pub deadline: Option<Timestamp>,
    /// Is what was known run again and compared?
    pub forced: bool,
    /// Is nothing more of it leased until it is resumed?
    pub paused: bool,
}

impl Counts {
    /// All tasks.
    #[must_use]
    pub fn total(&self) -> u32 {
        let open = self.waiting + self.ready + self.leased + self.provisional;
        let known = self.computed + self.replayed + self.skipped;
        open + known + self.failed + self.cancelled
    }
}

/// A run with its tasks, or a part of them, in the order they were written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunView {
    /// As in the list.
    pub summary: RunSummary,
    /// One for each task of the part that was asked for.
    pub tasks: Vec<TaskView>,
}

/// A task of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskView {
    /// Its place in the workflow.
    pub index: u32,
    /// The name it was written under; empty for none.
    pub name: String,
    /// Its instruction.
    pub instruction: Cid,
    /// The component.
    pub component: Cid,
    /// The function.
    pub func: String,
    /// The arguments as written, promises included.
    pub args: Vec<Value>,
    /// The files as written, promises included.
    #[serde(default, skip_serializing_if = "Files::is_empty")]
    pub files: Files,
    /// The places of the tasks whose outcomes it needs.
    pub needs: Vec<u32>,
    /// Its budget.
    pub limits: Limits,
    /// What an executor must offer for it.
    pub requires: Requirements,
    /// Where it is.
    pub state: TaskState,
    /// Why it is there, in words, where the state alone does not say it (a broken promise, a backoff).
    pub reason: String,
    /// What it came to.
    pub out: Option<Out>,
    /// Fuel of the outcome.
    pub fuel: Option<u64>,
    /// The canonical receipt.
    pub receipt: Option<Cid>,
    /// The CID of the outcome.
    pub outcome: Option<Cid>,
    /// What the canonical receipt was believed on.
    pub basis: Option<Basis>,
    /// Who computed it, or who holds it.
    pub executor: Option<PublicKey>,
    /// What engine and guest said, once computed in this run.
    pub remark: Option<Remark>,
    /// Attempts that came to nothing, first one first.
    pub attempts: Vec<AttemptView>,
    /// When its last promise was kept.
    pub ready: Option<Timestamp>,
    /// When it was leased last.
    pub leased: Option<Timestamp>,
    /// When the attempt was said to have begun; attempts that are over at once are not announced.
    pub started: Option<Timestamp>,
    /// When the coordinator heard that there is an outcome.
    pub computed: Option<Timestamp>,
    /// When the outcome itself came.
    pub delivered: Option<Timestamp>,
    /// When the policy was satisfied.
    pub verified: Option<Timestamp>,
    /// When its state became final.
    pub finished: Option<Timestamp>,
}

impl TaskView {
    /// What its outcome depends on, where that is not what its component says of all of them.
    #[must_use]
    pub fn determinism(&self) -> Option<Determinism> {
        let is_effectful = self.requires.is_effectful();
        is_effectful.then_some(Determinism::Effectful)
    }
}

/// An attempt that ended without an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptView {
    /// Who tried.
    pub executor: PublicKey,
    /// When it ended.
    pub ended: Timestamp,
    /// Why.
    pub fault: Fault,
}

/// An executor that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorView {
    /// Its identity.
    pub key: PublicKey,
    /// Its name for people; empty for none.
    pub name: String,
    /// `browser` or `wasmtime`.
    pub host: String,
    /// How many tasks it performs at the same time.
    pub threads: u32,
    /// Since when it is connected.
    pub since: Timestamp,
    /// What it holds now: function names, at most sixteen.
    pub doing: Vec<String>,
    /// Leases held.
    pub leases: u32,
    /// Outcomes accepted since the coordinator started.
    pub tasks: u64,
    /// Their fuel.
    pub fuel: u64,
    /// Is it connected? Those that were caught lying are shown also when they are gone.
    pub connected: bool,
    /// Whom it counts for: an enrolled owner, or what its connection tells.
    pub owner: String,
    /// What is thought of it.
    pub standing: Standing,
    /// How much it is trusted, in thousandths.
    pub trust: u32,
    /// Outcomes of it that others agreed with.
    pub right: u64,
    /// Outcomes of it that were found to be wrong.
    pub wrong: u64,
    /// Why it stands where it does, in words; empty where there is nothing to say.
    pub reason: String,
    /// Fuel that its threads use in a second of computing, smoothed; 0 until it is known.
    pub fuel_per_s: u64,
    /// The largest memory limit it accepts, in bytes.
    pub memory: u64,
    /// What it can do beyond pure computation.
    #[serde(deserialize_with = "crate::codec::ascending")]
    pub offers: BTreeSet<String>,
    /// What its owner says of it.
    pub labels: BTreeMap<String, String>,
}

/// What is thought of an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The operator trusts it.
    Trusted,
    /// It is believed as far as the policy says.
    Stranger,
    /// It was caught with a wrong outcome: nothing is leased to it.
    Excluded,
}

/// Why a task is where it is: every decision about it, for whoever asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// The task.
    pub task: TaskView,
    /// When its outcome is believed.
    pub policy: Policy,
    /// Why it waits, one cause each, in words; empty when it does not.
    pub waits: Vec<String>,
    /// Executors that are here, and whether each may have it; at most 256.
    pub candidates: Vec<Candidate>,
    /// Who holds it now, and why that one.
    pub leases: Vec<LeaseView>,
    /// What executors came to, as far as that is told: not before all whose agreement is needed have committed.
    pub votes: Vec<VoteView>,
    /// Why the canonical receipt is believed, in words; empty while there is none.
    pub believed: String,
    /// The same as evidence.
    pub evidence: Option<Evidence>,
}

/// An executor, seen from one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Who.
    pub executor: PublicKey,
    /// What it lacks or why it is kept from it, in words; empty if it may have the task.
    pub lacks: String,
}

/// A lease, seen from its task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseView {
    /// Who.
    pub executor: PublicKey,
    /// Since when.
    pub leased: Timestamp,
    /// Until when, unless it says that it is alive.
    pub deadline: Timestamp,
    /// Why this one got it, in words.
    pub reason: String,
}

/// What an executor said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteView {
    /// Who.
    pub executor: PublicKey,
    /// Whom it counts for.
    pub owner: String,
    /// When it committed or delivered.
    pub at: Timestamp,
    /// What it came to; `None` while that is only committed to.
    pub outcome: Option<Cid>,
}

/// A component that functions can be called of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentView {
    /// Its CID.
    pub cid: Cid,
    /// The name it was added under.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// What its outcomes depend on, where a task asks for no effects.
    pub determinism: Determinism,
    /// The effects that a task may ask for.
    #[serde(deserialize_with = "crate::codec::ascending")]
    pub effects: Effects,
    /// Its functions.
    pub functions: Vec<FunctionView>,
}

/// What outcomes depend on, as follows from a component's imports and from the effects of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Determinism {
    /// On nothing but the task: it imports logging at most.
    Pure,
    /// On nothing but the task: clocks, randomness and whatever else it imports of WASI are made of the instruction.
    Virtual,
    /// On the world outside: the task has effects, which an executor must offer. They are done at least once for each nonce.
    Effectful,
}

impl Determinism {
    /// Its name, as JSON has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Virtual => "virtual",
            Self::Effectful => "effectful",
        }
    }
}

/// A function of a component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionView {
    /// `name` or `ns:pkg/iface#name`.
    pub name: String,
    /// As WIT would write it: `add(a: f64, b: f64) -> f64`.
    pub signature: String,
    /// JSON Schema of its arguments, an object by parameter name, as JSON text.
    pub schema: String,
}

/// All summaries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overview {
    /// The newest runs first, at most a thousand.
    pub runs: Vec<RunSummary>,
    /// Executors that are here.
    pub executors: Vec<ExecutorView>,
    /// Components.
    pub components: Vec<ComponentView>,
    /// What is wrong with the coordinator itself; empty when all is well.
    pub trouble: String,
    /// When outcomes of runs that do not say it are believed.
    pub policy: Policy,
    /// Does the coordinator lease nothing until it is resumed?
    pub paused: bool,
}
