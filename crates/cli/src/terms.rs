//! How a run is performed, said by whoever submits it.

use asterism_protocol::Policy;

/// What a submission says beside its workflow.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// When its outcomes are believed: `any`, `trusted`, `quorum:2/3` or `spot:5%`; as the coordinator has it without it
    #[arg(long, value_name = "POLICY")]
    verify: Option<Policy>,
    /// Do again what is known, and compare
    #[arg(long)]
    force: bool,
    /// A head start before other runs, in steps; fewer than none lets others go first
    #[arg(long, value_name = "STEPS", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// By when it is wanted, in milliseconds from now
    #[arg(long, value_name = "MS")]
    deadline: Option<u64>,
}

impl Terms {
    /// As the gateway takes them.
    pub(crate) fn query(self) -> impl Iterator<Item = (&'static str, String)> {
        [
            ("verify", self.verify.map(|policy| policy.to_string())),
            ("force", self.force.then(|| "true".to_owned())),
            ("priority", self.priority.map(|steps| steps.to_string())),
            ("deadline", self.deadline.map(|ms| ms.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        terms: Terms,
    }

    #[test]
    fn what_is_said_is_what_the_gateway_is_told() {
        let told = |words: &[&str]| {
            let line = Line::try_parse_from([&["run"], words].concat()).expect("it is understood");
            line.terms.query().collect::<Vec<_>>()
        };
        assert_eq!(told(&[]), []);
        let words = [
            "--verify",
            "spot:5%",
            "--force",
            "--priority",
            "-2",
            "--deadline",
            "60000",
        ];
        let expected = [
            ("verify", "spot:5%"),
            ("force", "true"),
            ("priority", "-2"),
            ("deadline", "60000"),
        ];
        assert_eq!(
            told(&words),
            expected.map(|(name, value)| (name, value.to_owned()))
        );
        assert!(Line::try_parse_from(["run", "--verify", "quorum:3/2"]).is_err());
    }
}
