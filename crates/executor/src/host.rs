//! The boundary between whoever takes work and whoever performs it.

use std::{collections::BTreeMap, sync::Arc};

use asterism_protocol::{
    Cid, Conditions, Effects, Failure, Files, Limits, LogLine, Out, Outcome, Remark, TrapKind,
    Value, blob_cid, encode,
    limits::{INLINE_BYTES_MAX, OUTCOME_BYTES_MAX},
    message::Fault,
};
use serde::{Deserialize, Serialize};

use crate::session::links;

/// The cost table of fuel: Wasmtime 48's default operator costs, on every host.
pub const METERING: &str = "wasmtime-48";

/// Fuel for instantiation, which is not part of an outcome's fuel: enough for a runtime that unpacks itself, and a start
/// function that never ends is out of fuel on every host.
pub const INSTANTIATION_FUEL: u64 = 1_000_000_000;

/// What a host gives its engine for a call under a fuel limit. A unit more than the limit: engines stop a guest that
/// has nothing left, but the limit may be used up to the last unit.
#[must_use]
pub const fn granted_fuel(limit: u64) -> u64 {
    limit.saturating_add(1)
}

/// Performs tasks, one after the other. A tab has one in each compute worker, a process one in each thread.
pub trait Host {
    /// What it is.
    fn info(&self) -> HostInfo;

    /// Is the component ready to run?
    fn holds(&self, component: Cid) -> bool;

    /// Makes a component ready; `bytes` were checked against the CID. Doing it again is cheap.
    ///
    /// # Errors
    /// The component asks for something that this host does not provide.
    fn prepare(&mut self, component: Cid, bytes: &[u8]) -> Result<(), Unfit>;

    /// Performs a task in a fresh instance of a prepared component.
    ///
    /// # Errors
    /// A fault: host, stack or clock. Whatever the guest does is an [`Attempt`], never an error.
    fn run(&mut self, job: &Job) -> Result<Attempt, Fault>;

    /// What ends the run under way from another thread, if there is one: [`Host::run`] then returns a fault soon. The
    /// next run is not touched. `None` where only ending the thread helps, as in a Web Worker.
    fn stopper(&self) -> Option<Stopper> {
        None
    }
}

/// Ends a run from another thread; see [`Host::stopper`].
pub type Stopper = Arc<dyn Fn() + Send + Sync>;

/// What a host says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// `wasmtime`, `browser` or `null`.
    pub name: &'static str,
    /// The largest memory limit it can keep, in bytes.
    pub memory_max: u64,
}

/// A task with nothing left to look up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The instruction's CID: the seed of whatever the guest finds random.
    pub instruction: Cid,
    /// The component, prepared before.
    pub component: Cid,
    /// The function: `name` or `ns:pkg/iface#name`.
    pub func: String,
    /// The arguments, promises resolved.
    pub args: Vec<Value>,
    /// What the guest finds in its file system, promises resolved.
    pub files: Files,
    /// What the guest may do to the world outside. The session has seen that its executor offers it; a host that has no
    /// means for it ends the job with a fault, as what it came to without would not be its outcome.
    pub effects: Effects,
    /// The bytes behind the links among arguments and files.
    #[serde(with = "pairs")]
    pub blobs: BTreeMap<Cid, serde_bytes::ByteBuf>,
    /// The budget.
    pub limits: Limits,
}

impl Job {
    /// Links among arguments and files, in order, each once.
    #[must_use]
    pub fn links(&self) -> Vec<Cid> {
        links(self.args.iter().chain(self.files.values()))
    }
}

/// An outcome with what is known beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What executors must agree on.
    pub outcome: Outcome,
    /// The limits it came about under.
    pub conditions: Conditions,
    /// What engine and guest said.
    pub remark: Remark,
    /// Bytes that the outcome links to.
    #[serde(with = "pairs")]
    pub blobs: BTreeMap<Cid, serde_bytes::ByteBuf>,
}

/// Blobs as a list of names and bytes: a map of DAG-CBOR has strings for keys.
mod pairs {
    use std::collections::BTreeMap;

    use asterism_protocol::Cid;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::ByteBuf;

    pub(super) fn serialize<S: Serializer>(
        blobs: &BTreeMap<Cid, ByteBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(blobs)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Cid, ByteBuf>, D::Error> {
        let pairs = Vec::<(Cid, ByteBuf)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}

/// How a call ended, as a host saw it.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// The function returned this: the value, or the `ok` of its own result.
    Ok(Value),
    /// The function returned the `err` of its own result.
    Err(Value),
    /// It did not return, or was never entered.
    Trap {
        /// What happened, alike on every engine.
        kind: TrapKind,
        /// The engine's words.
        message: String,
        /// The wasm backtrace, innermost frame first.
        backtrace: Vec<String>,
    },
}

/// A call as a host saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// How it ended.
    pub ended: Ended,
    /// Fuel that the call consumed, of [`granted_fuel`]; looked at only where the guest returned. Engines look at the
    /// counter now and then, so it may be more than the limit: [`conclude`] sees that.
    pub fuel: u64,
    /// Was a growth of memory or table refused?
    pub growth_refused: bool,
    /// What the guest logged.
    pub logs: Vec<LogLine>,
    /// How long the call took, in microseconds.
    pub elapsed_us: u64,
}

/// A component that a host cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the component cannot run here: {reason}")]
pub struct Unfit {
    /// What it asks for.
    pub reason: String,
}

/// Makes the attempt out of what a host saw: the rules of outcomes in one place, for every host.
#[must_use]
pub fn conclude(job: &Job, ran: Ran) -> Attempt {
    let mut blobs = BTreeMap::new();
    let failure = |trap| {
        Out::Error(
            Failure {
                trap,
                func: job.func.clone(),
            }
            .to_value(),
        )
    };
    let (mut message, mut backtrace) = (None, Vec::new());
    let ended = match ran.ended {
        Ended::Ok(_)
        | Ended::Err(_)
        | Ended::Trap {
            kind: TrapKind::OutputTooLarge | TrapKind::Exit,
            ..
        } if ran.fuel > job.limits.fuel => {
            let message = format!(
                "it returned only after more than the limit of {} fuel",
                job.limits.fuel
            );
            Ended::Trap {
                kind: TrapKind::OutOfFuel,
                message,
                backtrace: Vec::new(),
            }
        }
        ended => ended,
    };
    let (mut out, mut fuel) = match ended {
        Ended::Ok(value) => (Out::Ok(link_long_bytes(value, &mut blobs)), Some(ran.fuel)),
        Ended::Err(value) => (
            Out::Error(link_long_bytes(value, &mut blobs)),
            Some(ran.fuel),
        ),
        Ended::Trap {
            kind,
            message: text,
            backtrace: frames,
        } => {
            (message, backtrace) = (Some(text), frames);
            let fuel = match kind {
                TrapKind::OutOfFuel => Some(job.limits.fuel),
                // The guest was never entered.
                TrapKind::BadArguments | TrapKind::UnknownFunction => Some(0),
                // The guest stood still in a call, where every engine knows its fuel.
                TrapKind::OutputTooLarge | TrapKind::Exit => Some(ran.fuel),
                TrapKind::Unreachable
                | TrapKind::OutOfBounds
                | TrapKind::DivideByZero
                | TrapKind::IntegerOverflow
                | TrapKind::BadConversion
                | TrapKind::IndirectCall
                | TrapKind::OutOfMemory
                | TrapKind::InvalidAbi => None,
            };
            (failure(kind), fuel)
        }
    };
    let size = encode(&out).len();
    if size > OUTCOME_BYTES_MAX {
        message = Some(format!(
            "the value has {size} bytes in DAG-CBOR, {OUTCOME_BYTES_MAX} is the most"
        ));
        (out, fuel) = (failure(TrapKind::OutputTooLarge), Some(ran.fuel));
        blobs.clear();
    }
    let Limits {
        fuel: fuel_limit,
        memory,
        time_ms: _,
    } = job.limits;
    Attempt {
        outcome: Outcome {
            instruction: job.instruction,
            out,
            fuel,
            metering: METERING.to_owned(),
        },
        conditions: Conditions {
            fuel: fuel_limit,
            memory,
            growth_refused: ran.growth_refused,
        },
        remark: Remark {
            message,
            backtrace,
            logs: ran.logs,
            elapsed_us: ran.elapsed_us,
        },
        blobs,
    }
}

/// Byte strings longer than [`INLINE_BYTES_MAX`] become links; their bytes go to `blobs`.
fn link_long_bytes(value: Value, blobs: &mut BTreeMap<Cid, serde_bytes::ByteBuf>) -> Value {
    match value {
        Value::Bytes(bytes) if bytes.len() > INLINE_BYTES_MAX => {
            let cid = blob_cid(&bytes);
            blobs.insert(cid, serde_bytes::ByteBuf::from(bytes));
            Value::Link(cid.to_link())
        }
        Value::List(items) => Value::List(
            items
                .into_iter()
                .map(|item| link_long_bytes(item, blobs))
                .collect(),
        ),
        Value::Map(map) => Value::Map(
            map.into_iter()
                .map(|(key, item)| (key, link_long_bytes(item, blobs)))
                .collect(),
        ),
        other => other,
    }
}
