//! One data directory, one process.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;

/// A data directory that is this process's alone until it is dropped; the system lets go of it when the process dies.
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{path} is in use by another coordinator{by}; stop that one or choose another --data")]
    InUse {
        /// The directory.
        path: String,
        /// Who, as far as its lock file tells.
        by: String,
    },
    /// The file system failed.
    #[error("failed to open the data directory {path}: {source}")]
    Io {
        /// The directory, or a file in it.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl LockError {
    /// What the file system says of a path.
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}

/// Makes a folder, and those that it lies in, for their owner alone where they are not there: a journal says what everybody
/// computed, with what they gave and what came of it.
///
/// # Errors
/// What the system says.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    // Elsewhere a user's folders are the user's alone by default.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl DataDirectory {
    /// Opens the directory, which is made if it is not there.
    ///
    /// # Errors
    /// It is in use, or cannot be made or written.
    pub fn open(path: &Path) -> Result<Self, LockError> {
        let error = &LockError::at(path);
        make_private_folder(path).map_err(error)?;
        let file = path.join("lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&file)
            .map_err(error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&file).unwrap_or_default();
                let pid = pid.trim();
                let by = if pid.is_empty() {
                    String::new()
                } else {
                    format!(" (process {pid})")
                };
                return Err(LockError::InUse {
                    path: path.display().to_string(),
                    by,
                });
            }
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(error)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// A name that no other directory has; made once. Whoever has the directory knows that nobody else goes by it now.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub(crate) fn name(&self) -> Result<String, LockError> {
        let path = self.path.join("name");
        let error = &LockError::at(&path);
        match fs::read_to_string(&path) {
            Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
            Err(failed) if failed.kind() != io::ErrorKind::NotFound => return Err(error(failed)),
            Ok(_) | Err(_) => {}
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|failed| error(io::Error::other(failed)))?;
        let name = HEXLOWER.encode(&bytes);
        fs::write(&path, &name).map_err(error)?;
        Ok(name)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_data_directory_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/data");
        let data = DataDirectory::open(&path).unwrap();
        for made in [data.path(), &folder.path().join("below")] {
            let mode = fs::metadata(made).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", made.display());
        }
    }
}
