//! Who hears of changes: watchers, and requests that wait for a run to end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use asterism_protocol::{
    PublicKey,
    message::Change,
    view::{RunId, RunState},
};
use tokio::sync::{broadcast, oneshot};

use crate::{limits::CHANGES_BEHIND_MAX, metrics::Metrics};

/// How many batches of changes were published: a snapshot carries the number it is as new as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edition(u64);

/// Changes that were published together.
pub(crate) type Published = (Edition, Arc<[Change]>);

/// Tells whoever listens.
pub(crate) struct Hub {
    state: Mutex<State>,
    changes: broadcast::Sender<Published>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    edition: Edition,
    waiting: BTreeMap<RunId, Vec<oneshot::Sender<()>>>,
    /// Leases by executor, for the metrics.
    executors: BTreeMap<PublicKey, u32>,
    /// What of them is counted.
    counted: Counted,
}

/// Executors, and the leases that they hold.
#[derive(Clone, Copy, Default)]
struct Counted {
    executors: i64,
    leases: i64,
}

impl State {
    fn counted(&self) -> Counted {
        Counted {
            executors: self.executors.len() as i64,
            leases: self.executors.values().copied().map(i64::from).sum(),
        }
    }
}

impl Hub {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let (changes, _) = broadcast::channel(CHANGES_BEHIND_MAX);
        Self {
            state: Mutex::default(),
            changes,
            metrics,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several hubs may count together.
    fn count(&self, before: Counted, now: Counted) {
        let Metrics {
            executors, leases, ..
        } = &*self.metrics;
        executors.inc_by(now.executors - before.executors);
        leases.inc_by(now.leases - before.leases);
    }

    /// Hear of everything that is published from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Published> {
        self.changes.subscribe()
    }

    /// Hear when a run ends. Register first, then look whether it has ended already.
    pub(crate) fn ended(&self, run: RunId) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut state = self.state();
        // Whoever went away does not stay in the list of a run that never ends.
        let waiting = state.waiting.entry(run).or_default();
        waiting.retain(|waiting| !waiting.is_closed());
        waiting.push(tell);
        told
    }

    /// Publishes changes that are durable.
    pub(crate) fn publish(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut state = self.state();
        for change in &changes {
            match change {
                Change::Run(summary) if summary.state != RunState::Running => {
                    for waiting in state.waiting.remove(&summary.run).unwrap_or_default() {
                        // It may have gone away meanwhile.
                        let _ = waiting.send(());
                    }
                }
                Change::Executor(executor) if executor.connected => {
                    state.executors.insert(executor.key, executor.leases);
                }
                Change::Executor(executor) => {
                    state.executors.remove(&executor.key);
                }
                Change::ExecutorGone(key) => {
                    state.executors.remove(key);
                }
                Change::Paused(paused) => drop(self.metrics.paused.set(i64::from(*paused))),
                Change::Run(_) | Change::Task { .. } | Change::Component(_) => {}
            }
        }
        let counted = state.counted();
        self.count(std::mem::replace(&mut state.counted, counted), counted);
        state.edition.0 += 1;
        // Sent under the lock, so that numbers arrive in order. Without watchers it goes nowhere.
        let _ = self.changes.send((state.edition, changes.into()));
    }

    /// As new as what is published.
    pub(crate) fn edition(&self) -> Edition {
        self.state().edition
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let counted = self.state().counted;
        self.count(counted, Counted::default());
    }
}
