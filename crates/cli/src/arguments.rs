//! Arguments of a call as people type them: JSON, WAVE, plain text, or the bytes of a file.
//!
//! WAVE is WebAssembly's own notation for values (`{x: 1, label: some("a")}`). The function's types decide how a text is
//! read, so that `42` is a number for an `f64` and a text for a `string`.

use std::{collections::BTreeMap, num::IntErrorKind, path::Path};

use asterism_component::{Function, Type, canonical_args, float_of_text, value_of_text};
use asterism_document::Format;
use asterism_protocol::{DecodeError, Value, value_of_json};
use serde::de::IgnoredAny;
use wasm_wave::{ast::Node, parser::ParserError, untyped::UntypedValue};

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
    if let Some(path) = text.strip_prefix('@').filter(|_| plain(ty).is_bytes()) {
        let bytes =
            read(Path::new(path), console).map_err(|failure| failure.reason().to_owned())?;
        return Ok(Value::Bytes(bytes));
    }
    if let plain @ (Type::F32 | Type::F64) = plain(ty) {
        // As results show them, and JSON has no word for.
        if let "NaN" | "Infinity" | "-Infinity" = text {
            return Ok(Value::String(text.to_owned()));
        }
        if let Some(number) = float_of_text(plain, text)? {
            return Ok(Value::Float(number));
        }
    }
    let json = value_of_json(text.as_bytes());
    if let Ok(value) = &json
        && fits(ty, value).is_ok()
    {
        return Ok(value.clone());
    }
    let wave = match (UntypedValue::parse(text), &json) {
        (Ok(written), _) => of_wave(ty, written.node(), text)
            .map_err(|reason| reason.trim_start_matches(": ").to_owned()),
        (Err(_), Err(error)) if is_json(text) => Err(fault_of_json(text, error)),
        (Err(error), _) => Err(format!("{text:?} is neither JSON nor WAVE: {error}")),
    };
    let reason = match wave {
        // JSON rounds what it has no digits for, WAVE does not: its value is the one to tell of.
        Ok(value) => return fits(ty, &value).map(|()| value),
        Err(reason) => reason,
    };
    match (plain(ty), json) {
        (Type::String, Err(error)) if is_quoted(text) => Err(format!(
            "{text} is in quotes and cannot be read so: {error}"
        )),
        // What is not quoted is meant as it stands.
        (Type::String, _) => {
            let path = text.strip_prefix('@').map(Path::new);
            if path.is_some_and(Path::is_file) {
                console.say(&format!(
                    "{text} is taken as a text; it means the bytes of the file where list<u8> is wanted"
                ));
            }
            Ok(Value::String(text.to_owned()))
        }
        (Type::Char | Type::Enum(_), _) => {
            let value = Value::String(text.to_owned());
            fits(ty, &value).map(|()| value)
        }
        // JSON of the wrong type: what the type says of it is the better message.
        (_, Ok(value)) => Err(fits(ty, &value).err().unwrap_or_default()),
        (ty, Err(_)) if ty.is_integer() && has_too_many_digits(text) => {
            Err(value_of_text(ty, text).err().unwrap_or(reason))
        }
        (_, Err(_)) => Err(reason),
    }
}

/// Is it a whole number, and one that neither JSON nor WAVE can hold?
fn has_too_many_digits(text: &str) -> bool {
    text.parse::<i128>().is_err_and(|error| {
        matches!(
            error.kind(),
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow
        )
    })
}

/// Is it one text in quotes, whatever is in it?
pub(crate) fn is_quoted(text: &str) -> bool {
    let Some(inside) = text.strip_prefix('"') else {
        return false;
    };
    let mut is_escaped = false;
    let end = inside.find(|c: char| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    });
    end.is_some_and(|end| end + 1 == inside.len())
}

/// Is it JSON, whatever is in it?
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// What keeps JSON from being a value, such as a key that stands twice, with its place where it has one.
fn fault_of_json(text: &str, error: &DecodeError) -> String {
    let found = match Format::of(text.as_bytes()) {
        Format::Json => asterism_document::read(text.as_bytes()).err(),
        Format::Yaml | Format::Cbor => None,
    };
    let first = found.and_then(|findings| findings.first().map(ToString::to_string));
    first.unwrap_or_else(|| error.to_string())
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

/// The IPLD form of a WAVE value, as the type's reader accepts it; [`canonical_args`] makes the canonical one of it. Whole
/// numbers keep their digits, so that the reader can tell what does not fit.
///
/// # Errors
/// What is not of the type's kind, as a path within the value and a sentence.
fn of_wave(ty: &Type, node: &Node, text: &str) -> Result<Value, String> {
    let written = || text.get(node.span()).unwrap_or_default();
    let odd = |_: ParserError| format!(": {} where {ty} is wanted", written());
    let single =
        |key: &str, value: Value| Value::Map(std::iter::once((key.to_owned(), value)).collect());
    let below = |ty: &Type, node: &Node, step: &str| {
        of_wave(ty, node, text).map_err(|reason| format!("{step}{reason}"))
    };
    // Of one that is missing, the reader says so.
    let payload = |ty: Option<&Type>, node: Option<&Node>, step: &str| match (ty, node) {
        (Some(ty), Some(node)) => below(ty, node, step),
        (None, Some(_)) => Err(format!("{step}: a value where the case has no payload")),
        (_, None) => Ok(Value::Null),
    };
    Ok(match ty {
        Type::Bool => Value::Bool(node.as_bool().map_err(odd)?),
        Type::S8
        | Type::U8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::U64 => Value::Integer(node.as_number(text).map_err(odd)?),
        Type::F32 | Type::F64 => {
            let number: f64 = node.as_number(text).map_err(odd)?;
            let whole = written().parse::<i128>();
            match (float_of_text(ty, written()), whole) {
                (Ok(Some(number)), _) => Value::Float(number),
                // The reader says so, with its place.
                (Err(_), Ok(whole)) => Value::Integer(whole),
                (Err(reason), Err(_)) => return Err(format!(": {reason}")),
                (Ok(None), _) if number.is_nan() => Value::String("NaN".into()),
                (Ok(None), _) if number > 0.0 => Value::String("Infinity".into()),
                (Ok(None), _) => Value::String("-Infinity".into()),
            }
        }
        Type::Char => Value::String(node.as_char(text).map_err(odd)?.into()),
        Type::String => Value::String(node.as_str(text).map_err(odd)?.into_owned()),
        Type::List(element) | Type::FixedList(element, _) => {
            let items = node.as_list().map_err(odd)?.enumerate();
            let items = items.map(|(index, item)| below(element, item, &format!("[{index}]")));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        // WAVE has no maps: as the list of pairs that a map is.
        Type::Map(key, item) => {
            let pair = Type::Tuple(vec![Type::clone(key), Type::clone(item)]);
            of_wave(&Type::List(Box::new(pair)), node, text)?
        }
        Type::Tuple(types) => {
            let items: Vec<&Node> = node.as_tuple().map_err(odd)?.collect();
            if items.len() != types.len() {
                let (count, wanted) = (items.len(), types.len());
                return Err(format!(": a list of {count} where {ty} has {wanted}"));
            }
            let items = types.iter().zip(items).enumerate();
            let items = items.map(|(index, (ty, item))| below(ty, item, &format!("[{index}]")));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Type::Record(fields) => {
            let given = node.as_record(text).map_err(odd)?;
            let field = |(name, item): (&str, &Node)| -> Result<_, String> {
                let known = fields.iter().find(|(known, _)| known == name);
                // Of a field that is not there, the reader says what there is.
                let value = match known {
                    Some((_, ty)) => below(ty, item, &format!(".{name}"))?,
                    None => Value::Null,
                };
                Ok((name.to_owned(), value))
            };
            Value::Map(given.map(field).collect::<Result<_, _>>()?)
        }
        Type::Variant(cases) => {
            let (name, value) = node.as_variant(text).map_err(odd)?;
            let case = cases.iter().find(|(case, _)| case == name);
            match (case, value) {
                (Some((_, ty)), Some(_)) => {
                    single(name, payload(ty.as_ref(), value, &format!(".{name}"))?)
                }
                // Of a case that is not there, the reader says which there are.
                (None, _) | (_, None) => Value::String(name.to_owned()),
            }
        }
        Type::Enum(_) => Value::String(node.as_enum(text).map_err(odd)?.to_owned()),
        Type::Flags(_) => {
            let names = node.as_flags(text).map_err(odd)?;
            Value::List(names.map(|name| Value::String(name.to_owned())).collect())
        }
        Type::Option(inner) => {
            let some = match node.as_option() {
                Ok(some) => some,
                // A value is some of itself, but for those that look like options themselves.
                Err(_) if is_plain(inner) => Some(node),
                Err(error) => return Err(odd(error)),
            };
            match some {
                // Null would be the inner `none`.
                None if inner.can_be_null() => Value::List(Vec::new()),
                None => Value::Null,
                Some(some) if inner.can_be_null() => Value::List(vec![of_wave(inner, some, text)?]),
                Some(some) => of_wave(inner, some, text)?,
            }
        }
        Type::Result { ok, err } => match (node.as_result(), ok.as_deref()) {
            (Ok(Ok(value)), ok) => single("ok", payload(ok, value, ".ok")?),
            (Ok(Err(value)), _) => single("err", payload(err.as_deref(), value, ".err")?),
            // As with options.
            (Err(_), Some(ok)) if is_plain(ok) => single("ok", of_wave(ok, node, text)?),
            (Err(error), _) => return Err(odd(error)),
        },
    })
}

/// May it stand in WAVE without the `some` or `ok` around it?
fn is_plain(ty: &Type) -> bool {
    !matches!(ty, Type::Option(_) | Type::Result { .. })
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
        check(&result, "7", r#"{"ok":7}"#);
        check(&result, "err", r#"{"err":null}"#);
        let shape = Type::Variant(vec![
            ("circle".into(), Some(Type::F64)),
            ("nothing".into(), None),
        ]);
        check(&shape, "circle(1.5)", r#"{"circle":1.5}"#);
        check(&shape, "circle(-inf)", r#"{"circle":"-Infinity"}"#);
        check(&shape, "nothing", r#"{"nothing":null}"#);
        let flags = Type::Flags(vec!["read".into(), "write".into()]);
        check(&flags, "{write}", r#"["write"]"#);
        let pair = Type::Tuple(vec![Type::Char, Type::Bool]);
        check(&pair, "('a', true)", r#"["a",true]"#);
        let ages = Type::Map(Box::new(Type::String), Box::new(Type::U8));
        check(&ages, r#"[("ann", 7)]"#, r#"{"ann":7}"#);
    }

    #[test]
    fn whole_numbers_are_floats_only_where_they_stay_themselves() {
        let floats = Type::List(Box::new(Type::F64));
        let on = Type::Record(vec![("x".into(), Type::F32)]);
        let not = |reason: &str| format!("args[0] (`a`): {reason}");
        check(
            &Type::F64,
            "9007199254740993",
            &not("9007199254740993 has no exact f64"),
        );
        check(
            &Type::Option(Box::new(Type::F32)),
            "16777217",
            &not("16777217 has no exact f32"),
        );
        check(
            &floats,
            "[1, 9007199254740993]",
            &not("[1]: 9007199254740993 has no exact f64"),
        );
        check(&on, "{x: 16777217}", &not(".x: 16777217 has no exact f32"));
        check(
            &floats,
            "[1e400]",
            &not(
                "[0]: 1e400 is more than f64 can tell: write Infinity or -Infinity if that is meant",
            ),
        );
        check(
            &floats,
            "[9007199254740992, 0.1]",
            "[9007199254740992.0,0.1]",
        );
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_that_were_written() {
        let not = |reason: &str| format!("args[0] (`a`): {reason}");
        check(
            &Type::U64,
            "99999999999999999999",
            &not("99999999999999999999 does not fit u64"),
        );
        check(
            &Type::U8,
            "12345678901234567890123456789012345678901",
            &not("12345678901234567890123456789012345678901 does not fit u8"),
        );
        let bytes = Type::List(Box::new(Type::U8));
        check(
            &bytes,
            "[1, 99999999999999999999]",
            &not("[1]: 99999999999999999999 does not fit u8"),
        );
        let point = Type::Record(vec![("x".into(), Type::U8)]);
        check(
            &point,
            r#"{"x":1,"x":2}"#,
            &not("1:8: the key `x` stands twice in one map"),
        );
        check(
            &point,
            "{x: 1, y: 2}",
            &not("there is no field `y`, only x"),
        );
        check(&Type::String, r#""a" or "b""#, r#""\"a\" or \"b\"""#);
        check(&Type::String, "@file", "\"@file\"");
        let function = Function {
            name: "f".into(),
            params: vec![("a".into(), Type::String)],
            result: None,
        };
        let halved = r#""\ud800""#.to_owned();
        let failure = of_texts(&function, &[halved], &Console::default()).unwrap_err();
        let told = r#"args[0] (`a`): "\ud800" is in quotes and cannot be read so: "#;
        assert!(failure.reason().starts_with(told), "{}", failure.reason());
    }

    /// The types of the guide's table.
    fn types_of_the_guide() -> Vec<Type> {
        use Type::{
            Bool, Char, Enum, F32, F64, FixedList, Flags, List, Map, Option as Maybe, Record,
            Result as Either, S8, S16, S32, S64, String as Text, Tuple, U8, U16, U32, U64, Variant,
        };
        let maybe = |ty| Maybe(Box::new(ty));
        let list = |ty| List(Box::new(ty));
        let map = |key, item| Map(Box::new(key), Box::new(item));
        let either = |ok: Option<Type>, err: Option<Type>| Either {
            ok: ok.map(Box::new),
            err: err.map(Box::new),
        };
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        let field = |name: &str, ty: Type| (name.to_owned(), ty);
        let case = |name: &str, ty: Option<Type>| (name.to_owned(), ty);
        let mut types = vec![
            Bool, U8, U16, U32, S8, S16, S32, U64, S64, F64, F32, Char, Text,
        ];
        types.extend([
            list(U8),
            list(Text),
            FixedList(Box::new(U16), 2),
            list(Tuple(vec![Text, U32])),
            map(Text, U32),
            map(U8, Bool),
            Tuple(vec![U8, Text]),
            Record(vec![field("line-width", U8), field("label", maybe(Text))]),
            Variant(vec![case("circle", Some(F64)), case("nothing", None)]),
            Enum(names(["red", "green"])),
            Flags(names(["read", "write"])),
            maybe(U8),
            maybe(maybe(U8)),
            maybe(maybe(maybe(U8))),
            either(Some(U8), Some(Text)),
            either(None, None),
        ]);
        types
    }

    #[test]
    fn the_table_of_the_guide_is_true() {
        let page = include_str!("../../../docs/src/values.md");
        let codes = |cell: &str| -> Vec<String> {
            let parts = cell.split('`').skip(1).step_by(2);
            parts.map(str::to_owned).collect()
        };
        let mut types = types_of_the_guide();
        for row in page.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split('|').collect();
            let [_, names, _, examples, texts, others, _] = cells[..] else {
                panic!("{row} has another number of cells");
            };
            let (examples, texts) = (codes(examples), codes(texts));
            assert_eq!(examples.len(), texts.len(), "{row}");
            for name in codes(names) {
                let place = types.iter().position(|ty| ty.to_string() == name);
                let ty = types.remove(place.unwrap_or_else(|| panic!("{name} is not tried")));
                let function = Function {
                    name: "f".into(),
                    params: vec![("a".into(), ty.clone())],
                    result: None,
                };
                let canonical = |json: &str| {
                    let value = value_of_json(json.as_bytes()).expect(json);
                    let args =
                        canonical_args(&function, &[value]).map_err(|error| error.to_string());
                    args.map(|args| json_of(&args[0]))
                };
                for (example, text) in examples.iter().zip(&texts) {
                    assert_eq!(canonical(example).as_ref(), Ok(example), "{ty}");
                    check(&ty, text, example);
                    // A function that returns it comes to the same.
                    let value = value_of_json(example.as_bytes()).unwrap();
                    let val = asterism_component::val_of_value(&ty, &value, &BTreeMap::new(), "");
                    let value = asterism_component::value_of_val(&ty, &val.unwrap());
                    assert_eq!(&json_of(&value), example, "{ty}");
                }
                for other in codes(others) {
                    let read = canonical(&other);
                    let is_example = read.as_ref().is_ok_and(|read| examples.contains(read));
                    assert!(is_example, "{other} as {ty} is {read:?}");
                }
            }
        }
        assert!(types.is_empty(), "the table lacks {types:?}");
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
