//! Strings from one encoding to another, as adapters between components ask for it: to the last byte what Wasmtime's do, for
//! guests see what is written, and how often they are asked for memory depends on it.

use std::char::decode_utf16;

use wasmtime_environ::component::{FixedEncoding, Transcode};

/// In a length of `latin1+utf16`: what it counts are units of UTF-16.
const UTF16_TAG: u32 = 1 << 31;

/// One request: where from, where to, in units of the encodings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) op: Transcode,
    /// Units of the source.
    pub(crate) length: u32,
    /// Units that fit in the target, where that is said and not the same number.
    pub(crate) room: u32,
    /// Whether only what takes one byte is wanted (first passes), or how many bytes of Latin-1 are in the target already.
    pub(crate) extra: u32,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// All that is to be written at the target's address.
    pub(crate) bytes: Vec<u8>,
    /// Units of the source that were read, where that is asked for.
    pub(crate) read: u32,
    /// Units that are in the target, with a tag where it needs one.
    pub(crate) written: u32,
}

/// What a source breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid(pub(crate) &'static str);

impl Request {
    /// Bytes of the source.
    pub(crate) fn source_bytes(self) -> u32 {
        match self.op {
            Transcode::Copy(FixedEncoding::Utf16)
            | Transcode::Utf16ToCompactProbablyUtf16
            | Transcode::Utf16ToCompactUtf16
            | Transcode::Utf16ToLatin1
            | Transcode::Utf16ToUtf8 => self.length.saturating_mul(2),
            Transcode::Copy(FixedEncoding::Utf8 | FixedEncoding::Latin1)
            | Transcode::Latin1ToUtf16
            | Transcode::Latin1ToUtf8
            | Transcode::Utf8ToCompactUtf16
            | Transcode::Utf8ToLatin1
            | Transcode::Utf8ToUtf16 => self.length,
        }
    }

    /// Bytes at the target's address that are read too.
    pub(crate) fn kept_bytes(self) -> u32 {
        match self.op {
            Transcode::Utf8ToCompactUtf16 | Transcode::Utf16ToCompactUtf16 => self.extra,
            _ => 0,
        }
    }

    /// Performs it on the bytes of the source; `kept` are those of the target that are read too.
    pub(crate) fn perform(self, source: &[u8], kept: &[u8]) -> Result<Made, Invalid> {
        match self.op {
            Transcode::Copy(encoding) => {
                match encoding {
                    FixedEncoding::Utf8 => drop(utf8(source)?),
                    FixedEncoding::Utf16 => drop(utf16(source)?),
                    FixedEncoding::Latin1 => {}
                }
                Ok(made(source.to_vec(), self.length, self.length))
            }
            Transcode::Latin1ToUtf16 => Ok(made(inflated(source), self.length, self.length)),
            Transcode::Utf8ToUtf16 => {
                let bytes = in_utf16(utf8(source)?);
                let units = units(&bytes);
                Ok(made(bytes, self.length, units))
            }
            Transcode::Utf8ToCompactUtf16 | Transcode::Utf16ToCompactUtf16 => {
                let text = if self.op == Transcode::Utf8ToCompactUtf16 {
                    in_utf16(utf8(source)?)
                } else {
                    utf16(source)?;
                    source.to_vec()
                };
                let bytes = [inflated(kept), text].concat();
                let units = units(&bytes);
                Ok(made(bytes, self.length, units))
            }
            Transcode::Utf16ToCompactProbablyUtf16 => {
                let text = utf16(source)?;
                let mut bytes = source.to_vec();
                if text.chars().any(|c| u32::from(c) > 0xff) {
                    return Ok(made(bytes, self.length, self.length | UTF16_TAG));
                }
                // In place: what is behind it stays, and the guest can see that.
                for i in 0..bytes.len() / 2 {
                    bytes[i] = bytes[2 * i];
                }
                Ok(made(bytes, self.length, self.length))
            }
            Transcode::Utf8ToLatin1 => {
                let valid = source
                    .utf8_chunks()
                    .next()
                    .map_or("", |chunk| chunk.valid());
                let fits = valid
                    .chars()
                    .map_while(|c| Some((u8::try_from(c).ok()?, c.len_utf8())));
                let (bytes, read): (Vec<u8>, Vec<usize>) = fits.unzip();
                let (read, written) = (count(read.iter().sum()), count(bytes.len()));
                Ok(made(bytes, read, written))
            }
            Transcode::Utf16ToLatin1 => {
                let fits = source
                    .as_chunks()
                    .0
                    .iter()
                    .map_while(|unit| u8::try_from(u16::from_le_bytes(*unit)).ok());
                let bytes: Vec<u8> = fits.collect();
                let written = count(bytes.len());
                Ok(made(bytes, written, written))
            }
            Transcode::Latin1ToUtf8 => {
                self.to_utf8(source.iter().map(|byte| Ok((char::from(*byte), 1))))
            }
            Transcode::Utf16ToUtf8 => self.to_utf8(chars_of_utf16(source).map(|c| {
                let c = c?;
                Ok((c, c.len_utf16()))
            })),
        }
    }

    /// As much as fits, of characters with the units that each of them takes in the source.
    fn to_utf8(
        self,
        chars: impl Iterator<Item = Result<(char, usize), Invalid>>,
    ) -> Result<Made, Invalid> {
        let (first_pass, room) = (self.extra != 0, self.room as usize);
        let (mut text, mut read) = (String::new(), 0);
        for c in chars {
            let (c, units) = c?;
            if first_pass && !c.is_ascii() || text.len() + c.len_utf8() > room {
                break;
            }
            text.push(c);
            read += units;
        }
        let written = count(text.len());
        Ok(made(text.into_bytes(), count(read), written))
    }
}

fn made(bytes: Vec<u8>, read: u32, written: u32) -> Made {
    Made {
        bytes,
        read,
        written,
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(bytes).map_err(|_| Invalid("a string is not UTF-8"))
}

fn utf16(bytes: &[u8]) -> Result<String, Invalid> {
    chars_of_utf16(bytes).collect()
}

fn chars_of_utf16(bytes: &[u8]) -> impl Iterator<Item = Result<char, Invalid>> {
    let units = bytes
        .as_chunks()
        .0
        .iter()
        .map(|unit| u16::from_le_bytes(*unit));
    decode_utf16(units).map(|c| c.map_err(|_| Invalid("a string is not UTF-16")))
}

fn in_utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn inflated(latin1: &[u8]) -> Vec<u8> {
    latin1.iter().flat_map(|byte| [*byte, 0]).collect()
}

fn units(utf16: &[u8]) -> u32 {
    count(utf16.len() / 2)
}

fn count(length: usize) -> u32 {
    u32::try_from(length).expect("memories of wasm32 hold no more")
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn perform(
        op: Transcode,
        source: &[u8],
        room: u32,
        extra: u32,
        kept: &[u8],
    ) -> Result<(Vec<u8>, u32, u32), Invalid> {
        let wide = Request {
            op,
            length: 1,
            room,
            extra,
        }
        .source_bytes();
        let request = Request {
            op,
            length: count(source.len()) / wide,
            room,
            extra,
        };
        let made = request.perform(source, kept)?;
        Ok((made.bytes, made.read, made.written))
    }

    #[test]
    fn a_first_pass_stops_at_the_first_character_of_several_bytes() {
        let utf16 = in_utf16("aß");
        assert_eq!(
            perform(Transcode::Utf16ToUtf8, &utf16, 2, 1, &[]),
            Ok((b"a".to_vec(), 1, 1))
        );
        assert_eq!(
            perform(Transcode::Latin1ToUtf8, b"a\xdf", 2, 1, &[]),
            Ok((b"a".to_vec(), 1, 1))
        );
        assert_eq!(
            perform(Transcode::Latin1ToUtf8, b"a\xdf", 4, 0, &[]),
            Ok(("aß".into(), 2, 3))
        );
    }

    #[test]
    fn what_does_not_fit_is_left() {
        let utf16 = in_utf16("a🛰b");
        assert_eq!(
            perform(Transcode::Utf16ToUtf8, &utf16, 4, 0, &[]),
            Ok((b"a".to_vec(), 1, 1))
        );
        assert_eq!(
            perform(Transcode::Utf16ToUtf8, &utf16, 5, 0, &[]),
            Ok(("a🛰".into(), 3, 5))
        );
    }

    #[test]
    fn latin1_goes_as_far_as_it_can_and_is_inflated_then() {
        assert_eq!(
            perform(Transcode::Utf8ToLatin1, "aß→".as_bytes(), 6, 0, &[]),
            Ok((b"a\xdf".to_vec(), 3, 2))
        );
        assert_eq!(
            perform(Transcode::Utf8ToLatin1, b"a\xc3", 2, 0, &[]),
            Ok((b"a".to_vec(), 1, 1))
        );
        let all = in_utf16("aß→");
        assert_eq!(
            perform(Transcode::Utf16ToLatin1, &all, 3, 0, &[]),
            Ok((b"a\xdf".to_vec(), 2, 2))
        );
        for (op, rest) in [
            (Transcode::Utf8ToCompactUtf16, "→".as_bytes()),
            (Transcode::Utf16ToCompactUtf16, &in_utf16("→")[..]),
        ] {
            let made = perform(op, rest, 3, 2, b"a\xdf").expect("it is valid");
            assert_eq!((made.0, made.2), (all.clone(), 3));
        }
    }

    #[test]
    fn probably_utf16_is_deflated_in_place() {
        let op = Transcode::Utf16ToCompactProbablyUtf16;
        assert_eq!(
            perform(op, &in_utf16("aß"), 2, 0, &[]),
            Ok((b"a\xdf\xdf\0".to_vec(), 2, 2))
        );
        let wide = in_utf16("a→");
        assert_eq!(perform(op, &wide, 2, 0, &[]), Ok((wide, 2, 2 | UTF16_TAG)));
    }

    #[test]
    fn what_is_no_text_is_told() {
        let lone = [0x00, 0xd8];
        for op in [
            Transcode::Copy(FixedEncoding::Utf16),
            Transcode::Utf16ToCompactProbablyUtf16,
            Transcode::Utf16ToCompactUtf16,
            Transcode::Utf16ToUtf8,
        ] {
            assert_eq!(
                perform(op, &lone, 4, 0, &[]),
                Err(Invalid("a string is not UTF-16"))
            );
        }
        for op in [
            Transcode::Copy(FixedEncoding::Utf8),
            Transcode::Utf8ToUtf16,
            Transcode::Utf8ToCompactUtf16,
        ] {
            assert_eq!(
                perform(op, b"\xff", 4, 0, &[]),
                Err(Invalid("a string is not UTF-8"))
            );
        }
    }
}
