//! What a world is like: how many take part, how bad the network is, who lies.

use asterism_protocol::Policy;

use super::Random;

/// As many as a coordinator looks at.
const AFFINITY: usize = 16;

/// A world before it begins. Everything in it follows from these numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Where chance comes from.
    pub seed: u64,
    /// How many executors there are.
    pub executors: u32,
    /// How many workflows are submitted.
    pub workflows: u32,
    /// How many tasks they have together; equal ones count as often as they are asked for.
    pub tasks: u32,
    /// Arguments are below this: the fewer there are, the more tasks are equal.
    pub variety: u64,
    /// How many components the tasks name.
    pub components: u32,
    /// How many instructions and executors are looked at for one lease: see [`asterism_scheduler::Config::affinity`].
    pub affinity: usize,
    /// The longest delay of a message, in milliseconds.
    pub delay_ms: u64,
    /// How many of a thousand blobs fail to come.
    pub loss_per_mille: u64,
    /// The mean time between two disasters, in milliseconds; 0 for none.
    pub disaster_ms: u64,
    /// When disasters end, in milliseconds after the beginning.
    pub healed_ms: u64,
    /// How many executors lie, each in its own way.
    pub liars: u32,
    /// When outcomes are believed.
    pub verify: Policy,
    /// How many of a thousand workflows are cancelled as soon as they are accepted.
    pub cancelled_per_mille: u64,
    /// How often executors say that they are alive, in milliseconds; leases last four times as long.
    pub heartbeat_ms: u64,
    /// How long an executor that lost its connection keeps its leases, in milliseconds.
    pub reconnect_grace_ms: u64,
}

impl Scenario {
    /// Few executors and workflows that overlap, and something breaks all the time.
    #[must_use]
    pub fn small(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let workflows = 1 + random.below(6) as u32;
        Self {
            seed,
            executors: 1 + random.below(4) as u32,
            workflows,
            tasks: workflows * random.pick(&[3, 12, 40]),
            variety: 4,
            components: 1,
            affinity: AFFINITY,
            delay_ms: random.pick(&[1, 20, 300]),
            loss_per_mille: 50,
            disaster_ms: 1_500,
            healed_ms: 60_000,
            liars: 0,
            verify: Policy::Any,
            cancelled_per_mille: 80,
            heartbeat_ms: 1_000,
            reconnect_grace_ms: random.pick(&[0, 1_000, 3_000]),
        }
    }

    /// As small, with as many liars as the policy can bear: everybody who lies is one fewer than must agree, or alone where
    /// executors are spot-checked.
    #[must_use]
    pub fn verified(seed: u64) -> Self {
        let small = Self::small(seed);
        let mut random = Random::new(seed ^ 0x6c69_6172);
        let (verify, liars) = random.pick(&[
            (Policy::Quorum { agree: 2, of: 4 }, 1),
            (Policy::Quorum { agree: 2, of: 3 }, 1),
            (Policy::Quorum { agree: 3, of: 5 }, 2),
            (Policy::Quorum { agree: 4, of: 9 }, 3),
            (Policy::Spot { per_mille: 100 }, 1),
            (Policy::Spot { per_mille: 1 }, 1),
        ]);
        let honest = match verify {
            Policy::Quorum { agree, .. } => agree,
            Policy::Any | Policy::Trusted | Policy::Spot { .. } => 2,
        };
        Self {
            executors: honest + liars + random.below(4) as u32,
            tasks: small.workflows * random.pick(&[3, 12, 25]),
            liars,
            verify,
            ..small
        }
    }

    /// Two hundred executors and five hundred tasks.
    #[must_use]
    pub fn large(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            seed,
            executors: 200,
            workflows: 2 + random.below(6) as u32,
            tasks: 500,
            variety: random.pick(&[4, 100, 10_000]),
            components: 1,
            affinity: AFFINITY,
            delay_ms: random.pick(&[1, 20, 300]),
            loss_per_mille: random.pick(&[0, 20, 50]),
            disaster_ms: random.pick(&[40, 100, 400]),
            healed_ms: 20_000,
            liars: 0,
            verify: Policy::Any,
            cancelled_per_mille: 80,
            heartbeat_ms: 2_000,
            reconnect_grace_ms: random.pick(&[0, 1_000, 5_000]),
        }
    }
}
