//! Runs: accepted, planned, ended, forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use asterism_protocol::{
    Attested, Cid, Timestamp, limits,
    message::{Change, LeaseId, ToExecutor},
    view::{RunId, TaskState},
};

use super::{Due, Scheduler};
use crate::{
    ConnectionId, Event, Output, RequestId, Submission, SubmitError,
    digests::Digest,
    executors::shorten,
    memory::{Answer, Held, Known, best},
    planned::{Planned, rank},
    run::{Header, Run, replayed},
    works::{NewWork, Wanter, WorkId, memory_key, work_key},
};

impl Scheduler {
    pub(super) fn submit(&mut self, request: RequestId, submission: Submission) {
        let result = self.accept(submission);
        self.outputs.push_back(Output::Reply { request, result });
    }

    pub(super) fn accept(&mut self, submission: Submission) -> Result<RunId, SubmitError> {
        let Submission {
            plan,
            name,
            submitter,
            known,
            mut terms,
        } = submission;
        terms.check()?;
        // What others make is no receipt that this program could stand for.
        let known: Vec<Attested> = known.iter().filter_map(Attested::read).collect();
        let policy = *terms.verify.get_or_insert(self.config.verify);
        if policy.commits()
            && let Some(task) = plan.effectful()
        {
            return Err(SubmitError::Incomparable { task, policy });
        }
        let submitter = shorten(&submitter, limits::NAME_BYTES_MAX);
        let (mut live, mut of_submitter) = (0, 0);
        for run in self.running.iter().map(|run| &self.runs[run]) {
            let open = run.graph.open() as usize;
            live += open;
            if run.header.submitter == submitter {
                of_submitter += open;
            }
        }
        let wanted = plan.tasks.len();
        let max = self.config.live_tasks_max;
        if live + wanted > max {
            return Err(SubmitError::Full { live, max });
        }
        let max = self.config.submitter_tasks_max;
        if of_submitter + wanted > max {
            let live = of_submitter;
            return Err(SubmitError::Quota {
                submitter,
                live,
                wanted,
                max,
            });
        }
        self.find_externals(&plan, &known)?;
        let header = Header {
            id: RunId(self.next_run),
            workflow: plan.tasks.workflow(),
            name: shorten(&name, limits::NAME_BYTES_MAX),
            submitter,
            submitted: self.now,
            terms,
        };
        let (run, name, submitter) = (header.id, header.name.clone(), header.submitter.clone());
        let begun = self.begin(header, &plan, known);
        let known = replayed(&begun, &self.memory);
        let at = self.now;
        self.persist(Event::Submitted {
            run,
            at,
            name,
            submitter,
            plan: Arc::new(plan),
            known,
            terms,
        });
        self.enter(begun);
        Ok(run)
    }

    /// Is everything known that is awaited from outside of the workflow?
    pub(super) fn find_externals(
        &self,
        plan: &Planned,
        known: &[Attested],
    ) -> Result<(), SubmitError> {
        if plan.externals.is_empty() {
            return Ok(());
        }
        // What rests on inputs that depended on limits answers for an instruction only beside those.
        let told: BTreeSet<Digest> = known
            .iter()
            .filter(|receipt| receipt.rests_on().is_empty())
            .map(|receipt| receipt.instruction().digest())
            .collect();
        // What such receipts are found by anybody can name: that is no instruction.
        let remembered = |digest: &Digest| {
            let found = self.memory.find(digest);
            found.is_some_and(|(_, known)| known.receipt.instruction_digest() == digest)
        };
        let is_known = |instruction: &Cid| {
            let digest = instruction.digest();
            Cid::of_content_digest(digest) == *instruction
                && (told.contains(&digest) || remembered(&digest))
        };
        match plan
            .externals
            .iter()
            .find(|(_, instruction)| !is_known(instruction))
        {
            Some((task, instruction)) => Err(SubmitError::UnknownPromise {
                task: *task as usize,
                instruction: *instruction,
            }),
            None => Ok(()),
        }
    }

    /// Makes a run of a plan, with what memory and the submission know of it.
    pub(super) fn begin(
        &mut self,
        header: Header,
        plan: &Planned,
        mut known: Vec<Attested>,
    ) -> Run {
        for at in 1..known.len() {
            if let (before, [receipt, ..]) = known.split_at_mut(at) {
                receipt.share(&before[at - 1]);
            }
        }
        let mut told: BTreeMap<(Digest, usize), Known> = known
            .into_iter()
            .enumerate()
            .map(|(place, receipt)| {
                let known = Known::read(receipt, Timestamp::default());
                ((*known.digest(), place), known)
            })
            .collect();
        let (policy, force) = (header.policy(), header.terms.force);
        let results = plan
            .requests()
            .map(|(digest, kind)| {
                let serves = |known: &Known| match kind {
                    // What was done for its effects is not done again to compare.
                    Some(kind) if force && !kind.is_effectful => None,
                    Some(kind) => known.serve(&kind.limits, &policy),
                    None => Some(known.serve_all()),
                };
                let remembered = best(self.memory.all(digest), serves);
                let brought = told.range((*digest, 0)..=(*digest, usize::MAX));
                let newest_first = brought.rev().map(|((_, place), known)| (*place, known));
                let brought = best(newest_first, serves);
                let better = brought.filter(|(merit, ..)| {
                    remembered.is_none_or(|(remembered, ..)| *merit > remembered)
                });
                let found = match better {
                    Some((_, place, answer)) => told
                        .remove(&(*digest, place))
                        .map(|known| (self.memory.insert(known), answer)),
                    None => remembered.map(|(_, slot, answer)| (slot, answer)),
                };
                found.map_or(Held::NOTHING, |(slot, answer)| {
                    self.memory.hold(slot, answer)
                })
            })
            .collect();
        let mut ready = Vec::new();
        let share = self.config.shares.get(&header.submitter).copied();
        self.works
            .flows
            .open(header.id, &header, share.unwrap_or(1));
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
        self.next_run = self.next_run.max(self.config.number_from(id.0 + 1));
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
            run.finish(at);
            self.finished.push_back(id);
            self.works.flows.close(id);
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
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        let nodes = 0..run.graph.len();
        let open: Vec<u32> = nodes.filter(|node| run.graph.is_open(*node)).collect();
        // Works are found by what their nodes await, so before any of them is cancelled.
        let left: Vec<(WorkId, u32)> = open
            .iter()
            .filter_map(|node| {
                Some((
                    self.work_of(Wanter {
                        run: id,
                        node: *node,
                    })?,
                    *node,
                ))
            })
            .collect();
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        for node in open {
            if run.graph.state(node) == TaskState::Provisional
                && let Some(slot) = run.drop_provisional(node)
            {
                self.memory.release(slot);
            }
            run.graph.set(node, TaskState::Cancelled);
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

    pub(super) fn cancel_task(&mut self, request: RequestId, run: RunId, task: u32) {
        let result = match self.runs.get(&run) {
            None => Err(SubmitError::UnknownRun(run)),
            Some(entry) if task >= entry.len() => Err(SubmitError::UnknownTask { run, task }),
            Some(entry) => {
                if entry.graph.is_open(entry.contents.node_of_task.at(task)) {
                    let at = self.now;
                    self.persist(Event::TaskCancelled { run, task, at });
                    self.end_task(run, task, at);
                }
                Ok(run)
            }
        };
        self.outputs.push_back(Output::Reply { request, result });
    }

    /// Cancels a task, and with it the tasks that ask for the same; what awaits them fails.
    pub(super) fn end_task(&mut self, id: RunId, task: u32, at: Timestamp) {
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        let Some(node) = run.contents.node_of_task.get(task) else {
            return;
        };
        let wanter = Wanter { run: id, node };
        if !run.graph.is_open(node) {
            return;
        }
        if run.graph.state(node) == TaskState::Provisional {
            self.retract_from(wanter);
        }
        let work = self.work_of(wanter);
        self.ready.retain(|other| *other != wanter);
        if let Some(run) = self.runs.get_mut(&id) {
            run.notes.insert(node, "it was cancelled".to_owned());
        }
        self.settle(wanter, TaskState::Cancelled, None, at);
        let mut revoked = BTreeMap::new();
        if let Some(work) = work {
            self.unwant(work, wanter, &mut revoked);
        }
        self.revoke(revoked, "the task was cancelled");
    }

    pub(super) fn pause(&mut self, request: RequestId, run: Option<RunId>, paused: bool) {
        let result = match run {
            Some(id) if !self.runs.contains_key(&id) => Err(SubmitError::UnknownRun(id)),
            _ => {
                if self.is_paused(run) != paused {
                    self.persist(Event::Paused { run, paused });
                    self.set_paused(run, paused);
                }
                Ok(run.unwrap_or(RunId(0)))
            }
        };
        self.outputs.push_back(Output::Reply { request, result });
    }

    /// Is nothing leased until it is resumed?
    #[must_use]
    pub fn is_paused_whole(&self) -> bool {
        self.is_paused(None)
    }

    fn is_paused(&self, run: Option<RunId>) -> bool {
        match run {
            Some(run) => self.runs.get(&run).is_some_and(|run| run.paused),
            None => self.works.flows.all_paused,
        }
    }

    /// Leases nothing more of a run, or of any, or does again.
    pub(super) fn set_paused(&mut self, run: Option<RunId>, paused: bool) {
        let Some(id) = run else {
            self.works.flows.all_paused = paused;
            self.outputs
                .push_back(Output::Publish(Change::Paused(paused).into()));
            return;
        };
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        run.paused = paused;
        self.changed_runs.insert(id);
        self.works.flows.pause(id, paused);
        // What it waits for is queued with another run that wants it, or with this one again.
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        let nodes = (0..run.graph.len()).filter(|node| run.graph.is_open(*node));
        let works: Vec<WorkId> = nodes
            .filter_map(|node| self.work_of(Wanter { run: id, node }))
            .collect();
        for work in works {
            self.offer(work);
        }
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
        let settled = limits(&work.wanters[0]);
        if settled != work.limits {
            work.limits = settled;
            if let Some(trouble) = &mut work.trouble {
                trouble.forget_refusals();
            }
        }
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
        if let Some(proof) = &work.proof {
            self.end_votes(id, proof);
        }
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
            let digest = *run.digest(wanter.node, &self.memory);
            let limits = run.limits(wanter.node);
            let policy = run.header.policy();
            let force = run.header.terms.force && !run.is_effectful(wanter.node);
            let rests_on = run.rests_on(wanter.node, &self.memory);
            let serves = |known: &Known| known.serve(&limits, &policy).filter(|_| !force);
            let known = self.memory.best(&memory_key(&digest, &rests_on), serves);
            let key = work_key(&digest, &policy, &rests_on);
            if let Some((slot, answer)) = known
                && run.graph.is_grounded(wanter.node)
            {
                self.settle(wanter, TaskState::Replayed, Some((slot, answer)), self.now);
            } else if run.is_too_large(wanter.node, &self.memory) {
                self.settle(wanter, TaskState::Failed, None, self.now);
            } else if let Some(work) = self.works.find(&key) {
                self.works.get_mut(work).wanters.push(wanter);
                self.settle_limits(work);
                self.provide_to(work, wanter);
                self.offer(work);
            } else {
                let work = self.works.insert(NewWork {
                    digest,
                    key,
                    wanter,
                    limits,
                    policy,
                    needs: run.needs(wanter.node).cloned().map(Box::new),
                    wants: run.wants(wanter.node, &self.memory),
                    height: run.graph.height(wanter.node),
                });
                // Its node is told already that it is ready.
                self.works.queue(work, self.now);
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
            self.memory.hold(slot, answer)
        });
        let mut ready = std::mem::take(&mut self.made_ready);
        run.settle(wanter.node, state, held, &self.memory, &mut ready);
        self.ready.extend(ready.drain(..).map(|node| Wanter {
            run: wanter.run,
            node,
        }));
        self.made_ready = ready;
        self.changed_runs.insert(wanter.run);
        self.finish_if_done(wanter.run, at);
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
