//! What the journal tells: events taken as they were made, and what is summed up in one.

use asterism_protocol::{Cid, Named, Policy, Signed};

use super::Scheduler;
use crate::{
    Event,
    memory::Known,
    proof::{Pick, Told},
    run::Header,
    trust::Exclusion,
    works::{WorkId, work_key},
};

impl Scheduler {
    /// Takes an event of the journal. What live handling decides beside it is decided again.
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Submitted {
                run,
                at,
                name,
                submitter,
                plan,
                known,
                terms,
            } => {
                self.now = self.now.max(at);
                let header = Header {
                    id: run,
                    workflow: plan.tasks.workflow(),
                    name,
                    submitter,
                    submitted: at,
                    terms,
                };
                if self.find_externals(&plan, &known).is_ok() {
                    let run = self.begin(header, &plan, known);
                    self.enter(run);
                }
            }
            Event::Computed {
                at,
                mut receipt,
                remark,
            } => {
                self.now = self.now.max(at);
                if let Some(latest) = self.latest_receipt() {
                    receipt.share(latest);
                }
                let policy = receipt.evidence().map(|evidence| evidence.policy);
                let policy = policy.unwrap_or_default();
                let work = self.journaled(receipt.instruction(), &policy, receipt.rests_on());
                if let Some(work) = work {
                    let mut known = Known::read(*receipt, at);
                    known.set_remark(&remark);
                    self.become_canonical(work, known);
                }
            }
            Event::Voted {
                at,
                policy,
                rests_on,
                owner,
                outcome,
                attestation,
                remark,
                picked,
            } => {
                self.now = self.now.max(at);
                let work = self.journaled(outcome.instruction, &policy, &rests_on);
                if let Some((work, signed)) = work.zip(Signed::of(&attestation)) {
                    let told = Told {
                        named: Named::of(&outcome),
                        outcome: *outcome,
                        signed,
                        remark: *remark,
                        leased: None,
                        started: None,
                        delivered: at,
                        number: 0,
                        pick: if picked {
                            Pick::Checked
                        } else {
                            Pick::Unpicked
                        },
                    };
                    self.tell(work, None, owner, told);
                    self.recount(work);
                }
            }
            Event::Parted {
                at,
                instruction,
                policy,
                rests_on,
            } => {
                self.now = self.now.max(at);
                if let Some(work) = self.journaled(instruction, &policy, &rests_on) {
                    self.part(work);
                }
            }
            Event::Caught {
                at,
                executor,
                name,
                owner,
                reason,
            } => {
                self.now = self.now.max(at);
                let exclusion = Exclusion {
                    at,
                    name,
                    owner,
                    reason,
                };
                self.convict(&executor, exclusion);
            }
            Event::Banned {
                at,
                executor,
                name,
                owner,
                reason,
            } => {
                self.now = self.now.max(at);
                let exclusion = Exclusion {
                    at,
                    name,
                    owner,
                    reason,
                };
                self.exclude(&executor, exclusion);
            }
            Event::Lifted { at, executor } => {
                self.now = self.now.max(at);
                self.trust.record(executor).excluded = None;
            }
            Event::Repeated {
                at,
                instruction,
                policy,
                rests_on,
                outcome,
                executor,
                agrees: _,
            } => {
                self.now = self.now.max(at);
                if let Some(work) = self.journaled(instruction, &policy, &rests_on) {
                    self.repeat(work, outcome, executor);
                }
            }
            Event::GaveUp {
                at,
                instruction,
                policy,
                rests_on,
                attempts,
            } => {
                self.now = self.now.max(at);
                if let Some(work) = self.journaled(instruction, &policy, &rests_on) {
                    self.give_up(work, &attempts, at);
                }
            }
            Event::TaskCancelled { run, task, at } => {
                self.now = self.now.max(at);
                self.end_task(run, task, at);
            }
            Event::Paused { run, paused } => self.set_paused(run, paused),
            Event::Cancelled { run, at } => {
                self.now = self.now.max(at);
                self.end_run(run, at);
            }
            Event::Records { at, records } => {
                self.now = self.now.max(at);
                self.trust.restore(records);
            }
            Event::LeasesReserved { up_to } => {
                self.leases_reserved = self.leases_reserved.max(up_to)
            }
        }
    }

    /// Says how often executors were right, so that the journal need not keep what told it. Then
    /// [`Scheduler::poll_output`] is to be drained.
    pub fn sum_up(&mut self) {
        let event = self.records();
        self.persist(event);
    }

    /// What is known of executors, as an event.
    pub(crate) fn records(&self) -> Event {
        let (at, records) = (self.now, self.trust.summary());
        Event::Records { at, records }
    }

    /// The instruction that an event is about.
    fn journaled(&self, instruction: Cid, policy: &Policy, rests_on: &[Cid]) -> Option<WorkId> {
        self.works
            .find(&work_key(&instruction.digest(), policy, rests_on))
    }
}
