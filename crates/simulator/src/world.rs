//! The world: time, the coordinator, its executors, and somebody who submits workflows.
//!
//! Messages of one connection neither overtake each other nor come twice: that is what a WebSocket promises. All else
//! may happen: connections break with what is on them, deliveries are said again over the next one, blobs do not come, and
//! messages of different executors overtake each other.

mod look;
mod machines;
mod network;

use std::collections::{BTreeMap, BTreeSet};

use asterism_protocol::{
    Cid, Out, Policy, Terms, Timestamp, blob_cid, content_cid,
    view::{Explanation, RunId, RunState, RunView, Standing, TaskState},
};
use asterism_scheduler::{Config, Input, Planned, RequestId, Scheduler, Submission};
use serde_bytes::ByteBuf;

pub use self::look::{Doing, Sight};
use self::network::Link;
use super::{
    Act, Random, Scenario,
    coordinator::{Coordinator, Effect},
    executor::{Coming, Executor, Honesty},
    reference,
    workflows::{component, workflow},
};

/// So long after it healed, all work of a world is done, though nothing was done before.
const DONE_MS: u64 = 240_000;

/// More steps than any world takes to come to rest.
const STEPS_MAX: u64 = 5_000_000;

/// Worlds of up to so many tasks, all small ones among them, have their journals told again, without what is not needed, whenever
/// a twin is made.
const STORY_TASKS_MAX: u32 = 250;

/// What came of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Runs that were finished.
    pub runs: usize,
    /// Outcomes that came from work.
    pub computed: usize,
    /// Steps that it took.
    pub steps: u64,
    /// How much virtual time, in milliseconds.
    pub elapsed_ms: u64,
    /// How often the coordinator was killed.
    pub kills: u64,
    /// How often something broke, the coordinator or an executor.
    pub disasters: u64,
    /// How many executors were excluded.
    pub excluded: usize,
    /// How many inputs executors fetched, and how many components they compiled, because they had not kept them.
    pub fetched: u64,
    /// See above.
    pub compiled: u64,
    /// What the scheduler knows in the end, as [`asterism_scheduler::Scheduler::state_digest`] has it.
    pub state: [u8; 32],
    /// A digest of all outputs of the scheduler, in their order; zeros unless it was asked for.
    pub trace: [u8; 32],
}

/// What happens at some time.
pub(super) enum Happening {
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

/// A workflow that somebody wants done.
pub(super) struct Wish {
    plan: Planned,
    expected: BTreeMap<Cid, Out>,
    run: Option<RunId>,
    /// Is it to be cancelled as soon as it is accepted?
    cancel: bool,
    cancelled: bool,
    /// Did somebody ever ask for it?
    submitted: bool,
}

/// A coordinator, its executors and all that is between them.
pub struct World {
    pub(super) scenario: Scenario,
    pub(super) random: Random,
    pub(super) now: Timestamp,
    begun: Timestamp,
    queue: BTreeMap<(Timestamp, u64), Happening>,
    next: u64,
    pub(super) coordinator: Coordinator,
    /// Counts up with every restart: what was under way for an earlier one is nobody's.
    incarnation: u64,
    coordinator_wake: Option<Timestamp>,
    pub(super) executors: Vec<Executor>,
    links: BTreeMap<u64, Link>,
    blobs: BTreeMap<Cid, ByteBuf>,
    components: BTreeSet<Cid>,
    pub(super) wishes: Vec<Wish>,
    steps: u64,
    kills: u64,
    disasters: u64,
}

/// Lives through a world that is left to itself.
///
/// # Panics
/// If an invariant is broken, or if work is left undone after the world healed.
#[must_use]
pub fn run(scenario: &Scenario, traced: bool) -> Report {
    let mut world = World::new(scenario, traced);
    world.begin();
    while !world.is_over() {
        world.step();
    }
    world.report()
}

impl World {
    /// A world in which nothing has happened: nobody is there yet.
    #[must_use]
    pub fn new(scenario: &Scenario, traced: bool) -> Self {
        let mut random = Random::new(scenario.seed);
        let config = Config {
            heartbeat_ms: scenario.heartbeat_ms,
            lease_ms: 4 * scenario.heartbeat_ms,
            // Disasters must not use up what honest work needs.
            attempts_max: 10_000,
            stack_attempts_max: 10_000,
            backoff_base_ms: 200,
            backoff_cap_ms: 4_000,
            reconnect_grace_ms: scenario.reconnect_grace_ms,
            verify: scenario.verify,
            affinity: scenario.affinity,
            ..Config::default()
        };
        let executor = |number| {
            let threads = 1 + random.below(4) as u32;
            let honesty = if number < scenario.liars {
                let ways = [
                    Honesty::Lies,
                    Honesty::LiesAfter(5),
                    Honesty::Conspires(scenario.seed),
                    Honesty::LiesSometimes(300),
                ];
                // Whoever is honest at every check is believed in between: that is the price of checking some only.
                let found = match scenario.verify {
                    Policy::Spot { .. } => 3,
                    Policy::Any | Policy::Trusted | Policy::Quorum { .. } => 4,
                };
                random.pick(&ways[..found])
            } else {
                Honesty::Honest
            };
            Executor::new(number, threads, random.number(), honesty)
        };
        let executors = (0..scenario.executors).map(executor).collect();
        let share = scenario.tasks / scenario.workflows.max(1);
        let wish = |number| {
            let first = u32::from(number == 0) * (scenario.tasks % scenario.workflows.max(1));
            let count = share + first;
            let (variety, components) = (scenario.variety, scenario.components);
            let prepared = workflow(&mut random, count, variety, components);
            let expected = reference::outcomes(&prepared.workflow);
            Wish {
                plan: Planned::read(&prepared).expect("chance writes workflows"),
                expected,
                run: None,
                cancel: random.chance(scenario.cancelled_per_mille),
                cancelled: false,
                submitted: false,
            }
        };
        let wishes = (0..scenario.workflows).map(wish).collect();
        let components = (0..scenario.components.max(1)).map(component);
        let blobs: BTreeMap<Cid, ByteBuf> = components
            .map(|bytes| (blob_cid(&bytes), ByteBuf::from(bytes)))
            .collect();
        let now = Timestamp(1_000_000);
        Self {
            scenario: scenario.clone(),
            now,
            begun: now,
            queue: BTreeMap::new(),
            next: 0,
            coordinator: Coordinator::new(config, scenario.seed, traced),
            incarnation: 0,
            coordinator_wake: None,
            executors,
            links: BTreeMap::new(),
            components: blobs.keys().copied().collect(),
            blobs,
            wishes,
            steps: 0,
            kills: 0,
            disasters: 0,
            random,
        }
    }

    /// Executors come, workflows are submitted, and disasters begin.
    pub fn begin(&mut self) {
        for executor in 0..self.executors.len() {
            let ms = self.random.below(2_000);
            self.later(ms, Happening::Reopen(executor));
        }
        for wish in 0..self.wishes.len() {
            let ms = self.random.below(self.scenario.healed_ms / 2 + 1);
            self.later(ms, Happening::Submit(wish));
        }
        if self.scenario.disaster_ms > 0 {
            self.later(500, Happening::Disaster);
        }
    }

    /// The next thing happens.
    ///
    /// # Panics
    /// If an invariant is broken, or if work is left undone after the world healed.
    pub fn step(&mut self) {
        let Some(((at, _), happening)) = self.queue.pop_first() else {
            return;
        };
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "the world does not come to rest");
        self.now = at;
        self.happen(happening);
        let elapsed_ms = at.since_ms(self.begun);
        assert!(
            elapsed_ms < self.scenario.healed_ms + DONE_MS,
            "work is left undone under {}: {:?}",
            self.scenario.verify,
            self.undone()
        );
    }

    /// Is all work done, and the world healed?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.queue.is_empty() || self.is_healed() && self.all_done()
    }

    /// Time goes by.
    ///
    /// # Panics
    /// As [`World::step`].
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while self
            .queue
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= end)
        {
            self.step();
        }
        self.now = end;
    }

    /// Nothing breaks any more, everybody comes back, and what was asked for is done.
    ///
    /// # Panics
    /// As [`World::step`].
    pub fn heal(&mut self) {
        self.scenario.healed_ms = self.now.since_ms(self.begun);
        self.scenario.disaster_ms = 0;
        for executor in 0..self.executors.len() {
            self.executors[executor].frozen_until = self.now;
            self.later(0, Happening::Reopen(executor));
        }
        while !self.all_done() {
            assert!(
                !self.queue.is_empty(),
                "nothing happens any more, and work is left undone: {:?}",
                self.undone()
            );
            self.step();
        }
    }

    /// What came of it, checked once more.
    ///
    /// # Panics
    /// If a task came to anything but what it comes to in a world without disasters, or if the journal does not give the
    /// scheduler's state back.
    #[must_use]
    pub fn report(mut self) -> Report {
        self.check_outcomes();
        self.coordinator.check_twin(self.now);
        self.coordinator.check_story();
        let excluded = self.excluded();
        let trace = self.coordinator.trace.take();
        let state = self.coordinator.scheduler().map(Scheduler::state_digest);
        Report {
            runs: self.wishes.iter().filter(|wish| wish.run.is_some()).count(),
            computed: self.coordinator.computed,
            steps: self.steps,
            elapsed_ms: self.elapsed_ms(),
            kills: self.kills,
            disasters: self.disasters,
            excluded,
            fetched: self.executors.iter().map(|own| own.fetched).sum(),
            compiled: self.executors.iter().map(|own| own.compilations).sum(),
            state: state.unwrap_or_default(),
            trace: trace.map_or([0; 32], |trace| content_cid(&trace).digest()),
        }
    }

    /// Virtual time since the beginning, in milliseconds.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        self.now.since_ms(self.begun)
    }

    /// Runs as the coordinator shows them; none while it is down.
    #[must_use]
    pub fn runs(&self) -> Vec<RunView> {
        let scheduler = self.coordinator.scheduler();
        let runs = self.wishes.iter().filter_map(|wish| wish.run);
        runs.filter_map(|run| scheduler?.run_view(run)).collect()
    }

    fn is_healed(&self) -> bool {
        self.elapsed_ms() >= self.scenario.healed_ms
    }

    pub(super) fn later(&mut self, ms: u64, happening: Happening) {
        self.at(self.now.after_ms(ms), happening);
    }

    fn at(&mut self, at: Timestamp, happening: Happening) {
        self.next += 1;
        self.queue.insert((at.max(self.now), self.next), happening);
    }

    fn delay(&mut self) -> u64 {
        self.random.below(self.scenario.delay_ms + 1)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Up(link, frame) => self.arrive_above(link, &frame),
            Happening::Down(link, frame) => self.arrive_below(link, frame),
            Happening::LostAbove(link) => self.lost_above(link),
            Happening::LostBelow {
                executor,
                life,
                link,
            } => self.lost_below(executor, life, link),
            Happening::Connect { executor, life } => self.connect(executor, life),
            Happening::Coming {
                executor,
                life,
                coming,
            } => self.come(executor, life, coming),
            Happening::ExecutorWakes(executor, life) => self.executor_wakes(executor, life),
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
            Happening::Reopen(executor) => self.open(executor),
            Happening::Disaster => {
                if !self.is_healed() && self.scenario.disaster_ms > 0 {
                    let act = Act::disaster(&mut self.random, self.executors.len());
                    self.act(&act);
                    let ms = 1 + self.random.below(2 * self.scenario.disaster_ms);
                    self.later(ms, Happening::Disaster);
                }
            }
            Happening::Submit(wish) => self.submit(wish),
        }
    }

    /// The coordinator is killed by signal 9, and started again later.
    pub(super) fn kill(&mut self, written: usize, down_ms: u64) {
        if !self.coordinator.is_up() {
            return;
        }
        self.disasters += 1;
        self.kills += 1;
        self.compare();
        self.coordinator.kill(written);
        self.cut_all();
        for wish in 0..self.wishes.len() {
            // Whoever got no answer asks again.
            let wanted = &self.wishes[wish];
            if wanted.submitted && wanted.run.is_none() {
                let ms = self.random.below(5_000);
                self.later(ms, Happening::Submit(wish));
            }
        }
        self.later(down_ms, Happening::Restart);
    }

    /// A twin made of the journal knows what the scheduler knows.
    pub(super) fn compare(&self) {
        self.coordinator.check_twin(self.now);
        // Every event is applied twice more: large worlds have other things to show, and do it in the end.
        if self.scenario.tasks <= STORY_TASKS_MAX {
            self.coordinator.check_story();
        }
    }

    pub(super) fn submit(&mut self, number: usize) {
        let wish = &mut self.wishes[number];
        wish.submitted = true;
        if wish.run.is_some() {
            return;
        }
        if !self.coordinator.is_up() {
            return self.later(1_000, Happening::Submit(number));
        }
        let plan = wish.plan.clone();
        let known = self.coordinator.known(plan.instructions());
        let submission = Submission {
            plan,
            name: format!("wish {number}"),
            submitter: "chance".into(),
            known,
            terms: Terms::default(),
        };
        let request = RequestId(number as u64);
        self.tell_coordinator(Input::Submit {
            request,
            submission: Box::new(submission),
        });
    }

    /// Whoever submitted a workflow does not want it any more.
    pub(super) fn cancel(&mut self, number: usize) {
        let Some(run) = self.wishes[number].run else {
            return;
        };
        if self.coordinator.is_up() {
            self.wishes[number].cancelled = true;
            let request = RequestId(number as u64);
            self.tell_coordinator(Input::Cancel { request, run });
        }
    }

    fn tell_coordinator(&mut self, input: Input) {
        let effects = self.coordinator.handle(input, self.now);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(connection, message) => self.send_down(connection, &message),
                Effect::Close(connection) => self.close_above(connection),
                Effect::Reply(RequestId(number), result) => {
                    let run = result.expect("simulated workflows are accepted");
                    let wish = &mut self.wishes[number as usize];
                    // A cancellation is answered with the same run.
                    wish.run = Some(run);
                    if std::mem::take(&mut wish.cancel) {
                        self.cancel(number as usize);
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
            .and_then(Scheduler::poll_timeout);
        if let Some((at, _)) = due
            && self.coordinator_wake.is_none_or(|wake| wake > at)
        {
            let at = at.max(self.now);
            self.coordinator_wake = Some(at);
            self.at(at, Happening::CoordinatorWakes);
        }
    }

    fn run_state(&self, wish: &Wish) -> Option<RunState> {
        Some(self.coordinator.run_state(wish.run?))
    }

    /// Has everything ended that was asked for?
    fn all_done(&self) -> bool {
        let done = |wish: &&Wish| {
            self.run_state(wish)
                .is_some_and(|state| state != RunState::Running)
        };
        self.wishes
            .iter()
            .filter(|wish| wish.submitted)
            .all(|wish| done(&wish))
    }

    /// Runs that have not ended, and what the first of their open tasks waits for.
    fn undone(&self) -> Vec<(RunId, Option<Explanation>)> {
        let scheduler = self.coordinator.scheduler();
        let open = self.wishes.iter().filter_map(|wish| wish.run);
        let open = open.filter(|run| self.coordinator.run_state(*run) == RunState::Running);
        open.map(|run| {
            let tasks = 0..self.scenario.tasks;
            let mut explained = tasks.filter_map(|task| scheduler?.explain(run, task));
            let why = explained.find(|why| !why.leases.is_empty() || !why.votes.is_empty());
            (run, why)
        })
        .collect()
    }

    /// How many executors are excluded: none of them is honest.
    fn excluded(&self) -> usize {
        let views = self
            .coordinator
            .scheduler()
            .map_or(Vec::new(), |scheduler| scheduler.overview().executors);
        let excluded = views
            .iter()
            .filter(|view| view.standing == Standing::Excluded);
        excluded
            .inspect(|view| {
                let honest = self.executors.iter().any(|executor| {
                    executor.identity.public_key() == view.key
                        && executor.honesty == Honesty::Honest
                });
                assert!(!honest, "an honest executor is excluded: {}", view.reason);
            })
            .count()
    }

    /// Every task came to what it comes to without any of this.
    fn check_outcomes(&self) {
        for wish in &self.wishes {
            let Some(run) = wish.run else { continue };
            for (instruction, state, out) in self.coordinator.outs(run) {
                let expected = wish.expected.get(&instruction);
                match state {
                    TaskState::Computed | TaskState::Replayed => {
                        assert_eq!(out.as_ref(), expected, "{instruction}");
                    }
                    TaskState::Failed => assert_eq!(expected, None, "{instruction}"),
                    TaskState::Skipped => {}
                    TaskState::Cancelled => assert!(wish.cancelled, "{instruction}"),
                    TaskState::Waiting
                    | TaskState::Ready
                    | TaskState::Leased
                    | TaskState::Provisional => {
                        panic!("{instruction} is {state:?} in a run that is done")
                    }
                }
            }
        }
    }
}
