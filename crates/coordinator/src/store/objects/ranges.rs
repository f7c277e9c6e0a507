//! Reading a long object.

use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

use axum::body::Bytes;
use futures_util::StreamExt as _;
use object_store::{Error, GetOptions, GetRange, GetResult, ObjectStore as _, path::Path};

use super::{super::chunks::sought, BlobError, Inner, StoreProblem};
use crate::limits::STORE_WINDOW_BYTES;

/// A long object, fetched a window at a time.
pub(super) struct Ranges {
    inner: Arc<Inner>,
    path: Path,
    size: u64,
    position: u64,
    /// Bytes that were fetched, and where they begin.
    window: Bytes,
    from: u64,
}

impl Ranges {
    pub(super) fn new(inner: Arc<Inner>, path: Path, size: u64) -> Self {
        Self {
            inner,
            path,
            size,
            position: 0,
            window: Bytes::new(),
            from: 0,
        }
    }

    fn fetch(&self) -> Result<Bytes, BlobError> {
        let to = self.size.min(self.position + STORE_WINDOW_BYTES);
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.position..to)),
            ..GetOptions::default()
        };
        let (inner, path) = (&self.inner, &self.path);
        let get = async {
            let object: GetResult = inner.store.get_opts(path, options).await?;
            let mut stream = object.into_stream();
            let mut window = Vec::new();
            // No more than was asked for, whatever comes.
            while let Some(bytes) = stream.next().await.transpose()? {
                window.extend_from_slice(&bytes);
                if window.len() as u64 >= to - self.position {
                    break;
                }
            }
            window.truncate(usize::try_from(to - self.position).unwrap_or(usize::MAX));
            Ok::<_, Error>(Bytes::from(window))
        };
        let gone = || BlobError::Store {
            what: "read",
            place: inner.place_of(path),
            problem: StoreProblem::Gone,
        };
        inner.ask("read", path, get)?.ok_or_else(gone)
    }
}

impl Read for Ranges {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let is_in = |at: u64| at >= self.from && at - self.from < self.window.len() as u64;
        if !is_in(self.position) {
            self.window = self.fetch().map_err(io::Error::other)?;
            self.from = self.position;
            if self.window.is_empty() {
                return Ok(0);
            }
        }
        let window = &self.window[(self.position - self.from) as usize..];
        let length = buffer.len().min(window.len());
        buffer[..length].copy_from_slice(&window[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Ranges {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.position = sought(position, self.position, self.size)?;
        Ok(self.position)
    }
}
