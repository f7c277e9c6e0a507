//! When an outcome is believed.

use asterism_protocol::{Outcome, PublicKey};

/// What is thought of an outcome whose signature was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It becomes canonical.
    Believed,
}

/// Decides whether an outcome is believed: whoever proved its key is trusted on its signature.
pub(crate) fn judge(_key: &PublicKey, _outcome: &Outcome) -> Verdict {
    Verdict::Believed
}
