//! Calls: of a source here, of a component on the coordinator.

use std::{collections::BTreeMap, path::Path};

use asterism_component::{Component, Function};
use asterism_protocol::{
    Cid, Effects, Failure as Trap, Files, HTTP, Input, LogLine, Out, Value, blob_cid,
    check_effects, check_files, json_of, one_line, to_json,
};
use serde_json::json;

use super::{
    found::{Found, find, function_of, split},
    result::{compare, fetched, last_result, show, with_bytes},
};
use crate::{
    arguments, build,
    client::Coordinator,
    commands::{executor::HttpAllowed, read},
    console::Console,
    failure::{Doing as _, Exit, Failure},
    follow, local,
};

/// What to call, and with what.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A source file, or the name or CID of a component of the coordinator
    component: String,
    /// The function and its arguments
    #[arg(allow_negative_numbers = true)]
    call: Vec<String>,
    /// A file that the function finds: its path there, and which one here; again for more
    #[arg(long = "file", value_name = "PATH=FILE")]
    files: Vec<String>,
    /// What the function may do to the world outside: wasi:http. Of a source here it reaches the hosts of --allow-http, of a
    /// component on the coordinator those that its executor allows
    #[arg(long = "effect", value_name = "NAME")]
    effects: Vec<String>,
    #[command(flatten)]
    http: HttpAllowed,
    /// Fail unless this is what comes of it, as JSON or as text
    #[arg(long, value_name = "VALUE")]
    expect: Option<String>,
    #[command(flatten)]
    options: build::Options,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// Calls it, and shows what comes of it or compares that with what was expected.
pub(super) async fn execute(args: Args, console: &Console) -> Result<(), Failure> {
    let Args {
        component,
        call: mut words,
        files,
        effects,
        http,
        expect,
        options,
        coordinator,
    } = args;
    let nameless = || -> Result<(), Failure> {
        Err(Failure::new(Exit::Usage, "no function is named")
            .hint("`asterism fn call COMPONENT FUNCTION [ARGUMENT]…`"))
        .doing("call a function")
    };
    // Before anything is built or asked for.
    if words.is_empty() && split(&component).1.is_none() {
        return nameless();
    }
    let next = words.first().map(String::as_str);
    let (found, named) = find(&component, next, &options, &coordinator, console).await?;
    let name = match named {
        Some(name) => name,
        None if words.is_empty() => return nameless(),
        None => words.remove(0),
    };
    let function = function_of(&found.component, &name).doing(format_args!("call `{name}`"))?;
    let args = arguments::of_texts(function, &words, console)?;
    let files = files_of(&found.component, &files, console)
        .doing(format_args!("call `{}`", function.name))?;
    let effects =
        effects_of(&found, effects, &http).doing(format_args!("call `{}`", function.name))?;
    let given = Given {
        args,
        files,
        effects,
        http,
    };
    let called = call(&found, function, given, &coordinator, console)
        .await
        .doing(format_args!("call `{}`", function.name))?;
    match expect {
        Some(expected) => {
            compare(&called, &expected).doing(format_args!("confirm what `{name}` comes to"))?
        }
        None => show(&called, console),
    }
    Ok(())
}

/// The files by their paths, of texts such as `data/in.csv=local.csv`.
fn files_of(
    component: &Component,
    texts: &[String],
    console: &Console,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    if !texts.is_empty() && !asterism_world::reads_files(&component.import_functions) {
        let reason =
            "the component imports no file system (wasi:filesystem), so it would never see a file";
        return Err(Failure::invalid(reason).hint("hand over the bytes as an argument, with @FILE"));
    }
    let mut files = BTreeMap::new();
    for text in texts {
        let Some((path, file)) = text.split_once('=') else {
            let reason = format!("`{text}` does not say which file");
            return Err(Failure::new(Exit::Usage, reason).hint("`--file data/in.csv=local.csv`"));
        };
        let bytes = read(Path::new(file), console)?;
        if files.insert(path.to_owned(), bytes).is_some() {
            return Err(Failure::new(
                Exit::Usage,
                format!("`{path}` is given twice"),
            ));
        }
    }
    check_files(&linked(&files)).map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(files)
}

/// The files as an instruction names them.
fn linked(files: &BTreeMap<String, Vec<u8>>) -> Files {
    let link = |bytes: &Vec<u8>| Value::Link(blob_cid(bytes).to_link());
    files
        .iter()
        .map(|(path, bytes)| (path.clone(), link(bytes)))
        .collect()
}

/// The effects of these names, if this component can have them and somebody lets it.
fn effects_of(found: &Found, names: Vec<String>, http: &HttpAllowed) -> Result<Effects, Failure> {
    let effects: Effects = names.into_iter().collect();
    check_effects(&effects).map_err(|error| Failure::invalid(error.to_string()))?;
    let possible = asterism_world::effects(&found.component.import_functions);
    if let Some(idle) = effects.difference(&possible).next() {
        let reason =
            format!("the component imports nothing that has the effect `{idle}`, so it never does");
        return Err(Failure::invalid(reason).hint("leave --effect out"));
    }
    let reaches = effects.contains(HTTP);
    let is_allowed = !http.allow_http.is_empty();
    match &found.built {
        Some(_) if reaches && !is_allowed => Err(Failure::new(
            Exit::Usage,
            "no host is named that it may reach",
        )
        .hint("`--effect wasi:http --allow-http HOST`")),
        Some(_) if is_allowed && !reaches => Err(Failure::new(
            Exit::Usage,
            "--allow-http is for functions with that effect",
        )
        .hint("`--effect wasi:http --allow-http HOST`")),
        None if is_allowed => Err(Failure::new(
            Exit::Usage,
            "which hosts are reached is for the executor to say, not for who calls",
        )
        .hint("`asterism executor start --allow-http HOST`")),
        _ => Ok(effects),
    }
}

/// What a function is given.
struct Given {
    args: Vec<Value>,
    files: BTreeMap<String, Vec<u8>>,
    effects: Effects,
    http: HttpAllowed,
}

/// What the call comes to; what it links to is fetched.
async fn call(
    found: &Found,
    function: &Function,
    given: Given,
    coordinator: &Coordinator,
    console: &Console,
) -> Result<Value, Failure> {
    let Given {
        args,
        files,
        effects,
        http,
    } = given;
    let input = Input {
        func: function.name.clone(),
        args,
        files: linked(&files),
        effects,
    };
    let bytes = files.into_values().map(|bytes| (blob_cid(&bytes), bytes));
    let blobs: BTreeMap<Cid, Vec<u8>> = bytes.collect();
    match &found.built {
        Some(built) => {
            let attempt = local::call(built, input, blobs, &http).await?;
            for line in &attempt.remark.logs {
                console.say(&log_line(line));
            }
            match attempt.outcome.out {
                Out::Ok(value) => Ok(with_bytes(value, &attempt.blobs)),
                Out::Error(value) => {
                    let said = attempt.remark.message.unwrap_or_default();
                    Err(Failure::new(Exit::Failed, reason(&value, &said)))
                }
            }
        }
        None => {
            for (cid, bytes) in blobs {
                coordinator.put(cid, bytes).await?;
            }
            let (input, cid) = (to_json(&input), found.cid);
            let func = json!(function.name);
            let workflow = format!(
                r#"{{"tasks":[{{"run":{{"name":{func},"rsc":"ipfs://{cid}","input":{input}}}}}]}}"#
            );
            let name = format!("{} {}", found.name, function.path().1);
            let query = vec![("name", name)];
            let (run, _) =
                follow::submit(coordinator, query, workflow.into_bytes(), console).await?;
            let end = follow::follow(coordinator, run, console, |_| {}).await?;
            follow::ended(&end)?;
            let path = format!("/workflows/{run}/result");
            let all = [("allResults", "true".to_owned())];
            let answer = coordinator.get(&path, &all).await?;
            fetched(last_result(&answer.body)?, coordinator).await
        }
    }
}

fn reason(value: &Value, said: &str) -> String {
    match Trap::of_value(value) {
        Some(trap) if said.is_empty() => format!("it failed: {}", trap.trap.name()),
        Some(trap) => format!("it failed: {} ({said})", trap.trap.name()),
        None => format!("it returned the error {}", json_of(value)),
    }
}

/// `guest log: info guest:rust:add: 3.1 + 5.2 = 8.3`.
fn log_line(line: &LogLine) -> String {
    let level = format!("{:?}", line.level).to_lowercase();
    let (context, message) = (one_line(&line.context), one_line(&line.message));
    format!("guest log: {level} {context}: {message}")
}
