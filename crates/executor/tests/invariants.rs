//! Whatever a coordinator, a shell and an owner say, and in whatever order: the session never panics, never runs more
//! than it may, and brings every lease to exactly one end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asterism_executor::{
    Config, Host, Input, Job, NullHost, Output, Session, SignId, ThreadId, TransferError,
};
use asterism_protocol::{
    Cid, Effects, Files, Instruction, Limits, Meta, Nonce, PublicKey, Signature, Task, Timestamp,
    Value, blob_cid,
    message::{Capabilities, Fault, FaultKind, Lease, LeaseId, ToCoordinator, ToExecutor},
};
use proptest::{collection::vec, prelude::*};
use serde_bytes::ByteArray;

/// One thing that happens; numbers pick among what is there.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connect,
    Disconnect,
    Challenge,
    Welcome {
        keep: u8,
    },
    /// Of them, every third is malformed.
    Assign {
        leases: u8,
    },
    Revoke {
        pick: u8,
    },
    Accept {
        pick: u8,
    },
    Reject {
        pick: Option<u8>,
    },
    Bye,
    Sign {
        pick: u8,
    },
    Fetch {
        pick: u8,
        fail: bool,
    },
    Upload {
        pick: u8,
        fail: bool,
    },
    End {
        pick: u8,
        fault: bool,
    },
    StaleEnd {
        thread: u8,
        lease: u8,
    },
    Preparing {
        thread: u8,
    },
    Prepared {
        thread: u8,
    },
    Threads(u8),
    Duty(u8),
    Pause,
    Resume,
    Leave {
        finish: bool,
    },
    Wait {
        ms: u16,
    },
}

fn transfer_error(pick: u8) -> TransferError {
    match pick % 2 {
        0 => TransferError::Failed("r".into()),
        _ => TransferError::Unavailable("r".into()),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Challenge),
        2 => any::<u8>().prop_map(|keep| Step::Welcome { keep }),
        6 => (0_u8..8).prop_map(|leases| Step::Assign { leases }),
        1 => any::<u8>().prop_map(|pick| Step::Revoke { pick }),
        4 => any::<u8>().prop_map(|pick| Step::Accept { pick }),
        1 => any::<Option<u8>>().prop_map(|pick| Step::Reject { pick }),
        1 => Just(Step::Bye),
        6 => any::<u8>().prop_map(|pick| Step::Sign { pick }),
        6 => (any::<u8>(), prop::bool::weighted(0.2)).prop_map(|(pick, fail)| Step::Fetch { pick, fail }),
        4 => (any::<u8>(), prop::bool::weighted(0.2)).prop_map(|(pick, fail)| Step::Upload { pick, fail }),
        6 => (any::<u8>(), prop::bool::weighted(0.2)).prop_map(|(pick, fault)| Step::End { pick, fault }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(thread, lease)| Step::StaleEnd { thread, lease }),
        1 => (0_u8..4).prop_map(|thread| Step::Preparing { thread }),
        1 => (0_u8..4).prop_map(|thread| Step::Prepared { thread }),
        1 => (0_u8..5).prop_map(Step::Threads),
        1 => any::<u8>().prop_map(Step::Duty),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => prop::bool::weighted(0.5).prop_map(|finish| Step::Leave { finish }),
        4 => (0_u16..3_000).prop_map(|ms| Step::Wait { ms }),
    ];
    // Few leave: most sequences should get somewhere first.
    vec(step, 1..200).prop_map(|mut steps| {
        let last = steps.len() - 1;
        let mut place = 0;
        steps.retain(|step| {
            place += 1;
            place > last || !matches!(step, Step::Leave { .. })
        });
        steps
    })
}

/// The world around the session, and what it may expect.
struct World {
    session: Session,
    now: Timestamp,
    threads: u32,
    next_lease: u64,
    /// Leases that have not come to an end.
    open: BTreeMap<LeaseId, Cid>,
    /// Delivered over this connection and not answered.
    delivered: BTreeSet<LeaseId>,
    /// What each thread has, in order.
    running: BTreeMap<ThreadId, VecDeque<(LeaseId, Job)>>,
    /// How much a thread may have.
    most: usize,
    signs: Vec<SignId>,
    fetches: Vec<Cid>,
    uploads: Vec<Cid>,
    welcomed: bool,
    poll: Option<u32>,
    finished: bool,
    ends: u32,
}

impl World {
    fn new(pipeline: bool) -> Self {
        let capabilities = Capabilities {
            host: "null".into(),
            metering: "wasmtime-48".into(),
            threads: 2,
            memory: 4 << 30,
            ..Capabilities::default()
        };
        let config = Config {
            key: PublicKey::new([0; 32]),
            name: String::new(),
            build: String::new(),
            capabilities,
            enrolment: String::new(),
            duty_percent: 100,
            memory_bytes: 4 << 30,
            time_ms: 1_000_000,
            prefetch: 1,
            pipeline,
            seed: 0,
        };
        let mut world = Self {
            session: Session::new(config),
            now: Timestamp(1_000),
            threads: 2,
            next_lease: 0,
            open: BTreeMap::new(),
            delivered: BTreeSet::new(),
            running: BTreeMap::new(),
            most: if pipeline { 2 } else { 1 },
            signs: Vec::new(),
            fetches: Vec::new(),
            uploads: Vec::new(),
            welcomed: false,
            poll: None,
            finished: false,
            ends: 0,
        };
        world.drain();
        world
    }

    fn input(&mut self, input: Input) {
        self.session.handle(input, self.now);
        self.drain();
    }

    fn receive(&mut self, message: ToExecutor) {
        self.input(Input::Received(message));
    }

    fn over(&mut self, lease: LeaseId) {
        assert!(
            self.open.remove(&lease).is_some(),
            "{lease:?} ended a second time"
        );
        self.delivered.remove(&lease);
        self.ends += 1;
    }

    fn gone(&mut self) {
        self.welcomed = false;
        self.poll = None;
        self.delivered.clear();
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            assert!(!self.finished, "{output:?} after the end");
            match output {
                Output::Connect => assert!(!self.welcomed, "a second connection"),
                Output::Disconnect => self.gone(),
                Output::Send(message) => self.sent(message),
                Output::Sign { id, .. } => self.signs.push(id),
                Output::Fetch { cid } => self.fetches.push(cid),
                Output::Upload { cid } => self.uploads.push(cid),
                Output::Run {
                    thread, lease, job, ..
                } => {
                    assert!(
                        thread.0 < self.threads,
                        "{thread:?} of {} threads",
                        self.threads
                    );
                    assert!(
                        self.open.contains_key(&lease),
                        "{lease:?} runs after its end"
                    );
                    assert!(
                        self.running
                            .values()
                            .flatten()
                            .all(|(other, _)| *other != lease),
                        "{lease:?} runs twice"
                    );
                    let given = self.running.entry(thread).or_default();
                    given.push_back((lease, *job));
                    assert!(given.len() <= self.most, "{thread:?} has too much");
                }
                Output::Kill { thread } => {
                    assert!(
                        self.running.remove(&thread).is_some(),
                        "{thread:?} ran nothing"
                    );
                }
                Output::Finished => self.finished = true,
                Output::Release { .. } | Output::Changed => {}
            }
        }
        let doing = self.session.status().doing;
        assert_eq!(
            doing.keys().collect::<Vec<_>>(),
            self.running.keys().collect::<Vec<_>>()
        );
    }

    fn sent(&mut self, message: ToCoordinator) {
        match message {
            ToCoordinator::Hello(hello) => {
                assert!(!self.welcomed);
                let held: BTreeMap<_, _> = hello
                    .holding
                    .iter()
                    .map(|held| (held.lease, held.instruction))
                    .collect();
                assert_eq!(held, self.open);
                return;
            }
            ToCoordinator::Poll { slots, .. } => {
                assert_eq!(self.poll.replace(slots), None, "two polls at once");
                assert!(slots > 0);
            }
            ToCoordinator::Heartbeat { leases } => {
                assert_eq!(leases, self.open.keys().copied().collect::<Vec<_>>());
            }
            ToCoordinator::Started { leases } => {
                assert!(leases.iter().all(|lease| self.open.contains_key(lease)))
            }
            ToCoordinator::Commit { .. } => panic!("no lease asked for a commitment"),
            ToCoordinator::Deliver { items, .. } => {
                assert!(!items.is_empty());
                for item in items {
                    assert_eq!(self.open.get(&item.lease), Some(&item.outcome.instruction));
                    assert!(self.delivered.insert(item.lease), "delivered twice");
                }
            }
            ToCoordinator::Fault { lease, .. } | ToCoordinator::Refuse { lease, .. } => {
                self.over(lease)
            }
            ToCoordinator::HandBack { leases } => {
                leases.into_iter().for_each(|lease| self.over(lease))
            }
            ToCoordinator::Leave => {}
        }
        assert!(self.welcomed, "it speaks before it is welcomed");
    }

    /// Time passes; every timeout leads somewhere.
    fn wait(&mut self, ms: u64) {
        let until = self.now.after_ms(ms);
        while let Some((at, reason)) = self.session.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
            let next = self.session.poll_timeout();
            assert!(
                next.is_none_or(|(at, _)| at > self.now),
                "after {reason:?}, {next:?} is still due"
            );
        }
        self.now = until;
    }

    fn lease(&mut self) -> Lease {
        self.next_lease += 1;
        let id = LeaseId(self.next_lease);
        let op = if self.next_lease.is_multiple_of(3) {
            "http/get"
        } else {
            "wasm/run"
        };
        let (func, args) = match self.next_lease % 4 {
            0 => ("blob", vec![Value::Integer(20_000)]),
            1 => (
                "echo",
                vec![Value::Link(
                    blob_cid(&[self.next_lease as u8 % 4]).to_link(),
                )],
            ),
            _ => ("work", vec![Value::Integer(i128::from(self.next_lease))]),
        };
        let input = asterism_protocol::Input {
            func: func.into(),
            args,
            files: Files::new(),
            effects: Effects::new(),
        };
        let rsc = format!("ipfs://{}", blob_cid(b"component"));
        let run = Instruction {
            rsc,
            op: op.into(),
            input,
            nnc: Nonce::Empty,
        };
        let limits = Limits {
            time_ms: 2_000,
            ..Limits::default()
        };
        let task = Task {
            run,
            cause: None,
            meta: Meta::default(),
            prf: Vec::new(),
        };
        let (workflow, submitter) = (String::new(), String::new());
        Lease {
            id,
            task: task.into(),
            inputs: Vec::new(),
            limits,
            lease_ms: 1_000,
            workflow,
            submitter,
            commit: false,
        }
    }

    fn picked<T: Copy>(from: &mut Vec<T>, pick: u8) -> Option<T> {
        if from.is_empty() {
            None
        } else {
            Some(from.remove(usize::from(pick) % from.len()))
        }
    }

    fn some_open(&self, pick: u8) -> LeaseId {
        self.open
            .keys()
            .nth(usize::from(pick) % self.open.len().max(1))
            .copied()
            .unwrap_or(LeaseId(u64::from(pick)))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect => self.input(Input::Connected),
            Step::Disconnect => {
                self.gone();
                self.input(Input::Disconnected {
                    reason: "test".into(),
                });
            }
            Step::Challenge => self.receive(ToExecutor::Challenge {
                nonce: ByteArray::new([0; 32]),
                build: "b".into(),
            }),
            Step::Welcome { keep } => {
                // Only where the session waits for it: elsewhere it hangs up, which is another step.
                let resumed: Vec<_> = self
                    .open
                    .keys()
                    .copied()
                    .filter(|id| id.0 % 4 <= u64::from(keep) % 5)
                    .collect();
                let before = self.session.status().connected;
                let mut probe = Vec::new();
                self.session.handle(
                    Input::Received(ToExecutor::Welcome {
                        heartbeat_ms: 500,
                        resumed: resumed.clone(),
                    }),
                    self.now,
                );
                if !before && self.session.status().connected {
                    self.welcomed = true;
                    let lost: Vec<_> = self
                        .open
                        .keys()
                        .copied()
                        .filter(|id| !resumed.contains(id))
                        .collect();
                    probe.extend(lost);
                }
                probe.into_iter().for_each(|id| self.over(id));
                self.drain();
            }
            Step::Assign { leases } => {
                if self.welcomed {
                    let leases: Vec<_> = (0..leases).map(|_| self.lease()).collect();
                    self.open
                        .extend(leases.iter().map(|lease| (lease.id, lease.task.run.cid())));
                    self.poll = None;
                    self.receive(ToExecutor::Assign { leases });
                } else {
                    self.receive(ToExecutor::Assign { leases: Vec::new() });
                }
            }
            Step::Revoke { pick } => {
                let lease = self.some_open(pick);
                self.coordinator_ends(
                    lease,
                    ToExecutor::Revoke {
                        leases: vec![lease],
                        reason: "r".into(),
                    },
                );
            }
            Step::Accept { pick } => {
                let lease = self
                    .delivered
                    .iter()
                    .nth(usize::from(pick) % self.delivered.len().max(1))
                    .copied();
                let lease = lease.unwrap_or(LeaseId(u64::MAX));
                self.coordinator_ends(
                    lease,
                    ToExecutor::Accepted {
                        leases: vec![lease],
                    },
                );
            }
            Step::Reject { pick: Some(pick) } => {
                let lease = self.some_open(pick);
                self.coordinator_ends(
                    lease,
                    ToExecutor::Rejected {
                        lease: Some(lease),
                        reason: "r".into(),
                    },
                );
            }
            Step::Reject { pick: None } => {
                self.receive(ToExecutor::Rejected {
                    lease: None,
                    reason: "r".into(),
                });
            }
            Step::Bye => self.receive(ToExecutor::Bye { reason: "r".into() }),
            Step::Sign { pick } => {
                let id = Self::picked(&mut self.signs, pick).unwrap_or(SignId(999));
                self.input(Input::Signed {
                    id,
                    signature: Signature::new([0; 64]),
                });
            }
            Step::Fetch { pick, fail } => {
                let cid =
                    Self::picked(&mut self.fetches, pick).unwrap_or_else(|| blob_cid(b"unknown"));
                let error = transfer_error(pick);
                self.input(if fail {
                    Input::FetchFailed { cid, error }
                } else {
                    Input::Fetched { cid }
                });
            }
            Step::Upload { pick, fail } => {
                let cid =
                    Self::picked(&mut self.uploads, pick).unwrap_or_else(|| blob_cid(b"unknown"));
                let error = transfer_error(pick);
                self.input(if fail {
                    Input::UploadFailed { cid, error }
                } else {
                    Input::Uploaded { cid }
                });
            }
            Step::End { pick, fault } => {
                let Some(thread) = self
                    .running
                    .keys()
                    .nth(usize::from(pick) % self.running.len().max(1))
                    .copied()
                else {
                    return;
                };
                let Some((lease, mut job)) = self.take(thread) else {
                    return;
                };
                if fault && pick & 1 == 1 {
                    return self.input(Input::Unfit {
                        thread,
                        lease,
                        reason: "unfit".into(),
                    });
                }
                let broken = || Fault {
                    kind: FaultKind::Host,
                    message: "broken".into(),
                };
                let mut host = NullHost::new();
                host.prepare(job.component, b"component")
                    .expect("a null host takes anything");
                for byte in 0..4 {
                    job.blobs
                        .insert(blob_cid(&[byte]), serde_bytes::ByteBuf::from(vec![byte]));
                }
                let result = if fault {
                    Err(broken())
                } else {
                    host.run(&job).map(Box::new)
                };
                self.input(Input::Ended {
                    thread,
                    lease,
                    result,
                });
            }
            Step::StaleEnd { thread, lease } => {
                let (thread, lease) = (ThreadId(u32::from(thread)), LeaseId(u64::from(lease)));
                if self
                    .running
                    .get(&thread)
                    .is_none_or(|given| given[0].0 != lease)
                {
                    let fault = Fault {
                        kind: FaultKind::Host,
                        message: "stale".into(),
                    };
                    self.input(Input::Ended {
                        thread,
                        lease,
                        result: Err(fault),
                    });
                }
            }
            Step::Preparing { thread } => self.input(Input::Preparing {
                thread: ThreadId(thread.into()),
            }),
            Step::Prepared { thread } => self.input(Input::Prepared {
                thread: ThreadId(thread.into()),
            }),
            Step::Threads(threads) => {
                self.threads = threads.into();
                self.input(Input::Threads(threads.into()));
            }
            Step::Duty(percent) => self.input(Input::Duty(percent)),
            Step::Pause => self.input(Input::Pause { reason: "p".into() }),
            Step::Resume => self.input(Input::Resume),
            Step::Leave { finish } => self.input(Input::Leave { finish }),
            Step::Wait { ms } => self.wait(ms.into()),
        }
    }

    /// What a thread performs, which ends.
    fn take(&mut self, thread: ThreadId) -> Option<(LeaseId, Job)> {
        let given = self.running.get_mut(&thread)?;
        let first = given.pop_front();
        if given.is_empty() {
            self.running.remove(&thread);
        }
        first
    }

    /// The coordinator ends a lease: from then on the session must not name it.
    fn coordinator_ends(&mut self, lease: LeaseId, message: ToExecutor) {
        if !self.welcomed {
            return;
        }
        if self.open.contains_key(&lease) {
            self.over(lease);
        }
        self.receive(message);
    }

    /// From here on everybody is helpful: whatever is open comes to its end, and the session too.
    fn settle(&mut self) {
        for _ in 0..300 {
            if self.finished {
                return;
            }
            self.step(Step::Resume);
            if !self.welcomed {
                self.step(Step::Connect);
                self.step(Step::Challenge);
                (0..self.signs.len()).for_each(|_| self.step(Step::Sign { pick: 0 }));
                self.step(Step::Welcome { keep: 4 });
            }
            self.step(Step::Fetch {
                pick: 0,
                fail: false,
            });
            self.step(Step::Upload {
                pick: 0,
                fail: false,
            });
            self.step(Step::Sign { pick: 0 });
            self.step(Step::End {
                pick: 0,
                fault: false,
            });
            // All at once: who leaves without finishing does not wait long.
            (0..self.delivered.len()).for_each(|_| self.step(Step::Accept { pick: 0 }));
            if self.poll.is_some() {
                self.step(Step::Assign { leases: 0 });
            }
            self.wait(1_000);
            if self.open.is_empty() {
                self.step(Step::Threads(1));
                self.step(Step::Leave { finish: true });
            } else if self.threads == 0 {
                self.step(Step::Threads(1));
            }
        }
        assert!(
            self.finished,
            "open: {:?}, status: {:?}",
            self.open,
            self.session.status()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_lease_comes_to_exactly_one_end(steps in steps(), pipeline: bool) {
        let mut world = World::new(pipeline);
        for step in steps {
            world.step(step);
            if world.finished {
                break;
            }
        }
        let left_early = world.finished;
        world.settle();
        prop_assert!(left_early || world.open.is_empty());
        prop_assert!(left_early || u64::from(world.ends) == world.next_lease);
    }
}
