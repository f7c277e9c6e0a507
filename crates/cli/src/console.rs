//! How a command talks: standard output is data, standard error is talk.

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use asterism_protocol::{lines_of, one_line};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::log::{Fields, Line};

/// What holds for every command. Data goes through [`print()`], talk through [`Console::say`].
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Console {
    /// Write results and errors as JSON
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) json: bool,
    /// Say nothing but errors
    #[arg(long, short, global = true, help_heading = HEADING)]
    quiet: bool,
    /// Read nothing from standard input: whatever would is an error
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) no_input: bool,
    /// Settings file to read instead of the project's `asterism.toml`
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    config: Option<PathBuf>,
    /// How log lines are written
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT", help_heading = HEADING)]
    log_format: LogFormat,
    /// What was submitted, for whoever stops waiting for it.
    #[arg(skip)]
    submitted: Arc<OnceLock<Submitted>>,
}

/// A run that goes on without whoever waits for it.
#[derive(Debug)]
struct Submitted {
    run: u64,
    /// What a command for it shows beside its number; empty where nothing is needed.
    proof: String,
}

const HEADING: &str = "Manners";

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    #[default]
    Text,
    /// A JSON object for each line
    Json,
}

impl Console {
    /// Log lines go to standard error from here on. `RUST_LOG` chooses them; without it `usual` does.
    pub(crate) fn start_logging(&self, usual: &str) {
        let usual = if self.quiet { "error" } else { usual };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(colourful())
            .with_target(false);
        match self.log_format {
            LogFormat::Text => subscriber.fmt_fields(Fields).init(),
            LogFormat::Json => subscriber
                .json()
                .flatten_event(true)
                .map_event_format(Line)
                .init(),
        }
    }

    /// A run was submitted; `token` is needed to end it from here.
    pub(crate) fn note_run(&self, run: u64, token: Option<&str>) {
        let proof = token.map_or_else(String::new, |token| format!(" --run-token {token}"));
        // Of several the first one is waited for.
        let _ = self.submitted.set(Submitted { run, proof });
    }

    /// How to find and end what was submitted.
    pub(crate) fn goes_on(&self) -> Option<String> {
        let Submitted { run, proof } = self.submitted.get()?;
        Some(format!(
            "run {run} goes on: `asterism workflow watch {run}` follows it, `asterism workflow cancel {run}{proof}` ends it"
        ))
    }

    /// A line of talk, unless nobody wants to hear any.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{}", harmless(line));
        }
    }
}

impl Console {
    /// Does a person watch standard error? Then progress may be drawn there.
    pub(crate) fn is_watched(&self) -> bool {
        !self.quiet && !self.json && std::io::stderr().is_terminal()
    }
}

/// Writes rows in columns as wide as what is in them, as data.
pub(crate) fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows = std::iter::once(heads).chain(rows);
    let rows: Vec<Vec<String>> = rows
        .map(|row: Vec<String>| row.iter().map(|cell| one_line(cell)).collect())
        .collect();
    let mut widths: Vec<usize> = Vec::new();
    for (column, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
        let width = cell.chars().count();
        match widths.get_mut(column) {
            Some(widest) => *widest = width.max(*widest),
            None => widths.push(width),
        }
    }
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        print(cells.join("  ").trim_end());
    }
}

/// Writes a line of data. A reader that went away (`| head`) is no error.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Writes a text of a guest as data: as it is, unless that is to a terminal, which it must not command.
pub(crate) fn print_text(text: &str) {
    if std::io::stdout().is_terminal() {
        print(&lines_of(text).join("\n"));
    } else {
        print(text);
    }
}

/// May standard error have colours? `NO_COLOR` (any value but none) forbids them: <https://no-color.org>.
pub(crate) fn colourful() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::io::stderr().is_terminal()
}

/// Words of ours with text of others among them, which must not command a terminal: what would becomes visible. Lines after
/// the first are indented, as no line of ours is: `hint:` at the beginning of one was not written by a guest.
pub(crate) fn harmless(text: &str) -> String {
    lines_of(text).join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_does_not_command_a_terminal() {
        assert_eq!(
            harmless("\x1b[2Jred\u{9b}31m\tok\u{202e}\n"),
            "\\u001b[2Jred\\u009b31m\tok\\u202e"
        );
    }

    #[test]
    fn text_of_others_does_not_begin_a_line() {
        assert_eq!(
            harmless("it failed: trap (a\nhint: do it\r\nb\rc)"),
            "it failed: trap (a\n    hint: do it\n    b\\rc)"
        );
    }
}
