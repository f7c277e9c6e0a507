//! wasi:clocks: time that only waiting makes pass.
//!
//! A wait takes no time of the machine; it is charged in fuel instead, so that a guest which waits in a loop ends. A
//! guest that looks at the clock again and again without waiting sees it stand still until its fuel is used up.

use asterism_component::Val;

use crate::{Interface, Stop, Versions, World, other_types, resources::Resource};

pub(crate) const INTERFACES: &[Interface] = &[
    Interface {
        name: "wasi:clocks/monotonic-clock",
        versions: Versions::Wasi02,
        functions: &[
            ("now", now),
            ("resolution", resolution),
            ("subscribe-instant", subscribe_instant),
            ("subscribe-duration", subscribe_duration),
        ],
    },
    Interface {
        name: "wasi:clocks/wall-clock",
        versions: Versions::Wasi02,
        functions: &[("now", wall_now), ("resolution", wall_resolution)],
    },
    Interface {
        name: "wasi:clocks/timezone",
        versions: Versions::Wasi02,
        functions: &[("display", display), ("utc-offset", utc_offset)],
    },
];

/// Nanoseconds of waiting that cost one unit of fuel: about a thousand times what computing for as long would cost.
/// The default limit of fuel lasts for a day of waiting.
const WAIT_NS_PER_FUEL: u64 = 1_000;

/// The earliest start of the wall clock, in seconds since 1970: 2020-09-13T12:26:40Z.
const WALL_START_SECONDS: u64 = 1_600_000_000;

/// Starts are spread over this many seconds, about four years.
const WALL_SPREAD_SECONDS: u64 = 1 << 27;

/// The monotonic clock starts within its first quarter of an hour, in nanoseconds.
const MONOTONIC_SPREAD_NS: u64 = 1 << 40;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Both clocks of a task.
#[derive(Debug)]
pub(crate) struct Clock {
    monotonic_start: u64,
    wall_start_seconds: u64,
    /// What the guest waited for, in nanoseconds.
    waited: u64,
}

impl Clock {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let part = |at: usize| {
            let bytes = seed[at..at + 8].try_into();
            u64::from_le_bytes(bytes.expect("a seed has four parts of eight bytes"))
        };
        Self {
            monotonic_start: part(0) % MONOTONIC_SPREAD_NS,
            wall_start_seconds: WALL_START_SECONDS + part(8) % WALL_SPREAD_SECONDS,
            waited: 0,
        }
    }

    /// The monotonic clock, in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.monotonic_start.saturating_add(self.waited)
    }

    /// When the wall clock started.
    pub(crate) fn wall_start(&self) -> Val {
        datetime(self.wall_start_seconds, 0)
    }

    /// Lets time pass until `instant`; gives the fuel that it costs.
    pub(crate) fn wait_until(&mut self, instant: u64) -> u64 {
        let wait = instant.saturating_sub(self.now());
        self.waited = self.waited.saturating_add(wait);
        wait.div_ceil(WAIT_NS_PER_FUEL)
    }
}

impl World {
    /// Lets time pass until `instant` of the monotonic clock.
    pub(crate) fn wait_until(&mut self, instant: u64) {
        let fuel = self.clock.wait_until(instant);
        self.owe(fuel);
    }
}

fn now(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![Val::U64(world.clock.now())])
}

fn resolution(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![Val::U64(1)])
}

fn subscribe_instant(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [Val::U64(instant)] = args else {
        return other_types();
    };
    let pollable = Resource::Pollable(Some(*instant));
    Ok(vec![world.resources.own(pollable)?])
}

fn subscribe_duration(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [Val::U64(duration)] = args else {
        return other_types();
    };
    let instant = world.clock.now().saturating_add(*duration);
    let pollable = Resource::Pollable(Some(instant));
    Ok(vec![world.resources.own(pollable)?])
}

fn wall_now(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    let Clock {
        wall_start_seconds,
        waited,
        ..
    } = world.clock;
    let seconds = wall_start_seconds + waited / NS_PER_SECOND;
    Ok(vec![datetime(seconds, waited % NS_PER_SECOND)])
}

fn wall_resolution(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![datetime(0, 1)])
}

fn datetime(seconds: u64, nanoseconds: u64) -> Val {
    Val::Record(vec![Val::U64(seconds), Val::U32(nanoseconds as u32)])
}

fn display(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    let utc = vec![Val::S32(0), Val::String("UTC".into()), Val::Bool(false)];
    Ok(vec![Val::Record(utc)])
}

fn utc_offset(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![Val::S32(0)])
}
