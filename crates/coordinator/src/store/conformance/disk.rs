//! What only a disk can do: be full, refuse to be written, keep half of what was written, have two owners.

use std::{env, fs, path::Path, process::Command, thread, time::Duration};

use asterism_protocol::{blob_cid, content_cid};

use super::{computed, events, receipt};
use crate::store::{
    Asked, Batch, BlobError, Blobs, DataDirectory, FolderBlobs, Holder, Journal, JournalError,
    LockError, Partition, Sequence, SqliteJournal, Tenure,
};

const P: Partition = Partition(0);

fn open(path: &Path) -> (SqliteJournal, Tenure) {
    let journal = SqliteJournal::open(path).unwrap();
    let holder = Holder {
        name: "writer".to_owned(),
        address: String::new(),
    };
    match journal
        .acquire(P, &holder, Duration::from_secs(600))
        .unwrap()
    {
        Asked::Granted(tenure) => (journal, tenure),
        Asked::Held(other) => panic!("{other:?} holds it"),
    }
}

/// In a process of its own, whose mounts nobody else sees and which end with it: `true` there, and `false` once it passed.
fn in_own_mounts() -> bool {
    const THERE: &str = "ASTERISM_TEST_IN_OWN_MOUNTS";
    if env::var_os(THERE).is_some() {
        return true;
    }
    let name = thread::current()
        .name()
        .expect("tests have names")
        .to_owned();
    // A user namespace makes it possible for those who are not root.
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(THERE, "1")
        .output()
        .expect("unshare runs (Debian's util-linux has it)");
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(
        status.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&status.stderr)
    );
    false
}

fn mount(args: &[&str], at: &Path) {
    let status = Command::new("mount").args(args).arg(at).status().unwrap();
    assert!(status.success(), "mount {args:?} {}", at.display());
}

#[test]
fn a_full_disk_takes_nothing_half_and_goes_on_when_there_is_room() {
    if !in_own_mounts() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"], folder.path());
    let (journal, tenure) = open(&folder.path().join("journal.sqlite"));
    let blobs = FolderBlobs::open(&folder.path().join("blobs")).unwrap();
    let blobs: &dyn Blobs = &blobs;
    let kept = blobs.put(b"kept").unwrap();
    let ballast = folder.path().join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();

    let text = "x".repeat(10_000);
    let mut end = Sequence(0);
    let error = loop {
        match journal.append(tenure, end, &events(&[text.as_str(); 4])) {
            Ok(next) => end = next,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, JournalError::Failed { .. }) && error.to_string().contains("full"),
        "{error}"
    );
    assert!(end > Sequence(0));
    assert_eq!(journal.end(P).unwrap(), end, "nothing of the last batch");
    let large = vec![7; 1 << 20];
    let error = blobs.put(&large).unwrap_err();
    assert!(matches!(error, BlobError::Io { .. }), "{error}");
    assert!(blobs.open(blob_cid(&large)).unwrap().is_none());
    assert_eq!(
        blobs.get(kept).unwrap().unwrap(),
        b"kept",
        "reading goes on"
    );
    assert_eq!(
        journal.read(P, Sequence(0), 1_000).unwrap().len() as u64,
        end.0
    );

    fs::remove_file(ballast).unwrap();
    let more = journal.append(tenure, end, &events(&["y"])).unwrap();
    assert_eq!(more.0, end.0 + 1);
    blobs.put(b"more").unwrap();
}

#[test]
fn a_read_only_folder_is_refused_and_read() {
    if !in_own_mounts() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    mount(&["-t", "tmpfs", "tmpfs"], folder.path());
    let path = folder.path().join("journal.sqlite");
    let (journal, tenure) = open(&path);
    journal
        .append(tenure, Sequence(0), &events(&["a"]))
        .unwrap();
    let blobs = FolderBlobs::open(&folder.path().join("blobs")).unwrap();
    let blobs: &dyn Blobs = &blobs;
    let kept = blobs.put(b"kept").unwrap();
    // Nobody can make a folder read-only in which files are open for writing.
    drop(journal);
    mount(&["-o", "remount,ro"], folder.path());

    let error = blobs.put(b"more").unwrap_err();
    assert!(matches!(error, BlobError::Io { .. }), "{error}");
    assert_eq!(blobs.get(kept).unwrap().unwrap(), b"kept");
    assert!(SqliteJournal::open(&path).is_err());
    let Err(error) = DataDirectory::open(&folder.path().join("new")) else {
        panic!("nothing can be made there")
    };
    assert!(matches!(error, LockError::Io { .. }), "{error}");

    mount(&["-o", "remount,rw"], folder.path());
    let (journal, tenure) = open(&path);
    journal
        .append(tenure, Sequence(1), &events(&["b"]))
        .unwrap();
}

#[test]
fn a_torn_write_leaves_whole_batches() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let (journal, tenure) = open(&path);
    for batch in 0..6_u64 {
        let text = format!("{batch}").repeat(500);
        let batch = Batch {
            receipts: vec![computed(content_cid(text.as_bytes()), batch.into())],
            ..events(&[text.as_str(); 4])
        };
        let at = journal.end(P).unwrap();
        journal.append(tenure, at, &batch).unwrap();
    }
    // As a power loss leaves it: the log of writes ends anywhere, or in bytes that were never written.
    let wal = fs::read(folder.path().join("journal.sqlite-wal")).unwrap();
    assert!(!wal.is_empty());
    let mut seen = Vec::new();
    for cut in (0..=wal.len()).rev().step_by(1_237) {
        for garbage in [false, true] {
            let torn = tempfile::tempdir().unwrap();
            let copy = torn.path().join("journal.sqlite");
            fs::copy(&path, &copy).unwrap();
            let mut bytes = wal[..cut].to_vec();
            if garbage {
                bytes.resize(wal.len(), 0xa5);
            }
            fs::write(torn.path().join("journal.sqlite-wal"), bytes).unwrap();
            let torn = SqliteJournal::open(&copy).unwrap();
            let events = torn.read(P, Sequence(0), 100).unwrap().len();
            let receipts = torn.receipts(0, 100).unwrap().len();
            assert_eq!((events % 4, events / 4), (0, receipts), "cut at {cut}");
            seen.push(receipts);
        }
    }
    assert_eq!(seen.first(), Some(&6), "the whole log has all of it");
    assert!(seen.is_sorted_by(|more, less| more >= less), "{seen:?}");
    assert!(seen.contains(&3), "{seen:?}");
}

#[test]
fn a_blob_that_was_half_written_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FolderBlobs::open(folder.path()).unwrap();
    let bytes = vec![9; 600_000];
    let mut writer = blobs.begin().unwrap();
    writer.write(&bytes[..400_000]).unwrap();
    // The process dies here: nothing of its own cleans up.
    std::mem::forget(writer);
    let tmp = || fs::read_dir(folder.path().join("tmp")).unwrap().count();
    assert_eq!(tmp(), 1);
    let blobs = FolderBlobs::open(folder.path()).unwrap();
    assert_eq!(tmp(), 0);
    assert!(blobs.open(blob_cid(&bytes)).unwrap().is_none());
}

#[test]
fn a_damaged_page_is_an_error_and_no_other_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let (journal, tenure) = open(&path);
    let receipts = (0..40).map(|n| computed(content_cid(&[n]), n.into()));
    let batch = Batch {
        receipts: receipts.collect(),
        ..events(&["event"; 40])
    };
    journal.append(tenure, Sequence(0), &batch).unwrap();
    drop(journal);
    let whole = fs::read(&path).unwrap();
    let mut noticed = 0;
    for page in (4_096..whole.len()).step_by(4_096) {
        let mut bytes = whole.clone();
        let end = (page + 4_096).min(bytes.len());
        bytes[page..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, bytes).unwrap();
        let _ = fs::remove_file(folder.path().join("journal.sqlite-wal"));
        let read = SqliteJournal::open(&path).and_then(|journal| {
            let mut events = journal.read(P, Sequence(0), 100)?;
            events.extend(journal.read(P, Sequence(events.len() as u64), 100)?);
            journal.receipts(0, 100)?;
            let all: Vec<_> = (0..40).map(|n: u8| content_cid(&[n])).collect();
            Ok((events, journal.receipts_of(&all)?, journal.components()?))
        });
        match read {
            // What cannot be read is said; what is read is right.
            Err(JournalError::Failed { .. } | JournalError::Damaged { .. }) => noticed += 1,
            Err(error) => panic!("{error}"),
            Ok((events, receipts, _)) => {
                assert!(events.iter().all(|(_, event)| event == b"event"));
                assert!(
                    receipts
                        .into_iter()
                        .all(|found| (0..40).any(|n| found == receipt(n)))
                );
            }
        }
    }
    assert!(noticed >= 3, "{noticed}");
}

#[test]
fn a_changed_bit_is_noticed_and_what_is_behind_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let (journal, tenure) = open(&path);
    let batch = Batch {
        receipts: (0..3).map(|n| computed(content_cid(b"i"), n)).collect(),
        ..events(&["first", "second", "third"])
    };
    journal.append(tenure, Sequence(0), &batch).unwrap();
    let spoil = |what: &str| {
        let connection = rusqlite::Connection::open(&path).unwrap();
        assert_eq!(connection.execute(what, []).unwrap(), 1);
    };
    let is = |error: JournalError, words: &str, number: Option<u64>| match error {
        JournalError::Damaged { ref last, .. } => {
            assert_eq!(*last, number, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        error => panic!("{error}"),
    };

    // Whole as text, and yet another one.
    spoil("UPDATE events SET event = CAST('sekond' AS BLOB) WHERE sequence = 1");
    let before = journal.read(P, Sequence(0), 10).unwrap();
    assert_eq!(before, [(Sequence(0), b"first".to_vec())]);
    is(
        journal.read(P, Sequence(1), 10).unwrap_err(),
        "event 1",
        Some(1),
    );
    let behind = journal.read(P, Sequence(2), 10).unwrap();
    assert_eq!(behind, [(Sequence(2), b"third".to_vec())]);
    // Right bytes in a wrong place.
    spoil(
        "UPDATE events SET (event, sum) = (SELECT event, sum FROM events WHERE sequence = 2)
         WHERE sequence = 1",
    );
    assert!(journal.read(P, Sequence(1), 10).is_err());
    spoil("DELETE FROM events WHERE sequence = 1");
    is(
        journal.read(P, Sequence(1), 10).unwrap_err(),
        "event 1",
        Some(1),
    );

    let whole = receipt(1).cid().to_string();
    spoil("UPDATE receipts SET receipt = substr(receipt, 1, length(receipt) - 1) WHERE number = 2");
    assert_eq!(journal.receipts(0, 10).unwrap(), [(1, receipt(0))]);
    is(journal.receipts(1, 10).unwrap_err(), &whole, Some(2));
    assert_eq!(journal.receipts(2, 10).unwrap(), [(3, receipt(2))]);
    // Who asks for the instruction gets the others.
    let found = journal.receipts_of(&[content_cid(b"i")]).unwrap();
    assert_eq!(found, [receipt(0), receipt(2)]);
    spoil(
        "UPDATE receipts SET remark = (SELECT remark FROM receipts WHERE number = 1) WHERE number = 3",
    );
    let words = format!("the remark of receipt {}", receipt(2).cid());
    is(journal.remark(receipt(2).cid()).unwrap_err(), &words, None);
}

#[test]
fn a_journal_opened_again_holds_what_was_appended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let batch = Batch {
        receipts: vec![computed(content_cid(b"i"), 1)],
        ..events(&["a", "b"])
    };
    let (journal, before) = open(&path);
    journal.append(before, Sequence(0), &batch).unwrap();
    drop(journal);

    let (journal, tenure) = open(&path);
    assert!(tenure.epoch > before.epoch, "no epoch comes twice");
    let read = journal.read(P, Sequence(0), 10).unwrap();
    assert_eq!(read[1], (Sequence(1), b"b".to_vec()));
    assert_eq!(
        journal.receipts_of(&[content_cid(b"i")]).unwrap(),
        [receipt(1)]
    );
}

#[test]
fn a_newer_journal_is_refused_politely() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    drop(open(&path));
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let Err(error) = SqliteJournal::open(&path) else {
        panic!("it is newer")
    };
    assert!(matches!(error, JournalError::Newer { found: 99, .. }));
    assert!(error.to_string().contains("use a newer program"), "{error}");
}

#[test]
fn a_journal_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(include_str!("journal-1.sql"))
        .unwrap();
    drop(connection);
    let (journal, tenure) = open(&path);
    let read = journal.read(P, Sequence(0), 10).unwrap();
    assert_eq!(
        read,
        [(Sequence(0), b"a".to_vec()), (Sequence(1), b"b".to_vec())]
    );
    journal
        .append(tenure, Sequence(2), &events(&["c"]))
        .unwrap();
}

#[test]
fn a_copy_made_during_writes_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, tenure) = open(&folder.path().join("journal.sqlite"));
    let copy = folder.path().join("copy.sqlite");
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for batch in 0..40 {
                let at = Sequence(4 * batch);
                journal.append(tenure, at, &events(&["x"; 4])).unwrap();
            }
        });
        while journal.end(P).unwrap() < Sequence(20) && !writer.is_finished() {}
        journal.copy_to(&copy).unwrap();
        writer.join().unwrap();
    });
    let (copied, _) = open(&copy);
    let events = copied.read(P, Sequence(0), 1_000).unwrap().len();
    assert!(events >= 20 && events % 4 == 0, "{events}");
    assert!(journal.copy_to(&copy).is_err(), "nothing is overwritten");
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
