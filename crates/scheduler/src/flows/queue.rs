//! Instructions of one lane, the smallest rank first.

use std::collections::{BTreeMap, VecDeque};

use crate::works::WorkId;

/// How many bits of a rank tell apart what is in one part. To leave from the middle of it or to come there moves half of it at most.
const PART_BITS: u32 = 10;

/// Those that are on an equally long way to the end wait in the order in which they became ready, so whoever comes is the
/// last of them, and whoever is served the first, most often. But where another run asks for the same, or one is paused, all of
/// them are queued again one after the other, and there may be a million.
#[derive(Default)]
pub(super) struct Queue {
    /// By the upper bits of their ranks, among which is all of the way. None is empty.
    parts: BTreeMap<u64, VecDeque<(u64, WorkId)>>,
}

impl Queue {
    /// Was it not there yet?
    pub(super) fn insert(&mut self, rank: u64, id: WorkId) -> bool {
        let part = self.parts.entry(part_of(rank)).or_default();
        if part.back().is_none_or(|last| *last < (rank, id)) {
            part.push_back((rank, id));
            return true;
        }
        match part.binary_search(&(rank, id)) {
            Ok(_) => false,
            Err(at) => {
                part.insert(at, (rank, id));
                true
            }
        }
    }

    /// Was it there?
    pub(super) fn remove(&mut self, rank: u64, id: WorkId) -> bool {
        let Some(part) = self.parts.get_mut(&part_of(rank)) else {
            return false;
        };
        let was = if part.front() == Some(&(rank, id)) {
            part.pop_front().is_some()
        } else {
            let found = part.binary_search(&(rank, id)).ok();
            found.and_then(|at| part.remove(at)).is_some()
        };
        if part.is_empty() {
            self.parts.remove(&part_of(rank));
        }
        was
    }

    pub(super) fn first(&self) -> Option<(u64, WorkId)> {
        self.parts.first_key_value()?.1.front().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, WorkId)> {
        self.parts.values().flatten().copied()
    }

    /// Those that wait behind one, and are on an equally long way to the end.
    pub(super) fn behind(&self, rank: u64, id: WorkId) -> impl Iterator<Item = WorkId> {
        let last = rank | u64::from(u32::MAX);
        let parts = self.parts.range(part_of(rank)..=part_of(last));
        let behind = parts.flat_map(move |(_, part)| {
            let from = part.partition_point(|other| *other <= (rank, id));
            part.range(from..)
        });
        behind.map(|(_, id)| *id)
    }
}

fn part_of(rank: u64) -> u64 {
    rank >> PART_BITS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A rank on one of several ways, of which each part has place for four.
    fn rank(way: u64, order: u64) -> u64 {
        way << 32 | order << (PART_BITS - 2)
    }

    #[test]
    fn who_leaves_the_middle_or_comes_there_moves_few() {
        let mut queue = Queue::default();
        let all: Vec<u64> = (0..10_000).map(|order| (7_u64 << 32) | order).collect();
        for rank in &all {
            assert!(queue.insert(*rank, WorkId(1)));
        }
        for rank in &all {
            assert!(queue.remove(*rank, WorkId(1)));
            assert!(queue.insert(*rank, WorkId(1)));
        }
        assert!(queue.parts.values().all(|part| part.len() <= 1_024));
        assert_eq!(queue.behind(all[0], WorkId(1)).count(), all.len() - 1);
        assert!(queue.iter().map(|(rank, _)| rank).eq(all));
    }

    proptest! {
        #[test]
        fn it_is_what_a_set_would_be(steps in prop::collection::vec((any::<bool>(), 0_u64..3, 0_u64..12), 0..200)) {
            let (mut queue, mut set) = (Queue::default(), BTreeSet::new());
            for (adds, way, order) in steps {
                let (rank, id) = (rank(way, order), WorkId(order as u32 % 5));
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
                let parts: BTreeSet<u64> = set.iter().map(|(rank, _)| part_of(*rank)).collect();
                prop_assert!(queue.parts.keys().copied().eq(parts), "none is empty");
            }
        }
    }
}
