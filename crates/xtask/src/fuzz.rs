//! `cargo xtask fuzz`: the hosts against each other, or one of the targets in fuzz/ by libFuzzer.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

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
    let (mut seconds, mut keep) = (None, None);
    for pair in flags.chunks(2) {
        let [flag, number] = pair else {
            bail!("{} wants a number", pair[0].display());
        };
        let number: u32 = number
            .to_string_lossy()
            .parse()
            .with_context(|| format!("{} wants a number", flag.display()))?;
        match &*flag.to_string_lossy() {
            "--seconds" => seconds = Some(number),
            "--keep" => keep = Some(number as usize),
            other => bail!("there is no `{other}`: --seconds N and --keep N are"),
        }
    }
    let target = Target::named(&name)?;
    match keep {
        Some(most) => target.keep(most),
        None => target.feed(seconds),
    }
}

struct Target<'a> {
    name: &'a str,
    /// In the repository, small.
    corpus: PathBuf,
    /// What it found on this machine.
    found: PathBuf,
}

impl<'a> Target<'a> {
    fn named(name: &'a str) -> Result<Self> {
        setup::cargo_fuzz()?;
        let root = workspace::root();
        let target = Self {
            name,
            corpus: root.join("fuzz/corpus").join(name),
            found: root.join("target/fuzzing/found").join(name),
        };
        for folder in [&target.corpus, &target.found] {
            fs::create_dir_all(folder)
                .with_context(|| format!("failed to make {}", folder.display()))?;
        }
        Ok(target)
    }

    /// libFuzzer on this target. Without a sanitizer: what is looked for are panics, endless loops and memory that grows, and
    /// there is no unsafe code in what is fed; so the stable compiler does.
    fn libfuzzer(&self, purpose: &str, folders: &[&Path], flags: &[String]) -> Step {
        let target = workspace::root().join("target/fuzzing");
        Step::new(purpose, workspace::tools().join("bin/cargo-fuzz"))
            .args(["run", "--sanitizer", "none", "--fuzz-dir", "fuzz"])
            .arg("--target-dir")
            .arg(&target)
            .arg(self.name)
            .args(folders)
            .arg("--")
            .args(flags)
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
    }

    /// Until something breaks, or for so long.
    fn feed(&self, seconds: Option<u32>) -> Result<()> {
        let mut flags = vec!["-print_final_stats=1".to_owned()];
        flags.extend(seconds.map(|seconds| format!("-max_total_time={seconds}")));
        self.libfuzzer(
            "feed what reads strangers' bytes",
            &[&self.found, &self.corpus],
            &flags,
        )
        .interactive()
        .run()
    }

    /// Makes the corpus of the repository out of what was found: the smallest inputs first, each for what it adds.
    fn keep(&self, most: usize) -> Result<()> {
        let merged = workspace::root()
            .join("target/fuzzing/merged")
            .join(self.name);
        if merged.exists() {
            fs::remove_dir_all(&merged)
                .with_context(|| format!("failed to empty {}", merged.display()))?;
        }
        fs::create_dir_all(&merged)
            .with_context(|| format!("failed to make {}", merged.display()))?;
        self.libfuzzer(
            "merge what was found",
            &[&merged, &self.corpus, &self.found],
            &["-merge=1".to_owned()],
        )
        .run()?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&merged)? {
            let entry = entry?;
            files.push((entry.metadata()?.len(), entry.path()));
        }
        files.sort();
        fs::remove_dir_all(&self.corpus)?;
        fs::create_dir_all(&self.corpus)?;
        for (_, path) in files.iter().take(most) {
            let name = path.file_name().context("an input has a name")?;
            fs::copy(path, self.corpus.join(name))?;
        }
        eprintln!(
            "{} of {} inputs are in {}",
            files.len().min(most),
            files.len(),
            self.corpus.display()
        );
        Ok(())
    }
}
