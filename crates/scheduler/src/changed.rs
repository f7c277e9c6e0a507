//! What changed since it was last told of.

use std::collections::BTreeSet;

/// Each once, in order. The same one changes again and again, and to say so costs next to nothing.
pub(crate) struct Changed<T> {
    all: BTreeSet<T>,
    /// One that is among them.
    last: Option<T>,
}

impl<T> Default for Changed<T> {
    fn default() -> Self {
        Self {
            all: BTreeSet::new(),
            last: None,
        }
    }
}

impl<T: Copy + Ord> Changed<T> {
    pub(crate) fn insert(&mut self, changed: T) {
        if self.last != Some(changed) {
            self.all.insert(changed);
            self.last = Some(changed);
        }
    }

    /// It is not told of.
    pub(crate) fn remove(&mut self, changed: &T) {
        self.all.remove(changed);
        self.last = None;
    }

    /// Nothing changed after this.
    pub(crate) fn take(&mut self) -> BTreeSet<T> {
        self.last = None;
        std::mem::take(&mut self.all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_is_told_once_and_none_is_forgotten(steps in prop::collection::vec((0_u8..6, 0_u8..4), 0..100)) {
            let (mut changed, mut set) = (Changed::default(), BTreeSet::new());
            for (what, which) in steps {
                match what {
                    0 => prop_assert_eq!(changed.take(), std::mem::take(&mut set)),
                    1 => {
                        changed.remove(&which);
                        set.remove(&which);
                    }
                    _ => {
                        changed.insert(which);
                        set.insert(which);
                    }
                }
            }
            prop_assert_eq!(changed.take(), set);
        }
    }
}
