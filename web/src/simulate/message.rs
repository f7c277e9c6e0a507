//! What the page and the simulating worker say to each other.

use asterism_protocol::Policy;
use asterism_simulator::{Scenario, Sight};
use js_sys::Uint8Array;
use serde::{Deserialize, Serialize};
use serde_wasm_bindgen::preserve;

/// When nothing breaks any more, in milliseconds of the world's time, if anything does.
const HEALED_MS: u64 = 30_000;

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
            liars: self.liars,
            verify: self.verify,
            cancelled_per_mille: 0,
            heartbeat_ms: 1_000,
            reconnect_grace_ms: 3_000,
        }
    }

    /// Why this world may not come to a good end; `None` if it must.
    #[must_use]
    pub fn doubt(&self) -> Option<&'static str> {
        let (liars, honest) = match self.verify {
            Policy::Any | Policy::Trusted => (0, 1),
            Policy::Quorum { agree, .. } => (agree - 1, agree),
            Policy::Spot { .. } => (1, 2),
        };
        if self.liars > liars {
            Some(
                "That is more liars than this policy bears: a lie may be believed, and then it is said below.",
            )
        } else if self.executors < self.liars + honest {
            Some("There are too few honest tabs for this policy: the work may never end.")
        } else {
            None
        }
    }
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
    /// Is all done, and was all looked at once more?
    pub is_over: bool,
}
