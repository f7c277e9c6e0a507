//! Room for instances that is kept from task to task: taking and returning it costs a fraction of asking the system.
//!
//! The pool has bounds that a tab does not have, so it is no condition: a component that does not fit into it, and a task
//! that finds it taken, get their room on demand. What comes of a task is the same.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use asterism_executor::TABLE_ELEMENTS_MAX;
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::config::config;

/// Most tasks in the pool at once. The room is set aside, not used: for each, four memories of four GiB and eight tables of 80 MB.
const TASKS_MAX: usize = 128;

/// Tasks in the pool at once where there are few processors: some wait for an answer of the network.
const TASKS_MIN: usize = 16;

/// What a component in the pool may have. Toolchains make one memory, a few tables and, for Python, some forty instances.
const MEMORIES_MAX: u32 = 4;
const TABLES_MAX: u32 = 8;
const INSTANCES_MAX: u32 = 64;

/// Bytes of a memory that stay after a task, emptied by hand: what a small guest touches.
const RESIDENT_BYTES: usize = 1 << 20;

/// An engine whose instances are in the pool, and how many may still come. Its code is exchangeable with that of the other.
#[derive(Clone)]
pub(crate) struct Pool {
    pub(crate) engine: Engine,
    free: Arc<AtomicUsize>,
}

impl Pool {
    /// A pool for the processors of this machine; none where there is no room for it, as under a limit of address space.
    pub(crate) fn new() -> Option<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(processors.saturating_mul(4).clamp(TASKS_MIN, TASKS_MAX))
    }

    /// A pool for so many tasks at once.
    pub(crate) fn of(tasks: usize) -> Option<Self> {
        let at_once = u32::try_from(tasks).ok()?;
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(at_once)
            .max_core_instances_per_component(INSTANCES_MAX)
            .total_core_instances(at_once * INSTANCES_MAX)
            .max_memories_per_module(MEMORIES_MAX)
            .max_memories_per_component(MEMORIES_MAX)
            .total_memories(at_once * MEMORIES_MAX)
            // A memory and a table can grow as far as on demand.
            .max_memory_size(1 << 32)
            .max_tables_per_module(TABLES_MAX)
            .max_tables_per_component(TABLES_MAX)
            .total_tables(at_once * TABLES_MAX)
            .table_elements(usize::try_from(TABLE_ELEMENTS_MAX).ok()?)
            .linear_memory_keep_resident(RESIDENT_BYTES)
            .table_keep_resident(RESIDENT_BYTES)
            // Only pages that were written are emptied, where the kernel tells which.
            .pagemap_scan(Enabled::Auto);
        let mut config = config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        match Engine::new(&config) {
            Ok(engine) => Some(Self {
                engine,
                free: Arc::new(AtomicUsize::new(tasks)),
            }),
            Err(error) => {
                tracing::info!(%error, "there is no room for a pool of instances: each is made on demand, which takes longer");
                None
            }
        }
    }

    /// A place for a task, until it is dropped; so drop it after the task's store.
    pub(crate) fn take(&self) -> Option<Place> {
        self.free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| {
                free.checked_sub(1)
            })
            .ok()
            .map(|_| Place(Arc::clone(&self.free)))
    }
}

/// One task's place in the pool.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, process::Command, thread};

    use asterism_executor::{Attempt, Host as _, Job};
    use asterism_protocol::{
        Effects, Files, Limits, Out, Value, blob_cid,
        message::{Fault, FaultKind},
    };

    use super::*;
    use crate::WasmtimeEngine;

    /// A component whose `run` says what a task before has left in memory, table and globals, which is nothing; and leaves some.
    fn leaving(memories: usize) -> Vec<u8> {
        let more = "(core instance (instantiate $more))".repeat(memories - 1);
        let text = format!(
            r#"(component
                (core module $more (memory 1))
                {more}
                (core module $m
                    (memory $first 1)
                    (table $t 1 10 funcref)
                    (global $g (mut i32) (i32.const 0))
                    (data (memory $first) (i32.const 8) "\05")
                    (func (export "run") (result i32)
                        (local $found i32)
                        ;; What the data segment wrote, and not what was written over it.
                        (local.set $found (i32.sub (i32.load8_u $first (i32.const 8)) (i32.const 5)))
                        (local.set $found (i32.or (local.get $found) (i32.load $first (i32.const 60000))))
                        (local.set $found (i32.or (local.get $found) (i32.sub (memory.size $first) (i32.const 1))))
                        (local.set $found (i32.or (local.get $found) (global.get $g)))
                        (local.set $found (i32.or (local.get $found) (i32.sub (table.size $t) (i32.const 1))))
                        (local.set $found
                            (i32.or (local.get $found) (i32.eqz (ref.is_null (table.get $t (i32.const 0))))))
                        (i32.store8 $first (i32.const 8) (i32.const 77))
                        (i32.store $first (i32.const 60000) (i32.const 77))
                        (drop (memory.grow $first (i32.const 40)))
                        (i32.store $first (i32.const 2600000) (i32.const 77))
                        (global.set $g (i32.const 77))
                        (table.set $t (i32.const 0) (ref.func $f))
                        (drop (table.grow $t (ref.func $f) (i32.const 5)))
                        (local.get $found))
                    (func $f)
                    (elem declare func $f))
                (core instance $i (instantiate $m))
                (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
        );
        wat::parse_str(text).expect("the text of the test is right")
    }

    fn run(engine: &WasmtimeEngine, component: &[u8]) -> Attempt {
        run_with(engine, component, Vec::new()).expect("it comes to an outcome")
    }

    fn run_with(
        engine: &WasmtimeEngine,
        component: &[u8],
        args: Vec<Value>,
    ) -> Result<Attempt, Fault> {
        let mut host = engine.host();
        let cid = blob_cid(component);
        host.prepare(cid, component).expect("it is fit");
        host.run(&Job {
            instruction: cid,
            component: cid,
            func: "run".to_owned(),
            args,
            files: Files::new(),
            effects: Effects::new(),
            blobs: BTreeMap::new(),
            limits: Limits::default(),
        })
    }

    #[test]
    fn a_task_finds_nothing_of_the_one_before_it_in_its_place() {
        let engine = WasmtimeEngine::with_pool(None, Pool::of(1)).expect("Wasmtime runs here");
        let component = leaving(1);
        let first = run(&engine, &component).outcome;
        assert_eq!(first.out, Out::Ok(Value::Integer(0)));
        for _ in 0..3 {
            assert_eq!(run(&engine, &component).outcome, first);
        }
    }

    #[test]
    fn what_does_not_fit_and_what_finds_no_place_comes_to_the_same() {
        let pool = Pool::of(1).expect("there is room for one");
        let engine = WasmtimeEngine::with_pool(None, Some(pool.clone())).expect("Wasmtime runs");
        for memories in [1, MEMORIES_MAX as usize + 1] {
            let component = leaving(memories);
            let with_place = run(&engine, &component).outcome;
            assert_eq!(with_place.out, Out::Ok(Value::Integer(0)));
            let place = pool.take().expect("the task before gave it back");
            assert!(pool.take().is_none(), "there is one place");
            assert_eq!(run(&engine, &component).outcome, with_place);
            drop(place);
            assert_eq!(run(&engine, &component).outcome, with_place);
        }
    }

    #[test]
    fn tasks_that_find_no_place_at_the_same_time_come_to_the_same() {
        let pool = Pool::of(1).expect("there is room for one");
        let engine = WasmtimeEngine::with_pool(None, Some(pool.clone())).expect("Wasmtime runs");
        let component = leaving(1);
        let with_place = run(&engine, &component).outcome;
        assert!(with_place.fuel.is_some(), "{with_place:?}");
        let _place = pool.take().expect("the task before gave it back");
        // The first of them links it, and the others wait for that.
        thread::scope(|scope| {
            let run = || run(&engine, &component).outcome;
            let runs: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            for run in runs {
                assert_eq!(run.join().expect("it does not panic"), with_place);
            }
        });
    }

    #[test]
    fn what_could_not_be_linked_on_demand_is_linked_when_it_can_be() {
        let pool = Pool::of(1).expect("there is room for one");
        let engine = WasmtimeEngine::with_pool(None, Some(pool.clone())).expect("Wasmtime runs");
        let component = leaving(1);
        let with_place = run(&engine, &component).outcome;
        let _place = pool.take().expect("the task before gave it back");
        let prepared = engine.get(blob_cid(&component)).expect("it is prepared");
        // It does not take our code, as one that finds no memory for it.
        let mut others = config();
        others.consume_fuel(false);
        let others = Engine::new(&others).expect("Wasmtime runs here");
        for _ in 0..2 {
            assert!(prepared.linked(&others).is_err());
        }
        assert_eq!(run(&engine, &component).outcome, with_place);
    }

    #[test]
    fn what_could_not_be_prepared_is_prepared_when_it_can_be() {
        let engine = WasmtimeEngine::with_pool(None, Pool::of(1)).expect("Wasmtime runs here");
        let component = leaving(1);
        let cid = blob_cid(&component);
        // Whatever the reason is; this one cannot be had otherwise.
        let unfit = engine.prepare(cid, b"no component");
        assert!(unfit.is_err());
        assert_eq!(engine.prepare(cid, &component), Ok(()));
        assert!(engine.host().holds(cid));
    }

    /// A component whose memory begins with so many pages, and whose `run` grows it by some, and says how many there were, or -1.
    fn growing(pages: i32) -> Vec<u8> {
        let text = format!(
            r#"(component
                (core module $m
                    (memory {pages})
                    (func (export "run") (param i32) (result i32) (memory.grow (local.get 0))))
                (core instance $i (instantiate $m))
                (func (export "run") (param "pages" s32) (result s32) (canon lift (core func $i "run"))))"#
        );
        wat::parse_str(text).expect("the text of the test is right")
    }

    /// Set where there is little memory.
    const IN_LITTLE: &str = "ASTERISM_TEST_IN_LITTLE_MEMORY";

    /// Pages that are there and pages that are not, beside a pool for one task where there is a GiB.
    const FEW: i32 = 16;
    const MANY: i32 = 8_192;

    #[test]
    fn a_pool_that_runs_out_of_memory_is_a_fault_and_no_outcome() {
        if std::env::var_os(IN_LITTLE).is_none() {
            // Of writable memory of its own the process may have a GiB, of which the tables of the pool are 640 MB.
            let alone = Command::new("sh")
                .args(["-c", "ulimit -d 1048576 && exec \"$0\" \"$@\""])
                .arg(std::env::current_exe().expect("this is a program"))
                .arg("a_pool_that_runs_out_of_memory_is_a_fault_and_no_outcome")
                // Stacks of threads count.
                .envs([(IN_LITTLE, "1"), ("RAYON_NUM_THREADS", "2")])
                .output()
                .expect("the shell runs");
            let said = String::from_utf8_lossy(&alone.stdout);
            assert!(alone.status.success(), "{alone:?}");
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
        let pool = Pool::of(1).expect("it is less than there is");
        let engine = WasmtimeEngine::with_pool(None, Some(pool)).expect("Wasmtime runs here");
        let pages = |pages: i32| Value::Integer(pages.into());
        let grow = |begins_with, by| run_with(&engine, &growing(begins_with), vec![pages(by)]);
        for _ in 0..2 {
            let fault = grow(FEW, MANY).expect_err("there is not so much");
            assert_eq!(fault.kind, FaultKind::Host);
            let said = fault.message;
            assert!(said.contains("the machine is short of memory"), "{said}");
            let fault = grow(MANY, FEW).expect_err("there is not so much");
            assert_eq!(fault.kind, FaultKind::Host, "{}", fault.message);
            // The place is back, and good for the next one.
            let out = grow(FEW, FEW).expect("there is as much").outcome.out;
            assert_eq!(out, Out::Ok(pages(FEW)));
        }
    }
}
