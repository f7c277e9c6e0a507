//! What values look like over HTTP.

use asterism_protocol::{Value, json_of, to_json};
use serde_json::{Value as Json, json};

/// A value as a body.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: &'static str,
}

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const JSON: &str = "application/json";
pub(crate) const SVG: &str = "image/svg+xml";
const BYTES: &str = "application/octet-stream";

/// Strings and numbers as plain text, pictures as pictures, bytes as bytes, the rest as DAG-JSON.
pub(crate) fn body_of(value: &Value) -> Body {
    match value {
        Value::String(text) => Body {
            media_type: text_type(text),
            bytes: text.clone().into_bytes(),
        },
        Value::Integer(number) => Body {
            media_type: TEXT,
            bytes: number.to_string().into_bytes(),
        },
        Value::Float(number) => Body {
            media_type: TEXT,
            bytes: decimal(*number).into_bytes(),
        },
        Value::Bytes(bytes) => Body {
            media_type: media_type_of(bytes),
            bytes: bytes.clone(),
        },
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Link(_) => Body {
            media_type: JSON,
            bytes: json_of(value).into_bytes(),
        },
    }
}

/// A number as JavaScript writes it: 5, not 5.0.
fn decimal(number: f64) -> String {
    const EXACT: f64 = 1e15;
    if number.fract() == 0.0 && number.abs() < EXACT {
        format!("{number:.0}")
    } else {
        json!(number).to_string()
    }
}

fn text_type(text: &str) -> &'static str {
    if is_svg(text.as_bytes()) { SVG } else { TEXT }
}

fn is_svg(bytes: &[u8]) -> bool {
    let head = bytes.trim_ascii_start();
    head.starts_with(b"<svg")
        || (head.starts_with(b"<?xml")
            && head[..head.len().min(512)].windows(4).any(|w| w == b"<svg"))
}

/// The type that the first bytes tell. The first five hundred are enough.
pub(crate) fn media_type_of(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => "image/gif",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => "image/webp",
        [0, b'a', b's', b'm', ..] => "application/wasm",
        [b'%', b'P', b'D', b'F', b'-', ..] => "application/pdf",
        [b'P', b'K', 3, 4, ..] => "application/zip",
        [0x1f, 0x8b, ..] => "application/gzip",
        [b'O', b'g', b'g', b'S', ..] => "application/ogg",
        [
            _,
            _,
            _,
            _,
            b'f',
            b't',
            b'y',
            b'p',
            b'a',
            b'v',
            b'i',
            b'f',
            ..,
        ] => "image/avif",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "video/mp4",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'A',
            b'V',
            b'E',
            ..,
        ] => "audio/wav",
        _ if is_svg(bytes) => SVG,
        _ => BYTES,
    }
}

/// The type's name in JavaScript, where clients of such gateways look for it.
pub(crate) fn js_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "Null",
        Value::Bool(_) => "Boolean",
        Value::Integer(_) | Value::Float(_) => "Number",
        Value::String(_) => "String",
        Value::Bytes(_) | Value::Link(_) => "Uint8Array",
        Value::List(_) => "Array",
        Value::Map(_) => "Object",
    }
}

/// A value inside a JSON document, in its DAG-JSON form.
pub(crate) fn json_value(value: &Value) -> Json {
    serde_json::from_str(&json_of(value)).unwrap_or_default()
}

/// A view inside a JSON document.
pub(crate) fn json_of_view<T: serde::Serialize>(view: &T) -> Json {
    serde_json::from_str(&to_json(view)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &Value, media_type: &str, text: &str) {
        let body = body_of(value);
        assert_eq!(
            (
                body.media_type,
                String::from_utf8_lossy(&body.bytes).as_ref()
            ),
            (media_type, text)
        );
    }

    #[test]
    fn bodies_say_what_they_are() {
        check(&Value::Float(8.3), TEXT, "8.3");
        check(&Value::Float(-5.0), TEXT, "-5");
        check(&Value::Float(1e300), TEXT, "1e+300");
        check(&Value::Integer(42), TEXT, "42");
        check(&Value::String("hello".into()), TEXT, "hello");
        check(
            &Value::String(" <svg xmlns='…'/>".into()),
            SVG,
            " <svg xmlns='…'/>",
        );
        check(&Value::Bytes(b"GIF89a.".to_vec()), "image/gif", "GIF89a.");
        check(&Value::Bytes(b"abc".to_vec()), BYTES, "abc");
        check(&Value::List(vec![Value::Integer(1)]), JSON, "[1]");
        check(&Value::Null, JSON, "null");
    }
}
