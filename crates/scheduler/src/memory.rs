//! Canonical receipts that live runs and the runs kept for show refer to.

use std::{collections::BTreeMap, iter};

use asterism_protocol::{
    Attested, Basis, Cid, Conditions, Limits, Policy, PublicKey, Remark, Timestamp, TrapKind,
};

use crate::{
    affinity::{Mark, links},
    digests::{Digest, Digests},
    graph::Branch,
    slots::Slots,
    works::memory_key,
};

/// Receipts of one instruction that are found: it has several only where limits or policies changed what came of it.
const FOUND_MAX: usize = 8;

/// A receipt with what is asked of it often. A million of them are held at once, so what most have not takes no room.
pub(crate) struct Known {
    pub(crate) receipt: Attested,
    rare: Option<Box<Rare>>,
    /// When it became canonical; the beginning of time for what came with a submission.
    pub(crate) at: Timestamp,
    leased: Before,
    started: Before,
    computed: Before,
    delivered: Before,
    /// How long it took, in microseconds, if engine and guest said nothing more; [`u32::MAX`] if nothing was said.
    took_us: u32,
    holders: u32,
}

/// What most receipts have not.
#[derive(Default)]
struct Rare {
    /// The blobs that it links to.
    blobs: Box<[Mark]>,
    /// What it is found by, where that is not its instruction alone.
    key: Option<Digest>,
    /// What engine and guest said, where that is more than how long it took.
    remark: Option<Remark>,
    /// Times that are too far from when it became canonical.
    times: Option<Times>,
}

/// How many milliseconds before a receipt became canonical, or never; in four bytes.
#[derive(Clone, Copy)]
struct Before(u32);

impl Before {
    const NEVER: Self = Self(u32::MAX);

    /// `None` if it does not fit.
    fn of(then: Option<Timestamp>, at: Timestamp) -> Option<Self> {
        let Some(then) = then else {
            return Some(Self::NEVER);
        };
        let before = u32::try_from(at.0.checked_sub(then.0)?).ok()?;
        (before != u32::MAX).then_some(Self(before))
    }

    fn get(self, at: Timestamp) -> Option<Timestamp> {
        (self.0 != u32::MAX).then(|| Timestamp(at.0 - u64::from(self.0)))
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
    pub(crate) fn new(receipt: Attested, blobs: Vec<Mark>, times: Times) -> Self {
        let instruction = receipt.instruction_digest();
        let key = memory_key(instruction, receipt.rests_on());
        let key = (key != *instruction).then_some(key);
        let at = times.at;
        let mut known = Self {
            receipt,
            rare: None,
            at,
            leased: Before::NEVER,
            started: Before::NEVER,
            computed: Before::NEVER,
            delivered: Before::NEVER,
            took_us: u32::MAX,
            holders: 0,
        };
        let before = |then| Before::of(then, at);
        if let (Some(leased), Some(started), Some(computed), Some(delivered)) = (
            before(times.leased),
            before(times.started),
            before(times.computed),
            before(times.delivered),
        ) {
            (known.leased, known.started) = (leased, started);
            (known.computed, known.delivered) = (computed, delivered);
        } else {
            known.rare.get_or_insert_default().times = Some(times);
        }
        if !blobs.is_empty() {
            known.rare.get_or_insert_default().blobs = blobs.into();
        }
        if key.is_some() {
            known.rare.get_or_insert_default().key = key;
        }
        known
    }

    /// A receipt that was made before.
    pub(crate) fn read(receipt: Attested, at: Timestamp) -> Self {
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
        let key = self.rare.as_ref().and_then(|rare| rare.key.as_ref());
        key.unwrap_or_else(|| self.receipt.instruction_digest())
    }

    /// The blobs that it links to.
    pub(crate) fn blobs(&self) -> &[Mark] {
        self.rare.as_ref().map_or(&[], |rare| &rare.blobs)
    }

    /// What it was believed on.
    pub(crate) fn basis(&self) -> Basis {
        let evidence = self.receipt.evidence();
        evidence.map_or(Basis::Unverified, |evidence| evidence.basis)
    }

    /// Size of the outcome as a lease's input, in bytes.
    pub(crate) fn bytes(&self) -> u32 {
        self.receipt.outcome_bytes()
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
        let conditions = self.receipt.conditions();
        if self.limited() {
            (false, conditions.fuel, conditions.memory)
        } else {
            (true, 0, 0)
        }
    }

    /// Does this answer every request that the other one answers, whatever its policy?
    fn replaces(&self, other: &Self) -> bool {
        let Conditions { fuel, memory, .. } = *other.receipt.conditions();
        // Whoever answers two amounts of fuel, or of memory, answers all between them: so the ends are enough.
        let ends = |fuel| {
            [memory, u64::MAX].map(|memory| Limits {
                fuel,
                memory,
                time_ms: u64::MAX,
            })
        };
        let mut requests = [0, fuel, u64::MAX].into_iter().flat_map(ends);
        satisfies_as(self.basis(), other.basis())
            && requests
                .all(|limits| other.answer(&limits).is_none() || self.answer(&limits).is_some())
    }

    /// Whose outcome it is.
    pub(crate) fn executor(&self) -> PublicKey {
        self.receipt.key()
    }

    pub(crate) fn remark(&self) -> Option<Remark> {
        let said = self.rare.as_ref().and_then(|rare| rare.remark.as_ref());
        let took = (self.took_us != u32::MAX).then(|| took(u64::from(self.took_us)));
        said.cloned().or(took)
    }

    pub(crate) fn set_remark(&mut self, remark: &Remark) {
        match u32::try_from(remark.elapsed_us) {
            Ok(took_us) if took_us != u32::MAX && *remark == took(remark.elapsed_us) => {
                self.took_us = took_us;
            }
            Ok(_) | Err(_) => {
                self.rare.get_or_insert_default().remark = Some(remark.clone());
            }
        }
    }

    pub(crate) fn times(&self) -> Times {
        let at = self.at;
        let far = self.rare.as_ref().and_then(|rare| rare.times);
        far.unwrap_or(Times {
            leased: self.leased.get(at),
            started: self.started.get(at),
            computed: self.computed.get(at),
            delivered: self.delivered.get(at),
            at,
        })
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
        let merit = (Some(self.basis()), self.reach());
        self.basis().satisfies(policy).then_some((merit, answer))
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

/// A remark that says how long it took, and nothing more.
fn took(elapsed_us: u64) -> Remark {
    Remark {
        elapsed_us,
        ..Remark::default()
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

/// A reference to a receipt in [`Memory`], with how it answers and whether another limit would change it; four bytes for each node of
/// each run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held(u32);

impl Held {
    pub(crate) const NOTHING: Self = Self(u32::MAX);
    const OUT_OF_FUEL: u32 = 1 << 31;
    const LIMITED: u32 = 1 << 30;
    const SLOT: u32 = Self::LIMITED - 1;

    /// `known` is what has this number.
    pub(crate) fn new(slot: u32, known: &Known, answer: Answer) -> Self {
        let answer = match answer {
            Answer::Whole => 0,
            Answer::OutOfFuel => Self::OUT_OF_FUEL,
        };
        let limited = if known.limited() { Self::LIMITED } else { 0 };
        Self(slot | answer | limited)
    }

    /// Would another limit change it, or was it changed by one?
    pub(crate) fn is_limited(self) -> bool {
        self != Self::NOTHING && self.0 > Self::SLOT
    }

    pub(crate) fn get(self) -> Option<(u32, Answer)> {
        let answer = if self.0 & Self::OUT_OF_FUEL == 0 {
            Answer::Whole
        } else {
            Answer::OutOfFuel
        };
        (self != Self::NOTHING).then_some((self.0 & Self::SLOT, answer))
    }
}

/// Receipts by number and by instruction; what nobody holds is forgotten.
#[derive(Default)]
pub(crate) struct Memory {
    slots: Slots<Known>,
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
        let slots = &self.slots;
        let is = |slot| {
            slots
                .get(slot)
                .is_some_and(|known| *known.digest() == digest)
        };
        if self.canonical.insert_new(&digest, slot, is).is_ok() {
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
        self.slots.insert(known)
    }

    /// The canonical receipt of an instruction; of several the one that reaches farthest.
    pub(crate) fn find(&self, digest: &Digest) -> Option<(u32, &Known)> {
        let is = |slot| self.get(slot).digest() == digest;
        let slot = self.canonical.get(digest, is)?;
        Some((slot, self.get(slot)))
    }

    /// All canonical receipts of an instruction: the one that reaches farthest, then the newest ones first.
    pub(crate) fn all(&self, digest: &Digest) -> impl Iterator<Item = (u32, &Known)> {
        let first = self.find(digest);
        let others = first.and_then(|_| self.others.get(digest));
        let others = others.into_iter().flatten();
        iter::chain(first, others.map(|slot| (*slot, self.get(*slot))))
    }

    /// Of the canonical receipts of an instruction that answer, the one with the greatest merit.
    pub(crate) fn best(
        &self,
        digest: &Digest,
        serves: impl Fn(&Known) -> Option<(Merit, Answer)>,
    ) -> Option<(u32, Answer)> {
        let (slot, first) = self.find(digest)?;
        if !self.others.contains_key(digest) {
            return serves(first).map(|(_, answer)| (slot, answer));
        }
        best(self.all(digest), serves).map(|(_, slot, answer)| (slot, answer))
    }

    pub(crate) fn get(&self, slot: u32) -> &Known {
        self.slots
            .get(slot)
            .expect("whoever has the number holds the receipt")
    }

    /// What has this number now, if anything has.
    pub(crate) fn peek(&self, slot: u32) -> Option<&Known> {
        self.slots.get(slot)
    }

    /// Refers to a receipt as to one that answers so.
    pub(crate) fn hold(&mut self, slot: u32, answer: Answer) -> Held {
        let known = self
            .slots
            .get_mut(slot)
            .expect("a receipt that was just found is there");
        known.holders += 1;
        Held::new(slot, known, answer)
    }

    pub(crate) fn release(&mut self, slot: u32) {
        let known = self
            .slots
            .get_mut(slot)
            .expect("whoever has the number holds the receipt");
        known.holders -= 1;
        if known.holders == 0 {
            let digest = *known.digest();
            self.unlist(digest, slot);
            self.slots.remove(slot);
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
            let known = slots.get(slot);
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

#[cfg(test)]
pub(crate) mod tests {
    use asterism_protocol::{
        Attestation, MerklePath, Named, Out, Outcome, Signature, Signed, Value, blob_cid,
        content_cid,
    };

    use super::*;

    /// The receipt of an outcome of `value`.
    pub(crate) fn receipt(instruction: Cid, value: Value) -> Attested {
        let outcome = Outcome {
            instruction,
            out: Out::Ok(value),
            fuel: Some(1),
            metering: "m".into(),
        };
        let signed = Signed::of(&Attestation {
            key: PublicKey::new([1; 32]),
            conditions: Conditions {
                fuel: 1,
                memory: 1,
                growth_refused: false,
            },
            path: MerklePath::default(),
            signature: Signature::new([0; 64]),
        });
        let (ran, named) = (content_cid(b"r"), Named::of(&outcome));
        let (func, metering, signed) = ("f".into(), "m".into(), signed.unwrap());
        Attested::new(ran, &func, &outcome, &metering, named, signed, None)
    }

    fn known(value: Value, rests_on: Vec<Cid>, times: Times) -> Known {
        let blobs = links([&value]);
        let receipt = receipt(content_cid(b"i"), value);
        Known::new(receipt.resting_on(rests_on), blobs, times)
    }

    /// A million of these are held at once.
    #[test]
    fn what_is_known_beside_a_receipt_takes_40_bytes() {
        assert_eq!(size_of::<Option<Known>>(), size_of::<Attested>() + 40);
    }

    #[test]
    fn times_are_told_as_they_were() {
        let far = u64::from(u32::MAX);
        for (leased, started, delivered, at) in [
            (Some(5), Some(6), Some(7), 7),
            (None, None, None, 0),
            (Some(0), None, Some(far - 1), far - 1),
            // Too long ago, or not before: as clocks may be set.
            (Some(0), None, Some(far), far),
            (Some(8), None, None, 7),
        ] {
            let times = Times {
                leased: leased.map(Timestamp),
                started: started.map(Timestamp),
                computed: None,
                delivered: delivered.map(Timestamp),
                at: Timestamp(at),
            };
            let known = known(Value::Null, Vec::new(), times);
            assert_eq!(format!("{:?}", known.times()), format!("{times:?}"));
            let fits = leased.is_none_or(|leased| leased <= at && at - leased < far);
            assert_eq!(known.rare.is_none(), fits, "{times:?}");
        }
    }

    #[test]
    fn remarks_are_told_as_they_were() {
        let mut known = known(Value::Null, Vec::new(), Times::default());
        assert_eq!(known.remark(), None);
        let far = u64::from(u32::MAX);
        for elapsed_us in [0, 1, far - 1, far, far + 1, u64::MAX] {
            known.set_remark(&took(elapsed_us));
            assert_eq!(known.remark(), Some(took(elapsed_us)));
            known.rare = None;
        }
        let remark = Remark {
            message: Some("it trapped".into()),
            ..took(7)
        };
        known.set_remark(&remark);
        assert_eq!(known.remark(), Some(remark));
    }

    #[test]
    fn links_and_keys_of_their_own_are_kept() {
        let plain = known(Value::Null, Vec::new(), Times::default());
        assert_eq!(*plain.digest(), content_cid(b"i").digest());
        assert!(plain.blobs().is_empty());
        let blob = blob_cid(b"b");
        let rests_on = vec![content_cid(b"o")];
        let key = memory_key(plain.digest(), &rests_on);
        let linking = known(Value::Link(blob.to_link()), rests_on, Times::default());
        assert_eq!(linking.blobs(), [Mark::of(&blob)]);
        assert_eq!(*linking.digest(), key);
        assert_ne!(linking.digest(), plain.digest());
    }
}
