//! What can be seen of a world while it goes on, by who sees everything.

use asterism_protocol::view::{Standing, TaskState};
use serde::{Deserialize, Serialize};

use super::World;
use crate::executor::Honesty;

/// An executor of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sight {
    /// Does it tell other outcomes than it computed, now and then or always?
    pub lies: bool,
    /// What it is about.
    pub state: Doing,
}

/// What an executor of a world is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doing {
    /// It is closed, or has no connection.
    Away,
    /// Its tab sleeps.
    Frozen,
    /// It has nothing to do.
    Idle,
    /// A thread of it computes.
    Working,
    /// The coordinator caught it.
    Excluded,
}

impl World {
    /// Every executor, in the order of their numbers. Those that were caught are known while the coordinator is up.
    #[must_use]
    pub fn executors(&self) -> Vec<Sight> {
        let views = self
            .coordinator
            .scheduler()
            .map_or(Vec::new(), |scheduler| scheduler.overview().executors);
        let excluded = |key| {
            let mut views = views.iter();
            views.any(|view| view.key == key && view.standing == Standing::Excluded)
        };
        let sights = self.executors.iter().map(|executor| {
            let state = if excluded(executor.identity.public_key()) {
                Doing::Excluded
            } else if executor.session.is_none() || executor.link.is_none() {
                Doing::Away
            } else if executor.frozen_until > self.now {
                Doing::Frozen
            } else if executor.jobs.values().any(|jobs| !jobs.is_empty()) {
                Doing::Working
            } else {
                Doing::Idle
            };
            Sight {
                lies: executor.honesty != Honesty::Honest,
                state,
            }
        });
        sights.collect()
    }

    /// Does the coordinator run?
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.coordinator.is_up()
    }

    /// Final outcomes that are not what their tasks come to: lies that were believed.
    #[must_use]
    pub fn lies_believed(&self) -> usize {
        let runs = self
            .wishes
            .iter()
            .filter_map(|wish| Some((wish, wish.run?)));
        let wrong = runs.map(|(wish, run)| {
            let outs = self.coordinator.outs(run).into_iter();
            let is_final = |state| matches!(state, TaskState::Computed | TaskState::Replayed);
            outs.filter(|(instruction, state, out)| {
                is_final(*state) && out.as_ref() != wish.expected.get(instruction)
            })
            .count()
        });
        wrong.sum()
    }

    /// Things that happened, each of which was followed by a look at what must hold.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How often the coordinator was killed, and how often something broke at all.
    #[must_use]
    pub fn broken(&self) -> (u64, u64) {
        (self.kills, self.disasters)
    }
}
