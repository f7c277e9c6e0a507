//! Values into a guest.

use asterism_component::Val;

use super::{Abi, length_of};
use crate::{
    flat::Flat,
    halt::Halt,
    layout::{Cases, Field, Layout, Shape},
};

impl Abi<'_> {
    /// Arguments in a block of their own, which the guest is asked for.
    pub(crate) fn lower_fields(
        &self,
        fields: &[Field],
        block: (u32, u32),
        values: &[Val],
    ) -> Result<u32, Halt> {
        let address = self.allocate(block.1, block.0)?;
        let mut bytes = vec![0; block.0 as usize];
        self.store_fields(fields, values, &mut bytes)?;
        self.write(address, &bytes)?;
        Ok(address)
    }

    /// A value at an address that the guest chose.
    pub(crate) fn lower_at(&self, layout: &Layout, value: &Val, address: u32) -> Result<(), Halt> {
        if !address.is_multiple_of(layout.align) {
            return Err(Halt::abi("room for a result is not aligned in memory"));
        }
        self.view(address, layout.size)?;
        let mut bytes = vec![0; layout.size as usize];
        self.store(layout, value, &mut bytes)?;
        self.write(address, &bytes)
    }

    fn store_fields(&self, fields: &[Field], values: &[Val], bytes: &mut [u8]) -> Result<(), Halt> {
        if fields.len() != values.len() {
            return Err(mismatch());
        }
        for (field, value) in fields.iter().zip(values) {
            self.store(&field.layout, value, &mut bytes[field.offset as usize..])?;
        }
        Ok(())
    }

    fn store(&self, layout: &Layout, value: &Val, bytes: &mut [u8]) -> Result<(), Halt> {
        let mut put = |value: &[u8]| bytes[..value.len()].copy_from_slice(value);
        match (&layout.shape, value) {
            (Shape::Bool, Val::Bool(value)) => put(&[u8::from(*value)]),
            (Shape::S8, Val::S8(value)) => put(&value.to_le_bytes()),
            (Shape::U8, Val::U8(value)) => put(&[*value]),
            (Shape::S16, Val::S16(value)) => put(&value.to_le_bytes()),
            (Shape::U16, Val::U16(value)) => put(&value.to_le_bytes()),
            (Shape::S32, Val::S32(value)) => put(&value.to_le_bytes()),
            (Shape::U32, Val::U32(value)) => put(&value.to_le_bytes()),
            (Shape::S64, Val::S64(value)) => put(&value.to_le_bytes()),
            (Shape::U64, Val::U64(value)) => put(&value.to_le_bytes()),
            (Shape::F32, Val::F32(value)) => put(&value.to_le_bytes()),
            (Shape::F64, Val::F64(value)) => put(&value.to_le_bytes()),
            (Shape::Char, Val::Char(value)) => put(&u32::from(*value).to_le_bytes()),
            (Shape::String | Shape::Bytes | Shape::List(_), value) => {
                let (address, length) = self.place(&layout.shape, value)?;
                put(&address.to_le_bytes());
                bytes[4..8].copy_from_slice(&length.to_le_bytes());
            }
            (Shape::Own(ty), Val::Own(rep)) => put(&self.lower_own(*ty, *rep)?.to_le_bytes()),
            (Shape::Record(fields), Val::Record(values))
            | (Shape::Tuple(fields), Val::Tuple(values)) => {
                self.store_fields(fields, values, bytes)?;
            }
            (Shape::Flags(count), Val::Flags(flags)) if *count == flags.len() => {
                for (i, flag) in flags.iter().enumerate() {
                    bytes[i / 8] |= u8::from(*flag) << (i % 8);
                }
            }
            (
                Shape::Variant(cases)
                | Shape::Option(cases)
                | Shape::Result(cases)
                | Shape::Enum(cases),
                value,
            ) => {
                let (tag, payload) = case(&layout.shape, value).ok_or_else(mismatch)?;
                let tag_bytes = tag.to_le_bytes();
                put(&tag_bytes[..cases.tag as usize]);
                if let Some((layout, value)) = payload_of(cases, tag, payload)? {
                    self.store(layout, value, &mut bytes[cases.payload as usize..])?;
                }
            }
            _ => return Err(mismatch()),
        }
        Ok(())
    }

    /// Puts what is pointed to into guest memory; gives its address and length.
    fn place(&self, shape: &Shape, value: &Val) -> Result<(u32, u32), Halt> {
        match (shape, value) {
            (Shape::String, Val::String(text)) => self.place_bytes(text.as_bytes()),
            (Shape::Bytes, Val::Bytes(bytes)) => self.place_bytes(bytes),
            (Shape::List(element), Val::List(values)) => {
                let length = length_of(values.len())?;
                let size = length_of(values.len().saturating_mul(element.size as usize))?;
                let address = self.allocate(element.align, size)?;
                let mut bytes = vec![0; size as usize];
                for (i, value) in values.iter().enumerate() {
                    self.store(element, value, &mut bytes[i * element.size as usize..])?;
                }
                self.write(address, &bytes)?;
                Ok((address, length))
            }
            _ => Err(mismatch()),
        }
    }

    fn place_bytes(&self, bytes: &[u8]) -> Result<(u32, u32), Halt> {
        let length = length_of(bytes.len())?;
        let address = self.allocate(1, length)?;
        self.write(address, bytes)?;
        Ok((address, length))
    }

    /// A value as core values.
    pub(crate) fn lower_flat(
        &self,
        layout: &Layout,
        value: &Val,
        out: &mut Vec<Flat>,
    ) -> Result<(), Halt> {
        match (&layout.shape, value) {
            (Shape::Bool, Val::Bool(value)) => out.push(Flat::I32(u32::from(*value))),
            (Shape::S8, Val::S8(value)) => out.push(Flat::I32(i32::from(*value).cast_unsigned())),
            (Shape::U8, Val::U8(value)) => out.push(Flat::I32(u32::from(*value))),
            (Shape::S16, Val::S16(value)) => out.push(Flat::I32(i32::from(*value).cast_unsigned())),
            (Shape::U16, Val::U16(value)) => out.push(Flat::I32(u32::from(*value))),
            (Shape::S32, Val::S32(value)) => out.push(Flat::I32(value.cast_unsigned())),
            (Shape::U32, Val::U32(value)) => out.push(Flat::I32(*value)),
            (Shape::S64, Val::S64(value)) => out.push(Flat::I64(value.cast_unsigned())),
            (Shape::U64, Val::U64(value)) => out.push(Flat::I64(*value)),
            (Shape::F32, Val::F32(value)) => out.push(Flat::F32(*value)),
            (Shape::F64, Val::F64(value)) => out.push(Flat::F64(*value)),
            (Shape::Char, Val::Char(value)) => out.push(Flat::I32(u32::from(*value))),
            (Shape::String | Shape::Bytes | Shape::List(_), value) => {
                let (address, length) = self.place(&layout.shape, value)?;
                out.extend([Flat::I32(address), Flat::I32(length)]);
            }
            (Shape::Own(ty), Val::Own(rep)) => out.push(Flat::I32(self.lower_own(*ty, *rep)?)),
            (Shape::Record(fields), Val::Record(values))
            | (Shape::Tuple(fields), Val::Tuple(values)) => {
                if fields.len() != values.len() {
                    return Err(mismatch());
                }
                for (field, value) in fields.iter().zip(values) {
                    self.lower_flat(&field.layout, value, out)?;
                }
            }
            (Shape::Flags(count), Val::Flags(flags)) if *count == flags.len() => {
                let word = |flags: &[bool]| {
                    flags
                        .iter()
                        .rev()
                        .fold(0, |word, flag| word << 1 | u32::from(*flag))
                };
                out.extend(flags.chunks(32).map(|flags| Flat::I32(word(flags))));
            }
            (
                Shape::Variant(cases)
                | Shape::Option(cases)
                | Shape::Result(cases)
                | Shape::Enum(cases),
                value,
            ) => {
                let (tag, payload) = case(&layout.shape, value).ok_or_else(mismatch)?;
                let mut values = Vec::new();
                if let Some((layout, value)) = payload_of(cases, tag, payload)? {
                    self.lower_flat(layout, value, &mut values)?;
                }
                out.push(Flat::I32(tag));
                let slots = layout.flat[1..].iter().enumerate();
                out.extend(slots.map(|(i, ty)| {
                    values
                        .get(i)
                        .map_or_else(|| ty.zero(), |value| value.widen(*ty))
                }));
            }
            _ => return Err(mismatch()),
        }
        Ok(())
    }
}

/// The case of a value and its payload; `None` if it is of another shape.
fn case<'v>(shape: &Shape, value: &'v Val) -> Option<(u32, Option<&'v Val>)> {
    Some(match (shape, value) {
        (Shape::Variant(_), Val::Variant(tag, payload)) => (*tag, payload.as_deref()),
        (Shape::Enum(_), Val::Enum(tag)) => (*tag, None),
        (Shape::Option(_), Val::Option(payload)) => {
            (u32::from(payload.is_some()), payload.as_deref())
        }
        (Shape::Result(_), Val::Result(Ok(payload))) => (0, payload.as_deref()),
        (Shape::Result(_), Val::Result(Err(payload))) => (1, payload.as_deref()),
        _ => return None,
    })
}

fn payload_of<'l, 'v>(
    cases: &'l Cases,
    tag: u32,
    payload: Option<&'v Val>,
) -> Result<Option<(&'l Layout, &'v Val)>, Halt> {
    match (cases.cases.get(tag as usize), payload) {
        (Some(Some(layout)), Some(value)) => Ok(Some((layout, value))),
        (Some(None), None) => Ok(None),
        _ => Err(mismatch()),
    }
}

/// Arguments are checked before a guest is entered: it is a component that declares an interface of the world with types
/// of its own.
pub(crate) fn mismatch() -> Halt {
    Halt::abi("a value is not of the type that is declared")
}
