//! What is thought of executors: whom they count for, what they were right and wrong about, who is excluded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use asterism_protocol::{Attested, Basis, PublicKey, Timestamp, view::Standing};
use serde::{Deserialize, Serialize};

use crate::{Right, works::WorkId};

/// How many checks a new executor passes before some of its outcomes go unchecked.
const NEW_CHECKS: u64 = 5;

/// How many outcomes that others agreed with make half of full trust.
const HALF_TRUST: u64 = 10;

/// Most executors whose records are kept, beside those that are excluded. Who is not among them counts as new.
const RECORDS_MAX: usize = 65_536;

/// Whom an executor counts for. A quorum asks different owners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// Somebody whom the operator gave an enrolment.
    Enrolled(String),
    /// Whoever is behind an origin that the shell told.
    Origin(String),
    /// Itself: nothing else is known.
    Alone(PublicKey),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enrolled(name) => f.write_str(name),
            Self::Origin(origin) => write!(f, "unenrolled, from {origin}"),
            Self::Alone(_) => f.write_str("unenrolled"),
        }
    }
}

/// Why an executor is excluded.
#[derive(Clone)]
pub(crate) struct Exclusion {
    pub(crate) at: Timestamp,
    /// As it called itself.
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) reason: String,
}

/// What one executor did.
#[derive(Default)]
pub(crate) struct Record {
    /// Outcomes that others agreed with.
    pub(crate) right: u64,
    /// Outcomes that were found to be wrong.
    pub(crate) wrong: u64,
    pub(crate) excluded: Option<Exclusion>,
    /// Instructions with an outcome of it that is not final.
    pub(crate) unconfirmed: BTreeSet<WorkId>,
    /// How many outcomes it has told that were to be weighed: each has its number, and a check covers smaller ones.
    pub(crate) told: u64,
}

/// All records.
#[derive(Default)]
pub(crate) struct Trust {
    records: BTreeMap<PublicKey, Record>,
}

impl Trust {
    pub(crate) fn get(&self, key: &PublicKey) -> Option<&Record> {
        self.records.get(key)
    }

    pub(crate) fn record(&mut self, key: PublicKey) -> &mut Record {
        if self.records.len() >= RECORDS_MAX && !self.records.contains_key(&key) {
            self.make_room();
        }
        self.records.entry(key).or_default()
    }

    /// Forgets an executor that nothing depends on.
    fn make_room(&mut self) {
        let spare = self
            .records
            .iter()
            .filter(|(_, record)| record.excluded.is_none() && record.unconfirmed.is_empty())
            .min_by_key(|(_, record)| record.right)
            .map(|(key, _)| *key);
        if let Some(key) = spare {
            self.records.remove(&key);
        }
    }

    pub(crate) fn excluded(&self, key: &PublicKey) -> Option<&Exclusion> {
        self.records.get(key)?.excluded.as_ref()
    }

    /// Everybody who is excluded.
    pub(crate) fn all_excluded(&self) -> impl Iterator<Item = &PublicKey> {
        let excluded = |record: &Record| record.excluded.is_some();
        self.records
            .iter()
            .filter(move |(_, record)| excluded(record))
            .map(|(key, _)| key)
    }

    /// How many checks it has passed.
    pub(crate) fn passed(&self, key: &PublicKey) -> u64 {
        self.records.get(key).map_or(0, |record| record.right)
    }

    /// How many in a thousand of its outcomes are checked: all of a new executor's, then fewer, never fewer than `least`.
    pub(crate) fn checked_per_mille(&self, key: &PublicKey, least: u32) -> u32 {
        let passed = self.passed(key);
        if passed < NEW_CHECKS {
            return 1_000;
        }
        let share = 1_000 * NEW_CHECKS / (passed + 1);
        u32::try_from(share).unwrap_or(u32::MAX).max(least)
    }

    /// How much it is trusted, in thousandths.
    pub(crate) fn score(&self, key: &PublicKey, standing: Standing) -> u32 {
        match standing {
            Standing::Trusted => 1_000,
            Standing::Excluded => 0,
            Standing::Stranger => {
                let right = self.passed(key).min(1 << 32);
                u32::try_from(1_000 * right / (right + HALF_TRUST)).unwrap_or(0)
            }
        }
    }

    /// How often executors were right and wrong, as far as that is more than never.
    pub(crate) fn summary(&self) -> Vec<Right> {
        let known = self.records.iter();
        known
            .filter(|(_, record)| record.right + record.wrong > 0)
            .map(|(key, record)| Right {
                executor: *key,
                right: record.right,
                wrong: record.wrong,
            })
            .collect()
    }

    /// Takes a summary for all that was before.
    pub(crate) fn restore(&mut self, records: Vec<Right>) {
        for record in self.records.values_mut() {
            (record.right, record.wrong) = (0, 0);
        }
        for Right {
            executor,
            right,
            wrong,
        } in records
        {
            let record = self.record(executor);
            (record.right, record.wrong) = (right, wrong);
        }
    }

    /// A receipt became canonical: those who agreed on it were right.
    pub(crate) fn learn(&mut self, receipt: &Attested) {
        let Some(evidence) = receipt.evidence() else {
            return;
        };
        match evidence.basis {
            Basis::Agreed { .. } => {}
            Basis::Unverified | Basis::Sampled { .. } | Basis::Trusted => return,
        }
        let agreeing = evidence.agreeing.iter().map(|attestation| attestation.key);
        for key in std::iter::once(receipt.key()).chain(agreeing) {
            self.record(key).right += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_executors_are_always_checked_then_less_and_never_not_at_all() {
        let key = PublicKey::new([1; 32]);
        let mut trust = Trust::default();
        let mut last = 1_000;
        for right in 0..10_000 {
            trust.record(key).right = right;
            let share = trust.checked_per_mille(&key, 20);
            assert!(share <= last && share >= 20, "{share} after {right}");
            assert_eq!(
                share == 1_000,
                right < NEW_CHECKS || share == 1_000 && right < 5
            );
            last = share;
        }
        assert_eq!(last, 20);
    }
}
