//! How many files the system lets this process have open: connections are among them.

use crate::limits::{CONNECTIONS_MAX, NEWCOMERS_MAX};

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
    connections_of(files_max().unwrap_or(usize::MAX))
}

/// So many may be open where there may be so many files. Who has no place and is heard until the first request has a file, too.
fn connections_of(files: usize) -> usize {
    let left = files.saturating_sub(OTHERS + NEWCOMERS_MAX);
    CONNECTIONS_MAX.min(left.max(files / 2))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_for_others_however_many_connect() {
        for files in [1_024, 4_096, 16_384, 65_536] {
            let open = connections_of(files) + NEWCOMERS_MAX;
            assert!(open + OTHERS <= files, "{open} of {files}");
        }
        assert_eq!(connections_of(usize::MAX), CONNECTIONS_MAX);
    }
}
