//! Runs in the order in which they are served.

use std::{collections::BTreeSet, iter};

use asterism_protocol::view::RunId;

use super::Tag;

/// Runs and their tags, the smallest first. That one is served again and again, and most often stays where it is.
#[derive(Default)]
pub(super) struct Turns {
    /// Nothing behind it has a smaller tag; none only if there is nothing behind it.
    first: Option<(Tag, RunId)>,
    behind: BTreeSet<(Tag, RunId)>,
}

impl Turns {
    pub(super) fn insert(&mut self, turn: (Tag, RunId)) {
        match self.first {
            Some(first) if first < turn => {
                self.behind.insert(turn);
            }
            other => {
                self.behind.extend(other);
                self.first = Some(turn);
            }
        }
    }

    /// Was it there?
    pub(super) fn remove(&mut self, turn: (Tag, RunId)) -> bool {
        if self.first != Some(turn) {
            return self.behind.remove(&turn);
        }
        self.first = self.behind.pop_first();
        true
    }

    /// One that is there has another tag.
    pub(super) fn put_back(&mut self, turn: (Tag, RunId), tag: Tag) {
        let now = (tag, turn.1);
        let next = self.behind.first();
        if self.first == Some(turn) && next.is_none_or(|next| now < *next) {
            self.first = Some(now);
        } else {
            self.remove(turn);
            self.insert(now);
        }
    }

    pub(super) fn first(&self) -> Option<(Tag, RunId)> {
        self.first
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Tag, RunId)> {
        let behind = self.behind.iter().copied();
        iter::chain(self.first, behind)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.behind.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_in_order(steps in prop::collection::vec((0_u8..4, 0_u64..6, 0_u64..20), 0..100)) {
            let (mut turns, mut map) = (Turns::default(), BTreeMap::new());
            for (what, run, tag) in steps {
                let run = RunId(run);
                match (what, map.get(&run).copied()) {
                    (0, Some(known)) => {
                        prop_assert!(turns.remove((known, run)));
                        prop_assert!(!turns.remove((known, run)));
                        map.remove(&run);
                    }
                    (_, Some(known)) => {
                        turns.put_back((known, run), tag);
                        map.insert(run, tag);
                    }
                    (_, None) => {
                        turns.insert((tag, run));
                        map.insert(run, tag);
                    }
                }
                let expected: BTreeSet<_> = map.iter().map(|(run, tag)| (*tag, *run)).collect();
                prop_assert_eq!(turns.first(), expected.first().copied());
                prop_assert_eq!(turns.len(), expected.len());
                prop_assert_eq!(turns.is_empty(), expected.is_empty());
                prop_assert!(turns.iter().eq(expected));
            }
        }
    }
}
