//! A receipt: an outcome plus who attests it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Basis, Cid, Conditions, Error, Evidence, MerklePath, Out, Outcome, PublicKey, Signature,
    Statement, Value, content_cid, encode,
};

/// An attested outcome, in Homestar's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The CID of the invocation, `{"task": Task}`.
    pub ran: Cid,
    /// What it came to.
    pub out: Out,
    /// `op` and, in receipts of ours, what [`Receipt::outcome`] and [`Receipt::attestation`] need.
    pub meta: BTreeMap<String, Value>,
    /// Who attests, as did:key.
    #[serde(deserialize_with = "crate::codec::present")]
    pub iss: Option<String>,
    /// Proofs of authority.
    pub prf: Vec<Cid>,
}

/// How an executor attests an outcome: one signature over the Merkle root of a batch, and this outcome's path to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// Who signed.
    pub key: PublicKey,
    /// The limits of the attempt, signed together with the outcome.
    pub conditions: Conditions,
    /// From the statement to the root of the batch.
    pub path: MerklePath,
    /// Over [`crate::MerkleTree::signed_bytes`] of the root.
    pub signature: Signature,
}

impl Attestation {
    /// Was this outcome signed by the key?
    ///
    /// # Errors
    /// The path is none, or the signature is of something else.
    pub fn verify(&self, outcome: Cid) -> Result<(), Error> {
        let statement = Statement {
            outcome,
            conditions: self.conditions,
        };
        let signed = self.path.signed_bytes(&statement);
        let signed = signed.ok_or_else(|| Error::Value {
            path: "path".to_owned(),
            reason: "it is not the path of a statement in a batch".to_owned(),
        })?;
        self.key.verify(&signed, &self.signature)
    }
}

/// Keys of `meta` that this crate writes.
mod key {
    pub(super) const OP: &str = "op";
    pub(super) const INSTRUCTION: &str = "instruction";
    pub(super) const FUEL: &str = "fuel";
    pub(super) const METERING: &str = "metering";
    pub(super) const ATTESTATION: &str = "attestation";
    pub(super) const EVIDENCE: &str = "evidence";
    pub(super) const RESTS_ON: &str = "rests-on";
}

impl Receipt {
    /// The receipt of `outcome` for the invocation `ran`, attested by an executor.
    #[must_use]
    pub fn attested(ran: Cid, func: &str, outcome: &Outcome, attestation: &Attestation) -> Self {
        let meta = BTreeMap::from([
            (key::OP.to_owned(), Value::String(func.to_owned())),
            (
                key::INSTRUCTION.to_owned(),
                Value::Link(outcome.instruction.to_link()),
            ),
            (
                key::FUEL.to_owned(),
                outcome
                    .fuel
                    .map_or(Value::Null, |fuel| Value::Integer(fuel.into())),
            ),
            (
                key::METERING.to_owned(),
                Value::String(outcome.metering.clone()),
            ),
            (key::ATTESTATION.to_owned(), crate::to_value(attestation)),
        ]);
        Self {
            ran,
            out: outcome.out.clone(),
            meta,
            iss: Some(attestation.key.did()),
            prf: Vec::new(),
        }
    }

    /// The same receipt, with what it was believed on.
    #[must_use]
    pub fn believed(mut self, evidence: &Evidence) -> Self {
        self.meta
            .insert(key::EVIDENCE.to_owned(), crate::to_value(evidence));
        self
    }

    /// The same receipt of a task whose inputs depended on limits: it answers for the instruction only where these outcomes
    /// are its inputs too.
    #[must_use]
    pub fn resting_on(mut self, outcomes: &[Cid]) -> Self {
        if !outcomes.is_empty() {
            let links = outcomes.iter().map(|cid| Value::Link(cid.to_link()));
            self.meta
                .insert(key::RESTS_ON.to_owned(), Value::List(links.collect()));
        }
        self
    }

    /// The outcomes named by [`Receipt::resting_on`]; none for most receipts.
    #[must_use]
    pub fn rests_on(&self) -> Vec<Cid> {
        let Some(Value::List(links)) = self.meta.get(key::RESTS_ON) else {
            return Vec::new();
        };
        let cid = |value: &Value| match value {
            Value::Link(link) => Cid::try_from(*link).ok(),
            _ => None,
        };
        links.iter().filter_map(cid).collect()
    }

    /// The receipt's own name.
    #[must_use]
    pub fn cid(&self) -> Cid {
        content_cid(&encode(self))
    }

    /// The outcome that this receipt attests; `None` for a receipt that was not made by [`Receipt::attested`].
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let Value::Link(instruction) = self.meta.get(key::INSTRUCTION)? else {
            return None;
        };
        let Value::String(metering) = self.meta.get(key::METERING)? else {
            return None;
        };
        let fuel = match self.meta.get(key::FUEL)? {
            Value::Integer(n) => Some(u64::try_from(*n).ok()?),
            Value::Null => None,
            _ => return None,
        };
        let instruction = Cid::try_from(*instruction).ok()?;
        Some(Outcome {
            instruction,
            out: self.out.clone(),
            fuel,
            metering: metering.clone(),
        })
    }

    /// The function that was called; `None` for a receipt that does not say it.
    #[must_use]
    pub fn func(&self) -> Option<&str> {
        match self.meta.get(key::OP)? {
            Value::String(func) => Some(func),
            _ => None,
        }
    }

    /// What it was believed on; `None` for a receipt that was not made by [`Receipt::believed`].
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        crate::from_value("evidence", self.meta.get(key::EVIDENCE)?.clone()).ok()
    }

    /// The issuer's own attestation; `None` for a receipt that was not made by [`Receipt::attested`].
    #[must_use]
    pub fn attestation(&self) -> Option<Attestation> {
        crate::from_value("attestation", self.meta.get(key::ATTESTATION)?.clone()).ok()
    }

    /// Does it prove what it says: that its issuer signed this outcome, and all others whom its evidence names, too?
    /// Whether that is enough is for whoever reads it to say: see [`Receipt::evidence`].
    ///
    /// # Errors
    /// Which part proves nothing.
    pub fn verify(&self) -> Result<(), Error> {
        let wrong = |path: &str, reason: &str| Error::Value {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let outcome = self
            .outcome()
            .ok_or_else(|| wrong("meta", "it names no outcome"))?
            .cid();
        let attestation = self
            .attestation()
            .ok_or_else(|| wrong("meta.attestation", "there is none"))?;
        attestation.verify(outcome)?;
        if self.iss.as_deref() != Some(attestation.key.did().as_str()) {
            return Err(wrong("iss", "somebody else signed"));
        }
        if !self.meta.contains_key(key::EVIDENCE) {
            return Ok(());
        }
        let evidence = self
            .evidence()
            .ok_or_else(|| wrong("meta.evidence", "it cannot be read"))?;
        let mut keys = BTreeSet::from([attestation.key]);
        for other in &evidence.agreeing {
            other.verify(outcome)?;
            if !keys.insert(other.key) {
                return Err(wrong("meta.evidence", "one key counts twice"));
            }
        }
        match evidence.basis {
            Basis::Agreed { executors } if executors as usize != keys.len() => {
                Err(wrong("meta.evidence", "more or fewer signed than it says"))
            }
            basis if !basis.satisfies(&evidence.policy) => Err(wrong(
                "meta.evidence",
                "its basis is not enough for its policy",
            )),
            _ => Ok(()),
        }
    }
}
