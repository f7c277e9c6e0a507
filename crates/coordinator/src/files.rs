//! How many files the system lets this process have open: connections are among them.

use crate::limits::CONNECTIONS_MAX;

/// Files that are kept for others than connections: the journal, blobs that are read, the system's own.
const OTHERS: usize = 256;

/// Raises the system's limit for this process as far as may be. What a shell gives, often 1,024, is less than a coordinator's
/// connections. Where that is not allowed it stays as it is, and fewer connections are taken.
pub fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

/// Connections that may be open at the same time.
pub(crate) fn connections_max() -> usize {
    let files = files_max().unwrap_or(usize::MAX);
    CONNECTIONS_MAX.min(files.saturating_sub(OTHERS).max(files / 2))
}

#[cfg(unix)]
fn files_max() -> Option<usize> {
    use rustix::process::{Resource, getrlimit};
    usize::try_from(getrlimit(Resource::Nofile).current?).ok()
}

/// Elsewhere there is no such limit to ask for.
#[cfg(not(unix))]
fn files_max() -> Option<usize> {
    None
}
