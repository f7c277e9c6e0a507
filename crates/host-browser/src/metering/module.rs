//! The sections of a module: four more imports, shifted global indices, helper functions at the end.

use std::convert::Infallible;

use asterism_executor::TABLE_ELEMENT_BYTES;
use wasm_encoder::{
    CodeSection, ConstExpr, EntityType, FunctionSection, GlobalType, ImportSection, Module,
    SectionId, TypeSection, ValType,
    reencode::{Error, Reencode, utils},
};
use wasmparser::{CompositeInnerType, MemoryType, Parser, Payload, TypeRef};

use super::{
    FUEL, Globals, Growable, IMPORT, Metered, MeteringError, REFUSED, ROOM, STOPPED,
    body::Metering,
    code::{self, Code},
    growth,
};

/// Rewrites a valid core module.
///
/// # Errors
/// The module is malformed, or uses operators whose fuel is not defined here.
pub fn meter(wasm: &[u8]) -> Result<Metered, MeteringError> {
    let survey = Survey::of(wasm)?;
    let initial_bytes = survey.initial_bytes;
    let mut rewriter = Rewriter {
        survey,
        bodies: 0,
        imports_added: false,
        room: GROWTH_MAX * wasm.len() + GROWTH_FREE,
    };
    let mut module = Module::new();
    rewriter
        .parse_core_module(&mut module, Parser::new(0), wasm)
        .map_err(|e| match e {
            Error::UserError(error) => error,
            other => MeteringError::Malformed(other.to_string()),
        })?;
    Ok(Metered {
        wasm: module.finish(),
        initial_bytes,
    })
}

/// How many times its size the code of a module may take when it is rewritten, beside what any may take: real ones take twice
/// as much, and one made for it forty times.
pub(super) const GROWTH_MAX: usize = 4;
const GROWTH_FREE: usize = 16 << 20;

/// What must be known of a module before its first section is written.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Parameters of each type; `None` for types that are no functions.
    pub(super) params: Vec<Option<u32>>,
    /// The type of each defined function.
    pub(super) functions: Vec<u32>,
    imported_functions: u32,
    imported_globals: u32,
    has_imports: bool,
    pub(super) memories: Vec<Growable>,
    pub(super) tables: Vec<(Growable, wasmparser::RefType)>,
    initial_bytes: u64,
}

impl Survey {
    fn of(wasm: &[u8]) -> Result<Self, MeteringError> {
        let malformed = |e: wasmparser::Error| MeteringError::Malformed(e.to_string());
        let mut survey = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.map_err(malformed)? {
                Payload::TypeSection(section) => {
                    for group in section {
                        survey
                            .params
                            .extend(group.map_err(malformed)?.into_types().map(|ty| {
                                match ty.composite_type.inner {
                                    CompositeInnerType::Func(ty) => {
                                        u32::try_from(ty.params().len()).ok()
                                    }
                                    CompositeInnerType::Array(_)
                                    | CompositeInnerType::Struct(_)
                                    | CompositeInnerType::Cont(_) => None,
                                }
                            }));
                    }
                }
                Payload::ImportSection(section) => {
                    survey.has_imports = true;
                    for import in section.into_imports() {
                        survey.import(&import.map_err(malformed)?)?;
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        survey.functions.push(ty.map_err(malformed)?);
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        survey.memory(memory.map_err(malformed)?);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        let table = table.map_err(malformed)?.ty;
                        survey.starts_with(table.initial, TABLE_ELEMENT_BYTES);
                        survey
                            .tables
                            .push((Growable::table(&table, false), table.element_type));
                    }
                }
                // Bodies are read once, when they are rewritten.
                Payload::CodeSectionStart { .. } => break,
                _ => {}
            }
        }
        Ok(survey)
    }

    fn import(&mut self, import: &wasmparser::Import<'_>) -> Result<(), MeteringError> {
        if import.module == IMPORT {
            return Err(MeteringError::ReservedImport);
        }
        match import.ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => self.imported_functions += 1,
            TypeRef::Global(_) => self.imported_globals += 1,
            TypeRef::Memory(memory) => self.memories.push(Growable::memory(&memory, true)),
            TypeRef::Table(table) => self
                .tables
                .push((Growable::table(&table, true), table.element_type)),
            TypeRef::Tag(_) => return Err(MeteringError::Unsupported("exceptions")),
        }
        Ok(())
    }

    /// Counts what a memory or table begins with.
    fn starts_with(&mut self, units: u64, unit: u64) {
        let bytes = units.saturating_mul(unit);
        self.initial_bytes = self.initial_bytes.saturating_add(bytes);
    }

    fn memory(&mut self, memory: MemoryType) {
        self.starts_with(memory.initial, growth::PAGE_BYTES);
        self.memories.push(Growable::memory(&memory, false));
    }

    pub(super) fn globals(&self) -> Globals {
        Globals::after(self.imported_globals)
    }

    fn helpers(&self) -> u32 {
        self.imported_functions
            + u32::try_from(self.functions.len())
                .expect("a module has fewer functions than u32::MAX")
    }

    /// The function that stands for `memory.grow` of this memory.
    pub(super) fn grow_memory(&self, memory: u32) -> u32 {
        self.helpers() + memory
    }

    /// The function that stands for `table.grow` of this table.
    pub(super) fn grow_table(&self, table: u32) -> u32 {
        self.grow_memory(
            u32::try_from(self.memories.len()).expect("a module has fewer memories than u32::MAX"),
        ) + table
    }
}

/// Copies a module section by section.
pub(super) struct Rewriter {
    pub(super) survey: Survey,
    /// Bodies rewritten so far.
    bodies: usize,
    imports_added: bool,
    /// Bytes of code that may still come.
    pub(super) room: usize,
}

type Fallible<T> = Result<T, Error<MeteringError>>;

impl Rewriter {
    fn add_imports(&mut self, section: &mut ImportSection) {
        self.imports_added = true;
        for (name, val_type) in [
            (FUEL, ValType::I64),
            (ROOM, ValType::I64),
            (REFUSED, ValType::I32),
            (STOPPED, ValType::I32),
        ] {
            section.import(
                IMPORT,
                name,
                EntityType::Global(GlobalType {
                    val_type,
                    mutable: true,
                    shared: false,
                }),
            );
        }
    }

    /// Types of the helpers: memories first, then tables.
    fn helper_types(&mut self) -> Fallible<Vec<(Vec<ValType>, ValType)>> {
        let mut types: Vec<_> = self
            .survey
            .memories
            .iter()
            .map(|memory| (vec![memory.index()], memory.index()))
            .collect();
        for (table, element) in self.survey.tables.clone() {
            types.push((
                vec![ValType::Ref(self.ref_type(element)?), table.index()],
                table.index(),
            ));
        }
        Ok(types)
    }
}

impl Reencode for Rewriter {
    type Error = MeteringError;

    fn global_index(&mut self, global: u32) -> Fallible<u32> {
        Ok(if global < self.survey.imported_globals {
            global
        } else {
            global + Globals::COUNT
        })
    }

    /// Operators are copied as they are encoded; only the index of a global changes.
    fn const_expr(&mut self, expression: wasmparser::ConstExpr<'_>) -> Fallible<ConstExpr> {
        let mut reader = expression.get_binary_reader();
        let raw = reader.read_bytes(reader.bytes_remaining())?;
        let mut operators = expression.get_operators_reader();
        let base = operators.original_position();
        let mut copied = Vec::with_capacity(raw.len());
        while !operators.is_end_then_eof() {
            let start = operators.original_position() - base;
            match operators.read()? {
                wasmparser::Operator::GlobalGet { global_index } => {
                    code::emit(
                        &mut copied,
                        &[Code::GlobalGet(self.global_index(global_index)?)],
                    );
                }
                _ => copied.extend_from_slice(&raw[start..operators.original_position() - base]),
            }
        }
        Ok(ConstExpr::raw(copied))
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Fallible<()> {
        utils::parse_type_section(self, types, section)?;
        for (params, result) in self.helper_types()? {
            types.ty().function(params, [result]);
        }
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: wasmparser::ImportSectionReader<'_>,
    ) -> Fallible<()> {
        utils::parse_import_section(self, imports, section)?;
        self.add_imports(imports);
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Fallible<()> {
        let behind_types = !matches!(before, Some(SectionId::Type | SectionId::Import));
        if behind_types && !self.survey.has_imports && !self.imports_added {
            let mut imports = ImportSection::new();
            self.add_imports(&mut imports);
            module.section(&imports);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Fallible<()> {
        utils::parse_function_section(self, functions, section)?;
        let first = u32::try_from(self.survey.params.len())
            .expect("a module has fewer types than u32::MAX");
        let count =
            u32::try_from(self.survey.memories.len() + self.survey.tables.len()).expect("as above");
        (first..first + count).for_each(|ty| {
            functions.function(ty);
        });
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Fallible<()> {
        utils::parse_code_section(self, code, section)?;
        let globals = self.survey.globals();
        for (index, memory) in (0..).zip(&self.survey.memories) {
            code.function(&growth::grow_memory(globals, index, *memory));
        }
        for (index, (table, _)) in (0..).zip(&self.survey.tables) {
            code.function(&growth::grow_table(globals, index, *table));
        }
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        body: wasmparser::FunctionBody<'_>,
    ) -> Fallible<()> {
        let ty = self.survey.functions.get(self.bodies).copied();
        let params = ty.and_then(|ty| self.survey.params.get(ty as usize).copied().flatten());
        let params =
            params.ok_or_else(|| MeteringError::Malformed("more bodies than functions".into()));
        self.bodies += 1;
        let rewritten = Metering::new(self, params.map_err(Error::UserError)?).body(&body)?;
        code.function(&rewritten);
        Ok(())
    }

    /// Only names are kept, for backtraces, and only if they can be read: a broken name section is no error of the module.
    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: wasmparser::CustomSectionReader<'_>,
    ) -> Fallible<()> {
        if let wasmparser::KnownCustom::Name(names) = section.as_known() {
            let functions = names
                .into_iter()
                .filter_map(Result::ok)
                .find_map(|subsection| match subsection {
                    wasmparser::Name::Function(map) => utils::name_map::<Infallible>(map, Ok).ok(),
                    _ => None,
                });
            if let Some(functions) = functions {
                let mut names = wasm_encoder::NameSection::new();
                names.functions(&functions);
                module.section(&names);
            }
        }
        Ok(())
    }
}
