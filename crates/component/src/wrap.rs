//! Core modules become components: those that carry their world, and those that export plain functions.
//!
//! # The convention for modules that carry no world
//! Functions over `i32`, `i64`, `f32` and `f64` are exported by their signature: as `s32`, `s64`, `f32` and `f64`, under their
//! names in WIT's spelling (`_factorial` is `factorial`, `addNumbers` is `add-numbers`).
//!
//! Functions over anything else have to be declared: in WIT, as the body of a world, in a custom section named
//! [`DECLARATION_SECTION`], or by whoever adds the module ([`wrap_as`]). Then those that are declared are exported, and
//! no others:
//!
//! ```wit
//! export greet: func(name: string) -> string;
//! ```
//!
//! The module exports its memory and an allocator: `cabi_realloc` of the canonical ABI, or a function that takes a size and
//! gives an address (`malloc`, `alloc`, `allocate`, with or without underscores before it). A string or a list of bytes is an
//! address and a length among the parameters, `greet(i32, i32)`; as a result it is the address of those two,
//! four bytes each. That is the canonical ABI, so any other type of WIT passes by the same rules. An object travels
//! as its JSON in a `string`. Nothing has to be freed: each task has an instance of its own.

mod module;
mod outfit;

use std::{borrow::Cow, collections::BTreeSet};

use wasmparser::Parser;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Function, Resolve, WorldId, WorldItem, WorldKey};

use self::{
    module::Module,
    outfit::{Outfit, dress},
};
use crate::{COMPONENT_BYTES_MAX, Refusal, name, refusal::Reasons};

/// The custom section in which a core module declares its functions: the body of a world, in WIT.
pub const DECLARATION_SECTION: &str = "asterism_functions";

/// Most bytes of a declaration: some hundred functions.
const DECLARATION_BYTES_MAX: usize = 64 << 10;

/// The component of a core module. A component, or anything else, passes through unchanged; text becomes binary.
///
/// # Errors
/// A core module that cannot become a component: all reasons at once. Text that cannot be read.
pub fn wrap(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    wrap_with(bytes, None)
}

/// [`wrap`] for a core module whose functions the caller declares: `functions` is the body of a world, in WIT, such as
/// `export greet: func(name: string) -> string;`. A component passes through unchanged: it declares its own.
///
/// # Errors
/// As [`wrap`], and a declaration that cannot be read or that the module does not fulfil.
pub fn wrap_as(bytes: &[u8], functions: &str) -> Result<Vec<u8>, Refusal> {
    wrap_with(bytes, Some(functions))
}

fn wrap_with(bytes: &[u8], declared: Option<&str>) -> Result<Vec<u8>, Refusal> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Ok(bytes.to_vec());
    }
    let bytes = binary(bytes)?;
    if !Parser::is_core_wasm(&bytes) {
        return Ok(bytes.into_owned());
    }
    let module = Module::read(&bytes)?;
    if module.has_world && declared.is_none() {
        return encode(&bytes).map_err(|error| {
            Refusal::of(format!(
                "its core module does not match the world it carries: {error}"
            ))
        });
    }
    match declared.or(module.declaration) {
        Some(functions) => as_declared(&bytes, &module, functions),
        None => by_signature(&bytes, &module),
    }
}

/// Text as binary.
fn binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
    let start = bytes.trim_ascii_start();
    if !(start.starts_with(b"(") || start.starts_with(b";;")) {
        return Ok(Cow::Borrowed(bytes));
    }
    wat::parse_bytes(bytes)
        .map_err(|error| Refusal::of(format!("its text is not WebAssembly: {error}")))
}

/// Exports the functions over numbers.
fn by_signature(bytes: &[u8], module: &Module<'_>) -> Result<Vec<u8>, Refusal> {
    let mut world = String::new();
    let mut outfit = Outfit::default();
    let (mut odd, mut unnamed) = (Reasons::default(), Reasons::default());
    // Of two exports with one name in WIT (`add_numbers` and `addNumbers`) the one that is spelt as it is, whatever comes first.
    let is_exact = |export: &str, name: &str| export.replace('_', "-") == *name;
    let exact: BTreeSet<String> = module
        .functions()
        .filter(|export| export.signature().is_some())
        .filter_map(|export| name::wit(export.name).filter(|name| is_exact(export.name, name)))
        .collect();
    for export in module.functions() {
        let Some(name) = name::wit(export.name) else {
            unnamed.add(format!("`{}`", export.name));
            continue;
        };
        match export.signature() {
            _ if outfit.has(&name) => {}
            _ if exact.contains(&name) && !is_exact(export.name, &name) => {}
            Some(signature) => {
                world.push_str(&format!("export %{name}: func{signature};\n"));
                outfit.export(export.name, name);
            }
            None => odd.add(format!("`{}`", export.name)),
        }
    }
    if world.is_empty() {
        let reason = match odd.or(()) {
            Ok(()) if !unnamed.is_empty() => {
                let names = unnamed.or(()).err().map(|unnamed| unnamed.reasons.join(", "));
                format!(
                    "it is a core module whose functions ({}) cannot be named in WIT: use the letters a to z, digits and \
                     underscores, each word beginning with a letter",
                    names.unwrap_or_default()
                )
            }
            Ok(()) => "it is a core module that carries no world and exports no function: export one over `i32`, `i64`, `f32` or \
                       `f64`, or declare its functions with wit-bindgen (`wit_bindgen::generate!`)"
                .to_owned(),
            Err(odd) => format!(
                "it is a core module whose functions ({}) are not over single numbers: declare them in a section \
                 `{DECLARATION_SECTION}`, or with wit-bindgen",
                odd.reasons.join(", ")
            ),
        };
        return Err(Refusal::of(reason));
    }
    finish(bytes, module, outfit, &world)
}

/// Exports what is declared.
fn as_declared(bytes: &[u8], module: &Module<'_>, functions: &str) -> Result<Vec<u8>, Refusal> {
    if functions.len() > DECLARATION_BYTES_MAX {
        return Err(Refusal::of(format!(
            "the declaration of its functions has more than {DECLARATION_BYTES_MAX} bytes"
        )));
    }
    let (resolve, world) = parse(functions)?;
    let mut outfit = Outfit::default();
    let mut reasons = Reasons::default();
    for (key, item) in &resolve.worlds[world].exports {
        let function: &Function = match (key, item) {
            (WorldKey::Name(_), WorldItem::Function(function)) => function,
            _ => {
                reasons.add(format!(
                    "`{}` is declared and is no function: declare functions alone",
                    resolve.name_world_key(key)
                ));
                continue;
            }
        };
        match module.function(&function.name) {
            Some(export) => outfit.export(export.name, function.name.clone()),
            None => {
                let names: Vec<_> = module.functions().map(|export| export.name).collect();
                reasons.add(format!(
                    "`{}` is declared and not exported; it exports {}",
                    function.name,
                    names.join(", ")
                ));
            }
        }
    }
    reasons.or(())?;
    outfit.allocator = module.allocator();
    finish(bytes, module, outfit, functions)
}

fn finish(
    bytes: &[u8],
    module: &Module<'_>,
    outfit: Outfit,
    functions: &str,
) -> Result<Vec<u8>, Refusal> {
    let has_allocator = outfit.allocator.is_some();
    let mut dressed = dress(bytes, module, outfit)?;
    let (resolve, world) = parse(functions)?;
    let embed = embed_component_metadata(&mut dressed, &resolve, world, StringEncoding::UTF8);
    let embed = embed.map_err(|error| format!("{error:#}"));
    embed.and_then(|()| encode(&dressed)).map_err(|error| {
        let remedy = if !has_allocator && error.contains("realloc") {
            "; export an allocator: `malloc`, or a function `alloc` that takes a size and gives an address"
        } else if error.contains("memory") {
            "; export its memory as `memory`"
        } else {
            ""
        };
        Refusal::of(format!(
            "its core module does not match the declaration of its functions: {error}{remedy}"
        ))
    })
}

fn parse(functions: &str) -> Result<(Resolve, WorldId), Refusal> {
    let mut resolve = Resolve::default();
    let text = format!("package asterism:module;\nworld module {{\n{functions}\n}}\n");
    let world = resolve
        .push_source("functions.wit", &text)
        .and_then(|package| resolve.select_world(&[package], Some("module")));
    match world {
        Ok(world) => Ok((resolve, world)),
        Err(error) => Err(Refusal::of(format!(
            "the declaration of its functions cannot be read: {error:#}"
        ))),
    }
}

/// The error in words, with its causes.
fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    let encoder = ComponentEncoder::default().module(module);
    let encoded = encoder.and_then(|encoder| encoder.validate(false).encode());
    encoded.map_err(|error| format!("{error:#}"))
}
