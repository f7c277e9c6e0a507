//! The canonical ABI: values between Rust and a guest's memory.
//!
//! Memory is touched once for each block: what is lowered is written into a buffer here and copied over, what is lifted
//! is copied out before it is read. Guests are asked for memory in Wasmtime's order (a list, then what its elements
//! point to), so that their heaps, and their fuel, are alike.

mod lift;
mod lower;

pub(crate) use self::lower::mismatch;

use asterism_component::Val;
use asterism_protocol::{TrapKind, limits::OUTCOME_BYTES_MAX};
use js_sys::{ArrayBuffer, Uint8Array, WebAssembly};
use std::cell::Cell;
use wasm_bindgen::{JsCast as _, JsValue};
use wasmtime_environ::component::TypeResourceTableIndex;

use crate::{flat::u32_of_number, halt::Halt, handles::Handles, instance::Instance};

/// Most values (but for bytes in byte strings) that a guest may hand over at once. Each takes at least a byte of an
/// outcome, so more would be too large in any case; without this, a list of four billion empty records would cost a guest nothing.
const VALUES_MAX: usize = OUTCOME_BYTES_MAX;

/// Memory and allocator of one lifted or lowered function, in one instance.
pub(crate) struct Abi<'a> {
    instance: &'a Instance,
    memory: Option<&'a WebAssembly::Memory>,
    realloc: Option<&'a js_sys::Function>,
    values_left: Cell<usize>,
    /// The component instance whose function it is.
    guest: usize,
    /// Handles of the guest that were lifted.
    held: Cell<usize>,
}

impl<'a> Abi<'a> {
    pub(crate) fn new(
        instance: &'a Instance,
        memory: Option<&'a WebAssembly::Memory>,
        realloc: Option<&'a js_sys::Function>,
        guest: usize,
    ) -> Self {
        Self {
            instance,
            memory,
            realloc,
            values_left: Cell::new(VALUES_MAX),
            guest,
            held: Cell::new(0),
        }
    }

    /// A view of guest memory; made anew each time, because growth detaches views.
    fn view(&self, address: u32, length: u32) -> Result<Uint8Array, Halt> {
        let memory = self
            .memory
            .ok_or_else(|| Halt::abi("the function has no memory"))?;
        let buffer: ArrayBuffer = memory.buffer().unchecked_into();
        // Up to 4 GiB, which is one more than a u32 holds: so numbers, not integers.
        if f64::from(address) + f64::from(length) > buffer_length(&buffer) {
            return Err(Halt::abi("a pointer leads out of the guest's memory"));
        }
        Ok(Uint8Array::new_with_byte_offset_and_length(
            &buffer, address, length,
        ))
    }

    fn read(&self, address: u32, length: u32) -> Result<Vec<u8>, Halt> {
        Ok(self.view(address, length)?.to_vec())
    }

    fn write(&self, address: u32, bytes: &[u8]) -> Result<(), Halt> {
        self.view(address, length_of(bytes.len())?)?
            .copy_from(bytes);
        Ok(())
    }

    /// Asks the guest for memory. Whether it has what it gives shows when it is written to.
    fn allocate(&self, align: u32, size: u32) -> Result<u32, Halt> {
        let realloc = self
            .realloc
            .ok_or_else(|| Halt::abi("the function has no allocator"))?;
        let address = self.instance.allocating(self.guest, || {
            let (zero, align, size) = (JsValue::from(0), JsValue::from(align), JsValue::from(size));
            realloc.call4(&JsValue::UNDEFINED, &zero, &zero, &align, &size)
        })?;
        let address = u32_of_number(address.as_f64().unwrap_or_default());
        if !address.is_multiple_of(align) {
            return Err(Halt::abi(
                "the guest's allocator gave memory that is not aligned",
            ));
        }
        Ok(address)
    }

    /// A handle that the guest gives to the world.
    fn lift_own(&self, ty: TypeResourceTableIndex, handle: u32) -> Result<Val, Halt> {
        let table = self.instance.resource(ty)?;
        let mut handles = self.instance.handles();
        let rep = handles.take(table, ty, handle)?;
        self.hold(&mut handles)?;
        Ok(Val::Own(rep))
    }

    /// A handle that the guest lends to the world.
    fn lift_borrow(&self, ty: TypeResourceTableIndex, handle: u32) -> Result<Val, Halt> {
        let table = self.instance.resource(ty)?;
        let mut handles = self.instance.handles();
        let rep = handles.lend(table, ty, handle)?;
        self.hold(&mut handles)?;
        Ok(Val::Borrow(rep))
    }

    /// In Wasmtime the host has handles, too, until it has read its arguments.
    fn hold(&self, handles: &mut Handles) -> Result<(), Halt> {
        self.held.set(self.held.get() + 1);
        handles.hold()
    }

    /// The arguments are read.
    pub(crate) fn release(&self) {
        self.instance.handles().release(self.held.take());
    }

    /// A handle that the world gives to the guest.
    fn lower_own(&self, ty: TypeResourceTableIndex, rep: u32) -> Result<u32, Halt> {
        let table = self.instance.resource(ty)?;
        self.instance.handles().own(table, ty, rep)
    }

    fn count_values(&self, count: usize) -> Result<(), Halt> {
        let left = self.values_left.get().checked_sub(count).ok_or_else(|| {
            Halt::trap(
                TrapKind::OutputTooLarge,
                format!("more than {VALUES_MAX} values were handed over"),
            )
        })?;
        self.values_left.set(left);
        Ok(())
    }
}

/// `byteLength` as a number: 4 GiB do not fit the u32 of its typed form.
fn buffer_length(buffer: &ArrayBuffer) -> f64 {
    thread_local! {
        static BYTE_LENGTH: JsValue = JsValue::from_str("byteLength");
    }
    BYTE_LENGTH
        .with(|key| js_sys::Reflect::get(buffer, key))
        .ok()
        .and_then(|length| length.as_f64())
        .unwrap_or_default()
}

fn length_of(length: usize) -> Result<u32, Halt> {
    u32::try_from(length).map_err(|_| {
        Halt::trap(
            TrapKind::OutOfMemory,
            "a value is longer than wasm32 can address",
        )
    })
}
