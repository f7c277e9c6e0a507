//! What every journal must do that several coordinators have in common.

use std::{sync::Arc, thread, time::Duration};

use asterism_protocol::{Identity, Timestamp, blob_cid};

use super::{
    database::{new_database, say, talk},
    events, instantiate,
};
use crate::{
    limits::DATABASE_WRITERS,
    store::{
        Asked, ComponentRecord, Decision, Holder, Journal, JournalError, Meeting, MemoryJournal,
        Partition, PostgresJournal, Sequence, Tenure,
    },
};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

fn holder(name: &str) -> Holder {
    Holder {
        name: name.to_owned(),
        address: format!("http://{name}"),
    }
}

fn acquired(journal: &dyn Journal, partition: u16, name: &str, term: Duration) -> Tenure {
    let asked = journal.acquire(Partition(partition), &holder(name), term);
    match asked.unwrap() {
        Asked::Granted(tenure) => tenure,
        Asked::Held(other) => panic!("{other:?} holds it"),
    }
}

fn meet(journal: &dyn Journal, name: &str) -> Meeting {
    journal.meet(&holder(name), LONG, &[]).unwrap()
}

/// The names of those who hold the partitions, and what waits there.
fn held(meeting: &Meeting) -> Vec<(&str, u64)> {
    let seen = meeting.partitions.iter();
    seen.map(|seen| {
        let holder = seen.holder.as_ref();
        (holder.map_or("", |holder| holder.name.as_str()), seen.unmet)
    })
    .collect()
}

mod suite {
    use super::*;

    pub(super) fn whoever_is_here_is_seen_with_what_it_holds(journal: &dyn Journal) {
        assert_eq!(journal.partitions(), 3);
        let first = meet(journal, "one");
        assert_eq!(first.present, [holder("one")]);
        assert_eq!(held(&first), [("", 0); 3]);
        let one = acquired(journal, 0, "one", LONG);
        let two = acquired(journal, 2, "two", LONG);
        journal.meet(&holder("one"), LONG, &[(one, 7)]).unwrap();
        // What another one holds is not told by it, nor what it held before.
        let stale = Tenure {
            epoch: crate::store::Epoch(two.epoch.0 + 1),
            ..two
        };
        let seen = journal.meet(&holder("two"), LONG, &[(stale, 9)]).unwrap();
        assert_eq!(seen.present, [holder("one"), holder("two")]);
        assert_eq!(held(&seen), [("one", 7), ("", 0), ("two", 0)]);
        journal.release(one).unwrap();
        journal.part(&holder("one")).unwrap();
        let seen = meet(journal, "two");
        assert_eq!(seen.present, [holder("two")]);
        assert_eq!(held(&seen), [("", 0), ("", 0), ("two", 0)]);
    }

    pub(super) fn whoever_is_silent_is_gone(journal: &dyn Journal) {
        let short = Duration::from_millis(200);
        acquired(journal, 1, "one", short);
        journal.meet(&holder("one"), short, &[]).unwrap();
        assert_eq!(held(&meet(journal, "two"))[1], ("one", 0));
        thread::sleep(2 * short);
        let seen = meet(journal, "two");
        assert_eq!(seen.present, [holder("two")]);
        assert_eq!(held(&seen)[1], ("", 0));
    }

    pub(super) fn decisions_come_back_in_order(journal: &dyn Journal) {
        let decision = |seed: u8, excluded: Option<&str>| Decision {
            executor: Identity::from_seed(&[seed; 32]).public_key(),
            at: Timestamp(u64::from(seed)),
            excluded: excluded.map(str::to_owned),
        };
        let before = meet(journal, "one").decisions;
        journal.decide(&decision(1, Some("it lied"))).unwrap();
        journal.decide(&decision(2, Some("it lied, too"))).unwrap();
        let all = journal.decisions(before).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].1, decision(1, Some("it lied")));
        journal.decide(&decision(1, None)).unwrap();
        let more = journal.decisions(all[1].0).unwrap();
        assert_eq!(more.len(), 1);
        assert_eq!(more[0].1, decision(1, None));
        assert_eq!(meet(journal, "one").decisions, more[0].0);
        // The last of each is enough.
        let kept = journal.decisions(before).unwrap();
        assert_eq!(kept, [all[1].clone(), more[0].clone()]);
    }

    pub(super) fn it_shows_that_a_component_was_added(journal: &dyn Journal) {
        let add = |bytes: &[u8]| {
            let component = ComponentRecord {
                cid: blob_cid(bytes),
                name: "component".to_owned(),
                bytes: 1,
                added: Timestamp(1),
            };
            journal.add_component(&component).unwrap();
            journal.components_stamp().unwrap()
        };
        let before = journal.components_stamp().unwrap();
        let numbers = [before, add(b"a"), add(b"b"), add(b"a")];
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    }
}

fn with_memory(check: &dyn Fn(&dyn Journal)) {
    check(&MemoryJournal::parted(3));
}

fn with_postgres(check: &dyn Fn(&dyn Journal)) {
    check(&open_parted(&new_database(), Some(3)).unwrap());
}

fn open_parted(url: &str, partitions: Option<u16>) -> Result<PostgresJournal, JournalError> {
    PostgresJournal::open_parted(&url.parse().unwrap(), partitions)
}

instantiate!(
    memory,
    suite,
    with_memory,
    [
        whoever_is_here_is_seen_with_what_it_holds,
        whoever_is_silent_is_gone,
        decisions_come_back_in_order,
        it_shows_that_a_component_was_added,
    ]
);
instantiate!(
    postgres,
    suite,
    with_postgres,
    [
        whoever_is_here_is_seen_with_what_it_holds,
        whoever_is_silent_is_gone,
        decisions_come_back_in_order,
        it_shows_that_a_component_was_added,
    ]
);

#[test]
fn the_number_of_partitions_stays_as_it_was_made() {
    let url = new_database();
    assert_eq!(open_parted(&url, Some(5)).unwrap().partitions(), 5);
    assert_eq!(open_parted(&url, Some(5)).unwrap().partitions(), 5);
    assert_eq!(open_parted(&url, None).unwrap().partitions(), 5);
    let Err(error) = open_parted(&url, Some(1)) else {
        panic!("it has five")
    };
    assert!(
        error.to_string().contains("has 5 partitions and 1"),
        "{error}"
    );
    let url = new_database();
    assert_eq!(open_parted(&url, None).unwrap().partitions(), 1);
}

#[test]
fn who_says_that_it_is_here_does_not_wait_for_what_is_being_written() {
    let url = new_database();
    let journal = open_parted(&url, Some(2)).unwrap();
    let tenures = [0, 1].map(|partition| acquired(&journal, partition, "one", LONG));
    let told = tenures.map(|tenure| (tenure, 7));
    talk(&url, async |client| {
        let begin = "BEGIN; UPDATE partitions SET next = next WHERE partition = 0";
        client.batch_execute(begin).await.unwrap();
        let seen = journal.meet(&holder("one"), LONG, &told).unwrap();
        assert_eq!(held(&seen), [("one", 0), ("one", 7)]);
        client.batch_execute("COMMIT").await.unwrap();
    });
    let seen = journal.meet(&holder("one"), LONG, &told).unwrap();
    assert_eq!(held(&seen), [("one", 7), ("one", 7)]);
}

#[test]
fn what_takes_long_in_one_partition_holds_no_other_one_up() {
    let url = new_database();
    // The first and the last one usually have one connection.
    let last = DATABASE_WRITERS as u16;
    let journal = Arc::new(open_parted(&url, Some(last + 1)).unwrap());
    let [slow, other] = [0, last].map(|partition| acquired(&*journal, partition, "one", LONG));
    let appending = Arc::clone(&journal);
    talk(&url, async |client| {
        let begin = "BEGIN; UPDATE partitions SET next = next WHERE partition = 0";
        client.batch_execute(begin).await.unwrap();
        let appended =
            thread::spawn(move || appending.append(slow, Sequence(0), &events(&["slow"])));
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        while client
            .query_one(waiting, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let next = journal.append(other, Sequence(0), &events(&["other"]));
        assert_eq!(next.unwrap(), Sequence(1));
        client.batch_execute("COMMIT").await.unwrap();
        assert_eq!(appended.join().unwrap().unwrap(), Sequence(1));
    });
}

#[test]
fn a_journal_from_before_there_were_several_has_one() {
    let url = new_database();
    let before = open_parted(&url, None).unwrap();
    let tenure = acquired(&before, 0, "one", LONG);
    before.append(tenure, Sequence(0), &events(&["a"])).unwrap();
    drop(before);
    say(
        &url,
        "DROP TABLE coordinators, decisions;
         ALTER TABLE asterism DROP COLUMN partitions;
         ALTER TABLE partitions DROP COLUMN unmet;
         UPDATE asterism SET version = 1",
    );
    let journal = open_parted(&url, None).unwrap();
    assert_eq!(journal.partitions(), 1);
    assert_eq!(journal.end(Partition(0)).unwrap(), Sequence(1));
    assert_eq!(held(&meet(&journal, "one")), [("one", 0)]);
}
