//! What holds for every value, every batch and any bytes at all.

use asterism_protocol::{
    Await, BlobHasher, CHUNK_BYTES, Cid, Conditions, DecodeError, Defaults, Effects, EncodedTask,
    Error, Files, FunctionLookup, HTTP, Identity, Input, Instruction, Invocation, MerklePath,
    MerkleTree, Meta, Nonce, Out, Outcome, Promise, PublicKey, Receipt, Remark, Signature,
    Statement, Task, Value, Workflow, blob_cid, content_cid, decode, encode, from_json, from_value,
    json_of,
    message::{
        Delivery, Kept, Lease, LeaseId, ToCoordinator, ToExecutor, ToWatched, ToWatcher,
        decode_frame,
    },
    prepare, to_json, to_value, value_of_json,
};
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
};

fn blob() -> impl Strategy<Value = Cid> {
    any::<[u8; 4]>().prop_map(|bytes| blob_cid(&bytes))
}

fn content() -> impl Strategy<Value = Cid> {
    any::<[u8; 4]>().prop_map(|bytes| content_cid(&bytes))
}

/// Values that JSON can hold as well: integers of 64 bits, and no key that starts DAG-JSON's own forms.
fn value() -> impl Strategy<Value = Value> {
    let float = prop_oneof![any::<f64>(), (-1_000..1_000).prop_map(f64::from)];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| Value::Integer(n.into())),
        any::<u64>().prop_map(|n| Value::Integer(n.into())),
        // The one zero of DAG-CBOR is the positive one.
        float
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(|x| Value::Float(if x == 0.0 { 0.0 } else { x })),
        any::<String>().prop_map(Value::String),
        vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        content().prop_map(|cid| Value::Link(cid.to_link())),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            btree_map("[a-z]{0,3}", inner, 0..6).prop_map(Value::Map)
        ]
    })
}

fn promise() -> impl Strategy<Value = Promise> {
    let branch = prop_oneof![Just(Await::Ok), Just(Await::Error), Just(Await::Any)];
    (branch, content()).prop_map(|(branch, instruction)| Promise {
        branch,
        instruction,
    })
}

/// Files that may be there together.
fn files() -> impl Strategy<Value = Files> {
    let kept = promise().prop_filter("a pair is no file", |promise| promise.branch != Await::Any);
    let file = prop_oneof![
        any::<String>().prop_map(Value::String),
        vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        blob().prop_map(|cid| Value::Link(cid.to_link())),
        kept.prop_map(Promise::to_value),
    ];
    btree_map("[a-z]{1,4}|[A-Z]/[a-z]{1,4}", file, 0..3)
}

fn task() -> impl Strategy<Value = Task> {
    let nonce = prop_oneof![
        Just(Nonce::Empty),
        "[0-9a-v]{1,26}".prop_map(Nonce::Text),
        vec(any::<u8>(), 12).prop_map(Nonce::Bytes),
        vec(any::<u8>(), 16).prop_map(Nonce::Bytes),
    ];
    let arg = prop_oneof![value(), promise().prop_map(Promise::to_value)];
    let parts = (
        blob(),
        "[a-z]{1,8}",
        (vec(arg, 0..4), files(), any::<bool>()),
        nonce,
        btree_map("[a-z]{1,4}", value(), 0..3),
        proptest::option::of(content()),
    );
    (parts, vec(content(), 0..2)).prop_map(
        |((component, func, (args, files, effectful), nnc, meta, cause), prf)| {
            let rsc = format!("ipfs://{component}");
            // What has effects has a nonce.
            let effects = match (effectful, &nnc) {
                (true, Nonce::Text(_) | Nonce::Bytes(_)) => Effects::from([HTTP.to_owned()]),
                (true, Nonce::Empty) | (false, _) => Effects::new(),
            };
            Task {
                run: Instruction {
                    rsc,
                    op: "wasm/run".into(),
                    input: Input {
                        func,
                        args,
                        files,
                        effects,
                    },
                    nnc,
                },
                cause,
                meta: Meta(meta),
                prf,
            }
        },
    )
}

fn out() -> impl Strategy<Value = Out> {
    prop_oneof![value().prop_map(Out::Ok), value().prop_map(Out::Error)]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    (content(), out(), any::<Option<u64>>(), "[a-z0-9-]{1,12}").prop_map(
        |(instruction, out, fuel, metering)| Outcome {
            instruction,
            out,
            fuel,
            metering,
        },
    )
}

fn conditions() -> impl Strategy<Value = Conditions> {
    any::<(u64, u64, bool)>().prop_map(|(fuel, memory, growth_refused)| Conditions {
        fuel,
        memory,
        growth_refused,
    })
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (
        any::<u64>(),
        outcome(),
        conditions(),
        any::<Option<String>>(),
        any::<Option<[u8; 32]>>(),
    )
        .prop_map(|(lease, outcome, conditions, message, salt)| Delivery {
            lease: LeaseId(lease),
            outcome,
            conditions,
            remark: Remark {
                message,
                ..Remark::default()
            },
            salt: salt.map(Into::into),
        })
}

fn lease() -> impl Strategy<Value = Lease> {
    let kept = (content(), out()).prop_map(|(instruction, out)| Kept {
        instruction,
        out: out.into(),
    });
    (any::<u64>(), task(), vec(kept, 0..3), any::<String>()).prop_map(
        |(id, task, inputs, workflow)| Lease {
            id: LeaseId(id),
            limits: task.limits(),
            task: task.into(),
            inputs,
            lease_ms: 1,
            commit: workflow.len() % 2 == 1,
            workflow,
            submitter: String::new(),
        },
    )
}

/// Comes back from DAG-CBOR, from IPLD, from JSON, and has one encoding, which is that of the library that reads it.
fn check_round_trip<T>(content: &T) -> Result<(), TestCaseError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = encode(content);
    let known = serde_ipld_dagcbor::to_vec(content);
    prop_assert_eq!(&known.expect("it has a form"), &bytes);
    let back = decode::<T>("content", &bytes, bytes.len());
    prop_assert_eq!(back.as_ref(), Ok(content));
    prop_assert_eq!(&encode(&to_value(content)), &bytes);
    let back = from_value::<T>("content", to_value(content));
    prop_assert_eq!(back.as_ref(), Ok(content));
    let back = from_json::<T>("content", to_json(content).as_bytes());
    prop_assert_eq!(back.as_ref(), Ok(content));
    prop_assert_eq!(
        decode::<Value>("value", &bytes, bytes.len()).map(|value| encode(&value)),
        Ok(bytes)
    );
    Ok(())
}

/// Whatever decodes has these bytes and no others.
fn check_strict<T: serde::Serialize + serde::de::DeserializeOwned>(
    bytes: &[u8],
) -> Result<(), TestCaseError> {
    if let Ok(content) = decode::<T>("content", bytes, bytes.len()) {
        prop_assert_eq!(encode(&content), bytes);
    }
    Ok(())
}

struct Anything;

impl FunctionLookup for Anything {
    fn find(&self, func: &str, rsc: Option<Cid>) -> Result<(Cid, String), String> {
        Ok((rsc.unwrap_or_else(|| blob_cid(b"component")), func.into()))
    }

    fn canonical(
        &self,
        _component: Cid,
        _func: &str,
        args: Vec<Value>,
    ) -> Result<Vec<Value>, String> {
        Ok(args)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn values_come_back(value in value()) {
        check_round_trip(&value)?;
        prop_assert_eq!(value_of_json(json_of(&value).as_bytes()), Ok(value));
    }

    #[test]
    fn content_comes_back(task in task(), outcome in outcome()) {
        check_round_trip(&task)?;
        check_round_trip(&outcome)?;
        check_round_trip(&Workflow { tasks: vec![task.clone(), task] })?;
    }

    #[test]
    fn a_task_is_named_by_its_bytes(task in task(), next in task()) {
        let bytes = [encode(&task), encode(&next)].concat();
        let (first, rest) = EncodedTask::first_of(&bytes).expect("two tasks stand there");
        prop_assert_eq!(first.instruction(), task.run.cid());
        prop_assert_eq!(first.invocation(), Invocation { task: &task }.cid());
        prop_assert_eq!(rest, encode(&next));
        for end in 0..bytes.len() - rest.len() {
            prop_assert_eq!(EncodedTask::first_of(&bytes[..end]), None);
        }
    }

    #[test]
    fn messages_come_back(items in vec(delivery(), 1..3), lease in lease()) {
        check_round_trip(&ToCoordinator::Deliver { items, signature: Signature::new([1; 64]) })?;
        check_round_trip(&ToExecutor::Assign { leases: vec![lease] })?;
    }

    #[test]
    fn any_bytes_are_an_error_or_the_one_encoding(bytes in vec(any::<u8>(), 0..200)) {
        check_strict::<Value>(&bytes)?;
        check_strict::<Workflow>(&bytes)?;
        check_strict::<ToCoordinator>(&bytes)?;
    }

    /// Bytes near real ones come further than random ones.
    #[test]
    fn bent_bytes_are_an_error_or_the_one_encoding(
        task in task(), lease in lease(), item in delivery(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let bent = |mut bytes: Vec<u8>| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        };
        check_strict::<Task>(&bent(encode(&task)))?;
        check_strict::<Value>(&bent(encode(&task)))?;
        check_strict::<Outcome>(&bent(encode(&item.outcome)))?;
        let _ = decode_frame::<ToExecutor>(&bent(encode(&ToExecutor::Assign { leases: vec![lease] })));
        let items = vec![item];
        let delivery = ToCoordinator::Deliver { items, signature: Signature::new([1; 64]) };
        if let Ok(message) = decode_frame::<ToCoordinator>(&bent(encode(&delivery))) {
            let _ = message.check();
        }
        let _ = decode_frame::<ToWatched>(&bent(encode(&delivery)));
        let _ = decode_frame::<ToWatcher>(&bent(encode(&delivery)));
    }

    #[test]
    fn any_text_is_an_error_or_a_value(text in any::<String>()) {
        let _ = value_of_json(text.as_bytes());
        let _ = text.parse::<Cid>();
        let _ = text.parse::<PublicKey>();
        let _ = from_json::<Receipt>("receipt", text.as_bytes());
    }

    #[test]
    fn preparing_any_value_is_an_error_or_a_workflow(args in vec(value(), 0..3), text in "(\\{\\{)?(needs\\.|cid:)?[a-c{}. ]{0,6}(\\}\\})?") {
        let run = |args: Vec<Value>| {
            let input = Value::Map([("func".to_owned(), Value::String("f".into())), ("args".to_owned(), Value::List(args))].into());
            Value::Map([("run".to_owned(), Value::Map([("name".to_owned(), Value::String("a".into())), ("input".to_owned(), input)].into()))].into())
        };
        let document = |tasks: Vec<Value>| Value::Map([("tasks".to_owned(), Value::List(tasks))].into());
        let texts = [args.clone(), vec![Value::String(text)]].concat();
        for document in [document(args), document(vec![run(texts)])] {
            if let Ok(prepared) = prepare(&document, &Anything, &Defaults::default()) {
                prop_assert!(prepared.workflow.graph().is_ok());
            }
        }
    }

    #[test]
    fn a_full_workflow_is_prepared_to_itself(tasks in vec(task(), 1..4)) {
        let workflow = Workflow { tasks };
        let prepared = prepare(&to_value(&workflow), &Anything, &Defaults::default());
        prop_assert_eq!(prepared.map(|prepared| prepared.workflow), Ok(workflow));
    }

    #[test]
    fn a_blob_has_one_name_however_it_comes(bytes in vec(any::<u8>(), 1..2_000), times in 1..400_usize, cut in 1..70_000_usize) {
        let blob = bytes.repeat(times);
        let mut hasher = BlobHasher::default();
        blob.chunks(cut).for_each(|piece| hasher.update(piece));
        let (cid, chunks) = hasher.finish_with_chunks();
        prop_assert_eq!(cid, blob_cid(&blob));
        let apart: Vec<_> = blob.chunks(CHUNK_BYTES).map(blob_cid).collect();
        prop_assert_eq!(chunks, apart);
    }

    #[test]
    fn promises_are_replaced_by_what_was_kept(promise in promise(), out in out()) {
        let args = |value: Value| vec![Value::List(vec![value, Value::Integer(1)])];
        let files = |value: Value| Files::from([("a/b".to_owned(), value)]);
        let input = Input { func: "f".into(), args: args(promise.to_value()), files: files(promise.to_value()), effects: Effects::new() };
        let instruction = Instruction { rsc: String::new(), op: String::new(), input, nnc: Nonce::Empty };
        prop_assert_eq!(instruction.promises(), vec![promise, promise]);
        prop_assert_eq!(instruction.resolve(&|_| None), Err(promise));
        let resolved = instruction.resolve(&|cid| (cid == promise.instruction).then(|| out.clone()));
        let kept = match (promise.branch, &out) {
            (Await::Any, out) => Some(out.to_value()),
            (Await::Ok, Out::Ok(value)) | (Await::Error, Out::Error(value)) => Some(value.clone()),
            (Await::Ok, Out::Error(_)) | (Await::Error, Out::Ok(_)) => None,
        };
        let whole = |value: Value| Input { func: "f".into(), args: args(value.clone()), files: files(value), effects: Effects::new() };
        prop_assert_eq!(resolved, kept.map(whole).ok_or(promise));
    }

    #[test]
    fn keys_come_back_from_their_did(seed in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
        let key = Identity::from_seed(&seed).public_key();
        prop_assert_eq!(key.did().parse::<PublicKey>(), Ok(key));
        let no_point = PublicKey::new(other);
        prop_assert_eq!(no_point.did().parse::<PublicKey>(), Ok(no_point));
    }

    #[test]
    fn a_signature_is_of_one_key_and_message(seed in any::<[u8; 32]>(), message in vec(any::<u8>(), 1..100), at in any::<prop::sample::Index>()) {
        let identity = Identity::from_seed(&seed);
        let key = identity.public_key();
        let signature = identity.sign(&message);
        prop_assert_eq!(key.verify(&message, &signature), Ok(()));

        let refused = Err(Error::Signature("it was not made by this key over this message"));
        let mut other = message.clone();
        other[at.index(message.len())] ^= 1;
        prop_assert_eq!(&key.verify(&other, &signature), &refused);
        let mut bent = *signature.0;
        bent[at.index(64)] ^= 1;
        prop_assert!(key.verify(&message, &Signature::new(bent)).is_err());
        let mut other = seed;
        other[0] ^= 1;
        prop_assert_eq!(Identity::from_seed(&other).public_key().verify(&message, &signature), refused);
    }
}

#[test]
fn bytes_that_are_no_key_are_refused() {
    let identity = Identity::from_seed(&[1; 32]);
    let signature = identity.sign(b"message");
    let mut no_point = [0; 32];
    no_point[0] = 2;
    let refused = Err(Error::Signature("the public key is not a point of Ed25519"));
    assert_eq!(
        PublicKey::new(no_point).verify(b"message", &signature),
        refused
    );
}

#[test]
fn texts_that_are_no_key_are_refused() {
    for text in [
        "",
        "did:key:z",
        "did:key:z6Mk",
        "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW0",
        "did:key:z6LSnjagzhe8Df6gZmroW3wjDd7XQLwAuYfwa4ZeTBCGFoYc", // X25519
    ] {
        assert!(text.parse::<PublicKey>().is_err(), "{text}");
    }
}

fn statement(number: u64) -> Statement {
    let conditions = Conditions {
        fuel: number,
        memory: 1,
        growth_refused: false,
    };
    Statement {
        outcome: content_cid(b"outcome"),
        conditions,
    }
}

#[test]
fn every_path_of_every_batch_leads_to_its_root_and_no_other() {
    let identity = Identity::from_seed(&[1; 32]);
    let key = identity.public_key();
    let mut roots = Vec::new();
    for size in 1..=70_u32 {
        let statements: Vec<Statement> = (0..size).map(|number| statement(number.into())).collect();
        let tree = MerkleTree::new(&statements);
        let root = tree.signed_bytes();
        let signature = identity.sign(&root);
        for (index, statement) in statements.iter().enumerate() {
            let path = tree.path(index);
            let bytes = encode(&path);
            assert_eq!(decode("path", &bytes, bytes.len()), Ok(path.clone()));
            let signed = path.signed_bytes(statement).expect("the path is one");
            assert_eq!(key.verify(&signed, &signature), Ok(()));

            // Another statement of the batch, or one that is not in it.
            for other in 0..=size {
                if other as usize != index {
                    assert_ne!(
                        path.signed_bytes(&self::statement(other.into())).as_ref(),
                        Some(&root)
                    );
                }
            }
            // Another place, another size of the batch.
            for leaves in size - 1..=size + 1 {
                for place in (0..leaves).filter(|place| (*place as usize, leaves) != (index, size))
                {
                    let moved = MerklePath {
                        index: place,
                        leaves,
                        ..path.clone()
                    };
                    assert_ne!(
                        moved.signed_bytes(statement).as_ref(),
                        Some(&root),
                        "{size} {index} {place} {leaves}"
                    );
                }
            }
            // A sibling too few, too many, or another one.
            let mut longer = path.clone();
            longer.siblings.push([0; 32].into());
            assert_eq!(longer.signed_bytes(statement), None);
            for at in 0..path.siblings.len() {
                let mut shorter = path.clone();
                shorter.siblings.remove(at);
                assert_eq!(shorter.signed_bytes(statement), None);
                let mut bent = path.clone();
                bent.siblings[at][0] ^= 1;
                assert_ne!(bent.signed_bytes(statement).as_ref(), Some(&root));
            }
        }
        roots.push(root);
    }
    roots.sort();
    roots.dedup();
    assert_eq!(roots.len(), 70, "each batch has its own root");
}

#[test]
fn a_place_outside_the_batch_has_no_path() {
    let path = MerkleTree::new(&[statement(0), statement(1)]).path(0);
    for (index, leaves) in [(2, 2), (0, 0), (u32::MAX, u32::MAX)] {
        let path = MerklePath {
            index,
            leaves,
            ..path.clone()
        };
        assert_eq!(path.signed_bytes(&statement(0)), None);
    }
}

#[test]
fn a_node_cannot_be_taken_for_a_leaf() {
    // The root of two is not the leaf of any statement: a batch of one with that root cannot be shown.
    let tree = MerkleTree::new(&[statement(0), statement(1)]);
    let lone = MerkleTree::new(&[statement(0)]).path(0);
    assert_ne!(lone.signed_bytes(&statement(0)), Some(tree.signed_bytes()));
}

#[test]
fn an_error_text_is_bounded_however_long_the_input() {
    let long = Value::Map([("x".repeat(100_000), Value::Null)].into());
    let Err(DecodeError::Malformed { reason, .. }) = from_value::<Task>("task", long) else {
        panic!("it is no task")
    };
    assert!(reason.len() <= asterism_protocol::limits::TEXT_BYTES_MAX);
}
