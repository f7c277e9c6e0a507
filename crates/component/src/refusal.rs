//! Why a component cannot be added: everything at once, by name.

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the component cannot be added: {}", reasons.join("; "))]
pub struct Refusal {
    /// Each with the name of what is not supported and the remedy.
    pub reasons: Vec<String>,
}
