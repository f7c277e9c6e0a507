//! `asterism fn`: from a source file to a called function.

mod call;
mod found;
mod result;

use std::path::{Path, PathBuf};

use asterism_component::Component;
use asterism_protocol::{Cid, one_line};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use self::found::{Found, components, find};
pub(crate) use self::{
    found::{find_there, function_of},
    result::{fetched, last_result, show},
};
use crate::{
    build::{self, Built},
    client::Coordinator,
    commands::component_named,
    console::{Console, print},
    failure::{Doing as _, Exit, Failure},
    scaffold,
};

/// What to do with functions.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a project with a function and its test
    New {
        /// Folder to make; its name is the project's
        name: PathBuf,
        /// Language
        #[arg(long, value_enum)]
        lang: Language,
    },
    /// Build a component from Cargo.toml, .ts, .js, .py, .c, .wat or .wasm; prints its file
    Build {
        /// The source
        source: PathBuf,
        /// File to write; the source's name with .wasm in this folder without it
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        options: build::Options,
    },
    /// Build a component and add it to a coordinator; prints its CID
    Add {
        /// The source, as for `build`
        source: PathBuf,
        /// Name for people; the source's without it
        #[arg(long, value_parser = component_named)]
        name: Option<String>,
        #[command(flatten)]
        options: build::Options,
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// List the functions that a coordinator has
    List {
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Tell what a component is: its CID, functions and imports
    Inspect {
        /// A source file, or the name or CID of a component of the coordinator
        component: String,
        #[command(flatten)]
        options: build::Options,
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Print the JSON Schema of a function's arguments, or of all functions'
    Schema {
        /// A source file, or the name or CID of a component of the coordinator
        component: String,
        /// The function; all of them without it
        function: Option<String>,
        #[command(flatten)]
        options: build::Options,
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Call a function: of a source file here, of a component on the coordinator
    ///
    /// Arguments are JSON or WAVE; texts need no quotes; @FILE are a file's bytes where bytes are wanted, and as it stands where
    /// a text is. `math/add` is the same as `math add`.
    Call(call::Args),
}

/// Languages of `asterism fn new`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// A Cargo package
    Rust,
    /// TypeScript
    Ts,
    /// Python
    Py,
}

/// Does it.
pub(crate) async fn execute(command: Command, console: &Console) -> Result<(), Failure> {
    match command {
        Command::New { name, lang } => scaffold::make(&name, lang, console),
        Command::Build {
            source,
            out,
            options,
        } => {
            let built = build::build(&source, &options, console).await?;
            write(&built, out, &source, console)
        }
        Command::Add {
            source,
            name,
            options,
            coordinator,
        } => {
            let mut built = build::build(&source, &options, console).await?;
            if let Some(name) = name {
                built.name = name;
            }
            let known_as = add(&built, &coordinator)
                .await
                .doing(format_args!("add {}", source.display()))?;
            say_if_known(&built.name, &known_as, console);
            built.name = known_as;
            if console.json {
                print(&described(
                    &built.name,
                    built.cid(),
                    built.bytes.len(),
                    &built.component,
                ));
            } else {
                print(&built.cid().to_string());
                built.signatures().for_each(|line| console.say(&line));
            }
            Ok(())
        }
        Command::List { coordinator } => list(&coordinator, console).await,
        Command::Inspect {
            component,
            options,
            coordinator,
        } => {
            let (found, named) = find(&component, None, &options, &coordinator, console).await?;
            if let Some(function) = named {
                let reason = format!("`{function}` is a function, and components are inspected");
                let hint = format!("`asterism fn schema {component}` tells its arguments");
                return Err(Failure::new(Exit::Usage, reason).hint(hint))
                    .doing(format_args!("inspect `{component}`"));
            }
            inspect(&found, console);
            Ok(())
        }
        Command::Schema {
            component,
            function,
            options,
            coordinator,
        } => {
            let wanted = function.as_deref();
            let (found, named) = find(&component, wanted, &options, &coordinator, console).await?;
            match function.or(named) {
                Some(name) => {
                    let function = function_of(&found.component, &name)
                        .doing(format_args!("read the schema of `{name}`"))?;
                    print(&function.schema().to_string());
                }
                None => found
                    .component
                    .functions
                    .iter()
                    .for_each(|function| print(&function.schema().to_string())),
            }
            Ok(())
        }
        Command::Call(args) => call::execute(args, console).await,
    }
}

/// Adds a component to a coordinator; the name that it has there.
pub(crate) async fn add(built: &Built, coordinator: &Coordinator) -> Result<String, Failure> {
    let query = [("name", built.name.clone())];
    let answer = coordinator
        .post("/components", &query, built.bytes.clone())
        .await?;
    let name = crate::client::json_of(&answer)?["name"].take();
    Ok(name.as_str().unwrap_or(&built.name).to_owned())
}

/// Says that a component is called as it was before, and not as somebody wants now: others call it by that.
pub(crate) fn say_if_known(wanted: &str, known_as: &str, console: &Console) {
    if wanted != known_as {
        console.say(&one_line(&format!(
            "it is not called `{wanted}`: its bytes were here before and keep their name, `{known_as}`"
        )));
    }
}

fn write(
    built: &Built,
    out: Option<PathBuf>,
    source: &Path,
    console: &Console,
) -> Result<(), Failure> {
    let out = out.unwrap_or_else(|| PathBuf::from(format!("{}.wasm", built.name)));
    let doing = format!("write {}", out.display());
    if out.exists() && same_file(&out, source) {
        return Err(Failure::invalid("that is the source itself").hint("name another with --out"))
            .doing(doing);
    }
    std::fs::write(&out, &built.bytes)
        .map_err(|error| Failure::other(error.to_string()))
        .doing(doing)?;
    if console.json {
        let mut line: serde_json::Value = serde_json::from_str(&described(
            &built.name,
            built.cid(),
            built.bytes.len(),
            &built.component,
        ))
        .unwrap_or_default();
        line["file"] = json!(out);
        print(&line.to_string());
    } else {
        print(&out.display().to_string());
        built.signatures().for_each(|line| console.say(&line));
    }
    Ok(())
}

fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn described(name: &str, cid: Cid, bytes: usize, component: &Component) -> String {
    let functions = component.functions.iter();
    let functions: Vec<_> = functions
        .map(|function| json!({ "name": function.name, "signature": function.signature(), "schema": function.schema() }))
        .collect();
    let imports = &component.import_functions;
    json!({
        "name": name, "cid": cid.to_string(), "bytes": bytes, "functions": functions, "imports": component.imports,
        "determinism": asterism_world::determinism(imports), "effects": asterism_world::effects(imports),
    })
    .to_string()
}

fn inspect(found: &Found, console: &Console) {
    let Found {
        name,
        cid,
        bytes,
        component,
        ..
    } = found;
    if console.json {
        return print(&described(name, *cid, *bytes, component));
    }
    print(&format!("name      {}", one_line(name)));
    print(&format!("cid       {cid}"));
    print(&format!("bytes     {bytes}"));
    let class = asterism_world::determinism(&component.import_functions).name();
    let effects: Vec<_> = asterism_world::effects(&component.import_functions)
        .into_iter()
        .collect();
    if effects.is_empty() {
        print(&format!("class     {class}"));
    } else {
        let effects = effects.join(", ");
        print(&format!(
            "class     {class}, effectful with `effects: [{effects}]`"
        ));
    }
    for function in &component.functions {
        print(&format!("function  {}", function.signature()));
    }
    for import in &component.imports {
        print(&format!("import    {import}"));
    }
}

async fn list(coordinator: &Coordinator, console: &Console) -> Result<(), Failure> {
    let views = components(coordinator).await.doing("list functions")?;
    for view in &views {
        for function in &view.functions {
            if console.json {
                print(
                    &json!({ "component": view.name, "cid": view.cid.to_string(), "name": function.name, "signature": function.signature })
                        .to_string(),
                );
            } else {
                print(&one_line(&format!("{}/{}", view.name, function.signature)));
            }
        }
    }
    if views.is_empty() {
        console.say("no functions are there yet: `asterism fn add FILE` adds some");
    }
    Ok(())
}
