//! Byte strings into and out of guests as a whole.
//!
//! Wasmtime's dynamic values have one `Val` for each element of a list: 58 ms and 149 MB for a megabyte there and back,
//! where a typed call takes 0.2 ms. So functions over byte strings, strings and scalars are called as typed ones:
//! their arguments as flat core values that are made here, their results as Rust types. Others take the slow way.

#![expect(
    unsafe_code,
    reason = "Wasmtime's traits for typed calls are unsafe; each block says why it holds"
)]

use std::mem::MaybeUninit;

use asterism_component::{Function, Type, Val};
use wasmtime::{
    Result, Store, ValRaw,
    component::{
        __internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext},
        ComponentNamedList, ComponentType, Func, Lift, Lower, TypedFunc,
    },
};

use crate::{
    convert::{canonical_f32, canonical_f64},
    host::Task,
};

/// More flat arguments travel through memory.
const FLAT_MAX: usize = 16;

/// A signature that can be called this way.
pub(crate) struct Shape {
    flat: usize,
    returns: Returns,
}

/// A result that has a Rust type here; the payloads of a `result` first `ok`, then `err`.
#[derive(Clone, Copy)]
enum Returns {
    Nothing,
    Bool,
    U32,
    S32,
    U64,
    S64,
    F32,
    F64,
    String,
    Bytes,
    StringOrString,
    BytesOrString,
    BytesOrNothing,
    NothingOrString,
}

impl Shape {
    /// The shape, where it is one of these and there are byte strings in it.
    pub(crate) fn of(function: &Function) -> Option<Self> {
        let returns = Returns::of(function.result.as_ref())?;
        let of_bytes = matches!(
            returns,
            Returns::Bytes | Returns::BytesOrString | Returns::BytesOrNothing
        );
        if !of_bytes && !function.params.iter().any(|(_, ty)| ty.is_bytes()) {
            return None;
        }
        let mut flat = 0;
        for (_, ty) in &function.params {
            flat += flat_count(ty)?;
        }
        (flat <= FLAT_MAX).then_some(Self { flat, returns })
    }

    pub(crate) fn call(
        &self,
        store: &mut Store<Task>,
        func: Func,
        args: &[Val],
    ) -> Result<Option<Val>> {
        macro_rules! by_count {
            ($($count:literal)*) => {
                match self.flat {
                    $($count => self.call_flat::<$count>(store, func, args),)*
                    _ => Err(wasmtime::Error::msg("a shape has at most sixteen flat arguments")),
                }
            };
        }
        by_count!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    }

    fn call_flat<const N: usize>(
        &self,
        store: &mut Store<Task>,
        func: Func,
        args: &[Val],
    ) -> Result<Option<Val>> {
        let args = Args::<N>(args);
        let boxed = |val| Some(Box::new(val));
        Ok(Some(match self.returns {
            Returns::Nothing => {
                typed::<N, ()>(store, func, args)?;
                return Ok(None);
            }
            Returns::Bool => Val::Bool(typed::<N, (bool,)>(store, func, args)?.0),
            Returns::U32 => Val::U32(typed::<N, (u32,)>(store, func, args)?.0),
            Returns::S32 => Val::S32(typed::<N, (i32,)>(store, func, args)?.0),
            Returns::U64 => Val::U64(typed::<N, (u64,)>(store, func, args)?.0),
            Returns::S64 => Val::S64(typed::<N, (i64,)>(store, func, args)?.0),
            Returns::F32 => Val::F32(canonical_f32(typed::<N, (f32,)>(store, func, args)?.0)),
            Returns::F64 => Val::F64(canonical_f64(typed::<N, (f64,)>(store, func, args)?.0)),
            Returns::String => Val::String(typed::<N, (String,)>(store, func, args)?.0),
            Returns::Bytes => Val::Bytes(typed::<N, (Vec<u8>,)>(store, func, args)?.0),
            Returns::StringOrString => {
                let result = typed::<N, (Result<String, String>,)>(store, func, args)?.0;
                Val::Result(
                    result
                        .map(|text| boxed(Val::String(text)))
                        .map_err(|text| boxed(Val::String(text))),
                )
            }
            Returns::BytesOrString => {
                let result = typed::<N, (Result<Vec<u8>, String>,)>(store, func, args)?.0;
                Val::Result(
                    result
                        .map(|bytes| boxed(Val::Bytes(bytes)))
                        .map_err(|text| boxed(Val::String(text))),
                )
            }
            Returns::BytesOrNothing => {
                let result = typed::<N, (Result<Vec<u8>, ()>,)>(store, func, args)?.0;
                Val::Result(
                    result
                        .map(|bytes| boxed(Val::Bytes(bytes)))
                        .map_err(|()| None),
                )
            }
            Returns::NothingOrString => {
                let result = typed::<N, (Result<(), String>,)>(store, func, args)?.0;
                Val::Result(
                    result
                        .map(|()| None)
                        .map_err(|text| boxed(Val::String(text))),
                )
            }
        }))
    }
}

impl Returns {
    fn of(ty: Option<&Type>) -> Option<Self> {
        Some(match ty {
            None => Self::Nothing,
            Some(Type::Bool) => Self::Bool,
            Some(Type::U32) => Self::U32,
            Some(Type::S32) => Self::S32,
            Some(Type::U64) => Self::U64,
            Some(Type::S64) => Self::S64,
            Some(Type::F32) => Self::F32,
            Some(Type::F64) => Self::F64,
            Some(Type::String) => Self::String,
            Some(ty) if ty.is_bytes() => Self::Bytes,
            Some(Type::Result { ok, err }) => match (ok.as_deref(), err.as_deref()) {
                (Some(Type::String), Some(Type::String)) => Self::StringOrString,
                (Some(ok), Some(Type::String)) if ok.is_bytes() => Self::BytesOrString,
                (Some(ok), None) if ok.is_bytes() => Self::BytesOrNothing,
                (None, Some(Type::String)) => Self::NothingOrString,
                _ => return None,
            },
            Some(_) => return None,
        })
    }
}

/// Core values that an argument becomes.
fn flat_count(ty: &Type) -> Option<usize> {
    match ty {
        Type::Bool | Type::S8 | Type::U8 | Type::S16 | Type::U16 | Type::S32 | Type::U32 => Some(1),
        Type::S64 | Type::U64 | Type::F32 | Type::F64 | Type::Char => Some(1),
        Type::String => Some(2),
        Type::List(_) if ty.is_bytes() => Some(2),
        Type::List(_)
        | Type::Record(_)
        | Type::Tuple(_)
        | Type::Variant(_)
        | Type::Enum(_)
        | Type::Flags(_)
        | Type::Option(_)
        | Type::Result { .. } => None,
    }
}

fn typed<const N: usize, R: ComponentNamedList + Lift>(
    store: &mut Store<Task>,
    func: Func,
    args: Args<'_, N>,
) -> Result<R> {
    // SAFETY: the types of parameters and result were read from the same bytes that Wasmtime compiled: `Shape::of` has
    // counted the flat parameters and chosen the type that the result has.
    let func = unsafe { TypedFunc::<Args<'_, N>, R>::new_unchecked(func) };
    func.call(store, args)
}

/// Arguments that become `N` core values.
struct Args<'a, const N: usize>(&'a [Val]);

// SAFETY: `Lower` is an array of `ValRaw`. The ABI of arguments in memory is not looked at, for at most sixteen flat values
// never travel through it. What `typecheck` would check, `Shape::of` has.
unsafe impl<const N: usize> ComponentType for Args<'_, N> {
    type Lower = [ValRaw; N];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::POINTER_PAIR;

    fn typecheck(_ty: &InterfaceType, _types: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: as above; it is a list of parameters.
unsafe impl<const N: usize> ComponentNamedList for Args<'_, N> {}

// SAFETY: every one of the `N` core values is written, each of the type that its parameter has in the canonical ABI.
unsafe impl<const N: usize> Lower for Args<'_, N> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let mismatch =
            || wasmtime::Error::msg("a value is not of the type that the component declares");
        let InterfaceType::Tuple(params) = ty else {
            return Err(mismatch());
        };
        let types = cx.types[params].types.clone();
        let mut flat = [ValRaw::u32(0); N];
        let mut next = flat.iter_mut();
        let mut put = |raw: ValRaw| next.next().map(|place| *place = raw).ok_or_else(mismatch);
        for (ty, val) in types.iter().zip(self.0) {
            match val {
                Val::Bool(bool) => put(ValRaw::u32((*bool).into()))?,
                Val::S8(n) => put(ValRaw::i32((*n).into()))?,
                Val::U8(n) => put(ValRaw::u32((*n).into()))?,
                Val::S16(n) => put(ValRaw::i32((*n).into()))?,
                Val::U16(n) => put(ValRaw::u32((*n).into()))?,
                Val::S32(n) => put(ValRaw::i32(*n))?,
                Val::U32(n) => put(ValRaw::u32(*n))?,
                Val::S64(n) => put(ValRaw::i64(*n))?,
                Val::U64(n) => put(ValRaw::u64(*n))?,
                Val::F32(x) => put(ValRaw::f32(canonical_f32(*x).to_bits()))?,
                Val::F64(x) => put(ValRaw::f64(canonical_f64(*x).to_bits()))?,
                Val::Char(char) => put(ValRaw::u32((*char).into()))?,
                Val::String(text) => pair(text.as_str(), cx, *ty)?
                    .into_iter()
                    .try_for_each(&mut put)?,
                Val::Bytes(bytes) => pair(bytes.as_slice(), cx, *ty)?
                    .into_iter()
                    .try_for_each(&mut put)?,
                _ => return Err(mismatch()),
            }
        }
        if put(ValRaw::u32(0)).is_ok() {
            return Err(mismatch());
        }
        dst.write(flat);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: usize,
    ) -> Result<()> {
        Err(wasmtime::Error::msg(
            "flat arguments do not travel through memory",
        ))
    }
}

/// Pointer and length of what was copied into the guest.
fn pair<T, L>(value: &L, cx: &mut LowerContext<'_, T>, ty: InterfaceType) -> Result<[ValRaw; 2]>
where
    L: Lower<Lower = [ValRaw; 2]> + ?Sized,
{
    let mut raw = MaybeUninit::new([ValRaw::u32(0); 2]);
    value.linear_lower_to_flat(cx, ty, &mut raw)?;
    // SAFETY: it was initialized above.
    Ok(unsafe { raw.assume_init() })
}
