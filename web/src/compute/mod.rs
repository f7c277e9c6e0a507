//! The compute worker: a Web Worker around one [`BrowserHost`]. It has no network, no storage and no keys; it gets
//! bytes and messages, and is ended from outside when its guest does not end by itself.

pub(crate) mod message;

use std::{cell::RefCell, collections::BTreeMap};

use asterism_executor::Host;
use asterism_host_browser::BrowserHost;
use asterism_protocol::{
    Cid,
    message::{Fault, FaultKind},
};
use js_sys::{Array, Uint8Array};
use serde_bytes::ByteBuf;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{DedicatedWorkerGlobalScope, Event, MessageEvent};

use self::message::{FromCompute, ToCompute, pack, unpack};
use crate::js::Listener;

/// Performs what it is told until the worker is ended. `early` is what it was told before its program was there.
pub fn start(early: &Array) {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    let host = RefCell::new(BrowserHost::new());
    let listen = move |data: JsValue| {
        let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
        // Only our own talking worker speaks here; what is not understood has no one to answer to.
        let Ok((told, blobs)) = unpack::<ToCompute>(&data) else {
            return;
        };
        let (said, blobs) = perform(&mut *host.borrow_mut(), told, &blobs);
        let (message, transfer) = pack(&said, blobs.iter().cloned());
        for blob in &blobs {
            transfer.push(&blob.buffer());
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
    host: &mut impl Host,
    told: ToCompute,
    blobs: &[Uint8Array],
) -> (FromCompute, Vec<Uint8Array>) {
    match told {
        ToCompute::Prepare(component) => {
            let unfit = match blobs {
                [bytes] => host
                    .prepare(component, &bytes.to_vec())
                    .err()
                    .map(|unfit| unfit.to_string()),
                _ => Some("the component came without its bytes".to_owned()),
            };
            (
                FromCompute::Prepared {
                    component,
                    unfit: unfit.unwrap_or_default(),
                },
                Vec::new(),
            )
        }
        ToCompute::Run {
            lease,
            mut job,
            blobs: names,
        } => {
            job.blobs = names
                .into_iter()
                .zip(blobs.iter().map(|bytes| ByteBuf::from(bytes.to_vec())))
                .collect();
            let result = if host.holds(job.component) {
                host.run(&job)
            } else {
                Err(Fault {
                    kind: FaultKind::Host,
                    message: "the component is not ready".to_owned(),
                })
            };
            let mut made: BTreeMap<Cid, ByteBuf> = BTreeMap::new();
            let result = result.map(|mut attempt| {
                made = std::mem::take(&mut attempt.blobs);
                Box::new(attempt)
            });
            let names = made.keys().copied().collect();
            let blobs = made
                .values()
                .map(|bytes| Uint8Array::from(bytes.as_slice()))
                .collect();
            (
                FromCompute::Ended {
                    lease,
                    result,
                    blobs: names,
                },
                blobs,
            )
        }
    }
}
