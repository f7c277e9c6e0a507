//! The host: a bounded cache of prepared components, and one task after the other.

use std::{collections::BTreeMap, rc::Rc};

use asterism_component::{Val, ValueError, args_of_values, out_of_val};
use asterism_executor::{
    Attempt, Ended, Host, HostInfo, INSTANTIATION_FUEL, Job, Ran, Unfit, conclude, granted_fuel,
};
use asterism_protocol::{
    Cid, Out, TrapKind,
    message::{Fault, FaultKind},
};
use asterism_world::{Tree, World};
use js_sys::Reflect;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{
    counters::Counters,
    halt::Halt,
    instance::{Bound, Instance},
    program::{Exported, Program, Rewritten},
    stage::Stage,
};

/// Most components kept ready.
const PROGRAMS_MAX: usize = 32;

/// Most bytes of rewritten modules kept ready: a handful of language runtimes; engines take several times as much for them.
const PROGRAM_BYTES_MAX: usize = 128 << 20;

/// All that a 32-bit memory can have.
const MEMORY_MAX: u64 = 4 << 30;

/// Frames that an engine writes into a backtrace.
const STACK_TRACE_LIMIT: u32 = 32;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;
}

/// A [`Host`] on the engine that this program itself runs in: a Web Worker's, or node's.
///
/// Guests run to their end, and nothing in the same thread can stop one before its fuel is used up. So it belongs in a worker of
/// its own, which can be terminated.
#[derive(Default)]
pub struct BrowserHost {
    programs: BTreeMap<Cid, Kept>,
    /// Counts uses, to forget what was not used for longest.
    uses: u64,
    /// Made with the first program: then it is known that the engine has WebAssembly.
    counters: Option<Rc<Counters>>,
    stage: Rc<Stage>,
}

struct Kept {
    program: Rc<Program>,
    used: u64,
}

impl BrowserHost {
    /// What [`HostInfo::name`] says of it.
    pub const NAME: &'static str = "browser";

    /// A host that has nothing prepared.
    #[must_use]
    pub fn new() -> Self {
        let error_class = Reflect::get(&js_sys::global(), &"Error".into());
        if let Ok(error_class) = error_class {
            // Engines without it write as many frames as they like.
            let _ = Reflect::set(
                &error_class,
                &"stackTraceLimit".into(),
                &STACK_TRACE_LIMIT.into(),
            );
        }
        Self::default()
    }

    /// Calls a function again and again in one instance, to measure calls alone; gives microseconds for each.
    ///
    /// # Errors
    /// Whatever keeps a call from returning, in words.
    pub fn measure_calls(&mut self, job: &Job, times: u32) -> Result<f64, String> {
        let program = self.program(job.component).map_err(|fault| fault.message)?;
        let exported = program.exported(&job.func).ok_or("no such function")?;
        let args =
            args_of_values(&exported.function, &job.args, &job.blobs).map_err(|e| e.to_string())?;
        let files = Tree::new(&job.files, &job.blobs).map_err(|e| e.to_string())?;
        let in_words = |halt: Halt| format!("{halt:?}");
        let counters = self.counters().map_err(in_words)?;
        let instance = Rc::new(Instance::new(
            program.clone(),
            Rc::clone(&counters),
            World::new(job.instruction, files),
        ));
        let _on_stage = self.stage.enter(Rc::clone(&instance));
        let bound = begin(&instance, exported, &counters, job).map_err(in_words)?;
        let started = performance_now();
        for _ in 0..times {
            bound.call(&args).map_err(in_words)?;
        }
        Ok((performance_now() - started) * 1000.0 / f64::from(times.max(1)))
    }

    /// [`Host::prepare`] with what a host of this very build made of the component's modules before: `kept` is believed, and
    /// used unless it is of another number of modules or the engine does not take it. Hands over what was rewritten here,
    /// for others; nothing if `kept` was used or the component was ready.
    ///
    /// # Errors
    /// As there.
    pub fn prepare_with(
        &mut self,
        component: Cid,
        bytes: &[u8],
        kept: &[Rewritten],
    ) -> Result<Vec<Rewritten>, Unfit> {
        self.uses += 1;
        if let Some(kept) = self.programs.get_mut(&component) {
            kept.used = self.uses;
            return Ok(Vec::new());
        }
        if self.counters.is_none() {
            let counters = Counters::new().map_err(|_| Unfit {
                reason: "this browser has no WebAssembly with 64-bit globals: update it".into(),
            })?;
            self.counters = Some(Rc::new(counters));
        }
        let (program, made) = Program::of(bytes, &self.stage, kept).map_err(|e| Unfit {
            reason: e.to_string(),
        })?;
        self.forget(program.size);
        self.programs.insert(
            component,
            Kept {
                program: Rc::new(program),
                used: self.uses,
            },
        );
        Ok(made)
    }

    /// The compiled modules of a component that is ready.
    #[must_use]
    pub fn modules(&self, component: Cid) -> Vec<Rewritten> {
        self.programs
            .get(&component)
            .map(|kept| kept.program.compiled())
            .unwrap_or_default()
    }

    fn counters(&self) -> Result<Rc<Counters>, Halt> {
        self.counters
            .clone()
            .ok_or_else(|| Halt::host("nothing was prepared"))
    }

    fn program(&mut self, component: Cid) -> Result<Rc<Program>, Fault> {
        self.uses += 1;
        let kept = self.programs.get_mut(&component).ok_or_else(|| Fault {
            kind: FaultKind::Host,
            message: format!("component {component} is not prepared"),
        })?;
        kept.used = self.uses;
        Ok(Rc::clone(&kept.program))
    }

    /// Makes room for one more program of `size` bytes.
    fn forget(&mut self, size: usize) {
        let full = |programs: &BTreeMap<Cid, Kept>| {
            let bytes: usize = programs.values().map(|kept| kept.program.size).sum();
            programs.len() >= PROGRAMS_MAX
                || (!programs.is_empty() && bytes + size > PROGRAM_BYTES_MAX)
        };
        while full(&self.programs) {
            let oldest = self
                .programs
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(cid, _)| *cid);
            oldest.map(|cid| self.programs.remove(&cid));
        }
    }

    /// Performs a task whose arguments fit.
    fn enter(
        &self,
        program: &Rc<Program>,
        exported: &Exported,
        args: &[Val],
        files: Tree,
        job: &Job,
    ) -> Result<Ran, Halt> {
        let started = performance_now();
        let counters = self.counters()?;
        let instance = Rc::new(Instance::new(
            Rc::clone(program),
            Rc::clone(&counters),
            World::new(job.instruction, files),
        ));
        let mut fuel = 0;
        let returned = {
            let _on_stage = self.stage.enter(Rc::clone(&instance));
            begin(&instance, exported, &counters, job).and_then(|bound| {
                let returned = bound.call(args);
                fuel = counters.used(granted_fuel(job.limits.fuel))?;
                returned
            })
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "microseconds since the call began"
        )]
        let elapsed_us = ((performance_now() - started) * 1000.0).max(0.0) as u64;
        let ended = match returned {
            Ok(result) => match out_of_val(&exported.function, result.as_ref()) {
                Out::Ok(value) => Ended::Ok(value),
                Out::Error(value) => Ended::Err(value),
            },
            Err(Halt::Trap {
                kind,
                message,
                backtrace,
            }) => Ended::Trap {
                kind,
                message,
                backtrace,
            },
            Err(fault @ Halt::Fault(_)) => return Err(fault),
        };
        Ok(Ran {
            ended,
            fuel,
            growth_refused: counters.growth_refused(),
            logs: instance
                .take_world()
                .map(World::into_logs)
                .unwrap_or_default(),
            elapsed_us,
        })
    }
}

/// The arguments and files of a task, if they are what its function takes.
fn given(exported: &Exported, job: &Job) -> Result<(Vec<Val>, Tree), ValueError> {
    let args = args_of_values(&exported.function, &job.args, &job.blobs)?;
    Ok((args, Tree::new(&job.files, &job.blobs)?))
}

/// Initializes an instance, which is on the stage, and grants the fuel of the call to come.
fn begin<'a>(
    instance: &'a Instance,
    exported: &'a Exported,
    counters: &Counters,
    job: &Job,
) -> Result<Bound<'a>, Halt> {
    counters.reset(job.limits.memory);
    counters.fill(INSTANTIATION_FUEL);
    instance.initialize()?;
    let bound = instance.bind(exported)?;
    counters.fill(granted_fuel(job.limits.fuel));
    Ok(bound)
}

impl Host for BrowserHost {
    fn info(&self) -> HostInfo {
        HostInfo {
            name: Self::NAME,
            memory_max: MEMORY_MAX,
        }
    }

    fn holds(&self, component: Cid) -> bool {
        self.programs.contains_key(&component)
    }

    fn prepare(&mut self, component: Cid, bytes: &[u8]) -> Result<(), Unfit> {
        self.prepare_with(component, bytes, &[]).map(drop)
    }

    fn run(&mut self, job: &Job) -> Result<Attempt, Fault> {
        if let Some(effect) = job.effects.first() {
            return Err(Fault {
                kind: FaultKind::Host,
                message: format!("a tab has no means for the effect `{effect}`"),
            });
        }
        let program = self.program(job.component)?;
        let unentered = |kind, message| Ran {
            ended: Ended::Trap {
                kind,
                message,
                backtrace: Vec::new(),
            },
            fuel: 0,
            growth_refused: false,
            logs: Vec::new(),
            elapsed_us: 0,
        };
        let ran = match program.exported(&job.func) {
            None => unentered(
                TrapKind::UnknownFunction,
                format!("the component has no function `{}`", job.func),
            ),
            Some(exported) => match given(exported, job) {
                Err(error) => unentered(TrapKind::BadArguments, error.to_string()),
                Ok((args, files)) => self.enter(&program, exported, &args, files, job).map_err(
                    |halt| match halt {
                        Halt::Fault(fault) => fault,
                        Halt::Trap { message, .. } => Fault {
                            kind: FaultKind::Host,
                            message,
                        },
                    },
                )?,
            },
        };
        Ok(conclude(job, ran))
    }
}

impl std::fmt::Debug for BrowserHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrowserHost")
            .field("programs", &self.programs.keys())
            .finish_non_exhaustive()
    }
}
