//! `cargo xtask`: whatever is not `cargo build` or `cargo test`.
//!
//! One file a command. Every process is started through [`process::Step`], so that each failure
//! reads `failed to … because …; run …`. This crate knows none of ours: it is built first on a
//! fresh machine, and its cost is the first thing that a newcomer waits for.

mod bench;
mod bundle;
mod compress;
mod conformance;
mod docs;
mod examples;
mod fuzz;
mod kill_test;
mod languages;
mod process;
mod setup;
mod signals;
mod sim;
mod size;
mod test;
mod trunk;
mod up;
mod wasm_test;
mod workspace;

use std::{env, ffi::OsString, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

/// Builds, runs, tests and measures Asterism.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sets everything up and starts a coordinator with the panel and one executor.
    Up(up::Args),
    /// Sets up what tests need and runs the tests of every level.
    Test(test::Args),
    /// Ends a coordinator by signal 9 at random moments, under load, and looks at what it knows afterwards.
    KillTest(kill_test::Args),
    /// Measures; arguments go to the benchmark program.
    #[command(disable_help_flag = true)]
    Bench(Passed),
    /// Performs the same calls on every host and compares with docs/conformance.md: --case NAME, --component FILE --func F
    /// --args JSON, --record.
    #[command(disable_help_flag = true)]
    Conformance(Passed),
    /// Compares generated modules and values on Wasmtime and node until something differs: --seed N, --seeds M. Or, with a
    /// target of fuzz/ (component, values, frames, dag-cbor), feeds what reads strangers' bytes: --seconds N.
    #[command(disable_help_flag = true)]
    Fuzz(Passed),
    /// Lives through simulated worlds: --seed N, --runs M, --small, --executors N, --tasks N.
    #[command(disable_help_flag = true)]
    Sim(Passed),
    /// Builds panel and worker into dist/.
    Bundle,
    /// Builds the guide into target/docs/.
    Docs,
    /// Makes components of the guests in TypeScript, JavaScript and Python into target/languages/.
    Languages,
    /// Makes what the page runs without a server; Trunk calls it before each build.
    Examples,
    /// Prints the sizes of what dist/ holds and fails above the budgets.
    Size,
    /// Runs Trunk with the wasm-bindgen that Cargo.lock pins.
    #[command(disable_help_flag = true)]
    Trunk(Passed),
    /// Runs a wasm test program in node or a browser; cargo calls it (.cargo/config.toml).
    #[command(hide = true, disable_help_flag = true)]
    WasmTest(Passed),
}

/// Arguments handed on as they are.
#[derive(clap::Args)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    let result = if is_called("wasm-bindgen") {
        // Trunk looks for a program of this name on PATH: that is this one, linked there.
        trunk::wasm_bindgen(env::args_os().collect()).map(|()| ExitCode::SUCCESS)
    } else {
        dispatch(Cli::parse().command)
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Test(args) => return test::run(&args),
        Command::Up(args) => up::run(&args),
        Command::KillTest(args) => kill_test::run(&args),
        Command::Bench(passed) => bench::run(&passed.args),
        Command::Conformance(passed) => conformance::run(&passed.args),
        Command::Fuzz(passed) => fuzz::run(&passed.args),
        Command::Sim(passed) => sim::run(&passed.args),
        Command::Bundle => bundle::build(),
        Command::Docs => docs::build(),
        Command::Languages => languages::build(),
        Command::Examples => examples::build(),
        Command::Size => size::run(),
        Command::Trunk(passed) => trunk::run(passed.args),
        Command::WasmTest(passed) => wasm_test::run(passed.args),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn is_called(name: &str) -> bool {
    env::args_os()
        .next()
        .is_some_and(|me| Path::new(&me).file_stem() == Some(name.as_ref()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
