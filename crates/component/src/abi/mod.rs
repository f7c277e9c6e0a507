//! The canonical ABI: values into a guest's memory and out of it, one implementation for every host.
//!
//! An engine gives a [`Target`] to lower into and a [`Source`] to lift from; everything that decides what a guest sees (how
//! often and for how much its allocator is asked, in which order) and what an outcome says (which bytes are no value, how much is
//! too much) stands here, so that hosts cannot differ in it. The order of allocations is Wasmtime's: a list, then what its
//! elements point to. Memory is touched once for each block: what is lowered is written into a buffer here and copied over.

mod flat;
mod layout;
mod lift;
mod lower;

use std::borrow::Cow;

use asterism_protocol::{TrapKind, limits::OUTCOME_BYTES_MAX};

use crate::Val;

pub use self::{
    flat::{Flat, FlatType},
    layout::{Cases, FLAT_PARAMS_MAX, FLAT_RESULTS_MAX, Field, Layout, Shape, Signature},
    lift::Lifting,
    lower::Lowering,
};

/// Most values (but for bytes in byte strings) that a guest may hand over at once. Each takes at least a byte of an
/// outcome, so more would be too large in any case; without this, a list of four billion empty records would cost a guest
/// nothing.
pub const VALUES_MAX: usize = OUTCOME_BYTES_MAX;

/// Most bytes of strings and byte strings that a guest may hand over at once: half of the largest blob, for a tab holds
/// them twice, in the guest's memory and in its own.
pub const HANDED_BYTES_MAX: usize = 128 << 20;

/// Most that a guest may hand to a host function in one call, as [`weight`]: log lines, chunks of a stream.
const CALL_WEIGHT_MAX: usize = 32 << 20;

/// Checks what a guest hands to a host function: too much is the guest's failure, on every host.
///
/// # Errors
/// It is too much.
pub fn check_call(args: &[Val]) -> Result<(), Broken> {
    if weight(args) > CALL_WEIGHT_MAX {
        return Err(Broken::abi(
            "too much was handed to a host function at once",
        ));
    }
    Ok(())
}

/// A byte of a string counts one, any other value 64: no less than an engine counts that has its own bound.
fn weight(vals: &[Val]) -> usize {
    let payload = |val: &Option<Box<Val>>| {
        val.as_deref()
            .map_or(0, |val| weight(std::slice::from_ref(val)))
    };
    let one = |val: &Val| {
        64 + match val {
            Val::String(text) => text.len(),
            Val::Bytes(bytes) => bytes.len().saturating_mul(64),
            Val::Flags(flags) => flags.len().saturating_mul(64),
            Val::List(vals) | Val::Record(vals) | Val::Tuple(vals) => weight(vals),
            Val::Map(pairs) => pairs
                .iter()
                .map(|(key, val)| {
                    weight(std::slice::from_ref(key)) + weight(std::slice::from_ref(val))
                })
                .sum(),
            Val::Variant(_, val) | Val::Option(val) | Val::Result(Ok(val) | Err(val)) => {
                payload(val)
            }
            Val::Bool(_)
            | Val::S8(_)
            | Val::U8(_)
            | Val::S16(_)
            | Val::U16(_)
            | Val::S32(_)
            | Val::U32(_)
            | Val::S64(_)
            | Val::U64(_)
            | Val::F32(_)
            | Val::F64(_)
            | Val::Char(_)
            | Val::Enum(_)
            | Val::Own(_)
            | Val::Borrow(_) => 0,
        }
    };
    vals.iter().map(one).sum()
}

/// How strings stand in a guest's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    #[default]
    Utf8,
    /// UTF-16, little endian.
    Utf16,
    /// Latin-1 where that suffices, UTF-16 where not.
    Latin1OrUtf16,
}

/// In lengths of [`Encoding::Latin1OrUtf16`]: the string is UTF-16.
const UTF16_TAG: u32 = 1 << 31;

/// Most bytes of a string in a guest's memory, as the canonical ABI has it.
const STRING_BYTES_MAX: usize = (1 << 31) - 1;

/// The guest broke the canonical ABI, or handed over too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Broken {
    /// What it counts as, on every host.
    pub kind: TrapKind,
    /// What is wrong.
    pub message: String,
}

impl Broken {
    fn abi(message: impl Into<String>) -> Self {
        Self {
            kind: TrapKind::InvalidAbi,
            message: message.into(),
        }
    }

    /// Is it only too much? Then the call itself went well, and is ended as any other.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.kind == TrapKind::OutputTooLarge
    }
}

/// A guest that values are lowered into.
pub trait Target {
    /// Why the guest or its host failed.
    type Error: From<Broken>;

    /// How strings stand in its memory.
    fn encoding(&self) -> Encoding;

    /// Bytes that its memory has now.
    fn size(&mut self) -> u64;

    /// Asks its allocator to make `old` (address and size, zeros for none) a block of `size` bytes.
    ///
    /// # Errors
    /// The guest died over it.
    fn reallocate(&mut self, old: (u32, u32), align: u32, size: u32) -> Result<u32, Self::Error>;

    /// Copies bytes into its memory, within [`Self::size`].
    ///
    /// # Errors
    /// The host failed.
    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Gives the guest a handle of the resource `rep`; `table` is its number in [`Shape::Own`].
    ///
    /// # Errors
    /// It has no room for more, or hosts of this kind pass no handles.
    fn lower_own(&mut self, table: u32, rep: u32) -> Result<u32, Self::Error> {
        let _ = (table, rep);
        Err(no_handles().into())
    }
}

/// A guest's memory that values are lifted out of.
pub trait Source {
    /// Why the guest or its host failed.
    type Error: From<Broken>;

    /// How strings stand in it.
    fn encoding(&self) -> Encoding;

    /// Bytes of it; `None` where they lead out of it.
    fn read(&self, address: u32, length: u32) -> Option<Cow<'_, [u8]>>;

    /// Takes a handle from the guest; `table` is its number in [`Shape::Own`].
    ///
    /// # Errors
    /// The guest has no such handle, or hosts of this kind pass none.
    fn lift_own(&self, table: u32, handle: u32) -> Result<Val, Self::Error> {
        let _ = (table, handle);
        Err(no_handles().into())
    }

    /// Borrows what a handle of the guest stands for; `table` is its number in [`Shape::Borrow`].
    ///
    /// # Errors
    /// As [`Self::lift_own`].
    fn lift_borrow(&self, table: u32, handle: u32) -> Result<Val, Self::Error> {
        let _ = (table, handle);
        Err(no_handles().into())
    }
}

fn no_handles() -> Broken {
    Broken::abi("a handle is passed where none may be")
}

/// One NaN crosses the boundary, as the canonical ABI has it: which bits an instruction made differs between machines.
#[must_use]
pub fn canonical_f32(x: f32) -> f32 {
    if x.is_nan() {
        f32::from_bits(0x7fc0_0000)
    } else {
        x
    }
}

/// As [`canonical_f32`].
#[must_use]
pub fn canonical_f64(x: f64) -> f64 {
    if x.is_nan() {
        f64::from_bits(0x7ff8_0000_0000_0000)
    } else {
        x
    }
}
