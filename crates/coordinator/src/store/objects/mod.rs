//! Blobs as objects of a store elsewhere: `<prefix>/<last two letters>/<cid>`, the names that a folder has.
//!
//! What fits into a part is sent at once, under its name. What is longer is sent in parts, under a name of its own, as nobody
//! knows the last name of bytes that are still to come, and is copied by the store when it is whole: so no writer needs room on
//! a disk, and nobody sees a part. What is left of a process that died is deleted by a later one, a day after.
//!
//! Bytes of strangers' machines are checked as those of a failing disk are: what is short is fetched once, checked and served
//! from memory; what is longer is read once to the end, unless this process wrote it, and then chunk by chunk. Each chunk is
//! checked again, against the chunks that the CID is made of.
//!
//! A call that fails may be one object's misfortune. So the store is tried with another object then, and only where that fails too
//! it is in trouble: from then on nobody waits for long, until that object comes and goes again.

mod doubt;
mod http;
mod ranges;
mod s3;
mod writer;

use std::{
    future::Future,
    io::Cursor,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use asterism_protocol::{BlobHasher, Cid, limits::BLOB_BYTES_MAX};
use axum::body::Bytes;
use futures_util::{StreamExt as _, future::join_all, stream::BoxStream};
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    memory::InMemory, path::Path,
};
use tokio::{runtime::Runtime, time::timeout};

pub use self::s3::S3Access;
use self::{doubt::Doubt, ranges::Ranges, writer::ObjectWriter};
use super::{
    BlobEntry, BlobError, BlobReader, BlobWriter, Blobs, Naming, StoreProblem, Stored,
    chunks::{ChunkReader, Chunks, Verified},
    timestamp_of,
};
use crate::limits::{
    STORE_ANSWER_MAX, STORE_BRIEF_MAX, STORE_CALL_MAX, STORE_CONNECT_MAX, STORE_PROBE_EVERY,
    STORE_RETRIES, STORE_UNFINISHED_MAX, STORE_WHOLE_BYTES,
};

/// Unfinished objects, below the prefix.
const UNFINISHED: &str = "tmp";

/// Objects that are looked at together.
const ASKED_AT_ONCE: usize = 32;

/// Objects that are listed at a time: a page of S3.
const LISTED: usize = 1_000;

/// Longest mark, in bytes: a name and an address.
const MARK_BYTES_MAX: u64 = 4 << 10;

/// How long a store is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// To take a connection.
    pub(super) connect: Duration,
    /// To take a part and begin its answer, and between the bytes of an answer.
    pub(super) answer: Duration,
    /// To do one thing, with all attempts.
    pub(super) call: Duration,
    /// To do one thing in trouble, and to show that there is none.
    pub(super) brief: Duration,
    /// Attempts after the first one.
    pub(super) retries: usize,
    /// Between questions whether trouble is over.
    pub(super) probe: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: STORE_CONNECT_MAX,
            answer: STORE_ANSWER_MAX,
            call: STORE_CALL_MAX,
            brief: STORE_BRIEF_MAX,
            retries: STORE_RETRIES,
            probe: STORE_PROBE_EVERY,
        }
    }
}

/// Blobs in an object store.
pub struct ObjectBlobs(Arc<Inner>);

struct Inner {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    /// What people call the place of the prefix, such as `s3://bucket/prefix`.
    place: String,
    patience: Patience,
    verified: Mutex<Verified<Stamp>>,
    /// While there is one, the store is asked from time to time how it is.
    doubt: Mutex<Option<Doubt>>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// What tells an object from one that was under its name before: its size, and its tag, or its time where there are no tags.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(u64, String);

impl Stamp {
    fn of(meta: &ObjectMeta) -> Self {
        let tag = meta.e_tag.clone();
        Self(
            meta.size,
            tag.unwrap_or_else(|| meta.last_modified.to_string()),
        )
    }
}

impl ObjectBlobs {
    /// The blobs below a prefix of a store, which people call `place`. What processes left unfinished long ago is deleted.
    ///
    /// # Errors
    /// The prefix is not one, the store cannot be used, or no thread can be started.
    pub fn open(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        place: String,
    ) -> Result<Self, BlobError> {
        let blobs = Self::beside(store, prefix, place, Patience::default())?;
        blobs.0.sweep(STORE_UNFINISHED_MAX)?;
        Ok(blobs)
    }

    /// Blobs in S3, or in what speaks like it.
    ///
    /// # Errors
    /// As [`ObjectBlobs::open`], or the settings do not fit together.
    pub fn open_s3(bucket: &str, prefix: &str, access: &S3Access) -> Result<Self, BlobError> {
        Self::open_s3_with(bucket, prefix, access, Patience::default())
    }

    pub(super) fn open_s3_with(
        bucket: &str,
        prefix: &str,
        access: &S3Access,
        patience: Patience,
    ) -> Result<Self, BlobError> {
        let blobs = Self::beside_s3_with(bucket, prefix, access, patience)?;
        blobs.0.sweep(STORE_UNFINISHED_MAX)?;
        Ok(blobs)
    }

    /// As [`ObjectBlobs::open_s3`], and nothing is deleted.
    pub(super) fn beside_s3(
        bucket: &str,
        prefix: &str,
        access: &S3Access,
    ) -> Result<Self, BlobError> {
        Self::beside_s3_with(bucket, prefix, access, Patience::default())
    }

    fn beside_s3_with(
        bucket: &str,
        prefix: &str,
        access: &S3Access,
        patience: Patience,
    ) -> Result<Self, BlobError> {
        let place = format!("s3://{bucket}/{prefix}");
        let store = s3::store(bucket, &place, access, patience)?;
        Self::beside(
            store,
            prefix,
            place.trim_end_matches('/').to_owned(),
            patience,
        )
    }

    /// Blobs in a store in memory, which ends with the process.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn in_memory() -> Result<Self, BlobError> {
        Self::open(Arc::new(InMemory::new()), "", "memory:".to_owned())
    }

    fn beside(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        place: String,
        patience: Patience,
    ) -> Result<Self, BlobError> {
        let setting = |said: &dyn std::fmt::Display| BlobError::Store {
            what: "use",
            place: place.clone(),
            problem: StoreProblem::Setting(said.to_string()),
        };
        let prefix = Path::parse(prefix).map_err(|error| setting(&error))?;
        // Calls come from threads for blocking work, of other runtimes or of none.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("blobs")
            .enable_all()
            .build()
            .map_err(|source| BlobError::Io {
                what: "start a thread",
                source,
            })?;
        Ok(Self(Arc::new(Inner {
            store,
            prefix: prefix.to_string(),
            place,
            patience,
            verified: Mutex::default(),
            doubt: Mutex::default(),
            runtime: Some(runtime),
        })))
    }

    /// Puts other bytes under a blob's name, as nobody should.
    #[cfg(test)]
    pub(super) fn corrupt(&self, cid: Cid) {
        let path = self.0.path(cid);
        let bytes = self.0.block_on(async {
            let mut bytes = self.0.store.get(&path).await?.bytes().await?.to_vec();
            bytes[0] ^= 1;
            self.0.store.put(&path, bytes.into()).await
        });
        bytes.expect("the blob is there and can be written");
    }

    /// Leaves something that was begun and never named; its key.
    #[cfg(test)]
    pub(super) fn leave_unfinished(&self, bytes: &'static [u8]) -> String {
        let path = self.0.below(&format!("{UNFINISHED}/left"));
        let payload = PutPayload::from_static(bytes);
        self.0.put(&path, payload, PutMode::Overwrite).unwrap();
        path.to_string()
    }

    #[cfg(test)]
    pub(super) fn sweep_older_than(&self, age: Duration) -> Result<(), BlobError> {
        self.0.sweep(age)
    }

    /// The names of what is unfinished.
    #[cfg(test)]
    pub(super) fn unfinished(&self) -> Vec<String> {
        let tmp = self.0.below(UNFINISHED);
        let listed = self
            .0
            .block_on(self.0.store.list(Some(&tmp)).collect::<Vec<_>>());
        let name = |meta: Result<ObjectMeta, Error>| meta.unwrap().location.to_string();
        listed.into_iter().map(name).collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Waiting for it is forbidden on threads that serve sockets.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Inner {
    fn below(&self, name: &str) -> Path {
        match self.prefix.as_str() {
            "" => Path::from(name),
            prefix => Path::from(format!("{prefix}/{name}")),
        }
    }

    /// Digests end evenly, beginnings of CIDs are alike.
    fn path(&self, cid: Cid) -> Path {
        let name = cid.to_string();
        let shard = &name[name.len() - 2..];
        self.below(&format!("{shard}/{name}"))
    }

    /// What people call an object.
    fn place_of(&self, path: &Path) -> String {
        let within = path.as_ref().strip_prefix(&self.prefix);
        let within = within.unwrap_or_default().trim_start_matches('/');
        format!("{}/{within}", self.place)
    }

    fn verified(&self) -> MutexGuard<'_, Verified<Stamp>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runtime(&self) -> &Runtime {
        let runtime = self.runtime.as_ref();
        runtime.expect("it is there until it is dropped")
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        let _entered = self.runtime().enter();
        // As for the journal in a database: on a thread of another runtime that one's own way to wait must not be used.
        futures_executor::block_on(tokio::task::unconstrained(work))
    }

    /// As [`Inner::tell`], of an object that may not be there: `None` where the store says just that.
    fn ask<T>(
        self: &Arc<Self>,
        what: &'static str,
        path: &Path,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>, BlobError> {
        let work = async {
            match work.await {
                Ok(done) => Ok(Some(done)),
                Err(error) if s3::is_absent(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.tell(what, path, work)
    }

    /// Has the store do something.
    fn tell<T>(
        self: &Arc<Self>,
        what: &'static str,
        path: &Path,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, BlobError> {
        let failed = |problem| BlobError::Store {
            what,
            place: self.place_of(path),
            problem,
        };
        let problem = match self.block_on(self.wait(work, &failed)) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => {
                let problem = s3::problem(&error);
                // Not the answer itself: some stores repeat keys in it.
                tracing::debug!(%problem, what, "the object store did not do it");
                problem
            }
            Err(problem) => problem,
        };
        let error = failed(problem);
        self.begin_doubt(error.to_string());
        Err(error)
    }

    fn stamp(self: &Arc<Self>, path: &Path) -> Result<Option<Stamp>, BlobError> {
        let meta = self.ask("look at", path, self.store.head(path))?;
        Ok(meta.as_ref().map(Stamp::of))
    }

    /// A chunk reader of what was verified before.
    fn reader(self: &Arc<Self>, cid: Cid, size: u64, chunks: Chunks) -> Box<dyn BlobReader> {
        let ranges = Ranges::new(Arc::clone(self), self.path(cid), size);
        // Whoever brings it again must not be told that it is here and whole.
        let inner = Arc::clone(self);
        let damaged = Box::new(move || inner.verified().forget(cid));
        Box::new(ChunkReader::new(cid, ranges, size, chunks, damaged))
    }

    /// Deletes what was begun so long ago that nobody goes on with it.
    fn sweep(self: &Arc<Self>, at_most: Duration) -> Result<(), BlobError> {
        let tmp = self.below(UNFINISHED);
        let now = timestamp_of(SystemTime::now()).0;
        let at_most = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
        let mut old = Vec::new();
        self.list(&tmp, &mut |meta| {
            if now.saturating_sub(stored_at(meta)) >= at_most {
                old.push(meta.location.clone());
            }
            true
        })?;
        for path in old {
            self.ask("delete", &path, self.store.delete(&path))?;
        }
        Ok(())
    }

    /// Calls `see` for each object below a prefix, until it returns false; never while the store is being asked.
    fn list(
        self: &Arc<Self>,
        prefix: &Path,
        see: &mut dyn FnMut(&ObjectMeta) -> bool,
    ) -> Result<(), BlobError> {
        let whole = !prefix.as_ref().is_empty();
        let mut listed = {
            let _entered = self.runtime().enter();
            self.store
                .list(whole.then_some(prefix))
                .ready_chunks(LISTED)
        };
        loop {
            let page = async {
                let page = listed.next().await.unwrap_or_default();
                page.into_iter().collect::<Result<Vec<_>, Error>>()
            };
            let page = self.tell("list", prefix, page)?;
            if page.is_empty() || !page.iter().all(&mut *see) {
                return Ok(());
            }
        }
    }

    fn put(
        self: &Arc<Self>,
        path: &Path,
        payload: PutPayload,
        mode: PutMode,
    ) -> Result<Option<String>, BlobError> {
        let options = PutOptions::from(mode);
        let put = self.store.put_opts(path, payload, options);
        Ok(self.tell("write", path, put)?.e_tag)
    }
}

/// When an object was written, in milliseconds.
fn stored_at(meta: &ObjectMeta) -> u64 {
    u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or_default()
}

impl Blobs for ObjectBlobs {
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError> {
        Ok(Box::new(ObjectWriter::new(Arc::clone(&self.0))))
    }

    fn size(&self, cid: Cid) -> Result<Option<u64>, BlobError> {
        let stamp = self.0.stamp(&self.0.path(cid))?;
        Ok(stamp.map(|Stamp(size, _)| size))
    }

    fn sizes(&self, cids: &[Cid]) -> Result<Vec<Option<u64>>, BlobError> {
        let inner = &self.0;
        let mut sizes = Vec::with_capacity(cids.len());
        for some in cids.chunks(ASKED_AT_ONCE) {
            let paths: Vec<Path> = some.iter().map(|cid| inner.path(*cid)).collect();
            let heads = paths.iter().map(|path| inner.store.head(path));
            let heads = join_all(heads);
            let at_most = match inner.is_in_trouble() {
                true => inner.patience.brief,
                false => inner.patience.answer,
            };
            let told = inner.block_on(async { timeout(at_most, heads).await });
            for (at, cid) in some.iter().enumerate() {
                sizes.push(match told.as_ref().map(|told| &told[at]) {
                    Ok(Ok(meta)) => Some(meta.size),
                    Ok(Err(Error::NotFound { .. })) => None,
                    // Asked alone, it is told why.
                    Ok(Err(_)) | Err(_) => self.size(*cid)?,
                });
            }
        }
        Ok(sizes)
    }

    fn open(&self, cid: Cid) -> Result<Option<Box<dyn BlobReader>>, BlobError> {
        let (inner, path) = (&self.0, self.0.path(cid));
        // What was verified need not be fetched to know that it is that one still.
        if inner.verified().knows(cid) {
            let Some(stamp) = inner.stamp(&path)? else {
                inner.verified().forget(cid);
                return Ok(None);
            };
            let chunks = inner.verified().chunks_of(cid, &stamp);
            if let Some(chunks) = chunks {
                return Ok(Some(inner.reader(cid, stamp.0, chunks)));
            }
        }
        let Some(object) = inner.ask("read", &path, inner.store.get(&path))? else {
            return Ok(None);
        };
        let stamp = Stamp::of(&object.meta);
        let damaged = || BlobError::Corrupted {
            cid: Box::new(cid),
            place: inner.place_of(&path),
        };
        if stamp.0 > BLOB_BYTES_MAX {
            return Err(damaged());
        }
        let mut stream = object.into_stream();
        let (mut hasher, mut read, mut whole) = (BlobHasher::default(), 0, Vec::new());
        while let Some(bytes) = next(inner, &path, &mut stream)? {
            read += bytes.len() as u64;
            // It says how long it is, and may go on for ever.
            if read > stamp.0 {
                return Err(damaged());
            }
            hasher.update(&bytes);
            if stamp.0 <= STORE_WHOLE_BYTES {
                whole.extend_from_slice(&bytes);
            }
        }
        let (found, chunks) = hasher.finish_with_chunks();
        if found != cid {
            return Err(damaged());
        }
        if stamp.0 <= STORE_WHOLE_BYTES {
            return Ok(Some(Box::new(Cursor::new(Arc::<[u8]>::from(whole)))));
        }
        let (size, chunks) = (stamp.0, Chunks::from(chunks));
        inner.verified().remember(cid, stamp, &chunks);
        Ok(Some(inner.reader(cid, size, chunks)))
    }

    fn delete(&self, cid: Cid) -> Result<bool, BlobError> {
        let path = self.0.path(cid);
        self.0.verified().forget(cid);
        // Deleting what is not there is no error, and tells nothing.
        let was_here = self.0.stamp(&path)?.is_some();
        let deleted = self.0.ask("delete", &path, self.0.store.delete(&path))?;
        Ok(was_here && deleted.is_some())
    }

    fn each(&self, see: &mut dyn FnMut(BlobEntry) -> bool) -> Result<(), BlobError> {
        let inner = &self.0;
        inner.list(&inner.below(""), &mut |meta| {
            // What is not named by a CID is not ours.
            let cid = meta.location.filename().and_then(|name| name.parse().ok());
            let Some(cid) = cid.filter(|cid| inner.path(*cid) == meta.location) else {
                return true;
            };
            see(BlobEntry {
                cid,
                size: meta.size,
                stored: asterism_protocol::Timestamp(stored_at(meta)),
            })
        })
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble()
    }
}

/// The next bytes of an object; `None` at its end.
fn next(
    inner: &Arc<Inner>,
    path: &Path,
    stream: &mut BoxStream<'static, Result<Bytes, Error>>,
) -> Result<Option<Bytes>, BlobError> {
    let next = async { stream.next().await.transpose() };
    match inner.ask("read", path, next)? {
        Some(bytes) => Ok(bytes),
        None => Err(BlobError::Store {
            what: "read",
            place: inner.place_of(path),
            problem: StoreProblem::Gone,
        }),
    }
}

impl super::belonging::Marked for ObjectBlobs {
    fn mark(&self, name: &str) -> Result<Option<String>, BlobError> {
        let path = self.0.below(name);
        let get = async {
            let object = self.0.store.get(&path).await?;
            let mut stream = object.into_stream();
            let mut text = Vec::new();
            while let Some(bytes) = stream.next().await.transpose()? {
                text.extend_from_slice(&bytes);
                if text.len() as u64 > MARK_BYTES_MAX {
                    break;
                }
            }
            Ok(text)
        };
        let text = self.0.ask("read", &path, get)?;
        Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()))
    }

    fn set_mark(&self, name: &str, text: &str) -> Result<(), BlobError> {
        let (path, bytes) = (self.0.below(name), text.to_owned().into_bytes());
        let payload = PutPayload::from(bytes);
        let options = PutOptions::from(PutMode::Create);
        let first = self.0.store.put_opts(&path, payload.clone(), options);
        match self
            .0
            .block_on(async { timeout(self.0.patience.call, first).await })
        {
            // Somebody was faster: who, is read afterwards.
            Ok(Ok(_) | Err(Error::AlreadyExists { .. })) => Ok(()),
            // Not every store can be asked to write only where nothing is; and what was no answer is no answer again.
            Ok(Err(_)) | Err(_) => match self.mark(name)? {
                Some(_) => Ok(()),
                None => self.0.put(&path, payload, PutMode::Overwrite).map(drop),
            },
        }
    }
}
