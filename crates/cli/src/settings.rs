//! Settings from files: below flags and `ASTERISM_*`, above defaults.
//!
//! A setting is the long name of a flag. At the top of the file it is for every command that has the flag, in the
//! table of a command only for that one:
//!
//! ```toml
//! coordinator = "http://build-box:3000"
//! [command.executor.start]
//! threads = 2
//! ```
//!
//! `asterism.toml` in the working directory or the nearest one above it is the project's, unless `--config` names another;
//! `asterism/config.toml` in the user's configuration folder is the user's. Paths are relative to the file that they stand in.

use std::{
    any::TypeId,
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use asterism_coordinator::store::BlobPlace;
use asterism_protocol::nearest;
use clap::{Arg, ArgAction, Command, builder::FalseyValueParser, parser::ValueSource};
use toml::Value;

use crate::{
    failure::{Doing as _, Failure},
    folders,
};

/// Largest settings file, in bytes: a hundred times what anybody writes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The flag that names a file of settings: no setting itself.
const CONFIG: &str = "config";

/// Settings by command (empty for all) and flag.
#[derive(Default)]
pub(crate) struct Settings(BTreeMap<(String, String), Setting>);

struct Setting {
    values: Vec<String>,
    file: PathBuf,
}

/// A flag of a command as it would be without the command line: for `asterism config show`.
pub(crate) struct Effective {
    pub(crate) command: String,
    pub(crate) flag: String,
    pub(crate) value: String,
    pub(crate) origin: String,
}

impl Settings {
    /// Reads the user's file and the project's, which may both be absent, or the one that is named instead of the project's.
    pub(crate) fn load(command: &Command, named: Option<PathBuf>) -> Result<Self, Failure> {
        let mut settings = Self::default();
        // The later one wins.
        for file in [user_file(), named.or_else(project_file)]
            .into_iter()
            .flatten()
        {
            settings
                .read(&file, command)
                .doing(format!("read the settings in {}", file.display()))?;
        }
        Ok(settings)
    }

    fn read(&mut self, file: &Path, command: &Command) -> Result<(), Failure> {
        let length = std::fs::metadata(file)
            .map_err(|error| Failure::invalid(error.to_string()))?
            .len();
        if length > FILE_BYTES_MAX {
            return Err(Failure::invalid(format!(
                "it has {length} bytes, {FILE_BYTES_MAX} is the most"
            )));
        }
        let text =
            std::fs::read_to_string(file).map_err(|error| Failure::invalid(error.to_string()))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let place = error.span().map(|span| place_of(&text, span.start));
            let place = place.map_or(String::new(), |(line, column)| {
                format!("line {line}, column {column}: ")
            });
            Failure::invalid(format!("{place}{}", error.message()))
        })?;
        for (key, value) in table {
            match (key.as_str(), value) {
                ("command", Value::Table(table)) => {
                    self.read_commands(file, command, "", table)?;
                }
                (_, value) => {
                    let arg = find(command, &key).ok_or_else(|| unknown(command, &key))?;
                    self.insert(file, "", &key, arg, value)?;
                }
            }
        }
        Ok(())
    }

    fn read_commands(
        &mut self,
        file: &Path,
        command: &Command,
        path: &str,
        table: toml::Table,
    ) -> Result<(), Failure> {
        for (key, value) in table {
            if let (Some(inner), Value::Table(table)) = (command.find_subcommand(&key), &value) {
                self.read_commands(file, inner, &join(path, &key), table.clone())?;
            } else if let Some(arg) = flags(command).find(|arg| arg.get_long() == Some(&key)) {
                self.insert(file, path, &key, arg, value)?;
            } else {
                let names = command.get_subcommands().map(Command::get_name);
                let longs = flags(command).filter_map(Arg::get_long);
                let of = if path.is_empty() {
                    String::new()
                } else {
                    format!(" of `{path}`")
                };
                let failure =
                    Failure::invalid(format!("there is no command and no flag `{key}`{of}"));
                return Err(did_you_mean(failure, &key, names.chain(longs)));
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        file: &Path,
        command: &str,
        key: &str,
        arg: &Arg,
        value: Value,
    ) -> Result<(), Failure> {
        let listed = matches!(arg.get_action(), ArgAction::Append);
        let values = match value {
            Value::Array(items) if listed => items.into_iter().map(text_of).collect(),
            other => text_of(other).map(|text| vec![text]),
        };
        let mut values: Vec<String> =
            values.ok_or_else(|| Failure::invalid(format!("`{key}` must be a plain value")))?;
        if arg.get_value_parser().type_id() == TypeId::of::<PathBuf>() {
            let folder = file.parent().unwrap_or(Path::new(""));
            for value in &mut values {
                *value = folder.join(&*value).to_string_lossy().into_owned();
            }
        }
        // A folder, or an address; what is neither is told when it is used.
        if key == "blobs" {
            let folder = file.parent().unwrap_or(Path::new(""));
            for value in &mut values {
                if let Ok(place) = value.parse::<BlobPlace>() {
                    *value = place.within(folder).to_string();
                }
            }
        }
        for value in &values {
            check(arg, value).map_err(|reason| Failure::invalid(format!("`{key}`: {reason}")))?;
        }
        let setting = Setting {
            values,
            file: file.to_owned(),
        };
        self.0.insert((command.to_owned(), key.to_owned()), setting);
        Ok(())
    }

    fn get(&self, command: &str, flag: &str) -> Option<&Setting> {
        let of = |command: &str| self.0.get(&(command.to_owned(), flag.to_owned()));
        of(command).or_else(|| of(""))
    }

    /// The command whose flags fall back to `ASTERISM_<FLAG>`, and then to these settings.
    pub(crate) fn apply(&self, command: Command) -> Command {
        self.apply_at(command, "")
    }

    fn apply_at(&self, command: Command, path: &str) -> Command {
        let command = command.mut_args(|mut arg| {
            let Some(flag) = arg.get_long().filter(|_| takes_settings(&arg)) else {
                return arg;
            };
            let setting = self.get(path, flag);
            if arg.get_env().is_none() {
                let variable = variable_of(flag);
                arg = arg.env(variable).hide_env(true);
            }
            if matches!(arg.get_action(), ArgAction::SetTrue) {
                arg = arg.value_parser(FalseyValueParser::new());
            }
            match setting {
                Some(setting) => {
                    // Help tells defaults, and must not tell secrets.
                    let secret = arg.is_hide_env_values_set();
                    arg.default_values(setting.values.clone())
                        .required(false)
                        .hide_default_value(secret)
                }
                None => arg,
            }
        });
        command.mut_subcommands(|inner| {
            let path = join(path, inner.get_name());
            self.apply_at(inner, &path)
        })
    }

    /// Every flag that has a value without the command line, and where that is from.
    pub(crate) fn effective(&self, command: &Command) -> Vec<Effective> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        self.collect(command, "", &mut found, &mut seen);
        found
    }

    fn collect(
        &self,
        command: &Command,
        path: &str,
        found: &mut Vec<Effective>,
        seen: &mut BTreeSet<(String, String, String)>,
    ) {
        for arg in flags(command) {
            let flag = arg.get_long().unwrap_or_default();
            let own = self.0.contains_key(&(path.to_owned(), flag.to_owned()));
            let variable = arg.get_env().map_or_else(
                || variable_of(flag),
                |name| name.to_string_lossy().into_owned(),
            );
            let (value, origin) = if let Some(value) = env::var_os(&variable) {
                (value.to_string_lossy().into_owned(), variable)
            } else if let Some(setting) = self.get(path, flag) {
                (
                    setting.values.join(", "),
                    setting.file.display().to_string(),
                )
            } else {
                let values: Vec<_> = arg
                    .get_default_values()
                    .iter()
                    .map(|value| value.to_string_lossy())
                    .collect();
                if values.is_empty() || matches!(arg.get_action(), ArgAction::SetTrue) {
                    continue;
                }
                (values.join(", "), "default".to_owned())
            };
            // What holds for several commands is said once, unless one differs.
            let command = if own { path } else { "" };
            if seen.insert((command.to_owned(), flag.to_owned(), value.clone())) {
                found.push(Effective {
                    command: command.to_owned(),
                    flag: flag.to_owned(),
                    value: if arg.is_hide_env_values_set() && !value.is_empty() {
                        "(secret)".to_owned()
                    } else {
                        value
                    },
                    origin,
                });
            }
        }
        for inner in command.get_subcommands() {
            self.collect(inner, &join(path, inner.get_name()), found, seen);
        }
    }
}

/// `ASTERISM_LOG_FORMAT` of `log-format`.
fn variable_of(flag: &str) -> String {
    format!("ASTERISM_{}", flag.to_uppercase().replace('-', "_"))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path} {name}")
    }
}

/// The file that a command line names with `--config`, before the command line can be read: what it says decides defaults.
pub(crate) fn named_file(args: &[OsString]) -> Option<PathBuf> {
    let mut words = args.iter().skip(1).take_while(|word| *word != "--");
    let mut named = env::var_os(variable_of(CONFIG)).filter(|file| !file.is_empty());
    while let Some(word) = words.next() {
        if word == "--config" {
            named = words.next().cloned();
        } else if let Some(file) = word
            .to_str()
            .and_then(|word| word.strip_prefix("--config="))
        {
            named = Some(file.into());
        }
    }
    named.map(PathBuf::from)
}

fn takes_settings(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Set | ArgAction::Append | ArgAction::SetTrue
    )
}

fn flags(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|arg| arg.get_long().is_some_and(|long| long != CONFIG) && takes_settings(arg))
}

/// The first flag of this name, of this command or one below it.
fn find<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    let own = flags(command).find(|arg| arg.get_long() == Some(flag));
    own.or_else(|| {
        command
            .get_subcommands()
            .find_map(|inner| find(inner, flag))
    })
}

fn unknown(command: &Command, key: &str) -> Failure {
    let mut names = BTreeSet::new();
    all_flags(command, &mut names);
    let failure = Failure::invalid(format!("no command has a flag `--{key}`"));
    did_you_mean(failure, key, names.into_iter())
}

fn all_flags<'a>(command: &'a Command, names: &mut BTreeSet<&'a str>) {
    names.extend(flags(command).filter_map(Arg::get_long));
    for inner in command.get_subcommands() {
        all_flags(inner, names);
    }
}

fn did_you_mean<'a>(failure: Failure, key: &str, names: impl Iterator<Item = &'a str>) -> Failure {
    match nearest(key, names) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure.hint("`asterism help` lists commands, `asterism help COMMAND` their flags"),
    }
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// Would the flag take the value? Asked of clap itself, with a command that has only this flag.
fn check(arg: &Arg, value: &str) -> Result<(), String> {
    let probe = if matches!(arg.get_action(), ArgAction::SetTrue) {
        Arg::new("probe").value_parser(clap::value_parser!(bool))
    } else {
        Arg::new("probe").value_parser(arg.get_value_parser().clone())
    };
    let probe = probe.long("probe").action(ArgAction::Set);
    let matches = Command::new("probe")
        .arg(probe)
        .try_get_matches_from(["probe".to_owned(), format!("--probe={value}")]);
    match matches {
        Ok(matches) => {
            debug_assert_eq!(
                matches.value_source("probe"),
                Some(ValueSource::CommandLine)
            );
            Ok(())
        }
        Err(error) => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            let reason = first.strip_prefix("error: ").unwrap_or(first);
            Err(reason.replace(" for '--probe <probe>'", ""))
        }
    }
}

/// Line and column of a byte, both from 1.
fn place_of(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(byte.min(text.len()))];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

fn project_file() -> Option<PathBuf> {
    let folder = env::current_dir().ok()?;
    folder
        .ancestors()
        .map(|folder| folder.join("asterism.toml"))
        .find(|file| file.is_file())
}

/// By the XDG base directories: `$XDG_CONFIG_HOME/asterism/config.toml`, or below `~/.config`.
fn user_file() -> Option<PathBuf> {
    let file = folders::of_user("XDG_CONFIG_HOME", ".config")?.join("config.toml");
    file.is_file().then_some(file)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("asterism.toml");
        std::fs::write(&file, text).unwrap();
        let mut settings = Settings::default();
        match settings.read(&file, &crate::Args::command()) {
            Ok(()) => Ok(settings),
            Err(failure) => Err(format!("{failure:?}")),
        }
    }

    #[test]
    fn a_setting_for_one_command_comes_before_one_for_all() {
        let settings = settings(
            "coordinator = 'http://all:1'\n[command.run]\ncoordinator = 'http://run:1'\ntimeout = 5",
        )
        .unwrap();
        let url = |command| settings.get(command, "coordinator").unwrap().values[0].clone();
        assert_eq!(url("run"), "http://run:1");
        assert_eq!(url("blob put"), "http://all:1");
        let command = settings.apply(crate::Args::command());
        let matches = command
            .try_get_matches_from(["asterism", "run", "a.json"])
            .unwrap();
        let (_, run) = matches.subcommand().unwrap();
        assert_eq!(run.get_one::<u64>("timeout"), Some(&5));
    }

    #[test]
    fn mistakes_in_a_file_name_the_place() {
        let check = |text: &str, said: &str| {
            let error = settings(text).err().unwrap();
            assert!(error.contains(said), "{error}");
        };
        check("a = \n", "line 1, column");
        check("coordinato = ''", "did you mean `coordinator`?");
        check("[command.rum]\ntimeout = 1", "did you mean `run`?");
        check("[command.run]\ntimeou = 1", "did you mean `timeout`?");
        check("[command.run]\ntimeout = 'soon'", "invalid value 'soon'");
        check("[command.run]\ntimeout = [1]", "plain value");
    }

    #[test]
    fn paths_are_relative_to_their_file() {
        let settings = settings("data = 'kept'").unwrap();
        let kept = &settings.get("coordinator", "data").unwrap().values[0];
        assert!(kept.starts_with('/') && kept.ends_with("/kept"), "{kept}");
    }
}
