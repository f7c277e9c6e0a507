//! What executor, coordinator and watcher say to each other over one WebSocket.
//!
//! The coordinator speaks first, with a [`ToExecutor::Challenge`]. An executor answers with
//! [`ToCoordinator::Hello`] and, once welcomed, polls for leases, keeps them by heartbeats and delivers.
//! Everything between is one DAG-CBOR map a frame.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;

use crate::{
    Cid, Conditions, DecodeError, Encoded, Error, Limits, Out, Outcome, PublicKey, Remark,
    Signature, Statement, Task, content_cid, encode,
    limits::{self, at_most},
    terms::check_offers,
    view,
};

/// The number of a lease, unique for one coordinator's data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

/// What an executor says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToCoordinator {
    /// Who it is, after the challenge. Boxed: it comes once, the others often.
    Hello(Box<Hello>),
    /// Give me up to `slots` tasks; answer within `wait_ms`, with none if there are none.
    Poll {
        /// Most leases wanted, at most [`limits::POLL_SLOTS_MAX`].
        slots: u32,
        /// Longest wait in milliseconds, at most [`limits::POLL_WAIT_MS_MAX`].
        wait_ms: u64,
    },
    /// These leases are alive: extend their deadlines. Sent every `heartbeat_ms`, also when there are none.
    Heartbeat {
        /// The leases held, running ones and prefetched ones.
        leases: Vec<LeaseId>,
    },
    /// These attempts have begun (for watchers; costs nothing to lose).
    Started {
        /// Their leases.
        leases: Vec<LeaseId>,
    },
    /// There are outcomes of leases that ask for a commitment: this is what they will turn out to be. They are delivered
    /// when the coordinator asks for them.
    Commit {
        /// At least one, at most [`limits::DELIVERY_ITEMS_MAX`].
        items: Vec<Commitment>,
    },
    /// Outcomes, attested.
    Deliver {
        /// At least one, at most [`limits::DELIVERY_ITEMS_MAX`].
        items: Vec<Delivery>,
        /// Over the Merkle root of the items' statements, in their order.
        signature: Signature,
    },
    /// Host or network broke during an attempt: not a result.
    Fault {
        /// The lease.
        lease: LeaseId,
        /// What broke.
        fault: Fault,
    },
    /// The executor declines a lease; not counted as an attempt.
    Refuse {
        /// The lease.
        lease: LeaseId,
        /// Why, in words.
        reason: String,
    },
    /// Leases given back unfinished, because the executor stops or has too many.
    HandBack {
        /// The leases.
        leases: Vec<LeaseId>,
    },
    /// The executor leaves; whatever it still holds is handed back.
    Leave,
}

/// Who an executor is, what it can do, and what it still holds from an earlier connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Its identity.
    pub key: PublicKey,
    /// Over [`hello_bytes`] of the challenge.
    pub proof: Signature,
    /// Its version, to say when a page is out of date.
    pub build: String,
    /// A name for people, such as the host name; empty for none.
    pub name: String,
    /// What it offers.
    pub capabilities: Capabilities,
    /// What proves to which enrolled owner it belongs; empty for none. Executors without one count as their network's.
    pub enrolment: String,
    /// Leases from before a reconnection that it goes on with.
    pub holding: Vec<Held>,
}

/// What an executor offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// `browser`, `wasmtime` or `null`.
    pub host: String,
    /// The cost table of its fuel, such as `wasmtime-48`.
    pub metering: String,
    /// How many tasks it performs at the same time.
    pub threads: u32,
    /// The largest memory limit it accepts, in bytes.
    pub memory: u64,
    /// What it can do beyond pure computation, such as `gpu` or `wasi:http`; at most [`limits::LABELS_MAX`].
    #[serde(deserialize_with = "crate::codec::ascending")]
    pub offers: BTreeSet<String>,
    /// What its owner says of it, such as `region` = `eu`; at most [`limits::LABELS_MAX`].
    pub labels: BTreeMap<String, String>,
}

/// An outcome that is not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// The lease.
    pub lease: LeaseId,
    /// [`commitment`] of what will be delivered.
    pub digest: ByteArray<32>,
}

/// A lease that survived its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The lease as it was numbered.
    pub lease: LeaseId,
    /// The instruction it is for.
    pub instruction: Cid,
}

/// One attested outcome of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The lease it answers.
    pub lease: LeaseId,
    /// The outcome.
    pub outcome: Outcome,
    /// The limits of the attempt.
    pub conditions: Conditions,
    /// What the engine and the guest said.
    pub remark: Remark,
    /// The salt of the commitment, where the lease asked for one.
    #[serde(deserialize_with = "crate::codec::present")]
    pub salt: Option<ByteArray<32>>,
}

/// What broke, where no result came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// In words.
    pub message: String,
}

/// Kinds of fault. None of them is remembered as a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The wall-clock limit of the task.
    TimeLimit,
    /// The host's stack: its depth differs between engines.
    StackOverflow,
    /// A blob could not be fetched, or its bytes have another CID.
    Blob,
    /// The host itself failed.
    Host,
    /// The executor was lost: its connection closed or its lease ran out. Said by the coordinator only.
    Lost,
    /// Executors came to different outcomes and not enough of them agree. Said by the coordinator only.
    Disagreement,
}

/// What a coordinator says to an executor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToExecutor {
    /// Prove your key by signing this.
    Challenge {
        /// Random, for one connection.
        nonce: ByteArray<32>,
        /// The coordinator's version.
        build: String,
    },
    /// The hello was accepted.
    Welcome {
        /// How often to send heartbeats, in milliseconds; leases last several of these.
        heartbeat_ms: u64,
        /// Which of the leases that hello named go on; the others are lost.
        resumed: Vec<LeaseId>,
    },
    /// The answer to a poll: as many as were asked for, or fewer, or none.
    Assign {
        /// The leases.
        leases: Vec<Lease>,
    },
    /// Stop these: cancelled, or final by another's hand.
    Revoke {
        /// The leases.
        leases: Vec<LeaseId>,
        /// Why, in words.
        reason: String,
    },
    /// Deliver these: what was committed to can no longer be copied.
    Reveal {
        /// The leases.
        leases: Vec<LeaseId>,
    },
    /// This executor was caught with a wrong outcome: nothing is leased to it any more.
    Excluded {
        /// What it was caught with, in words for its owner.
        reason: String,
    },
    /// These deliveries are journaled; forget them.
    Accepted {
        /// Their leases.
        leases: Vec<LeaseId>,
    },
    /// A delivery, or a whole message, was refused.
    Rejected {
        /// The lease, if it was about one.
        lease: Option<LeaseId>,
        /// Why, in words.
        reason: String,
    },
    /// The connection ends, and why.
    Bye {
        /// In words.
        reason: String,
    },
}

/// A time-bound right to try a task, with all that is needed to try it but the blobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Its number.
    pub id: LeaseId,
    /// The task; its instruction's CID is recomputed by the executor, not told. Whoever leases does not read it.
    pub task: Encoded<Task>,
    /// What the promises in its arguments came to.
    pub inputs: Vec<Kept>,
    /// The budget of this attempt.
    pub limits: Limits,
    /// Milliseconds until the lease ends unless heartbeats extend it.
    pub lease_ms: u64,
    /// Must the outcome be committed to, and delivered only when it is asked for?
    pub commit: bool,
    /// The workflow's name, for the donor to read.
    pub workflow: String,
    /// Who submitted it, for the donor to read.
    pub submitter: String,
}

/// A promise that was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The instruction.
    pub instruction: Cid,
    /// What it came to.
    pub out: Encoded<Out>,
}

/// What a watcher says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToWatched {
    /// Tell me everything about this run from now on, beside the summaries that every watcher gets; `None` for none.
    Watch {
        /// The run.
        run: Option<view::RunId>,
        /// The place of the first task to tell of; at most [`WATCHED_TASKS_MAX`](crate::limits::WATCHED_TASKS_MAX) are.
        from: u32,
    },
}

/// What a watcher hears: a snapshot, then changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToWatcher {
    /// All summaries, at the start and whenever the watcher was too slow for the changes.
    Snapshot(view::Overview),
    /// The watched run, whole.
    Run(Box<view::RunView>),
    /// What changed since.
    Changes(Vec<Change>),
}

/// One change, to be laid over what was known. Later ones win.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// A run is new or its counts changed.
    Run(view::RunSummary),
    /// A task of a run changed. Sent to those who watch the run.
    Task {
        /// The run.
        run: view::RunId,
        /// The task as it is now.
        task: Box<view::TaskView>,
    },
    /// An executor came or changed.
    Executor(view::ExecutorView),
    /// An executor left.
    ExecutorGone(PublicKey),
    /// A component was added.
    Component(view::ComponentView),
    /// The coordinator leases nothing more, or does again.
    Paused(bool),
}

/// What an executor signs to prove its key for one connection.
#[must_use]
pub fn hello_bytes(nonce: &[u8; 32]) -> Vec<u8> {
    [b"asterism/hello/v1\0".as_slice(), nonce].concat()
}

/// What is committed to before `statement` is told: nobody can tell it from the digest without knowing `salt`.
#[must_use]
pub fn commitment(salt: &[u8; 32], statement: &Statement) -> [u8; 32] {
    let said = [b"asterism/commit/v1\0".as_slice(), salt, &encode(statement)].concat();
    content_cid(&said).digest()
}

impl ToCoordinator {
    /// Checks the bounds that its encoding alone does not: what passes may be worked on.
    ///
    /// # Errors
    /// What is too long or too many, with its place.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Hello(hello) => hello.check(),
            Self::Poll { slots, wait_ms } => {
                at_most(
                    "poll.slots",
                    "leases",
                    *slots as usize,
                    limits::POLL_SLOTS_MAX as usize,
                )?;
                let wait = usize::try_from(*wait_ms).unwrap_or(usize::MAX);
                at_most(
                    "poll.wait_ms",
                    "milliseconds",
                    wait,
                    limits::POLL_WAIT_MS_MAX as usize,
                )
            }
            Self::Heartbeat { leases } => at_most(
                "heartbeat.leases",
                "leases",
                leases.len(),
                limits::LEASES_HELD_MAX,
            ),
            Self::Started { leases } => at_most(
                "started.leases",
                "leases",
                leases.len(),
                limits::LEASES_HELD_MAX,
            ),
            Self::HandBack { leases } => at_most(
                "hand-back.leases",
                "leases",
                leases.len(),
                limits::LEASES_HELD_MAX,
            ),
            Self::Commit { items } => {
                if items.is_empty() {
                    let reason = "a commitment is to at least one outcome".to_owned();
                    return Err(Error::Value {
                        path: "commit.items".to_owned(),
                        reason,
                    });
                }
                at_most(
                    "commit.items",
                    "commitments",
                    items.len(),
                    limits::DELIVERY_ITEMS_MAX,
                )
            }
            Self::Deliver {
                items,
                signature: _,
            } => {
                if items.is_empty() {
                    let reason = "a delivery holds at least one outcome".to_owned();
                    return Err(Error::Value {
                        path: "deliver.items".to_owned(),
                        reason,
                    });
                }
                at_most(
                    "deliver.items",
                    "outcomes",
                    items.len(),
                    limits::DELIVERY_ITEMS_MAX,
                )?;
                items.iter().enumerate().try_for_each(|(index, item)| {
                    let inside = |part: &str, error: Error| {
                        error.inside(&format!("deliver.items[{index}].{part}"))
                    };
                    item.outcome
                        .check()
                        .map_err(|error| inside("outcome", error))?;
                    item.remark.check().map_err(|error| inside("remark", error))
                })
            }
            Self::Fault { lease: _, fault } => {
                at_most(
                    "fault.message",
                    "bytes",
                    fault.message.len(),
                    limits::TEXT_BYTES_MAX,
                )?;
                match fault.kind {
                    FaultKind::Lost | FaultKind::Disagreement => Err(Error::Value {
                        path: "fault.kind".to_owned(),
                        reason: "only the coordinator says that executors are lost or disagree"
                            .to_owned(),
                    }),
                    FaultKind::TimeLimit
                    | FaultKind::StackOverflow
                    | FaultKind::Blob
                    | FaultKind::Host => Ok(()),
                }
            }
            Self::Refuse { lease: _, reason } => at_most(
                "refuse.reason",
                "bytes",
                reason.len(),
                limits::TEXT_BYTES_MAX,
            ),
            Self::Leave => Ok(()),
        }
    }
}

impl Hello {
    fn check(&self) -> Result<(), Error> {
        for (path, name) in [
            ("hello.build", &self.build),
            ("hello.name", &self.name),
            ("hello.capabilities.host", &self.capabilities.host),
            ("hello.capabilities.metering", &self.capabilities.metering),
            ("hello.enrolment", &self.enrolment),
        ] {
            at_most(path, "bytes", name.len(), limits::NAME_BYTES_MAX)?;
        }
        check_offers(
            "hello.capabilities",
            &self.capabilities.offers,
            &self.capabilities.labels,
        )?;
        at_most(
            "hello.holding",
            "leases",
            self.holding.len(),
            limits::LEASES_HELD_MAX,
        )
    }
}

/// Decodes one frame from the network.
///
/// # Errors
/// Longer than [`limits::FRAME_BYTES_MAX`], not strict DAG-CBOR, or not a message.
pub fn decode_frame<T: serde::de::DeserializeOwned>(frame: &[u8]) -> Result<T, DecodeError> {
    crate::decode("message", frame, limits::FRAME_BYTES_MAX)
}
