//! Writing an object, at once or in parts.

use std::{io, mem, sync::Arc};

use asterism_protocol::Cid;
use data_encoding::HEXLOWER;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutMode, PutPayload, path::Path};
use tokio::time::timeout;

use super::{BlobError, BlobWriter, Inner, Naming, Stamp, StoreProblem, Stored, UNFINISHED};
use crate::limits::{STORE_PART_BYTES, STORE_WHOLE_BYTES};

/// A blob on its way to the store.
pub(super) struct ObjectWriter {
    /// Bytes that were not sent yet: less than a part.
    part: Vec<u8>,
    naming: Naming,
    parts: Option<Parts>,
    inner: Arc<Inner>,
}

/// An object that is sent in parts; nothing stays of it that nobody finishes.
struct Parts {
    inner: Arc<Inner>,
    path: Path,
    /// `None` once it is whole.
    upload: Option<Box<dyn MultipartUpload>>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        let (inner, path) = (Arc::clone(&self.inner), self.path.clone());
        let upload = self.upload.take();
        // Nobody waits for it. What is left where it fails is deleted a day later, or by the store.
        self.inner.runtime().spawn(async move {
            let clean = async {
                match upload {
                    Some(mut upload) => upload.abort().await,
                    None => inner.store.delete(&path).await,
                }
            };
            if let Ok(Err(error)) = timeout(inner.patience.call, clean).await {
                tracing::debug!(%error, %path, "an unfinished object is left");
            }
        });
    }
}

impl ObjectWriter {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            part: Vec::new(),
            naming: Naming::default(),
            parts: None,
            inner,
        }
    }

    fn send_part(&mut self) -> Result<(), BlobError> {
        let inner = &self.inner;
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => {
                let path = inner.below(&format!("{UNFINISHED}/{}", random_name()?));
                let upload = inner.tell("begin", &path, inner.store.put_multipart(&path))?;
                none.insert(Parts {
                    inner: Arc::clone(inner),
                    path,
                    upload: Some(upload),
                })
            }
        };
        let payload = PutPayload::from(mem::take(&mut self.part));
        let upload = parts.upload.as_mut().expect("it is not whole yet");
        let sent = {
            let _entered = inner.runtime().enter();
            upload.put_part(payload)
        };
        inner.tell("write a part of", &parts.path, sent)
    }
}

/// A name that no other unfinished object has.
pub(super) fn random_name() -> Result<String, BlobError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| BlobError::Io {
        what: "choose a name",
        source: io::Error::other(error),
    })?;
    Ok(HEXLOWER.encode(&bytes))
}

impl BlobWriter for ObjectWriter {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        self.naming.update(bytes)?;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(STORE_PART_BYTES - self.part.len()));
            let needed = self.part.len() + now.len();
            if needed > self.part.capacity() {
                // Doubled, as ever, but to no more than a part.
                let room = (2 * self.part.capacity()).clamp(needed, STORE_PART_BYTES);
                self.part.reserve_exact(room - self.part.len());
            }
            self.part.extend_from_slice(now);
            if self.part.len() == STORE_PART_BYTES {
                self.send_part()?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, expected: Option<Cid>) -> Result<Stored, BlobError> {
        let naming = mem::take(&mut self.naming);
        let size = naming.bytes();
        let (cid, chunks) = naming.finish_with_chunks(expected)?;
        let inner = Arc::clone(&self.inner);
        let path = inner.path(cid);
        let before = inner.stamp(&path)?;
        // Whole bytes that are there already stay. What nobody looked at may be damaged: it is replaced, as that costs less.
        if let Some(stamp) = &before
            && inner.verified().chunks_of(cid, stamp).is_some()
        {
            return Ok(Stored { cid, is_new: false });
        }
        inner.verified().forget(cid);
        let tag = if self.parts.is_none() {
            let payload = PutPayload::from(mem::take(&mut self.part));
            inner.put(&path, payload, PutMode::Overwrite)?
        } else {
            if !self.part.is_empty() {
                self.send_part()?;
            }
            let parts = self.parts.as_mut().expect("it was seen above");
            let upload = parts.upload.as_mut().expect("it is not whole yet");
            inner.tell("finish", &parts.path, upload.complete())?;
            parts.upload = None;
            inner.tell("name", &path, inner.store.copy(&parts.path, &path))?;
            None
        };
        if size > STORE_WHOLE_BYTES {
            let stamp = match tag {
                Some(tag) => Some(Stamp(size, tag)),
                None => inner.stamp(&path)?,
            };
            // A store that says yes to a copy may have failed at it nevertheless.
            let Some(stamp) = stamp.filter(|stamp| stamp.0 == size) else {
                return Err(BlobError::Store {
                    what: "name",
                    place: inner.place_of(&path),
                    problem: StoreProblem::Gone,
                });
            };
            inner.verified().remember(cid, stamp, &chunks);
        }
        let is_new = before.is_none();
        Ok(Stored { cid, is_new })
    }
}
