//! Built-in functions that a component's core modules import: what they do with handles, and what adapters between
//! components ask of their host.

use std::{any::Any, rc::Rc};

use js_sys::{Array, Error, Uint8Array};
use wasm_bindgen::{JsValue, prelude::Closure};
use wasmtime_environ::{
    Trap,
    component::{Transcode, TypeResourceTableIndex},
};

use asterism_protocol::TrapKind;

use crate::{
    halt::Halt,
    handles::{Origin, ResourceTable},
    instance::Instance,
    stage::Stage,
    transcode::{Invalid, Made, Request},
};

/// Rust's ends of functions, kept as long as their component.
type Closures = Vec<Box<dyn Any>>;

/// Makes a function of JavaScript out of one on the instance that runs.
macro_rules! function {
    ($stage:expr, $closures:expr, |$instance:ident $(, $arg:ident)*| $body:expr) => {{
        let stage = Rc::clone($stage);
        let call = move |$($arg: i32),*| -> Result<_, JsValue> {
            $(let $arg = $arg.cast_unsigned();)*
            let Some($instance) = stage.current() else {
                return Err(Error::new("no task runs").into());
            };
            let result: Result<_, Halt> = $body;
            result.map_err(|halt| $instance.throw(halt))
        };
        let closure = Closure::<dyn Fn($(function!(@i32 $arg)),*) -> Result<_, JsValue>>::new(call);
        let function = closure.as_ref().clone();
        $closures.push(Box::new(closure));
        function
    }};
    (@i32 $arg:ident) => { i32 };
}

pub(crate) fn resource_new(
    stage: &Rc<Stage>,
    guest: usize,
    table: ResourceTable,
    ty: TypeResourceTableIndex,
    closures: &mut Closures,
) -> JsValue {
    function!(stage, closures, |instance, rep| {
        instance
            .expect_may_leave(guest)
            .and_then(|()| instance.handles().own(table, ty, rep))
            .map(u32::cast_signed)
    })
}

pub(crate) fn resource_rep(
    stage: &Rc<Stage>,
    table: ResourceTable,
    ty: TypeResourceTableIndex,
    closures: &mut Closures,
) -> JsValue {
    function!(stage, closures, |instance, handle| {
        let rep = instance.handles().rep(table, ty, handle);
        rep.map(u32::cast_signed)
    })
}

pub(crate) fn resource_drop(
    stage: &Rc<Stage>,
    guest: usize,
    table: ResourceTable,
    ty: TypeResourceTableIndex,
    closures: &mut Closures,
) -> JsValue {
    function!(stage, closures, |instance, handle| {
        drop_handle(&instance, guest, table, ty, handle)
    })
}

fn drop_handle(
    instance: &Instance,
    guest: usize,
    table: ResourceTable,
    ty: TypeResourceTableIndex,
    handle: u32,
) -> Result<(), Halt> {
    instance.expect_may_leave(guest)?;
    let dropped = instance.handles().drop(table, ty, handle)?;
    match dropped {
        Some(rep) => instance.destroy(guest, table.origin, rep),
        None => Ok(()),
    }
}

/// From the table of one component instance to that of another.
pub(crate) fn transfer_own(stage: &Rc<Stage>, closures: &mut Closures) -> JsValue {
    function!(stage, closures, |instance, handle, from, to| {
        let (from, to) = (ty(from), ty(to));
        let transfer = || {
            let (source, target) = (instance.resource(from)?, instance.resource(to)?);
            let mut handles = instance.handles();
            let rep = handles.take(source, from, handle)?;
            handles.own(target, to, rep).map(u32::cast_signed)
        };
        transfer()
    })
}

/// As [`transfer_own`], lending; an instance that is lent a resource of its own gets what it stands for.
pub(crate) fn transfer_borrow(stage: &Rc<Stage>, closures: &mut Closures) -> JsValue {
    function!(stage, closures, |instance, handle, from, to| {
        let (from, to) = (ty(from), ty(to));
        let transfer = || {
            let (source, target) = (instance.resource(from)?, instance.resource(to)?);
            let mut handles = instance.handles();
            let rep = handles.lend(source, from, handle)?;
            let own = matches!(target.origin, Origin::Guest { instance, .. } if instance == target.instance);
            if own {
                return Ok(rep.cast_signed());
            }
            handles.borrow(target, to, rep).map(u32::cast_signed)
        };
        transfer()
    })
}

pub(crate) fn enter_call(stage: &Rc<Stage>, closures: &mut Closures) -> JsValue {
    function!(stage, closures, |instance, _caller, _is_async, _callee| {
        instance.handles().enter();
        Ok(())
    })
}

pub(crate) fn exit_call(stage: &Rc<Stage>, closures: &mut Closures) -> JsValue {
    function!(stage, closures, |instance| instance.handles().exit())
}

/// Strings from one component's memory to another's; adapters have checked that they lie within.
pub(crate) fn transcode(
    stage: &Rc<Stage>,
    op: Transcode,
    from: usize,
    to: usize,
    closures: &mut Closures,
) -> JsValue {
    let perform = move |instance: &Instance, source: u32, target: u32, request: Request| {
        let view = |memory: usize, address: u32, length: u32| -> Result<Uint8Array, Halt> {
            let buffer = instance.memory(memory)?.buffer();
            Ok(Uint8Array::new_with_byte_offset_and_length(
                &buffer, address, length,
            ))
        };
        let source = view(from, source, request.source_bytes())?.to_vec();
        let kept = view(to, target, request.kept_bytes())?.to_vec();
        let made = request
            .perform(&source, &kept)
            .map_err(|Invalid(why)| Halt::abi(why))?;
        let length = u32::try_from(made.bytes.len()).expect("adapters ask for what a memory holds");
        view(to, target, length)?.copy_from(&made.bytes);
        Ok(made)
    };
    let request = move |length: u32, room: u32, extra: u32| Request {
        op,
        length,
        room,
        extra,
    };
    let pair = |made: Made| {
        Array::of2(
            &made.read.cast_signed().into(),
            &made.written.cast_signed().into(),
        )
    };
    match op {
        Transcode::Copy(_) | Transcode::Latin1ToUtf16 => {
            function!(stage, closures, |instance, source, length, target| {
                perform(&instance, source, target, request(length, length, 0)).map(drop)
            })
        }
        Transcode::Utf8ToUtf16 | Transcode::Utf16ToCompactProbablyUtf16 => {
            function!(stage, closures, |instance, source, length, target| {
                let made = perform(&instance, source, target, request(length, length, 0));
                made.map(|made| made.written.cast_signed())
            })
        }
        Transcode::Utf8ToLatin1 | Transcode::Utf16ToLatin1 => {
            function!(stage, closures, |instance, source, length, target| {
                perform(&instance, source, target, request(length, length, 0)).map(pair)
            })
        }
        Transcode::Latin1ToUtf8 | Transcode::Utf16ToUtf8 => {
            function!(
                stage,
                closures,
                |instance, source, length, target, room, first_pass| {
                    perform(&instance, source, target, request(length, room, first_pass)).map(pair)
                }
            )
        }
        Transcode::Utf8ToCompactUtf16 | Transcode::Utf16ToCompactUtf16 => {
            function!(
                stage,
                closures,
                |instance, source, length, target, room, latin1| {
                    let made = perform(&instance, source, target, request(length, room, latin1));
                    made.map(|made| made.written.cast_signed())
                }
            )
        }
    }
}

/// What adapters call when values that pass between components break the canonical ABI.
pub(crate) fn trap(stage: &Rc<Stage>, closures: &mut Closures) -> JsValue {
    function!(stage, closures, |_instance, code| {
        let trap = u8::try_from(code).ok().and_then(Trap::from_u8);
        let kind = match trap {
            Some(Trap::UnreachableCodeReached) => TrapKind::Unreachable,
            Some(Trap::AllocationTooLarge) => TrapKind::OutOfMemory,
            _ => TrapKind::InvalidAbi,
        };
        let message = trap.map_or_else(|| format!("trap {code}"), |trap| trap.to_string());
        Err::<(), _>(Halt::trap(kind, message))
    })
}

fn ty(index: u32) -> TypeResourceTableIndex {
    TypeResourceTableIndex::from_u32(index)
}
