//! Differential fuzzing: generated modules and generated values on Wasmtime and on our browser runtime in node, and components
//! that pass values on to each other in Chromium. Equal outcome, equal fuel, equal refusals, or it ends and says how to see the
//! difference again.

mod modules;
mod smith;
pub mod types;

use std::{
    collections::BTreeMap,
    fs, io,
    time::{Duration, Instant},
};

use asterism_executor::{Attempt, Host, Job, Unfit};
use asterism_protocol::{
    Cid, Effects, Files, Input, Instruction, Limits, Nonce, Value, blob_cid, json_of,
    message::{Fault, FaultKind},
};
use asterism_simulator::Random;

pub use self::smith::Smith;
use crate::harness::root;

/// What is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Core modules, wrapped.
    Modules,
    /// Values that pass through memory.
    Memory,
    /// Values that pass as core values.
    Flat,
    /// Values that a component passes on to another one.
    Composed,
}

impl Kind {
    /// Components that call no others; modules every other time.
    pub const ALONE: [Self; 4] = [Self::Modules, Self::Memory, Self::Modules, Self::Flat];

    /// Its name among options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Modules => "modules",
            Self::Memory => "memory",
            Self::Flat => "flat",
            Self::Composed => "composed",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Modules, Self::Memory, Self::Flat, Self::Composed]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// A component and calls of it.
struct Subject {
    component: Vec<u8>,
    /// All of it, for people.
    text: String,
    calls: Vec<Call>,
}

struct Call {
    func: String,
    args: Vec<Value>,
    limits: Limits,
}

/// How often it says that it goes on.
const EVERY: Duration = Duration::from_secs(30);

/// When to end, unless something differs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    /// After so many seeds.
    pub seeds: Option<u64>,
    /// After so many cases.
    pub cases: Option<u64>,
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Components that both hosts took.
    pub components: u64,
    /// Components that both hosts refused.
    pub unfit: u64,
    /// Calls that were compared.
    pub cases: u64,
    /// Calls among them that returned.
    pub returned: u64,
    /// Calls that ended in a fault of a host, which is no outcome.
    pub faults: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} calls of {} components agree in outcome and fuel; {} of them returned, {} more ended in a fault of a host, \
             {} components were refused by both",
            self.cases, self.components, self.returned, self.faults, self.unfit
        )
    }
}

/// Compares two hosts on what seeds make, from this one on; each makes one of these kinds, in turn.
///
/// # Errors
/// What differed, and how to see it again.
///
/// # Panics
/// There is no kind.
pub fn run(
    one: &mut dyn Host,
    other: &mut dyn Host,
    kinds: &[Kind],
    first: u64,
    until: Until,
) -> Result<Counts, String> {
    let (mut smith, mut counts) = (Smith::new(), Counts::default());
    let (start, mut said) = (Instant::now(), Instant::now());
    for seed in first.. {
        let done = |limit: Option<u64>, now: u64| limit.is_some_and(|limit| now >= limit);
        if done(until.seeds, seed - first) || done(until.cases, counts.cases) {
            break;
        }
        let mut random = Random::new(seed);
        let kind = kinds[(seed % kinds.len() as u64) as usize];
        let subject = match kind {
            Kind::Modules => modules::subject(&mut smith, seed, &mut random),
            Kind::Memory => Some(types::through_memory(&mut random)),
            Kind::Flat => Some(types::by_value(&mut random)),
            Kind::Composed => Some(types::composed(&mut random)),
        };
        let Some(subject) = subject else {
            continue;
        };
        if let Err(difference) = compare(one, other, &subject, &mut counts) {
            let kept = keep(seed, &subject).unwrap_or_else(|error| error.to_string());
            return Err(format!(
                "{difference}\nThe component: {kept}. Again: cargo xtask fuzz --kind {} --seed {seed} --seeds 1",
                kind.name()
            ));
        }
        if said.elapsed() > EVERY {
            said = Instant::now();
            let seconds = start.elapsed().as_secs();
            eprintln!("seed {seed}, after {seconds} s: {counts}");
        }
    }
    Ok(counts)
}

/// Writes a component where people find it.
fn keep(seed: u64, subject: &Subject) -> io::Result<String> {
    let folder = root().join("target/fuzz");
    fs::create_dir_all(&folder)?;
    let file = folder.join(seed.to_string());
    let write = |ending: &str, bytes: &[u8]| fs::write(file.with_extension(ending), bytes);
    write("wasm", &subject.component)?;
    write("wat", subject.text.as_bytes())?;
    Ok(file.with_extension("wasm").display().to_string())
}

fn compare(
    one: &mut dyn Host,
    other: &mut dyn Host,
    subject: &Subject,
    counts: &mut Counts,
) -> Result<(), String> {
    let names = (one.info().name, other.info().name);
    let cid = blob_cid(&subject.component);
    let prepared = |host: &mut dyn Host| host.prepare(cid, &subject.component);
    match (prepared(one), prepared(other)) {
        (Ok(()), Ok(())) => counts.components += 1,
        (Err(_), Err(_)) => {
            counts.unfit += 1;
            return Ok(());
        }
        (this, that) => {
            let said = |prepared: Result<(), Unfit>| {
                prepared.map_or_else(|unfit| unfit.reason, |()| "it is fit".into())
            };
            return Err(format!(
                "{}: {}\n{}: {}",
                names.0,
                said(this),
                names.1,
                said(that)
            ));
        }
    }
    for call in &subject.calls {
        let instruction = Instruction {
            rsc: format!("ipfs://{cid}"),
            op: "wasm/run".into(),
            input: Input {
                func: call.func.clone(),
                args: call.args.clone(),
                files: Files::new(),
                effects: Effects::new(),
            },
            nnc: Nonce::Empty,
        };
        let job = Job {
            instruction: instruction.cid(),
            component: cid,
            func: call.func.clone(),
            args: call.args.clone(),
            files: Files::new(),
            effects: Effects::new(),
            blobs: BTreeMap::new(),
            limits: call.limits,
        };
        let (this, that) = (one.run(&job), other.run(&job));
        if is_stack(&this) || is_stack(&that) {
            counts.faults += 1;
            continue;
        }
        counts.cases += 1;
        if this
            .as_ref()
            .is_ok_and(|run| run.outcome.failure().is_none())
        {
            counts.returned += 1;
        }
        if what_counts(&this) != what_counts(&that) {
            let args = json_of(&Value::List(call.args.clone()));
            return Err(format!(
                "{}{args} within {:?}\n{}: {}\n{}: {}",
                call.func,
                call.limits,
                names.0,
                seen(this),
                names.1,
                seen(that)
            ));
        }
    }
    Ok(())
}

/// Stacks differ between engines: running out of one is no outcome.
fn is_stack(ran: &Result<Attempt, Fault>) -> bool {
    ran.as_ref()
        .is_err_and(|fault| fault.kind == FaultKind::StackOverflow)
}

/// What hosts must agree on; the CID covers value, fuel and metering.
fn what_counts(ran: &Result<Attempt, Fault>) -> Result<(Cid, bool), FaultKind> {
    match ran {
        Ok(attempt) => Ok((attempt.outcome.cid(), attempt.conditions.growth_refused)),
        Err(fault) => Err(fault.kind),
    }
}

fn seen(ran: Result<Attempt, Fault>) -> String {
    match ran {
        Ok(attempt) => format!(
            "{} ({}) with {:?} fuel, growth refused: {}",
            json_of(&attempt.outcome.out.to_value()),
            attempt.outcome.cid(),
            attempt.outcome.fuel,
            attempt.conditions.growth_refused
        ),
        Err(fault) => format!("fault {:?}: {}", fault.kind, fault.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_makes_components_whose_text_is_all_of_them() {
        let mut smith = Smith::new();
        for seed in 1..12 {
            let mut random = Random::new(seed);
            let subjects = [
                modules::subject(&mut smith, seed, &mut random),
                Some(types::through_memory(&mut random)),
                Some(types::by_value(&mut random)),
                Some(types::composed(&mut random)),
            ];
            for subject in subjects.into_iter().flatten() {
                let Subject {
                    component, text, ..
                } = subject;
                asterism_component::inspect(&component)
                    .unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}\n{text}"));
                // Custom sections are not of interest.
                let again = wat::parse_str(&text)
                    .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
                let print = |bytes: &[u8]| wasmprinter::print_bytes(bytes).expect("it is one");
                assert_eq!(print(&again), print(&component), "seed {seed}");
            }
        }
    }
}
