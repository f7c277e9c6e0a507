//! `cargo xtask size`: how large is what a visitor loads?

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{compress, workspace};

/// What may be loaded, in compressed bytes.
struct Budget {
    what: &'static str,
    /// What it shall come to.
    bar: u64,
    /// What it may not be more than until then: what it is now, and room for what is being built.
    max: u64,
}

/// Until the panel can be used. The bar is two seconds on a slow mobile line.
const PANEL: Budget = Budget {
    what: "panel, until it can be used",
    bar: 200_000,
    max: 420_000,
};

/// The workers of a donating tab. The bar is half of what a transpiler in the tab would weigh.
const EXECUTOR: Budget = Budget {
    what: "workers of a donating tab",
    bar: 450_000,
    max: 720_000,
};

/// The files of those workers, which have no hashes in their names (Trunk.toml).
const WORKERS: [&str; 6] = [
    "compute-worker.js",
    "compute-worker_bg.wasm",
    "compute.js",
    "talk-worker.js",
    "talk-worker_bg.wasm",
    "talk.js",
];

#[derive(Clone, Copy, Default)]
struct Size {
    raw: u64,
    compressed: u64,
}

/// Prints a table; above a budget it is an error. What counts is what a browser is sent: brotli.
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
    names.retain(|name| dist.join(name).is_file() && !name.ends_with(compress::ENDING));
    names.sort();

    println!("{:>10} {:>9}  file", "raw", "brotli");
    let (mut panel, mut executor) = (Size::default(), Size::default());
    for name in &names {
        let bytes = fs::read(dist.join(name))?;
        let compressed = compress::bytes_of(&bytes)?.len().min(bytes.len()) as u64;
        let size = Size {
            raw: bytes.len() as u64,
            compressed,
        };
        print(name, size);
        if WORKERS.contains(&name.as_str()) {
            add(&mut executor, size);
        } else if name == "index.html" || page.contains(name.as_str()) {
            add(&mut panel, size);
        }
    }
    let mut over = Vec::new();
    for (budget, size) in [(PANEL, panel), (EXECUTOR, executor)] {
        let Budget { what, bar, max } = budget;
        print(&format!("= {what}; bar {bar}, at most {max}"), size);
        if size.compressed > max {
            let more = size.compressed - max;
            over.push(format!("the {what}: {more} bytes more than {max}"));
        }
    }
    if !over.is_empty() {
        bail!("what is loaded weighs too much: {}", over.join("; "));
    }
    Ok(())
}

fn add(sum: &mut Size, size: Size) {
    sum.raw += size.raw;
    sum.compressed += size.compressed;
}

fn print(name: &str, size: Size) {
    println!("{:>10} {:>9}  {name}", size.raw, size.compressed);
}
