//! Types with their place in memory and among core values worked out, once for each function.

use super::flat::FlatType;
use crate::{Function, Type};

/// Most core parameters before they go through memory.
pub const FLAT_PARAMS_MAX: usize = 16;
/// Most core results before they go through memory.
pub const FLAT_RESULTS_MAX: usize = 1;

/// A type with its layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// What its values look like.
    pub shape: Shape,
    /// Bytes that a value takes in memory.
    pub size: u32,
    /// What its address is a multiple of.
    pub align: u32,
    /// Core values that it takes when passed by value; `None` where those are more than ever pass.
    pub flat: Option<Box<[FlatType]>>,
}

/// What values of a type look like.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are WIT's")]
pub enum Shape {
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
    /// A list of these pairs.
    Map(Box<Layout>),
    /// So many bytes where it stands.
    FixedBytes(u32),
    /// So many values where it stands.
    FixedList(Box<Layout>, u32),
    Record(Box<[Field]>),
    Tuple(Box<[Field]>),
    Variant(Cases),
    Option(Cases),
    Result(Cases),
    Enum(Cases),
    /// With so many names.
    Flags(usize),
    /// An owned handle, of the resources that the host knows by this number.
    Own(u32),
    /// A borrowed handle.
    Borrow(u32),
}

/// A member of a record or tuple.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Where it begins.
    pub offset: u32,
    /// Its type.
    pub layout: Layout,
}

/// The cases of a variant, and of what is like one.
#[derive(Clone, Debug, PartialEq)]
pub struct Cases {
    /// Bytes of the discriminant: 1, 2 or 4.
    pub tag: u32,
    /// Where payloads begin.
    pub payload: u32,
    /// The payload of each case.
    pub cases: Box<[Option<Layout>]>,
}

/// A function's types.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Parameters, at their offsets should they go through memory.
    pub params: Box<[Field]>,
    /// Size and alignment of the parameters in memory.
    pub block: (u32, u32),
    /// Core parameters; `None` where they go through memory.
    pub flat_params: Option<Box<[FlatType]>>,
    /// The result.
    pub result: Option<Layout>,
}

impl Signature {
    /// The signature of an exported function.
    #[must_use]
    pub fn of(function: &Function) -> Self {
        let params = function.params.iter().map(|(_, ty)| Layout::of(ty));
        Self::new(params, function.result.as_ref().map(Layout::of))
    }

    /// A signature of these types.
    #[must_use]
    pub fn new(params: impl IntoIterator<Item = Layout>, result: Option<Layout>) -> Self {
        let (params, size, align) = fields(params);
        Self {
            flat_params: flat_of(&params),
            params,
            block: (size, align),
            result,
        }
    }

    /// The result, if it goes through memory.
    #[must_use]
    pub fn result_in_memory(&self) -> Option<&Layout> {
        let in_memory = |result: &&Layout| {
            result
                .flat
                .as_ref()
                .is_none_or(|flat| flat.len() > FLAT_RESULTS_MAX)
        };
        self.result.as_ref().filter(in_memory)
    }
}

impl Layout {
    /// The layout of a type.
    #[must_use]
    pub fn of(ty: &Type) -> Self {
        let of = |ty: &Type| Box::new(Self::of(ty));
        let payload = |ty: Option<&Type>| ty.map(Self::of);
        Self::new(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 => Shape::S8,
            Type::U8 => Shape::U8,
            Type::S16 => Shape::S16,
            Type::U16 => Shape::U16,
            Type::S32 => Shape::S32,
            Type::U32 => Shape::U32,
            Type::S64 => Shape::S64,
            Type::U64 => Shape::U64,
            Type::F32 => Shape::F32,
            Type::F64 => Shape::F64,
            Type::Char => Shape::Char,
            Type::String => Shape::String,
            Type::List(element) if **element == Type::U8 => Shape::Bytes,
            Type::List(element) => Shape::List(of(element)),
            Type::FixedList(element, length) if **element == Type::U8 => Shape::FixedBytes(*length),
            Type::FixedList(element, length) => Shape::FixedList(of(element), *length),
            Type::Map(key, value) => {
                Shape::Map(Box::new(Self::tuple([key, value].map(|ty| Self::of(ty)))))
            }
            Type::Record(members) => {
                Shape::Record(Field::place(members.iter().map(|(_, ty)| Self::of(ty))))
            }
            Type::Tuple(members) => Shape::Tuple(Field::place(members.iter().map(Self::of))),
            Type::Variant(cases) => {
                Shape::Variant(Cases::new(cases.iter().map(|(_, ty)| payload(ty.as_ref()))))
            }
            Type::Enum(names) => Shape::Enum(Cases::new(names.iter().map(|_| None))),
            Type::Option(inner) => Shape::Option(Cases::new([None, Some(Self::of(inner))])),
            Type::Result { ok, err } => Shape::Result(Cases::new([
                payload(ok.as_deref()),
                payload(err.as_deref()),
            ])),
            Type::Flags(names) => Shape::Flags(names.len()),
        })
    }

    /// The layout of values that look like this.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let (size, align) = shape.size_and_align();
        Self {
            flat: shape.flat(),
            shape,
            size,
            align,
        }
    }

    /// A tuple of these.
    #[must_use]
    pub fn tuple(members: impl IntoIterator<Item = Self>) -> Self {
        Self::new(Shape::Tuple(Field::place(members)))
    }
}

impl Field {
    /// Members one after the other, each aligned.
    #[must_use]
    pub fn place(members: impl IntoIterator<Item = Layout>) -> Box<[Self]> {
        fields(members).0
    }
}

impl Cases {
    /// Cases with these payloads.
    #[must_use]
    pub fn new(cases: impl IntoIterator<Item = Option<Layout>>) -> Self {
        let cases: Box<[_]> = cases.into_iter().collect();
        let tag = match cases.len() {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        let align = cases.iter().flatten().map(|case| case.align).max();
        Self {
            tag,
            payload: tag.next_multiple_of(align.unwrap_or(1)),
            cases,
        }
    }

    fn size_and_align(&self) -> (u32, u32) {
        let payloads = || self.cases.iter().flatten();
        let align = payloads()
            .map(|case| case.align)
            .max()
            .unwrap_or(1)
            .max(self.tag);
        let size = payloads().map(|case| case.size).max().unwrap_or(0);
        ((self.payload + size).next_multiple_of(align), align)
    }
}

impl Shape {
    fn size_and_align(&self) -> (u32, u32) {
        match self {
            Self::Bool | Self::S8 | Self::U8 => (1, 1),
            Self::S16 | Self::U16 => (2, 2),
            Self::S32 | Self::U32 | Self::F32 | Self::Char | Self::Own(_) | Self::Borrow(_) => {
                (4, 4)
            }
            Self::S64 | Self::U64 | Self::F64 => (8, 8),
            Self::String | Self::Bytes | Self::List(_) | Self::Map(_) => (8, 4),
            Self::FixedBytes(length) => (*length, 1),
            // Within u32: inspection bounds what types are when written out.
            Self::FixedList(element, length) => {
                (element.size.saturating_mul(*length), element.align)
            }
            Self::Record(fields) | Self::Tuple(fields) => {
                let align = fields
                    .iter()
                    .map(|field| field.layout.align)
                    .max()
                    .unwrap_or(1);
                let end = fields
                    .last()
                    .map_or(0, |field| field.offset.saturating_add(field.layout.size));
                (end.next_multiple_of(align), align)
            }
            Self::Variant(cases)
            | Self::Option(cases)
            | Self::Result(cases)
            | Self::Enum(cases) => cases.size_and_align(),
            Self::Flags(0) => (0, 1),
            Self::Flags(1..=8) => (1, 1),
            Self::Flags(9..=16) => (2, 2),
            Self::Flags(count) => (u32::try_from(count.div_ceil(32) * 4).unwrap_or(u32::MAX), 4),
        }
    }

    fn flat(&self) -> Option<Box<[FlatType]>> {
        use FlatType as F;
        Some(match self {
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
            Self::String | Self::Bytes | Self::List(_) | Self::Map(_) => [F::I32, F::I32].into(),
            Self::FixedBytes(length) => repeat(&[F::I32], *length)?,
            Self::FixedList(element, length) => repeat(element.flat.as_deref()?, *length)?,
            Self::Record(fields) | Self::Tuple(fields) => flat_of(fields)?,
            Self::Flags(count) => repeat(&[F::I32], u32::try_from(count.div_ceil(32)).ok()?)?,
            Self::Variant(cases)
            | Self::Option(cases)
            | Self::Result(cases)
            | Self::Enum(cases) => {
                let mut flat = vec![F::I32];
                for case in cases.cases.iter().flatten() {
                    for (i, ty) in case.flat.as_deref()?.iter().enumerate() {
                        match flat.get_mut(i + 1) {
                            Some(slot) => *slot = slot.join(*ty),
                            None => flat.push(*ty),
                        }
                    }
                }
                bounded(flat)?
            }
        })
    }
}

/// Members one after the other, each aligned; with the size and alignment of all.
fn fields(members: impl IntoIterator<Item = Layout>) -> (Box<[Field]>, u32, u32) {
    let (mut end, mut align) = (0_u32, 1);
    let place = |layout: Layout| {
        let offset = end.next_multiple_of(layout.align);
        end = offset.saturating_add(layout.size);
        align = align.max(layout.align);
        Field { offset, layout }
    };
    let fields = members.into_iter().map(place).collect();
    (fields, end.next_multiple_of(align), align)
}

fn flat_of(fields: &[Field]) -> Option<Box<[FlatType]>> {
    let mut flat = Vec::new();
    for field in fields {
        flat.extend_from_slice(field.layout.flat.as_deref()?);
        if flat.len() > FLAT_PARAMS_MAX {
            return None;
        }
    }
    bounded(flat)
}

fn repeat(flat: &[FlatType], times: u32) -> Option<Box<[FlatType]>> {
    let count = (flat.len() as u64).checked_mul(times.into())?;
    (count <= FLAT_PARAMS_MAX as u64).then(|| flat.repeat(times as usize).into())
}

fn bounded(flat: Vec<FlatType>) -> Option<Box<[FlatType]>> {
    (flat.len() <= FLAT_PARAMS_MAX).then(|| flat.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ty: &Type, size: u32, align: u32, flat: Option<usize>) {
        let layout = Layout::of(ty);
        assert_eq!((layout.size, layout.align), (size, align), "{ty}");
        assert_eq!(layout.flat.as_ref().map(|flat| flat.len()), flat, "{ty}");
    }

    #[test]
    fn places_are_those_of_the_canonical_abi() {
        let names = |count: usize| (0..count).map(|i| format!("n{i}")).collect::<Vec<_>>();
        let list = |ty| Type::List(Box::new(ty));
        check(&Type::Char, 4, 4, Some(1));
        check(&Type::String, 8, 4, Some(2));
        check(&list(Type::U64), 8, 4, Some(2));
        check(
            &Type::Tuple(vec![Type::U8, Type::U64, Type::U16]),
            24,
            8,
            Some(3),
        );
        check(&Type::Option(Box::new(Type::U64)), 16, 8, Some(2));
        check(&Type::Enum(names(256)), 1, 1, Some(1));
        check(&Type::Enum(names(257)), 2, 2, Some(1));
        check(&Type::Enum(names(65_537)), 4, 4, Some(1));
        check(&Type::Flags(names(8)), 1, 1, Some(1));
        check(&Type::Flags(names(9)), 2, 2, Some(1));
        check(&Type::Flags(names(32)), 4, 4, Some(1));
        check(&Type::Flags(names(33)), 8, 4, Some(2));
        let result = Type::Result {
            ok: Some(Box::new(Type::U8)),
            err: Some(Box::new(Type::String)),
        };
        check(&result, 12, 4, Some(3));
        check(
            &Type::Map(Box::new(Type::String), Box::new(Type::U8)),
            8,
            4,
            Some(2),
        );
        check(&Type::FixedList(Box::new(Type::U16), 5), 10, 2, Some(5));
        check(&Type::FixedList(Box::new(Type::U8), 17), 17, 1, None);
        check(&Type::Tuple(vec![Type::U8; 17]), 17, 1, None);
    }
}
