//! Verification: commitments, votes, what is provisional, what becomes final, who is caught.

use asterism_protocol::{
    Attestation, Basis, Cid, Evidence, Named, Policy, PublicKey, Signed, Statement,
    message::{Commitment, Delivery, Fault, FaultKind, LeaseId, ToExecutor, commitment},
    view::{RunId, Standing},
};

use super::{Due, Scheduler};
use crate::{
    ConnectionId, Event, Output, RequestId, SubmitError,
    affinity::links,
    memory::{Known, Times},
    proof::{Decision, Pick, Proof, Said, Told, Vote},
    trust::{Exclusion, Owner},
    works::{Wanter, WorkId},
};

/// How long an outcome that was not picked waits for its executor's next check before one is made of it, in milliseconds.
const CHECK_WITHIN_MS: u64 = 2_000;

impl Scheduler {
    /// Does the operator trust this executor?
    pub(super) fn trusts(&self, key: &PublicKey) -> bool {
        self.standing(key) == Standing::Trusted
    }

    pub(super) fn standing(&self, key: &PublicKey) -> Standing {
        if self.trust.excluded(key).is_some() {
            Standing::Excluded
        } else if self.config.trusted.contains(key) {
            Standing::Trusted
        } else {
            Standing::Stranger
        }
    }

    pub(super) fn owner_of(&self, key: &PublicKey) -> Owner {
        match self.executors.by_key.get(key) {
            Some(executor) => executor.owner.clone(),
            None => Owner::Alone(*key),
        }
    }

    /// An executor says what its outcomes will turn out to be.
    pub(super) fn commit(
        &mut self,
        connection: ConnectionId,
        key: &PublicKey,
        items: Vec<Commitment>,
    ) {
        let (at, owner) = (self.now, self.owner_of(key));
        let mut free = Vec::new();
        for Commitment { lease, digest } in items {
            // A lease that is over is told of at the next heartbeat.
            let Some(work) = self
                .leases
                .get(lease)
                .filter(|lease| lease.key == *key)
                .map(|lease| lease.work)
            else {
                continue;
            };
            let Some(proof) = &mut self.works.get_mut(work).proof else {
                free.push(lease);
                continue;
            };
            proof.commit(Vote {
                key: *key,
                owner: owner.clone(),
                at,
                said: Said::Committed {
                    lease,
                    digest: *digest,
                    asked: false,
                },
            });
            self.ask(work);
        }
        if !free.is_empty() {
            self.send(connection, ToExecutor::Reveal { leases: free });
        }
    }

    /// Asks for what was committed to, once as many have committed as are wanted: then nobody can copy any more.
    fn ask(&mut self, id: WorkId) {
        let Some(proof) = &mut self.works.get_mut(id).proof else {
            return;
        };
        if proof.votes.len() < proof.wanted as usize {
            return;
        }
        let mut reveal: Vec<(PublicKey, LeaseId)> = Vec::new();
        for vote in &mut proof.votes {
            if let Said::Committed { lease, asked, .. } = &mut vote.said
                && !*asked
            {
                *asked = true;
                reveal.push((vote.key, *lease));
            }
        }
        for (key, lease) in reveal {
            if let Some(connection) = self.executors.connection_of(&key) {
                let leases = vec![lease];
                self.send(connection, ToExecutor::Reveal { leases });
            }
        }
    }

    /// Is this what the executor committed to, and was asked for?
    pub(super) fn check_commitment(
        &self,
        id: WorkId,
        key: &PublicKey,
        item: &Delivery,
        outcome: Cid,
    ) -> Result<(), String> {
        let Some(proof) = &self.works.get(id).proof else {
            return Ok(());
        };
        let committed = proof.votes.iter().find_map(|vote| match &vote.said {
            Said::Committed {
                lease,
                digest,
                asked: true,
            } if vote.key == *key && *lease == item.lease => Some(digest),
            Said::Committed { .. } | Said::Told(_) => None,
        });
        let digest = committed.ok_or(
            "its outcome is verified: it is delivered once it was committed to and asked for",
        )?;
        let salt = item.salt.ok_or("the salt of its commitment is missing")?;
        let statement = Statement {
            outcome,
            conditions: item.conditions,
        };
        if commitment(&salt, &statement) == *digest {
            Ok(())
        } else {
            Err("it is not what was committed to".to_owned())
        }
    }

    /// An outcome is one of several that are weighed. It passed [`Scheduler::check_commitment`].
    pub(super) fn vote(&mut self, id: WorkId, item: Delivery, named: Named, signed: Signed) {
        let (key, at) = (signed.key(), self.now);
        let lease = self.leases.get(item.lease).filter(|lease| lease.key == key);
        let leased = lease.map(|lease| lease.leased);
        let started = lease.and_then(|lease| lease.started);
        let owner = self.owner_of(&key);
        let picked = match self.works.get(id).policy {
            Policy::Spot { per_mille } if !self.trusts(&key) => {
                let share = self.trust.checked_per_mille(&key, per_mille);
                self.random.below(1_000) < u64::from(share)
            }
            Policy::Any | Policy::Trusted | Policy::Quorum { .. } | Policy::Spot { .. } => true,
        };
        let told = Told {
            outcome: item.outcome,
            named,
            signed,
            remark: item.remark,
            leased,
            started,
            delivered: at,
            number: 0,
            pick: if picked {
                Pick::Checked
            } else {
                Pick::Unpicked
            },
        };
        self.persist(Event::Voted {
            at,
            policy: self.works.get(id).policy,
            rests_on: self.rests_on(id),
            owner: owner.clone(),
            outcome: Box::new(told.outcome.clone()),
            attestation: Box::new(told.signed.attestation()),
            remark: Box::new(told.remark.clone()),
            picked,
        });
        let blobs = links([told.outcome.out.value()]);
        self.count_outcome(&key, &told.outcome, &blobs, &told.remark);
        self.tell(id, Some(item.lease), owner, told);
        self.end_own_lease(&key, item.lease);
        self.recount(id);
    }

    /// Lays an outcome among the votes, and gives it its number.
    pub(super) fn tell(
        &mut self,
        id: WorkId,
        lease: Option<LeaseId>,
        owner: Owner,
        mut told: Told,
    ) {
        let key = told.signed.key();
        let Some(proof) = &mut self.works.get_mut(id).proof else {
            return;
        };
        let record = self.trust.record(key);
        record.unconfirmed.insert(id);
        record.told += 1;
        told.number = record.told;
        let mut at = told.delivered;
        proof.votes.retain(|vote| match &vote.said {
            Said::Committed { lease: known, .. } if Some(*known) == lease => {
                at = vote.at;
                false
            }
            Said::Committed { .. } | Said::Told(_) => true,
        });
        proof.votes.push(Vote {
            key,
            owner,
            at,
            said: Said::Told(Box::new(told)),
        });
    }

    /// Weighs the votes again. While a journal is replayed only what follows for show is done: what was decided is in it.
    pub(super) fn recount(&mut self, id: WorkId) {
        let work = self.works.get(id);
        let Some(proof) = &work.proof else {
            return;
        };
        match proof.decide(&work.policy, |key| self.trusts(key)) {
            Decision::Wait(wanted) => {
                let disputed = proof.leading().is_none() && proof.told().next().is_some();
                let unpicked = proof
                    .told()
                    .filter(|(_, told)| told.pick == Pick::Unpicked)
                    .map(|(vote, _)| vote.key)
                    .next();
                if let Some(proof) = &mut self.works.get_mut(id).proof {
                    proof.wanted = wanted;
                }
                if disputed {
                    self.retract(id);
                } else {
                    self.provide(id, None);
                }
                if let Some(key) = unpicked
                    && !self.recovering
                {
                    self.check_soon(key);
                }
                self.ask(id);
                self.offer(id);
            }
            Decision::Part if self.recovering => {}
            Decision::Part => {
                let (at, instruction) = (self.now, Cid::of_content_digest(work.digest));
                let policy = work.policy;
                let rests_on = self.rests_on(id);
                self.persist(Event::Parted {
                    at,
                    instruction,
                    policy,
                    rests_on,
                });
                self.part(id);
            }
            Decision::Believe(outcome, _) if self.recovering || !self.is_grounded(id) => {
                self.works.unqueue(id);
                self.provide(id, Some(outcome));
            }
            Decision::Believe(outcome, basis) => {
                let evidence = |agreeing| Evidence {
                    policy: work.policy,
                    basis,
                    agreeing,
                };
                let mut right = proof.told().filter(|(_, told)| told.named.cid == outcome);
                let Some((_, first)) = right.next() else {
                    return;
                };
                let agreeing: Vec<Attestation> =
                    right.map(|(_, told)| told.signed.attestation()).collect();
                let agreed: Vec<(PublicKey, u64)> = proof
                    .told()
                    .filter(|(_, told)| told.named.cid == outcome)
                    .map(|(vote, told)| (vote.key, told.number))
                    .collect();
                let wrong: Vec<(PublicKey, Cid)> = proof
                    .told()
                    .filter(|(_, told)| told.named.cid != outcome)
                    .map(|(vote, told)| (vote.key, told.named.cid))
                    .collect();
                let Wanter { run, node } = work.wanters[0];
                let run = &self.runs[&run];
                let receipt = first
                    .receipt(
                        run.invocation(node),
                        run.func(node),
                        &self.metering,
                        self.latest_receipt(),
                    )
                    .resting_on(self.rests_on(id))
                    .believed(evidence(agreeing));
                let (remark, at) = (first.remark.clone(), self.now);
                let instruction = first.outcome.instruction;
                let committed = proof
                    .told()
                    .find(|(vote, _)| vote.key == first.signed.key());
                let times = Times {
                    leased: first.leased,
                    started: first.started,
                    computed: committed.map(|(vote, _)| vote.at),
                    delivered: Some(first.delivered),
                    at,
                };
                let blobs = links([first.outcome.out.value()]);
                let mut known = Known::new(receipt, blobs, times);
                known.set_remark(&remark);
                if !self.repeats(id, &known) {
                    self.persist(Event::Computed {
                        at,
                        receipt: known.receipt.clone().into(),
                        remark: Box::new(remark),
                    });
                    self.become_canonical(id, known);
                }
                for (key, said) in wrong {
                    self.catch(&key, instruction, said, outcome);
                }
                if let Basis::Agreed { .. } = basis {
                    self.cover(&agreed);
                }
            }
        }
    }

    /// Executors that agreed with others have passed a check: it covers what they had told before the number that was checked,
    /// and was not picked.
    fn cover(&mut self, agreed: &[(PublicKey, u64)]) {
        for (key, checked) in agreed.iter().copied() {
            let passed = self.trust.passed(&key);
            let waiting: Vec<WorkId> = self
                .trust
                .get(&key)
                .map(|record| record.unconfirmed.iter().copied().collect())
                .unwrap_or_default();
            let mut covered = Vec::new();
            for id in waiting {
                let Some(proof) = &mut self.works.get_mut(id).proof else {
                    continue;
                };
                for vote in proof.votes.iter_mut().filter(|vote| vote.key == key) {
                    if let Said::Told(told) = &mut vote.said
                        && told.pick == Pick::Unpicked
                        && told.number < checked
                    {
                        told.pick = Pick::Covered(passed);
                        covered.push(id);
                    }
                }
            }
            for id in covered {
                // Weighing one may have ended others.
                let still = self
                    .trust
                    .get(&key)
                    .is_some_and(|record| record.unconfirmed.contains(&id));
                if still {
                    self.recount(id);
                }
            }
        }
    }

    /// Sees to it that an executor is checked before long.
    fn check_soon(&mut self, key: PublicKey) {
        if self.checks.insert(key) {
            let at = self.now.after_ms(CHECK_WITHIN_MS);
            self.dues.insert((at, Due::Check(key)));
        }
    }

    /// Checks one of an executor's outcomes that were not picked, if it has waited for a check for too long.
    pub(super) fn check_now(&mut self, key: &PublicKey) {
        self.checks.remove(key);
        let Some(record) = self.trust.get(key) else {
            return;
        };
        let pick_of = |id: &WorkId| {
            let proof = self.works.get(*id).proof.as_ref()?;
            let mine = proof.told().find(|(vote, _)| vote.key == *key)?;
            Some(mine.1.pick)
        };
        if !record
            .unconfirmed
            .iter()
            .any(|id| pick_of(id) == Some(Pick::Unpicked))
        {
            return;
        }
        // What rests on outcomes that are not final passes no check before them, and they may be waiting for this very one.
        let grounded = |pick| -> Vec<WorkId> {
            let unconfirmed = record.unconfirmed.iter().copied();
            unconfirmed
                .filter(|id| pick_of(id) == Some(pick) && self.is_grounded(*id))
                .collect()
        };
        let (checking, unpicked) = (grounded(Pick::Checked), grounded(Pick::Unpicked));
        if checking.is_empty() && !unpicked.is_empty() {
            let chosen = unpicked[self.random.below(unpicked.len() as u64) as usize];
            // It was chosen when these had all been told, and nobody could know which: it stands for them all.
            let number = record.told + 1;
            if let Some(proof) = &mut self.works.get_mut(chosen).proof {
                for vote in &mut proof.votes {
                    if let Said::Told(told) = &mut vote.said {
                        told.pick = Pick::Checked;
                        if vote.key == *key {
                            told.number = number;
                        }
                    }
                }
            }
            self.recount(chosen);
        }
        self.check_soon(*key);
    }

    /// Begins the votes on an instruction anew, for those who still want it.
    pub(super) fn forget_votes(&mut self, id: WorkId) {
        let policy = self.works.get(id).policy;
        let Some(proof) = self.works.get_mut(id).proof.take() else {
            return;
        };
        self.end_votes(id, &proof);
        let mut fresh = Proof::new(&policy);
        fresh.asked = proof.asked;
        self.works.get_mut(id).proof = Some(Box::new(fresh));
    }

    /// Nothing that was said of an instruction is waited for any more.
    pub(super) fn end_votes(&mut self, id: WorkId, proof: &Proof) {
        for (vote, _) in proof.told() {
            self.trust.record(vote.key).unconfirmed.remove(&id);
        }
        if let Some(slot) = proof.provisional {
            self.memory.release(slot);
        }
    }

    /// No outcome has the agreement that is needed: an attempt of all came to nothing.
    pub(super) fn part(&mut self, id: WorkId) {
        self.retract(id);
        let policy = self.works.get(id).policy;
        let Some(proof) = &self.works.get(id).proof else {
            return;
        };
        let voters: Vec<PublicKey> = proof.told().map(|(vote, _)| vote.key).collect();
        self.forget_votes(id);
        if self.recovering {
            return;
        }
        if let Some(last) = voters.last() {
            let message = format!("{} executors do not agree, as {policy} asks", voters.len());
            let kind = FaultKind::Disagreement;
            self.attempt_failed(id, *last, Fault { kind, message });
        }
    }

    /// An executor said what is not so.
    pub(super) fn catch(&mut self, key: &PublicKey, instruction: Cid, said: Cid, canonical: Cid) {
        if self.trust.excluded(key).is_some() {
            return;
        }
        let exclusion = self.exclusion(
            key,
            format!(
                "caught with a wrong outcome: {instruction} came to {said} there, others agree on {canonical}"
            ),
        );
        let Exclusion {
            at,
            name,
            owner,
            reason,
        } = exclusion.clone();
        self.persist(Event::Caught {
            at,
            executor: *key,
            name,
            owner,
            reason,
        });
        self.convict(key, exclusion);
    }

    /// Excludes an executor for what it was wrong about.
    pub(super) fn convict(&mut self, key: &PublicKey, exclusion: Exclusion) {
        self.trust.record(*key).wrong += 1;
        self.exclude(key, exclusion);
    }

    /// Excludes an executor because the operator says so.
    pub(super) fn ban(&mut self, request: RequestId, key: &PublicKey, reason: String) {
        if self.trust.excluded(key).is_none() {
            let exclusion = self.exclusion(key, reason);
            let Exclusion {
                at,
                name,
                owner,
                reason,
            } = exclusion.clone();
            self.persist(Event::Banned {
                at,
                executor: *key,
                name,
                owner,
                reason,
            });
            self.exclude(key, exclusion);
        }
        let result = Ok(RunId(0));
        self.outputs.push_back(Output::Reply { request, result });
    }

    /// Takes an exclusion back because the operator says so. An executor that is here is sent away: when it comes back it is
    /// told of none.
    pub(super) fn lift(&mut self, request: RequestId, key: &PublicKey) {
        let result = if self.trust.excluded(key).is_none() {
            Err(SubmitError::NotExcluded(*key))
        } else {
            let (at, executor) = (self.now, *key);
            self.persist(Event::Lifted { at, executor });
            self.trust.record(executor).excluded = None;
            match self.executors.connection_of(key) {
                Some(connection) => {
                    let reason = "the operator wants it back".to_owned();
                    self.acknowledge(connection, ToExecutor::Bye { reason });
                    self.outputs.push_back(Output::Disconnect { connection });
                    self.disconnected(connection);
                }
                None => self.publish_gone(key),
            }
            Ok(RunId(0))
        };
        self.outputs.push_back(Output::Reply { request, result });
    }

    fn exclusion(&self, key: &PublicKey, reason: String) -> Exclusion {
        let executor = self.executors.by_key.get(key);
        Exclusion {
            at: self.now,
            name: executor
                .map(|executor| executor.name.clone())
                .unwrap_or_default(),
            owner: self.owner_of(key),
            reason,
        }
    }

    /// Nothing more is believed of an executor, and nothing leased to it; what is not final of it is done again.
    pub(super) fn exclude(&mut self, key: &PublicKey, exclusion: Exclusion) {
        let reason = exclusion.reason.clone();
        let record = self.trust.record(*key);
        record.excluded = Some(exclusion);
        let tainted = std::mem::take(&mut record.unconfirmed);
        let leases = self.leases_of(key);
        for lease in &leases {
            if let Some(work) = self.end_own_lease(key, *lease) {
                self.offer(work);
            }
        }
        let polls = self
            .executors
            .by_key
            .get(key)
            .is_some_and(|own| own.poll.is_some());
        self.end_poll(key);
        if let Some(connection) = self.executors.connection_of(key).filter(|_| polls) {
            self.send(connection, ToExecutor::Assign { leases: Vec::new() });
        }
        for id in tainted {
            // What is taken back for one of them may have ended others.
            if !self.works.contains(id) {
                continue;
            }
            let Some(proof) = &mut self.works.get_mut(id).proof else {
                continue;
            };
            proof.votes.retain(|vote| vote.key != *key);
            let rests = proof.provisional.is_some_and(|slot| {
                let provisional = self.memory.get(slot).outcome();
                !proof.told().any(|(_, told)| told.named.cid == provisional)
            });
            if rests {
                self.retract(id);
            }
            self.recount(id);
        }
        self.changed_executors.insert(*key);
        if let Some(connection) = self.executors.connection_of(key) {
            if !leases.is_empty() {
                let reason = reason.clone();
                self.acknowledge(connection, ToExecutor::Revoke { leases, reason });
            }
            self.acknowledge(connection, ToExecutor::Excluded { reason });
        }
    }
}
