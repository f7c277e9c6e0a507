//! `asterism blob`.

use std::path::{Path, PathBuf};

use asterism_protocol::{Cid, Value, blob_cid};
use clap::Subcommand;

use crate::{
    client::Coordinator,
    commands::{function, read},
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
    /// Write the bytes of a CID to standard output; they are hashed first
    Get {
        /// The CID
        cid: String,
        #[command(flatten)]
        coordinator: Coordinator,
    },
}

/// Does it.
pub(crate) async fn execute(command: Command, console: &Console) -> Result<(), Failure> {
    match command {
        Command::Put { file, coordinator } => put(&file, &coordinator, console).await,
        Command::Get { cid, coordinator } => get(&cid, &coordinator, console).await,
    }
}

async fn get(cid: &str, coordinator: &Coordinator, console: &Console) -> Result<(), Failure> {
    let doing = format!("get blob {cid}");
    let cid: Cid = cid
        .parse()
        .map_err(|error: asterism_protocol::Error| Failure::invalid(error.to_string()))
        .doing(&doing)?;
    let bytes = coordinator.bytes_of(cid).await.doing(&doing)?;
    function::show(&Value::Bytes(bytes), console);
    Ok(())
}

async fn put(file: &Path, coordinator: &Coordinator, console: &Console) -> Result<(), Failure> {
    let bytes = read(file, console)?;
    // By its name: what is there already is known before it is sent.
    let answer = coordinator
        .put(blob_cid(&bytes), bytes)
        .await
        .doing(format_args!("store {}", file.display()))?;
    let stored: serde_json::Value = serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::other(format!("the answer is not JSON: {error}")))?;
    print(&if console.json {
        stored.to_string()
    } else {
        stored["cid"].as_str().unwrap_or_default().to_owned()
    });
    Ok(())
}
