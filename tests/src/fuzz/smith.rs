//! Core modules out of numbers: the guest in `tests/guests/smith`.

use asterism_protocol::Value;

use crate::{guests, tool::Tool};

/// What makes modules.
pub struct Smith(Tool);

impl Smith {
    /// What makes modules.
    ///
    /// # Panics
    /// Wasmtime does not run here.
    #[must_use]
    pub fn new() -> Self {
        Self(Tool::new(guests::SMITH))
    }

    /// The module of a seed, which exports what a module of these bytes exports, or everything; `None` where the seed makes none.
    ///
    /// # Panics
    /// The guest fails.
    pub fn module(&mut self, seed: u64, exports: Option<&[u8]>) -> Option<Vec<u8>> {
        let exports = exports.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec()));
        match self
            .0
            .call("module", vec![Value::Integer(seed.into()), exports])
        {
            Ok(Value::Null) => None,
            Ok(Value::Bytes(bytes)) => Some(bytes),
            made => panic!("seed {seed} made {made:?}"),
        }
    }
}

impl Default for Smith {
    fn default() -> Self {
        Self::new()
    }
}
