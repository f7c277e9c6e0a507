//! Numbers and bytes, in whatever spelling JSON has for them.

use std::{borrow::Cow, collections::BTreeMap};

use asterism_protocol::Value;

use super::odd::{Odd, Read, mismatch, shown};
use crate::Type;

/// 2^53: from here on floats do not tell all whole numbers apart.
const WHOLE_FLOATS_END: f64 = 9_007_199_254_740_992.0;

/// A whole number in range: an integer, or a float without a fraction that can stand for no other.
pub(super) fn integer<T: TryFrom<i128>>(ty: &Type, value: &Value) -> Read<T> {
    let whole = match value {
        Value::Integer(n) => Some(*n),
        // Floats beyond 128 bits saturate, which is out of every range.
        Value::Float(x) if x.fract() == 0.0 => Some(*x as i128),
        Value::Float(x) => return Err(Odd::new(format!("{x} is not a whole number, {ty} is"))),
        _ => None,
    };
    match whole.map(T::try_from) {
        // What was written may have been another number.
        Some(Ok(_)) if matches!(value, Value::Float(x) if x.abs() >= WHOLE_FLOATS_END) => {
            Err(Odd::new(format!(
                "{} may have been rounded: write a whole number of more than 53 bits without a fraction or an exponent, or as a \
                 text",
                shown(value)
            )))
        }
        Some(Ok(n)) => Ok(n),
        Some(Err(_)) => Err(Odd::new(format!("{} does not fit {ty}", shown(value)))),
        None => Err(mismatch(value, ty)),
    }
}

/// A decimal string as the integer it spells: JSON of many languages loses digits beyond 53 bits.
pub(super) fn decimal<'a>(ty: &Type, value: &'a Value) -> Read<Cow<'a, Value>> {
    let Value::String(text) = value else {
        return Ok(Cow::Borrowed(value));
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Odd::new(format!(
            "{} is not a decimal number",
            shown(value)
        )));
    }
    match text.parse() {
        Ok(n) => Ok(Cow::Owned(Value::Integer(n))),
        Err(_) => Err(Odd::new(format!("{} does not fit {ty}", shown(value)))),
    }
}

pub(super) fn float(ty: &Type, value: &Value) -> Read<f64> {
    match value {
        Value::Float(x) => Ok(*x),
        Value::Integer(n) => {
            let x = match ty {
                Type::F32 => f64::from(*n as f32),
                _ => *n as f64,
            };
            // 2^127 as a float is beyond what an i128 holds; its conversion back saturates and differs.
            if x as i128 == *n {
                Ok(x)
            } else {
                Err(Odd::new(format!("{n} has no exact {ty}")))
            }
        }
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(mismatch(value, ty)),
        },
        _ => Err(mismatch(value, ty)),
    }
}

/// `{"/": {"bytes": "<base64>"}}`, where JSON was not read as DAG-JSON.
pub(super) fn dag_json_bytes(map: &BTreeMap<String, Value>) -> Option<Vec<u8>> {
    let Value::Map(inner) = map.get("/").filter(|_| map.len() == 1)? else {
        return None;
    };
    let Value::String(text) = inner.get("bytes").filter(|_| inner.len() == 1)? else {
        return None;
    };
    base64(text)
}

/// Standard base64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for chunk in text.chunks(4) {
        let mut bits: u32 = 0;
        for byte in chunk {
            let six = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
        }
        let [_, a, b, c] = (bits << (6 * (4 - chunk.len()))).to_be_bytes();
        match chunk.len() {
            4 => bytes.extend([a, b, c]),
            3 => bytes.extend([a, b]),
            2 => bytes.push(a),
            _ => return None,
        }
    }
    Some(bytes)
}
