//! The shape of a run and where each of its nodes stands.
//!
//! A node is a distinct instruction of the run. This module knows nothing of instructions, values, leases or time: it
//! counts promises. A million nodes fit in some 20 bytes each and 8 for each promise.

use std::collections::BTreeMap;

use asterism_protocol::{
    Await, Out,
    view::{Counts, TaskState},
};

/// On which branch a node's outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// It came to a value.
    Ok,
    /// It came to an error value.
    Error,
}

impl Branch {
    /// The branch of `out`.
    #[must_use]
    pub fn of(out: &Out) -> Self {
        match out {
            Out::Ok(_) => Self::Ok,
            Out::Error(_) => Self::Error,
        }
    }

    /// Does a promise of `awaited` hold?
    #[must_use]
    pub fn keeps(self, awaited: Await) -> bool {
        matches!(
            (awaited, self),
            (Await::Any, _) | (Await::Ok, Self::Ok) | (Await::Error, Self::Error)
        )
    }
}

/// A promise: the node at its other end, and the branch awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge(u32);

impl Edge {
    const BRANCH_SHIFT: u32 = 30;

    fn new(node: u32, branch: Await) -> Self {
        debug_assert!(
            node >> Self::BRANCH_SHIFT == 0,
            "a workflow has at most a million tasks"
        );
        let tag = match branch {
            Await::Ok => 0,
            Await::Error => 1,
            Await::Any => 2,
        };
        Self(node | tag << Self::BRANCH_SHIFT)
    }

    /// The node at the other end.
    #[must_use]
    pub fn node(self) -> u32 {
        self.0 & ((1 << Self::BRANCH_SHIFT) - 1)
    }

    /// The branch awaited.
    #[must_use]
    pub fn branch(self) -> Await {
        match self.0 >> Self::BRANCH_SHIFT {
            0 => Await::Ok,
            1 => Await::Error,
            _ => Await::Any,
        }
    }
}

/// Nodes, promises between them, and states.
pub struct Graph {
    /// Where the promises of a node begin in `needs`; one more at the end. The same for `feeds`.
    needs_at: Vec<u32>,
    needs: Vec<Edge>,
    feeds_at: Vec<u32>,
    feeds: Vec<Edge>,
    /// Promises of a node that are not kept yet.
    pending: Vec<u32>,
    state: Vec<TaskState>,
    /// How many nodes are on the longest way from a node to the end.
    heights: Vec<u32>,
    /// How many tasks a node stands for, where that is not one.
    weights: BTreeMap<u32, u32>,
    counts: Counts,
    /// Nodes that changed since they were last asked for, while somebody watches.
    changed: Option<Vec<u32>>,
}

impl Graph {
    /// A graph of `nodes` nodes, all waiting. `promises` are (who awaits, what is awaited, on which branch), ordered by who awaits.
    /// `weights` says of nodes how many tasks they stand for, where that is not one.
    #[must_use]
    pub fn new(nodes: u32, promises: &[(u32, u32, Await)], weights: BTreeMap<u32, u32>) -> Self {
        let len = nodes as usize;
        let mut needs_at = vec![0; len + 1];
        let mut feeds_at = vec![0; len + 1];
        for (consumer, producer, _) in promises {
            needs_at[*consumer as usize + 1] += 1;
            feeds_at[*producer as usize + 1] += 1;
        }
        for node in 0..len {
            needs_at[node + 1] += needs_at[node];
            feeds_at[node + 1] += feeds_at[node];
        }
        debug_assert!(promises.is_sorted_by_key(|(consumer, ..)| *consumer));
        let needs = promises
            .iter()
            .map(|(_, producer, branch)| Edge::new(*producer, *branch))
            .collect();
        let mut feeds = vec![Edge(0); promises.len()];
        let mut next = feeds_at.clone();
        for (consumer, producer, branch) in promises {
            let at = &mut next[*producer as usize];
            feeds[*at as usize] = Edge::new(*consumer, *branch);
            *at += 1;
        }
        let mut graph = Self {
            needs_at,
            needs,
            feeds_at,
            feeds,
            pending: vec![0; len],
            state: vec![TaskState::Waiting; len],
            heights: vec![0; len],
            weights,
            counts: Counts::default(),
            changed: None,
        };
        graph.counts.waiting = (0..nodes).map(|node| graph.weight(node)).sum();
        graph
    }

    /// Decides what is to be done, from the leaves upwards: a node whose outcome is known is replayed; of the others,
    /// those that nobody needs are skipped. `order` names every node after those it needs; `known` tells the branch of
    /// known outcomes. Nodes that can be done at once are appended to `ready`, in their order.
    pub fn plan(
        &mut self,
        order: &[u32],
        known: impl Fn(u32) -> Option<Branch>,
        ready: &mut Vec<u32>,
    ) {
        let mut fed = vec![false; self.state.len()];
        for node in order.iter().rev().copied() {
            let at = node as usize;
            let above = self
                .feeds(node)
                .map(|above| self.heights[above as usize] + 1);
            self.heights[at] = above.max().unwrap_or(0);
            let wanted = fed[at] || self.feeds_at[at] == self.feeds_at[at + 1];
            if known(node).is_some() {
                self.set(node, TaskState::Replayed);
            } else if wanted {
                for edge in &self.needs[self.needs_at[at] as usize..self.needs_at[at + 1] as usize]
                {
                    fed[edge.node() as usize] = true;
                }
            } else {
                self.set(node, TaskState::Skipped);
            }
        }
        let first = ready.len();
        for node in order.iter().copied() {
            if self.state(node) != TaskState::Waiting {
                continue;
            }
            let (mut pending, mut broken) = (0, false);
            for edge in self.needs(node) {
                match (self.state(edge.node()), known(edge.node())) {
                    (_, Some(branch)) => broken |= !branch.keeps(edge.branch()),
                    (TaskState::Failed, None) => broken = true,
                    _ => pending += 1,
                }
            }
            self.pending[node as usize] = pending;
            if broken {
                self.set(node, TaskState::Failed);
            } else if pending == 0 {
                self.set(node, TaskState::Ready);
                ready.push(node);
            }
        }
        ready[first..].sort_unstable();
    }

    /// Ends a node, `branch` telling of its outcome if it has one. Nodes whose last promise was kept by it become ready
    /// and are appended to `ready`; nodes whose promise was broken fail, and so on below them.
    pub fn settle(
        &mut self,
        node: u32,
        state: TaskState,
        branch: Option<Branch>,
        ready: &mut Vec<u32>,
    ) {
        self.set(node, state);
        let mut failed = Vec::new();
        let mut ended = Some((node, branch));
        while let Some((node, branch)) = ended {
            for at in self.feeds_at[node as usize]..self.feeds_at[node as usize + 1] {
                let edge = self.feeds[at as usize];
                let consumer = edge.node();
                if self.state(consumer) != TaskState::Waiting {
                    continue;
                }
                if branch.is_some_and(|branch| branch.keeps(edge.branch())) {
                    let pending = &mut self.pending[consumer as usize];
                    *pending -= 1;
                    if *pending == 0 {
                        self.set(consumer, TaskState::Ready);
                        ready.push(consumer);
                    }
                } else {
                    self.set(consumer, TaskState::Failed);
                    failed.push((consumer, None));
                }
            }
            ended = failed.pop();
        }
    }

    /// Gives a node an outcome that is not final. Nodes whose last promise it keeps become ready and are appended to `ready`;
    /// promises that it would break wait until it is final.
    pub fn provide(&mut self, node: u32, branch: Branch, ready: &mut Vec<u32>) {
        self.set(node, TaskState::Provisional);
        for at in self.feeds_at[node as usize]..self.feeds_at[node as usize + 1] {
            let edge = self.feeds[at as usize];
            let consumer = edge.node();
            if !branch.keeps(edge.branch()) || self.state(consumer) != TaskState::Waiting {
                continue;
            }
            let pending = &mut self.pending[consumer as usize];
            *pending -= 1;
            if *pending == 0 {
                self.set(consumer, TaskState::Ready);
                ready.push(consumer);
            }
        }
    }

    /// The outcome that [`Graph::provide`] gave is final. Nodes whose promises it breaks fail.
    pub fn confirm(&mut self, node: u32, branch: Branch) {
        self.set(node, TaskState::Computed);
        let mut failed = Vec::new();
        for at in self.feeds_at[node as usize]..self.feeds_at[node as usize + 1] {
            let edge = self.feeds[at as usize];
            if !branch.keeps(edge.branch()) && self.state(edge.node()) == TaskState::Waiting {
                failed.push(edge.node());
            }
        }
        failed.dedup();
        for consumer in failed {
            if self.state(consumer) == TaskState::Waiting {
                // Nobody depends on it yet: its own outcome was never there.
                self.settle(consumer, TaskState::Failed, None, &mut Vec::new());
            }
        }
    }

    /// Takes back what [`Graph::provide`] gave: the node stands where `then` says. Nodes that were begun on it wait again and are
    /// appended to `back`, in the state they were in.
    pub fn retract(
        &mut self,
        node: u32,
        then: TaskState,
        branch: Branch,
        back: &mut Vec<(u32, TaskState)>,
    ) {
        self.set(node, then);
        for at in self.feeds_at[node as usize]..self.feeds_at[node as usize + 1] {
            let edge = self.feeds[at as usize];
            let consumer = edge.node();
            if !branch.keeps(edge.branch()) {
                continue;
            }
            match self.state(consumer) {
                TaskState::Waiting => {}
                begun @ (TaskState::Ready | TaskState::Leased | TaskState::Provisional) => {
                    back.push((consumer, begun));
                    self.set(consumer, TaskState::Waiting);
                }
                TaskState::Computed
                | TaskState::Replayed
                | TaskState::Skipped
                | TaskState::Failed
                | TaskState::Cancelled => continue,
            }
            self.pending[consumer as usize] += 1;
        }
    }

    /// Is every promise of a node kept by an outcome that is final?
    #[must_use]
    pub fn is_grounded(&self, node: u32) -> bool {
        self.needs(node)
            .iter()
            .all(|edge| self.state(edge.node()) != TaskState::Provisional)
    }

    /// The nodes that await an open one, repeated as often as they do.
    pub fn feeds(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        // Once all nodes are done nobody waits for any, and this is not known any more.
        let at = |node: u32| self.feeds_at.get(node as usize).copied().unwrap_or(0) as usize;
        let feeds = &self.feeds[at(node)..at(node + 1)];
        feeds.iter().map(|edge| edge.node())
    }

    /// Moves a node between the states of those that are not done.
    pub fn set(&mut self, node: u32, state: TaskState) {
        let weight = self.weight(node);
        let old = std::mem::replace(&mut self.state[node as usize], state);
        if old == state {
            return;
        }
        *count(&mut self.counts, old) -= weight;
        *count(&mut self.counts, state) += weight;
        self.touch(node);
    }

    /// Notes that something about a node changed, for those who watch.
    pub fn touch(&mut self, node: u32) {
        if let Some(changed) = &mut self.changed {
            changed.push(node);
        }
    }

    /// Begins or ends noting changes.
    pub fn watch(&mut self, watched: bool) {
        self.changed = watched.then(Vec::new);
    }

    /// The nodes that changed since the last call, each once, while somebody watches.
    pub fn take_changed(&mut self) -> Vec<u32> {
        let mut changed = self
            .changed
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// No node is open, and none will be again: what only open ones need is given back.
    pub fn finish(&mut self) {
        debug_assert_eq!(self.open(), 0);
        self.pending = Vec::new();
        self.heights = Vec::new();
        self.feeds_at = Vec::new();
        self.feeds = Vec::new();
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.state.len() as u32
    }

    /// Is there no node at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state.is_empty()
    }

    /// How many nodes are on the longest way from an open node to the end.
    #[must_use]
    pub fn height(&self, node: u32) -> u32 {
        self.heights[node as usize]
    }

    /// Where a node stands.
    #[must_use]
    pub fn state(&self, node: u32) -> TaskState {
        self.state[node as usize]
    }

    /// The promises of a node, in the order they were given.
    #[must_use]
    pub fn needs(&self, node: u32) -> &[Edge] {
        &self.needs
            [self.needs_at[node as usize] as usize..self.needs_at[node as usize + 1] as usize]
    }

    /// Is a node still to be done?
    #[must_use]
    pub fn is_open(&self, node: u32) -> bool {
        match self.state(node) {
            TaskState::Waiting | TaskState::Ready | TaskState::Leased | TaskState::Provisional => {
                true
            }
            TaskState::Computed
            | TaskState::Replayed
            | TaskState::Skipped
            | TaskState::Failed
            | TaskState::Cancelled => false,
        }
    }

    /// Tasks by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Tasks that are not done.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.counts.waiting + self.counts.ready + self.counts.leased + self.counts.provisional
    }

    /// Bytes of memory that this graph holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * (self.needs_at.capacity()
            + self.needs.capacity()
            + self.feeds_at.capacity()
            + self.feeds.capacity())
            + 4 * (self.pending.capacity() + self.heights.capacity())
            + self.state.capacity()
    }

    pub(crate) fn weight(&self, node: u32) -> u32 {
        if self.weights.is_empty() {
            1
        } else {
            self.weights.get(&node).copied().unwrap_or(1)
        }
    }
}

fn count(counts: &mut Counts, state: TaskState) -> &mut u32 {
    match state {
        TaskState::Waiting => &mut counts.waiting,
        TaskState::Ready => &mut counts.ready,
        TaskState::Leased => &mut counts.leased,
        TaskState::Provisional => &mut counts.provisional,
        TaskState::Computed => &mut counts.computed,
        TaskState::Replayed => &mut counts.replayed,
        TaskState::Skipped => &mut counts.skipped,
        TaskState::Failed => &mut counts.failed,
        TaskState::Cancelled => &mut counts.cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_open_nodes_need_is_given_back_at_the_end() {
        let nodes = 1_000;
        let promises: Vec<_> = (1..nodes).map(|node| (node, node - 1, Await::Ok)).collect();
        let order: Vec<u32> = (0..nodes).collect();
        let mut graph = Graph::new(nodes, &promises, BTreeMap::new());
        let mut ready = Vec::new();
        graph.plan(&order, |_| None, &mut ready);
        assert_eq!(graph.feeds(0).collect::<Vec<_>>(), [1]);
        while let Some(node) = ready.pop() {
            graph.settle(node, TaskState::Computed, Some(Branch::Ok), &mut ready);
        }
        let before = graph.bytes();
        graph.finish();
        let after = graph.bytes();
        assert!(after * 2 < before, "{after} of {before} bytes");
        assert_eq!(graph.feeds(0).count(), 0, "nobody waits any more");
        assert_eq!(graph.needs(1)[0].node(), 0, "it is shown what needed what");
    }
}
