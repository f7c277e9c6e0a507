//! Canonical receipts that live runs and the runs kept for show refer to.

use std::sync::Arc;

use asterism_protocol::{
    Attested, Basis, Cid, Conditions, Limits, PublicKey, Remark, Timestamp, TrapKind,
};

use crate::{
    affinity::{Mark, links},
    digests::{Digest, Digests},
    graph::Branch,
    works::memory_key,
};

/// A receipt with what is asked of it often. A million of them are held at once, so what most have not takes no room.
pub(crate) struct Known {
    /// The journal is told of the same one.
    pub(crate) receipt: Arc<Attested>,
    /// Only of what was computed since the journal began.
    remark: Remarked,
    /// What it was believed on.
    pub(crate) basis: Basis,
    leased: Moment,
    started: Moment,
    computed: Moment,
    delivered: Moment,
    /// When it became canonical; the beginning of time for what came with a submission.
    pub(crate) at: Timestamp,
    /// The blobs that it links to; most link to none.
    pub(crate) blobs: Option<Box<[Mark]>>,
    /// What it is found by, where that is not its instruction alone.
    key: Option<Box<Digest>>,
    /// Size of the outcome as a lease's input, in bytes.
    pub(crate) bytes: u32,
    holders: u32,
}

/// What engine and guest said: most often, how long it took and nothing more.
enum Remarked {
    Nothing,
    Took(u64),
    All(Box<Remark>),
}

/// A time, or none; in eight bytes.
#[derive(Clone, Copy)]
struct Moment(u64);

impl From<Option<Timestamp>> for Moment {
    fn from(at: Option<Timestamp>) -> Self {
        Self(at.map_or(u64::MAX, |at| at.0))
    }
}

impl Moment {
    fn get(self) -> Option<Timestamp> {
        (self.0 != u64::MAX).then_some(Timestamp(self.0))
    }
}

/// When a receipt came about, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// When the lease was given that it came of.
    pub(crate) leased: Option<Timestamp>,
    /// When its attempt was said to begin.
    pub(crate) started: Option<Timestamp>,
    /// When it was committed to.
    pub(crate) computed: Option<Timestamp>,
    /// When it came.
    pub(crate) delivered: Option<Timestamp>,
    /// When it became canonical.
    pub(crate) at: Timestamp,
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
    /// A receipt, of which the outcome links to these blobs.
    pub(crate) fn new(receipt: Arc<Attested>, blobs: Vec<Mark>, times: Times) -> Self {
        let instruction = receipt.instruction().digest();
        let key = memory_key(&instruction, receipt.rests_on());
        let basis = receipt.evidence().map(|evidence| evidence.basis);
        let Times {
            leased,
            started,
            computed,
            delivered,
            at,
        } = times;
        Self {
            bytes: receipt.outcome_bytes(),
            receipt,
            remark: Remarked::Nothing,
            basis: basis.unwrap_or(Basis::Unverified),
            leased: leased.into(),
            started: started.into(),
            computed: computed.into(),
            delivered: delivered.into(),
            at,
            blobs: (!blobs.is_empty()).then(|| blobs.into()),
            key: (key != instruction).then(|| Box::new(key)),
            holders: 0,
        }
    }

    /// A receipt that was made before.
    pub(crate) fn read(receipt: Arc<Attested>, at: Timestamp) -> Self {
        let blobs = if receipt.may_link() {
            links([receipt.out().value()])
        } else {
            Vec::new()
        };
        let times = Times {
            at,
            ..Times::default()
        };
        Self::new(receipt, blobs, times)
    }

    /// What it is found by.
    pub(crate) fn digest(&self) -> Digest {
        match &self.key {
            Some(key) => **key,
            None => self.receipt.instruction().digest(),
        }
    }

    /// The receipt's own name.
    pub(crate) fn cid(&self) -> Cid {
        self.receipt.cid()
    }

    /// The outcome's name.
    pub(crate) fn outcome(&self) -> Cid {
        self.receipt.outcome_cid()
    }

    pub(crate) fn branch(&self) -> Branch {
        if self.receipt.is_error() {
            Branch::Error
        } else {
            Branch::Ok
        }
    }

    /// Would another limit change the outcome?
    pub(crate) fn limited(&self) -> bool {
        self.receipt.signed().conditions().growth_refused
            || matches!(
                self.receipt.trap(),
                Some(TrapKind::OutOfFuel | TrapKind::OutOfMemory)
            )
    }

    /// Whose outcome it is.
    pub(crate) fn executor(&self) -> PublicKey {
        self.receipt.signed().key()
    }

    pub(crate) fn remark(&self) -> Option<Remark> {
        match &self.remark {
            Remarked::Nothing => None,
            Remarked::Took(elapsed_us) => Some(Remark {
                elapsed_us: *elapsed_us,
                ..Remark::default()
            }),
            Remarked::All(remark) => Some((**remark).clone()),
        }
    }

    pub(crate) fn set_remark(&mut self, remark: &Remark) {
        let elapsed_us = remark.elapsed_us;
        let took = Remark {
            elapsed_us,
            ..Remark::default()
        };
        self.remark = if *remark == took {
            Remarked::Took(elapsed_us)
        } else {
            Remarked::All(Box::new(remark.clone()))
        };
    }

    pub(crate) fn times(&self) -> Times {
        Times {
            leased: self.leased.get(),
            started: self.started.get(),
            computed: self.computed.get(),
            delivered: self.delivered.get(),
            at: self.at,
        }
    }

    /// Does this answer a request with `limits`?
    pub(crate) fn answer(&self, limits: &Limits) -> Option<Answer> {
        let (trap, fuel) = (self.receipt.trap(), self.receipt.fuel());
        let conditions = self.receipt.signed().conditions();
        answer(conditions, trap, fuel, limits)
    }
}

/// Does an outcome that ended so, used so much fuel, and came about under `conditions` answer a request with `limits`?
pub(crate) fn answer(
    conditions: &Conditions,
    trap: Option<TrapKind>,
    fuel: Option<u64>,
    limits: &Limits,
) -> Option<Answer> {
    conditions.answers(trap, fuel, limits).map(|whole| {
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
        let digest = known.digest();
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
            let digest = known.digest();
            if self.canonical.get(&digest) == Some(slot) {
                self.canonical.remove(&digest);
            }
            *entry = None;
            self.free.push(slot);
        }
    }
}
