//! `asterism executor`.

use std::path::PathBuf;

use asterism_executor_native::Options;
use asterism_host_wasmtime::WasmtimeEngine;
use clap::Subcommand;

use crate::{
    client::Coordinator,
    commands::stopped,
    failure::{Doing as _, Failure},
};

/// What to do with executors.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Perform tasks until stopped; what is not done then is handed back
    Start {
        #[command(flatten)]
        coordinator: Coordinator,
        /// Folder of the executor's key and of compiled components
        #[arg(long, default_value = "data/executor", value_name = "DIR")]
        data: PathBuf,
        /// Tasks performed at the same time; one for each processor without it
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
        threads: Option<u32>,
        /// Name for people
        #[arg(long, default_value = "")]
        name: String,
        /// Share of time that threads compute, in percent
        #[arg(long, default_value_t = 100, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
        duty: u8,
        /// Most memory that a task may have, in MiB; what wants more is left to other executors
        #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        memory: Option<u64>,
    },
}

/// Does it.
pub(crate) async fn execute(command: Command) -> Result<(), Failure> {
    let Command::Start {
        coordinator,
        data,
        threads,
        name,
        duty,
        memory,
    } = command;
    let compiled = data.join("compiled");
    let engine =
        WasmtimeEngine::new(Some(&compiled)).map_err(|error| Failure::other(error.to_string()))?;
    let usual = Options::new(coordinator.url(), data);
    let options = Options {
        name,
        duty_percent: duty,
        memory_bytes: memory.map_or(usual.memory_bytes, |mib| mib << 20),
        threads: threads.unwrap_or(usual.threads),
        ..usual
    };
    asterism_executor_native::run(options, move || Box::new(engine.host()), stopped())
        .await
        .map_err(|error| Failure::other(error.to_string()))
        .doing("perform tasks")
}
