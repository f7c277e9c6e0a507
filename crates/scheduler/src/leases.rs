//! Leases that last: found by number, by whoever holds them, and by when they run out.
//!
//! Nothing but a heartbeat changes when a lease runs out, and what it changes it to is always the same time from then: so the
//! lease that was given or extended last runs out last, and a list that is only appended to is in order.

use asterism_protocol::{Limits, PublicKey, Timestamp, message::LeaseId};

use crate::{affinity::Fit, digests::Table, works::WorkId};

/// A lease that lasts.
pub(crate) struct Lease {
    pub(crate) work: WorkId,
    pub(crate) key: PublicKey,
    pub(crate) limits: Limits,
    pub(crate) leased: Timestamp,
    pub(crate) started: Option<Timestamp>,
    /// Why this executor got it.
    pub(crate) why: Why,
    pub(crate) deadline: Timestamp,
}

/// Why an executor got a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It was its turn, and the instruction's.
    Turn(Fit),
    /// It had waited less than others, which had more to do, or more to fetch, or are slower.
    Fitter(Fit),
    /// It had nothing else to do, and another one is slow.
    Backup,
    /// It came back with it.
    Resumed,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Leases {
    slots: Vec<Slot>,
    free: Vec<u32>,
    numbers: Table,
    /// In the order in which they run out.
    due: List,
}

/// Those of one executor, in the order in which they were given.
#[derive(Default)]
pub(crate) struct Own(List);

struct Slot {
    id: LeaseId,
    /// `None` while the slot is free.
    lease: Option<Lease>,
    due: Links,
    own: Links,
}

/// The slots before and behind in a list.
#[derive(Clone, Copy)]
struct Links {
    before: u32,
    behind: u32,
}

/// No slot.
const NONE: u32 = u32::MAX;

/// The ends of a list whose links are in the slots.
struct List {
    first: u32,
    last: u32,
    length: u32,
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            length: 0,
        }
    }
}

impl List {
    fn append(&mut self, slots: &mut [Slot], at: u32, links: impl Fn(&mut Slot) -> &mut Links) {
        *links(&mut slots[at as usize]) = Links {
            before: self.last,
            behind: NONE,
        };
        match slots.get_mut(self.last as usize) {
            Some(last) => links(last).behind = at,
            None => self.first = at,
        }
        self.last = at;
        self.length += 1;
    }

    fn unlink(&mut self, slots: &mut [Slot], at: u32, links: impl Fn(&mut Slot) -> &mut Links) {
        let Links { before, behind } = *links(&mut slots[at as usize]);
        match slots.get_mut(before as usize) {
            Some(slot) => links(slot).behind = behind,
            None => self.first = behind,
        }
        match slots.get_mut(behind as usize) {
            Some(slot) => links(slot).before = before,
            None => self.last = before,
        }
        self.length -= 1;
    }
}

fn due(slot: &mut Slot) -> &mut Links {
    &mut slot.due
}

fn own(slot: &mut Slot) -> &mut Links {
    &mut slot.own
}

impl Own {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.length as usize
    }

    /// Is there none?
    pub(crate) fn is_empty(&self) -> bool {
        self.0.length == 0
    }
}

impl Leases {
    /// A new lease of whoever has `own`. No lease has this number, and none runs out later.
    pub(crate) fn insert(&mut self, id: LeaseId, lease: Lease, own: &mut Own) {
        let unlinked = Links {
            before: NONE,
            behind: NONE,
        };
        let slot = Slot {
            id,
            lease: Some(lease),
            due: unlinked,
            own: unlinked,
        };
        let at = if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            at
        } else {
            self.slots.push(slot);
            self.slots.len() as u32 - 1
        };
        self.due.append(&mut self.slots, at, due);
        own.0.append(&mut self.slots, at, self::own);
        let slots = &self.slots;
        let is = |other: u32| slots[other as usize].id == id;
        self.numbers.insert(spread(id), at, is);
    }

    /// Ends a lease if it is that of `holder`, who has `own`.
    pub(crate) fn remove_of(
        &mut self,
        id: LeaseId,
        holder: &PublicKey,
        own: &mut Own,
    ) -> Option<Lease> {
        let at = self.slot(id)?;
        let lease = &mut self.slots[at as usize].lease;
        let lease = lease.take_if(|lease| lease.key == *holder)?;
        self.due.unlink(&mut self.slots, at, due);
        own.0.unlink(&mut self.slots, at, self::own);
        self.numbers.remove(spread(id), at);
        self.free.push(at);
        Some(lease)
    }

    /// A lease by its number.
    pub(crate) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.slots[self.slot(id)? as usize].lease.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: LeaseId) -> Option<&mut Lease> {
        let at = self.slot(id)?;
        self.slots[at as usize].lease.as_mut()
    }

    /// A lease lasts until `deadline`, and no other one lasts longer.
    pub(crate) fn extend(&mut self, id: LeaseId, deadline: Timestamp) {
        let Some(at) = self.slot(id) else {
            return;
        };
        if let Some(lease) = &mut self.slots[at as usize].lease {
            lease.deadline = deadline;
            self.due.unlink(&mut self.slots, at, due);
            self.due.append(&mut self.slots, at, due);
        }
    }

    /// The lease that runs out next, and when.
    pub(crate) fn next_due(&self) -> Option<(Timestamp, LeaseId)> {
        let slot = self.slots.get(self.due.first as usize)?;
        Some((slot.lease.as_ref()?.deadline, slot.id))
    }

    /// The leases of whoever has `own`, in the order in which they were given.
    pub(crate) fn of(&self, own: &Own) -> impl Iterator<Item = (LeaseId, &Lease)> + Clone {
        let slots = &self.slots;
        let slot = move |at: u32| slots.get(at as usize);
        std::iter::successors(slot(own.0.first), move |last| slot(last.own.behind))
            .filter_map(|slot| Some((slot.id, slot.lease.as_ref()?)))
    }

    /// All leases, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        let slots = self.slots.iter();
        let mut all: Vec<_> = slots
            .filter_map(|slot| Some((slot.id, slot.lease.as_ref()?)))
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter()
    }

    fn slot(&self, id: LeaseId) -> Option<u32> {
        let is = |at: u32| self.slots[at as usize].id == id;
        self.numbers.get(spread(id), is)
    }
}

/// Numbers follow each other, in steps: their places are to be next to each other as rarely as those of others.
fn spread(id: LeaseId) -> u32 {
    (id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn lease(holder: u8, deadline: u64) -> Lease {
        Lease {
            work: WorkId(0),
            key: PublicKey::new([holder; 32]),
            limits: Limits::default(),
            leased: Timestamp::default(),
            started: None,
            why: Why::Backup,
            deadline: Timestamp(deadline),
        }
    }

    proptest! {
        #[test]
        fn it_is_what_maps_would_be(steps in prop::collection::vec((0_u8..3, 0_u8..3, 0_usize..20), 0..200)) {
            let (mut leases, mut owns) = (Leases::default(), [(); 3].map(|()| Own::default()));
            let mut map: BTreeMap<LeaseId, (u8, u64)> = BTreeMap::new();
            for (now, (what, holder, which)) in (1_u64..).zip(steps) {
                let chosen = map.iter().nth(which).map(|(id, (holder, _))| (*id, *holder));
                match (what, chosen) {
                    (0, _) | (_, None) => {
                        let id = LeaseId(now * 4 + 1);
                        leases.insert(id, lease(holder, now), &mut owns[holder as usize]);
                        map.insert(id, (holder, now));
                    }
                    (1, Some((id, holder))) => {
                        let [key, other] = [holder, holder + 1].map(|key| PublicKey::new([key; 32]));
                        let own = &mut owns[holder as usize];
                        prop_assert!(leases.remove_of(id, &other, own).is_none(), "it is not theirs");
                        let ended = leases.remove_of(id, &key, own);
                        let known = map.remove(&id);
                        prop_assert_eq!(ended.map(|lease| lease.deadline.0), known.map(|(_, at)| at));
                        prop_assert!(leases.remove_of(id, &key, own).is_none());
                    }
                    (_, Some((id, holder))) => {
                        leases.extend(id, Timestamp(now));
                        map.insert(id, (holder, now));
                    }
                }
                prop_assert_eq!(leases.numbers.len(), map.len(), "what has ended is not found");
                let next = map.iter().map(|(id, (_, at))| (Timestamp(*at), *id)).min();
                prop_assert_eq!(leases.next_due(), next);
                let all: Vec<LeaseId> = leases.iter().map(|(id, _)| id).collect();
                prop_assert!(all.iter().eq(map.keys()));
                for (holder, own) in (0..).zip(&owns) {
                    let held: Vec<LeaseId> = leases.of(own).map(|(id, _)| id).collect();
                    let of_map = map.iter().filter(|(_, (other, _))| *other == holder);
                    let of_map: Vec<LeaseId> = of_map.map(|(id, _)| *id).collect();
                    prop_assert_eq!(own.len(), held.len());
                    prop_assert_eq!(held, of_map);
                }
                for (id, (_, at)) in &map {
                    prop_assert_eq!(leases.get(*id).map(|lease| lease.deadline.0), Some(*at));
                }
            }
        }
    }
}
