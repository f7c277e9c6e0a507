//! Whatever executors say, nothing panics, and honest work gets done.

use asterism_protocol::{
    Cid, Conditions, Identity, Outcome, Remark, content_cid,
    message::{Delivery, Fault, FaultKind, Held, LeaseId, ToCoordinator},
    view::RunState,
};
use proptest::prelude::*;

use crate::driver::{Driver, METERING, awaits, error, ok, task};

/// What a bad executor does next. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Act {
    Connect(u8),
    Hello {
        seed: u8,
        holding: Vec<(u64, u8)>,
        wrong: bool,
    },
    Poll {
        slots: u32,
        wait_ms: u64,
    },
    Heartbeat(Vec<u64>),
    Started(Vec<u64>),
    HandBack(Vec<u64>),
    Deliver {
        leases: Vec<(u64, u8, i8)>,
        wrong: bool,
    },
    Fault(u64, u8),
    Refuse(u64),
    Leave,
    Disconnect,
    Submit(u8),
    Cancel(u64),
    Pass(u16),
}

fn acts() -> impl Strategy<Value = Vec<(u8, Act)>> {
    let leases = || prop::collection::vec(0_u64..12, 0..4);
    let act = prop_oneof![
        any::<u8>().prop_map(Act::Connect),
        (
            0_u8..4,
            prop::collection::vec((0_u64..12, any::<u8>()), 0..3),
            prop::bool::weighted(0.1)
        )
            .prop_map(|(seed, holding, wrong)| Act::Hello {
                seed,
                holding,
                wrong
            }),
        (
            0_u32..6,
            prop_oneof![Just(0), 0_u64..20_000, Just(u64::MAX)]
        )
            .prop_map(|(slots, wait_ms)| Act::Poll { slots, wait_ms }),
        (1_u32..6).prop_map(|slots| Act::Poll {
            slots,
            wait_ms: 5_000
        }),
        leases().prop_map(Act::Heartbeat),
        leases().prop_map(Act::Started),
        leases().prop_map(Act::HandBack),
        (
            prop::collection::vec((0_u64..12, any::<u8>(), any::<i8>()), 0..4),
            prop::bool::weighted(0.1)
        )
            .prop_map(|(leases, wrong)| Act::Deliver { leases, wrong }),
        (0_u64..12, any::<u8>()).prop_map(|(lease, kind)| Act::Fault(lease, kind)),
        (0_u64..12).prop_map(Act::Refuse),
        Just(Act::Leave),
        Just(Act::Disconnect),
        any::<u8>().prop_map(Act::Submit),
        (0_u64..6).prop_map(Act::Cancel),
        (0_u16..9_000).prop_map(Act::Pass),
    ];
    prop::collection::vec((0_u8..4, act), 0..60)
}

/// Small workflows that overlap.
fn workflow(shape: u8) -> Vec<asterism_protocol::Task> {
    use asterism_protocol::{Await, Value};
    let leaf = |n: u8| task("leaf", vec![Value::Integer(i128::from(n % 3))]);
    let branch = [Await::Ok, Await::Error, Await::Any][usize::from(shape / 3 % 3)];
    let top = task("top", vec![awaits(branch, &leaf(shape))]);
    let end = task(
        "end",
        vec![
            awaits(Await::Ok, &top),
            awaits(Await::Any, &leaf(shape + 1)),
        ],
    );
    vec![leaf(shape), leaf(shape + 1), top, end]
}

fn instruction(n: u8) -> Cid {
    let tasks = workflow(n % 7);
    match n % 5 {
        4 => content_cid(&[n]),
        place => tasks[usize::from(place)].run.cid(),
    }
}

fn perform(
    driver: &mut Driver,
    executors: &mut [Option<crate::driver::Executor>],
    who: usize,
    act: Act,
) {
    let numbers = |leases: Vec<u64>| leases.into_iter().map(LeaseId).collect();
    let say = |driver: &mut Driver, message| {
        if let Some(executor) = &executors[who] {
            driver.say(executor, message);
        }
    };
    match act {
        Act::Connect(seed) => executors[who] = Some(driver.connect(seed)),
        Act::Hello {
            seed,
            holding,
            wrong,
        } => {
            let Some(executor) = &mut executors[who] else {
                return;
            };
            executor.identity = Identity::from_seed(&[seed; 32]);
            let holding = holding.into_iter().map(|(lease, n)| Held {
                lease: LeaseId(lease),
                instruction: instruction(n),
            });
            let mut hello = executor.hello(holding.collect());
            if wrong {
                hello.key = Identity::from_seed(&[99; 32]).public_key();
            }
            driver.say(
                executors[who].as_ref().expect("just now"),
                ToCoordinator::Hello(Box::new(hello)),
            );
        }
        Act::Poll { slots, wait_ms } => say(driver, ToCoordinator::Poll { slots, wait_ms }),
        Act::Heartbeat(leases) => say(
            driver,
            ToCoordinator::Heartbeat {
                leases: numbers(leases),
            },
        ),
        Act::Started(leases) => say(
            driver,
            ToCoordinator::Started {
                leases: numbers(leases),
            },
        ),
        Act::HandBack(leases) => say(
            driver,
            ToCoordinator::HandBack {
                leases: numbers(leases),
            },
        ),
        Act::Deliver { leases, wrong } => {
            let Some(executor) = &executors[who] else {
                return;
            };
            let limits = asterism_protocol::Limits::default();
            let items: Vec<_> = leases
                .into_iter()
                .map(|(lease, n, value)| Delivery {
                    lease: LeaseId(lease),
                    outcome: Outcome {
                        instruction: instruction(n),
                        out: if value < -100 {
                            error("no")
                        } else {
                            ok(i128::from(value))
                        },
                        fuel: (value != 0).then_some(10),
                        metering: METERING.into(),
                    },
                    conditions: Conditions {
                        fuel: limits.fuel,
                        memory: limits.memory,
                        growth_refused: value == 1,
                    },
                    remark: Remark::default(),
                    salt: (value == 2).then_some([9; 32].into()),
                })
                .collect();
            let message = match (items.is_empty(), wrong) {
                (true, _) => ToCoordinator::Deliver {
                    items,
                    signature: asterism_protocol::Signature::new([0; 64]),
                },
                (false, true) => ToCoordinator::Deliver {
                    items,
                    signature: executor.identity.sign(b"something else"),
                },
                (false, false) => executor.signed(items),
            };
            driver.say(executor, message);
        }
        Act::Fault(lease, kind) => {
            use FaultKind::{Blob, Host, Lost, StackOverflow, TimeLimit};
            let kind =
                [TimeLimit, StackOverflow, Blob, Host, Host, Host, Lost][usize::from(kind % 7)];
            let fault = Fault {
                kind,
                message: "broken".into(),
            };
            say(
                driver,
                ToCoordinator::Fault {
                    lease: LeaseId(lease),
                    fault,
                },
            );
        }
        Act::Refuse(lease) => say(
            driver,
            ToCoordinator::Refuse {
                lease: LeaseId(lease),
                reason: "no".into(),
            },
        ),
        Act::Leave => say(driver, ToCoordinator::Leave),
        Act::Disconnect => {
            if let Some(executor) = executors[who].take() {
                driver.disconnect(&executor);
            }
        }
        Act::Submit(shape) => {
            driver.submit(workflow(shape % 7));
        }
        Act::Cancel(run) => {
            let _: Result<_, _> = driver.cancel(asterism_protocol::view::RunId(run));
        }
        Act::Pass(ms) => driver.pass(u64::from(ms)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_messages_breaks_the_scheduler(acts in acts()) {
        let mut driver = Driver::new();
        let mut executors = [const { None }; 4];
        for (who, act) in acts {
            perform(&mut driver, &mut executors, usize::from(who), act);
            let views: Vec<_> = driver.scheduler.overview().runs;
            for summary in views {
                let view = driver.view(summary.run);
                prop_assert_eq!(&view.summary, &summary);
                let mut counts = asterism_protocol::view::Counts::default();
                for task in view.tasks {
                    counts.errors += u32::from(matches!(task.out, Some(asterism_protocol::Out::Error(_))));
                    use asterism_protocol::view::TaskState as S;
                    *match task.state {
                        S::Waiting => &mut counts.waiting,
                        S::Ready => &mut counts.ready,
                        S::Leased => &mut counts.leased,
                        S::Provisional => &mut counts.provisional,
                        S::Computed => &mut counts.computed,
                        S::Replayed => &mut counts.replayed,
                        S::Skipped => &mut counts.skipped,
                        S::Failed => &mut counts.failed,
                        S::Cancelled => &mut counts.cancelled,
                    } += 1;
                }
                prop_assert_eq!(counts, summary.counts);
            }
        }
        // A restart gives the same back, and an honest executor finishes all of it.
        let mut restarted = driver.restarted();
        prop_assert_eq!(restarted.scheduler.state_digest(), driver.scheduler.state_digest());
        restarted.compact();
        let mut compacted = restarted.restarted();
        prop_assert_eq!(compacted.scheduler.state_digest(), driver.scheduler.state_digest());
        for driver in [&mut driver, &mut restarted, &mut compacted] {
            let honest = driver.executor(200);
            for _ in 0..20 {
                driver.pass(9_000);
                driver.work_off(&honest, |_| ok(1));
            }
            let runs = driver.scheduler.overview().runs;
            prop_assert!(runs.iter().all(|run| run.state != RunState::Running), "{:?}", runs);
            // And so it is when runs are forgotten.
            driver.compact();
        }
    }
}
