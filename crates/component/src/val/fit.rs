//! Which promises no outcome can keep: what a function comes to against the type that is wanted where it is awaited.
//!
//! Only what is sure is said. A list may be empty, a number whole, a text may be what is wanted: then it is left to the value.

use asterism_protocol::Await;

use crate::{Function, Type, name};

/// Most parts of a type that is compared: what strangers declare may have a million, and this is a courtesy.
const PARTS_MAX: usize = 100;

/// Can what `function` comes to on this branch ever be read where `wanted` is? `false` is sure, `true` is not.
#[must_use]
pub fn can_come_to(function: &Function, branch: Await, wanted: &Type) -> bool {
    if !is_small(wanted) || function.result.as_ref().is_some_and(|ty| !is_small(ty)) {
        return true;
    }
    let (ok, err) = match &function.result {
        Some(Type::Result { ok, err }) => (ok.as_deref(), Some(err.as_deref())),
        result => (result.as_ref(), None),
    };
    match branch {
        Await::Ok => payload_fits(ok, wanted),
        Await::Error => {
            // What ends a guest that does not return.
            let text = |key: &str| (key.to_owned(), Type::String);
            let failure = Type::Record(vec![text("func"), text("trap")]);
            fits(&failure, wanted) || err.is_some_and(|err| payload_fits(err, wanted))
        }
        Await::Any => outcome_fits(wanted),
    }
}

fn is_small(ty: &Type) -> bool {
    let mut left = PARTS_MAX;
    count(ty, &mut left)
}

/// Takes the parts of a type from what is left; is that enough?
fn count(ty: &Type, left: &mut usize) -> bool {
    let own = match ty {
        Type::Variant(cases) => cases.len(),
        Type::Enum(names) | Type::Flags(names) => names.len(),
        _ => 1,
    };
    if own > *left {
        return false;
    }
    *left -= own;
    match ty {
        Type::List(inner) | Type::FixedList(inner, _) | Type::Option(inner) => count(inner, left),
        Type::Map(key, item) => count(key, left) && count(item, left),
        Type::Record(fields) => fields.iter().all(|(_, ty)| count(ty, left)),
        Type::Tuple(types) => types.iter().all(|ty| count(ty, left)),
        Type::Variant(cases) => {
            let mut payloads = cases.iter().filter_map(|(_, ty)| ty.as_ref());
            payloads.all(|ty| count(ty, left))
        }
        Type::Result { ok, err } => [ok, err].into_iter().flatten().all(|ty| count(ty, left)),
        _ => true,
    }
}

/// What has no type is written as Null.
fn payload_fits(from: Option<&Type>, wanted: &Type) -> bool {
    from.map_or_else(|| wanted.can_be_null(), |from| fits(from, wanted))
}

/// A pair of a text and anything.
fn outcome_fits(wanted: &Type) -> bool {
    match wanted {
        Type::Option(inner) => !inner.can_be_null() && outcome_fits(inner),
        Type::List(element) => fits(&Type::String, element),
        Type::FixedList(element, length) => *length == 2 && fits(&Type::String, element),
        Type::Tuple(types) => types.len() == 2 && fits(&Type::String, &types[0]),
        Type::Flags(_) | Type::Result { .. } => true,
        Type::Bool
        | Type::S8
        | Type::U8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::U64
        | Type::F32
        | Type::F64
        | Type::Char
        | Type::String
        | Type::Map(..)
        | Type::Record(_)
        | Type::Variant(_)
        | Type::Enum(_) => false,
    }
}

/// Can a value of `from`, as it is written, be read as one of `to`?
fn fits(from: &Type, to: &Type) -> bool {
    match (from, to) {
        // Written as a list of none or one.
        (Type::Option(inner), to) if inner.can_be_null() => reads_lists(to),
        (Type::Option(inner), to) => to.can_be_null() || fits(inner, to),
        (from, Type::Option(inner)) if inner.can_be_null() => is_list(from),
        (from, Type::Option(inner)) => fits(from, inner),
        (from, Type::Bool) => *from == Type::Bool,
        (from, Type::S8 | Type::U8 | Type::S16 | Type::U16 | Type::S32 | Type::U32) => {
            is_number(from)
        }
        // Digits in a text, and `NaN`.
        (from, Type::S64 | Type::U64 | Type::F32 | Type::F64) => is_number(from) || is_text(from),
        (from, Type::Char) => is_text(from),
        // `NaN` is written as one.
        (from, Type::String) => is_text(from) || matches!(from, Type::F32 | Type::F64),
        (Type::Enum(given), Type::Enum(names)) => given.iter().any(|name| names.contains(name)),
        (from, Type::Enum(_)) => is_text(from),
        (from, Type::List(element)) => fits_list(from, to, element),
        (from, Type::FixedList(element, length)) => fits_fixed_list(from, to, element, *length),
        (from, Type::Map(key, item)) => fits_map(from, key, item),
        (from, Type::Record(fields)) => fits_record(from, fields),
        (from, Type::Tuple(types)) => fits_tuple(from, types),
        (from, Type::Variant(cases)) => fits_variant(from, cases),
        (from, Type::Flags(_)) => match from {
            Type::FixedList(element, length) => {
                !from.is_bytes() && (*length == 0 || fits(element, &Type::String))
            }
            Type::Tuple(types) => types.iter().all(|ty| fits(ty, &Type::String)),
            from => is_list(from),
        },
        (from, Type::Result { ok, err }) => {
            let payload = |from: &Option<Box<Type>>, to: &Option<Box<Type>>| {
                case_fits(from.as_deref(), to.as_deref())
            };
            match from {
                Type::Result {
                    ok: given,
                    err: other,
                } => payload(given, ok) || payload(other, err),
                Type::Record(fields) => fields.len() == 1,
                Type::Variant(_) => true,
                from => is_map(from) || is_list(from),
            }
        }
    }
}

/// Payloads of two cases, of which one may have none.
fn case_fits(from: Option<&Type>, to: Option<&Type>) -> bool {
    match (from, to) {
        (from, Some(to)) => payload_fits(from, to),
        (Some(from), None) => from.can_be_null(),
        (None, None) => true,
    }
}

fn is_number(ty: &Type) -> bool {
    ty.is_integer() || matches!(ty, Type::F32 | Type::F64)
}

fn is_text(ty: &Type) -> bool {
    matches!(ty, Type::Char | Type::String | Type::Enum(_))
}

/// Is it a map with keys of its own?
fn is_map(ty: &Type) -> bool {
    matches!(ty, Type::Map(key, _) if **key == Type::String)
}

/// Is it written as a list?
fn is_list(ty: &Type) -> bool {
    match ty {
        Type::List(_) | Type::FixedList(..) => !ty.is_bytes(),
        Type::Map(..) => !is_map(ty),
        Type::Tuple(_) | Type::Flags(_) => true,
        Type::Option(inner) => inner.can_be_null() || is_list(inner),
        _ => false,
    }
}

/// May a list be read as it?
fn reads_lists(ty: &Type) -> bool {
    match ty {
        Type::List(_)
        | Type::FixedList(..)
        | Type::Map(..)
        | Type::Tuple(_)
        | Type::Flags(_)
        | Type::Result { .. } => true,
        Type::Option(inner) => inner.can_be_null() || reads_lists(inner),
        _ => false,
    }
}

fn fits_list(from: &Type, to: &Type, element: &Type) -> bool {
    match from {
        from if from.is_bytes() => to.is_bytes(),
        Type::FixedList(item, length) => *length == 0 || fits(item, element),
        Type::Tuple(types) => types.iter().all(|ty| fits(ty, element)),
        // Pairs may be written as a map.
        Type::Record(fields) => to
            .pairs()
            .is_some_and(|value| fields.iter().all(|(_, ty)| fits(ty, value))),
        Type::Variant(_) | Type::Result { .. } => to.pairs().is_some(),
        from if is_map(from) => to.pairs().is_some() || to.is_bytes(),
        from => is_list(from),
    }
}

fn fits_fixed_list(from: &Type, to: &Type, element: &Type, length: u32) -> bool {
    match from {
        Type::FixedList(_, given) if from.is_bytes() => to.is_bytes() && *given == length,
        from if from.is_bytes() => to.is_bytes(),
        Type::List(item) => length == 0 || fits(item, element),
        Type::FixedList(item, given) => *given == length && (length == 0 || fits(item, element)),
        Type::Tuple(types) => {
            types.len() == length as usize && types.iter().all(|ty| fits(ty, element))
        }
        from if is_map(from) => to.is_bytes(),
        from => is_list(from),
    }
}

fn fits_map(from: &Type, key: &Type, item: &Type) -> bool {
    let by_text = *key == Type::String;
    match from {
        Type::Record(fields) => by_text && fields.iter().all(|(_, ty)| fits(ty, item)),
        Type::Variant(_) | Type::Result { .. } => by_text,
        from if is_map(from) => by_text,
        from => is_list(from),
    }
}

fn fits_record(from: &Type, fields: &[(String, Type)]) -> bool {
    match from {
        Type::Record(given) => {
            let is_same =
                |one: &str, other: &str| one == other || name::kebab(one) == name::kebab(other);
            let has_place = given.iter().all(|(given, from)| {
                let mut same = fields.iter().filter(|(name, _)| is_same(name, given));
                same.any(|(_, ty)| fits(from, ty))
            });
            let mut wanted = fields
                .iter()
                .filter(|(_, ty)| !matches!(ty, Type::Option(_)));
            has_place && wanted.all(|(name, _)| given.iter().any(|(given, _)| is_same(name, given)))
        }
        Type::Variant(_) | Type::Result { .. } => true,
        from => is_map(from),
    }
}

fn fits_tuple(from: &Type, types: &[Type]) -> bool {
    match from {
        from if from.is_bytes() => false,
        Type::List(item) => types.iter().all(|ty| fits(item, ty)),
        Type::FixedList(item, length) => {
            *length as usize == types.len() && types.iter().all(|ty| fits(item, ty))
        }
        Type::Tuple(given) => {
            given.len() == types.len() && given.iter().zip(types).all(|(from, ty)| fits(from, ty))
        }
        from => is_list(from),
    }
}

fn fits_variant(from: &Type, cases: &[(String, Option<Type>)]) -> bool {
    match from {
        Type::Variant(given) => given.iter().any(|(given, from)| {
            let mut same = cases.iter().filter(|(name, _)| name == given);
            same.any(|(_, ty)| case_fits(from.as_ref(), ty.as_ref()))
        }),
        Type::Record(fields) => fields.len() == 1,
        Type::Result { .. } => true,
        from => is_map(from) || is_text(from),
    }
}
