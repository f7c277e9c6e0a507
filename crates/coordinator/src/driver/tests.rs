//! Durability before words, seen from outside.

use std::sync::atomic::{AtomicBool, Ordering};

use asterism_protocol::{
    Cid, Input as TaskInput, Instruction, Meta, Nonce, Prepared, Receipt, Remark, Task, Workflow,
    blob_cid,
};

use super::*;
use crate::store::{Batch, ComponentRecord, MemoryJournal};

/// A disk that breaks when it is told to.
#[derive(Default)]
struct BreakingJournal {
    journal: MemoryJournal,
    broken: AtomicBool,
}

impl Journal for BreakingJournal {
    fn append(&self, expected: Sequence, batch: &Batch) -> Result<Sequence, JournalError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(JournalError::Damaged {
                place: "disk".into(),
                reason: "no space is left".into(),
            });
        }
        self.journal.append(expected, batch)
    }

    fn end(&self) -> Result<Sequence, JournalError> {
        self.journal.end()
    }

    fn read(&self, from: Sequence, max: usize) -> Result<Vec<Vec<u8>>, JournalError> {
        self.journal.read(from, max)
    }

    fn receipts_of(&self, instructions: &[Cid]) -> Result<Vec<Receipt>, JournalError> {
        self.journal.receipts_of(instructions)
    }

    fn receipt(&self, cid: Cid) -> Result<Option<Receipt>, JournalError> {
        self.journal.receipt(cid)
    }

    fn remark(&self, receipt: Cid) -> Result<Option<Remark>, JournalError> {
        self.journal.remark(receipt)
    }

    fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError> {
        self.journal.add_component(component)
    }

    fn components(&self) -> Result<Vec<ComponentRecord>, JournalError> {
        self.journal.components()
    }
}

fn start(journal: &Arc<BreakingJournal>, trouble: &Arc<Trouble>) -> (Driver, Threads) {
    let metrics = Arc::new(Metrics::new());
    let journal = Arc::clone(journal);
    let parts = Parts {
        config: Config::default(),
        seed: 1,
        journal,
        hub: Arc::new(Hub::new(Arc::clone(&metrics))),
        metrics,
        trouble: Arc::clone(trouble),
        clock: Clock::new(),
    };
    Driver::start(parts).unwrap()
}

fn submission(number: i128) -> Submission {
    let run = Instruction {
        rsc: format!("ipfs://{}", blob_cid(b"component")),
        op: "wasm/run".into(),
        input: TaskInput {
            func: "f".into(),
            args: vec![asterism_protocol::Value::Integer(number)],
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
        prepared,
        name: "test".into(),
        submitter: "test".into(),
        known: Vec::new(),
        terms: asterism_protocol::Terms::default(),
    }
}

#[tokio::test]
async fn what_cannot_be_made_durable_is_not_acknowledged() {
    let (journal, trouble) = (
        Arc::new(BreakingJournal::default()),
        Arc::new(Trouble::default()),
    );
    let (driver, threads) = start(&journal, &trouble);
    let run = driver.submit(submission(1)).await.unwrap();
    assert!(
        journal.end().unwrap() > Sequence(0),
        "acknowledged, so durable"
    );

    journal.broken.store(true, Ordering::SeqCst);
    assert!(matches!(
        driver.submit(submission(2)).await,
        Err(NoAnswer::Unavailable)
    ));
    assert!(trouble.text().unwrap().contains("no space is left"));
    // The disk comes back, the trust does not: what was handled meanwhile is lost.
    journal.broken.store(false, Ordering::SeqCst);
    assert!(matches!(
        driver.submit(submission(3)).await,
        Err(NoAnswer::Unavailable)
    ));
    let (view, _) = driver
        .look(move |scheduler| scheduler.run_view(run))
        .await
        .unwrap();
    assert!(view.is_some(), "reading goes on");
    driver.stop(threads).await;

    let (driver, threads) = start(&journal, &Arc::new(Trouble::default()));
    let (overview, _) = driver.look(Scheduler::overview).await.unwrap();
    assert_eq!(
        overview.runs.len(),
        1,
        "only what was acknowledged is there"
    );
    driver.stop(threads).await;
}
