//! Calls of exported functions, with values lowered and lifted by the canonical ABI that all hosts share.
//!
//! Wasmtime's own dynamic values have one `Val` for each byte of a byte string and a name for each field of a record: 58 ms
//! and 149 MB for a megabyte there and back. So every function is called as one that takes core values and gives a core
//! value: those are made here, and whatever they point to goes through [`asterism_component::abi`].

#![expect(
    unsafe_code,
    reason = "Wasmtime's traits for typed calls are unsafe; each block says why it holds"
)]

use std::{borrow::Cow, cell::Cell, mem::MaybeUninit, sync::Arc};

use asterism_component::{
    Val,
    abi::{Broken, Encoding, FLAT_PARAMS_MAX, Flat, Lifting, Lowering, Signature, Source, Target},
};
use wasmtime::{
    Error, Result, Store, ValRaw,
    component::{
        __internal::{
            CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext,
            wasmtime_environ::component::{CanonicalOptions, StringEncoding},
        },
        ComponentNamedList, ComponentType, Func, Lift, Lower, TypedFunc,
    },
};

use crate::host::Task;

/// Calls `func`, which has this signature, and its post-return.
///
/// # Errors
/// Whatever keeps it from returning; [`Broken`] among it, where the host found out.
pub(crate) fn call(
    store: &mut Store<Task>,
    func: Func,
    signature: &Arc<Signature>,
    args: &[Val],
) -> Result<Option<Val>> {
    let flat = match &signature.flat_params {
        Some(flat) => flat.len(),
        // One: the address of all.
        None => 1,
    };
    macro_rules! by_count {
        ($($count:literal)*) => {
            match flat {
                $($count => call_flat::<$count>(store, func, signature, args),)*
                _ => Err(Error::msg("a function has at most sixteen core parameters")),
            }
        };
    }
    const { assert!(FLAT_PARAMS_MAX == 16, "every count has its arm") }
    by_count!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
}

fn call_flat<const N: usize>(
    store: &mut Store<Task>,
    func: Func,
    signature: &Arc<Signature>,
    args: &[Val],
) -> Result<Option<Val>> {
    let args = Args::<N> {
        signature,
        values: args,
    };
    if signature.result.is_none() {
        // SAFETY: `N` are the core parameters of the function; it has no result.
        let func = unsafe { TypedFunc::<Args<'_, N>, ()>::new_unchecked(func) };
        func.call(store, args)?;
        return Ok(None);
    }
    // SAFETY: `N` are the core parameters of the function; its result is one core value, by the canonical ABI: itself, or
    // an address.
    let func = unsafe { TypedFunc::<Args<'_, N>, Returned>::new_unchecked(func) };
    let _expected = Expected::enter(Arc::clone(signature));
    // What is too large shows here and not in the call, which post-return ends as any other.
    Ok(Some(func.call(store, args)?.0?))
}

/// Arguments that become `N` core values.
struct Args<'a, const N: usize> {
    signature: &'a Signature,
    values: &'a [Val],
}

// SAFETY: `Lower` is an array of `ValRaw`. The ABI of arguments in memory is not looked at, for at most sixteen core values
// never travel through it: those that do are one core value here, their address. What `typecheck` would check is known
// from the signature, which was read from the bytes that Wasmtime compiled.
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
        _ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let mut guest = Guest {
            encoding: encoding(cx.options()),
            cx,
        };
        let flat = Lowering::new(&mut guest).arguments(self.signature, self.values)?;
        let raw: Vec<ValRaw> = flat.into_iter().map(raw).collect();
        let raw = raw.try_into();
        dst.write(raw.map_err(|_| Error::msg("arguments are as many core values as declared"))?);
        Ok(())
    }

    fn linear_lower_to_memory<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: usize,
    ) -> Result<()> {
        Err(Error::msg("core values do not travel through memory"))
    }
}

fn raw(flat: Flat) -> ValRaw {
    match flat {
        Flat::I32(value) => ValRaw::u32(value),
        Flat::I64(value) => ValRaw::u64(value),
        Flat::F32(value) => ValRaw::f32(value.to_bits()),
        Flat::F64(value) => ValRaw::f64(value.to_bits()),
    }
}

fn encoding(options: &CanonicalOptions) -> Encoding {
    match options.string_encoding {
        StringEncoding::Utf8 => Encoding::Utf8,
        StringEncoding::Utf16 => Encoding::Utf16,
        StringEncoding::CompactUtf16 => Encoding::Latin1OrUtf16,
    }
}

/// The guest that is lowered into.
struct Guest<'c, 'a, T: 'static> {
    encoding: Encoding,
    cx: &'c mut LowerContext<'a, T>,
}

impl<T> Target for Guest<'_, '_, T> {
    type Error = Error;

    fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn size(&mut self) -> u64 {
        self.cx.as_slice_mut().len() as u64
    }

    fn reallocate(&mut self, old: (u32, u32), align: u32, size: u32) -> Result<u32> {
        let address = self
            .cx
            .realloc(old.0 as usize, old.1 as usize, align, size as usize)?;
        Ok(u32::try_from(address)?)
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<()> {
        self.cx.as_slice_mut()[address as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

thread_local! {
    /// What the call under way returns: Wasmtime hands nothing of the caller's to those who lift.
    static EXPECTED: Cell<Option<Arc<Signature>>> = const { Cell::new(None) };
}

/// While this lives, a result is lifted by its signature.
struct Expected {
    before: Option<Arc<Signature>>,
}

impl Expected {
    fn enter(signature: Arc<Signature>) -> Self {
        Self {
            before: EXPECTED.replace(Some(signature)),
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        EXPECTED.set(self.before.take());
    }
}

/// A result; what is too large for one is no error of the call.
struct Returned(Result<Val, Broken>);

// SAFETY: `Lower` is one core value. As for `Args`, nothing travels through memory in Wasmtime's eyes.
unsafe impl ComponentType for Returned {
    type Lower = [ValRaw; 1];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::SCALAR4;

    fn typecheck(_ty: &InterfaceType, _types: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: as above; it is a list of one result.
unsafe impl ComponentNamedList for Returned {}

// SAFETY: the core value is read as the type that the signature says, and addresses are checked against the memory.
unsafe impl Lift for Returned {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        _ty: InterfaceType,
        src: &Self::Lower,
    ) -> Result<Self> {
        let expected = EXPECTED.take();
        let layout = expected
            .as_ref()
            .and_then(|expected| expected.result.as_ref());
        let (Some(signature), Some(layout)) = (&expected, layout) else {
            return Err(Error::msg("a result came that no call expects"));
        };
        let memory = Memory {
            encoding: encoding(cx.options()),
            bytes: cx.memory(),
        };
        let lifting = Lifting::new(&memory);
        let result = match (signature.result_in_memory(), layout.flat.as_deref()) {
            (None, Some(flat)) => {
                let bits = src[0].get_u64();
                let mut flat = flat.iter().map(|ty| Flat::of_bits(*ty, bits));
                lifting.flat(layout, &mut flat)
            }
            _ => lifting.at(layout, src[0].get_u32()),
        };
        match result {
            Err(broken) if !broken.is_too_large() => Err(broken.into()),
            result => Ok(Self(result)),
        }
    }

    fn linear_lift_from_memory(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &[u8],
    ) -> Result<Self> {
        Err(Error::msg("core values do not travel through memory"))
    }
}

/// The memory that is lifted out of.
struct Memory<'a> {
    encoding: Encoding,
    bytes: &'a [u8],
}

impl Source for Memory<'_> {
    type Error = Broken;

    fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn read(&self, address: u32, length: u32) -> Option<Cow<'_, [u8]>> {
        let bytes = self.bytes.get(address as usize..)?;
        bytes.get(..length as usize).map(Cow::Borrowed)
    }
}
