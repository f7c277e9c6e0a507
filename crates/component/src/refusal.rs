//! Why a component cannot be added: everything at once, by name.

use std::collections::BTreeSet;

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the component cannot be added: {}", reasons.join("; "))]
pub struct Refusal {
    /// Each with the name of what is not supported and the remedy.
    pub reasons: Vec<String>,
}

impl Refusal {
    /// A refusal for one reason.
    #[must_use]
    pub fn of(reason: impl Into<String>) -> Self {
        Self {
            reasons: vec![reason.into()],
        }
    }
}

/// Most bytes of reasons: for a thousand functions, each with a reason of its own. All of WASI has a quarter of that.
pub(crate) const REASON_BYTES_MAX: usize = 128 << 10;

/// Reasons while they are collected: each once, in the order found.
#[derive(Default)]
pub(crate) struct Reasons {
    reasons: Vec<String>,
    known: BTreeSet<String>,
    bytes: usize,
    more: usize,
}

impl Reasons {
    pub(crate) fn add(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.known.contains(&reason) {
            return;
        }
        // The first one is said however long it is.
        if self.bytes + reason.len() > REASON_BYTES_MAX && !self.is_empty() {
            self.more += 1;
            return;
        }
        self.bytes += reason.len();
        self.known.insert(reason.clone());
        self.reasons.push(reason);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// `value`, or everything that stands in its way.
    pub(crate) fn or<T>(mut self, value: T) -> Result<T, Refusal> {
        if self.more > 0 {
            self.reasons.push(format!(
                "and {} more, which are not listed: reasons have at most {REASON_BYTES_MAX} bytes",
                self.more
            ));
        }
        if self.reasons.is_empty() {
            Ok(value)
        } else {
            Err(Refusal {
                reasons: self.reasons,
            })
        }
    }
}
