//! wasi:logging/logging: `log(level, context, message)`.

use asterism_component::Val;
use asterism_protocol::{
    LogLevel, LogLine,
    limits::{LOG_BYTES_MAX, LOG_LINES_MAX},
};

use crate::{Interface, Stop, Versions, World, other_types};

pub(crate) const INTERFACE: Interface = Interface {
    name: "wasi:logging/logging",
    versions: Versions::These(&["0.1.0-draft"]),
    functions: &[("log", log)],
};

/// In the order of the WIT enum.
const LEVELS: [LogLevel; 6] = [
    LogLevel::Trace,
    LogLevel::Debug,
    LogLevel::Info,
    LogLevel::Warn,
    LogLevel::Error,
    LogLevel::Critical,
];

fn log(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [Val::Enum(level), Val::String(context), Val::String(message)] = args else {
        return other_types();
    };
    let level = LEVELS
        .get(*level as usize)
        .ok_or_else(|| format!("there is no level {level}"))?;
    world.logs.add(*level, context, message);
    Ok(Vec::new())
}

/// Lines within the bounds of the protocol.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    lines: Vec<LogLine>,
    bytes: usize,
    cut: bool,
    dropped: usize,
}

impl Logs {
    pub(crate) fn add(&mut self, level: LogLevel, context: &str, message: &str) {
        // One line is left for the count of what was dropped.
        let room = LOG_BYTES_MAX.saturating_sub(self.bytes);
        if self.lines.len() + 1 >= LOG_LINES_MAX || room == 0 || self.cut {
            self.dropped += 1;
            return;
        }
        let wanted = context.len() + message.len();
        let context = start(context, room);
        let message = start(message, room - context.len());
        self.cut |= context.len() + message.len() < wanted;
        self.bytes += context.len() + message.len();
        self.lines.push(LogLine {
            level,
            context: context.into(),
            message: message.into(),
        });
    }

    pub(crate) fn into_lines(mut self) -> Vec<LogLine> {
        if self.cut || self.dropped > 0 {
            let cut = if self.cut {
                "the last line was cut, "
            } else {
                ""
            };
            let message = format!("{cut}{} more lines were dropped", self.dropped);
            self.lines.push(LogLine {
                level: LogLevel::Warn,
                context: "asterism".into(),
                message,
            });
        }
        self.lines
    }
}

/// The start of `text` that has at most `bytes` bytes.
fn start(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
