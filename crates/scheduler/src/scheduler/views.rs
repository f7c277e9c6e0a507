//! What is told of changes, and what is shown of the whole.

use std::collections::{BTreeMap, BTreeSet};

use asterism_protocol::{
    Basis, Cid, Prepared, PublicKey, Receipt, Timestamp, content_cid, encode,
    message::{Change, LeaseId},
    view::{
        Candidate, ExecutorView, Explanation, LeaseView, Overview, RunId, RunSummary, RunView,
        Standing, TaskState, TaskView, VoteView,
    },
};

use super::{Scheduler, leases::asker};
use crate::{
    Output,
    affinity::Fit,
    digests::Digest,
    executors::Executor,
    leases::{Lease, Why},
    memory::Known,
    proof::{Said, Vote},
    run::Run,
    works::{Wanter, Work},
};

/// Most runs in an overview.
const OVERVIEW_RUNS_MAX: usize = 1_000;

/// Most executors that an explanation judges.
const CANDIDATES_MAX: usize = 256;

/// Most causes that a reason names.
const LACKS_MAX: usize = 8;

/// Most functions that an executor's view names.
const DOING_MAX: usize = 16;

/// Of how many leases these are chosen: those that were given first have begun first.
const DOING_LOOKED_AT: usize = 64;

impl Scheduler {
    /// What changed, each run, task and executor once.
    pub(super) fn publish(&mut self) {
        for id in self.changed_runs.take() {
            let Some(run) = self.runs.get_mut(&id) else {
                continue;
            };
            let changed = run.graph.take_changed();
            let run = &self.runs[&id];
            self.outputs
                .push_back(Output::Publish(Change::Run(run.summary()).into()));
            for node in changed {
                for index in run.tasks_of(node) {
                    let task = Box::new(self.task_view(run, index));
                    self.outputs
                        .push_back(Output::Publish(Change::Task { run: id, task }.into()));
                }
            }
        }
        for key in self.changed_executors.take() {
            if let Some(executor) = self
                .executors
                .by_key
                .get(&key)
                .filter(|executor| executor.connection.is_some())
            {
                let view = self.executor_view(&key, executor);
                self.outputs
                    .push_back(Output::Publish(Change::Executor(view).into()));
            }
        }
    }

    /// All summaries; components are the shell's to add.
    #[must_use]
    pub fn overview(&self) -> Overview {
        Overview {
            runs: self
                .runs
                .values()
                .rev()
                .take(OVERVIEW_RUNS_MAX)
                .map(Run::summary)
                .collect(),
            executors: self
                .executors
                .here()
                .map(|(key, executor)| self.executor_view(key, executor))
                .chain(self.excluded_and_gone())
                .collect(),
            components: Vec::new(),
            trouble: String::new(),
            policy: self.config.verify,
            paused: self.works.flows.all_paused,
        }
    }

    /// A run with all of its tasks.
    #[must_use]
    pub fn run_view(&self, run: RunId) -> Option<RunView> {
        self.part_view(run, 0, usize::MAX)
    }

    /// A run with at most this many of its tasks, from a place on.
    #[must_use]
    pub fn part_view(&self, run: RunId, from: u32, most: usize) -> Option<RunView> {
        let run = self.runs.get(&run)?;
        let tasks = (from..run.len())
            .take(most)
            .map(|index| self.task_view(run, index))
            .collect();
        Some(RunView {
            summary: run.summary(),
            tasks,
        })
    }

    /// A task of a run, and those that it needs.
    #[must_use]
    pub fn task_and_needs(&self, run: RunId, task: u32) -> Option<(TaskView, Vec<TaskView>)> {
        let run = self.runs.get(&run).filter(|run| task < run.len())?;
        let view = self.task_view(run, task);
        let needs = view.needs.iter();
        let needs = needs.map(|need| self.task_view(run, *need)).collect();
        Some((view, needs))
    }

    /// Is what the executor that a task's view names came to withheld, until as many have an outcome as are wanted? It
    /// has committed to one, and nobody may learn of it who could copy it.
    #[must_use]
    pub fn is_withheld(&self, run: RunId, task: u32) -> bool {
        let Some(work) = self.work_of_task(run, task) else {
            return false;
        };
        let (Some(proof), Some(first)) = (&work.proof, work.leases.first()) else {
            return false;
        };
        proof.votes.iter().any(
            |vote| matches!(&vote.said, Said::Committed { lease, asked: false, .. } if lease == first),
        )
    }

    /// Does a task want one more executor, and can none that is here have it? Then whoever waits for it waits for another one
    /// to come, whoever is at it already: a quorum has as many owners as it asks for.
    #[must_use]
    pub fn lacks_executors(&self, run: RunId, task: u32) -> bool {
        let Some(work) = self.work_of_task(run, task) else {
            return false;
        };
        let may_have = |(key, executor)| {
            let asker = asker(&self.config, &self.trust, key, executor, self.now);
            work.obstacle(&asker).is_none()
        };
        work.wants_more() && !self.executors.here().any(may_have)
    }

    /// What is done for a task, if something is.
    fn work_of_task(&self, run: RunId, task: u32) -> Option<&Work> {
        let entry = self.runs.get(&run).filter(|entry| task < entry.len())?;
        let node = entry.contents.node_of_task.at(task);
        let work = self.work_of(Wanter { run, node })?;
        Some(self.works.get(work))
    }

    /// The place of a run's task that has this name.
    #[must_use]
    pub fn task_named(&self, run: RunId, name: &str) -> Option<u32> {
        let run = self.runs.get(&run)?;
        (0..run.len()).find(|task| run.name(*task) == name)
    }

    /// The place of a run's first task that asks for this instruction.
    #[must_use]
    pub fn task_of_instruction(&self, run: RunId, instruction: Cid) -> Option<u32> {
        let run = self.runs.get(&run)?;
        let digest = instruction.digest();
        let instruction = |task| run.digest(run.contents.node_of_task.at(task), &self.memory);
        (0..run.len()).find(|task| *instruction(*task) == digest)
    }

    /// The name of a run's task that is most like what was asked for, if any is.
    #[must_use]
    pub fn task_nearest(&self, run: RunId, asked: &str) -> Option<String> {
        let run = self.runs.get(&run)?;
        let names = (0..run.len()).map(|task| run.name(task));
        let names = names.filter(|name| !name.is_empty());
        asterism_protocol::nearest(asked, names).map(str::to_owned)
    }

    /// A run in short.
    #[must_use]
    pub fn run_summary(&self, run: RunId) -> Option<RunSummary> {
        self.runs.get(&run).map(Run::summary)
    }

    /// The workflow of a run and the names of its tasks.
    #[must_use]
    pub fn prepared_of(&self, run: RunId) -> Option<Prepared> {
        Some(self.runs.get(&run)?.prepared(&self.memory))
    }

    /// Every run in memory.
    pub(crate) fn run_ids(&self) -> impl Iterator<Item = RunId> {
        self.runs.keys().copied()
    }

    /// Has a run not ended yet?
    pub(crate) fn is_running(&self, run: RunId) -> bool {
        self.running.contains(&run)
    }

    /// The instructions that a run is about, its own and those it awaits.
    pub(crate) fn digests_of(&self, run: RunId) -> Vec<Digest> {
        let Some(run) = self.runs.get(&run) else {
            return Vec::new();
        };
        let nodes = 0..run.graph.len();
        nodes.map(|node| *run.digest(node, &self.memory)).collect()
    }

    /// The run of a workflow that was submitted last.
    #[must_use]
    pub fn latest_run_of(&self, workflow: Cid) -> Option<RunId> {
        self.latest.get(&workflow).copied()
    }

    /// The latest run that has a task with this instruction, if its receipt is known; and the task's place.
    #[must_use]
    pub fn task_of(&self, instruction: Cid) -> Option<(RunId, u32)> {
        self.known(instruction)?;
        let digest = instruction.digest();
        self.runs.iter().rev().find_map(|(id, run)| {
            let nodes = 0..run.graph.len();
            let mut same = nodes.filter(|node| *run.digest(*node, &self.memory) == digest);
            // What a run only awaits is no task of it.
            same.find_map(|node| run.tasks_of(node).next())
                .map(|task| (*id, task))
        })
    }

    /// The canonical receipt of an instruction, as long as a run in memory refers to it.
    #[must_use]
    pub fn receipt_of(&self, instruction: Cid) -> Option<Receipt> {
        Some(self.known(instruction)?.receipt.receipt())
    }

    fn known(&self, instruction: Cid) -> Option<&Known> {
        let (_, known) = self.memory.find(&instruction.digest())?;
        (Cid::of_content_digest(instruction.digest()) == instruction).then_some(known)
    }

    /// Every lease: its number, who holds it, what for, and until when unless it is extended.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, PublicKey, Cid, Timestamp)> {
        self.leases.iter().map(|(id, lease)| {
            (
                id,
                lease.key,
                Cid::of_content_digest(self.works.get(lease.work).digest),
                lease.deadline,
            )
        })
    }

    /// A digest of all that outlives a restart: runs with what each task came to, receipts, what is known of executors,
    /// and numbers in use.
    /// A scheduler and its twin made by [`Scheduler::recover`] from the same events agree on it.
    #[must_use]
    pub fn state_digest(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        let mut number = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        number(self.next_run);
        number(self.leases_reserved);
        let mut words: Vec<[u8; 32]> = Vec::new();
        for (id, run) in &self.runs {
            number(id.0);
            number(run.header.submitted.0);
            number(run.finished.map_or(u64::MAX, |at| at.0));
            number(run.state() as u64);
            number(u64::from(run.paused));
            words.push(run.header.workflow.digest());
            for node in 0..run.graph.len() {
                number(match run.graph.state(node) {
                    TaskState::Waiting
                    | TaskState::Ready
                    | TaskState::Leased
                    | TaskState::Provisional => 0,
                    done @ (TaskState::Computed
                    | TaskState::Replayed
                    | TaskState::Skipped
                    | TaskState::Failed
                    | TaskState::Cancelled) => 1 + done as u64,
                });
                if let Some((slot, answer)) = run.result(node).get() {
                    number(answer as u64);
                    words.push(self.memory.get(slot).cid().digest());
                }
            }
        }
        for id in self.running.iter().chain(&self.finished) {
            number(id.0);
        }
        number(u64::from(self.works.flows.all_paused));
        let records = self.trust.summary();
        for record in &records {
            number(record.right);
            number(record.wrong);
        }
        let excluded = self.trust.all_excluded();
        let known = records.iter().map(|record| &record.executor);
        words.extend(
            known
                .chain(excluded)
                .map(|key| content_cid(&encode(key)).digest()),
        );
        bytes.extend(words.into_iter().flatten());
        content_cid(&bytes).digest()
    }

    pub(super) fn task_view(&self, run: &Run, index: u32) -> TaskView {
        let mut view = run.view(index, &self.memory);
        let node = run.contents.node_of_task.at(index);
        let wanter = Wanter {
            run: run.header.id,
            node,
        };
        if !run.graph.is_open(node) {
            return view;
        }
        let Some(work) = self.work_of(wanter).map(|id| self.works.get(id)) else {
            return view;
        };
        if let Some(lease) = work.leases.first().and_then(|id| self.leases.get(*id)) {
            (view.executor, view.leased) = (Some(lease.key), Some(lease.leased));
            view.started = lease.started;
        }
        if let Some(trouble) = &work.trouble {
            view.attempts.clone_from(&trouble.attempts);
            if let (Some(until), TaskState::Waiting, None) =
                (trouble.backoff, view.state, &self.held)
            {
                let seconds = until.since_ms(self.now).div_ceil(1_000);
                view.reason =
                    format!("after a fault: again in {seconds} s, or at once on another executor");
            }
        }
        let settled = view.state == TaskState::Leased && work.proof.is_none();
        if !settled && view.reason.is_empty() {
            view.reason = self.waits(run, work);
        }
        view
    }

    /// Why an instruction waits for an executor, where its state alone does not say it.
    fn waits(&self, run: &Run, work: &Work) -> String {
        if self.works.flows.all_paused {
            return "the coordinator is paused".to_owned();
        }
        if run.paused {
            return "the run is paused".to_owned();
        }
        if !work.wants_more() {
            return match &work.proof {
                Some(_) if work.leases.is_empty() => {
                    "an outcome is here; what it was computed from, or its executor, is being checked"
                        .to_owned()
                }
                Some(_) => self.waits_for_another(work),
                None => String::new(),
            };
        }
        if let Some(reason) = &self.held {
            return reason.clone();
        }
        let mut lacks: Vec<String> = Vec::new();
        let mut here = 0;
        for (key, executor) in self.executors.here() {
            here += 1;
            let asker = asker(&self.config, &self.trust, key, executor, self.now);
            match work.obstacle(&asker) {
                None => return self.waits_for_another(work),
                Some(obstacle) if !lacks.contains(&obstacle) && lacks.len() < LACKS_MAX => {
                    lacks.push(obstacle);
                }
                Some(_) => {}
            }
        }
        let asked = self.waits_for_another(work);
        match (here, asked.is_empty()) {
            (0, true) => String::new(),
            (0, false) => format!("{asked}; none is here"),
            (_, true) => format!("no executor here can have it: {}", lacks.join("; ")),
            (_, false) => format!("{asked}; none here can have it: {}", lacks.join("; ")),
        }
    }

    fn waits_for_another(&self, work: &Work) -> String {
        let Some(proof) = &work.proof else {
            return String::new();
        };
        let begun = proof.asked.len() + proof.told().count();
        if begun == 0 {
            return String::new();
        }
        format!(
            "{} asks for {} executors of different owners, {begun} are at it or done",
            work.policy, proof.wanted
        )
    }

    /// Every decision about a task: why it waits, who may have it, who has it and why, what was said, what was believed.
    #[must_use]
    pub fn explain(&self, run: RunId, task: u32) -> Option<Explanation> {
        let entry = self.runs.get(&run).filter(|entry| task < entry.len())?;
        let node = entry.contents.node_of_task.at(task);
        let view = self.task_view(entry, task);
        let work = entry
            .graph
            .is_open(node)
            .then(|| self.work_of(Wanter { run, node }))
            .flatten()
            .map(|id| self.works.get(id));
        let mut waits: Vec<String> = Vec::new();
        if !view.reason.is_empty() && entry.graph.is_open(node) {
            waits.push(view.reason.clone());
        }
        if entry.graph.state(node) == TaskState::Waiting && work.is_none() {
            let open = view.needs.iter().filter(|need| {
                let need = entry.contents.node_of_task.at(**need);
                entry.graph.is_open(need) && entry.graph.state(need) != TaskState::Provisional
            });
            waits.extend(
                open.take(LACKS_MAX)
                    .map(|need| format!("for tasks[{need}]")),
            );
        }
        let candidates = work.map(|work| {
            let here = self.executors.here().take(CANDIDATES_MAX);
            here.map(|(key, executor)| {
                let asker = asker(&self.config, &self.trust, key, executor, self.now);
                let lacks = work.obstacle(&asker).unwrap_or_default();
                Candidate {
                    executor: *key,
                    lacks,
                }
            })
            .collect()
        });
        let leases = work.map(|work| {
            let leases = work.leases.iter().filter_map(|id| self.leases.get(*id));
            leases.map(|lease| lease_view(lease, work)).collect()
        });
        let votes = work.and_then(|work| work.proof.as_ref()).map(|proof| {
            let hidden = proof.votes.len() < proof.wanted as usize;
            let vote = |vote: &Vote| VoteView {
                executor: vote.key,
                owner: vote.owner.to_string(),
                at: vote.at,
                outcome: match &vote.said {
                    Said::Told(told) if !hidden => Some(told.named.cid),
                    Said::Told(_) | Said::Committed { .. } => None,
                },
            };
            proof.votes.iter().map(vote).collect()
        });
        let known = entry
            .result(node)
            .get()
            .filter(|_| !entry.graph.is_open(node))
            .map(|(slot, _)| self.memory.get(slot));
        let evidence = known.and_then(|known| known.receipt.evidence().cloned());
        Some(Explanation {
            policy: entry.header.policy(),
            waits,
            candidates: candidates.unwrap_or_default(),
            leases: leases.unwrap_or_default(),
            votes: votes.unwrap_or_default(),
            believed: known
                .map(|known| believed(known.basis()))
                .unwrap_or_default(),
            evidence,
            task: view,
        })
    }

    /// An executor that was caught lying and is gone.
    pub(super) fn excluded_view(&self, key: &PublicKey) -> Option<ExecutorView> {
        let record = self.trust.get(key)?;
        let exclusion = record.excluded.as_ref()?;
        Some(ExecutorView {
            key: *key,
            name: exclusion.name.clone(),
            host: String::new(),
            threads: 0,
            since: exclusion.at,
            doing: Vec::new(),
            leases: 0,
            tasks: 0,
            fuel: 0,
            connected: false,
            owner: exclusion.owner.to_string(),
            standing: Standing::Excluded,
            trust: 0,
            right: record.right,
            wrong: record.wrong,
            reason: exclusion.reason.clone(),
            fuel_per_s: 0,
            memory: 0,
            offers: BTreeSet::new(),
            labels: BTreeMap::new(),
        })
    }

    fn excluded_and_gone(&self) -> impl Iterator<Item = ExecutorView> + '_ {
        self.trust
            .all_excluded()
            .filter(|key| self.executors.connection_of(key).is_none())
            .filter_map(|key| self.excluded_view(key))
            .take(OVERVIEW_RUNS_MAX)
    }

    pub(super) fn executor_view(&self, key: &PublicKey, executor: &Executor) -> ExecutorView {
        let leases = self.leases.of(&executor.leases).take(DOING_LOOKED_AT);
        let begun = leases.clone().filter(|(_, lease)| lease.started.is_some());
        let prefetched = leases.filter(|(_, lease)| lease.started.is_none());
        let doing = begun
            .chain(prefetched)
            .take(DOING_MAX)
            .filter_map(|(_, lease)| {
                let Wanter { run, node } = *self.works.get(lease.work).wanters.first()?;
                Some(self.runs.get(&run)?.func(node).to_string())
            });
        let (standing, record) = (self.standing(key), self.trust.get(key));
        ExecutorView {
            key: *key,
            name: executor.name.clone(),
            host: executor.capabilities.host.clone(),
            threads: executor.capabilities.threads,
            since: executor.since,
            doing: doing.collect(),
            leases: executor.leases.len() as u32,
            tasks: executor.tally.tasks,
            fuel: executor.tally.fuel,
            connected: executor.connection.is_some(),
            owner: executor.owner.to_string(),
            standing,
            trust: self.trust.score(key, standing),
            right: record.map_or(0, |record| record.right),
            wrong: record.map_or(0, |record| record.wrong),
            reason: record
                .and_then(|record| record.excluded.as_ref())
                .map(|exclusion| exclusion.reason.clone())
                .or_else(|| {
                    let drained = "the operator drains it: nothing more is leased to it";
                    executor.draining.then(|| drained.to_owned())
                })
                .unwrap_or_default(),
            fuel_per_s: executor.fuel_per_s,
            memory: executor.capabilities.memory,
            offers: executor.capabilities.offers.clone(),
            labels: executor.capabilities.labels.clone(),
        }
    }

    pub(super) fn unwatch(&mut self, run: RunId) {
        let Some(watchers) = self.watched.get_mut(&run) else {
            return;
        };
        *watchers -= 1;
        if *watchers == 0 {
            self.watched.remove(&run);
            if let Some(entry) = self.runs.get_mut(&run) {
                entry.graph.watch(false);
            }
        }
    }
}

fn lease_view(lease: &Lease, work: &Work) -> LeaseView {
    let mut reason = match lease.why {
        Why::Turn(_) => "it was its turn, and it may have it",
        Why::Fitter(_) => {
            "those who waited longer have more to do, or to fetch, or are slower, and it may have it"
        }
        Why::Backup => "another executor is slow with it, and this one had nothing else to do",
        Why::Resumed => "it came back with it after a connection was lost",
    }
    .to_owned();
    if let Why::Turn(fit) | Why::Fitter(fit) = lease.why {
        if work.proof.is_some() {
            reason.push_str("; nobody of its owner was asked before");
        }
        reason.push_str("; ");
        reason.push_str(&at_hand(fit));
    }
    LeaseView {
        executor: lease.key,
        leased: lease.leased,
        deadline: lease.deadline,
        reason,
    }
}

/// What of an instruction's needs an executor had at hand, as far as that is known.
fn at_hand(fit: Fit) -> String {
    let component = if fit.component {
        "it has the component at hand"
    } else {
        "it has the component to fetch"
    };
    match (fit.of, fit.blobs) {
        (0, _) => component.to_owned(),
        (of, blobs) => format!("{component}, and {blobs} of {of} blobs among the inputs at hand"),
    }
}

fn believed(basis: Basis) -> String {
    match basis {
        Basis::Unverified => "one attestation; nobody checked it".to_owned(),
        Basis::Sampled { passed } => format!(
            "the record of its executor, which passed the next check after it, and {passed} in all"
        ),
        Basis::Agreed { executors } => {
            format!("{executors} executors of different owners came to the same")
        }
        Basis::Trusted => "the operator trusts its executor".to_owned(),
    }
}
