//! Tables for lookups only: they cannot be iterated, so their order cannot reach a decision.

use hashbrown::HashTable;

/// A 32-byte digest of an instruction.
pub(crate) type Digest = [u8; 32];

/// From digests to dense numbers.
#[derive(Default)]
pub(crate) struct Digests(Table);

/// From keys to dense numbers. The keys are not in it, only what each is folded to: whoever numbers things has them, and is asked
/// whether a number is the one that was meant. A million of them take 19 bytes each instead of 77.
#[derive(Default)]
pub(crate) struct Table(HashTable<Entry>);

/// A number, and what its key is folded to.
#[derive(Clone, Copy)]
struct Entry {
    folded: u32,
    number: u32,
}

impl Digests {
    /// The number of a digest, of which `is` says whether it has a number.
    pub(crate) fn get(&self, digest: &Digest, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.0.get(fold(digest), is)
    }

    /// Gives a digest a number, in place of any that it had.
    pub(crate) fn insert(&mut self, digest: &Digest, number: u32, is: impl Fn(u32) -> bool) {
        self.0.insert(fold(digest), number, is);
    }

    /// Gives a digest a number, unless it has one: then that is told.
    pub(crate) fn insert_new(
        &mut self,
        digest: &Digest,
        number: u32,
        is: impl Fn(u32) -> bool,
    ) -> Result<(), u32> {
        self.0.insert_new(fold(digest), number, is)
    }

    /// Takes its number from a digest, if it is this one.
    pub(crate) fn remove(&mut self, digest: &Digest, number: u32) {
        self.0.remove(fold(digest), number);
    }
}

impl Table {
    /// The number of a key that is folded to this, of which `is` says whether it has a number.
    pub(crate) fn get(&self, folded: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self.0.find(hash(folded), meant(folded, is));
        found.map(|entry| entry.number)
    }

    /// Gives a key a number, in place of any that it had.
    pub(crate) fn insert(&mut self, folded: u32, number: u32, is: impl Fn(u32) -> bool) {
        match self.0.find_mut(hash(folded), meant(folded, is)) {
            Some(entry) => entry.number = number,
            None => self.add(Entry { folded, number }),
        }
    }

    /// Gives a key a number, unless it has one: then that is told.
    pub(crate) fn insert_new(
        &mut self,
        folded: u32,
        number: u32,
        is: impl Fn(u32) -> bool,
    ) -> Result<(), u32> {
        match self.get(folded, is) {
            Some(known) => Err(known),
            None => {
                self.add(Entry { folded, number });
                Ok(())
            }
        }
    }

    /// Takes its number from a key, if it is this one.
    pub(crate) fn remove(&mut self, folded: u32, number: u32) {
        let is = |other| other == number;
        if let Ok(entry) = self.0.find_entry(hash(folded), meant(folded, is)) {
            entry.remove();
        }
    }

    /// How many keys have a number.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn add(&mut self, entry: Entry) {
        let again = |entry: &Entry| hash(entry.folded);
        self.0.insert_unique(hash(entry.folded), entry, again);
    }
}

fn meant(folded: u32, is: impl Fn(u32) -> bool) -> impl Fn(&Entry) -> bool {
    move |entry| entry.folded == folded && is(entry.number)
}

/// The table takes its places from the lowest bits and what it compares first from the highest ones.
fn hash(folded: u32) -> u64 {
    u64::from(folded).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Digests are spread evenly already: their words are folded, not hashed again. All 32 bytes count, so that
/// finding colliding instructions costs as many SHA3 hashes as the table has places, each.
fn fold(digest: &Digest) -> u32 {
    let words = digest.as_chunks::<8>().0.iter();
    let folded = words.fold(0_u64, |folded, word| {
        (folded.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    (folded >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Digests of which many want the same place.
    fn digest(number: u8) -> Digest {
        let mut digest = [0; 32];
        digest[0] = number % 7;
        digest[31] = number;
        digest
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_would(steps in prop::collection::vec((any::<bool>(), 0_u8..40), 0..200)) {
            let (mut table, mut map) = (Digests::default(), BTreeMap::new());
            let mut named: Vec<Digest> = Vec::new();
            for (adds, which) in steps {
                let digest = digest(which);
                let is = |number: u32| named[number as usize] == digest;
                if adds {
                    let number = named.len() as u32;
                    if number.is_multiple_of(2) {
                        table.insert(&digest, number, is);
                        map.insert(digest, number);
                    } else {
                        let known = *map.entry(digest).or_insert(number);
                        let new = if known == number { Ok(()) } else { Err(known) };
                        prop_assert_eq!(table.insert_new(&digest, number, is), new);
                    }
                    named.push(digest);
                } else {
                    let known = map.remove(&digest);
                    table.remove(&digest, known.map_or(1_000, |number| number + 1));
                    prop_assert_eq!(table.get(&digest, is), known, "another number is none of it");
                    if let Some(known) = known {
                        table.remove(&digest, known);
                    }
                }
                prop_assert_eq!(table.0.len(), map.len());
                for which in 0..40 {
                    let digest = self::digest(which);
                    let found = table.get(&digest, |number| named[number as usize] == digest);
                    prop_assert_eq!(found, map.get(&digest).copied());
                }
            }
        }
    }
}
