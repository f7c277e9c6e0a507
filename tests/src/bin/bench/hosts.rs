//! Our runtime in a tab and in node beside Wasmtime: kernels, bytes, records, the rewrite, and how languages start.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use asterism_executor::{Host, Job};
use asterism_host_browser::metering::meter;
use asterism_host_wasmtime::WasmtimeEngine;
use asterism_protocol::{Effects, Files, Limits, Out, Value, blob_cid, json_of, value_of_json};
use asterism_tests::{
    conformance::Programs,
    guests,
    harness::root,
    hosts::{node, tab},
};
use serde_bytes::ByteBuf;
use wasmparser::{Parser, Payload, Validator};
use wasmtime::{
    Config, Engine, Store,
    component::{Component, Linker, Val},
};

use crate::table::{Row, Table, median};

const BENCH: &str = "hosts";

/// How often each call is measured.
const ROUNDS: usize = 7;

/// Kernels with arguments that keep them busy for a while.
const KERNELS: [(&str, &str); 9] = [
    ("mandelbrot", "[256,500]"),
    ("n-body", "[400000]"),
    ("sha256", "[4000000]"),
    ("matrix", "[200]"),
    ("sort", "[400000]"),
    ("json", "[8000]"),
    ("regex", r#"["[ab]+c(d|a{2})",100000]"#),
    ("blur", "[512,512,4]"),
    ("float-bits", "[4000000]"),
];

/// A megabyte goes in and comes out.
const BYTES: usize = 1 << 20;

/// Records that go in and come out.
const RECORDS: usize = 1_000;

/// How often a cold start is measured: each has a host of its own.
const STARTS: usize = 3;

/// Tasks of an instance each, and calls of one instance.
const TASKS: u64 = 20_000;

const LANGUAGES: [(&str, &str, &str, &str); 4] = [
    ("SpiderMonkey", "subtract", "subtract", "[8.3,4.4]"),
    (
        "a minimal SpiderMonkey",
        "subtract-minimal",
        "subtract",
        "[8.3,4.4]",
    ),
    ("QuickJS", "divide", "divide", "[8.97,1.5]"),
    ("CPython", "multiply", "multiply", "[3.9,2.3]"),
];

/// Measures in a thread of its own: a tab has a runtime that is waited for.
pub(crate) fn run(table: &mut Table) -> Result<()> {
    std::thread::scope(|scope| {
        let measuring = scope.spawn(|| measure(table));
        measuring
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn measure(table: &mut Table) -> Result<()> {
    let programs = Programs {
        performer: root().join("target/performer-web"),
        ..Programs::find()?
    };
    if !programs.performer.join("performer.js").exists() {
        bail!(
            "{} is not there: run `cargo xtask bench`",
            programs.performer.display()
        );
    }
    let engine = WasmtimeEngine::new(None)?;
    let mut hosts: [(&str, Box<dyn Host>); 3] = [
        ("Wasmtime with fuel", Box::new(engine.host())),
        ("Chromium", Box::new(tab(&programs.performer))),
        ("node", Box::new(node(&programs.node, &programs.performer))),
    ];
    let bare = Bare::new()?;
    for (func, args) in KERNELS {
        let floor = bare.ms(guests::KERNELS, func, args)?;
        compare(
            table,
            &mut hosts,
            &format!("kernel {func} {args}"),
            &job(guests::KERNELS, func, args)?,
            guests::KERNELS,
            Some((floor, "Wasmtime without fuel")),
        )?;
    }
    data(table, &mut hosts, &bare)?;
    drop(hosts);
    tasks(table)?;
    rewriting(table, &programs)?;
    let rust = ("Rust", guests::KERNELS.to_vec(), "float-bits", "[1]");
    let wasi = ("Rust for WASI", guests::WASIP2.to_vec(), "add", "[3.1,5.2]");
    let c = ("C", guests::GREET_C.to_vec(), "greet", r#"["Ada"]"#);
    let mut languages = vec![rust, wasi, c];
    for (engine, file, func, args) in LANGUAGES {
        languages.push((engine, programs.language(file)?, func, args));
    }
    for (engine, component, func, args) in &languages {
        cold(table, &programs, engine, component, func, args)?;
    }
    kept(table, &programs.language("multiply")?)
}

fn compare(
    table: &mut Table,
    hosts: &mut [(&str, Box<dyn Host>); 3],
    what: &str,
    job: &Job,
    component: &[u8],
    floor: Option<(f64, &str)>,
) -> Result<()> {
    for (name, host) in hosts {
        host.prepare(job.component, component)?;
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            took.push(run_once(&mut **host, job)?);
        }
        table.row(&Row {
            bench: BENCH,
            case: &format!("{what}, {name}"),
            value: median(took),
            unit: "ms",
            floor,
        });
    }
    Ok(())
}

/// How long the call took, as its host says: without the way to it.
fn run_once(host: &mut dyn Host, job: &Job) -> Result<f64> {
    let attempt = host
        .run(job)
        .map_err(|fault| anyhow::anyhow!("{}: {}", job.func, fault.message))?;
    match attempt.outcome.out {
        Out::Ok(_) => Ok(Duration::from_micros(attempt.remark.elapsed_us).as_secs_f64() * 1e3),
        Out::Error(value) => bail!("{} came to {}", job.func, json_of(&value)),
    }
}

fn job(component: &[u8], func: &str, args: &str) -> Result<Job> {
    let Value::List(args) = value_of_json(args.as_bytes())? else {
        bail!("arguments are a list");
    };
    Ok(Job {
        instruction: blob_cid(func.as_bytes()),
        component: blob_cid(component),
        func: func.into(),
        args,
        files: Files::new(),
        effects: Effects::new(),
        blobs: BTreeMap::new(),
        limits: Limits {
            fuel: 1_000_000_000_000,
            memory: 1 << 30,
            time_ms: 600_000,
        },
    })
}

/// A megabyte of bytes and a thousand records, in and out.
fn data(table: &mut Table, hosts: &mut [(&str, Box<dyn Host>); 3], bare: &Bare) -> Result<()> {
    let bytes = bytes();
    let cid = blob_cid(&bytes);
    let mut echo = job(guests::CONFORMANCE, "echo-bytes", "[]")?;
    echo.args = vec![Value::Link(cid.to_link())];
    echo.blobs = BTreeMap::from([(cid, ByteBuf::from(bytes.clone()))]);
    let floor = bare.bytes_ms(&bytes)?;
    compare(
        table,
        hosts,
        "1 MiB of bytes in and out",
        &echo,
        guests::CONFORMANCE,
        Some((floor, "a typed call of Wasmtime, and copying it once")),
    )?;
    let person = r#"{"age":-7,"col":"green","favourite":{"circle":2.5},"home":{"label":"Z","x":8.5,"y":47.25},"id":1,"name":"Ada","p":["read"],"r":{"err":"no"},"t":[255,-9,"a"],"tags":["a","b"]}"#;
    let people = format!("[[{}]]", vec![person; RECORDS].join(","));
    let echo = job(guests::CONFORMANCE, "echo-people", &people)?;
    compare(
        table,
        hosts,
        "1,000 records in and out",
        &echo,
        guests::CONFORMANCE,
        None,
    )
}

/// A megabyte that is not all zeros.
pub(crate) fn bytes() -> Vec<u8> {
    (0..BYTES).map(|i| (i * 31) as u8).collect()
}

/// CPython's modules, rewritten on this machine.
fn rewriting(table: &mut Table, programs: &Programs) -> Result<()> {
    let component = programs.language("multiply")?;
    let mut modules = Vec::new();
    for payload in Parser::new(0).parse_all(&component) {
        if let Payload::ModuleSection {
            unchecked_range, ..
        } = payload?
        {
            modules.push(&component[unchecked_range]);
        }
    }
    let bytes: usize = modules.iter().map(|module| module.len()).sum();
    let speed = |work: &dyn Fn(&[u8]) -> Result<()>| -> Result<f64> {
        let mut speeds = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for module in &modules {
                work(module)?;
            }
            speeds.push(bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
        }
        Ok(median(speeds))
    };
    let validated = speed(&|module| {
        Validator::new_with_features(asterism_component::features()).validate_all(module)?;
        Ok(())
    })?;
    let rewritten = speed(&|module| {
        meter(module).context("CPython is rewritten")?;
        Ok(())
    })?;
    table.row(&Row {
        bench: BENCH,
        case: "rewriting CPython's modules",
        value: rewritten,
        unit: "MB/s",
        floor: Some((validated, "validating them")),
    });
    Ok(())
}

/// A small task in an instance of its own, and what is left of it without us.
fn tasks(table: &mut Table) -> Result<()> {
    let mut host = WasmtimeEngine::new(None)?.host();
    let mut job = job(guests::CONFORMANCE, "echo-u64", "[1]")?;
    host.prepare(job.component, guests::CONFORMANCE)?;
    let mut each = |job: &Job| -> Result<f64> {
        run_once(&mut host, job)?;
        let start = Instant::now();
        for _ in 0..TASKS {
            host.run(job)
                .map_err(|fault| anyhow::anyhow!(fault.message))?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / TASKS as f64)
    };
    let value = each(&job)?;
    let (instance, call) = Bare::new()?.instance_and_call_us()?;
    table.row(&Row {
        bench: BENCH,
        case: "task of a Rust guest, in an instance of its own, Wasmtime",
        value,
        unit: "µs",
        floor: Some((
            instance,
            "a typed call in an instance of its own, without fuel",
        )),
    });
    // A task's memory is the limit that it asks for: most of an instance's cost could be that of its memory.
    job.limits.memory = 4 << 30;
    table.row(&Row {
        bench: BENCH,
        case: "the same, with a limit of 4 GiB of memory",
        value: each(&job)?,
        unit: "µs",
        floor: Some((instance, "as above")),
    });
    table.row(&Row {
        bench: BENCH,
        case: "call in an instance that is there, Wasmtime",
        value: call,
        unit: "µs",
        floor: None,
    });
    Ok(())
}

/// From a component's bytes to its first result, on hosts that have seen nothing before; and what memory the process that
/// performs it had at most.
fn cold(
    table: &mut Table,
    programs: &Programs,
    engine: &str,
    component: &[u8],
    func: &str,
    args: &str,
) -> Result<()> {
    let job = job(component, func, args)?;
    for name in ["Wasmtime", "Chromium", "node"] {
        let (mut took, mut memory) = (Vec::new(), 0.0);
        for _ in 0..STARTS {
            let mut host: Box<dyn Host> = match name {
                "Wasmtime" => Box::new(WasmtimeEngine::new(None)?.host()),
                "Chromium" => Box::new(tab(&programs.performer)),
                _ => Box::new(node(&programs.node, &programs.performer)),
            };
            // The program itself is there before.
            let add = self::job(guests::MATH, "add", "[1.0,2.0]")?;
            host.prepare(add.component, guests::MATH)?;
            run_once(&mut *host, &add)?;
            let before = performing_mib(name);
            let start = Instant::now();
            host.prepare(job.component, component)?;
            run_once(&mut *host, &job)?;
            took.push(start.elapsed().as_secs_f64() * 1e3);
            memory = performing_mib(name) - before;
        }
        table.row(&Row {
            bench: BENCH,
            case: &format!("cold start of {engine}, {name}"),
            value: median(took),
            unit: "ms",
            floor: None,
        });
        table.row(&Row {
            bench: BENCH,
            case: &format!("memory of {engine} after it, {name}"),
            value: memory,
            unit: "MiB",
            floor: None,
        });
    }
    Ok(())
}

/// What the process that performs has in memory now, in MiB: this one, node, or the largest of Chromium's that draw pages.
fn performing_mib(host: &str) -> f64 {
    let resident = |process: &std::path::Path| -> Option<f64> {
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib / 1024.0)
    };
    if host == "Wasmtime" {
        return resident("/proc/self".as_ref()).unwrap_or_default();
    }
    let mut most = 0.0_f64;
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let program = command.split('\0').next().unwrap_or_default();
        if program.ends_with(host) || host == "Chromium" && command.contains("--type=renderer") {
            most = most.max(resident(&process.path()).unwrap_or_default());
        }
    }
    most
}

/// A component that another process compiled before, from the disk.
fn kept(table: &mut Table, component: &[u8]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cid = blob_cid(component);
    let mut took = Vec::new();
    for _ in 0..=ROUNDS {
        let mut host = WasmtimeEngine::new(Some(&folder.path().join("cache")))?.host();
        let start = Instant::now();
        host.prepare(cid, component)?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    // The first compiled it.
    let compiled = took.remove(0);
    table.row(&Row {
        bench: BENCH,
        case: "CPython made ready from the cache on disk, Wasmtime",
        value: median(took),
        unit: "ms",
        floor: Some((compiled, "compiling it")),
    });
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn wrong(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// Wasmtime without fuel and without us.
pub(crate) struct Bare(Engine);

impl Bare {
    pub(crate) fn new() -> Result<Self> {
        let mut config = Config::new();
        config.wasm_component_model(true);
        let engine = Engine::new(&config).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        Ok(Self(engine))
    }

    /// The conformance guest with a linker whose functions are never called.
    fn guest(&self) -> Result<(Component, Linker<()>)> {
        let component = Component::new(&self.0, guests::CONFORMANCE).map_err(wrong)?;
        let mut linker = Linker::new(&self.0);
        linker
            .define_unknown_imports_as_traps(&component)
            .map_err(wrong)?;
        Ok((component, linker))
    }

    /// A megabyte through a typed call, and a copy of it.
    pub(crate) fn bytes_ms(&self, bytes: &[u8]) -> Result<f64> {
        let (component, linker) = self.guest()?;
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let mut store = Store::new(&self.0, ());
            let instance = linker.instantiate(&mut store, &component).map_err(wrong)?;
            let echo = instance
                .get_typed_func::<(&[u8],), (Vec<u8>,)>(&mut store, "echo-bytes")
                .map_err(wrong)?;
            let start = Instant::now();
            let (back,) = echo.call(&mut store, (bytes,)).map_err(wrong)?;
            std::hint::black_box(std::hint::black_box(&back).clone());
            took.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(median(took))
    }

    /// A typed call in an instance each, and one in an instance that is there, in microseconds.
    fn instance_and_call_us(&self) -> Result<(f64, f64)> {
        let (component, linker) = self.guest()?;
        let ready = linker.instantiate_pre(&component).map_err(wrong)?;
        let each = |start: Instant| start.elapsed().as_secs_f64() * 1e6 / TASKS as f64;
        let start = Instant::now();
        for i in 0..TASKS {
            let mut store = Store::new(&self.0, ());
            let instance = ready.instantiate(&mut store).map_err(wrong)?;
            let echo = instance
                .get_typed_func::<(u64,), (u64,)>(&mut store, "echo-u64")
                .map_err(wrong)?;
            echo.call(&mut store, (i,)).map_err(wrong)?;
        }
        let instance_us = each(start);
        let mut store = Store::new(&self.0, ());
        let instance = ready.instantiate(&mut store).map_err(wrong)?;
        let echo = instance
            .get_typed_func::<(u64,), (u64,)>(&mut store, "echo-u64")
            .map_err(wrong)?;
        let start = Instant::now();
        for i in 0..TASKS {
            echo.call(&mut store, (i,)).map_err(wrong)?;
        }
        Ok((instance_us, each(start)))
    }

    fn ms(&self, component: &[u8], func: &str, args: &str) -> Result<f64> {
        let Value::List(args) = value_of_json(args.as_bytes())? else {
            bail!("arguments are a list");
        };
        let args = args
            .into_iter()
            .map(|arg| match arg {
                Value::Integer(n) => Ok(Val::U32(u32::try_from(n)?)),
                Value::String(text) => Ok(Val::String(text)),
                other => bail!("a kernel takes no {other:?}"),
            })
            .collect::<Result<Vec<_>>>()?;
        let component = Component::new(&self.0, component).map_err(wrong)?;
        let linker = Linker::new(&self.0);
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let mut store = Store::new(&self.0, ());
            let instance = linker.instantiate(&mut store, &component).map_err(wrong)?;
            let called = instance
                .get_func(&mut store, func)
                .with_context(|| format!("there is no {func}"))?;
            let mut results = [Val::Bool(false)];
            let start = Instant::now();
            called
                .call(&mut store, &args, &mut results)
                .map_err(wrong)?;
            took.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(median(took))
    }
}
