//! Reading a component without running it: its sections here, its types in `reader`.

mod reader;

use asterism_protocol::limits::TABLE_ELEMENTS_MAX;
use wasmparser::{
    BinaryReader, BinaryReaderError, CanonicalFunction, CanonicalOption, ComponentInstance,
    ComponentType, ComponentTypeRef, Encoding, FuncToValidate, FuncValidatorAllocations,
    FunctionBody, Parser, Payload, TypeRef, ValidPayload, Validator, ValidatorResources,
    WasmFeatures, types::Types,
};

use self::reader::Reader;
use crate::{Function, Refusal, features, memories::Memories, name, refusal::Reasons};

/// Largest component, in bytes: four times CPython's. Command line and coordinator take no more.
pub const COMPONENT_BYTES_MAX: usize = 72 << 20;

/// Most component and core instances that a component consists of, counted generously: components that hold each other
/// twice stand for exponentially many.
const INSTANCES_MAX: u64 = 20_000;

/// Most memories: engines of browsers set some gigabytes of addresses apart for each.
const MEMORIES_MAX: u64 = 64;

/// Most blocks, loops and ifs within each other. Compilers make hundreds; engines take memory that grows with the square of
/// it (Cranelift gigabytes for tens of thousands).
const NESTING_MAX: usize = 5_000;

/// Largest function, in bytes. Engines of browsers compile 7,654,321 (the limits of the JavaScript API), and where its fuel is
/// counted it takes twice as many; real ones have some hundred thousand.
const FUNCTION_BYTES_MAX: usize = 3_000_000;

/// Most parameters and locals of a function: 50,000 of the same limits without those that counting adds.
const LOCALS_MAX: u32 = 49_900;

/// Most entries of a branch table, beside the default one. The limits say nothing of them; V8 compiles so many.
const BRANCHES_MAX: u32 = 65_520;

/// The code of `br_table`.
const BR_TABLE: u8 = 0x0e;

/// What a component says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Component {
    /// Its functions, in the order of its exports.
    pub functions: Vec<Function>,
    /// The interfaces it imports, as written (`wasi:logging/logging@0.1.0-draft`).
    pub imports: Vec<String>,
    /// The functions it imports, in the order of its imports.
    pub import_functions: Vec<Import>,
}

/// A function that a component wants from its host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The interface as written; empty for a function that the world imports by itself.
    pub interface: String,
    /// The function.
    pub func: String,
}

impl Component {
    /// The function of this name. Also found without the version of its interface, without the interface where only
    /// one has such a function, and in the spelling of another language (`echoBytes`, `echo_bytes`).
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&Function> {
        if let Some(function) = self.functions.iter().find(|function| function.name == name) {
            return Some(function);
        }
        let (interface, func) = name::split(name);
        let mut found = self.functions.iter().filter(|function| {
            let (theirs, bare) = function.path();
            let same = match (interface, theirs) {
                (Some(wanted), Some(theirs)) => {
                    wanted == theirs || wanted == name::without_version(theirs)
                }
                (Some(_), None) => false,
                (None, _) => true,
            };
            same && (bare == func || name::kebab(bare) == name::kebab(func))
        });
        match (found.next(), found.next()) {
            (Some(function), None) => Some(function),
            // A function of the world itself comes before those of interfaces.
            (Some(first), Some(second))
                if first.path().0.is_none() && second.path().0.is_some() =>
            {
                Some(first)
            }
            _ => None,
        }
    }
}

/// Reads a component and refuses what hosts would not run alike; core modules are wrapped before (see the feature `wrap`).
///
/// # Errors
/// Not a component, not valid, or something in it that is not supported: all of it at once.
pub fn inspect(bytes: &[u8]) -> Result<Component, Refusal> {
    examine(bytes, Some(check_code), None)
}

/// [`inspect`], and every import that `provides(interface, function)` denies is a further reason.
///
/// # Errors
/// As [`inspect`].
pub fn check(bytes: &[u8], provides: &dyn Fn(&str, &str) -> bool) -> Result<Component, Refusal> {
    examine(bytes, Some(check_code), Some(provides))
}

/// [`inspect`] without looking at the code of functions: for hosts, whose engine validates it anyway.
///
/// # Errors
/// As [`inspect`].
pub fn outline(bytes: &[u8]) -> Result<Component, Refusal> {
    examine(bytes, None, None)
}

type Provides<'a> = &'a dyn Fn(&str, &str) -> bool;

/// Validates the code of a function. Handed on as a value: a program that only outlines components does not link it.
type CheckCode = fn(
    FuncToValidate<ValidatorResources>,
    &FunctionBody<'_>,
    FuncValidatorAllocations,
) -> Result<FuncValidatorAllocations, Invalid>;

fn check_code(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: FuncValidatorAllocations,
) -> Result<FuncValidatorAllocations, Invalid> {
    let mut function = function.into_validator(allocations);
    let mut reader = body.get_binary_reader();
    let start = body.range().start;
    let bytes = body.as_bytes().len();
    if bytes > FUNCTION_BYTES_MAX {
        return Err(Invalid(format!(
            "a function has {bytes} bytes (at offset {start:#x}), which browsers do not compile once its fuel is counted; \
             {FUNCTION_BYTES_MAX} is the most: split it"
        )));
    }
    function.read_locals(&mut reader)?;
    let locals = function.len_locals();
    if locals > LOCALS_MAX {
        return Err(Invalid(format!(
            "a function has {locals} parameters and locals (at offset {start:#x}), which browsers do not compile once its fuel \
             is counted; {LOCALS_MAX} is the most: split it"
        )));
    }
    while !reader.eof() {
        let at = reader.original_position();
        reader.visit_operator(&mut function.visitor(at))??;
        let operator = &body.as_bytes()[at - start..reader.original_position() - start];
        if let Some((&BR_TABLE, targets)) = operator.split_first() {
            let targets = BinaryReader::new(targets, 0).read_var_u32()?;
            if targets > BRANCHES_MAX {
                return Err(Invalid(format!(
                    "a function has a branch table of {targets} entries (at offset {at:#x}), which browsers do not compile; \
                     {BRANCHES_MAX} is the most: split it"
                )));
            }
        }
        if function.control_stack_height() as usize > NESTING_MAX {
            return Err(Invalid(format!(
                "a function nests more than {NESTING_MAX} blocks (at offset {at:#x}): split it"
            )));
        }
    }
    reader.finish_expression(&function.visitor(reader.original_position()))?;
    Ok(function.into_allocations())
}

fn examine(
    bytes: &[u8],
    code: Option<CheckCode>,
    provides: Option<Provides<'_>>,
) -> Result<Component, Refusal> {
    refuse_other_files(bytes)?;
    let mut walk = Walk::default();
    // First everything that can be named, then whether it is valid: validation stops at its first error.
    if let Err(error) = walk.sections(bytes) {
        walk.reasons.add(format!(
            "it cannot be read: {error}; build it again, the file may be cut short"
        ));
    }
    let types = validate(bytes, features(), code).or_else(|Invalid(reason)| {
        let named = features::named(bytes);
        for name in &named {
            walk.reasons.add(format!("it needs {name}"));
        }
        if named.is_empty() && walk.reasons.is_empty() && !walk.asynchronous {
            walk.reasons.add(reason);
        }
        // What its types say is said too, where it would be valid elsewhere.
        validate(bytes, WasmFeatures::all(), None)
    });
    let Ok(types) = types else {
        if walk.asynchronous {
            walk.reasons.add(ASYNC);
        }
        return walk.reasons.or(Component::default());
    };

    let mut reader = Reader::new(&types, walk.reasons);
    let component = reader.read(&walk.imports, &walk.exports, provides);
    if walk.asynchronous && !reader.asynchronous {
        reader.reasons.add(ASYNC);
    }
    if component.functions.is_empty() && reader.reasons.is_empty() {
        reader
            .reasons
            .add("it exports no function: export one from its world");
    }
    reader.reasons.or(component)
}

fn refuse_other_files(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        let reason = format!(
            "it has {} bytes, {COMPONENT_BYTES_MAX} is the most: strip it (`strip = true`)",
            bytes.len()
        );
        return Err(Refusal::of(reason));
    }
    if !bytes.starts_with(b"\0asm") {
        let text = bytes.trim_ascii_start();
        let reason = if text.starts_with(b"(") || text.starts_with(b";;") {
            "it is WebAssembly text: make it binary, with `wasm-tools parse`"
        } else {
            "it is not WebAssembly: the first four bytes are not `\\0asm`"
        };
        return Err(Refusal::of(reason));
    }
    if Parser::is_core_wasm(bytes) {
        let reason = "it is a core module and not a component: build it for `wasm32-wasip2`, or for \
                      `wasm32-unknown-unknown` with wit-bindgen and have it wrapped";
        return Err(Refusal::of(reason));
    }
    Ok(())
}

fn validate(
    bytes: &[u8],
    features: WasmFeatures,
    code: Option<CheckCode>,
) -> Result<Types, Invalid> {
    let mut validator = Validator::new_with_features(features);
    let mut allocations = FuncValidatorAllocations::default();
    let mut types = None;
    for payload in Parser::new(0).parse_all(bytes) {
        match validator.payload(&payload?)? {
            ValidPayload::Func(function, body) => {
                if let Some(check) = code {
                    allocations = check(function, &body, allocations)?;
                }
            }
            ValidPayload::End(ended) => types = Some(ended),
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
    }
    Ok(types.expect("a parse without error ends with the end of the outermost component"))
}

/// Why it is not valid, in words.
struct Invalid(String);

impl From<BinaryReaderError> for Invalid {
    fn from(error: BinaryReaderError) -> Self {
        Self(format!("it is not valid: {error}"))
    }
}

/// What can be seen section by section, valid or not.
#[derive(Default)]
struct Walk {
    reasons: Reasons,
    /// Does it use something of the asynchronous part of the model? Where a signature says so, that is named instead.
    asynchronous: bool,
    imports: Vec<String>,
    exports: Vec<String>,
    memories: Memories,
    /// What all tables begin with.
    elements: u64,
    /// Components and modules that have not ended, the outermost first.
    open: Vec<Open>,
    /// The most instances that a component which has ended stands for.
    heaviest: u64,
}

/// A component or module that is being read.
struct Open {
    is_component: bool,
    /// Itself and the instances in it, with what those stand for at most.
    instances: u64,
}

impl Walk {
    fn sections(&mut self, bytes: &[u8]) -> Result<(), BinaryReaderError> {
        for payload in Parser::new(0).parse_all(bytes) {
            let outermost = self.open.len() == 1;
            let payload = payload?;
            self.memories.see(&payload)?;
            match payload {
                Payload::Version { encoding, .. } => self.open.push(Open {
                    is_component: encoding == Encoding::Component,
                    instances: 1,
                }),
                Payload::End(_) => {
                    if let Some(Open {
                        is_component: true,
                        instances,
                    }) = self.open.pop()
                    {
                        self.heaviest = self.heaviest.max(instances);
                    }
                    if self.heaviest > INSTANCES_MAX {
                        self.reasons.add(format!(
                            "it may consist of more than {INSTANCES_MAX} instances: compose it of fewer"
                        ));
                    }
                }
                // Which component it is does not matter: all that it can be have ended, or are arguments, see below.
                Payload::ComponentInstanceSection(section) => {
                    for instance in section {
                        if let ComponentInstance::Instantiate { .. } = instance? {
                            self.count(self.heaviest.max(1));
                        }
                    }
                }
                Payload::InstanceSection(section) => self.count(section.count().into()),
                Payload::ComponentImportSection(section) if !outermost => {
                    for import in section {
                        if let ComponentTypeRef::Component(_) = import?.ty {
                            self.reasons.add("a component in it takes another one as an argument: compose them by their interfaces");
                        }
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        self.core_import(import.module, &import.ty);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        self.elements = self.elements.saturating_add(table?.ty.initial);
                    }
                    if self.elements > TABLE_ELEMENTS_MAX {
                        self.reasons.add(format!(
                            "its tables begin with more than {TABLE_ELEMENTS_MAX} elements, which no host has room for: make them smaller"
                        ));
                    }
                }
                Payload::ComponentImportSection(section) if outermost => {
                    for import in section {
                        self.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if outermost => {
                    for export in section {
                        self.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        self.canonical(&function?);
                    }
                }
                Payload::ComponentTypeSection(section) => {
                    for ty in section {
                        if let ComponentType::Func(ty) = ty?
                            && ty.async_
                        {
                            self.asynchronous = true;
                        }
                    }
                }
                _ => {}
            }
        }
        if self.memories.total() > MEMORIES_MAX {
            self.reasons.add(format!(
                "it has more than {MEMORIES_MAX} memories: link its modules into fewer"
            ));
        }
        Ok(())
    }

    fn count(&mut self, instances: u64) {
        if let Some(open) = self.open.last_mut() {
            open.instances = open.instances.saturating_add(instances);
        }
    }

    fn core_import(&mut self, module: &str, ty: &TypeRef) {
        if module.starts_with("__wbindgen") {
            self.reasons
                .add(format!("it imports `{module}`: {WBINDGEN}"));
        }
        if matches!(ty, TypeRef::Memory(memory) if memory.shared) {
            self.reasons
                .add("it imports a shared memory: build without threads");
        }
    }

    fn canonical(&mut self, function: &CanonicalFunction) {
        use CanonicalFunction as F;
        match function {
            F::Lift { options, .. } | F::Lower { options, .. } => {
                for option in options {
                    match option {
                        CanonicalOption::Async | CanonicalOption::Callback(_) => {
                            self.asynchronous = true;
                        }
                        CanonicalOption::Gc | CanonicalOption::CoreType(_) => {
                            self.reasons.add("its functions pass values by garbage collection (GC): build it for linear memory");
                        }
                        CanonicalOption::UTF8
                        | CanonicalOption::UTF16
                        | CanonicalOption::CompactUTF16
                        | CanonicalOption::Memory(_)
                        | CanonicalOption::Realloc(_)
                        | CanonicalOption::PostReturn(_) => {}
                    }
                }
            }
            F::ResourceNew { .. }
            | F::ResourceDrop { .. }
            | F::ResourceRep { .. }
            | F::ContextGet { .. }
            | F::ContextSet { .. } => {}
            // Streams, futures, tasks, waitables, threads: all of the asynchronous part.
            _ => self.asynchronous = true,
        }
    }
}

const ASYNC: &str =
    "it uses asynchronous functions, streams or futures: build it with synchronous ones";

pub(crate) const WBINDGEN: &str = "it was built for wasm-bindgen, whose JavaScript no host runs; leave out the dependency that \
                                   asks for it (often `getrandom` with `js`, `chrono` with `wasmbind`, `web-sys`, `js-sys`)";
