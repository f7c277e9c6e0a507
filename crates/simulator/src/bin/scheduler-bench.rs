//! `cargo xtask bench scheduler [--json] [TASKS…]`: what the scheduler takes for each task, beside a floor of the same run.

#[cfg(not(target_arch = "wasm32"))]
mod counted {
    //! The allocator of `asterism`, and how much of it is in use.
    #![expect(
        unsafe_code,
        reason = "an allocator is unsafe to be; this one hands every call on"
    )]

    use std::{
        alloc::{GlobalAlloc, Layout},
        sync::atomic::{AtomicU64, Ordering},
    };

    use mimalloc::MiMalloc;

    pub(crate) struct Counted;

    static BYTES: AtomicU64 = AtomicU64::new(0);

    /// Bytes that were asked for and not given back; what the allocator itself adds is not seen.
    pub(crate) fn bytes() -> u64 {
        BYTES.load(Ordering::Relaxed)
    }

    // SAFETY: every call is that allocator's; counting touches no memory of the caller.
    unsafe impl GlobalAlloc for Counted {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
            // SAFETY: the caller's promises are handed on.
            unsafe { MiMalloc.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { MiMalloc.dealloc(pointer, layout) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            BYTES.fetch_add(size as u64, Ordering::Relaxed);
            BYTES.fetch_sub(layout.size() as u64, Ordering::Relaxed);
            // SAFETY: as above.
            unsafe { MiMalloc.realloc(pointer, layout, size) }
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
#[global_allocator]
static ALLOCATOR: counted::Counted = counted::Counted;

#[cfg(target_arch = "wasm32")]
fn main() {}

#[cfg(not(target_arch = "wasm32"))]
#[expect(
    clippy::disallowed_methods,
    reason = "this program is where the time comes from"
)]
fn main() {
    use asterism_simulator::{Meter, scheduler_drain};

    let json = std::env::args().any(|argument| argument == "--json");
    let start = std::time::Instant::now();
    let nanoseconds = move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let meter = Meter {
        nanoseconds: &nanoseconds,
        bytes: &counted::bytes,
    };
    if !json {
        println!("| bench | case | value | unit | floor | ratio | the floor is |");
        println!("|---|---|---:|---|---:|---:|---|");
    }
    let asked: Vec<usize> = std::env::args().filter_map(|n| n.parse().ok()).collect();
    for (tasks, name) in [
        (1_000, "1 k"),
        (10_000, "10 k"),
        (100_000, "100 k"),
        (1_000_000, "1 M"),
    ] {
        if !asked.is_empty() && !asked.contains(&tasks) {
            continue;
        }
        let drained = scheduler_drain(tasks, &meter);
        let us = |ns: f64| ns / 1e3;
        let floor = us(drained.floor_ns);
        let handle = us(drained.submit_ns + drained.drain_ns);
        let rows = [
            ("handle and outputs", handle, "µs/task", Some(floor)),
            ("of it submit", us(drained.submit_ns), "µs/task", None),
            (
                "of it lease and deliver",
                us(drained.drain_ns),
                "µs/task",
                None,
            ),
            ("outputs", 1e6 * drained.outputs / handle, "outputs/s", None),
            (
                "state when submitted",
                drained.submitted_bytes,
                "B/task",
                None,
            ),
            (
                "state when done, with receipts",
                drained.done_bytes,
                "B/task",
                None,
            ),
            (
                "outside: reading the workflow",
                us(drained.read_ns),
                "µs/task",
                None,
            ),
            (
                "outside: checking deliveries",
                us(drained.check_ns),
                "µs/task",
                None,
            ),
        ];
        for (case, value, unit, floor) in rows {
            row(json, &format!("{name} tasks, {case}"), value, unit, floor);
        }
    }
}

/// A row as `cargo xtask bench` writes them.
#[cfg(not(target_arch = "wasm32"))]
fn row(json: bool, case: &str, value: f64, unit: &str, floor: Option<f64>) {
    let ratio = floor.map(|floor| value / floor);
    if json {
        let number =
            |value: Option<f64>| value.map_or("null".to_owned(), |value| value.to_string());
        println!(
            r#"{{"bench":"scheduler","case":"{case}","value":{value},"unit":"{unit}","floor":{},"ratio":{}}}"#,
            number(floor),
            number(ratio),
        );
        return;
    }
    let shown = |value: f64| {
        let digits = match value.abs() {
            v if v >= 100.0 => 0,
            v if v >= 1.0 => 2,
            _ => 4,
        };
        format!("{value:.digits$}")
    };
    let (floor, ratio, what) = match floor.zip(ratio) {
        Some((floor, ratio)) => (
            shown(floor),
            format!("{ratio:.2}"),
            "the same graph worked off with a hash map",
        ),
        None => (String::new(), String::new(), ""),
    };
    println!(
        "| scheduler | {case} | {} | {unit} | {floor} | {ratio} | {what} |",
        shown(value)
    );
}
