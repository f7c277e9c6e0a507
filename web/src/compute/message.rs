//! What the talking worker and its compute workers say to each other.
//!
//! A message is a JavaScript array: a DAG-CBOR header, then the blobs that it names, as byte arrays. So photographs and
//! components pass from worker to worker without a stay in the talking worker's wasm memory.

use asterism_executor::{Attempt, Job};
use asterism_protocol::{
    Cid,
    message::{Fault, LeaseId, decode_frame},
};
use js_sys::{Array, Uint8Array};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wasm_bindgen::{JsCast as _, JsValue};

/// What a compute worker is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum ToCompute {
    /// Make a component ready; its bytes are the one blob.
    Prepare(Cid),
    /// Perform a task of a component that is ready; the blobs are the bytes behind its links.
    Run {
        /// The lease.
        lease: LeaseId,
        /// The task; `blobs` is empty here.
        job: Box<Job>,
        /// The names of the blobs that come along, in their order.
        blobs: Vec<Cid>,
    },
}

/// What a compute worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum FromCompute {
    /// The component is ready, or why it never will be.
    Prepared {
        /// Which.
        component: Cid,
        /// Empty for ready.
        unfit: String,
    },
    /// The task is done.
    Ended {
        /// The lease.
        lease: LeaseId,
        /// What came of it; `blobs` of the attempt is empty here.
        result: Result<Box<Attempt>, Fault>,
        /// The names of the blobs that come along, in their order.
        blobs: Vec<Cid>,
    },
}

/// A message for `postMessage`, and the buffers that it may take along instead of copying them.
pub(crate) fn pack<T: Serialize>(
    header: &T,
    blobs: impl IntoIterator<Item = Uint8Array>,
) -> (Array, Array) {
    let header = Uint8Array::from(asterism_protocol::encode(header).as_slice());
    let (message, transfer) = (Array::new(), Array::new());
    transfer.push(&header.buffer());
    message.push(&header);
    for blob in blobs {
        message.push(&blob);
    }
    (message, transfer)
}

/// The header and the blobs of a message.
pub(crate) fn unpack<T: DeserializeOwned>(
    message: &JsValue,
) -> Result<(T, Vec<Uint8Array>), String> {
    let message = message.dyn_ref::<Array>().ok_or("not a list")?;
    let mut parts = message.iter().map(|part| {
        part.dyn_into::<Uint8Array>()
            .map_err(|_| "a part that is not bytes")
    });
    let header = parts.next().ok_or("an empty list")??;
    let header = decode_frame(&header.to_vec()).map_err(|error| error.to_string())?;
    Ok((header, parts.collect::<Result<_, _>>()?))
}
