//! Values by type: IPLD ⇄ WIT, lossless in both directions.

use std::collections::BTreeMap;

use asterism_protocol::{Cid, Value};

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
    /// A `list<u8>`.
    Bytes(Vec<u8>),
    /// Any other list.
    List(Vec<Val>),
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
    _function: &Function,
    _args: &[Value],
    _blobs: &BTreeMap<Cid, serde_bytes::ByteBuf>,
) -> Result<Vec<Val>, ValueError> {
    Err(ValueError { path: String::new(), reason: String::new() })
}

/// One value as a WIT value; `path` is where it stands.
///
/// # Errors
/// It does not fit, with its path.
pub fn val_of_value(
    _ty: &Type,
    _value: &Value,
    _blobs: &BTreeMap<Cid, serde_bytes::ByteBuf>,
    _path: &str,
) -> Result<Val, ValueError> {
    Err(ValueError { path: String::new(), reason: String::new() })
}

/// The IPLD form of a WIT value. NaN and infinities become strings.
#[must_use]
pub fn value_of_val(_ty: &Type, _val: &Val) -> Value {
    Value::Null
}
