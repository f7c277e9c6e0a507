//! Durability before words, seen from outside.

use std::time::Duration;

use asterism_protocol::{
    Effects, Files, Input as TaskInput, Instruction, Meta, Nonce, Prepared, Task, Value, Workflow,
    blob_cid, view::RunState,
};

use asterism_scheduler::Planned;

use super::*;
use crate::store::{
    MemoryJournal, Sequence,
    faults::{Faults, FaultyJournal, How},
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
        compact_after: u64::MAX,
        hub: Arc::new(Hub::new(Arc::clone(&metrics))),
        metrics,
        trouble: Arc::clone(trouble),
        clock: Clock::new(),
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
    let run = Instruction {
        rsc: format!("ipfs://{}", blob_cid(b"component")),
        op: "wasm/run".into(),
        input: TaskInput {
            func: "f".into(),
            args: vec![Value::Integer(number)],
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
