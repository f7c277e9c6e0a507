//! `asterism run`.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    client::Coordinator,
    commands::read,
    console::{Console, print},
    failure::{Doing as _, Failure},
};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Workflow, simplified or full, as JSON or DAG-CBOR; `-` for standard input
    file: PathBuf,
    /// Print the result of every task, as JSON
    #[arg(long)]
    all: bool,
    /// Longest wait for the result, in milliseconds
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
    /// Name for people; the file's without it
    #[arg(long)]
    name: Option<String>,
    /// Nonce for every task that has none: nothing is replayed
    #[arg(long)]
    nonce: Option<String>,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// Runs the workflow and prints what its last task came to.
pub(crate) async fn execute(args: Args, console: &Console) -> Result<(), Failure> {
    let body = read(&args.file)?;
    let name = args.name.or_else(|| name_of(&args.file));
    let all = args.all || console.json;
    let query: Vec<(&str, String)> = [
        all.then(|| ("allResults", "true".to_owned())),
        args.timeout.map(|ms| ("timeout", ms.to_string())),
        name.map(|name| ("name", name)),
        args.nonce.map(|nonce| ("nonce", nonce)),
        std::env::var("USER").ok().map(|user| ("submitter", user)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let answer = args
        .coordinator
        .post_patiently("/run", &query, body, console)
        .await
        .doing(format_args!("run {}", args.file.display()))?;

    if console.json && !args.all {
        let mut results: Vec<Value> = serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::other(format!("the answer is not JSON: {error}")))?;
        print(&results.pop().unwrap_or_default().to_string());
        return Ok(());
    }
    let is_text = answer.media_type.starts_with("text/")
        || answer.media_type.contains("json")
        || answer.media_type.contains("svg");
    let mut stdout = std::io::stdout().lock();
    if is_text {
        // As `print`: a reader that went away is no error.
        let _ = stdout
            .write_all(&answer.body)
            .and_then(|()| writeln!(stdout));
    } else if stdout.is_terminal() {
        console.say(&format!(
            "the result is {} bytes of {}: send them to a file with `> FILE`",
            answer.body.len(),
            answer.media_type
        ));
    } else {
        let _ = stdout.write_all(&answer.body).and_then(|()| stdout.flush());
    }
    Ok(())
}

fn name_of(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_str()?;
    (stem != "-").then(|| stem.to_owned())
}
