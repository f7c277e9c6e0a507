//! What only a database can do: be shared, be newer, be away.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use asterism_protocol::content_cid;
use tokio_postgres::{Client, NoTls};

use super::{computed, events, receipt, servers::postgres::Postgres};
use crate::store::{
    Asked, Batch, DataDirectory, Database, Holder, Journal as _, JournalError, Partition,
    PostgresJournal, Sequence, Tenure, WrongJournal, open_existing_in, open_in, open_inside,
    path_inside,
};

const P: Partition = Partition(0);

const LONG: Duration = Duration::from_secs(600);

/// A new, empty database on a server that all tests of this process share.
pub(super) fn new_database() -> String {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    SERVER
        .get_or_init(Postgres::start)
        .database(&format!("test{number}"))
}

pub(super) fn open(url: &str) -> Result<PostgresJournal, JournalError> {
    PostgresJournal::open(&url.parse().unwrap())
}

/// What nobody but a test says to a database.
pub(super) fn say(url: &str, what: &str) {
    talk(url, async |client| {
        client.batch_execute(what).await.unwrap()
    });
}

/// Talks with a database as somebody else would, without TLS.
pub(super) fn talk<T>(url: &str, work: impl AsyncFnOnce(&Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let done = work(&client).await;
        drop(client);
        connection.await.unwrap().unwrap();
        done
    })
}

fn acquired(journal: &PostgresJournal, name: &str, term: Duration) -> Option<Tenure> {
    let holder = Holder {
        name: name.to_owned(),
        address: format!("http://{name}"),
    };
    match journal.acquire(P, &holder, term).unwrap() {
        Asked::Granted(tenure) => Some(tenure),
        Asked::Held(_) => None,
    }
}

#[test]
fn processes_that_start_together_make_the_tables_once() {
    let url = new_database();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| open(&url).unwrap());
        }
    });
    let journal = open(&url).unwrap();
    assert_eq!(journal.end(P).unwrap(), Sequence(0));
}

#[tokio::test]
async fn it_waits_on_threads_of_other_runtimes_too() {
    let url = tokio::task::spawn_blocking(new_database).await.unwrap();
    let journal = open(&url).unwrap();
    let tenure = acquired(&journal, "one", LONG).unwrap();
    // More calls than a task may make in a turn.
    for at in 0..300 {
        journal
            .append(tenure, Sequence(at), &events(&["a"]))
            .unwrap();
    }
    assert_eq!(journal.end(P).unwrap(), Sequence(300));
}

#[test]
fn newer_tables_are_refused_politely() {
    let url = new_database();
    drop(open(&url).unwrap());
    say(&url, "UPDATE asterism SET version = 99");
    let Err(error) = open(&url) else {
        panic!("they are newer")
    };
    assert!(matches!(error, JournalError::Newer { found: 99, .. }));
    assert!(error.to_string().contains("use a newer program"), "{error}");
}

#[test]
fn another_process_takes_over_and_the_one_before_can_write_no_more() {
    let url = new_database();
    let (one, two) = (open(&url).unwrap(), open(&url).unwrap());
    let short = Duration::from_millis(500);
    let first = acquired(&one, "one", short).unwrap();
    one.append(first, Sequence(0), &events(&["a"])).unwrap();
    // It stays beyond its first term, since it said that it is there.
    one.renew(first, LONG).unwrap();
    thread::sleep(2 * short);
    assert_eq!(acquired(&two, "two", LONG), None);
    // And for no longer than it said last.
    one.renew(first, short).unwrap();
    thread::sleep(2 * short);
    let second = acquired(&two, "two", LONG).unwrap();
    assert!(second.epoch > first.epoch);
    let late = Batch {
        receipts: vec![computed(content_cid(b"i"), 1)],
        ..events(&["late"])
    };
    for refused in [
        one.append(first, Sequence(1), &late).map(drop),
        one.renew(first, LONG),
        one.release(first),
        one.compact(first, Sequence(1), &[].into()),
    ] {
        assert!(
            matches!(refused, Err(JournalError::Fenced { .. })),
            "{refused:?}"
        );
    }
    two.append(second, Sequence(1), &events(&["b"])).unwrap();
    let read = one.read(P, Sequence(0), 10).unwrap();
    let texts: Vec<&[u8]> = read.iter().map(|(_, event)| &event[..]).collect();
    assert_eq!(texts, [b"a", b"b"]);
    assert!(one.receipts(0, 10).unwrap().is_empty());
}

#[test]
fn a_changed_row_is_noticed_and_what_is_behind_it_is_read() {
    let url = new_database();
    let journal = open(&url).unwrap();
    let tenure = acquired(&journal, "one", LONG).unwrap();
    let batch = Batch {
        receipts: (0..3).map(|n| computed(content_cid(b"i"), n)).collect(),
        ..events(&["first", "second", "third"])
    };
    journal.append(tenure, Sequence(0), &batch).unwrap();
    say(
        &url,
        "UPDATE events SET event = set_byte(event, 0, get_byte(event, 0) # 1) WHERE sequence = 1;
         UPDATE receipts SET receipt = set_byte(receipt, 9, get_byte(receipt, 9) # 1) WHERE number = 2",
    );
    let before = journal.read(P, Sequence(0), 10).unwrap();
    assert_eq!(before, [(Sequence(0), b"first".to_vec())]);
    let error = journal.read(P, Sequence(1), 10).unwrap_err();
    assert!(
        matches!(error, JournalError::Damaged { last: Some(1), .. }),
        "{error}"
    );
    assert_eq!(journal.read(P, Sequence(2), 10).unwrap().len(), 1);
    let error = journal.receipts(1, 10).unwrap_err().to_string();
    assert!(error.contains(&receipt(1).cid().to_string()), "{error}");
    let found = journal.receipts_of(&[content_cid(b"i")]).unwrap();
    assert_eq!(found, [receipt(0), receipt(2)]);
}

#[test]
fn a_database_that_was_away_loses_nothing_and_is_found_again() {
    let mut server = Postgres::start();
    let journal = open(&server.database("away")).unwrap();
    let tenure = acquired(&journal, "one", LONG).unwrap();
    journal
        .append(tenure, Sequence(0), &events(&["a", "b"]))
        .unwrap();
    server.kill_and_restart();
    // The connection that broke is an error, once.
    let begun = Instant::now();
    let end = loop {
        match journal.append(tenure, Sequence(2), &events(&["c"])) {
            Ok(end) => break end,
            Err(JournalError::Failed { .. }) if begun.elapsed() < Duration::from_secs(60) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(end, Sequence(3));
    assert_eq!(journal.read(P, Sequence(0), 10).unwrap().len(), 3);
    drop(server);
    let Err(error) = journal.end(P) else {
        panic!("nobody is there")
    };
    assert!(matches!(error, JournalError::Failed { .. }), "{error}");
}

#[test]
fn an_address_that_leads_nowhere_is_an_error_with_its_place() {
    let Err(error) = open("postgres://me:secret@127.0.0.1:1/none") else {
        panic!("nobody is there")
    };
    let said = error.to_string();
    assert!(said.contains("failed to connect"), "{said}");
    assert!(
        said.ends_with(", at postgres://me@127.0.0.1:1/none"),
        "{said}"
    );
}

#[test]
fn a_folder_keeps_to_the_journal_that_speaks_of_its_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDirectory::open(folder.path()).unwrap();
    let database = |url: &str| url.parse::<Database>().unwrap();
    let (ours, other) = (database(&new_database()), database(&new_database()));
    open_in(&data, &ours, None).unwrap();
    let wrong = |opened: Result<PostgresJournal, WrongJournal>| {
        let Err(error) = opened else {
            panic!("another journal knows nothing of its blobs")
        };
        error
    };
    // A file beside it would be a second one.
    let error = path_inside(folder.path()).unwrap_err();
    assert!(matches!(error, WrongJournal::InDatabase { .. }), "{error}");
    assert!(error.to_string().contains(&ours.to_string()), "{error}");
    assert!(open_inside(&data).is_err());
    assert!(!folder.path().join("journal.sqlite").exists());
    // So would be another database; nothing is made in it.
    let error = wrong(open_in(&data, &other, None));
    assert!(matches!(error, WrongJournal::InAnother { .. }), "{error}");
    let error = wrong(open_existing_in(folder.path(), &other));
    assert!(matches!(error, WrongJournal::InAnother { .. }), "{error}");
    let untouched = PostgresJournal::connect(&other).unwrap();
    assert_eq!(untouched.name().unwrap(), None);
    // The same one is known again, also at another address.
    let moved = ours.to_string().replace("127.0.0.1", "localhost");
    open_in(&data, &database(&moved), None).unwrap();
    let error = path_inside(folder.path()).unwrap_err();
    assert!(error.to_string().contains(&moved), "{error}");
    open_existing_in(folder.path(), &ours).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let data = DataDirectory::open(folder.path()).unwrap();
    open_inside(&data).unwrap();
    let error = wrong(open_in(&data, &ours, None));
    assert!(matches!(error, WrongJournal::Inside { .. }), "{error}");
    let error = wrong(open_existing_in(folder.path(), &ours));
    assert!(matches!(error, WrongJournal::InNone { .. }), "{error}");
}
