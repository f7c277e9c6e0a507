//! Secrets such as the executor's key: made on first start, kept in a file that only its owner can read.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use asterism_protocol::Identity;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

#[cfg(not(unix))]
#[path = "key/elsewhere.rs"]
mod owner;
#[cfg(unix)]
#[path = "key/unix.rs"]
mod owner;

/// The file in the data directory: 64 hexadecimal digits, the secret key.
const FILE: &str = "executor.key";

/// Why there is no secret to use.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file or its directory cannot be used.
    #[error("the secret's file {path} cannot be used")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can read it.
    #[error(
        "others than its owner can read the secret in {path} (mode {mode:03o}): if nobody did, `chmod 600` it, otherwise delete it and a new one is made"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// It holds something else.
    #[error(
        "{path} does not hold 64 hexadecimal digits: put a copy of the secret there, or delete it and a new one is made"
    )]
    Malformed {
        /// Which.
        path: PathBuf,
    },
    /// Another executor goes by it.
    #[error(
        "another executor goes by the key in {path}: give that one more threads, or this one another folder with --data"
    )]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// The system has no randomness to give.
    #[error("no secret can be made: {0}")]
    Random(getrandom::Error),
}

/// The key in the directory `data`; directory and key are made if they are not there.
///
/// # Errors
/// See [`KeyError`].
pub fn load_key(data: &Path) -> Result<Identity, KeyError> {
    load_secret(data, FILE).map(|seed| Identity::from_seed(&seed))
}

/// The key in the directory `data`, which no other process goes by as long as this file is open: two with one key would each end
/// the other's connection, and with it their tasks.
pub(crate) fn hold_key(data: &Path) -> Result<fs::File, KeyError> {
    let path = data.join(FILE);
    let io = |source| KeyError::Io {
        path: path.clone(),
        source,
    };
    let file = fs::File::open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(KeyError::InUse { path }),
        // A file system that knows no locks: nobody can be told from another there.
        Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            Ok(file)
        }
        Err(fs::TryLockError::Error(error)) => Err(io(error)),
    }
}

/// The secret in a file of the directory `data`; both are made if they are not there.
///
/// # Errors
/// See [`KeyError`].
pub fn load_secret(data: &Path, file: &str) -> Result<[u8; 32], KeyError> {
    let path = data.join(file);
    let io = |source| KeyError::Io {
        path: path.clone(),
        source,
    };
    match fs::File::open(&path) {
        Ok(file) => {
            if let Some(mode) = owner::exposed(&file).map_err(io)? {
                return Err(KeyError::Exposed { path, mode });
            }
            let text = io::read_to_string(io::Read::take(file, 1_024)).map_err(io)?;
            seed_of(text.trim()).ok_or(KeyError::Malformed { path })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(KeyError::Random)?;
            owner::make_directory(data).map_err(io)?;
            write_whole(&path, &seed).map_err(io)?;
            Ok(seed)
        }
        Err(error) => Err(io(error)),
    }
}

/// Written beside its place first, so that a crash leaves no half of a key.
fn write_whole(path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = owner::create(&draft)?;
    writeln!(file, "{}", HEXLOWER.encode(seed))?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

fn seed_of(text: &str) -> Option<[u8; 32]> {
    let seed = HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    seed.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory for the test")
    }

    #[test]
    fn a_key_is_made_once_and_kept() {
        let directory = directory();
        let data = directory.path().join("data");
        let first = load_key(&data).expect("a key is made").public_key();
        assert_eq!(
            load_key(&data).expect("the key is there").public_key(),
            first
        );
        let other = load_key(&directory.path().join("other"))
            .expect("a key is made")
            .public_key();
        assert_ne!(other, first);
    }

    #[test]
    fn one_executor_goes_by_a_key_at_a_time() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        load_key(directory.path()).expect("a key is made");
        let held = hold_key(directory.path()).expect("nobody goes by it");
        let error = hold_key(directory.path()).expect_err("somebody does");
        assert!(error.to_string().contains("another executor"), "{error}");
        drop(held);
        hold_key(directory.path()).expect("nobody does any more");
    }

    #[test]
    fn a_file_with_something_else_is_refused_with_a_remedy() {
        let directory = directory();
        let path = directory.path().join(FILE);
        owner::create(&path)
            .and_then(|mut file| file.write_all(b"no key"))
            .expect("a file is written");
        let error = load_key(directory.path())
            .err()
            .expect("it is no key")
            .to_string();
        assert!(error.contains("delete it"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it_or_it_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = directory();
        load_key(directory.path()).expect("a key is made");
        let path = directory.path().join(FILE);
        let mode = |path: &Path| {
            fs::metadata(path)
                .expect("the file is there")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(&path), 0o600);
        for mode in [0o640, 0o604, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .expect("rights can be changed");
            let error = load_key(directory.path())
                .err()
                .expect("others can read it")
                .to_string();
            assert!(
                error.contains("chmod 600") && error.contains(&format!("{mode:o}")),
                "{error}"
            );
        }
    }
}
