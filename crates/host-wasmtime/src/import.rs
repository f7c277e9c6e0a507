//! Imports of components: host functions that ask the task's world, and resources that are the world's.
//!
//! Values are converted along the types that the component declares. Whatever does not fit them exactly ends the guest,
//! here as on every host; so a component that declares the interfaces of WASI with types of its own comes out the same
//! everywhere, too.

use asterism_component::{
    Val,
    abi::{canonical_f32, canonical_f64, check_call},
};
use wasmtime::{
    AsContextMut as _, Engine, Result, StoreContextMut, Trap,
    component::{
        Component, InstancePre, Linker, LinkerInstance, ResourceDynamic, ResourceType,
        Val as WasmVal, types,
    },
};

use crate::host::Task;

/// All resources of the world are of one type for Wasmtime, which keeps those of a component apart all the same; what
/// a handle stands for, the world knows.
const RESOURCE: u32 = 0;

/// Gives the component what the world provides, and refuses what it does not.
pub(crate) fn link(engine: &Engine, compiled: &Component) -> Result<InstancePre<Task>> {
    let mut linker: Linker<Task> = Linker::new(engine);
    let mut missing = Vec::new();
    for (name, item) in compiled.component_type().imports(engine) {
        match item.ty {
            types::ComponentItem::ComponentInstance(interface) => {
                let mut instance = linker.instance(name)?;
                for (item, ty) in interface.exports(engine) {
                    define(&mut instance, name, item, &ty.ty, &mut missing)?;
                }
            }
            item => define(&mut linker.root(), "", name, &item, &mut missing)?,
        }
    }
    if !missing.is_empty() {
        let missing = missing.join("`, `");
        return Err(wasmtime::Error::msg(format!(
            "it imports `{missing}`, which is not provided"
        )));
    }
    linker.instantiate_pre(compiled)
}

fn define(
    instance: &mut LinkerInstance<'_, Task>,
    interface: &str,
    name: &str,
    item: &types::ComponentItem,
    missing: &mut Vec<String>,
) -> Result<()> {
    match item {
        types::ComponentItem::ComponentFunc(_) if asterism_world::provides(interface, name) => {
            let (interface, func) = (interface.to_owned(), name.to_owned());
            instance.func_new(name, move |store, ty, args, out| {
                call(store, &interface, &func, &ty, args, out)
            })
        }
        types::ComponentItem::ComponentFunc(_) => {
            missing.push(format!("{interface}#{name}"));
            Ok(())
        }
        types::ComponentItem::Resource(_) => {
            let ty = ResourceType::host_dynamic(RESOURCE);
            instance.resource(name, ty, |mut store, handle| {
                store.data_mut().world.drop_resource(handle);
                Ok(())
            })
        }
        // What else can be imported needs nothing, or instantiation refuses it.
        _ => Ok(()),
    }
}

fn call(
    mut store: StoreContextMut<'_, Task>,
    interface: &str,
    func: &str,
    ty: &types::ComponentFunc,
    args: &[WasmVal],
    out: &mut [WasmVal],
) -> Result<()> {
    let mismatch = || {
        let text = format!("{interface}#{func}: a value is not of the type that is declared");
        wasmtime::Error::msg(text)
    };
    let args = ty
        .params()
        .zip(args)
        .map(|((_, ty), val)| lift(&mut store, &ty, val));
    let args = args.collect::<Option<Vec<_>>>().ok_or_else(mismatch)?;
    check_call(&args)?;
    let given = store.data_mut().world.call(interface, func, &args);
    charge(&mut store)?;
    let given = given.map_err(wasmtime::Error::from)?;
    if given.len() != out.len() {
        return Err(mismatch());
    }
    for ((ty, val), out) in ty.results().zip(given).zip(out) {
        *out = lower(&mut store, &ty, val).ok_or_else(mismatch)?;
    }
    Ok(())
}

/// Takes the fuel that the call cost.
fn charge(store: &mut StoreContextMut<'_, Task>) -> Result<()> {
    let owed = store.data_mut().world.take_fuel();
    if owed == 0 {
        return Ok(());
    }
    let left = store.get_fuel()?;
    if left <= owed {
        return Err(Trap::OutOfFuel.into());
    }
    store.set_fuel(left - owed)
}

/// A value of the guest's; `None` if no value of ours is like it.
fn lift(store: &mut StoreContextMut<'_, Task>, ty: &types::Type, val: &WasmVal) -> Option<Val> {
    use types::Type as T;
    let mut payload = |ty: Option<T>, val: &Option<Box<WasmVal>>| match (ty, val) {
        (Some(ty), Some(val)) => Some(Some(Box::new(lift(store, &ty, val)?))),
        (None, None) => Some(None),
        _ => None,
    };
    Some(match (ty, val) {
        (T::Bool, WasmVal::Bool(bool)) => Val::Bool(*bool),
        (T::S8, WasmVal::S8(n)) => Val::S8(*n),
        (T::U8, WasmVal::U8(n)) => Val::U8(*n),
        (T::S16, WasmVal::S16(n)) => Val::S16(*n),
        (T::U16, WasmVal::U16(n)) => Val::U16(*n),
        (T::S32, WasmVal::S32(n)) => Val::S32(*n),
        (T::U32, WasmVal::U32(n)) => Val::U32(*n),
        (T::S64, WasmVal::S64(n)) => Val::S64(*n),
        (T::U64, WasmVal::U64(n)) => Val::U64(*n),
        (T::Float32, WasmVal::Float32(x)) => Val::F32(canonical_f32(*x)),
        (T::Float64, WasmVal::Float64(x)) => Val::F64(canonical_f64(*x)),
        (T::Char, WasmVal::Char(char)) => Val::Char(*char),
        (T::String, WasmVal::String(text)) => Val::String(text.clone()),
        (T::List(list), WasmVal::List(items)) => match list.ty() {
            T::U8 => {
                let byte = |item: &WasmVal| match item {
                    WasmVal::U8(byte) => Some(*byte),
                    _ => None,
                };
                Val::Bytes(items.iter().map(byte).collect::<Option<_>>()?)
            }
            ty => {
                let items = items.iter().map(|item| lift(store, &ty, item));
                Val::List(items.collect::<Option<_>>()?)
            }
        },
        (T::Record(record), WasmVal::Record(fields)) => {
            let fields = record.fields().zip(fields);
            let fields = fields.map(|(field, (_, val))| lift(store, &field.ty, val));
            Val::Record(fields.collect::<Option<_>>()?)
        }
        (T::Tuple(tuple), WasmVal::Tuple(vals)) => {
            let vals = tuple
                .types()
                .zip(vals)
                .map(|(ty, val)| lift(store, &ty, val));
            Val::Tuple(vals.collect::<Option<_>>()?)
        }
        (T::Variant(variant), WasmVal::Variant(name, val)) => {
            let (index, case) = (0..)
                .zip(variant.cases())
                .find(|(_, case)| case.name == name)?;
            Val::Variant(index, payload(case.ty, val)?)
        }
        (T::Enum(names), WasmVal::Enum(name)) => {
            Val::Enum((0..).zip(names.names()).find(|(_, known)| known == name)?.0)
        }
        (T::Flags(flags), WasmVal::Flags(set)) => {
            let set = flags.names().map(|name| set.iter().any(|set| set == name));
            Val::Flags(set.collect())
        }
        (T::Option(_), WasmVal::Option(None)) => Val::Option(None),
        (T::Option(option), WasmVal::Option(val @ Some(_))) => {
            Val::Option(payload(Some(option.ty()), val)?)
        }
        (T::Result(result), WasmVal::Result(Ok(val))) => {
            Val::Result(Ok(payload(result.ok(), val)?))
        }
        (T::Result(result), WasmVal::Result(Err(val))) => {
            Val::Result(Err(payload(result.err(), val)?))
        }
        (T::Own(_), WasmVal::Resource(resource)) => {
            let resource = resource.try_into_resource_dynamic(store.as_context_mut());
            Val::Own(resource.ok()?.rep())
        }
        (T::Borrow(_), WasmVal::Resource(resource)) => {
            let resource = resource.try_into_resource_dynamic(store.as_context_mut());
            Val::Borrow(resource.ok()?.rep())
        }
        _ => return None,
    })
}

/// A value for the guest; `None` if it is not exactly of this type.
fn lower(store: &mut StoreContextMut<'_, Task>, ty: &types::Type, val: Val) -> Option<WasmVal> {
    use types::Type as T;
    let mut payload = |ty: Option<T>, val: Option<Box<Val>>| match (ty, val) {
        (Some(ty), Some(val)) => Some(Some(Box::new(lower(store, &ty, *val)?))),
        (None, None) => Some(None),
        _ => None,
    };
    Some(match (ty, val) {
        (T::Bool, Val::Bool(bool)) => WasmVal::Bool(bool),
        (T::S8, Val::S8(n)) => WasmVal::S8(n),
        (T::U8, Val::U8(n)) => WasmVal::U8(n),
        (T::S16, Val::S16(n)) => WasmVal::S16(n),
        (T::U16, Val::U16(n)) => WasmVal::U16(n),
        (T::S32, Val::S32(n)) => WasmVal::S32(n),
        (T::U32, Val::U32(n)) => WasmVal::U32(n),
        (T::S64, Val::S64(n)) => WasmVal::S64(n),
        (T::U64, Val::U64(n)) => WasmVal::U64(n),
        (T::Float32, Val::F32(x)) => WasmVal::Float32(canonical_f32(x)),
        (T::Float64, Val::F64(x)) => WasmVal::Float64(canonical_f64(x)),
        (T::Char, Val::Char(char)) => WasmVal::Char(char),
        (T::String, Val::String(text)) => WasmVal::String(text),
        (T::List(list), Val::Bytes(bytes)) if matches!(list.ty(), T::U8) => {
            WasmVal::List(bytes.into_iter().map(WasmVal::U8).collect())
        }
        (T::List(list), Val::List(items)) if !matches!(list.ty(), T::U8) => {
            let ty = list.ty();
            let items = items.into_iter().map(|item| lower(store, &ty, item));
            WasmVal::List(items.collect::<Option<_>>()?)
        }
        (T::Record(record), Val::Record(vals)) if record.fields().len() == vals.len() => {
            let fields = record.fields().zip(vals);
            let fields =
                fields.map(|(field, val)| Some((field.name.into(), lower(store, &field.ty, val)?)));
            WasmVal::Record(fields.collect::<Option<_>>()?)
        }
        (T::Tuple(tuple), Val::Tuple(vals)) if tuple.types().len() == vals.len() => {
            let vals = tuple
                .types()
                .zip(vals)
                .map(|(ty, val)| lower(store, &ty, val));
            WasmVal::Tuple(vals.collect::<Option<_>>()?)
        }
        (T::Variant(variant), Val::Variant(index, val)) => {
            let case = variant.cases().nth(index as usize)?;
            WasmVal::Variant(case.name.into(), payload(case.ty, val)?)
        }
        (T::Enum(names), Val::Enum(index)) => {
            WasmVal::Enum(names.names().nth(index as usize)?.into())
        }
        (T::Flags(flags), Val::Flags(set)) if flags.names().len() == set.len() => {
            let set = flags.names().zip(set).filter(|(_, set)| *set);
            WasmVal::Flags(set.map(|(name, _)| name.into()).collect())
        }
        (T::Option(_), Val::Option(None)) => WasmVal::Option(None),
        (T::Option(option), Val::Option(val @ Some(_))) => {
            WasmVal::Option(payload(Some(option.ty()), val)?)
        }
        (T::Result(result), Val::Result(Ok(val))) => {
            WasmVal::Result(Ok(payload(result.ok(), val)?))
        }
        (T::Result(result), Val::Result(Err(val))) => {
            WasmVal::Result(Err(payload(result.err(), val)?))
        }
        (T::Own(_), Val::Own(handle)) => {
            let resource = ResourceDynamic::new_own(handle, RESOURCE);
            WasmVal::Resource(
                resource
                    .try_into_resource_any(store.as_context_mut())
                    .ok()?,
            )
        }
        _ => return None,
    })
}
