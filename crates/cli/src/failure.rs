//! What ends a command, and how it says so.

use std::process::ExitCode;

use serde_json::{Value, json};

/// A failure with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    hint: String,
    /// The coordinator's own words, for `--json`.
    answer: Option<Value>,
}

/// A task failed, or anything that has no number of its own.
const FAILED: u8 = 1;
const UNREACHABLE: u8 = 3;
const INVALID: u8 = 5;

impl Failure {
    fn new(code: u8, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: hint.into(),
            answer: None,
        }
    }

    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::new(FAILED, message, "")
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(INVALID, message, "")
    }

    pub(crate) fn unreachable(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(UNREACHABLE, message, hint)
    }

    /// The coordinator's error, `{code, message, hint, details}`.
    pub(crate) fn of_answer(status: u16, answer: &[u8]) -> Self {
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
            return Self::other(format!(
                "the coordinator answered {status} without saying why"
            ));
        };
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let code = match text("code").as_str() {
            "unavailable" | "busy" => UNREACHABLE,
            "invalid-input" | "component-refused" | "not-found" | "too-large" | "wrong-bytes" => {
                INVALID
            }
            _ => FAILED,
        };
        let mut failure = Self::new(code, text("message"), text("hint"));
        if failure.message.is_empty() {
            failure.message = format!("the coordinator answered {status}");
        }
        failure.answer = Some(answer);
        failure
    }

    /// Says it on standard error.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        if json {
            let answer = self
                .answer
                .unwrap_or_else(|| json!({ "message": self.message, "hint": self.hint }));
            eprintln!("{answer}");
        } else {
            eprintln!("error: {}", self.message);
            if let Some(logs) = self
                .answer
                .as_ref()
                .and_then(|answer| answer["details"]["logs"].as_array())
            {
                for line in logs {
                    let text = |name: &str| line[name].as_str().unwrap_or_default();
                    eprintln!(
                        "  guest log: {} {} {}",
                        text("level"),
                        text("context"),
                        text("message")
                    );
                }
            }
            if !self.hint.is_empty() {
                eprintln!(" hint: {}", self.hint);
            }
        }
        ExitCode::from(self.code)
    }
}
