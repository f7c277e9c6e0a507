//! Who holds which partition until when, for journals of one process.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Holder, Partition};

/// Terms by the process's own clock, which does not jump. They end with the process, and so do their holders.
#[derive(Default)]
pub(super) struct Terms(BTreeMap<Partition, (Holder, Instant)>);

impl Terms {
    /// Begins a term, or tells who else is in theirs.
    pub(super) fn begin(
        &mut self,
        partition: Partition,
        holder: &Holder,
        term: Duration,
    ) -> Option<Holder> {
        let now = Instant::now();
        if let Some((other, until)) = self.0.get(&partition)
            && other != holder
            && *until > now
        {
            return Some(other.clone());
        }
        self.0.insert(partition, (holder.clone(), now + term));
        None
    }

    /// Who is in their term.
    pub(super) fn holder(&self, partition: Partition) -> Option<Holder> {
        let (holder, until) = self.0.get(&partition)?;
        (*until > Instant::now()).then(|| holder.clone())
    }

    /// The holder stays for another `term`.
    pub(super) fn extend(&mut self, partition: Partition, term: Duration) {
        if let Some((_, until)) = self.0.get_mut(&partition) {
            *until = Instant::now() + term;
        }
    }

    /// The holder goes.
    pub(super) fn end(&mut self, partition: Partition) {
        self.0.remove(&partition);
    }
}
