//! `cargo xtask kill-test [--kills N] [--journal URL]`: a coordinator under load is killed at random moments, and all that
//! it acknowledged must be there; then once more with a journal in PostgreSQL, which is killed as well, with two
//! coordinators on it, of which either is killed, and with three that share its partitions.

use anyhow::Result;

use crate::{process::Step, setup, test};

/// The tests of the command line that do it: with a journal of one's own, with a server that is killed, too, with two
/// coordinators on one server, with three that share partitions, and where what is between them breaks.
const ONE: &str = "kills_at_random_moments_lose_nothing_and_repeat_nothing";
const BOTH: &str = "kills_of_a_coordinator_and_of_postgres_lose_nothing_either";
const EITHER: &str = "when_either_of_two_coordinators_is_killed_the_other_goes_on";
const ANY: &str = "when_any_of_three_that_share_partitions_is_killed_the_others_go_on";
const WIRES: &str = "wires_to_the_database_and_to_executors_may_stall_and_break";

/// How long to go on.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often it is killed; thirty times take a quarter of a minute
    #[arg(long, default_value_t = 30, value_name = "N")]
    kills: u32,
    /// A new, empty database for the journal, as `postgres://user@host/name`; only the coordinator is killed then
    #[arg(long, value_name = "URL")]
    journal: Option<String>,
}

/// Runs the test, and shows what it says.
pub(crate) fn run(args: &Args) -> Result<()> {
    let step = || -> Result<Step> {
        let step = Step::cargo("pass the kill test").args(["test", "--test", "kill"]);
        let step = test::members(step)?.args(["--", "--nocapture"]);
        Ok(step.env("ASTERISM_KILLS", args.kills.to_string()))
    };
    if let Some(url) = &args.journal {
        return step()?.arg(ONE).env("ASTERISM_KILL_JOURNAL", url).run();
    }
    setup::postgres()?;
    step()?.arg(ONE).run()?;
    step()?.arg(BOTH).run()?;
    step()?.arg(EITHER).run()?;
    step()?.arg(ANY).run()?;
    step()?.arg(WIRES).run()
}
