//! The four globals that rewritten modules count in.

use asterism_protocol::TrapKind;
use js_sys::{JsString, Object, Reflect, WebAssembly::Global};
use wasm_bindgen::JsValue;

use crate::{
    halt::Halt,
    metering::{FUEL, IMPORT, REFUSED, ROOM, STOPPED, Stop},
};

/// Made once for a host: one task runs at a time, and sets them before it begins.
#[derive(Debug)]
pub(crate) struct Counters {
    fuel: Global,
    room: Global,
    refused: Global,
    stopped: Global,
    /// The module that they are imported from, and its name.
    module: Object,
    name: JsString,
}

impl Counters {
    pub(crate) fn new() -> Result<Self, JsValue> {
        let (fuel, room) = (global("i64", &0_i64.into())?, global("i64", &0_i64.into())?);
        let (refused, stopped) = (global("i32", &0.into())?, global("i32", &0.into())?);
        let module = Object::new();
        for (name, global) in [
            (FUEL, &fuel),
            (ROOM, &room),
            (REFUSED, &refused),
            (STOPPED, &stopped),
        ] {
            Reflect::set(&module, &name.into(), global)?;
        }
        Ok(Self {
            fuel,
            room,
            refused,
            stopped,
            module,
            name: IMPORT.into(),
        })
    }

    /// The beginning of the imports of a rewritten module.
    pub(crate) fn imports(&self) -> Result<Object, JsValue> {
        let imports = Object::new();
        Reflect::set(&imports, &self.name, &self.module)?;
        Ok(imports)
    }

    /// Begins a task.
    pub(crate) fn reset(&self, room: u64) {
        self.room
            .set_value(&i64::try_from(room).unwrap_or(i64::MAX).into());
        self.refused.set_value(&0.into());
        self.stopped.set_value(&0.into());
    }

    /// Takes what an instance starts with; false if that is more than there is.
    pub(crate) fn take_room(&self, bytes: u64) -> Result<bool, Halt> {
        let room = integer(&self.room)?.cast_unsigned();
        let Some(left) = room.checked_sub(bytes) else {
            self.refused.set_value(&1.into());
            return Ok(false);
        };
        self.room.set_value(&left.cast_signed().into());
        Ok(true)
    }

    /// Grants fuel.
    pub(crate) fn fill(&self, granted: u64) {
        self.fuel.set_value(&start(granted).into());
    }

    /// Takes fuel for what the host did; a guest that has no more than this is out of fuel.
    pub(crate) fn charge(&self, fuel: u64) -> Result<(), Halt> {
        if fuel == 0 {
            return Ok(());
        }
        let charged = i64::try_from(fuel).unwrap_or(i64::MAX);
        let counter = integer(&self.fuel)?.saturating_add(charged);
        if counter >= 0 {
            return Err(Halt::trap(
                TrapKind::OutOfFuel,
                "the fuel limit was reached",
            ));
        }
        self.fuel.set_value(&counter.into());
        Ok(())
    }

    /// What was used of it since.
    pub(crate) fn used(&self, granted: u64) -> Result<u64, Halt> {
        Ok(integer(&self.fuel)?
            .wrapping_sub(start(granted))
            .cast_unsigned())
    }

    pub(crate) fn growth_refused(&self) -> bool {
        self.refused.value().as_f64() != Some(0.0)
    }

    pub(crate) fn stop(&self) -> Option<Stop> {
        #[expect(clippy::cast_possible_truncation, reason = "the global is an i32")]
        let stopped = self.stopped.value().as_f64()? as i32;
        Stop::of_global(stopped)
    }
}

/// A global that core modules may write.
pub(crate) fn global(ty: &str, value: &JsValue) -> Result<Global, JsValue> {
    let descriptor = Object::new();
    Reflect::set(&descriptor, &"value".into(), &ty.into())?;
    Reflect::set(&descriptor, &"mutable".into(), &JsValue::TRUE)?;
    Global::new(&descriptor, value)
}

fn start(granted: u64) -> i64 {
    -i64::try_from(granted).unwrap_or(i64::MAX)
}

fn integer(global: &Global) -> Result<i64, Halt> {
    i64::try_from(global.value()).map_err(|_| Halt::host("a counter is no i64"))
}
