//! A core module in the clothes that the encoder of components knows: exports under their names in WIT, and an allocator.

use std::convert::Infallible;

use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, MemArg, TypeSection,
    ValType,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{ExternalKind, Parser};

use super::module::Module;
use crate::Refusal;

/// What becomes of a module's exports.
#[derive(Default)]
pub(super) struct Outfit {
    /// Functions: the name they have, the name they get.
    functions: Vec<(String, String)>,
    /// A function that takes a size and gives an address, for which `cabi_realloc` is added.
    pub(super) allocator: Option<u32>,
}

impl Outfit {
    pub(super) fn export(&mut self, is: &str, becomes: String) {
        self.functions.push((is.to_owned(), becomes));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.functions.iter().any(|(_, becomes)| becomes == name)
    }
}

/// The module with these exports, its memory and what it needs to begin.
pub(super) fn dress(bytes: &[u8], read: &Module<'_>, outfit: Outfit) -> Result<Vec<u8>, Refusal> {
    let (types, functions) = read.counts();
    let mut dresser = Dresser {
        outfit,
        types,
        functions,
    };
    let mut module = wasm_encoder::Module::new();
    dresser
        .parse_core_module(&mut module, Parser::new(0), bytes)
        .map_err(|error| Refusal::of(format!("it cannot be read: {error}")))?;
    Ok(module.finish())
}

struct Dresser {
    outfit: Outfit,
    /// How many there are before the one that is added.
    types: u32,
    functions: u32,
}

type Fallible<T> = Result<T, Error<Infallible>>;

impl Reencode for Dresser {
    type Error = Infallible;

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Fallible<()> {
        utils::parse_type_section(self, types, section)?;
        if self.outfit.allocator.is_some() {
            types.ty().function([ValType::I32; 4], [ValType::I32]);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Fallible<()> {
        utils::parse_function_section(self, functions, section)?;
        if self.outfit.allocator.is_some() {
            functions.function(self.types);
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Fallible<()> {
        for export in section {
            let export = export?;
            match export.kind {
                ExternalKind::Func | ExternalKind::FuncExact => {
                    let named = self
                        .outfit
                        .functions
                        .iter()
                        .filter(|(is, _)| is == export.name);
                    for (_, becomes) in named {
                        exports.export(becomes, ExportKind::Func, export.index);
                    }
                    if matches!(export.name, "cabi_realloc" | "_initialize") {
                        exports.export(export.name, ExportKind::Func, export.index);
                    }
                }
                ExternalKind::Memory => {
                    exports.export("memory", ExportKind::Memory, export.index);
                }
                // Nothing else is taken out of a module by its component.
                ExternalKind::Table | ExternalKind::Global | ExternalKind::Tag => {}
            }
        }
        if self.outfit.allocator.is_some() {
            exports.export("cabi_realloc", ExportKind::Func, self.functions);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Fallible<()> {
        utils::parse_code_section(self, code, section)?;
        if let Some(allocator) = self.outfit.allocator {
            code.function(&reallocate(allocator));
        }
        Ok(())
    }

    /// Names stay, for backtraces. Other sections of tools say what is no longer so.
    fn parse_custom_section(
        &mut self,
        module: &mut wasm_encoder::Module,
        section: wasmparser::CustomSectionReader<'_>,
    ) -> Fallible<()> {
        match section.as_known() {
            wasmparser::KnownCustom::Name(_) => utils::parse_custom_section(self, module, section),
            _ => Ok(()),
        }
    }
}

/// `cabi_realloc(old, old_size, align, size)`: a new block, aligned, with what was in the old one. What an allocator for
/// bytes gives need not be aligned, so more is asked for.
fn reallocate(allocator: u32) -> Function {
    let [old, old_size, align, size, address] = [0, 1, 2, 3, 4];
    let mut function = Function::new([(1, ValType::I32)]);
    let mut code = function.instructions();
    // address = (allocate(size + align - 1) + align - 1) & -align
    code.local_get(size)
        .local_get(align)
        .i32_add()
        .i32_const(1)
        .i32_sub();
    code.call(allocator);
    code.local_get(align).i32_add().i32_const(1).i32_sub();
    code.i32_const(0).local_get(align).i32_sub().i32_and();
    code.local_set(address);
    // Byte by byte, so that a module needs no bulk memory: only strings in other encodings are ever moved.
    code.local_get(size)
        .local_get(old_size)
        .local_get(size)
        .local_get(old_size);
    code.i32_lt_u().select().local_set(size);
    code.block(wasm_encoder::BlockType::Empty)
        .loop_(wasm_encoder::BlockType::Empty);
    code.local_get(size).i32_eqz().br_if(1);
    code.local_get(size).i32_const(1).i32_sub().local_set(size);
    let byte = MemArg {
        offset: 0,
        align: 0,
        memory_index: 0,
    };
    code.local_get(address).local_get(size).i32_add();
    code.local_get(old)
        .local_get(size)
        .i32_add()
        .i32_load8_u(byte);
    code.i32_store8(byte);
    code.br(0).end().end();
    code.local_get(address).end();
    function
}
