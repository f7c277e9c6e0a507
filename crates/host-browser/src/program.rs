//! A component made ready: its core modules rewritten and compiled, its functions resolved to what calls need.

use std::{collections::BTreeMap, rc::Rc};

use asterism_component::{
    Component as Outline, Function,
    abi::{Encoding, Signature},
};
use js_sys::{JsString, Uint8Array, WebAssembly::Module};
use wasmtime_environ::{
    EntityIndex, ScopeVec, Tunables,
    component::{
        CanonicalOptions, Component, ComponentTypes, ComponentTypesBuilder, CoreDef, Export,
        ExportIndex, GlobalInitializer, InstantiateModule, OptionsIndex, StaticModuleIndex,
        StringEncoding, Translator, TypeResourceTable, TypeResourceTableIndex,
    },
    wasmparser::{Validator, WasmFeatures},
};

use crate::{
    halt::Halt,
    handles::{Origin, ResourceTable},
    metering::{self, MeteringError},
    stage::Stage,
    trampoline::Trampolines,
};

/// A component made ready.
pub(crate) struct Program {
    pub(crate) initializers: Vec<GlobalInitializer>,
    pub(crate) memories: usize,
    pub(crate) reallocs: usize,
    pub(crate) post_returns: usize,
    /// Component instances.
    pub(crate) guests: usize,
    /// Resource types, as component instances see them.
    pub(crate) resources: Vec<Option<ResourceTable>>,
    /// Resources that component instances define.
    pub(crate) definitions: usize,
    modules: Vec<CoreModule>,
    pub(crate) trampolines: Trampolines,
    outline: Outline,
    exports: BTreeMap<String, Exported>,
    /// Bytes of the rewritten modules: what the cache is bounded by.
    pub(crate) size: usize,
}

/// A core module as tabs run it: rewritten, and compiled where it comes from a worker beside this one.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// What its own memories and tables take when it is instantiated.
    pub initial_bytes: u64,
    /// Bytes of its code.
    pub size: u32,
    /// Its code.
    pub code: Code,
}

/// The code of a rewritten module.
#[derive(Clone, Debug)]
pub enum Code {
    /// To be compiled.
    Bytes(Uint8Array),
    /// Compiled already; engines share it between workers.
    Module(Module),
}

/// A compiled core module.
pub(crate) struct CoreModule {
    pub(crate) module: Module,
    /// Module and name of each import, in order.
    pub(crate) imports: Vec<(JsString, JsString)>,
    exports: BTreeMap<EntityIndex, JsString>,
    pub(crate) initial_bytes: u64,
    size: u32,
}

/// An exported function with all that a call of it needs.
pub(crate) struct Exported {
    pub(crate) function: Function,
    pub(crate) core: CoreDef,
    pub(crate) signature: Signature,
    pub(crate) options: Options,
}

/// Canonical options, as far as they are supported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// The component instance.
    pub(crate) guest: usize,
    pub(crate) memory: Option<usize>,
    pub(crate) realloc: Option<usize>,
    pub(crate) post_return: Option<usize>,
    pub(crate) encoding: Encoding,
}

/// Why a component cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error(transparent)]
    Refused(#[from] asterism_component::Refusal),
    #[error(transparent)]
    Metering(#[from] MeteringError),
    #[error(transparent)]
    Type(#[from] crate::layout::Unsupported),
    #[error("{0} are not supported")]
    Unsupported(String),
    #[error("it cannot be translated: {0}")]
    Translation(String),
    #[error("this browser does not compile it: {0}")]
    Compilation(String),
}

impl Program {
    /// Makes a component ready; `kept` are its modules as a host of this build rewrote them before, or none. Hands over what
    /// was rewritten here.
    pub(crate) fn of(
        bytes: &[u8],
        stage: &Rc<Stage>,
        kept: &[Rewritten],
    ) -> Result<(Self, Vec<Rewritten>), ProgramError> {
        let outline = asterism_component::outline(bytes)?;
        let translation = |e: &dyn std::fmt::Display| ProgramError::Translation(e.to_string());

        // The outline has refused what is not admitted; adapters between components, made below, have several memories.
        let features = asterism_component::features() | WasmFeatures::MULTI_MEMORY;
        let mut validator = Validator::new_with_features(features);
        let mut builder = ComponentTypesBuilder::new(&validator);
        let tunables = Tunables {
            // As Wasmtime is built here: adapters between components are other code with it, of other fuel.
            concurrency_support: false,
            ..Tunables::default_u32()
        };
        let scope = ScopeVec::new();
        let translator = Translator::new(&tunables, &mut validator, &mut builder, &scope);
        let (translated, core_modules) =
            translator.translate(bytes).map_err(|e| translation(&e))?;
        let resource_tables = builder.num_resource_tables();
        let (types, _) = builder.finish(&Default::default());
        let component = translated.component;
        let resources: Vec<_> = (0..resource_tables)
            .map(|index| resource_table(&component, &types, index as u32))
            .collect();
        supported(&component.initializers)?;

        let mut made = Vec::new();
        let ready = match of_kept(kept, core_modules.len()) {
            Some(ready) => ready,
            None => {
                for (_, core) in core_modules.iter() {
                    let metered = metering::meter(core.wasm)?;
                    made.push(Rewritten {
                        initial_bytes: metered.initial_bytes,
                        size: metered.wasm.len() as u32,
                        code: Code::Bytes(Uint8Array::new_from_slice(&metered.wasm)),
                    });
                }
                let compiled = made.iter().map(Rewritten::compiled);
                compiled.collect::<Result<Vec<_>, _>>()?
            }
        };
        let mut size = 0;
        let mut modules = Vec::with_capacity(core_modules.len());
        for ((_, core), ready) in core_modules.into_iter().zip(ready) {
            size += ready.size as usize;
            modules.push(CoreModule {
                module: ready.module,
                imports: core
                    .module
                    .imports()
                    .map(|(module, name, _)| (JsString::from(module), JsString::from(name)))
                    .collect(),
                exports: core
                    .module
                    .exports
                    .iter()
                    .map(|(name, entity)| (*entity, JsString::from(&core.module.strings[name])))
                    .collect(),
                initial_bytes: ready.initial_bytes,
                size: ready.size,
            });
        }

        let trampolines = Trampolines::of(
            &component,
            &translated.trampolines,
            &types,
            &resources,
            stage,
        )?;
        let mut exports = BTreeMap::new();
        for function in &outline.functions {
            exports.insert(function.name.clone(), exported(&component, function)?);
        }
        let program = Self {
            memories: component.num_runtime_memories as usize,
            reallocs: component.num_runtime_reallocs as usize,
            post_returns: component.num_runtime_post_returns as usize,
            guests: component.num_runtime_component_instances as usize,
            resources,
            definitions: component.defined_resource_instances.len(),
            initializers: component.initializers,
            modules,
            trampolines,
            outline,
            exports,
            size,
        };
        Ok((program, made))
    }

    /// Its modules, compiled.
    pub(crate) fn compiled(&self) -> Vec<Rewritten> {
        let compiled = |module: &CoreModule| Rewritten {
            initial_bytes: module.initial_bytes,
            size: module.size,
            code: Code::Module(module.module.clone()),
        };
        self.modules.iter().map(compiled).collect()
    }

    pub(crate) fn module(&self, index: StaticModuleIndex) -> &CoreModule {
        &self.modules[index.as_u32() as usize]
    }

    /// The function of this name, in any spelling that names just one.
    pub(crate) fn exported(&self, name: &str) -> Option<&Exported> {
        self.exports.get(&self.outline.function(name)?.name)
    }
}

impl CoreModule {
    pub(crate) fn export(&self, entity: EntityIndex) -> Result<&JsString, Halt> {
        self.exports.get(&entity).ok_or_else(|| {
            Halt::host("a core module does not export what its component takes from it")
        })
    }
}

impl Options {
    pub(crate) fn of(options: &CanonicalOptions) -> Result<Self, ProgramError> {
        use wasmtime_environ::component::CanonicalOptionsDataModel as Data;
        if options.async_ || options.callback.is_some() {
            return Err(ProgramError::Unsupported("asynchronous functions".into()));
        }
        let Data::LinearMemory(memory) = options.data_model else {
            return Err(ProgramError::Unsupported(
                "values passed by garbage collection".into(),
            ));
        };
        Ok(Self {
            guest: options.instance.as_u32() as usize,
            memory: memory.memory.map(|index| index.as_u32() as usize),
            realloc: memory.realloc.map(|index| index.as_u32() as usize),
            post_return: options.post_return.map(|index| index.as_u32() as usize),
            encoding: match options.string_encoding {
                StringEncoding::Utf8 => Encoding::Utf8,
                StringEncoding::Utf16 => Encoding::Utf16,
                StringEncoding::CompactUtf16 => Encoding::Latin1OrUtf16,
            },
        })
    }

    pub(crate) fn at(component: &Component, index: OptionsIndex) -> Result<Self, ProgramError> {
        Self::of(&component.options[index])
    }
}

/// What instantiation does not know is refused before there is an instance.
fn supported(initializers: &[GlobalInitializer]) -> Result<(), ProgramError> {
    use GlobalInitializer as G;
    let unsupported = initializers
        .iter()
        .find_map(|initializer| match initializer {
            G::InstantiateModule(InstantiateModule::Static(..), _)
            | G::LowerImport { .. }
            | G::ExtractMemory(_)
            | G::ExtractRealloc(_)
            | G::ExtractPostReturn(_)
            | G::Resource(_) => None,
            G::InstantiateModule(InstantiateModule::Import(..), _) => Some("imported core modules"),
            G::ExtractCallback(_) | G::ExtractTable(_) => Some("asynchronous functions"),
        });
    unsupported.map_or(Ok(()), |what| Err(ProgramError::Unsupported(what.into())))
}

/// `None` for types of resources that no instance has.
fn resource_table(
    component: &Component,
    types: &ComponentTypes,
    index: u32,
) -> Option<ResourceTable> {
    let TypeResourceTable::Concrete { ty, instance } =
        types[TypeResourceTableIndex::from_u32(index)]
    else {
        return None;
    };
    let origin = match component.defined_resource_index(ty) {
        Some(definition) => Origin::Guest {
            instance: component.defined_resource_instances[definition].as_u32() as usize,
            definition: definition.as_u32() as usize,
        },
        None => Origin::World,
    };
    Some(ResourceTable {
        instance: instance.as_u32() as usize,
        origin,
    })
}

/// A rewritten module, compiled.
struct Ready {
    module: Module,
    initial_bytes: u64,
    size: u32,
}

impl Rewritten {
    fn compiled(&self) -> Result<Ready, ProgramError> {
        let module = match &self.code {
            Code::Module(module) => module.clone(),
            Code::Bytes(bytes) => compile(bytes)?,
        };
        Ok(Ready {
            module,
            initial_bytes: self.initial_bytes,
            size: self.size,
        })
    }
}

/// What was kept, if it is that of a component with so many modules and this engine takes it.
fn of_kept(kept: &[Rewritten], modules: usize) -> Option<Vec<Ready>> {
    if kept.is_empty() || kept.len() != modules {
        return None;
    }
    kept.iter().map(|module| module.compiled().ok()).collect()
}

fn compile(bytes: &Uint8Array) -> Result<Module, ProgramError> {
    Module::new(bytes).map_err(|exception| {
        let halt = Halt::of_exception(&exception);
        ProgramError::Compilation(match halt {
            Halt::Trap { message, .. } => message,
            Halt::Fault(fault) => fault.message,
        })
    })
}

fn exported(component: &Component, function: &Function) -> Result<Exported, ProgramError> {
    let missing = || ProgramError::Translation(format!("there is no export `{}`", function.name));
    let (interface, name) = function.path();
    let root = |name: &str| find(component.exports.raw_iter(), name);
    let index = match interface {
        None => root(name),
        Some(interface) => match root(interface).map(|index| &component.export_items[index]) {
            Some(Export::Instance { exports, .. }) => find(exports.raw_iter(), name),
            _ => None,
        },
    };
    match &component.export_items[index.ok_or_else(missing)?] {
        Export::LiftedFunction { func, options, .. } => Ok(Exported {
            function: function.clone(),
            core: func.clone(),
            signature: Signature::of(function),
            options: Options::at(component, *options)?,
        }),
        _ => Err(missing()),
    }
}

fn find<'a, N, D>(
    exports: impl Iterator<Item = (&'a N, &'a (ExportIndex, D))>,
    name: &str,
) -> Option<ExportIndex>
where
    N: std::ops::Deref<Target = str> + 'a,
    D: 'a,
{
    exports
        .into_iter()
        .find(|(known, _)| &***known == name)
        .map(|(_, (index, _))| *index)
}
