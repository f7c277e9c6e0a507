//! The twins in memory: for tests, and for a coordinator that need not remember.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io::Cursor,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use asterism_protocol::{Cid, Receipt, Remark, Timestamp, decode};

use super::{
    Asked, Batch, BlobEntry, BlobError, BlobReader, BlobWriter, Blobs, Compacted, ComponentRecord,
    Computed, Decision, Epoch, Holder, InOrder, Journal, JournalError, Meeting, Naming, Partition,
    Seen, Sequence, Stored, Tenure, check_kept, terms::Terms,
};
use crate::limits::RECEIPTS_PER_INSTRUCTION_MAX;

/// A journal that ends with the process. Clones share it, as processes share a database.
#[derive(Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    logs: BTreeMap<Partition, Log>,
    terms: Terms,
    receipts: BTreeMap<Cid, (Receipt, Remark)>,
    in_order: Vec<Cid>,
    by_instruction: BTreeMap<Cid, Vec<Cid>>,
    components: Vec<ComponentRecord>,
    /// How often one was added.
    components_added: u64,
    /// One more than this.
    more_partitions: u16,
    present: BTreeMap<String, (Holder, Instant)>,
    decisions: Vec<(u64, Decision)>,
}

#[derive(Default)]
struct Log {
    epoch: Epoch,
    events: BTreeMap<Sequence, Vec<u8>>,
    unmet: u64,
    end: Sequence,
    compacted: Compacted,
}

impl Contents {
    /// The number of the last decision.
    fn last_decision(&self) -> u64 {
        self.decisions.last().map_or(0, |(number, _)| *number)
    }

    /// The log, if it is the tenant's to write.
    fn of_tenant(&mut self, tenure: Tenure) -> Result<&mut Log, JournalError> {
        let log = self.logs.entry(tenure.partition).or_default();
        if log.epoch == tenure.epoch {
            return Ok(log);
        }
        let found = log.epoch;
        Err(JournalError::Fenced { tenure, found })
    }
}

impl MemoryJournal {
    /// One with several partitions.
    #[cfg(test)]
    pub(crate) fn parted(partitions: u16) -> Self {
        let journal = Self::default();
        journal.contents().more_partitions = partitions - 1;
        journal
    }

    /// How often a partition changed hands.
    #[cfg(test)]
    pub(crate) fn epoch(&self, partition: Partition) -> Epoch {
        let contents = self.contents();
        contents
            .logs
            .get(&partition)
            .map_or(Epoch(0), |log| log.epoch)
    }

    /// The term of whoever holds a partition is over.
    #[cfg(test)]
    pub(crate) fn expire(&self, partition: Partition) {
        self.contents().terms.end(partition);
    }

    /// The first event that is left of a partition's log is not there any more.
    #[cfg(test)]
    pub(crate) fn lose_first(&self, partition: Partition) {
        if let Some(log) = self.contents().logs.get_mut(&partition) {
            log.events.pop_first();
        }
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing here is left half done by a panic: each change is a single call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn partitions(&self) -> u16 {
        self.contents().more_partitions + 1
    }

    fn meet(
        &self,
        holder: &Holder,
        term: Duration,
        unmet: &[(Tenure, u64)],
    ) -> Result<Meeting, JournalError> {
        let contents = &mut *self.contents();
        let now = Instant::now();
        let here = (holder.clone(), now + term);
        contents.present.insert(holder.name.clone(), here);
        contents.present.retain(|_, (_, until)| *until > now);
        for (tenure, unmet) in unmet {
            if let Ok(log) = contents.of_tenant(*tenure) {
                log.unmet = *unmet;
            }
        }
        let seen = (0..=contents.more_partitions)
            .map(Partition)
            .map(|partition| {
                let holder = contents.terms.holder(partition);
                let log = contents.logs.get(&partition).filter(|_| holder.is_some());
                Seen {
                    unmet: log.map_or(0, |log| log.unmet),
                    holder,
                }
            });
        Ok(Meeting {
            partitions: seen.collect(),
            present: contents
                .present
                .values()
                .map(|(holder, _)| holder.clone())
                .collect(),
            decisions: contents.last_decision(),
        })
    }

    fn part(&self, holder: &Holder) -> Result<(), JournalError> {
        self.contents().present.remove(&holder.name);
        Ok(())
    }

    fn decide(&self, decision: &Decision) -> Result<(), JournalError> {
        let contents = &mut *self.contents();
        let number = contents.last_decision() + 1;
        contents
            .decisions
            .retain(|(_, known)| known.executor != decision.executor);
        contents.decisions.push((number, decision.clone()));
        Ok(())
    }

    fn decisions(&self, after: u64) -> Result<Vec<(u64, Decision)>, JournalError> {
        let contents = self.contents();
        let later = contents.decisions.iter();
        Ok(later
            .filter(|(number, _)| *number > after)
            .cloned()
            .collect())
    }

    fn acquire(
        &self,
        partition: Partition,
        holder: &Holder,
        term: Duration,
    ) -> Result<Asked, JournalError> {
        let contents = &mut *self.contents();
        if let Some(other) = contents.terms.begin(partition, holder, term) {
            return Ok(Asked::Held(other));
        }
        let log = contents.logs.entry(partition).or_default();
        log.epoch.0 += 1;
        let epoch = log.epoch;
        Ok(Asked::Granted(Tenure { partition, epoch }))
    }

    fn renew(&self, tenure: Tenure, term: Duration) -> Result<(), JournalError> {
        let contents = &mut *self.contents();
        contents.of_tenant(tenure)?;
        contents.terms.extend(tenure.partition, term);
        Ok(())
    }

    fn release(&self, tenure: Tenure) -> Result<(), JournalError> {
        let contents = &mut *self.contents();
        contents.of_tenant(tenure)?.epoch.0 += 1;
        contents.terms.end(tenure.partition);
        Ok(())
    }

    fn append(
        &self,
        tenure: Tenure,
        expected: Sequence,
        batch: &Batch,
    ) -> Result<Sequence, JournalError> {
        let contents = &mut *self.contents();
        let log = contents.of_tenant(tenure)?;
        if log.end != expected {
            return Err(JournalError::Sequence {
                expected: expected.0,
                found: log.end.0,
            });
        }
        for event in &batch.events {
            log.events.insert(log.end, event.clone());
            log.end.0 += 1;
        }
        let end = log.end;
        for computed in &batch.receipts {
            let Computed {
                cid,
                instruction,
                receipt,
                remark,
            } = computed;
            let cid = *cid;
            if let Entry::Vacant(vacant) = contents.receipts.entry(cid) {
                let receipt = decode("receipt", receipt, receipt.len());
                let receipt = receipt.expect("receipts are appended in their encoding");
                vacant.insert((receipt, remark.clone()));
                contents.in_order.push(cid);
                contents
                    .by_instruction
                    .entry(*instruction)
                    .or_default()
                    .push(cid);
            }
        }
        Ok(end)
    }

    fn end(&self, partition: Partition) -> Result<Sequence, JournalError> {
        let contents = self.contents();
        Ok(contents
            .logs
            .get(&partition)
            .map_or(Sequence(0), |log| log.end))
    }

    fn read(
        &self,
        partition: Partition,
        from: Sequence,
        max: usize,
    ) -> Result<Vec<(Sequence, Vec<u8>)>, JournalError> {
        let contents = self.contents();
        let Some(log) = contents.logs.get(&partition) else {
            return Ok(Vec::new());
        };
        let before = Sequence(log.compacted.before);
        if from == Sequence(0) {
            check_kept(log.compacted, log.events.range(..before).count() as u64)?;
        }
        let mut order = InOrder::new(from, log.compacted);
        let events = log.events.range(from..).take(max);
        events
            .map(|(number, event)| Ok((order.take(number.0)?, event.clone())))
            .collect()
    }

    fn compact(
        &self,
        tenure: Tenure,
        before: Sequence,
        keep: &BTreeSet<Sequence>,
    ) -> Result<(), JournalError> {
        let mut contents = self.contents();
        let log = contents.of_tenant(tenure)?;
        log.events
            .retain(|number, _| *number >= before || keep.contains(number));
        let before = before.0.max(log.compacted.before);
        let kept = log.events.range(..Sequence(before)).count() as u64;
        log.compacted = Compacted { before, kept };
        Ok(())
    }

    fn receipts_of(&self, instructions: &[Cid]) -> Result<Vec<Receipt>, JournalError> {
        let contents = self.contents();
        let known = instructions
            .iter()
            .filter_map(|instruction| contents.by_instruction.get(instruction));
        let newest =
            known.flat_map(|cids| &cids[cids.len().saturating_sub(RECEIPTS_PER_INSTRUCTION_MAX)..]);
        Ok(newest
            .filter_map(|cid| contents.receipts.get(cid))
            .map(|(receipt, _)| receipt.clone())
            .collect())
    }

    fn receipt(&self, cid: Cid) -> Result<Option<Receipt>, JournalError> {
        Ok(self
            .contents()
            .receipts
            .get(&cid)
            .map(|(receipt, _)| receipt.clone()))
    }

    fn remark(&self, receipt: Cid) -> Result<Option<Remark>, JournalError> {
        Ok(self
            .contents()
            .receipts
            .get(&receipt)
            .map(|(_, remark)| remark.clone()))
    }

    fn receipts(&self, after: u64, max: usize) -> Result<Vec<(u64, Receipt)>, JournalError> {
        let contents = self.contents();
        let from = usize::try_from(after).unwrap_or(usize::MAX);
        let numbered = (1..).zip(&contents.in_order).skip(from).take(max);
        Ok(numbered
            .filter_map(|(number, cid)| Some((number, contents.receipts.get(cid)?.0.clone())))
            .collect())
    }

    fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError> {
        let mut contents = self.contents();
        contents
            .components
            .retain(|known| known.cid != component.cid);
        contents.components.push(component.clone());
        contents.components_added += 1;
        Ok(())
    }

    fn components_stamp(&self) -> Result<u64, JournalError> {
        Ok(self.contents().components_added)
    }

    fn components(&self) -> Result<Vec<ComponentRecord>, JournalError> {
        Ok(self.contents().components.clone())
    }
}

/// Blobs that end with the process.
#[derive(Clone, Default)]
pub struct MemoryBlobs(Arc<Mutex<Map>>);

/// Bytes, and since when they are here.
type Map = BTreeMap<Cid, (Arc<[u8]>, Timestamp)>;

impl MemoryBlobs {
    fn map(&self) -> MutexGuard<'_, Map> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spoils a stored blob, as a failing disk would.
    #[cfg(test)]
    pub(super) fn corrupt(&self, cid: Cid) {
        if let Some((bytes, _)) = self.map().get_mut(&cid) {
            let mut spoiled = bytes.to_vec();
            spoiled[0] ^= 1;
            *bytes = spoiled.into();
        }
    }
}

impl Blobs for MemoryBlobs {
    fn begin(&self) -> Result<Box<dyn BlobWriter>, BlobError> {
        Ok(Box::new(MemoryWriter {
            store: self.clone(),
            bytes: Vec::new(),
            naming: Naming::default(),
        }))
    }

    fn size(&self, cid: Cid) -> Result<Option<u64>, BlobError> {
        Ok(self.map().get(&cid).map(|(bytes, _)| bytes.len() as u64))
    }

    fn open(&self, cid: Cid) -> Result<Option<Box<dyn BlobReader>>, BlobError> {
        let Some((bytes, _)) = self.map().get(&cid).cloned() else {
            return Ok(None);
        };
        if asterism_protocol::blob_cid(&bytes) != cid {
            return Err(BlobError::Corrupted {
                cid: Box::new(cid),
                place: "it".to_owned(),
            });
        }
        Ok(Some(Box::new(Cursor::new(bytes))))
    }

    fn delete(&self, cid: Cid) -> Result<bool, BlobError> {
        Ok(self.map().remove(&cid).is_some())
    }

    fn each(&self, see: &mut dyn FnMut(BlobEntry) -> bool) -> Result<(), BlobError> {
        let entries: Vec<BlobEntry> = self
            .map()
            .iter()
            .map(|(cid, (bytes, stored))| BlobEntry {
                cid: *cid,
                size: bytes.len() as u64,
                stored: *stored,
            })
            .collect();
        let _ = entries.into_iter().all(see);
        Ok(())
    }
}

impl BlobReader for Cursor<Arc<[u8]>> {
    fn size(&self) -> u64 {
        self.get_ref().len() as u64
    }
}

struct MemoryWriter {
    store: MemoryBlobs,
    bytes: Vec<u8>,
    naming: Naming,
}

impl BlobWriter for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.naming.update(bytes)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, expected: Option<Cid>) -> Result<Stored, BlobError> {
        let cid = self.naming.finish(expected)?;
        let stored = super::blobs::timestamp_of(SystemTime::now());
        let known = self.store.map().insert(cid, (self.bytes.into(), stored));
        let is_new = known.is_none();
        Ok(Stored { cid, is_new })
    }
}
