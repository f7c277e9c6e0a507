//! A guest's memory and allocator, as the canonical ABI sees them through JavaScript.

use std::{borrow::Cow, cell::Cell};

use asterism_component::{
    Val,
    abi::{Broken, Encoding, Source, Target},
};
use js_sys::{ArrayBuffer, Uint8Array, WebAssembly};
use wasm_bindgen::{JsCast as _, JsValue};
use wasmtime_environ::component::TypeResourceTableIndex;

use crate::{flat::u32_of_number, halt::Halt, handles::Handles, instance::Instance};

/// Memory and allocator of one lifted or lowered function, in one instance.
pub(crate) struct Abi<'a> {
    instance: &'a Instance,
    memory: Option<&'a WebAssembly::Memory>,
    realloc: Option<&'a js_sys::Function>,
    encoding: Encoding,
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
        encoding: Encoding,
        guest: usize,
    ) -> Self {
        Self {
            instance,
            memory,
            realloc,
            encoding,
            guest,
            held: Cell::new(0),
        }
    }

    /// The buffer of the memory now: growth detaches the one before. `None` where the function has no memory.
    fn buffer(&self) -> Option<ArrayBuffer> {
        Some(self.memory?.buffer().unchecked_into())
    }

    /// A view of bytes of the memory; made anew each time. `None` where they lead out of it.
    fn view(&self, address: u32, bytes: u32) -> Option<Uint8Array> {
        let buffer = self.buffer()?;
        if u64::from(address) + u64::from(bytes) > length(&buffer) {
            return None;
        }
        Some(Uint8Array::new_with_byte_offset_and_length(
            &buffer, address, bytes,
        ))
    }
}

impl Abi<'_> {
    /// In Wasmtime the host has handles, too, until it has read its arguments.
    fn hold(&self, handles: &mut Handles) -> Result<(), Halt> {
        self.held.set(self.held.get() + 1);
        handles.hold()
    }

    /// The arguments are read.
    pub(crate) fn release(&self) {
        self.instance.handles().release(self.held.take());
    }
}

impl Target for Abi<'_> {
    type Error = Halt;

    fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn size(&mut self) -> u64 {
        self.buffer().map_or(0, |buffer| length(&buffer))
    }

    fn reallocate(&mut self, old: (u32, u32), align: u32, size: u32) -> Result<u32, Halt> {
        let realloc = self
            .realloc
            .ok_or_else(|| Halt::abi("the function has no allocator"))?;
        let address = self.instance.allocating(self.guest, || {
            let (old, old_size) = (JsValue::from(old.0), JsValue::from(old.1));
            let (align, size) = (JsValue::from(align), JsValue::from(size));
            realloc.call4(&JsValue::UNDEFINED, &old, &old_size, &align, &size)
        })?;
        Ok(u32_of_number(address.as_f64().unwrap_or_default()))
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), Halt> {
        let view = self.view(address, bytes.len() as u32);
        view.ok_or_else(|| Halt::host("a write outside of the guest's memory"))?
            .copy_from(bytes);
        Ok(())
    }

    /// A handle that the world gives to the guest.
    fn lower_own(&mut self, table: u32, rep: u32) -> Result<u32, Halt> {
        let ty = TypeResourceTableIndex::from_u32(table);
        let table = self.instance.resource(ty)?;
        self.instance.handles().own(table, ty, rep)
    }
}

impl Source for Abi<'_> {
    type Error = Halt;

    fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn read(&self, address: u32, length: u32) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Owned(self.view(address, length)?.to_vec()))
    }

    /// A handle that the guest gives to the world.
    fn lift_own(&self, table: u32, handle: u32) -> Result<Val, Halt> {
        let ty = TypeResourceTableIndex::from_u32(table);
        let table = self.instance.resource(ty)?;
        let mut handles = self.instance.handles();
        let rep = handles.take(table, ty, handle)?;
        self.hold(&mut handles)?;
        Ok(Val::Own(rep))
    }

    /// A handle that the guest lends to the world.
    fn lift_borrow(&self, table: u32, handle: u32) -> Result<Val, Halt> {
        let ty = TypeResourceTableIndex::from_u32(table);
        let table = self.instance.resource(ty)?;
        let mut handles = self.instance.handles();
        let rep = handles.lend(table, ty, handle)?;
        self.hold(&mut handles)?;
        Ok(Val::Borrow(rep))
    }
}

/// What the shared part of the ABI found.
impl From<Broken> for Halt {
    fn from(broken: Broken) -> Self {
        Self::trap(broken.kind, broken.message)
    }
}

/// `byteLength` as a number: 4 GiB do not fit the u32 of its typed form.
fn length(buffer: &ArrayBuffer) -> u64 {
    thread_local! {
        static BYTE_LENGTH: JsValue = JsValue::from_str("byteLength");
    }
    let length = BYTE_LENGTH.with(|key| js_sys::Reflect::get(buffer, key));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a length of at most 4 GiB"
    )]
    let length = length
        .ok()
        .and_then(|length| length.as_f64())
        .unwrap_or_default() as u64;
    length
}
