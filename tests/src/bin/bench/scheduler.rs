//! What the scheduler alone takes for each task.

use std::time::Instant;

use asterism_simulator::scheduler_drain;

use crate::table::{Row, Table};

pub(crate) fn run(table: &mut Table) {
    let start = Instant::now();
    let clock = move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let bench = "scheduler";
    for (tasks, name) in [(1_000, "1 k"), (10_000, "10 k"), (100_000, "100 k")] {
        let drained = scheduler_drain(tasks, &clock);
        let us = |ns: f64| ns / 1e3;
        let floor = Some((
            us(drained.hash_ns),
            "the same encodings, hashes and signatures alone",
        ));
        table.row(&Row {
            bench,
            case: &format!("{name} tasks, submit"),
            value: us(drained.submit_ns),
            unit: "µs/task",
            floor,
        });
        table.row(&Row {
            bench,
            case: &format!("{name} tasks, lease and deliver"),
            value: us(drained.drain_ns),
            unit: "µs/task",
            floor,
        });
        table.row(&Row {
            bench,
            case: &format!("{name} tasks, the graph alone"),
            value: us(drained.graph_ns),
            unit: "µs/task",
            floor,
        });
        table.row(&Row {
            bench,
            case: &format!("{name} tasks, the graph alone"),
            value: drained.graph_bytes,
            unit: "B/task",
            floor: None,
        });
    }
}
