//! Core modules out of numbers: the guest in `tests/guests/smith`, on the host that is trusted.

use std::collections::BTreeMap;

use asterism_executor::{Host as _, Job};
use asterism_host_wasmtime::{WasmtimeEngine, WasmtimeHost};
use asterism_protocol::{Cid, Files, Limits, Out, Value, blob_cid};

use crate::guests;

/// What makes modules.
pub struct Smith {
    host: WasmtimeHost,
    component: Cid,
}

impl Smith {
    /// What makes modules.
    ///
    /// # Panics
    /// Wasmtime does not run here.
    #[must_use]
    pub fn new() -> Self {
        let engine = WasmtimeEngine::new(None).expect("Wasmtime runs here");
        let (mut host, component) = (engine.host(), blob_cid(guests::SMITH));
        host.prepare(component, guests::SMITH)
            .expect("it is a component");
        Self { host, component }
    }

    /// The module of a seed, which exports what a module of these bytes exports, or everything; `None` where the seed makes none.
    ///
    /// # Panics
    /// The guest fails.
    pub fn module(&mut self, seed: u64, exports: Option<&[u8]>) -> Option<Vec<u8>> {
        let exports = exports.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec()));
        let job = Job {
            instruction: self.component,
            component: self.component,
            func: "module".into(),
            args: vec![Value::Integer(seed.into()), exports],
            files: Files::new(),
            blobs: BTreeMap::new(),
            limits: Limits {
                fuel: 100_000_000_000,
                memory: 1 << 30,
                time_ms: 60_000,
            },
        };
        let attempt = self.host.run(&job).expect("it ends in time");
        match attempt.outcome.out {
            Out::Ok(Value::Null) => None,
            Out::Ok(Value::Bytes(bytes)) => Some(bytes),
            Out::Ok(Value::Link(_)) => {
                let mut blobs = attempt.blobs.into_values();
                Some(
                    blobs
                        .next()
                        .expect("a link comes with its bytes")
                        .into_vec(),
                )
            }
            out => panic!("seed {seed} made {out:?} ({:?})", attempt.remark.message),
        }
    }
}

impl Default for Smith {
    fn default() -> Self {
        Self::new()
    }
}
