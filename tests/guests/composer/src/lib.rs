//! Connects imports of a component to exports of others, as `wasm-tools compose` does.

use anyhow::{Context as _, Result};
use wasm_compose::graph::{Component, CompositionGraph, EncodeOptions};
use wasmparser::Validator;

wit_bindgen::generate!({ world: "composer", path: "wit" });

struct Composer;

export!(Composer);

impl Guest for Composer {
    fn compose(socket: Vec<u8>, plugs: Vec<Plug>) -> Result<Vec<u8>, String> {
        connect(socket, plugs).map_err(|error| format!("{error:#}"))
    }
}

fn connect(socket: Vec<u8>, plugs: Vec<Plug>) -> Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    // One for all, as types of one are compared with those of another.
    let mut validator = Validator::new();
    let socket = Component::from_bytes(&mut validator, "socket", socket)?;
    let socket = graph.add_component(socket)?;
    let whole = graph.instantiate(socket)?;
    for plug in plugs {
        let component = Component::from_bytes(&mut validator, plug.import.as_str(), plug.component)?;
        let (export, ..) = component
            .export_by_name(&plug.export)
            .with_context(|| format!("no `{}` is exported", plug.export))?;
        let component = graph.add_component(component)?;
        let instance = graph.instantiate(component)?;
        let (import, _) = graph
            .get_component(socket)
            .and_then(|socket| socket.import_by_name(&plug.import))
            .with_context(|| format!("no `{}` is imported", plug.import))?;
        graph.connect(instance, Some(export), whole, import)?;
    }
    graph.encode(EncodeOptions {
        define_components: true,
        export: Some(whole),
        validate: true,
    })
}
