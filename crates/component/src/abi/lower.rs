//! Values into a guest.

use super::{
    Broken, Encoding, STRING_BYTES_MAX, Target, UTF16_TAG, canonical_f32, canonical_f64,
    flat::Flat,
    layout::{Cases, Field, Layout, Shape, Signature},
};
use crate::Val;

/// Lowers values into one guest.
#[derive(Debug)]
pub struct Lowering<'t, T> {
    target: &'t mut T,
}

type Lowered<R, T> = Result<R, <T as Target>::Error>;

impl<'t, T: Target> Lowering<'t, T> {
    /// Lowers into `target`.
    pub fn new(target: &'t mut T) -> Self {
        Self { target }
    }

    /// Arguments as the core values that the function is called with.
    ///
    /// # Errors
    /// The guest could not take them.
    pub fn arguments(&mut self, signature: &Signature, values: &[Val]) -> Lowered<Vec<Flat>, T> {
        let Some(flat) = &signature.flat_params else {
            let (size, align) = signature.block;
            let address = self.allocate(align, size)?;
            let mut bytes = vec![0; size as usize];
            self.store_fields(&signature.params, values, &mut bytes)?;
            self.target.write(address, &bytes)?;
            return Ok(vec![Flat::I32(address)]);
        };
        if signature.params.len() != values.len() {
            return Err(mismatch());
        }
        let mut out = Vec::with_capacity(flat.len());
        for (field, value) in signature.params.iter().zip(values) {
            self.flat(&field.layout, value, &mut out)?;
        }
        Ok(out)
    }

    /// A value at an address that the guest chose.
    ///
    /// # Errors
    /// The guest could not take it.
    pub fn at(&mut self, layout: &Layout, value: &Val, address: u32) -> Lowered<(), T> {
        self.check(address, layout.align, layout.size, "room for a result")?;
        let mut bytes = vec![0; layout.size as usize];
        self.store(layout, value, &mut bytes)?;
        self.target.write(address, &bytes)
    }

    fn check(&mut self, address: u32, align: u32, size: u32, what: &str) -> Lowered<(), T> {
        if !address.is_multiple_of(align) {
            return Err(Broken::abi(format!("{what} is not aligned in memory")).into());
        }
        if u64::from(address) + u64::from(size) > self.target.size() {
            return Err(Broken::abi(format!("{what} leads out of the guest's memory")).into());
        }
        Ok(())
    }

    fn allocate(&mut self, align: u32, size: u32) -> Lowered<u32, T> {
        self.reallocate((0, 0), align, size)
    }

    fn reallocate(&mut self, old: (u32, u32), align: u32, size: u32) -> Lowered<u32, T> {
        let address = self.target.reallocate(old, align, size)?;
        self.check(address, align, size, "what the guest's allocator gave")?;
        Ok(address)
    }

    fn store_fields(
        &mut self,
        fields: &[Field],
        values: &[Val],
        bytes: &mut [u8],
    ) -> Lowered<(), T> {
        if fields.len() != values.len() {
            return Err(mismatch());
        }
        for (field, value) in fields.iter().zip(values) {
            self.store(&field.layout, value, &mut bytes[field.offset as usize..])?;
        }
        Ok(())
    }

    /// A value into `bytes`, which are long enough: layouts are consistent.
    fn store(&mut self, layout: &Layout, value: &Val, bytes: &mut [u8]) -> Lowered<(), T> {
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
            (Shape::F32, Val::F32(value)) => put(&canonical_f32(*value).to_le_bytes()),
            (Shape::F64, Val::F64(value)) => put(&canonical_f64(*value).to_le_bytes()),
            (Shape::Char, Val::Char(value)) => put(&u32::from(*value).to_le_bytes()),
            (Shape::String | Shape::Bytes | Shape::List(_) | Shape::Map(_), value) => {
                let (address, length) = self.place(&layout.shape, value)?;
                put(&address.to_le_bytes());
                bytes[4..8].copy_from_slice(&length.to_le_bytes());
            }
            (Shape::FixedBytes(length), Val::Bytes(value)) if value.len() == *length as usize => {
                put(value);
            }
            (Shape::FixedList(element, length), Val::List(values))
                if values.len() == *length as usize =>
            {
                for (i, value) in values.iter().enumerate() {
                    self.store(element, value, &mut bytes[i * element.size as usize..])?;
                }
            }
            (Shape::Own(table), Val::Own(rep)) => {
                put(&self.target.lower_own(*table, *rep)?.to_le_bytes());
            }
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
                put(&tag.to_le_bytes()[..cases.tag as usize]);
                if let Some((layout, value)) = payload_of(cases, tag, payload)? {
                    self.store(layout, value, &mut bytes[cases.payload as usize..])?;
                }
            }
            _ => return Err(mismatch()),
        }
        Ok(())
    }

    /// Puts what is pointed to into guest memory; gives its address and length.
    fn place(&mut self, shape: &Shape, value: &Val) -> Lowered<(u32, u32), T> {
        match (shape, value) {
            (Shape::String, Val::String(text)) => self.place_string(text),
            (Shape::Bytes, Val::Bytes(bytes)) => {
                let length = length_of(bytes.len())?;
                let address = self.allocate(1, length)?;
                self.target.write(address, bytes)?;
                Ok((address, length))
            }
            (Shape::List(element), Val::List(values)) => {
                self.place_all(element, values.len(), |this, bytes| {
                    for (i, value) in values.iter().enumerate() {
                        this.store(element, value, &mut bytes[i * element.size as usize..])?;
                    }
                    Ok(())
                })
            }
            (Shape::Map(entry), Val::Map(pairs)) => {
                let Shape::Tuple(fields) = &entry.shape else {
                    return Err(mismatch());
                };
                let [key, value] = &fields[..] else {
                    return Err(mismatch());
                };
                self.place_all(entry, pairs.len(), |this, bytes| {
                    for (i, pair) in pairs.iter().enumerate() {
                        let bytes = &mut bytes[i * entry.size as usize..];
                        this.store(&key.layout, &pair.0, &mut bytes[key.offset as usize..])?;
                        this.store(&value.layout, &pair.1, &mut bytes[value.offset as usize..])?;
                    }
                    Ok(())
                })
            }
            _ => Err(mismatch()),
        }
    }

    /// Room for `count` elements, filled by `fill`.
    fn place_all(
        &mut self,
        element: &Layout,
        count: usize,
        fill: impl FnOnce(&mut Self, &mut [u8]) -> Lowered<(), T>,
    ) -> Lowered<(u32, u32), T> {
        let length = length_of(count)?;
        let size = length_of(count.saturating_mul(element.size as usize))?;
        let address = self.allocate(element.align, size)?;
        let mut bytes = vec![0; size as usize];
        fill(self, &mut bytes)?;
        self.target.write(address, &bytes)?;
        Ok((address, length))
    }

    /// As Wasmtime does it: too much is asked for where the length is not known before, and given back.
    fn place_string(&mut self, text: &str) -> Lowered<(u32, u32), T> {
        let bytes = text.as_bytes();
        let length = string_length(bytes.len())?;
        match self.target.encoding() {
            Encoding::Utf8 => {
                let address = self.allocate(1, length)?;
                self.target.write(address, bytes)?;
                Ok((address, length))
            }
            Encoding::Utf16 => {
                let most = string_length(bytes.len().saturating_mul(2))?;
                let address = self.allocate(2, most)?;
                self.place_utf16(text, address, most)
            }
            Encoding::Latin1OrUtf16 => {
                let mut address = self.allocate(2, length)?;
                // Latin-1 is the first 256 characters of Unicode.
                let latin1: Vec<u8> = text
                    .chars()
                    .map_while(|char| u8::try_from(u32::from(char)).ok())
                    .collect();
                self.target.write(address, &latin1)?;
                if latin1.len() < text.chars().count() {
                    let most = string_length(bytes.len().saturating_mul(2))?;
                    address = self.reallocate((address, length), 2, most)?;
                    let (address, units) = self.place_utf16(text, address, most)?;
                    return Ok((address, units | UTF16_TAG));
                }
                let units = length_of(latin1.len())?;
                if units < length {
                    address = self.reallocate((address, length), 2, units)?;
                }
                Ok((address, units))
            }
        }
    }

    /// UTF-16 into a block of `most` bytes, which then is cut to what it takes.
    fn place_utf16(&mut self, text: &str, address: u32, most: u32) -> Lowered<(u32, u32), T> {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.target.write(address, &bytes)?;
        let size = length_of(bytes.len())?;
        let address = if size < most {
            self.reallocate((address, most), 2, size)?
        } else {
            address
        };
        Ok((address, size / 2))
    }

    /// A value as core values.
    ///
    /// # Errors
    /// The guest could not take it.
    pub fn flat(&mut self, layout: &Layout, value: &Val, out: &mut Vec<Flat>) -> Lowered<(), T> {
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
            (Shape::F32, Val::F32(value)) => out.push(Flat::F32(canonical_f32(*value))),
            (Shape::F64, Val::F64(value)) => out.push(Flat::F64(canonical_f64(*value))),
            (Shape::Char, Val::Char(value)) => out.push(Flat::I32(u32::from(*value))),
            (Shape::String | Shape::Bytes | Shape::List(_) | Shape::Map(_), value) => {
                let (address, length) = self.place(&layout.shape, value)?;
                out.extend([Flat::I32(address), Flat::I32(length)]);
            }
            (Shape::FixedBytes(length), Val::Bytes(value)) if value.len() == *length as usize => {
                out.extend(value.iter().map(|byte| Flat::I32((*byte).into())));
            }
            (Shape::FixedList(element, length), Val::List(values))
                if values.len() == *length as usize =>
            {
                for value in values {
                    self.flat(element, value, out)?;
                }
            }
            (Shape::Own(table), Val::Own(rep)) => {
                out.push(Flat::I32(self.target.lower_own(*table, *rep)?));
            }
            (Shape::Record(fields), Val::Record(values))
            | (Shape::Tuple(fields), Val::Tuple(values)) => {
                if fields.len() != values.len() {
                    return Err(mismatch());
                }
                for (field, value) in fields.iter().zip(values) {
                    self.flat(&field.layout, value, out)?;
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
                let slots = layout.flat.as_deref().ok_or_else(mismatch)?;
                let (tag, payload) = case(&layout.shape, value).ok_or_else(mismatch)?;
                let mut values = Vec::new();
                if let Some((layout, value)) = payload_of(cases, tag, payload)? {
                    self.flat(layout, value, &mut values)?;
                }
                out.push(Flat::I32(tag));
                let slots = slots[1..].iter().enumerate();
                out.extend(slots.map(|(i, ty)| {
                    values
                        .get(i)
                        .map_or_else(|| ty.zero(), |value| value.cast(*ty))
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

fn payload_of<'l, 'v, E: From<Broken>>(
    cases: &'l Cases,
    tag: u32,
    payload: Option<&'v Val>,
) -> Result<Option<(&'l Layout, &'v Val)>, E> {
    match (cases.cases.get(tag as usize), payload) {
        (Some(Some(layout)), Some(value)) => Ok(Some((layout, value))),
        (Some(None), None) => Ok(None),
        _ => Err(mismatch()),
    }
}

fn length_of<E: From<Broken>>(length: usize) -> Result<u32, E> {
    u32::try_from(length)
        .map_err(|_| Broken::abi("a value is longer than wasm32 can address").into())
}

fn string_length<E: From<Broken>>(bytes: usize) -> Result<u32, E> {
    if bytes > STRING_BYTES_MAX {
        return Err(Broken::abi("a string is longer than the canonical ABI allows").into());
    }
    length_of(bytes)
}

/// Arguments are checked before a guest is entered: it is a component that declares an interface of the world with types
/// of its own.
fn mismatch<E: From<Broken>>() -> E {
    Broken::abi("a value is not of the type that is declared").into()
}
