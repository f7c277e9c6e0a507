//! What people do, in any order: a coordinator, executors that come and go, and a model that only knows what was asked
//! for. The shortest course that breaks something is what a failure prints.
#![cfg(not(target_arch = "wasm32"))]

use asterism_protocol::view::RunState;
use asterism_simulator::{Act, Scenario, World};
use proptest::prelude::*;

const EXECUTORS: usize = 3;
const WORKFLOWS: usize = 4;

/// What must be true of the workflows after what was done to them.
#[derive(Default)]
struct Model {
    /// What was asked for: nothing else runs, and all of it ends.
    asked: [bool; WORKFLOWS],
    /// What may be cancelled: nothing else is.
    cancelled: [bool; WORKFLOWS],
}

impl Model {
    fn act(&mut self, act: &Act) {
        match act {
            Act::Submit(number) => self.asked[number % WORKFLOWS] = true,
            Act::Cancel(number) => self.cancelled[number % WORKFLOWS] = true,
            Act::Pass(_)
            | Act::Open(_)
            | Act::Close(_)
            | Act::Freeze(..)
            | Act::Leave(..)
            | Act::Break(_)
            | Act::Kill { .. }
            | Act::Compare => {}
        }
    }

    fn check(&self, world: &World) {
        for run in world.runs() {
            let number: usize = run.summary.name["wish ".len()..]
                .parse()
                .expect("runs are named after what was wished for");
            assert!(self.asked[number], "nobody asked for workflow {number}");
            assert!(
                run.summary.state != RunState::Cancelled || self.cancelled[number],
                "nobody cancelled workflow {number}"
            );
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1_u64..4_000).prop_map(Act::Pass),
        4 => (0..WORKFLOWS).prop_map(Act::Submit),
        1 => (0..WORKFLOWS).prop_map(Act::Cancel),
        4 => (0..EXECUTORS).prop_map(Act::Open),
        1 => (0..EXECUTORS).prop_map(Act::Close),
        1 => ((0..EXECUTORS), 1_u64..20_000).prop_map(|(executor, ms)| Act::Freeze(executor, ms)),
        1 => ((0..EXECUTORS), any::<bool>()).prop_map(|(executor, finish)| Act::Leave(executor, finish)),
        1 => (0..EXECUTORS).prop_map(Act::Break),
        1 => (0_usize..4, 0_u64..6_000).prop_map(|(written, down_ms)| Act::Kill { written, down_ms }),
        1 => Just(Act::Compare),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_people_do_all_they_asked_for_is_done(
        seed in any::<u64>(),
        delay_ms in prop_oneof![Just(1_u64), Just(50), Just(500)],
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let scenario = Scenario {
            executors: EXECUTORS as u32,
            workflows: WORKFLOWS as u32,
            tasks: 40,
            delay_ms,
            disaster_ms: 0,
            healed_ms: u64::MAX / 2,
            cancelled_per_mille: 0,
            ..Scenario::small(seed)
        };
        let (mut world, mut model) = (World::new(&scenario, false), Model::default());
        for act in &acts {
            model.act(act);
            world.act(act);
            model.check(&world);
        }
        world.heal();
        model.check(&world);
        let asked = model.asked.iter().filter(|asked| **asked).count();
        prop_assert_eq!(world.report().runs, asked);
    }
}
