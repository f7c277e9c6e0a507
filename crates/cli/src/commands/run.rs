//! `asterism run`.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    mem,
    path::{Path, PathBuf},
    time::Duration,
};

use asterism_protocol::json_of as dag_json;
use clap::ValueEnum;
use serde_json::json;

use crate::{
    client::{Answer, Coordinator, json_of},
    commands::read_workflow,
    console::{Console, print, print_text},
    failure::{Doing as _, Exit, Failure},
    follow::{Event, Progress, ended, follow, is_final, submit},
    terms::Terms,
    values::Values,
};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workflow, simplified or full, as JSON, YAML or DAG-CBOR; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    values: Values,
    /// Print the result of every task, as JSON
    #[arg(long)]
    all: bool,
    /// Wait for the result, which is what happens anyway
    #[arg(long, conflicts_with = "detach")]
    wait: bool,
    /// Print the number of the run and do not wait for it
    #[arg(long)]
    detach: bool,
    /// How to print: the result as it is, one JSON document, or a JSON line for each task that is done
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
    /// Longest wait for the result, in milliseconds; the run goes on
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
    /// Name for people; the file's without it
    #[arg(long)]
    name: Option<String>,
    /// Nonce for every task that has none: nothing is replayed
    #[arg(long)]
    nonce: Option<String>,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// As it is
    Text,
    /// One JSON document
    Json,
    /// A JSON line for each task that is done, and one for the end
    Jsonl,
}

/// Runs the workflow and prints what its last task came to.
pub(crate) async fn execute(args: Args, console: &Console) -> Result<(), Failure> {
    let doing = format!("run {}", args.file.display());
    let mut written = read_workflow(&args.file, console)?;
    let filled = args.values.fill(&written).doing(&doing)?;
    let body = match &filled {
        Some(filled) => dag_json(&filled.document).into_bytes(),
        None => mem::take(&mut written),
    };
    let name = args.name.clone().or_else(|| name_of(&args.file));
    let query: Vec<(&str, String)> = [
        name.map(|name| ("name", name)),
        args.nonce.clone().map(|nonce| ("nonce", nonce)),
    ]
    .into_iter()
    .flatten()
    .chain(args.terms.query())
    .collect();
    let started = submit(&args.coordinator, query, body, console).await;
    let (run, started) = started
        .map_err(|failure| match &filled {
            Some(filled) => failure.where_written(filled, &written),
            None => failure,
        })
        .doing(&doing)?;
    let output = match args.output {
        Some(output) => output,
        None if console.json || args.all => Output::Json,
        None => Output::Text,
    };
    if args.detach {
        console.say(&console.goes_on().unwrap_or_default());
        print(&match output {
            Output::Text => run.to_string(),
            Output::Json | Output::Jsonl => started.to_string(),
        });
        return Ok(());
    }
    let waiting = wait(&args, run, output, console);
    let result = match args.timeout.map(Duration::from_millis) {
        None => waiting.await,
        Some(within) => tokio::time::timeout(within, waiting).await.unwrap_or_else(|_| {
            let because = format!("run {run} has not ended within {} ms; it goes on", within.as_millis());
            Err(Failure::new(Exit::TimedOut, because)
                .hint(format!("`asterism workflow watch {run}` follows it, `asterism task explain {run} TASK` says why it waits")))
        }),
    };
    result.doing(&doing)
}

async fn wait(args: &Args, run: u64, output: Output, console: &Console) -> Result<(), Failure> {
    let mut progress = Progress::new(console);
    let mut told = BTreeMap::new();
    let end = follow(&args.coordinator, run, console, |event| {
        progress.tell(event);
        if output == Output::Jsonl {
            print_if_new(event, &mut told);
        }
    })
    .await?;
    ended(&end)?;
    let path = format!("/workflows/{run}/result");
    match output {
        Output::Jsonl => Ok(()),
        Output::Json if args.all => {
            let all = [("allResults", "true".to_owned())];
            let answer = args.coordinator.get(&path, &all).await?;
            print(&json_of(&answer)?.to_string());
            Ok(())
        }
        Output::Json => {
            print(&end["result"].to_string());
            Ok(())
        }
        Output::Text => {
            write(&args.coordinator.get(&path, &[]).await?, console);
            Ok(())
        }
    }
}

/// A line for each task that is done, once, and one for the end.
fn print_if_new(event: &Event, told: &mut BTreeMap<u64, String>) {
    let state = event.data["state"].as_str().unwrap_or_default();
    let is_news = match event.name.as_str() {
        "end" => true,
        "task" => {
            let place = event.data["index"].as_u64().unwrap_or_default();
            is_final(state) && told.insert(place, state.to_owned()).as_deref() != Some(state)
        }
        _ => false,
    };
    if is_news {
        let mut line = event.data.clone();
        line["event"] = json!(event.name);
        print(&line.to_string());
    }
}

/// A result as data: text with a line's end, bytes as they are.
pub(crate) fn write(answer: &Answer, console: &Console) {
    let media_type = &answer.media_type;
    let is_text = media_type.starts_with("text/")
        || media_type.contains("json")
        || media_type.contains("svg");
    let mut stdout = std::io::stdout().lock();
    // As `print`: a reader that went away is no error.
    if is_text && stdout.is_terminal() {
        // Locked by this thread, which may lock it again.
        print_text(&String::from_utf8_lossy(&answer.body));
    } else if is_text {
        let _ = stdout
            .write_all(&answer.body)
            .and_then(|()| writeln!(stdout));
    } else if stdout.is_terminal() {
        let bytes = answer.body.len();
        console.say(&format!(
            "the result is {bytes} bytes of {media_type}: send them to a file with `> FILE`"
        ));
    } else {
        let _ = stdout.write_all(&answer.body).and_then(|()| stdout.flush());
    }
}

fn name_of(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_str()?;
    (stem != "-").then(|| stem.to_owned())
}
