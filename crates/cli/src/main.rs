//! `asterism`: parses, calls, prints.
//!
//! Standard output is data, standard error is talk. With `--json` both data and errors are JSON.
//! Exit codes: 0 it worked, 1 a task failed (or anything not named here), 2 usage, 3 the coordinator cannot be reached,
//! 5 the input is invalid.

mod client;
mod commands;
mod failure;

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::commands::{blob, component, coordinator, executor, receipt, run};

/// Open-world compute: workflows of WebAssembly components, computed by whoever has time
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Args {
    /// Write results and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve workflows: HTTP, WebSocket and the panel
    Coordinator(coordinator::Args),
    /// Perform tasks on this machine
    #[command(subcommand)]
    Executor(executor::Command),
    /// Run a workflow and print its result
    Run(run::Args),
    /// Components that functions are called of
    #[command(subcommand)]
    Component(component::Command),
    /// Receipts of what was computed
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Bytes by CID
    #[command(subcommand)]
    Blob(blob::Command),
}

fn main() -> ExitCode {
    let Args { json, command } = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return failure::Failure::other(format!("failed to start threads: {error}"))
                .report(json);
        }
    };
    let result = runtime.block_on(async {
        match command {
            Command::Coordinator(args) => coordinator::serve(args, json).await,
            Command::Executor(command) => executor::execute(command).await,
            Command::Run(args) => run::execute(args, json).await,
            Command::Component(command) => component::execute(command, json).await,
            Command::Receipt(command) => receipt::execute(command).await,
            Command::Blob(command) => blob::execute(command, json).await,
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// Writes a line of data. A reader that went away (`| head`) is no error.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
