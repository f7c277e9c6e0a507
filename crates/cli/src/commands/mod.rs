//! One file for each noun.

pub(crate) mod blob;
pub(crate) mod component;
pub(crate) mod config;
pub(crate) mod coordinator;
pub(crate) mod dev;
pub(crate) mod executor;
pub(crate) mod function;
pub(crate) mod help;
pub(crate) mod receipt;
pub(crate) mod run;
pub(crate) mod submit;

use std::{io::Read as _, path::Path};

use crate::failure::{Doing as _, Failure};

/// The bytes of a file, or of standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(path).map(|read| bytes = read)
    };
    read.map_err(|error| Failure::invalid(error.to_string()))
        .doing(format_args!("read {}", path.display()))?;
    Ok(bytes)
}

/// Ends when somebody presses Ctrl-C.
pub(crate) async fn interrupted() {
    // An error means that the signal cannot be had; then the process is ended from outside.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Ends when somebody wants this process to stop.
pub(crate) async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let terminated = async {
            match signal(SignalKind::terminate()) {
                Ok(mut signal) => drop(signal.recv().await),
                // Without the signal there is still the interrupt.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = interrupted() => {}
            () = terminated => {}
        }
    }
    #[cfg(not(unix))]
    interrupted().await;
}
