//! Deliveries: outcomes are weighed, believed, and handed to whoever waits for them.

use std::collections::BTreeMap;

use asterism_protocol::{
    Attestation, Cid, Invocation, MerkleTree, Outcome, PublicKey, Receipt, Signature, Statement,
    content_cid, encode,
    message::{Delivery, Fault, FaultKind, LeaseId, ToExecutor},
    view::TaskState,
};

use super::Scheduler;
use crate::{
    ConnectionId, Event,
    memory::{Known, answer},
    trust::{self, Verdict},
    works::{Wanter, WorkId},
};

impl Scheduler {
    pub(super) fn deliver(
        &mut self,
        connection: ConnectionId,
        key: &PublicKey,
        items: Vec<Delivery>,
        signature: &Signature,
    ) -> Result<(), String> {
        let mut sizes = Vec::with_capacity(items.len());
        let statements: Vec<Statement> = items
            .iter()
            .map(|item| {
                let encoded = encode(&item.outcome);
                sizes.push(encoded.len() as u32);
                Statement {
                    outcome: content_cid(&encoded),
                    conditions: item.conditions,
                }
            })
            .collect();
        let tree = MerkleTree::new(&statements);
        key.verify(&tree.signed_bytes(), signature)
            .map_err(|error| error.to_string())?;
        let mut accepted = Vec::new();
        for (place, item) in items.into_iter().enumerate() {
            let lease = item.lease;
            let statement = &statements[place];
            match self.weigh(key, &item, statement.outcome) {
                Ok(None) => {
                    if let Some(work) = self.end_own_lease(key, lease) {
                        self.offer(work);
                    }
                    accepted.push(lease);
                }
                Ok(Some(work)) => {
                    let attestation = Attestation {
                        key: *key,
                        conditions: item.conditions,
                        path: tree.path(place),
                        signature: *signature,
                    };
                    self.believe(work, item, statement.outcome, sizes[place], &attestation);
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

    /// Is an outcome one to be believed? `Some`: yes, for this instruction. `None`: it was believed before.
    pub(super) fn weigh(
        &self,
        key: &PublicKey,
        item: &Delivery,
        outcome: Cid,
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
        if let Some(lease) = self.leases.get(lease).filter(|lease| lease.key == *key) {
            if self.works.get(lease.work).digest != digest {
                return Err("the lease is for another instruction".to_owned());
            }
            if (conditions.fuel, conditions.memory) != (lease.limits.fuel, lease.limits.memory) {
                return Err("the limits are not those of the lease".to_owned());
            }
        }
        match trust::judge(key, said) {
            Verdict::Believed => {}
        }
        if let Some(id) = self.works.find(&digest) {
            let wanters = &self.works.get(id).wanters;
            let limits = |wanter: &Wanter| self.runs[&wanter.run].limits(wanter.node);
            if wanters
                .iter()
                .any(|wanter| answer(conditions, said, &limits(wanter)).is_some())
            {
                return Ok(Some(id));
            }
        }
        match self.memory.find(&digest) {
            Some((_, known)) if known.outcome == outcome => Ok(None),
            Some((_, known)) => Err(format!(
                "it differs from the canonical outcome {}",
                known.outcome
            )),
            None => Err("nobody waits for this instruction any more".to_owned()),
        }
    }

    /// An outcome becomes the canonical one.
    pub(super) fn believe(
        &mut self,
        id: WorkId,
        item: Delivery,
        cid: Cid,
        bytes: u32,
        attestation: &Attestation,
    ) {
        let (key, at) = (attestation.key, self.now);
        let Delivery {
            lease,
            outcome,
            conditions: _,
            remark,
            salt: _,
        } = item;
        let Wanter { run, node } = self.works.get(id).wanters[0];
        let task = self.runs[&run].task(node);
        let ran = Invocation { task }.cid();
        let receipt = Receipt::attested(ran, &task.run.input.func, &outcome, attestation);
        self.persist(Event::Computed {
            at,
            receipt: Box::new(receipt.clone()),
            remark: Box::new(remark.clone()),
        });
        if let Some(executor) = self.executors.by_key.get_mut(&key) {
            let tally = &mut executor.tally;
            tally.tasks += 1;
            tally.fuel = tally.fuel.saturating_add(outcome.fuel.unwrap_or(0));
            self.changed_executors.insert(key);
        }
        // Its own lease ends without a word; others are told to stop.
        let own = self.leases.get(&lease).filter(|lease| lease.key == key);
        let leased = own.map(|lease| lease.leased);
        self.end_own_lease(&key, lease);
        let mut known = Known::new(receipt, &outcome, cid, bytes, attestation);
        (known.at, known.remark, known.leased) = (at, Some(remark), leased);
        self.become_canonical(known, &outcome);
    }

    /// An outcome is refused: an attempt that came to nothing, if it was one.
    pub(super) fn disbelieve(&mut self, key: &PublicKey, lease: LeaseId, reason: &str) {
        let limits = self.leases.get(&lease).map(|lease| lease.limits);
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
    pub(super) fn become_canonical(&mut self, known: Known, outcome: &Outcome) {
        let Some(id) = self.works.find(&outcome.instruction.digest()) else {
            return;
        };
        let (conditions, at) = (known.conditions, known.at);
        let (answered, left): (Vec<_>, Vec<_>) = self
            .works
            .get(id)
            .wanters
            .iter()
            .map(|wanter| {
                (
                    *wanter,
                    answer(
                        &conditions,
                        outcome,
                        &self.runs[&wanter.run].limits(wanter.node),
                    ),
                )
            })
            .partition(|(_, answer)| answer.is_some());
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
            self.works.get_mut(id).wanters = left.into_iter().map(|(wanter, _)| wanter).collect();
            self.settle_limits(id);
            self.offer(id);
        }
        let slot = self.memory.insert(known);
        for (wanter, answer) in answered {
            if let Some(attempts) = attempts.as_ref().filter(|attempts| !attempts.is_empty())
                && let Some(run) = self.runs.get_mut(&wanter.run)
            {
                run.attempts.insert(wanter.node, attempts.clone());
            }
            self.settle(
                wanter,
                TaskState::Computed,
                answer.map(|answer| (slot, answer)),
                at,
            );
        }
        self.revoke(revoked, "another executor was faster");
    }
}
