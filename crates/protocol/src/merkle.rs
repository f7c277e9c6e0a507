//! One signature for a batch: a Merkle tree over statements.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use sha2::{Digest as _, Sha256};

use crate::{Statement, encode};

/// What goes before the root when it is signed, so that no other signature of the same key can be taken for one of these.
const DOMAIN: &[u8] = b"asterism/batch/v1\0";

/// A tree over the statements of one delivery. Leaves and nodes are hashed with different prefixes; an odd node rises unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerkleTree {
    /// From the leaves to the root.
    levels: Vec<Vec<[u8; 32]>>,
}

/// The way from one leaf to the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MerklePath {
    /// The place of the leaf among the leaves.
    pub index: u32,
    /// How many leaves there are.
    pub leaves: u32,
    /// The neighbours on the way up, leaf level first; a node without a neighbour has none here.
    pub siblings: Vec<ByteArray<32>>,
}

impl MerkleTree {
    /// The tree over `statements`.
    ///
    /// # Panics
    /// If there are none: an empty delivery is never signed.
    #[must_use]
    pub fn new(statements: &[Statement]) -> Self {
        assert!(
            !statements.is_empty(),
            "a delivery holds at least one outcome"
        );
        let mut levels = vec![statements.iter().map(leaf).collect::<Vec<_>>()];
        while levels[levels.len() - 1].len() > 1 {
            let below = &levels[levels.len() - 1];
            levels.push(
                below
                    .chunks(2)
                    .map(|pair| {
                        if let [l, r] = pair {
                            node(l, r)
                        } else {
                            pair[0]
                        }
                    })
                    .collect(),
            );
        }
        Self { levels }
    }

    /// The bytes to sign.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        signed_bytes(&self.levels[self.levels.len() - 1][0], self.leaves())
    }

    /// From the leaves to the root.
    pub(crate) fn levels(&self) -> &[Vec<[u8; 32]>] {
        &self.levels
    }

    /// How many statements there are.
    pub(crate) fn leaves(&self) -> u32 {
        self.levels[0].len() as u32
    }

    /// The path of the `index`-th statement.
    #[must_use]
    pub fn path(&self, index: usize) -> MerklePath {
        let mut siblings = Vec::new();
        let mut at = index;
        for level in &self.levels {
            if let Some(sibling) = level.get(at ^ 1).filter(|_| level.len() > 1) {
                siblings.push(ByteArray::new(*sibling));
            }
            at /= 2;
        }
        MerklePath {
            index: index as u32,
            leaves: self.leaves(),
            siblings,
        }
    }
}

impl MerklePath {
    /// The bytes that must have been signed for `statement` to be part of the batch; `None` if the path is not one.
    #[must_use]
    pub fn signed_bytes(&self, statement: &Statement) -> Option<Vec<u8>> {
        if self.index >= self.leaves {
            return None;
        }
        let mut siblings = self.siblings.iter();
        let (mut hash, mut at, mut width) = (leaf(statement), self.index, self.leaves);
        while width > 1 {
            if at ^ 1 < width {
                let sibling = siblings.next()?;
                hash = if at % 2 == 0 {
                    node(&hash, sibling)
                } else {
                    node(sibling, &hash)
                };
            }
            at /= 2;
            width = width.div_ceil(2);
        }
        siblings
            .next()
            .is_none()
            .then(|| signed_bytes(&hash, self.leaves))
    }
}

fn leaf(statement: &Statement) -> [u8; 32] {
    Sha256::new_with_prefix([0])
        .chain_update(encode(statement))
        .finalize()
        .into()
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The number of leaves is signed too: an attestation has one form, and so its receipt one CID.
fn signed_bytes(root: &[u8; 32], leaves: u32) -> Vec<u8> {
    [DOMAIN, &leaves.to_be_bytes(), root].concat()
}
