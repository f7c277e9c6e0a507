//! What is said: instructions, tasks, workflows, outcomes and receipts, each named by its content,
//! and the messages between executor, coordinator and watcher. Pure data with one canonical
//! encoding, strict DAG-CBOR.
//!
//! This crate knows no clock, no socket, no randomness and no wasm engine; it builds without a
//! single `cfg` for every target.

mod attested;
mod cid;
mod codec;
mod effects;
mod encoded;
mod error;
mod files;
mod identity;
mod instruction;
mod json_fault;
pub mod limits;
mod merkle;
pub mod message;
mod outcome;
mod policy;
mod receipt;
mod simplified;
mod terms;
mod text;
mod time;
mod value;
pub mod view;
mod workflow;

pub use crate::{
    attested::{Attested, Named, Signed},
    cid::{BlobHasher, CHUNK_BYTES, Cid, blob_cid, content_cid},
    codec::{CONTENT_TYPE, SUBPROTOCOL, decode, encode, from_json, from_value, to_json, to_value},
    effects::{Effects, HTTP, check_effects, is_effect},
    encoded::{Encoded, EncodedTask},
    error::{DecodeError, Error},
    files::{Files, check_files},
    identity::{Identity, PublicKey, Signature},
    instruction::{Await, Input, Instruction, Limits, Meta, Nonce, Promise, Task},
    merkle::{MerklePath, MerkleTree},
    outcome::{Conditions, Failure, LogLevel, LogLine, Outcome, Remark, Statement, TrapKind},
    policy::{Basis, Evidence, Policy},
    receipt::{Attestation, Receipt},
    simplified::{
        Awaited, Defaults, FunctionLookup, Prepared, SimplifiedError, Sketched, mistakes,
        mistakes_of_prepared, nearest, prepare, prepare_encoded, sketch,
    },
    terms::{Requirements, Terms},
    text::{check_seen, is_unruly, lines_of, marked, one_line},
    time::Timestamp,
    value::{Out, Value, bytes_of, json_of, value_of_json},
    workflow::{Graph, Invocation, Workflow, WorkflowError},
};
