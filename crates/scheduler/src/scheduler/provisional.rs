//! What is begun on outcomes that are not final, and how it is taken back.

use std::collections::BTreeMap;

use asterism_protocol::{Cid, view::TaskState};

use super::Scheduler;
use crate::{
    affinity::links,
    memory::{Answer, Known, Times},
    works::{Wanter, WorkId, work_key},
};

impl Scheduler {
    /// The instruction that a node waits for, if it is to be done for it.
    pub(super) fn work_of(&self, wanter: Wanter) -> Option<WorkId> {
        let run = self.runs.get(&wanter.run)?;
        let rests_on = run.rests_on(wanter.node, &self.memory);
        let digest = run.digest(wanter.node, &self.memory);
        let key = work_key(digest, &run.header.policy(), &rests_on);
        self.works
            .find(&key)
            .filter(|work| self.works.get(*work).wanters.contains(&wanter))
    }

    /// Are all inputs of an instruction final?
    pub(super) fn is_grounded(&self, id: WorkId) -> bool {
        let Wanter { run, node } = self.works.get(id).wanters[0];
        self.runs[&run].graph.is_grounded(node)
    }

    /// The outcomes among an instruction's inputs that another limit would change.
    pub(super) fn rests_on(&self, id: WorkId) -> Vec<Cid> {
        let Wanter { run, node } = self.works.get(id).wanters[0];
        self.runs[&run].rests_on(node, &self.memory)
    }

    /// Dependants may run on `outcome`, or on the one that nobody disputes.
    pub(super) fn provide(&mut self, id: WorkId, outcome: Option<Cid>) {
        let work = self.works.get(id);
        let Some(proof) = &work.proof else {
            return;
        };
        let told = match outcome {
            Some(outcome) => proof
                .told()
                .map(|(_, told)| told)
                .find(|told| told.named.cid == outcome),
            None => proof.leading(),
        };
        let Some(told) = told else {
            return;
        };
        if let Some(slot) = proof.provisional {
            if self.memory.get(slot).outcome() == told.named.cid {
                return;
            }
            self.retract(id);
            return self.provide(id, outcome);
        }
        let Wanter { run, node } = work.wanters[0];
        let run = &self.runs[&run];
        let (ran, func) = (run.invocation(node), run.func(node));
        let like = self.latest_receipt();
        let receipt = told.receipt(ran, func, &self.metering, like);
        let times = Times {
            leased: told.leased,
            delivered: Some(told.delivered),
            at: told.delivered,
            ..Times::default()
        };
        let blobs = links([told.outcome.out.value()]);
        let known = Known::new(receipt, blobs, times);
        let slot = self.memory.insert_aside(known);
        self.memory.hold(slot, Answer::Whole);
        if let Some(proof) = &mut self.works.get_mut(id).proof {
            proof.provisional = Some(slot);
        }
        for wanter in self.works.get(id).wanters.clone() {
            self.provide_to(id, wanter);
        }
    }

    /// A node runs on the provisional outcome of its instruction, if there is one and it answers.
    pub(super) fn provide_to(&mut self, id: WorkId, wanter: Wanter) {
        let Some(slot) = self
            .works
            .get(id)
            .proof
            .as_ref()
            .and_then(|proof| proof.provisional)
        else {
            return;
        };
        let known = self.memory.get(slot);
        let Some(run) = self.runs.get_mut(&wanter.run) else {
            return;
        };
        let Some(answer) = known.answer(&run.limits(wanter.node)) else {
            return;
        };
        if run.result(wanter.node).get().is_some() {
            return;
        }
        let result = self.memory.hold(slot, answer);
        let mut ready = Vec::new();
        run.provide(wanter.node, result, &self.memory, &mut ready);
        self.ready.extend(ready.into_iter().map(|node| Wanter {
            run: wanter.run,
            node,
        }));
        self.changed_runs.insert(wanter.run);
    }

    /// Takes back the provisional outcome of an instruction, and all that was begun on it.
    pub(super) fn retract(&mut self, id: WorkId) {
        let Some(slot) = self
            .works
            .get_mut(id)
            .proof
            .as_mut()
            .and_then(|proof| proof.provisional.take())
        else {
            return;
        };
        for wanter in self.works.get(id).wanters.clone() {
            let holds = self.runs.get(&wanter.run).is_some_and(|run| {
                let held = run.result(wanter.node).get();
                held.is_some_and(|(held, _)| held == slot)
            });
            if holds {
                self.retract_from(wanter);
            }
        }
        self.memory.release(slot);
        self.mirror(id);
    }

    /// Nodes have no outcome any more; what was begun on them is withdrawn, and so on above.
    pub(super) fn retract_from(&mut self, wanter: Wanter) {
        let mut revoked = BTreeMap::new();
        let mut left = vec![(wanter, TaskState::Ready)];
        while let Some((wanter, then)) = left.pop() {
            // What waits above is found by its inputs, so before they go.
            let Some(run) = self.runs.get(&wanter.run) else {
                continue;
            };
            let mut above: Vec<u32> = run.graph.feeds(wanter.node).collect();
            above.dedup();
            let works: BTreeMap<u32, WorkId> = above
                .into_iter()
                .filter_map(|node| {
                    let run = wanter.run;
                    Some((node, self.work_of(Wanter { run, node })?))
                })
                .collect();
            let mut back = Vec::new();
            let Some(run) = self.runs.get_mut(&wanter.run) else {
                continue;
            };
            let Some(slot) = run.retract(wanter.node, then, &self.memory, &mut back) else {
                continue;
            };
            self.memory.release(slot);
            self.changed_runs.insert(wanter.run);
            for (node, begun) in back {
                let dependant = Wanter {
                    run: wanter.run,
                    node,
                };
                self.ready.retain(|ready| *ready != dependant);
                if begun == TaskState::Provisional {
                    left.push((dependant, TaskState::Waiting));
                }
                if let Some(work) = works.get(&node) {
                    self.unwant(*work, dependant, &mut revoked);
                }
            }
        }
        self.revoke(revoked, "an input of it was found to be wrong");
    }

    /// The nodes above which everything is final now: what waited for that is weighed again.
    pub(super) fn recount_above(&mut self, wanter: Wanter) {
        let Some(run) = self.runs.get(&wanter.run) else {
            return;
        };
        let provisional: Vec<u32> = run
            .graph
            .feeds(wanter.node)
            .filter(|node| run.graph.state(*node) == TaskState::Provisional)
            .collect();
        for node in provisional {
            let above = Wanter {
                run: wanter.run,
                node,
            };
            if let Some(work) = self.work_of(above) {
                self.recount(work);
            }
        }
    }
}
