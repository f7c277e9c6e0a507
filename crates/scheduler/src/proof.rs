//! What executors came to for one instruction, and whether that is enough for its policy.

use std::sync::Arc;

use asterism_protocol::{
    Attested, Basis, Cid, Named, Outcome, Policy, PublicKey, Remark, Signed, Timestamp,
    message::LeaseId,
};

use crate::trust::Owner;

/// How many must agree where a spot check found a difference, and how many are asked then.
const SPOT_AGREE: u32 = 2;
const SPOT_OF: u32 = 3;

/// What is known of an instruction that is being verified.
#[derive(Default)]
pub(crate) struct Proof {
    pub(crate) votes: Vec<Vote>,
    /// Who holds it now: nobody is asked twice.
    pub(crate) asked: Vec<(LeaseId, PublicKey, Owner)>,
    /// How many executors are wanted by now.
    pub(crate) wanted: u32,
    /// The outcome that dependants run on, by its place in memory.
    pub(crate) provisional: Option<u32>,
}

/// What one executor said.
pub(crate) struct Vote {
    pub(crate) key: PublicKey,
    pub(crate) owner: Owner,
    /// When it was first heard of.
    pub(crate) at: Timestamp,
    pub(crate) said: Said,
}

pub(crate) enum Said {
    /// What it will turn out to be.
    Committed {
        lease: LeaseId,
        digest: [u8; 32],
        /// Was it asked for?
        asked: bool,
    },
    Told(Box<Told>),
}

/// An outcome that is not final.
pub(crate) struct Told {
    pub(crate) outcome: Outcome,
    pub(crate) named: Named,
    pub(crate) signed: Signed,
    pub(crate) remark: Remark,
    pub(crate) leased: Option<Timestamp>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) delivered: Timestamp,
    /// Which of its executor's it was when it was told, or picked: a check of it covers those with smaller numbers. Of what was
    /// told after it was picked, it says nothing: whoever turns liar would hide behind it.
    pub(crate) number: u64,
    pub(crate) pick: Pick,
}

impl Told {
    /// The receipt that this makes for an invocation. See [`Attested::new`].
    pub(crate) fn receipt(
        &self,
        ran: Cid,
        func: &Arc<str>,
        metering: &Arc<str>,
        like: Option<&Attested>,
    ) -> Attested {
        let Self {
            outcome,
            named,
            signed,
            ..
        } = self;
        let (named, signed) = (named.clone(), signed.clone());
        Attested::new(ran, func, outcome, metering, named, signed, like)
    }
}

/// What spot checks do with an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Another executor is asked for the same.
    Checked,
    /// It waits for a check that its executor passes, of an outcome that was picked later.
    Unpicked,
    /// That one is passed; so many were by then.
    Covered(u64),
}

/// What follows from the votes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// So many executors are to be asked in all.
    Wait(u32),
    Believe(Cid, Basis),
    /// Whatever the rest says, not enough can agree.
    Part,
}

impl Proof {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            wanted: match policy {
                Policy::Quorum { agree, .. } => *agree,
                Policy::Any | Policy::Trusted | Policy::Spot { .. } => 1,
            },
            ..Self::default()
        }
    }

    pub(crate) fn told(&self) -> impl Iterator<Item = (&Vote, &Told)> {
        self.votes.iter().filter_map(|vote| match &vote.said {
            Said::Told(told) => Some((vote, &**told)),
            Said::Committed { .. } => None,
        })
    }

    /// May this executor be asked too?
    pub(crate) fn may_ask(&self, key: &PublicKey, owner: &Owner) -> bool {
        let voted = self.votes.iter().map(|vote| (&vote.key, &vote.owner));
        let holds = self.asked.iter().map(|(_, key, owner)| (key, owner));
        voted
            .chain(holds)
            .all(|(other, others)| other != key && others != owner)
    }

    /// Are more executors wanted than hold it or have told?
    pub(crate) fn wants_more(&self) -> bool {
        self.asked.len() + self.told().count() < self.wanted as usize
    }

    /// Hears a commitment. What was asked for already stays as it was.
    pub(crate) fn commit(&mut self, new: Vote) {
        let Said::Committed { lease, .. } = new.said else {
            return;
        };
        let known = self.votes.iter_mut().find(
            |vote| matches!(&vote.said, Said::Committed { lease: known, .. } if *known == lease),
        );
        match known.map(|vote| &mut vote.said) {
            // It did not hear that it was asked: it is asked again.
            Some(Said::Committed { asked, .. }) if *asked => *asked = false,
            Some(said) => *said = new.said,
            None => self.votes.push(new),
        }
    }

    /// A lease is over: its commitment counts no longer.
    pub(crate) fn lease_ended(&mut self, ended: LeaseId) {
        self.asked.retain(|(lease, ..)| *lease != ended);
        self.votes
            .retain(|vote| !matches!(&vote.said, Said::Committed { lease, .. } if *lease == ended));
    }

    /// The outcome on which everybody agrees who has told, if there is one.
    pub(crate) fn leading(&self) -> Option<&Told> {
        let (_, first) = self.told().next()?;
        self.told()
            .all(|(_, told)| told.named.cid == first.named.cid)
            .then_some(first)
    }

    /// What follows from the votes under `policy`.
    pub(crate) fn decide(&self, policy: &Policy, trusts: impl Fn(&PublicKey) -> bool) -> Decision {
        match policy {
            Policy::Any | Policy::Trusted => Decision::Wait(1),
            Policy::Quorum { agree, of } => self.quorum(*agree, *of),
            Policy::Spot { .. } => {
                if let Some((_, told)) = self.told().find(|(vote, _)| trusts(&vote.key)) {
                    return Decision::Believe(told.named.cid, Basis::Trusted);
                }
                let mut told = self.told().map(|(_, told)| told);
                match (told.next(), told.next()) {
                    (None, _) => Decision::Wait(1),
                    (Some(only), None) => match only.pick {
                        Pick::Checked => Decision::Wait(SPOT_AGREE),
                        Pick::Unpicked => Decision::Wait(1),
                        Pick::Covered(passed) => {
                            Decision::Believe(only.named.cid, Basis::Sampled { passed })
                        }
                    },
                    (Some(_), Some(_)) => self.quorum(SPOT_AGREE, SPOT_OF),
                }
            }
        }
    }

    fn quorum(&self, agree: u32, of: u32) -> Decision {
        let count = |cid: Cid| {
            self.told()
                .filter(|(_, told)| told.named.cid == cid)
                .count() as u32
        };
        let told = self.told().count() as u32;
        let best = self
            .told()
            .map(|(_, told)| (count(told.named.cid), told.named.cid))
            // Of equally many, whoever told first.
            .reduce(|best, other| if other.0 > best.0 { other } else { best });
        let (most, cid) = match best {
            Some((most, cid)) => (most, Some(cid)),
            None => (0, None),
        };
        match cid {
            Some(cid) if most >= agree => Decision::Believe(cid, Basis::Agreed { executors: most }),
            _ if told + (agree - most) > of => Decision::Part,
            _ => Decision::Wait(told + (agree - most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{
        Attestation, Conditions, MerklePath, Out, Signature, Value, content_cid,
    };

    use super::*;

    fn proof(outcomes: &[(u8, i128, Pick)]) -> Proof {
        let mut proof = Proof::default();
        for (key, value, pick) in outcomes {
            let outcome = Outcome {
                instruction: content_cid(b"i"),
                out: Out::Ok(Value::Integer(*value)),
                fuel: None,
                metering: "m".into(),
            };
            let key = PublicKey::new([*key; 32]);
            let told = Told {
                named: Named::of(&outcome),
                outcome,
                signed: Signed::of(&Attestation {
                    key,
                    conditions: Conditions {
                        fuel: 1,
                        memory: 1,
                        growth_refused: false,
                    },
                    path: MerklePath::default(),
                    signature: Signature::new([0; 64]),
                })
                .unwrap(),
                remark: Remark::default(),
                leased: None,
                started: None,
                delivered: Timestamp(0),
                number: 1,
                pick: *pick,
            };
            proof.votes.push(Vote {
                key,
                owner: Owner::Alone(key),
                at: Timestamp(0),
                said: Said::Told(Box::new(told)),
            });
        }
        proof
    }

    fn decide(policy: &str, outcomes: &[(u8, i128)]) -> String {
        let outcomes: Vec<_> = outcomes
            .iter()
            .map(|(key, value)| (*key, *value, Pick::Checked))
            .collect();
        let proof = proof(&outcomes);
        let trusts = |key: &PublicKey| *key == PublicKey::new([9; 32]);
        match proof.decide(&policy.parse().expect("a policy"), trusts) {
            Decision::Wait(wanted) => format!("wait {wanted}"),
            Decision::Part => "part".into(),
            Decision::Believe(cid, basis) => {
                let (_, told) = proof
                    .told()
                    .find(|(_, told)| told.named.cid == cid)
                    .expect("somebody told it");
                format!("{:?} {basis:?}", told.outcome.out.value())
            }
        }
    }

    #[test]
    fn a_quorum_asks_as_few_as_may_agree() {
        assert_eq!(decide("quorum:2/3", &[]), "wait 2");
        assert_eq!(decide("quorum:2/3", &[(1, 7)]), "wait 2");
        assert_eq!(decide("quorum:2/3", &[(1, 7), (2, 8)]), "wait 3");
        let agreed = "7 Agreed { executors: 2 }";
        assert_eq!(decide("quorum:2/3", &[(1, 7), (2, 7)]), agreed);
        assert_eq!(decide("quorum:2/3", &[(1, 8), (2, 7), (3, 7)]), agreed);
        assert_eq!(decide("quorum:2/3", &[(1, 7), (2, 8), (3, 9)]), "part");
        assert_eq!(decide("quorum:2/2", &[(1, 7), (2, 8)]), "part");
        assert_eq!(decide("quorum:3/5", &[(1, 7), (2, 8), (3, 7)]), "wait 4");
        assert_eq!(
            decide("quorum:3/5", &[(1, 7), (2, 8), (3, 7), (4, 8)]),
            "wait 5"
        );
        assert_eq!(
            decide("quorum:3/4", &[(1, 7), (2, 8), (3, 7), (4, 8)]),
            "part"
        );
    }

    #[test]
    fn a_spot_check_that_finds_a_difference_asks_a_third() {
        assert_eq!(decide("spot:5%", &[]), "wait 1");
        assert_eq!(decide("spot:5%", &[(1, 7)]), "wait 2");
        assert_eq!(decide("spot:5%", &[(1, 7), (2, 8)]), "wait 3");
        let agreed = "8 Agreed { executors: 2 }";
        assert_eq!(decide("spot:5%", &[(1, 7), (2, 8), (3, 8)]), agreed);
        assert_eq!(decide("spot:5%", &[(1, 7), (9, 8)]), "8 Trusted");
    }

    #[test]
    fn what_was_not_picked_waits_until_its_executor_passed_a_check() {
        let spot = "spot:5%".parse().expect("a policy");
        let decide = |pick| proof(&[(1, 7, pick)]).decide(&spot, |_| false);
        assert_eq!(decide(Pick::Unpicked), Decision::Wait(1));
        assert!(matches!(
            decide(Pick::Covered(6)),
            Decision::Believe(_, Basis::Sampled { passed: 6 })
        ));
    }

    #[test]
    fn nobody_is_asked_twice_and_no_owner_either() {
        let mut proof = proof(&[(1, 7, Pick::Checked)]);
        let keys = [1, 2, 3].map(|seed| PublicKey::new([seed; 32]));
        assert!(!proof.may_ask(&keys[0], &Owner::Origin("elsewhere".into())));
        assert!(proof.may_ask(&keys[1], &Owner::Enrolled("ada".into())));
        proof
            .asked
            .push((LeaseId(1), keys[1], Owner::Enrolled("ada".into())));
        assert!(!proof.may_ask(&keys[2], &Owner::Enrolled("ada".into())));
        proof.lease_ended(LeaseId(1));
        assert!(proof.may_ask(&keys[2], &Owner::Enrolled("ada".into())));
    }
}
