//! Values by type: IPLD ⇄ WIT, lossless in both directions.

mod fit;
mod odd;
mod reader;
mod spellings;
mod writer;

use std::collections::BTreeMap;

use asterism_protocol::{Cid, Out, Value};
use serde_bytes::ByteBuf;

pub use self::{fit::can_come_to, reader::Judge};
use self::{
    reader::{Links, Reader, lenient},
    writer::write,
};
use crate::{Function, Type};

/// A WIT value. Names are resolved to indices: hosts read no strings to lower it.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are WIT's")]
pub enum Val {
    Bool(bool),
    S8(i8),
    U8(u8),
    S16(i16),
    U16(u16),
    S32(i32),
    U32(u32),
    S64(i64),
    U64(u64),
    F32(f32),
    F64(f64),
    Char(char),
    String(String),
    /// A `list<u8>`, of fixed length or not.
    Bytes(Vec<u8>),
    /// Any other list.
    List(Vec<Val>),
    /// Pairs of a map; of equal keys the last counts.
    Map(Vec<(Val, Val)>),
    /// Fields in declaration order.
    Record(Vec<Val>),
    Tuple(Vec<Val>),
    /// The case by its index.
    Variant(u32, Option<Box<Val>>),
    Enum(u32),
    /// Which flags are set, in declaration order.
    Flags(Vec<bool>),
    Option(Option<Box<Val>>),
    Result(Result<Option<Box<Val>>, Option<Box<Val>>>),
    /// A handle to a resource that the host owns (WASI).
    Own(u32),
    /// A borrowed handle.
    Borrow(u32),
}

/// A value that does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ValueError {
    /// Where: `args[1].width`.
    pub path: String,
    /// What is wrong: `300 does not fit u8`.
    pub reason: String,
}

/// The arguments of `function` as WIT values. Links where bytes are expected are looked up in `blobs`.
///
/// # Errors
/// Too few or too many arguments, or the first value that does not fit, with its path.
pub fn args_of_values(
    function: &Function,
    args: &[Value],
    blobs: &BTreeMap<Cid, ByteBuf>,
) -> Result<Vec<Val>, ValueError> {
    let mut reader = Reader {
        links: Links::Lookup(blobs),
        judge: &lenient,
    };
    reader.args(function, args).map_err(|odd| odd.at("args"))
}

/// One value as a WIT value; `path` is where it stands.
///
/// # Errors
/// It does not fit, with its path.
pub fn val_of_value(
    ty: &Type,
    value: &Value,
    blobs: &BTreeMap<Cid, ByteBuf>,
    path: &str,
) -> Result<Val, ValueError> {
    Reader {
        links: Links::Lookup(blobs),
        judge: &lenient,
    }
    .val(ty, value)
    .map_err(|odd| odd.at(path))
}

/// The arguments of `function` in canonical form, so that equal calls have one instruction: integer 5 for an `f64`
/// becomes 5.0, `fieldName` becomes `field-name`. Promises pass unchecked wherever they stand, links where bytes are expected too.
///
/// # Errors
/// As [`args_of_values`].
pub fn canonical_args(function: &Function, args: &[Value]) -> Result<Vec<Value>, ValueError> {
    let mut reader = Reader {
        links: Links::Keep(Vec::new()),
        judge: &lenient,
    };
    let vals = reader.args(function, args).map_err(|odd| odd.at("args"))?;
    let Links::Keep(kept) = &reader.links else {
        unreachable!("the reader keeps what it was made to keep")
    };
    Ok(function
        .params
        .iter()
        .zip(&vals)
        .map(|((_, ty), val)| write(ty, val, kept))
        .collect())
}

/// Every mistake that [`canonical_args`] would find: a wrong number of arguments, or the first in each of them. A promise that
/// `judge` has something against is one as well.
#[must_use]
pub fn arg_mistakes(function: &Function, args: &[Value], judge: &Judge<'_>) -> Vec<ValueError> {
    if args.len() != function.params.len() {
        return canonical_args(function, args).err().into_iter().collect();
    }
    let mut reader = Reader {
        links: Links::Keep(Vec::new()),
        judge,
    };
    let pairs = function.params.iter().zip(args).enumerate();
    pairs
        .filter_map(|(index, ((_, ty), value))| {
            let odd = reader.val(ty, value).err()?;
            Some(odd.under(format!("[{index}]")).at("args"))
        })
        .collect()
}

/// The IPLD form of a WIT value. NaN and infinities become strings. A value of another type, which no host makes, is Null.
#[must_use]
pub fn value_of_val(ty: &Type, val: &Val) -> Value {
    write(ty, val, &[])
}

/// What a function that returned came to: its own `result` is the branch of the outcome, no result is Null.
#[must_use]
pub fn out_of_val(function: &Function, result: Option<&Val>) -> Out {
    let payload = |ty: &Option<Box<Type>>, val: &Option<Box<Val>>| match (ty, val) {
        (Some(ty), Some(val)) => value_of_val(ty, val),
        _ => Value::Null,
    };
    match (&function.result, result) {
        (Some(Type::Result { ok, .. }), Some(Val::Result(Ok(val)))) => Out::Ok(payload(ok, val)),
        (Some(Type::Result { err, .. }), Some(Val::Result(Err(val)))) => {
            Out::Error(payload(err, val))
        }
        (Some(ty), Some(val)) => Out::Ok(value_of_val(ty, val)),
        _ => Out::Ok(Value::Null),
    }
}
