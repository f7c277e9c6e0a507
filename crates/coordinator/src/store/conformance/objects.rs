//! What only a store elsewhere can do: refuse, be away, stall, and break off in the middle; and be somebody else's.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use asterism_protocol::blob_cid;
use object_store::memory::InMemory;

use super::servers::s3::S3;
use crate::store::{
    BlobEntry, BlobError, BlobPlace, Blobs, BlobsElsewhere, DataDirectory, ObjectBlobs, Owner,
    S3Access, StoreProblem, WrongBlobs, objects::Patience, open_blobs, open_existing_blobs,
};

const BUCKET: &str = "blobs";

/// For what has to come at last.
const SOON: Duration = Duration::from_secs(20);

/// Short, so that tests are.
const IMPATIENCE: Patience = Patience {
    connect: Duration::from_secs(1),
    answer: Duration::from_millis(1_500),
    call: Duration::from_secs(30),
    brief: Duration::from_secs(10),
    retries: 2,
    probe: Duration::from_millis(50),
};

/// A server that all tests of this process share, with a bucket.
fn server() -> &'static S3 {
    static SERVER: OnceLock<S3> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = S3::start();
        server.make_bucket(BUCKET);
        server
    })
}

fn new_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn access(address: &str) -> S3Access {
    S3Access {
        endpoint: Some(format!("http://{address}")),
        region: Some("us-east-1".to_owned()),
        key_id: Some("test".to_owned()),
        secret_key: Some("test".to_owned()),
        allow_http: true,
    }
}

/// A prefix that nobody used before.
pub(super) fn new_store() -> ObjectBlobs {
    let access = access(&server().address());
    ObjectBlobs::open_s3(BUCKET, &new_prefix(), &access).unwrap()
}

fn many(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|n| (n % 249) as u8).collect()
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < SOON, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What a connection through the way does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing else.
    Pass,
    /// Answers this itself, once it has all of the request.
    Answer(&'static str),
    /// Takes all, and says nothing.
    Stall,
    /// Breaks off after so many bytes of an answer.
    CutAnswer(usize),
    /// Answers so many bytes, and then nothing more.
    StallAnswer(usize),
    /// Breaks off after so many bytes of a request that is longer.
    CutRequest(usize),
}

/// The way to the server, which is what a test wants it to be. Each connection carries one request: the server ends them.
struct Way {
    address: String,
    /// For so many connections; then it is as it was.
    mode: Arc<Mutex<(Mode, u32)>>,
    seen: Arc<AtomicU32>,
}

impl Way {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mode = Arc::new(Mutex::new((Mode::Pass, 0)));
        let seen = Arc::new(AtomicU32::new(0));
        let (of_way, count) = (Arc::clone(&mode), Arc::clone(&seen));
        // It ends with the process.
        thread::spawn(move || {
            for client in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                let mut state = of_way.lock().unwrap();
                let mode = match &mut *state {
                    (_, 0) => Mode::Pass,
                    (mode, left) => {
                        *left -= 1;
                        *mode
                    }
                };
                drop(state);
                let client = client.unwrap();
                // A connection that breaks is what it is for.
                thread::spawn(move || drop(carry(client, mode)));
            }
        });
        Self {
            address,
            mode,
            seen,
        }
    }

    fn be(&self, mode: Mode, connections: u32) {
        *self.mode.lock().unwrap() = (mode, connections);
    }

    fn always(&self, mode: Mode) {
        self.be(mode, u32::MAX);
    }

    fn pass(&self) {
        self.be(Mode::Pass, 0);
    }

    fn store(&self) -> ObjectBlobs {
        self.store_with(IMPATIENCE)
    }

    fn store_with(&self, patience: Patience) -> ObjectBlobs {
        let access = access(&self.address);
        ObjectBlobs::open_s3_with(BUCKET, &new_prefix(), &access, patience).unwrap()
    }
}

/// Reads a request to its end, or so many bytes of it; its bytes, and whether that was all.
fn request(client: &mut TcpStream, at_most: usize) -> io::Result<(Vec<u8>, bool)> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let read = client.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.split_once("content-length: ").map_or(0, |(_, rest)| {
                rest.split("\r\n").next().unwrap().parse().unwrap()
            });
            if bytes.len() >= head + 4 + length {
                // The server ends the connection, and so the answer.
                bytes.splice(head..head, *b"\r\nconnection: close");
                return Ok((bytes, true));
            }
        }
        if read == 0 || bytes.len() >= at_most {
            return Ok((bytes, false));
        }
    }
}

fn carry(mut client: TcpStream, mode: Mode) -> io::Result<()> {
    let at_most = match mode {
        Mode::CutRequest(bytes) => bytes,
        _ => usize::MAX,
    };
    let (asked, whole) = request(&mut client, at_most)?;
    if !whole {
        return client.shutdown(Shutdown::Both);
    }
    match mode {
        Mode::Answer(answer) => {
            write!(
                client,
                "HTTP/1.1 {answer}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{ERROR}",
                ERROR.len()
            )?;
            return client.shutdown(Shutdown::Write);
        }
        Mode::Stall => {
            // Until whoever asked has had enough.
            let _ = client.read(&mut [0]);
            return Ok(());
        }
        _ => {}
    }
    let mut server = TcpStream::connect(server().address())?;
    server.write_all(&asked)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    if let Mode::CutAnswer(bytes) | Mode::StallAnswer(bytes) = mode {
        answer.truncate(bytes);
    }
    client.write_all(&answer)?;
    if let Mode::StallAnswer(_) = mode {
        let _ = client.read(&mut [0]);
    }
    client.shutdown(Shutdown::Both)
}

const ERROR: &str = "<?xml version=\"1.0\"?><Error><Code>AsTheTestWants</Code></Error>";

fn count(blobs: &dyn Blobs) -> usize {
    let mut count = 0;
    let mut see = |_: BlobEntry| {
        count += 1;
        true
    };
    blobs.each(&mut see).unwrap();
    count
}

#[track_caller]
fn away<T>(done: Result<T, BlobError>, words: &str) {
    let Err(error) = done else {
        panic!("the store was away");
    };
    let said = error.to_string();
    assert!(said.contains(words), "{said}");
    assert!(said.contains(&format!("s3://{BUCKET}/test/")), "{said}");
    assert!(!said.contains("127.0.0.1"), "strangers read it: {said}");
    assert!(
        matches!(
            error,
            BlobError::Store {
                problem: StoreProblem::Away(_),
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_store_that_has_too_much_to_do_is_asked_again() {
    let way = Way::start();
    let store = way.store();
    let blobs: &dyn Blobs = &store;
    for answer in ["503 Slow Down", "500 Internal Server Error"] {
        way.be(Mode::Answer(answer), 2);
        let cid = blobs.put(answer.as_bytes()).unwrap();
        way.be(Mode::Answer(answer), 2);
        assert_eq!(blobs.get(cid).unwrap().unwrap(), answer.as_bytes());
        assert_eq!(blobs.trouble(), None);
    }
}

#[test]
fn a_store_that_is_away_says_so_until_it_is_back() {
    let way = Way::start();
    let store = way.store();
    let blobs: &dyn Blobs = &store;
    let kept = blobs.put(b"kept").unwrap();
    let absent = blob_cid(b"absent");
    for (answer, words) in [
        ("503 Service Unavailable", "503 Service Unavailable"),
        ("500 Internal Server Error", "500 Internal Server Error"),
    ] {
        way.always(Mode::Answer(answer));
        away(blobs.put(b"absent"), words);
        away(blobs.get(kept), words);
        away(blobs.size(kept), words);
        away(blobs.delete(kept), words);
        away(blobs.each(&mut |_| true), words);
        // It is tried with another object first.
        until("it is said that it is away", || blobs.trouble().is_some());
        let trouble = blobs.trouble().unwrap();
        assert!(trouble.contains(words), "{trouble}");
        way.pass();
        // Without anybody asking it for anything.
        until("it is said when it is over", || blobs.trouble().is_none());
        assert_eq!(blobs.get(kept).unwrap().unwrap(), b"kept");
        assert!(blobs.open(absent).unwrap().is_none());
    }
    assert_eq!(count(blobs), 1);
}

#[test]
fn a_store_that_stalls_is_given_up() {
    let way = Way::start();
    let store = way.store();
    let blobs: &dyn Blobs = &store;
    let bytes = many(3_000_000);
    let kept = blobs.put(&bytes).unwrap();
    way.always(Mode::Stall);
    let begun = Instant::now();
    away(blobs.put(b"absent"), "no answer within 1.5 s");
    assert!(begun.elapsed() < IMPATIENCE.call, "{:?}", begun.elapsed());
    // In the middle of an answer, too.
    way.pass();
    let mut reader = blobs.open(kept).unwrap().unwrap();
    way.always(Mode::StallAnswer(20_000));
    let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
    away::<()>(
        Err(BlobError::of_reading(kept, error)),
        "no answer within 1.5 s",
    );
    way.pass();
    assert!(blobs.get(kept).unwrap().unwrap() == bytes);
    assert_eq!(count(blobs), 1);
}

#[test]
fn in_trouble_nobody_waits_for_long() {
    let way = Way::start();
    let store = way.store_with(Patience {
        brief: Duration::from_millis(400),
        ..IMPATIENCE
    });
    let blobs: &dyn Blobs = &store;
    let kept = blobs.put(b"kept").unwrap();
    way.always(Mode::Stall);
    away(blobs.put(b"absent"), "no answer within");
    until("it is said that it is away", || blobs.trouble().is_some());
    let calls: [&dyn Fn() -> Result<(), BlobError>; 4] = [
        &|| blobs.put(b"absent").map(drop),
        &|| blobs.get(kept).map(drop),
        &|| blobs.size(kept).map(drop),
        &|| blobs.has(&[kept, kept]).map(drop),
    ];
    for call in calls {
        // It says how long it waited: not even for one attempt.
        away(call(), "no answer within 0.4 s");
    }
    way.pass();
    until("it is said when it is over", || blobs.trouble().is_none());
    assert_eq!(blobs.get(kept).unwrap().unwrap(), b"kept");
}

#[test]
fn an_object_that_stalls_is_not_the_store() {
    let way = Way::start();
    let store = way.store();
    let blobs: &dyn Blobs = &store;
    let (long, short) = (blobs.put(&many(3_000_000)), blobs.put(b"short"));
    let (long, short) = (long.unwrap(), short.unwrap());
    let mut reader = blobs.open(long).unwrap().unwrap();
    // What is short comes whole.
    way.always(Mode::StallAnswer(20_000));
    let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
    away::<()>(Err(BlobError::of_reading(long, error)), "no answer within");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(blobs.trouble(), None);
        assert_eq!(blobs.get(short).unwrap().unwrap(), b"short");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reading_that_breaks_goes_on_or_is_told() {
    let way = Way::start();
    let store = way.store();
    let blobs: &dyn Blobs = &store;
    for length in [700_000, 3_000_000] {
        let bytes = many(length);
        let cid = blobs.put(&bytes).unwrap();
        let read = || {
            let mut read = Vec::new();
            let mut reader = blobs.open(cid)?.unwrap();
            let result = reader.read_to_end(&mut read);
            assert!(bytes.starts_with(&read), "other bytes than the blob's");
            result.map_err(|error| BlobError::of_reading(cid, error))?;
            Ok(read)
        };
        // The first connection may be one that only looks.
        for broken in [1, 2] {
            way.be(Mode::CutAnswer(100_000), broken);
            assert!(read().unwrap() == bytes);
        }
        way.always(Mode::CutAnswer(100_000));
        away(read(), "the connection broke");
        way.pass();
        assert!(read().unwrap() == bytes);
    }
}

#[test]
fn an_upload_that_breaks_leaves_nothing() {
    let way = Way::start();
    let store = way.store();
    let blobs: &dyn Blobs = &store;
    let bytes = many(11_000_000);
    let cid = blob_cid(&bytes);
    for short in [&bytes[..4_000_000], &bytes] {
        way.always(Mode::CutRequest(1_000_000));
        let mut writer = blobs.begin().unwrap();
        let written = writer.write(short);
        let done = written.and_then(|()| writer.finish(None).map(drop));
        away(done, "the connection broke");
        way.pass();
        assert!(blobs.open(blob_cid(short)).unwrap().is_none());
    }
    assert_eq!(count(blobs), 0);
    // Once is no matter.
    way.be(Mode::CutRequest(1_000_000), 3);
    assert_eq!(blobs.put(&bytes).unwrap(), cid);
    assert!(blobs.get(cid).unwrap().unwrap() == bytes);
    until("nothing unfinished is left", || {
        store.unfinished().is_empty()
    });
}

#[test]
fn a_part_that_breaks_ends_the_upload() {
    let way = Way::start();
    let store = way.store();
    let blobs: &dyn Blobs = &store;
    let bytes = many(16_000_000);
    let mut writer = blobs.begin().unwrap();
    // The first part is there already.
    writer.write(&bytes[..6_000_000]).unwrap();
    way.always(Mode::CutRequest(1_000_000));
    away(writer.write(&bytes[6_000_000..]), "the connection broke");
    way.pass();
    drop(writer);
    assert!(blobs.open(blob_cid(&bytes)).unwrap().is_none());
    assert_eq!(count(blobs), 0);
    until("nothing unfinished is left", || {
        store.unfinished().is_empty()
    });
}

#[test]
fn refusals_name_the_object_and_what_helps() {
    let way = Way::start();
    // Nobody asks whether it is over.
    let store = way.store_with(Patience {
        probe: SOON,
        ..IMPATIENCE
    });
    let blobs: &dyn Blobs = &store;
    way.always(Mode::Answer("403 Forbidden"));
    let error = blobs.put(b"denied").unwrap_err().to_string();
    let key = blob_cid(b"denied").to_string();
    for words in [
        "failed to look at s3://blobs/test/",
        &key[..],
        "access is denied",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let error = blobs.each(&mut |_| true).unwrap_err().to_string();
    assert!(error.contains("(AsTheTestWants)"), "{error}");
    // Nobody gains by asking again.
    let before = way.seen.load(Ordering::Relaxed);
    assert!(blobs.size(blob_cid(b"denied")).is_err());
    let asked = way.seen.load(Ordering::Relaxed) - before;
    assert!(
        asked <= 2,
        "{asked}: one is the question whether it is over"
    );

    let refused = |bucket: &str, access: &S3Access, words: &str| {
        let opened = ObjectBlobs::open_s3_with(bucket, "a/b", access, IMPATIENCE);
        let Err(error) = opened else {
            panic!("it cannot be used")
        };
        let said = error.to_string();
        assert!(said.contains(&format!("s3://{bucket}/a/b")), "{said}");
        assert!(said.contains(words), "{said}");
    };
    let good = access(&server().address());
    refused("nothing", &good, "there is no such bucket; make it");
    let encrypted_only = S3Access {
        allow_http: false,
        ..good.clone()
    };
    refused(BUCKET, &encrypted_only, "set AWS_ALLOW_HTTP=true");
    let half = S3Access {
        secret_key: None,
        ..good
    };
    refused(BUCKET, &half, "AWS_SECRET_ACCESS_KEY is not");
    refused(
        BUCKET,
        &access("127.0.0.1:1"),
        "nobody can be reached there",
    );
}

#[test]
fn a_404_is_told_in_the_words_of_the_store() {
    let way = Way::start();
    let store = way.store();
    let blobs: &dyn Blobs = &store;
    let said = |done: Result<(), BlobError>| done.unwrap_err().to_string();
    way.always(Mode::Answer("404 Not Found"));
    let lost = said(blobs.put(b"lost").map(drop));
    assert!(lost.contains("404 Not Found (AsTheTestWants)"), "{lost}");
    assert!(!lost.contains("bucket; make it"), "{lost}");
    way.pass();
    until("it is found out that all is well", || {
        blobs.put(b"kept").is_ok()
    });
    // A store that has forgotten an upload, as one does that cleans up.
    let bytes = many(12_000_000);
    let mut writer = blobs.begin().unwrap();
    writer.write(&bytes[..6_000_000]).unwrap();
    way.always(Mode::Answer("404 Not Found"));
    let lost = said(writer.write(&bytes[6_000_000..]));
    assert!(lost.contains("failed to write a part of s3://"), "{lost}");
    assert!(!lost.contains("bucket; make it"), "{lost}");
    way.pass();
}

#[tokio::test]
async fn it_waits_on_threads_of_other_runtimes_too() {
    let store = tokio::task::spawn_blocking(new_store).await.unwrap();
    let blobs: &dyn Blobs = &store;
    let bytes = many(6_000_000);
    // More calls than a task may make in a turn.
    for number in 0..150_u8 {
        blobs.put(&[number]).unwrap();
    }
    let cid = blobs.put(&bytes).unwrap();
    assert!(blobs.get(cid).unwrap().unwrap() == bytes);
    drop(store);
}

#[test]
fn what_dead_processes_left_unfinished_is_deleted_once_it_is_old() {
    let store = new_store();
    let blobs: &dyn Blobs = &store;
    let left = store.leave_unfinished(b"left");
    let cid = blobs.put(b"kept").unwrap();
    store
        .sweep_older_than(Duration::from_secs(60 * 60))
        .unwrap();
    assert_eq!(store.unfinished(), [left]);
    store.sweep_older_than(Duration::ZERO).unwrap();
    assert!(store.unfinished().is_empty());
    assert_eq!(blobs.get(cid).unwrap().unwrap(), b"kept");
}

#[test]
fn what_is_not_named_by_a_cid_is_not_listed() {
    let objects = Arc::new(InMemory::new());
    let store = ObjectBlobs::open(objects, "a/b", "memory:".to_owned()).unwrap();
    store.leave_unfinished(b"left");
    let blobs: &dyn Blobs = &store;
    blobs.put(b"one").unwrap();
    assert_eq!(count(blobs), 1);
}

/// What a journal in a directory is to its blobs.
fn opened(
    data: &DataDirectory,
    elsewhere: Option<&BlobsElsewhere>,
) -> Result<Arc<dyn Blobs>, WrongBlobs> {
    let owner = Owner::inside(data).unwrap();
    open_blobs(Some(data), elsewhere, Some(&owner)).map(|opened| opened.blobs)
}

#[track_caller]
fn wrong(opened: Result<Arc<dyn Blobs>, WrongBlobs>, words: &str) {
    let Err(error) = opened else {
        panic!("these are not its blobs");
    };
    let said = error.to_string();
    assert!(said.contains(words), "{said}");
}

#[test]
fn blobs_elsewhere_keep_to_the_journal_that_speaks_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let directory = |name: &str| DataDirectory::open(&folder.path().join(name)).unwrap();
    let in_s3 = || BlobsElsewhere {
        place: BlobPlace::S3 {
            bucket: BUCKET.to_owned(),
            prefix: new_prefix(),
        },
        access: access(&server().address()),
    };
    let in_folder = |name: &str| BlobsElsewhere {
        place: BlobPlace::Folder(folder.path().join(name)),
        access: S3Access::default(),
    };
    for (index, (place, other)) in [(in_s3(), in_s3()), (in_folder("place"), in_folder("other"))]
        .into_iter()
        .enumerate()
    {
        let (ours, stranger) = (
            directory(&format!("ours{index}")),
            directory(&format!("stranger{index}")),
        );
        let (place, other) = (Some(&place), Some(&other));
        let blobs = opened(&ours, place).unwrap();
        let cid = blobs.put(b"ours").unwrap();
        drop(blobs);
        // Another journal would delete them.
        wrong(opened(&stranger, place), "belong to another journal");
        // And this one has no others.
        wrong(opened(&ours, None), "and the folder has none");
        wrong(opened(&ours, other), "and not in");
        let beside = |place| {
            let owner = Owner::beside(ours.path()).unwrap();
            open_existing_blobs(ours.path(), place, &owner)
        };
        wrong(beside(None), "and the folder has none");
        wrong(beside(other), "and not in");
        assert_eq!(beside(place).unwrap().size(cid).unwrap(), Some(4));
        assert_eq!(opened(&ours, place).unwrap().size(cid).unwrap(), Some(4));

        // A folder with blobs of its own does not forget them.
        let blobs = opened(&stranger, None).unwrap();
        blobs.put(b"its own").unwrap();
        wrong(opened(&stranger, other), "holds blobs of its own");
        let owner = Owner::beside(stranger.path()).unwrap();
        let beside = open_existing_blobs(stranger.path(), other, &owner);
        wrong(beside, "are in the folder");
    }
}

#[test]
fn a_folder_of_blobs_has_one_coordinator_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDirectory::open(&folder.path().join("data")).unwrap();
    let place = BlobsElsewhere {
        place: BlobPlace::Folder(folder.path().join("place")),
        access: S3Access::default(),
    };
    let owner = Owner::inside(&data).unwrap();
    let first = open_blobs(Some(&data), Some(&place), Some(&owner)).unwrap();
    wrong(
        opened(&data, Some(&place)),
        "is in use by another coordinator",
    );
    drop(first);
    opened(&data, Some(&place)).unwrap();
}
