//! What stores take: pairs of an event and a receipt made durable, blobs put and got, and time until a coordinator serves
//! again.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use asterism_coordinator::store::{
    Asked, Batch, Blobs, Computed, FolderBlobs, Holder, Journal, MemoryBlobs, ObjectBlobs,
    Partition, PostgresJournal, S3Access, Sequence, SqliteJournal, Tenure,
};
use asterism_protocol::{
    Attestation, Attested, Conditions, Effects, Files, Identity, Input, Instruction, Invocation,
    MerkleTree, Meta, Nonce, Out, Outcome, Policy, Prepared, Receipt, Remark, Statement, Task,
    Terms, Timestamp, Value, Workflow, blob_cid, content_cid, encode, view::RunId,
};
use asterism_scheduler::{Event, Planned};
use asterism_tests::harness::Coordinator;
use rusqlite::{Connection, params};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::{
    servers::{postgres::Postgres, s3::S3},
    table::{Row, Table, median},
};

/// For each size of a batch.
const MEASURED: Duration = Duration::from_secs(3);

/// Tasks of one run in the logs that are recovered from.
const TASKS_PER_RUN: u64 = 1_000;

/// Largest and middling blobs: a component of a language runtime, and a picture.
const BLOBS: [(usize, &str); 2] = [(32 << 20, "32 MiB"), (300_000, "300 kB")];

/// Bytes of each size that are put and got.
const BLOB_BYTES: usize = 128 << 20;

/// So many times, of which the middle is told.
const BLOB_ROUNDS: usize = 3;

const PARTITION: Partition = Partition(0);

pub(crate) fn run(table: &mut Table) -> anyhow::Result<()> {
    let mut row = |engine: &str, size: u64, (value, floor): (f64, f64)| {
        table.row(&Row {
            bench: "state",
            case: &format!("event and receipt made durable in {engine}, {size} at a time"),
            value,
            unit: "pairs/s",
            floor: Some((
                floor,
                &format!("the same rows in transactions of bare {engine}"),
            )),
        });
    };
    const SIZES: [u64; 3] = [1, 32, 1_024];
    for size in SIZES {
        let folder = tempfile::tempdir()?;
        let journal = SqliteJournal::open(&folder.path().join("journal.sqlite"))?;
        let mut bare = bare(&folder.path().join("bare.sqlite"))?;
        let pairs = pairs(&journal, size, |rows| append(&mut bare, rows))?;
        row("SQLite", size, pairs);
    }
    let server = Postgres::start();
    for size in SIZES {
        let journal = PostgresJournal::open(&server.database(&format!("journal{size}")).parse()?)?;
        let bare = BarePostgres::open(&server.database(&format!("bare{size}")))?;
        let pairs = pairs(&journal, size, |rows| bare.append(rows))?;
        row("PostgreSQL", size, pairs);
    }
    drop(server);
    blobs(table)?;
    // What is measured is not how long the program takes to build.
    drop(Coordinator::start(tempfile::tempdir()?.path()));
    for (tasks, said) in [(10_000, "10 k"), (100_000, "100 k"), (1_000_000, "1 M")] {
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal.sqlite");
        fill(&journal, tasks)?;
        let begun = Instant::now();
        drop(Coordinator::start(folder.path()));
        let value = begun.elapsed().as_secs_f64();
        let floor = read(&journal)?;
        table.row(&Row {
            bench: "state",
            case: &format!("started → serving, {said} tasks in the log"),
            value,
            unit: "s",
            floor: Some((floor, "reading the same rows")),
        });
    }
    Ok(())
}

/// Blobs of each store beside copies of plain files.
fn blobs(table: &mut Table) -> anyhow::Result<()> {
    let server = S3::start();
    server.make_bucket("bench");
    let access = S3Access {
        endpoint: Some(format!("http://{}", server.address())),
        region: Some("us-east-1".to_owned()),
        key_id: Some("bench".to_owned()),
        secret_key: Some("bench".to_owned()),
        allow_http: true,
    };
    let folder = tempfile::tempdir()?;
    let stores: [(&str, &dyn Blobs); 4] = [
        ("memory", &MemoryBlobs::default()),
        ("a folder", &FolderBlobs::open(folder.path())?),
        ("object_store's memory", &ObjectBlobs::in_memory()?),
        ("moto's S3", &ObjectBlobs::open_s3("bench", "", &access)?),
    ];
    for (size, said) in BLOBS {
        let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let (put_floor, get_floor) = copies(&bytes)?;
        for (name, store) in stores {
            let (put, get) = puts_and_gets(store, &bytes)?;
            for (verb, value, floor, what) in [
                ("put into", put, put_floor, "writing and syncing a file"),
                ("got from", get, get_floor, "copying a file"),
            ] {
                table.row(&Row {
                    bench: "state",
                    case: &format!("blobs of {said} {verb} {name}"),
                    value,
                    unit: "MB/s",
                    floor: Some((floor, what)),
                });
            }
        }
    }
    Ok(())
}

fn megabytes_per_second(bytes: usize, spent: Duration) -> f64 {
    bytes as f64 / 1e6 / spent.as_secs_f64()
}

/// Bytes a second of blobs that are put one after the other, each another one, and of those that are got.
fn puts_and_gets(store: &dyn Blobs, bytes: &[u8]) -> anyhow::Result<(f64, f64)> {
    let mut bytes = bytes.to_vec();
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for round in 0..BLOB_ROUNDS {
        let (mut put, mut get, mut done) = (Duration::ZERO, Duration::ZERO, 0);
        for number in 0..(BLOB_BYTES / bytes.len()) {
            bytes[..16].copy_from_slice(&((round << 32 | number) as u128).to_le_bytes());
            let begun = Instant::now();
            let cid = store.put(&bytes)?;
            put += begun.elapsed();
            let begun = Instant::now();
            let reader = store.open(cid)?;
            let mut reader = reader.ok_or_else(|| anyhow::anyhow!("a blob is gone"))?;
            io::copy(&mut reader, &mut io::sink())?;
            get += begun.elapsed();
            done += bytes.len();
            drop(reader);
            // It stays small, however long this takes.
            store.delete(cid)?;
        }
        puts.push(megabytes_per_second(done, put));
        gets.push(megabytes_per_second(done, get));
    }
    Ok((median(puts), median(gets)))
}

/// As [`puts_and_gets`], of plain files.
fn copies(bytes: &[u8]) -> anyhow::Result<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let (file, copy) = (folder.path().join("file"), folder.path().join("copy"));
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..BLOB_ROUNDS {
        let (mut put, mut get, mut done) = (Duration::ZERO, Duration::ZERO, 0);
        for _ in 0..(BLOB_BYTES / bytes.len()) {
            let begun = Instant::now();
            fs::write(&file, bytes)?;
            File::open(&file)?.sync_all()?;
            put += begun.elapsed();
            let begun = Instant::now();
            fs::copy(&file, &copy)?;
            get += begun.elapsed();
            done += bytes.len();
        }
        puts.push(megabytes_per_second(done, put));
        gets.push(megabytes_per_second(done, get));
    }
    Ok((median(puts), median(gets)))
}

fn acquire(journal: &dyn Journal) -> anyhow::Result<Tenure> {
    let holder = Holder {
        name: "bench".to_owned(),
        address: String::new(),
    };
    match journal.acquire(PARTITION, &holder, Duration::from_secs(3_600))? {
        Asked::Granted(tenure) => Ok(tenure),
        Asked::Held(_) => anyhow::bail!("a new journal is held"),
    }
}

/// What a batch comes to in tables: an event, and the digests, the bytes and the remark of its receipt.
type Rows = Vec<(Vec<u8>, [u8; 32], [u8; 32], Vec<u8>, Vec<u8>)>;

/// Pairs that become durable in a second, and as many rows with nothing around them, in turn: disks have moods.
fn pairs(
    journal: &dyn Journal,
    size: u64,
    mut bare: impl FnMut(&Rows) -> anyhow::Result<Duration>,
) -> anyhow::Result<(f64, f64)> {
    let tenure = acquire(journal)?;
    let (mut at, mut done) = (Sequence(0), 0);
    let (mut spent, mut floor) = (Duration::ZERO, Duration::ZERO);
    while spent + floor < MEASURED {
        let (_, batch) = computed(done, size);
        let begun = Instant::now();
        at = journal.append(tenure, at, &batch)?;
        spent += begun.elapsed();
        floor += bare(&rows(batch))?;
        done += size;
    }
    let done = done as f64;
    Ok((done / spent.as_secs_f64(), done / floor.as_secs_f64()))
}

/// As many rows in a second as a database takes with nothing around it, `size` in a transaction.
pub(crate) fn bare_pairs(size: u64) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut bare = bare(&folder.path().join("bare.sqlite"))?;
    let (mut done, mut spent) = (0, Duration::ZERO);
    while spent < MEASURED {
        let (_, batch) = computed(done, size);
        spent += append(&mut bare, &rows(batch))?;
        done += size;
    }
    Ok(done as f64 / spent.as_secs_f64())
}

/// A file with the same tables.
fn bare(path: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE events (number INTEGER PRIMARY KEY, event BLOB NOT NULL) STRICT;
         CREATE TABLE receipts (
             number INTEGER PRIMARY KEY, cid BLOB NOT NULL UNIQUE, instruction BLOB NOT NULL,
             receipt BLOB NOT NULL, remark BLOB NOT NULL
         ) STRICT;
         CREATE INDEX receipts_by_instruction ON receipts (instruction, number);",
    )?;
    Ok(connection)
}

fn rows(batch: Batch) -> Rows {
    batch
        .events
        .into_iter()
        .zip(&batch.receipts)
        .map(|(event, computed)| {
            let receipt = computed.receipt.clone();
            let (cid, instruction) = (content_cid(&receipt), computed.instruction);
            let remark = encode(&computed.remark);
            (event, cid.digest(), instruction.digest(), receipt, remark)
        })
        .collect()
}

/// A database with the same tables.
struct BarePostgres {
    runtime: Runtime,
    client: Client,
    insert: tokio_postgres::Statement,
}

impl BarePostgres {
    fn open(url: &str) -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let opened = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            // It ends with the client.
            tokio::spawn(connection);
            client
                .batch_execute(
                    "CREATE TABLE events (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event BYTEA NOT NULL);
                     CREATE TABLE receipts (
                         number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, cid BYTEA NOT NULL UNIQUE,
                         instruction BYTEA NOT NULL, receipt BYTEA NOT NULL, remark BYTEA NOT NULL
                     );
                     CREATE INDEX receipts_by_instruction ON receipts (instruction, number);",
                )
                .await?;
            let insert = client
                .prepare(
                    "WITH appended AS (INSERT INTO events (event) SELECT * FROM unnest($1::bytea[]))
                     INSERT INTO receipts (cid, instruction, receipt, remark)
                     SELECT * FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])",
                )
                .await?;
            Ok::<_, tokio_postgres::Error>((client, insert))
        });
        let (client, insert) = opened?;
        Ok(Self {
            runtime,
            client,
            insert,
        })
    }

    /// Appends rows; how long that took.
    fn append(&self, rows: &Rows) -> anyhow::Result<Duration> {
        let events: Vec<_> = rows.iter().map(|row| row.0.as_slice()).collect();
        let cids: Vec<_> = rows.iter().map(|row| row.1.as_slice()).collect();
        let instructions: Vec<_> = rows.iter().map(|row| row.2.as_slice()).collect();
        let receipts: Vec<_> = rows.iter().map(|row| row.3.as_slice()).collect();
        let remarks: Vec<_> = rows.iter().map(|row| row.4.as_slice()).collect();
        let begun = Instant::now();
        self.runtime.block_on(self.client.execute(
            &self.insert,
            &[&events, &cids, &instructions, &receipts, &remarks],
        ))?;
        Ok(begun.elapsed())
    }
}

/// Appends rows; how long that took.
fn append(connection: &mut Connection, rows: &Rows) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let transaction = connection.transaction()?;
    for (event, cid, instruction, receipt, remark) in rows {
        transaction
            .prepare_cached("INSERT INTO events (event) VALUES (?1)")?
            .execute([event])?;
        transaction
            .prepare_cached(
                "INSERT INTO receipts (cid, instruction, receipt, remark) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![cid, instruction, receipt, remark])?;
    }
    transaction.commit()?;
    Ok(begun.elapsed())
}

/// A log of runs that are done.
fn fill(path: &Path, tasks: u64) -> anyhow::Result<()> {
    let journal = SqliteJournal::open(path)?;
    let tenure = acquire(&journal)?;
    let mut at = Sequence(0);
    for run in 0..tasks / TASKS_PER_RUN {
        let (tasks, mut batch) = computed(run * TASKS_PER_RUN, TASKS_PER_RUN);
        let names = vec![String::new(); tasks.len()];
        let workflow = Workflow { tasks };
        let submitted = Event::Submitted {
            run: RunId(run + 1),
            at: Timestamp(1),
            name: "bench".to_owned(),
            submitter: "bench".to_owned(),
            plan: Arc::new(Planned::read(&Prepared { workflow, names })?),
            known: Vec::new(),
            terms: Terms {
                verify: Some(Policy::Any),
                ..Terms::default()
            },
        };
        batch.events.insert(0, encode(&submitted));
        at = journal.append(tenure, at, &batch)?;
    }
    journal.release(tenure)?;
    Ok(())
}

/// Seconds for reading all rows.
fn read(path: &Path) -> anyhow::Result<f64> {
    let connection = Connection::open(path)?;
    let begun = Instant::now();
    let mut select = connection.prepare("SELECT event FROM events ORDER BY sequence")?;
    let mut rows = select.query([])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += row.get_ref(0)?.as_blob()?.len();
    }
    anyhow::ensure!(bytes > 0, "the log is empty");
    Ok(begun.elapsed().as_secs_f64())
}

/// Tasks from a number on, and a batch that says what they came to, delivered as one.
fn computed(first: u64, count: u64) -> (Vec<Task>, Batch) {
    let identity = Identity::from_seed(&[7; 32]);
    let component = blob_cid(b"component");
    let tasks: Vec<Task> = (first..first + count)
        .map(|number| Task {
            run: Instruction {
                rsc: format!("ipfs://{component}"),
                op: "wasm/run".into(),
                input: Input {
                    func: "f".into(),
                    args: vec![Value::Integer(i128::from(number))],
                    files: Files::new(),
                    effects: Effects::new(),
                },
                nnc: Nonce::Empty,
            },
            cause: None,
            meta: Meta::default(),
            prf: Vec::new(),
        })
        .collect();
    let conditions = |task: &Task| Conditions {
        fuel: task.limits().fuel,
        memory: task.limits().memory,
        growth_refused: false,
    };
    let outcomes: Vec<Outcome> = tasks
        .iter()
        .map(|task| Outcome {
            instruction: task.run.cid(),
            out: Out::Ok(Value::Integer(1)),
            fuel: Some(1_000),
            metering: asterism_executor::METERING.into(),
        })
        .collect();
    let statement = |(task, outcome): (&Task, &Outcome)| Statement {
        outcome: outcome.cid(),
        conditions: conditions(task),
    };
    let statements: Vec<Statement> = tasks.iter().zip(&outcomes).map(statement).collect();
    let tree = MerkleTree::new(&statements);
    let signature = identity.sign(&tree.signed_bytes());
    let mut batch = Batch::default();
    for (index, (task, outcome)) in tasks.iter().zip(&outcomes).enumerate() {
        let attestation = Attestation {
            key: identity.public_key(),
            conditions: conditions(task),
            path: tree.path(index),
            signature,
        };
        let receipt = Receipt::attested(Invocation { task }.cid(), "f", outcome, &attestation);
        let event = Event::Computed {
            at: Timestamp(2),
            receipt: Box::new(Attested::read(&receipt).expect("it is one of ours")),
            remark: Box::new(Remark::default()),
        };
        batch.events.push(encode(&event));
        batch.receipts.push(Computed {
            cid: receipt.cid(),
            instruction: outcome.instruction,
            receipt: encode(&receipt),
            remark: Remark::default(),
        });
    }
    (tasks, batch)
}
