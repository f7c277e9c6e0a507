//! Names by content: CIDv1 of dag-cbor content (sha3-256) and of blobs (sha2-256, as `ipfs add --cid-version 1` names them).

use std::{fmt, str::FromStr};

use ::cid::serde::{BytesToCidVisitor, CID_SERDE_PRIVATE_IDENTIFIER};
use multihash::Multihash;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use serde_bytes::Bytes;
use sha2::Sha256;
use sha3::{Digest as _, Sha3_256};

use crate::Error;

const DAG_CBOR: u32 = 0x71;
const DAG_PB: u32 = 0x70;
const RAW: u32 = 0x55;
const SHA3_256: u32 = 0x16;
const SHA2_256: u32 = 0x12;

/// Chunk of a blob, in bytes: that of a UnixFS file (the default of `ipfs add`).
pub const CHUNK_BYTES: usize = 256 << 10;

/// Links of a UnixFS node (the default of `ipfs add`).
const LINKS_PER_NODE: usize = 174;

/// A content identifier. In DAG-CBOR it is a link (tag 42), in JSON of views and errors its text.
///
/// Here are the parts that differ between those that are used: it is in every message and view, and less than half as large as
/// one with room for every hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cid {
    codec: u32,
    /// Of the hash function.
    code: u32,
    digest: [u8; 32],
}

impl Cid {
    /// The 32-byte digest: enough to key a map where only one kind of CID occurs.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The CID of dag-cbor content with this digest: the inverse of [`Cid::digest`] for instructions.
    #[must_use]
    pub fn of_content_digest(digest: [u8; 32]) -> Self {
        Self::new(DAG_CBOR, SHA3_256, digest)
    }

    /// Is this the name of a blob (a file), rather than of a piece of content such as an instruction?
    #[must_use]
    pub fn is_blob(&self) -> bool {
        self.code == SHA2_256 && matches!(self.codec, RAW | DAG_PB)
    }

    /// The link as it stands inside a [`crate::Value`].
    ///
    /// # Panics
    /// Never: there is room for longer digests.
    #[must_use]
    pub fn to_link(self) -> ::cid::Cid {
        let hash = Multihash::wrap(self.code.into(), &self.digest);
        let hash = hash.expect("32 bytes fit a multihash of 64");
        ::cid::Cid::new_v1(self.codec.into(), hash)
    }

    /// Its bytes, if both numbers are as small as those of all CIDs are that are made here.
    fn short(&self) -> Option<[u8; 36]> {
        let (codec @ 0..0x80, code @ 0..0x80) = (self.codec, self.code) else {
            return None;
        };
        let mut bytes = [0; 36];
        let (head, digest) = bytes.split_at_mut(4);
        head.copy_from_slice(&[1, codec as u8, code as u8, 32]);
        digest.copy_from_slice(&self.digest);
        Some(bytes)
    }

    /// The inverse of [`Cid::short`]: `None` for all other bytes, which may be a CID all the same.
    pub(crate) fn of_short(bytes: &[u8]) -> Option<Self> {
        let (&[1, codec @ 0..0x80, code @ 0..0x80, 32], digest) = bytes.split_first_chunk::<4>()?
        else {
            return None;
        };
        let digest = digest.try_into().ok()?;
        Some(Self::new(codec.into(), code.into(), digest))
    }

    const fn new(codec: u32, code: u32, digest: [u8; 32]) -> Self {
        Self {
            codec,
            code,
            digest,
        }
    }
}

impl TryFrom<::cid::Cid> for Cid {
    type Error = Error;

    fn try_from(cid: ::cid::Cid) -> Result<Self, Error> {
        let error = |reason: &str| Error::Cid {
            text: cid.to_string(),
            reason: reason.into(),
        };
        if cid.version() != ::cid::Version::V1 {
            return Err(error("only version 1 is used"));
        }
        let digest = <[u8; 32]>::try_from(cid.hash().digest());
        let digest = digest.map_err(|_| error("only digests of 32 bytes are used"))?;
        let number = |code: u64| {
            u32::try_from(code)
                .map_err(|_| error("only codes below 2^32 are used, as all that are assigned are"))
        };
        Ok(Self::new(
            number(cid.codec())?,
            number(cid.hash().code())?,
            digest,
        ))
    }
}

impl FromStr for Cid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // A CID of ours has 59 characters; other bases and digests stay well below 128.
        if text.len() > 128 {
            return Err(Error::Cid {
                text: text.chars().take(32).chain(['…']).collect(),
                reason: "too long".into(),
            });
        }
        let cid = ::cid::Cid::from_str(text).map_err(|e| Error::Cid {
            text: text.into(),
            reason: e.to_string(),
        })?;
        Self::try_from(cid)
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_link().fmt(f)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_link().fmt(f)
    }
}

impl Serialize for Cid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else if let Some(bytes) = self.short() {
            let bytes = Bytes::new(&bytes);
            serializer.serialize_newtype_struct(CID_SERDE_PRIVATE_IDENTIFIER, bytes)
        } else {
            self.to_link().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Cid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(D::Error::custom)
        } else {
            deserializer.deserialize_newtype_struct(CID_SERDE_PRIVATE_IDENTIFIER, Link)
        }
    }
}

/// Reads a link as [`::cid::Cid`] does, which takes longer for what most are.
struct Link;

impl<'de> Visitor<'de> for Link {
    type Value = Cid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a link")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cid, D::Error> {
        deserializer.deserialize_bytes(LinkBytes)
    }
}

/// The bytes of a link: apart, as no other bytes are one.
struct LinkBytes;

impl<'de> Visitor<'de> for LinkBytes {
    type Value = Cid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a CID")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Cid, E> {
        match Cid::of_short(bytes) {
            Some(cid) => Ok(cid),
            None => {
                let cid = BytesToCidVisitor::<64>.visit_bytes::<E>(bytes)?;
                Cid::try_from(cid).map_err(E::custom)
            }
        }
    }
}

/// The CID of dag-cbor bytes: of an instruction, a task, a workflow, an outcome, a receipt.
#[must_use]
pub fn content_cid(dag_cbor: &[u8]) -> Cid {
    content_cid_of([dag_cbor])
}

/// The CID of dag-cbor bytes that are in several places.
pub(crate) fn content_cid_of<const N: usize>(parts: [&[u8]; N]) -> Cid {
    let mut hasher = Sha3_256::new();
    parts.iter().for_each(|part| hasher.update(part));
    Cid::new(DAG_CBOR, SHA3_256, hasher.finalize().into())
}

/// The CID of a blob, as `ipfs add --cid-version 1` gives it.
#[must_use]
pub fn blob_cid(bytes: &[u8]) -> Cid {
    let mut hasher = BlobHasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// Names a blob piece by piece: UnixFS with 256 KiB chunks, raw leaves, a balanced tree of at most 174 links a node.
#[derive(Default)]
pub struct BlobHasher {
    chunk: Vec<u8>,
    leaves: Vec<Node>,
}

/// A subtree of a UnixFS file.
#[derive(Clone, Copy)]
struct Node {
    cid: Cid,
    /// Bytes of the file below this node.
    file_bytes: u64,
    /// Bytes of all blocks below this node, itself included.
    total_bytes: u64,
}

impl BlobHasher {
    /// Takes the next bytes of the blob.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let take = bytes.len().min(CHUNK_BYTES - self.chunk.len());
            self.chunk.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.chunk.len() == CHUNK_BYTES {
                self.cut();
            }
        }
    }

    /// The CID of all that came.
    #[must_use]
    pub fn finish(self) -> Cid {
        self.finish_with_chunks().0
    }

    /// The CID of all that came, and those of its chunks of [`CHUNK_BYTES`], of which the last may be shorter: each is what
    /// [`blob_cid`] says of the chunk alone.
    #[must_use]
    pub fn finish_with_chunks(mut self) -> (Cid, Vec<Cid>) {
        if !self.chunk.is_empty() || self.leaves.is_empty() {
            self.cut();
        }
        let chunks = self.leaves.iter().map(|leaf| leaf.cid).collect();
        let mut level = self.leaves;
        while level.len() > 1 {
            level = level.chunks(LINKS_PER_NODE).map(parent).collect();
        }
        (level[0].cid, chunks)
    }

    fn cut(&mut self) {
        let size = self.chunk.len() as u64;
        let cid = Cid::new(RAW, SHA2_256, Sha256::digest(&self.chunk).into());
        self.leaves.push(Node {
            cid,
            file_bytes: size,
            total_bytes: size,
        });
        self.chunk.clear();
    }
}

/// The dag-pb node over `children`: links first, then the UnixFS data (protobuf, written by hand: five fields).
fn parent(children: &[Node]) -> Node {
    let mut unixfs = vec![0x08, 0x02]; // Type = File
    let file_bytes = children.iter().map(|c| c.file_bytes).sum();
    unixfs.push(0x18); // filesize
    varint(&mut unixfs, file_bytes);
    for child in children {
        unixfs.push(0x20); // blocksizes
        varint(&mut unixfs, child.file_bytes);
    }
    let mut node = Vec::new();
    for child in children {
        let hash = child.cid.to_link().to_bytes();
        let mut link = vec![0x0a]; // Hash
        varint(&mut link, hash.len() as u64);
        link.extend_from_slice(&hash);
        link.extend_from_slice(&[0x12, 0x00]); // Name, empty
        link.push(0x18); // Tsize
        varint(&mut link, child.total_bytes);
        node.push(0x12); // Links
        varint(&mut node, link.len() as u64);
        node.extend_from_slice(&link);
    }
    node.push(0x0a); // Data
    varint(&mut node, unixfs.len() as u64);
    node.extend_from_slice(&unixfs);
    let total_bytes = children.iter().map(|c| c.total_bytes).sum::<u64>() + node.len() as u64;
    Node {
        cid: Cid::new(DAG_PB, SHA2_256, Sha256::digest(&node).into()),
        file_bytes,
        total_bytes,
    }
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_small_and_is_the_link_that_it_was() {
        assert_eq!(size_of::<Cid>(), 40);
        for codec in [0, u64::from(DAG_CBOR), u64::from(u32::MAX)] {
            let link = ::cid::Cid::new_v1(codec, *blob_cid(b"").to_link().hash());
            assert_eq!(Cid::try_from(link).unwrap().to_link(), link);
        }
        let hash = *blob_cid(b"").to_link().hash();
        let error = Cid::try_from(::cid::Cid::new_v1(1 << 32, hash)).unwrap_err();
        assert!(error.to_string().contains("below 2^32"), "{error}");
    }

    #[test]
    fn short_bytes_are_those_of_the_link() {
        for cid in [blob_cid(b""), content_cid(b""), Cid::new(0, 0x7f, [7; 32])] {
            let bytes = cid.to_link().to_bytes();
            assert_eq!(cid.short().map(Vec::from), Some(bytes.clone()));
            assert_eq!(Cid::of_short(&bytes), Some(cid));
            assert_eq!(Cid::of_short(&bytes[..35]), None);
            assert_eq!(Cid::of_short(&[&*bytes, &[0]].concat()), None);
            // Another version, a number of two bytes, another length of the digest.
            for (at, byte) in [(0, 0x12), (1, 0x80), (2, 0x80), (3, 31), (3, 33)] {
                let mut other = bytes.clone();
                other[at] = byte;
                assert_eq!(Cid::of_short(&other), None, "{at}");
            }
        }
        for (codec, code) in [(0x80, SHA2_256), (RAW, 0x80)] {
            assert_eq!(Cid::new(codec, code, [7; 32]).short(), None);
        }
    }

    #[test]
    fn what_is_no_link_is_refused_as_before() {
        let bytes = |bytes: &[u8]| crate::encode(&Bytes::new(bytes));
        let cid = blob_cid(b"").to_link();
        let link = |bytes: &[u8]| [&[0xd8, 0x2a, 0x58, bytes.len() as u8][..], bytes].concat();
        let short = [&[0, 1, 0x55, 0x12, 31][..], &[0; 31]].concat();
        let longer = [&[0][..], &*cid.to_bytes(), &[0]].concat();
        for (wrong, words) in [
            (bytes(&cid.to_bytes()), "not that of a link"),
            (crate::encode(&cid.to_string()), "not that of a link"),
            (link(&longer), "exactly one"),
            (link(&short), "only digests of 32 bytes"),
        ] {
            let read = crate::decode::<Cid>("link", &wrong, wrong.len());
            let error = read.expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
            // The library knows of no other bound.
            if let Err(known) = crate::decode::<::cid::Cid>("link", &wrong, wrong.len()) {
                assert_eq!(error, known.to_string());
            }
        }
    }
}
