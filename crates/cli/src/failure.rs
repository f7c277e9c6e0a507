//! What ends a command, and how it says so: `error: could not … because …`, then `hint: …`.

use std::{ffi::OsString, fmt::Display, process::ExitCode};

use asterism_document::{Filled, Finding};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::console::harmless;

/// Why a command ended: the number for scripts, and the word for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A task failed, or anything that has no number of its own.
    Failed = 1,
    /// The command line is not understood.
    Usage = 2,
    /// The coordinator cannot be reached, or cannot take it now.
    Unreachable = 3,
    /// The coordinator has no such thing.
    NotFound = 4,
    /// What was given cannot be used.
    Invalid = 5,
    /// The coordinator does not allow it.
    Denied = 6,
    /// It took longer than it may.
    TimedOut = 124,
    /// Somebody pressed Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::NotFound => "not-found",
            Self::Invalid => "invalid-input",
            Self::Denied => "denied",
            Self::TimedOut => "timeout",
            Self::Interrupted => "interrupted",
        }
    }

    /// By the word of the coordinator's answer, or by its status where the word is new.
    fn of_answer(code: &str, status: u16) -> Self {
        match code {
            "task-failed" | "task-given-up" | "cancelled" | "internal" => Self::Failed,
            "unavailable" | "busy" => Self::Unreachable,
            "not-found" => Self::NotFound,
            "invalid-input" | "component-refused" | "too-large" | "wrong-bytes" => Self::Invalid,
            "origin" | "wrong-host" | "denied" => Self::Denied,
            "timeout" => Self::TimedOut,
            _ => match status {
                401 | 403 | 421 => Self::Denied,
                404 | 410 => Self::NotFound,
                429 | 503 => Self::Unreachable,
                504 => Self::TimedOut,
                400..500 => Self::Invalid,
                _ => Self::Failed,
            },
        }
    }
}

/// A failure with its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// What was tried: completes "could not …". Empty until somebody says it, see [`Doing`].
    doing: String,
    because: String,
    hint: String,
    /// The coordinator's own words, for `--json`.
    answer: Option<Value>,
}

impl Failure {
    /// A failure for a reason, which completes "because …".
    pub(crate) fn new(exit: Exit, because: impl Into<String>) -> Self {
        let (doing, hint) = (String::new(), String::new());
        Self {
            exit,
            doing,
            because: because.into(),
            hint,
            answer: None,
        }
    }

    /// A failure without a number of its own.
    pub(crate) fn other(because: impl Into<String>) -> Self {
        Self::new(Exit::Failed, because)
    }

    /// What was given cannot be used.
    pub(crate) fn invalid(because: impl Into<String>) -> Self {
        Self::new(Exit::Invalid, because)
    }

    /// What to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The coordinator's error, `{code, message, hint, details}`.
    pub(crate) fn of_answer(status: u16, answer: &[u8]) -> Self {
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
            let exit = Exit::of_answer("", status);
            return Self::new(
                exit,
                format!("the coordinator answered {status} without saying why"),
            )
            .hint("is this the address of a coordinator?");
        };
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        // Where it has another one for whoever sees no HTTP.
        let hint = match answer["details"]["command"].as_str() {
            Some(command) => command.to_owned(),
            None => text("hint"),
        };
        let mut failure = Self::new(Exit::of_answer(&text("code"), status), text("message"));
        failure.hint = hint;
        if failure.because.is_empty() {
            failure.because = format!("the coordinator answered {status}");
        }
        failure.answer = Some(answer);
        failure
    }

    /// The coordinator's answer about a document that was filled in before it was sent, with its mistakes where they stand in
    /// the text that was written.
    #[must_use]
    pub(crate) fn where_written(mut self, filled: &Filled, written: &[u8]) -> Self {
        let details = self
            .answer
            .as_mut()
            .and_then(|answer| answer.get_mut("details"));
        // A coordinator of another version may say it in another way.
        if let Some(findings) = details.and_then(|details| details.get_mut("findings"))
            && let Ok(found) = Vec::<Finding>::deserialize(&*findings)
        {
            let found = filled.findings(written, found);
            if let Some(first) = found.first() {
                self.because = first.to_string();
            }
            *findings = json!(found);
        }
        self
    }

    /// Does the coordinator not allow it?
    pub(crate) fn is_denied(&self) -> bool {
        self.exit == Exit::Denied
    }

    /// What completes "because …".
    pub(crate) fn reason(&self) -> &str {
        &self.because
    }

    /// Is it the coordinator's answer that it is about to stop?
    pub(crate) fn says_it_stops(&self) -> bool {
        let code = self.answer.as_ref().map(|answer| &answer["code"]);
        code.is_some_and(|code| code == "unavailable")
    }

    /// What a clap error says, in our words: its first paragraph is the reason, its tips are the hint. `words` are those of the
    /// command line: of one that begins with a dash, such as `-inf`, clap tells the first letter alone.
    pub(crate) fn of_usage(error: &clap::Error, words: &[OsString]) -> Self {
        let mut text = error.render().to_string();
        if let Some(ContextValue::String(letter)) = error.get(ContextKind::InvalidArg)
            && error.kind() == ErrorKind::UnknownArgument
            && !letter.starts_with("--")
        {
            let mut words = words.iter().filter_map(|word| word.to_str());
            let meant = words.find(|word| word.starts_with(letter.as_str()));
            let meant = meant.unwrap_or(letter);
            text = text
                .replace(&format!("'{letter}'"), &format!("'{meant}'"))
                .replace(&format!("'-- {letter}'"), &format!("'-- {meant}'"));
        }
        let mut tips = Vec::new();
        let mut because = Vec::new();
        let mut usage = None;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(tip) = line.strip_prefix("tip: ") {
                tips.push(tip.to_owned());
            } else if line.starts_with("Usage: ") {
                usage = Some(line.to_owned());
            } else if !line.starts_with("For more information") && usage.is_none() {
                because.push(line.strip_prefix("error: ").unwrap_or(line).to_owned());
            }
        }
        tips.extend(usage);
        Self::new(Exit::Usage, because.join(" "))
            .hint(tips.join("; "))
            .while_doing("understand the command line")
    }

    fn while_doing(mut self, doing: impl Display) -> Self {
        if self.doing.is_empty() {
            self.doing = doing.to_string();
        }
        self
    }

    fn message(&self) -> String {
        if self.doing.is_empty() {
            self.because.clone()
        } else {
            format!("could not {} because {}", self.doing, self.because)
        }
    }

    /// Says it on standard error.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        if json {
            let mut answer = self
                .answer
                .clone()
                .unwrap_or_else(|| json!({ "code": self.exit.word() }));
            answer["message"] = json!(self.message());
            if !self.hint.is_empty() {
                answer["hint"] = json!(self.hint);
            }
            eprintln!("{answer}");
        } else {
            eprintln!("error: {}", harmless(&self.message()));
            let details = self.answer.as_ref().map(|answer| &answer["details"]);
            let findings = details.and_then(|details| details["findings"].as_array());
            // The first is the message.
            for finding in findings.into_iter().flatten().skip(1).take(MISTAKES_TOLD) {
                // A coordinator of another version may say it in another way.
                let finding = Finding::deserialize(finding).map(|finding| finding.to_string());
                eprintln!("  and {}", harmless(&finding.unwrap_or_default()));
            }
            let untold = findings.map_or(0, |findings| {
                findings.len().saturating_sub(1 + MISTAKES_TOLD)
            });
            if untold > 0 {
                eprintln!("  and {untold} more: `asterism workflow validate` tells all");
            }
            let logs = details.and_then(|details| details["logs"].as_array());
            for line in logs.into_iter().flatten() {
                eprintln!("  guest log: {}", crate::follow::guest_line(line));
            }
            if !self.hint.is_empty() {
                eprintln!("hint: {}", harmless(&self.hint));
            }
        }
        ExitCode::from(self.exit as u8)
    }
}

/// Says of a failure what was tried. The innermost that says it is heard.
pub(crate) trait Doing {
    /// `what` completes "could not …".
    fn doing(self, what: impl Display) -> Self;
}

impl<T> Doing for Result<T, Failure> {
    fn doing(self, what: impl Display) -> Self {
        self.map_err(|failure| failure.while_doing(what))
    }
}

/// Mistakes of a document that are told beside the first.
const MISTAKES_TOLD: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_word_and_then_the_status() {
        let check = |code, status, exit: Exit| assert_eq!(Exit::of_answer(code, status), exit);
        check("task-failed", 422, Exit::Failed);
        check("invalid-input", 400, Exit::Invalid);
        check("timeout", 504, Exit::TimedOut);
        check("task-given-up", 504, Exit::Failed);
        check("something-new", 404, Exit::NotFound);
        check("", 502, Exit::Failed);
        check("", 403, Exit::Denied);
    }

    #[test]
    fn only_the_innermost_says_what_was_tried() {
        let failure = Err::<(), _>(Failure::invalid("it is empty"))
            .doing("read a.wasm")
            .doing("add a.wasm")
            .unwrap_err();
        assert_eq!(
            failure.message(),
            "could not read a.wasm because it is empty"
        );
    }
}
