//! `asterism receipt`.

use std::{collections::BTreeSet, path::PathBuf};

use asterism_protocol::{
    Attestation, Basis, CONTENT_TYPE, Cid, Evidence, Receipt, Statement, decode,
    limits::FRAME_BYTES_MAX,
};
use clap::Subcommand;
use serde_json::json;

use crate::{
    client::Coordinator,
    commands::read_workflow,
    console::{Console, print},
    failure::{Doing as _, Exit, Failure},
    rerun::{self, From},
};

/// What to do with receipts.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print a receipt as DAG-JSON
    Get {
        #[command(flatten)]
        which: Which,
    },
    /// Check a receipt: its CID, who signed it, that all signatures cover this outcome
    Verify {
        #[command(flatten)]
        which: Which,
        /// Perform the task here, too, and compare the outcomes
        #[arg(long)]
        rerun: bool,
        /// A run that the task is in; all that the coordinator keeps are looked through without it
        #[arg(long, requires = "rerun", value_name = "RUN")]
        run: Option<String>,
        /// File of a workflow that the task is in, where the coordinator keeps no run of it any more
        #[arg(long, requires = "rerun", value_name = "FILE", conflicts_with = "run")]
        workflow: Option<PathBuf>,
    },
}

/// A receipt.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// CID of the receipt, or of the instruction that it answers
    cid: String,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// Does it.
pub(crate) async fn execute(command: Command, console: &Console) -> Result<(), Failure> {
    let (Command::Get { which } | Command::Verify { which, .. }) = &command;
    let cid: Cid = which
        .cid
        .parse()
        .map_err(|error: asterism_protocol::Error| Failure::invalid(error.to_string()))
        .doing("get a receipt")?;
    let path = format!("/receipts/{cid}");
    match &command {
        Command::Get { .. } => {
            let answer = which.coordinator.get(&path, &[]).await;
            let answer = answer.doing(format_args!("get receipt {cid}"))?;
            print(&String::from_utf8_lossy(&answer.body));
            Ok(())
        }
        Command::Verify {
            rerun,
            run,
            workflow,
            ..
        } => {
            let doing = format!("verify receipt {cid}");
            let (receipt, mut report) = fetched(cid, &which.coordinator).await.doing(&doing)?;
            if *rerun {
                let from = match (run, workflow) {
                    (Some(run), _) => From::Run(run),
                    (None, Some(file)) => From::Workflow(read_workflow(file, console)?),
                    (None, None) => From::Any,
                };
                let again = rerun::rerun(&receipt, &from, &which.coordinator);
                again.await.doing(&doing)?;
                report.same_again = true;
            }
            print(&if console.json {
                report.json().to_string()
            } else {
                report.text()
            });
            Ok(())
        }
    }
}

/// A receipt of the coordinator, verified.
pub(crate) async fn fetched(
    cid: Cid,
    coordinator: &Coordinator,
) -> Result<(Receipt, Report), Failure> {
    let answer = coordinator
        .get_as(&format!("/receipts/{cid}"), CONTENT_TYPE)
        .await?;
    verify(cid, &answer.body)
}

/// What was found to be so.
pub(crate) struct Report {
    receipt: Cid,
    instruction: Cid,
    outcome: Cid,
    issuer: String,
    batch: usize,
    evidence: Option<Evidence>,
    /// It was performed here as well.
    same_again: bool,
}

impl Report {
    fn text(&self) -> String {
        let mut lines = vec![
            format!("receipt      {} (recomputed)", self.receipt),
            format!("instruction  {}", self.instruction),
            format!("outcome      {} (recomputed)", self.outcome),
            format!("signed by    {}", self.issuer),
            format!(
                "proof        {} steps to the root that was signed",
                self.batch
            ),
        ];
        if let Some(evidence) = &self.evidence {
            let agreeing = evidence.agreeing.iter();
            lines.extend(agreeing.map(|other| format!("signed by    {}", other.key.did())));
            lines.push(format!("policy       {}", evidence.policy));
            lines.push(format!("believed     {}", believed(evidence.basis)));
        } else {
            lines.push("believed     on the word of who signed it".to_owned());
        }
        if self.same_again {
            lines.push("performed    here again, with the same outcome".to_owned());
        }
        lines.join("\n")
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "receipt": self.receipt,
            "instruction": self.instruction,
            "outcome": self.outcome,
            "issuer": self.issuer,
            "steps": self.batch,
            "evidence": self.evidence,
            "same_again": self.same_again,
            "verified": true,
        })
    }
}

/// Nothing that the coordinator says is taken on trust: names are recomputed, the signature is checked here.
fn verify(asked: Cid, bytes: &[u8]) -> Result<(Receipt, Report), Failure> {
    let wrong = |because: String| Failure::new(Exit::Failed, because);
    let receipt: Receipt =
        decode("receipt", bytes, FRAME_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let outcome = receipt
        .outcome()
        .ok_or_else(|| wrong("it tells no outcome of ours".to_owned()))?;
    let cid = receipt.cid();
    if asked != cid && asked != outcome.instruction {
        return Err(wrong(format!(
            "what came is receipt {cid} of instruction {}",
            outcome.instruction
        )));
    }
    let attestation = receipt
        .attestation()
        .ok_or_else(|| wrong("nobody attests it".to_owned()))?;
    let issuer = attestation.key.did();
    if receipt.iss.as_deref() != Some(issuer.as_str()) {
        return Err(wrong(format!(
            "it names another issuer than {issuer}, who signed it"
        )));
    }
    covers(&attestation, outcome.cid()).map_err(wrong)?;
    let evidence = receipt.evidence();
    if let Some(evidence) = &evidence {
        check(evidence, &attestation, outcome.cid()).map_err(wrong)?;
    }
    let report = Report {
        receipt: cid,
        instruction: outcome.instruction,
        outcome: outcome.cid(),
        issuer,
        batch: attestation.path.siblings.len(),
        evidence,
        same_again: false,
    };
    Ok((receipt, report))
}

/// Did who attests it sign this outcome?
fn covers(attestation: &Attestation, outcome: Cid) -> Result<(), String> {
    let statement = Statement {
        outcome,
        conditions: attestation.conditions,
    };
    let signed = attestation.path.signed_bytes(&statement);
    let signed = signed.ok_or("its proof leads to no root")?;
    attestation
        .key
        .verify(&signed, &attestation.signature)
        .map_err(|error| {
            let signer = attestation.key.did();
            format!("the signature of {signer} does not cover this outcome: {error}")
        })
}

/// Is the evidence what it says it is, and enough for its policy?
fn check(evidence: &Evidence, issuer: &Attestation, outcome: Cid) -> Result<(), String> {
    let mut keys = BTreeSet::from([issuer.key]);
    for other in &evidence.agreeing {
        covers(other, outcome)?;
        if !keys.insert(other.key) {
            return Err(format!("{} attests it twice", other.key.did()));
        }
    }
    if let Basis::Agreed { executors } = evidence.basis
        && keys.len() as u64 != u64::from(executors)
    {
        let there = keys.len();
        return Err(format!(
            "it tells of the agreement of {executors} executors, and has the signatures of {there}"
        ));
    }
    if !evidence.basis.satisfies(&evidence.policy) {
        let basis = believed(evidence.basis);
        return Err(format!(
            "it was believed {basis}, which is not enough for {}",
            evidence.policy
        ));
    }
    Ok(())
}

/// In words, with what nobody but the coordinator can know.
fn believed(basis: Basis) -> String {
    match basis {
        Basis::Unverified => "on the word of who signed it".to_owned(),
        Basis::Sampled { passed } => {
            format!("on the record of who signed it: {passed} checks passed, says the coordinator")
        }
        Basis::Agreed { executors } => format!("on the agreement of {executors} executors"),
        Basis::Trusted => {
            "on the word of an executor that the coordinator's operator trusts".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{
        Conditions, Identity, MerkleTree, Out, Outcome, Policy, Value, content_cid, encode,
    };

    use super::*;

    fn receipt() -> Receipt {
        let outcome = Outcome {
            instruction: content_cid(b"instruction"),
            out: Out::Ok(Value::Integer(5)),
            fuel: Some(7),
            metering: "wasmtime-48".into(),
        };
        let attestation = attested(&Identity::from_seed(&[1; 32]), &outcome);
        Receipt::attested(content_cid(b"invocation"), "f", &outcome, &attestation)
    }

    fn attested(identity: &Identity, outcome: &Outcome) -> Attestation {
        let conditions = Conditions {
            fuel: 10,
            memory: 20,
            growth_refused: false,
        };
        let statement = Statement {
            outcome: outcome.cid(),
            conditions,
        };
        let tree = MerkleTree::new(&[statement]);
        Attestation {
            key: identity.public_key(),
            conditions,
            path: tree.path(0),
            signature: identity.sign(&tree.signed_bytes()),
        }
    }

    fn refused(asked: Cid, receipt: &Receipt, words: &str) {
        let Err(failure) = verify(asked, &encode(receipt)) else {
            panic!("it was verified, and should be refused: {words}");
        };
        assert!(
            failure.reason().contains(words),
            "{} does not say {words}",
            failure.reason()
        );
    }

    #[test]
    fn an_honest_receipt_is_verified_by_both_of_its_names() {
        let receipt = receipt();
        for asked in [receipt.cid(), content_cid(b"instruction")] {
            assert!(verify(asked, &encode(&receipt)).is_ok());
        }
        refused(content_cid(b"other"), &receipt, "what came is receipt");
    }

    #[test]
    fn a_receipt_that_was_changed_is_not_believed() {
        let honest = receipt();
        let mut out = honest.clone();
        out.out = Out::Ok(Value::Integer(6));
        refused(out.cid(), &out, "does not cover this outcome");
        refused(honest.cid(), &out, "what came is receipt");
        let mut iss = honest.clone();
        iss.iss = Some(Identity::from_seed(&[2; 32]).public_key().did());
        refused(iss.cid(), &iss, "another issuer");
        let mut meta = honest;
        meta.meta.remove("attestation");
        refused(meta.cid(), &meta, "nobody attests it");
    }

    #[test]
    fn evidence_is_no_more_than_what_was_signed() {
        let honest = receipt();
        let issuer = honest.attestation().unwrap();
        let agreed = |executors, agreeing: Vec<Attestation>| {
            honest.clone().believed(&Evidence {
                policy: Policy::Quorum { agree: 2, of: 3 },
                basis: Basis::Agreed { executors },
                agreeing,
            })
        };
        let alone = agreed(2, Vec::new());
        refused(alone.cid(), &alone, "has the signatures of 1");
        let twice = agreed(2, vec![issuer.clone()]);
        refused(twice.cid(), &twice, "attests it twice");
        let too_few = agreed(1, Vec::new());
        refused(too_few.cid(), &too_few, "not enough for quorum:2/3");
        let other = Identity::from_seed(&[2; 32]);
        let forged = Attestation {
            key: other.public_key(),
            ..issuer
        };
        let forged = agreed(2, vec![forged]);
        refused(forged.cid(), &forged, "does not cover this outcome");
        let second = attested(&other, &honest.outcome().unwrap());
        let both = agreed(2, vec![second]);
        assert!(verify(both.cid(), &encode(&both)).is_ok());
    }
}
