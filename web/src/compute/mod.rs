//! The compute worker: a Web Worker around one [`BrowserHost`]. It has no network, no storage and no keys; it gets
//! bytes and messages, and is ended from outside when its guest does not end by itself.

pub(crate) mod message;

use std::{cell::RefCell, collections::BTreeMap};

use asterism_executor::Host;
use asterism_host_browser::{BrowserHost, Rewritten};
use asterism_protocol::{
    Cid,
    message::{Fault, FaultKind},
};
use js_sys::{Array, Uint8Array};
use serde_bytes::ByteBuf;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{DedicatedWorkerGlobalScope, Event, MessageEvent};

use self::message::{About, FromCompute, ToCompute, blobs, modules, pack, part, unpack};
use crate::js::Listener;

/// Performs what it is told until the worker is ended. `early` is what it was told before its program was there.
pub fn start(early: &Array) {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let host = RefCell::new(BrowserHost::new());
    let listen = move |data: JsValue| {
        let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
        // Only our own talking worker speaks here; what is not understood has no one to answer to.
        let Ok((told, parts)) = unpack::<ToCompute>(&data) else {
            return;
        };
        let (said, parts) = perform(&mut host.borrow_mut(), told, parts);
        let (message, transfer) = pack(&said, parts.iter().cloned());
        // Bytes go along, and leave this worker.
        for bytes in parts.iter().filter_map(|part| part.dyn_ref::<Uint8Array>()) {
            transfer.push(&bytes.buffer());
        }
        let _ = scope.post_message_with_transfer(&message, &transfer);
    };
    early.iter().for_each(&listen);
    Listener::new(&scope, "message", move |event: Event| {
        listen(event.unchecked_into::<MessageEvent>().data());
    })
    .forever();
}

/// Performs one message.
fn perform(
    host: &mut BrowserHost,
    told: ToCompute,
    parts: Vec<JsValue>,
) -> (FromCompute, Vec<JsValue>) {
    match told {
        ToCompute::Prepare { component, kept } => {
            let (unfit, made) = match prepare(host, component, &kept, parts) {
                Ok(made) => (String::new(), made),
                Err(unfit) => (unfit, Vec::new()),
            };
            let said = FromCompute::Prepared {
                component,
                unfit,
                made: made.iter().map(About::from).collect(),
            };
            let compiled = if made.is_empty() {
                Vec::new()
            } else {
                host.modules(component)
            };
            (said, compiled.iter().chain(&made).map(part).collect())
        }
        ToCompute::Run {
            lease,
            mut job,
            blobs: names,
        } => {
            let broken = |message: String| Fault {
                kind: FaultKind::Host,
                message,
            };
            let result = blobs(parts).map_err(broken).and_then(|blobs| {
                let blobs = blobs.iter().map(|bytes| ByteBuf::from(bytes.to_vec()));
                job.blobs = names.into_iter().zip(blobs).collect();
                if host.holds(job.component) {
                    host.run(&job)
                } else {
                    Err(broken("the component is not ready".to_owned()))
                }
            });
            let mut made: BTreeMap<Cid, ByteBuf> = BTreeMap::new();
            let result = result.map(|mut attempt| {
                made = std::mem::take(&mut attempt.blobs);
                Box::new(attempt)
            });
            let names = made.keys().copied().collect();
            let parts = made
                .values()
                .map(|bytes| Uint8Array::from(bytes.as_slice()).into())
                .collect();
            (
                FromCompute::Ended {
                    lease,
                    result,
                    blobs: names,
                },
                parts,
            )
        }
    }
}

/// Makes a component ready, and gives what was rewritten for it; or says why it never will be.
fn prepare(
    host: &mut BrowserHost,
    component: Cid,
    kept: &[About],
    parts: Vec<JsValue>,
) -> Result<Vec<Rewritten>, String> {
    let mut parts = parts.into_iter();
    let bytes = blobs(parts.next())?;
    let bytes = bytes
        .first()
        .ok_or("the component came without its bytes")?;
    let kept = modules(kept, parts)?;
    host.prepare_with(component, &bytes.to_vec(), &kept)
        .map_err(|unfit| unfit.to_string())
}
