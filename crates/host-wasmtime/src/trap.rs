//! What Wasmtime says of a guest that did not return, in the terms of outcomes and faults.

use asterism_component::abi::Broken;
use asterism_executor::Ended;
use asterism_protocol::{
    TrapKind,
    limits::TEXT_BYTES_MAX,
    message::{Fault, FaultKind},
};
use asterism_world::End;
use wasmtime::{Error, OutOfMemory, Trap, WasmBacktrace};

use crate::limiter::Limiter;

/// What ends a guest from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Interruption {
    #[error("the time limit is over")]
    TimeLimit,
    #[error("the run was stopped")]
    Stopped,
}

/// What of the memory that the guest was allowed the machine did not have. No outcome may depend on it.
fn shortage(error: &Error, limiter: &Limiter) -> Option<String> {
    let exhausted = limiter.exhausted.clone();
    // Whatever is not a memory of the guest's comes from the allocator of the process, as tables on demand do.
    let refused = error.downcast_ref::<OutOfMemory>();
    exhausted.or_else(|| refused.map(ToString::to_string))
}

/// How a call that failed ended: as the guest's doing, or as a fault.
pub(crate) fn ended(error: &Error, limiter: &Limiter, time_ms: u64) -> Result<Ended, Fault> {
    let fault = |kind, message: String| Err(Fault { kind, message });
    if let Some(reason) = shortage(error, limiter) {
        return fault(
            FaultKind::Host,
            format!("the machine is short of memory: {reason}"),
        );
    }
    match error.downcast_ref::<Interruption>() {
        Some(Interruption::TimeLimit) => {
            return fault(
                FaultKind::TimeLimit,
                format!("the time limit of {time_ms} ms is over; raise `meta.time`"),
            );
        }
        Some(Interruption::Stopped) => return fault(FaultKind::Host, "the run was stopped".into()),
        None => {}
    }
    if let Some(broken) = error.downcast_ref::<Broken>() {
        return Ok(Ended::Trap {
            kind: broken.kind,
            message: broken.to_string(),
            backtrace: Vec::new(),
        });
    }
    let kind = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => {
            return fault(
                FaultKind::StackOverflow,
                "the guest's stack is exhausted: it recurses too deep, or without an end".into(),
            );
        }
        Some(trap) => trap_kind(*trap),
        // A string that is not UTF-8, a list outside of memory: errors without a code.
        None => error
            .downcast_ref::<End>()
            .map_or(TrapKind::InvalidAbi, End::trap),
    };
    Ok(Ended::Trap {
        kind,
        message: message(error),
        backtrace: backtrace(error),
    })
}

/// How an instantiation that failed ended.
pub(crate) fn not_instantiated(
    error: &Error,
    limiter: &Limiter,
    time_ms: u64,
) -> Result<Ended, Fault> {
    // Whatever has a backtrace happened in the guest's code.
    let by_guest = error.is::<Trap>()
        || error.is::<End>()
        || error.is::<Interruption>()
        || error.is::<WasmBacktrace>();
    if by_guest || shortage(error, limiter).is_some() {
        return ended(error, limiter, time_ms);
    }
    if limiter.refused {
        let message =
            "the memories and tables that the component starts with take more than the limit; raise `meta.memory`"
                .to_owned();
        return Ok(Ended::Trap {
            kind: TrapKind::OutOfMemory,
            message,
            backtrace: Vec::new(),
        });
    }
    Err(Fault {
        kind: FaultKind::Host,
        message: format!("instantiation failed: {}", message(error)),
    })
}

fn trap_kind(trap: Trap) -> TrapKind {
    match trap {
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds
        | Trap::TableOutOfBounds
        | Trap::HeapMisaligned
        | Trap::ArrayOutOfBounds => TrapKind::OutOfBounds,
        Trap::IntegerDivisionByZero => TrapKind::DivideByZero,
        Trap::IntegerOverflow => TrapKind::IntegerOverflow,
        Trap::BadConversionToInteger => TrapKind::BadConversion,
        Trap::IndirectCallToNull | Trap::BadSignature | Trap::NullReference => {
            TrapKind::IndirectCall
        }
        Trap::OutOfFuel => TrapKind::OutOfFuel,
        Trap::AllocationTooLarge => TrapKind::OutOfMemory,
        // Whatever breaks the rules of the Component Model; the list of Wasmtime is open.
        _ => TrapKind::InvalidAbi,
    }
}

/// The innermost words: what Wasmtime wraps around them is the backtrace.
fn message(error: &Error) -> String {
    let mut text = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

fn backtrace(error: &Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let mut room = TEXT_BYTES_MAX;
    let mut frames = Vec::new();
    for frame in backtrace.frames() {
        let name = frame.func_name().map_or_else(
            || format!("wasm function {}", frame.func_index()),
            ToOwned::to_owned,
        );
        let Some(rest) = room.checked_sub(name.len()) else {
            break;
        };
        room = rest;
        frames.push(name);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_does_not_get_is_a_fault_and_no_outcome() {
        let error = Error::from(OutOfMemory::new(80_000_000));
        let mut limiter = Limiter::new(1 << 30);
        for refused in [false, true] {
            // That something else was refused before is no reason.
            limiter.refused = refused;
            for fault in [
                ended(&error, &limiter, 1),
                not_instantiated(&error, &limiter, 1),
            ] {
                let fault = fault.expect_err("nobody knows what it would have come to");
                assert_eq!(fault.kind, FaultKind::Host);
                let said = &fault.message;
                assert!(said.contains("the machine is short of memory"), "{said}");
            }
        }
    }
}
