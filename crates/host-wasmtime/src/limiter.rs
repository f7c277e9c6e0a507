//! The memory limit of a task.

use asterism_executor::{TABLE_ELEMENT_BYTES, TABLE_ELEMENTS_MAX};
use wasmtime::{Error, ResourceLimiter, Result};

/// All that a wasm32 memory can grow to: beyond, growing fails whatever the limit.
const WASM32_BYTES: u64 = 1 << 32;

/// Counts the bytes of all memories and tables of a store against one limit.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: u64,
    used: u64,
    /// What the last growth that was allowed has added.
    added: u64,
    /// Would the growth that was allowed last fail anyway, for the memory's own maximum?
    doomed: bool,
    /// Was a growth refused for the limit?
    pub(crate) refused: bool,
    /// Was a growth allowed and then not possible? The machine is short of memory: no outcome may depend on it.
    pub(crate) exhausted: Option<String>,
}

impl Limiter {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            used: 0,
            added: 0,
            doomed: false,
            refused: false,
            exhausted: None,
        }
    }

    /// Takes so many bytes, unless that is more than the limit leaves.
    fn take(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.limit - self.used;
        if fits {
            self.used += bytes;
        } else {
            self.refused = true;
        }
        fits
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        let (current, desired) = (current as u64, desired as u64);
        self.doomed = desired > maximum.map_or(WASM32_BYTES, |maximum| maximum as u64);
        if self.doomed {
            self.added = 0;
            return Ok(true);
        }
        self.added = desired - current;
        Ok(self.take(self.added))
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        let error = format!("{error:#}");
        // Said without asking `memory_growing` first, about sizes beyond wasm32.
        if error.contains("memory type's limits") {
            return Ok(());
        }
        self.used -= self.added;
        self.added = 0;
        if !self.doomed {
            self.exhausted = Some(error);
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        let (current, desired) = (current as u64, desired as u64);
        let most = maximum.map_or(TABLE_ELEMENTS_MAX, |maximum| {
            TABLE_ELEMENTS_MAX.min(maximum as u64)
        });
        Ok(desired <= most && self.take((desired - current) * TABLE_ELEMENT_BYTES))
    }
}
