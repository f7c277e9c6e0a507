//! What a guest may ask of its host, one implementation for every host. Deny is the default.
//!
//! A host asks [`provides`] for each function that a component imports, makes one [`World`] for each task, and passes
//! every call to [`World::call`]. Nothing here knows an engine.

use asterism_component::Val;
use asterism_protocol::LogLine;

/// What one task's guest sees of the world.
#[derive(Debug, Default)]
pub struct World {
    logs: Vec<LogLine>,
}

/// A call that ends the guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{interface}#{func}: {reason}")]
pub struct Denied {
    /// The interface.
    pub interface: String,
    /// The function.
    pub func: String,
    /// Why.
    pub reason: String,
}

/// Is this import provided? `interface` as the component writes it, with or without a version.
#[must_use]
pub fn provides(_interface: &str, _func: &str) -> bool {
    false
}

impl World {
    /// The world of the task with this instruction: its CID is the seed of all that looks random.
    #[must_use]
    pub fn new(_instruction: asterism_protocol::Cid) -> Self {
        Self::default()
    }

    /// Performs a host function.
    ///
    /// # Errors
    /// The guest asked for what it may not have; the host ends it.
    pub fn call(&mut self, interface: &str, func: &str, _args: &[Val]) -> Result<Vec<Val>, Denied> {
        Err(Denied { interface: interface.into(), func: func.into(), reason: "not provided".into() })
    }

    /// What the guest logged, bounded; the drop of more is said in a last line.
    #[must_use]
    pub fn into_logs(self) -> Vec<LogLine> {
        self.logs
    }
}
