//! What a guest may ask of its host, one implementation for every host. Deny is the default.
//!
//! A host asks [`provides`] for each function that a component imports, makes one [`World`] for each task, and passes
//! every call to [`World::call`]. Nothing here knows an engine. One file is one interface; `INTERFACES` lists them.

mod logging;

use asterism_component::Val;
use asterism_protocol::{LogLine, TrapKind};

/// Every interface that is provided.
const INTERFACES: &[Interface] = &[logging::INTERFACE];

/// An interface with its functions.
struct Interface {
    /// The name without a version.
    name: &'static str,
    /// The versions under which guests ask for it; without one it is always found.
    versions: &'static [&'static str],
    functions: &'static [(&'static str, Call)],
}

/// A host function. The error is a sentence about arguments that its interface does not have.
type Call = fn(&mut World, &[Val]) -> Result<Vec<Val>, String>;

/// What one task's guest sees of the world.
#[derive(Debug, Default)]
pub struct World {
    logs: logging::Logs,
}

/// A call that ends the guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{interface}#{func}: {reason}")]
pub struct Denied {
    /// The interface.
    pub interface: String,
    /// The function.
    pub func: String,
    /// Why.
    pub reason: String,
}

impl Denied {
    /// The trap that it counts as, on every host.
    pub const TRAP: TrapKind = TrapKind::InvalidAbi;
}

/// Is this import provided? `interface` as the component writes it, with or without a version.
#[must_use]
pub fn provides(interface: &str, func: &str) -> bool {
    find(interface, func).is_some()
}

fn find(interface: &str, func: &str) -> Option<Call> {
    let (name, version) = match interface.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (interface, None),
    };
    let interface = INTERFACES.iter().find(|known| known.name == name)?;
    if version.is_some_and(|version| !interface.versions.contains(&version)) {
        return None;
    }
    interface
        .functions
        .iter()
        .find(|(name, _)| *name == func)
        .map(|(_, call)| *call)
}

impl World {
    /// The world of the task with this instruction: its CID is the seed of all that looks random.
    #[must_use]
    pub fn new(_instruction: asterism_protocol::Cid) -> Self {
        Self::default()
    }

    /// Performs a host function.
    ///
    /// # Errors
    /// The guest asked for what it may not have; the host ends it.
    pub fn call(&mut self, interface: &str, func: &str, args: &[Val]) -> Result<Vec<Val>, Denied> {
        let denied = |reason| Denied {
            interface: interface.into(),
            func: func.into(),
            reason,
        };
        let call = find(interface, func).ok_or_else(|| denied("not provided".into()))?;
        call(self, args).map_err(denied)
    }

    /// What the guest logged, bounded; the drop of more is said in a last line.
    #[must_use]
    pub fn into_logs(self) -> Vec<LogLine> {
        self.logs.into_lines()
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{LogLevel, content_cid, limits};

    use super::*;

    fn log(world: &mut World, message: &str) {
        let args = [
            Val::Enum(2),
            Val::String("guest:test".into()),
            Val::String(message.into()),
        ];
        assert_eq!(world.call("wasi:logging/logging", "log", &args), Ok(vec![]));
    }

    fn world() -> World {
        World::new(content_cid(b"an instruction"))
    }

    #[test]
    fn logging_is_provided_with_and_without_its_version() {
        assert!(provides("wasi:logging/logging", "log"));
        assert!(provides("wasi:logging/logging@0.1.0-draft", "log"));
        assert!(!provides("wasi:logging/logging@9.0.0", "log"));
        assert!(!provides("wasi:logging/logging", "erase"));
        assert!(!provides("wasi:http/outgoing-handler", "handle"));
        assert!(!provides("", "log"));
    }

    #[test]
    fn what_is_not_provided_is_denied_by_name() {
        let denied = world().call("wasi:http/types", "get", &[]).unwrap_err();
        assert_eq!(denied.to_string(), "wasi:http/types#get: not provided");
    }

    #[test]
    fn arguments_of_another_interface_are_denied() {
        let args = [
            Val::Enum(9),
            Val::String(String::new()),
            Val::String(String::new()),
        ];
        assert!(world().call("wasi:logging/logging", "log", &args).is_err());
        assert!(
            world()
                .call("wasi:logging/logging", "log", &[Val::U8(1)])
                .is_err()
        );
    }

    #[test]
    fn lines_keep_level_context_and_text() {
        let mut world = world();
        log(&mut world, "3.1 + 5.2 = 8.3");
        let line = LogLine {
            level: LogLevel::Info,
            context: "guest:test".into(),
            message: "3.1 + 5.2 = 8.3".into(),
        };
        assert_eq!(world.into_logs(), [line]);
    }

    #[test]
    fn more_lines_than_the_limit_are_dropped_and_counted() {
        let mut world = world();
        for n in 0..limits::LOG_LINES_MAX + 5 {
            log(&mut world, &n.to_string());
        }
        let lines = world.into_logs();
        assert_eq!(lines.len(), limits::LOG_LINES_MAX);
        assert_eq!(
            lines.last().map(|line| line.message.as_str()),
            Some("6 more lines were dropped")
        );
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let mut world = world();
        log(&mut world, &"é".repeat(limits::LOG_BYTES_MAX));
        log(&mut world, "after");
        let lines = world.into_logs();
        let bytes: usize = lines
            .iter()
            .map(|line| line.context.len() + line.message.len())
            .sum();
        assert!(bytes <= limits::LOG_BYTES_MAX + 64, "{bytes}");
        assert!(lines[0].message.ends_with('é'));
        assert!(
            lines
                .last()
                .is_some_and(|line| line.message.contains("dropped"))
        );
    }
}
