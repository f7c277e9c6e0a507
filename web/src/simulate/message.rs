//! What the page and the simulating worker say to each other.

use asterism_protocol::Policy;
use asterism_simulator::{Scenario, Sight};
use js_sys::Uint8Array;
use serde::{Deserialize, Serialize};
use serde_wasm_bindgen::preserve;

/// When nothing breaks any more, in milliseconds of the world's time, if anything does.
const HEALED_MS: u64 = 20_000;

/// What the page says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToSimulator {
    /// Begin. Said once, first.
    Begin(Wanted),
    /// So many milliseconds of the world's time in one of ours; 0 stands still.
    Pace(u32),
}

/// A world with one workflow, as somebody wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Where chance comes from.
    pub seed: u32,
    /// Tabs.
    pub executors: u32,
    /// How many of them lie.
    pub liars: u32,
    /// Tasks of the workflow.
    pub tasks: u32,
    /// How many of a hundred blobs do not come at the first try.
    pub loss_percent: u32,
    /// Do tabs close and freeze, do connections break, is the coordinator killed?
    pub breaks: bool,
    /// When outcomes are believed.
    pub verify: Policy,
}

impl Wanted {
    /// The world that is meant.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        Scenario {
            seed: self.seed.into(),
            executors: self.executors,
            workflows: 1,
            tasks: self.tasks,
            variety: 10_000,
            delay_ms: 100,
            loss_per_mille: u64::from(self.loss_percent) * 10,
            disaster_ms: if self.breaks { 1_500 } else { 0 },
            // Half of this is the longest wait for the submission.
            healed_ms: if self.breaks { HEALED_MS } else { 1_000 },
            liars: self.liars.min(self.executors),
            verify: self.verify,
            cancelled_per_mille: 0,
            heartbeat_ms: 1_000,
            reconnect_grace_ms: 3_000,
            ..Scenario::small(self.seed.into())
        }
    }

    /// Why this world need not come to a good end; `None` if it must.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        let (bears, honest) = match self.verify {
            Policy::Any | Policy::Trusted => (0, 1),
            Policy::Quorum { agree, .. } => (agree - 1, agree),
            Policy::Spot { .. } => (1, 2),
        };
        let liars = self.liars.min(self.executors);
        if liars > bears {
            Some(Doubt::Liars(bears))
        } else if self.executors < liars + honest {
            Some(Doubt::Honest(honest))
        } else {
            None
        }
    }
}

/// Why a world need not come to a good end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// There are more liars than the policy bears, which is so many.
    Liars(u32),
    /// There are fewer honest tabs than the policy asks for, which is so many.
    Honest(u32),
}

/// How a world ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ended {
    /// All is done, and what must hold did.
    Held,
    /// All is done, in a world that need not come to a good end; so many lies were believed.
    Done(u32),
    /// Work is left, in such a world.
    Waits,
}

/// What the worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FromSimulator {
    /// How the world looks now.
    Seen(Box<Seen>),
    /// What must hold does not, in the words of the check. Nothing follows.
    Broken(String),
}

/// How a world looks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Its time since it began, in milliseconds.
    pub elapsed_ms: u64,
    /// What happened in it.
    pub steps: u64,
    /// How often the coordinator was killed.
    pub kills: u64,
    /// How often something broke.
    pub disasters: u64,
    /// Does the coordinator run?
    pub is_up: bool,
    /// Its tabs.
    pub executors: Vec<Sight>,
    /// The run, as [`asterism_protocol::message::ToWatcher`] tells it; empty where there is none to see.
    #[serde(with = "preserve")]
    pub run: Uint8Array,
    /// How it ended, if it has.
    pub ended: Option<Ended>,
}
