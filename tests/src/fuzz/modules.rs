//! Core modules of wasm-smith, wrapped.

use asterism_component::wrap;
use asterism_protocol::{Limits, Value};
use asterism_simulator::Random;

use super::{Call, Smith, Subject};

/// What each module exports, so that there is something to call.
const EXPORTS: [&str; 4] = [
    "(module (func (export \"a\") (param i32) (result i32) unreachable) (func (export \"b\") (param i64 f64) (result f64) unreachable))",
    "(module (func (export \"a\") (param f32 f32) (result f32) unreachable) (func (export \"b\") (result i64) unreachable))",
    "(module (func (export \"a\") (param i32 i32 i32) unreachable) (func (export \"b\") (param f64) (result i32) unreachable))",
    "(module (func (export \"a\") (param i64) (result i64) unreachable) (func (export \"b\") (param i32) (result f32) unreachable))",
];

const PARAMS: [[&[Kind]; 2]; 4] = [
    [&[Kind::I32], &[Kind::I64, Kind::Float]],
    [&[Kind::Float, Kind::Float], &[]],
    [&[Kind::I32, Kind::I32, Kind::I32], &[Kind::Float]],
    [&[Kind::I64], &[Kind::I32]],
];

#[derive(Clone, Copy)]
enum Kind {
    I32,
    I64,
    Float,
}

/// How often each function is called.
const CALLS: usize = 4;

/// A module of wasm-smith, wrapped; `None` where the seed makes none that hosts take.
pub(super) fn subject(smith: &mut Smith, seed: u64, random: &mut Random) -> Option<Subject> {
    let which = random.below(EXPORTS.len() as u64) as usize;
    let exports = wat::parse_str(EXPORTS[which]).expect("the texts above are modules");
    let module = smith.module(seed, Some(&exports))?;
    // What hosts refuse (references to host values, among others) is not of use here.
    let component = wrap(&module).ok()?;
    asterism_component::inspect(&component).ok()?;
    let mut calls = Vec::new();
    for (func, params) in ["a", "b"].into_iter().zip(PARAMS[which]) {
        for _ in 0..CALLS {
            calls.push(Call {
                func: func.to_owned(),
                args: params.iter().map(|kind| value(*kind, random)).collect(),
                limits: Limits {
                    fuel: match random.below(3) {
                        0 => random.below(64),
                        1 => random.below(4_096),
                        _ => 1_000_000,
                    },
                    memory: [1 << 16, 1 << 20, 1 << 26][random.below(3) as usize],
                    time_ms: 60_000,
                },
            });
        }
    }
    Some(Subject {
        text: wasmprinter::print_bytes(&component).unwrap_or_else(|error| error.to_string()),
        component,
        calls,
    })
}

fn value(kind: Kind, random: &mut Random) -> Value {
    let bits = random.number();
    match (kind, random.below(4)) {
        (Kind::I32, 0) => Value::Integer(random.pick(&[i32::MIN, -1, 0, 1, i32::MAX]).into()),
        (Kind::I32, 1) => Value::Integer((bits % 256).into()),
        (Kind::I32, _) => Value::Integer((bits as i32).into()),
        (Kind::I64, 0) => Value::Integer(random.pick(&[i64::MIN, -1, 0, 1, i64::MAX]).into()),
        (Kind::I64, _) => Value::Integer((bits as i64).into()),
        (Kind::Float, 0) => Value::String(random.pick(&["NaN", "Infinity", "-Infinity"]).into()),
        (Kind::Float, 1) => {
            Value::Float(random.pick(&[0.0, -0.0, 1.0, -1.5, 1e-40, 4_294_967_296.0]))
        }
        (Kind::Float, _) => Value::Float(f64::from((bits as i32) as f32) / 1_024.0),
    }
}
