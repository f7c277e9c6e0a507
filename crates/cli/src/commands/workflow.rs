//! `asterism workflow`.

use std::path::{Path, PathBuf};

use asterism_document::{AnyFunction, Filled, Finding};
use asterism_protocol::{json_of as dag_json, one_line, sketch};
use clap::{Subcommand, ValueEnum};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    authority::RunToken,
    client::{Coordinator, json_of},
    commands::read_workflow,
    console::{Console, print, table},
    failure::{Doing as _, Exit, Failure},
    follow::{Counted, Progress, counted, ended, follow, note, title},
    graph::Graph,
    values::Values,
};

/// What to do with workflows and their runs. RUN is the number of a run, or the CID of a workflow for its latest one.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List runs, the newest first
    List {
        /// Only runs in this state
        #[arg(long, value_name = "STATE")]
        state: Option<State>,
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Show a run and its tasks
    Get {
        #[command(flatten)]
        which: Which,
    },
    /// Follow a run to its end
    Watch {
        #[command(flatten)]
        which: Which,
    },
    /// Cancel a run; what other runs want goes on. For its submitter and the operator
    Cancel {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        token: RunToken,
    },
    /// Lease nothing more of a run until it is resumed. For its submitter and the operator
    Pause {
        #[command(flatten)]
        which: WhichOrAll,
        #[command(flatten)]
        token: RunToken,
    },
    /// Lease what a run waits for again. For its submitter and the operator
    Resume {
        #[command(flatten)]
        which: WhichOrAll,
        #[command(flatten)]
        token: RunToken,
    },
    /// Run the same workflow once more: what is known is replayed, what failed or was cancelled is tried again
    Rerun {
        #[command(flatten)]
        which: Which,
        /// Do not follow it
        #[arg(long)]
        detach: bool,
    },
    /// Draw the tasks of a run, or of a workflow in a file; of a template with open places, as it is written
    Graph {
        /// Number of a run, CID of a workflow, or a file; `-` for standard input
        what: String,
        /// How to draw
        #[arg(long, value_enum, default_value_t = Format::Ascii)]
        format: Format,
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Find every mistake in a workflow, with line and column, without running it
    Validate {
        /// Workflow, simplified or full, as JSON, YAML or DAG-CBOR; `-` for standard input
        file: PathBuf,
        #[command(flatten)]
        values: Values,
        /// Ask no coordinator: functions and arguments are not looked at
        #[arg(long)]
        offline: bool,
        #[command(flatten)]
        coordinator: Coordinator,
    },
}

/// A run of a coordinator.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// Number of a run, or CID of a workflow
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) coordinator: Coordinator,
}

/// A run of a coordinator, or everything that it leases.
#[derive(clap::Args)]
pub(crate) struct WhichOrAll {
    #[command(flatten)]
    of: OneOrAll,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// One of the two.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct OneOrAll {
    /// Number of a run, or CID of a workflow
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Every run that is here or comes, whatever each was told. For the operator
    #[arg(long)]
    all: bool,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Running,
    Done,
    Failed,
    Cancelled,
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines of text
    Ascii,
    /// A picture
    Svg,
    /// Graphviz
    Dot,
}

/// Does it.
pub(crate) async fn execute(command: Command, console: &Console) -> Result<(), Failure> {
    match command {
        Command::List { state, coordinator } => list(state, &coordinator, console).await,
        Command::Get { which } => get(&which, console).await,
        Command::Watch { which } => watch(&which, console).await,
        Command::Cancel { which, token } => cancel(&which, &token, console).await,
        Command::Pause { which, token } => set(which, &token, "pause", console).await,
        Command::Resume { which, token } => set(which, &token, "resume", console).await,
        Command::Rerun { which, detach } => rerun(&which, detach, console).await,
        Command::Graph {
            what,
            format,
            coordinator,
        } => graph(&what, format, &coordinator, console).await,
        Command::Validate {
            file,
            values,
            offline,
            coordinator,
        } => {
            let at = (!offline).then_some(&coordinator);
            validate(&file, &values, at, console).await
        }
    }
}

/// Looks for mistakes there, or here without a coordinator.
async fn validate(
    file: &Path,
    values: &Values,
    coordinator: Option<&Coordinator>,
    console: &Console,
) -> Result<(), Failure> {
    let doing = format!("validate {}", file.display());
    let written = read_workflow(file, console)?;
    let filled = values.fill_as_far_as_given(&written).doing(&doing)?;
    let body = match &filled {
        Some(filled) => dag_json(&filled.document).into_bytes(),
        None => written.clone(),
    };
    let mut findings = match coordinator {
        None => json!(asterism_document::check(&body, &AnyFunction)),
        Some(coordinator) => {
            let answer = coordinator.post("/validate", &[], body).await;
            json_of(&answer.doing(&doing)?)?["findings"].take()
        }
    };
    if let Some(filled) = &filled
        // A coordinator of another version may say it in another way.
        && let Ok(found) = Vec::<Finding>::deserialize(&findings)
    {
        findings = json!(filled.findings(&written, found));
    }
    report(&file.display().to_string(), &findings, console)
}

/// Findings are what was asked for: data, as `FILE:LINE:COLUMN: PATH: MESSAGE`.
fn report(file: &str, findings: &Value, console: &Console) -> Result<(), Failure> {
    let found = findings.as_array().map(Vec::as_slice).unwrap_or_default();
    if console.json {
        print(&json!({ "findings": findings }).to_string());
    }
    for finding in found.iter().filter(|_| !console.json) {
        let text = |name: &str| finding[name].as_str().unwrap_or_default();
        let place = match finding["line"].as_u64() {
            Some(line) if line > 0 => format!(":{line}:{}", finding["column"]),
            _ => String::new(),
        };
        let path = if text("path").is_empty() {
            String::new()
        } else {
            format!(" {}:", text("path"))
        };
        let hint = if text("hint").is_empty() {
            String::new()
        } else {
            format!(" ({})", text("hint"))
        };
        let line = format!("{file}{place}:{path} {}{hint}", text("message"));
        print(&one_line(&line));
    }
    if found.is_empty() {
        console.say("no mistakes found");
        return Ok(());
    }
    let mistakes = if found.len() == 1 {
        "a mistake".to_owned()
    } else {
        format!("{} mistakes", found.len())
    };
    Err(Failure::new(Exit::Invalid, format!("it has {mistakes}")))
        .doing(format_args!("accept {file}"))
}

async fn list(
    state: Option<State>,
    coordinator: &Coordinator,
    console: &Console,
) -> Result<(), Failure> {
    let answer = coordinator
        .get("/workflows", &[])
        .await
        .doing("list runs")?;
    answer.say_missing(console);
    let runs = json_of(&answer)?;
    let word = state.map(|state| format!("{state:?}").to_lowercase());
    let runs = runs.as_array().map(Vec::as_slice).unwrap_or_default();
    let runs: Vec<&Value> = runs
        .iter()
        .filter(|run| {
            word.as_ref()
                .is_none_or(|word| run["state"] == word.as_str())
        })
        .collect();
    if console.json {
        print(&json!(runs).to_string());
        return Ok(());
    }
    let rows = runs.iter().map(|run| {
        vec![
            run["run"].to_string(),
            state_of(run).to_owned(),
            progress_of(run),
            short(run["name"].as_str().unwrap_or_default()),
            run["workflow"].as_str().unwrap_or_default().to_owned(),
        ]
    });
    table(&["RUN", "STATE", "TASKS", "NAME", "WORKFLOW"], rows);
    Ok(())
}

/// Longest name in a table, in characters.
const NAME_SHOWN: usize = 40;

fn short(name: &str) -> String {
    if name.chars().count() <= NAME_SHOWN {
        return name.to_owned();
    }
    let start: String = name.chars().take(NAME_SHOWN - 1).collect();
    format!("{start}…")
}

/// The state of a run; of one that runs and is paused, that it is.
fn state_of(summary: &Value) -> &str {
    match summary["state"].as_str().unwrap_or_default() {
        "running" if summary["paused"] == true => "paused",
        state => state,
    }
}

/// `3/5`: tasks that are done, and all.
fn progress_of(summary: &Value) -> String {
    let Counted { done, all, .. } = counted(summary);
    format!("{done}/{all}")
}

/// A run with all of its tasks, of which one answer has some thousands.
async fn view(which: &Which) -> Result<Value, Failure> {
    let mut view = part(which, 0, None).await?;
    let all = counted(&view["summary"]).all;
    let mut known = tasks_of(&mut view).len();
    while (known as u64) < all {
        let mut more = part(which, known, None).await?;
        let more = std::mem::take(tasks_of(&mut more));
        if more.is_empty() {
            break;
        }
        tasks_of(&mut view).extend(more);
        known = tasks_of(&mut view).len();
    }
    Ok(view)
}

async fn part(which: &Which, from: usize, most: Option<usize>) -> Result<Value, Failure> {
    let path = format!("/workflows/{}", which.run);
    let mut query = vec![("from", from.to_string())];
    query.extend(most.map(|most| ("limit", most.to_string())));
    let answer = which.coordinator.get(&path, &query).await;
    let mut view = json_of(&answer.doing(format_args!("look at run {}", which.run))?)?;
    if !view["tasks"].is_array() {
        view["tasks"] = Value::Array(Vec::new());
    }
    Ok(view)
}

fn tasks_of(view: &mut Value) -> &mut Vec<Value> {
    view["tasks"].as_array_mut().expect("it was made a list")
}

async fn get(which: &Which, console: &Console) -> Result<(), Failure> {
    let view = view(which).await?;
    if console.json {
        print(&view.to_string());
        return Ok(());
    }
    let summary = &view["summary"];
    let text = |name: &str| one_line(summary[name].as_str().unwrap_or_default());
    print(&format!("run       {}", summary["run"]));
    print(&format!("workflow  {}", text("workflow")));
    print(&format!("name      {}", text("name")));
    print(&format!("state     {}", state_of(summary)));
    print(&format!("tasks     {}", progress_of(summary)));
    let tasks = view["tasks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let rows = tasks.iter().map(|task| {
        let text = |name: &str| task[name].as_str().unwrap_or_default().to_owned();
        vec![
            task["index"].to_string(),
            text("name"),
            text("func"),
            text("state"),
            text("reason"),
        ]
    });
    print("");
    table(&["TASK", "NAME", "FUNCTION", "STATE", "WHY"], rows);
    Ok(())
}

async fn watch(which: &Which, console: &Console) -> Result<(), Failure> {
    // Which run it is; its tasks come as events.
    let about = part(which, 0, Some(1)).await?;
    let run = about["summary"]["run"].as_u64().unwrap_or_default();
    let mut progress = Progress::new(console);
    let end = follow(&which.coordinator, run, console, |event| {
        if console.json {
            let mut line = event.data.clone();
            line["event"] = json!(event.name);
            print(&line.to_string());
            return;
        }
        progress.tell(event);
    })
    .await
    .doing(format_args!("watch run {run}"))?;
    if !console.json {
        print(end["summary"]["state"].as_str().unwrap_or_default());
    }
    ended(&end).doing(format_args!("finish run {run}"))
}

/// Asks for what only the submitter and the operator may.
async fn decide(
    Which { run, coordinator }: &Which,
    token: &RunToken,
    verb: &str,
) -> Result<Value, Failure> {
    let tokens = token.to_show(coordinator)?;
    let answer = coordinator
        .post_at(&["workflows", run, verb], &[], tokens)
        .await;
    json_of(&answer.doing(format_args!("{verb} run {run}"))?)
}

async fn cancel(which: &Which, token: &RunToken, console: &Console) -> Result<(), Failure> {
    let answer = decide(which, token, "cancel").await?;
    print(&if console.json {
        answer.to_string()
    } else {
        answer["state"].as_str().unwrap_or_default().to_owned()
    });
    Ok(())
}

async fn set(
    which: WhichOrAll,
    token: &RunToken,
    verb: &str,
    console: &Console,
) -> Result<(), Failure> {
    let WhichOrAll { of, coordinator } = which;
    let answer = match of.run {
        Some(run) => decide(&Which { run, coordinator }, token, verb).await?,
        None => {
            let tokens = token.to_show(&coordinator)?;
            let answer = coordinator.post_at(&[verb], &[], tokens).await;
            json_of(&answer.doing(format_args!("{verb} all runs"))?)?
        }
    };
    if console.json {
        print(&answer.to_string());
        return Ok(());
    }
    let what = match answer["run"].as_u64() {
        Some(run) => format!("run {run}"),
        None => "all runs".to_owned(),
    };
    console.say(&format!("{what}: {verb}d"));
    Ok(())
}

async fn rerun(which: &Which, detach: bool, console: &Console) -> Result<(), Failure> {
    let path = format!("/workflows/{}/rerun", which.run);
    let query = [("wait", "false".to_owned())];
    let started = which.coordinator.post(&path, &query, Vec::new()).await;
    let started = json_of(&started.doing(format_args!("run {} again", which.run))?)?;
    let run = note(&started, console).unwrap_or_default();
    if detach {
        print(&if console.json {
            started.to_string()
        } else {
            run.to_string()
        });
        return Ok(());
    }
    console.say(&format!("run {run}"));
    let again = Which {
        run: run.to_string(),
        coordinator: which.coordinator.clone(),
    };
    watch(&again, console).await
}

async fn graph(
    what: &str,
    format: Format,
    coordinator: &Coordinator,
    console: &Console,
) -> Result<(), Failure> {
    let is_run = what.parse::<u64>().is_ok() || what.parse::<asterism_protocol::Cid>().is_ok();
    let graph = if is_run {
        let which = Which {
            run: what.to_owned(),
            coordinator: coordinator.clone(),
        };
        of_view(&view(&which).await?)
    } else {
        let file = PathBuf::from(what);
        let bytes = read_workflow(&file, console)?;
        let doing = format!("prepare {}", file.display());
        let filled = Values::default().fill_as_far_as_given(&bytes);
        match filled
            .doing(&doing)?
            .filter(|filled| !filled.open.is_empty())
        {
            Some(template) => of_template(&template).doing(&doing)?,
            None => {
                let answer = coordinator.post("/workflow", &[], bytes).await;
                of_prepared(&json_of(&answer.doing(&doing)?)?)
            }
        }
    };
    let drawn = match format {
        Format::Ascii => graph.ascii(),
        Format::Svg => graph.svg(),
        Format::Dot => graph.dot(),
    };
    print(drawn.trim_end());
    Ok(())
}

fn of_view(view: &Value) -> Graph {
    let mut graph = Graph::default();
    for task in view["tasks"].as_array().into_iter().flatten() {
        let needs = task["needs"].as_array().into_iter().flatten();
        let needs = needs
            .filter_map(|need| usize::try_from(need.as_u64()?).ok())
            .collect();
        graph.add(
            &title(task),
            task["state"].as_str().unwrap_or_default(),
            needs,
        );
    }
    graph
}

/// A workflow with places that are still open, which nobody can prepare: as it is written.
fn of_template(template: &Filled) -> Result<Graph, Failure> {
    let written = dag_json(&template.document);
    let mut found = asterism_document::check(written.as_bytes(), &AnyFunction);
    // Nobody wrote what stands there, or in a list of it.
    let is_open = |finding: &Finding| {
        let mut places = template
            .open
            .iter()
            .map(|(path, _)| path.strip_prefix(&finding.path));
        places.any(|below| below.is_some_and(|below| below.is_empty() || below.starts_with('[')))
    };
    found.retain(|finding| !is_open(finding));
    if let Some(mistake) = found.first() {
        return Err(Failure::invalid(format!(
            "{}: {}",
            mistake.path, mistake.message
        )));
    }
    let (workflow, _) = asterism_document::inside(&template.document);
    let mut graph = Graph::default();
    for (index, task) in sketch(workflow).into_iter().enumerate() {
        let shown = json!({ "index": index, "name": task.name, "func": task.func });
        let needs = task.needs.into_iter().map(|need| need as usize);
        graph.add(&title(&shown), "", needs.collect());
    }
    Ok(graph)
}

/// Edges of a workflow that was prepared and not run: promises among arguments and files name instructions.
fn of_prepared(prepared: &Value) -> Graph {
    let told = prepared["tasks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let place_of = |cid: &str| told.iter().position(|task| task["instruction"] == cid);
    let mut graph = Graph::default();
    let tasks = prepared["workflow"]["tasks"]
        .as_array()
        .into_iter()
        .flatten();
    for (index, (task, told)) in tasks.zip(told).enumerate() {
        let input = &task["run"]["input"];
        let mut awaited = Vec::new();
        note_awaited(&input["args"], &mut awaited);
        note_awaited(&input["files"], &mut awaited);
        let mut needs: Vec<usize> = awaited.iter().filter_map(|cid| place_of(cid)).collect();
        needs.sort_unstable();
        needs.dedup();
        let shown = json!({ "index": index, "name": told["name"], "func": input["func"] });
        graph.add(&title(&shown), "", needs);
    }
    graph
}

fn note_awaited(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| note_awaited(item, found)),
        Value::Object(map) => {
            for (key, value) in map {
                match value["/"].as_str() {
                    Some(cid) if key.starts_with("await/") => found.push(cid.to_owned()),
                    _ => note_awaited(value, found),
                }
            }
        }
        _ => {}
    }
}
