//! Runs: accepted, planned, ended, recovered, forgotten.

use std::collections::{BTreeMap, BTreeSet};

use asterism_protocol::{
    Receipt, Timestamp, Workflow, limits,
    message::{LeaseId, ToExecutor},
    view::{RunId, TaskState},
};

use super::{Due, Scheduler};
use crate::{
    ConnectionId, Event, Output, RequestId, Submission, SubmitError,
    digests::Digest,
    executors::shorten,
    memory::{Answer, Held, Known},
    run::{Header, LEASE_BYTES_MAX, Plan, Run, rank, replayed},
    works::{Wanter, WorkId},
};

impl Scheduler {
    pub(super) fn submit(&mut self, request: RequestId, submission: Submission) {
        let result = self.accept(submission);
        self.outputs.push_back(Output::Reply { request, result });
    }

    pub(super) fn accept(&mut self, submission: Submission) -> Result<RunId, SubmitError> {
        let Submission {
            prepared,
            name,
            submitter,
            known,
            terms: _,
        } = submission;
        let live: usize = self
            .running
            .iter()
            .map(|run| self.runs[run].graph.open() as usize)
            .sum();
        let max = self.config.live_tasks_max;
        if live + prepared.workflow.tasks.len() > max {
            return Err(SubmitError::Full { live, max });
        }
        let workflow = prepared.workflow.clone();
        let names = prepared.names.clone();
        let header = Header {
            id: RunId(self.next_run),
            workflow: prepared.workflow.cid(),
            name: shorten(&name, limits::NAME_BYTES_MAX),
            submitter: shorten(&submitter, limits::NAME_BYTES_MAX),
            submitted: self.now,
        };
        let (run, name, submitter) = (header.id, header.name.clone(), header.submitter.clone());
        let plan = self.plan(prepared.workflow, prepared.names, &known)?;
        let begun = self.begin(header, plan, known);
        let known = replayed(&begun, &self.memory);
        let at = self.now;
        self.persist(Event::Submitted {
            run,
            at,
            name,
            submitter,
            workflow,
            names,
            known,
        });
        self.enter(begun);
        Ok(run)
    }

    pub(super) fn plan(
        &self,
        workflow: Workflow,
        names: Vec<String>,
        known: &[Receipt],
    ) -> Result<Plan, SubmitError> {
        let told: BTreeSet<Digest> = known
            .iter()
            .filter_map(|receipt| Some(receipt.outcome()?.instruction.digest()))
            .collect();
        Plan::read(workflow, names, |digest| {
            told.contains(digest) || self.memory.find(digest).is_some()
        })
    }

    /// Makes a run of a plan, with what memory and the submission know of it.
    pub(super) fn begin(&mut self, header: Header, plan: Plan, known: Vec<Receipt>) -> Run {
        let mut told: BTreeMap<Digest, Known> = known
            .into_iter()
            .filter_map(Known::read)
            .map(|known| (known.digest(), known))
            .collect();
        let results = plan
            .requests()
            .map(|(digest, limits)| {
                let answers = |known: &Known| match &limits {
                    Some(limits) => known.answer(limits),
                    None => Some(Answer::Whole),
                };
                let in_memory = self
                    .memory
                    .find(digest)
                    .and_then(|(slot, known)| Some((slot, answers(known)?)));
                let found = in_memory.or_else(|| {
                    let answer = answers(told.get(digest)?)?;
                    Some((self.memory.insert(told.remove(digest)?), answer))
                });
                found.map_or(Held::NOTHING, |(slot, answer)| {
                    self.memory.hold(slot);
                    Held::new(slot, answer)
                })
            })
            .collect();
        let mut ready = Vec::new();
        let run = Run::new(header, plan, results, &self.memory, &mut ready);
        self.ready.extend(ready.into_iter().map(|node| Wanter {
            run: run.header.id,
            node,
        }));
        run
    }

    /// A run that was begun takes its place.
    pub(super) fn enter(&mut self, run: Run) {
        let id = run.header.id;
        self.next_run = self.next_run.max(id.0 + 1);
        self.latest.insert(run.header.workflow, id);
        let submitted = run.header.submitted;
        self.runs.insert(id, run);
        self.running.insert(id);
        self.changed_runs.insert(id);
        self.finish_if_done(id, submitted);
    }

    pub(super) fn finish_if_done(&mut self, id: RunId, at: Timestamp) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        if run.graph.open() == 0 && self.running.remove(&id) {
            run.finished = Some(at);
            self.finished.push_back(id);
        }
    }

    pub(super) fn cancel(&mut self, request: RequestId, run: RunId) {
        let result = if !self.runs.contains_key(&run) {
            Err(SubmitError::UnknownRun(run))
        } else {
            if self.running.contains(&run) {
                let at = self.now;
                self.persist(Event::Cancelled { run, at });
                self.end_run(run, at);
            }
            Ok(run)
        };
        self.outputs.push_back(Output::Reply { request, result });
    }

    /// Cancels whatever of a run is not done; what another run wants goes on for it.
    pub(super) fn end_run(&mut self, id: RunId, at: Timestamp) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        let mut left = Vec::new();
        for node in 0..run.graph.len() {
            match run.graph.state(node) {
                TaskState::Waiting
                | TaskState::Ready
                | TaskState::Leased
                | TaskState::Provisional => {
                    left.extend(
                        self.works
                            .find(&run.digests[node as usize])
                            .map(|work| (work, node)),
                    );
                    run.graph.set(node, TaskState::Cancelled);
                }
                TaskState::Computed
                | TaskState::Replayed
                | TaskState::Skipped
                | TaskState::Failed
                | TaskState::Cancelled => {}
            }
        }
        run.cancelled = true;
        self.changed_runs.insert(id);
        self.ready.retain(|wanter| wanter.run != id);
        self.finish_if_done(id, at);
        let mut revoked = BTreeMap::new();
        for (work, node) in left {
            self.unwant(work, Wanter { run: id, node }, &mut revoked);
        }
        self.revoke(revoked, "the run was cancelled");
    }

    /// A node wants an instruction no longer. Leases that nobody wants then are noted in `revoked`.
    pub(super) fn unwant(
        &mut self,
        id: WorkId,
        wanter: Wanter,
        revoked: &mut BTreeMap<ConnectionId, Vec<LeaseId>>,
    ) {
        let work = self.works.get_mut(id);
        work.wanters.retain(|other| *other != wanter);
        if work.wanters.is_empty() {
            self.drop_work(id, revoked);
        } else {
            self.settle_limits(id);
            self.offer(id);
        }
    }

    /// Puts the wanter with the largest limits first. Its limits are leased: an outcome under them answers at least itself.
    pub(super) fn settle_limits(&mut self, id: WorkId) {
        let work = self.works.get_mut(id);
        let limits = |wanter: &Wanter| self.runs[&wanter.run].limits(wanter.node);
        let largest = (0..work.wanters.len())
            .rev()
            .max_by_key(|at| rank(&limits(&work.wanters[*at])))
            .unwrap_or(0);
        work.wanters.swap(0, largest);
        work.limits = limits(&work.wanters[0]);
    }

    /// Ends all leases of an instruction and forgets it.
    pub(super) fn drop_work(
        &mut self,
        id: WorkId,
        revoked: &mut BTreeMap<ConnectionId, Vec<LeaseId>>,
    ) {
        for lease in self.works.get(id).leases.clone() {
            let Some(lease_entry) = self.end_lease(lease) else {
                continue;
            };
            if let Some(connection) = self.executors.connection_of(&lease_entry.key) {
                revoked.entry(connection).or_default().push(lease);
            }
        }
        let work = self.works.remove(id);
        if let Some(until) = work.trouble.and_then(|trouble| trouble.backoff) {
            self.dues.remove(&(until, Due::Backoff(id)));
        }
    }

    /// Tells executors to stop, once the reason is durable.
    pub(super) fn revoke(&mut self, revoked: BTreeMap<ConnectionId, Vec<LeaseId>>, reason: &str) {
        for (connection, leases) in revoked {
            let message = ToExecutor::Revoke {
                leases,
                reason: reason.to_owned(),
            };
            self.acknowledge(connection, message);
        }
    }

    /// Nodes that became ready are answered from memory, or become work.
    pub(super) fn look_at_ready(&mut self) {
        while let Some(wanter) = self.ready.pop_front() {
            let Some(run) = self.runs.get(&wanter.run) else {
                continue;
            };
            let (digest, limits) = (run.digests[wanter.node as usize], run.limits(wanter.node));
            let known = self
                .memory
                .find(&digest)
                .and_then(|(slot, known)| Some((slot, known.answer(&limits)?)));
            if let Some((slot, answer)) = known {
                self.settle(wanter, TaskState::Replayed, Some((slot, answer)), self.now);
            } else if run.lease_bytes(wanter.node, &self.memory) > LEASE_BYTES_MAX {
                self.settle(wanter, TaskState::Failed, None, self.now);
            } else if let Some(work) = self.works.find(&digest) {
                self.works.get_mut(work).wanters.push(wanter);
                self.settle_limits(work);
                self.offer(work);
            } else {
                let work = self.works.insert(digest, wanter, limits);
                self.offer(work);
            }
        }
    }

    /// Ends a node, holding its receipt if it has one; what it feeds becomes ready or fails.
    pub(super) fn settle(
        &mut self,
        wanter: Wanter,
        state: TaskState,
        result: Option<(u32, Answer)>,
        at: Timestamp,
    ) {
        let Some(run) = self.runs.get_mut(&wanter.run) else {
            return;
        };
        let held = result.map_or(Held::NOTHING, |(slot, answer)| {
            self.memory.hold(slot);
            Held::new(slot, answer)
        });
        let mut ready = Vec::new();
        run.settle(wanter.node, state, held, &self.memory, &mut ready);
        self.ready.extend(ready.into_iter().map(|node| Wanter {
            run: wanter.run,
            node,
        }));
        self.changed_runs.insert(wanter.run);
        self.finish_if_done(wanter.run, at);
    }

    /// Takes an event of the journal. What live handling decides beside it is decided again.
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Submitted {
                run,
                at,
                name,
                submitter,
                workflow,
                names,
                known,
            } => {
                self.now = self.now.max(at);
                let cid = workflow.cid();
                let header = Header {
                    id: run,
                    workflow: cid,
                    name,
                    submitter,
                    submitted: at,
                };
                // What was accepted once is a workflow; a journal that says otherwise is not of this program.
                if let Ok(plan) = self.plan(workflow, names, &known) {
                    let run = self.begin(header, plan, known);
                    self.enter(run);
                }
            }
            Event::Computed {
                at,
                receipt,
                remark,
            } => {
                self.now = self.now.max(at);
                if let Some(mut known) = Known::read(*receipt) {
                    (known.at, known.remark) = (at, Some(*remark));
                    if let Some(outcome) = known.receipt.outcome() {
                        self.become_canonical(known, &outcome);
                    }
                }
            }
            Event::GaveUp {
                at,
                instruction,
                attempts,
            } => {
                self.now = self.now.max(at);
                if let Some(work) = self.works.find(&instruction.digest()) {
                    self.give_up(work, &attempts, at);
                }
            }
            Event::Cancelled { run, at } => {
                self.now = self.now.max(at);
                self.end_run(run, at);
            }
            Event::LeasesReserved { up_to } => {
                self.leases_reserved = self.leases_reserved.max(up_to)
            }
        }
    }

    /// Forgets the runs that finished first, beyond those that are kept for show.
    pub(super) fn evict(&mut self) {
        while self.finished.len() > self.config.finished_runs_max {
            let Some(run) = self
                .finished
                .pop_front()
                .and_then(|id| self.runs.remove(&id))
            else {
                continue;
            };
            for (slot, _) in run.results().iter().filter_map(|held| held.get()) {
                self.memory.release(slot);
            }
            let id = run.header.id;
            if self.latest.get(&run.header.workflow) == Some(&id) {
                self.latest.remove(&run.header.workflow);
            }
            self.watched.remove(&id);
        }
    }
}
