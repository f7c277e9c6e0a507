//! Why a call did not return, in words that every engine shares.

use asterism_protocol::{
    TrapKind,
    limits::TEXT_BYTES_MAX,
    message::{Fault, FaultKind},
};
use js_sys::{Error, Reflect};
use wasm_bindgen::{JsCast as _, JsValue};

/// Why a call did not return.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Halt {
    /// The guest died.
    Trap {
        kind: TrapKind,
        message: String,
        backtrace: Vec<String>,
    },
    /// The host broke: no outcome.
    Fault(Fault),
}

impl Halt {
    /// A trap that the host itself found.
    pub(crate) fn trap(kind: TrapKind, message: impl Into<String>) -> Self {
        Self::Trap {
            kind,
            message: message.into(),
            backtrace: Vec::new(),
        }
    }

    /// The guest broke the canonical ABI.
    pub(crate) fn abi(message: impl Into<String>) -> Self {
        Self::trap(TrapKind::InvalidAbi, message)
    }

    /// In the middle of a call there is no result yet that could be too large: the guest broke the ABI.
    pub(crate) fn in_call(self) -> Self {
        match self {
            Self::Trap {
                kind: TrapKind::OutputTooLarge,
                message,
                backtrace,
            } => Self::Trap {
                kind: TrapKind::InvalidAbi,
                message,
                backtrace,
            },
            other => other,
        }
    }

    /// The host itself failed.
    pub(crate) fn host(message: impl Into<String>) -> Self {
        Self::Fault(Fault {
            kind: FaultKind::Host,
            message: message.into(),
        })
    }

    /// Reads what JavaScript threw while a guest ran.
    pub(crate) fn of_exception(exception: &JsValue) -> Self {
        let Some(error) = exception.dyn_ref::<Error>() else {
            return Self::host("JavaScript threw something that is no error");
        };
        let (name, message) = (String::from(error.name()), String::from(error.message()));
        let text = bounded(format!("{name}: {message}"));
        if name == "RuntimeError" {
            return match trap_kind(&message) {
                Some(kind) => Self::Trap {
                    kind,
                    message: text,
                    backtrace: backtrace(error),
                },
                None => Self::host(format!("a trap that is not known: {text}")),
            };
        }
        if is_stack_overflow(&name, &message) {
            return Self::Fault(Fault {
                kind: FaultKind::StackOverflow,
                message: STACK_OVERFLOW.to_owned(),
            });
        }
        Self::host(text)
    }
}

/// Of a stack that is exhausted. Engines only say that there is no more of it.
const STACK_OVERFLOW: &str = "the guest's stack is exhausted: it recurses too deep for this browser, or without an end; \
     others, which may have more room, are tried; what helps is to recurse less";

/// Words in messages of traps; the first that is found decides. V8's, SpiderMonkey's and JavaScriptCore's do not
/// contradict each other.
const TRAPS: [(&str, TrapKind); 21] = [
    // V8
    ("divide by zero", TrapKind::DivideByZero),
    ("remainder by zero", TrapKind::DivideByZero),
    ("divide result unrepresentable", TrapKind::IntegerOverflow),
    // No number at all is told apart before the engine sees it.
    (
        "float unrepresentable in integer range",
        TrapKind::IntegerOverflow,
    ),
    // Older ones say "null function or function signature mismatch".
    ("null function", TrapKind::IndirectCall),
    ("function signature mismatch", TrapKind::IndirectCall),
    ("dereferencing a null pointer", TrapKind::IndirectCall),
    ("index is out of bounds", TrapKind::OutOfBounds),
    ("is out of bounds", TrapKind::OutOfBounds),
    ("access out of bounds", TrapKind::OutOfBounds),
    ("segment out of bounds", TrapKind::OutOfBounds),
    // SpiderMonkey
    ("index out of bounds", TrapKind::OutOfBounds),
    ("integer overflow", TrapKind::IntegerOverflow),
    ("invalid conversion to integer", TrapKind::BadConversion),
    ("indirect call to null", TrapKind::IndirectCall),
    ("indirect call signature mismatch", TrapKind::IndirectCall),
    // JavaScriptCore
    ("division by zero", TrapKind::DivideByZero),
    ("out of bounds trunc", TrapKind::IntegerOverflow),
    ("call_indirect to a", TrapKind::IndirectCall),
    ("out of bounds", TrapKind::OutOfBounds),
    // All of them.
    ("unreachable", TrapKind::Unreachable),
];

fn trap_kind(message: &str) -> Option<TrapKind> {
    let message = message.to_ascii_lowercase();
    TRAPS
        .iter()
        .find(|(words, _)| message.contains(words))
        .map(|(_, kind)| *kind)
}

/// V8 and JavaScriptCore throw a `RangeError`, SpiderMonkey an `InternalError`.
fn is_stack_overflow(name: &str, message: &str) -> bool {
    matches!(name, "RangeError" | "InternalError")
        && (message.contains("call stack") || message.contains("too much recursion"))
}

/// Wasm frames of the error, innermost first, up to where JavaScript called the guest.
fn backtrace(error: &Error) -> Vec<String> {
    let stack = Reflect::get(error, &JsValue::from_str("stack"))
        .ok()
        .and_then(|stack| stack.as_string());
    stack.map(|stack| frames(&stack)).unwrap_or_default()
}

fn frames(stack: &str) -> Vec<String> {
    let lines = stack.lines().skip_while(|line| frame(line).is_none());
    let mut left = TEXT_BYTES_MAX;
    lines
        .map_while(frame)
        .take_while(|frame| {
            left = left.saturating_sub(frame.len());
            left > 0
        })
        .collect()
}

/// `at name (wasm://…:wasm-function[12]:0x3f)`, `name@…:wasm-function[12]:0x3f`, `name@wasm-function[12]`.
fn frame(line: &str) -> Option<String> {
    let (before, index) = line.split_once("wasm-function[")?;
    let index = index.split(']').next()?;
    let name = match before.trim_start().strip_prefix("at ") {
        Some(rest) => rest.split_once(" (").map(|(name, _)| name),
        None => before.split_once('@').map(|(name, _)| name),
    };
    match name {
        Some(name) if !name.is_empty() && !name.starts_with("wasm-function") => {
            Some(name.to_owned())
        }
        _ => Some(format!("wasm-function[{index}]")),
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn traps_of_every_engine_have_one_kind() {
        let of = |message| trap_kind(message).map_or("none", TrapKind::name);
        for (message, kind) in [
            ("unreachable", "unreachable"),
            ("unreachable executed", "unreachable"),
            (
                "Unreachable code should not be executed (evaluating 'f()')",
                "unreachable",
            ),
            ("memory access out of bounds", "out-of-bounds"),
            ("table index is out of bounds", "out-of-bounds"),
            (
                "WebAssembly.Instance(): data segment 0 is out of bounds (offset 65536 + size 1 > memory_size 65536)",
                "out-of-bounds",
            ),
            ("index out of bounds", "out-of-bounds"),
            (
                "Out of bounds memory access (evaluating 'f()')",
                "out-of-bounds",
            ),
            ("Out of bounds call_indirect", "out-of-bounds"),
            ("divide by zero", "divide-by-zero"),
            ("remainder by zero", "divide-by-zero"),
            ("integer divide by zero", "divide-by-zero"),
            ("Division by zero", "divide-by-zero"),
            ("divide result unrepresentable", "integer-overflow"),
            ("integer overflow", "integer-overflow"),
            ("float unrepresentable in integer range", "integer-overflow"),
            ("Out of bounds Trunc operation", "integer-overflow"),
            ("invalid conversion to integer", "bad-conversion"),
            (
                "null function or function signature mismatch",
                "indirect-call",
            ),
            ("null function", "indirect-call"),
            ("function signature mismatch", "indirect-call"),
            ("indirect call to null", "indirect-call"),
            ("call_indirect to a null table entry", "indirect-call"),
            (
                "call_indirect to a signature that does not match",
                "indirect-call",
            ),
            ("something else", "none"),
        ] {
            assert_eq!(of(message), kind, "{message}");
        }
        assert!(is_stack_overflow(
            "RangeError",
            "Maximum call stack size exceeded"
        ));
        assert!(is_stack_overflow("InternalError", "too much recursion"));
        assert!(!is_stack_overflow(
            "RangeError",
            "WebAssembly.Memory(): could not allocate memory"
        ));
    }

    /// Errors are of JavaScript.
    #[cfg(target_arch = "wasm32")]
    #[test]
    fn an_exhausted_stack_is_said_in_plain_words() {
        let error = js_sys::RangeError::new("Maximum call stack size exceeded");
        assert_eq!(
            Halt::of_exception(&error),
            Halt::Fault(Fault {
                kind: FaultKind::StackOverflow,
                message: STACK_OVERFLOW.to_owned(),
            })
        );
        let error = js_sys::RangeError::new("could not allocate memory");
        assert_eq!(
            Halt::of_exception(&error),
            Halt::host("RangeError: could not allocate memory")
        );
    }

    #[test]
    fn frames_of_the_guest_end_where_javascript_begins() {
        let v8 = "RuntimeError: unreachable\n    at inner (wasm://wasm/4a:wasm-function[3]:0x5f)\n    at \
                  wasm://wasm/4a:wasm-function[7]:0x61\n    at f (node:internal:1:2)\n    at host (wasm://wasm/9:wasm-function[1]:0x1)";
        assert_eq!(frames(v8), ["inner", "wasm-function[7]"]);
        let spidermonkey = "inner@http://x/y.wasm:wasm-function[3]:0x5f\n@http://x/y.wasm:wasm-function[4]:0x5f\nf@x.js:1:2";
        assert_eq!(frames(spidermonkey), ["inner", "wasm-function[4]"]);
        assert_eq!(frames("Error: no frames"), Vec::<String>::new());
    }
}
