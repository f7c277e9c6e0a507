//! The canonical encoding of what has always the same parts, written in one go: the general one gathers each map's entries
//! to sort them.

use super::Attested;
use crate::encode;

const UNSIGNED: u8 = 0 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const LIST: u8 = 4 << 5;
const MAP: u8 = 5 << 5;
const NULL: u8 = 0xf6;

/// The tag of links.
pub(super) const LINK: [u8; 2] = [0xd8, 0x2a];

/// Before the digest of content: the tag of links, 37 bytes of which the first is 0, CIDv1, dag-cbor, sha3-256, 32 bytes.
const CONTENT: [u8; 9] = [0xd8, 0x2a, 0x58, 0x25, 0, 1, 0x71, 0x16, 0x20];

fn head(to: &mut Vec<u8>, major: u8, number: u64) {
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

fn text(to: &mut Vec<u8>, text: &str) {
    head(to, TEXT, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

fn bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    head(to, BYTES, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// A link to content with this digest.
pub(super) fn content(to: &mut Vec<u8>, digest: &[u8; 32]) {
    to.extend_from_slice(&CONTENT);
    to.extend_from_slice(digest);
}

fn fuel(to: &mut Vec<u8>, fuel: Option<u64>) {
    match fuel {
        Some(fuel) => head(to, UNSIGNED, fuel),
        None => to.push(NULL),
    }
}

/// An outcome but for the link to its instruction, which is the last of it; `out` is encoded already.
pub(super) fn outcome(to: &mut Vec<u8>, out: &[u8], used: Option<u64>, metering: &str) {
    head(to, MAP, 4);
    text(to, "out");
    to.extend_from_slice(out);
    text(to, "fuel");
    fuel(to, used);
    text(to, "metering");
    text(to, metering);
    text(to, "instruction");
}

/// How long the encoded outcome of a receipt is.
pub(super) fn outcome_length(receipt: &Attested) -> usize {
    let metering = &receipt.alike.metering;
    let keys = ["out", "fuel", "metering", "instruction"];
    let keys: usize = keys.iter().map(|key| 1 + key.len()).sum();
    let fuel = receipt.fuel().map_or(1, head_length);
    let metering = head_length(metering.len() as u64) + metering.len();
    1 + keys + receipt.out.len() + fuel + metering + CONTENT.len() + 32
}

fn head_length(number: u64) -> usize {
    match number {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        0x1_0000_0000.. => 9,
    }
}

pub(super) fn receipt(to: &mut Vec<u8>, receipt: &Attested) {
    let Attested {
        ran,
        instruction,
        out,
        fuel: _,
        alike,
        batch: _,
        more: _,
        index: _,
        fueled: _,
        trap: _,
    } = receipt;
    head(to, MAP, 5);
    text(to, "iss");
    text(to, &receipt.key().did());
    text(to, "out");
    to.extend_from_slice(out);
    text(to, "prf");
    head(to, LIST, 0);
    text(to, "ran");
    content(to, ran);
    text(to, "meta");
    let (evidence, rests_on) = (receipt.evidence(), receipt.rests_on());
    let parts = 5 + u64::from(evidence.is_some()) + u64::from(!rests_on.is_empty());
    head(to, MAP, parts);
    text(to, "op");
    text(to, &alike.func);
    text(to, "fuel");
    fuel(to, receipt.fuel());
    if let Some(evidence) = evidence {
        text(to, "evidence");
        to.extend_from_slice(&encode(evidence));
    }
    text(to, "metering");
    text(to, &alike.metering);
    if !rests_on.is_empty() {
        text(to, "rests-on");
        to.extend_from_slice(&encode(&rests_on));
    }
    text(to, "attestation");
    attestation(to, receipt);
    text(to, "instruction");
    content(to, instruction);
}

fn attestation(to: &mut Vec<u8>, receipt: &Attested) {
    let Attested { batch, index, .. } = receipt;
    head(to, MAP, 4);
    text(to, "key");
    bytes(to, &*batch.key.0);
    text(to, "path");
    head(to, MAP, 3);
    text(to, "index");
    head(to, UNSIGNED, u64::from(*index));
    text(to, "leaves");
    head(to, UNSIGNED, u64::from(batch.leaves));
    text(to, "siblings");
    let siblings = batch.siblings(*index);
    head(to, LIST, siblings.len() as u64);
    for sibling in siblings {
        bytes(to, &*sibling);
    }
    text(to, "signature");
    bytes(to, &*batch.signature.0);
    text(to, "conditions");
    let conditions = receipt.conditions();
    head(to, MAP, 3);
    text(to, "fuel");
    head(to, UNSIGNED, conditions.fuel);
    text(to, "memory");
    head(to, UNSIGNED, conditions.memory);
    text(to, "growth_refused");
    to.push(if conditions.growth_refused {
        0xf5
    } else {
        0xf4
    });
}
