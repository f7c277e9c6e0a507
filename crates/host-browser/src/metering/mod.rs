//! Rewrites a core module so that any engine counts fuel as Wasmtime 48 does, to the unit, and keeps a memory limit.
//!
//! It knows bytes alone: no engine, no component. The rewritten module imports four mutable globals more ([`IMPORT`],
//! [`FUEL`], [`ROOM`], [`REFUSED`], [`STOPPED`]), shared by all core instances of a component; whoever instantiates it sets
//! them before a call and reads them after it, so one compiled module serves every limit.
//!
//! Besides, it tells the two traps of float-to-integer conversions apart, which engines of browsers do not, and lets a minimum or
//! maximum of floats that is no number have the bits that Wasmtime on x86-64 gives it: those of the operand that is none. Of all that
//! WebAssembly has with floats this alone was seen to differ between V8 and Wasmtime there. Which NaN `0 / 0` is, processors decide.
//!
//! # Fuel
//! A counter that starts at minus the budget and is added to; a check finds it at zero or above and stops the guest. Costs and
//! the places of checks are Wasmtime's (`wasmtime-cranelift`, `func_environ.rs`: `fuel_before_op`, `fuel_check`,
//! `pre_translate_bulk_op`): one unit at function entry; 0 for nop, drop, block, loop, unreachable, return, else and end, 1 for any
//! other operator; one more per byte of `memory.copy`, `memory.fill` and `memory.init`, and per element of `table.copy`,
//! `table.fill`, `table.init` and `table.grow`. Checks stand at function entries, at loop headers, and at bulk operations whose
//! size is not a small constant. Cranelift also sees constants that reach a bulk operation through a local; here only a
//! constant right before it counts as one. That adds a check, never a cost: it can be seen only by a guest that traps within
//! the last units of its budget.
//!
//! # Memory
//! The limit is a number of bytes for all linear memories and tables of a component's core instances together, of which an
//! element takes [`TABLE_ELEMENT_BYTES`](asterism_executor::TABLE_ELEMENT_BYTES); what they start with counts
//! ([`Metered::initial_bytes`]). A `memory.grow` or `table.grow` that the maximum of what grows does not allow gives -1, as
//! ever; for tables [`TABLE_ELEMENTS_MAX`](asterism_executor::TABLE_ELEMENTS_MAX) is one. One that the maximum allows and the
//! limit does not gives -1 too, and says so in [`REFUSED`]. When the engine has no memory left although limit and maximum
//! allow a growth, the guest must not see it: it is stopped with [`Stop::HostOutOfMemory`], a fault and not an outcome. (Of an
//! imported memory or table no more is known than its import says, so there -1 stays -1.) A `ResourceLimiter` of Wasmtime with
//! the same rules sees the same.

mod body;
mod code;
mod growth;
mod module;

pub use self::module::meter;

/// The module name of the added imports.
pub const IMPORT: &str = "asterism:host";
/// `(global (mut i64))`: minus the fuel that is left.
pub const FUEL: &str = "fuel";
/// `(global (mut i64))`: bytes that memories and tables may still grow by.
pub const ROOM: &str = "room";
/// `(global (mut i32))`: 1 once a growth was refused for the limit.
pub const REFUSED: &str = "refused";
/// `(global (mut i32))`: why the guest was stopped, a [`Stop`], or 0.
pub const STOPPED: &str = "stopped";

/// Why a rewritten module stopped itself with `unreachable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The fuel is used up.
    OutOfFuel = 1,
    /// The engine could not grow a memory or table that it was allowed to grow.
    HostOutOfMemory = 2,
    /// A float that is no number was to become an integer.
    NotANumber = 3,
}

impl Stop {
    /// Reads [`STOPPED`].
    #[must_use]
    pub fn of_global(value: i32) -> Option<Self> {
        [Self::OutOfFuel, Self::HostOutOfMemory, Self::NotANumber]
            .into_iter()
            .find(|stop| *stop as i32 == value)
    }
}

/// A rewritten module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metered {
    /// Its bytes.
    pub wasm: Vec<u8>,
    /// What its own memories and tables take when it is instantiated.
    pub initial_bytes: u64,
}

/// A module that cannot be rewritten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeteringError {
    /// It was not validated before.
    #[error("a core module is malformed: {0}")]
    Malformed(String),
    /// It uses a proposal whose fuel is not defined here.
    #[error("the WebAssembly proposal `{0}` is not supported: build without it")]
    Unsupported(&'static str),
    /// It would fill a tab.
    #[error(
        "its code becomes more than {} times as large when its fuel is counted",
        module::GROWTH_MAX
    )]
    TooLarge,
    /// It would see the counters.
    #[error("imports from {IMPORT:?} are reserved for the host: rename the import module")]
    ReservedImport,
}

/// Indices of the four added globals.
#[derive(Clone, Copy, Debug)]
struct Globals {
    fuel: u32,
    room: u32,
    refused: u32,
    stopped: u32,
}

impl Globals {
    const COUNT: u32 = 4;

    /// They follow the module's own imported globals.
    fn after(imported: u32) -> Self {
        Self {
            fuel: imported,
            room: imported + 1,
            refused: imported + 2,
            stopped: imported + 3,
        }
    }
}

/// A memory or table, as far as growth is concerned.
#[derive(Clone, Copy, Debug)]
struct Growable {
    /// Is its index type i64?
    wide: bool,
    /// Its maximum in pages or elements; of an import, what the import asks for.
    maximum: u64,
    imported: bool,
}

impl Growable {
    fn memory(memory: &wasmparser::MemoryType, imported: bool) -> Self {
        let most = if memory.memory64 {
            growth::PAGES64_MAX
        } else {
            growth::PAGES32_MAX
        };
        Self {
            wide: memory.memory64,
            maximum: memory.maximum.unwrap_or(most),
            imported,
        }
    }

    fn table(table: &wasmparser::TableType, imported: bool) -> Self {
        let most = if table.table64 {
            u64::MAX
        } else {
            u64::from(u32::MAX)
        };
        Self {
            wide: table.table64,
            maximum: table.maximum.unwrap_or(most),
            imported,
        }
    }

    fn index(self) -> wasm_encoder::ValType {
        if self.wide {
            wasm_encoder::ValType::I64
        } else {
            wasm_encoder::ValType::I32
        }
    }
}
