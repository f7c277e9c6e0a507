//! "Simulate": a world in which the scheduler is tested, to look at: [`asterism_simulator`] in a worker, at a pace that
//! eyes can follow.

pub mod message;

use std::{cell::RefCell, rc::Rc};

use asterism_protocol::{encode, message::ToWatcher};
use asterism_simulator::World;
use gloo_timers::callback::Interval;
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use self::message::{Ended, FromSimulator, Seen, ToSimulator, Wanted};
use crate::{
    js::{Listener, now},
    talk::message::{of_js, to_js},
};

/// Time between two looks, in milliseconds.
const LOOK_MS: u32 = 50;

/// Longest time of ours that a look may take, in milliseconds: what was said meanwhile is to be heard.
const BUSY_MS: u64 = 40;

/// How long a world that need not come to a good end is looked at, in milliseconds of its time, once nothing breaks any more.
const PATIENCE_MS: u64 = 60_000;

/// How much of the world's time passes between two looks at our clock, in milliseconds.
const PASS_MS: u64 = 25;

/// Simulates for the page, until the worker is ended. `early` is what the page said while this program was loading.
pub fn start(early: &js_sys::Array) {
    // What must hold is asserted, and a failed assertion ends this program: that is the news, so the page is told.
    std::panic::set_hook(Box::new(|panic| {
        say(&FromSimulator::Broken(panic.to_string()));
    }));
    let simulation = Rc::new(RefCell::new(Simulation {
        wanted: None,
        world: None,
        pace: 1,
        clock: None,
    }));
    for data in early.iter() {
        hear(&simulation, data);
    }
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    Listener::new(&scope, "message", move |event| {
        hear(&simulation, event.unchecked_into::<MessageEvent>().data());
    })
    .forever();
}

fn say(said: &FromSimulator) {
    let scope: DedicatedWorkerGlobalScope = js_sys::global().unchecked_into();
    // Fails for what cannot be cloned only.
    let _ = scope.post_message(&to_js(said));
}

struct Simulation {
    wanted: Option<Wanted>,
    world: Option<World>,
    pace: u32,
    clock: Option<Interval>,
}

fn hear(simulation: &Rc<RefCell<Simulation>>, data: JsValue) {
    match of_js(data) {
        Ok(ToSimulator::Pace(pace)) => simulation.borrow_mut().pace = pace,
        Ok(ToSimulator::Begin(wanted)) => {
            let mut world = World::new(&wanted.scenario(), false);
            world.begin();
            let ticking = simulation.clone();
            let clock = Interval::new(LOOK_MS, move || ticking.borrow_mut().tick());
            let mut simulation = simulation.borrow_mut();
            simulation.wanted = Some(wanted);
            simulation.world = Some(world);
            simulation.clock = Some(clock);
        }
        Err(error) => say(&FromSimulator::Broken(format!(
            "page and worker do not understand each other, load the page again: {error}"
        ))),
    }
}

impl Simulation {
    fn tick(&mut self) {
        let (Some(wanted), Some(world)) = (self.wanted, &mut self.world) else {
            return;
        };
        if self.pace == 0 {
            return;
        }
        // While the coordinator is down nobody tells what it knows.
        let is_over = |world: &World| world.is_over() && world.is_up();
        let is_doubtful = wanted.doubt().is_some();
        let last_ms = wanted.scenario().healed_ms + PATIENCE_MS;
        let waits = |world: &World| is_doubtful && world.elapsed_ms() > last_ms;
        let mut left = u64::from(LOOK_MS) * u64::from(self.pace);
        let begun = now();
        while left > 0 && !is_over(world) && !waits(world) && now().since_ms(begun) < BUSY_MS {
            let ms = left.min(PASS_MS);
            world.pass(ms);
            left -= ms;
        }
        let mut seen = look(world);
        seen.ended = match (is_over(world), is_doubtful) {
            (true, true) => Some(Ended::Done(world.lies_believed() as u32)),
            (true, false) => Some(Ended::Held),
            (false, _) => waits(world).then_some(Ended::Waits),
        };
        if seen.ended.is_some()
            && let Some(world) = self.world.take()
            && !is_doubtful
        {
            // Looks at all of it once more.
            let _ = world.report();
        }
        say(&FromSimulator::Seen(Box::new(seen)));
    }
}

fn look(world: &World) -> Seen {
    let (kills, disasters) = world.broken();
    let run = world.runs().into_iter().next();
    let run = run.map(|run| encode(&ToWatcher::Run(Box::new(run))));
    Seen {
        elapsed_ms: world.elapsed_ms(),
        steps: world.steps(),
        kills,
        disasters,
        is_up: world.is_up(),
        executors: world.executors(),
        run: Uint8Array::from(run.unwrap_or_default().as_slice()),
        ended: None,
    }
}
