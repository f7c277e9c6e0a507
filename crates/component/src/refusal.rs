//! Why a component cannot be added: everything at once, by name.

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

/// Most reasons that a refusal names: a module with ten thousand unknown imports is described by its first ones.
const REASONS_MAX: usize = 64;

/// Reasons while they are collected: each once, in the order found.
#[derive(Default)]
pub(crate) struct Reasons {
    reasons: Vec<String>,
    more: usize,
}

impl Reasons {
    pub(crate) fn add(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.reasons.contains(&reason) {
            return;
        }
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// `value`, or everything that stands in its way.
    pub(crate) fn or<T>(mut self, value: T) -> Result<T, Refusal> {
        if self.more > 0 {
            self.reasons.push(format!("and {} more", self.more));
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
