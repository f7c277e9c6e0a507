//! `asterism coordinator`.

use std::{net::SocketAddr, path::PathBuf};

use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    commands::stopped,
    console::{Console, print},
    failure::{Doing as _, Failure},
};

/// How to serve.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "ASTERISM_LISTEN",
        default_value = "127.0.0.1:3000",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,
    /// Folder of what is kept: journal and blobs
    #[arg(
        long,
        env = "ASTERISM_DATA",
        default_value = "data",
        value_name = "DIR"
    )]
    data: PathBuf,
    /// Keep nothing: all is forgotten at the end
    #[arg(long, conflicts_with = "data")]
    in_memory: bool,
    /// Folder of the built panel
    #[arg(long, value_name = "DIR")]
    panel: Option<PathBuf>,
    /// Origin of pages elsewhere that may use this coordinator, such as `https://panel.example`; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
}

/// Serves until it is told to stop.
pub(crate) async fn serve(args: Args, console: &Console) -> Result<(), Failure> {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| {
            Failure::other(error.to_string())
                .hint("choose another address with --listen; port 0 takes a free one")
        })
        .doing(format_args!("listen on {}", args.listen))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::other(error.to_string()))?;
    let options = asterism_coordinator::Options {
        data: (!args.in_memory).then_some(args.data),
        panel: args.panel,
        allow_origins: args.allow_origin,
        ..asterism_coordinator::Options::default()
    };
    // Told once it serves: whoever reads it may connect at once.
    let ready = move || {
        let url = format!("http://{address}");
        if console.json {
            print(&json!({ "listening": url }).to_string());
        } else {
            console.say(&format!("the coordinator is at {url}"));
        }
    };
    asterism_coordinator::serve_when_ready(listener, options, ready, stopped())
        .await
        .map_err(|error| Failure::other(error.to_string()))
        .doing("serve")
}
