//! `cargo xtask size`: how large is what a visitor loads?

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{process::Step, workspace};

/// Compressed bytes until the panel can be used. 200 KB: two seconds on a slow mobile line.
const PANEL_MAX: u64 = 200_000;

/// Compressed bytes of the worker: half of what a transpiler in the tab would weigh.
const WORKER_MAX: u64 = 450_000;

/// The worker's files have no hashes in their names (Trunk.toml).
const WORKER: [&str; 4] = ["compute.js", "talk.js", "worker.js", "worker_bg.wasm"];

/// node has both compressors; as crates they would be built before everything else, on every machine.
const MEASURE: &str = "
const { readFileSync } = require('node:fs'), zlib = require('node:zlib');
for (const file of process.argv.slice(1)) {
  const raw = readFileSync(file);
  console.log(raw.length, zlib.gzipSync(raw, { level: 6 }).length, zlib.brotliCompressSync(raw).length);
}";

#[derive(Clone, Copy, Default)]
struct Size {
    raw: u64,
    gzip: u64,
    brotli: u64,
}

/// Prints a table; above a budget it is an error. Budgets are for gzip, which every server speaks.
pub(crate) fn run() -> Result<()> {
    let dist = workspace::dist();
    let page = fs::read_to_string(dist.join("index.html")).with_context(|| {
        format!(
            "failed to read the page in {}; run `cargo xtask bundle`",
            dist.display()
        )
    })?;
    let mut names: Vec<String> = fs::read_dir(&dist)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    names.retain(|name| dist.join(name).is_file());
    names.sort();
    let sizes = measure(&names)?;

    println!("{:>10} {:>9} {:>9}  file", "raw", "gzip", "brotli");
    let (mut panel, mut worker) = (Size::default(), Size::default());
    for (name, size) in names.iter().zip(sizes) {
        print(name, size);
        if WORKER.contains(&name.as_str()) {
            add(&mut worker, size);
        } else if name == "index.html" || page.contains(name.as_str()) {
            add(&mut panel, size);
        }
    }
    print("= panel, until it can be used", panel);
    print("= worker", worker);
    for (what, size, max) in [
        ("panel", panel.gzip, PANEL_MAX),
        ("worker", worker.gzip, WORKER_MAX),
    ] {
        if size > max {
            bail!(
                "the {what} weighs {size} bytes gzipped, {} more than its budget of {max}",
                size - max
            );
        }
    }
    Ok(())
}

fn measure(names: &[String]) -> Result<Vec<Size>> {
    let text = Step::new("compress the files", "node")
        .args(["-e", MEASURE, "--"])
        .args(names.iter().map(|name| workspace::dist().join(name)))
        .remedy("`cargo xtask test --only node`, which installs node where it can")
        .read()?;
    text.lines()
        .map(|line| parse(line).with_context(|| format!("failed to understand node's {line:?}")))
        .collect()
}

fn parse(line: &str) -> Option<Size> {
    let mut numbers = line.split(' ').map(|word| word.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(Size {
        raw: next()?,
        gzip: next()?,
        brotli: next()?,
    })
}

fn add(sum: &mut Size, size: Size) {
    sum.raw += size.raw;
    sum.gzip += size.gzip;
    sum.brotli += size.brotli;
}

fn print(name: &str, size: Size) {
    println!(
        "{:>10} {:>9} {:>9}  {name}",
        size.raw, size.gzip, size.brotli
    );
}
