//! The canonical encoding of what has always the same parts, written in their order and without the structure that they stand
//! for.

use super::Attested;
use crate::{
    codec::write::{LIST, MAP, NULL, UNSIGNED, boolean, bytes, head, head_length, text},
    encode,
};

/// Before the digest of content: the tag of links, 37 bytes of which the first is 0, CIDv1, dag-cbor, sha3-256, 32 bytes.
const CONTENT: [u8; 9] = [0xd8, 0x2a, 0x58, 0x25, 0, 1, 0x71, 0x16, 0x20];

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
    boolean(to, conditions.growth_refused);
}
