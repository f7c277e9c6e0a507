//! The real program with its blobs in an object store, over an encrypted connection: what was brought is there after signal 9,
//! what somebody changed is not served, upkeep goes by the place that the folder names, and coordinators have one in common.

#[path = "../../coordinator/tests/common/mod.rs"]
#[expect(dead_code, reason = "a part of what tests of the server need")]
mod common;

#[path = "../../coordinator/tests/common/servers/mod.rs"]
#[expect(dead_code, reason = "a part of what tests of stores need")]
mod servers;

mod served;

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use asterism_protocol::{
    Cid, Out, Remark, Value, blob_cid,
    view::{RunState, RunSummary, RunView, TaskState},
};
use common::{FakeExecutor, math, task, workflow};
use served::Served;
use servers::{postgres::Postgres, s3::S3};

/// A store, and a folder from which the program is run with settings that lead to it.
struct World {
    folder: tempfile::TempDir,
    store: S3,
}

impl World {
    fn new() -> Self {
        Self::reached_by(|address| address)
    }

    /// The coordinator reaches the store at what `way` makes of its address.
    fn reached_by(way: impl FnOnce(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = S3::start_encrypted(folder.path());
        store.make_bucket("bucket");
        let settings = format!(
            "blobs = 's3://bucket/of/us'\ns3-endpoint = 'https://{}'\ndata = 'data'\n",
            way(store.address())
        );
        fs::write(folder.path().join("asterism.toml"), settings).unwrap();
        Self { folder, store }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        let authority = self.at("authority.pem");
        [
            ("SSL_CERT_FILE", authority.to_str().unwrap().to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    fn serve(&self) -> Served {
        self.serve_with(&[])
    }

    fn serve_with(&self, more: &[&str]) -> Served {
        let environment = self.environment();
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, &value[..]));
        let args = [&["coordinator", "--listen", "127.0.0.1:0"], more].concat();
        let (served, said) = Served::start_with(self.folder.path(), &args, &environment);
        assert_eq!(said["blobs"], "s3://bucket/of/us");
        served
    }

    fn asterism(&self, args: &[&str], at: &Path) -> Output {
        Command::new(env!("CARGO_BIN_EXE_asterism"))
            .arg("--json")
            .args(args)
            .current_dir(at)
            .env("XDG_CONFIG_HOME", self.at("config"))
            .envs(self.environment())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn works(&self, args: &[&str], at: &Path) -> serde_json::Value {
        let output = self.asterism(args, at);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, args: &[&str], at: &Path, words: &str) {
        let output = self.asterism(args, at);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

fn key(cid: Cid) -> String {
    let name = cid.to_string();
    format!("bucket/of/us/{}/{name}", &name[name.len() - 2..])
}

async fn get(coordinator: &Served, path: &str) -> (u16, Vec<u8>) {
    let response = reqwest::get(format!("{}{path}", coordinator.url));
    let response = response.await.unwrap();
    let status = response.status().as_u16();
    (status, response.bytes().await.unwrap().to_vec())
}

async fn send(
    coordinator: &Served,
    method: reqwest::Method,
    path: &str,
    body: impl Into<reqwest::Body>,
) -> u16 {
    let url = format!("{}{path}", coordinator.url);
    let sent = reqwest::Client::new().request(method, url).body(body);
    sent.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn blobs_in_an_object_store_survive_and_are_checked() {
    let world = World::new();
    let here = world.folder.path().to_owned();
    let long: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 241) as u8).collect();
    let cid = blob_cid(&long);
    let blob = format!("/blobs/{cid}");

    let coordinator = world.serve();
    let (post, put) = (reqwest::Method::POST, reqwest::Method::PUT);
    let added = send(&coordinator, post.clone(), "/components?name=math", math());
    assert_eq!(added.await, 201);
    assert_eq!(world.store.get(&key(blob_cid(&math()))), math());
    let tasks = workflow(&[task("first", "add", "[1, 2.5]")]);
    send(&coordinator, post, "/run?timeout=0", tasks).await;
    let mut executor = FakeExecutor::connect(&coordinator.url, 1).await;
    let lease = executor.lease(1).await.remove(0);
    // A result that is too long to stand in an outcome.
    assert_eq!(
        send(&coordinator, put.clone(), &blob, long.clone()).await,
        201
    );
    let out = Out::Ok(Value::Link(cid.to_link()));
    executor.deliver(&lease, out, Remark::default()).await;
    executor.accepted(lease.id).await;
    drop(coordinator);

    let coordinator = world.serve();
    let (_, components) = get(&coordinator, "/components").await;
    let components = String::from_utf8(components).unwrap();
    assert!(components.contains("\"math\""), "{components}");
    let (status, read) = get(&coordinator, &blob).await;
    assert!(status == 200 && read == long, "{status}");
    assert!(
        !here.join("data/blobs").exists(),
        "nothing is in the folder"
    );

    // As long as the right ones.
    let mut other = long.clone();
    other[3_000_000] ^= 1;
    world.store.put(&key(cid), &other);
    let (status, said) = get(&coordinator, &blob).await;
    let said = String::from_utf8(said).unwrap();
    assert_eq!(status, 500, "{said}");
    let place = format!("s3://{}", key(cid));
    let damaged = format!("the stored bytes of {cid} are damaged; delete {place} and upload");
    assert!(said.contains(&damaged), "{said}");
    world.fails(&["doctor"], &here, &damaged);
    world.fails(&["backup", "copy"], &here, &damaged);
    fs::remove_dir_all(here.join("copy")).unwrap();
    assert_eq!(send(&coordinator, put, &blob, long.clone()).await, 200);
    let (status, read) = get(&coordinator, &blob).await;
    assert!(status == 200 && read == long, "{status}");

    let health = world.works(&["doctor"], &here);
    assert_eq!(health["blobs"], 2);
    let copied = world.works(&["backup", "copy"], &here);
    assert_eq!(copied["blobs"], 2);
    drop(coordinator);

    // Where nothing says where the blobs are, nothing is taken for them.
    let away = here.join("away");
    fs::create_dir(&away).unwrap();
    fs::write(away.join("asterism.toml"), "").unwrap();
    let data = ["--data", "../data"];
    let elsewhere = "are in s3://bucket/of/us, and the folder has none";
    world.fails(&["doctor", data[0], data[1]], &away, elsewhere);
    world.fails(&["gc", data[0], data[1]], &away, elsewhere);
    world.fails(&["backup", data[0], data[1], "other"], &away, elsewhere);
    world.fails(
        &["coordinator", "--listen", "127.0.0.1:0", data[0], data[1]],
        &away,
        elsewhere,
    );
    // A backup is whole without a store, and may be restored into one.
    let health = world.works(&["doctor", "--data", "../copy"], &away);
    assert_eq!(health["blobs"], 2);
    let restore = ["restore", "--data", "again", "copy", "--blobs"];
    world.fails(
        &[&restore[..], &["s3://bucket/of/us"]].concat(),
        &here,
        "belong to another journal",
    );
    fs::remove_dir_all(here.join("again")).unwrap();
    world.works(&[&restore[..], &["s3://bucket/again"]].concat(), &here);
    let doctor = ["doctor", "--data", "again", "--blobs", "s3://bucket/again"];
    assert_eq!(world.works(&doctor, &here)["blobs"], 2);

    world.store.put(&key(blob_cid(b"garbage")), b"garbage");
    let garbage = world.works(&["gc", "--grace", "0"], &here);
    assert_eq!(
        (&garbage["blobs"], &garbage["kept"]),
        (&1.into(), &2.into())
    );
    assert_eq!(world.works(&["doctor"], &here)["blobs"], 2);
}

/// Longest that another coordinator may take to go on, with much room: five seconds are what is asked of it.
const TAKEN_OVER: Duration = Duration::from_secs(30);

#[tokio::test]
async fn coordinators_on_one_database_have_one_bucket() {
    let world = World::new();
    // Its certificate rests on the same authority as the store's.
    let server = Postgres::start_with(Some(world.folder.path()));
    let encrypted = |name| format!("{}?sslmode=require", server.database(name));
    let database = encrypted("shared");
    let serve = |data| world.serve_with(&["--journal", &database, "--data", data]);
    let first = serve("one");
    let second = serve("two");
    let long = vec![7; 6_000_000];
    let cid = blob_cid(&long);
    let (post, put) = (reqwest::Method::POST, reqwest::Method::PUT);
    // The one that stands by passes on what it is asked.
    let added = send(&second, post, "/components?name=math", math());
    assert_eq!(added.await, 201);
    let blob = format!("/blobs/{cid}");
    assert_eq!(send(&second, put, &blob, long.clone()).await, 201);
    drop(first);

    let begun = Instant::now();
    let (status, read) = loop {
        let answer = get(&second, &blob).await;
        if answer.0 != 503 {
            break answer;
        }
        assert!(begun.elapsed() < TAKEN_OVER, "nobody took over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(status == 200 && read == long, "{status}");
    let (_, components) = get(&second, "/components").await;
    let components = String::from_utf8(components).unwrap();
    assert!(components.contains("\"math\""), "{components}");
    // What nobody speaks of now may be spoken of in a moment.
    let here = world.folder.path();
    let gc = [
        "gc",
        "--grace",
        "0",
        "--journal",
        &database,
        "--data",
        "one",
    ];
    world.fails(&gc, here, "serves from the same database");
    drop(second);
    let begun = Instant::now();
    while !world.asterism(&gc, here).status.success() {
        assert!(begun.elapsed() < TAKEN_OVER, "nobody lets go");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Another database's coordinator does not take it for its own.
    let other = encrypted("other");
    let args = [
        "coordinator",
        "--listen",
        "127.0.0.1:0",
        "--journal",
        &other,
        "--data",
        "three",
    ];
    world.fails(&args, world.folder.path(), "belong to another journal");
}

/// The way to a store, which may be shut: then nobody gets through, and what is under way breaks.
struct Gate {
    address: String,
    passage: Arc<Mutex<Passage>>,
}

#[derive(Default)]
struct Passage {
    is_shut: bool,
    /// So many bytes more go to the store before it is shut.
    last: Option<usize>,
    under_way: Vec<Weak<TcpStream>>,
}

impl Passage {
    fn shut(&mut self) {
        self.is_shut = true;
        for stream in self.under_way.drain(..) {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// So many bytes are on their way to the store.
    fn count(&mut self, bytes: usize) {
        self.last = self.last.map(|last| last.saturating_sub(bytes));
        if self.last == Some(0) {
            self.last = None;
            self.shut();
        }
    }
}

/// Carries what one end says to the other, and tells of each piece before it goes on.
fn carry(
    mut from: &TcpStream,
    mut into: &TcpStream,
    mut tell: impl FnMut(usize),
) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        tell(read);
        into.write_all(&buffer[..read])?;
    }
}

impl Gate {
    fn start(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let passage = Arc::new(Mutex::new(Passage::default()));
        let of_gate = Arc::clone(&passage);
        // It ends with the process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = Arc::new(client.unwrap());
                let mut passage = of_gate.lock().unwrap();
                if passage.is_shut {
                    continue;
                }
                let server = Arc::new(TcpStream::connect(&to).unwrap());
                for (from, into, is_to_store) in [
                    (Arc::clone(&client), Arc::clone(&server), true),
                    (server, client, false),
                ] {
                    passage.under_way.retain(|stream| stream.strong_count() > 0);
                    passage.under_way.push(Arc::downgrade(&from));
                    let of_gate = Arc::clone(&of_gate);
                    let count = move |bytes| {
                        if is_to_store {
                            of_gate.lock().unwrap().count(bytes);
                        }
                    };
                    // A connection that breaks is what it is for.
                    thread::spawn(move || {
                        let _ = carry(&from, &into, count);
                        let _ = into.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { address, passage }
    }

    /// Shuts it when so many bytes more have gone to the store, in the middle of what they are part of.
    fn shut_after(&self, bytes: usize) {
        self.passage.lock().unwrap().last = Some(bytes);
    }

    fn open(&self) {
        self.passage.lock().unwrap().is_shut = false;
    }
}

/// The program as an executor, which ends with the test.
struct Executor(Child);

impl Executor {
    fn start(world: &World, coordinator: &Served) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_asterism"))
            .args(["executor", "start", "--threads", "1", "--data", "executor"])
            .args(["--coordinator", &coordinator.url])
            .current_dir(world.folder.path())
            .env("XDG_CACHE_HOME", world.at("cache"))
            .env("XDG_CONFIG_HOME", world.at("config"))
            .env("XDG_DATA_HOME", world.at("share"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Bytes of a result that is too long to stand in an outcome.
const LONG_BYTES: usize = 20_000;

/// A component whose results have [`LONG_BYTES`], which begin with a number.
fn long_results() -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m
                (memory (export "memory") 2)
                (func (export "make") (param i32) (result i32)
                    (i32.store (i32.const 0) (i32.const 16))
                    (i32.store (i32.const 4) (i32.const {LONG_BYTES}))
                    (i32.store (i32.const 16) (local.get 0))
                    (i32.const 0)))
            (core instance $i (instantiate $m))
            (func (export "make") (param "number" u32) (result (list u8))
                (canon lift (core func $i "make") (memory (core memory $i "memory")))))"#
    );
    wat::parse_str(text).unwrap()
}

/// Longest that an outage takes to be noticed, or to be over, with much room.
const OUTAGE_NOTICED: Duration = Duration::from_secs(120);

/// Asks again until it is so.
async fn until<T>(what: &str, mut so: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = so().await {
            return found;
        }
        assert!(begun.elapsed() < OUTAGE_NOTICED, "not so in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_outage_of_the_store_costs_no_task_an_attempt() {
    const TASKS: usize = 60;
    let mut gate = None;
    let world = World::reached_by(|address| {
        let way = gate.insert(Gate::start(address));
        way.address.clone()
    });
    let gate = gate.expect("the world was made");
    let coordinator = world.serve();
    let post = reqwest::Method::POST;
    let path = "/components?name=long";
    let added = send(&coordinator, post.clone(), path, long_results());
    assert_eq!(added.await, 201);
    let tasks = (0..TASKS).map(|n| task(&format!("t{n}"), "make", &format!("[{n}]")));
    let tasks = workflow(&tasks.collect::<Vec<_>>());
    assert_eq!(send(&coordinator, post, "/run?timeout=0", tasks).await, 504);
    let (_, runs) = get(&coordinator, "/workflows").await;
    let runs: Vec<RunSummary> = serde_json::from_slice(&runs).unwrap();
    let at = format!("/workflows/{}", runs[0].workflow);
    let view = async || -> RunView {
        let (_, view) = get(&coordinator, &at).await;
        serde_json::from_slice(&view).unwrap()
    };
    let health = async || -> (u16, serde_json::Value) {
        let (status, health) = get(&coordinator, "/health").await;
        (status, serde_json::from_slice(&health).unwrap())
    };

    // On any machine it happens while results are brought, and before all of them are there.
    gate.shut_after(TASKS * LONG_BYTES / 4);
    let _executor = Executor::start(&world, &coordinator);
    // All that is held is handed back, and nothing is leased any more.
    let held = async || {
        let (status, health) = health().await;
        (status == 503 && health["leases"] == 0).then_some(health)
    };
    let health = until("nobody holds anything", held).await;
    assert_eq!(health["paused"], false, "{health}");
    let during = view().await;
    assert_eq!(during.summary.state, RunState::Running);
    let why = "the store of the blobs is in trouble: failed to ";
    let waits = |reason: &str| reason.starts_with(why);
    assert!(during.tasks.iter().any(|task| waits(&task.reason)));

    gate.open();
    let ended = async || {
        let view = view().await;
        (view.summary.state != RunState::Running).then_some(view)
    };
    let view = until("it goes on", ended).await;
    assert_eq!(view.summary.state, RunState::Done);
    for task in &view.tasks {
        assert_eq!(task.state, TaskState::Computed);
        assert!(task.attempts.is_empty(), "{:?}", task.attempts);
    }
}

#[test]
fn a_place_that_was_emptied_is_not_taken_for_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let args = [
        "coordinator",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "data",
        "--blobs",
        "disk",
    ];
    let (served, _) = Served::start(here, &args);
    drop(served);
    // As a disk that is not mounted.
    fs::rename(here.join("disk"), here.join("away")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_asterism"))
        .args(args)
        .current_dir(here)
        .env("XDG_CONFIG_HOME", here.join("config"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("does not say that it has the blobs"),
        "{said}"
    );
    assert!(!here.join("disk").exists(), "nothing is made there");
    fs::rename(here.join("away"), here.join("disk")).unwrap();
    let (served, _) = Served::start(here, &args);
    drop(served);
}
