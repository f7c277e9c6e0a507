//! One call as people write it: arguments by name, as values or as text.

use std::collections::BTreeMap;

use asterism_protocol::{Value, nearest, value_of_json};

use crate::{Function, Type, ValueError, name};

/// The arguments of `function` in order, of a map by parameter name in any spelling. An option may be absent.
///
/// # Errors
/// A name that no parameter has, one that is given twice, or one that is missing.
pub fn args_by_name(
    function: &Function,
    given: &BTreeMap<String, Value>,
) -> Result<Vec<Value>, ValueError> {
    let mut args = vec![None; function.params.len()];
    for (name, value) in given {
        let place = place_of(function, name)?;
        if args[place].replace(value.clone()).is_some() {
            return Err(odd(
                &function.params[place].0,
                "it is given twice, in two spellings",
            ));
        }
    }
    whole(function, args)
}

/// As [`args_by_name`], of text: `5` is a number where the type is one and a string where it is that. Lists may be given by
/// repeating the name; other types are JSON.
///
/// # Errors
/// As there; text that is no value of its type.
pub fn args_by_text(
    function: &Function,
    given: &[(String, String)],
) -> Result<Vec<Value>, ValueError> {
    let mut texts: Vec<Vec<&str>> = vec![Vec::new(); function.params.len()];
    for (name, text) in given {
        texts[place_of(function, name)?].push(text);
    }
    let args = function
        .params
        .iter()
        .zip(texts)
        .map(|((name, ty), texts)| {
            let value = match (&texts[..], ty) {
                ([], _) => return Ok(None),
                ([text], Type::List(element))
                    if !text.trim_start().starts_with(['[', '{']) && !ty.is_bytes() =>
                {
                    value_of_text(element, text).map(|item| Value::List(vec![item]))
                }
                ([text], _) => value_of_text(ty, text),
                (texts, Type::List(element) | Type::FixedList(element, _)) => {
                    let items = texts.iter().map(|text| value_of_text(element, text));
                    items.collect::<Result<_, _>>().map(Value::List)
                }
                _ => Err("it is given more than once".to_owned()),
            };
            value.map(Some).map_err(|reason| odd(name, reason))
        });
    whole(function, args.collect::<Result<_, _>>()?)
}

/// The value that a text means where `ty` is wanted. Whether it fits is for [`crate::canonical_args`] to say.
///
/// # Errors
/// A sentence that completes the parameter's name.
pub fn value_of_text(ty: &Type, text: &str) -> Result<Value, String> {
    let json = || value_of_json(text.as_bytes());
    match ty {
        Type::String | Type::Char | Type::Enum(_) => Ok(Value::String(text.to_owned())),
        Type::Bool => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(format!("`{}` is not true or false", short(text))),
        },
        Type::S8
        | Type::U8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::U64 => {
            let trimmed = text.trim();
            // Digits first: JSON has no `+5` and no `007`, people do.
            match (trimmed.parse::<i128>(), json()) {
                (Ok(number), _) => Ok(Value::Integer(number)),
                // JSON would tell it rounded.
                (Err(_), _) if is_whole(trimmed) => {
                    Err(format!("{} does not fit {ty}", short(trimmed)))
                }
                (Err(_), Ok(value @ (Value::Float(_) | Value::Integer(_) | Value::Map(_)))) => {
                    Ok(value)
                }
                _ => Err(format!("`{}` is not a whole number", short(text))),
            }
        }
        Type::F32 | Type::F64 => match text.trim() {
            "NaN" | "Infinity" | "-Infinity" => Ok(Value::String(text.trim().to_owned())),
            trimmed => match (float_of_text(ty, trimmed)?, json()) {
                (Some(number), _) => Ok(Value::Float(number)),
                (None, Ok(value @ Value::Map(_))) => Ok(value),
                _ => Err(format!("`{}` is not a number", short(text))),
            },
        },
        // An option of text is text; the word null is no value of it.
        Type::Option(inner) if !inner.can_be_null() => match (text, &**inner) {
            ("null", inner) if !matches!(inner, Type::String | Type::Enum(_)) => Ok(Value::Null),
            (text, inner) => value_of_text(inner, text),
        },
        Type::Variant(cases) if cases.iter().any(|(case, _)| case == text) => {
            Ok(Value::String(text.to_owned()))
        }
        Type::List(_)
        | Type::FixedList(..)
        | Type::Map(..)
        | Type::Record(_)
        | Type::Tuple(_)
        | Type::Variant(_)
        | Type::Flags(_)
        | Type::Option(_)
        | Type::Result { .. } => {
            json().map_err(
                |error| match serde_json::from_str::<serde_json::Value>(text) {
                    // JSON it is: a key stands twice, bytes are no base64.
                    Ok(_) => format!("`{}`: {error}", short(text)),
                    Err(_) => format!("`{}` is not JSON, which {ty} is written in", short(text)),
                },
            )
        }
    }
}

/// 2^64: from here on JSON has floats for whole numbers.
const INTEGERS_END: f64 = 18_446_744_073_709_551_616.0;

/// The number that a text means where `ty`, a float, is wanted; none if it is not written in digits.
///
/// # Errors
/// A whole number that the type cannot hold exactly, as JSON's are refused, and a number beyond it: a sentence that completes
/// the parameter's name. Others are rounded, as decimals are everywhere.
pub fn float_of_text(ty: &Type, text: &str) -> Result<Option<f64>, String> {
    let has_digits = text.contains(|c: char| c.is_ascii_digit());
    let Some(number) = text.parse::<f64>().ok().filter(|_| has_digits) else {
        return Ok(None);
    };
    let held = match ty {
        Type::F32 => f64::from(number as f32),
        _ => number,
    };
    if held.is_infinite() {
        return Err(format!(
            "{} is more than {ty} can tell: write Infinity or -Infinity if that is meant",
            short(text)
        ));
    }
    if is_whole(text) {
        let digits = text.trim_start_matches(['+', '-', '0']);
        // Without a fraction a float is written with all of its digits.
        let exact = format!("{:.0}", held.abs());
        // Beyond 64 bits it may be shortened as JavaScript does, also where it is JSON.
        let is_shortened = held.abs() >= INTEGERS_END && held.abs().to_string() == digits;
        if exact.trim_start_matches('0') != digits && !is_shortened {
            return Err(format!("{} has no exact {ty}", short(text)));
        }
    }
    // There is one zero, as in JSON that is read.
    Ok(Some(number + 0.0))
}

/// Is it a sign, if any, and digits?
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn place_of(function: &Function, given: &str) -> Result<usize, ValueError> {
    let exact = function.params.iter().position(|(name, _)| name == given);
    let spelled = || {
        let kebab = name::kebab(given);
        function
            .params
            .iter()
            .position(|(name, _)| name::kebab(name) == kebab)
    };
    exact.or_else(spelled).ok_or_else(|| {
        let names = || function.params.iter().map(|(name, _)| name.as_str());
        let reason = match nearest(given, names()) {
            Some(meant) => format!("there is no such parameter, did you mean `{meant}`?"),
            None => format!("there is no such parameter: `{}`", function.signature()),
        };
        odd(&short(given), reason)
    })
}

fn whole(function: &Function, args: Vec<Option<Value>>) -> Result<Vec<Value>, ValueError> {
    let pairs = function.params.iter().zip(args);
    pairs
        .map(|((name, ty), value)| match (value, ty) {
            (Some(value), _) => Ok(value),
            (None, Type::Option(inner)) if inner.can_be_null() => Ok(Value::List(Vec::new())),
            (None, Type::Option(_)) => Ok(Value::Null),
            (None, _) => Err(odd(
                name,
                format!("it is missing: `{}`", function.signature()),
            )),
        })
        .collect()
}

fn odd(path: &str, reason: impl Into<String>) -> ValueError {
    ValueError {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

fn short(text: &str) -> String {
    const CHARS: usize = 60;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> Function {
        let list = |ty| Type::List(Box::new(ty));
        let option = |ty| Type::Option(Box::new(ty));
        Function {
            name: "f".into(),
            params: vec![
                ("a-b".into(), Type::U8),
                ("text".into(), Type::String),
                ("many".into(), list(Type::F64)),
                ("maybe".into(), option(Type::Bool)),
            ],
            result: None,
        }
    }

    fn check(query: &[(&str, &str)], expected: Result<Vec<Value>, &str>) {
        let given: Vec<_> = query
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let args = args_by_text(&function(), &given).map_err(|error| error.to_string());
        assert_eq!(args, expected.map_err(str::to_owned), "{query:?}");
    }

    #[test]
    fn text_becomes_what_the_type_says() {
        let floats =
            |floats: &[f64]| Value::List(floats.iter().copied().map(Value::Float).collect());
        let text = |text: &str| Value::String(text.into());
        check(
            &[("aB", "5"), ("text", "5"), ("many", "1"), ("many", "2.5")],
            Ok(vec![
                Value::Integer(5),
                text("5"),
                floats(&[1.0, 2.5]),
                Value::Null,
            ]),
        );
        check(
            &[
                ("a_b", "007"),
                ("text", ""),
                ("many", "3"),
                ("maybe", "true"),
            ],
            Ok(vec![
                Value::Integer(7),
                text(""),
                floats(&[3.0]),
                Value::Bool(true),
            ]),
        );
        check(
            &[
                ("a-b", "1"),
                ("text", "null"),
                ("many", "[0.5]"),
                ("maybe", "null"),
            ],
            Ok(vec![
                Value::Integer(1),
                text("null"),
                floats(&[0.5]),
                Value::Null,
            ]),
        );
    }

    #[test]
    fn a_whole_number_is_a_float_only_where_it_stays_itself() {
        let exact = "has no exact";
        for (ty, text, expected) in [
            (Type::F64, "9007199254740992", Ok(9_007_199_254_740_992.0)),
            (Type::F64, "-9007199254740993", Err(exact)),
            (Type::F64, "9007199254740993.0", Ok(9_007_199_254_740_992.0)),
            (
                Type::F64,
                "1267650600228229401496703205376",
                Ok(2_f64.powi(100)),
            ),
            (Type::F64, "1267650600228229401496703205377", Err(exact)),
            (
                Type::F64,
                "-123456789012345680000",
                Ok(-123_456_789_012_345_680_000.0),
            ),
            (Type::F64, "123456789012345680001", Err(exact)),
            (Type::F64, "1234567890123456800", Err(exact)),
            (Type::F64, "0.1", Ok(0.1)),
            (Type::F64, "+007", Ok(7.0)),
            (Type::F64, "-0", Ok(0.0)),
            (Type::F32, "16777216", Ok(16_777_216.0)),
            (Type::F32, "16777217", Err(exact)),
            (Type::F32, "0.1", Ok(0.1)),
            (Type::F32, "1e39", Err("is more than f32 can tell")),
        ] {
            match (float_of_text(&ty, text), expected) {
                (Ok(Some(number)), Ok(expected)) => {
                    assert_eq!(number.to_bits(), f64::to_bits(expected), "{text}");
                }
                (Err(said), Err(words)) => assert!(said.contains(words), "{text}: {said}"),
                (read, expected) => panic!("{text}: {read:?} and not {expected:?}"),
            }
        }
        assert_eq!(float_of_text(&Type::F64, "inf"), Ok(None));
    }

    #[test]
    fn what_is_no_argument_is_said() {
        check(&[("a-b", "x")], Err("a-b: `x` is not a whole number"));
        check(
            &[("tex", "x")],
            Err("tex: there is no such parameter, did you mean `text`?"),
        );
        check(
            &[("text", "x"), ("text", "y")],
            Err("text: it is given more than once"),
        );
        check(
            &[("maybe", "yes")],
            Err("maybe: `yes` is not true or false"),
        );
        // JSON's numbers would be told rounded, and whole ones for floats be rounded without a word.
        let long = "12345678901234567890123456789012345678901";
        check(
            &[("a-b", long)],
            Err("a-b: 12345678901234567890123456789012345678901 does not fit u8"),
        );
        check(
            &[("many", "9007199254740993")],
            Err("many: 9007199254740993 has no exact f64"),
        );
        check(
            &[("many", "1e400")],
            Err(
                "many: 1e400 is more than f64 can tell: write Infinity or -Infinity if that is meant",
            ),
        );
        check(
            &[("many", "[1")],
            Err("many: `[1` is not JSON, which list<f64> is written in"),
        );
        check(
            &[("many", r#"{"k":1,"k":2}"#)],
            Err(
                r#"many: `{"k":1,"k":2}`: not a valid DAG-JSON value: the key `k` stands twice in one map"#,
            ),
        );
        check(
            &[("a-b", "1"), ("text", "x")],
            Err(
                "many: it is missing: `f(a-b: u8, text: string, many: list<f64>, maybe: option<bool>)`",
            ),
        );
    }
}
