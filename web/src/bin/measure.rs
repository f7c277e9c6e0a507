//! What a component costs in a tab with nothing around it. For the benchmarks; no page of the panel loads it.

use std::collections::BTreeMap;

use asterism_executor::{Host as _, Job};
use asterism_host_browser::BrowserHost;
use asterism_protocol::{Cid, Effects, Files, Limits, Value, blob_cid, content_cid};
use serde_bytes::ByteBuf;
use wasm_bindgen::prelude::wasm_bindgen;

/// Calls that are measured together.
const CALLS: u32 = 200_000;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
}

/// Tasks that are measured together.
const TASKS: u32 = 20_000;

/// Milliseconds from the bytes of a component to the first result of its `add`, microseconds of each further call in
/// one instance, and microseconds of each further task, which has an instance of its own.
///
/// # Errors
/// It is not what it should be, in words.
#[wasm_bindgen]
pub fn measure(component: &[u8]) -> Result<Vec<f64>, String> {
    let mut host = BrowserHost::new();
    let cid = blob_cid(component);
    let job = job(cid);
    let started = performance_now();
    host.prepare(cid, component)
        .map_err(|unfit| unfit.to_string())?;
    let attempt = host.run(&job).map_err(|fault| fault.message)?;
    let cold_ms = performance_now() - started;
    if let Some(failure) = attempt.outcome.failure() {
        return Err(format!("{failure:?}"));
    }
    let call_us = host.measure_calls(&job, CALLS)?;
    let started = performance_now();
    for _ in 0..TASKS {
        host.run(&job).map_err(|fault| fault.message)?;
    }
    let task_us = (performance_now() - started) * 1000.0 / f64::from(TASKS);
    Ok(vec![cold_ms, call_us, task_us])
}

/// Milliseconds of a call of `echo-bytes` with these bytes, in an instance that is new and has not been entered.
///
/// # Errors
/// The component is not what it should be, in words.
#[wasm_bindgen]
pub fn measure_bytes(component: &[u8], bytes: &[u8]) -> Result<f64, String> {
    let mut host = BrowserHost::new();
    let (cid, arg) = (blob_cid(component), blob_cid(bytes));
    host.prepare(cid, component)
        .map_err(|unfit| unfit.to_string())?;
    let job = Job {
        func: "echo-bytes".to_owned(),
        args: vec![Value::Link(arg.to_link())],
        blobs: BTreeMap::from([(arg, ByteBuf::from(bytes))]),
        ..job(cid)
    };
    Ok(host.measure_calls(&job, 1)? / 1000.0)
}

fn job(component: Cid) -> Job {
    Job {
        instruction: content_cid(b"measure"),
        component,
        func: "add".to_owned(),
        args: vec![Value::Float(3.1), Value::Float(5.2)],
        files: Files::new(),
        effects: Effects::new(),
        blobs: BTreeMap::new(),
        limits: Limits::default(),
    }
}

fn main() {
    console_error_panic_hook::set_once();
}
