//! `asterism task`.

use asterism_protocol::{is_effect, one_line, view::Determinism};
use clap::Subcommand;
use serde_json::Value;

use crate::{
    authority::RunToken,
    client::{Coordinator, json_of},
    console::{Console, harmless, print},
    failure::{Doing as _, Failure},
    follow::{guest_line, title},
};

/// What to ask of a task.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show a task: its state, arguments, what it came to
    Get {
        #[command(flatten)]
        which: Which,
    },
    /// Print what the guest logged
    Logs {
        #[command(flatten)]
        which: Which,
    },
    /// Say why a task is where it is: what it waits for, who holds it, what failed
    Explain {
        #[command(flatten)]
        which: Which,
    },
    /// Cancel a task; what awaits it fails, the rest of its run goes on. For the run's submitter and the operator
    Cancel {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        token: RunToken,
    },
}

/// A task of a run.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// Number of a run, or CID of a workflow for its latest run
    run: String,
    /// Name of the task, its place counted from 0, or the CID of its instruction
    task: String,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// Does it.
pub(crate) async fn execute(command: Command, console: &Console) -> Result<(), Failure> {
    match command {
        Command::Get { which } => {
            let task = look(&which).await?["task"].take();
            match console.json {
                true => print(&task.to_string()),
                false => show(&task),
            }
        }
        Command::Logs { which } => {
            let task = look(&which).await?["task"].take();
            for line in task["remark"]["logs"].as_array().into_iter().flatten() {
                print(&if console.json {
                    line.to_string()
                } else {
                    guest_line(line)
                });
            }
        }
        Command::Explain { which } => {
            let answer = look(&which).await?;
            match console.json {
                true => print(&answer.to_string()),
                false => explain(&answer),
            }
        }
        Command::Cancel { which, token } => cancel(&which, &token, console).await?,
    }
    Ok(())
}

/// The task, and why it is where it is.
async fn look(which: &Which) -> Result<Value, Failure> {
    let Which {
        run,
        task,
        coordinator,
    } = which;
    let answer = coordinator.get_at(&["workflows", run, "tasks", task]).await;
    json_of(&answer.doing(format_args!("look at task {task} of run {run}"))?)
}

fn explain(answer: &Value) {
    let task = &answer["task"];
    let state = task["state"].as_str().unwrap_or_default();
    print(&format!("{}: {state}", title(task)));
    for why in answer["why"].as_array().into_iter().flatten() {
        let why = why.as_str().unwrap_or_default();
        print(&format!("- {}", one_line(why)));
    }
}

async fn cancel(which: &Which, token: &RunToken, console: &Console) -> Result<(), Failure> {
    let Which {
        run,
        task,
        coordinator,
    } = which;
    let tokens = token.to_show(coordinator)?;
    let answer = coordinator
        .post_at(&["workflows", run, "tasks", task, "cancel"], &[], tokens)
        .await;
    let answer = json_of(&answer.doing(format_args!("cancel task {task} of run {run}"))?)?;
    print(&if console.json {
        answer.to_string()
    } else {
        "cancelled".to_owned()
    });
    Ok(())
}

fn show(task: &Value) {
    let offered = task["requires"]["capabilities"].as_array();
    let is_effectful = offered
        .into_iter()
        .flatten()
        .any(|name| name.as_str().is_some_and(is_effect));
    let line = |name: &str, value: &Value| {
        let shown = match value {
            Value::Null => return,
            Value::String(text) if text.is_empty() => return,
            Value::String(text) => harmless(text),
            other => one_line(&other.to_string()),
        };
        print(&format!("{name:<12} {shown}"));
    };
    for (name, field) in [
        ("task", "index"),
        ("name", "name"),
        ("function", "func"),
        ("state", "state"),
        ("why", "reason"),
        ("arguments", "args"),
        ("files", "files"),
        ("came to", "out"),
        ("fuel", "fuel"),
        ("instruction", "instruction"),
        ("component", "component"),
        ("receipt", "receipt"),
        ("executor", "executor"),
        ("error", "remark"),
    ] {
        let value = if field == "remark" {
            &task["remark"]["message"]
        } else {
            &task[field]
        };
        line(name, value);
        if field == "func" && is_effectful {
            let class = Determinism::Effectful.name();
            line("class", &Value::String(format!("{class}, not remembered")));
        }
    }
}
