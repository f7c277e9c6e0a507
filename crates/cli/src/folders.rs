//! Where things of the user are kept, by the XDG base directories.

use std::{env, path::PathBuf};

/// `asterism` in the folder that a variable names, or in the usual one below `HOME`; nothing where there is neither.
pub(crate) fn of_user(variable: &str, below_home: &str) -> Option<PathBuf> {
    // What is not absolute is to be ignored.
    let folder = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = folder(variable).or_else(|| Some(folder("HOME")?.join(below_home)))?;
    Some(base.join("asterism"))
}

/// Where a coordinator keeps what it knows if nobody says it: `$XDG_DATA_HOME/asterism`, or `~/.local/share/asterism`.
/// Without a home it is `data` in the working folder.
pub(crate) fn data() -> PathBuf {
    of_user("XDG_DATA_HOME", ".local/share").unwrap_or_else(|| PathBuf::from("data"))
}

/// Where an executor keeps its key and compiled components if nobody says it: beside the coordinator's data.
pub(crate) fn executor() -> PathBuf {
    data().join("executor")
}
