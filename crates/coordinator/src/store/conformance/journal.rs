//! What every journal must do.

use std::{thread, time::Duration};

use asterism_protocol::{Cid, Timestamp, blob_cid, content_cid};

use super::{
    computed,
    database::{new_database, open},
    events, instantiate, receipt,
};
use crate::store::{
    Asked, Batch, ComponentRecord, Holder, Journal, JournalError, MemoryJournal, Partition,
    Sequence, SqliteJournal, Tenure,
};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

const P: Partition = Partition(3);

fn holder(name: &str) -> Holder {
    Holder {
        name: name.to_owned(),
        address: format!("http://{name}"),
    }
}

fn tenure(journal: &dyn Journal) -> Tenure {
    acquired(journal, "writer", LONG)
}

fn acquired(journal: &dyn Journal, name: &str, term: Duration) -> Tenure {
    match journal.acquire(P, &holder(name), term).unwrap() {
        Asked::Granted(tenure) => tenure,
        Asked::Held(other) => panic!("{other:?} holds it"),
    }
}

fn texts(journal: &dyn Journal) -> Vec<(u64, String)> {
    let read = journal.read(P, Sequence(0), 1_000).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    read.into_iter()
        .map(|(number, bytes)| (number.0, text(bytes)))
        .collect()
}

fn numbered(texts: &[(u64, &str)]) -> Vec<(u64, String)> {
    texts
        .iter()
        .map(|(number, text)| (*number, (*text).to_owned()))
        .collect()
}

mod suite {
    use super::*;

    pub(super) fn events_come_back_in_order(journal: &dyn Journal) {
        let tenure = tenure(journal);
        assert_eq!(journal.end(P).unwrap(), Sequence(0));
        let append = |at, batch| journal.append(tenure, Sequence(at), &batch).unwrap();
        assert_eq!(append(0, events(&["a", "b"])), Sequence(2));
        assert_eq!(append(2, events(&["c"])), Sequence(3));
        assert_eq!(journal.end(P).unwrap(), Sequence(3));
        assert_eq!(texts(journal), numbered(&[(0, "a"), (1, "b"), (2, "c")]));
        assert_eq!(
            journal.read(P, Sequence(1), 1).unwrap(),
            [(Sequence(1), b"b".to_vec())]
        );
        assert!(journal.read(P, Sequence(3), 10).unwrap().is_empty());
    }

    pub(super) fn partitions_do_not_see_each_other(journal: &dyn Journal) {
        let one = tenure(journal);
        let Asked::Granted(other) = journal
            .acquire(Partition(4), &holder("writer"), LONG)
            .unwrap()
        else {
            panic!("nobody holds it")
        };
        journal.append(one, Sequence(0), &events(&["a"])).unwrap();
        journal
            .append(other, Sequence(0), &events(&["x", "y"]))
            .unwrap();
        assert_eq!(texts(journal), numbered(&[(0, "a")]));
        assert_eq!(journal.end(Partition(4)).unwrap(), Sequence(2));
        assert_eq!(journal.end(Partition(0)).unwrap(), Sequence(0));
    }

    pub(super) fn a_writer_that_is_behind_is_refused_whole(journal: &dyn Journal) {
        let tenure = tenure(journal);
        journal
            .append(tenure, Sequence(0), &events(&["a"]))
            .unwrap();
        let late = Batch {
            receipts: vec![computed(content_cid(b"i"), 1)],
            ..events(&["x", "y"])
        };
        let refused = journal.append(tenure, Sequence(0), &late);
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
        assert_eq!(texts(journal), numbered(&[(0, "a")]));
        let receipts = journal.receipts_of(&[content_cid(b"i")]).unwrap();
        assert!(receipts.is_empty());
    }

    pub(super) fn a_partition_has_one_holder(journal: &dyn Journal) {
        let first = acquired(journal, "first", LONG);
        assert_eq!(
            journal.acquire(P, &holder("second"), LONG).unwrap(),
            Asked::Held(holder("first"))
        );
        journal.renew(first, LONG).unwrap();
        journal.release(first).unwrap();
        let second = acquired(journal, "second", LONG);
        assert!(second.epoch > first.epoch);
        assert!(matches!(
            journal.renew(first, LONG),
            Err(JournalError::Fenced { .. })
        ));
        // Its own holder may ask again, and what it had before is void.
        let again = acquired(journal, "second", LONG);
        assert!(again.epoch > second.epoch);
    }

    pub(super) fn who_was_overtaken_can_write_no_more(journal: &dyn Journal) {
        let short = Duration::from_millis(300);
        let slow = acquired(journal, "slow", short);
        journal.append(slow, Sequence(0), &events(&["a"])).unwrap();
        // It is still its own, as long as nobody asks.
        thread::sleep(2 * short);
        journal.append(slow, Sequence(1), &events(&["b"])).unwrap();
        let next = acquired(journal, "next", LONG);

        let late = Batch {
            receipts: vec![computed(content_cid(b"i"), 1)],
            ..events(&["late"])
        };
        for refused in [
            journal.append(slow, Sequence(2), &late).map(drop),
            journal.compact(slow, Sequence(2), &[].into()),
            journal.release(slow),
        ] {
            assert!(
                matches!(refused, Err(JournalError::Fenced { .. })),
                "{refused:?}"
            );
        }
        journal.append(next, Sequence(2), &events(&["c"])).unwrap();
        assert_eq!(texts(journal), numbered(&[(0, "a"), (1, "b"), (2, "c")]));
        assert!(journal.receipts(0, 10).unwrap().is_empty());
    }

    pub(super) fn of_writers_at_the_same_place_one_wins(journal: &dyn Journal) {
        let tenure = tenure(journal);
        let written: u64 = thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    scope.spawn(move || {
                        let mut written = 0;
                        for number in 0..25 {
                            let text = format!("{writer}/{number}");
                            let at = journal.end(P).unwrap();
                            match journal.append(tenure, at, &events(&[&text])) {
                                Ok(end) => {
                                    assert_eq!(end.0, at.0 + 1);
                                    written += 1;
                                }
                                Err(JournalError::Sequence { expected, found }) => {
                                    assert!(expected == at.0 && found > at.0);
                                }
                                Err(error) => panic!("{error}"),
                            }
                        }
                        written
                    })
                })
                .collect();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .sum()
        });
        assert!(written >= 25, "one of them wins at every place");
        assert_eq!(journal.end(P).unwrap(), Sequence(written));
        assert_eq!(texts(journal).len() as u64, written);
    }

    pub(super) fn a_reader_during_writes_sees_whole_batches(journal: &dyn Journal) {
        let tenure = tenure(journal);
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                for batch in 0..50 {
                    let text = batch.to_string();
                    journal
                        .append(tenure, Sequence(4 * batch), &events(&[text.as_str(); 4]))
                        .unwrap();
                }
            });
            while !writer.is_finished() {
                let seen = texts(journal);
                assert_eq!(seen.len() % 4, 0, "a part of a batch was seen");
                for (number, text) in seen {
                    assert_eq!(text, (number / 4).to_string());
                }
            }
            writer.join().unwrap();
        });
        assert_eq!(texts(journal).len(), 200);
    }

    pub(super) fn what_is_compacted_is_gone_and_the_rest_stays(journal: &dyn Journal) {
        let tenure = tenure(journal);
        let all = events(&["a", "b", "c", "d", "e", "f"]);
        journal.append(tenure, Sequence(0), &all).unwrap();
        let keep = [Sequence(1), Sequence(3)].into();
        journal.compact(tenure, Sequence(4), &keep).unwrap();
        assert_eq!(
            texts(journal),
            numbered(&[(1, "b"), (3, "d"), (4, "e"), (5, "f")])
        );
        assert_eq!(
            journal.read(P, Sequence(2), 2).unwrap(),
            [(Sequence(3), b"d".to_vec()), (Sequence(4), b"e".to_vec())]
        );
        // Numbers go on, even when nothing is left.
        journal.compact(tenure, Sequence(6), &[].into()).unwrap();
        assert!(texts(journal).is_empty());
        assert_eq!(journal.end(P).unwrap(), Sequence(6));
        journal
            .append(tenure, Sequence(6), &events(&["g"]))
            .unwrap();
        assert_eq!(texts(journal), numbered(&[(6, "g")]));
    }

    pub(super) fn receipts_are_found_by_instruction_and_by_cid(journal: &dyn Journal) {
        let tenure = tenure(journal);
        let (first, second) = (content_cid(b"first"), content_cid(b"second"));
        let append = |receipts| {
            let batch = Batch {
                events: Vec::new(),
                receipts,
            };
            journal.append(tenure, Sequence(0), &batch).unwrap();
        };
        append(vec![computed(first, 1), computed(second, 2)]);
        // Told again, as after a restart: nothing doubles.
        append(vec![computed(first, 1), computed(second, 2)]);
        append(vec![computed(first, 3)]);

        let found = journal
            .receipts_of(&[second, content_cid(b"unknown"), first])
            .unwrap();
        assert_eq!(found, [receipt(2), receipt(1), receipt(3)]);
        assert_eq!(journal.receipt(receipt(2).cid()).unwrap(), Some(receipt(2)));
        assert_eq!(journal.receipt(first).unwrap(), None);
        let remark = |cid: Cid| journal.remark(cid).unwrap();
        assert_eq!(remark(receipt(2).cid()).unwrap().elapsed_us, 2);
        assert_eq!(remark(first), None);

        let listed = journal.receipts(0, 2).unwrap();
        let [(_, one), (last, two)] = &listed[..] else {
            panic!("{listed:?}")
        };
        assert_eq!([one, two], [&receipt(1), &receipt(2)]);
        let rest = journal.receipts(*last, 10).unwrap();
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].1, receipt(3));

        // What came of a whole budget, and then of many smaller ones.
        let many = content_cid(b"many");
        append((10..=30).map(|n| computed(many, n)).collect());
        let found = journal.receipts_of(&[many]).unwrap();
        assert_eq!(found, (10..=30).map(receipt).collect::<Vec<_>>());
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

fn with_memory(test: &dyn Fn(&dyn Journal)) {
    test(&MemoryJournal::default());
}

fn with_sqlite(test: &dyn Fn(&dyn Journal)) {
    let folder = tempfile::tempdir().unwrap();
    test(&SqliteJournal::open(&folder.path().join("journal.sqlite")).unwrap());
}

/// A database of its own, on a server for all tests; that ends with their process.
fn with_postgres(test: &dyn Fn(&dyn Journal)) {
    test(&open(&new_database()).unwrap());
}

/// All tests of the suite for each of these.
macro_rules! journals {
    ($($name:ident: $with:expr),+ $(,)?) => {
        $(instantiate!($name, suite, $with, [
            events_come_back_in_order,
            partitions_do_not_see_each_other,
            a_writer_that_is_behind_is_refused_whole,
            a_partition_has_one_holder,
            who_was_overtaken_can_write_no_more,
            of_writers_at_the_same_place_one_wins,
            a_reader_during_writes_sees_whole_batches,
            what_is_compacted_is_gone_and_the_rest_stays,
            receipts_are_found_by_instruction_and_by_cid,
            a_component_added_again_comes_last,
        ]);)+
    };
}

journals!(memory: with_memory, sqlite: with_sqlite, postgres: with_postgres);
