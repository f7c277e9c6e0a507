//! The instructions that the rewrite adds. `wasm_encoder::Instruction` knows all of WebAssembly, and every tab would
//! carry the code for it.

use wasm_encoder::{BlockType, InstructionSink};

/// An instruction, named as in `wasm_encoder`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Code {
    Unreachable,
    /// A block without parameters and results.
    If,
    End,
    Return,
    Call(u32),
    Select,
    LocalGet(u32),
    LocalSet(u32),
    LocalTee(u32),
    GlobalGet(u32),
    GlobalSet(u32),
    MemorySize(u32),
    MemoryGrow(u32),
    TableSize(u32),
    TableGrow(u32),
    I32Const(i32),
    I64Const(i64),
    I32Eq,
    I64Eq,
    I64LtS,
    I64GtU,
    I64GeS,
    F32Ne,
    F64Ne,
    I64Add,
    I64Sub,
    I64Mul,
    I64DivU,
    I64ExtendI32U,
    I32Or,
    I64Or,
    I32ReinterpretF32,
    I64ReinterpretF64,
    F32ReinterpretI32,
    F64ReinterpretI64,
}

/// Appends instructions to the code of a function.
pub(super) fn emit(code: &mut Vec<u8>, instructions: &[Code]) {
    let mut sink = InstructionSink::new(code);
    for instruction in instructions {
        match *instruction {
            Code::Unreachable => sink.unreachable(),
            Code::If => sink.if_(BlockType::Empty),
            Code::End => sink.end(),
            Code::Return => sink.return_(),
            Code::Call(function) => sink.call(function),
            Code::Select => sink.select(),
            Code::LocalGet(local) => sink.local_get(local),
            Code::LocalSet(local) => sink.local_set(local),
            Code::LocalTee(local) => sink.local_tee(local),
            Code::GlobalGet(global) => sink.global_get(global),
            Code::GlobalSet(global) => sink.global_set(global),
            Code::MemorySize(memory) => sink.memory_size(memory),
            Code::MemoryGrow(memory) => sink.memory_grow(memory),
            Code::TableSize(table) => sink.table_size(table),
            Code::TableGrow(table) => sink.table_grow(table),
            Code::I32Const(value) => sink.i32_const(value),
            Code::I64Const(value) => sink.i64_const(value),
            Code::I32Eq => sink.i32_eq(),
            Code::I64Eq => sink.i64_eq(),
            Code::I64LtS => sink.i64_lt_s(),
            Code::I64GtU => sink.i64_gt_u(),
            Code::I64GeS => sink.i64_ge_s(),
            Code::F32Ne => sink.f32_ne(),
            Code::F64Ne => sink.f64_ne(),
            Code::I64Add => sink.i64_add(),
            Code::I64Sub => sink.i64_sub(),
            Code::I64Mul => sink.i64_mul(),
            Code::I64DivU => sink.i64_div_u(),
            Code::I64ExtendI32U => sink.i64_extend_i32_u(),
            Code::I32Or => sink.i32_or(),
            Code::I64Or => sink.i64_or(),
            Code::I32ReinterpretF32 => sink.i32_reinterpret_f32(),
            Code::I64ReinterpretF64 => sink.i64_reinterpret_f64(),
            Code::F32ReinterpretI32 => sink.f32_reinterpret_i32(),
            Code::F64ReinterpretI64 => sink.f64_reinterpret_i64(),
        };
    }
}
