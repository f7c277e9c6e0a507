//! What reads strangers' bytes, fed with the corpus of each fuzz target: what was interesting once stays harmless.
#![cfg(not(target_arch = "wasm32"))]

#[path = "../../fuzz/decoders.rs"]
mod decoders;

use std::{fs, panic};

use asterism_tests::harness::root;

type Decode = fn(&[u8]);

#[test]
fn every_input_of_every_corpus_is_read_to_its_end() {
    let targets: [(&str, Decode); 4] = [
        ("component", decoders::component),
        ("values", decoders::values),
        ("frames", decoders::frames),
        ("dag-cbor", decoders::dag_cbor),
    ];
    for (target, decode) in targets {
        let folder = root().join("fuzz/corpus").join(target);
        let inputs = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut read = 0;
        for input in inputs {
            let path = input.expect("the folder is read").path();
            let bytes = fs::read(&path).expect("the input is read");
            let ended = panic::catch_unwind(|| decode(&bytes));
            assert!(ended.is_ok(), "{} breaks {target}", path.display());
            read += 1;
        }
        assert!(read >= 5, "{target} has {read} inputs");
    }
}
