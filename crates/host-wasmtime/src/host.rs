//! One task after the other, each in a fresh store.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use asterism_component::{args_of_values, out_of_val};
use asterism_executor::{
    Attempt, Ended, Host, HostInfo, INSTANTIATION_FUEL, Job, Ran, Stopper, Unfit, conclude,
    granted_fuel,
};
use asterism_protocol::{
    Cid, HTTP, Out, TrapKind,
    message::{Fault, FaultKind},
};
use asterism_world::{Http, Tree, World};
use wasmtime::{Store, UpdateDeadline};

use crate::{
    WasmtimeEngine, abi,
    engine::Prepared,
    limiter::Limiter,
    trap::{Interruption, ended, not_instantiated},
};

/// A [`Host`] for one thread. The thread's stack must be larger than the guest's of one MiB; Rust's default is.
pub struct WasmtimeHost {
    engine: WasmtimeEngine,
    under_way: Arc<UnderWay>,
    http: Option<MakeHttp>,
}

/// Makes the way out for the task with this instruction. What it waits for must end soon once the other says that the task
/// is to end.
pub type MakeHttp = Arc<dyn Fn(Cid, Over) -> Box<dyn Http> + Send + Sync>;

/// Is a task to end? Asked again and again.
pub type Over = Arc<dyn Fn() -> bool + Send + Sync>;

/// The run under way, as other threads see it.
#[derive(Default)]
struct UnderWay(Mutex<Option<Run>>);

/// A run that goes on, or was asked to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Going,
    Stopped,
}

impl UnderWay {
    fn set(&self, run: Option<Run>) {
        *self.lock() = run;
    }

    fn stop(&self) {
        if let Some(run) = &mut *self.lock() {
            *run = Run::Stopped;
        }
    }

    fn is_stopped(&self) -> bool {
        *self.lock() == Some(Run::Stopped)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Run>> {
        // It is one word: a panic elsewhere has not broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a store holds.
pub(crate) struct Task {
    pub(crate) world: World,
    limiter: Limiter,
}

impl WasmtimeHost {
    pub(crate) fn new(engine: WasmtimeEngine) -> Self {
        Self {
            engine,
            under_way: Arc::default(),
            http: None,
        }
    }

    /// The same host with a way out, for tasks that have the effect and for no other.
    #[must_use]
    pub fn with_http(self, http: MakeHttp) -> Self {
        Self {
            http: Some(http),
            ..self
        }
    }

    fn perform(&self, job: &Job, prepared: &Prepared) -> Result<Ran, Fault> {
        let refused = |kind, message: String| {
            let ended = Ended::Trap {
                kind,
                message,
                backtrace: Vec::new(),
            };
            Ok(Ran {
                ended,
                fuel: 0,
                growth_refused: false,
                logs: Vec::new(),
                elapsed_us: 0,
            })
        };
        let functions = &prepared.component.functions;
        let function = prepared.component.function(&job.func);
        let Some((function, place)) =
            function.and_then(|f| Some((f, functions.iter().position(|g| g.name == f.name)?)))
        else {
            let names: Vec<_> = functions
                .iter()
                .take(16)
                .map(|function| function.name.as_str())
                .collect();
            return refused(
                TrapKind::UnknownFunction,
                format!("the component exports {}", names.join(", ")),
            );
        };
        let args = match args_of_values(function, &job.args, &job.blobs) {
            Ok(args) => args,
            Err(error) => return refused(TrapKind::BadArguments, error.to_string()),
        };
        let files = match Tree::new(&job.files, &job.blobs) {
            Ok(files) => files,
            Err(error) => return refused(TrapKind::BadArguments, error.to_string()),
        };

        let time_ms = job.limits.time_ms;
        let start = Instant::now();
        let (under_way, time) = (Arc::clone(&self.under_way), Duration::from_millis(time_ms));
        let interruption = Arc::new(move || {
            if under_way.is_stopped() {
                Some(Interruption::Stopped)
            } else if start.elapsed() >= time {
                Some(Interruption::TimeLimit)
            } else {
                None
            }
        });
        let mut world = World::new(job.instruction, files);
        for effect in &job.effects {
            let (HTTP, Some(make)) = (effect.as_str(), &self.http) else {
                return Err(fault(&format!(
                    "this host has no means for the effect `{effect}`"
                )));
            };
            let interruption = Arc::clone(&interruption);
            let over = Arc::new(move || interruption().is_some());
            world = world.with_http(make(job.instruction, over));
        }
        let task = Task {
            world,
            limiter: Limiter::new(job.limits.memory),
        };
        // The place is given back after the store that is in it.
        let (linked, _place) = prepared
            .linked(self.engine.engine())
            .map_err(|reason| fault(&reason))?;
        let mut store = Store::new(linked.pre.engine(), task);
        store.limiter(|task| &mut task.limiter);
        let interrupts = Arc::clone(&interruption);
        store.epoch_deadline_callback(move |_| match interrupts() {
            Some(interruption) => Err(interruption.into()),
            None => Ok(UpdateDeadline::Continue(1)),
        });
        store.set_epoch_deadline(1);
        store
            .set_fuel(INSTANTIATION_FUEL)
            .map_err(|error| broken(&error))?;

        let ended = match linked.pre.instantiate(&mut store) {
            Err(error) => not_instantiated(&error, &store.data().limiter, time_ms)?,
            Ok(instance) => {
                store
                    .set_fuel(granted_fuel(job.limits.fuel))
                    .map_err(|error| broken(&error))?;
                let export = &linked.exports[place];
                let func = instance.get_func(&mut store, export.index);
                let func = func.ok_or_else(|| fault("an export is missing after instantiation"))?;
                let returned = abi::call(&mut store, func, &export.signature, &args);
                // Whoever returns from a wait that was cut short was told of an error that there was not.
                let late = interruption().filter(|_| !job.effects.is_empty());
                match late.map_or(returned, |interruption| Err(interruption.into())) {
                    Ok(result) => match out_of_val(function, result.as_ref()) {
                        Out::Ok(value) => Ended::Ok(value),
                        Out::Error(value) => Ended::Err(value),
                    },
                    Err(error) => ended(&error, &store.data().limiter, time_ms)?,
                }
            }
        };
        let elapsed_us = start.elapsed().as_micros() as u64;
        let fuel = granted_fuel(job.limits.fuel)
            .saturating_sub(store.get_fuel().map_err(|error| broken(&error))?);
        let Task { world, limiter } = store.into_data();
        if let Some(reason) = limiter.exhausted {
            return Err(fault(&format!("the machine is short of memory: {reason}")));
        }
        Ok(Ran {
            ended,
            fuel,
            growth_refused: limiter.refused,
            logs: world.into_logs(),
            elapsed_us,
        })
    }
}

impl Host for WasmtimeHost {
    fn info(&self) -> HostInfo {
        HostInfo {
            name: "wasmtime",
            memory_max: 4 << 30,
        }
    }

    fn holds(&self, component: Cid) -> bool {
        self.engine.get(component).is_some()
    }

    fn prepare(&mut self, component: Cid, bytes: &[u8]) -> Result<(), Unfit> {
        self.engine.prepare(component, bytes)
    }

    fn run(&mut self, job: &Job) -> Result<Attempt, Fault> {
        let prepared = self
            .engine
            .get(job.component)
            .ok_or_else(|| fault("the component is not prepared"))?;
        self.under_way.set(Some(Run::Going));
        let ran = self.perform(job, &prepared);
        self.under_way.set(None);
        ran.map(|ran| conclude(job, ran))
    }

    fn stopper(&self) -> Option<Stopper> {
        let under_way = Arc::clone(&self.under_way);
        Some(Arc::new(move || under_way.stop()))
    }
}

fn fault(message: &str) -> Fault {
    Fault {
        kind: FaultKind::Host,
        message: message.to_owned(),
    }
}

fn broken(error: &wasmtime::Error) -> Fault {
    fault(&format!("the engine failed: {error:#}"))
}
