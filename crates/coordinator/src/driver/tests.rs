//! Durability before words, seen from outside.

use std::time::Duration;

use asterism_protocol::{
    Input as TaskInput, Instruction, Meta, Nonce, Prepared, Task, Value, Workflow, blob_cid,
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
        address: "http://here".to_owned(),
        journal: Arc::clone(journal),
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
