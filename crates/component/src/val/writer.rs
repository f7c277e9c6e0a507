//! WIT → IPLD, in the one canonical form.

use std::{cmp::Ordering, collections::BTreeMap};

use asterism_protocol::Value;

use super::Val;
use crate::Type;

/// The canonical IPLD form; a [`Val::Own`] stands for the value kept under its number.
pub(super) fn write(ty: &Type, val: &Val, kept: &[Value]) -> Value {
    let int = |n: i128| Value::Integer(n);
    let single =
        |key: &str, payload: Value| Value::Map(BTreeMap::from([(key.to_owned(), payload)]));
    let payload = |ty: Option<&Type>, val: Option<&Val>| match (ty, val) {
        (Some(ty), Some(val)) => write(ty, val, kept),
        _ => Value::Null,
    };
    match (ty, val) {
        (_, Val::Own(index)) => kept.get(*index as usize).cloned().unwrap_or(Value::Null),
        (Type::Bool, Val::Bool(bool)) => Value::Bool(*bool),
        (Type::S8, Val::S8(n)) => int((*n).into()),
        (Type::U8, Val::U8(n)) => int((*n).into()),
        (Type::S16, Val::S16(n)) => int((*n).into()),
        (Type::U16, Val::U16(n)) => int((*n).into()),
        (Type::S32, Val::S32(n)) => int((*n).into()),
        (Type::U32, Val::U32(n)) => int((*n).into()),
        (Type::S64, Val::S64(n)) => int((*n).into()),
        (Type::U64, Val::U64(n)) => int((*n).into()),
        (Type::F32, Val::F32(x)) => write_float((*x).into()),
        (Type::F64, Val::F64(x)) => write_float(*x),
        (Type::Char, Val::Char(char)) => Value::String(char.to_string()),
        (Type::String, Val::String(text)) => Value::String(text.clone()),
        (Type::List(_) | Type::FixedList(..), Val::Bytes(bytes)) => Value::Bytes(bytes.clone()),
        (Type::List(element) | Type::FixedList(element, _), Val::List(items)) => Value::List(
            items
                .iter()
                .map(|item| write(element, item, kept))
                .collect(),
        ),
        (Type::Map(key, item), Val::Map(pairs)) => write_map(key, item, pairs, kept),
        (Type::Record(fields), Val::Record(vals)) => {
            let pairs = fields.iter().zip(vals);
            Value::Map(
                pairs
                    .map(|((name, ty), val)| (name.clone(), write(ty, val, kept)))
                    .collect(),
            )
        }
        (Type::Tuple(types), Val::Tuple(vals)) => Value::List(
            types
                .iter()
                .zip(vals)
                .map(|(ty, val)| write(ty, val, kept))
                .collect(),
        ),
        (Type::Variant(cases), Val::Variant(index, val)) => match cases.get(*index as usize) {
            Some((name, ty)) => single(name, payload(ty.as_ref(), val.as_deref())),
            None => Value::Null,
        },
        (Type::Enum(names), Val::Enum(index)) => names
            .get(*index as usize)
            .map_or(Value::Null, |name| Value::String(name.clone())),
        (Type::Flags(names), Val::Flags(set)) => {
            let set = names.iter().zip(set).filter(|(_, set)| **set);
            Value::List(set.map(|(name, _)| Value::String(name.clone())).collect())
        }
        (Type::Option(inner), Val::Option(val)) => match (inner.can_be_null(), val) {
            (false, None) => Value::Null,
            (false, Some(val)) => write(inner, val, kept),
            (true, None) => Value::List(Vec::new()),
            (true, Some(val)) => Value::List(vec![write(inner, val, kept)]),
        },
        (Type::Result { ok, .. }, Val::Result(Ok(val))) => {
            single("ok", payload(ok.as_deref(), val.as_deref()))
        }
        (Type::Result { err, .. }, Val::Result(Err(val))) => {
            single("err", payload(err.as_deref(), val.as_deref()))
        }
        _ => Value::Null,
    }
}

/// A map has no order and each key once: equal ones have one form.
fn write_map(key: &Type, item: &Type, pairs: &[(Val, Val)], kept: &[Value]) -> Value {
    if *key == Type::String {
        let pair = |(name, val): &(Val, Val)| match name {
            Val::String(name) => Some((name.clone(), write(item, val, kept))),
            _ => None,
        };
        return Value::Map(pairs.iter().filter_map(pair).collect());
    }
    let mut sorted: Vec<_> = pairs.iter().collect();
    // Stable: of equal keys, the last stays the last.
    sorted.sort_by(|(a, _), (b, _)| order(a, b));
    let last = |(index, pair): (usize, &&(Val, Val))| {
        let next = sorted.get(index + 1);
        next.is_none_or(|next| order(&pair.0, &next.0).is_ne())
            .then(|| Value::List(vec![write(key, &pair.0, kept), write(item, &pair.1, kept)]))
    };
    Value::List(sorted.iter().enumerate().filter_map(last).collect())
}

/// The order of keys; values that are no keys of one type are all alike.
pub(super) fn order(a: &Val, b: &Val) -> Ordering {
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        (Val::S8(a), Val::S8(b)) => a.cmp(b),
        (Val::U8(a), Val::U8(b)) => a.cmp(b),
        (Val::S16(a), Val::S16(b)) => a.cmp(b),
        (Val::U16(a), Val::U16(b)) => a.cmp(b),
        (Val::S32(a), Val::S32(b)) => a.cmp(b),
        (Val::U32(a), Val::U32(b)) => a.cmp(b),
        (Val::S64(a), Val::S64(b)) => a.cmp(b),
        (Val::U64(a), Val::U64(b)) => a.cmp(b),
        (Val::Char(a), Val::Char(b)) => a.cmp(b),
        (Val::String(a), Val::String(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

/// DAG-CBOR has neither NaN nor infinities.
fn write_float(x: f64) -> Value {
    let text = if x.is_nan() {
        "NaN"
    } else if x == f64::INFINITY {
        "Infinity"
    } else if x == f64::NEG_INFINITY {
        "-Infinity"
    } else {
        return Value::Float(x);
    };
    Value::String(text.to_owned())
}
