//! Hosts that live in other programs, each behind [`asterism_executor::Host`], and jco, which is asked for values alone: so one
//! table and one fuzzer hold them all to the same.

#[cfg(not(target_arch = "wasm32"))]
mod jco;
#[cfg(not(target_arch = "wasm32"))]
mod node;
#[cfg(not(target_arch = "wasm32"))]
mod remote;
#[cfg(not(target_arch = "wasm32"))]
mod tab;

#[cfg(not(target_arch = "wasm32"))]
pub use self::{
    jco::{Jco, Seen},
    node::node,
    remote::RemoteHost,
    tab::tab,
};

use std::{collections::BTreeMap, mem};

use asterism_executor::{Attempt, Job};
use asterism_protocol::{Cid, blob_cid, message::Fault};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Most bytes of a job or an answer: what a guest may hand over, and more.
pub const ANSWER_BYTES_MAX: usize = 512 << 20;

/// The first byte of a question with a component after it.
pub const PREPARE: u8 = 0;

/// The first byte of a question with a job after it.
pub const PERFORM: u8 = 1;

/// What `bin/performer.rs` answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The component is ready.
    Prepared,
    /// It is not, for this reason.
    Unfit(String),
    /// The job came to this.
    Attempt(Box<Parcel<Attempt>>),
    /// The job came to nothing.
    Fault(Fault),
}

/// A job or attempt with its blobs beside it: maps by CID have no form in DAG-CBOR.
#[derive(Debug, Serialize, Deserialize)]
pub struct Parcel<T> {
    content: T,
    blobs: Vec<ByteBuf>,
}

/// What has blobs.
pub trait HasBlobs {
    /// They.
    fn blobs(&mut self) -> &mut BTreeMap<Cid, ByteBuf>;
}

impl HasBlobs for Job {
    fn blobs(&mut self) -> &mut BTreeMap<Cid, ByteBuf> {
        &mut self.blobs
    }
}

impl HasBlobs for Attempt {
    fn blobs(&mut self) -> &mut BTreeMap<Cid, ByteBuf> {
        &mut self.blobs
    }
}

impl<T: HasBlobs> Parcel<T> {
    /// To be sent.
    pub fn pack(mut content: T) -> Self {
        let blobs = mem::take(content.blobs()).into_values().collect();
        Self { content, blobs }
    }

    /// As it was before.
    pub fn unpack(mut self) -> T {
        let blobs = self.blobs.into_iter();
        *self.content.blobs() = blobs.map(|bytes| (blob_cid(&bytes), bytes)).collect();
        self.content
    }
}
