//! Reading a component without running it.

use std::collections::BTreeSet;

use asterism_protocol::limits::{NAME_BYTES_MAX, TABLE_ELEMENTS_MAX};
use wasmparser::{
    BinaryReaderError, CanonicalFunction, CanonicalOption, ComponentInstance, ComponentType,
    ComponentTypeRef, Encoding, FuncToValidate, FuncValidatorAllocations, FunctionBody, Parser,
    Payload, PrimitiveValType, TypeRef, ValidPayload, Validator, ValidatorResources, WasmFeatures,
    component_types::{
        ComponentDefinedType, ComponentEntityType, ComponentFuncTypeId, ComponentInstanceTypeId,
        ComponentValType,
    },
    types::Types,
};

use crate::{
    Function, Refusal, Type, features,
    memories::Memories,
    name,
    refusal::{REASON_BYTES_MAX, Reasons},
};

/// Largest component, in bytes: four times CPython's.
pub const COMPONENT_BYTES_MAX: usize = 72 << 20;

/// Most nesting of a type: twice that still fits the depth of a value.
const TYPE_DEPTH_MAX: usize = 30;

/// Most nodes of all types together, written out: shared types can stand for exponentially large trees.
const TYPE_NODES_MAX: usize = 100_000;

/// Most component and core instances that a component consists of, counted generously: components that hold each other
/// twice stand for exponentially many.
const INSTANCES_MAX: u64 = 20_000;

/// Most memories: engines of browsers set some gigabytes of addresses apart for each.
const MEMORIES_MAX: u64 = 64;

/// Most blocks, loops and ifs within each other. Compilers make hundreds; engines take memory that grows with the square of
/// it (Cranelift gigabytes for tens of thousands).
const NESTING_MAX: usize = 5_000;

/// Most exported functions.
const FUNCTIONS_MAX: usize = 4_096;

/// What a component says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    function.read_locals(&mut reader)?;
    while !reader.eof() {
        let at = reader.original_position();
        reader.visit_operator(&mut function.visitor(at))??;
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
    let empty = Component {
        functions: Vec::new(),
        imports: Vec::new(),
        import_functions: Vec::new(),
    };
    let Ok(types) = types else {
        if walk.asynchronous {
            walk.reasons.add(ASYNC);
        }
        return walk.reasons.or(empty);
    };

    let mut reader = Reader {
        types: &types,
        reasons: walk.reasons,
        asynchronous: false,
        handles: false,
        nodes: 0,
        known: BTreeSet::new(),
    };
    let mut component = empty;
    for name in &walk.imports {
        reader.import(name, provides, &mut component);
    }
    reader.nodes = 0;
    if let Some(provides) = provides {
        reader.deny(&component.import_functions, provides);
    }
    for name in &walk.exports {
        reader.export(name, &mut component);
    }
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

/// What componentize-py exports for itself: it was called when the component was made, and is for no author to call.
const COMPONENTIZE_PY: (&str, &str) = ("exports", "init");

const ASYNC: &str =
    "it uses asynchronous functions, streams or futures: build it with synchronous ones";

pub(crate) const WBINDGEN: &str = "it was built for wasm-bindgen, whose JavaScript no host runs; leave out the dependency that \
                                   asks for it (often `getrandom` with `js`, `chrono` with `wasmbind`, `web-sys`, `js-sys`)";

/// What a valid component's types say.
struct Reader<'a> {
    types: &'a Types,
    reasons: Reasons,
    /// Was a signature refused for something asynchronous in it?
    asynchronous: bool,
    /// Are handles of resources fine? In imports they are.
    handles: bool,
    nodes: usize,
    /// Exports seen: the same interface may be exported under one name only.
    known: BTreeSet<String>,
}

impl Reader<'_> {
    fn import(&mut self, name: &str, provides: Option<Provides<'_>>, component: &mut Component) {
        let Some(item) = self.types.component_item_for_import(name) else {
            return;
        };
        let import = |interface: &str, func: &str| Import {
            interface: interface.to_owned(),
            func: func.to_owned(),
        };
        match item.ty {
            ComponentEntityType::Instance(id) => {
                component.imports.push(name.to_owned());
                for (func, item) in &self.types[id].exports {
                    if let ComponentEntityType::Func(id) = item.ty {
                        if provides.is_none_or(|provides| provides(name, func)) {
                            self.import_function(&format!("{name}#{func}"), id);
                        }
                        component.import_functions.push(import(name, func));
                    }
                }
            }
            ComponentEntityType::Func(id) => {
                if provides.is_none_or(|provides| provides("", name)) {
                    self.import_function(name, id);
                }
                component.import_functions.push(import("", name));
            }
            ComponentEntityType::Type { .. } => {}
            ComponentEntityType::Module(_)
            | ComponentEntityType::Component(_)
            | ComponentEntityType::Value(_) => {
                self.reasons.add(format!(
                    "it imports `{name}`, which is neither an interface nor a function: link it in"
                ));
            }
        }
    }

    /// Refuses what is asynchronous in the signature of an import that is provided under this name.
    fn import_function(&mut self, name: &str, id: ComponentFuncTypeId) {
        let ty = &self.types[id];
        if ty.async_ {
            self.asynchronous = true;
            self.reasons.add(format!(
                "it imports `{name}` as an async function: import it without `async`"
            ));
        }
        self.handles = true;
        let params = ty.params.iter();
        let params = params.map(|(name, ty)| (format!("parameter `{name}`"), *ty));
        let result = ty.result.map(|ty| ("result".to_owned(), ty));
        for (place, ty) in params.chain(result) {
            // Whatever else is odd in it is for the hosts, which know what they provide.
            if let Err(Odd {
                path,
                what,
                asynchronous: true,
            }) = self.ty(ty, 0)
            {
                self.asynchronous = true;
                self.reasons
                    .add(format!("it imports `{name}`, {place}{path}: {what}"));
            }
        }
        self.handles = false;
    }

    /// Names every import that is not provided, those of an interface together.
    fn deny(&mut self, imports: &[Import], provides: Provides<'_>) {
        let (mut bare, mut denied) = (Vec::new(), Vec::<(&str, Vec<&str>)>::new());
        let (mut bytes, mut unlisted) = (0, 0);
        for Import { interface, func } in imports
            .iter()
            .filter(|import| !provides(&import.interface, &import.func))
        {
            bytes += func.len() + "`, `".len();
            if bytes > REASON_BYTES_MAX / 2 {
                unlisted += 1;
            } else if interface.is_empty() {
                bare.push(func.as_str());
            } else {
                // Functions of an interface come one after the other.
                match denied.last_mut() {
                    Some((name, funcs)) if name == interface => funcs.push(func),
                    _ => denied.push((interface, vec![func])),
                }
            }
        }
        if !bare.is_empty() {
            let funcs = bare.join("`, `");
            self.reasons.add(format!(
                "it imports the functions `{funcs}`, which no host provides: pass what it needs as arguments"
            ));
        }
        for (interface, funcs) in denied {
            self.reasons.add(format!(
                "it imports `{interface}` (`{}`), which is not provided: {}",
                funcs.join("`, `"),
                remedy(interface)
            ));
        }
        if unlisted > 0 {
            self.reasons.add(format!(
                "it imports {unlisted} more functions that are not provided, too many to be listed: import less"
            ));
        }
    }

    fn export(&mut self, name: &str, component: &mut Component) {
        if !self.known.insert(name.to_owned()) {
            return;
        }
        let Some(item) = self.types.component_item_for_export(name) else {
            return;
        };
        match item.ty {
            ComponentEntityType::Func(id) => self.function(name.to_owned(), id, component),
            ComponentEntityType::Instance(id) => self.interface(name, id, component),
            // Types are for those who read; modules and components that are exported are not called.
            ComponentEntityType::Type { .. }
            | ComponentEntityType::Module(_)
            | ComponentEntityType::Component(_)
            | ComponentEntityType::Value(_) => {}
        }
    }

    fn interface(
        &mut self,
        interface: &str,
        id: ComponentInstanceTypeId,
        component: &mut Component,
    ) {
        for (func, item) in &self.types[id].exports {
            if interface == COMPONENTIZE_PY.0 && func == COMPONENTIZE_PY.1 {
                continue;
            }
            if let ComponentEntityType::Func(id) = item.ty {
                self.function(format!("{interface}#{func}"), id, component);
            }
        }
    }

    fn function(&mut self, name: String, id: ComponentFuncTypeId, component: &mut Component) {
        let ty = &self.types[id];
        if name.len() > NAME_BYTES_MAX {
            let start: String = name.chars().take(32).collect();
            return self.reasons.add(format!(
                "the name of `{start}…` has more than {NAME_BYTES_MAX} bytes"
            ));
        }
        if component.functions.len() == FUNCTIONS_MAX {
            return self
                .reasons
                .add(format!("it exports more than {FUNCTIONS_MAX} functions"));
        }
        if ty.async_ {
            self.asynchronous = true;
            self.reasons.add(format!(
                "`{name}` is an async function: declare it without `async`"
            ));
        }
        let mut params = Vec::with_capacity(ty.params.len());
        for (param, ty) in &ty.params {
            match self.ty(*ty, 0) {
                Ok(ty) => params.push((param.to_string(), ty)),
                Err(odd) => self.odd(&format!("{name}, parameter `{param}`"), &odd),
            }
        }
        let result = match ty.result.map(|ty| self.ty(ty, 0)).transpose() {
            Ok(result) => result,
            Err(odd) => return self.odd(&format!("{name}, result"), &odd),
        };
        component.functions.push(Function {
            name,
            params,
            result,
        });
    }

    fn odd(&mut self, place: &str, odd: &Odd) {
        self.asynchronous |= odd.asynchronous;
        self.reasons
            .add(format!("{place}{}: {}", odd.path, odd.what));
    }

    fn ty(&mut self, ty: ComponentValType, depth: usize) -> Result<Type, Odd> {
        self.nodes += 1;
        if depth > TYPE_DEPTH_MAX {
            return Err(Odd::new(format!(
                "types are nested deeper than {TYPE_DEPTH_MAX} levels: make them flatter"
            )));
        }
        if self.nodes > TYPE_NODES_MAX {
            return Err(Odd::new(too_many_nodes()));
        }
        let id = match ty {
            ComponentValType::Primitive(primitive) => return scalar(primitive),
            ComponentValType::Type(id) => id,
        };
        let (types, handles) = (self.types, self.handles);
        let mut inner = |ty: ComponentValType, step: &dyn Fn() -> String| {
            self.ty(ty, depth + 1).map_err(|odd| odd.under(&step()))
        };
        let boxed = |ty: Result<Type, Odd>| ty.map(Box::new);
        Ok(match &types[id] {
            ComponentDefinedType::Primitive(primitive) => scalar(*primitive)?,
            ComponentDefinedType::List { element, .. } => {
                Type::List(boxed(inner(*element, &|| "[]".into()))?)
            }
            ComponentDefinedType::Record(record) => {
                let field = |(name, ty): (&wasmparser::names::KebabString, &ComponentValType)| {
                    Ok((name.to_string(), inner(*ty, &|| format!(".{name}"))?))
                };
                Type::Record(
                    record
                        .fields
                        .iter()
                        .map(field)
                        .collect::<Result<_, Odd>>()?,
                )
            }
            ComponentDefinedType::Tuple(tuple) => {
                let item =
                    |(index, ty): (usize, &ComponentValType)| inner(*ty, &|| format!("[{index}]"));
                Type::Tuple(
                    tuple
                        .types
                        .iter()
                        .enumerate()
                        .map(item)
                        .collect::<Result<_, Odd>>()?,
                )
            }
            ComponentDefinedType::Variant(variant) => {
                let mut cases = Vec::with_capacity(variant.cases.len());
                for (name, case) in &variant.cases {
                    let payload = case
                        .ty
                        .map(|ty| inner(ty, &|| format!(".{name}")))
                        .transpose()?;
                    cases.push((name.to_string(), payload));
                }
                Type::Variant(cases)
            }
            ComponentDefinedType::Enum(names) => {
                Type::Enum(names.iter().map(ToString::to_string).collect())
            }
            ComponentDefinedType::Flags(names) => {
                Type::Flags(names.iter().map(ToString::to_string).collect())
            }
            ComponentDefinedType::Option { ty, .. } => {
                Type::Option(boxed(inner(*ty, &|| ".some".into()))?)
            }
            ComponentDefinedType::Result { ok, err, .. } => Type::Result {
                ok: ok
                    .map(|ty| boxed(inner(ty, &|| ".ok".into())))
                    .transpose()?,
                err: err
                    .map(|ty| boxed(inner(ty, &|| ".err".into())))
                    .transpose()?,
            },
            // The number of a handle.
            ComponentDefinedType::Own(_) | ComponentDefinedType::Borrow(_) if handles => Type::U32,
            ComponentDefinedType::Own(_) | ComponentDefinedType::Borrow(_) => {
                return Err(Odd::new("a resource lives in one instance and each task has its own: pass its data as a record".into()));
            }
            ComponentDefinedType::Future { .. } => {
                return Err(Odd::asynchronous(
                    "futures are not supported: pass the value",
                ));
            }
            ComponentDefinedType::Stream { .. } => {
                return Err(Odd::asynchronous("streams are not supported: use a `list`"));
            }
            ComponentDefinedType::Map { key, value, .. } => {
                let key = inner(*key, &|| ".key".into())?;
                if !key.can_be_key() {
                    return Err(Odd::new(format!(
                        "{key} is no key of a map: use `list<tuple<K, V>>`"
                    )));
                }
                let value = inner(*value, &|| ".value".into())?;
                Type::Map(Box::new(key), Box::new(value))
            }
            ComponentDefinedType::FixedLengthList {
                element, length, ..
            } => {
                let before = self.nodes;
                let element = self.ty(*element, depth + 1);
                let ty = Type::FixedList(boxed(element.map_err(|odd| odd.under("[]")))?, *length);
                // Written out: it stands where it is used, with all of its elements.
                let more = (self.nodes - before).saturating_mul(*length as usize);
                self.nodes = self.nodes.saturating_add(more);
                if self.nodes > TYPE_NODES_MAX {
                    return Err(Odd::new(too_many_nodes()));
                }
                ty
            }
        })
    }
}

/// A type that no task can carry.
struct Odd {
    path: String,
    what: String,
    /// Is it a type of the asynchronous part of the model?
    asynchronous: bool,
}

impl Odd {
    fn new(what: String) -> Self {
        Self {
            path: String::new(),
            what,
            asynchronous: false,
        }
    }

    fn asynchronous(what: &str) -> Self {
        Self {
            asynchronous: true,
            ..Self::new(what.to_owned())
        }
    }

    fn under(self, step: &str) -> Self {
        Self {
            path: format!("{step}{}", self.path),
            ..self
        }
    }
}

fn too_many_nodes() -> String {
    format!("types written out have more than {TYPE_NODES_MAX} parts: make them smaller")
}

fn scalar(primitive: PrimitiveValType) -> Result<Type, Odd> {
    Ok(match primitive {
        PrimitiveValType::Bool => Type::Bool,
        PrimitiveValType::S8 => Type::S8,
        PrimitiveValType::U8 => Type::U8,
        PrimitiveValType::S16 => Type::S16,
        PrimitiveValType::U16 => Type::U16,
        PrimitiveValType::S32 => Type::S32,
        PrimitiveValType::U32 => Type::U32,
        PrimitiveValType::S64 => Type::S64,
        PrimitiveValType::U64 => Type::U64,
        PrimitiveValType::F32 => Type::F32,
        PrimitiveValType::F64 => Type::F64,
        PrimitiveValType::Char => Type::Char,
        PrimitiveValType::String => Type::String,
        PrimitiveValType::ErrorContext => {
            return Err(Odd::new(
                "`error-context` is not supported: use `result` with an error type of your own"
                    .into(),
            ));
        }
    })
}

/// What to do about an import that no host provides.
fn remedy(interface: &str) -> &'static str {
    let package = interface
        .split_once('/')
        .map_or(interface, |(package, _)| package);
    match package {
        "wasi:http" | "wasi:sockets" => {
            "guests have no network; fetch before, and pass the bytes as an argument"
        }
        "wasi:cli" | "wasi:io" | "wasi:clocks" | "wasi:random" | "wasi:filesystem" => {
            "of WASI, what its versions 0.2.x have is: build it for those"
        }
        _ => {
            "only `wasi:logging` and WASI 0.2 are, no executor offers more; pass what it needs as arguments, or link \
             the interface in"
        }
    }
}
