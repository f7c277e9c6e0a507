//! Durability before words, seen from outside.

use std::time::Duration;

use asterism_protocol::{
    Effects, Files, Identity, Input as TaskInput, Instruction, Meta, Nonce, Prepared, Task, Value,
    Workflow, blob_cid,
    message::{Capabilities, Hello, ToCoordinator, ToExecutor, hello_bytes},
    view::RunState,
};

use asterism_scheduler::{Checker, Planned};

use super::*;
use crate::store::{
    MemoryBlobs, MemoryJournal, Sequence,
    faults::{Faults, FaultyBlobs, FaultyJournal, How},
};

/// Longer than anything takes here.
const SOON: Duration = Duration::from_secs(60);

fn parts(journal: &Arc<dyn Journal>, trouble: &Arc<Trouble>) -> Parts {
    let metrics = Arc::new(Metrics::new());
    Parts {
        config: Config::default(),
        seed: 1,
        holder: Holder {
            name: "one".to_owned(),
            address: "http://here".to_owned(),
        },
        journal: Arc::clone(journal),
        blobs: Arc::new(MemoryBlobs::default()),
        compact_after: u64::MAX,
        hub: Arc::new(Hub::new(Arc::clone(&metrics))),
        metrics,
        trouble: Arc::clone(trouble),
        clock: Clock::new(),
        unmet: Arc::default(),
        caught: None,
    }
}

fn start(journal: &Arc<dyn Journal>, trouble: &Arc<Trouble>) -> (Driver, Threads) {
    Driver::start(parts(journal, trouble)).unwrap()
}

/// A journal that breaks when it is told to, and what it is made of.
fn breaking() -> (Arc<dyn Journal>, MemoryJournal, Arc<Faults>) {
    let (memory, faults) = (MemoryJournal::default(), Arc::new(Faults::default()));
    let journal = FaultyJournal(Arc::new(memory.clone()), Arc::clone(&faults));
    (Arc::new(journal), memory, faults)
}

fn submission(number: i128) -> Submission {
    submission_of(Value::Integer(number))
}

fn submission_of(arg: Value) -> Submission {
    let run = Instruction {
        rsc: format!("ipfs://{}", blob_cid(b"component")),
        op: "wasm/run".into(),
        input: TaskInput {
            func: "f".into(),
            args: vec![arg],
            files: Files::new(),
            effects: Effects::new(),
        },
        nnc: Nonce::Empty,
    };
    let task = Task {
        run,
        cause: None,
        meta: Meta::default(),
        prf: Vec::new(),
    };
    let prepared = Prepared {
        workflow: Workflow { tasks: vec![task] },
        names: vec![String::new()],
    };
    Submission {
        plan: Planned::read(&prepared).expect("it is a workflow"),
        name: "test".into(),
        submitter: "test".into(),
        known: Vec::new(),
        terms: asterism_protocol::Terms::default(),
    }
}

async fn until_healthy(trouble: &Trouble) {
    let over = tokio::time::timeout(SOON, trouble.over()).await;
    over.expect("it comes back");
}

#[tokio::test]
async fn what_cannot_be_made_durable_is_not_acknowledged_and_accepting_goes_on_afterwards() {
    let (journal, memory, faults) = breaking();
    let trouble = Arc::new(Trouble::default());
    let (driver, threads) = start(&journal, &trouble);
    let run = driver.submit(submission(1)).await.unwrap();
    let end = memory.end(PARTITION).unwrap();
    assert!(end > Sequence(0), "acknowledged, so durable");

    faults.break_down();
    for number in [2, 3] {
        let refused = driver.submit(submission(number)).await;
        assert!(matches!(refused, Err(NoAnswer::Unavailable)), "{refused:?}");
    }
    assert!(trouble.text().unwrap().contains("no space is left"));
    let view = move |scheduler: &Scheduler| scheduler.run_view(run);
    assert!(
        driver.look(view).await.unwrap().0.is_some(),
        "reading goes on"
    );
    let durable = driver.look_durable(view).await;
    assert!(durable.is_err(), "but nothing is told as final");

    faults.heal();
    until_healthy(&trouble).await;
    let (overview, _) = driver.look_durable(Scheduler::overview).await.unwrap();
    assert_eq!(
        overview.runs.iter().map(|run| run.run).collect::<Vec<_>>(),
        [run],
        "what was acknowledged is there, what was not is not"
    );
    driver.submit(submission(3)).await.unwrap();
    driver.stop(threads).await;

    let (driver, threads) = start(&journal, &Arc::new(Trouble::default()));
    let (overview, _) = driver.look(Scheduler::overview).await.unwrap();
    assert_eq!(overview.runs.len(), 2);
    driver.stop(threads).await;
}

#[tokio::test]
async fn an_answer_of_the_journal_that_is_lost_loses_nothing() {
    let (journal, memory, faults) = breaking();
    let trouble = Arc::new(Trouble::default());
    let (driver, threads) = start(&journal, &trouble);
    // Committed, and nobody knows.
    faults.fail(faults.calls() + 1, 1, How::After);
    assert!(driver.submit(submission(1)).await.is_err());
    until_healthy(&trouble).await;
    assert!(memory.end(PARTITION).unwrap() > Sequence(0));
    let (overview, _) = driver.look(Scheduler::overview).await.unwrap();
    assert_eq!(overview.runs.len(), 1, "the journal decides what is so");
    driver.submit(submission(2)).await.unwrap();
    driver.stop(threads).await;
}

#[tokio::test]
async fn whoever_was_overtaken_writes_nothing_and_says_so() {
    let (journal, memory, _) = breaking();
    let trouble = Arc::new(Trouble::default());
    let (driver, threads) = start(&journal, &trouble);
    driver.submit(submission(1)).await.unwrap();
    let end = memory.end(PARTITION).unwrap();
    // Its term is over while it sleeps, and another one comes.
    memory.expire(PARTITION);
    let other = Holder {
        name: "other".to_owned(),
        address: "http://elsewhere".to_owned(),
    };
    let asked = memory.acquire(PARTITION, &other, SOON).unwrap();
    assert!(matches!(asked, Asked::Granted(_)), "{asked:?}");

    assert!(driver.submit(submission(2)).await.is_err());
    assert!(trouble.text().unwrap().contains("another coordinator"));
    assert_eq!(memory.end(PARTITION).unwrap(), end);
    driver.stop(threads).await;
}

/// Compacts after few events, and keeps few runs.
fn compacting(journal: &Arc<dyn Journal>) -> Parts {
    let mut parts = parts(journal, &Arc::default());
    parts.config.finished_runs_max = 3;
    parts.compact_after = 20;
    parts
}

/// Submits and cancels until the journal was compacted; the last run.
async fn churn(driver: &Driver, memory: &MemoryJournal) -> RunId {
    for number in 1..100_000 {
        let last = driver.submit(submission(number)).await.unwrap();
        driver.cancel(last).await.unwrap();
        let left = memory.read(PARTITION, Sequence(0), 100_000).unwrap().len();
        if number > 150 && left < 100 {
            return last;
        }
    }
    panic!("nothing is dropped")
}

#[tokio::test]
async fn what_tells_of_forgotten_runs_leaves_the_journal() {
    let memory = MemoryJournal::default();
    let journal: Arc<dyn Journal> = Arc::new(memory.clone());
    let (driver, threads) = Driver::start(compacting(&journal)).unwrap();
    // One of them goes on for ever.
    let lasting = driver.submit(submission(0)).await.unwrap();
    let last = churn(&driver, &memory).await;
    let (before, _) = driver.look(Scheduler::state_digest).await.unwrap();
    driver.stop(threads).await;
    assert!(memory.end(PARTITION).unwrap() >= Sequence(300));

    let (driver, threads) = Driver::start(compacting(&journal)).unwrap();
    let (after, _) = driver.look(Scheduler::state_digest).await.unwrap();
    assert_eq!(before, after);
    let (overview, _) = driver.look(Scheduler::overview).await.unwrap();
    assert_eq!(overview.runs.len(), 4);
    assert_eq!(
        (overview.runs[0].run, overview.runs[3].run),
        (last, lasting)
    );
    assert_eq!(overview.runs[3].state, RunState::Running);
    driver.stop(threads).await;
}

#[tokio::test]
async fn a_compaction_that_fails_or_whose_answer_is_lost_changes_nothing_but_the_room_it_takes() {
    for how in [How::Before, How::After] {
        let memory = MemoryJournal::default();
        let journal: Arc<dyn Journal> = Arc::new(memory.clone());
        let (driver, threads) = Driver::start(parts(&journal, &Arc::default())).unwrap();
        driver.submit(submission(0)).await.unwrap();
        for number in 1..20 {
            let run = driver.submit(submission(number)).await.unwrap();
            driver.cancel(run).await.unwrap();
        }
        driver.stop(threads).await;
        let config = Config {
            finished_runs_max: 3,
            ..Config::default()
        };
        let digest = || {
            let now = Clock::new().now();
            let recovered = recovery::recover(&memory, PARTITION, &config, 1, now).unwrap();
            recovered.scheduler.state_digest()
        };
        let (before, end) = (digest(), memory.end(PARTITION).unwrap());
        let holder = Holder {
            name: "other".to_owned(),
            address: String::new(),
        };
        let Asked::Granted(tenure) = memory.acquire(PARTITION, &holder, SOON).unwrap() else {
            panic!("it was given back")
        };
        let faults = Arc::new(Faults::default());
        let broken = FaultyJournal(Arc::new(memory.clone()), Arc::clone(&faults));
        let compact = || compaction::compact(&broken, &config, tenure, end, &false.into());
        // Looking at the log takes two calls each time; then it is dropped.
        faults.fail(5, 1, how);
        assert!(compact().is_err());
        let left = memory.read(PARTITION, Sequence(0), 100).unwrap().len();
        assert_eq!(left < end.0 as usize, how == How::After, "{left}");
        assert_eq!(digest(), before);
        let kept = compact().unwrap().unwrap();
        assert!(kept < end.0 / 2, "{kept} of {}", end.0);
        assert_eq!(digest(), before);
    }
}

#[tokio::test]
async fn a_journal_that_lost_what_was_kept_is_refused() {
    let memory = MemoryJournal::default();
    let journal: Arc<dyn Journal> = Arc::new(memory.clone());
    let (driver, threads) = Driver::start(compacting(&journal)).unwrap();
    driver.submit(submission(0)).await.unwrap();
    churn(&driver, &memory).await;
    driver.stop(threads).await;
    memory.lose_first(PARTITION);
    let error = Driver::start(compacting(&journal))
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("damaged") && error.contains("were kept"),
        "{error}"
    );
}

/// Waits until the first task of a run says that it waits for the store of the blobs, or does not say so.
async fn until_held(driver: &Driver, run: RunId, held: bool) {
    let begun = std::time::Instant::now();
    loop {
        let explain = move |scheduler: &Scheduler| scheduler.explain(run, 0);
        let (explained, _) = driver.look(explain).await.unwrap();
        let waits = explained.expect("the run is there").waits;
        if waits.iter().any(|why| why.contains("the bucket is away")) == held {
            return;
        }
        assert!(begun.elapsed() < SOON, "{waits:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nothing_is_leased_while_the_blobs_are_in_trouble() {
    let (journal, memory, faults) = breaking();
    let trouble = Arc::new(Trouble::default());
    let of_blobs = Arc::new(Faults::default());
    let mut parts = parts(&journal, &trouble);
    let blobs = FaultyBlobs(Arc::new(MemoryBlobs::default()), Arc::clone(&of_blobs));
    parts.blobs = Arc::new(blobs);
    let (driver, threads) = Driver::start(parts).unwrap();
    let run = driver.submit(submission(1)).await.unwrap();
    let end = memory.end(PARTITION).unwrap();
    of_blobs.set_trouble(Some("the bucket is away"));
    until_held(&driver, run, true).await;
    assert_eq!(memory.end(PARTITION).unwrap(), end, "it is not recorded");
    let (overview, _) = driver.look(Scheduler::overview).await.unwrap();
    assert!(!overview.paused);

    // A scheduler that is brought back is told again.
    faults.break_down();
    assert!(driver.submit(submission(2)).await.is_err());
    faults.heal();
    until_healthy(&trouble).await;
    until_held(&driver, run, true).await;

    let (identity, connection, nonce) = (Identity::from_seed(&[1; 32]), ConnectionId(1), [1; 32]);
    let connected = driver.connected(connection, nonce, String::new());
    let mut outbox = connected.await.unwrap();
    let hello = Hello {
        key: identity.public_key(),
        proof: identity.sign(&hello_bytes(&nonce)),
        build: "test".into(),
        name: "test".into(),
        capabilities: Capabilities {
            host: "null".into(),
            metering: Config::default().metering,
            threads: 1,
            memory: 4 << 30,
            ..Capabilities::default()
        },
        holding: Vec::new(),
        enrolment: String::new(),
    };
    let mut checker = Checker::default();
    let wait_ms = 20_000;
    for message in [
        ToCoordinator::Hello(Box::new(hello)),
        ToCoordinator::Poll { slots: 1, wait_ms },
    ] {
        let message = checker.check(message);
        driver.received(connection, message).await.unwrap();
    }
    // What was said before was heard by now, and answered.
    driver.look_durable(Scheduler::overview).await.unwrap();
    let mut heard = Vec::new();
    while let Ok(message) = outbox.queue.try_recv() {
        heard.push(*message);
    }
    assert!(
        matches!(
            heard[..],
            [ToExecutor::Challenge { .. }, ToExecutor::Welcome { .. }]
        ),
        "{heard:?}"
    );
    of_blobs.set_trouble(None);
    let next = tokio::time::timeout(SOON, outbox.queue.recv()).await;
    let next = next.expect("it goes on").expect("the connection is there");
    assert!(
        matches!(&*next, ToExecutor::Assign { leases } if leases.len() == 1),
        "{next:?}"
    );
    driver.stop(threads).await;
}

#[tokio::test]
async fn whoever_serves_a_scheduler_that_panics_hears_of_it() {
    let (journal, ..) = breaking();
    let (driver, threads) = start(&journal, &Arc::default());
    let looked = driver.look::<()>(|_| panic!("the test asked for it")).await;
    assert!(looked.is_err());
    let gone = tokio::time::timeout(SOON, driver.gone()).await;
    gone.expect("it is noticed");
    driver.stop(threads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_takes_longer_than_a_term_is_not_overtaken() {
    let (journal, memory, faults) = breaking();
    let (driver, threads) = start(&journal, &Arc::default());
    faults.slow_appends(TERM + TERM / 3);
    let large = submission_of(Value::Bytes(vec![0; 10 << 20]));
    let submitting = driver.clone();
    let submitted = tokio::spawn(async move { submitting.submit(large).await });
    tokio::time::sleep(TERM + TERM / 6).await;
    let other = Holder {
        name: "other".to_owned(),
        address: "http://other".to_owned(),
    };
    let asked = memory.acquire(PARTITION, &other, TERM);
    assert!(matches!(asked, Ok(Asked::Held(_))), "{asked:?}");
    submitted.await.unwrap().unwrap();
    faults.slow_appends(Duration::ZERO);
    driver.stop(threads).await;
}
