//! A map keyed by digests, for lookups only: it cannot be iterated, so its order cannot reach a decision.

use std::hash::{BuildHasherDefault, Hasher};

/// A 32-byte digest of an instruction.
pub(crate) type Digest = [u8; 32];

/// From digests to dense numbers.
#[derive(Default)]
pub(crate) struct Digests(
    #[expect(
        clippy::disallowed_types,
        reason = "twice as fast as a BTreeMap at a million entries, and never iterated"
    )]
    std::collections::HashMap<Digest, u32, BuildHasherDefault<Folded>>,
);

impl Digests {
    pub(crate) fn get(&self, digest: &Digest) -> Option<u32> {
        self.0.get(digest).copied()
    }

    pub(crate) fn insert(&mut self, digest: Digest, number: u32) {
        self.0.insert(digest, number);
    }

    pub(crate) fn remove(&mut self, digest: &Digest) {
        self.0.remove(digest);
    }
}

/// Digests are spread evenly already: their words are folded, not hashed again. All 32 bytes count, so that
/// finding colliding instructions costs as many SHA3 hashes as the table has buckets, each.
#[derive(Default)]
pub(crate) struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.0 = (self.0.rotate_left(23) ^ u64::from_le_bytes(padded))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}
