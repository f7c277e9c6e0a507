//! `asterism blob`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::Value;

use crate::{
    client::Coordinator,
    commands::read,
    console::{Console, print},
    failure::{Doing as _, Failure},
};

/// What to do with blobs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Store a file; prints its CID, to be written into workflows as {{cid:…}}
    Put {
        /// The file; `-` for standard input
        file: PathBuf,
        #[command(flatten)]
        coordinator: Coordinator,
    },
}

/// Does it.
pub(crate) async fn execute(command: Command, console: &Console) -> Result<(), Failure> {
    let Command::Put { file, coordinator } = command;
    let answer = coordinator
        .post("/blobs", &[], read(&file)?)
        .await
        .doing(format_args!("store {}", file.display()))?;
    let stored: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::other(format!("the answer is not JSON: {error}")))?;
    print(&if console.json {
        stored.to_string()
    } else {
        stored["cid"].as_str().unwrap_or_default().to_owned()
    });
    Ok(())
}
