use std::collections::BTreeMap;

use super::*;
use crate::{Cid, Limits, Value, blob_cid, content_cid, decode, encode, to_json, to_value};

/// It is written as by the library that reads it, and the bytes are these.
#[track_caller]
fn check(content: &impl Serialize, hex: &str) {
    let bytes = written(content).expect("it has a form");
    let known = serde_ipld_dagcbor::to_vec(content).expect("it has a form");
    assert_eq!(bytes, known);
    assert_eq!(hex_of(&bytes), hex.replace(' ', ""));
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Serialize)]
struct Parts<T> {
    later: u8,
    b: T,
    a: Option<u8>,
}

fn parts<T>(b: T) -> Parts<T> {
    Parts {
        later: 1,
        b,
        a: None,
    }
}

#[derive(Serialize)]
enum Kind {
    Unit,
    One(i8),
    Two(i8, i8),
    Named { long: u8, s: u8 },
}

/// A list of zeros that says beforehand how many they are, or does not.
struct Listed(usize, Option<usize>);

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use ser::SerializeSeq as _;
        let mut list = serializer.serialize_seq(self.1)?;
        for _ in 0..self.0 {
            list.serialize_element(&0)?;
        }
        list.end()
    }
}

/// A map of two of them.
struct Mapped(usize, Option<usize>);

impl Serialize for Mapped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use ser::SerializeMap as _;
        let mut map = serializer.serialize_map(self.1.map(|_| 2))?;
        map.serialize_entry("b", &Listed(self.0, self.1))?;
        map.serialize_entry("a", &Listed(1, None))?;
        map.end()
    }
}

#[test]
fn fields_are_put_in_order() {
    check(&parts(2), "a3 6161 f6 6162 02 65 6c61746572 01");
    check(
        &parts(parts(parts("x"))),
        "a3 6161 f6 6162 a3 6161 f6 6162 a3 6161 f6 6162 6178 65 6c61746572 01 65 6c61746572 01 65 6c61746572 01",
    );
    let keys = ["bb", "a", "", "c", "ab"];
    let map: BTreeMap<&str, Parts<u8>> = keys.map(|key| (key, parts(0))).into();
    let mut known = "a5".to_owned();
    for key in ["60", "6161", "6163", "626162", "626262"] {
        known += key;
        known += "a3 6161f6 616200 656c6174657201";
    }
    check(&map, &known);
}

#[test]
fn what_does_not_know_its_length_has_one() {
    for (count, head) in [(0, "80"), (2, "82"), (30, "981e"), (300, "99012c")] {
        let list = format!("{head}{}", "00".repeat(count));
        for told in [None, Some(count)] {
            check(&Listed(count, told), &list);
            check(&Mapped(count, told), &format!("a2 6161 8100 6162 {list}"));
            check(
                &[Mapped(count, told), Mapped(0, None)],
                &format!("82 a2 6161 8100 6162 {list} a2 6161 8100 6162 80"),
            );
        }
    }
}

#[test]
fn kinds_are_told_by_name() {
    check(
        &[
            Kind::Unit,
            Kind::One(-1),
            Kind::Two(0, -25),
            Kind::Named { long: 1, s: 2 },
        ],
        "84 64556e6974 a1 634f6e65 20 a1 6354776f 82 00 3818 a1 654e616d6564 a2 6173 02 646c6f6e67 01",
    );
}

#[test]
fn numbers_have_their_shortest_form() {
    for number in [
        0,
        23,
        24,
        0xff,
        0x100,
        0xffff,
        0x1_0000,
        0xffff_ffff,
        1 << 32,
        u64::MAX,
    ] {
        let (plus, minus) = (i128::from(number), -1 - i128::from(number));
        for number in [plus, minus] {
            let known = serde_ipld_dagcbor::to_vec(&number).expect("64 bits are enough");
            assert_eq!(written(&number).expect("64 bits are enough"), known);
        }
        assert_eq!(
            head_length(number),
            written(&number).expect("a number").len()
        );
        if let Ok(number) = i64::try_from(minus) {
            assert_eq!(
                written(&number).expect("a number"),
                written(&minus).expect("a number")
            );
        }
    }
    for number in [1_i128 << 64, -1 - (1 << 64)] {
        assert!(written(&number).is_err(), "{number}");
    }
    assert!(written(&(1_u128 << 64)).is_err());
}

#[test]
fn what_has_no_form_is_refused() {
    for float in [f64::NAN, f64::INFINITY] {
        assert!(written(&[float]).is_err());
    }
    check(&[-0.0, 1.5], "82 fb0000000000000000 fb3ff8000000000000");
    assert!(written(&BTreeMap::from([(1, 2)])).is_err());
    check(&('ä', (), 1.5_f32), "83 62c3a4 f6 fb3ff8000000000000");
}

#[test]
fn links_are_those_of_the_library() {
    let far = ::cid::Cid::new_v1(0x1_0000, *blob_cid(b"").to_link().hash());
    let far = Cid::try_from(far).expect("its numbers are small enough");
    for cid in [blob_cid(b"blob"), content_cid(b"content"), far] {
        let known = serde_ipld_dagcbor::to_vec(&cid.to_link()).expect("a link");
        assert_eq!(encode(&cid), known);
        assert_eq!(serde_ipld_dagcbor::to_vec(&cid).expect("a link"), known);
        assert_eq!(to_value(&cid), Value::Link(cid.to_link()));
        let read = decode::<Cid>("link", &known, known.len());
        assert_eq!(read, Ok(cid));
    }
}

/// Limits, and whatever stands for their bytes.
struct Known<'a>(Limits, &'a [u8]);

impl Serialize for Known<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        encoded(serializer, || self.1, || self.0)
    }
}

#[test]
fn what_is_encoded_stands_as_it_is() {
    let limits = Limits::default();
    let known = Known(limits, &[0x18, 0x2a]);
    assert_eq!(hex_of(&encode(&(&known, 1, &known))), "83182a01182a");
    // Everybody else does not know of the bytes.
    assert_eq!(
        serde_ipld_dagcbor::to_vec(&known).expect("limits"),
        encode(&limits)
    );
    assert_eq!(to_value(&known), to_value(&limits));
    assert_eq!(to_json(&known), to_json(&limits));
}
