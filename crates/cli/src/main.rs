//! `asterism`: parses, calls, prints.
//!
//! Standard output is data, standard error is talk. With `--json` both data and errors are JSON. Exit codes are in
//! [`failure::Exit`]. A flag comes before `ASTERISM_<FLAG>`, that before the files of [`settings`], those before defaults.

mod arguments;
mod authority;
mod build;
mod client;
mod commands;
mod console;
mod corebrum;
mod failure;
mod folders;
mod follow;
mod graph;
mod local;
mod log;
mod rerun;
mod scaffold;
mod settings;
mod terms;
mod values;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};

use crate::{
    commands::{
        blob, component, config, coordinator, dev, executor, function, help, receipt, run, submit,
        task, upkeep, workflow,
    },
    console::Console,
    failure::{Exit, Failure},
    settings::Settings,
};

/// A coordinator makes and drops many small things, in several threads: with this allocator a task takes a third less time than
/// with the system's (`cargo xtask bench scheduler`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Open-world compute: workflows of WebAssembly components, computed by whoever has time
#[derive(Parser)]
#[command(name = "asterism", version, propagate_version = true)]
struct Args {
    #[command(flatten)]
    console: Console,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build functions and serve them here: coordinator, executor and panel in one
    Dev(dev::Args),
    /// Functions: make, build, add, list, inspect, call
    #[command(subcommand, name = "fn")]
    Function(function::Command),
    /// Serve workflows: HTTP, WebSocket and the panel
    Coordinator(coordinator::Args),
    /// Perform tasks on this machine
    #[command(subcommand)]
    Executor(executor::Command),
    /// Run a workflow and print its result
    Run(run::Args),
    /// Run a Corebrum task file and print what it comes to
    Submit(submit::Args),
    /// Workflows and their runs: list, watch, cancel, draw, validate
    #[command(subcommand)]
    Workflow(workflow::Command),
    /// Tasks of a run: what they came to, their logs, why they wait
    #[command(subcommand)]
    Task(task::Command),
    /// Components that functions are called of
    #[command(subcommand)]
    Component(component::Command),
    /// Receipts of what was computed
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Bytes by CID
    #[command(subcommand)]
    Blob(blob::Command),
    /// Copy a coordinator's data directory, also while it is served from
    Backup(upkeep::CopyArgs),
    /// Make a data directory of a backup
    Restore(upkeep::CopyArgs),
    /// Check every event, receipt and blob of a data directory
    Doctor(upkeep::Place),
    /// Delete blobs that no component, receipt or workflow needs
    Gc(upkeep::GcArgs),
    /// Settings and where they are from
    #[command(subcommand)]
    Config(config::Command),
    /// Print a script that completes commands and flags in a shell
    Completions(help::Completions),
    /// Print the manual, for `man -l -`
    Man {
        /// Of this command; of the whole program without it
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    // What goes wrong before the command line is understood is said in the form it asks for, too.
    let json = args.iter().any(|arg| arg == "--json");
    match start(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended::Told(code)) => code,
        Err(Ended::Failed(failure)) => failure.report(json),
    }
}

/// How a command ends when it does not simply succeed.
enum Ended {
    /// It has been said: help, version.
    Told(ExitCode),
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Ended {
    /// What clap says of these words.
    fn of_usage(error: &clap::Error, words: &[OsString]) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                // A reader that went away is no error.
                let _ = error.print();
                Self::Told(ExitCode::from(error.exit_code() as u8))
            }
            _ => Self::Failed(Failure::of_usage(error, words)),
        }
    }
}

fn start(args: &[OsString]) -> Result<(), Ended> {
    let settings = Settings::load(&Args::command(), settings::named_file(args))?;
    let misread = |error| Ended::of_usage(&error, args);
    let matches = settings.apply(Args::command()).try_get_matches_from(args);
    let matches = matches.map_err(misread)?;
    let Args { console, command } = Args::from_arg_matches(&matches).map_err(misread)?;
    let (serves, usual) = match &command {
        Command::Coordinator(_) | Command::Executor(executor::Command::Start { .. }) => {
            (true, "info")
        }
        // The diary tells the same, and more of it.
        Command::Dev(_) => (true, "info,asterism_coordinator::driver=warn"),
        _ => (false, "warn"),
    };
    console.start_logging(usual);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("threads could not be started: {error}")))?;
    let result = runtime.block_on(async {
        let command = dispatch(command, &console, &settings);
        if serves {
            // It has something to finish when it is told to stop.
            return command.await;
        }
        tokio::select! {
            result = command => result,
            () = commands::interrupted() => {
                let failure = Failure::new(Exit::Interrupted, "interrupted");
                Err(match console.goes_on() {
                    Some(how) => failure.hint(how),
                    None => failure,
                })
            }
        }
    });
    // Reads of standard input cannot be called off.
    runtime.shutdown_background();
    Ok(result?)
}

async fn dispatch(command: Command, console: &Console, settings: &Settings) -> Result<(), Failure> {
    match command {
        Command::Dev(args) => dev::serve(args, console).await,
        Command::Function(command) => function::execute(command, console).await,
        Command::Coordinator(args) => coordinator::serve(args, console).await,
        Command::Executor(command) => executor::execute(command, console).await,
        Command::Run(args) => run::execute(args, console).await,
        Command::Submit(args) => submit::execute(args, console).await,
        Command::Component(command) => component::execute(command, console).await,
        Command::Workflow(command) => workflow::execute(command, console).await,
        Command::Task(command) => task::execute(command, console).await,
        Command::Receipt(command) => receipt::execute(command, console).await,
        Command::Blob(command) => blob::execute(command, console).await,
        Command::Backup(args) => upkeep::backup(args, console).await,
        Command::Restore(args) => upkeep::restore(args, console).await,
        Command::Doctor(args) => upkeep::doctor(args, console).await,
        Command::Gc(args) => upkeep::gc(args, console).await,
        Command::Config(command) => {
            config::execute(&command, settings, &Args::command(), console);
            Ok(())
        }
        Command::Completions(args) => {
            help::completions(&args, Args::command());
            Ok(())
        }
        Command::Man { command } => help::manual(&command, Args::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Settings::default().apply(Args::command()).debug_assert();
    }
}
