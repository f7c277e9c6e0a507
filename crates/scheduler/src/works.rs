//! Instructions that are to be done now, whichever runs want them, and who may get which next.

use std::collections::{BTreeMap, BTreeSet};

use asterism_protocol::{
    Limits, PublicKey, Timestamp,
    message::LeaseId,
    view::{AttemptView, RunId, TaskState},
};

use crate::digests::{Digest, Digests};

/// Most executors that are remembered for having refused one instruction.
const REFUSALS_MAX: usize = 64;

/// How many of the instructions that not everybody may get are looked at for one lease.
const PICKY_LOOKS_MAX: usize = 256;

/// The number of an instruction that is to be done; used again after it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkId(pub(crate) u32);

/// A node of a run that waits for an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanter {
    pub(crate) run: RunId,
    pub(crate) node: u32,
}

/// An instruction that is to be done.
pub(crate) struct Work {
    pub(crate) digest: Digest,
    /// The wanter with the largest limits first: its limits and its task are what is leased.
    pub(crate) wanters: Vec<Wanter>,
    /// The first wanter's.
    pub(crate) limits: Limits,
    pub(crate) leases: Vec<LeaseId>,
    /// What went wrong so far; most instructions never need it.
    pub(crate) trouble: Option<Box<Trouble>>,
    /// Its place among all: what became ready first goes first.
    order: u64,
    queued: Option<Queue>,
}

/// What went wrong with an instruction.
#[derive(Default)]
pub(crate) struct Trouble {
    /// Attempts that came to nothing.
    pub(crate) attempts: Vec<AttemptView>,
    /// Until when the pause lasts that is being waited for.
    pub(crate) backoff: Option<Timestamp>,
    /// Who failed, and until when it does not get it again.
    pub(crate) avoid: Vec<(PublicKey, Timestamp)>,
    /// Who declined it.
    pub(crate) refused: Vec<PublicKey>,
    /// Why the last one declined.
    pub(crate) refusal: String,
}

/// Where an instruction waits for an executor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    /// With others that need the same power of two of memory, and are otherwise for everybody.
    Memory(u64),
    /// With those that must be looked at one by one.
    Picky,
}

/// An executor that asks.
pub(crate) struct Asker<'a> {
    pub(crate) key: &'a PublicKey,
    pub(crate) memory: u64,
    pub(crate) now: Timestamp,
}

impl Work {
    /// Where the nodes that want it stand.
    pub(crate) fn state(&self) -> TaskState {
        if !self.leases.is_empty() {
            TaskState::Leased
        } else if self
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.backoff.is_some())
        {
            TaskState::Waiting
        } else {
            TaskState::Ready
        }
    }

    /// May this executor have it?
    pub(crate) fn suits(&self, asker: &Asker<'_>) -> bool {
        let troubled = self.trouble.as_ref().is_some_and(|trouble| {
            trouble.refused.contains(asker.key)
                || trouble
                    .avoid
                    .iter()
                    .any(|(key, until)| key == asker.key && *until > asker.now)
        });
        self.limits.memory <= asker.memory && !troubled
    }

    fn queue(&self, now: Timestamp) -> Queue {
        let picky = self.trouble.as_ref().is_some_and(|trouble| {
            !trouble.refused.is_empty() || trouble.avoid.iter().any(|(_, until)| *until > now)
        });
        if picky || !self.limits.memory.is_power_of_two() {
            Queue::Picky
        } else {
            Queue::Memory(self.limits.memory)
        }
    }
}

impl Trouble {
    /// Remembers that an executor declined.
    pub(crate) fn refuse(&mut self, key: PublicKey, reason: String) {
        if !self.refused.contains(&key) {
            if self.refused.len() == REFUSALS_MAX {
                self.refused.remove(0);
            }
            self.refused.push(key);
        }
        self.refusal = reason;
    }
}

/// All instructions that are to be done, and the queues of those that nobody holds.
#[derive(Default)]
pub(crate) struct Works {
    slots: Vec<Option<Work>>,
    free: Vec<u32>,
    index: Digests,
    next_order: u64,
    /// At most 64 queues: one for each power of two.
    by_memory: BTreeMap<u64, BTreeSet<(u64, WorkId)>>,
    picky: BTreeSet<(u64, WorkId)>,
}

impl Works {
    /// An instruction, if it is to be done.
    pub(crate) fn find(&self, digest: &Digest) -> Option<WorkId> {
        self.index.get(digest).map(WorkId)
    }

    pub(crate) fn get(&self, id: WorkId) -> &Work {
        self.slots[id.0 as usize]
            .as_ref()
            .expect("numbers of works are dropped with them")
    }

    pub(crate) fn get_mut(&mut self, id: WorkId) -> &mut Work {
        self.slots[id.0 as usize]
            .as_mut()
            .expect("numbers of works are dropped with them")
    }

    /// A new instruction that is to be done; it is not queued yet.
    pub(crate) fn insert(&mut self, digest: Digest, wanter: Wanter, limits: Limits) -> WorkId {
        self.next_order += 1;
        let work = Work {
            digest,
            wanters: vec![wanter],
            limits,
            leases: Vec::new(),
            trouble: None,
            order: self.next_order,
            queued: None,
        };
        let id = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(work);
            WorkId(slot)
        } else {
            self.slots.push(Some(work));
            WorkId(self.slots.len() as u32 - 1)
        };
        self.index.insert(digest, id.0);
        id
    }

    /// It is done, or nobody wants it any more.
    pub(crate) fn remove(&mut self, id: WorkId) -> Work {
        self.unqueue(id);
        let work = self.slots[id.0 as usize]
            .take()
            .expect("numbers of works are dropped with them");
        self.index.remove(&work.digest);
        self.free.push(id.0);
        work
    }

    /// Offers it to executors, unless one holds it. Called again whenever its limits or its trouble changed.
    pub(crate) fn queue(&mut self, id: WorkId, now: Timestamp) {
        self.unqueue(id);
        let work = self.get_mut(id);
        if !work.leases.is_empty() {
            return;
        }
        let (order, queue) = (work.order, work.queue(now));
        work.queued = Some(queue);
        match queue {
            Queue::Memory(memory) => self
                .by_memory
                .entry(memory)
                .or_default()
                .insert((order, id)),
            Queue::Picky => self.picky.insert((order, id)),
        };
    }

    /// Stops offering it.
    pub(crate) fn unqueue(&mut self, id: WorkId) {
        let work = self.get_mut(id);
        let order = work.order;
        match work.queued.take() {
            Some(Queue::Memory(memory)) => {
                if let Some(queue) = self.by_memory.get_mut(&memory) {
                    queue.remove(&(order, id));
                }
            }
            Some(Queue::Picky) => {
                self.picky.remove(&(order, id));
            }
            None => {}
        }
    }

    /// Does anything wait for an executor?
    pub(crate) fn any_queued(&self) -> bool {
        !self.picky.is_empty() || self.by_memory.values().any(|queue| !queue.is_empty())
    }

    /// Which instruction an executor gets next: of those it may have, the one that became ready first.
    /// Requirements, trust, locality and fairness between workflows are decided here and nowhere else.
    pub(crate) fn pick(&mut self, asker: &Asker<'_>) -> Option<WorkId> {
        let plain = self
            .by_memory
            .range(..=asker.memory)
            .filter_map(|(_, queue)| queue.first().copied())
            .min();
        let (mut picky, mut passed) = (None, Vec::new());
        for (order, id) in self.picky.iter().take(PICKY_LOOKS_MAX).copied() {
            if plain.is_some_and(|(first, _)| first < order) {
                break;
            }
            if self.get(id).suits(asker) {
                picky = Some((order, id));
                break;
            }
            passed.push(id);
        }
        if passed.len() == PICKY_LOOKS_MAX {
            // Others must come into view the next time: these queue up again at the end.
            for id in passed {
                self.requeue_last(id);
            }
        }
        picky.into_iter().chain(plain).min().map(|(_, id)| id)
    }

    fn requeue_last(&mut self, id: WorkId) {
        let order = self.get(id).order;
        self.picky.remove(&(order, id));
        self.next_order += 1;
        let order = self.next_order;
        self.get_mut(id).order = order;
        self.picky.insert((order, id));
    }
}
