//! A store that fails when it is told to: what a broken disk or a lost connection does, at any call.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use asterism_protocol::{Cid, Receipt, Remark};

use super::{
    Asked, Batch, BlobEntry, BlobError, BlobReader, BlobWriter, Blobs, ComponentRecord, Decision,
    Holder, Journal, JournalError, Meeting, Partition, Sequence, StoreProblem, Stored, Tenure,
};

/// What a call that fails does before it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Nothing.
    Before,
    /// All of it: only the answer is lost.
    After,
}

/// Which calls fail, of all that a journal and a store of blobs get.
#[derive(Default)]
pub(crate) struct Faults {
    calls: AtomicU64,
    appends: AtomicBool,
    plan: Mutex<Option<(u64, u64, How)>>,
    /// What becomes of reading a receipt by its name, where that fails.
    receipts: Mutex<Option<fn() -> JournalError>>,
    /// How long an append takes.
    slow: Mutex<Duration>,
    /// How long it takes to hear that a decision is noted.
    slow_decisions: Mutex<Duration>,
    /// Does it give blobs and take none?
    takes_none: AtomicBool,
    /// What the blobs say of themselves, beside what becomes of calls.
    trouble: Mutex<Option<String>>,
    /// Is nobody told whether a blob is here?
    stalls: Mutex<bool>,
    goes_on: Condvar,
}

impl Faults {
    /// Calls from the `first` on, counted from 1, fail: `count` of them.
    pub(crate) fn fail(&self, first: u64, count: u64, how: How) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some((first, count, how));
    }

    /// Every call fails from now on, until [`Faults::heal`].
    pub(crate) fn break_down(&self) {
        self.fail(self.calls() + 1, u64::MAX / 2, How::Before);
    }

    /// No event can be appended from now on, until [`Faults::heal`]: so it is when the disk is full.
    pub(crate) fn break_appends(&self) {
        self.appends.store(true, Ordering::SeqCst);
    }

    /// Each append takes so long from now on.
    pub(crate) fn slow_appends(&self, by: Duration) {
        *self.slow.lock().unwrap_or_else(PoisonError::into_inner) = by;
    }

    /// Each decision is noted at once, and whoever notes it hears so that much later from now on.
    pub(crate) fn slow_decisions(&self, by: Duration) {
        let slow = self.slow_decisions.lock();
        *slow.unwrap_or_else(PoisonError::into_inner) = by;
    }

    /// No receipt can be read by its name from now on, until [`Faults::heal`].
    pub(crate) fn break_receipts(&self, fault: fn() -> JournalError) {
        *self.receipts() = Some(fault);
    }

    fn receipts(&self) -> MutexGuard<'_, Option<fn() -> JournalError>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No blob is taken to its end from now on, until [`Faults::heal`]: a store elsewhere that can only be read.
    pub(crate) fn take_no_blobs(&self) {
        self.takes_none.store(true, Ordering::SeqCst);
    }

    /// Whoever asks whether a blob is here waits as long as what is returned is there, as for a store elsewhere that stalls. A test
    /// that fails drops it: its runtime would wait for those who wait.
    #[must_use]
    pub(crate) fn stall(self: &Arc<Self>) -> Stall {
        *self.stalls.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Stall(Arc::clone(self))
    }

    fn wait_while_stalled(&self) {
        let stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.goes_on.wait_while(stalls, |stalls| *stalls);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// No call fails any more.
    pub(crate) fn heal(&self) {
        self.takes_none.store(false, Ordering::SeqCst);
        self.appends.store(false, Ordering::SeqCst);
        *self.receipts() = None;
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The blobs say that this is wrong with them, or nothing.
    pub(crate) fn set_trouble(&self, said: Option<&str>) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = said.map(str::to_owned);
    }

    /// How many calls there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call<T, E>(
        &self,
        call: impl FnOnce() -> Result<T, E>,
        fault: impl FnOnce() -> E,
    ) -> Result<T, E> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let plan = *self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        match plan {
            Some((first, count, how)) if number >= first && number - first < count => {
                if how == How::After {
                    call()?;
                }
                Err(fault())
            }
            _ => call(),
        }
    }

    fn journal<T>(
        &self,
        call: impl FnOnce() -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        self.call(call, broken)
    }

    fn blobs<T>(&self, call: impl FnOnce() -> Result<T, BlobError>) -> Result<T, BlobError> {
        self.call(call, || BlobError::Io {
            what: "do anything",
            source: io::Error::other("the disk is broken (a fault that the test asked for)"),
        })
    }
}

/// A store that stalls; see [`Faults::stall`].
pub(crate) struct Stall(Arc<Faults>);

impl Drop for Stall {
    fn drop(&mut self) {
        let Self(faults) = self;
        *faults.stalls.lock().unwrap_or_else(PoisonError::into_inner) = false;
        faults.goes_on.notify_all();
    }
}

pub(crate) fn broken() -> JournalError {
    JournalError::Failed {
        what: "do anything",
        source: "no space is left (a fault that the test asked for)".into(),
    }
}

/// A journal that fails as planned.
pub(crate) struct FaultyJournal(pub(crate) Arc<dyn Journal>, pub(crate) Arc<Faults>);

impl Journal for FaultyJournal {
    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    fn meet(
        &self,
        holder: &Holder,
        term: Duration,
        unmet: &[(Tenure, u64)],
    ) -> Result<Meeting, JournalError> {
        self.1.journal(|| self.0.meet(holder, term, unmet))
    }

    fn part(&self, holder: &Holder) -> Result<(), JournalError> {
        self.1.journal(|| self.0.part(holder))
    }

    fn decide(&self, decision: &Decision) -> Result<(), JournalError> {
        let slow = self.1.slow_decisions.lock();
        let slow = *slow.unwrap_or_else(PoisonError::into_inner);
        let noted = self.1.journal(|| self.0.decide(decision));
        std::thread::sleep(slow);
        noted
    }

    fn decisions(&self, after: u64) -> Result<Vec<(u64, Decision)>, JournalError> {
        self.1.journal(|| self.0.decisions(after))
    }

    fn acquire(
        &self,
        partition: Partition,
        holder: &Holder,
        term: Duration,
    ) -> Result<Asked, JournalError> {
        self.1.journal(|| self.0.acquire(partition, holder, term))
    }

    fn renew(&self, tenure: Tenure, term: Duration) -> Result<(), JournalError> {
        self.1.journal(|| self.0.renew(tenure, term))
    }

    fn release(&self, tenure: Tenure) -> Result<(), JournalError> {
        self.1.journal(|| self.0.release(tenure))
    }

    fn append(
        &self,
        tenure: Tenure,
        expected: Sequence,
        batch: &Batch,
    ) -> Result<Sequence, JournalError> {
        let slow = *self.1.slow.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::sleep(slow);
        self.1.journal(|| {
            if self.1.appends.load(Ordering::SeqCst) {
                return Err(broken());
            }
            self.0.append(tenure, expected, batch)
        })
    }

    fn end(&self, partition: Partition) -> Result<Sequence, JournalError> {
        self.1.journal(|| self.0.end(partition))
    }

    fn read(
        &self,
        partition: Partition,
        from: Sequence,
        max: usize,
    ) -> Result<Vec<(Sequence, Vec<u8>)>, JournalError> {
        self.1.journal(|| self.0.read(partition, from, max))
    }

    fn compact(
        &self,
        tenure: Tenure,
        before: Sequence,
        keep: &BTreeSet<Sequence>,
    ) -> Result<(), JournalError> {
        self.1.journal(|| self.0.compact(tenure, before, keep))
    }

    fn receipts_of(&self, instructions: &[Cid]) -> Result<Vec<Receipt>, JournalError> {
        self.1.journal(|| self.0.receipts_of(instructions))
    }

    fn receipt(&self, cid: Cid) -> Result<Option<Receipt>, JournalError> {
        let fault = *self.1.receipts();
        self.1.journal(|| match fault {
            Some(fault) => Err(fault()),
            None => self.0.receipt(cid),
        })
    }

    fn remark(&self, receipt: Cid) -> Result<Option<Remark>, JournalError> {
        self.1.journal(|| self.0.remark(receipt))
    }

    fn receipts(&self, after: u64, max: usize) -> Result<Vec<(u64, Receipt)>, JournalError> {
        self.1.journal(|| self.0.receipts(after, max))
    }

    fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError> {
        self.1.journal(|| self.0.add_component(component))
    }

    fn components_stamp(&self) -> Result<u64, JournalError> {
        self.1.journal(|| self.0.components_stamp())
    }

    fn components(&self) -> Result<Vec<ComponentRecord>, JournalError> {
        self.1.journal(|| self.0.components())
    }
}

/// Blobs that fail as planned.
pub(crate) struct FaultyBlobs(pub(crate) Arc<dyn Blobs>, pub(crate) Arc<Faults>);

impl Blobs for FaultyBlobs {
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError> {
        let writer = self.1.blobs(|| self.0.begin())?;
        Ok(Box::new(FaultyWriter(writer, Arc::clone(&self.1))))
    }

    fn size(&self, cid: Cid) -> Result<Option<u64>, BlobError> {
        self.1.wait_while_stalled();
        self.1.blobs(|| self.0.size(cid))
    }

    fn open(&self, cid: Cid) -> Result<Option<Box<dyn BlobReader>>, BlobError> {
        self.1.blobs(|| self.0.open(cid))
    }

    fn delete(&self, cid: Cid) -> Result<bool, BlobError> {
        self.1.blobs(|| self.0.delete(cid))
    }

    fn each(&self, see: &mut dyn FnMut(BlobEntry) -> bool) -> Result<(), BlobError> {
        self.1.blobs(|| self.0.each(see))
    }

    fn trouble(&self) -> Option<String> {
        let said = self.1.trouble.lock();
        let said = said.unwrap_or_else(PoisonError::into_inner).clone();
        said.or_else(|| self.0.trouble())
    }
}

struct FaultyWriter(Box<dyn BlobWriter>, Arc<Faults>);

impl BlobWriter for FaultyWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let writer = &mut self.0;
        self.1.blobs(|| writer.write(bytes))
    }

    fn finish(self: Box<Self>, expected: Option<Cid>) -> Result<Stored, BlobError> {
        let Self(writer, faults) = *self;
        if faults.takes_none.load(Ordering::SeqCst) {
            return Err(BlobError::Store {
                what: "write",
                place: "elsewhere".to_owned(),
                problem: StoreProblem::Away("the test asked for it".to_owned()),
            });
        }
        faults.blobs(|| writer.finish(expected))
    }
}
