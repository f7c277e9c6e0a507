//! Canonical receipts that live runs and the runs kept for show refer to.

use std::{collections::BTreeMap, iter, sync::Arc};

use asterism_protocol::{
    Attested, Basis, Cid, Conditions, Limits, Policy, PublicKey, Remark, Timestamp, TrapKind,
};

use crate::{
    affinity::{Mark, links},
    digests::{Digest, Digests},
    graph::Branch,
    works::memory_key,
};

/// Receipts of one instruction that are found: it has several only where limits or policies changed what came of it.
const FOUND_MAX: usize = 8;

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

/// Which of several receipts that answer a request is taken: the one believed on most, unless no limits are asked for, and of
/// those the one that reaches farthest.
pub(crate) type Merit = (Option<Basis>, Reach);

/// Does no limit change the outcome? If one does: the limits of fuel and memory that it came about under.
pub(crate) type Reach = (bool, u64, u64);

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
    pub(crate) fn digest(&self) -> &Digest {
        let key = self.key.as_deref();
        key.unwrap_or_else(|| self.receipt.instruction_digest())
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
        self.receipt.conditions().growth_refused
            || matches!(
                self.receipt.trap(),
                Some(TrapKind::OutOfFuel | TrapKind::OutOfMemory)
            )
    }

    /// How much it says of requests with other limits.
    pub(crate) fn reach(&self) -> Reach {
        let conditions = self.receipt.signed().conditions();
        if self.limited() {
            (false, conditions.fuel, conditions.memory)
        } else {
            (true, 0, 0)
        }
    }

    /// Does this answer every request that the other one answers, whatever its policy?
    fn replaces(&self, other: &Self) -> bool {
        let Conditions { fuel, memory, .. } = *other.receipt.signed().conditions();
        // Whoever answers two amounts of fuel, or of memory, answers all between them: so the ends are enough.
        let ends = |fuel| {
            [memory, u64::MAX].map(|memory| Limits {
                fuel,
                memory,
                time_ms: u64::MAX,
            })
        };
        let mut requests = [0, fuel, u64::MAX].into_iter().flat_map(ends);
        satisfies_as(self.basis, other.basis)
            && requests
                .all(|limits| other.answer(&limits).is_none() || self.answer(&limits).is_some())
    }

    /// Whose outcome it is.
    pub(crate) fn executor(&self) -> PublicKey {
        self.receipt.key()
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
        let conditions = self.receipt.conditions();
        answer(conditions, trap, fuel, limits)
    }

    /// Does this answer a request with `limits` under `policy`?
    pub(crate) fn serve(&self, limits: &Limits, policy: &Policy) -> Option<(Merit, Answer)> {
        let answer = self.answer(limits)?;
        let merit = (Some(self.basis), self.reach());
        self.basis.satisfies(policy).then_some((merit, answer))
    }

    /// Answers a request without limits.
    pub(crate) fn serve_all(&self) -> (Merit, Answer) {
        ((None, self.reach()), Answer::Whole)
    }
}

/// Of the receipts that answer, the one with the greatest merit; the first of equals.
pub(crate) fn best<'a, P>(
    receipts: impl Iterator<Item = (P, &'a Known)>,
    serves: impl Fn(&Known) -> Option<(Merit, Answer)>,
) -> Option<(Merit, P, Answer)> {
    let serving = receipts.filter_map(|(place, known)| {
        let (merit, answer) = serves(known)?;
        Some((merit, place, answer))
    });
    serving.reduce(|best, next| if next.0 > best.0 { next } else { best })
}

/// Is `basis` enough for every policy that `other` is enough for?
fn satisfies_as(basis: Basis, other: Basis) -> bool {
    match (other, basis) {
        (Basis::Unverified, _)
        | (Basis::Sampled { .. }, Basis::Sampled { .. } | Basis::Agreed { .. } | Basis::Trusted)
        | (Basis::Trusted, Basis::Trusted) => true,
        (Basis::Agreed { executors: least }, Basis::Agreed { executors }) => executors >= least,
        (Basis::Sampled { .. }, Basis::Unverified)
        | (Basis::Agreed { .. }, Basis::Unverified | Basis::Sampled { .. } | Basis::Trusted)
        | (Basis::Trusted, Basis::Unverified | Basis::Sampled { .. } | Basis::Agreed { .. }) => {
            false
        }
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
    /// The one that reaches farthest.
    canonical: Digests,
    /// The others, of the few instructions that have any; the newest first.
    others: BTreeMap<Digest, Vec<u32>>,
}

impl Memory {
    /// Makes a receipt a canonical one of its instruction: beside those that answer what it does not, or in their place. The
    /// caller holds it at once.
    pub(crate) fn insert(&mut self, known: Known) -> u32 {
        let digest = *known.digest();
        let slot = self.insert_aside(known);
        if self.find(&digest).is_none() {
            self.make_canonical(&digest, slot);
            return slot;
        }
        let new = self.get(slot);
        let kept = self.all(&digest).filter(|(_, known)| !new.replaces(known));
        let found: Vec<u32> = iter::once(slot).chain(kept.map(|(slot, _)| slot)).collect();
        self.list(digest, found);
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

    /// The canonical receipt of an instruction; of several the one that reaches farthest.
    pub(crate) fn find(&self, digest: &Digest) -> Option<(u32, &Known)> {
        let is = |slot| self.get(slot).digest() == digest;
        let slot = self.canonical.get(digest, is)?;
        Some((slot, self.get(slot)))
    }

    /// All canonical receipts of an instruction: the one that reaches farthest, then the newest ones first.
    pub(crate) fn all(&self, digest: &Digest) -> impl Iterator<Item = (u32, &Known)> {
        let first = self.find(digest).map(|(slot, _)| slot);
        let others = first.and_then(|_| self.others.get(digest));
        let slots = first
            .into_iter()
            .chain(others.into_iter().flatten().copied());
        slots.map(|slot| (slot, self.get(slot)))
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
        let known = self.slots[slot as usize]
            .as_mut()
            .expect("whoever has the number holds the receipt");
        known.holders -= 1;
        if known.holders == 0 {
            let digest = *known.digest();
            self.unlist(digest, slot);
            self.slots[slot as usize] = None;
            self.free.push(slot);
        }
    }

    /// A receipt is not found any more, if it was.
    fn unlist(&mut self, digest: Digest, slot: u32) {
        if self.others.contains_key(&digest) {
            let left = self.all(&digest).map(|(other, _)| other);
            let left = left.filter(|other| *other != slot).collect();
            self.list(digest, left);
        } else {
            // Nothing happens if another one is canonical.
            self.canonical.remove(&digest, slot);
        }
    }

    fn make_canonical(&mut self, digest: &Digest, slot: u32) {
        let slots = &self.slots;
        self.canonical.insert(digest, slot, |slot| {
            let known = slots[slot as usize].as_ref();
            known.is_some_and(|known| known.digest() == digest)
        });
    }

    /// Has these found for an instruction, ordered from the newest to the oldest. The one that reaches farthest comes first
    /// and stays, however many there are.
    fn list(&mut self, digest: Digest, mut found: Vec<u32>) {
        let farthest = (0..found.len())
            .rev()
            .max_by_key(|at| self.get(found[*at]).reach());
        let Some(farthest) = farthest else {
            if let Some((slot, _)) = self.find(&digest) {
                self.canonical.remove(&digest, slot);
            }
            self.others.remove(&digest);
            return;
        };
        found[..=farthest].rotate_right(1);
        found.truncate(FOUND_MAX);
        self.make_canonical(&digest, found.remove(0));
        if found.is_empty() {
            self.others.remove(&digest);
        } else {
            self.others.insert(digest, found);
        }
    }
}
