//! Function bodies: the counter kept in a local, costs added before control flow forks or leaves, checks.

use wasm_encoder::{
    Function, ValType,
    reencode::{Error, Reencode},
};
use wasmparser::Operator as O;

use super::{
    Globals, MeteringError, Stop,
    code::{self, Code as I},
    module::Rewriter,
};

/// Bulk operations of a constant size up to this are not checked (`SMALL_BULK_OP_COST` in Wasmtime).
const SMALL_BULK_COST: i64 = 128;

/// The bit by which a NaN is quiet.
const QUIET32: i32 = 1 << 22;
const QUIET64: i64 = 1 << 51;

/// Rewrites one function body. Operators are copied as they are encoded; only global indices and growth change.
pub(super) struct Metering<'a> {
    rewriter: &'a mut Rewriter,
    globals: Globals,
    /// Parameters of the function: its locals are numbered after them.
    params: u32,
    /// The counter's copy.
    fuel: u32,
    /// Sizes of bulk operations; declared if used.
    size32: u32,
    size64: u32,
    /// Operands of conversions from floats; what a minimum or maximum came to.
    float32: u32,
    float64: u32,
    /// Operands of a minimum or maximum, the left one and the right one.
    pair32: [u32; 2],
    pair64: [u32; 2],
    /// Is any of them used?
    scratch_used: bool,
    /// Costs not yet added to the counter.
    pending: i64,
    /// Enclosing blocks below the function's own.
    depth: u32,
    code: Vec<u8>,
}

/// What the operator before left on the stack.
#[derive(Clone, Copy)]
enum Top {
    Constant(i64),
    Unknown,
}

impl<'a> Metering<'a> {
    pub(super) fn new(rewriter: &'a mut Rewriter, params: u32) -> Self {
        let globals = rewriter.survey.globals();
        Self {
            rewriter,
            globals,
            params,
            fuel: 0,
            size32: 0,
            size64: 0,
            float32: 0,
            float64: 0,
            pair32: [0; 2],
            pair64: [0; 2],
            scratch_used: false,
            // Even an empty function costs one.
            pending: 1,
            depth: 0,
            code: Vec::new(),
        }
    }

    pub(super) fn body(
        mut self,
        body: &wasmparser::FunctionBody<'_>,
    ) -> Result<Function, Error<MeteringError>> {
        let mut locals = Vec::new();
        let mut count = self.params;
        for group in body.get_locals_reader()? {
            let (n, ty) = group?;
            count = count
                .checked_add(n)
                .filter(|count| *count < u32::MAX - 9)
                .ok_or_else(|| malformed("too many locals"))?;
            locals.push((n, self.rewriter.val_type(ty)?));
        }
        (self.fuel, self.size32, self.size64) = (count, count + 1, count + 2);
        (self.float32, self.float64) = (count + 3, count + 4);
        (self.pair32, self.pair64) = ([count + 5, count + 6], [count + 7, count + 8]);
        self.code.reserve(body.as_bytes().len() * 2);

        self.emit(&[I::GlobalGet(self.globals.fuel), I::LocalSet(self.fuel)]);
        self.check();
        let base = body.range().start;
        let mut reader = body.get_operators_reader()?;
        let mut top = Top::Unknown;
        while !reader.eof() {
            let start = reader.original_position();
            let operator = reader.read()?;
            let raw = &body.as_bytes()[start - base..reader.original_position() - base];
            self.operator(&operator, raw, reader.eof(), top)?;
            if self.code.len() > self.rewriter.room {
                return Err(Error::UserError(MeteringError::TooLarge));
            }
            top = match operator {
                // Zero-extended, as Cranelift has it.
                O::I32Const { value } => Top::Constant(i64::from(value.cast_unsigned())),
                O::I64Const { value } => {
                    Top::Constant(i64::try_from(value.cast_unsigned()).unwrap_or(i64::MAX))
                }
                O::Nop | O::LocalTee { .. } => top,
                _ => Top::Unknown,
            };
        }

        locals.push((1, ValType::I64));
        if self.scratch_used {
            locals
                .extend([ValType::I32, ValType::I64, ValType::F32, ValType::F64].map(|ty| (1, ty)));
            locals.extend([(2, ValType::F32), (2, ValType::F64)]);
        }
        self.rewriter.room -= self.code.len();
        let mut function = Function::new(locals);
        function.raw(self.code);
        Ok(function)
    }

    fn operator(
        &mut self,
        operator: &O<'_>,
        raw: &[u8],
        last: bool,
        top: Top,
    ) -> Result<(), Error<MeteringError>> {
        self.pending += cost(operator);
        match operator {
            // Control leaves the function: whoever goes on reads the global.
            O::Unreachable
            | O::Return
            | O::Call { .. }
            | O::CallIndirect { .. }
            | O::CallRef { .. }
            | O::ReturnCall { .. }
            | O::ReturnCallIndirect { .. }
            | O::ReturnCallRef { .. } => {
                self.add_pending();
                self.save();
            }
            O::Loop { .. } | O::If { .. } | O::Else => self.add_pending(),
            O::End => {
                self.add_pending();
                if last {
                    self.save();
                }
            }
            O::Br { relative_depth }
            | O::BrIf { relative_depth }
            | O::BrOnNull { relative_depth }
            | O::BrOnNonNull { relative_depth } => {
                self.add_pending();
                if *relative_depth == self.depth {
                    self.save();
                }
            }
            O::BrTable { targets } => {
                self.add_pending();
                let mut leaves = targets.default() == self.depth;
                for target in targets.targets() {
                    leaves |= target? == self.depth;
                }
                if leaves {
                    self.save();
                }
            }
            O::MemoryCopy { dst_mem, src_mem } => {
                let wide = self.wide_memory(*dst_mem) && self.wide_memory(*src_mem);
                self.bulk(wide, 1, top);
            }
            O::MemoryFill { mem } => self.bulk(self.wide_memory(*mem), 1, top),
            O::MemoryInit { .. } | O::TableInit { .. } => self.bulk(false, 1, top),
            O::TableCopy {
                dst_table,
                src_table,
            } => {
                let wide = self.wide_table(*dst_table) && self.wide_table(*src_table);
                self.bulk(wide, 1, top);
            }
            O::TableFill { table } | O::TableGrow { table } => {
                self.bulk(self.wide_table(*table), 1, top)
            }
            O::MemoryGrow { mem } => self.bulk(self.wide_memory(*mem), 0, top),
            O::I32TruncF32S | O::I32TruncF32U | O::I64TruncF32S | O::I64TruncF32U => {
                self.stop_not_a_number(self.float32, I::F32Ne);
            }
            O::I32TruncF64S | O::I32TruncF64U | O::I64TruncF64S | O::I64TruncF64U => {
                self.stop_not_a_number(self.float64, I::F64Ne);
            }
            O::F32Min | O::F32Max => self.keep_operands(self.pair32),
            O::F64Min | O::F64Max => self.keep_operands(self.pair64),
            _ => {}
        }
        match operator {
            O::Block { .. } | O::Loop { .. } | O::If { .. } => self.depth += 1,
            O::End if !last => self.depth -= 1,
            _ => {}
        }
        match operator {
            O::GlobalGet { global_index } => {
                let index = self.rewriter.global_index(*global_index)?;
                self.emit(&[I::GlobalGet(index)]);
            }
            O::GlobalSet { global_index } => {
                let index = self.rewriter.global_index(*global_index)?;
                self.emit(&[I::GlobalSet(index)]);
            }
            O::MemoryGrow { mem } => self.emit(&[I::Call(self.rewriter.survey.grow_memory(*mem))]),
            O::TableGrow { table } => {
                self.emit(&[I::Call(self.rewriter.survey.grow_table(*table))])
            }
            other => match proposal(other) {
                "mvp"
                | "sign_extension"
                | "saturating_float_to_int"
                | "bulk_memory"
                | "reference_types"
                | "tail_call"
                | "simd"
                | "function_references" => self.code.extend_from_slice(raw),
                proposal => return Err(Error::UserError(MeteringError::Unsupported(proposal))),
            },
        }
        match operator {
            O::Loop { .. } => self.check(),
            O::F32Min | O::F32Max => {
                self.nan_of(self.pair32, self.float32, I::F32Ne);
                self.emit(&[I::I32ReinterpretF32, I::I32Const(QUIET32), I::I32Or]);
                self.emit(&[I::F32ReinterpretI32, I::LocalSet(self.float32), I::End]);
                self.emit(&[I::LocalGet(self.float32)]);
            }
            O::F64Min | O::F64Max => {
                self.nan_of(self.pair64, self.float64, I::F64Ne);
                self.emit(&[I::I64ReinterpretF64, I::I64Const(QUIET64), I::I64Or]);
                self.emit(&[I::F64ReinterpretI64, I::LocalSet(self.float64), I::End]);
                self.emit(&[I::LocalGet(self.float64)]);
            }
            O::Call { .. } | O::CallIndirect { .. } | O::CallRef { .. } => {
                self.emit(&[I::GlobalGet(self.globals.fuel), I::LocalSet(self.fuel)]);
            }
            _ => {}
        }
        Ok(())
    }

    fn emit(&mut self, instructions: &[I]) {
        code::emit(&mut self.code, instructions);
    }

    fn wide_memory(&self, memory: u32) -> bool {
        self.rewriter
            .survey
            .memories
            .get(memory as usize)
            .is_some_and(|memory| memory.wide)
    }

    fn wide_table(&self, table: u32) -> bool {
        self.rewriter
            .survey
            .tables
            .get(table as usize)
            .is_some_and(|(table, _)| table.wide)
    }

    fn add_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending != 0 {
            self.emit(&[
                I::LocalGet(self.fuel),
                I::I64Const(pending),
                I::I64Add,
                I::LocalSet(self.fuel),
            ]);
        }
    }

    fn save(&mut self) {
        self.emit(&[I::LocalGet(self.fuel), I::GlobalSet(self.globals.fuel)]);
    }

    /// Adds what is pending, and stops the guest when nothing is left.
    fn check(&mut self) {
        self.emit(&[I::LocalGet(self.fuel)]);
        let pending = std::mem::take(&mut self.pending);
        if pending != 0 {
            self.emit(&[I::I64Const(pending), I::I64Add, I::LocalTee(self.fuel)]);
        }
        self.emit(&[I::I64Const(0), I::I64GeS, I::If]);
        self.emit(&[
            I::I32Const(Stop::OutOfFuel as i32),
            I::GlobalSet(self.globals.stopped),
            I::Unreachable,
            I::End,
        ]);
    }

    /// Engines of browsers do not say whether a float was too large for an integer or no number at all; Wasmtime does.
    fn stop_not_a_number(&mut self, scratch: u32, differs: I) {
        self.scratch_used = true;
        self.emit(&[
            I::LocalTee(scratch),
            I::LocalGet(scratch),
            I::LocalGet(scratch),
        ]);
        self.emit(&[differs, I::If, I::I32Const(Stop::NotANumber as i32)]);
        self.emit(&[I::GlobalSet(self.globals.stopped), I::Unreachable, I::End]);
    }

    fn keep_operands(&mut self, [left, right]: [u32; 2]) {
        self.scratch_used = true;
        self.emit(&[I::LocalSet(right), I::LocalTee(left), I::LocalGet(right)]);
    }

    /// Keeps what a minimum or maximum came to. Where that is no number, opens a block with the operand that is none, the right one
    /// if both are: engines of browsers answer with a NaN of their own, Wasmtime with this one made quiet.
    fn nan_of(&mut self, [left, right]: [u32; 2], result: u32, differs: I) {
        self.emit(&[I::LocalTee(result), I::LocalGet(result), differs, I::If]);
        self.emit(&[I::LocalGet(right), I::LocalGet(left)]);
        self.emit(&[I::LocalGet(right), I::LocalGet(right), differs, I::Select]);
    }

    /// The prelude of an operator whose size is on top of the stack.
    fn bulk(&mut self, wide: bool, cost_per_unit: i64, top: Top) {
        match top {
            Top::Constant(units) => {
                let cost = units.saturating_mul(cost_per_unit);
                self.pending = self.pending.saturating_add(cost);
                if cost <= SMALL_BULK_COST {
                    return;
                }
            }
            Top::Unknown if cost_per_unit == 0 => {}
            Top::Unknown => {
                self.add_pending();
                self.scratch_used = true;
                if wide {
                    let size = self.size64;
                    // At most i64::MAX, and wrapping from there, as Wasmtime does.
                    self.emit(&[
                        I::LocalTee(size),
                        I::I64Const(i64::MAX),
                        I::LocalGet(size),
                        I::LocalGet(size),
                    ]);
                    self.emit(&[I::I64Const(0), I::I64LtS, I::Select]);
                } else {
                    self.emit(&[
                        I::LocalTee(self.size32),
                        I::LocalGet(self.size32),
                        I::I64ExtendI32U,
                    ]);
                }
                self.emit(&[I::LocalGet(self.fuel), I::I64Add, I::LocalSet(self.fuel)]);
            }
        }
        self.check();
    }
}

/// Wasmtime's default costs.
fn cost(operator: &O<'_>) -> i64 {
    match operator {
        O::Nop
        | O::Drop
        | O::Block { .. }
        | O::Loop { .. }
        | O::Unreachable
        | O::Return
        | O::Else
        | O::End => 0,
        _ => 1,
    }
}

macro_rules! define_proposal {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
        /// The WebAssembly proposal that an operator came with.
        fn proposal(operator: &O<'_>) -> &'static str {
            match operator {
                $( O::$op $({ $($arg: _),* })? => stringify!($proposal), )*
                _ => "unknown",
            }
        }
    };
}
wasmparser::for_each_operator!(define_proposal);

fn malformed(reason: &str) -> Error<MeteringError> {
    Error::UserError(MeteringError::Malformed(reason.to_owned()))
}
