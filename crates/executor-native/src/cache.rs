//! Blobs in memory: those that leases need, and as many others as there is room for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use asterism_protocol::Cid;

/// Keeps blobs; those that are not held go when there is no room, the least recently used first.
#[derive(Debug)]
pub(crate) struct Cache {
    bytes_max: usize,
    bytes: usize,
    blobs: BTreeMap<Cid, Entry>,
    /// Unheld blobs by when they were last used.
    idle: BTreeSet<(u64, Cid)>,
    held: BTreeSet<Cid>,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    bytes: Arc<Vec<u8>>,
    used: u64,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            blobs: BTreeMap::new(),
            idle: BTreeSet::new(),
            held: BTreeSet::new(),
            clock: 0,
        }
    }

    /// Keeps a blob from going, now or as soon as it comes.
    pub(crate) fn hold(&mut self, cid: Cid) {
        self.held.insert(cid);
        if let Some(entry) = self.blobs.get(&cid) {
            self.idle.remove(&(entry.used, cid));
        }
    }

    /// Lets a blob go when there is no room.
    pub(crate) fn release(&mut self, cid: Cid) {
        self.held.remove(&cid);
        self.touch(cid);
        self.make_room();
    }

    pub(crate) fn insert(&mut self, cid: Cid, bytes: Arc<Vec<u8>>) {
        if !self.blobs.contains_key(&cid) {
            self.bytes += bytes.len();
            self.blobs.insert(cid, Entry { bytes, used: 0 });
        }
        self.touch(cid);
        self.make_room();
    }

    pub(crate) fn get(&mut self, cid: Cid) -> Option<Arc<Vec<u8>>> {
        self.touch(cid);
        self.blobs.get(&cid).map(|entry| Arc::clone(&entry.bytes))
    }

    fn touch(&mut self, cid: Cid) {
        let Some(entry) = self.blobs.get_mut(&cid) else {
            return;
        };
        self.idle.remove(&(entry.used, cid));
        self.clock += 1;
        entry.used = self.clock;
        if !self.held.contains(&cid) {
            self.idle.insert((entry.used, cid));
        }
    }

    fn make_room(&mut self) {
        while self.bytes > self.bytes_max {
            let Some((_, cid)) = self.idle.pop_first() else {
                return;
            };
            if let Some(entry) = self.blobs.remove(&cid) {
                self.bytes -= entry.bytes.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::blob_cid;

    use super::*;

    fn insert(cache: &mut Cache, byte: u8) -> Cid {
        let bytes = vec![byte; 10];
        let cid = blob_cid(&bytes);
        cache.insert(cid, Arc::new(bytes));
        cid
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = Cache::new(25);
        let (a, b) = (insert(&mut cache, 1), insert(&mut cache, 2));
        assert!(cache.get(a).is_some());
        let c = insert(&mut cache, 3);
        assert!(cache.get(b).is_none());
        assert!(cache.get(a).is_some() && cache.get(c).is_some());
    }

    #[test]
    fn what_is_held_stays_until_it_is_released() {
        let mut cache = Cache::new(15);
        let a = blob_cid(&[1; 10]);
        cache.hold(a);
        insert(&mut cache, 1);
        let b = insert(&mut cache, 2);
        assert!(cache.get(a).is_some(), "held");
        assert!(cache.get(b).is_none(), "not held, and there is no room");
        cache.hold(b);
        insert(&mut cache, 2);
        cache.release(a);
        assert!(cache.get(a).is_none() && cache.get(b).is_some());
        assert_eq!(cache.bytes, 10);
    }
}
