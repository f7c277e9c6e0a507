//! Values out of a guest.

use std::cell::Cell;

use asterism_protocol::TrapKind;

use super::{
    Broken, Encoding, HANDED_BYTES_MAX, Source, UTF16_TAG, VALUES_MAX, canonical_f32,
    canonical_f64,
    flat::{Flat, FlatType},
    layout::{Cases, Field, Layout, Shape},
};
use crate::Val;

/// Lifts the values of one hand-over, and counts them.
#[derive(Debug)]
pub struct Lifting<'s, S> {
    source: &'s S,
    values_left: Cell<usize>,
    bytes_left: Cell<usize>,
}

type Found<T> = Result<T, Broken>;
type Lifted<T, S> = Result<T, <S as Source>::Error>;

impl<'s, S: Source> Lifting<'s, S> {
    /// Lifts out of `source`.
    pub fn new(source: &'s S) -> Self {
        Self {
            source,
            values_left: Cell::new(VALUES_MAX),
            bytes_left: Cell::new(HANDED_BYTES_MAX),
        }
    }

    /// Values that the guest left in memory, one after the other; `block` is their size and alignment.
    ///
    /// # Errors
    /// They are none, or too much.
    pub fn fields(&self, fields: &[Field], block: (u32, u32), address: u32) -> Lifted<Vec<Val>, S> {
        let bytes = self.block(address, block.0, block.1, "parameters are")?;
        self.load_fields(fields, &bytes)
    }

    /// A value that the guest left in memory.
    ///
    /// # Errors
    /// It is none, or too much.
    pub fn at(&self, layout: &Layout, address: u32) -> Lifted<Val, S> {
        let bytes = self.block(address, layout.size, layout.align, "a result is")?;
        self.load(layout, &bytes)
    }

    fn block(
        &self,
        address: u32,
        size: u32,
        align: u32,
        what: &str,
    ) -> Found<std::borrow::Cow<'s, [u8]>> {
        if !address.is_multiple_of(align) {
            return Err(Broken::abi(format!("{what} not aligned in memory")));
        }
        self.source
            .read(address, size)
            .ok_or_else(|| Broken::abi("a pointer leads out of the guest's memory"))
    }

    /// Counts what is handed over. Values that are there already, such as the elements of a list, are counted one by one
    /// as they are lifted; `expect` only says early that there are too many.
    fn count(&self, values: usize) -> Found<()> {
        self.expect(values)?;
        self.values_left.set(self.values_left.get() - values);
        Ok(())
    }

    fn expect(&self, values: usize) -> Found<()> {
        if values > self.values_left.get() {
            return Err(too_large(format!(
                "more than {VALUES_MAX} values were handed over"
            )));
        }
        Ok(())
    }

    fn count_bytes(&self, bytes: u32) -> Found<()> {
        let left = self.bytes_left.get().checked_sub(bytes as usize);
        let left = left.ok_or_else(|| {
            too_large(format!(
                "more than {HANDED_BYTES_MAX} bytes of strings were handed over"
            ))
        })?;
        self.bytes_left.set(left);
        Ok(())
    }

    fn load_fields(&self, fields: &[Field], bytes: &[u8]) -> Lifted<Vec<Val>, S> {
        fields
            .iter()
            .map(|field| self.load(&field.layout, &bytes[field.offset as usize..]))
            .collect()
    }

    /// A value from `bytes`, which begin with it and are long enough: layouts are consistent.
    fn load(&self, layout: &Layout, bytes: &[u8]) -> Lifted<Val, S> {
        self.count(1)?;
        let payload = |cases: &Cases, tag: u32| -> Lifted<Option<Box<Val>>, S> {
            match case(cases, tag)? {
                Some(layout) => {
                    let val = self.load(layout, &bytes[cases.payload as usize..])?;
                    Ok(Some(Box::new(val)))
                }
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
            Shape::F32 => Val::F32(canonical_f32(f32::from_le_bytes(at(bytes)))),
            Shape::F64 => Val::F64(canonical_f64(f64::from_le_bytes(at(bytes)))),
            Shape::Char => character(u32::from_le_bytes(at(bytes)))?,
            Shape::String | Shape::Bytes | Shape::List(_) | Shape::Map(_) => {
                let (address, length) = (at(bytes), at(&bytes[4..]));
                let (address, length) = (u32::from_le_bytes(address), u32::from_le_bytes(length));
                self.pointed(&layout.shape, address, length)?
            }
            Shape::FixedBytes(length) => {
                self.count_bytes(*length)?;
                Val::Bytes(bytes[..*length as usize].to_vec())
            }
            Shape::FixedList(element, length) => {
                self.expect(*length as usize)?;
                let element_at = |i: u32| self.load(element, &bytes[(i * element.size) as usize..]);
                Val::List((0..*length).map(element_at).collect::<Result<_, _>>()?)
            }
            Shape::Own(table) => self
                .source
                .lift_own(*table, u32::from_le_bytes(at(bytes)))?,
            Shape::Borrow(table) => {
                let handle = u32::from_le_bytes(at(bytes));
                self.source.lift_borrow(*table, handle)?
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
            Shape::Flags(count) => {
                let flag = |i: usize| bytes[i / 8] >> (i % 8) & 1 == 1;
                Val::Flags((0..*count).map(flag).collect())
            }
        })
    }

    /// What a pointer and a length stand for.
    fn pointed(&self, shape: &Shape, address: u32, length: u32) -> Lifted<Val, S> {
        match shape {
            Shape::String => Ok(Val::String(self.string(address, length)?)),
            Shape::Bytes => {
                self.count_bytes(length)?;
                let bytes = self.block(address, length, 1, "bytes are")?;
                Ok(Val::Bytes(bytes.into_owned()))
            }
            Shape::List(element) => {
                let load = |bytes: &[u8]| self.load(element, bytes);
                self.elements(element, address, length, load).map(Val::List)
            }
            Shape::Map(entry) => {
                let pair = |bytes: &[u8]| match self.load(entry, bytes)? {
                    Val::Tuple(pair) => match <[Val; 2]>::try_from(pair) {
                        Ok([key, value]) => Ok((key, value)),
                        Err(_) => unreachable!("the entry of a map is a pair"),
                    },
                    _ => unreachable!("the entry of a map is a tuple"),
                };
                self.elements(entry, address, length, pair).map(Val::Map)
            }
            _ => unreachable!("only strings, lists and maps are pointed to"),
        }
    }

    fn elements<T>(
        &self,
        element: &Layout,
        address: u32,
        length: u32,
        load: impl Fn(&[u8]) -> Lifted<T, S>,
    ) -> Lifted<Vec<T>, S> {
        self.expect(length as usize)?;
        let size = length
            .checked_mul(element.size)
            .ok_or_else(|| Broken::abi("a list is longer than the guest's memory"))?;
        let bytes = self.block(address, size, element.align, "a list is")?;
        if element.size == 0 {
            return (0..length).map(|_| load(&[])).collect();
        }
        bytes
            .chunks_exact(element.size as usize)
            .map(load)
            .collect()
    }

    fn string(&self, address: u32, length: u32) -> Found<String> {
        let encoding = self.source.encoding();
        let (utf16, units, align) = match encoding {
            Encoding::Utf8 => (false, length, 1),
            Encoding::Utf16 => (true, length, 2),
            Encoding::Latin1OrUtf16 => (length & UTF16_TAG != 0, length & !UTF16_TAG, 2),
        };
        let size = if utf16 {
            units.checked_mul(2)
        } else {
            Some(units)
        };
        let size = size.ok_or_else(|| Broken::abi("a string is longer than the guest's memory"))?;
        self.count_bytes(size)?;
        let bytes = self.block(address, size, align, "a string is")?;
        if utf16 {
            let (units, _) = bytes.as_chunks::<2>();
            let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
            let text: Result<String, _> = char::decode_utf16(units).collect();
            return text.map_err(|_| Broken::abi("a string is not UTF-16"));
        }
        if encoding == Encoding::Latin1OrUtf16 {
            return Ok(bytes.iter().copied().map(char::from).collect());
        }
        let text = String::from_utf8(bytes.into_owned());
        text.map_err(|_| Broken::abi("a string is not UTF-8"))
    }

    /// A value from core values, which are as many and of the types as its layout says.
    ///
    /// # Errors
    /// They are none, or too much.
    pub fn flat(&self, layout: &Layout, values: &mut dyn Iterator<Item = Flat>) -> Lifted<Val, S> {
        self.count(1)?;
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
                Flat::F32(value) => Val::F32(canonical_f32(value)),
                _ => unreachable!("cast to f32"),
            },
            Shape::F64 => match next(values, FlatType::F64) {
                Flat::F64(value) => Val::F64(canonical_f64(value)),
                _ => unreachable!("cast to f64"),
            },
            Shape::Char => character(int(values))?,
            Shape::String | Shape::Bytes | Shape::List(_) | Shape::Map(_) => {
                let (address, length) = (int(values), int(values));
                self.pointed(&layout.shape, address, length)?
            }
            #[expect(clippy::cast_possible_truncation, reason = "as above")]
            Shape::FixedBytes(length) => {
                Val::Bytes((0..*length).map(|_| int(values) as u8).collect())
            }
            Shape::FixedList(element, length) => Val::List(
                (0..*length)
                    .map(|_| self.flat(element, values))
                    .collect::<Result<_, _>>()?,
            ),
            Shape::Own(table) => self.source.lift_own(*table, int(values))?,
            Shape::Borrow(table) => self.source.lift_borrow(*table, int(values))?,
            Shape::Record(fields) => Val::Record(self.flat_fields(fields, values)?),
            Shape::Tuple(fields) => Val::Tuple(self.flat_fields(fields, values)?),
            Shape::Flags(count) => {
                let words: Vec<u32> = (0..count.div_ceil(32)).map(|_| int(values)).collect();
                let flag = |i: usize| words[i / 32] >> (i % 32) & 1 == 1;
                Val::Flags((0..*count).map(flag).collect())
            }
            Shape::Enum(cases) => {
                let tag = int(values);
                case(cases, tag)?;
                Val::Enum(tag)
            }
            Shape::Variant(cases) => {
                let (tag, payload) = self.flat_case(layout, cases, values)?;
                Val::Variant(tag, payload)
            }
            Shape::Option(cases) => Val::Option(self.flat_case(layout, cases, values)?.1),
            Shape::Result(cases) => match self.flat_case(layout, cases, values)? {
                (0, payload) => Val::Result(Ok(payload)),
                (_, payload) => Val::Result(Err(payload)),
            },
        })
    }

    fn flat_fields(
        &self,
        fields: &[Field],
        values: &mut dyn Iterator<Item = Flat>,
    ) -> Lifted<Vec<Val>, S> {
        fields
            .iter()
            .map(|field| self.flat(&field.layout, values))
            .collect()
    }

    fn flat_case(
        &self,
        layout: &Layout,
        cases: &Cases,
        values: &mut dyn Iterator<Item = Flat>,
    ) -> Lifted<(u32, Option<Box<Val>>), S> {
        let tag = int(values);
        let slots = layout.flat.iter().flatten().skip(1);
        let slots: Vec<Flat> = slots.map(|ty| next(values, *ty)).collect();
        let payload = case(cases, tag)?.map(|case| {
            let types = case.flat.iter().flatten();
            let mut payload = types.zip(&slots).map(|(ty, slot)| slot.cast(*ty));
            self.flat(case, &mut payload).map(Box::new)
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

fn case(cases: &Cases, tag: u32) -> Found<Option<&Layout>> {
    match cases.cases.get(tag as usize) {
        Some(case) => Ok(case.as_ref()),
        None => Err(Broken::abi(format!(
            "a value has case {tag} of {}",
            cases.cases.len()
        ))),
    }
}

fn character(code: u32) -> Found<Val> {
    char::from_u32(code)
        .map(Val::Char)
        .ok_or_else(|| Broken::abi(format!("{code:#x} is no character")))
}

fn too_large(message: String) -> Broken {
    Broken {
        kind: TrapKind::OutputTooLarge,
        message,
    }
}

fn next(values: &mut dyn Iterator<Item = Flat>, ty: FlatType) -> Flat {
    values
        .next()
        .expect("core values are as many as the layout says")
        .cast(ty)
}

fn int(values: &mut dyn Iterator<Item = Flat>) -> u32 {
    match next(values, FlatType::I32) {
        Flat::I32(value) => value,
        _ => unreachable!("cast to i32"),
    }
}

fn long(values: &mut dyn Iterator<Item = Flat>) -> u64 {
    match next(values, FlatType::I64) {
        Flat::I64(value) => value,
        _ => unreachable!("cast to i64"),
    }
}
