//! What is held small of a receipt is all of it.

use std::{collections::BTreeMap, sync::Arc};

use asterism_protocol::{
    Attestation, Attested, Basis, Cid, Conditions, Evidence, Failure, Identity, MerkleTree, Named,
    Out, Outcome, Policy, Receipt, Signed, Statement, TrapKind, Value, blob_cid, content_cid,
    decode, encode, from_json, to_json, to_value,
};
use proptest::prelude::*;

fn conditions(number: u64) -> Conditions {
    Conditions {
        fuel: number,
        memory: number << 20,
        growth_refused: number % 2 == 1,
    }
}

fn outcome(out: Out, fuel: Option<u64>, metering: &str) -> Outcome {
    Outcome {
        instruction: content_cid(b"instruction"),
        out,
        fuel,
        metering: metering.into(),
    }
}

fn seven() -> Outcome {
    outcome(Out::Ok(Value::Integer(7)), Some(7), "m")
}

/// What is signed of these outcomes, and the tree over them.
fn signed(outcomes: &[Outcome]) -> (MerkleTree, Identity, Vec<Statement>) {
    let statement = |(number, outcome): (u64, &Outcome)| Statement {
        outcome: outcome.cid(),
        conditions: conditions(number),
    };
    let statements: Vec<Statement> = (0..).zip(outcomes).map(statement).collect();
    let tree = MerkleTree::new(&statements);
    (tree, Identity::from_seed(&[1; 32]), statements)
}

fn attestations(outcomes: &[Outcome]) -> Vec<Attestation> {
    let (tree, identity, statements) = signed(outcomes);
    let attestation = |(place, statement): (usize, &Statement)| Attestation {
        key: identity.public_key(),
        conditions: statement.conditions,
        path: tree.path(place),
        signature: identity.sign(&tree.signed_bytes()),
    };
    statements.iter().enumerate().map(attestation).collect()
}

fn receipt(outcome: &Outcome) -> Receipt {
    let attestation = &attestations(&[outcome.clone(), seven(), seven()])[0];
    Receipt::attested(content_cid(b"invocation"), "ns:a/b#f", outcome, attestation)
}

fn evidence() -> Evidence {
    Evidence {
        policy: Policy::Quorum { agree: 2, of: 3 },
        basis: Basis::Agreed { executors: 2 },
        agreeing: attestations(&[seven()]),
    }
}

/// It is the same whichever way it goes.
fn same(receipt: &Receipt) {
    let small = Attested::read(receipt).expect("it is one of ours");
    assert_eq!(small.receipt(), *receipt);
    let bytes = encode(receipt);
    assert!(small.encoded() == bytes, "{receipt:?}");
    assert!(encode(&small) == bytes);
    // Whoever writes it otherwise sees the receipt.
    assert!(serde_ipld_dagcbor::to_vec(&small).expect("a receipt") == bytes);
    assert!(to_value(&small) == to_value(receipt));
    assert_eq!(small.cid(), receipt.cid());
    let outcome = receipt.outcome().expect("ours");
    assert_eq!(small.outcome(), outcome);
    assert_eq!(small.outcome_cid(), outcome.cid());
    assert_eq!(small.outcome_bytes() as usize, encode(&outcome).len());
    assert_eq!(small.is_error(), matches!(outcome.out, Out::Error(_)));
    assert_eq!(small.trap(), outcome.failure().map(|failure| failure.trap));
    let read: Attested = decode("receipt", &bytes, bytes.len()).expect("it is one of ours");
    assert!(read == small);
    let json = to_json(&small);
    assert_eq!(json, to_json(receipt));
    let read: Attested = from_json("receipt", json.as_bytes()).expect("it is one of ours");
    assert!(read == small);
}

#[test]
fn nothing_of_a_receipt_is_lost() {
    let failure = Failure {
        trap: TrapKind::Unreachable,
        func: "f".into(),
    };
    let outs = [
        Out::Ok(Value::Null),
        Out::Ok(Value::Bytes(vec![1; 300])),
        Out::Ok(Value::Link(blob_cid(b"b").to_link())),
        Out::Error(Value::String("no".into())),
        Out::Error(failure.to_value()),
        Out::Error(Value::Map(BTreeMap::from([(
            "a".into(),
            Value::Float(0.5),
        )]))),
    ];
    for out in outs {
        for fuel in [
            None,
            Some(0),
            Some(23),
            Some(24),
            Some(1 << 8),
            Some(1 << 16),
            Some(1 << 40),
        ] {
            let receipt = receipt(&outcome(out.clone(), fuel, "wasmtime-48"));
            same(&receipt);
            same(
                &receipt
                    .clone()
                    .resting_on(&[content_cid(b"a"), content_cid(b"b")]),
            );
            same(
                &receipt
                    .believed(&evidence())
                    .resting_on(&[content_cid(b"c")]),
            );
        }
    }
    let long = "x".repeat(300);
    same(&receipt(&outcome(
        Out::Ok(Value::Bool(true)),
        Some(1),
        &long,
    )));
}

#[test]
fn a_receipt_that_this_program_does_not_make_is_none() {
    fn refused(change: impl FnOnce(&mut Receipt)) {
        let mut changed = receipt(&seven());
        change(&mut changed);
        assert!(Attested::read(&changed).is_none(), "{changed:?}");
        let bytes = encode(&changed);
        assert!(
            decode::<Attested>("receipt", &bytes, bytes.len()).is_err(),
            "{changed:?}"
        );
    }
    same(&receipt(&seven()));
    refused(|receipt| receipt.iss = None);
    refused(|receipt| receipt.iss = Some("did:key:z6Mk".into()));
    refused(|receipt| receipt.prf = vec![content_cid(b"proof")]);
    refused(|receipt| receipt.ran = blob_cid(b"invocation"));
    for key in ["op", "fuel", "metering", "attestation", "instruction"] {
        refused(|receipt| drop(receipt.meta.remove(key)));
    }
    for (key, value) in [
        ("other", Value::Null),
        ("evidence", Value::Null),
        ("rests-on", Value::Null),
        ("rests-on", Value::List(Vec::new())),
        ("instruction", Value::Link(blob_cid(b"i").to_link())),
        ("fuel", Value::Integer(-1)),
    ] {
        refused(|receipt| drop(receipt.meta.insert(key.into(), value)));
    }
    let mut endless = attestations(&[seven()]).remove(0);
    endless.path.siblings = vec![[0; 32].into(); 100_000];
    assert!(Signed::of(&endless).is_none(), "no batch has such a path");
}

#[test]
fn what_receipts_have_in_common_is_held_once() {
    let (func, metering): (Arc<str>, Arc<str>) = ("f".into(), "m".into());
    let made = |like: Option<&Attested>| {
        let outcome = seven();
        let signed = Signed::of(&attestations(std::slice::from_ref(&outcome))[0]).unwrap();
        let (ran, named) = (content_cid(b"r"), Named::of(&outcome));
        Attested::new(ran, &func, &outcome, &metering, named, signed, like)
    };
    let first = made(None);
    assert_eq!(Arc::strong_count(&func), 2);
    let second = made(Some(&first));
    assert_eq!(Arc::strong_count(&func), 2, "that of the first");
    let mut third = made(None);
    assert_eq!(Arc::strong_count(&func), 3);
    third.share(&first);
    assert_eq!(Arc::strong_count(&func), 2);
    assert!(first == second && second == third);
    // A million of them are held at once.
    assert!(size_of::<Attested>() <= 128);
}

#[test]
fn attestations_that_differ_in_anything_are_not_the_same() {
    let outcomes = [seven(), seven(), seven()];
    let attestation = attestations(&outcomes).remove(0);
    let differs = |change: fn(&mut Attestation)| {
        let mut changed = attestation.clone();
        change(&mut changed);
        let [one, other] = [&attestation, &changed].map(|one| Signed::of(one).unwrap());
        assert!(one != other, "{changed:?}");
        let receipts = [&attestation, &changed].map(|one| {
            let receipt = Receipt::attested(content_cid(b"r"), "f", &seven(), one);
            Attested::read(&receipt).unwrap()
        });
        assert!(receipts[0] != receipts[1], "{changed:?}");
    };
    differs(|changed| changed.key = Identity::from_seed(&[2; 32]).public_key());
    differs(|changed| changed.conditions.fuel += 1);
    differs(|changed| changed.path.index = 1);
    differs(|changed| changed.path.leaves = 4);
    differs(|changed| changed.path.siblings[0] = [0; 32].into());
    differs(|changed| changed.path.siblings[1] = [0; 32].into());
    differs(|changed| changed.signature = Identity::from_seed(&[2; 32]).sign(b"other"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Together or alone, attestations are those of the tree; and so are those that share what they have in common, in whichever order
    /// they were read.
    #[test]
    fn batches_are_attested_as_their_tree_says(order in (1_usize..=200)
        .prop_flat_map(|outcomes| Just((0..outcomes).collect::<Vec<_>>()).prop_shuffle()))
    {
        let outcomes: Vec<Outcome> = (0..order.len())
            .map(|number| outcome(Out::Ok(Value::Integer(number as i128)), None, "m"))
            .collect();
        let (tree, identity, statements) = signed(&outcomes);
        let signature = identity.sign(&tree.signed_bytes());
        let conditions = statements.iter().map(|statement| statement.conditions);
        let together = Signed::batch(identity.public_key(), &tree, signature, conditions);
        let alone = attestations(&outcomes);
        prop_assert_eq!(together.len(), alone.len());
        for (together, alone) in together.iter().zip(&alone) {
            prop_assert_eq!(&together.attestation(), alone);
            prop_assert!(Signed::of(alone).as_ref() == Some(together));
        }
        let ran: Cid = content_cid(b"r");
        let words = ["f", "m"].map(|word| word.into());
        let made = |index: usize, signed: Signed| {
            let outcome = &outcomes[index];
            Attested::new(ran, &words[0], outcome, &words[1], Named::of(outcome), signed, None)
        };
        let mut read: Vec<Attested> = Vec::new();
        for index in &order {
            let mut next = made(*index, Signed::of(&alone[*index]).unwrap());
            if let Some(last) = read.last() {
                next.share(last);
            }
            read.push(next);
        }
        let live = made(0, together[0].clone());
        for (index, mut read) in order.into_iter().zip(read) {
            prop_assert_eq!(&read.attestation(), &alone[index]);
            prop_assert!(read == made(index, together[index].clone()));
            prop_assert!(read.encoded() == encode(&read.receipt()));
            read.share(&live);
            prop_assert_eq!(&read.attestation(), &alone[index]);
        }
    }
}
