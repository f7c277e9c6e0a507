//! Compiled components on disk. Loading one runs whatever is in the file, so only files of our own are loaded: from a
//! directory that only its owner may write, and with a checksum against torn and rotten ones.
//!
//! Code is mapped into memory and not read: a language runtime has sixty megabytes of it, of which a task touches few.
//! So the checksum has a file of its own, and is one that costs milliseconds; whoever may write there needs no cunning.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use asterism_protocol::Cid;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, Result};

use crate::code::Code;

/// Most bytes of compiled components that stay on disk; the ones written first go first.
const DISK_BYTES_MAX: u64 = 4 << 30;

/// The directory, by component and engine.
#[derive(Debug)]
pub(crate) struct DiskCache {
    dir: PathBuf,
    /// Tells engines apart whose code is not exchangeable.
    engine: String,
}

impl DiskCache {
    /// Opens or makes the directory.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> io::Result<Self> {
        make_private(dir)?;
        let mut hasher = Fingerprint(Sha256::new());
        std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
        let engine = HEXLOWER.encode(&hasher.0.finalize()[..8]);
        Ok(Self {
            dir: dir.to_owned(),
            engine,
        })
    }

    fn path(&self, cid: Cid) -> PathBuf {
        self.dir.join(format!("{cid}-{}.cwasm", self.engine))
    }

    /// What `load` makes of the compiled component, if there is a whole one of this engine.
    pub(crate) fn load<T>(&self, cid: Cid, load: impl FnOnce(&Code<'_>) -> Result<T>) -> Option<T> {
        let path = self.path(cid);
        let written = fs::read(sum_path(&path)).ok()?;
        let loaded = match checksum(cid, &path) {
            Ok(sum) if sum[..] == written => {
                load(&Code::File(&path)).map_err(|error| format!("{error:#}"))
            }
            Ok(_) => Err("it is not as it was written".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match loaded {
            Ok(loaded) => Some(loaded),
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "a compiled component is thrown away");
                // It is compiled again and overwritten: a file that stays is no harm.
                let _ = fs::remove_file(sum_path(&path));
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps the code of a component. Failing costs time later, nothing else.
    pub(crate) fn store(&self, cid: Cid, code: &[u8]) {
        let temporary = self
            .dir
            .join(format!("{cid}-{}.{}.tmp", self.engine, std::process::id()));
        let path = self.path(cid);
        let put = |bytes: &[u8], path: &Path| {
            fs::write(&temporary, bytes)?;
            fs::rename(&temporary, path)
        };
        let written = put(code, &path)
            .and_then(|()| put(&checksum(cid, &path)?, &sum_path(&path)))
            .and_then(|()| self.prune());
        if let Err(error) = written {
            tracing::warn!(dir = %self.dir.display(), %error, "a compiled component could not be kept");
        }
    }

    fn prune(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_file() {
                files.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if bytes <= DISK_BYTES_MAX {
                break;
            }
            fs::remove_file(path)?;
            bytes -= size;
        }
        Ok(())
    }
}

/// Where the checksum of a compiled component is.
fn sum_path(path: &Path) -> PathBuf {
    path.with_extension("sum")
}

/// Of the code and whose it is: a file under another name does not pass.
fn checksum(cid: Cid, path: &Path) -> io::Result<[u8; 4]> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(cid.to_string().as_bytes());
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_be_bytes()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// A hash that is the same in every build.
struct Fingerprint(Sha256);

impl std::hash::Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

#[cfg(unix)]
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let reason = format!(
        "{} may be written by others (mode {:o}): run `chmod go-w` on it",
        dir.display(),
        mode & 0o777
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

#[cfg(not(unix))]
fn make_private(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

#[cfg(test)]
mod tests {
    use asterism_protocol::blob_cid;
    use wasmtime::{Config, ModuleVersionStrategy};

    use super::*;
    use crate::config::config;

    /// An engine whose code is not ours.
    type Change = fn(&mut Config);

    const OTHERS: [Change; 3] = [
        |config| {
            config.consume_fuel(false);
        },
        |config| {
            config.epoch_interruption(false);
        },
        |config| {
            let version = ModuleVersionStrategy::Custom("another".into());
            config
                .module_version(version)
                .expect("it is a short version");
        },
    ];

    fn engine(change: Change) -> Engine {
        let mut config = config();
        change(&mut config);
        Engine::new(&config).expect("Wasmtime runs here")
    }

    fn component() -> Vec<u8> {
        let text = "(component
            (core module $m (func (export \"run\") (result i32) (i32.const 1)))
            (core instance $i (instantiate $m))
            (func (export \"run\") (result u32) (canon lift (core func $i \"run\"))))";
        wat::parse_str(text).expect("the text of the test is right")
    }

    #[test]
    fn engines_whose_code_differs_keep_what_is_theirs() {
        let (ours, bytes) = (engine(|_| {}), component());
        let cid = blob_cid(&bytes);
        for change in OTHERS {
            let dir = tempfile::tempdir().expect("a directory");
            let theirs = engine(change);
            let open = |engine| DiskCache::open(dir.path(), engine).expect("it is ours");
            let (our_cache, their_cache) = (open(&ours), open(&theirs));
            let code = theirs.precompile_component(&bytes).expect("it is fit");
            their_cache.store(cid, &code);
            assert!(our_cache.load(cid, |code| code.load(&ours)).is_none());
            let left = their_cache.load(cid, |code| code.load(&theirs));
            assert!(left.is_some(), "it was left to them");
        }
    }

    #[test]
    fn code_of_another_engine_is_not_loaded_under_our_name() {
        let (ours, bytes) = (engine(|_| {}), component());
        let cid = blob_cid(&bytes);
        for change in OTHERS {
            let dir = tempfile::tempdir().expect("a directory");
            let cache = DiskCache::open(dir.path(), &ours).expect("it is ours");
            let code = engine(change).precompile_component(&bytes);
            // Whole, and with the checksum that it must have.
            cache.store(cid, &code.expect("it is fit"));
            assert!(cache.path(cid).exists());
            assert!(cache.load(cid, |code| code.load(&ours)).is_none());
            assert!(!cache.path(cid).exists(), "it was thrown away");
        }
    }
}
