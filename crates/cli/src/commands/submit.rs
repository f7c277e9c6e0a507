//! `asterism submit`: Corebrum task files.

use std::path::{Path, PathBuf};

use asterism_component::Function;
use asterism_protocol::{Cid, Value};
use serde_json::{Map, Value as Json, json};

use super::function::{self, function_of};
use crate::{
    build,
    client::Coordinator,
    commands::{read, read_workflow},
    console::{Console, print, print_text},
    corebrum::{self, Fetch, Given, Module, Task},
    failure::{Doing as _, Exit, Failure},
    follow::{self, Progress},
    terms::Terms,
};

/// What to submit.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Task file, YAML or JSON; `-` for standard input
    #[arg(long, short)]
    file: PathBuf,
    /// Inputs by name, as JSON; @FILE for those in a file
    #[arg(long, short, default_value = "{}", value_name = "JSON")]
    input: String,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    fetch: Fetch,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// A task, and the function that it calls.
struct Ready {
    task: Task,
    cid: Cid,
    function: Function,
}

/// Makes a workflow of the file, runs it and prints what its last task came to.
pub(crate) async fn execute(args: Args, console: &Console) -> Result<(), Failure> {
    submit(&args, console)
        .await
        .doing(format_args!("submit {}", args.file.display()))
}

async fn submit(args: &Args, console: &Console) -> Result<(), Failure> {
    let document = document(&read_workflow(&args.file, console)?)?;
    let folder = args.file.parent().unwrap_or(Path::new(""));
    let input = input(&args.input, console)?;
    let mut ready = Vec::new();
    for (index, task) in corebrum::tasks(&document, folder)?.into_iter().enumerate() {
        let name = task.name.clone();
        let made = prepare(task, args, console)
            .await
            .doing(format_args!("prepare task {} (`{name}`)", index + 1))?;
        ready.push(made);
    }
    let workflow = workflow(&ready, &input)?;
    let first = ready.first().map(|first| first.task.name.clone());
    let mut query = vec![("name", first.unwrap_or_default())];
    query.extend(args.terms.query());
    let body = workflow.to_string().into_bytes();
    let (run, _) = follow::submit(&args.coordinator, query, body, console).await?;
    let mut progress = Progress::new(console);
    let tell = |event: &follow::Event| progress.tell(event);
    let end = follow::follow(&args.coordinator, run, console, tell).await?;
    follow::ended(&end)?;
    let path = format!("/workflows/{run}/result");
    let all = [("allResults", "true".to_owned())];
    let answer = args.coordinator.get(&path, &all).await?;
    let value = function::fetched(function::last_result(&answer.body)?, &args.coordinator).await?;
    if let Value::Bytes(_) = value {
        function::show(&value, console);
        return Ok(());
    }
    let task = &ready.last().expect("a file has at least one task").task;
    let output = task
        .output(&value)
        .map_err(|wrong| Failure::new(Exit::Failed, wrong))
        .doing(format_args!("accept what `{}` came to", task.name))?;
    match output {
        Json::String(text) if !console.json => print_text(&text),
        output => print(&output.to_string()),
    }
    Ok(())
}

/// JSON, or YAML in the part of it that has a JSON form.
fn document(bytes: &[u8]) -> Result<Json, Failure> {
    let value = asterism_document::read(bytes).map_err(|findings| {
        let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Failure::invalid(said.join("; "))
    })?;
    serde_json::from_str(&asterism_protocol::json_of(&value))
        .map_err(|error| Failure::invalid(error.to_string()))
}

fn input(text: &str, console: &Console) -> Result<Map<String, Json>, Failure> {
    let text = match text.strip_prefix('@') {
        Some(file) => String::from_utf8_lossy(&read(Path::new(file), console)?).into_owned(),
        None => text.to_owned(),
    };
    let usage = "--input '{\"number\": 6}'";
    match serde_json::from_str(&text) {
        Ok(Json::Object(input)) => Ok(input),
        Ok(_) => Err(Failure::invalid("--input must be a map of names and values").hint(usage)),
        Err(error) => Err(Failure::invalid(format!("--input is not JSON: {error}")).hint(usage)),
    }
}

/// The component is on the coordinator afterwards, and has the function.
async fn prepare(task: Task, args: &Args, console: &Console) -> Result<Ready, Failure> {
    let (cid, component) = match &task.module {
        Module::Named(name) => {
            let wanted = task.function.as_deref();
            let found = function::find_there(name, wanted, &args.coordinator).await?;
            (found.cid, found.component)
        }
        Module::Source(source) => {
            let bytes = source.bytes(&args.fetch, console).await?;
            let built = build::made_of(&task.name, &bytes)?;
            function::add(&built, &args.coordinator).await?;
            (built.cid(), built.component)
        }
    };
    let function = match (&task.function, &component.functions[..]) {
        (Some(name), _) => function_of(&component, name)?,
        (None, [only]) => only,
        (None, _) => {
            let failure =
                Failure::invalid("the module has several functions, and the file names none");
            return Err(failure.hint("write `function_name` into `compute_logic`"));
        }
    };
    let function = function.clone();
    Ok(Ready {
        task,
        cid,
        function,
    })
}

/// The tasks in sequence; names are made distinct by their places.
fn workflow(ready: &[Ready], input: &Map<String, Json>) -> Result<Json, Failure> {
    let stranger = input.keys().find(|name| {
        let mut tasks = ready.iter();
        !tasks.any(|Ready { task, function, .. }| task.takes(name, &function.params))
    });
    if let Some(name) = stranger {
        return Err(Failure::invalid(format!(
            "input.{name}: no task takes such an input"
        )));
    }
    let mut tasks = Vec::with_capacity(ready.len());
    let mut before = None;
    for (index, made) in ready.iter().enumerate() {
        let (task, function) = (&made.task, &made.function);
        let name = format!("{}-{}", index + 1, task.name);
        let given = Given {
            input,
            before: before
                .as_ref()
                .map(|(name, outputs): &(String, _)| (name.as_str(), *outputs)),
        };
        let args = task
            .args(&function.params, &given)
            .doing(format_args!("call `{}`", function.signature()))?;
        let rsc = format!("ipfs://{}", made.cid);
        tasks.push(json!({
            "run": { "name": name, "rsc": rsc, "input": { "func": function.name, "args": args } },
            "meta": task.meta(),
        }));
        before = Some((name, &task.outputs));
    }
    Ok(json!({ "tasks": tasks }))
}
