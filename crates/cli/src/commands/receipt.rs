//! `asterism receipt`.

use clap::Subcommand;

use crate::{
    client::Coordinator,
    console::print,
    failure::{Doing as _, Failure},
};

/// What to do with receipts.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print a receipt as DAG-JSON
    Get {
        /// CID of the receipt, or of the instruction that it answers
        cid: String,
        #[command(flatten)]
        coordinator: Coordinator,
    },
}

/// Does it.
pub(crate) async fn execute(command: Command) -> Result<(), Failure> {
    let Command::Get { cid, coordinator } = command;
    let cid: asterism_protocol::Cid = cid
        .parse()
        .map_err(|error: asterism_protocol::Error| Failure::invalid(error.to_string()))
        .doing("get a receipt")?;
    let answer = coordinator
        .get(&format!("/receipts/{cid}"), &[])
        .await
        .doing(format_args!("get receipt {cid}"))?;
    print(&String::from_utf8_lossy(&answer.body));
    Ok(())
}
