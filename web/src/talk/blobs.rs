//! Bytes by CID, outside of wasm's memory: what leases need now, and as a cache what they needed before.

use std::collections::BTreeMap;

use asterism_protocol::{BlobHasher, Cid};
use js_sys::Uint8Array;

/// Most bytes kept for nobody, in the hope that they are needed again: a few components and photographs.
const CACHE_BYTES_MAX: u64 = 192 << 20;

/// How much is hashed at a time: a chunk of a blob.
const CHUNK_BYTES: u32 = 256 << 10;

/// Blobs at hand.
#[derive(Default)]
pub(crate) struct Blobs {
    kept: BTreeMap<Cid, Kept>,
    bytes: u64,
    uses: u64,
}

struct Kept {
    bytes: Uint8Array,
    needed: bool,
    last_use: u64,
}

impl Blobs {
    /// The bytes, if they are here.
    pub(crate) fn get(&mut self, cid: Cid) -> Option<Uint8Array> {
        self.uses += 1;
        let kept = self.kept.get_mut(&cid)?;
        kept.last_use = self.uses;
        Some(kept.bytes.clone())
    }

    /// Marks bytes that are here as needed; `false` if they are not here.
    pub(crate) fn need(&mut self, cid: Cid) -> bool {
        self.kept
            .get_mut(&cid)
            .map(|kept| kept.needed = true)
            .is_some()
    }

    /// Keeps bytes that are needed from now on. They were checked against the CID, or made here.
    pub(crate) fn keep(&mut self, cid: Cid, bytes: Uint8Array) {
        self.uses += 1;
        self.bytes += u64::from(bytes.length());
        let kept = Kept {
            bytes,
            needed: true,
            last_use: self.uses,
        };
        if let Some(before) = self.kept.insert(cid, kept) {
            self.bytes -= u64::from(before.bytes.length());
        }
    }

    /// Nobody needs these now. The longest unused go when there are too many.
    pub(crate) fn release(&mut self, cid: Cid) {
        if let Some(kept) = self.kept.get_mut(&cid) {
            kept.needed = false;
        }
        while self.bytes > CACHE_BYTES_MAX {
            let unused = self.kept.iter().filter(|(_, kept)| !kept.needed);
            let Some(cid) = unused
                .min_by_key(|(_, kept)| kept.last_use)
                .map(|(cid, _)| *cid)
            else {
                break;
            };
            let gone = self.kept.remove(&cid).expect("it was just found");
            self.bytes -= u64::from(gone.bytes.length());
        }
    }
}

/// The CID of bytes outside of wasm's memory.
pub(crate) fn cid_of(bytes: &Uint8Array) -> Cid {
    let mut hasher = BlobHasher::default();
    hash(&mut hasher, bytes);
    hasher.finish()
}

/// Hashes bytes outside of wasm's memory.
pub(crate) fn hash(hasher: &mut BlobHasher, bytes: &Uint8Array) {
    let mut start = 0;
    while start < bytes.length() {
        let end = bytes.length().min(start + CHUNK_BYTES);
        hasher.update(&bytes.subarray(start, end).to_vec());
        start = end;
    }
}
