//! What the attestations of a batch have in common: who signed, and the tree that their paths are in.
//!
//! Who took a delivery knows the whole tree. What comes alone, from a journal or with a submission, tells its own path and no more; of
//! what was signed together and comes one after the other the tree is put together again, as far as it is told.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_bytes::ByteArray;

use crate::{Attestation, Conditions, MerklePath, MerkleTree, PublicKey, Signature};

/// A batch has fewer leaves than 2^32, so no path is longer.
const STEPS_MAX: usize = 32;

/// Trees of more leaves have more hashes than a place has numbers for. None is that large, but a path may say so.
const LEAVES_MAX: u32 = 1 << 31;

type Hash = ByteArray<32>;

/// What the attestations of a batch have in common: each is its index and this.
///
/// One that outlives the others keeps all of it: 64 bytes for each leaf, and so 64 KiB after the largest delivery that is taken
/// ([`DELIVERY_ITEMS_MAX`](crate::limits::DELIVERY_ITEMS_MAX)).
pub(super) struct Batch {
    pub(super) key: PublicKey,
    pub(super) leaves: u32,
    pub(super) signature: Signature,
    known: Mutex<Hashes>,
}

/// What is known of the hashes of a tree, but for its root, which nobody's path holds.
enum Hashes {
    /// A path that came alone, whatever it says.
    Path(Box<[Hash]>),
    /// What several paths say.
    Part(Box<Part>),
    /// All of them, by their places.
    Whole(Box<[Hash]>),
}

/// Hashes in the order of their places.
#[derive(Default)]
struct Part {
    places: Vec<u32>,
    hashes: Vec<Hash>,
}

impl Batch {
    /// A batch of which the tree is known.
    pub(super) fn whole(key: PublicKey, tree: &MerkleTree, signature: Signature) -> Self {
        let leaves = tree.leaves();
        let mut hashes = vec![Hash::default(); hashes_of(leaves)];
        for (level, nodes) in (0..).zip(tree.levels()) {
            for (node, hash) in nodes.iter().enumerate() {
                // The last of an odd number is nobody's neighbour.
                if node ^ 1 < nodes.len() {
                    hashes[place(level, node as u32) as usize] = Hash::new(*hash);
                }
            }
        }
        Self {
            key,
            leaves,
            signature,
            known: Mutex::new(Hashes::Whole(hashes.into())),
        }
    }

    /// The batch of an attestation that came alone; `None` if its path is none.
    pub(super) fn alone(attestation: &Attestation) -> Option<Self> {
        let Attestation {
            key,
            conditions: _,
            path,
            signature,
        } = attestation;
        let beside = usize::from(path.index ^ 1 < path.leaves);
        let above = path.siblings.len().checked_sub(beside)?;
        (above <= STEPS_MAX).then(|| Self {
            key: *key,
            leaves: path.leaves,
            signature: *signature,
            known: Mutex::new(Hashes::Path(path.siblings.as_slice().into())),
        })
    }

    fn known(&self) -> MutexGuard<'_, Hashes> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The neighbours on the way up of the `index`-th leaf, its own first. Whoever asks holds an attestation of that leaf.
    pub(super) fn siblings(&self, index: u32) -> Vec<Hash> {
        let places = places(index, self.leaves);
        match &*self.known() {
            Hashes::Path(path) => path.to_vec(),
            Hashes::Part(part) => places
                .map(|place| *part.get(place).expect("this path was learned"))
                .collect(),
            Hashes::Whole(hashes) => places.map(|place| hashes[place as usize]).collect(),
        }
    }

    pub(super) fn attestation(&self, index: u32, conditions: &Conditions) -> Attestation {
        Attestation {
            key: self.key,
            conditions: *conditions,
            path: MerklePath {
                index,
                leaves: self.leaves,
                siblings: self.siblings(index),
            },
            signature: self.signature,
        }
    }

    /// Do both say the same of the `index`-th leaf?
    pub(super) fn says(self: &Arc<Self>, index: u32, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other)
            || self.is_signed_as(other) && self.siblings(index) == other.siblings(index)
    }

    fn is_signed_as(&self, other: &Self) -> bool {
        let Self {
            key,
            leaves,
            signature,
            known: _,
        } = self;
        (key, leaves, signature) == (&other.key, &other.leaves, &other.signature)
    }

    /// The batch of the `index`-th leaf becomes that of another one, if they were signed together and no hash that both know differs:
    /// whoever stored them may have changed one.
    pub(super) fn share(self: &mut Arc<Self>, index: u32, other: &Arc<Self>, others: u32) {
        if Arc::ptr_eq(self, other) || !self.is_signed_as(other) {
            return;
        }
        // One lock after the other: another thread may hold them the other way round.
        let path = self.siblings(index);
        if other.learn(index, &path, others) {
            *self = Arc::clone(other);
        }
    }

    /// Learns the path of the `index`-th leaf; if only one is known, that is the path of the leaf `alone`. `false`: one of them is no path, or
    /// this differs from what is known. Nothing has changed then.
    fn learn(&self, index: u32, path: &[Hash], alone: u32) -> bool {
        let Some(mut path) = placed(index, self.leaves, path) else {
            return false;
        };
        let all = hashes_of(self.leaves);
        let mut known = self.known();
        match &mut *known {
            Hashes::Path(own) => {
                let Some(own) = placed(alone, self.leaves, own) else {
                    return false;
                };
                let mut part = Part::default();
                let learned = part.learn(own, all) && part.learn(path, all);
                if learned {
                    *known = match part.whole(all) {
                        Some(hashes) => Hashes::Whole(hashes),
                        None => Hashes::Part(Box::new(part)),
                    };
                }
                learned
            }
            Hashes::Part(part) => {
                let learned = part.learn(path, all);
                if let Some(hashes) = part.whole(all) {
                    *known = Hashes::Whole(hashes);
                }
                learned
            }
            Hashes::Whole(hashes) => path.all(|(place, hash)| hashes[place as usize] == *hash),
        }
    }
}

impl Part {
    fn get(&self, place: u32) -> Option<&Hash> {
        let at = self.places.binary_search(&place).ok()?;
        Some(&self.hashes[at])
    }

    /// Learns the hashes at these places, of which there are `all` in the tree, unless one is known to be another.
    fn learn<'a>(&mut self, path: impl Iterator<Item = (u32, &'a Hash)>, all: usize) -> bool {
        let mut new = Vec::new();
        for (place, hash) in path {
            match self.get(place) {
                None => new.push((place, hash)),
                Some(known) if known == hash => {}
                Some(_) => return false,
            }
        }
        let (length, capacity) = (self.hashes.len(), self.hashes.capacity());
        if capacity - length < new.len() {
            // A quarter and not twice as much, as the rest may never come.
            let room = (length / 4).min(all - length).max(new.len());
            self.places.reserve_exact(room);
            self.hashes.reserve_exact(room);
        }
        for (place, hash) in new {
            let at = self.places.partition_point(|known| *known < place);
            self.places.insert(at, place);
            self.hashes.insert(at, *hash);
        }
        true
    }

    /// Takes the hashes once they are all there.
    fn whole(&mut self, all: usize) -> Option<Box<[Hash]>> {
        (self.hashes.len() == all).then(|| mem::take(&mut self.hashes).into())
    }
}

/// How many hashes a tree has, but for its root: two for each time that two become one.
fn hashes_of(leaves: u32) -> usize {
    2 * (leaves.max(1) as usize - 1)
}

/// Where the hash of a node has its place, so many levels above the leaves.
///
/// With each leaf but the first begins the right one of exactly one pair of neighbours: pairs are in the order of these leaves. So they
/// have no gaps, whatever the number of leaves, and paths that come in their order find places at the end, or nearly.
fn place(level: u32, node: u32) -> u32 {
    let right = (node | 1) << level;
    2 * (right - 1) + (node & 1)
}

/// The places of the hashes in a leaf's path, its neighbour's first.
fn places(index: u32, leaves: u32) -> impl Iterator<Item = u32> {
    (0..u32::BITS).filter_map(move |level| {
        let neighbour = (index >> level) ^ 1;
        (neighbour << level < leaves).then(|| place(level, neighbour))
    })
}

/// The hashes of a path with their places; `None` if it is no path of this leaf.
fn placed(index: u32, leaves: u32, path: &[Hash]) -> Option<impl Iterator<Item = (u32, &Hash)>> {
    let is_leaf = index < leaves && leaves <= LEAVES_MAX;
    let is_path = is_leaf && places(index, leaves).count() == path.len();
    is_path.then(|| places(index, leaves).zip(path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Attested, Named, Out, Outcome, Signed, Statement, Value, content_cid};

    const CONDITIONS: Conditions = Conditions {
        fuel: 1,
        memory: 1,
        growth_refused: false,
    };

    fn tree(leaves: u32) -> MerkleTree {
        let statement = |leaf: u32| Statement {
            outcome: content_cid(&leaf.to_be_bytes()),
            conditions: CONDITIONS,
        };
        let statements: Vec<Statement> = (0..leaves).map(statement).collect();
        MerkleTree::new(&statements)
    }

    fn attestation(tree: &MerkleTree, index: u32) -> Attestation {
        Attestation {
            key: PublicKey::new([1; 32]),
            conditions: CONDITIONS,
            path: tree.path(index as usize),
            signature: Signature::new([2; 64]),
        }
    }

    fn alone(tree: &MerkleTree, index: u32) -> Arc<Batch> {
        let batch = Batch::alone(&attestation(tree, index));
        Arc::new(batch.expect("a path of a tree is one"))
    }

    fn whole(tree: &MerkleTree) -> Arc<Batch> {
        let Attestation { key, signature, .. } = attestation(tree, 0);
        Arc::new(Batch::whole(key, tree, signature))
    }

    /// What these leaves have in common, told one after the other; whether each was taken in.
    fn told(tree: &MerkleTree, leaves: &[u32]) -> (Arc<Batch>, bool) {
        let first = alone(tree, leaves[0]);
        let taken = leaves[1..].iter().all(|leaf| {
            let mut batch = alone(tree, *leaf);
            batch.share(*leaf, &first, leaves[0]);
            Arc::ptr_eq(&batch, &first)
        });
        (first, taken)
    }

    fn is_whole(batch: &Batch) -> bool {
        matches!(&*batch.known(), Hashes::Whole(_))
    }

    #[test]
    fn a_whole_tree_has_a_place_for_each_hash_and_no_other() {
        for leaves in 1..=200 {
            let tree = tree(leaves);
            let batch = whole(&tree);
            for index in 0..leaves {
                let path = tree.path(index as usize);
                assert_eq!(batch.siblings(index), path.siblings);
            }
            let mut taken: Vec<u32> = (0..leaves).flat_map(|leaf| places(leaf, leaves)).collect();
            taken.sort_unstable();
            taken.dedup();
            let all: Vec<u32> = (0..2 * (leaves - 1)).collect();
            assert_eq!(taken, all, "{leaves} leaves");
        }
    }

    #[test]
    fn who_comes_alone_holds_its_path_and_no_more() {
        let tree = tree(1_000);
        let batch = alone(&tree, 999);
        match &*batch.known() {
            Hashes::Path(path) => assert_eq!(**path, *tree.path(999).siblings),
            Hashes::Part(_) | Hashes::Whole(_) => panic!("it knows more than its path"),
        }
    }

    /// Some of a batch may never come: what is known of it takes little more than it has to.
    #[test]
    fn what_was_not_told_has_no_room() {
        let tree = tree(1_000);
        let half: Vec<u32> = (0..500).collect();
        let cases: [&[u32]; 5] = [&half[..2], &half[..33], &half, &[3, 999, 500], &[7, 7]];
        for leaves in cases {
            let (batch, taken) = told(&tree, leaves);
            assert!(taken);
            let mut expected: Vec<u32> = leaves
                .iter()
                .flat_map(|leaf| places(*leaf, 1_000))
                .collect();
            expected.sort_unstable();
            expected.dedup();
            let known = batch.known();
            let Hashes::Part(part) = &*known else {
                panic!("a part was told");
            };
            assert_eq!(part.places, expected);
            assert_eq!(part.hashes.len(), expected.len());
            assert!(part.places.capacity() * 4 <= expected.len() * 5);
            assert!(part.hashes.capacity() * 4 <= expected.len() * 5);
        }
    }

    #[test]
    fn what_was_stored_shares_what_is_at_work() {
        for leaves in [1, 2, 7, 64] {
            let tree = tree(leaves);
            let live = whole(&tree);
            for index in 0..leaves {
                let mut batch = alone(&tree, index);
                batch.share(index, &live, 0);
                assert!(Arc::ptr_eq(&batch, &live));
            }
        }
    }

    #[test]
    fn what_differs_is_not_shared() {
        let tree = tree(8);
        let batches = [alone(&tree, 0), told(&tree, &[0, 4]).0, whole(&tree)];
        for other in &batches {
            let refused = |change: &dyn Fn(&mut Attestation)| {
                let mut changed = attestation(&tree, 1);
                change(&mut changed);
                let index = changed.path.index;
                let came = Arc::new(Batch::alone(&changed).expect("it may be a path"));
                let mut batch = Arc::clone(&came);
                batch.share(index, other, 0);
                assert!(Arc::ptr_eq(&batch, &came), "{changed:?}");
                assert_eq!(batch.attestation(index, &CONDITIONS), changed);
            };
            refused(&|changed| changed.key = PublicKey::new([3; 32]));
            refused(&|changed| changed.signature = Signature::new([3; 64]));
            refused(&|changed| changed.path.leaves = 7);
            refused(&|changed| changed.path.index = 9);
            refused(&|changed| changed.path.siblings.truncate(2));
            refused(&|changed| changed.path.siblings.push(Hash::default()));
            // The nodes above the leaves' parents, which all three know.
            for level in 1..3 {
                refused(&|changed| changed.path.siblings[level] = Hash::default());
            }
            if is_whole(other) {
                refused(&|changed| changed.path.siblings[0] = Hash::default());
            }
            // What was refused has left nothing behind.
            let mut batch = alone(&tree, 1);
            batch.share(1, other, 0);
            assert!(Arc::ptr_eq(&batch, other));
            for index in [0, 1] {
                assert_eq!(other.siblings(index), tree.path(index as usize).siblings);
            }
        }
        // Nor does one that was changed stand for the others.
        let mut changed = attestation(&tree, 0);
        changed.path.siblings[2] = Hash::default();
        let changed = Arc::new(Batch::alone(&changed).expect("it may be a path"));
        let mut batch = alone(&tree, 1);
        batch.share(1, &changed, 0);
        assert!(!Arc::ptr_eq(&batch, &changed));
        assert!(matches!(&*changed.known(), Hashes::Path(_)));
    }

    #[test]
    fn receipts_of_a_batch_hold_it_once() {
        let tree = tree(2);
        let Attestation { key, signature, .. } = attestation(&tree, 0);
        let together = Signed::batch(key, &tree, signature, [CONDITIONS; 2]);
        assert!(Arc::ptr_eq(&together[0].batch, &together[1].batch));
        assert!(is_whole(&together[0].batch));
        let read = |index: u32| {
            let outcome = Outcome {
                instruction: content_cid(b"i"),
                out: Out::Ok(Value::Null),
                fuel: None,
                metering: "m".into(),
            };
            let signed = Signed::of(&attestation(&tree, index)).expect("it has a path");
            let (ran, named) = (content_cid(b"r"), Named::of(&outcome));
            let (func, metering) = ("f".into(), "m".into());
            Attested::new(ran, &func, &outcome, &metering, named, signed, None)
        };
        let (first, mut second) = (read(0), read(1));
        second.share(&first);
        assert!(Arc::ptr_eq(&first.batch, &second.batch));
        assert!(is_whole(&first.batch));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn paths_in_any_order_become_their_tree(order in (1_u32..=200)
            .prop_flat_map(|leaves| Just((0..leaves).collect::<Vec<_>>()).prop_shuffle()))
        {
            let tree = tree(order.len() as u32);
            let path = |index: u32| tree.path(index as usize).siblings;
            let first = alone(&tree, order[0]);
            for index in &order {
                let mut batch = alone(&tree, *index);
                batch.share(*index, &first, order[0]);
                prop_assert!(Arc::ptr_eq(&batch, &first));
                for told in [*index, order[0]] {
                    prop_assert_eq!(first.siblings(told), path(told));
                }
            }
            prop_assert!(is_whole(&first));
            for index in order {
                prop_assert_eq!(first.siblings(index), path(index));
            }
        }
    }
}
