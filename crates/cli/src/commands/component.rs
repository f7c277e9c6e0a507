//! `asterism component`.

use std::path::PathBuf;

use asterism_component::component_name;
use clap::Subcommand;
use serde_json::Value;

use crate::{
    client::Coordinator,
    commands::{component_named, function::say_if_known, read},
    console::{Console, print},
    failure::{Doing as _, Failure},
};

/// What to do with components.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a component, or a core module that carries its world; prints its CID
    Add {
        /// WebAssembly file; `-` for standard input
        file: PathBuf,
        /// Name for people; the file's without it
        #[arg(long, value_parser = component_named)]
        name: Option<String>,
        #[command(flatten)]
        coordinator: Coordinator,
    },
}

/// Does it.
pub(crate) async fn execute(command: Command, console: &Console) -> Result<(), Failure> {
    let Command::Add {
        file,
        name,
        coordinator,
    } = command;
    let bytes = read(&file, console)?;
    let name = name.or_else(|| {
        let stem = file.file_stem()?.to_str()?;
        (stem != "-").then(|| component_name(stem))
    });
    let wanted = name.clone();
    let query: Vec<_> = name.into_iter().map(|name| ("name", name)).collect();
    let answer = coordinator
        .post("/components", &query, bytes)
        .await
        .doing(format_args!("add {}", file.display()))?;
    let view: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::other(format!("the answer is not JSON: {error}")))?;
    let known_as = view["name"].as_str().unwrap_or_default();
    say_if_known(wanted.as_deref().unwrap_or(known_as), known_as, console);
    if console.json {
        print(&view.to_string());
        return Ok(());
    }
    print(view["cid"].as_str().unwrap_or_default());
    for function in view["functions"].as_array().into_iter().flatten() {
        console.say(&format!(
            "  {}",
            function["signature"].as_str().unwrap_or_default()
        ));
    }
    Ok(())
}
