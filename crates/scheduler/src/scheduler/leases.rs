//! Leases: who gets what, and what becomes of it when nothing comes of it.

use std::collections::BTreeMap;

use asterism_protocol::{
    Cid, Encoded, PublicKey, Timestamp, limits,
    message::{Fault, FaultKind, Lease as LeaseMessage, LeaseId, ToExecutor},
    view::{AttemptView, TaskState},
};

use super::{Due, Scheduler};
use crate::{
    Config, Event, Output,
    executors::Executor,
    leases::{Lease, Why},
    matching::Asker,
    run::LEASE_BYTES_MAX,
    trust::Trust,
    works::{Wanter, WorkId},
};

/// How many lease numbers are reserved in the journal at a time: more than a scheduler ever gives out.
const LEASE_BLOCK: u64 = 1 << 32;

/// After so many bytes of tasks and inputs, an answer to a poll takes no further lease: whatever lease comes last, the
/// frame has 256 KiB left for what is around them.
const ASSIGN_BYTES_MAX: usize = limits::FRAME_BYTES_MAX - LEASE_BYTES_MAX - (256 << 10);

impl Scheduler {
    /// Ready tasks go to those who wait, one each in turn.
    pub(super) fn assign(&mut self) {
        if self.held.is_some() {
            return;
        }
        let durable_before = self.leases_reserved;
        let mut given: BTreeMap<PublicKey, (Vec<LeaseMessage>, usize)> = BTreeMap::new();
        let mut turn = 0;
        while self.works.any_queued() {
            let Some((at, key)) = self
                .executors
                .turns
                .range(turn..)
                .next()
                .map(|(at, key)| (*at, *key))
            else {
                break;
            };
            turn = at + 1;
            let Some(executor) = self.executors.by_key.get(&key) else {
                continue;
            };
            let asker = asker(&self.config, &self.trust, &key, executor, self.now);
            if asker.barred.is_some() {
                continue;
            }
            let window = self.config.affinity;
            let Some((work, run)) = self.works.pick(&asker, &executor.holdings, window) else {
                continue;
            };
            let Some((at, key, why)) = self.fittest(at, key, work) else {
                continue;
            };
            if !matches!(why, Why::Turn(_)) {
                // Whoever's turn it was has it still.
                turn -= 1;
            }
            self.works.flows.served(run, self.now);
            let id = self.number();
            self.lease_to(id, work, &key, why);
            let (lease, bytes) = self.write_lease(id, work);
            let (leases, total) = given.entry(key).or_insert_with(|| {
                let executor = self.executors.by_key.get(&key);
                let poll = executor.and_then(|executor| executor.poll.as_ref());
                let slots = poll.map_or(0, |poll| poll.slots as usize);
                (
                    Vec::with_capacity(slots.min(self.works.flows.queued() + 1)),
                    0,
                )
            });
            leases.push(lease);
            *total += bytes;
            let full = *total > ASSIGN_BYTES_MAX;
            let (next_turn, alone) = (self.executors.next_turn(), self.executors.turns.len() == 1);
            let Some(poll) = self
                .executors
                .by_key
                .get_mut(&key)
                .and_then(|executor| executor.poll.as_mut())
            else {
                continue;
            };
            poll.slots -= 1;
            let goes_on = poll.slots > 0 && !full;
            if goes_on && alone {
                // Behind all others it would be where it is.
                turn = at;
                continue;
            }
            poll.turn = next_turn;
            self.executors.turns.remove(&at);
            if goes_on {
                self.executors.turns.insert(next_turn, key);
            }
        }
        self.back_up(&mut given);
        for (key, (leases, _)) in given {
            self.end_poll(&key);
            let Some(connection) = self.executors.connection_of(&key) else {
                continue;
            };
            let durable = leases.iter().all(|lease| lease.id.0 <= durable_before);
            let message = ToExecutor::Assign { leases };
            self.outputs.push_back(if durable {
                Output::Send {
                    connection,
                    message,
                }
            } else {
                Output::Acknowledge {
                    connection,
                    message,
                }
            });
            self.changed_executors.insert(key);
        }
    }

    /// How many instructions wait for executors beside those that wait here, none of which may have them. Nothing waits while it is
    /// paused or held.
    #[must_use]
    pub fn unmet(&self) -> usize {
        match self.held {
            Some(_) => 0,
            None => self.works.flows.queued(),
        }
    }

    /// Who gets an instruction: of the first that wait, whoever has a thread that does nothing; of those the one that has to
    /// fetch least for it; of those the fastest, if it is much faster; then the first. Where outcomes are compared it is
    /// always whose turn it is: what executors say of themselves must not decide whom their words are compared with.
    fn fittest(&self, at: u64, key: PublicKey, work: WorkId) -> Option<(u64, PublicKey, Why)> {
        let by_key = &self.executors.by_key;
        let work = self.works.get(work);
        let mut best = by_key.get(&key)?;
        let fit = best.holdings.fit(&work.wants);
        let (mut chosen, mut least) = ((at, key, Why::Turn(fit)), (best.load(), fit.cost()));
        if work.proof.is_some() {
            return Some(chosen);
        }
        let others = self.executors.turns.range(at + 1..);
        for (at, key) in others.take(self.config.affinity.saturating_sub(1)) {
            let Some(executor) = by_key.get(key) else {
                continue;
            };
            let faster = executor.is_faster(best);
            if least == (0, 0) && !faster {
                continue;
            }
            let fit = executor.holdings.fit(&work.wants);
            let needs = (executor.load(), fit.cost());
            if needs > least || needs == least && !faster {
                continue;
            }
            let asker = asker(&self.config, &self.trust, key, executor, self.now);
            if asker.barred.is_some() || !work.suits(&asker) {
                continue;
            }
            chosen = (*at, *key, Why::Fitter(fit));
            (best, least) = (executor, needs);
        }
        Some(chosen)
    }

    /// Executors that have nothing else to do get what others are slow with.
    fn back_up(&mut self, given: &mut BTreeMap<PublicKey, (Vec<LeaseMessage>, usize)>) {
        let mut turn = 0;
        while !self.works.stragglers.is_empty() && !self.works.flows.all_paused {
            let next = self.executors.turns.range(turn..).next();
            let Some((at, key)) = next.map(|(at, key)| (*at, *key)) else {
                break;
            };
            turn = at + 1;
            let Some(executor) = self.executors.by_key.get(&key) else {
                continue;
            };
            let asker = asker(&self.config, &self.trust, &key, executor, self.now);
            if asker.barred.is_some() || given.contains_key(&key) {
                continue;
            }
            let holds = |work: WorkId| {
                let mut leases = self.works.get(work).leases.iter();
                leases.any(|lease| {
                    self.leases
                        .get(*lease)
                        .is_some_and(|lease| lease.key == key)
                })
            };
            let Some(work) = self.works.pick_straggler(&asker, holds) else {
                continue;
            };
            self.works.stragglers.remove(&work);
            let id = self.number();
            self.lease_to(id, work, &key, Why::Backup);
            given.insert(key, (vec![self.write_lease(id, work).0], 0));
        }
    }

    /// A lease number never given out before, not even by a scheduler before this one.
    pub(super) fn number(&mut self) -> LeaseId {
        self.reserve_numbers();
        let id = LeaseId(self.next_lease);
        self.next_lease += self.config.step();
        id
    }

    /// Sees to it that numbers are reserved. Executors are welcomed once that is durable, and poll after that: so no
    /// number reaches anybody that another scheduler would give out again.
    pub(super) fn reserve_numbers(&mut self) {
        if self.next_lease > self.leases_reserved {
            self.leases_reserved = self.next_lease + LEASE_BLOCK * self.config.step();
            self.persist(Event::LeasesReserved {
                up_to: self.leases_reserved,
            });
        }
    }

    pub(super) fn lease_to(&mut self, id: LeaseId, work: WorkId, key: &PublicKey, why: Why) {
        self.works.unqueue(work);
        let verified = self.works.get(work).proof.is_some();
        let owner = verified.then(|| self.owner_of(key));
        let entry = self.works.get_mut(work);
        entry.leases.push(id);
        if let (Some(proof), Some(owner)) = (&mut entry.proof, owner) {
            proof.asked.push((id, *key, owner));
        }
        let limits = entry.limits;
        if let Some(trouble) = &mut entry.trouble
            && let Some(until) = trouble.backoff.take()
        {
            self.dues.remove(&(until, Due::Backoff(work)));
        }
        let deadline = self.now.after_ms(self.config.lease_ms);
        if let Some(executor) = self.executors.by_key.get_mut(key) {
            let lease = Lease {
                work,
                key: *key,
                limits,
                leased: self.now,
                started: None,
                why,
                deadline,
            };
            self.leases.insert(id, lease, &mut executor.leases);
            executor.holdings.fetch(&self.works.get(work).wants);
        }
        if self.works.get(work).wants_more() {
            self.works.queue(work, self.now);
        }
        self.mirror(work);
    }

    /// A lease as it is sent, and the size of what is in it.
    pub(super) fn write_lease(&self, id: LeaseId, work: WorkId) -> (LeaseMessage, usize) {
        let work = self.works.get(work);
        let Wanter { run, node } = work.wanters[0];
        let run = &self.runs[&run];
        let task = run.encoded(node, &self.memory);
        let bytes = task.len() + run.input_bytes(node, &self.memory);
        let lease = LeaseMessage {
            id,
            task: Encoded::trusted(task),
            inputs: run.inputs(node, &self.memory),
            limits: work.limits,
            lease_ms: self.config.lease_ms,
            workflow: run.header.name.clone(),
            submitter: run.header.submitter.clone(),
            commit: work.proof.is_some(),
        };
        (lease, bytes)
    }

    /// Ends a lease, whatever came of it. The instruction is not offered again yet.
    pub(super) fn end_lease(&mut self, id: LeaseId) -> Option<Lease> {
        let key = self.leases.get(id)?.key;
        let executor = self.executors.by_key.get_mut(&key)?;
        let lease = self.leases.remove_of(id, &key, &mut executor.leases)?;
        self.changed_executors.insert(key);
        self.leave(id, &lease);
        Some(lease)
    }

    /// An instruction has a lease no longer.
    fn leave(&mut self, id: LeaseId, lease: &Lease) {
        let work = self.works.get_mut(lease.work);
        work.leases.retain(|other| *other != id);
        if let Some(proof) = &mut work.proof {
            proof.lease_ended(id);
        }
    }

    /// Ends a lease if it is this executor's.
    pub(super) fn end_own_lease(&mut self, key: &PublicKey, id: LeaseId) -> Option<WorkId> {
        let executor = self.executors.by_key.get_mut(key)?;
        let lease = self.leases.remove_of(id, key, &mut executor.leases)?;
        self.changed_executors.insert(*key);
        self.leave(id, &lease);
        Some(lease.work)
    }

    /// An instruction waits for an executor, unless one holds it; its nodes are told. While somebody is kept from it,
    /// the end of that pause comes due.
    pub(super) fn offer(&mut self, id: WorkId) {
        let now = self.now;
        self.works.queue(id, now);
        let work = self.works.get_mut(id);
        let held = !work.wants_more();
        if let Some(trouble) = &mut work.trouble {
            let pauses = trouble
                .avoid
                .iter()
                .map(|(_, until)| *until)
                .filter(|until| *until > now && !held);
            let next = pauses.min();
            let before = std::mem::replace(&mut trouble.backoff, next);
            if let Some(before) = before {
                self.dues.remove(&(before, Due::Backoff(id)));
            }
            if let Some(next) = next {
                self.dues.insert((next, Due::Backoff(id)));
            }
        }
        self.mirror(id);
    }

    /// Nodes show where their instruction stands.
    pub(super) fn mirror(&mut self, work: WorkId) {
        let work = self.works.get(work);
        let (state, held) = (work.state(), !work.leases.is_empty());
        for Wanter { run: id, node } in &work.wanters {
            if let Some(run) = self.runs.get_mut(id) {
                let state = match state {
                    // Its limits are others': the outcome does not answer it.
                    TaskState::Provisional if run.result(*node).get().is_none() && held => {
                        TaskState::Leased
                    }
                    TaskState::Provisional if run.result(*node).get().is_none() => TaskState::Ready,
                    state => state,
                };
                run.graph.set(*node, state);
                run.graph.touch(*node);
                self.changed_runs.insert(*id);
            }
        }
    }

    /// A lease was lost: an attempt that came to nothing.
    pub(super) fn lose(&mut self, id: LeaseId, reason: &str) {
        if let Some(lease) = self.end_lease(id) {
            let fault = Fault {
                kind: FaultKind::Lost,
                message: reason.to_owned(),
            };
            self.attempt_failed(lease.work, lease.key, fault);
            self.forget_if_gone(&lease.key);
        }
    }

    pub(super) fn lose_executor(&mut self, key: &PublicKey, reason: &str) {
        for lease in self.leases_of(key) {
            self.lose(lease, reason);
        }
        self.forget_if_gone(key);
    }

    /// An executor that is neither connected nor holds anything is not waited for.
    pub(super) fn forget_if_gone(&mut self, key: &PublicKey) {
        let Some(executor) = self.executors.by_key.get(key) else {
            return;
        };
        if executor.connection.is_none() && executor.leases.is_empty() {
            if let Some(until) = executor.grace {
                self.dues.remove(&(until, Due::Reconnect(*key)));
            }
            self.executors.forget(key);
            self.changed_executors.remove(key);
        }
    }

    pub(super) fn attempt_failed(&mut self, id: WorkId, key: PublicKey, fault: Fault) {
        let (now, config) = (self.now, &self.config);
        self.works.stragglers.remove(&id);
        let work = self.works.get_mut(id);
        let trouble = work.trouble.get_or_insert_default();
        trouble.attempts.push(AttemptView {
            executor: key,
            ended: now,
            fault,
        });
        let failed = trouble.attempts.len() as u32;
        let without_stack = trouble
            .attempts
            .iter()
            .filter(|attempt| attempt.fault.kind == FaultKind::StackOverflow);
        let is_hopeless = without_stack.count() as u32 >= config.stack_attempts_max;
        if failed >= config.attempts_max || is_hopeless {
            let attempts = std::mem::take(&mut trouble.attempts);
            let (instruction, policy) = (Cid::of_content_digest(work.digest), work.policy);
            let rests_on = self.rests_on(id);
            self.persist(Event::GaveUp {
                at: now,
                instruction,
                policy,
                rests_on,
                attempts: attempts.clone(),
            });
            self.give_up(id, &attempts, now);
            return self.follow();
        }
        // Half of the pause is jitter, so that tasks that failed together do not come back together.
        let pause = config
            .backoff_base_ms
            .saturating_mul(1 << (failed - 1).min(20))
            .min(config.backoff_cap_ms);
        let until = now.after_ms(pause - pause / 2 + self.random.below(pause / 2 + 1));
        trouble
            .avoid
            .retain(|(other, until)| *other != key && *until > now);
        trouble.avoid.push((key, until));
        self.offer(id);
    }

    /// An instruction's attempts are used up: whoever waits for it fails.
    pub(super) fn give_up(&mut self, id: WorkId, attempts: &[AttemptView], at: Timestamp) {
        self.retract(id);
        let wanters = self.works.get(id).wanters.clone();
        let mut revoked = BTreeMap::new();
        self.drop_work(id, &mut revoked);
        for wanter in wanters {
            if let Some(run) = self.runs.get_mut(&wanter.run) {
                run.attempts.insert(wanter.node, attempts.to_vec());
            }
            self.settle(wanter, TaskState::Failed, None, at);
        }
        self.revoke(revoked, "the task was given up");
    }

    /// The leases that an executor holds.
    pub(super) fn leases_of(&self, key: &PublicKey) -> Vec<LeaseId> {
        let executor = self.executors.by_key.get(key).into_iter();
        let leases = executor.flat_map(|executor| self.leases.of(&executor.leases));
        leases.map(|(id, _)| id).collect()
    }

    pub(super) fn extend_lease(&mut self, id: LeaseId) {
        self.leases
            .extend(id, self.now.after_ms(self.config.lease_ms));
        let Some(lease) = self.leases.get(id) else {
            return;
        };
        // It lives, and is slow: whoever has nothing else to do may overtake it.
        let slow = self.now.since_ms(lease.leased) >= self.config.straggler_ms;
        let work = lease.work;
        let entry = self.works.get(work);
        let is_effectful = entry
            .needs
            .as_ref()
            .is_some_and(|needs| needs.0.is_effectful());
        if slow && !is_effectful && entry.leases.len() == 1 && entry.queued.is_none() {
            self.works.stragglers.insert(work);
        }
    }
}

/// An executor that asks for work, or that could.
pub(super) fn asker<'a>(
    config: &Config,
    trust: &Trust,
    key: &'a PublicKey,
    executor: &'a Executor,
    now: Timestamp,
) -> Asker<'a> {
    let excluded = trust.excluded(key).is_some();
    Asker {
        key,
        connection: executor.connection,
        owner: &executor.owner,
        name: &executor.name,
        capabilities: &executor.capabilities,
        memory: executor.capabilities.memory,
        trusted: !excluded && config.trusted.contains(key),
        barred: if excluded {
            Some("it is excluded")
        } else if executor.draining {
            Some("the operator drains it")
        } else {
            None
        },
        now,
    }
}
