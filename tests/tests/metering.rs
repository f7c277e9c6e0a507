//! The rewrite against Wasmtime itself: equal results, equal fuel, equal refusals, for every budget.
//! The rewritten module runs on Wasmtime too, without Wasmtime's fuel: the engine makes no difference to it.
#![cfg(not(target_arch = "wasm32"))]

use asterism_executor::{TABLE_ELEMENT_BYTES, TABLE_ELEMENTS_MAX, granted_fuel};
use asterism_host_browser::metering::{
    FUEL, IMPORT, MeteringError, REFUSED, ROOM, STOPPED, Stop, meter,
};
use asterism_tests::fuzz::Smith;
use wasmtime::{
    Config, Engine, Extern, Func, Global, GlobalType, Instance, Module, Mutability,
    ResourceLimiter, Store, Trap, Val, ValType,
};

/// What a call came to, as far as hosts must agree.
#[derive(Debug, PartialEq)]
enum Ended {
    /// With at most the limit used: more is out of fuel, whenever the engine looked.
    Returned {
        results: Vec<String>,
        fuel: u64,
    },
    OutOfFuel,
    Trapped(Trap),
    StackOverflow,
    NotInstantiated,
}

#[derive(Debug, PartialEq)]
struct Seen {
    ended: Ended,
    growth_refused: bool,
}

/// Adds up what it allows, as every host does.
struct Limiter {
    limit: usize,
    used: usize,
    refused: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(true);
        }
        Ok(self.take(desired - current))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let most = maximum.map_or(TABLE_ELEMENTS_MAX, |most| {
            TABLE_ELEMENTS_MAX.min(most as u64)
        });
        Ok(desired as u64 <= most && self.take((desired - current) * TABLE_ELEMENT_BYTES as usize))
    }
}

impl Limiter {
    fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.limit - self.used;
        if fits {
            self.used += bytes;
        } else {
            self.refused = true;
        }
        fits
    }
}

fn engine(fuel: bool) -> Engine {
    let mut config = Config::new();
    config
        .consume_fuel(fuel)
        .cranelift_nan_canonicalization(false);
    Engine::new(&config).expect("the configuration is valid")
}

fn args_of(func: &Func, store: &Store<Limiter>, arg: i32) -> Vec<Val> {
    let of_type = |ty: ValType| match ty {
        ValType::I32 => Val::I32(arg),
        ValType::I64 => Val::I64(i64::from(arg)),
        ValType::F32 => Val::F32((arg as f32).to_bits()),
        ValType::F64 => Val::F64(f64::from(arg).to_bits()),
        ValType::V128 => Val::V128(u128::from(arg.cast_unsigned()).into()),
        ValType::Ref(ty) => Val::null_ref(ty.heap_type()),
    };
    func.ty(store).params().map(of_type).collect()
}

fn returned(results: &[Val], used: u64, limit: u64) -> Ended {
    if used > limit {
        return Ended::OutOfFuel;
    }
    Ended::Returned {
        results: results.iter().map(text).collect(),
        fuel: used,
    }
}

fn ended(error: &wasmtime::Error, out_of_fuel: bool) -> Ended {
    match error.downcast_ref::<Trap>() {
        _ if out_of_fuel => Ended::OutOfFuel,
        Some(Trap::OutOfFuel) => Ended::OutOfFuel,
        Some(Trap::StackOverflow) => Ended::StackOverflow,
        Some(trap) => Ended::Trapped(*trap),
        None => panic!("not a trap: {error:?}"),
    }
}

/// Calls with Wasmtime's own fuel.
fn wasmtime_fuel(module: &Module, name: &str, arg: i32, fuel: u64, limit: usize) -> Seen {
    let granted = granted_fuel(fuel);
    let mut store = Store::new(
        module.engine(),
        Limiter {
            limit,
            used: 0,
            refused: false,
        },
    );
    store.limiter(|limiter| limiter);
    store.set_fuel(1 << 40).expect("fuel is on");
    let Ok(instance) = Instance::new(&mut store, module, &[]) else {
        return Seen {
            ended: Ended::NotInstantiated,
            growth_refused: store.data().refused,
        };
    };
    let func = instance.get_func(&mut store, name).expect("it is exported");
    store.set_fuel(granted).expect("fuel is on");
    let args = args_of(&func, &store, arg);
    let mut results = vec![Val::I32(0); func.ty(&store).results().len()];
    let ended = match func.call(&mut store, &args, &mut results) {
        Ok(()) => returned(
            &results,
            granted - store.get_fuel().expect("fuel is on"),
            fuel,
        ),
        Err(error) => ended(&error, false),
    };
    Seen {
        ended,
        growth_refused: store.data().refused,
    }
}

/// Calls the rewritten module with globals of our own.
fn rewritten_fuel(
    module: &Module,
    initial: u64,
    name: &str,
    arg: i32,
    fuel: u64,
    limit: usize,
) -> Seen {
    let granted = granted_fuel(fuel);
    let mut store = Store::new(
        module.engine(),
        Limiter {
            limit: usize::MAX,
            used: 0,
            refused: false,
        },
    );
    let global = |store: &mut Store<Limiter>, value: Val| {
        let ty = if matches!(value, Val::I64(_)) {
            ValType::I64
        } else {
            ValType::I32
        };
        Global::new(store, GlobalType::new(ty, Mutability::Var), value)
            .expect("a global of its type")
    };
    let Some(room) = (limit as u64).checked_sub(initial) else {
        return Seen {
            ended: Ended::NotInstantiated,
            growth_refused: true,
        };
    };
    let counter = global(&mut store, Val::I64(-(1 << 40)));
    let room = global(&mut store, Val::I64(room.cast_signed()));
    let refused = global(&mut store, Val::I32(0));
    let stopped = global(&mut store, Val::I32(0));
    let imports: Vec<Extern> = module
        .imports()
        .map(|import| {
            assert_eq!(import.module(), IMPORT);
            Extern::Global(match import.name() {
                FUEL => counter,
                ROOM => room,
                REFUSED => refused,
                STOPPED => stopped,
                other => panic!("unexpected import {other}"),
            })
        })
        .collect();
    let i32_of = |store: &mut Store<Limiter>, global: &Global| global.get(store).unwrap_i32();
    let Ok(instance) = Instance::new(&mut store, module, &imports) else {
        return Seen {
            ended: Ended::NotInstantiated,
            growth_refused: i32_of(&mut store, &refused) != 0,
        };
    };
    let func = instance.get_func(&mut store, name).expect("it is exported");
    counter
        .set(&mut store, Val::I64(-granted.cast_signed()))
        .expect("it is mutable");
    let args = args_of(&func, &store, arg);
    let mut results = vec![Val::I32(0); func.ty(&store).results().len()];
    let result = func.call(&mut store, &args, &mut results);
    let stop = Stop::of_global(i32_of(&mut store, &stopped));
    let ended = match result {
        Ok(()) => {
            let left = counter.get(&mut store).unwrap_i64();
            returned(
                &results,
                (left + granted.cast_signed()).cast_unsigned(),
                fuel,
            )
        }
        Err(_) if stop == Some(Stop::NotANumber) => Ended::Trapped(Trap::BadConversionToInteger),
        Err(error) => ended(&error, stop == Some(Stop::OutOfFuel)),
    };
    Seen {
        ended,
        growth_refused: i32_of(&mut store, &refused) != 0,
    }
}

/// NaN bits and references compare by what they show.
fn text(value: &Val) -> String {
    match value {
        Val::FuncRef(func) => format!("func {}", func.is_some()),
        Val::ExternRef(_) | Val::AnyRef(_) | Val::ExnRef(_) | Val::ContRef(_) => {
            "reference".to_owned()
        }
        Val::I32(_) | Val::I64(_) | Val::F32(_) | Val::F64(_) | Val::V128(_) => {
            format!("{value:?}")
        }
    }
}

struct Pair {
    original: Module,
    rewritten: Module,
    initial_bytes: u64,
}

impl Pair {
    fn of(wasm: &[u8]) -> Self {
        let metered = meter(wasm).expect("a valid module is rewritten");
        let features = wasmparser::WasmFeatures::all();
        wasmparser::Validator::new_with_features(features)
            .validate_all(&metered.wasm)
            .expect("what comes out is valid");
        Self {
            original: Module::new(&engine(true), wasm).expect("the original compiles"),
            rewritten: Module::new(&engine(false), &metered.wasm).expect("the rewritten compiles"),
            initial_bytes: metered.initial_bytes,
        }
    }

    fn seen(&self, name: &str, arg: i32, fuel: u64, limit: usize) -> Seen {
        let expected = wasmtime_fuel(&self.original, name, arg, fuel, limit);
        let actual = rewritten_fuel(&self.rewritten, self.initial_bytes, name, arg, fuel, limit);
        assert_eq!(
            actual, expected,
            "{name}({arg}) with fuel {fuel} and {limit} bytes"
        );
        actual
    }
}

const ROOMY: usize = 1 << 26;

/// Same for every budget up to what the call needs, and a little more.
#[track_caller]
fn equal_for_every_budget(wat: &str, args: &[i32]) {
    let pair = Pair::of(&wat::parse_str(wat).expect("it is WAT"));
    for name in pair
        .original
        .exports()
        .filter(|export| export.ty().func().is_some())
        .map(|export| export.name())
    {
        for &arg in args {
            let needed = match pair.seen(name, arg, 1 << 30, ROOMY).ended {
                Ended::Returned { fuel, .. } => fuel,
                Ended::OutOfFuel
                | Ended::Trapped(_)
                | Ended::StackOverflow
                | Ended::NotInstantiated => 64,
            };
            for fuel in 0..(needed + 4).min(600) {
                pair.seen(name, arg, fuel, ROOMY);
            }
        }
    }
}

#[test]
fn straight_code_loops_and_branches_cost_the_same() {
    equal_for_every_budget(
        r#"(module
            (func (export "empty"))
            (func (export "nops") nop nop (drop (i32.const 1)))
            (func (export "sum") (param i32) (result i64) (local i64)
                (block $out (loop $again
                    (br_if $out (i32.eqz (local.get 0)))
                    (local.set 1 (i64.add (local.get 1) (i64.extend_i32_u (local.get 0))))
                    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                    (br $again)))
                (local.get 1))
            (func (export "early") (param i32) (result i32)
                (if (i32.gt_s (local.get 0) (i32.const 3)) (then (return (i32.const 7))) (else nop))
                (block (br_if 1 (i32.const 9) (local.get 0)) (drop))
                (i32.const 8))
            (func (export "switch") (param i32) (result i32)
                (block (block (block (br_table 0 1 2 (local.get 0)))
                    (return (i32.const 1))) (return (i32.const 2)))
                (block (result i32) (br_table 0 1 1 (i32.const 5) (local.get 0))))
            (func (export "dead") (result i32)
                (block (br 0) (drop (i32.add (i32.const 1) (i32.const 2))) (loop (br 0)))
                (return (i32.const 4)) (drop (i32.const 1)) (if (i32.const 1) (then (unreachable)))))"#,
        &[0, 1, 2, 3, 5, 20],
    );
}

#[test]
fn calls_hand_the_counter_over_and_take_it_back() {
    equal_for_every_budget(
        r#"(module
            (type $unary (func (param i32) (result i32)))
            (table 2 funcref) (elem (i32.const 0) $double $fib)
            (global $calls (mut i32) (i32.const 0)) (global $base i32 (i32.const 40))
            (func $double (param i32) (result i32)
                (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                (i32.add (local.get 0) (i32.add (local.get 0) (global.get $base))))
            (func $fib (export "fib") (param i32) (result i32)
                (if (result i32) (i32.lt_u (local.get 0) (i32.const 2)) (then (local.get 0)) (else
                    (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                             (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
            (func (export "indirect") (param i32) (result i32)
                (call_indirect (type $unary) (i32.const 4) (local.get 0)))
            (func $down (export "tail") (param i32) (result i32)
                (if (local.get 0) (then (return_call $down (i32.sub (local.get 0) (i32.const 1)))))
                (return_call_indirect (type $unary) (i32.const 3) (i32.const 0)))
            (func $pair (param i32) (result i32 i64) (local.get 0) (i64.const 2))
            (func (export "multi") (param i32) (result i64 i32)
                (local i32) (call $pair (local.get 0)) (local.set 1 (i32.wrap_i64)) (i64.extend_i32_s) (local.get 1)))"#,
        &[0, 1, 2, 5],
    );
}

#[test]
fn bulk_operations_cost_what_they_move() {
    equal_for_every_budget(
        r#"(module
            (memory 1) (data $d "0123456789") (table $t 8 100 funcref) (elem $e func $f $f $f) (func $f)
            (func (export "copy") (param i32) (memory.copy (i32.const 0) (i32.const 100) (local.get 0)))
            (func (export "copy_small") (memory.copy (i32.const 0) (i32.const 100) (i32.const 128)))
            (func (export "copy_kept") (local i32)
                (memory.copy (i32.const 0) (i32.const 100) (local.tee 0 (i32.const 128))) (memory.fill (i32.const 0) (i32.const 0) (local.get 0)))
            (func (export "copy_large") (memory.copy (i32.const 0) (i32.const 100) (i32.const 129)))
            (func (export "copy_twice") (param i32)
                (memory.copy (i32.const 0) (i32.const 100) (i32.const 20))
                (memory.fill (i32.const 0) (i32.const 1) (local.get 0))
                (memory.fill (i32.const 0) (i32.const 1) (i32.const 3)))
            (func (export "init") (param i32) (memory.init $d (i32.const 0) (i32.const 0) (local.get 0)))
            (func (export "tables") (param i32) (result i32)
                (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 3))
                (table.fill $t (i32.const 0) (ref.null func) (local.get 0))
                (table.copy $t $t (i32.const 0) (i32.const 1) (local.get 0))
                (i32.add (table.grow $t (ref.func $f) (local.get 0)) (table.grow $t (ref.null func) (i32.const 2))))
            (func (export "grow") (param i32) (result i32)
                (i32.add (memory.grow (local.get 0)) (memory.grow (i32.const 1)))))"#,
        &[0, 1, 3, 7],
    );
}

#[test]
fn traps_are_the_same_traps() {
    equal_for_every_budget(
        r#"(module
            (memory 1) (table 1 funcref) (type $unary (func (param i32)))
            (func (export "unreachable") unreachable)
            (func (export "divide") (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
            (func (export "overflow") (result i32) (i32.div_s (i32.const 0x80000000) (i32.const -1)))
            (func (export "convert") (result i32) (i32.trunc_f64_s (f64.const nan)))
            (func (export "convert32") (result i64) (i64.trunc_f32_u (f32.const nan)))
            (func (export "too_large") (result i32) (i32.trunc_f64_u (f64.const 1e20)))
            (func (export "fits") (result i32) (i32.trunc_f64_u (f64.const 7.9)))
            (func (export "load") (param i32) (result i32) (i32.load (i32.shl (local.get 0) (i32.const 16))))
            (func (export "null") (call_indirect (type $unary) (i32.const 0) (i32.const 0)))
            (func (export "fill") (memory.fill (i32.const 65535) (i32.const 0) (i32.const 2))))"#,
        &[0, 1],
    );
}

#[test]
fn wide_memories_and_tables_cost_the_same() {
    equal_for_every_budget(
        r#"(module
            (memory i64 1 9) (table $t i64 4 16 funcref)
            (func (export "fill") (param i32) (memory.fill (i64.const 0) (i32.const 1) (i64.extend_i32_s (local.get 0))))
            (func (export "copy") (param i32) (memory.copy (i64.const 0) (i64.const 9) (i64.extend_i32_s (local.get 0))))
            (func (export "grow") (param i32) (result i64) (memory.grow (i64.extend_i32_s (local.get 0))))
            (func (export "table") (param i32) (result i64)
                (table.grow $t (ref.null func) (i64.extend_i32_u (local.get 0)))))"#,
        &[0, 1, 6, -1],
    );
}

#[test]
fn refused_growth_is_said_and_own_maximum_is_not() {
    let pair = Pair::of(
        &wat::parse_str(
            r#"(module
                (memory $a 1 5) (memory $b 1) (table $t 10 funcref) (global (export "g") i32 (i32.const 1))
                (func (export "a") (param i32) (result i32) (memory.grow $a (local.get 0)))
                (func (export "b") (param i32) (result i32) (memory.grow $b (local.get 0)))
                (func (export "ab") (param i32) (result i32 i32 i32)
                    (memory.grow $a (local.get 0)) (memory.grow $b (local.get 0)) (memory.grow $a (local.get 0)))
                (func (export "t") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0))))"#,
        )
        .expect("it is WAT"),
    );
    let initial = usize::try_from(pair.initial_bytes).expect("small");
    let element = TABLE_ELEMENT_BYTES as usize;
    assert_eq!(initial, (2 << 16) + 10 * element);
    let mut refusals = 0;
    for limit in [
        initial - 1,
        initial,
        initial + 1,
        initial + 10 * element,
        initial + (1 << 16),
        initial + (4 << 16),
        ROOMY,
    ] {
        for name in ["a", "b", "ab", "t"] {
            for arg in [0, 1, 2, 4, 5, 10, 11, 1 << 16, 20_000_000, -1] {
                refusals += u32::from(pair.seen(name, arg, 1 << 40, limit).growth_refused);
            }
        }
    }
    assert!(refusals > 20);
    assert!(!pair.seen("a", 5, 1000, ROOMY).growth_refused);
    assert!(!pair.seen("a", 5, 1000, initial).growth_refused);
    assert!(pair.seen("a", 4, 1000, initial).growth_refused);
    assert!(
        !pair
            .seen("t", 10, 1000, initial + 10 * element)
            .growth_refused
    );
    assert!(
        pair.seen("t", 11, 1000, initial + 10 * element)
            .growth_refused
    );
    assert!(!pair.seen("t", 20_000_000, 1 << 40, ROOMY).growth_refused);
}

#[test]
fn a_module_cannot_reach_the_counters() {
    let wasm = wat::parse_str(r#"(module (import "asterism:host" "fuel" (global (mut i64))))"#)
        .expect("it is WAT");
    assert_eq!(meter(&wasm), Err(MeteringError::ReservedImport));
    assert!(matches!(
        meter(b"\0asm\x01\0\0\0\x0a\xff"),
        Err(MeteringError::Malformed(_))
    ));
    assert!(matches!(meter(b"hello"), Err(MeteringError::Malformed(_))));
}

#[test]
fn a_module_that_would_fill_a_tab_is_refused() {
    let code = |times| {
        let text = format!("(module (func unreachable {}))", "f64.min ".repeat(times));
        meter(&wat::parse_str(text).expect("it is WAT"))
    };
    assert!(code(10_000).is_ok());
    assert_eq!(code(1_000_000), Err(MeteringError::TooLarge));
}

#[test]
fn function_names_survive_for_backtraces() {
    let metered =
        meter(&wat::parse_str("(module (func $named_so (export \"f\")))").expect("it is WAT"))
            .expect("valid");
    assert!(metered.wasm.windows(8).any(|window| window == b"named_so"));
}

/// Modules that nobody thought of.
#[test]
fn generated_modules_behave_the_same() {
    let (mut smith, mut compared) = (Smith::new(), 0);
    for seed in 0..300 {
        let Some(wasm) = smith.module(seed, None) else {
            continue;
        };
        // References to host values are beyond what hosts accept.
        if wasmparser::Validator::new_with_features(asterism_component::features())
            .validate_all(&wasm)
            .is_err()
        {
            continue;
        }
        let pair = Pair::of(&wasm);
        let names: Vec<_> = pair
            .original
            .exports()
            .filter(|export| export.ty().func().is_some())
            .collect();
        for name in names.iter().map(wasmtime::ExportType::name) {
            for fuel in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 100, 1_000, 100_000] {
                compared +=
                    u32::from(pair.seen(name, 3, fuel, ROOMY).ended != Ended::NotInstantiated);
            }
        }
    }
    assert!(compared > 1_000, "only {compared} comparisons");
}
