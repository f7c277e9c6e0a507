//! What every honest executor must agree on, and the remarks beside it.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

use crate::{
    Cid, Error, Limits, Out, Value, content_cid, encode,
    limits::{
        INLINE_BYTES_MAX, LOG_BYTES_MAX, LOG_LINES_MAX, NAME_BYTES_MAX, OUTCOME_BYTES_MAX,
        TEXT_BYTES_MAX, VALUE_DEPTH_MAX, at_most,
    },
    value::{depth, longest_bytes},
};

/// What came of an instruction: compared by CID between executors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The instruction.
    pub instruction: Cid,
    /// What it came to. Byte strings longer than [`crate::limits::INLINE_BYTES_MAX`] are links to their blobs.
    pub out: Out,
    /// Fuel consumed by the call (not by instantiation); `None` after a trap, where counters of engines differ.
    /// When fuel ran out, the limit.
    #[serde(deserialize_with = "crate::codec::present")]
    pub fuel: Option<u64>,
    /// The cost table that fuel is counted by, such as `wasmtime-48`.
    pub metering: String,
}

impl Outcome {
    /// The name under which executors agree.
    #[must_use]
    pub fn cid(&self) -> Cid {
        content_cid(&encode(self))
    }

    /// Checks the bounds of what an executor may deliver.
    ///
    /// # Errors
    /// What is too long, too deep, or should have been a link, with its place.
    pub fn check(&self) -> Result<(), Error> {
        at_most("metering", "bytes", self.metering.len(), NAME_BYTES_MAX)?;
        at_most("out", "levels", depth(self.out.value()), VALUE_DEPTH_MAX)?;
        at_most(
            "out",
            "bytes in one string of bytes that is not a link",
            longest_bytes(self.out.value()),
            INLINE_BYTES_MAX,
        )?;
        at_most("out", "bytes", encode(&self.out).len(), OUTCOME_BYTES_MAX)
    }

    /// The failure, if this is one of ours and not the function's own `err`.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match &self.out {
            Out::Error(value) => Failure::of_value(value),
            Out::Ok(_) => None,
        }
    }
}

/// How a guest failed: part of the outcome, so only what every engine says alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrapKind {
    /// The `unreachable` instruction; also a Rust panic on wasm32-unknown-unknown.
    Unreachable,
    /// A memory, table or array access out of bounds.
    OutOfBounds,
    /// Integer division by zero.
    DivideByZero,
    /// Integer overflow in a division or conversion.
    IntegerOverflow,
    /// A float that no integer can hold.
    BadConversion,
    /// An indirect call of a null, or of a function of another type.
    IndirectCall,
    /// The fuel limit.
    OutOfFuel,
    /// The memory limit, where the engine itself had to grow.
    OutOfMemory,
    /// The guest broke the canonical ABI: a string that is not UTF-8, a list outside its memory.
    InvalidAbi,
    /// Arguments (some may come from promises) that do not fit the function's types.
    BadArguments,
    /// The component has no such function.
    UnknownFunction,
    /// The value is larger than an outcome may be.
    OutputTooLarge,
    /// The guest ended itself instead of returning; with which code, the remark says.
    Exit,
}

impl TrapKind {
    /// Every kind, for tables and tests.
    pub const ALL: [Self; 13] = [
        Self::Unreachable,
        Self::OutOfBounds,
        Self::DivideByZero,
        Self::IntegerOverflow,
        Self::BadConversion,
        Self::IndirectCall,
        Self::OutOfFuel,
        Self::OutOfMemory,
        Self::InvalidAbi,
        Self::BadArguments,
        Self::UnknownFunction,
        Self::OutputTooLarge,
        Self::Exit,
    ];

    /// Its name in outcomes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::OutOfBounds => "out-of-bounds",
            Self::DivideByZero => "divide-by-zero",
            Self::IntegerOverflow => "integer-overflow",
            Self::BadConversion => "bad-conversion",
            Self::IndirectCall => "indirect-call",
            Self::OutOfFuel => "out-of-fuel",
            Self::OutOfMemory => "out-of-memory",
            Self::InvalidAbi => "invalid-abi",
            Self::BadArguments => "bad-arguments",
            Self::UnknownFunction => "unknown-function",
            Self::OutputTooLarge => "output-too-large",
            Self::Exit => "exit",
        }
    }
}

/// `{"trap": kind, "func": function}`: the error value of a guest that did not return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What happened.
    pub trap: TrapKind,
    /// In which exported function.
    pub func: String,
}

impl Failure {
    /// The failure as an error value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Ipld::Map(BTreeMap::from([
            ("func".to_owned(), Ipld::String(self.func.clone())),
            ("trap".to_owned(), Ipld::String(self.trap.name().to_owned())),
        ]))
    }

    /// Reads a failure from an error value; `None` for a function's own `err`.
    #[must_use]
    pub fn of_value(value: &Value) -> Option<Self> {
        let Ipld::Map(map) = value else { return None };
        match (map.len(), map.get("func"), map.get("trap")) {
            (2, Some(Ipld::String(func)), Some(Ipld::String(trap))) => {
                let trap = TrapKind::ALL.into_iter().find(|kind| kind.name() == trap)?;
                Some(Self {
                    trap,
                    func: func.clone(),
                })
            }
            _ => None,
        }
    }
}

/// The limits under which an outcome came about: remembered with it, because they decide whom it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// The fuel limit.
    pub fuel: u64,
    /// The memory limit, in bytes.
    pub memory: u64,
    /// Was a `memory.grow` or `table.grow` refused for the limit? Then only the same memory limit gives this outcome.
    pub growth_refused: bool,
}

impl Conditions {
    /// Does an outcome that came about under these conditions answer a request with `limits`?
    /// `Some(true)`: as it stands. `Some(false)`: with out-of-fuel, without running. `None`: it must be run.
    ///
    /// Time is no part of this: running out of it is a fault and never remembered.
    #[must_use]
    pub fn answer(&self, outcome: &Outcome, limits: &Limits) -> Option<bool> {
        let trap = outcome.failure().map(|failure| failure.trap);
        self.answers(trap, outcome.fuel, limits)
    }

    /// As [`Conditions::answer`], of an outcome that ended so and used so much fuel.
    #[must_use]
    pub fn answers(
        &self,
        trap: Option<TrapKind>,
        fuel: Option<u64>,
        limits: &Limits,
    ) -> Option<bool> {
        let memory_agrees = if self.growth_refused || trap == Some(TrapKind::OutOfMemory) {
            // Where the limit showed, another limit shows elsewhere or not at all.
            limits.memory == self.memory
        } else {
            // Where it did not show, no larger one does; whether a smaller one would is not known.
            limits.memory >= self.memory
        };
        if !memory_agrees {
            return None;
        }
        match (trap, fuel) {
            (Some(TrapKind::OutOfFuel), _) => {
                (limits.fuel <= self.fuel).then_some(limits.fuel == self.fuel)
            }
            (_, Some(used)) => Some(used <= limits.fuel),
            // A trap's fuel is not known: equal or larger limits see the same trap, smaller ones must look.
            (_, None) => (limits.fuel >= self.fuel).then_some(true),
        }
    }
}

/// What an executor signs: the outcome's CID and its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The CID of the [`Outcome`].
    pub outcome: Cid,
    /// The limits it came about under.
    pub conditions: Conditions,
}

/// What an engine says beside the outcome; never compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remark {
    /// The engine's message, for a failure.
    pub message: Option<String>,
    /// The wasm backtrace, innermost frame first.
    pub backtrace: Vec<String>,
    /// What the guest logged.
    pub logs: Vec<LogLine>,
    /// How long the call took, in microseconds.
    pub elapsed_us: u64,
}

impl Remark {
    /// Checks the bounds of what an executor may add to an outcome.
    ///
    /// # Errors
    /// What is too long, with its place.
    pub fn check(&self) -> Result<(), Error> {
        at_most(
            "message",
            "bytes",
            self.message.as_ref().map_or(0, String::len),
            TEXT_BYTES_MAX,
        )?;
        at_most(
            "backtrace",
            "bytes",
            self.backtrace.iter().map(String::len).sum(),
            TEXT_BYTES_MAX,
        )?;
        at_most("logs", "lines", self.logs.len(), LOG_LINES_MAX)?;
        at_most(
            "logs",
            "bytes",
            self.logs
                .iter()
                .map(|line| line.context.len() + line.message.len())
                .sum(),
            LOG_BYTES_MAX,
        )
    }

    /// The same remark within its bounds: what is too much is left out, and that it was is said.
    #[must_use]
    pub fn cut(mut self) -> Self {
        if let Some(message) = &mut self.message {
            cut_text(message, TEXT_BYTES_MAX);
        }
        let fitting = prefix_that_fits(self.backtrace.iter().map(String::len), TEXT_BYTES_MAX);
        self.backtrace.truncate(fitting);

        let lines = self.logs.len();
        let bytes = self
            .logs
            .iter()
            .map(|line| line.context.len() + line.message.len());
        if lines > LOG_LINES_MAX || bytes.clone().sum::<usize>() > LOG_BYTES_MAX {
            // Room for the line that tells of the others.
            const NOTE_BYTES: usize = 64;
            let fitting =
                prefix_that_fits(bytes.take(LOG_LINES_MAX - 1), LOG_BYTES_MAX - NOTE_BYTES);
            self.logs.truncate(fitting);
            let message = format!("{} log lines more were too many", lines - fitting);
            self.logs.push(LogLine {
                level: LogLevel::Warn,
                context: String::new(),
                message,
            });
        }
        self
    }
}

/// How many of these lengths, from the first on, are together at most `room`.
fn prefix_that_fits(lengths: impl Iterator<Item = usize>, mut room: usize) -> usize {
    lengths
        .map_while(|length| room.checked_sub(length).map(|left| room = left))
        .count()
}

/// Shortens a text to at most `max` bytes, at the end of a character.
pub(crate) fn cut_text(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
}

/// A line that a guest logged through wasi:logging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    /// How grave.
    pub level: LogLevel,
    /// The guest's own category, such as `guest:rust:add`.
    pub context: String,
    /// The text.
    pub message: String,
}

/// The levels of wasi:logging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}
