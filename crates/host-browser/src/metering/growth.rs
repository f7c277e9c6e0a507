//! Functions that stand for `memory.grow` and `table.grow`: they keep the limit and say when it refused.

use asterism_executor::{TABLE_ELEMENT_BYTES, TABLE_ELEMENTS_MAX};
use wasm_encoder::{Function, ValType};

use super::{
    Globals, Growable, Stop,
    code::{self, Code as I},
};

/// Bytes of a page.
pub(super) const PAGE_BYTES: u64 = 1 << 16;
/// Most pages of a 32-bit memory.
pub(super) const PAGES32_MAX: u64 = 1 << 16;
/// Most pages of a 64-bit memory.
pub(super) const PAGES64_MAX: u64 = 1 << 48;

/// `(func (param $delta) (result))` for `memory.grow`.
pub(super) fn grow_memory(globals: Globals, memory: u32, growable: Growable) -> Function {
    let mut helper = Helper::new(globals, growable, 0);
    helper.fail_beyond(growable.maximum, I::MemorySize(memory));
    helper.refuse_beyond_room(PAGE_BYTES);
    helper.grow(&[I::LocalGet(0), I::MemoryGrow(memory)]);
    helper.take_room(PAGE_BYTES);
    helper.finish()
}

/// `(func (param $init) (param $delta) (result))` for `table.grow`.
pub(super) fn grow_table(globals: Globals, table: u32, growable: Growable) -> Function {
    let mut helper = Helper::new(globals, growable, 1);
    helper.fail_beyond(
        growable.maximum.min(TABLE_ELEMENTS_MAX),
        I::TableSize(table),
    );
    helper.refuse_beyond_room(TABLE_ELEMENT_BYTES);
    helper.grow(&[I::LocalGet(0), I::LocalGet(1), I::TableGrow(table)]);
    helper.take_room(TABLE_ELEMENT_BYTES);
    helper.finish()
}

struct Helper {
    globals: Globals,
    growable: Growable,
    /// The parameter that says by how much; two locals follow it: the same as i64, and the result.
    delta: u32,
    code: Vec<u8>,
}

impl Helper {
    fn new(globals: Globals, growable: Growable, delta: u32) -> Self {
        let mut helper = Self {
            globals,
            growable,
            delta,
            code: Vec::new(),
        };
        helper.emit(&[I::LocalGet(delta)]);
        helper.widen();
        helper.emit(&[I::LocalSet(helper.wide_delta())]);
        helper
    }

    fn emit(&mut self, instructions: &[I]) {
        code::emit(&mut self.code, instructions);
    }

    fn wide_delta(&self) -> u32 {
        self.delta + 1
    }

    fn result(&self) -> u32 {
        self.delta + 2
    }

    /// A value of the index type, as i64.
    fn widen(&mut self) {
        if !self.growable.wide {
            self.emit(&[I::I64ExtendI32U]);
        }
    }

    fn minus_one(&self) -> I {
        if self.growable.wide {
            I::I64Const(-1)
        } else {
            I::I32Const(-1)
        }
    }

    /// `if delta > maximum - size { return -1 }`: sizes never exceed their maximum.
    fn fail_beyond(&mut self, maximum: u64, size: I) {
        self.emit(&[
            I::LocalGet(self.wide_delta()),
            I::I64Const(maximum.cast_signed()),
        ]);
        self.emit(&[size]);
        self.widen();
        self.emit(&[
            I::I64Sub,
            I::I64GtU,
            I::If,
            self.minus_one(),
            I::Return,
            I::End,
        ]);
    }

    /// `if delta > room / unit { refused = 1; return -1 }`, where a page or an element has `unit` bytes.
    fn refuse_beyond_room(&mut self, unit: u64) {
        let Globals { room, refused, .. } = self.globals;
        self.emit(&[I::LocalGet(self.wide_delta()), I::GlobalGet(room)]);
        self.emit(&[
            I::I64Const(unit.cast_signed()),
            I::I64DivU,
            I::I64GtU,
            I::If,
        ]);
        self.emit(&[
            I::I32Const(1),
            I::GlobalSet(refused),
            self.minus_one(),
            I::Return,
            I::End,
        ]);
    }

    /// Grows. A failure that nothing explains is the host's.
    fn grow(&mut self, grow: &[I]) {
        self.emit(grow);
        self.emit(&[I::LocalTee(self.result()), self.minus_one()]);
        self.emit(&[
            if self.growable.wide {
                I::I64Eq
            } else {
                I::I32Eq
            },
            I::If,
        ]);
        if self.growable.imported {
            self.emit(&[self.minus_one(), I::Return, I::End]);
        } else {
            let stopped = self.globals.stopped;
            self.emit(&[
                I::I32Const(Stop::HostOutOfMemory as i32),
                I::GlobalSet(stopped),
                I::Unreachable,
                I::End,
            ]);
        }
    }

    fn take_room(&mut self, unit: u64) {
        let room = self.globals.room;
        self.emit(&[
            I::GlobalGet(room),
            I::LocalGet(self.wide_delta()),
            I::I64Const(unit.cast_signed()),
        ]);
        self.emit(&[I::I64Mul, I::I64Sub, I::GlobalSet(room)]);
    }

    fn finish(mut self) -> Function {
        self.emit(&[I::LocalGet(self.result()), I::End]);
        let mut function = Function::new([(1, ValType::I64), (1, self.growable.index())]);
        function.raw(self.code);
        function
    }
}
