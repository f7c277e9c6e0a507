//! Our values as Wasmtime's and back.

use asterism_component::{Type, Val};
use wasmtime::component::Val as WasmVal;

/// A value for Wasmtime; `None` if it is not of this type.
pub(crate) fn to_wasm(ty: &Type, val: Val) -> Option<WasmVal> {
    let payload = |ty: Option<&Type>, val: Option<Box<Val>>| match (ty, val) {
        (Some(ty), Some(val)) => to_wasm(ty, *val).map(|val| Some(Box::new(val))),
        (None, None) => Some(None),
        _ => None,
    };
    Some(match (ty, val) {
        (Type::Bool, Val::Bool(bool)) => WasmVal::Bool(bool),
        (Type::S8, Val::S8(n)) => WasmVal::S8(n),
        (Type::U8, Val::U8(n)) => WasmVal::U8(n),
        (Type::S16, Val::S16(n)) => WasmVal::S16(n),
        (Type::U16, Val::U16(n)) => WasmVal::U16(n),
        (Type::S32, Val::S32(n)) => WasmVal::S32(n),
        (Type::U32, Val::U32(n)) => WasmVal::U32(n),
        (Type::S64, Val::S64(n)) => WasmVal::S64(n),
        (Type::U64, Val::U64(n)) => WasmVal::U64(n),
        (Type::F32, Val::F32(x)) => WasmVal::Float32(canonical_f32(x)),
        (Type::F64, Val::F64(x)) => WasmVal::Float64(canonical_f64(x)),
        (Type::Char, Val::Char(char)) => WasmVal::Char(char),
        (Type::String, Val::String(text)) => WasmVal::String(text),
        (Type::List(_), Val::Bytes(bytes)) => {
            WasmVal::List(bytes.into_iter().map(WasmVal::U8).collect())
        }
        (Type::List(element), Val::List(items)) => WasmVal::List(
            items
                .into_iter()
                .map(|item| to_wasm(element, item))
                .collect::<Option<_>>()?,
        ),
        (Type::Record(fields), Val::Record(vals)) if fields.len() == vals.len() => {
            let field =
                |((name, ty), val): (&(String, Type), Val)| Some((name.clone(), to_wasm(ty, val)?));
            WasmVal::Record(fields.iter().zip(vals).map(field).collect::<Option<_>>()?)
        }
        (Type::Tuple(types), Val::Tuple(vals)) if types.len() == vals.len() => WasmVal::Tuple(
            types
                .iter()
                .zip(vals)
                .map(|(ty, val)| to_wasm(ty, val))
                .collect::<Option<_>>()?,
        ),
        (Type::Variant(cases), Val::Variant(index, val)) => {
            let (name, ty) = cases.get(index as usize)?;
            WasmVal::Variant(name.clone(), payload(ty.as_ref(), val)?)
        }
        (Type::Enum(names), Val::Enum(index)) => WasmVal::Enum(names.get(index as usize)?.clone()),
        (Type::Flags(names), Val::Flags(set)) => WasmVal::Flags(
            names
                .iter()
                .zip(set)
                .filter(|(_, set)| *set)
                .map(|(name, _)| name.clone())
                .collect(),
        ),
        (Type::Option(_), Val::Option(None)) => WasmVal::Option(None),
        (Type::Option(ty), Val::Option(Some(val))) => {
            WasmVal::Option(Some(Box::new(to_wasm(ty, *val)?)))
        }
        (Type::Result { ok, .. }, Val::Result(Ok(val))) => {
            WasmVal::Result(Ok(payload(ok.as_deref(), val)?))
        }
        (Type::Result { err, .. }, Val::Result(Err(val))) => {
            WasmVal::Result(Err(payload(err.as_deref(), val)?))
        }
        _ => return None,
    })
}

/// A value from Wasmtime; `None` if it is not of this type.
pub(crate) fn of_wasm(ty: &Type, val: WasmVal) -> Option<Val> {
    let payload = |ty: Option<&Type>, val: Option<Box<WasmVal>>| match (ty, val) {
        (Some(ty), Some(val)) => of_wasm(ty, *val).map(|val| Some(Box::new(val))),
        (None, None) => Some(None),
        _ => None,
    };
    Some(match (ty, val) {
        (Type::Bool, WasmVal::Bool(bool)) => Val::Bool(bool),
        (Type::S8, WasmVal::S8(n)) => Val::S8(n),
        (Type::U8, WasmVal::U8(n)) => Val::U8(n),
        (Type::S16, WasmVal::S16(n)) => Val::S16(n),
        (Type::U16, WasmVal::U16(n)) => Val::U16(n),
        (Type::S32, WasmVal::S32(n)) => Val::S32(n),
        (Type::U32, WasmVal::U32(n)) => Val::U32(n),
        (Type::S64, WasmVal::S64(n)) => Val::S64(n),
        (Type::U64, WasmVal::U64(n)) => Val::U64(n),
        (Type::F32, WasmVal::Float32(x)) => Val::F32(canonical_f32(x)),
        (Type::F64, WasmVal::Float64(x)) => Val::F64(canonical_f64(x)),
        (Type::Char, WasmVal::Char(char)) => Val::Char(char),
        (Type::String, WasmVal::String(text)) => Val::String(text),
        (Type::List(element), WasmVal::List(items)) if **element == Type::U8 => {
            let byte = |item| {
                if let WasmVal::U8(byte) = item {
                    Some(byte)
                } else {
                    None
                }
            };
            Val::Bytes(items.into_iter().map(byte).collect::<Option<_>>()?)
        }
        (Type::List(element), WasmVal::List(items)) => Val::List(
            items
                .into_iter()
                .map(|item| of_wasm(element, item))
                .collect::<Option<_>>()?,
        ),
        (Type::Record(fields), WasmVal::Record(vals)) if fields.len() == vals.len() => {
            let field =
                |((_, ty), (_, val)): (&(String, Type), (String, WasmVal))| of_wasm(ty, val);
            Val::Record(fields.iter().zip(vals).map(field).collect::<Option<_>>()?)
        }
        (Type::Tuple(types), WasmVal::Tuple(vals)) if types.len() == vals.len() => Val::Tuple(
            types
                .iter()
                .zip(vals)
                .map(|(ty, val)| of_wasm(ty, val))
                .collect::<Option<_>>()?,
        ),
        (Type::Variant(cases), WasmVal::Variant(name, val)) => {
            let index = cases.iter().position(|(case, _)| *case == name)?;
            Val::Variant(index as u32, payload(cases[index].1.as_ref(), val)?)
        }
        (Type::Enum(names), WasmVal::Enum(name)) => {
            Val::Enum(names.iter().position(|known| *known == name)? as u32)
        }
        (Type::Flags(names), WasmVal::Flags(set)) => {
            Val::Flags(names.iter().map(|name| set.contains(name)).collect())
        }
        (Type::Option(_), WasmVal::Option(None)) => Val::Option(None),
        (Type::Option(ty), WasmVal::Option(Some(val))) => {
            Val::Option(Some(Box::new(of_wasm(ty, *val)?)))
        }
        (Type::Result { ok, .. }, WasmVal::Result(Ok(val))) => {
            Val::Result(Ok(payload(ok.as_deref(), val)?))
        }
        (Type::Result { err, .. }, WasmVal::Result(Err(val))) => {
            Val::Result(Err(payload(err.as_deref(), val)?))
        }
        _ => return None,
    })
}

/// One NaN crosses the boundary, as the canonical ABI has it: which bits an instruction made differs between machines.
pub(crate) fn canonical_f32(x: f32) -> f32 {
    if x.is_nan() {
        f32::from_bits(0x7fc0_0000)
    } else {
        x
    }
}

/// As [`canonical_f32`].
pub(crate) fn canonical_f64(x: f64) -> f64 {
    if x.is_nan() {
        f64::from_bits(0x7ff8_0000_0000_0000)
    } else {
        x
    }
}
