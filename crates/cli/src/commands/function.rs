//! `asterism fn`: from a source file to a called function.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use asterism_component::{Component, Function, Shelf, Shelved, outline};
use asterism_protocol::{
    Cid, Effects, Failure as Trap, Files, HTTP, Input, LogLine, Out, Value, blob_cid,
    check_effects, check_files, from_json, json_of, nearest, to_json, value_of_json,
    view::ComponentView,
};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::{
    arguments,
    build::{self, Built},
    client::Coordinator,
    commands::{executor::HttpAllowed, read},
    console::{Console, print},
    failure::{Doing as _, Exit, Failure},
    follow, local, scaffold,
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
        #[arg(long)]
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
    /// Arguments are JSON or WAVE; texts need no quotes; @FILE are a file's bytes. `math/add` is the same as `math add`.
    Call {
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
    },
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
            if known_as != built.name {
                console.say(&format!("its bytes were here before, as `{known_as}`"));
                built.name = known_as;
            }
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
        Command::Call {
            component,
            call: words,
            files,
            effects,
            http,
            expect,
            options,
            coordinator,
        } => {
            let mut words = words;
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
            let function =
                function_of(&found.component, &name).doing(format_args!("call `{name}`"))?;
            let args = arguments::of_texts(function, &words, console)?;
            let files = files_of(&found.component, &files, console)
                .doing(format_args!("call `{}`", function.name))?;
            let effects = effects_of(&found, effects, &http)
                .doing(format_args!("call `{}`", function.name))?;
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
                Some(expected) => compare(&called, &expected)
                    .doing(format_args!("confirm what `{name}` comes to"))?,
                None => show(&called, console),
            }
            Ok(())
        }
    }
}

/// A component, and where it is run.
pub(crate) struct Found {
    name: String,
    pub(crate) cid: Cid,
    bytes: usize,
    pub(crate) component: Component,
    /// Here; on the coordinator if it is none.
    built: Option<Built>,
}

/// `c.wat/add` is the source `c.wat` and its function `add`, unless there is a file of that name. What is no source is
/// looked up on the coordinator as a whole: see [`meant`].
fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((component, function))
            if !component.is_empty() && component != "." && !Path::new(text).exists() =>
        {
            (component, Some(function))
        }
        _ => (text, None),
    }
}

/// A source file is built; any other word is looked for on the coordinator, and then among the packages here. `function` is
/// the one that is wanted of it, if that is known; the function that the word itself names comes back.
async fn find(
    text: &str,
    function: Option<&str>,
    options: &build::Options,
    coordinator: &Coordinator,
    console: &Console,
) -> Result<(Found, Option<String>), Failure> {
    let (source, named) = split(text);
    let named = named.map(str::to_owned);
    let path = Path::new(source);
    let has_ending = path.extension().is_some_and(|ending| {
        [
            "wasm", "wat", "ts", "js", "mjs", "mts", "py", "c", "rs", "toml",
        ]
        .iter()
        .any(|known| ending == *known)
    });
    // A project's folder mostly has the name of what is built of it: one word means what is built.
    let is_word = path.is_dir()
        && source
            .chars()
            .all(|c| c.is_alphanumeric() || "-_".contains(c));
    let is_file_name = has_ending || (path.exists() && !is_word);
    if is_file_name {
        return Ok((built(path, options, console).await?, named));
    }
    match look_up(text, function, coordinator).await {
        Err(_) if is_word && path.join("Cargo.toml").is_file() => built(path, options, console)
            .await
            .map(|built| (built, named)),
        Err(failure) if is_word => Err(failure.hint(format!("`./{source}` means the folder"))),
        found => found,
    }
    .doing(format_args!("find the component `{text}`"))
}

/// A component that is built of a source.
async fn built(
    source: &Path,
    options: &build::Options,
    console: &Console,
) -> Result<Found, Failure> {
    let built = build::build(source, options, console).await?;
    Ok(Found {
        name: built.name.clone(),
        cid: built.cid(),
        bytes: built.bytes.len(),
        component: built.component.clone(),
        built: Some(built),
    })
}

/// A component that the coordinator has, by its name or CID, with `function` if one of the name has it.
pub(crate) async fn find_there(
    name: &str,
    function: Option<&str>,
    coordinator: &Coordinator,
) -> Result<Found, Failure> {
    let shelf = shelf_of(components(coordinator).await?);
    match shelf.component(name, function) {
        Some(cid) => fetch(&shelf, cid, coordinator).await,
        None => Err(unknown(&shelf, name, coordinator)),
    }
}

/// What a word means on the coordinator: a component, and the function that the word itself names.
async fn look_up(
    text: &str,
    function: Option<&str>,
    coordinator: &Coordinator,
) -> Result<(Found, Option<String>), Failure> {
    let shelf = shelf_of(components(coordinator).await?);
    match meant(&shelf, text, function) {
        Some((cid, named)) => Ok((fetch(&shelf, cid, coordinator).await?, named)),
        None => Err(unknown(&shelf, text, coordinator)),
    }
}

/// `math/add` is what it is in a workflow, the `add` of `math`. A word that is no function is a component's name, which may have
/// slashes, too; and if it is not, what is before a slash may be one, whose functions are told then.
fn meant(shelf: &Shelf, text: &str, function: Option<&str>) -> Option<(Cid, Option<String>)> {
    if text.contains('/')
        && let Ok(found) = shelf.function(text)
    {
        return Some((found.component(), Some(found.function().name.clone())));
    }
    if let Some(cid) = shelf.component(text, function) {
        return Some((cid, None));
    }
    text.rmatch_indices('/').find_map(|(at, _)| {
        let (name, func) = (&text[..at], &text[at + 1..]);
        Some((shelf.component(name, Some(func))?, Some(func.to_owned())))
    })
}

/// The components as the coordinator looks functions up in them, which asks for names alone.
fn shelf_of(views: Vec<ComponentView>) -> Shelf {
    let mut shelf = Shelf::default();
    for view in views {
        let functions = view.functions.iter().map(|function| Function {
            name: function.name.clone(),
            params: Vec::new(),
            result: None,
        });
        let component = Component {
            functions: functions.collect(),
            ..Component::default()
        };
        shelf.add(Shelved {
            component,
            view,
            reads_files: true,
        });
    }
    shelf
}

fn unknown(shelf: &Shelf, text: &str, coordinator: &Coordinator) -> Failure {
    let views = shelf.views();
    let names = views.iter().map(|view| view.name.as_str());
    let failure = Failure::new(
        Exit::NotFound,
        format!(
            "the coordinator at {} has none of that name",
            coordinator.url()
        ),
    );
    let (before, _) = text.split_once('/').unwrap_or((text, ""));
    let meant = nearest(text, names.clone()).or_else(|| nearest(before, names));
    failure.hint(match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => {
            "`asterism fn list` lists what there is, `asterism fn add FILE` adds one".to_owned()
        }
    })
}

async fn fetch(shelf: &Shelf, cid: Cid, coordinator: &Coordinator) -> Result<Found, Failure> {
    let answer = coordinator.get(&format!("/blobs/{cid}"), &[]).await?;
    let component = outline(&answer.body).map_err(|refusal| Failure::other(refusal.to_string()))?;
    Ok(Found {
        name: shelf.name_of(cid).unwrap_or_default().to_owned(),
        cid,
        bytes: answer.body.len(),
        component,
        built: None,
    })
}

async fn components(coordinator: &Coordinator) -> Result<Vec<ComponentView>, Failure> {
    let answer = coordinator.get("/components", &[]).await?;
    from_json("list of components", &answer.body).map_err(|error| {
        Failure::other(format!(
            "the answer of {} is not understood: {error}",
            coordinator.url()
        ))
    })
}

/// The function of this name, or what was probably meant.
pub(crate) fn function_of<'a>(
    component: &'a Component,
    name: &str,
) -> Result<&'a Function, Failure> {
    component.function(name).ok_or_else(|| {
        let names = || {
            component
                .functions
                .iter()
                .map(|function| function.name.as_str())
        };
        let bare = component.functions.iter().map(|function| function.path().1);
        let failure = Failure::new(Exit::NotFound, format!("the component exports no `{name}`"));
        match nearest(name, names().chain(bare)) {
            Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
            None => failure.hint(format!(
                "it exports {}",
                names().take(12).collect::<Vec<_>>().join(", ")
            )),
        }
    })
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
    print(&format!("name      {name}"));
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
                print(&format!("{}/{}", view.name, function.signature));
            }
        }
    }
    if views.is_empty() {
        console.say("no functions are there yet: `asterism fn add FILE` adds some");
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

/// What the last task came to, of an answer with the results of all.
pub(crate) fn last_result(answer: &[u8]) -> Result<Value, Failure> {
    let last = match value_of_json(answer) {
        Ok(Value::List(mut results)) => results.pop(),
        _ => None,
    };
    match last {
        Some(Value::Map(mut result)) => result.remove("out"),
        _ => None,
    }
    .ok_or_else(|| Failure::other("the coordinator's answer is not understood"))
}

/// A result that became a blob is what the author asked for, not its CID.
pub(crate) async fn fetched(value: Value, coordinator: &Coordinator) -> Result<Value, Failure> {
    match &value {
        Value::Link(link) => {
            let answer = coordinator.get(&format!("/blobs/{link}"), &[]).await?;
            Ok(Value::Bytes(answer.body))
        }
        _ => Ok(value),
    }
}

fn with_bytes(value: Value, blobs: &BTreeMap<Cid, serde_bytes::ByteBuf>) -> Value {
    match &value {
        Value::Link(link) => match Cid::try_from(*link).ok().and_then(|cid| blobs.get(&cid)) {
            Some(bytes) => Value::Bytes(bytes.to_vec()),
            None => value,
        },
        _ => value,
    }
}

fn reason(value: &Value, said: &str) -> String {
    match Trap::of_value(value) {
        Some(trap) if said.is_empty() => format!("it failed: {}", trap.trap.name()),
        Some(trap) => format!("it failed: {} ({said})", trap.trap.name()),
        None => format!("it returned the error {}", json_of(value)),
    }
}

/// `info guest:rust:add: 3.1 + 5.2 = 8.3`.
pub(crate) fn log_line(line: &LogLine) -> String {
    let level = format!("{:?}", line.level).to_lowercase();
    format!("guest log: {level} {}: {}", line.context, line.message)
}

/// Prints a result: bytes as they are, unless that is to a terminal.
pub(crate) fn show(value: &Value, console: &Console) {
    match value {
        value if console.json => print(&json_of(value)),
        Value::Bytes(bytes) if std::io::stdout().is_terminal() => console.say(&format!(
            "the result is {} bytes: send them to a file with `> FILE`",
            bytes.len()
        )),
        Value::Bytes(bytes) => {
            let mut stdout = std::io::stdout().lock();
            // As `print`: a reader that went away is no error.
            let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
        }
        value => print(&text_of(value)),
    }
}

/// Texts as they are, the rest as JSON; whole numbers without `.0`, as JavaScript writes them.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            format!("{number:.0}")
        }
        value => json_of(value),
    }
}

fn compare(called: &Value, expected: &str) -> Result<(), Failure> {
    let said = text_of(called);
    let equal = said == expected
        || value_of_json(expected.as_bytes())
            .is_ok_and(|value| value == *called || text_of(&value) == said);
    if equal {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Failed,
            format!("it is {said} and not {expected}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::view::{Determinism, FunctionView};

    use super::*;

    fn view(name: &str, functions: &[&str], salt: &str) -> ComponentView {
        let functions = functions.iter().map(|name| FunctionView {
            name: (*name).to_owned(),
            signature: String::new(),
            schema: String::new(),
        });
        ComponentView {
            cid: blob_cid(salt.as_bytes()),
            name: name.to_owned(),
            bytes: 1,
            determinism: Determinism::Pure,
            effects: Effects::new(),
            functions: functions.collect(),
        }
    }

    #[test]
    fn words_mean_what_they_mean_in_a_workflow() {
        let shelf = shelf_of(vec![
            view("math", &["add", "halve"], "1"),
            view("team", &["list"], "2"),
            view("team/math", &["add", "ns:pkg/iface@1.0.0#crop-image"], "3"),
            view("math", &["add"], "4"),
        ]);
        let check = |text: &str, next: Option<&str>, expected: Option<(&str, Option<&str>)>| {
            let expected =
                expected.map(|(salt, func)| (blob_cid(salt.as_bytes()), func.map(str::to_owned)));
            assert_eq!(meant(&shelf, text, next), expected, "{text} {next:?}");
        };
        check("math", Some("add"), Some(("4", None)));
        check("math", Some("halve"), Some(("1", None)));
        check("math", Some("double"), Some(("4", None)));
        check("math/add", Some("1"), Some(("4", Some("add"))));
        check("math/halve", Some("1"), Some(("1", Some("halve"))));
        check("math/double", Some("1"), Some(("4", Some("double"))));
        check("team/math", Some("add"), Some(("3", None)));
        check("team/math", None, Some(("3", None)));
        check("team/math/add", None, Some(("3", Some("add"))));
        let crop = Some("ns:pkg/iface@1.0.0#crop-image");
        check("team/math/cropImage", None, Some(("3", crop)));
        check("team/math/ns:pkg/iface#crop-image", None, Some(("3", crop)));
        check(
            &format!("{}/halve", blob_cid(b"1")),
            None,
            Some(("1", Some("halve"))),
        );
        check("add", Some("1"), None);
        check("maths/add", None, None);
    }
}
