//! `cargo xtask sim [--seed N] [--runs M] [--small|--verified] [--executors N] [--tasks N]`: worlds of as many seeds as there is
//! time for. The first one that breaks an invariant ends it, and says how to repeat it.

#[cfg(target_arch = "wasm32")]
fn main() {}

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    sim::main()
}

#[cfg(not(target_arch = "wasm32"))]
mod sim {
    use std::{
        io::IsTerminal as _,
        panic::{AssertUnwindSafe, catch_unwind},
        process::ExitCode,
        sync::atomic::{AtomicU64, Ordering},
        thread,
    };

    use asterism_simulator::{Scenario, run};

    /// Which worlds.
    #[derive(Clone, Copy, Debug)]
    enum Stage {
        Large,
        Small,
        Verified,
    }

    /// What is asked for.
    #[derive(Clone, Debug)]
    struct Args {
        seed: u64,
        runs: u64,
        stage: Stage,
        executors: Option<u32>,
        tasks: Option<u32>,
    }

    impl Args {
        fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
            let mut args = Self {
                seed: 0,
                runs: 100,
                stage: Stage::Large,
                executors: None,
                tasks: None,
            };
            while let Some(word) = words.next() {
                let mut number = || -> Result<u64, String> {
                    let text = words.next().ok_or(format!("{word} needs a number"))?;
                    text.parse()
                        .map_err(|error| format!("{word} {text}: {error}"))
                };
                let small = |number: u64| {
                    u32::try_from(number).map_err(|error| format!("{number}: {error}"))
                };
                match word.as_str() {
                    "--seed" => args.seed = number()?,
                    "--runs" => args.runs = number()?,
                    "--executors" => args.executors = Some(small(number()?)?.max(1)),
                    "--tasks" => args.tasks = Some(small(number()?)?.max(1)),
                    "--small" => args.stage = Stage::Small,
                    "--verified" => args.stage = Stage::Verified,
                    _ => {
                        return Err(format!(
                            "`{word}` is not known; write [--seed N] [--runs M] [--small|--verified] [--executors N] [--tasks N]"
                        ));
                    }
                }
            }
            Ok(args)
        }

        fn scenario(&self, seed: u64) -> Scenario {
            let mut scenario = match self.stage {
                Stage::Large => Scenario::large(seed),
                Stage::Small => Scenario::small(seed),
                Stage::Verified => Scenario::verified(seed),
            };
            scenario.executors = self.executors.unwrap_or(scenario.executors);
            scenario.tasks = self.tasks.unwrap_or(scenario.tasks);
            scenario
        }

        /// The command that repeats one world.
        fn repeat(&self, seed: u64) -> String {
            let mut command = format!("cargo xtask sim --seed {seed} --runs 1");
            command.push_str(match self.stage {
                Stage::Large => "",
                Stage::Small => " --small",
                Stage::Verified => " --verified",
            });
            if let Some(executors) = self.executors {
                command.push_str(&format!(" --executors {executors}"));
            }
            if let Some(tasks) = self.tasks {
                command.push_str(&format!(" --tasks {tasks}"));
            }
            command
        }
    }

    pub(crate) fn main() -> ExitCode {
        let args = match Args::read(std::env::args().skip(1)) {
            Ok(args) => args,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(2);
            }
        };
        match live(&args) {
            None => ExitCode::SUCCESS,
            Some(seed) => {
                eprintln!("repeat this world with: {}", args.repeat(seed));
                ExitCode::FAILURE
            }
        }
    }

    /// Lives through all worlds; gives the smallest seed of those that failed.
    #[expect(
        clippy::disallowed_methods,
        reason = "worlds do not know of each other: as many go on at once as there are cores"
    )]
    fn live(args: &Args) -> Option<u64> {
        let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        let (computed, steps) = (AtomicU64::new(0), AtomicU64::new(0));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shown = std::io::stderr().is_terminal();
        thread::scope(|scope| {
            for _ in 0..cores.min(args.runs as usize) {
                scope.spawn(|| {
                    while failed.load(Ordering::Relaxed) == u64::MAX {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= args.runs {
                            break;
                        }
                        let seed = args.seed.wrapping_add(number);
                        let scenario = args.scenario(seed);
                        match catch_unwind(AssertUnwindSafe(|| run(&scenario, false))) {
                            Ok(report) => {
                                computed.fetch_add(report.computed as u64, Ordering::Relaxed);
                                steps.fetch_add(report.steps, Ordering::Relaxed);
                            }
                            Err(_) => {
                                failed.fetch_min(seed, Ordering::Relaxed);
                            }
                        }
                        if shown && number.is_multiple_of(100) && number > 0 {
                            eprintln!("{number} worlds");
                        }
                    }
                });
            }
        });
        println!(
            "{} worlds from seed {}, {} outcomes computed, {} steps",
            next.into_inner().min(args.runs),
            args.seed,
            computed.into_inner(),
            steps.into_inner(),
        );
        Some(failed.into_inner()).filter(|seed| *seed != u64::MAX)
    }
}
