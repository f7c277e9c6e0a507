//! When an outcome is believed, and what it was believed on.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    Attestation, Error,
    limits::{QUORUM_MAX, SPOT_PER_MILLE_MAX},
};

/// What an outcome needs before it is final. Until then it is provisional: dependants may run on it, nobody is told
/// that it is the result.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Policy {
    /// One attestation, whoever signed it. Its evidence says that nobody checked it.
    #[default]
    Any,
    /// The attestation of an executor that the coordinator's operator trusts.
    Trusted,
    /// The same outcome from several executors of different owners.
    Quorum {
        /// How many must agree.
        agree: u32,
        /// How many are asked at most before the attempt counts as failed.
        of: u32,
    },
    /// Executors are checked by asking another owner's executor for the same: each outcome of one that is new, then
    /// fewer, but never fewer than this share. What was not picked is final once its executor has passed a check
    /// that was picked later.
    Spot {
        /// The smallest share that is checked, in thousandths; at least one.
        per_mille: u32,
    },
}

impl Policy {
    /// Checks the bounds that its form alone does not.
    ///
    /// # Errors
    /// A quorum that no number of executors can reach or that one executor is, a rate of nothing or of more than all.
    pub fn check(&self) -> Result<(), Error> {
        let reason = match *self {
            Self::Any | Self::Trusted => return Ok(()),
            Self::Quorum { agree, of } if (2..=of).contains(&agree) && of <= QUORUM_MAX => {
                return Ok(());
            }
            Self::Quorum { agree, of } => format!(
                "a quorum of {agree} of {of} cannot be: 2 ≤ agree ≤ of ≤ {QUORUM_MAX} is needed"
            ),
            Self::Spot { per_mille } if (1..=SPOT_PER_MILLE_MAX).contains(&per_mille) => {
                return Ok(());
            }
            Self::Spot { per_mille } => format!(
                "a rate of {} cannot be: {} to {} can",
                Percent(per_mille),
                Percent(1),
                Percent(SPOT_PER_MILLE_MAX)
            ),
        };
        Err(Error::Value {
            path: "verify".to_owned(),
            reason,
        })
    }

    /// Must executors commit to an outcome before they tell it?
    #[must_use]
    pub fn commits(&self) -> bool {
        match self {
            Self::Any | Self::Trusted => false,
            Self::Quorum { .. } | Self::Spot { .. } => true,
        }
    }
}

/// `any`, `trusted`, `quorum:2/3` or `spot:5%`, as queries and command lines write it.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Any => f.write_str("any"),
            Self::Trusted => f.write_str("trusted"),
            Self::Quorum { agree, of } => write!(f, "quorum:{agree}/{of}"),
            Self::Spot { per_mille } => write!(f, "spot:{}", Percent(per_mille)),
        }
    }
}

/// Thousandths, as people write them: `5%`, `0.1%`.
struct Percent(u32);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 10, self.0 % 10) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, tenth) => write!(f, "{whole}.{tenth}%"),
        }
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let policy = match text.split_once(':') {
            None if text == "any" => Some(Self::Any),
            None if text == "trusted" => Some(Self::Trusted),
            Some(("quorum", bound)) => quorum(bound),
            Some(("spot", rate)) => spot(rate),
            _ => None,
        };
        let policy = policy.ok_or_else(|| Error::Value {
            path: "verify".to_owned(),
            reason: format!(
                "`{}` is not a policy: write any, trusted, quorum:2/3 or spot:5%",
                crate::workflow::shorten(text)
            ),
        })?;
        policy.check()?;
        Ok(policy)
    }
}

fn quorum(bound: &str) -> Option<Policy> {
    let (agree, of) = bound.split_once('/')?;
    Some(Policy::Quorum {
        agree: agree.parse().ok()?,
        of: of.parse().ok()?,
    })
}

fn spot(rate: &str) -> Option<Policy> {
    let percent = rate.strip_suffix('%')?;
    let (whole, tenth) = percent.split_once('.').unwrap_or((percent, "0"));
    let tenth = tenth.parse().ok().filter(|tenth: &u32| *tenth < 10)?;
    let per_mille = whole
        .parse::<u32>()
        .ok()?
        .checked_mul(10)?
        .checked_add(tenth)?;
    Some(Policy::Spot { per_mille })
}

/// What a canonical receipt was believed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Basis {
    /// On one attestation; nobody checked it.
    Unverified,
    /// On the record of its executor: this outcome was not picked, the next check after it was passed.
    Sampled {
        /// How many checks the executor had passed by then.
        passed: u64,
    },
    /// On the agreement of so many executors of different owners.
    Agreed {
        /// How many attest it.
        executors: u32,
    },
    /// On the word of an executor that the coordinator's operator trusts.
    Trusted,
}

impl Basis {
    /// Is this enough for `policy`? What was believed on less is verified again before it answers.
    #[must_use]
    pub fn satisfies(self, policy: &Policy) -> bool {
        match (policy, self) {
            (Policy::Any, _) => true,
            (Policy::Trusted, basis) => basis == Self::Trusted,
            (Policy::Quorum { agree, .. }, Self::Agreed { executors }) => executors >= *agree,
            (Policy::Quorum { .. }, Self::Unverified | Self::Sampled { .. } | Self::Trusted) => {
                false
            }
            (Policy::Spot { .. }, Self::Sampled { .. } | Self::Agreed { .. } | Self::Trusted) => {
                true
            }
            (Policy::Spot { .. }, Self::Unverified) => false,
        }
    }
}

/// Why a receipt is canonical: the policy, what satisfied it, and who else attests the same outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What was asked for.
    pub policy: Policy,
    /// What it was believed on.
    pub basis: Basis,
    /// Attestations of the same outcome beside that of the receipt's issuer; fewer than [`QUORUM_MAX`].
    pub agreeing: Vec<Attestation>,
}
