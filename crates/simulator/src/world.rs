//! The world: time, network, disasters, and somebody who submits workflows.

use std::collections::BTreeMap;

use asterism_executor::{session, session::Input as Heard};
use asterism_protocol::{
    Cid, Out, Prepared, Timestamp, blob_cid, content_cid, encode,
    message::{ToCoordinator, ToExecutor, decode_frame},
    view::{RunId, RunState, TaskState},
};
use asterism_scheduler::{Config, ConnectionId, Input, RequestId, Submission};
use serde_bytes::ByteBuf;

use super::{
    Random,
    coordinator::{Coordinator, Effect},
    executor::{Coming, Executor},
    reference,
    workflows::{COMPONENT, workflow},
};

/// Disasters happen until then, in milliseconds of virtual time.
const HEALED_MS: u64 = 60_000;

/// By then all work is done, though nothing was done before the world healed.
const DONE_MS: u64 = HEALED_MS + 240_000;

/// More steps than any world takes to come to rest.
const STEPS_MAX: u64 = 2_000_000;

/// What came of a world.
#[derive(Debug)]
pub struct Report {
    /// Runs that were finished.
    pub runs: usize,
    /// Outcomes that came from work.
    pub computed: usize,
    /// Steps that it took.
    pub steps: u64,
    /// How often the coordinator was killed.
    pub kills: u64,
    /// How often an executor was closed, frozen or cut off.
    pub disasters: u64,
    /// A digest of all outputs of the scheduler, in their order; zeros unless it was asked for.
    pub trace: [u8; 32],
}

/// What happens at some time.
enum Happening {
    /// A message arrives at the coordinator.
    Up(u64, Vec<u8>),
    /// A message arrives at an executor.
    Down(u64, Vec<u8>),
    /// The coordinator hears that a connection is gone.
    LostAbove(u64),
    /// An executor hears that its connection is gone.
    LostBelow {
        executor: usize,
        life: u64,
        link: Option<u64>,
    },
    /// An executor's request to connect arrives.
    Connect {
        executor: usize,
        life: u64,
    },
    /// Something that an executor waited for.
    Coming {
        executor: usize,
        life: u64,
        coming: Box<Coming>,
    },
    ExecutorWakes(usize, u64),
    CoordinatorWakes,
    Commit(u64),
    Restart,
    Reopen(usize),
    Disaster,
    Submit(usize),
}

/// A connection that is open, at least on one side.
struct Link {
    executor: usize,
    life: u64,
    above: bool,
    /// The last arrival in each direction: nothing overtakes.
    up_last: Timestamp,
    down_last: Timestamp,
}

/// A workflow that somebody wants done.
struct Wish {
    prepared: Prepared,
    expected: BTreeMap<Cid, Out>,
    run: Option<RunId>,
    cancel: bool,
}

struct World {
    random: Random,
    now: Timestamp,
    queue: BTreeMap<(Timestamp, u64), Happening>,
    next: u64,
    coordinator: Coordinator,
    /// Counts up with every restart: what was under way for an earlier one is nobody's.
    incarnation: u64,
    coordinator_wake: Option<Timestamp>,
    executors: Vec<Executor>,
    links: BTreeMap<u64, Link>,
    blobs: BTreeMap<Cid, ByteBuf>,
    wishes: Vec<Wish>,
    delay_ms: u64,
    kills: u64,
    disasters: u64,
}

/// Lives through the world of a seed.
///
/// # Panics
/// If an invariant is broken, or if work is left undone after the world healed.
#[must_use]
pub fn run(seed: u64, traced: bool) -> Report {
    let mut random = Random::new(seed);
    let config = Config {
        heartbeat_ms: 1_000,
        lease_ms: 4_000,
        // Disasters must not use up what honest work needs.
        attempts_max: 10_000,
        backoff_base_ms: 200,
        backoff_cap_ms: 4_000,
        reconnect_grace_ms: random.pick(&[0, 1_000, 3_000]),
        ..Config::default()
    };
    let executors = 1 + random.below(4) as u8;
    let world = World {
        now: Timestamp(1_000_000),
        queue: BTreeMap::new(),
        next: 0,
        coordinator: Coordinator::new(config, seed, traced),
        incarnation: 0,
        coordinator_wake: None,
        executors: (0..executors)
            .map(|number| Executor::new(number, 1 + random.below(4) as u32, random.number()))
            .collect(),
        links: BTreeMap::new(),
        blobs: BTreeMap::from([(blob_cid(COMPONENT), ByteBuf::from(COMPONENT))]),
        wishes: (0..1 + random.below(6))
            .map(|_| {
                let tasks_max = random.pick(&[3, 12, 40]);
                let prepared = workflow(&mut random, tasks_max);
                let expected = reference::outcomes(&prepared.workflow);
                Wish {
                    prepared,
                    expected,
                    run: None,
                    cancel: random.chance(80),
                }
            })
            .collect(),
        delay_ms: random.pick(&[1, 20, 300]),
        kills: 0,
        disasters: 0,
        random,
    };
    world.live()
}

impl World {
    fn live(mut self) -> Report {
        for executor in 0..self.executors.len() {
            let ms = self.random.below(2_000);
            self.later(ms, Happening::Reopen(executor));
        }
        for wish in 0..self.wishes.len() {
            let ms = self.random.below(HEALED_MS / 2);
            self.later(ms, Happening::Submit(wish));
        }
        self.later(500, Happening::Disaster);
        let (begun, mut steps) = (self.now, 0);
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            steps += 1;
            assert!(steps < STEPS_MAX, "the world does not come to rest");
            self.now = at;
            self.happen(happening, at.since_ms(begun) >= HEALED_MS);
            if at.since_ms(begun) > HEALED_MS && self.all_done() {
                break;
            }
            assert!(
                at.since_ms(begun) < DONE_MS,
                "work is left undone: {:?}",
                self.undone()
            );
        }
        self.check_outcomes();
        self.coordinator.check_twin(self.now);
        let trace = self.coordinator.trace.take();
        Report {
            runs: self.wishes.len(),
            computed: self.coordinator.computed,
            steps,
            kills: self.kills,
            disasters: self.disasters,
            trace: trace.map_or([0; 32], |trace| content_cid(&trace).digest()),
        }
    }

    fn later(&mut self, ms: u64, happening: Happening) {
        self.at(self.now.after_ms(ms), happening);
    }

    fn at(&mut self, at: Timestamp, happening: Happening) {
        self.next += 1;
        self.queue.insert((at.max(self.now), self.next), happening);
    }

    fn delay(&mut self) -> u64 {
        self.random.below(self.delay_ms + 1)
    }

    fn happen(&mut self, happening: Happening, healed: bool) {
        match happening {
            Happening::Up(link, frame) => {
                let above = self.links.get(&link).is_some_and(|link| link.above);
                if above && self.coordinator.is_up() {
                    let message: ToCoordinator =
                        decode_frame(&frame).expect("sessions speak the protocol");
                    let effects =
                        self.coordinator
                            .received(ConnectionId(link), message, self.now);
                    self.carry_out(effects);
                }
            }
            Happening::Down(link, frame) => {
                let Some(entry) = self.links.get(&link) else {
                    return;
                };
                let (executor, life) = (entry.executor, entry.life);
                if self.is_frozen(executor) {
                    let thaw = self.executors[executor].frozen_until;
                    return self.at(thaw, Happening::Down(link, frame));
                }
                if self.executors[executor].life == life
                    && self.executors[executor].link == Some(link)
                {
                    let message: ToExecutor =
                        decode_frame(&frame).expect("schedulers speak the protocol");
                    self.tell_executor(executor, Heard::Received(message));
                }
            }
            Happening::LostAbove(link) => {
                if let Some(entry) = self.links.get_mut(&link)
                    && std::mem::take(&mut entry.above)
                    && self.coordinator.is_up()
                {
                    self.tell_coordinator(Input::Disconnected {
                        connection: ConnectionId(link),
                    });
                }
            }
            Happening::LostBelow {
                executor,
                life,
                link,
            } => {
                if self.executors[executor].life != life || self.executors[executor].link != link {
                    return;
                }
                if self.is_frozen(executor) {
                    let thaw = self.executors[executor].frozen_until;
                    return self.at(
                        thaw,
                        Happening::LostBelow {
                            executor,
                            life,
                            link,
                        },
                    );
                }
                self.executors[executor].link = None;
                self.tell_executor(
                    executor,
                    Heard::Disconnected {
                        reason: "the network broke".into(),
                    },
                );
            }
            Happening::Connect { executor, life } => self.connect(executor, life),
            Happening::Coming {
                executor,
                life,
                coming,
            } => self.come(executor, life, coming),
            Happening::ExecutorWakes(executor, life) => {
                let machine = &mut self.executors[executor];
                if machine.life != life || machine.next_wake != Some(self.now) {
                    return;
                }
                machine.next_wake = None;
                if machine.frozen_until > self.now {
                    return self.wake_executor(executor);
                }
                if let Some(session) = &mut machine.session {
                    session.handle_timeout(self.now);
                    self.drain_executor(executor);
                }
            }
            Happening::CoordinatorWakes => {
                if self.coordinator_wake == Some(self.now) {
                    self.coordinator_wake = None;
                    let effects = self.coordinator.handle_timeout(self.now);
                    self.carry_out(effects);
                }
            }
            Happening::Commit(incarnation) => {
                if self.incarnation == incarnation && self.coordinator.is_up() {
                    let effects = self.coordinator.commit();
                    self.carry_out(effects);
                }
            }
            Happening::Restart => {
                self.coordinator.restart(self.now);
                self.incarnation += 1;
                self.coordinator_wake = None;
                self.wake_coordinator();
            }
            Happening::Reopen(executor) => {
                if self.executors[executor].session.is_none() {
                    self.executors[executor].open();
                    self.drain_executor(executor);
                }
            }
            Happening::Disaster => {
                if !healed {
                    self.disaster();
                    let ms = 50 + self.random.below(3_000);
                    self.later(ms, Happening::Disaster);
                }
            }
            Happening::Submit(wish) => self.submit(wish),
        }
    }

    fn disaster(&mut self) {
        let executor = self.random.below(self.executors.len() as u64) as usize;
        self.disasters += 1;
        match self.random.below(8) {
            // A connection breaks; both sides hear of it some time.
            0..=2 => {
                let link = self.executors[executor].link;
                self.cut(link);
            }
            // The page is closed without a word, and opened again.
            3 => {
                let link = self.executors[executor].close();
                self.cut(link);
                let ms = self.random.below(10_000);
                self.later(ms, Happening::Reopen(executor));
            }
            4 => {
                let ms = self.random.below(9_000);
                self.executors[executor].frozen_until = self.now.after_ms(ms);
            }
            5 => {
                let finish = self.random.chance(500);
                self.tell_executor(executor, Heard::Leave { finish });
            }
            6 => self.coordinator.check_twin(self.now),
            _ if self.coordinator.is_up() => {
                self.kills += 1;
                self.coordinator.check_twin(self.now);
                let written = self.random.below(4) as usize;
                self.coordinator.kill(written);
                let links: Vec<u64> = self.links.keys().copied().collect();
                for link in links {
                    self.cut(Some(link));
                }
                for wish in 0..self.wishes.len() {
                    // Whoever got no answer asks again.
                    if self.wishes[wish].run.is_none() {
                        let ms = self.random.below(5_000);
                        self.later(ms, Happening::Submit(wish));
                    }
                }
                let ms = self.random.below(6_000);
                self.later(ms, Happening::Restart);
            }
            _ => {}
        }
    }

    /// A connection is gone; what was under way on it is lost.
    fn cut(&mut self, link: Option<u64>) {
        let Some((number, entry)) = link.and_then(|link| Some((link, self.links.remove(&link)?)))
        else {
            return;
        };
        self.queue.retain(|_, happening| {
            !matches!(happening, Happening::Up(link, _) | Happening::Down(link, _) if *link == number)
        });
        let (executor, life) = (entry.executor, entry.life);
        let below = self.delay();
        self.later(
            below,
            Happening::LostBelow {
                executor,
                life,
                link,
            },
        );
        if entry.above && self.coordinator.is_up() {
            let above = self.delay();
            self.links.insert(number, entry);
            self.later(above, Happening::LostAbove(number));
        }
    }

    fn connect(&mut self, executor: usize, life: u64) {
        if self.executors[executor].life != life {
            return;
        }
        if !self.coordinator.is_up() {
            return self.later(
                1,
                Happening::LostBelow {
                    executor,
                    life,
                    link: None,
                },
            );
        }
        self.next += 1;
        let link = self.next;
        let now = self.now;
        self.links.insert(
            link,
            Link {
                executor,
                life,
                above: true,
                up_last: now,
                down_last: now,
            },
        );
        self.executors[executor].link = Some(link);
        let mut nonce = [0; 32];
        for part in nonce.chunks_mut(8) {
            part.copy_from_slice(&self.random.number().to_le_bytes());
        }
        self.tell_executor(executor, Heard::Connected);
        self.tell_coordinator(Input::Connected {
            connection: ConnectionId(link),
            nonce,
            origin: String::new(),
        });
    }

    fn come(&mut self, executor: usize, life: u64, coming: Box<Coming>) {
        let machine = &mut self.executors[executor];
        if machine.life != life {
            return;
        }
        if machine.frozen_until > self.now {
            let thaw = machine.frozen_until;
            return self.at(
                thaw,
                Happening::Coming {
                    executor,
                    life,
                    coming,
                },
            );
        }
        let heard = match *coming {
            Coming::Signed(id, signature) => Heard::Signed { id, signature },
            Coming::Fetched(cid, true) => Heard::Fetched { cid },
            Coming::Fetched(cid, false) => Heard::FetchFailed {
                cid,
                reason: "the network broke".into(),
            },
            Coming::Uploaded(cid) => Heard::Uploaded { cid },
            Coming::Ended {
                thread,
                job,
                lease,
                result,
            } => {
                if machine.jobs.get(&thread) != Some(&job) {
                    return;
                }
                machine.jobs.remove(&thread);
                if let Ok(attempt) = &result {
                    self.blobs.extend(attempt.blobs.clone());
                }
                Heard::Ended {
                    thread,
                    lease,
                    result,
                }
            }
        };
        self.tell_executor(executor, heard);
    }

    fn submit(&mut self, wish: usize) {
        if self.wishes[wish].run.is_some() {
            return;
        }
        if !self.coordinator.is_up() {
            return self.later(1_000, Happening::Submit(wish));
        }
        let prepared = self.wishes[wish].prepared.clone();
        let instructions: Vec<Cid> = prepared
            .workflow
            .tasks
            .iter()
            .map(|task| task.run.cid())
            .collect();
        let known = self.coordinator.known(instructions.into_iter());
        let submission = Submission {
            prepared,
            name: format!("wish {wish}"),
            submitter: "chance".into(),
            known,
            terms: asterism_protocol::Terms::default(),
        };
        let request = RequestId(wish as u64);
        self.tell_coordinator(Input::Submit {
            request,
            submission: Box::new(submission),
        });
    }

    fn tell_coordinator(&mut self, input: Input) {
        let effects = self.coordinator.handle(input, self.now);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(ConnectionId(link), message) => {
                    let delay = self.delay();
                    let Some(entry) = self.links.get_mut(&link) else {
                        continue;
                    };
                    entry.down_last = entry.down_last.max(self.now.after_ms(delay));
                    let at = entry.down_last;
                    self.at(at, Happening::Down(link, encode(&message)));
                }
                Effect::Close(ConnectionId(link)) => {
                    // After what was sent before.
                    let Some(entry) = self.links.get_mut(&link) else {
                        continue;
                    };
                    entry.above = false;
                    let (executor, life, at) =
                        (entry.executor, entry.life, entry.down_last.after_ms(1));
                    self.at(
                        at,
                        Happening::LostBelow {
                            executor,
                            life,
                            link: Some(link),
                        },
                    );
                }
                Effect::Reply(RequestId(wish), result) => {
                    let wish = wish as usize;
                    let run = result.expect("simulated workflows are accepted");
                    // A cancellation is answered with the same run.
                    self.wishes[wish].run = Some(run);
                    if std::mem::take(&mut self.wishes[wish].cancel) {
                        self.wishes[wish].expected.clear();
                        let request = RequestId(wish as u64);
                        self.tell_coordinator(Input::Cancel { request, run });
                    }
                }
                Effect::Commit => {
                    let ms = self.random.below(30);
                    self.later(ms, Happening::Commit(self.incarnation));
                }
            }
        }
        self.wake_coordinator();
    }

    fn wake_coordinator(&mut self) {
        let due = self
            .coordinator
            .scheduler()
            .and_then(|scheduler| scheduler.poll_timeout());
        if let Some((at, _)) = due
            && self.coordinator_wake.is_none_or(|wake| wake > at)
        {
            let at = at.max(self.now);
            self.coordinator_wake = Some(at);
            self.at(at, Happening::CoordinatorWakes);
        }
    }

    fn tell_executor(&mut self, executor: usize, input: Heard) {
        if let Some(session) = &mut self.executors[executor].session {
            session.handle(input, self.now);
            self.drain_executor(executor);
        }
    }

    fn drain_executor(&mut self, executor: usize) {
        while let Some(output) = self.executors[executor]
            .session
            .as_mut()
            .and_then(|session| session.poll_output())
        {
            self.perform(executor, output);
        }
        self.wake_executor(executor);
    }

    fn perform(&mut self, executor: usize, output: session::Output) {
        let life = self.executors[executor].life;
        match output {
            session::Output::Connect => {
                let ms = self.delay();
                self.later(ms, Happening::Connect { executor, life });
            }
            session::Output::Disconnect => {
                if let Some(link) = self.executors[executor].link.take() {
                    let ms = self.delay();
                    self.later(ms, Happening::LostAbove(link));
                }
            }
            session::Output::Send(message) => {
                let delay = self.delay();
                let Some(link) = self.executors[executor].link else {
                    return;
                };
                let Some(entry) = self.links.get_mut(&link) else {
                    return;
                };
                entry.up_last = entry.up_last.max(self.now.after_ms(delay));
                let at = entry.up_last;
                self.at(at, Happening::Up(link, encode(&message)));
            }
            session::Output::Sign { id, bytes } => {
                let signature = self.executors[executor].identity.sign(&bytes);
                let ms = self.random.below(3);
                self.coming(executor, ms, Coming::Signed(id, signature));
            }
            session::Output::Fetch { cid } => {
                let (ms, found) = (self.delay(), !self.random.chance(50));
                self.coming(executor, ms, Coming::Fetched(cid, found));
            }
            session::Output::Upload { cid } => {
                let ms = self.delay();
                self.coming(executor, ms, Coming::Uploaded(cid));
            }
            session::Output::Run {
                thread,
                lease,
                mut job,
                blobs,
            } => {
                for cid in blobs {
                    let bytes = self
                        .blobs
                        .get(&cid)
                        .expect("what is linked to was uploaded before");
                    job.blobs.insert(cid, bytes.clone());
                }
                let result = self.executors[executor].perform(&job, COMPONENT);
                self.next += 1;
                let job = self.next;
                self.executors[executor].jobs.insert(thread, job);
                let ms = if self.random.chance(100) {
                    self.random.below(20_000)
                } else {
                    self.random.below(300)
                };
                self.coming(
                    executor,
                    ms,
                    Coming::Ended {
                        thread,
                        job,
                        lease,
                        result,
                    },
                );
            }
            session::Output::Kill { thread } => {
                self.executors[executor].jobs.remove(&thread);
            }
            session::Output::Finished => {
                let link = self.executors[executor].close();
                self.cut(link);
                let ms = self.random.below(5_000);
                self.later(ms, Happening::Reopen(executor));
            }
            session::Output::Release { .. } | session::Output::Changed => {}
        }
    }

    fn coming(&mut self, executor: usize, ms: u64, coming: Coming) {
        let life = self.executors[executor].life;
        self.later(
            ms,
            Happening::Coming {
                executor,
                life,
                coming: Box::new(coming),
            },
        );
    }

    fn wake_executor(&mut self, executor: usize) {
        let machine = &self.executors[executor];
        let Some((at, _)) = machine
            .session
            .as_ref()
            .and_then(|session| session.poll_timeout())
        else {
            return;
        };
        let at = at.max(self.now).max(machine.frozen_until);
        if machine.next_wake.is_none_or(|wake| wake > at) {
            let life = machine.life;
            self.executors[executor].next_wake = Some(at);
            self.at(at, Happening::ExecutorWakes(executor, life));
        }
    }

    fn is_frozen(&self, executor: usize) -> bool {
        self.executors[executor].frozen_until > self.now
    }

    fn run_state(&self, wish: &Wish) -> Option<RunState> {
        let view = self.coordinator.scheduler()?.run_view(wish.run?)?;
        Some(view.summary.state)
    }

    fn all_done(&self) -> bool {
        let done = |wish| {
            self.run_state(wish)
                .is_some_and(|state| state != RunState::Running)
        };
        self.wishes.iter().all(done)
    }

    fn undone(&self) -> Vec<(Option<RunId>, Option<RunState>)> {
        self.wishes
            .iter()
            .map(|wish| (wish.run, self.run_state(wish)))
            .collect()
    }

    /// Every task came to what it comes to without any of this.
    fn check_outcomes(&self) {
        for wish in self.wishes.iter().filter(|wish| !wish.expected.is_empty()) {
            let run = wish.run.expect("all is done");
            for (instruction, state, out) in self.coordinator.outs(run) {
                let expected = wish.expected.get(&instruction);
                match state {
                    TaskState::Computed | TaskState::Replayed => {
                        assert_eq!(out.as_ref(), expected, "{instruction}");
                    }
                    TaskState::Failed => assert_eq!(expected, None, "{instruction}"),
                    TaskState::Skipped => {}
                    TaskState::Waiting
                    | TaskState::Ready
                    | TaskState::Leased
                    | TaskState::Provisional
                    | TaskState::Cancelled => {
                        panic!("{instruction} is {state:?} in a run that is done")
                    }
                }
            }
        }
    }
}
