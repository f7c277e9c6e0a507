//! What a receipt proves, and what it does not.

use asterism_protocol::{
    Attestation, Basis, Cid, Conditions, Error, Evidence, Identity, MerkleTree, Out, Outcome,
    Policy, Receipt, Statement, Value, content_cid,
};

fn outcome(number: i128) -> Outcome {
    Outcome {
        instruction: content_cid(b"instruction"),
        out: Out::Ok(Value::Integer(number)),
        fuel: Some(7),
        metering: "m".into(),
    }
}

/// What an executor signs who came to this outcome, among others.
fn attested(seed: u8, outcome: &Outcome) -> Attestation {
    let identity = Identity::from_seed(&[seed; 32]);
    let conditions = Conditions {
        fuel: 1,
        memory: 1,
        growth_refused: false,
    };
    let statement = |outcome: Cid| Statement {
        outcome,
        conditions,
    };
    let tree = MerkleTree::new(&[statement(content_cid(b"other")), statement(outcome.cid())]);
    Attestation {
        key: identity.public_key(),
        conditions,
        path: tree.path(1),
        signature: identity.sign(&tree.signed_bytes()),
    }
}

fn receipt() -> Receipt {
    let seven = outcome(7);
    Receipt::attested(
        content_cid(b"invocation"),
        "f",
        &seven,
        &attested(1, &seven),
    )
}

fn agreed(executors: u32, agreeing: Vec<Attestation>) -> Receipt {
    receipt().believed(&Evidence {
        policy: Policy::Quorum { agree: 2, of: 3 },
        basis: Basis::Agreed { executors },
        agreeing,
    })
}

fn refused(receipt: &Receipt, path: &str) {
    match receipt.verify() {
        Err(Error::Value { path: found, .. }) => assert_eq!(found, path),
        Err(Error::Signature(_)) => assert_eq!("signature", path),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_signed_is_proven() {
    receipt().verify().unwrap();
    agreed(2, vec![attested(2, &outcome(7))]).verify().unwrap();
}

#[test]
fn what_was_changed_after_signing_is_not() {
    let mut changed = receipt();
    changed.out = Out::Ok(Value::Integer(8));
    refused(&changed, "signature");
    let mut renamed = receipt();
    renamed.iss = Some(Identity::from_seed(&[2; 32]).public_key().did());
    refused(&renamed, "iss");
    let mut bare = receipt();
    bare.meta.remove("attestation");
    refused(&bare, "meta.attestation");
    let mut attestation = attested(1, &outcome(7));
    attestation.path.index = 2;
    let invocation = content_cid(b"invocation");
    refused(
        &Receipt::attested(invocation, "f", &outcome(7), &attestation),
        "path",
    );
}

#[test]
fn agreement_needs_as_many_different_keys_as_it_says() {
    refused(&agreed(2, Vec::new()), "meta.evidence");
    refused(&agreed(2, vec![attested(1, &outcome(7))]), "meta.evidence");
    refused(&agreed(2, vec![attested(2, &outcome(8))]), "signature");
    refused(&agreed(1, Vec::new()), "meta.evidence");
    let mut unread = receipt();
    unread.meta.insert("evidence".into(), Value::Null);
    refused(&unread, "meta.evidence");
}
