//! The types of imported functions, as Wasmtime's front end gives them, with their layout. Those of exported functions are
//! known from inspection.

use asterism_component::abi::{Cases, Field, Layout, Shape, Signature};
use wasmtime_environ::component::{ComponentTypes, InterfaceType, TypeFuncIndex};

/// A type that hosts do not carry yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} in the signature of a function are not supported")]
pub(crate) struct Unsupported(pub(crate) &'static str);

/// The signature of an imported function.
pub(crate) fn signature(
    types: &ComponentTypes,
    function: TypeFuncIndex,
) -> Result<Signature, Unsupported> {
    let function = &types[function];
    let params = all(types, types[function.params].types.iter().copied())?;
    let result = match &types[function.results].types[..] {
        [] => None,
        [ty] => Some(layout(types, *ty)?),
        _ => return Err(Unsupported("several results")),
    };
    Ok(Signature::new(params, result))
}

fn layout(types: &ComponentTypes, ty: InterfaceType) -> Result<Layout, Unsupported> {
    use InterfaceType as T;
    let boxed = |ty: InterfaceType| layout(types, ty).map(Box::new);
    let cases =
        |payloads: &mut dyn Iterator<Item = Option<InterfaceType>>| -> Result<Cases, Unsupported> {
            let payloads = payloads.map(|ty| ty.map(|ty| layout(types, ty)).transpose());
            Ok(Cases::new(payloads.collect::<Result<Vec<_>, _>>()?))
        };
    Ok(Layout::new(match ty {
        T::Bool => Shape::Bool,
        T::S8 => Shape::S8,
        T::U8 => Shape::U8,
        T::S16 => Shape::S16,
        T::U16 => Shape::U16,
        T::S32 => Shape::S32,
        T::U32 => Shape::U32,
        T::S64 => Shape::S64,
        T::U64 => Shape::U64,
        T::Float32 => Shape::F32,
        T::Float64 => Shape::F64,
        T::Char => Shape::Char,
        T::String => Shape::String,
        T::List(list) => match types[list].element {
            T::U8 => Shape::Bytes,
            element => Shape::List(boxed(element)?),
        },
        T::Map(map) => {
            let entry = [types[map].key, types[map].value];
            Shape::Map(Box::new(Layout::tuple(all(types, entry)?)))
        }
        T::FixedLengthList(list) => match (types[list].element, types[list].size) {
            (T::U8, size) => Shape::FixedBytes(size),
            (element, size) => Shape::FixedList(boxed(element)?, size),
        },
        T::Record(record) => {
            let members = types[record].fields.iter().map(|field| field.ty);
            Shape::Record(Field::place(all(types, members)?))
        }
        T::Tuple(tuple) => {
            let members = types[tuple].types.iter().copied();
            Shape::Tuple(Field::place(all(types, members)?))
        }
        T::Variant(variant) => Shape::Variant(cases(&mut types[variant].cases.values().copied())?),
        T::Option(option) => Shape::Option(cases(&mut [None, Some(types[option].ty)].into_iter())?),
        T::Result(result) => {
            let ty = &types[result];
            Shape::Result(cases(&mut [ty.ok, ty.err].into_iter())?)
        }
        T::Enum(index) => Shape::Enum(cases(&mut types[index].names.iter().map(|_| None))?),
        T::Flags(flags) => Shape::Flags(types[flags].names.len()),
        T::Own(resource) => Shape::Own(resource.as_u32()),
        T::Borrow(resource) => Shape::Borrow(resource.as_u32()),
        T::Future(_) | T::Stream(_) => return Err(Unsupported("streams and futures")),
        T::ErrorContext(_) => return Err(Unsupported("error contexts")),
    }))
}

fn all(
    types: &ComponentTypes,
    members: impl IntoIterator<Item = InterfaceType>,
) -> Result<Vec<Layout>, Unsupported> {
    members.into_iter().map(|ty| layout(types, ty)).collect()
}
