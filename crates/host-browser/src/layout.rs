//! Component types with their place in memory and in core signatures worked out, once for each component.

use wasmtime_environ::component::{
    ComponentTypes, InterfaceType, TypeFuncIndex, TypeResourceTableIndex,
};

use crate::flat::FlatType;

/// Most core parameters before they go through memory.
pub(crate) const FLAT_PARAMS_MAX: usize = 16;
/// Most core results before they go through memory.
pub(crate) const FLAT_RESULTS_MAX: usize = 1;

/// A type with its layout.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) shape: Shape,
    pub(crate) size: u32,
    pub(crate) align: u32,
    /// Core values that it takes when passed by value.
    pub(crate) flat: Box<[FlatType]>,
}

/// What values of a type look like.
#[derive(Debug)]
pub(crate) enum Shape {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    /// A list of bytes: copied at once.
    Bytes,
    List(Box<Layout>),
    Record(Box<[Field]>),
    Tuple(Box<[Field]>),
    Variant(Cases),
    Option(Cases),
    Result(Cases),
    Enum(Cases),
    Flags(usize),
    /// An owned handle.
    Own(TypeResourceTableIndex),
    /// A borrowed handle.
    Borrow(TypeResourceTableIndex),
}

/// A member of a record or tuple.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) offset: u32,
    pub(crate) layout: Layout,
}

/// The cases of a variant, and of what is like one.
#[derive(Debug)]
pub(crate) struct Cases {
    /// Bytes of the discriminant: 1, 2 or 4.
    pub(crate) tag: u32,
    /// Where payloads begin.
    pub(crate) payload: u32,
    pub(crate) cases: Box<[Option<Layout>]>,
}

/// A function's types.
#[derive(Debug)]
pub(crate) struct Signature {
    /// Parameters, at their offsets should they go through memory.
    pub(crate) params: Box<[Field]>,
    /// Size and alignment of the parameters in memory.
    pub(crate) block: (u32, u32),
    pub(crate) flat_params: Box<[FlatType]>,
    pub(crate) result: Option<Layout>,
}

impl Signature {
    pub(crate) fn of(types: &ComponentTypes, function: TypeFuncIndex) -> Result<Self, Unsupported> {
        let function = &types[function];
        let params = &types[function.params];
        let fields = fields(types, params.types.iter().copied())?;
        let flat_params = fields
            .iter()
            .flat_map(|field| field.layout.flat.iter().copied())
            .collect();
        let result = match &types[function.results].types[..] {
            [] => None,
            [ty] => Some(Layout::of(types, *ty)?),
            _ => return Err(Unsupported("several results")),
        };
        Ok(Self {
            params: fields,
            block: (params.abi.size32, params.abi.align32),
            flat_params,
            result,
        })
    }

    /// Do parameters go through memory?
    pub(crate) fn params_in_memory(&self) -> bool {
        self.flat_params.len() > FLAT_PARAMS_MAX
    }

    /// The result, if it goes through memory.
    pub(crate) fn result_in_memory(&self) -> Option<&Layout> {
        self.result
            .as_ref()
            .filter(|result| result.flat.len() > FLAT_RESULTS_MAX)
    }
}

/// A type that hosts do not carry yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} in the signature of a function are not supported")]
pub(crate) struct Unsupported(pub(crate) &'static str);

impl Layout {
    pub(crate) fn of(types: &ComponentTypes, ty: InterfaceType) -> Result<Self, Unsupported> {
        use InterfaceType as T;
        let shape = match ty {
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
                element => Shape::List(Box::new(Self::of(types, element)?)),
            },
            T::Record(record) => Shape::Record(fields(
                types,
                types[record].fields.iter().map(|field| field.ty),
            )?),
            T::Tuple(tuple) => Shape::Tuple(fields(types, types[tuple].types.iter().copied())?),
            T::Variant(variant) => {
                let ty = &types[variant];
                Shape::Variant(cases(
                    types,
                    ty.info.size.into(),
                    ty.info.payload_offset32,
                    ty.cases.values().copied(),
                )?)
            }
            T::Option(option) => {
                let ty = &types[option];
                Shape::Option(cases(
                    types,
                    ty.info.size.into(),
                    ty.info.payload_offset32,
                    [None, Some(ty.ty)],
                )?)
            }
            T::Result(result) => {
                let ty = &types[result];
                Shape::Result(cases(
                    types,
                    ty.info.size.into(),
                    ty.info.payload_offset32,
                    [ty.ok, ty.err],
                )?)
            }
            T::Enum(index) => {
                let ty = &types[index];
                Shape::Enum(cases(
                    types,
                    ty.info.size.into(),
                    ty.info.payload_offset32,
                    ty.names.iter().map(|_| None),
                )?)
            }
            T::Flags(flags) => Shape::Flags(types[flags].names.len()),
            T::Own(resource) => Shape::Own(resource),
            T::Borrow(resource) => Shape::Borrow(resource),
            T::Map(_) => return Err(Unsupported("maps")),
            T::Future(_) | T::Stream(_) => return Err(Unsupported("streams and futures")),
            T::ErrorContext(_) => return Err(Unsupported("error contexts")),
            T::FixedLengthList(_) => return Err(Unsupported("lists of fixed length")),
        };
        let abi = types.canonical_abi(&ty);
        Ok(Self {
            flat: shape.flat(),
            shape,
            size: abi.size32,
            align: abi.align32,
        })
    }
}

impl Shape {
    fn flat(&self) -> Box<[FlatType]> {
        use FlatType as F;
        match self {
            Self::Bool
            | Self::S8
            | Self::U8
            | Self::S16
            | Self::U16
            | Self::S32
            | Self::U32
            | Self::Char
            | Self::Own(_)
            | Self::Borrow(_) => [F::I32].into(),
            Self::S64 | Self::U64 => [F::I64].into(),
            Self::F32 => [F::F32].into(),
            Self::F64 => [F::F64].into(),
            Self::String | Self::Bytes | Self::List(_) => [F::I32, F::I32].into(),
            Self::Record(fields) | Self::Tuple(fields) => fields
                .iter()
                .flat_map(|field| field.layout.flat.iter().copied())
                .collect(),
            Self::Flags(count) => std::iter::repeat_n(F::I32, count.div_ceil(32)).collect(),
            Self::Variant(cases)
            | Self::Option(cases)
            | Self::Result(cases)
            | Self::Enum(cases) => {
                let mut flat = vec![F::I32];
                for case in cases.cases.iter().flatten() {
                    for (i, ty) in case.flat.iter().enumerate() {
                        match flat.get_mut(i + 1) {
                            Some(slot) => *slot = slot.join(*ty),
                            None => flat.push(*ty),
                        }
                    }
                }
                flat.into()
            }
        }
    }
}

fn fields(
    types: &ComponentTypes,
    members: impl IntoIterator<Item = InterfaceType>,
) -> Result<Box<[Field]>, Unsupported> {
    let mut end = 0;
    let field = |ty: InterfaceType| {
        let offset = types.canonical_abi(&ty).next_field32(&mut end);
        Ok(Field {
            offset,
            layout: Layout::of(types, ty)?,
        })
    };
    members.into_iter().map(field).collect()
}

fn cases(
    types: &ComponentTypes,
    tag: u32,
    payload: u32,
    payloads: impl IntoIterator<Item = Option<InterfaceType>>,
) -> Result<Cases, Unsupported> {
    let case = |ty: Option<InterfaceType>| ty.map(|ty| Layout::of(types, ty)).transpose();
    Ok(Cases {
        tag,
        payload,
        cases: payloads.into_iter().map(case).collect::<Result<_, _>>()?,
    })
}
