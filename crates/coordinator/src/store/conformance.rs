//! What every [`Journal`] and every [`Blobs`] must do, instantiated for each implementation.

use std::{
    collections::BTreeMap,
    io::{Read as _, Seek as _, SeekFrom},
};

use asterism_protocol::{
    Cid, Out, Receipt, Remark, Timestamp, Value, blob_cid, content_cid, limits::BLOB_BYTES_MAX,
};

use super::{
    Batch, BlobError, Blobs, ComponentRecord, Computed, DataDirectory, FolderBlobs, Journal,
    JournalError, LockError, MemoryBlobs, MemoryJournal, Sequence, SqliteJournal,
};

fn receipt(number: i128) -> Receipt {
    let meta = BTreeMap::from([("op".to_owned(), Value::String("add".to_owned()))]);
    Receipt {
        ran: content_cid(b"ran"),
        out: Out::Ok(Value::Integer(number)),
        meta,
        iss: None,
        prf: Vec::new(),
    }
}

fn computed(instruction: Cid, number: i128) -> Computed {
    let remark = Remark {
        elapsed_us: u64::try_from(number).unwrap(),
        ..Remark::default()
    };
    Computed {
        instruction,
        receipt: receipt(number),
        remark,
    }
}

fn events(texts: &[&str]) -> Batch {
    Batch {
        events: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
        receipts: Vec::new(),
    }
}

mod journal {
    use super::*;

    pub(super) fn events_come_back_in_order(journal: &dyn Journal) {
        assert_eq!(journal.end().unwrap(), Sequence(0));
        assert_eq!(
            journal.append(Sequence(0), &events(&["a", "b"])).unwrap(),
            Sequence(2)
        );
        assert_eq!(
            journal.append(Sequence(2), &events(&["c"])).unwrap(),
            Sequence(3)
        );
        assert_eq!(journal.end().unwrap(), Sequence(3));
        assert_eq!(journal.read(Sequence(0), 10).unwrap(), [b"a", b"b", b"c"]);
        assert_eq!(journal.read(Sequence(1), 1).unwrap(), [b"b"]);
        assert!(journal.read(Sequence(3), 10).unwrap().is_empty());
    }

    pub(super) fn a_writer_that_is_behind_is_refused_whole(journal: &dyn Journal) {
        journal.append(Sequence(0), &events(&["a"])).unwrap();
        let late = Batch {
            receipts: vec![computed(content_cid(b"i"), 1)],
            ..events(&["x", "y"])
        };
        let refused = journal.append(Sequence(0), &late);
        assert!(
            matches!(
                refused,
                Err(JournalError::Sequence {
                    expected: 0,
                    found: 1
                })
            ),
            "{refused:?}"
        );
        assert_eq!(journal.read(Sequence(0), 10).unwrap(), [b"a"]);
        assert!(
            journal
                .receipts_of(&[content_cid(b"i")])
                .unwrap()
                .is_empty()
        );
    }

    pub(super) fn receipts_are_found_by_instruction_and_by_cid(journal: &dyn Journal) {
        let (first, second) = (content_cid(b"first"), content_cid(b"second"));
        let batch = Batch {
            events: Vec::new(),
            receipts: vec![computed(first, 1), computed(second, 2)],
        };
        journal.append(Sequence(0), &batch).unwrap();
        // Told again, as after a restart: nothing doubles.
        journal.append(Sequence(0), &batch).unwrap();
        journal
            .append(
                Sequence(0),
                &Batch {
                    events: Vec::new(),
                    receipts: vec![computed(first, 3)],
                },
            )
            .unwrap();

        let found = journal
            .receipts_of(&[second, content_cid(b"unknown"), first])
            .unwrap();
        assert_eq!(found, [receipt(2), receipt(1), receipt(3)]);
        assert_eq!(journal.receipt(receipt(2).cid()).unwrap(), Some(receipt(2)));
        assert_eq!(journal.receipt(first).unwrap(), None);
        assert_eq!(
            journal
                .remark(receipt(2).cid())
                .unwrap()
                .unwrap()
                .elapsed_us,
            2
        );
        assert_eq!(journal.remark(first).unwrap(), None);
    }

    pub(super) fn a_component_added_again_comes_last(journal: &dyn Journal) {
        let component = |text: &str, name: &str, added| ComponentRecord {
            cid: blob_cid(text.as_bytes()),
            name: name.to_owned(),
            bytes: 7,
            added: Timestamp(added),
        };
        journal.add_component(&component("a", "one", 1)).unwrap();
        journal.add_component(&component("b", "two", 2)).unwrap();
        journal.add_component(&component("a", "three", 3)).unwrap();
        assert_eq!(
            journal.components().unwrap(),
            [component("b", "two", 2), component("a", "three", 3)]
        );
    }
}

mod blobs {
    use super::*;

    pub(super) fn bytes_come_back_under_their_cid(blobs: &dyn Blobs, _corrupt: &dyn Fn(Cid)) {
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let mut writer = blobs.begin().unwrap();
        bytes
            .chunks(1_000)
            .for_each(|chunk| writer.write(chunk).unwrap());
        let cid = blob_cid(&bytes);
        assert_eq!(
            blobs.size(cid).unwrap(),
            None,
            "nothing is seen before it is finished"
        );
        assert_eq!(writer.finish(Some(cid)).unwrap(), cid);
        assert_eq!(blobs.size(cid).unwrap(), Some(700_000));
        assert_eq!(blobs.get(cid).unwrap().unwrap(), bytes);
        assert_eq!(
            blobs.put(&bytes).unwrap(),
            cid,
            "storing again changes nothing"
        );

        let mut reader = blobs.open(cid).unwrap().unwrap();
        assert_eq!(reader.size(), 700_000);
        reader.seek(SeekFrom::Start(300_000)).unwrap();
        let mut part = [0; 5];
        reader.read_exact(&mut part).unwrap();
        assert_eq!(part, bytes[300_000..300_005]);
    }

    pub(super) fn an_empty_blob_is_a_blob(blobs: &dyn Blobs, _corrupt: &dyn Fn(Cid)) {
        let cid = blobs.put(b"").unwrap();
        assert_eq!(cid, blob_cid(b""));
        assert_eq!(blobs.get(cid).unwrap().unwrap(), b"");
    }

    pub(super) fn other_bytes_are_refused(blobs: &dyn Blobs, _corrupt: &dyn Fn(Cid)) {
        let mut writer = blobs.begin().unwrap();
        writer.write(b"not what was promised").unwrap();
        let refused = writer.finish(Some(blob_cid(b"promised")));
        assert!(
            matches!(refused, Err(BlobError::Mismatch(_))),
            "{refused:?}"
        );
        assert!(blobs.open(blob_cid(b"promised")).unwrap().is_none());
        assert!(
            blobs
                .open(blob_cid(b"not what was promised"))
                .unwrap()
                .is_none()
        );
    }

    pub(super) fn a_damaged_blob_is_an_error_until_it_comes_again(
        blobs: &dyn Blobs,
        corrupt: &dyn Fn(Cid),
    ) {
        let cid = blobs.put(b"whole").unwrap();
        assert!(blobs.open(cid).unwrap().is_some());
        corrupt(cid);
        let damaged = blobs.open(cid).map(|_| ());
        assert!(
            matches!(damaged, Err(BlobError::Corrupted { .. })),
            "{damaged:?}"
        );
        blobs.put(b"whole").unwrap();
        assert_eq!(blobs.get(cid).unwrap().unwrap(), b"whole");
    }

    pub(super) fn a_blob_has_a_largest_size(blobs: &dyn Blobs, _corrupt: &dyn Fn(Cid)) {
        let mut writer = blobs.begin().unwrap();
        let chunk = vec![0; 64 << 20];
        let mut written = 0;
        let refused = loop {
            match writer.write(&chunk) {
                Ok(()) => written += chunk.len() as u64,
                Err(error) => break error,
            }
            assert!(written <= BLOB_BYTES_MAX);
        };
        assert!(matches!(refused, BlobError::TooLarge { .. }), "{refused:?}");
    }
}

macro_rules! journals {
    ($($test:ident),+ $(,)?) => {
        mod memory_journal {
            $(#[test] fn $test() { super::journal::$test(&super::MemoryJournal::default()); })+
        }
        mod sqlite_journal {
            $(#[test] fn $test() {
                let folder = tempfile::tempdir().unwrap();
                super::journal::$test(&super::SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap());
            })+
        }
    };
}

macro_rules! blob_stores {
    ($($test:ident),+ $(,)?) => {
        mod memory_blobs {
            $(#[test] fn $test() {
                let blobs = super::MemoryBlobs::default();
                super::blobs::$test(&blobs, &|cid| blobs.corrupt(cid));
            })+
        }
        mod folder_blobs {
            $(#[test] fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let blobs = super::FolderBlobs::open(folder.path()).unwrap();
                super::blobs::$test(&blobs, &|cid| blobs.corrupt(cid));
            })+
        }
    };
}

journals!(
    events_come_back_in_order,
    a_writer_that_is_behind_is_refused_whole,
    receipts_are_found_by_instruction_and_by_cid,
    a_component_added_again_comes_last,
);

blob_stores!(
    bytes_come_back_under_their_cid,
    an_empty_blob_is_a_blob,
    other_bytes_are_refused,
    a_damaged_blob_is_an_error_until_it_comes_again,
    a_blob_has_a_largest_size,
);

#[test]
fn a_journal_opened_again_holds_what_was_appended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let batch = Batch {
        receipts: vec![computed(content_cid(b"i"), 1)],
        ..events(&["a", "b"])
    };
    SqliteJournal::open(&path)
        .unwrap()
        .append(Sequence(0), &batch)
        .unwrap();

    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(journal.read(Sequence(0), 10).unwrap(), [b"a", b"b"]);
    assert_eq!(
        journal.receipts_of(&[content_cid(b"i")]).unwrap(),
        [receipt(1)]
    );
}

#[test]
fn a_data_directory_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let owner = DataDirectory::open(folder.path()).unwrap();
    let Err(error) = DataDirectory::open(folder.path()) else {
        panic!("two owners")
    };
    assert!(matches!(error, LockError::InUse { .. }), "{error}");
    assert!(
        error.to_string().contains(&std::process::id().to_string()),
        "{error}"
    );
    drop(owner);
    assert!(DataDirectory::open(folder.path()).is_ok());
}
