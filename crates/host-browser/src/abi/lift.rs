//! Values out of a guest.

use asterism_component::Val;

use super::Abi;
use crate::{
    flat::{Flat, FlatType},
    halt::Halt,
    layout::{Cases, Field, Layout, Shape},
};

impl Abi<'_> {
    /// Values that the guest left in memory, one after the other.
    pub(crate) fn lift_fields(
        &self,
        fields: &[Field],
        block: (u32, u32),
        address: u32,
    ) -> Result<Vec<Val>, Halt> {
        let bytes = self.read_aligned(address, block.0, block.1, "parameters are")?;
        self.load_fields(fields, &bytes)
    }

    /// A value that the guest left in memory.
    pub(crate) fn lift_at(&self, layout: &Layout, address: u32) -> Result<Val, Halt> {
        let bytes = self.read_aligned(address, layout.size, layout.align, "a result is")?;
        self.load(layout, &bytes)
    }

    fn read_aligned(
        &self,
        address: u32,
        size: u32,
        align: u32,
        what: &str,
    ) -> Result<Vec<u8>, Halt> {
        if !address.is_multiple_of(align) {
            return Err(Halt::abi(format!("{what} not aligned in memory")));
        }
        self.read(address, size)
    }

    fn load_fields(&self, fields: &[Field], bytes: &[u8]) -> Result<Vec<Val>, Halt> {
        fields
            .iter()
            .map(|field| self.load(&field.layout, &bytes[field.offset as usize..]))
            .collect()
    }

    /// A value from `bytes`, which begin with it and are long enough: layouts are consistent.
    fn load(&self, layout: &Layout, bytes: &[u8]) -> Result<Val, Halt> {
        self.count_values(1)?;
        let payload = |cases: &Cases, tag: u32| -> Result<Option<Box<Val>>, Halt> {
            match case(cases, tag)? {
                Some(layout) => Ok(Some(Box::new(
                    self.load(layout, &bytes[cases.payload as usize..])?,
                ))),
                None => Ok(None),
            }
        };
        Ok(match &layout.shape {
            Shape::Bool => Val::Bool(bytes[0] != 0),
            Shape::S8 => Val::S8(i8::from_le_bytes(at(bytes))),
            Shape::U8 => Val::U8(bytes[0]),
            Shape::S16 => Val::S16(i16::from_le_bytes(at(bytes))),
            Shape::U16 => Val::U16(u16::from_le_bytes(at(bytes))),
            Shape::S32 => Val::S32(i32::from_le_bytes(at(bytes))),
            Shape::U32 => Val::U32(u32::from_le_bytes(at(bytes))),
            Shape::S64 => Val::S64(i64::from_le_bytes(at(bytes))),
            Shape::U64 => Val::U64(u64::from_le_bytes(at(bytes))),
            Shape::F32 => Val::F32(f32::from_le_bytes(at(bytes))),
            Shape::F64 => Val::F64(f64::from_le_bytes(at(bytes))),
            Shape::Char => character(u32::from_le_bytes(at(bytes)))?,
            Shape::String | Shape::Bytes | Shape::List(_) => {
                let (address, length) = (
                    u32::from_le_bytes(at(bytes)),
                    u32::from_le_bytes(at(&bytes[4..])),
                );
                self.pointed(&layout.shape, address, length)?
            }
            Shape::Record(fields) => Val::Record(self.load_fields(fields, bytes)?),
            Shape::Tuple(fields) => Val::Tuple(self.load_fields(fields, bytes)?),
            Shape::Variant(cases) => {
                let tag = tag(cases, bytes);
                Val::Variant(tag, payload(cases, tag)?)
            }
            Shape::Enum(cases) => {
                let tag = tag(cases, bytes);
                case(cases, tag)?;
                Val::Enum(tag)
            }
            Shape::Option(cases) => Val::Option(payload(cases, tag(cases, bytes))?),
            Shape::Result(cases) => {
                let tag = tag(cases, bytes);
                let payload = payload(cases, tag)?;
                Val::Result(if tag == 0 { Ok(payload) } else { Err(payload) })
            }
            Shape::Own(ty) => self.lift_own(*ty, u32::from_le_bytes(at(bytes)))?,
            Shape::Borrow(ty) => self.lift_borrow(*ty, u32::from_le_bytes(at(bytes)))?,
            Shape::Flags(count) => Val::Flags(
                (0..*count)
                    .map(|i| bytes[i / 8] >> (i % 8) & 1 == 1)
                    .collect(),
            ),
        })
    }

    /// What a pointer and a length stand for.
    fn pointed(&self, shape: &Shape, address: u32, length: u32) -> Result<Val, Halt> {
        match shape {
            Shape::String => {
                let bytes = self.read(address, length)?;
                Ok(Val::String(
                    String::from_utf8(bytes).map_err(|_| Halt::abi("a string is not UTF-8"))?,
                ))
            }
            Shape::Bytes => Ok(Val::Bytes(self.read(address, length)?)),
            Shape::List(element) => {
                if !address.is_multiple_of(element.align) {
                    return Err(Halt::abi("a list is not aligned in memory"));
                }
                let size = length
                    .checked_mul(element.size)
                    .ok_or_else(|| Halt::abi("a list is longer than the guest's memory"))?;
                let bytes = self.read(address, size)?;
                if element.size == 0 {
                    self.count_values(length as usize)?;
                    return (0..length)
                        .map(|_| self.load(element, &[]))
                        .collect::<Result<_, _>>()
                        .map(Val::List);
                }
                bytes
                    .chunks_exact(element.size as usize)
                    .map(|bytes| self.load(element, bytes))
                    .collect::<Result<_, _>>()
                    .map(Val::List)
            }
            _ => unreachable!("only strings and lists are pointed to"),
        }
    }

    /// A value from core values, which are as many and of the types as its layout says.
    pub(crate) fn lift_flat(
        &self,
        layout: &Layout,
        values: &mut impl Iterator<Item = Flat>,
    ) -> Result<Val, Halt> {
        self.count_values(1)?;
        Ok(match &layout.shape {
            Shape::Bool => Val::Bool(int(values) != 0),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the canonical ABI ignores the upper bits"
            )]
            Shape::S8 => Val::S8(int(values) as i8),
            #[expect(clippy::cast_possible_truncation, reason = "as above")]
            Shape::U8 => Val::U8(int(values) as u8),
            #[expect(clippy::cast_possible_truncation, reason = "as above")]
            Shape::S16 => Val::S16(int(values) as i16),
            #[expect(clippy::cast_possible_truncation, reason = "as above")]
            Shape::U16 => Val::U16(int(values) as u16),
            Shape::S32 => Val::S32(int(values).cast_signed()),
            Shape::U32 => Val::U32(int(values)),
            Shape::S64 => Val::S64(long(values).cast_signed()),
            Shape::U64 => Val::U64(long(values)),
            Shape::F32 => match next(values, FlatType::F32) {
                Flat::F32(value) => Val::F32(value),
                _ => unreachable!("narrowed to f32"),
            },
            Shape::F64 => match next(values, FlatType::F64) {
                Flat::F64(value) => Val::F64(value),
                _ => unreachable!("narrowed to f64"),
            },
            Shape::Char => character(int(values))?,
            Shape::String | Shape::Bytes | Shape::List(_) => {
                let (address, length) = (int(values), int(values));
                self.pointed(&layout.shape, address, length)?
            }
            Shape::Own(ty) => self.lift_own(*ty, int(values))?,
            Shape::Borrow(ty) => self.lift_borrow(*ty, int(values))?,
            Shape::Record(fields) => Val::Record(self.lift_flat_fields(fields, values)?),
            Shape::Tuple(fields) => Val::Tuple(self.lift_flat_fields(fields, values)?),
            Shape::Flags(count) => {
                let words: Vec<u32> = layout.flat.iter().map(|_| int(values)).collect();
                Val::Flags(
                    (0..*count)
                        .map(|i| words[i / 32] >> (i % 32) & 1 == 1)
                        .collect(),
                )
            }
            Shape::Enum(cases) => {
                let tag = int(values);
                case(cases, tag)?;
                Val::Enum(tag)
            }
            Shape::Variant(cases) => {
                let (tag, payload) = self.lift_flat_case(layout, cases, values)?;
                Val::Variant(tag, payload)
            }
            Shape::Option(cases) => Val::Option(self.lift_flat_case(layout, cases, values)?.1),
            Shape::Result(cases) => match self.lift_flat_case(layout, cases, values)? {
                (0, payload) => Val::Result(Ok(payload)),
                (_, payload) => Val::Result(Err(payload)),
            },
        })
    }

    fn lift_flat_fields(
        &self,
        fields: &[Field],
        values: &mut impl Iterator<Item = Flat>,
    ) -> Result<Vec<Val>, Halt> {
        // As a trait object, or types would nest as deeply as layouts do.
        let mut values: &mut dyn Iterator<Item = Flat> = values;
        fields
            .iter()
            .map(|field| self.lift_flat(&field.layout, &mut values))
            .collect()
    }

    fn lift_flat_case(
        &self,
        layout: &Layout,
        cases: &Cases,
        values: &mut impl Iterator<Item = Flat>,
    ) -> Result<(u32, Option<Box<Val>>), Halt> {
        let tag = int(values);
        let slots: Vec<Flat> = layout.flat[1..]
            .iter()
            .map(|ty| next(values, *ty))
            .collect();
        let payload = case(cases, tag)?.map(|case| {
            let mut narrowed = case
                .flat
                .iter()
                .zip(&slots)
                .map(|(ty, slot)| slot.narrow(*ty));
            let narrowed: &mut dyn Iterator<Item = Flat> = &mut narrowed;
            self.lift_flat(case, &mut { narrowed }).map(Box::new)
        });
        Ok((tag, payload.transpose()?))
    }
}

/// The first bytes: layouts are consistent, so they are there.
fn at<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes
        .first_chunk()
        .expect("a value's bytes are as many as its layout says")
}

fn tag(cases: &Cases, bytes: &[u8]) -> u32 {
    match cases.tag {
        1 => u32::from(bytes[0]),
        2 => u32::from(u16::from_le_bytes(at(bytes))),
        _ => u32::from_le_bytes(at(bytes)),
    }
}

fn case(cases: &Cases, tag: u32) -> Result<Option<&Layout>, Halt> {
    match cases.cases.get(tag as usize) {
        Some(case) => Ok(case.as_ref()),
        None => Err(Halt::abi(format!(
            "a value has case {tag} of {}",
            cases.cases.len()
        ))),
    }
}

fn character(code: u32) -> Result<Val, Halt> {
    char::from_u32(code)
        .map(Val::Char)
        .ok_or_else(|| Halt::abi(format!("{code:#x} is no character")))
}

fn next(values: &mut impl Iterator<Item = Flat>, ty: FlatType) -> Flat {
    values
        .next()
        .expect("core values are as many as the layout says")
        .narrow(ty)
}

fn int(values: &mut impl Iterator<Item = Flat>) -> u32 {
    match next(values, FlatType::I32) {
        Flat::I32(value) => value,
        _ => unreachable!("narrowed to i32"),
    }
}

fn long(values: &mut impl Iterator<Item = Flat>) -> u64 {
    match next(values, FlatType::I64) {
        Flat::I64(value) => value,
        _ => unreachable!("narrowed to i64"),
    }
}
