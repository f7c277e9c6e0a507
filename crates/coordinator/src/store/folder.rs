//! Blobs as files: `blobs/<last two letters>/<cid>`, complete or not there at all.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use asterism_protocol::{BlobHasher, Cid};

use super::{
    BlobEntry, BlobError, BlobReader, BlobWriter, Blobs, Naming, Stored,
    chunks::{ChunkReader, Chunks, Verified},
    timestamp_of,
};
use crate::limits::BLOB_CHUNK_BYTES;

/// Blobs in a folder.
pub struct FolderBlobs(Arc<Folder>);

struct Folder {
    root: PathBuf,
    temporary: PathBuf,
    next: AtomicU64,
    /// Files that were read whole and checked, by the size and time they had.
    verified: Mutex<Verified<(u64, SystemTime)>>,
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
        Ok(Self::beside(root))
    }

    /// The blobs under `root` as another process may be keeping them: what that has not finished is left alone.
    #[must_use]
    pub fn beside(root: &Path) -> Self {
        Self(Arc::new(Folder {
            root: root.to_owned(),
            temporary: root.join("tmp"),
            next: AtomicU64::new(0),
            verified: Mutex::default(),
        }))
    }

    /// Spoils a stored blob as a failing disk would: the file's size and time stay.
    #[cfg(test)]
    pub(super) fn corrupt(&self, cid: Cid) {
        let path = self.0.path(cid);
        let before = fs::metadata(&path).expect("the blob is there");
        let mut bytes = fs::read(&path).expect("the blob is there");
        bytes[0] ^= 1;
        fs::write(&path, bytes).expect("the blob can be written");
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(before.modified()?))
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

    fn verified(&self) -> MutexGuard<'_, Verified<(u64, SystemTime)>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walk(&self, see: &mut dyn FnMut(BlobEntry) -> bool) -> io::Result<()> {
        for shard in fs::read_dir(&self.root)? {
            let shard = shard?;
            if !shard.file_type()?.is_dir() || shard.path() == self.temporary {
                continue;
            }
            for file in fs::read_dir(shard.path())? {
                let file = file?;
                // What is not named by a CID is not ours.
                let Some(cid) = file.file_name().to_str().and_then(|name| name.parse().ok()) else {
                    continue;
                };
                let metadata = match file.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    metadata => metadata?,
                };
                let (size, stored) = (metadata.len(), timestamp_of(metadata.modified()?));
                if !see(BlobEntry { cid, size, stored }) {
                    return Ok(());
                }
            }
        }
        Ok(())
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
        let stamp = (size, modified);
        let known = self.0.verified().chunks_of(cid, &stamp);
        let chunks = if let Some(chunks) = known {
            chunks
        } else {
            let mut hasher = BlobHasher::default();
            let mut left = size;
            let mut chunk = vec![0; left.min(BLOB_CHUNK_BYTES as u64) as usize];
            while left > 0 {
                let length = left.min(BLOB_CHUNK_BYTES as u64);
                let chunk = &mut chunk[..length as usize];
                file.read_exact(chunk).trying("read a blob")?;
                hasher.update(chunk);
                left -= length;
            }
            let (found, chunks) = hasher.finish_with_chunks();
            if found != cid {
                return Err(BlobError::Corrupted {
                    cid: Box::new(cid),
                    place: path.display().to_string(),
                });
            }
            let chunks = Chunks::from(chunks);
            self.0.verified().remember(cid, stamp, &chunks);
            chunks
        };
        // Whoever brings it again must not be told that it is here and whole.
        let folder = Arc::clone(&self.0);
        let damaged = Box::new(move || folder.verified().forget(cid));
        Ok(Some(Box::new(ChunkReader::new(
            cid, file, size, chunks, damaged,
        ))))
    }

    fn delete(&self, cid: Cid) -> Result<bool, BlobError> {
        self.0.verified().forget(cid);
        match fs::remove_file(self.0.path(cid)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(BlobError::Io {
                what: "delete a blob",
                source,
            }),
        }
    }

    fn each(&self, see: &mut dyn FnMut(BlobEntry) -> bool) -> Result<(), BlobError> {
        self.0.walk(see).trying("list the blobs")
    }
}

impl super::belonging::Marked for FolderBlobs {
    fn mark(&self, name: &str) -> Result<Option<String>, BlobError> {
        match fs::read_to_string(self.0.root.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(source).trying("read whose blobs these are"),
        }
    }

    fn set_mark(&self, name: &str, text: &str) -> Result<(), BlobError> {
        // Whoever writes it has the lock of the folder. Never half of it: the folder would be somebody else's.
        let unfinished = self.0.root.join(format!("{name}.unfinished"));
        File::create(&unfinished)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&unfinished, self.0.root.join(name)))
            .and_then(|()| File::open(&self.0.root)?.sync_all())
            .trying("write whose blobs these are")
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

    fn finish(self: Box<Self>, expected: Option<Cid>) -> Result<Stored, BlobError> {
        let Self {
            folder,
            file,
            unfinished,
            naming,
        } = *self;
        let cid = naming.finish(expected)?;
        // Whole bytes that are there already stay; damaged ones are replaced.
        if matches!(FolderBlobs(Arc::clone(&folder)).open(cid), Ok(Some(_))) {
            return Ok(Stored { cid, is_new: false });
        }
        let path = folder.path(cid);
        let shard = path.parent().expect("a blob lies in a shard");
        fs::create_dir_all(shard).trying("make the folder of a blob")?;
        file.sync_all().trying("make a blob durable")?;
        fs::rename(&unfinished.0, &path).trying("name a blob")?;
        sync_folder(shard)?;
        sync_folder(&folder.root)?;
        Ok(Stored { cid, is_new: true })
    }
}

/// A new name is durable when its folder is.
fn sync_folder(path: &Path) -> Result<(), BlobError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .trying("make a blob's name durable")
}
