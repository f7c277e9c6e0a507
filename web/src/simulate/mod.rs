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

use self::message::{FromSimulator, Seen, ToSimulator};
use crate::{
    js::{Listener, now},
    talk::message::{of_js, to_js},
};

/// Time between two looks, in milliseconds.
const LOOK_MS: u32 = 50;

/// Longest time of ours that a look may take, in milliseconds: what was said meanwhile is to be heard.
const BUSY_MS: u64 = 40;

/// How much of the world's time passes between two looks at our clock, in milliseconds.
const PASS_MS: u64 = 25;

/// Simulates for the page, until the worker is ended. `early` is what the page said while this program was loading.
pub fn start(early: &js_sys::Array) {
    // What must hold is asserted, and a failed assertion ends this program: that is the news, so the page is told.
    std::panic::set_hook(Box::new(|panic| {
        say(&FromSimulator::Broken(panic.to_string()));
    }));
    let simulation = Rc::new(RefCell::new(Simulation {
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
        let Some(world) = &mut self.world else {
            return;
        };
        let mut left = u64::from(LOOK_MS) * u64::from(self.pace);
        let begun = now();
        while left > 0 && !world.is_over() && now().since_ms(begun) < BUSY_MS {
            let ms = left.min(PASS_MS);
            world.pass(ms);
            left -= ms;
        }
        let mut seen = look(world);
        if world.is_over()
            && let Some(world) = self.world.take()
        {
            let _ = world.report();
            seen.is_over = true;
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
        is_over: false,
    }
}
