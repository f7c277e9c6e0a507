//! The canonical encoding, written into one buffer.
//!
//! It is what `serde_ipld_dagcbor` writes. That gives each entry of a map, and so each field of a structure, buffers of its own
//! to sort them; here entries stay where they were written, and are moved where they are not in order.

use std::{fmt, mem, ops::Range};

use ::cid::serde::CID_SERDE_PRIVATE_IDENTIFIER;
use serde::{
    Serialize, Serializer,
    ser::{self, Error as _},
};

pub(crate) const UNSIGNED: u8 = 0 << 5;
const NEGATIVE: u8 = 1 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
pub(crate) const LIST: u8 = 4 << 5;
pub(crate) const MAP: u8 = 5 << 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
pub(crate) const NULL: u8 = 0xf6;
const FLOAT: u8 = 0xfb;

/// The tag of links.
pub(crate) const LINK: [u8; 2] = [0xd8, 0x2a];

/// Stands for content that is encoded already, as CIDs have a name for their links.
const ENCODED: &str = "$asterism::encoded";

pub(crate) fn head(to: &mut Vec<u8>, major: u8, number: u64) {
    match number {
        0..24 => to.push(major | number as u8),
        24..0x100 => to.extend([major | 24, number as u8]),
        0x100..0x1_0000 => {
            to.push(major | 25);
            to.extend((number as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            to.push(major | 26);
            to.extend((number as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            to.push(major | 27);
            to.extend(number.to_be_bytes());
        }
    }
}

pub(crate) fn head_length(number: u64) -> usize {
    match number {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        0x1_0000_0000.. => 9,
    }
}

pub(crate) fn text(to: &mut Vec<u8>, text: &str) {
    head(to, TEXT, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

pub(crate) fn bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    head(to, BYTES, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

pub(crate) fn boolean(to: &mut Vec<u8>, is: bool) {
    to.push(if is { TRUE } else { FALSE });
}

/// The canonical bytes of what can be written.
pub(super) fn written<T: Serialize + ?Sized>(content: &T) -> Result<Vec<u8>, Failed> {
    let mut writer = Writer {
        // Most of what is written is not much longer.
        to: Vec::with_capacity(128),
        ..Writer::default()
    };
    content.serialize(&mut writer)?;
    Ok(writer.to)
}

/// Writes content whose canonical bytes are known: as these here, and as what it is by every other serializer.
pub(crate) fn encoded<S: Serializer, B: AsRef<[u8]>, T: Serialize>(
    serializer: S,
    bytes: impl Fn() -> B,
    content: impl Fn() -> T,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return content().serialize(serializer);
    }
    serializer.serialize_newtype_struct(ENCODED, &Both { bytes, content })
}

/// What stands behind [`ENCODED`].
struct Both<F, G> {
    bytes: F,
    content: G,
}

impl<F: Fn() -> B, G: Fn() -> T, B: AsRef<[u8]>, T: Serialize> Serialize for Both<F, G> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whoever writes for people was given the content before: only a `Writer` says so here, and means the bytes.
        if serializer.is_human_readable() {
            serializer.serialize_bytes((self.bytes)().as_ref())
        } else {
            (self.content)().serialize(serializer)
        }
    }
}

/// Why something has no DAG-CBOR form.
#[derive(Debug)]
pub(super) struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl ser::Error for Failed {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

/// What the byte string means that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Means {
    #[default]
    Bytes,
    /// The bytes of a CID.
    Link,
    /// What stands there as it is.
    Encoded,
}

#[derive(Debug, Default)]
struct Writer {
    to: Vec<u8>,
    /// Where the entries of all maps are that are being written, those of inner maps behind those of outer ones.
    entries: Vec<Range<usize>>,
    /// Room for entries that are put in order.
    spare: Vec<u8>,
    next: Means,
}

impl Writer {
    fn signed(&mut self, number: i64) {
        match u64::try_from(number) {
            Ok(number) => head(&mut self.to, UNSIGNED, number),
            // -1 is written as 0.
            Err(_) => head(&mut self.to, NEGATIVE, !number as u64),
        }
    }

    fn items(&mut self, count: Option<usize>) -> Items<'_> {
        Items {
            count: Count::begin(&mut self.to, LIST, count),
            written: 0,
            writer: self,
        }
    }

    fn map(&mut self, count: Option<usize>) -> Entries<'_> {
        Entries {
            count: Count::begin(&mut self.to, MAP, count),
            first: self.entries.len(),
            writer: self,
        }
    }

    fn variant(&mut self, variant: &str) {
        head(&mut self.to, MAP, 1);
        text(&mut self.to, variant);
    }
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Failed;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Entries<'a>;
    type SerializeStructVariant = Entries<'a>;

    fn serialize_bool(self, is: bool) -> Result<(), Failed> {
        boolean(&mut self.to, is);
        Ok(())
    }

    fn serialize_i8(self, number: i8) -> Result<(), Failed> {
        self.serialize_i64(number.into())
    }

    fn serialize_i16(self, number: i16) -> Result<(), Failed> {
        self.serialize_i64(number.into())
    }

    fn serialize_i32(self, number: i32) -> Result<(), Failed> {
        self.serialize_i64(number.into())
    }

    fn serialize_i64(self, number: i64) -> Result<(), Failed> {
        self.signed(number);
        Ok(())
    }

    fn serialize_i128(self, number: i128) -> Result<(), Failed> {
        let (major, argument) = if number < 0 {
            (NEGATIVE, !number)
        } else {
            (UNSIGNED, number)
        };
        let argument = u64::try_from(argument)
            .map_err(|_| Failed::custom("an integer is not within -2^64 and 2^64-1"))?;
        head(&mut self.to, major, argument);
        Ok(())
    }

    fn serialize_u8(self, number: u8) -> Result<(), Failed> {
        self.serialize_u64(number.into())
    }

    fn serialize_u16(self, number: u16) -> Result<(), Failed> {
        self.serialize_u64(number.into())
    }

    fn serialize_u32(self, number: u32) -> Result<(), Failed> {
        self.serialize_u64(number.into())
    }

    fn serialize_u64(self, number: u64) -> Result<(), Failed> {
        head(&mut self.to, UNSIGNED, number);
        Ok(())
    }

    fn serialize_u128(self, number: u128) -> Result<(), Failed> {
        let number = u64::try_from(number)
            .map_err(|_| Failed::custom("an integer is not within -2^64 and 2^64-1"))?;
        self.serialize_u64(number)
    }

    fn serialize_f32(self, number: f32) -> Result<(), Failed> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Failed> {
        if !number.is_finite() {
            return Err(Failed::custom("a float is not finite"));
        }
        // There is one zero.
        let number = if number == 0.0 { 0.0 } else { number };
        self.to.push(FLOAT);
        self.to.extend(number.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, letter: char) -> Result<(), Failed> {
        self.serialize_str(letter.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, string: &str) -> Result<(), Failed> {
        text(&mut self.to, string);
        Ok(())
    }

    fn serialize_bytes(self, string: &[u8]) -> Result<(), Failed> {
        match mem::take(&mut self.next) {
            Means::Bytes => bytes(&mut self.to, string),
            Means::Link => {
                self.to.extend(LINK);
                head(&mut self.to, BYTES, 1 + string.len() as u64);
                self.to.push(0);
                self.to.extend_from_slice(string);
            }
            Means::Encoded => self.to.extend_from_slice(string),
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Failed> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failed> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Failed> {
        self.to.push(NULL);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Failed> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Failed> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        match name {
            CID_SERDE_PRIVATE_IDENTIFIER => self.next = Means::Link,
            ENCODED => self.next = Means::Encoded,
            _ => {}
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        self.variant(variant);
        value.serialize(self)
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<Items<'a>, Failed> {
        Ok(self.items(count))
    }

    fn serialize_tuple(self, count: usize) -> Result<Items<'a>, Failed> {
        Ok(self.items(Some(count)))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        count: usize,
    ) -> Result<Items<'a>, Failed> {
        Ok(self.items(Some(count)))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Items<'a>, Failed> {
        self.variant(variant);
        Ok(self.items(Some(count)))
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Entries<'a>, Failed> {
        Ok(self.map(count))
    }

    fn serialize_struct(self, _name: &'static str, count: usize) -> Result<Entries<'a>, Failed> {
        Ok(self.map(Some(count)))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Entries<'a>, Failed> {
        self.variant(variant);
        Ok(self.map(Some(count)))
    }

    /// It is not, and says otherwise where `Both` asks.
    fn is_human_readable(&self) -> bool {
        self.next == Means::Encoded
    }
}

/// How many entries a list or map has, as it is written before them.
struct Count {
    major: u8,
    at: usize,
    count: usize,
}

impl Count {
    /// Whoever does not know how many there will be corrects it.
    fn begin(to: &mut Vec<u8>, major: u8, count: Option<usize>) -> Self {
        let (at, count) = (to.len(), count.unwrap_or(0));
        head(to, major, count as u64);
        Self { major, at, count }
    }

    fn correct(self, to: &mut Vec<u8>, count: usize) {
        let Self {
            major,
            at,
            count: before,
        } = self;
        if count != before {
            let mut right = Vec::new();
            head(&mut right, major, count as u64);
            drop(to.splice(at..at + head_length(before as u64), right));
        }
    }
}

/// A list that is being written.
struct Items<'a> {
    writer: &'a mut Writer,
    count: Count,
    written: usize,
}

impl Items<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Failed> {
        self.written += 1;
        item.serialize(&mut *self.writer)
    }

    fn finish(self) {
        self.count.correct(&mut self.writer.to, self.written);
    }
}

/// A map that is being written.
struct Entries<'a> {
    writer: &'a mut Writer,
    count: Count,
    /// The place of its first one among the entries of all maps.
    first: usize,
}

impl Entries<'_> {
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failed> {
        let at = self.writer.to.len();
        self.end_entry();
        self.writer.entries.push(at..at);
        key.serialize(&mut *self.writer)?;
        match self.writer.to.get(at) {
            Some(head) if head & 0xe0 == TEXT => Ok(()),
            _ => Err(Failed::custom("a key of a map is not a text")),
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        value.serialize(&mut *self.writer)
    }

    fn end_entry(&mut self) {
        let end = self.writer.to.len();
        if let Some(entry) = self.writer.entries[self.first..].last_mut() {
            entry.end = end;
        }
    }

    /// Puts the entries in order: as keys are texts, the bytes of a shorter one are smaller.
    fn finish(mut self) {
        self.end_entry();
        let Self {
            writer,
            count,
            first,
        } = self;
        let Writer {
            to, entries, spare, ..
        } = writer;
        let own = &mut entries[first..];
        let written = own.len();
        if !own.is_sorted_by(|one, next| to[one.clone()] <= to[next.clone()]) {
            let begin = own[0].start;
            own.sort_unstable_by(|one, other| to[one.clone()].cmp(&to[other.clone()]));
            spare.clear();
            spare.extend_from_slice(&to[begin..]);
            to.truncate(begin);
            for entry in own {
                to.extend_from_slice(&spare[entry.start - begin..entry.end - begin]);
            }
        }
        entries.truncate(first);
        count.correct(to, written);
    }
}

/// What all kinds of lists and of maps are to serde; their methods have two names each.
macro_rules! is {
    ($($kind:ident: $method:ident),+ of Items) => {$(
        impl ser::$kind for Items<'_> {
            type Ok = ();
            type Error = Failed;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Failed> {
                self.item(item)
            }

            fn end(self) -> Result<(), Failed> {
                self.finish();
                Ok(())
            }
        }
    )+};
    ($($kind:ident),+ of Entries) => {$(
        impl ser::$kind for Entries<'_> {
            type Ok = ();
            type Error = Failed;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Failed> {
                self.key(key)?;
                self.value(value)
            }

            fn end(self) -> Result<(), Failed> {
                self.finish();
                Ok(())
            }
        }
    )+};
}

is!(SerializeSeq: serialize_element, SerializeTuple: serialize_element of Items);
is!(SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field of Items);
is!(SerializeStruct, SerializeStructVariant of Entries);

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Failed;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failed> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        self.value(value)
    }

    fn end(self) -> Result<(), Failed> {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
