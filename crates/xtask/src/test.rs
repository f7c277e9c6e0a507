//! `cargo xtask test`: the tests of every level, and one line that counts them.
//!
//! A level that cannot be set up is skipped and listed; under `CI` that is a failure, like an
//! ignored test. A program that does not build, crashes or hangs counts as at least one failure.

mod suites;
mod tally;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::ValueEnum as _;

use self::tally::Tally;
use crate::{
    bundle, conformance, languages,
    process::{Running, Step},
    setup, signals,
};

/// The test of tests/ that drives a browser over the whole path.
const BROWSER_TEST: &str = "browser";

/// The test of tests/ that runs guests in other languages.
const LANGUAGES_TEST: &str = "languages";

/// The test of tests/ that compares hosts.
const HOSTS_TEST: &str = "hosts";

/// Building Wasmtime from nothing on two slow cores, and thousands of simulated worlds, are in it.
const LEVEL_LIMIT: Duration = Duration::from_mins(60);

/// Seconds that one wasm test may take; the runner's own 20 are few for a machine that builds meanwhile.
const WASM_TEST_SECONDS: &str = "180";

/// What to test.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this level, or these when given again
    #[arg(long, value_name = "LEVEL", value_enum)]
    only: Vec<Level>,
}

/// Levels, the cheapest first.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Level {
    /// cargo test on this machine
    Native,
    /// wasm tests in node
    Node,
    /// wasm tests in headless Chromium
    Chromium,
    /// guests in TypeScript, JavaScript and Python, on Wasmtime and in Chromium
    Languages,
    /// our runtime in node and Chromium, and jco, beside Wasmtime
    Hosts,
    /// the whole path, with the panel in Chromium
    Browser,
}

/// Runs the tests; the last line of stdout is `N passed, N failed`.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    signals::watch()?;
    let mut tally = Tally::default();
    let mut skipped = Vec::new();
    let mut took = Vec::new();
    let asked = |level: &Level| args.only.is_empty() || args.only.contains(level);
    let mut panel = None;
    for level in Level::value_variants() {
        if asked(level) && !signals::interrupted() {
            eprintln!("\n=== {} ===", level.name());
            let before = tally.passed() + tally.failed();
            let begun = Instant::now();
            if let Err(error) = level.set_up() {
                skipped.push(format!("level {}: {error:#}", level.name()));
                continue;
            }
            match level {
                Level::Native if asked(&Level::Browser) => panel = bundle::start_if_stale(),
                // What it could not do is done again, and then told.
                Level::Browser => panel.take().into_iter().for_each(Running::wait),
                _ => {}
            }
            if let Err(error) = level.run(&mut tally) {
                eprintln!("error: {error:#}");
                tally.add_failure();
            }
            took.push(format!("{} {} s", level.name(), begun.elapsed().as_secs()));
            if tally.passed() + tally.failed() == before {
                skipped.push(format!("level {}: it has no tests", level.name()));
            }
        }
    }
    if signals::interrupted() {
        skipped.push("what was left when you interrupted".to_owned());
    }
    skipped.extend(
        tally
            .ignored()
            .iter()
            .map(|name| format!("ignored test {name}")),
    );
    for what in &skipped {
        eprintln!("skipped {what}");
    }
    eprintln!("took {}", took.join(", "));
    let must_not_skip = is_ci() || signals::interrupted();
    let failed = tally.failed() + if must_not_skip { skipped.len() } else { 0 };
    println!("{} passed, {failed} failed", tally.passed());
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Node => "node",
            Self::Chromium => "chromium",
            Self::Languages => "languages",
            Self::Hosts => "hosts",
            Self::Browser => "browser",
        }
    }

    /// What the level needs of the machine.
    fn set_up(self) -> Result<()> {
        // Guests of native tests are wasm, too.
        setup::wasm_targets()?;
        setup::clang()?;
        match self {
            // Homestar's client, the examples' servers, what fetches modules, a database for journals, a store for blobs.
            Self::Native => setup::npm()
                .and_then(|()| setup::python())
                .and_then(|()| setup::curl())
                .and_then(|()| setup::postgres())
                .and_then(|()| setup::moto()),
            Self::Node => setup::node(),
            Self::Hosts => {
                setup::chromedriver()?;
                conformance::set_up()
            }
            Self::Chromium => setup::chromedriver().map(drop),
            // The browser tests have workflows in other languages.
            Self::Languages | Self::Browser => {
                setup::chromedriver()?;
                languages::build_if_stale()
            }
        }
    }

    fn run(self, tally: &mut Tally) -> Result<()> {
        match self {
            Self::Native => native(tally),
            Self::Node => wasm(tally, |step| step.env("WASM_BINDGEN_TEST_ONLY_NODE", "1")),
            Self::Chromium => {
                let driver = setup::chromedriver()?;
                wasm(tally, |step| in_chromium(step, &driver))
            }
            Self::Languages => languages(tally),
            Self::Hosts => hosts(tally),
            Self::Browser => {
                bundle::build_if_stale()?;
                watch(tally, browser(setup::chromedriver()?)?)
            }
        }
    }
}

/// All default members as one build, so that it is the same one for every level.
pub(crate) fn members(step: Step) -> Result<Step> {
    Ok(suites::default_members()?
        .into_iter()
        .fold(step, |step, name| step.args(["--package", &name])))
}

fn native(tally: &mut Tally) -> Result<()> {
    watch(
        tally,
        members(Step::cargo("pass the native tests").args(["test", "--no-fail-fast"]))?,
    )?;
    // Apart: with the others it would share their features, and be built once more for the next command.
    watch(
        tally,
        Step::cargo("pass the tests of xtask").args([
            "test",
            "--no-fail-fast",
            "--package",
            "xtask",
        ]),
    )
}

fn browser(driver: PathBuf) -> Result<Step> {
    let step = Step::cargo("pass the browser tests").args([
        "test",
        "--no-fail-fast",
        "--test",
        BROWSER_TEST,
    ]);
    // Each test has a browser of its own, and what they wait for is measured in seconds.
    Ok(members(step)?
        .args(["--", "--test-threads", "1"])
        .env("CHROMEDRIVER", driver))
}

fn in_chromium(step: Step, driver: &Path) -> Step {
    // Tests that are not written for a certain place run in a Web Worker, as executors do.
    step.env("WASM_BINDGEN_USE_DEDICATED_WORKER", "1")
        .env("WASM_BINDGEN_TEST_ONLY_WEB", "1")
        .env("CHROMEDRIVER", driver)
}

/// First on Wasmtime, which records what comes out; then in Chromium, which is held to it. Not in the
/// node of the path: version 20, which we ask for, has the constant expressions of CPython's modules behind a flag, which the
/// test runner does not set; in the conformance table, which has a node of its own, they run, too.
fn languages(tally: &mut Tally) -> Result<()> {
    let native = Step::cargo("pass the tests of other languages on Wasmtime").args([
        "test",
        "--test",
        LANGUAGES_TEST,
    ]);
    watch(tally, members(native)?)?;
    let driver = setup::chromedriver()?;
    let step = Step::cargo("pass the tests of other languages in Chromium")
        .args(["test", "--target", "wasm32-unknown-unknown"])
        .args(["--package", "asterism-tests", "--test", LANGUAGES_TEST])
        .env("WASM_BINDGEN_TEST_TIMEOUT", WASM_TEST_SECONDS);
    watch(tally, in_chromium(step, &driver))
}

fn hosts(tally: &mut Tally) -> Result<()> {
    let step = Step::cargo("pass the tests that compare hosts")
        .args(["test", "--no-fail-fast", "--test", HOSTS_TEST])
        .env("CHROMEDRIVER", setup::chromedriver()?);
    watch(tally, members(step)?)
}

/// All packages as one build: alone, each would have features of its own, and build once more what they share.
fn wasm(tally: &mut Tally, place: impl Fn(Step) -> Step) -> Result<()> {
    let suites = suites::wasm_suites()?;
    let step = Step::cargo("pass the wasm tests").args([
        "test",
        "--no-fail-fast",
        "--target",
        "wasm32-unknown-unknown",
    ]);
    let step = suites
        .packages
        .iter()
        .fold(step, |step, name| step.args(["--package", name]))
        .args(&suites.targets)
        .env("WASM_BINDGEN_TEST_TIMEOUT", WASM_TEST_SECONDS);
    watch(tally, place(step))
}

/// Counts what the step's programs say, and says itself what they did not.
fn watch(tally: &mut Tally, step: Step) -> Result<()> {
    tally.start_step();
    let result = step.run_watched(LEVEL_LIMIT, |line| tally.see(line));
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    tally.end_step(result.is_ok());
    Ok(())
}

fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
