//! `cargo xtask fuzz`: the hosts against each other, or one of the targets in fuzz/ by libFuzzer.

use std::{ffi::OsString, fs};

use anyhow::{Context as _, Result, bail};

use crate::{conformance, process::Step, setup, workspace};

/// What is in fuzz/targets.
const TARGETS: [&str; 4] = ["component", "values", "frames", "dag-cbor"];

/// Largest input of a target, in bytes; larger ones teach it nothing new and cost time.
const INPUT_BYTES_MAX: u32 = 4096;

/// Longest that one input may take, in seconds: decoders are to be bounded in time as well.
const INPUT_SECONDS_MAX: u32 = 10;

/// Most memory, in MiB.
const MEMORY_MIB_MAX: u32 = 2048;

/// Compares hosts if the first argument is no target; everything is handed on then.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let Some((name, flags)) = args.split_first() else {
        return conformance::fuzz(args);
    };
    let name = name.to_string_lossy();
    if name.starts_with('-') {
        return conformance::fuzz(args);
    }
    if !TARGETS.contains(&&*name) {
        bail!("there is no target `{name}`: {} are", TARGETS.join(", "));
    }
    let seconds = match flags {
        [] => None,
        [flag, seconds] if flag == "--seconds" => {
            let seconds = seconds.to_string_lossy();
            let parsed = seconds.parse::<u32>();
            Some(parsed.with_context(|| format!("--seconds wants a number, not `{seconds}`"))?)
        }
        _ => bail!("after a target there may be --seconds N, nothing else"),
    };
    feed(&name, seconds)
}

/// libFuzzer on a target, until something breaks or for so long. Without a sanitizer: what is looked for are panics, endless
/// loops and memory that grows, and there is no unsafe code in what is fed; so the stable compiler does.
fn feed(name: &str, seconds: Option<u32>) -> Result<()> {
    setup::cargo_fuzz()?;
    let target = workspace::root().join("target/fuzzing");
    // libFuzzer writes into the first folder: the corpus of the repository stays small.
    let found = target.join("found").join(name);
    fs::create_dir_all(&found).with_context(|| format!("failed to make {}", found.display()))?;
    let limit = seconds.map(|seconds| format!("-max_total_time={seconds}"));
    Step::new(
        "feed what reads strangers' bytes",
        workspace::tools().join("bin/cargo-fuzz"),
    )
    .args(["run", "--sanitizer", "none", "--fuzz-dir", "fuzz"])
    .arg("--target-dir")
    .arg(&target)
    .arg(name)
    .arg(found)
    .arg(workspace::root().join("fuzz/corpus").join(name))
    .arg("--")
    .arg("-print_final_stats=1")
    .arg(format!("-max_len={INPUT_BYTES_MAX}"))
    .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
    .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
    .args(limit)
    .interactive()
    .run()
}
