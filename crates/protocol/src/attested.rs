//! Receipts of ours, held small.
//!
//! A receipt has maps in maps and takes eight kilobytes as a structure. What this program makes has always the same parts:
//! they are held instead, and the receipt is made of them for whoever asks. What the outcomes of one batch have in common
//! (key, signature, the tree that their paths are in) is held once for all of them, and so is what most receipts have in common
//! (function, limits); the outcome's own name follows from the rest.

mod batch;
mod short;
mod write;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::{batch::Batch, short::Short};
use crate::{
    Attestation, Cid, Conditions, Encoded, Evidence, Failure, MerkleTree, Out, Outcome, PublicKey,
    Receipt, Signature, TrapKind,
    codec::write::{LINK, encoded},
    content_cid, decode, encode,
    limits::OUTCOME_BYTES_MAX,
};

/// What [`Receipt::attested`] makes a receipt of. It is written and read as that receipt.
#[derive(Clone)]
pub struct Attested {
    /// Digests of the invocation and the instruction.
    ran: [u8; 32],
    instruction: [u8; 32],
    /// As it is encoded.
    out: Short,
    fuel: u64,
    alike: Arc<Alike>,
    batch: Arc<Batch>,
    /// Most receipts have nothing of this.
    more: Option<Box<More>>,
    index: u32,
    /// Is the fuel known? It is 0 if not.
    fueled: bool,
    trap: Option<TrapKind>,
}

/// What many receipts have in common.
#[derive(PartialEq)]
struct Alike {
    func: Arc<str>,
    metering: Arc<str>,
    conditions: Conditions,
}

#[derive(Clone, Default, PartialEq)]
struct More {
    evidence: Option<Evidence>,
    rests_on: Vec<Cid>,
}

/// An outcome as it came, with all that its receipt says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The outcome's name.
    pub cid: Cid,
    /// Size of the encoded outcome.
    pub bytes: u32,
    /// What it came to, as it is encoded.
    out: Short,
    /// How it failed, if it did.
    pub trap: Option<TrapKind>,
}

/// An [`Attestation`], held small.
#[derive(Clone)]
pub struct Signed {
    batch: Arc<Batch>,
    index: u32,
    conditions: Conditions,
}

impl Named {
    /// What is known of an outcome once it was encoded.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let (out, trap) = came_to(outcome);
        let mut bytes = Vec::with_capacity(out.len() + 128);
        // Whoever delivers may name anything.
        let instruction = encode(&outcome.instruction);
        write::outcome(&mut bytes, &out, outcome.fuel, &outcome.metering);
        bytes.extend_from_slice(&instruction);
        Self {
            cid: content_cid(&bytes),
            bytes: bytes.len() as u32,
            out,
            trap,
        }
    }
}

/// What an outcome came to, as it is encoded, and how it failed, if it did.
fn came_to(outcome: &Outcome) -> (Short, Option<TrapKind>) {
    let trap = outcome.failure().map(|Failure { trap, .. }| trap);
    (encode(&outcome.out).into(), trap)
}

impl Signed {
    /// The attestations of a batch, in the order of its statements: `conditions` are theirs.
    #[must_use]
    pub fn batch(
        key: PublicKey,
        tree: &MerkleTree,
        signature: Signature,
        conditions: impl IntoIterator<Item = Conditions>,
    ) -> Vec<Self> {
        let batch = Arc::new(Batch::whole(key, tree, signature));
        let places = (0..tree.leaves()).zip(conditions);
        places
            .map(|(index, conditions)| Self {
                batch: Arc::clone(&batch),
                index,
                conditions,
            })
            .collect()
    }

    /// An attestation that came alone; `None` if its path is none.
    #[must_use]
    pub fn of(attestation: &Attestation) -> Option<Self> {
        Some(Self {
            batch: Arc::new(Batch::alone(attestation)?),
            index: attestation.path.index,
            conditions: attestation.conditions,
        })
    }

    /// As it is read by others.
    #[must_use]
    pub fn attestation(&self) -> Attestation {
        self.batch.attestation(self.index, &self.conditions)
    }

    /// Who signed.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.batch.key
    }
}

impl PartialEq for Signed {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            batch,
            index,
            conditions,
        } = self;
        (index, conditions) == (&other.index, &other.conditions) && batch.says(*index, &other.batch)
    }
}

impl Attested {
    /// The receipt of an outcome for the invocation `ran`, as [`Receipt::attested`]. `named` is of this outcome, which it holds
    /// already but for small parts. What it has in common with `like`, beside the batch, is held once.
    #[must_use]
    pub fn new(
        ran: Cid,
        func: &Arc<str>,
        outcome: &Outcome,
        metering: &Arc<str>,
        named: Named,
        signed: Signed,
        like: Option<&Self>,
    ) -> Self {
        let Named { out, trap, .. } = named;
        Self::of(ran, func, outcome, metering, (out, trap), signed, like)
    }

    /// The same, of an outcome that nobody asks for its name.
    fn of(
        ran: Cid,
        func: &Arc<str>,
        outcome: &Outcome,
        metering: &Arc<str>,
        (out, trap): (Short, Option<TrapKind>),
        signed: Signed,
        like: Option<&Self>,
    ) -> Self {
        debug_assert!(**metering == *outcome.metering);
        let Signed {
            batch,
            index,
            conditions,
        } = signed;
        let same = like.map(|like| &like.alike).filter(|alike| {
            alike.conditions == conditions && alike.func == *func && alike.metering == *metering
        });
        let alike = same.cloned().unwrap_or_else(|| {
            Arc::new(Alike {
                func: Arc::clone(func),
                metering: Arc::clone(metering),
                conditions,
            })
        });
        Self {
            ran: ran.digest(),
            instruction: outcome.instruction.digest(),
            out,
            fuel: outcome.fuel.unwrap_or(0),
            alike,
            batch,
            more: None,
            index,
            fueled: outcome.fuel.is_some(),
            trap,
        }
    }

    /// A receipt, if it is one that this program makes: nothing of it is lost.
    #[must_use]
    pub fn read(receipt: &Receipt) -> Option<Self> {
        let outcome = receipt.outcome()?;
        let attestation = receipt.attestation()?;
        let mut read = Self::of(
            receipt.ran,
            &receipt.func()?.into(),
            &outcome,
            &outcome.metering.as_str().into(),
            came_to(&outcome),
            Signed::of(&attestation)?,
            None,
        )
        .resting_on(receipt.rests_on());
        if let Some(evidence) = receipt.evidence() {
            read = read.believed(evidence);
        }
        (read.receipt() == *receipt).then_some(read)
    }

    /// The same receipt, with what it was believed on.
    #[must_use]
    pub fn believed(mut self, evidence: Evidence) -> Self {
        self.more.get_or_insert_default().evidence = Some(evidence);
        self
    }

    /// See [`Receipt::resting_on`].
    #[must_use]
    pub fn resting_on(mut self, outcomes: Vec<Cid>) -> Self {
        if !outcomes.is_empty() {
            self.more.get_or_insert_default().rests_on = outcomes;
        }
        self
    }

    /// Holds once what this has in common with another one: receipts that are read one after the other were often signed
    /// together. The other one stays what it is, and holds for both what either knows of their batch.
    pub fn share(&mut self, other: &Self) {
        self.batch.share(self.index, &other.batch, other.index);
        if self.alike == other.alike {
            self.alike = Arc::clone(&other.alike);
        }
    }

    /// The receipt, as it is read by others.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        let outcome = self.outcome();
        let attestation = self.attestation();
        let receipt = Receipt::attested(self.ran(), self.func(), &outcome, &attestation)
            .resting_on(self.rests_on());
        match self.evidence() {
            Some(evidence) => receipt.believed(evidence),
            None => receipt,
        }
    }

    /// The canonical bytes of the receipt.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1_024 + self.out.len());
        write::receipt(&mut bytes, self);
        bytes
    }

    /// The receipt's own name.
    #[must_use]
    pub fn cid(&self) -> Cid {
        content_cid(&self.encoded())
    }

    /// The invocation.
    #[must_use]
    pub fn ran(&self) -> Cid {
        Cid::of_content_digest(self.ran)
    }

    /// The instruction.
    #[must_use]
    pub fn instruction(&self) -> Cid {
        Cid::of_content_digest(self.instruction)
    }

    /// The instruction's digest.
    #[must_use]
    pub fn instruction_digest(&self) -> &[u8; 32] {
        &self.instruction
    }

    /// The function that was called.
    #[must_use]
    pub fn func(&self) -> &str {
        &self.alike.func
    }

    /// The outcome.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome {
            instruction: self.instruction(),
            out: self.out(),
            fuel: self.fuel(),
            metering: self.alike.metering.to_string(),
        }
    }

    /// The outcome's name.
    #[must_use]
    pub fn outcome_cid(&self) -> Cid {
        let mut bytes = Vec::with_capacity(self.out.len() + 128);
        write::outcome(&mut bytes, &self.out, self.fuel(), &self.alike.metering);
        write::content(&mut bytes, &self.instruction);
        content_cid(&bytes)
    }

    /// Size of the encoded outcome.
    #[must_use]
    pub fn outcome_bytes(&self) -> u32 {
        write::outcome_length(self) as u32
    }

    /// May what it came to link to anything? Where it does not, this may be said all the same.
    #[must_use]
    pub fn may_link(&self) -> bool {
        self.out.windows(2).any(|bytes| bytes == LINK)
    }

    /// What it came to.
    ///
    /// # Panics
    /// Never: it was encoded from such a thing.
    #[must_use]
    pub fn out(&self) -> Out {
        decode("out", &self.out, OUTCOME_BYTES_MAX.max(self.out.len()))
            .expect("it was encoded from an outcome")
    }

    /// What it came to, to be handed on.
    #[must_use]
    pub fn encoded_out(&self) -> Encoded<Out> {
        Encoded::trusted(&*self.out)
    }

    /// Did it come to an error?
    #[must_use]
    pub fn is_error(&self) -> bool {
        // A list of two, and the text `ok`.
        !self.out.starts_with(b"\x82\x62ok")
    }

    /// Fuel that was used, as far as it is known.
    #[must_use]
    pub fn fuel(&self) -> Option<u64> {
        self.fueled.then_some(self.fuel)
    }

    /// How it failed, if it did.
    #[must_use]
    pub fn trap(&self) -> Option<TrapKind> {
        self.trap
    }

    /// The issuer's own attestation.
    #[must_use]
    pub fn attestation(&self) -> Attestation {
        self.batch.attestation(self.index, self.conditions())
    }

    /// The issuer.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.batch.key
    }

    /// The limits of the attempt.
    #[must_use]
    pub fn conditions(&self) -> &Conditions {
        &self.alike.conditions
    }

    /// What it was believed on; `None` for one attestation of whomever.
    #[must_use]
    pub fn evidence(&self) -> Option<&Evidence> {
        self.more.as_ref()?.evidence.as_ref()
    }

    /// See [`Receipt::rests_on`].
    #[must_use]
    pub fn rests_on(&self) -> &[Cid] {
        self.more.as_ref().map_or(&[], |more| &more.rests_on)
    }
}

impl PartialEq for Attested {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            ran,
            instruction,
            out,
            fuel,
            alike,
            batch,
            more,
            index,
            fueled,
            trap,
        } = self;
        (ran, instruction, out) == (&other.ran, &other.instruction, &other.out)
            && (fuel, fueled, trap) == (&other.fuel, &other.fueled, &other.trap)
            && (alike, more, index) == (&other.alike, &other.more, &other.index)
            && batch.says(*index, &other.batch)
    }
}

impl fmt::Debug for Attested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.receipt().fmt(f)
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.attestation().fmt(f)
    }
}

impl Serialize for Attested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        encoded(serializer, || self.encoded(), || self.receipt())
    }
}

/// A receipt that this program makes, and no other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    ran: Cid,
    out: Out,
    meta: WrittenMeta,
    iss: String,
    prf: Vec<Cid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenMeta {
    op: String,
    instruction: Cid,
    #[serde(deserialize_with = "crate::codec::present")]
    fuel: Option<u64>,
    metering: String,
    attestation: Attestation,
    #[serde(default, deserialize_with = "some")]
    evidence: Option<Evidence>,
    #[serde(default, deserialize_with = "some")]
    rests_on: Option<Vec<Cid>>,
}

/// Reads a field that may be absent but not be null.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Attested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let other = || D::Error::custom("it is a receipt, and not one that this program makes");
        if deserializer.is_human_readable() {
            // There, what is inside of `meta` is written as a value.
            return Self::read(&Receipt::deserialize(deserializer)?).ok_or_else(other);
        }
        let Written {
            ran,
            out,
            meta,
            iss,
            prf,
        } = Written::deserialize(deserializer)?;
        let is_content = |cid: &Cid| Cid::of_content_digest(cid.digest()) == *cid;
        let is_ours = is_content(&ran) && is_content(&meta.instruction);
        if !is_ours
            || !prf.is_empty()
            || iss != meta.attestation.key.did()
            || meta.rests_on.as_ref().is_some_and(Vec::is_empty)
        {
            return Err(other());
        }
        let outcome = Outcome {
            instruction: meta.instruction,
            out,
            fuel: meta.fuel,
            metering: meta.metering,
        };
        let came_to = came_to(&outcome);
        let signed = Signed::of(&meta.attestation).ok_or_else(other)?;
        let metering = outcome.metering.as_str().into();
        let func = meta.op.into();
        let read = Self::of(ran, &func, &outcome, &metering, came_to, signed, None)
            .resting_on(meta.rests_on.unwrap_or_default());
        Ok(match meta.evidence {
            Some(evidence) => read.believed(evidence),
            None => read,
        })
    }
}
