//! Reading a blob whose chunks are known: each is checked when it is read, wherever reading begins.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

use asterism_protocol::{Cid, blob_cid};

use super::BlobReader;
use crate::limits::{BLOB_CHUNK_BYTES, VERIFIED_CHUNKS_MAX};

/// The CIDs of a blob's chunks, in order.
pub(super) type Chunks = Arc<[Cid]>;

/// Blobs that were read whole and checked, each with what told then that it is that one: as long as that stays, what is
/// read of them is checked chunk by chunk.
pub(super) struct Verified<S> {
    blobs: BTreeMap<Cid, (S, Chunks)>,
    chunks: usize,
}

impl<S> Default for Verified<S> {
    fn default() -> Self {
        Self {
            blobs: BTreeMap::new(),
            chunks: 0,
        }
    }
}

impl<S: PartialEq> Verified<S> {
    pub(super) fn remember(&mut self, cid: Cid, stamp: S, chunks: &Chunks) {
        self.forget(cid);
        while self.chunks + chunks.len() > VERIFIED_CHUNKS_MAX
            && let Some(first) = self.blobs.keys().next().copied()
        {
            self.forget(first);
        }
        self.chunks += chunks.len();
        self.blobs.insert(cid, (stamp, Arc::clone(chunks)));
    }

    /// Was it checked, whatever became of it?
    pub(super) fn knows(&self, cid: Cid) -> bool {
        self.blobs.contains_key(&cid)
    }

    /// The chunks of a blob that was checked and has not changed since.
    pub(super) fn chunks_of(&self, cid: Cid, stamp: &S) -> Option<Chunks> {
        let (_, chunks) = self.blobs.get(&cid).filter(|(known, _)| known == stamp)?;
        Some(Arc::clone(chunks))
    }

    pub(super) fn forget(&mut self, cid: Cid) {
        if let Some((_, chunks)) = self.blobs.remove(&cid) {
            self.chunks -= chunks.len();
        }
    }
}

/// Reads from a file, and gives out no byte of a chunk that is not whole.
pub(super) struct ChunkReader<F> {
    cid: Cid,
    file: F,
    size: u64,
    chunks: Chunks,
    position: u64,
    /// The chunk that was read last, and its number.
    chunk: Vec<u8>,
    number: Option<u64>,
    /// Called when a chunk is damaged.
    damaged: Box<dyn Fn() + Send>,
}

impl<F: Read + Seek> ChunkReader<F> {
    pub(super) fn new(
        cid: Cid,
        file: F,
        size: u64,
        chunks: Chunks,
        damaged: Box<dyn Fn() + Send>,
    ) -> Self {
        Self {
            cid,
            file,
            size,
            chunks,
            position: 0,
            chunk: Vec::new(),
            number: None,
            damaged,
        }
    }

    fn load(&mut self, number: u64) -> io::Result<()> {
        let from = number * BLOB_CHUNK_BYTES as u64;
        let length = (self.size - from).min(BLOB_CHUNK_BYTES as u64);
        self.number = None;
        self.chunk.resize(length as usize, 0);
        self.file.seek(SeekFrom::Start(from))?;
        self.file.read_exact(&mut self.chunk)?;
        let expected = usize::try_from(number)
            .ok()
            .and_then(|at| self.chunks.get(at));
        if expected != Some(&blob_cid(&self.chunk)) {
            (self.damaged)();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the stored bytes of {} are damaged", self.cid),
            ));
        }
        self.number = Some(number);
        Ok(())
    }
}

impl<F: Read + Seek> Read for ChunkReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let number = self.position / BLOB_CHUNK_BYTES as u64;
        if self.number != Some(number) {
            self.load(number)?;
        }
        let from = (self.position % BLOB_CHUNK_BYTES as u64) as usize;
        let length = buffer.len().min(self.chunk.len() - from);
        buffer[..length].copy_from_slice(&self.chunk[from..from + length]);
        self.position += length as u64;
        Ok(length)
    }
}

/// Where a seek leads from `at` in `size` bytes: behind their end, too, as in a file, but not before their beginning.
pub(super) fn sought(position: SeekFrom, at: u64, size: u64) -> io::Result<u64> {
    let target = match position {
        SeekFrom::Start(target) => Some(target),
        SeekFrom::End(by) => size.checked_add_signed(by),
        SeekFrom::Current(by) => at.checked_add_signed(by),
    };
    Ok(target.ok_or(io::ErrorKind::InvalidInput)?)
}

impl<F: Read + Seek> Seek for ChunkReader<F> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.position = sought(position, self.position, self.size)?;
        Ok(self.position)
    }
}

impl<F: Read + Seek + Send> BlobReader for ChunkReader<F> {
    fn size(&self) -> u64 {
        self.size
    }
}
