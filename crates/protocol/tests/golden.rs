//! CIDs and texts that others published for the same content: Homestar's fixtures and receipts, `ipfs add`, the
//! did:key method. Never to be changed to what this crate says.

use std::collections::BTreeMap;

use asterism_protocol::{
    Cid, Defaults, FunctionLookup, Identity, Invocation, Out, Prepared, PublicKey, Receipt, Value,
    Workflow, blob_cid, content_cid, decode, encode, from_value, json_of, prepare, to_value,
    value_of_json,
};

/// `tests/fixtures/test-workflow-image-pipeline.json` of Homestar.
const IMAGE_PIPELINE: &str = r#"{"tasks":[
 {"cause":null,"meta":{"memory":4294967296,"time":100000},"prf":[],"run":{"input":{"args":[{"/":"bafybeiejevluvtoevgk66plh5t6xiy3ikyuuxg3vgofuvpeckb6eadresm"},150,350,500,500],"func":"crop"},"nnc":"","op":"wasm/run","rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}},
 {"cause":null,"meta":{"memory":4294967296,"time":100000},"prf":[],"run":{"input":{"args":[{"await/ok":{"/":"bafyrmib46dl7oaksq4fo4oyvcqewe7ojybgchufmrpjovqto3wovsq5jjq"}}],"func":"rotate90"},"nnc":"","op":"wasm/run","rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}},
 {"cause":null,"meta":{"memory":4294967296,"time":100000},"prf":[],"run":{"input":{"args":[{"await/ok":{"/":"bafyrmiekrfvz5lglddmnkm2l2tia43tagziokpamjipleen7spxizchxbu"}}],"func":"grayscale"},"nnc":"","op":"wasm/run","rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}}]}"#;

/// `tests/fixtures/test-workflow-add-one.json` of Homestar. JavaScript wrote the fuel: beyond 64 bits, so a float.
const ADD_ONE: &str = r#"{"tasks":[
 {"cause":null,"meta":{"fuel":18446744073709552000,"memory":4294967296,"time":100000},"prf":[],"run":{"input":{"args":[1],"func":"add_one"},"nnc":"","op":"wasm/run","rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}},
 {"cause":null,"meta":{"fuel":18446744073709552000,"memory":4294967296,"time":100000},"prf":[],"run":{"input":{"args":[{"await/ok":{"/":"bafyrmihmxmsbt4n3g6dzmj7rho34mzfbaoqqbsfcq7etsogslqftbyj7du"}}],"func":"add_one"},"nnc":"","op":"wasm/run","rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}}]}"#;

/// The tasks of `tests/fixtures/test-workflow-add-one-nonced.json`: nonces as text and as bytes.
const NONCED: &str = r#"{"tasks":[
 {"cause":null,"meta":{},"prf":[],"run":{"input":{"args":[1],"func":"add_one"},"nnc":"1sod60ml6g26mfhsrsa0","op":"wasm/run","rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}},
 {"cause":null,"meta":{},"prf":[],"run":{"input":{"args":[{"await/ok":{"/":"bafyrmigh2n5i4iyl6mcfssv7lzx6yalwyslszngacuo3iw3mr3fgl3sopa"}}],"func":"add_one"},"nnc":{"/":{"bytes":"oVI8XiFiec+c2XHS"}},"op":"wasm/run","rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}},
 {"cause":null,"meta":{},"prf":[],"run":{"input":{"args":[{"await/ok":{"/":"bafyrmiasmpmbcnvm2mgmk772wy2mmioxmlhu7zndmphy5rw2xssuh2fwle"}}],"func":"add_one"},"nnc":"","op":"wasm/run","rsc":"ipfs://bafybeibk42jwhq7w2zcpe6q3wgtleugp3ymfs3pa5gerjmnakqihhqx4zq"}}]}"#;

struct Nothing;

impl FunctionLookup for Nothing {
    fn find(&self, _func: &str, _rsc: Option<Cid>) -> Result<(Cid, String), String> {
        Err("nothing is known".into())
    }

    fn canonical(
        &self,
        _component: Cid,
        _func: &str,
        _args: Vec<Value>,
    ) -> Result<Vec<Value>, String> {
        Err("nothing is known".into())
    }
}

fn workflow(json: &str) -> Workflow {
    let document = value_of_json(json.as_bytes()).expect("the fixture is JSON");
    let Prepared { workflow, .. } =
        prepare(&document, &Nothing, &Defaults::default()).expect("the fixture is a workflow");
    assert_eq!(
        to_value(&workflow),
        document,
        "a full workflow is taken as it came"
    );
    workflow
}

#[track_caller]
fn check_cid(cid: Cid, published: &str) {
    assert_eq!(cid.to_string(), published);
    assert_eq!(published.parse(), Ok(cid));
}

#[test]
fn image_pipeline_has_the_published_cids() {
    let workflow = workflow(IMAGE_PIPELINE);
    check_cid(
        workflow.cid(),
        "bafyrmiatb7idqtty56hy3hrfa6ur6qkspyrhaf6n6ynmqsntjvym47mbrq",
    );
    check_cid(
        workflow.tasks[0].run.cid(),
        "bafyrmib46dl7oaksq4fo4oyvcqewe7ojybgchufmrpjovqto3wovsq5jjq",
    );
    check_cid(
        workflow.tasks[1].run.cid(),
        "bafyrmiekrfvz5lglddmnkm2l2tia43tagziokpamjipleen7spxizchxbu",
    );
    check_cid(
        workflow.tasks[2].run.cid(),
        "bafyrmid33aguqgsuw3ktp7wcgrzst56hdu3gvcextx2k4mygv7lmsioxzu",
    );
    let graph = workflow.graph().expect("the fixture is a graph");
    assert_eq!(graph.needs, [vec![], vec![0], vec![1]]);
}

#[test]
fn add_one_has_the_published_cids() {
    let workflow = workflow(ADD_ONE);
    check_cid(
        workflow.cid(),
        "bafyrmialnbzgwscjrq7sa3kdnw2roqdrdzp7xh2tvmo37qmgvarwrhcgre",
    );
    check_cid(
        workflow.tasks[0].run.cid(),
        "bafyrmihmxmsbt4n3g6dzmj7rho34mzfbaoqqbsfcq7etsogslqftbyj7du",
    );
    check_cid(
        workflow.tasks[1].run.cid(),
        "bafyrmigtptkfraoegchxtzn74hskd5vojaxhlqmqldlx5blvpngefa4kai",
    );
    let ran = Invocation {
        task: &workflow.tasks[0],
    }
    .cid();
    check_cid(
        ran,
        "bafyrmia2frkwkus2sy7qjmok5lm7mnlbnoyfqa5mqm27op6qkgo7reryqa",
    );

    let meta = BTreeMap::from([("op".to_owned(), Value::String("add_one".into()))]);
    let receipt = Receipt {
        ran,
        out: Out::Ok(Value::Integer(2)),
        meta,
        iss: None,
        prf: Vec::new(),
    };
    check_cid(
        receipt.cid(),
        "bafyrmih5ujsrxcwwbeeqowgy434da36ie3cbar3wr5yv2vnrmzmxdylicm",
    );
}

#[test]
fn unlimited_fuel_of_javascript_is_the_largest_limit() {
    let limits = workflow(ADD_ONE).tasks[0].limits();
    assert_eq!(limits.fuel, asterism_protocol::limits::FUEL_MAX);
}

#[test]
fn nonces_enter_the_cid_in_the_form_they_came_in() {
    let graph = workflow(NONCED).graph().expect("the fixture is a graph");
    check_cid(
        graph.instructions[0],
        "bafyrmigh2n5i4iyl6mcfssv7lzx6yalwyslszngacuo3iw3mr3fgl3sopa",
    );
    check_cid(
        graph.instructions[1],
        "bafyrmiasmpmbcnvm2mgmk772wy2mmioxmlhu7zndmphy5rw2xssuh2fwle",
    );
    assert_eq!(graph.needs, [vec![], vec![0], vec![1]]);
}

#[test]
fn workflows_pass_through_dag_cbor_and_dag_json_unchanged() {
    for json in [IMAGE_PIPELINE, ADD_ONE, NONCED] {
        let workflow = workflow(json);
        let bytes = encode(&workflow);
        assert_eq!(
            decode::<Workflow>("workflow", &bytes, bytes.len()),
            Ok(workflow.clone())
        );
        assert_eq!(content_cid(&encode(&to_value(&workflow))), workflow.cid());
        let text = json_of(&to_value(&workflow));
        let back = value_of_json(text.as_bytes()).expect("it was written as JSON");
        assert_eq!(from_value::<Workflow>("workflow", back), Ok(workflow));
    }
}

#[test]
fn small_blobs_have_the_cids_of_ipfs_add() {
    for (blob, published) in [
        (
            "",
            "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        ),
        (
            "A",
            "bafkreicvtlvnbate2v4v2oijoggn2bnl2skxf2cp4vkzb3xtdkekbd677u",
        ),
        (
            "hello\n",
            "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am",
        ),
        (
            "40382358423823                58453823584738235849",
            "bafkreicwt2bwa5vqhg45qei5hmnxsgtzjzud5yd2dxzcmuy4gdb6prrgzq",
        ),
    ] {
        check_cid(blob_cid(blob.as_bytes()), published);
    }
}

/// Written down when this code gave the CIDs that go-ipfs published for files of 174 and 175 chunks, each with and
/// without another byte, and of 1 GiB, in the convergence data set of js-unixfs (`--cid-version=1 --raw-leaves=true
/// --chunker=size-262144`), and those of Homestar's `example_test.wasm` and `synthcat.png`. Those are too large to keep.
#[test]
fn blobs_of_many_chunks_keep_their_cids() {
    const CHUNK: usize = 256 << 10;
    for (bytes, cid) in [
        (
            CHUNK,
            "bafkreiekhhjkxu4ztk3tyng3er3ijhg56mb44oe3gwbgquhzu4afrg2ksa",
        ),
        (
            CHUNK + 1,
            "bafybeigllfqgfpqydppr6cmv56g7ax4wyhruzswvcefv6j5kj77nzttfki",
        ),
        (
            174 * CHUNK,
            "bafybeibxsa3ioclowpaq7b6gxl65gzqneopfr3fnhedak6sqr4bjz5lnyq",
        ),
        (
            174 * CHUNK + 1,
            "bafybeihqwzd3o6q6v3pmwhzjy22vokhr767burokmqemg63hptx2nqd7ym",
        ),
        (
            175 * CHUNK,
            "bafybeigfps5vzivfspwgm3uwsfyl5s6bn3ysh7uqidgauxgopw4yi66lse",
        ),
    ] {
        check_cid(blob_cid(&vec![0; bytes]), cid);
    }
}

/// The first vectors of the did:key method: seeds that are small numbers.
#[test]
fn keys_have_the_names_of_the_did_key_method() {
    for (number, did) in [
        (
            0,
            "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        ),
        (
            1,
            "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG",
        ),
        (
            2,
            "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf",
        ),
        (
            3,
            "did:key:z6MkvqoYXQfDDJRv8L4wKzxYeuKyVZBfi9Qo6Ro8MiLH3kDQ",
        ),
    ] {
        let mut seed = [0; 32];
        seed[31] = number;
        let key = Identity::from_seed(&seed).public_key();
        assert_eq!(key.did(), did);
        assert_eq!(did.parse::<PublicKey>(), Ok(key));
    }
}

/// Tests 1 to 3 of RFC 8032, section 7.1.
#[test]
fn signatures_are_those_of_rfc_8032() {
    for (seed, message, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ] {
        let seed: [u8; 32] = unhex(seed).try_into().expect("a seed has 32 bytes");
        let identity = Identity::from_seed(&seed);
        let signed = identity.sign(&unhex(message));
        assert_eq!(signed.0.to_vec(), unhex(signature));
        assert_eq!(
            identity.public_key().verify(&unhex(message), &signed),
            Ok(())
        );
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("it is hexadecimal"))
        .collect()
}
