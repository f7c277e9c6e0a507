//! A scheduler alone, told a long story that chance made up. What it answers is compared between targets, so nothing but
//! the scheduler and the protocol takes part.

use asterism_protocol::{
    Conditions, Identity, MerkleTree, Out, Outcome, Remark, Statement, Timestamp, Value,
    content_cid,
    message::{
        Capabilities, Delivery, Fault, FaultKind, Held, Hello, Lease, ToCoordinator, ToExecutor,
        hello_bytes,
    },
    view::RunId,
};
use asterism_scheduler::{
    Checker, Config, ConnectionId, Event, Input, Output, Planned, RequestId, Scheduler, Submission,
};

use super::{Random, line, workflows::workflow};

/// How long the story is.
const STEPS: u64 = 1_500;

/// What is known of an executor of the story.
struct Teller {
    identity: Identity,
    connection: Option<ConnectionId>,
    checker: Checker,
    nonce: [u8; 32],
    leases: Vec<Lease>,
}

struct Story {
    random: Random,
    now: Timestamp,
    config: Config,
    scheduler: Scheduler,
    tellers: Vec<Teller>,
    journal: Vec<Event>,
    next: u64,
    trace: Vec<u8>,
}

/// Tells the story of a seed and gives the digest of every output, of every timeout, and of the state at the end.
#[must_use]
pub fn course(seed: u64) -> [u8; 32] {
    let config = Config {
        heartbeat_ms: 1_000,
        lease_ms: 4_000,
        attempts_max: 3,
        backoff_base_ms: 200,
        backoff_cap_ms: 4_000,
        reconnect_grace_ms: 1_000,
        live_tasks_max: 200,
        finished_runs_max: 5,
        ..Config::default()
    };
    let teller = |number: u8| Teller {
        identity: Identity::from_seed(&[number + 1; 32]),
        connection: None,
        checker: Checker::default(),
        nonce: [0; 32],
        leases: Vec::new(),
    };
    let mut story = Story {
        random: Random::new(seed),
        now: Timestamp(1_000_000),
        scheduler: Scheduler::new(config.clone(), seed),
        config,
        tellers: (0..4).map(teller).collect(),
        journal: Vec::new(),
        next: 0,
        trace: Vec::new(),
    };
    for _ in 0..STEPS {
        story.step();
    }
    story
        .trace
        .extend_from_slice(&story.scheduler.state_digest());
    content_cid(&story.trace).digest()
}

impl Story {
    fn step(&mut self) {
        let who = self.random.below(self.tellers.len() as u64) as usize;
        let Some(connection) = self.tellers[who].connection else {
            return self.arrive(who);
        };
        let message = match self.random.below(40) {
            0..=7 => ToCoordinator::Poll {
                slots: 1 + self.random.below(6) as u32,
                wait_ms: self.random.below(3_000),
            },
            8..=21 => match self.delivery(who) {
                Some(message) => message,
                None => return,
            },
            22..=25 => ToCoordinator::Heartbeat {
                leases: self.tellers[who]
                    .leases
                    .iter()
                    .map(|lease| lease.id)
                    .collect(),
            },
            26..=27 => match self.tellers[who].leases.pop() {
                Some(lease) => {
                    let fault = Fault {
                        kind: FaultKind::Host,
                        message: "chance".into(),
                    };
                    ToCoordinator::Fault {
                        lease: lease.id,
                        fault,
                    }
                }
                None => return,
            },
            28 => match self.tellers[who].leases.pop() {
                Some(lease) => ToCoordinator::Refuse {
                    lease: lease.id,
                    reason: "chance".into(),
                },
                None => return,
            },
            29 => {
                let leases = std::mem::take(&mut self.tellers[who].leases);
                ToCoordinator::HandBack {
                    leases: leases.into_iter().map(|lease| lease.id).collect(),
                }
            }
            30 => {
                self.tellers[who].connection = None;
                return self.tell(Input::Disconnected { connection });
            }
            31..=33 => return self.submit(),
            34 => {
                let request = RequestId(self.next);
                let run = RunId(1 + self.random.below(30));
                return self.tell(Input::Cancel { request, run });
            }
            35 if self.random.chance(200) => return self.restart(),
            _ => {
                let ms = self.random.below(800);
                return self.pass(ms);
            }
        };
        self.say(who, connection, message);
    }

    fn say(&mut self, who: usize, connection: ConnectionId, message: ToCoordinator) {
        let message = self.tellers[who].checker.check(message);
        self.tell(Input::Received {
            connection,
            message,
        });
    }

    fn arrive(&mut self, who: usize) {
        self.next += 1;
        let connection = ConnectionId(self.next);
        let nonce = [self.random.number() as u8; 32];
        let teller = &mut self.tellers[who];
        (teller.connection, teller.nonce) = (Some(connection), nonce);
        teller.checker = Checker::default();
        self.tell(Input::Connected {
            connection,
            nonce,
            origin: String::new(),
        });
        let teller = &self.tellers[who];
        let held = |lease: &Lease| Held {
            lease: lease.id,
            instruction: lease.task.run.cid(),
        };
        let hello = Hello {
            key: teller.identity.public_key(),
            proof: teller.identity.sign(&hello_bytes(&nonce)),
            build: "told".into(),
            name: "teller".into(),
            capabilities: Capabilities {
                host: "null".into(),
                metering: self.config.metering.clone(),
                threads: 2,
                memory: 4 << 30,
                ..Capabilities::default()
            },
            holding: teller.leases.iter().map(held).collect(),
            enrolment: String::new(),
        };
        self.say(who, connection, ToCoordinator::Hello(Box::new(hello)));
    }

    /// Some of the leases are done, somehow.
    fn delivery(&mut self, who: usize) -> Option<ToCoordinator> {
        let leases = &mut self.tellers[who].leases;
        let done =
            leases.split_off(leases.len() - leases.len().min(1 + self.random.below(4) as usize));
        let items: Vec<Delivery> = done
            .into_iter()
            .map(|lease| {
                let value = Value::Integer(i128::from(self.random.below(3)));
                let out = if self.random.chance(150) {
                    Out::Error(value)
                } else {
                    Out::Ok(value)
                };
                let metering = self.config.metering.clone();
                let outcome = Outcome {
                    instruction: lease.task.run.cid(),
                    out,
                    fuel: Some(7),
                    metering,
                };
                let (fuel, memory) = (lease.limits.fuel, lease.limits.memory);
                let conditions = Conditions {
                    fuel,
                    memory,
                    growth_refused: false,
                };
                Delivery {
                    lease: lease.id,
                    outcome,
                    conditions,
                    remark: Remark::default(),
                    salt: None,
                }
            })
            .collect();
        if items.is_empty() {
            return None;
        }
        Some(signed(&self.tellers[who].identity, items))
    }

    fn submit(&mut self) {
        let count = 1 + self.random.below(12) as u32;
        let prepared = workflow(&mut self.random, count, 4, 1);
        self.next += 1;
        let request = RequestId(self.next);
        let submission = Submission {
            plan: Planned::read(&prepared).expect("chance writes workflows"),
            name: "told".into(),
            submitter: "chance".into(),
            known: Vec::new(),
            terms: asterism_protocol::Terms::default(),
        };
        self.tell(Input::Submit {
            request,
            submission: Box::new(submission),
        });
    }

    fn restart(&mut self) {
        self.scheduler = Scheduler::new(self.config.clone(), self.random.number());
        self.scheduler
            .recover(self.journal.iter().cloned(), self.now);
        for teller in &mut self.tellers {
            teller.connection = None;
        }
        self.drain();
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while let Some((at, reason)) = self.scheduler.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.trace
                .extend_from_slice(format!("{} {reason:?}\n", at.0).as_bytes());
            self.scheduler.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn tell(&mut self, input: Input) {
        self.scheduler.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.scheduler.poll_output() {
            self.trace
                .extend_from_slice(line(self.now, &output).as_bytes());
            match output {
                Output::Persist(event) => self.journal.push(event),
                Output::Send {
                    connection,
                    message,
                }
                | Output::Acknowledge {
                    connection,
                    message,
                } => {
                    let teller = self
                        .tellers
                        .iter_mut()
                        .find(|teller| teller.connection == Some(connection));
                    match (teller, message) {
                        (Some(teller), ToExecutor::Assign { leases }) => {
                            teller.leases.extend(leases)
                        }
                        (Some(teller), ToExecutor::Revoke { leases, .. }) => {
                            teller.leases.retain(|lease| !leases.contains(&lease.id));
                        }
                        _ => {}
                    }
                }
                Output::Disconnect { connection } => {
                    for teller in self
                        .tellers
                        .iter_mut()
                        .filter(|teller| teller.connection == Some(connection))
                    {
                        teller.connection = None;
                    }
                }
                Output::Reply { .. } | Output::Publish(_) => {}
            }
        }
    }
}

/// A delivery, signed as executors sign it.
pub(super) fn signed(identity: &Identity, items: Vec<Delivery>) -> ToCoordinator {
    let statement = |item: &Delivery| Statement {
        outcome: item.outcome.cid(),
        conditions: item.conditions,
    };
    let statements: Vec<Statement> = items.iter().map(statement).collect();
    let signature = identity.sign(&MerkleTree::new(&statements).signed_bytes());
    ToCoordinator::Deliver { items, signature }
}
