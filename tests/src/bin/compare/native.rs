//! What this machine compares.

use std::{collections::BTreeMap, env, fs, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use asterism_component::wrap;
use asterism_host_wasmtime::WasmtimeEngine;
use asterism_protocol::{Files, Limits, json_of};
use asterism_tests::{
    conformance::{Call, Hosts, Programs, Recorded, Twin, corpus, differences, disagreeing, make},
    fuzz,
    harness::root,
    hosts::node,
};

/// What is asked, as `--name value`.
#[derive(Debug)]
struct Options(BTreeMap<String, String>);

/// An option without a value.
const RECORD: &str = "record";

impl Options {
    fn read(args: impl Iterator<Item = String>, names: &[&str]) -> Result<Self> {
        let mut options = BTreeMap::new();
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            let name = arg.strip_prefix("--").unwrap_or_default();
            if !names.contains(&name) {
                bail!("`{arg}` is not known; there are --{}", names.join(", --"));
            }
            let value = if name == RECORD {
                String::new()
            } else {
                args.next_if(|value| !value.starts_with("--"))
                    .with_context(|| format!("write a value after `{arg}`"))?
            };
            if options.insert(name.to_owned(), value).is_some() {
                bail!("`{arg}` is given twice");
            }
        }
        Ok(Self(options))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        let number = self.get(name).map(str::parse).transpose();
        number.with_context(|| format!("--{name} takes a number"))
    }
}

/// What `conformance` is asked for.
#[derive(Debug, PartialEq)]
enum Asked {
    /// A function of the component in this file, with these arguments.
    Component {
        file: String,
        func: String,
        args: String,
    },
    /// The case of this name, or those of names like it.
    Cases(String),
    /// All of them, and perhaps to record what they come to.
    Table { record: bool },
}

impl Asked {
    fn read(args: impl Iterator<Item = String>) -> Result<Self> {
        let options = Options::read(args, &["case", "component", "func", "args", RECORD])?;
        let (own, asked) = match (options.get("component"), options.get("case")) {
            (Some(file), _) => {
                let asked = Self::Component {
                    file: file.to_owned(),
                    func: options.get("func").context("write --func NAME")?.to_owned(),
                    args: options.get("args").unwrap_or("[]").to_owned(),
                };
                (&["component", "func", "args"][..], asked)
            }
            (None, Some(name)) => (&["case"][..], Self::Cases(name.to_owned())),
            (None, None) => {
                let record = options.get(RECORD).is_some();
                (&[RECORD][..], Self::Table { record })
            }
        };
        match options.0.keys().find(|name| !own.contains(&&***name)) {
            None => Ok(asked),
            Some(other) => bail!(
                "--{other} is of no use here: write --component FILE --func NAME --args JSON, --case NAME, or --record"
            ),
        }
    }
}

/// The names that are meant by one: it alone, else those that begin with it, else those that have it somewhere.
fn meant(names: &[&str], name: &str) -> Vec<usize> {
    let those = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let all = names.iter().enumerate();
        all.filter(|(_, known)| fits(known))
            .map(|(index, _)| index)
            .collect()
    };
    [
        those(&|known| known == name),
        those(&|known| known.starts_with(name)),
        those(&|known| known.contains(name)),
    ]
    .into_iter()
    .find(|found| !found.is_empty())
    .unwrap_or_default()
}

pub(crate) fn main() -> Result<ExitCode> {
    let mut args = env::args().skip(1);
    match args.next().as_deref() {
        Some("conformance") => conformance(&Asked::read(args)?),
        Some("fuzz") => fuzz(&Options::read(args, &["kind", "seed", "seeds"])?),
        _ => bail!("write `compare conformance` or `compare fuzz`"),
    }
}

fn conformance(asked: &Asked) -> Result<ExitCode> {
    let programs = Programs::find()?;
    let mut hosts = Hosts::start(&programs)?;
    let record = match asked {
        Asked::Component { file, func, args } => {
            return side_by_side(&mut hosts, &[&any(file, func, args)?]);
        }
        Asked::Cases(name) => {
            let calls = corpus(&programs)?;
            let names: Vec<_> = calls.iter().map(|call| call.name.as_str()).collect();
            let chosen: Vec<_> = meant(&names, name)
                .into_iter()
                .map(|index| &calls[index])
                .collect();
            if chosen.is_empty() {
                bail!("no case has `{name}` in its name; docs/conformance.md lists them");
            }
            return side_by_side(&mut hosts, &chosen);
        }
        Asked::Table { record } => *record,
    };
    let calls = corpus(&programs)?;
    let made = make(&mut hosts, &calls)?;
    for line in &made.disagreeing {
        println!("{line}");
    }
    let path = root().join("docs/conformance.md");
    if record {
        fs::write(&path, &made.text)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    let differing = differences(&recorded, &made.text);
    for line in &differing {
        println!("{line}");
    }
    println!(
        "{} cases: {} cells disagree with Wasmtime's, {} differ from docs/conformance.md",
        made.cases,
        made.disagreeing.len(),
        differing.len()
    );
    Ok(ended(made.disagreeing.is_empty() && differing.is_empty()))
}

/// A call of whatever component.
fn any(file: &str, func: &str, args: &str) -> Result<Call> {
    let bytes = fs::read(file).with_context(|| format!("{file} cannot be read"))?;
    Ok(Call {
        name: file.to_owned(),
        component: wrap(&bytes)?,
        func: func.to_owned(),
        args: args.to_owned(),
        files: Files::new(),
        blobs: Vec::new(),
        limits: vec![Limits::default()],
        twin: Twin::Same,
        recorded: Recorded::Outcome,
    })
}

fn side_by_side(hosts: &mut Hosts, calls: &[&Call]) -> Result<ExitCode> {
    let mut agree = true;
    for call in calls {
        println!("{}", call.name);
        let seen = hosts.perform(call)?;
        for (host, cell) in &seen {
            println!("  {host:<10} {}", cell.long());
            if let Some(out) = cell.out() {
                println!("  {:<10} {}", "", json_of(&out.to_value()));
            }
        }
        agree &= disagreeing(&seen).is_empty();
    }
    Ok(ended(agree))
}

fn fuzz(options: &Options) -> Result<ExitCode> {
    let programs = Programs::find()?;
    let mut wasmtime = WasmtimeEngine::new(None)?.host();
    let kind = options.get("kind").map(|name| {
        fuzz::Kind::named(name).with_context(|| {
            format!("--kind takes modules, memory, flat or composed, not `{name}`")
        })
    });
    let kinds = kind
        .transpose()?
        .map_or(fuzz::Kind::ALONE.to_vec(), |kind| vec![kind]);
    let mut ours = node(&programs.node, &programs.performer);
    let until = fuzz::Until {
        seeds: options.number("seeds")?,
        cases: None,
    };
    let first = options.number("seed")?.unwrap_or(1);
    match fuzz::run(&mut wasmtime, &mut ours, &kinds, first, until) {
        Ok(counts) => println!("{counts}"),
        Err(difference) => {
            println!("{difference}");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ended(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &[&str]) -> Result<Asked, String> {
        Asked::read(args.iter().map(ToString::to_string)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_say_what_is_asked_for() {
        assert_eq!(asked(&[]), Ok(Asked::Table { record: false }));
        assert_eq!(asked(&["--record"]), Ok(Asked::Table { record: true }));
        let case = Asked::Cases("echo-u8 [-1]".into());
        assert_eq!(asked(&["--case", "echo-u8 [-1]"]), Ok(case));
        let component = |args: &str| Asked::Component {
            file: "a.wasm".into(),
            func: "add".into(),
            args: args.into(),
        };
        let of_a = ["--component", "a.wasm", "--func", "add"];
        assert_eq!(asked(&of_a), Ok(component("[]")));
        let with_args = [&of_a[..], &["--args", "[-1]"]].concat();
        assert_eq!(asked(&with_args), Ok(component("[-1]")));
    }

    #[test]
    fn options_that_say_nothing_are_refused_with_what_there_is() {
        for (args, words) in [
            (&["case"][..], "`case` is not known; there are --case, --"),
            (&["--cases", "a"], "`--cases` is not known"),
            (&["--"], "`--` is not known"),
            (&["--case"], "write a value after `--case`"),
            (&["--case", "--record"], "write a value after `--case`"),
            (&["--case", "a", "--case", "b"], "`--case` is given twice"),
            (&["--record", "yes"], "`yes` is not known"),
            (&["--component", "a.wasm"], "write --func NAME"),
            (&["--func", "add"], "--func is of no use here"),
            (&["--args", "[]"], "--args is of no use here"),
            (&["--case", "a", "--record"], "--record is of no use here"),
            (
                &["--component", "a.wasm", "--func", "add", "--case", "a"],
                "--case is of no use here",
            ),
        ] {
            let said = asked(args).expect_err(words);
            assert!(said.contains(words), "{args:?}: {said}");
        }
    }

    #[test]
    fn numbers_are_numbers() {
        let options = |value: &str| {
            let args = ["--seed".to_owned(), value.to_owned()];
            Options::read(args.into_iter(), &["seed", "seeds"]).expect("it is an option")
        };
        assert_eq!(options("7").number("seed").ok(), Some(Some(7)));
        assert_eq!(options("7").number("seeds").ok(), Some(None));
        for none in ["-1", "seven", "1.5", "", "18446744073709551616"] {
            let said = options(none)
                .number("seed")
                .map_err(|error| error.to_string());
            assert_eq!(said, Err("--seed takes a number".to_owned()), "{none}");
        }
    }

    #[test]
    fn a_name_means_itself_or_what_begins_with_it_or_what_has_it() {
        let names = ["grow [1]", "grow [10]", "a grow [1]", "echo"];
        assert_eq!(meant(&names, "grow [1]"), [0]);
        assert_eq!(meant(&names, "grow"), [0, 1]);
        assert_eq!(meant(&names, "row [1"), [0, 1, 2]);
        assert_eq!(meant(&names, "shrink"), [0; 0]);
    }
}
