//! Whom a remembered outcome answers: "Limits and memory" of the design, case by case.

use asterism_protocol::{Conditions, Failure, Limits, Out, Outcome, TrapKind, Value, content_cid};

const MEMORY: u64 = 1 << 20;

/// As it stands, as out-of-fuel without running, or not at all.
const AS_IT_STANDS: Option<bool> = Some(true);
const OUT_OF_FUEL: Option<bool> = Some(false);
const MUST_RUN: Option<bool> = None;

fn outcome(out: Out, fuel: Option<u64>) -> Outcome {
    Outcome {
        instruction: content_cid(b"instruction"),
        out,
        fuel,
        metering: "wasmtime-48".into(),
    }
}

fn trap(kind: TrapKind, fuel: Option<u64>) -> Outcome {
    outcome(
        Out::Error(
            Failure {
                trap: kind,
                func: "f".into(),
            }
            .to_value(),
        ),
        fuel,
    )
}

fn success(fuel: u64) -> Outcome {
    outcome(Out::Ok(Value::Integer(1)), Some(fuel))
}

/// What `outcome` of an attempt with fuel 1,000 answers to a request with `fuel` and `memory`.
fn answer(outcome: &Outcome, growth_refused: bool, fuel: u64, memory: u64) -> Option<bool> {
    let conditions = Conditions {
        fuel: 1_000,
        memory: MEMORY,
        growth_refused,
    };
    let answer = conditions.answer(
        outcome,
        &Limits {
            fuel,
            memory,
            time_ms: 1,
        },
    );
    let other_time = conditions.answer(
        outcome,
        &Limits {
            fuel,
            memory,
            time_ms: u64::MAX,
        },
    );
    assert_eq!(answer, other_time, "time decides nothing");
    answer
}

#[test]
fn a_success_answers_whoever_allows_the_fuel_it_used() {
    for (fuel, expected) in [
        (0, OUT_OF_FUEL),
        (699, OUT_OF_FUEL),
        (700, AS_IT_STANDS),
        (1_000, AS_IT_STANDS),
        (u64::MAX, AS_IT_STANDS),
    ] {
        assert_eq!(
            answer(&success(700), false, fuel, MEMORY),
            expected,
            "{fuel}"
        );
    }
}

#[test]
fn an_error_of_the_function_itself_counts_as_a_success() {
    let error = outcome(Out::Error(Value::String("no".into())), Some(700));
    assert_eq!(answer(&error, false, 699, MEMORY), OUT_OF_FUEL);
    assert_eq!(answer(&error, false, 700, MEMORY), AS_IT_STANDS);
}

#[test]
fn out_of_fuel_answers_the_same_or_a_smaller_limit() {
    let outcome = trap(TrapKind::OutOfFuel, Some(1_000));
    for (fuel, expected) in [
        (0, OUT_OF_FUEL),
        (999, OUT_OF_FUEL),
        (1_000, AS_IT_STANDS),
        (1_001, MUST_RUN),
    ] {
        assert_eq!(answer(&outcome, false, fuel, MEMORY), expected, "{fuel}");
    }
}

#[test]
fn a_trap_of_unknown_fuel_answers_the_same_or_a_larger_limit() {
    for kind in TrapKind::ALL
        .into_iter()
        .filter(|kind| *kind != TrapKind::OutOfFuel)
    {
        let outcome = trap(kind, None);
        for (fuel, expected) in [
            (999, MUST_RUN),
            (1_000, AS_IT_STANDS),
            (1_001, AS_IT_STANDS),
        ] {
            assert_eq!(
                answer(&outcome, false, fuel, MEMORY),
                expected,
                "{kind:?} {fuel}"
            );
        }
    }
}

#[test]
fn a_call_that_never_began_answers_every_fuel_limit() {
    for kind in [TrapKind::BadArguments, TrapKind::UnknownFunction] {
        assert_eq!(answer(&trap(kind, Some(0)), false, 0, MEMORY), AS_IT_STANDS);
    }
}

#[test]
fn a_refused_growth_binds_to_the_same_memory_limit() {
    for outcome in [
        success(700),
        trap(TrapKind::OutOfFuel, Some(1_000)),
        trap(TrapKind::Unreachable, None),
    ] {
        assert_eq!(answer(&outcome, true, 1_000, MEMORY), AS_IT_STANDS);
        assert_eq!(answer(&outcome, true, 1_000, MEMORY - 1), MUST_RUN);
        assert_eq!(answer(&outcome, true, 1_000, MEMORY + 1), MUST_RUN);
    }
    assert_eq!(
        answer(&success(700), true, 699, MEMORY),
        OUT_OF_FUEL,
        "fuel still decides"
    );
}

#[test]
fn an_engine_that_could_not_grow_binds_to_the_same_memory_limit() {
    let outcome = trap(TrapKind::OutOfMemory, None);
    assert_eq!(answer(&outcome, false, 1_000, MEMORY), AS_IT_STANDS);
    assert_eq!(answer(&outcome, false, 1_000, MEMORY + 1), MUST_RUN);
}

#[test]
fn memory_that_sufficed_suffices_whoever_has_more() {
    for outcome in [
        success(700),
        trap(TrapKind::OutOfFuel, Some(1_000)),
        trap(TrapKind::Unreachable, None),
    ] {
        assert_eq!(answer(&outcome, false, 1_000, MEMORY + 1), AS_IT_STANDS);
        assert_eq!(
            answer(&outcome, false, 1_000, MEMORY - 1),
            MUST_RUN,
            "a smaller limit might have shown"
        );
    }
}
