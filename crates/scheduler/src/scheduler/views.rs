//! What is told of changes, and what is shown of the whole.

use asterism_protocol::{
    Cid, Policy, PublicKey, Receipt, Timestamp, content_cid,
    message::{Change, LeaseId},
    view::{ExecutorView, Overview, RunId, RunView, Standing, TaskState, TaskView},
};

use super::Scheduler;
use crate::{Output, executors::Executor, run::Run, works::Wanter};

/// Most runs in an overview.
const OVERVIEW_RUNS_MAX: usize = 1_000;

/// Most functions that an executor's view names.
const DOING_MAX: usize = 16;

impl Scheduler {
    /// What changed, each run, task and executor once.
    pub(super) fn publish(&mut self) {
        for id in std::mem::take(&mut self.changed_runs) {
            let Some(run) = self.runs.get_mut(&id) else {
                continue;
            };
            let changed = run.graph.take_changed();
            let run = &self.runs[&id];
            self.outputs
                .push_back(Output::Publish(Change::Run(run.summary())));
            for node in changed {
                for index in run.tasks_of(node) {
                    let task = Box::new(self.task_view(run, index));
                    self.outputs
                        .push_back(Output::Publish(Change::Task { run: id, task }));
                }
            }
        }
        for key in std::mem::take(&mut self.changed_executors) {
            if let Some(executor) = self
                .executors
                .by_key
                .get(&key)
                .filter(|executor| executor.connection.is_some())
            {
                let view = self.executor_view(&key, executor);
                self.outputs
                    .push_back(Output::Publish(Change::Executor(view)));
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
                .collect(),
            components: Vec::new(),
            trouble: String::new(),
            policy: Policy::default(),
            paused: false,
        }
    }

    /// A run with all of its tasks.
    #[must_use]
    pub fn run_view(&self, run: RunId) -> Option<RunView> {
        let run = self.runs.get(&run)?;
        let tasks = (0..run.len())
            .map(|index| self.task_view(run, index))
            .collect();
        Some(RunView {
            summary: run.summary(),
            tasks,
        })
    }

    /// The run of a workflow that was submitted last.
    #[must_use]
    pub fn latest_run_of(&self, workflow: Cid) -> Option<RunId> {
        self.latest.get(&workflow).copied()
    }

    /// The canonical receipt of an instruction, as long as a run in memory refers to it.
    #[must_use]
    pub fn receipt_of(&self, instruction: Cid) -> Option<&Receipt> {
        let (_, known) = self.memory.find(&instruction.digest())?;
        (Cid::of_content_digest(instruction.digest()) == instruction).then_some(&known.receipt)
    }

    /// Every lease: its number, who holds it, what for, and until when unless it is extended.
    pub fn leases(&self) -> impl Iterator<Item = (LeaseId, PublicKey, Cid, Timestamp)> {
        self.leases.iter().map(|(id, lease)| {
            (
                *id,
                lease.key,
                Cid::of_content_digest(self.works.get(lease.work).digest),
                lease.deadline,
            )
        })
    }

    /// A digest of all that outlives a restart: runs with what each task came to, receipts, and numbers in use.
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
        bytes.extend(words.into_iter().flatten());
        content_cid(&bytes).digest()
    }

    pub(super) fn task_view(&self, run: &Run, index: u32) -> TaskView {
        let mut view = run.view(index, &self.memory);
        let digest = view.instruction.digest();
        let work = match view.state {
            TaskState::Waiting | TaskState::Ready | TaskState::Leased | TaskState::Provisional => {
                self.works.find(&digest)
            }
            TaskState::Computed
            | TaskState::Replayed
            | TaskState::Skipped
            | TaskState::Failed
            | TaskState::Cancelled => None,
        };
        // A node that waits for promises may name an instruction that another run has in work already.
        let node = run.node_of_task[index as usize];
        let wanter = Wanter {
            run: run.header.id,
            node,
        };
        let Some(work) = work
            .map(|id| self.works.get(id))
            .filter(|work| work.wanters.contains(&wanter))
        else {
            return view;
        };
        if let Some(lease) = work.leases.first().and_then(|id| self.leases.get(id)) {
            (view.executor, view.leased) = (Some(lease.key), Some(lease.leased));
        }
        if let Some(trouble) = &work.trouble {
            view.attempts.clone_from(&trouble.attempts);
            if let (Some(until), TaskState::Waiting) = (trouble.backoff, view.state) {
                let seconds = until.since_ms(self.now).div_ceil(1_000);
                view.reason =
                    format!("after a fault: again in {seconds} s, or at once on another executor");
            }
        }
        if view.state == TaskState::Ready && self.executors.here().next().is_some() {
            let mut here = self.executors.here();
            if here.all(|(_, executor)| executor.capabilities.memory < work.limits.memory) {
                let memory = work.limits.memory;
                view.reason = format!("no executor here accepts a memory limit of {memory} bytes");
            } else if let Some(trouble) = &work.trouble
                && self
                    .executors
                    .here()
                    .all(|(key, _)| trouble.refused.contains(key))
            {
                view.reason = format!(
                    "every executor here refused it, the last one: {}",
                    trouble.refusal
                );
            }
        }
        view
    }

    pub(super) fn executor_view(&self, key: &PublicKey, executor: &Executor) -> ExecutorView {
        let prefetched = executor
            .leases
            .iter()
            .filter(|lease| !executor.begun.contains(lease));
        let doing = executor
            .begun
            .iter()
            .chain(prefetched)
            .take(DOING_MAX)
            .filter_map(|lease| {
                let Wanter { run, node } = *self
                    .works
                    .get(self.leases.get(lease)?.work)
                    .wanters
                    .first()?;
                Some(self.runs.get(&run)?.task(node).run.input.func.clone())
            });
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
            owner: String::new(),
            standing: Standing::Stranger,
            trust: 0,
            right: 0,
            wrong: 0,
            reason: String::new(),
            fuel_per_s: 0,
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
