//! `cargo xtask kill-test [--kills N]`: a coordinator under load is killed at random moments, and all that it
//! acknowledged must be there.

use anyhow::Result;

use crate::{process::Step, test};

/// The test of the command line that does it.
const TEST: &str = "kills_at_random_moments_lose_nothing_and_repeat_nothing";

/// How long to go on.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often it is killed; thirty times take a quarter of a minute
    #[arg(long, default_value_t = 30, value_name = "N")]
    kills: u32,
}

/// Runs the test, and shows what it says.
pub(crate) fn run(args: &Args) -> Result<()> {
    let step = Step::cargo("pass the kill test").args(["test", "--test", "kill"]);
    test::members(step)?
        .args(["--", "--nocapture", TEST])
        .env("ASTERISM_KILLS", args.kills.to_string())
        .run()
}
