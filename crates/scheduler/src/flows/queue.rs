//! Instructions of one lane, the smallest rank first.

use std::collections::{BTreeMap, VecDeque};

use crate::works::WorkId;

/// Those that are on an equally long way to the end wait in the order in which they became ready, so whoever comes is the
/// last of them, and whoever is served the first, most often.
#[derive(Default)]
pub(super) struct Queue {
    /// By the upper half of their ranks, which is the same for equally long ways.
    ways: BTreeMap<u32, VecDeque<(u64, WorkId)>>,
}

impl Queue {
    /// Was it not there yet?
    pub(super) fn insert(&mut self, rank: u64, id: WorkId) -> bool {
        let way = self.ways.entry(upper(rank)).or_default();
        if way.back().is_none_or(|last| *last < (rank, id)) {
            way.push_back((rank, id));
            return true;
        }
        match way.binary_search(&(rank, id)) {
            Ok(_) => false,
            Err(at) => {
                way.insert(at, (rank, id));
                true
            }
        }
    }

    /// Was it there?
    pub(super) fn remove(&mut self, rank: u64, id: WorkId) -> bool {
        let Some(way) = self.ways.get_mut(&upper(rank)) else {
            return false;
        };
        let was = if way.front() == Some(&(rank, id)) {
            way.pop_front().is_some()
        } else {
            let found = way.binary_search(&(rank, id)).ok();
            found.and_then(|at| way.remove(at)).is_some()
        };
        if way.is_empty() {
            self.ways.remove(&upper(rank));
        }
        was
    }

    pub(super) fn first(&self) -> Option<(u64, WorkId)> {
        self.ways.first_key_value()?.1.front().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, WorkId)> {
        self.ways.values().flatten().copied()
    }

    /// Those that wait behind one, and are on an equally long way to the end.
    pub(super) fn behind(&self, rank: u64, id: WorkId) -> impl Iterator<Item = WorkId> {
        let way = self.ways.get(&upper(rank));
        let from = way.map_or(0, |way| way.partition_point(|other| *other <= (rank, id)));
        let behind = way.into_iter().flat_map(move |way| way.range(from..));
        behind.map(|(_, id)| *id)
    }
}

fn upper(rank: u64) -> u32 {
    (rank >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_set_would_be(steps in prop::collection::vec((any::<bool>(), 0_u64..3, 0_u64..12), 0..200)) {
            let (mut queue, mut set) = (Queue::default(), BTreeSet::new());
            for (adds, way, order) in steps {
                let (rank, id) = (way << 32 | order, WorkId(order as u32 % 5));
                if adds {
                    prop_assert_eq!(queue.insert(rank, id), set.insert((rank, id)));
                } else {
                    prop_assert_eq!(queue.remove(rank, id), set.remove(&(rank, id)));
                }
                prop_assert_eq!(queue.first(), set.first().copied());
                let others = set.iter().filter(|other| **other > (rank, id));
                let behind = others.filter(|(other, _)| other >> 32 == way);
                prop_assert!(queue.behind(rank, id).eq(behind.map(|(_, id)| *id)));
                prop_assert!(queue.iter().eq(set.iter().copied()));
                prop_assert_eq!(queue.ways.len(), set.iter().map(|(rank, _)| rank >> 32).collect::<BTreeSet<_>>().len());
            }
        }
    }
}
