//! Deliveries: outcomes are weighed, believed, and handed to whoever waits for them.

use std::collections::BTreeMap;

use asterism_protocol::{
    Attested, Basis, Cid, Evidence, Named, Outcome, Policy, PublicKey, Remark, Signed, Timestamp,
    message::{Delivery, Fault, FaultKind, LeaseId, ToExecutor},
    view::TaskState,
};
use smallvec::SmallVec;

use super::Scheduler;
use crate::{
    ConnectionId, Event,
    affinity::{Mark, links},
    checked::{Delivered, Item},
    digests::Digest,
    memory::{Answer, Known, Times, answer},
    works::{Wanter, WorkId, memory_key, work_key},
};

impl Scheduler {
    pub(super) fn deliver(
        &mut self,
        connection: ConnectionId,
        key: &PublicKey,
        delivered: Delivered,
    ) -> Result<(), String> {
        let Delivered { key: signer, items } = delivered;
        if signer != *key {
            return Err("the delivery was signed by another key".to_owned());
        }
        let mut accepted = Vec::new();
        for item in items {
            let Item {
                delivery: item,
                named,
                signed,
            } = item;
            let lease = item.lease;
            if !self.config.is_ours(lease.0) {
                // One signature covers what several schedulers asked for.
                continue;
            }
            match self.weigh(key, &item, &named) {
                Ok(None) => {
                    if let Some(work) = self.end_own_lease(key, lease) {
                        self.offer(work);
                    }
                    accepted.push(lease);
                }
                Ok(Some(work)) => {
                    if self.works.get(work).proof.is_some() {
                        self.vote(work, item, named, signed);
                    } else {
                        let Delivery {
                            outcome, remark, ..
                        } = item;
                        self.believe(work, lease, &outcome, remark, named, signed);
                    }
                    accepted.push(lease);
                }
                Err(reason) => {
                    self.disbelieve(key, lease, &reason);
                    let lease = Some(lease);
                    self.send(connection, ToExecutor::Rejected { lease, reason });
                }
            }
            self.follow();
        }
        if !accepted.is_empty() {
            let message = ToExecutor::Accepted { leases: accepted };
            self.acknowledge(connection, message);
        }
        Ok(())
    }

    /// Is an outcome one to be weighed? `Some`: yes, for this instruction. `None`: it was believed before.
    pub(super) fn weigh(
        &self,
        key: &PublicKey,
        item: &Delivery,
        named: &Named,
    ) -> Result<Option<WorkId>, String> {
        let Delivery {
            lease,
            outcome: said,
            conditions,
            remark: _,
            salt: _,
        } = item;
        let digest = said.instruction.digest();
        if Cid::of_content_digest(digest) != said.instruction {
            return Err(format!(
                "{} is not the CID of an instruction",
                said.instruction
            ));
        }
        if said.metering != self.config.metering {
            return Err(format!("fuel is counted by {} here", self.config.metering));
        }
        if let Some(exclusion) = self.trust.excluded(key) {
            return Err(exclusion.reason.clone());
        }
        let lease = self.leases.get(*lease).filter(|lease| lease.key == *key);
        if let Some(lease) = lease {
            if self.works.get(lease.work).digest != digest {
                return Err("the lease is for another instruction".to_owned());
            }
            if (conditions.fuel, conditions.memory) != (lease.limits.fuel, lease.limits.memory) {
                return Err("the limits are not those of the lease".to_owned());
            }
        }
        // Content is right whoever brings it and whenever: without a lease too, where one word is enough.
        let late = || {
            let trusted = Policy::Trusted;
            let by_trust = self.trusts(key).then(|| work_key(&digest, &trusted, &[]));
            let by_trust = by_trust.and_then(|key| self.works.find(&key));
            let found = self.works.find(&digest).or(by_trust);
            // What is done under a policy or rests on a limit is found by another digest, which anybody can name.
            found.filter(|id| self.works.get(*id).digest == digest)
        };
        if let Some(id) = lease.map(|lease| lease.work).or_else(late) {
            let work = self.works.get(id);
            if work.policy == Policy::Trusted && !self.trusts(key) {
                return Err("only an executor that the operator trusts is believed".to_owned());
            }
            let limits = |wanter: &Wanter| self.runs[&wanter.run].limits(wanter.node);
            if work
                .wanters
                .iter()
                .any(|wanter| answer(conditions, named.trap, said.fuel, &limits(wanter)).is_some())
            {
                self.check_commitment(id, key, item, named.cid)?;
                return Ok(Some(id));
            }
        }
        let mut known = self.memory.all(&digest);
        if known.any(|(_, known)| known.outcome() == named.cid) {
            return Ok(None);
        }
        match self.memory.find(&digest) {
            Some((_, known)) => Err(format!(
                "it differs from the canonical outcome {}",
                known.outcome()
            )),
            None => Err("nobody waits for this instruction any more".to_owned()),
        }
    }

    /// An outcome becomes the canonical one, on the word of whoever attests it.
    pub(super) fn believe(
        &mut self,
        id: WorkId,
        lease: LeaseId,
        outcome: &Outcome,
        remark: Remark,
        named: Named,
        signed: Signed,
    ) {
        let (key, at) = (signed.key(), self.now);
        let policy = self.works.get(id).policy;
        let rests_on = self.rests_on(id);
        let Wanter { run, node } = self.works.get(id).wanters[0];
        let run = &self.runs[&run];
        let (ran, func) = (run.invocation(node), run.func(node));
        let (metering, like) = (&self.metering, self.latest_receipt());
        let mut receipt =
            Attested::new(ran, func, outcome, metering, named, signed, like).resting_on(rests_on);
        // A receipt without evidence was believed on one word of a stranger: most receipts, so nothing is said of it.
        if self.trusts(&key) {
            receipt = receipt.believed(Evidence {
                policy,
                basis: Basis::Trusted,
                agreeing: Vec::new(),
            });
        }
        let blobs = links([outcome.out.value()]);
        self.count_outcome(&key, outcome, &blobs, &remark);
        // Its own lease ends without a word; others are told to stop.
        let own = self.leases.get(lease).filter(|lease| lease.key == key);
        let (leased, started) = (
            own.map(|lease| lease.leased),
            own.and_then(|own| own.started),
        );
        self.end_own_lease(&key, lease);
        let times = Times {
            leased,
            started,
            computed: None,
            delivered: Some(at),
            at,
        };
        let mut known = Known::new(receipt, blobs, times);
        known.set_remark(&remark);
        if self.repeats(id, &known) {
            return;
        }
        self.persist(Event::Computed {
            at,
            receipt: known.receipt.clone().into(),
            remark: Box::new(remark),
        });
        self.become_canonical(id, known);
    }

    /// Is this what is known already, and was it done again because somebody insisted? Then the canonical receipt stays, and a
    /// difference is told.
    pub(super) fn repeats(&mut self, id: WorkId, known: &Known) -> bool {
        let Some(slot) = self.known_to_all(id, known.digest()) else {
            return false;
        };
        let (work, canonical) = (self.works.get(id), self.memory.get(slot));
        let event = Event::Repeated {
            at: self.now,
            instruction: Cid::of_content_digest(work.digest),
            policy: work.policy,
            rests_on: known.receipt.rests_on().to_vec(),
            outcome: known.outcome(),
            executor: known.executor(),
            agrees: canonical.outcome() == known.outcome(),
        };
        self.persist(event);
        self.repeat(id, known.outcome(), known.executor());
        true
    }

    /// The canonical receipt that answers everybody who wants an instruction, if there is one. `key` is what receipts of it are found
    /// by.
    fn known_to_all(&self, id: WorkId, key: &Digest) -> Option<u32> {
        let work = self.works.get(id);
        let serves = |known: &Known| {
            let served = work.wanters.iter().map(|wanter| {
                let limits = self.runs[&wanter.run].limits(wanter.node);
                known.serve(&limits, &work.policy)
            });
            served.reduce(Option::and).flatten()
        };
        self.memory.best(key, serves).map(|(slot, _)| slot)
    }

    /// Those who wanted an instruction done again have its canonical receipt, and are told if it came out differently.
    pub(super) fn repeat(&mut self, id: WorkId, outcome: Cid, executor: PublicKey) {
        let key = memory_key(&self.works.get(id).digest, &self.rests_on(id));
        let Some(slot) = self.known_to_all(id, &key) else {
            return;
        };
        let (at, right) = (self.now, self.memory.get(slot).outcome());
        self.retract(id);
        let wanters = self.works.get(id).wanters.clone();
        let mut revoked = BTreeMap::new();
        self.drop_work(id, &mut revoked);
        for wanter in wanters {
            let Some(run) = self.runs.get_mut(&wanter.run) else {
                continue;
            };
            if right != outcome {
                run.notes.insert(
                    wanter.node,
                    format!(
                        "DISAGREEMENT: done again it came to {outcome} at {executor}; the canonical outcome {right} stands"
                    ),
                );
            }
            let answer = self.memory.get(slot).answer(&run.limits(wanter.node));
            let answer = answer.map(|answer| (slot, answer));
            self.settle(wanter, TaskState::Computed, answer, at);
        }
        self.revoke(revoked, "another executor was faster");
    }

    /// Counts an outcome for whoever came to it.
    pub(super) fn count_outcome(
        &mut self,
        key: &PublicKey,
        outcome: &Outcome,
        blobs: &[Mark],
        remark: &Remark,
    ) {
        let Some(executor) = self.executors.by_key.get_mut(key) else {
            return;
        };
        let fuel = outcome.fuel.unwrap_or(0);
        executor.holdings.make(blobs);
        executor.tally.tasks += 1;
        executor.tally.fuel = executor.tally.fuel.saturating_add(fuel);
        if let Some(speed) = fuel
            .saturating_mul(1_000_000)
            .checked_div(remark.elapsed_us)
            .filter(|speed| *speed > 0)
        {
            executor.fuel_per_s = match executor.fuel_per_s {
                0 => speed,
                known => known - known / 8 + speed / 8,
            };
        }
        self.changed_executors.insert(*key);
    }

    /// An outcome is refused: an attempt that came to nothing, if it was one.
    pub(super) fn disbelieve(&mut self, key: &PublicKey, lease: LeaseId, reason: &str) {
        let limits = self.leases.get(lease).map(|lease| lease.limits);
        let Some(work) = self.end_own_lease(key, lease) else {
            return;
        };
        if limits == Some(self.works.get(work).limits) {
            let (kind, message) = (
                FaultKind::Host,
                format!("its outcome was refused: {reason}"),
            );
            self.attempt_failed(work, *key, Fault { kind, message });
        } else {
            // Whoever wanted these limits is gone: nobody is to blame that the outcome answers no one any more.
            self.offer(work);
        }
    }

    /// Whoever waits for an instruction has its receipt now, as far as it answers.
    pub(super) fn become_canonical(&mut self, id: WorkId, known: Known) {
        self.trust.learn(&known.receipt);
        let provisional = self
            .works
            .get(id)
            .proof
            .as_ref()
            .and_then(|proof| proof.provisional);
        if provisional.is_some_and(|slot| self.memory.get(slot).outcome() != known.outcome()) {
            self.retract(id);
        }
        let at = known.at;
        let mut answered: SmallVec<[(Wanter, Answer); 1]> = SmallVec::new();
        let mut left: SmallVec<[Wanter; 1]> = SmallVec::new();
        for wanter in &self.works.get(id).wanters {
            match known.answer(&self.runs[&wanter.run].limits(wanter.node)) {
                Some(answer) => answered.push((*wanter, answer)),
                None => left.push(*wanter),
            }
        }
        if answered.is_empty() {
            return;
        }
        let attempts = self
            .works
            .get_mut(id)
            .trouble
            .as_mut()
            .map(|trouble| std::mem::take(&mut trouble.attempts));
        let mut revoked = BTreeMap::new();
        if left.is_empty() {
            self.drop_work(id, &mut revoked);
        } else {
            self.works.get_mut(id).wanters = left;
            self.forget_votes(id);
            self.settle_limits(id);
            self.offer(id);
        }
        let slot = self.memory.insert(known);
        self.latest_receipt = Some(slot);
        for (wanter, answer) in answered {
            if let Some(attempts) = attempts.as_ref().filter(|attempts| !attempts.is_empty())
                && let Some(run) = self.runs.get_mut(&wanter.run)
            {
                run.attempts.insert(wanter.node, attempts.clone());
            }
            self.settle_or_confirm(wanter, slot, answer, at);
        }
        self.revoke(revoked, "another executor was faster");
    }

    fn settle_or_confirm(&mut self, wanter: Wanter, slot: u32, answer: Answer, at: Timestamp) {
        let Some(run) = self.runs.get_mut(&wanter.run) else {
            return;
        };
        if run.result(wanter.node).get().is_none() {
            return self.settle(wanter, TaskState::Computed, Some((slot, answer)), at);
        }
        let result = self.memory.hold(slot, answer);
        if let Some(held) = run.confirm(wanter.node, result, &self.memory) {
            self.memory.release(held);
        }
        self.changed_runs.insert(wanter.run);
        self.regrounded.push_back(wanter);
        self.finish_if_done(wanter.run, at);
    }
}
