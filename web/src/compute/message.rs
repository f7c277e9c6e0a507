//! What the talking worker and its compute workers say to each other.
//!
//! A message is a JavaScript array: a DAG-CBOR header, then the blobs and modules that it names, as byte arrays and as what
//! the engine compiled. So photographs and components pass from worker to worker without a stay in the talking worker's wasm
//! memory, and what one worker compiled, the others need not.

use asterism_executor::{Attempt, Job};
use asterism_host_browser::{Code, Rewritten};
use asterism_protocol::{
    Cid,
    message::{Fault, LeaseId, decode_frame},
};
use js_sys::{Array, Uint8Array, WebAssembly::Module};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wasm_bindgen::{JsCast as _, JsValue};

/// What a compute worker is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum ToCompute {
    /// Make a component ready. Its bytes come along, and behind them its modules as they were rewritten before, if they are
    /// known.
    Prepare {
        /// Which.
        component: Cid,
        /// What its modules are like, in their order.
        kept: Vec<About>,
    },
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
        /// What its modules are like, where they were rewritten anew: they come along, first compiled and then as bytes.
        made: Vec<About>,
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

/// What a worker has to know of a rewritten module beside its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct About {
    /// As in [`Rewritten`].
    pub(crate) initial_bytes: u64,
    /// As in [`Rewritten`].
    pub(crate) size: u32,
}

impl From<&Rewritten> for About {
    fn from(module: &Rewritten) -> Self {
        Self {
            initial_bytes: module.initial_bytes,
            size: module.size,
        }
    }
}

impl About {
    /// A module of a message.
    fn with(self, part: JsValue) -> Result<Rewritten, &'static str> {
        let code = match part.dyn_into::<Module>() {
            Ok(module) => Code::Module(module),
            Err(part) => Code::Bytes(
                part.dyn_into()
                    .map_err(|_| "a module that is neither bytes nor compiled")?,
            ),
        };
        Ok(Rewritten {
            initial_bytes: self.initial_bytes,
            size: self.size,
            code,
        })
    }
}

/// The modules that a message names.
pub(crate) fn modules(
    about: &[About],
    parts: impl IntoIterator<Item = JsValue>,
) -> Result<Vec<Rewritten>, String> {
    let pairs = about.iter().zip(parts);
    let modules: Result<Vec<_>, _> = pairs.map(|(about, part)| about.with(part)).collect();
    Ok(modules?)
}

/// A module as a part of a message.
pub(crate) fn part(module: &Rewritten) -> JsValue {
    match &module.code {
        Code::Bytes(bytes) => bytes.into(),
        Code::Module(module) => module.into(),
    }
}

/// The parts of a message that are blobs, all of which are bytes.
pub(crate) fn blobs(parts: impl IntoIterator<Item = JsValue>) -> Result<Vec<Uint8Array>, String> {
    let bytes = |part: JsValue| {
        part.dyn_into::<Uint8Array>()
            .map_err(|_| "a part that is not bytes".to_owned())
    };
    parts.into_iter().map(bytes).collect()
}

/// A message for `postMessage`, and the buffers that it may take along instead of copying them.
pub(crate) fn pack<T: Serialize>(
    header: &T,
    parts: impl IntoIterator<Item = JsValue>,
) -> (Array, Array) {
    let header = Uint8Array::from(asterism_protocol::encode(header).as_slice());
    let (message, transfer) = (Array::new(), Array::new());
    transfer.push(&header.buffer());
    message.push(&header);
    for part in parts {
        message.push(&part);
    }
    (message, transfer)
}

/// The header and the parts of a message.
pub(crate) fn unpack<T: DeserializeOwned>(message: &JsValue) -> Result<(T, Vec<JsValue>), String> {
    let message = message.dyn_ref::<Array>().ok_or("not a list")?;
    let mut parts = message.iter();
    let header = parts.next().ok_or("an empty list")?;
    let header = header
        .dyn_into::<Uint8Array>()
        .map_err(|_| "a header that is not bytes")?;
    let header = decode_frame(&header.to_vec()).map_err(|error| error.to_string())?;
    Ok((header, parts.collect()))
}
