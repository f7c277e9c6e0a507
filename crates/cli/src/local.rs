//! One function of one component, run here: no coordinator, no network.

use std::{collections::BTreeMap, sync::Arc};

use asterism_executor::{Attempt, Job};
use asterism_host_wasmtime::WasmtimeEngine;
use asterism_protocol::{Cid, Input, Instruction, Limits, Nonce};

use crate::{
    build::{Built, cache},
    commands::executor::HttpAllowed,
    failure::Failure,
};

/// Runs it under the usual limits; `blobs` are what the input links to, `http` where its effects may reach.
pub(crate) async fn call(
    built: &Built,
    input: Input,
    blobs: BTreeMap<Cid, Vec<u8>>,
    http: &HttpAllowed,
) -> Result<Attempt, Failure> {
    let component = built.cid();
    let instruction = Instruction {
        rsc: format!("ipfs://{component}"),
        op: "wasm/run".to_owned(),
        input,
        nnc: Nonce::Empty,
    };
    let cid = instruction.cid();
    let Input {
        func,
        args,
        files,
        effects,
    } = instruction.input;
    let blobs = blobs.into_iter().map(|(cid, bytes)| (cid, bytes.into()));
    let job = Job {
        instruction: cid,
        component,
        func,
        args,
        files,
        effects,
        blobs: blobs.collect(),
        limits: Limits::default(),
    };
    perform(job, built.bytes.clone().into(), http).await
}

/// Performs a job of this component. What is compiled is kept in the user's cache.
pub(crate) async fn perform(
    job: Job,
    component: Arc<[u8]>,
    http: &HttpAllowed,
) -> Result<Attempt, Failure> {
    let compiled = cache()?.join("compiled");
    let engine =
        WasmtimeEngine::new(Some(&compiled)).map_err(|error| Failure::other(error.to_string()))?;
    let hosts = http.hosts(engine);
    let run = move || {
        let mut host = hosts();
        host.prepare(job.component, &component)
            .map_err(|unfit| Failure::invalid(unfit.to_string()))?;
        host.run(&job).map_err(|fault| {
            Failure::other(format!("the host could not run it: {}", fault.message))
        })
    };
    tokio::task::spawn_blocking(run)
        .await
        .map_err(|error| Failure::other(error.to_string()))?
}
