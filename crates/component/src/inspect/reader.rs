//! What a valid component's types say: its functions, and what of imports and signatures no task can have.

use std::collections::BTreeSet;

use asterism_protocol::limits::NAME_BYTES_MAX;
use wasmparser::{
    PrimitiveValType,
    component_types::{
        ComponentDefinedType, ComponentEntityType, ComponentFuncTypeId, ComponentInstanceTypeId,
        ComponentValType,
    },
    types::Types,
};

use super::{Component, Import, Provides};
use crate::{
    Function, Type,
    refusal::{REASON_BYTES_MAX, Reasons},
};

/// Most nesting of a type: twice that still fits the depth of a value.
const TYPE_DEPTH_MAX: usize = 30;

/// Most nodes of all types together, written out: shared types can stand for exponentially large trees.
const TYPE_NODES_MAX: usize = 100_000;

/// Most exported functions.
const FUNCTIONS_MAX: usize = 4_096;

/// What componentize-py exports for itself: it was called when the component was made, and is for no author to call.
const COMPONENTIZE_PY: (&str, &str) = ("exports", "init");

/// What a valid component's types say.
pub(super) struct Reader<'a> {
    types: &'a Types,
    pub(super) reasons: Reasons,
    /// Was a signature refused for something asynchronous in it?
    pub(super) asynchronous: bool,
    /// Are handles of resources fine? In imports they are.
    handles: bool,
    nodes: usize,
    /// Exports seen: the same interface may be exported under one name only.
    known: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    /// A reader of these types; `reasons` are what is known to stand in the way.
    pub(super) fn new(types: &'a Types, reasons: Reasons) -> Self {
        Self {
            types,
            reasons,
            asynchronous: false,
            handles: false,
            nodes: 0,
            known: BTreeSet::new(),
        }
    }

    /// Reads imports, and then exports; refuses imports that `provides` denies.
    pub(super) fn read(
        &mut self,
        imports: &[String],
        exports: &[String],
        provides: Option<Provides<'_>>,
    ) -> Component {
        let mut component = Component::default();
        for name in imports {
            self.import(name, provides, &mut component);
        }
        // What imports take of the bound is not taken from exports.
        self.nodes = 0;
        if let Some(provides) = provides {
            self.deny(&component.import_functions, provides);
        }
        for name in exports {
            self.export(name, &mut component);
        }
        component
    }

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
