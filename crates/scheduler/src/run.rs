//! One run: its contents, its graph, and how both look.

use std::{collections::BTreeMap, sync::Arc};

use asterism_protocol::{
    Attested, Cid, Failure, Limits, Out, Outcome, Policy, Prepared, Requirements, Terms, Timestamp,
    TrapKind, limits,
    message::Kept,
    view::{AttemptView, Counts, RunId, RunState, RunSummary, TaskState, TaskView},
};

use crate::{
    affinity::{Wants, add},
    digests::Digest,
    graph::{Branch, Graph},
    matching::Needs,
    memory::{Answer, Held, Known, Memory},
    packed::Packed,
    planned::{Contents, Planned},
};

/// Most bytes of task and inputs in one lease: three quarters of a frame, so that others fit beside it.
pub(crate) const LEASE_BYTES_MAX: usize = limits::FRAME_BYTES_MAX / 4 * 3;

/// What is told of a run at its submission.
pub(crate) struct Header {
    pub(crate) id: RunId,
    pub(crate) workflow: Cid,
    pub(crate) name: String,
    pub(crate) submitter: String,
    pub(crate) submitted: Timestamp,
    /// The policy is never left open here.
    pub(crate) terms: Terms,
}

impl Header {
    pub(crate) fn policy(&self) -> Policy {
        self.terms.verify.unwrap_or_default()
    }
}

/// One execution of a workflow.
pub(crate) struct Run {
    pub(crate) header: Header,
    pub(crate) graph: Graph,
    pub(crate) finished: Option<Timestamp>,
    pub(crate) cancelled: bool,
    pub(crate) paused: bool,
    tasks: Arc<Packed>,
    pub(crate) contents: Arc<Contents>,
    /// Instructions of all nodes; none once all are done, if all have receipts, which name them.
    digests: Arc<[Digest]>,
    /// Invocations of the nodes inside; none once all are done.
    invocations: Arc<[Digest]>,
    /// Further tasks of nodes that stand for several.
    twins: BTreeMap<u32, Vec<u32>>,
    results: Vec<Held>,
    /// Attempts of nodes that came to nothing.
    pub(crate) attempts: BTreeMap<u32, Vec<AttemptView>>,
    /// What is to be said of nodes beside their state.
    pub(crate) notes: BTreeMap<u32, String>,
    /// Tasks that came to an error value, and tasks that failed.
    errors: u32,
}

impl Run {
    /// The run of a plan, with what is known of each node. Nodes that can be done at once are appended to `ready`.
    pub(crate) fn new(
        header: Header,
        plan: &Planned,
        results: Vec<Held>,
        memory: &Memory,
        ready: &mut Vec<u32>,
    ) -> Self {
        let contents = Arc::clone(&plan.contents);
        let inside = contents.task_of_node.len();
        let mut twins: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for task in 0..contents.node_of_task.len() {
            let node = contents.node_of_task.at(task);
            if contents.task_of_node.at(node) != task {
                twins.entry(node).or_default().push(task);
            }
        }
        let nodes = plan.digests.len() as u32;
        let mut weights: BTreeMap<u32, u32> = twins
            .iter()
            .map(|(node, tasks)| (*node, tasks.len() as u32 + 1))
            .collect();
        weights.extend((inside..nodes).map(|external| (external, 0)));
        let mut run = Self {
            header,
            graph: Graph::new(nodes, &plan.promises, weights),
            finished: None,
            cancelled: false,
            paused: false,
            tasks: Arc::clone(&plan.packed),
            contents,
            digests: Arc::clone(&plan.digests),
            invocations: Arc::clone(&plan.invocations),
            twins,
            results: Vec::new(),
            attempts: BTreeMap::new(),
            notes: BTreeMap::new(),
            errors: 0,
        };
        run.graph.plan(
            &plan.order,
            |node| branch(memory, results[node as usize]),
            ready,
        );
        run.results = results;
        run.errors = (0..inside).map(|node| run.errors_of(node, memory)).sum();
        run
    }

    /// Nothing is left to do. What only open nodes need is given back: the run is kept for show.
    pub(crate) fn finish(&mut self, at: Timestamp) {
        self.finished = Some(at);
        self.graph.finish();
        self.invocations = Arc::default();
        if self.results.iter().all(|held| held.get().is_some()) {
            self.digests = Arc::default();
        }
    }

    /// The canonical bytes of the task that a node works for.
    pub(crate) fn encoded(&self, node: u32, memory: &Memory) -> Vec<u8> {
        let task = self.contents.task_of_node.at(node);
        self.tasks.encoded(task, |node| self.digest(node, memory))
    }

    pub(crate) fn func(&self, node: u32) -> &Arc<str> {
        &self.contents.kind(node).func
    }

    /// What a node needs of an executor beside memory.
    pub(crate) fn needs(&self, node: u32) -> Option<&Needs> {
        self.contents.needs.get(&node)
    }

    /// What has to be fetched for a node.
    pub(crate) fn wants(&self, node: u32, memory: &Memory) -> Wants {
        let mut blobs = self.contents.blobs.get(&node).cloned().unwrap_or_default();
        for edge in self.graph.needs(node) {
            if let Some((slot, Answer::Whole)) = self.result(edge.node()).get() {
                add(&mut blobs, memory.get(slot).blobs().iter().copied());
            }
        }
        Wants {
            component: self.contents.kind(node).component,
            blobs: (!blobs.is_empty()).then(|| blobs.into()),
        }
    }

    /// The outcomes among a node's inputs that another limit would change.
    pub(crate) fn rests_on(&self, node: u32, memory: &Memory) -> Vec<Cid> {
        let mut found = Vec::new();
        for edge in self.graph.needs(node) {
            let result = self.result(edge.node());
            let Some(came_to) = result.get().filter(|_| result.is_limited()) else {
                continue;
            };
            let limit = self.limits(edge.node()).fuel;
            found.push(self.outcome_cid(edge.node(), came_to, limit, memory));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// A node runs on an outcome that is not final.
    pub(crate) fn provide(
        &mut self,
        node: u32,
        result: Held,
        memory: &Memory,
        ready: &mut Vec<u32>,
    ) {
        self.results[node as usize] = result;
        if let Some(branch) = branch(memory, result) {
            self.graph.provide(node, branch, ready);
        }
    }

    /// A node has no outcome any more that was not final, and is where `then` says; what it held is the caller's to release. `back` are the nodes that
    /// were begun on it.
    pub(crate) fn retract(
        &mut self,
        node: u32,
        then: TaskState,
        memory: &Memory,
        back: &mut Vec<(u32, TaskState)>,
    ) -> Option<u32> {
        let held = std::mem::replace(&mut self.results[node as usize], Held::NOTHING);
        let branch = branch(memory, held)?;
        self.graph.retract(node, then, branch, back);
        held.get().map(|(slot, _)| slot)
    }

    /// The provisional outcome of a node is final under another number; what it held is the caller's to release.
    pub(crate) fn confirm(&mut self, node: u32, result: Held, memory: &Memory) -> Option<u32> {
        let held = std::mem::replace(&mut self.results[node as usize], result);
        let branch = branch(memory, result)?;
        self.errors += self.errors_of(node, memory);
        self.graph.confirm(node, branch);
        held.get().map(|(slot, _)| slot)
    }

    /// Takes away what a node held that was not final.
    pub(crate) fn drop_provisional(&mut self, node: u32) -> Option<u32> {
        let held = std::mem::replace(&mut self.results[node as usize], Held::NOTHING);
        held.get().map(|(slot, _)| slot)
    }

    pub(crate) fn limits(&self, node: u32) -> Limits {
        self.contents.kind(node).limits
    }

    /// Does the outcome depend on the world outside?
    pub(crate) fn is_effectful(&self, node: u32) -> bool {
        self.contents.kind(node).is_effectful
    }

    /// What is asked for when this node is, as long as it is open: the invocation that its receipt names.
    pub(crate) fn invocation(&self, node: u32) -> Cid {
        Cid::of_content_digest(self.invocations[node as usize])
    }

    /// How a node's instruction is called.
    pub(crate) fn digest<'a>(&'a self, node: u32, memory: &'a Memory) -> &'a Digest {
        self.digests.get(node as usize).unwrap_or_else(|| {
            let held = self.result(node).get();
            let (slot, _) = held.expect("digests are given back where all nodes have receipts");
            memory.get(slot).receipt.instruction_digest()
        })
    }

    pub(crate) fn result(&self, node: u32) -> Held {
        self.results[node as usize]
    }

    /// What a task came to. Its node works for the task with the largest limits; one that allows itself less fuel is answered as
    /// a request for it alone would be, and as to memory it has what came of the largest limits.
    fn came_to(&self, task: u32, memory: &Memory) -> Held {
        let node = self.contents.node_of_task.at(task);
        let held = self.result(node);
        match (held.get(), self.contents.own_limits.get(&task)) {
            (Some((slot, answer)), Some(own)) => {
                let limits = Limits {
                    fuel: own.fuel,
                    ..self.limits(node)
                };
                let known = memory.get(slot);
                Held::new(slot, known, known.answer(&limits).unwrap_or(answer))
            }
            (_, None) | (None, _) => held,
        }
    }

    /// How many of a node's tasks came to an error value.
    fn errors_of(&self, node: u32, memory: &Memory) -> u32 {
        let is_error = |held| branch(memory, held) == Some(Branch::Error);
        if self.contents.own_limits.is_empty() || !self.twins.contains_key(&node) {
            return u32::from(is_error(self.result(node))) * self.graph.weight(node);
        }
        let errors = self.tasks_of(node);
        errors
            .filter(|task| is_error(self.came_to(*task, memory)))
            .count() as u32
    }

    /// What everything refers to, to be released when the run is forgotten.
    pub(crate) fn results(&self) -> &[Held] {
        &self.results
    }

    /// Ends a node with a result, or without one.
    pub(crate) fn settle(
        &mut self,
        node: u32,
        state: TaskState,
        result: Held,
        memory: &Memory,
        ready: &mut Vec<u32>,
    ) {
        self.results[node as usize] = result;
        let branch = branch(memory, result);
        self.errors += self.errors_of(node, memory);
        self.graph.settle(node, state, branch, ready);
    }

    /// Bytes of a lease for a node: its task and what its promises came to.
    fn lease_bytes(&self, node: u32, memory: &Memory) -> usize {
        self.encoded(node, memory).len() + self.input_bytes(node, memory)
    }

    /// Bytes of what the promises of a node came to.
    pub(crate) fn input_bytes(&self, node: u32, memory: &Memory) -> usize {
        let needs = self.graph.needs(node).iter();
        let inputs = needs.filter_map(|edge| self.result(edge.node()).get());
        inputs
            .map(|(slot, _)| memory.get(slot).bytes() as usize)
            .sum()
    }

    /// Is there no lease with room for a node's task and what its promises came to?
    pub(crate) fn is_too_large(&self, node: u32, memory: &Memory) -> bool {
        self.tasks.longest() + self.input_bytes(node, memory) > LEASE_BYTES_MAX
            && self.lease_bytes(node, memory) > LEASE_BYTES_MAX
    }

    /// What the promises of a node came to, each instruction once.
    pub(crate) fn inputs(&self, node: u32, memory: &Memory) -> Vec<Kept> {
        let input = |need: u32| {
            let out = match self.result(need).get()? {
                (slot, Answer::Whole) => memory.get(slot).receipt.encoded_out(),
                (_, Answer::OutOfFuel) => self.out_of_fuel(need).into(),
            };
            Some(Kept {
                instruction: Cid::of_content_digest(*self.digest(need, memory)),
                out,
            })
        };
        match self.graph.needs(node) {
            [] => Vec::new(),
            // Most that need anything need one thing.
            [edge] => input(edge.node()).into_iter().collect(),
            edges => {
                let mut nodes: Vec<u32> = edges.iter().map(|edge| edge.node()).collect();
                nodes.sort_unstable();
                nodes.dedup();
                nodes.into_iter().filter_map(input).collect()
            }
        }
    }

    pub(crate) fn state(&self) -> RunState {
        if self.cancelled {
            RunState::Cancelled
        } else if self.graph.open() > 0 {
            RunState::Running
        } else if self.errors + self.graph.counts().failed + self.graph.counts().cancelled > 0 {
            RunState::Failed
        } else {
            RunState::Done
        }
    }

    pub(crate) fn summary(&self) -> RunSummary {
        RunSummary {
            run: self.header.id,
            workflow: self.header.workflow,
            name: self.header.name.clone(),
            submitter: self.header.submitter.clone(),
            state: self.state(),
            counts: Counts {
                errors: self.errors,
                ..self.graph.counts()
            },
            submitted: self.header.submitted,
            finished: self.finished,
            policy: self.header.policy(),
            priority: self.header.terms.priority,
            deadline: self.header.terms.deadline,
            forced: self.header.terms.force,
            paused: self.paused,
        }
    }

    /// The workflow as it was submitted.
    pub(crate) fn prepared(&self, memory: &Memory) -> Prepared {
        self.tasks.prepared(|node| self.digest(node, memory))
    }

    /// A task's name; empty for none.
    pub(crate) fn name(&self, task: u32) -> &str {
        self.tasks.name(task)
    }

    /// How many tasks there are.
    pub(crate) fn len(&self) -> u32 {
        self.tasks.len()
    }

    /// Which tasks a node stands for.
    pub(crate) fn tasks_of(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.contents.task_of_node.get(node);
        first
            .into_iter()
            .chain(self.twins.get(&node).into_iter().flatten().copied())
    }

    /// A task as it is shown, but for what its lease knows.
    pub(crate) fn view(&self, index: u32, memory: &Memory) -> TaskView {
        let node = self.contents.node_of_task.at(index);
        let task = self.tasks.get(index, |node| self.digest(node, memory));
        let state = self.graph.state(node);
        // What is not final is nobody's to see: an executor that is asked for the same could copy it.
        let told = (state != TaskState::Provisional).then(|| self.came_to(index, memory));
        let told = told.and_then(Held::get);
        let limits = task.limits();
        let outcome = told.map(|came_to| self.outcome(node, came_to, limits.fuel, memory));
        let known = told.map(|(slot, answer)| (memory.get(slot), answer));
        let whole = known
            .filter(|(_, answer)| *answer == Answer::Whole)
            .map(|(known, _)| known);
        let mut needs: Vec<u32> = self
            .graph
            .needs(node)
            .iter()
            .filter_map(|edge| self.contents.task_of_node.get(edge.node()))
            .collect();
        needs.sort_unstable();
        needs.dedup();
        let came = known
            .map(|(known, _)| known)
            .filter(|_| state == TaskState::Computed);
        let times = came.map(Known::times);
        TaskView {
            index,
            name: self.tasks.name(index).to_owned(),
            instruction: Cid::of_content_digest(*self.digest(node, memory)),
            component: task
                .run
                .component()
                .expect("a workflow is checked when it is submitted"),
            func: task.run.input.func.clone(),
            args: task.run.input.args.clone(),
            files: task.run.input.files.clone(),
            needs,
            limits,
            requires: Requirements::of_task(&task).unwrap_or_default(),
            state,
            reason: self.reason(index, limits.fuel, memory),
            fuel: outcome.as_ref().and_then(|(_, fuel)| *fuel),
            outcome: told.map(|came_to| self.outcome_cid(node, came_to, limits.fuel, memory)),
            out: outcome.map(|(out, _)| out),
            receipt: whole.map(Known::cid),
            basis: whole.map(Known::basis),
            executor: known.map(|(known, _)| known.executor()),
            remark: came.and_then(Known::remark),
            attempts: self.attempts.get(&node).cloned().unwrap_or_default(),
            ready: self.ready_at(node, memory),
            leased: times.and_then(|times| times.leased),
            started: times.and_then(|times| times.started),
            computed: times.and_then(|times| times.computed.or(times.delivered)),
            delivered: times.and_then(|times| times.delivered),
            verified: times.map(|times| times.at),
            finished: self.finished_at(node, memory),
        }
    }

    /// The name of what a node came to, `limit` being the fuel that was allowed.
    fn outcome_cid(
        &self,
        node: u32,
        (slot, answer): (u32, Answer),
        limit: u64,
        memory: &Memory,
    ) -> Cid {
        let known = memory.get(slot);
        match answer {
            Answer::Whole => known.outcome(),
            Answer::OutOfFuel => {
                let (out, fuel) = self.outcome(node, (slot, answer), limit, memory);
                let whole = known.receipt.outcome();
                Outcome { out, fuel, ..whole }.cid()
            }
        }
    }

    /// What a node came to, and its fuel, `limit` being what was allowed.
    fn outcome(
        &self,
        node: u32,
        (slot, answer): (u32, Answer),
        limit: u64,
        memory: &Memory,
    ) -> (Out, Option<u64>) {
        let known = memory.get(slot);
        match answer {
            Answer::Whole => (known.receipt.out(), known.receipt.fuel()),
            Answer::OutOfFuel => (self.out_of_fuel(node), Some(limit)),
        }
    }

    fn out_of_fuel(&self, node: u32) -> Out {
        let failure = Failure {
            trap: TrapKind::OutOfFuel,
            func: self.func(node).to_string(),
        };
        Out::Error(failure.to_value())
    }

    /// Why a task that allows itself `limit` units of fuel is where it is, where its state alone does not say it.
    fn reason(&self, task: u32, limit: u64, memory: &Memory) -> String {
        let node = self.contents.node_of_task.at(task);
        if let Some(note) = self.notes.get(&node) {
            return note.clone();
        }
        if let Some((slot, Answer::OutOfFuel)) = self.came_to(task, memory).get() {
            return match memory.get(slot).receipt.fuel() {
                Some(used) => {
                    format!("it is known to use up {used} units of fuel, its limit is {limit}")
                }
                None => format!("it is known to use more fuel than its limit of {limit}"),
            };
        }
        match self.graph.state(node) {
            TaskState::Skipped => "what it feeds was known".to_owned(),
            TaskState::Failed => self.failure(node, memory),
            TaskState::Waiting
            | TaskState::Ready
            | TaskState::Leased
            | TaskState::Provisional
            | TaskState::Computed
            | TaskState::Replayed
            | TaskState::Cancelled => String::new(),
        }
    }

    fn failure(&self, node: u32, memory: &Memory) -> String {
        if let Some(attempts) = self.attempts.get(&node)
            && let Some(last) = attempts.last()
        {
            return format!(
                "given up after {} attempts, the last one: {}",
                attempts.len(),
                last.fault.message
            );
        }
        for edge in self.graph.needs(node) {
            let what = match (
                branch(memory, self.result(edge.node())),
                self.graph.state(edge.node()),
            ) {
                (Some(branch), _) if branch.keeps(edge.branch()) => continue,
                (Some(Branch::Error), _) => "came to an error",
                (Some(Branch::Ok), _) => "came to a value, an error was awaited",
                (None, TaskState::Failed) => "failed",
                (None, TaskState::Cancelled) => "was cancelled",
                (None, _) => continue,
            };
            return match self.contents.task_of_node.get(edge.node()) {
                Some(task) => match self.tasks.name(task) {
                    "" => format!("tasks[{task}] {what}"),
                    name => format!("`{name}` (tasks[{task}]) {what}"),
                },
                None => format!(
                    "{} {what}",
                    Cid::of_content_digest(*self.digest(edge.node(), memory))
                ),
            };
        }
        let bytes = self.lease_bytes(node, memory);
        format!(
            "its inputs come to {bytes} bytes, {LEASE_BYTES_MAX} is the most; let tasks hand on blobs instead"
        )
    }

    /// When the last promise of a node was kept.
    fn ready_at(&self, node: u32, memory: &Memory) -> Option<Timestamp> {
        match self.graph.state(node) {
            TaskState::Ready | TaskState::Leased | TaskState::Provisional | TaskState::Computed => {
            }
            TaskState::Waiting
            | TaskState::Replayed
            | TaskState::Skipped
            | TaskState::Failed
            | TaskState::Cancelled => return None,
        }
        let needs = self
            .graph
            .needs(node)
            .iter()
            .filter_map(|edge| self.finished_at(edge.node(), memory));
        Some(
            needs
                .max()
                .unwrap_or(self.header.submitted)
                .max(self.header.submitted),
        )
    }

    fn finished_at(&self, node: u32, memory: &Memory) -> Option<Timestamp> {
        let submitted = self.header.submitted;
        match self.graph.state(node) {
            TaskState::Waiting | TaskState::Ready | TaskState::Leased | TaskState::Provisional => {
                None
            }
            TaskState::Computed | TaskState::Replayed => {
                let at = self
                    .result(node)
                    .get()
                    .map_or(submitted, |(slot, _)| memory.get(slot).at);
                Some(at.max(submitted))
            }
            TaskState::Skipped => Some(submitted),
            TaskState::Failed => {
                let gave_up = self
                    .attempts
                    .get(&node)
                    .and_then(|attempts| attempts.last())
                    .map(|last| last.ended);
                let needs = self
                    .graph
                    .needs(node)
                    .iter()
                    .filter_map(|edge| self.result(edge.node()).get());
                let broken = needs.map(|(slot, _)| memory.get(slot).at).max();
                Some(gave_up.or(broken).unwrap_or(submitted).max(submitted))
            }
            TaskState::Cancelled => self.finished,
        }
    }
}

/// The branch of a result.
fn branch(memory: &Memory, result: Held) -> Option<Branch> {
    result.get().map(|(slot, answer)| match answer {
        Answer::Whole => memory.get(slot).branch(),
        Answer::OutOfFuel => Branch::Error,
    })
}

/// The receipts that a run refers to and did not compute itself, as its event in the journal names them.
pub(crate) fn replayed(run: &Run, memory: &Memory) -> Vec<Attested> {
    let held = run.results.iter().filter_map(|held| held.get());
    held.map(|(slot, _)| memory.get(slot).receipt.clone())
        .collect()
}

#[cfg(test)]
mod tests;
