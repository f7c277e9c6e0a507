//! Guests that tests use as tools, on the host that is trusted.

use std::collections::BTreeMap;

use asterism_executor::{Host as _, Job};
use asterism_host_wasmtime::{WasmtimeEngine, WasmtimeHost};
use asterism_protocol::{Cid, Effects, Files, Limits, Out, Value, blob_cid};

/// A guest that is used as a tool.
pub(crate) struct Tool {
    host: WasmtimeHost,
    component: Cid,
}

impl Tool {
    /// # Panics
    /// Wasmtime does not run here, or these bytes are no component.
    pub(crate) fn new(component: &[u8]) -> Self {
        let engine = WasmtimeEngine::new(None).expect("Wasmtime runs here");
        let (mut host, cid) = (engine.host(), blob_cid(component));
        host.prepare(cid, component).expect("it is a component");
        Self {
            host,
            component: cid,
        }
    }

    /// What a function gives for these arguments: long byte strings, too, are values.
    ///
    /// # Panics
    /// The guest dies, or does not end in time.
    pub(crate) fn call(&mut self, func: &str, args: Vec<Value>) -> Result<Value, Value> {
        let job = Job {
            instruction: self.component,
            component: self.component,
            func: func.to_owned(),
            args,
            files: Files::new(),
            effects: Effects::new(),
            blobs: BTreeMap::new(),
            limits: Limits {
                fuel: 100_000_000_000,
                memory: 1 << 30,
                time_ms: 60_000,
            },
        };
        let attempt = self.host.run(&job).expect("it ends in time");
        assert!(
            attempt.remark.message.is_none(),
            "{func} died: {:?}",
            attempt.remark.message
        );
        match attempt.outcome.out {
            Out::Ok(Value::Link(_)) => {
                let blob = attempt.blobs.into_values().next();
                Ok(Value::Bytes(
                    blob.expect("a link comes with its bytes").into_vec(),
                ))
            }
            Out::Ok(value) => Ok(value),
            Out::Error(value) => Err(value),
        }
    }
}
