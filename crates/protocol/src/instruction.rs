//! Instruction, task and promise: what is to be computed, and within what limits.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Cid, Effects, Error, Files, Out, Value, content_cid, effects, encode, files, limits};

/// The operation that Asterism performs; others are refused on submission.
pub(crate) const OP_WASM_RUN: &str = "wasm/run";

/// A component's function applied to an input: the memo key is its CID.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instruction {
    /// The component: `ipfs://<cid>`.
    pub rsc: String,
    /// The operation, `wasm/run`.
    pub op: String,
    /// The function and its arguments.
    pub input: Input,
    /// Makes equal work distinct; empty for work that may be remembered, so never with effects.
    pub nnc: Nonce,
}

/// The function and what it is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// `name`, or `ns:pkg/iface#name` for a function of an exported interface.
    pub func: String,
    /// Values, with promises and links anywhere in them.
    pub args: Vec<Value>,
    /// What the guest finds in its file system; not written where there is nothing, so that the instruction is what it
    /// is without files.
    #[serde(
        default,
        skip_serializing_if = "Files::is_empty",
        deserialize_with = "files::some"
    )]
    pub files: Files,
    /// What the guest may do to the world outside; not written where there is nothing. With it the outcome depends on more
    /// than the instruction, so it is never compared, and remembered under a nonce alone.
    #[serde(
        default,
        skip_serializing_if = "Effects::is_empty",
        deserialize_with = "effects::some"
    )]
    pub effects: Effects,
}

impl Input {
    /// Everything with links and promises in it: the arguments, then the files by their paths.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.args.iter().chain(self.files.values())
    }
}

/// `""`, a base32hex string, or 12 or 16 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Nonce {
    /// None: equal instructions share one receipt.
    #[default]
    Empty,
    /// A text nonce, as it came.
    Text(String),
    /// A binary nonce of 12 or 16 bytes.
    Bytes(Vec<u8>),
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => serializer.serialize_str(""),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        Self::of_value(&Ipld::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Nonce {
    pub(crate) fn of_value(value: &Value) -> Result<Self, &'static str> {
        match value {
            Ipld::String(text) if text.is_empty() => Ok(Self::Empty),
            Ipld::String(text) if text.len() <= limits::NAME_BYTES_MAX => {
                Ok(Self::Text(text.clone()))
            }
            Ipld::Bytes(bytes) if matches!(bytes.len(), 12 | 16) => Ok(Self::Bytes(bytes.clone())),
            _ => Err("nnc must be \"\", a short string, or 12 or 16 bytes"),
        }
    }
}

impl Instruction {
    /// The promise key and the memo key.
    #[must_use]
    pub fn cid(&self) -> Cid {
        content_cid(&encode(self))
    }

    /// The component that `rsc` names.
    ///
    /// # Errors
    /// `rsc` is not `ipfs://<cid of a blob>`.
    pub fn component(&self) -> Result<Cid, Error> {
        let cid = self
            .rsc
            .strip_prefix("ipfs://")
            .and_then(|cid| cid.parse::<Cid>().ok())
            .filter(Cid::is_blob);
        cid.ok_or_else(|| Error::Resource(self.rsc.clone()))
    }

    /// Does its outcome depend on the world outside?
    #[must_use]
    pub fn is_effectful(&self) -> bool {
        !self.input.effects.is_empty()
    }

    /// Every promise in the input, in order of appearance, repeated ones too.
    #[must_use]
    pub fn promises(&self) -> Vec<Promise> {
        let mut found = Vec::new();
        self.input
            .values()
            .for_each(|value| collect_promises(value, &mut found));
        found
    }

    /// The input with every promise replaced by what `outs` knows of it.
    ///
    /// # Errors
    /// The first promise that is not kept: unknown, or awaited on the branch that was not taken.
    pub fn resolve(&self, outs: &dyn Fn(Cid) -> Option<Out>) -> Result<Input, Promise> {
        let Input {
            func,
            args,
            files,
            effects,
        } = &self.input;
        let args = args.iter().map(|arg| resolve(arg, outs));
        let file = |(path, value): (&String, &Value)| Ok((path.clone(), resolve(value, outs)?));
        Ok(Input {
            func: func.clone(),
            args: args.collect::<Result<_, _>>()?,
            files: files.iter().map(file).collect::<Result<_, _>>()?,
            effects: effects.clone(),
        })
    }
}

/// Which branch of an outcome a promise waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Await {
    /// `await/ok`: the value of a success; a failure fails the dependant.
    #[serde(rename = "await/ok")]
    Ok,
    /// `await/error`: the value of a failure; a success fails the dependant.
    #[serde(rename = "await/error")]
    Error,
    /// `await/*`: the whole `["ok" | "error", value]`.
    #[serde(rename = "await/*")]
    Any,
}

impl Await {
    /// The key of a promise's map.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Ok => "await/ok",
            Self::Error => "await/error",
            Self::Any => "await/*",
        }
    }

    /// Does a promise of this branch hold, once the task came to `out`?
    #[must_use]
    pub fn accepts(self, out: &Out) -> bool {
        match (self, out) {
            (Self::Any, _) | (Self::Ok, Out::Ok(_)) | (Self::Error, Out::Error(_)) => true,
            (Self::Ok, Out::Error(_)) | (Self::Error, Out::Ok(_)) => false,
        }
    }
}

/// An input that is another task's outcome: `{"await/ok": <cid of the instruction>}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Promise {
    /// The branch waited for.
    pub branch: Await,
    /// The instruction waited for.
    pub instruction: Cid,
}

impl Promise {
    /// Reads a promise: a map of exactly one entry, whose key is a branch and whose value a link.
    #[must_use]
    pub fn of_value(value: &Value) -> Option<Self> {
        let Ipld::Map(map) = value else { return None };
        let (key, Ipld::Link(link)) = map.iter().next().filter(|_| map.len() == 1)? else {
            return None;
        };
        let branch = [Await::Ok, Await::Error, Await::Any]
            .into_iter()
            .find(|branch| branch.key() == key)?;
        Some(Self {
            branch,
            instruction: Cid::try_from(*link).ok()?,
        })
    }

    /// The promise as it stands in arguments.
    #[must_use]
    pub fn to_value(self) -> Value {
        Ipld::Map(BTreeMap::from([(
            self.branch.key().to_owned(),
            Ipld::Link(self.instruction.to_link()),
        )]))
    }
}

fn collect_promises(value: &Value, found: &mut Vec<Promise>) {
    if let Some(promise) = Promise::of_value(value) {
        found.push(promise);
        return;
    }
    match value {
        Ipld::List(items) => items.iter().for_each(|item| collect_promises(item, found)),
        Ipld::Map(map) => map.values().for_each(|item| collect_promises(item, found)),
        _ => {}
    }
}

fn resolve(value: &Value, outs: &dyn Fn(Cid) -> Option<Out>) -> Result<Value, Promise> {
    if let Some(promise) = Promise::of_value(value) {
        return match outs(promise.instruction) {
            Some(out) if promise.branch.accepts(&out) => Ok(match promise.branch {
                Await::Any => out.to_value(),
                Await::Ok | Await::Error => out.value().clone(),
            }),
            _ => Err(promise),
        };
    }
    Ok(match value {
        Ipld::List(items) => Ipld::List(
            items
                .iter()
                .map(|item| resolve(item, outs))
                .collect::<Result<_, _>>()?,
        ),
        Ipld::Map(map) => {
            let entry = |(key, item): (&String, &Value)| Ok((key.clone(), resolve(item, outs)?));
            Ipld::Map(map.iter().map(entry).collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

/// An instruction with its limits: what is scheduled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What to do.
    pub run: Instruction,
    /// The receipt that caused this task, if any (UCAN invocation).
    #[serde(deserialize_with = "crate::codec::present")]
    pub cause: Option<Cid>,
    /// Limits and whatever else the author wrote; it changes the invocation's CID, never the memo.
    pub meta: Meta,
    /// Proofs of authority (UCAN invocation).
    pub prf: Vec<Cid>,
}

/// `meta` of a task, exactly as it came, so that CIDs agree with other implementations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Meta(pub BTreeMap<String, Value>);

impl Meta {
    /// The entry `key` as an unsigned number, if there is one. Authors in JavaScript write numbers beyond
    /// 64 bits for "without limit", and JSON makes floats of them: those count as the largest.
    fn number(&self, key: &str) -> Option<u64> {
        match self.0.get(key) {
            Some(Ipld::Integer(n)) => u64::try_from(*n).ok(),
            Some(Ipld::Float(x)) if *x >= 0.0 && x.fract() == 0.0 => Some(*x as u64),
            _ => None,
        }
    }
}

/// The budget of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Fuel, in units of the cost table that the outcome's `metering` names.
    pub fuel: u64,
    /// Linear memory, in bytes.
    pub memory: u64,
    /// Wall-clock time, in milliseconds. Running into it is a fault, never an outcome.
    pub time_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: limits::FUEL_DEFAULT,
            memory: limits::MEMORY_BYTES_DEFAULT,
            time_ms: limits::TIME_MS_DEFAULT,
        }
    }
}

impl Task {
    /// The limits that `meta` names, the defaults where it is silent.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            fuel: self
                .meta
                .number("fuel")
                .unwrap_or(default.fuel)
                .min(limits::FUEL_MAX),
            memory: self
                .meta
                .number("memory")
                .unwrap_or(default.memory)
                .min(default.memory),
            time_ms: self.meta.number("time").unwrap_or(default.time_ms),
        }
    }
}
