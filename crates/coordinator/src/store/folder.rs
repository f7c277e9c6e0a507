//! Blobs as files: `blobs/<last two letters>/<cid>`, complete or not there at all.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use asterism_protocol::{BlobHasher, Cid};

use super::{BlobError, BlobReader, BlobWriter, Blobs, Naming};
use crate::limits::BLOB_CHUNK_BYTES;

/// Verified files that are remembered. Forgetting one costs reading it twice.
const VERIFIED_MAX: usize = 65_536;

/// Blobs in a folder.
pub struct FolderBlobs(Arc<Folder>);

struct Folder {
    root: PathBuf,
    temporary: PathBuf,
    next: AtomicU64,
    /// Files whose bytes were checked, with the size and time they had: as long as those stay, the check holds.
    verified: Mutex<BTreeMap<Cid, (u64, SystemTime)>>,
}

/// Says what was tried when the system refuses.
trait Trying<T> {
    fn trying(self, what: &'static str) -> Result<T, BlobError>;
}

impl<T> Trying<T> for io::Result<T> {
    fn trying(self, what: &'static str) -> Result<T, BlobError> {
        self.map_err(|source| BlobError::Io { what, source })
    }
}

impl FolderBlobs {
    /// The blobs under `root`, which is made if it is not there. What an earlier process left unfinished is removed.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(root: &Path) -> Result<Self, BlobError> {
        let temporary = root.join("tmp");
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BlobError::Io {
                    what: "remove unfinished blobs",
                    source: error,
                });
            }
            _ => {}
        }
        fs::create_dir_all(&temporary).trying("make the folder of blobs")?;
        Ok(Self(Arc::new(Folder {
            root: root.to_owned(),
            temporary,
            next: AtomicU64::new(0),
            verified: Mutex::new(BTreeMap::new()),
        })))
    }

    #[cfg(test)]
    pub(super) fn corrupt(&self, cid: Cid) {
        let path = self.0.path(cid);
        let mut bytes = fs::read(&path).expect("the blob is there");
        bytes[0] ^= 1;
        fs::write(&path, bytes).expect("the blob can be written");
        // Clocks of file systems are coarse, and the test is fast.
        let later = SystemTime::now() + std::time::Duration::from_secs(2);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(later))
            .expect("a time can be set");
    }
}

impl Folder {
    /// Digests end evenly, beginnings of CIDs are alike.
    fn path(&self, cid: Cid) -> PathBuf {
        let name = cid.to_string();
        let shard = &name[name.len() - 2..];
        self.root.join(shard).join(&name)
    }

    fn find(&self, cid: Cid) -> Result<Option<(PathBuf, File, u64, SystemTime)>, BlobError> {
        let path = self.path(cid);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(BlobError::Io {
                    what: "open a blob",
                    source,
                });
            }
        };
        let metadata = file.metadata().trying("look at a blob")?;
        let modified = metadata.modified().trying("look at a blob")?;
        Ok(Some((path, file, metadata.len(), modified)))
    }

    fn remember(&self, cid: Cid, size: u64, modified: SystemTime) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= VERIFIED_MAX {
            verified.pop_first();
        }
        verified.insert(cid, (size, modified));
    }

    fn is_verified(&self, cid: Cid, size: u64, modified: SystemTime) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.get(&cid) == Some(&(size, modified))
    }
}

impl Blobs for FolderBlobs {
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.0.temporary.join(number.to_string());
        let file = File::create(&path).trying("begin a blob")?;
        let unfinished = Unfinished(path);
        Ok(Box::new(FolderWriter {
            folder: Arc::clone(&self.0),
            file,
            unfinished,
            naming: Naming::default(),
        }))
    }

    fn size(&self, cid: Cid) -> Result<Option<u64>, BlobError> {
        match fs::metadata(self.0.path(cid)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BlobError::Io {
                what: "look at a blob",
                source,
            }),
        }
    }

    fn open(&self, cid: Cid) -> Result<Option<Box<dyn BlobReader>>, BlobError> {
        let Some((path, mut file, size, modified)) = self.0.find(cid)? else {
            return Ok(None);
        };
        if !self.0.is_verified(cid, size, modified) {
            let mut hasher = BlobHasher::default();
            let mut chunk = vec![0; BLOB_CHUNK_BYTES];
            loop {
                match file.read(&mut chunk).trying("read a blob")? {
                    0 => break,
                    read => hasher.update(&chunk[..read]),
                }
            }
            if hasher.finish() != cid {
                return Err(BlobError::Corrupted {
                    cid: Box::new(cid),
                    place: path.display().to_string(),
                });
            }
            file.rewind().trying("read a blob")?;
            self.0.remember(cid, size, modified);
        }
        Ok(Some(Box::new(FolderReader { file, size })))
    }
}

struct FolderReader {
    file: File,
    size: u64,
}

impl Read for FolderReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for FolderReader {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

impl BlobReader for FolderReader {
    fn size(&self) -> u64 {
        self.size
    }
}

/// A temporary file; gone with its writer, unless it was renamed before.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // A failure leaves a file in `tmp`, which the next start empties.
        let _ = fs::remove_file(&self.0);
    }
}

struct FolderWriter {
    folder: Arc<Folder>,
    file: File,
    unfinished: Unfinished,
    naming: Naming,
}

impl BlobWriter for FolderWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.naming.update(bytes)?;
        self.file.write_all(bytes).trying("write a blob")
    }

    fn finish(self: Box<Self>, expected: Option<Cid>) -> Result<Cid, BlobError> {
        let Self {
            folder,
            file,
            unfinished,
            naming,
        } = *self;
        let cid = naming.finish(expected)?;
        // Whole bytes that are there already stay; damaged ones are replaced.
        if matches!(FolderBlobs(Arc::clone(&folder)).open(cid), Ok(Some(_))) {
            return Ok(cid);
        }
        let path = folder.path(cid);
        let shard = path.parent().expect("a blob lies in a shard");
        fs::create_dir_all(shard).trying("make the folder of a blob")?;
        file.sync_all().trying("make a blob durable")?;
        fs::rename(&unfinished.0, &path).trying("name a blob")?;
        sync_folder(shard)?;
        sync_folder(&folder.root)?;
        let metadata = file.metadata().trying("look at a blob")?;
        folder.remember(
            cid,
            metadata.len(),
            metadata.modified().trying("look at a blob")?,
        );
        Ok(cid)
    }
}

/// A new name is durable when its folder is.
fn sync_folder(path: &Path) -> Result<(), BlobError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .trying("make a blob's name durable")
}
