//! Arguments of a call as people type them: JSON, WAVE, plain text, or the bytes of a file.
//!
//! WAVE is WebAssembly's own notation for values (`{x: 1, label: some("a")}`). The function's types decide how a text is
//! read, so that `42` is a number for an `f64` and a text for a `string`.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use asterism_component::{Function, Type, canonical_args};
use asterism_protocol::{Value, value_of_json};
use wasm_wave::{
    value::{Type as WaveType, Value as WaveValue},
    wasm::WasmValue as _,
};

use crate::{
    commands::read,
    console::Console,
    failure::{Doing as _, Failure},
};

/// The arguments in canonical form.
///
/// # Errors
/// Too few or too many, or the first that does not fit, by the parameter's name.
pub(crate) fn of_texts(
    function: &Function,
    texts: &[String],
    console: &Console,
) -> Result<Vec<Value>, Failure> {
    let doing = format!("call `{}`", function.name);
    let (wanted, given) = (function.params.len(), texts.len());
    // Options at the end may be left out, as in most languages.
    let needed = function
        .params
        .iter()
        .rposition(|(_, ty)| !matches!(ty, Type::Option(_)))
        .map_or(0, |last| last + 1);
    if !(needed..=wanted).contains(&given) {
        let plural = if wanted == 1 { "" } else { "s" };
        return Err(
            Failure::invalid(format!("it takes {wanted} argument{plural}, {given} given"))
                .hint(function.signature()),
        )
        .doing(doing);
    }
    let mut args = Vec::with_capacity(wanted);
    for (index, ((name, ty), text)) in function.params.iter().zip(texts).enumerate() {
        let arg = of_text(ty, text, console).map_err(|reason| {
            Failure::invalid(format!("args[{index}] (`{name}`): {reason}")).hint(format!(
                "`{name}` is of type {ty}: write it as JSON or WAVE"
            ))
        });
        args.push(arg.doing(&doing)?);
    }
    for (_, ty) in &function.params[given..] {
        args.push(if ty.can_be_null() {
            Value::Null
        } else {
            Value::List(Vec::new())
        });
    }
    canonical_args(function, &args)
        .map_err(|error| Failure::invalid(error.to_string()).hint(function.signature()))
        .doing(doing)
}

fn of_text(ty: &Type, text: &str, console: &Console) -> Result<Value, String> {
    if let Some(path) = text.strip_prefix('@').filter(|_| ty.is_bytes()) {
        let bytes =
            read(Path::new(path), console).map_err(|failure| failure.reason().to_owned())?;
        return Ok(Value::Bytes(bytes));
    }
    if let plain @ (Type::F32 | Type::F64) = plain(ty) {
        // As results show them, and JSON has no word for.
        if let "NaN" | "Infinity" | "-Infinity" = text {
            return Ok(Value::String(text.to_owned()));
        }
        let is_infinite = match plain {
            Type::F32 => text.parse::<f32>().is_ok_and(f32::is_infinite),
            _ => text.parse::<f64>().is_ok_and(f64::is_infinite),
        };
        if is_infinite && text.contains(|c: char| c.is_ascii_digit()) {
            return Err(format!(
                "{text} is more than {ty} can tell: write Infinity or -Infinity if that is meant"
            ));
        }
    }
    if let Ok(value) = value_of_json(text.as_bytes())
        && fits(ty, &value).is_ok()
    {
        return Ok(value);
    }
    let wave = match wave_type(ty) {
        Some(wave) => wasm_wave::from_str::<WaveValue>(&wave, text),
        None => return Err("this type cannot be written on a command line".to_owned()),
    };
    match (wave, plain(ty)) {
        (Ok(value), _) => Ok(of_wave(ty, &value)),
        // What is not quoted is meant as it stands.
        (Err(_), Type::String) => Ok(Value::String(text.to_owned())),
        (Err(_), Type::Char | Type::Enum(_)) => {
            let value = Value::String(text.to_owned());
            fits(ty, &value).map(|()| value)
        }
        (Err(error), _) => match value_of_json(text.as_bytes()) {
            // JSON of the wrong type: what the type says of it is the better message.
            Ok(value) => Err(fits(ty, &value).err().unwrap_or_default()),
            Err(_) => Err(format!("{text:?} is neither JSON nor WAVE: {error}")),
        },
    }
}

/// The type itself where it is optional.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Option(inner) if ty.can_be_null() => inner,
        ty => ty,
    }
}

fn fits(ty: &Type, value: &Value) -> Result<(), String> {
    let none = BTreeMap::new();
    // Links are looked up where the task runs.
    if ty.is_bytes() && matches!(value, Value::Link(_)) {
        return Ok(());
    }
    asterism_component::val_of_value(ty, value, &none, "")
        .map(drop)
        .map_err(|error| {
            let text = error.to_string();
            text.trim_start_matches(": ").to_owned()
        })
}

fn wave_type(ty: &Type) -> Option<WaveType> {
    let optional = |ty: &Option<Box<Type>>| match ty {
        Some(ty) => wave_type(ty).map(Some),
        None => Some(None),
    };
    Some(match ty {
        Type::Bool => WaveType::BOOL,
        Type::S8 => WaveType::S8,
        Type::U8 => WaveType::U8,
        Type::S16 => WaveType::S16,
        Type::U16 => WaveType::U16,
        Type::S32 => WaveType::S32,
        Type::U32 => WaveType::U32,
        Type::S64 => WaveType::S64,
        Type::U64 => WaveType::U64,
        Type::F32 => WaveType::F32,
        Type::F64 => WaveType::F64,
        Type::Char => WaveType::CHAR,
        Type::String => WaveType::STRING,
        Type::List(element) | Type::FixedList(element, _) => WaveType::list(wave_type(element)?),
        // WAVE has no maps: as the list of pairs that a map is.
        Type::Map(key, item) => {
            let pair = [wave_type(key)?, wave_type(item)?];
            WaveType::list(WaveType::tuple(pair)?)
        }
        Type::Record(fields) => {
            let fields = fields
                .iter()
                .map(|(name, ty)| Some((name.as_str(), wave_type(ty)?)));
            WaveType::record(fields.collect::<Option<Vec<_>>>()?)?
        }
        Type::Tuple(types) => {
            WaveType::tuple(types.iter().map(wave_type).collect::<Option<Vec<_>>>()?)?
        }
        Type::Variant(cases) => {
            let cases = cases.iter().map(|(name, ty)| {
                let payload = match ty {
                    Some(ty) => Some(wave_type(ty)?),
                    None => None,
                };
                Some((name.as_str(), payload))
            });
            WaveType::variant(cases.collect::<Option<Vec<_>>>()?)?
        }
        Type::Enum(names) => WaveType::enum_ty(names.iter().map(String::as_str))?,
        Type::Flags(names) => WaveType::flags(names.iter().map(String::as_str))?,
        Type::Option(some) => WaveType::option(wave_type(some)?),
        Type::Result { ok, err } => WaveType::result(optional(ok)?, optional(err)?),
    })
}

/// The IPLD form that the type's reader accepts; [`canonical_args`] makes the canonical one of it.
fn of_wave(ty: &Type, value: &WaveValue) -> Value {
    let float = |number: f64| match number {
        number if number.is_nan() => Value::String("NaN".into()),
        f64::INFINITY => Value::String("Infinity".into()),
        f64::NEG_INFINITY => Value::String("-Infinity".into()),
        number => Value::Float(number),
    };
    let single =
        |key: &str, value: Value| Value::Map(std::iter::once((key.to_owned(), value)).collect());
    let payload = |ty: Option<&Type>, value: Option<Cow<'_, WaveValue>>| match (ty, value) {
        (Some(ty), Some(value)) => of_wave(ty, &value),
        _ => Value::Null,
    };
    match ty {
        Type::Bool => Value::Bool(value.unwrap_bool()),
        Type::S8 => Value::Integer(value.unwrap_s8().into()),
        Type::U8 => Value::Integer(value.unwrap_u8().into()),
        Type::S16 => Value::Integer(value.unwrap_s16().into()),
        Type::U16 => Value::Integer(value.unwrap_u16().into()),
        Type::S32 => Value::Integer(value.unwrap_s32().into()),
        Type::U32 => Value::Integer(value.unwrap_u32().into()),
        Type::S64 => Value::Integer(value.unwrap_s64().into()),
        Type::U64 => Value::Integer(value.unwrap_u64().into()),
        Type::F32 => float(value.unwrap_f32().into()),
        Type::F64 => float(value.unwrap_f64()),
        Type::Char => Value::String(value.unwrap_char().into()),
        Type::String => Value::String(value.unwrap_string().into_owned()),
        Type::List(element) | Type::FixedList(element, _) => {
            let items = value.unwrap_list();
            Value::List(items.map(|item| of_wave(element, &item)).collect())
        }
        Type::Map(key, item) => {
            let pair = |pair: Cow<'_, WaveValue>| {
                let parts = [key, item].into_iter().zip(pair.unwrap_tuple());
                Value::List(parts.map(|(ty, part)| of_wave(ty, &part)).collect())
            };
            Value::List(value.unwrap_list().map(pair).collect())
        }
        Type::Tuple(types) => {
            let items = types.iter().zip(value.unwrap_tuple());
            Value::List(items.map(|(ty, item)| of_wave(ty, &item)).collect())
        }
        Type::Record(fields) => {
            let fields = fields.iter().zip(value.unwrap_record());
            Value::Map(
                fields
                    .map(|((name, ty), (_, field))| (name.clone(), of_wave(ty, &field)))
                    .collect(),
            )
        }
        Type::Variant(cases) => {
            let (name, value) = value.unwrap_variant();
            let case = cases.iter().find(|(case, _)| *case == name);
            single(&name, payload(case.and_then(|(_, ty)| ty.as_ref()), value))
        }
        Type::Enum(_) => Value::String(value.unwrap_enum().into_owned()),
        Type::Flags(_) => {
            let names = value.unwrap_flags();
            Value::List(names.map(|name| Value::String(name.into_owned())).collect())
        }
        Type::Option(inner) => match value.unwrap_option() {
            // Null would be the inner `none`.
            None if inner.can_be_null() => Value::List(Vec::new()),
            None => Value::Null,
            Some(some) if inner.can_be_null() => Value::List(vec![of_wave(inner, &some)]),
            Some(some) => of_wave(inner, &some),
        },
        Type::Result { ok, err } => match value.unwrap_result() {
            Ok(value) => single("ok", payload(ok.as_deref(), value)),
            Err(value) => single("err", payload(err.as_deref(), value)),
        },
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::json_of;

    use super::*;

    fn check(ty: &Type, text: &str, expected: &str) {
        let function = Function {
            name: "f".into(),
            params: vec![("a".into(), ty.clone())],
            result: None,
        };
        let said = match of_texts(&function, &[text.to_owned()], &Console::default()) {
            Ok(args) => json_of(&args[0]),
            Err(failure) => failure.reason().to_owned(),
        };
        assert_eq!(said, expected, "{text}");
    }

    #[test]
    fn texts_are_read_by_type() {
        let point = Type::Record(vec![
            ("x".into(), Type::F64),
            ("label".into(), Type::Option(Box::new(Type::String))),
        ]);
        check(&Type::F64, "3", "3.0");
        check(&Type::F64, "nan", "\"NaN\"");
        check(&Type::F64, "NaN", "\"NaN\"");
        check(&Type::F32, "-Infinity", "\"-Infinity\"");
        check(&Type::String, "42", "\"42\"");
        check(&Type::String, "\"42\"", "\"42\"");
        check(&Type::String, "a b", "\"a b\"");
        check(&Type::Char, "é", "\"é\"");
        check(&Type::Option(Box::new(Type::String)), "hi", "\"hi\"");
        check(&Type::Option(Box::new(Type::String)), "null", "null");
        check(&Type::Enum(vec!["red".into()]), "red", "\"red\"");
        check(&point, r#"{"x":1}"#, r#"{"label":null,"x":1.0}"#);
        check(
            &point,
            r#"{x: 1, label: some("a")}"#,
            r#"{"label":"a","x":1.0}"#,
        );
        let nested = Type::Option(Box::new(Type::Option(Box::new(Type::U8))));
        check(&nested, "none", "[]");
        check(&nested, "some(none)", "[null]");
        check(&nested, "some(some(7))", "[7]");
        check(
            &nested,
            "null",
            "args[0] (`a`): null where option<option<u8>> is [] or [value]",
        );
        let deeper = Type::Option(Box::new(nested.clone()));
        check(&deeper, "none", "null");
        check(&deeper, "some(none)", "[]");
        check(&deeper, "some(some(none))", "[null]");
        let record = Type::Record(vec![("x".into(), nested)]);
        check(&record, "{x: none}", r#"{"x":[]}"#);
        check(&record, "{x: some(none)}", r#"{"x":[null]}"#);
        check(
            &Type::List(Box::new(Type::U8)),
            "[1, 2]",
            r#"{"/":{"bytes":"AQI"}}"#,
        );
        let result = Type::Result {
            ok: Some(Box::new(Type::U8)),
            err: None,
        };
        check(&result, "ok(7)", r#"{"ok":7}"#);
    }

    #[test]
    fn what_does_not_fit_is_said_by_the_parameter() {
        check(&Type::U8, "300", "args[0] (`a`): 300 does not fit u8");
        check(
            &Type::F64,
            "1e400",
            "args[0] (`a`): 1e400 is more than f64 can tell: write Infinity or -Infinity if that is meant",
        );
        check(
            &Type::F32,
            "-1e39",
            "args[0] (`a`): -1e39 is more than f32 can tell: write Infinity or -Infinity if that is meant",
        );
        let function = Function {
            name: "f".into(),
            params: vec![("a".into(), Type::U8)],
            result: None,
        };
        let failure = of_texts(&function, &["maybe(1".into()], &Console::default()).unwrap_err();
        assert!(failure.reason().contains("neither JSON nor WAVE"));
        assert!(of_texts(&function, &[], &Console::default()).is_err());
        let optional = Function {
            params: vec![("a".into(), Type::Option(Box::new(Type::U8)))],
            ..function
        };
        assert_eq!(
            of_texts(&optional, &[], &Console::default()).unwrap(),
            [Value::Null]
        );
    }
}
