//! What coordinators on one journal know of each other.

use asterism_protocol::{PublicKey, Timestamp};

use super::Holder;

/// Who is here, and who holds what, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meeting {
    /// Coordinators that said within their terms that they are here.
    pub present: Vec<Holder>,
    /// Each partition.
    pub partitions: Vec<Seen>,
    /// The number of the last decision.
    pub decisions: u64,
}

/// A partition as it is seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it; nobody when the last term is over.
    pub holder: Option<Holder>,
    /// How many instructions waited there for executors, when its holder last said so.
    pub unmet: u64,
}

/// That an executor is excluded, or is so no longer, in every partition. The last one of each executor is kept, so there are as many
/// as executors that were ever excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which.
    pub executor: PublicKey,
    /// When.
    pub at: Timestamp,
    /// Why it is excluded; `None` for one that is taken back.
    pub excluded: Option<String>,
}
