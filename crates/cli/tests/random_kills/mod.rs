//! A load of workflows from processes that submit and processes that perform, and a coordinator that is ended by
//! signal 9 at random moments: what was acknowledged is done at the end, right, and was computed once. With a journal in
//! PostgreSQL, that is killed, too.

mod either;
mod wires;

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use asterism_coordinator::store::{
    Database, Journal, Partition, PostgresJournal, Sequence, SqliteJournal,
};
use asterism_protocol::{
    Cid, Out, Receipt, Value, decode, from_value,
    view::{RunState, RunView, TaskView},
};
use serde_json::Value as Json;

use super::{
    common::{math, task, workflow},
    post,
    served::Served,
    servers::postgres::Postgres,
    steady::{Accepted, work},
};

/// Kills of the test; `cargo xtask kill-test --kills N` asks for another number.
const KILLS: u32 = 30;

/// Kills where the journal is in PostgreSQL: each of its own kills takes it a second.
const KILLS_OF_BOTH: u32 = 12;

/// Processes that submit. One of them waits for each result, the others only until their workflow is accepted.
const SUBMITTERS: u32 = 3;

/// Workflows of one submitter: together they stay below the runs that a coordinator keeps for show.
const WORKFLOWS_MAX: u32 = 300;

/// For what is left to do after the last kill.
const PATIENCE: Duration = Duration::from_secs(60);

/// What goes on for as long as the test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, with its caches in the test's folder.
fn asterism(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_asterism"));
    command
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .env("XDG_DATA_HOME", folder.join("share"));
    command
}

/// What the tasks of a workflow come to.
type Results = [f64; 3];

/// The workflow that begins with this number, and its results.
fn workflow_from(first: f64) -> (String, Results) {
    let tasks = [
        task("one", "add", &format!("[{first:?}, 1.25]")),
        task("two", "add", r#"["{{needs.one.output}}", 3.5]"#),
        task("half", "divide", r#"["{{needs.two.output}}", 2.5]"#),
    ];
    let (one, two) = (first + 1.25, first + 1.25 + 3.5);
    (workflow(&tasks), [one, two, two / 2.5])
}

/// What was acknowledged: numbers of runs, and what they come to.
type Acknowledged = Arc<Mutex<BTreeMap<u64, Results>>>;

/// Submits one workflow after the other, each by a process of its own, until it is told to stop.
struct Submitter {
    number: u32,
    folder: PathBuf,
    url: String,
    /// Between two workflows, so that there is something to do at the last kill, too.
    pause: Duration,
    stop: Arc<AtomicBool>,
    acknowledged: Acknowledged,
}

impl Submitter {
    /// The workflows that were answered with their results.
    fn work(self) -> u32 {
        let file = self.folder.join(format!("workflow-{}.json", self.number));
        let waits = self.number == 0;
        let mut answered = 0;
        for round in 0..WORKFLOWS_MAX {
            let first = f64::from(self.number * 10_000 + round) + 0.5;
            let (workflow, results) = workflow_from(first);
            std::fs::write(&file, workflow).unwrap();
            while !self.stop.load(Ordering::SeqCst) {
                let mut command = asterism(&self.folder);
                command.args(["run", "--json", "--coordinator", &self.url]);
                if !waits {
                    command.arg("--detach");
                }
                let output = command.arg(&file).output().unwrap();
                // A coordinator that is away is no news here: whoever was told nothing asks again.
                if !output.status.success() {
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(output.status.code(), Some(3), "{said}");
                    thread::sleep(Duration::from_millis(50));
                    continue;
                }
                let said: Json = serde_json::from_slice(&output.stdout).unwrap();
                if waits {
                    assert_eq!(said["out"].as_f64(), Some(results[2]), "{said}");
                    answered += 1;
                } else {
                    let run = said["run"].as_u64().unwrap();
                    let other = self.acknowledged.lock().unwrap().insert(run, results);
                    assert!(
                        other.is_none_or(|other| other == results),
                        "run {run} was given to two workflows"
                    );
                }
                thread::sleep(self.pause);
                break;
            }
        }
        answered
    }
}

/// Processes that submit and that perform, spread over the coordinators at these addresses.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Acknowledged,
    submitters: Vec<thread::JoinHandle<u32>>,
    _executors: Vec<Process>,
}

impl Load {
    fn start(folder: &Path, urls: &[String], pause: Duration) -> Self {
        Self::start_apart(folder, urls, urls, pause)
    }

    /// Those that perform reach the coordinators at other addresses than those that submit.
    fn start_apart(
        folder: &Path,
        urls: &[String],
        executor_urls: &[String],
        pause: Duration,
    ) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
        let url_of = |urls: &[String], number: u32| urls[number as usize % urls.len()].clone();
        let submitters = (0..SUBMITTERS).map(|number| {
            let submitter = Submitter {
                number,
                folder: folder.to_owned(),
                url: url_of(urls, number),
                pause,
                stop: Arc::clone(&stop),
                acknowledged: Arc::clone(&acknowledged),
            };
            thread::spawn(move || submitter.work())
        });
        let executors = (0..2).map(|number| {
            let mut command = asterism(folder);
            command
                .args(["executor", "start"])
                .args(["--coordinator", &url_of(executor_urls, number)])
                .args(["--or", &url_of(executor_urls, number + 1)])
                .args(["--threads", "1", "--data"])
                .arg(folder.join(format!("executor-{number}")));
            Process::start(&mut command)
        });
        Self {
            submitters: submitters.collect(),
            _executors: executors.collect(),
            stop,
            acknowledged,
        }
    }

    /// No more is submitted; how many workflows were answered with their results, and what was acknowledged. What has begun is
    /// still performed.
    async fn stop(&mut self) -> (u32, BTreeMap<u64, Results>) {
        self.stop.store(true, Ordering::SeqCst);
        let mut answered = 0;
        for submitter in std::mem::take(&mut self.submitters) {
            let joined = tokio::task::spawn_blocking(|| submitter.join()).await;
            answered += joined.unwrap().expect("see above");
        }
        assert!(answered > 0);
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        (answered, acknowledged)
    }
}

/// xorshift: any moment will do, and the seed is said when something is found.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Where the journal is.
enum Keeps {
    /// In the data directory.
    File,
    /// In a database that somebody else runs.
    Elsewhere(String),
    /// On a server that is killed, too.
    Server(Box<Postgres>, String),
}

impl Keeps {
    fn url(&self) -> Option<&str> {
        match self {
            Self::File => None,
            Self::Elsewhere(url) | Self::Server(_, url) => Some(url),
        }
    }

    /// What starts a coordinator.
    fn args(&self, listen: &str, data: &Path) -> Vec<String> {
        let mut args = ["coordinator", "--listen", listen, "--data"]
            .map(str::to_owned)
            .to_vec();
        args.push(data.to_str().unwrap().to_owned());
        if let Some(url) = self.url() {
            args.extend(["--journal".to_owned(), url.to_owned()]);
        }
        args
    }
}

fn start(keeps: &Keeps, listen: &str, data: &Path) -> Served {
    let args = keeps.args(listen, data);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Served::start(data.parent().unwrap(), &args).0
}

fn kills_or(kills: u32) -> u32 {
    env::var("ASTERISM_KILLS").map_or(kills, |kills| kills.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_lose_nothing_and_repeat_nothing() {
    let (keeps, kills) = match env::var("ASTERISM_KILL_JOURNAL") {
        Ok(url) => (Keeps::Elsewhere(url), kills_or(KILLS)),
        Err(_) => (Keeps::File, kills_or(KILLS)),
    };
    kill(keeps, kills).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_a_coordinator_and_of_postgres_lose_nothing_either() {
    let server = Postgres::start();
    let url = server.database("kills");
    kill(
        Keeps::Server(Box::new(server), url),
        kills_or(KILLS_OF_BOTH),
    )
    .await;
}

/// Waits until a coordinator whose database was killed accepts work again.
async fn comes_back(url: &str, seed: u64) {
    let begun = Instant::now();
    loop {
        let health = reqwest::get(format!("{url}/health")).await.unwrap();
        let health: Json = health.json().await.unwrap();
        if health["status"] != "trouble" {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "seed {seed}: {health}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until more was acknowledged than this, and says how much: what is killed is at work, however slow the machine is.
async fn more_than(before: usize, acknowledged: &Acknowledged, seed: u64) -> usize {
    let begun = Instant::now();
    loop {
        let now = acknowledged.lock().unwrap().len();
        if now > before {
            return now;
        }
        assert!(begun.elapsed() < PATIENCE, "seed {seed}: {now} and no more");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn kill(mut keeps: Keeps, kills: u32) {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let seed = since.as_nanos() as u64 | 1;
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut coordinator = start(&keeps, "127.0.0.1:0", &data);
    let url = coordinator.url.clone();
    let listen = url.trim_start_matches("http://").to_owned();
    let added = post(format!("{url}/components?name=math"), math()).await;
    assert_eq!(added.status(), 201);

    let mut load = Load::start(
        folder.path(),
        std::slice::from_ref(&url),
        Duration::from_millis(2) * kills,
    );
    // One that is sure of what it was told.
    let accepted = Accepted::default();
    let steady = tokio::spawn(work(url.clone(), 9, Arc::clone(&accepted)));

    let (mut done, mut before) = (0, 0);
    while done < kills {
        tokio::time::sleep(Duration::from_millis(50 + random.below(1_000))).await;
        before = more_than(before, &load.acknowledged, seed).await;
        done += 1;
        if let Keeps::Server(server, _) = &mut keeps
            && random.below(3) == 0
        {
            server.kill_and_restart();
            comes_back(&url, seed).await;
            continue;
        }
        drop(coordinator);
        // Some moments are before it serves.
        while done < kills && random.below(4) == 0 {
            let mut command = asterism(folder.path());
            command.args(keeps.args(&listen, &data));
            let starting = Process::start(&mut command);
            tokio::time::sleep(Duration::from_millis(random.below(120))).await;
            drop(starting);
            done += 1;
        }
        coordinator = start(&keeps, &listen, &data);
        assert!(!steady.is_finished(), "kill {done}, seed {seed}: see above");
    }
    let (answered, acknowledged) = load.stop().await;
    let busy = || assert!(!steady.is_finished(), "seed {seed}: see above");
    all_done(&url, &acknowledged, busy, seed).await;
    steady.abort();
    drop(coordinator);

    if let Some(url) = keeps.url() {
        keeps_to_its_journal(&data, url);
    }
    let journal = keeps.url().map(str::to_owned);
    let computed = match journal {
        Some(url) => computed_in(url, seed).await,
        None => check_journal(
            &SqliteJournal::open(&data.join("journal.sqlite")).unwrap(),
            seed,
        ),
    };
    for accepted in accepted.lock().unwrap().iter() {
        assert!(
            computed.contains(accepted),
            "{accepted} was accepted and is gone, seed {seed}"
        );
    }
    assert!(computed.len() > acknowledged.len());
    eprintln!(
        "{done} kills: {} workflows acknowledged and {answered} answered, {} tasks computed",
        acknowledged.len(),
        computed.len()
    );
}

/// Waits until every run has ended, with the results that it must have; `look` is called while it waits.
async fn all_done(url: &str, acknowledged: &BTreeMap<u64, Results>, look: impl Fn(), seed: u64) {
    let begun = Instant::now();
    for (run, results) in acknowledged {
        let view = loop {
            let view = reqwest::get(format!("{url}/workflows/{run}")).await;
            let view = view.unwrap();
            // A database that was killed just before.
            if view.status() == 503 && begun.elapsed() < PATIENCE {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            assert_eq!(
                view.status(),
                200,
                "run {run} was acknowledged and is gone, seed {seed}"
            );
            let view: RunView = view.json().await.unwrap();
            if view.summary.state != RunState::Running {
                break view;
            }
            look();
            assert!(begun.elapsed() < PATIENCE, "seed {seed}: {view:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(view.summary.state, RunState::Done, "seed {seed}");
        let out = |task: &TaskView| task.out.clone();
        let outs: Vec<Option<Out>> = view.tasks.iter().map(out).collect();
        let right = results.map(|result| Some(Out::Ok(Value::Float(result))));
        assert_eq!(outs, right, "seed {seed}");
    }
}

/// Upkeep of a folder whose journal is in a database goes by that one, and nothing else is taken for it.
fn keeps_to_its_journal(data: &Path, url: &str) {
    let says = |args: &[&str], code: i32, words: &str| {
        let output = asterism(data).args(args).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    };
    let files = || data.read_dir().unwrap().count();
    let (folder, before) = (data.to_str().unwrap(), files());
    let backup = data.with_file_name("backup");
    let shown: Database = url.parse().unwrap();
    let elsewhere = format!("is in the database {shown}");
    let serve = ["coordinator", "--listen", "127.0.0.1:0", "--data", folder];
    says(&serve, 1, &elsewhere);
    says(&["gc", "--data", folder], 1, &elsewhere);
    says(&["doctor", "--data", folder], 1, &elsewhere);
    let args = ["backup", backup.to_str().unwrap(), "--data", folder];
    says(&args, 1, "pg_dump");
    assert_eq!((files(), backup.exists()), (before, false));

    let args = ["doctor", "--data", folder, "--journal", url];
    says(&args, 0, "looked at");
    // The component's is the only blob here, and old enough.
    let args = ["gc", "--grace", "0", "--data", folder, "--journal", url];
    says(&args, 0, "deleted 0 blobs of 0 bytes, 1 stay");
}

/// As [`check_journal`] has it, of the database at this address.
async fn computed_in(url: String, seed: u64) -> Vec<Cid> {
    // It waits for the database in its own way.
    let checking = tokio::task::spawn_blocking(move || {
        let journal = PostgresJournal::open(&url.parse().unwrap()).unwrap();
        check_journal(&journal, seed)
    });
    checking.await.unwrap()
}

/// Every receipt proves what it says, and nothing was computed after it was final; what was computed.
fn check_journal(journal: &dyn Journal, seed: u64) -> Vec<Cid> {
    let mut computed: BTreeMap<Cid, u32> = BTreeMap::new();
    let mut partitions = (0..journal.partitions()).map(Partition);
    let mut place = partitions.next().map(|first| (first, Sequence(0)));
    while let Some((partition, at)) = place {
        let events = journal.read(partition, at, 1_000).unwrap();
        let Some((last, _)) = events.last() else {
            place = partitions.next().map(|next| (next, Sequence(0)));
            continue;
        };
        place = Some((partition, Sequence(last.0 + 1)));
        for (_, bytes) in &events {
            let event: Value = decode("event", bytes, bytes.len()).unwrap();
            let Value::Map(event) = event else { continue };
            if let Some(Value::Map(what)) = event.get("computed") {
                let receipt: Receipt = from_value("receipt", what["receipt"].clone()).unwrap();
                let outcome = receipt.outcome().unwrap();
                *computed.entry(outcome.instruction).or_default() += 1;
            }
        }
    }
    let twice: Vec<_> = computed.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "computed again, seed {seed}: {twice:?}");
    let instructions: Vec<Cid> = computed.into_keys().collect();
    let receipts = journal.receipts_of(&instructions).unwrap();
    assert_eq!(receipts.len(), instructions.len(), "seed {seed}");
    for receipt in &receipts {
        receipt.verify().unwrap();
    }
    instructions
}
