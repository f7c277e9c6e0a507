//! Canonical receipts that live runs and the runs kept for show refer to.

use std::sync::OnceLock;

use asterism_protocol::{
    Attestation, Basis, Cid, Conditions, Limits, Outcome, PublicKey, Receipt, Remark, Timestamp,
    TrapKind, content_cid, encode,
};

use crate::{
    affinity::{Mark, links},
    digests::{Digest, Digests},
    graph::Branch,
    works::memory_key,
};

/// A receipt with what is asked of it often.
pub(crate) struct Known {
    pub(crate) receipt: Receipt,
    pub(crate) outcome: Cid,
    pub(crate) branch: Branch,
    pub(crate) fuel: Option<u64>,
    pub(crate) conditions: Conditions,
    pub(crate) key: PublicKey,
    /// Only of what was computed since the journal began.
    pub(crate) remark: Option<Remark>,
    /// What it was believed on.
    pub(crate) basis: Basis,
    /// Would another limit change the outcome?
    pub(crate) limited: bool,
    /// When the lease was given that this came of, when its attempt was said to begin, when it was committed to and when it
    /// came, as far as that is known.
    pub(crate) leased: Option<Timestamp>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) computed: Option<Timestamp>,
    pub(crate) delivered: Option<Timestamp>,
    /// When it became canonical; the beginning of time for what came with a submission.
    pub(crate) at: Timestamp,
    /// Size of the outcome as a lease's input, in bytes.
    pub(crate) bytes: u32,
    /// The blobs that it links to; most link to none.
    pub(crate) blobs: Option<Box<[Mark]>>,
    cid: OnceLock<Cid>,
    digest: Digest,
    holders: u32,
}

/// How a known receipt answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As it stands.
    Whole,
    /// It is known to need more fuel than the request allows.
    OutOfFuel,
}

impl Known {
    /// A receipt that was just made.
    pub(crate) fn new(
        receipt: Receipt,
        outcome: &Outcome,
        cid: Cid,
        bytes: u32,
        attestation: &Attestation,
    ) -> Self {
        let trap = outcome.failure().map(|failure| failure.trap);
        let digest = memory_key(&outcome.instruction.digest(), &receipt.rests_on());
        let evidence = receipt.evidence();
        let blobs = links([outcome.out.value()]);
        Self {
            receipt,
            outcome: cid,
            branch: Branch::of(&outcome.out),
            fuel: outcome.fuel,
            conditions: attestation.conditions,
            key: attestation.key,
            remark: None,
            basis: evidence.map_or(Basis::Unverified, |evidence| evidence.basis),
            limited: attestation.conditions.growth_refused
                || matches!(trap, Some(TrapKind::OutOfFuel | TrapKind::OutOfMemory)),
            leased: None,
            started: None,
            computed: None,
            delivered: None,
            at: Timestamp::default(),
            bytes,
            blobs: (!blobs.is_empty()).then(|| blobs.into()),
            cid: OnceLock::new(),
            digest,
            holders: 0,
        }
    }

    /// Reads a receipt; `None` if it does not say what it attests.
    pub(crate) fn read(receipt: Receipt) -> Option<Self> {
        let (outcome, attestation) = (receipt.outcome()?, receipt.attestation()?);
        let encoded = encode(&outcome);
        let cid = content_cid(&encoded);
        Some(Self::new(
            receipt,
            &outcome,
            cid,
            encoded.len() as u32,
            &attestation,
        ))
    }

    /// What it is found by.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The receipt's own name, computed when it is asked for first.
    pub(crate) fn cid(&self) -> Cid {
        *self.cid.get_or_init(|| self.receipt.cid())
    }

    /// Does this answer a request with `limits`?
    pub(crate) fn answer(&self, limits: &Limits) -> Option<Answer> {
        answer(&self.conditions, &self.receipt.outcome()?, limits)
    }
}

/// Does an outcome that came about under `conditions` answer a request with `limits`?
pub(crate) fn answer(
    conditions: &Conditions,
    outcome: &Outcome,
    limits: &Limits,
) -> Option<Answer> {
    conditions.answer(outcome, limits).map(|whole| {
        if whole {
            Answer::Whole
        } else {
            Answer::OutOfFuel
        }
    })
}

/// A reference to a receipt in [`Memory`], with how it answers; four bytes for each node of each run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held(u32);

impl Held {
    pub(crate) const NOTHING: Self = Self(u32::MAX);
    const OUT_OF_FUEL: u32 = 1 << 31;

    pub(crate) fn new(slot: u32, answer: Answer) -> Self {
        match answer {
            Answer::Whole => Self(slot),
            Answer::OutOfFuel => Self(slot | Self::OUT_OF_FUEL),
        }
    }

    pub(crate) fn get(self) -> Option<(u32, Answer)> {
        let answer = if self.0 & Self::OUT_OF_FUEL == 0 {
            Answer::Whole
        } else {
            Answer::OutOfFuel
        };
        (self != Self::NOTHING).then_some((self.0 & !Self::OUT_OF_FUEL, answer))
    }
}

/// Receipts by number and by instruction; what nobody holds is forgotten.
#[derive(Default)]
pub(crate) struct Memory {
    slots: Vec<Option<Known>>,
    free: Vec<u32>,
    canonical: Digests,
}

impl Memory {
    /// Makes a receipt the canonical one of its instruction. The caller holds it at once.
    pub(crate) fn insert(&mut self, known: Known) -> u32 {
        let digest = known.digest;
        let slot = self.insert_aside(known);
        self.canonical.insert(digest, slot);
        slot
    }

    /// Keeps a receipt that is not canonical. The caller holds it at once.
    pub(crate) fn insert_aside(&mut self, known: Known) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(known);
            slot
        } else {
            self.slots.push(Some(known));
            self.slots.len() as u32 - 1
        }
    }

    /// The canonical receipt of an instruction.
    pub(crate) fn find(&self, digest: &Digest) -> Option<(u32, &Known)> {
        let slot = self.canonical.get(digest)?;
        Some((slot, self.get(slot)))
    }

    pub(crate) fn get(&self, slot: u32) -> &Known {
        self.slots[slot as usize]
            .as_ref()
            .expect("whoever has the number holds the receipt")
    }

    pub(crate) fn hold(&mut self, slot: u32) {
        self.slots[slot as usize]
            .as_mut()
            .expect("a receipt that was just found is there")
            .holders += 1;
    }

    pub(crate) fn release(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        let known = entry
            .as_mut()
            .expect("whoever has the number holds the receipt");
        known.holders -= 1;
        if known.holders == 0 {
            if self.canonical.get(&known.digest) == Some(slot) {
                self.canonical.remove(&known.digest);
            }
            *entry = None;
            self.free.push(slot);
        }
    }
}
