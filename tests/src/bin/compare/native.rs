//! What this machine compares.

use std::{collections::BTreeMap, env, fs, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use asterism_component::wrap;
use asterism_host_wasmtime::WasmtimeEngine;
use asterism_protocol::{Limits, json_of};
use asterism_tests::{
    conformance::{Call, Hosts, Programs, Recorded, corpus, differences, disagreeing, make},
    fuzz,
    harness::root,
    hosts::node,
};

/// What is asked, as `--name value`.
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
                args.next()
                    .with_context(|| format!("write a value after `{arg}`"))?
            };
            options.insert(name.to_owned(), value);
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

pub(crate) fn main() -> Result<ExitCode> {
    let mut args = env::args().skip(1);
    match args.next().as_deref() {
        Some("conformance") => {
            let names = ["case", "component", "func", "args", RECORD];
            conformance(&Options::read(args, &names)?)
        }
        Some("fuzz") => fuzz(&Options::read(args, &["seed", "seeds"])?),
        _ => bail!("write `compare conformance` or `compare fuzz`"),
    }
}

fn conformance(options: &Options) -> Result<ExitCode> {
    let programs = Programs::find()?;
    let mut hosts = Hosts::start(&programs)?;
    if let Some(file) = options.get("component") {
        return side_by_side(&mut hosts, &any(options, file)?);
    }
    let calls = corpus(&programs)?;
    if let Some(name) = options.get("case") {
        let Some(call) = calls.iter().find(|call| call.name == name) else {
            let like: Vec<_> = calls
                .iter()
                .map(|call| call.name.as_str())
                .filter(|known| known.contains(name))
                .collect();
            bail!(
                "there is no case `{name}`; like it are: {}",
                like.join(", ")
            );
        };
        return side_by_side(&mut hosts, call);
    }
    let made = make(&mut hosts, &calls)?;
    for line in &made.disagreeing {
        println!("{line}");
    }
    let path = root().join("docs/conformance.md");
    if options.get(RECORD).is_some() {
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
fn any(options: &Options, file: &str) -> Result<Call> {
    let bytes = fs::read(file).with_context(|| format!("{file} cannot be read"))?;
    Ok(Call {
        name: file.to_owned(),
        component: wrap(&bytes)?,
        func: options.get("func").context("write --func NAME")?.to_owned(),
        args: options.get("args").unwrap_or("[]").to_owned(),
        blobs: Vec::new(),
        limits: vec![Limits::default()],
        twin: true,
        recorded: Recorded::Outcome,
    })
}

fn side_by_side(hosts: &mut Hosts, call: &Call) -> Result<ExitCode> {
    let seen = hosts.perform(call)?;
    for (host, cell) in &seen {
        println!("{host:<10} {}", cell.long());
        if let Some(out) = cell.out() {
            println!("{:<10} {}", "", json_of(&out.to_value()));
        }
    }
    Ok(ended(disagreeing(&seen).is_empty()))
}

fn fuzz(options: &Options) -> Result<ExitCode> {
    let programs = Programs::find()?;
    let mut wasmtime = WasmtimeEngine::new(None)?.host();
    let mut node = node(&programs.performer);
    let until = fuzz::Until {
        seeds: options.number("seeds")?,
        cases: None,
    };
    let first = options.number("seed")?.unwrap_or(1);
    match fuzz::run(&mut wasmtime, &mut node, first, until) {
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
