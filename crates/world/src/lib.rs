//! What a guest may ask of its host, one implementation for every host. Deny is the default.
//!
//! A host asks [`provides`] for each function that a component imports, makes one [`World`] for each task, passes
//! every call to [`World::call`] and every handle that the guest drops to [`World::drop_resource`]; what a call costs
//! besides the guest's own instructions, it takes with [`World::take_fuel`]. Nothing here knows an engine. One file is
//! one package; `INTERFACES` lists what is in them.
//!
//! The world is *virtual*: whatever a guest could learn from it follows from the task's instruction. The clock starts at
//! a time made of the instruction's CID and advances only by what the guest itself waits for, randomness is a stream with
//! that seed, files are those that the instruction names, environment, arguments and input are empty, networks refuse. So
//! a component that imports WASI has one outcome, too, and it may be remembered.
//!
//! A task that has an effect gets a way out of it beside ([`World::with_http`]); everything else stays virtual.

mod cli;
mod clocks;
mod filesystem;
mod http;
mod io;
mod logging;
mod random;
mod resources;
mod sockets;

use asterism_component::{Component, Import, Shelved, Val};
use asterism_protocol::{
    Cid, Effects, LogLine, TrapKind,
    view::{ComponentView, Determinism, FunctionView},
};

use crate::{
    clocks::Clock,
    http::outside::Outside,
    io::Output,
    logging::Logs,
    random::Random,
    resources::{Resource, Resources},
};
pub use crate::{
    filesystem::Tree,
    http::outside::{
        BODIES_BYTES_MAX, BODY_BYTES_MAX, HEADER_BYTES_MAX, Http, HttpError, HttpRequest,
        HttpResponse, REQUESTS_MAX,
    },
};

/// Every interface that is provided.
const INTERFACES: &[&[Interface]] = &[
    &[logging::INTERFACE],
    cli::INTERFACES,
    clocks::INTERFACES,
    filesystem::INTERFACES,
    http::INTERFACES,
    io::INTERFACES,
    random::INTERFACES,
    sockets::INTERFACES,
];

/// An interface with its functions.
struct Interface {
    /// The name without a version.
    name: &'static str,
    versions: Versions,
    functions: &'static [(&'static str, Call)],
}

/// Under which versions guests find an interface.
enum Versions {
    /// These, and without one.
    These(&'static [&'static str]),
    /// WASI 0.2, whichever patch: they only ever add functions.
    Wasi02,
}

/// A host function.
type Call = fn(&mut World, &[Val]) -> Result<Vec<Val>, Stop>;

/// Why a host function does not return.
enum Stop {
    /// The guest did what it may not; the sentence says what.
    Denied(String),
    /// It asked to end.
    Exit(u8),
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Denied(reason)
    }
}

impl From<&str> for Stop {
    fn from(reason: &str) -> Self {
        Self::Denied(reason.to_owned())
    }
}

/// Arguments that a function of the interface does not have: the component declares other types than WASI.
fn other_types<T>() -> Result<T, Stop> {
    Err("the component declares it with other types than it has".into())
}

/// What one task's guest sees of the world.
#[derive(Debug)]
pub struct World {
    logs: Logs,
    stdout: Output,
    stderr: Output,
    clock: Clock,
    random: Random,
    files: Tree,
    /// The way out of it, for a task that has one.
    outside: Option<Outside>,
    resources: Resources,
    /// Fuel that calls cost and that no host has taken yet.
    owed: u64,
}

/// A call that ends the guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The guest asked for what it may not have, or in a way that its interface forbids.
    #[error("{interface}#{func}: {reason}")]
    Denied {
        /// The interface.
        interface: String,
        /// The function.
        func: String,
        /// Why.
        reason: String,
    },
    /// The guest asked to end (wasi:cli/exit).
    #[error("the guest exited with code {0}")]
    Exited(u8),
}

impl End {
    /// The trap that it counts as, on every host.
    #[must_use]
    pub fn trap(&self) -> TrapKind {
        match self {
            Self::Denied { .. } => TrapKind::InvalidAbi,
            Self::Exited(_) => TrapKind::Exit,
        }
    }
}

/// Can a component with these imports look at files? Others never see what a task gives them.
#[must_use]
pub fn reads_files(imports: &[Import]) -> bool {
    imports
        .iter()
        .any(|Import { interface, .. }| name_and_version(interface).0 == filesystem::PREOPENS)
}

/// Can a component with these imports have this effect? Others never do, whatever a task asks for.
#[must_use]
pub fn has_effect(imports: &[Import], effect: &str) -> bool {
    let needed = match effect {
        asterism_protocol::HTTP => http::OUTGOING,
        _ => return false,
    };
    imports
        .iter()
        .any(|Import { interface, .. }| name_and_version(interface).0 == needed)
}

/// All effects that a component with these imports can have.
#[must_use]
pub fn effects(imports: &[Import]) -> Effects {
    let possible = [asterism_protocol::HTTP].into_iter();
    let possible = possible.filter(|effect| has_effect(imports, effect));
    possible.map(str::to_owned).collect()
}

/// A component for a [`Shelf`](asterism_component::Shelf), with what its imports mean.
#[must_use]
pub fn shelved(cid: Cid, name: String, bytes: u64, component: Component) -> Shelved {
    let imports = &component.import_functions;
    let functions = component.functions.iter().map(|function| FunctionView {
        name: function.name.clone(),
        signature: function.signature(),
        schema: function.schema().to_string(),
    });
    Shelved {
        view: ComponentView {
            cid,
            name,
            bytes,
            determinism: determinism(imports),
            effects: effects(imports),
            functions: functions.collect(),
        },
        reads_files: reads_files(imports),
        component,
    }
}

/// Is this import provided? `interface` as the component writes it, with or without a version.
#[must_use]
pub fn provides(interface: &str, func: &str) -> bool {
    find(interface, func).is_some()
}

/// What the outcomes of a component with these imports depend on, where a task has no effects.
#[must_use]
pub fn determinism(imports: &[Import]) -> Determinism {
    let mut class = Determinism::Pure;
    for Import { interface, func } in imports {
        if !provides(interface, func) {
            return Determinism::Effectful;
        }
        if name_and_version(interface).0 != logging::INTERFACE.name {
            class = Determinism::Virtual;
        }
    }
    class
}

fn name_and_version(interface: &str) -> (&str, Option<&str>) {
    match interface.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (interface, None),
    }
}

fn find(interface: &str, func: &str) -> Option<Call> {
    let (name, version) = name_and_version(interface);
    let interface = INTERFACES
        .iter()
        .copied()
        .flatten()
        .find(|known| known.name == name)?;
    if !interface.versions.admit(version) {
        return None;
    }
    interface
        .functions
        .iter()
        .find(|(name, _)| *name == func)
        .map(|(_, call)| *call)
}

impl Versions {
    fn admit(&self, version: Option<&str>) -> bool {
        match (self, version) {
            (Self::These(_), None) => true,
            (Self::These(known), Some(version)) => known.contains(&version),
            (Self::Wasi02, None) => false,
            (Self::Wasi02, Some(version)) => {
                let patch = version.strip_prefix("0.2.").unwrap_or_default();
                !patch.is_empty() && patch.bytes().all(|digit| digit.is_ascii_digit())
            }
        }
    }
}

impl World {
    /// The world of the task with this instruction: its CID is the seed of all that looks random, and of the clock; the
    /// files are those that it names.
    #[must_use]
    pub fn new(instruction: Cid, files: Tree) -> Self {
        let seed = instruction.digest();
        Self {
            logs: Logs::default(),
            stdout: Output::stdout(),
            stderr: Output::stderr(),
            clock: Clock::new(seed),
            random: Random::new(seed),
            files,
            outside: None,
            resources: Resources::default(),
            owed: 0,
        }
    }

    /// The same world with a way out: requests are sent. Only for a task that has the effect.
    #[must_use]
    pub fn with_http(self, http: Box<dyn Http>) -> Self {
        Self {
            outside: Some(Outside::new(http)),
            ..self
        }
    }

    /// Performs a host function. Handles among arguments and results are numbers of this world: an
    /// [`Own`](Val::Own) among the arguments is given back to it, one among the results belongs to the guest.
    ///
    /// # Errors
    /// The guest asked for what it may not have, or to end; the host ends it.
    pub fn call(&mut self, interface: &str, func: &str, args: &[Val]) -> Result<Vec<Val>, End> {
        let result = match find(interface, func) {
            Some(call) => call(self, args),
            None => Err("not provided".into()),
        };
        result.map_err(|stop| match stop {
            Stop::Denied(reason) => End::Denied {
                interface: interface.into(),
                func: func.into(),
                reason,
            },
            Stop::Exit(code) => End::Exited(code),
        })
    }

    /// The guest dropped a handle that it owned.
    pub fn drop_resource(&mut self, handle: u32) {
        if let Some(Resource::Body(body)) = self.resources.drop(handle)
            && let (Some(exchange), Some(outside)) = (body.exchange, &mut self.outside)
        {
            // Not finished: whatever was written is not what was meant.
            outside.end_body(exchange, Some(HttpError::Protocol));
        }
    }

    /// Fuel that calls cost since this was asked last: for time that the guest waited, and for bytes made for it. The
    /// host takes it from the guest's, which is out of fuel if it has no more than this.
    #[must_use]
    pub fn take_fuel(&mut self) -> u64 {
        std::mem::take(&mut self.owed)
    }

    fn owe(&mut self, fuel: u64) {
        self.owed = self.owed.saturating_add(fuel);
    }

    /// What the guest logged and printed, bounded; the drop of more is said in a last line.
    #[must_use]
    pub fn into_logs(mut self) -> Vec<LogLine> {
        self.stdout.end(&mut self.logs);
        self.stderr.end(&mut self.logs);
        self.logs.into_lines()
    }
}

/// `ok(val)`.
fn ok(val: Val) -> Val {
    Val::Result(Ok(Some(Box::new(val))))
}

/// `ok`, without a payload.
fn done() -> Vec<Val> {
    vec![Val::Result(Ok(None))]
}

/// `err(val)`.
fn err(val: Val) -> Vec<Val> {
    vec![Val::Result(Err(Some(Box::new(val))))]
}

#[cfg(test)]
mod tests;
