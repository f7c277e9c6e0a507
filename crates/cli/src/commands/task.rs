//! `asterism task`.

use clap::Subcommand;
use serde_json::Value;

use crate::{
    client::{Coordinator, json_of},
    console::{Console, harmless, print},
    failure::{Doing as _, Failure},
    follow::title,
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
    let (Command::Get { which } | Command::Logs { which } | Command::Explain { which }) = &command;
    let segments = ["workflows", &which.run, "tasks", &which.task];
    let answer = which.coordinator.get_at(&segments).await;
    let doing = format!("look at task {} of run {}", which.task, which.run);
    let answer = json_of(&answer.doing(doing)?)?;
    let task = &answer["task"];
    match command {
        Command::Get { .. } if console.json => print(&task.to_string()),
        Command::Get { .. } => show(task),
        Command::Logs { .. } => {
            for line in task["remark"]["logs"].as_array().into_iter().flatten() {
                print(&if console.json {
                    line.to_string()
                } else {
                    line_of(line)
                });
            }
        }
        Command::Explain { .. } if console.json => print(&answer.to_string()),
        Command::Explain { .. } => {
            let state = task["state"].as_str().unwrap_or_default();
            print(&harmless(&format!("{}: {state}", title(task))));
            for why in answer["why"].as_array().into_iter().flatten() {
                print(&harmless(&format!(
                    "- {}",
                    why.as_str().unwrap_or_default()
                )));
            }
        }
    }
    Ok(())
}

fn line_of(line: &Value) -> String {
    let text = |name: &str| harmless(line[name].as_str().unwrap_or_default());
    format!("{} {} {}", text("level"), text("context"), text("message"))
}

fn show(task: &Value) {
    let line = |name: &str, value: &Value| {
        let shown = match value {
            Value::Null => return,
            Value::String(text) if text.is_empty() => return,
            Value::String(text) => harmless(text),
            other => other.to_string(),
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
    }
}
