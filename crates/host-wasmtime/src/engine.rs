//! What the hosts of a process share.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use asterism_component::{Function, abi::Signature, outline};
use asterism_executor::Unfit;
use asterism_protocol::Cid;
use wasmtime::{
    Engine,
    component::{Component, ComponentExportIndex, InstancePre},
};

use crate::{
    WasmtimeHost,
    cache::DiskCache,
    code::Code,
    config::config,
    host::Task,
    import::link,
    pool::{Place, Pool},
};

/// How often guests are asked for the time, in milliseconds: the wall clock's precision.
pub(crate) const TICK_MS: u64 = 10;

/// Most compiled components in memory; CPython's takes some hundred megabytes, a small one less than one.
const COMPONENTS_MAX: usize = 256;

/// Compiler, compiled components and clock of a process. Cheap to clone.
#[derive(Clone)]
pub struct WasmtimeEngine {
    shared: Arc<Shared>,
}

struct Shared {
    /// It compiles, and makes instances on demand.
    engine: Engine,
    pool: Option<Pool>,
    disk: Option<DiskCache>,
    components: Mutex<Components>,
}

#[derive(Default)]
struct Components {
    by_cid: BTreeMap<Cid, Slot>,
    /// Counts uses, so that the one used longest ago can be told.
    uses: u64,
}

struct Slot {
    used: u64,
    /// Filled once: whoever asks while it is being compiled waits for it, and hears the same.
    prepared: Arc<OnceLock<Result<Arc<Prepared>, Unfit>>>,
}

/// A component, compiled and linked.
pub(crate) struct Prepared {
    pub(crate) component: asterism_component::Component,
    /// For instances in the pool, if it fits.
    pooled: Option<(Linked, Pool)>,
    /// For instances on demand; made when there is the first, by one thread.
    on_demand: OnceLock<Linked>,
    making: Mutex<()>,
}

/// A compiled component with what it imports, for one engine.
pub(crate) struct Linked {
    pub(crate) pre: InstancePre<Task>,
    /// Its functions, in their order.
    pub(crate) exports: Vec<Export>,
}

/// A function of a component, as calls need it.
pub(crate) struct Export {
    pub(crate) index: ComponentExportIndex,
    pub(crate) signature: Arc<Signature>,
}

impl Prepared {
    /// With what a task is instantiated, and its place if that is in the pool.
    ///
    /// # Errors
    /// The machine is short of memory for the code.
    pub(crate) fn linked(&self, engine: &Engine) -> Result<(&Linked, Option<Place>), String> {
        if let Some((linked, pool)) = &self.pooled
            && let Some(place) = pool.take()
        {
            return Ok((linked, Some(place)));
        }
        if let Some(linked) = self.on_demand.get() {
            return Ok((linked, None));
        }
        // What went before it is whole, whatever became of who held it.
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(linked) = self.on_demand.get() {
            return Ok((linked, None));
        }
        let Some((pooled, _)) = &self.pooled else {
            return Err("a component that does not fit into the pool was not linked".into());
        };
        let made = pooled.pre.component().serialize().and_then(|code| {
            let compiled = Code::Bytes(code).load(engine)?;
            link_all(engine, &compiled, &self.component)
        });
        // A failure is not kept: the next task may find the memory.
        let made = made.map_err(|error| format!("{error:#}"))?;
        Ok((self.on_demand.get_or_init(|| made), None))
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
#[error("failed to start Wasmtime: {reason}")]
pub struct EngineError {
    reason: String,
}

impl WasmtimeEngine {
    /// Starts the engine and the clock. With `cache`, compiled components are kept in that directory.
    ///
    /// # Errors
    /// This machine cannot run Wasmtime, or the directory cannot be made or may be written by others.
    pub fn new(cache: Option<&Path>) -> Result<Self, EngineError> {
        Self::with_pool(cache, Pool::new())
    }

    pub(crate) fn with_pool(cache: Option<&Path>, pool: Option<Pool>) -> Result<Self, EngineError> {
        let error = |reason: String| EngineError { reason };
        let engine = Engine::new(&config()).map_err(|e| error(format!("{e:#}")))?;
        let disk = cache
            .map(|dir| DiskCache::open(dir, &engine))
            .transpose()
            .map_err(|e| error(e.to_string()))?;
        let pooled = pool.as_ref().map(|pool| pool.engine.weak());
        let clocks: Vec<_> = [engine.weak()].into_iter().chain(pooled).collect();
        let tick = move || {
            // It ends with the engines.
            while clocks
                .iter()
                .filter_map(|clock| clock.upgrade())
                .map(|engine| engine.increment_epoch())
                .count()
                > 0
            {
                std::thread::sleep(Duration::from_millis(TICK_MS));
            }
        };
        std::thread::Builder::new()
            .name("wasm-clock".into())
            .spawn(tick)
            .map_err(|e| error(format!("no thread for its clock: {e}")))?;
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                pool,
                disk,
                components: Mutex::default(),
            }),
        })
    }

    /// A host of its own for a compute thread.
    #[must_use]
    pub fn host(&self) -> WasmtimeHost {
        WasmtimeHost::new(self.clone())
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// The component, if it was prepared and is still here.
    pub(crate) fn get(&self, cid: Cid) -> Option<Arc<Prepared>> {
        let mut components = self.lock();
        components.uses += 1;
        let uses = components.uses;
        let slot = components.by_cid.get_mut(&cid)?;
        slot.used = uses;
        slot.prepared.get()?.clone().ok()
    }

    /// Compiles and links a component, once however many threads ask.
    pub(crate) fn prepare(&self, cid: Cid, bytes: &[u8]) -> Result<(), Unfit> {
        let slot = {
            let mut components = self.lock();
            components.uses += 1;
            let used = components.uses;
            let slot = components.by_cid.entry(cid).or_insert_with(|| Slot {
                used,
                prepared: Arc::default(),
            });
            slot.used = used;
            let slot = Arc::clone(&slot.prepared);
            while components.by_cid.len() > COMPONENTS_MAX {
                let oldest = components
                    .by_cid
                    .iter()
                    .min_by_key(|(_, slot)| slot.used)
                    .map(|(cid, _)| *cid);
                components
                    .by_cid
                    .remove(&oldest.expect("there are more than the bound, so there is one"));
            }
            slot
        };
        let prepared = slot.get_or_init(|| self.compile(cid, bytes).map(Arc::new));
        let Err(unfit) = prepared else {
            return Ok(());
        };
        // A failure is not kept: the machine may have been short of memory, and what is unfit is found out soon.
        let mut components = self.lock();
        let kept = components.by_cid.get(&cid);
        if kept.is_some_and(|kept| Arc::ptr_eq(&kept.prepared, &slot)) {
            components.by_cid.remove(&cid);
        }
        Err(unfit.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Components> {
        // Every change to it is whole, so a panic elsewhere has not broken it.
        self.shared
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(&self, cid: Cid, bytes: &[u8]) -> Result<Prepared, Unfit> {
        let unfit = |reason: String| Unfit { reason };
        let component = outline(bytes).map_err(|refusal| unfit(refusal.to_string()))?;
        let disk = self.shared.disk.as_ref();
        let kept = disk.and_then(|disk| disk.load(cid, |code| self.load(code)));
        let compiled = match kept {
            Some(compiled) => compiled,
            None => {
                let code = self
                    .engine()
                    .precompile_component(bytes)
                    .map_err(|error| unfit(format!("{error:#}")))?;
                if let Some(disk) = disk {
                    disk.store(cid, &code);
                }
                self.load(&Code::Bytes(code))
                    .map_err(|error| unfit(format!("{error:#}")))?
            }
        };
        let link = |engine: &Engine, compiled: &Component| {
            link_all(engine, compiled, &component).map_err(|error| unfit(format!("{error:#}")))
        };
        let on_demand = OnceLock::new();
        let pooled = match compiled {
            (compiled, Some(pool)) => Some((link(&pool.engine, &compiled)?, pool)),
            (compiled, None) => {
                // It is looked at nowhere else before.
                let _ = on_demand.set(link(self.engine(), &compiled)?);
                None
            }
        };
        Ok(Prepared {
            component,
            pooled,
            on_demand,
            making: Mutex::default(),
        })
    }

    /// Code in the pool that it is for, or, if it does not fit there, for instances on demand.
    fn load(&self, code: &Code) -> wasmtime::Result<(Component, Option<Pool>)> {
        if let Some(pool) = &self.shared.pool {
            match code.load(&pool.engine) {
                Ok(compiled) => return Ok((compiled, Some(pool.clone()))),
                // If that is not the reason, it is said again below.
                Err(error) => tracing::debug!("a component does not fit into the pool: {error:#}"),
            }
        }
        Ok((code.load(self.engine())?, None))
    }
}

fn link_all(
    engine: &Engine,
    compiled: &Component,
    component: &asterism_component::Component,
) -> wasmtime::Result<Linked> {
    let pre = link(engine, compiled)?;
    let export = |function: &Function| {
        let (interface, name) = function.path();
        let interface = match interface {
            Some(interface) => Some(compiled.get_export_index(None, interface)?),
            None => None,
        };
        Some(Export {
            index: compiled.get_export_index(interface.as_ref(), name)?,
            signature: Arc::new(Signature::of(function)),
        })
    };
    let exports: Option<Vec<_>> = component.functions.iter().map(export).collect();
    let exports = exports
        .ok_or_else(|| wasmtime::Error::msg("Wasmtime does not see all of its functions"))?;
    Ok(Linked { pre, exports })
}
