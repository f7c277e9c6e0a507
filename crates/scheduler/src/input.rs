//! Facts that a scheduler is told.

use asterism_protocol::{PublicKey, Receipt, Terms, view::RunId};

use crate::{Checked, Planned};

/// A connection of an executor, numbered by the shell; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A request that waits for an [`crate::Output::Reply`], numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Somebody asks for a run.
    Submit {
        /// Who waits for the reply.
        request: RequestId,
        /// What to run. Boxed: it comes rarely, the others often.
        submission: Box<Submission>,
    },
    /// Somebody ends a run.
    Cancel {
        /// Who waits for the reply.
        request: RequestId,
        /// The run.
        run: RunId,
    },
    /// Somebody ends one task of a run; what awaits it fails.
    CancelTask {
        /// Who waits for the reply.
        request: RequestId,
        /// The run.
        run: RunId,
        /// The task's place in it.
        task: u32,
    },
    /// Nothing more of a run is leased, or of any run, until it is resumed. What is leased goes on.
    Pause {
        /// Who waits for the reply.
        request: RequestId,
        /// The run; `None` for the coordinator.
        run: Option<RunId>,
        /// Pause or resume?
        paused: bool,
    },
    /// Nothing more is leased until [`Input::Release`], because what executors need for it is away. What is leased goes on. Not
    /// journaled, and no pause: whoever comes after a restart sees for itself, and says it again.
    Hold {
        /// Why, in words for whoever waits.
        reason: String,
    },
    /// What was held is leased again.
    Release,
    /// The operator wants nothing more of an executor, until that is taken back: as if it had been caught, but it counts as no lie.
    Ban {
        /// Who waits for the reply.
        request: RequestId,
        /// The executor, here or not.
        executor: PublicKey,
        /// Why, for its owner and for people.
        reason: String,
    },
    /// The operator takes an exclusion back, whatever it was for: the executor is a stranger again. What it was wrong about
    /// stays on its record.
    Lift {
        /// Who waits for the reply.
        request: RequestId,
        /// The executor, here or not.
        executor: PublicKey,
    },
    /// Nothing more is leased to an executor, until it is again. What it holds goes on. Not journaled: it is forgotten when the
    /// executor is gone, and by a restart.
    Drain {
        /// Who waits for the reply.
        request: RequestId,
        /// The executor.
        executor: PublicKey,
        /// Nothing more, or again?
        draining: bool,
    },
    /// An executor's connection was opened; the scheduler challenges it.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// Random bytes for the challenge.
        nonce: [u8; 32],
        /// Where it comes from, such as a network address: executors without an enrolment that come from the same place count
        /// as one owner's. Empty where that is not known; then each counts for itself.
        origin: String,
    },
    /// A message came over a connection, and was checked. Nothing in it is trusted beyond that.
    Received {
        /// The connection.
        connection: ConnectionId,
        /// The message.
        message: Checked,
    },
    /// A connection is gone.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
    },
    /// Somebody watches a run from now on: its tasks' changes are published until each watch is ended.
    /// Changes of runs and executors are published always.
    Watch {
        /// The run; nothing happens if there is none.
        run: RunId,
    },
    /// Somebody watches a run no longer.
    Unwatch {
        /// The run.
        run: RunId,
    },
}

/// A workflow to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The workflow and its tasks' names.
    pub plan: Planned,
    /// A name for people.
    pub name: String,
    /// Who submits, for people.
    pub submitter: String,
    /// Canonical receipts that the store knows for instructions of this workflow, and for instructions
    /// outside of it that its promises await.
    pub known: Vec<Receipt>,
    /// How it is verified and ordered.
    pub terms: Terms,
}
