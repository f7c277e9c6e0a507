//! The twins in memory: for tests, and for a coordinator that need not remember.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::Cursor,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use asterism_protocol::{Cid, Receipt, Remark};

use super::{
    Batch, BlobError, BlobReader, BlobWriter, Blobs, ComponentRecord, Computed, Journal,
    JournalError, Naming, Sequence,
};
use crate::limits::RECEIPTS_PER_INSTRUCTION_MAX;

/// A journal that ends with the process.
#[derive(Default)]
pub struct MemoryJournal(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    events: Vec<Vec<u8>>,
    receipts: BTreeMap<Cid, (Receipt, Remark)>,
    by_instruction: BTreeMap<Cid, Vec<Cid>>,
    components: Vec<ComponentRecord>,
}

impl MemoryJournal {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        // Nothing here is left half done by a panic: each change is a single call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn append(&self, expected: Sequence, batch: &Batch) -> Result<Sequence, JournalError> {
        let contents = &mut *self.contents();
        let found = contents.events.len() as u64;
        if found != expected.0 {
            return Err(JournalError::Sequence {
                expected: expected.0,
                found,
            });
        }
        contents.events.extend(batch.events.iter().cloned());
        for Computed {
            instruction,
            receipt,
            remark,
        } in &batch.receipts
        {
            let cid = receipt.cid();
            if let Entry::Vacant(vacant) = contents.receipts.entry(cid) {
                vacant.insert((receipt.clone(), remark.clone()));
                contents
                    .by_instruction
                    .entry(*instruction)
                    .or_default()
                    .push(cid);
            }
        }
        Ok(Sequence(contents.events.len() as u64))
    }

    fn end(&self) -> Result<Sequence, JournalError> {
        Ok(Sequence(self.contents().events.len() as u64))
    }

    fn read(&self, from: Sequence, max: usize) -> Result<Vec<Vec<u8>>, JournalError> {
        let from = usize::try_from(from.0).unwrap_or(usize::MAX);
        Ok(self
            .contents()
            .events
            .iter()
            .skip(from)
            .take(max)
            .cloned()
            .collect())
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

    fn add_component(&self, component: &ComponentRecord) -> Result<(), JournalError> {
        let mut contents = self.contents();
        contents
            .components
            .retain(|known| known.cid != component.cid);
        contents.components.push(component.clone());
        Ok(())
    }

    fn components(&self) -> Result<Vec<ComponentRecord>, JournalError> {
        Ok(self.contents().components.clone())
    }
}

/// Blobs that end with the process.
#[derive(Clone, Default)]
pub struct MemoryBlobs(Arc<Mutex<BTreeMap<Cid, Arc<[u8]>>>>);

impl MemoryBlobs {
    fn map(&self) -> MutexGuard<'_, BTreeMap<Cid, Arc<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spoils a stored blob, as a failing disk would.
    #[cfg(test)]
    pub(super) fn corrupt(&self, cid: Cid) {
        if let Some(bytes) = self.map().get_mut(&cid) {
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
        Ok(self.map().get(&cid).map(|bytes| bytes.len() as u64))
    }

    fn open(&self, cid: Cid) -> Result<Option<Box<dyn BlobReader>>, BlobError> {
        let Some(bytes) = self.map().get(&cid).cloned() else {
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

    fn finish(self: Box<Self>, expected: Option<Cid>) -> Result<Cid, BlobError> {
        let cid = self.naming.finish(expected)?;
        self.store.map().insert(cid, self.bytes.into());
        Ok(cid)
    }
}
