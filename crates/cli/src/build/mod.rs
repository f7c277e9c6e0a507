//! A component from whatever an author has: a Cargo package, TypeScript, JavaScript, Python, C, WebAssembly text, a
//! core module, or a component.
//!
//! One file for each language. Compilers are the author's own; what they usually do not have is kept by `tools` in
//! the user's cache, with its version.

mod c;
mod cargo;
mod javascript;
mod kept;
mod python;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use asterism_component::{COMPONENT_BYTES_MAX, Component, check, component_name, wrap};
use asterism_protocol::{Cid, blob_cid};
use tokio::process::Command;

pub(crate) use self::tools::cache;
use crate::{
    console::Console,
    failure::{Doing as _, Failure},
};

/// Largest source file, in bytes: it is parsed as a whole.
const SOURCE_BYTES_MAX: u64 = 8 << 20;

/// Longest run of a compiler: a first build of a large package on a slow machine.
const TOOL_WITHIN: Duration = Duration::from_mins(30);

/// What a tool says is shown up to this many characters from its end.
const SAID_CHARS: usize = 4_000;

/// How to build.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// WIT that the source is written against, instead of one inferred from its types (JavaScript, Python)
    #[arg(long, value_name = "PATH")]
    wit: Option<PathBuf>,
    /// World in it, where there are several
    #[arg(long, requires = "wit")]
    world: Option<String>,
    /// Engine that a component of JavaScript brings
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Lets JavaScript ask the (virtual) world for clocks, randomness and a console; without, it can do nothing but log
    #[arg(long)]
    wasi: bool,
    /// Target of a Cargo package: wasm32-unknown-unknown, or wasm32-wasip2
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
}

/// JavaScript engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    /// fast, 12 MB
    #[default]
    Spidermonkey,
    /// small, 1 MB, starts at once; for a world of your own (--wit), with clocks and randomness always
    Quickjs,
}

/// A component that can be added to a coordinator.
pub(crate) struct Built {
    /// Its name for people: the package's, or the file's without its ending.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) component: Component,
}

impl Built {
    /// What it is called by content.
    pub(crate) fn cid(&self) -> Cid {
        blob_cid(&self.bytes)
    }

    /// `math/add(a: f64, b: f64) -> f64` for each function.
    pub(crate) fn signatures(&self) -> impl Iterator<Item = String> + '_ {
        let functions = self.component.functions.iter();
        functions.map(|function| format!("{}/{}", self.name, function.signature()))
    }
}

impl Options {
    /// What is built of a source with these options and this builder, as the name of what is kept of it; and the files that
    /// the options name.
    fn order(&self, source: &Path, builder: &Path, script: &str) -> (String, Vec<PathBuf>) {
        let files = match &self.wit {
            Some(wit) if wit.is_dir() => kept::files_below(wit),
            Some(wit) => vec![wit.clone()],
            None => Vec::new(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let order = format!("{version}\n{source:?}\n{self:?}\n{builder:?}\n{script}");
        (order, files)
    }
}

/// What a source is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cargo,
    JavaScript,
    Python,
    C,
    Text,
    Wasm,
}

impl Kind {
    fn of(source: &Path) -> Result<Self, Failure> {
        let ending = source
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default();
        if source.is_dir() {
            return if source.join("Cargo.toml").is_file() {
                Ok(Self::Cargo)
            } else {
                Err(Failure::invalid("it is a folder without a Cargo.toml")
                    .hint("name the source file, or the folder of a Cargo package"))
            };
        }
        if source.file_name() == Some("Cargo.toml".as_ref()) {
            return Ok(Self::Cargo);
        }
        match ending {
            "ts" | "mts" | "js" | "mjs" => Ok(Self::JavaScript),
            "py" => Ok(Self::Python),
            "c" => Ok(Self::C),
            "wat" => Ok(Self::Text),
            "wasm" => Ok(Self::Wasm),
            "rs" => Err(
                Failure::invalid("a Rust file is built as a part of its package").hint(
                    "name the package's Cargo.toml; `asterism fn new --lang rust NAME` makes one",
                ),
            ),
            _ => Err(
                Failure::invalid("nothing is known about building such a file")
                    .hint("known are Cargo.toml, .ts, .js, .py, .c, .wat and .wasm"),
            ),
        }
    }
}

/// Builds a component and checks that hosts can run it. Nothing is left behind but what the author's own compiler keeps.
///
/// # Errors
/// The source is not there, a tool is missing or refuses it, or what it makes cannot be run: with the place.
pub(crate) async fn build(
    source: &Path,
    options: &Options,
    console: &Console,
) -> Result<Built, Failure> {
    let doing = format!("build {}", source.display());
    build_kind(source, options, console).await.doing(doing)
}

async fn build_kind(source: &Path, options: &Options, console: &Console) -> Result<Built, Failure> {
    let metadata = fs::metadata(source).map_err(|error| Failure::invalid(error.to_string()))?;
    let kind = Kind::of(source)?;
    let limit = if kind == Kind::Wasm {
        COMPONENT_BYTES_MAX as u64
    } else {
        SOURCE_BYTES_MAX
    };
    if metadata.is_file() && metadata.len() > limit {
        return Err(Failure::invalid(format!(
            "it has {} bytes, {limit} is the most",
            metadata.len()
        )));
    }
    let mut name = name_of(source);
    let bytes = match kind {
        Kind::Wasm => read(source)?,
        Kind::Text => wat::parse_file(source).map_err(|error| text_error(&error))?,
        Kind::C => c::build(source).await?,
        Kind::Cargo => {
            let built = cargo::build(source, options.target.as_deref(), console).await?;
            name = built.name;
            built.bytes
        }
        Kind::JavaScript => javascript::build(source, options, console).await?,
        Kind::Python => python::build(source, options, console).await?,
    };
    made_of(&name, &bytes)
}

/// The component that WebAssembly is or becomes, checked for what hosts can run; called as nearly so as a component may be.
///
/// # Errors
/// It is none, or asks for what no host has: all reasons at once.
pub(crate) fn made_of(name: &str, bytes: &[u8]) -> Result<Built, Failure> {
    let refused = |refusal: asterism_component::Refusal| {
        Failure::invalid(refusal.reasons.join("; "))
            .hint("`asterism help fn build` lists what can be built")
    };
    let bytes = wrap(bytes).map_err(refused)?;
    let component = check(&bytes, &asterism_world::provides).map_err(refused)?;
    Ok(Built {
        name: component_name(name),
        bytes,
        component,
    })
}

/// The name of what a file makes: its own without the ending, the folder's for a package.
fn name_of(source: &Path) -> String {
    let stem = source.file_stem().and_then(|stem| stem.to_str());
    stem.unwrap_or("component").to_owned()
}

/// The place and the reason, on one line: `line 2, column 5: unknown operator or unexpected token`.
fn text_error(error: &wat::Error) -> Failure {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    let reason = lines.first().copied().unwrap_or_default();
    // The library's own form: ` --> file:LINE:COLUMN` below the reason.
    let place = lines.iter().find_map(|line| {
        let mut parts = line.trim_start().strip_prefix("--> ")?.rsplit(':');
        let (column, line) = (parts.next()?, parts.next()?);
        Some(format!("line {line}, column {column}: "))
    });
    Failure::invalid(format!("{}{reason}", place.unwrap_or_default()))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::invalid(format!("{}: {error}", path.display())))
}

fn read_made(path: &Path, tool: &str) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::other(format!("{tool} left no component: {error}")))
}

/// A folder for one build, gone when it is dropped.
fn scratch() -> Result<tempfile::TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("asterism-build-")
        .tempdir()
        .map_err(|error| Failure::other(format!("no temporary folder can be made: {error}")))
}

/// A program that is not there, and what to do about it.
struct Missing<'a> {
    program: &'a str,
    remedy: &'a str,
}

/// Runs a tool to its end and returns what it wrote to standard output. It dies with us.
async fn run(command: &mut Command, missing: Missing<'_>) -> Result<Vec<u8>, Failure> {
    let Missing { program, remedy } = missing;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::invalid(format!("`{program}` is not installed")).hint(remedy)
        }
        _ => Failure::other(format!("`{program}` cannot be started: {error}")).hint(remedy),
    })?;
    let output = tokio::time::timeout(TOOL_WITHIN, child.wait_with_output())
        .await
        .map_err(|_| {
            let minutes = TOOL_WITHIN.as_secs() / 60;
            Failure::other(format!("`{program}` did not end within {minutes} minutes"))
        })?
        .map_err(|error| Failure::other(format!("`{program}` broke off: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let skipped = said.chars().count().saturating_sub(SAID_CHARS);
    let said: String = said.chars().skip(skipped).collect();
    Err(Failure::invalid(format!(
        "`{program}` refuses it ({}):\n{said}",
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_by_their_names() {
        let check = |path: &str, kind| assert_eq!(Kind::of(Path::new(path)).ok(), kind, "{path}");
        check("a/Cargo.toml", Some(Kind::Cargo));
        check("math.ts", Some(Kind::JavaScript));
        check("math.py", Some(Kind::Python));
        check("factorial.c", Some(Kind::C));
        check("a.wat", Some(Kind::Text));
        check("lib.rs", None);
        check("a.exe", None);
        check("a", None);
    }

    #[test]
    fn what_is_built_has_a_name_that_a_component_may_have() {
        let module = wat::parse_str(
            r#"(component
                (core module $m (func (export "f") (result i32) i32.const 1))
                (core instance $i (instantiate $m))
                (func (export "f") (result u32) (canon lift (core func $i "f"))))"#,
        )
        .unwrap();
        for (source, expect) in [
            ("dir/math.wasm", "math"),
            ("a\u{202e}b.wat", "a-b"),
            ("...py", "component"),
        ] {
            let built = made_of(&name_of(Path::new(source)), &module).unwrap();
            assert_eq!(built.name, expect, "{source:?}");
        }
    }

    #[test]
    fn errors_in_text_have_line_and_column() {
        let error = wat::parse_str("(module\n  (func $f oops))").unwrap_err();
        let said = text_error(&error).reason().to_owned();
        assert!(said.starts_with("line 2, column 12: "), "{said}");
    }
}
