//! What is seen of a core module before it is wrapped.

use wasmparser::{
    CompositeInnerType, ExternalKind, FuncType, Name, Parser, Payload, TypeRef, ValType,
};

use super::DECLARATION_SECTION;
use crate::{Refusal, inspect::WBINDGEN, name, refusal::Reasons};

/// A core module, as far as wrapping looks at it.
#[derive(Default)]
pub(super) struct Module<'a> {
    /// Does it carry a world?
    pub(super) has_world: bool,
    /// The functions that it declares.
    pub(super) declaration: Option<&'a str>,
    types: Vec<Option<FuncType>>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    exports: Vec<(&'a str, u32)>,
    /// Names of parameters by function.
    names: Vec<(u32, Vec<(u32, &'a str)>)>,
}

/// An exported function.
pub(super) struct Export<'m, 'a> {
    pub(super) name: &'a str,
    index: u32,
    module: &'m Module<'a>,
}

/// Exports of compilers and their libraries that nobody means to call.
const PLUMBING: [&str; 12] = [
    "_initialize",
    "_start",
    "__wasm_call_ctors",
    "__wasm_apply_data_relocs",
    "__errno_location",
    "__indirect_function_table",
    "malloc",
    "free",
    "realloc",
    "calloc",
    "dealloc",
    "deallocate",
];

/// Names of allocators that take a size, without underscores before them.
const ALLOCATORS: [&str; 3] = ["malloc", "alloc", "allocate"];

impl<'a> Module<'a> {
    /// Reads a module, and refuses what no host could give it.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let broken = |error: wasmparser::BinaryReaderError| {
            Refusal::of(format!(
                "it cannot be read: {error}; the file may be cut short"
            ))
        };
        let mut module = Self::default();
        let (mut reasons, mut imports) = (Reasons::default(), Vec::new());
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(broken)? {
                Payload::TypeSection(section) => {
                    for group in section {
                        let types = group.map_err(broken)?.into_types();
                        module
                            .types
                            .extend(types.map(|ty| match ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => Some(ty),
                                CompositeInnerType::Array(_)
                                | CompositeInnerType::Struct(_)
                                | CompositeInnerType::Cont(_) => None,
                            }));
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.map_err(broken)?;
                        if let TypeRef::Func(ty) | TypeRef::FuncExact(ty) = import.ty {
                            module.functions.push(ty);
                        }
                        if !refuse_import(import.module, import.name, &mut reasons) {
                            imports.push((import.module, import.name));
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        module.functions.push(ty.map_err(broken)?);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.map_err(broken)?;
                        if matches!(export.kind, ExternalKind::Func | ExternalKind::FuncExact) {
                            module.exports.push((export.name, export.index));
                        }
                    }
                }
                Payload::CustomSection(section) => {
                    if section.name().starts_with("component-type") {
                        module.has_world = true;
                    } else if section.name() == DECLARATION_SECTION {
                        module.declare(section.data())?;
                    } else if let wasmparser::KnownCustom::Name(names) = section.as_known() {
                        module.read_names(names);
                    }
                }
                _ => {}
            }
        }
        if !module.has_world {
            for (from, name) in imports {
                reasons.add(format!(
                    "it imports `{name}` from `{from}`, which no host provides: link it in, or pass what it gives as an \
                     argument"
                ));
            }
        }
        reasons.or(module)
    }

    fn declare(&mut self, data: &'a [u8]) -> Result<(), Refusal> {
        // Sections of several compilation units are joined by linkers.
        let text = std::str::from_utf8(data)
            .map_err(|_| Refusal::of(format!("its section `{DECLARATION_SECTION}` is not text")))?;
        self.declaration = Some(text.trim_end_matches('\0'));
        Ok(())
    }

    /// Names are only read if they can be: a broken name section is no error of the module.
    fn read_names(&mut self, names: wasmparser::NameSectionReader<'a>) {
        for subsection in names.into_iter().map_while(Result::ok) {
            let Name::Local(functions) = subsection else {
                continue;
            };
            for function in functions.into_iter().map_while(Result::ok) {
                let locals = function.names.into_iter().map_while(Result::ok);
                let locals = locals.map(|local| (local.index, local.name)).collect();
                self.names.push((function.index, locals));
            }
        }
    }

    /// Functions that somebody may want to call.
    pub(super) fn functions(&self) -> impl Iterator<Item = Export<'_, 'a>> {
        let meant = |(name, _): &&(&str, u32)| {
            let bare = name.trim_start_matches('_');
            !PLUMBING.contains(name)
                && !PLUMBING.contains(&bare)
                && !ALLOCATORS.contains(&bare)
                && ![
                    "cabi_",
                    "emscripten_",
                    "stackSave",
                    "stackRestore",
                    "stackAlloc",
                ]
                .iter()
                .any(|start| bare.starts_with(start))
        };
        let export = |(name, index): &(&'a str, u32)| Export {
            name,
            index: *index,
            module: self,
        };
        self.exports.iter().filter(meant).map(export)
    }

    /// The function that is meant by a name in WIT.
    pub(super) fn function(&self, wit: &str) -> Option<Export<'_, 'a>> {
        let exact = self.functions().find(|export| export.name == wit);
        exact.or_else(|| {
            self.functions()
                .find(|export| name::kebab(export.name) == name::kebab(wit))
        })
    }

    /// The index of a function that takes a size and gives an address; `None` where there is none, or one of the
    /// canonical ABI.
    pub(super) fn allocator(&self) -> Option<u32> {
        if self.exports.iter().any(|(name, _)| *name == "cabi_realloc") {
            return None;
        }
        ALLOCATORS.iter().find_map(|allocator| {
            let found = self.exports.iter().find(|(name, index)| {
                let ty = self.ty(*index);
                name.trim_start_matches('_') == *allocator
                    && ty.is_some_and(|ty| {
                        ty.params() == [ValType::I32] && ty.results() == [ValType::I32]
                    })
            });
            found.map(|(_, index)| *index)
        })
    }

    /// How many types and functions there are.
    pub(super) fn counts(&self) -> (u32, u32) {
        let count = |len: usize| u32::try_from(len).expect("a module has fewer than u32::MAX");
        (count(self.types.len()), count(self.functions.len()))
    }

    fn ty(&self, function: u32) -> Option<&FuncType> {
        let ty = self.functions.get(function as usize)?;
        self.types.get(*ty as usize)?.as_ref()
    }
}

impl Export<'_, '_> {
    /// Parameters and result in WIT; `None` if they are not single numbers.
    pub(super) fn signature(&self) -> Option<String> {
        let ty = self.module.ty(self.index)?;
        let number = |ty: &ValType| match ty {
            ValType::I32 => Some("s32"),
            ValType::I64 => Some("s64"),
            ValType::F32 => Some("f32"),
            ValType::F64 => Some("f64"),
            ValType::V128 | ValType::Ref(_) => None,
        };
        let mut params: Vec<(String, &str)> = Vec::new();
        for (index, ty) in (0..).zip(ty.params()) {
            let name = self
                .parameter(index)
                .filter(|name| params.iter().all(|(known, _)| known != name));
            params.push((name.unwrap_or_else(|| format!("p{index}")), number(ty)?));
        }
        let result = match ty.results() {
            [] => String::new(),
            [ty] => format!(" -> {}", number(ty)?),
            _ => return None,
        };
        let params: Vec<_> = params
            .iter()
            .map(|(name, ty)| format!("%{name}: {ty}"))
            .collect();
        Some(format!("({}){result}", params.join(", ")))
    }

    /// The name of a parameter, if the module knows one that WIT can spell. `p0` and the like are kept for those without.
    fn parameter(&self, index: u32) -> Option<String> {
        let (_, locals) = self
            .module
            .names
            .iter()
            .find(|(function, _)| *function == self.index)?;
        let (_, local) = locals.iter().find(|(local, _)| *local == index)?;
        name::wit(local).filter(|name| name[1..].parse::<u32>().is_err() || !name.starts_with('p'))
    }
}

/// Refuses what has a remedy of its own; was it that?
fn refuse_import(module: &str, name: &str, reasons: &mut Reasons) -> bool {
    let reason = match module {
        module if module.starts_with("__wbindgen") => format!("it imports `{module}`: {WBINDGEN}"),
        "wasi_snapshot_preview1" | "wasi_unstable" => format!(
            "it imports `{module}` (WASI preview 1): build it for `wasm32-wasip2`, or without WASI for \
             `wasm32-unknown-unknown`"
        ),
        "env" => format!(
            "it imports `env` (`{name}`), a symbol that was not found when it was linked: link the library in"
        ),
        _ => return false,
    };
    reasons.add(reason);
    true
}
