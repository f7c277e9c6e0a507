//! Core modules that carry their world become components.

use wasmparser::{Parser, Payload};

use crate::{COMPONENT_BYTES_MAX, Refusal, inspect::WBINDGEN, refusal::Reasons};

/// The component of a core module that carries its world, as `cargo build --target wasm32-unknown-unknown` makes with
/// wit-bindgen. A component, or anything else, passes through unchanged.
///
/// # Errors
/// A core module that cannot become a component: all reasons at once.
pub fn wrap(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    if !Parser::is_core_wasm(bytes) || bytes.len() > COMPONENT_BYTES_MAX {
        return Ok(bytes.to_vec());
    }
    refuse_what_cannot_be_wrapped(bytes)?;
    let encode = || {
        wit_component::ComponentEncoder::default()
            .module(bytes)?
            .validate(false)
            .encode()
    };
    encode().map_err(|error| {
        Refusal::of(format!(
            "its core module does not match the world it carries: {error:#}"
        ))
    })
}

fn refuse_what_cannot_be_wrapped(bytes: &[u8]) -> Result<(), Refusal> {
    let mut reasons = Reasons::default();
    let mut has_world = false;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| {
            Refusal::of(format!(
                "it cannot be read: {error}; the file may be cut short"
            ))
        })?;
        match payload {
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                has_world = true
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(|error| {
                        Refusal::of(format!("its imports cannot be read: {error}"))
                    })?;
                    match import.module {
                        module if module.starts_with("__wbindgen") => reasons.add(format!("it imports `{module}`: {WBINDGEN}")),
                        "wasi_snapshot_preview1" | "wasi_unstable" => reasons.add(format!(
                            "it imports `{}` (WASI preview 1): build it for `wasm32-wasip2`, or without WASI for \
                             `wasm32-unknown-unknown`",
                            import.module
                        )),
                        "env" => reasons.add(format!(
                            "it imports `env` (`{}`), a symbol that was not found when it was linked: link the library in",
                            import.name
                        )),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if !has_world {
        reasons.add(
            "it is a core module that carries no world: declare its functions with wit-bindgen \
             (`wit_bindgen::generate!`), or build it for `wasm32-wasip2`",
        );
    }
    reasons.or(())
}
