//! Instructions that are to be done now, whichever runs want them, and who may get which next.

use std::collections::BTreeSet;

use asterism_protocol::{
    Cid, Limits, Policy, PublicKey, Timestamp, content_cid, encode,
    message::LeaseId,
    view::{AttemptView, RunId, TaskState},
};
use serde_bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::{
    ConnectionId,
    affinity::{Holdings, Wants},
    digests::{Digest, Digests},
    flows::Flows,
    matching::{Asker, Needs},
    proof::Proof,
    slots::Slots,
};

/// Most executors that are remembered for having refused one instruction.
const REFUSALS_MAX: usize = 64;

/// The number of an instruction that is to be done; used again after it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkId(pub(crate) u32);

/// A node of a run that waits for an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanter {
    pub(crate) run: RunId,
    pub(crate) node: u32,
}

/// An instruction that is to be done.
pub(crate) struct Work {
    pub(crate) digest: Digest,
    /// What it is found by, where that is not its digest alone.
    key: Option<Box<Digest>>,
    /// The wanter with the largest limits first: its limits and its task are what is leased.
    pub(crate) wanters: SmallVec<[Wanter; 1]>,
    /// The first wanter's.
    pub(crate) limits: Limits,
    /// When an outcome of it is believed; that of all of its wanters.
    pub(crate) policy: Policy,
    /// What was said so far, where the policy needs more than one word.
    pub(crate) proof: Option<Box<Proof>>,
    /// What an executor must offer beside memory.
    pub(crate) needs: Option<Box<Needs>>,
    /// What has to be fetched for it.
    pub(crate) wants: Wants,
    /// How often one behind it was leased before it, because that fitted better.
    passed: u32,
    pub(crate) leases: SmallVec<[LeaseId; 2]>,
    /// What went wrong so far; most instructions never need it.
    pub(crate) trouble: Option<Box<Trouble>>,
    /// Its place in its run: what is on the longest way to the end first, then what became ready first.
    pub(crate) rank: u64,
    pub(crate) queued: Option<Place>,
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
    /// Who declined it, in which connection: whoever connects anew may have other limits.
    refused: Vec<(PublicKey, ConnectionId)>,
    /// Why the last one declined.
    pub(crate) refusal: String,
}

/// Where an instruction waits for an executor: in a run's queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) run: RunId,
    pub(crate) lane: Lane,
}

/// With whom it waits there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// With others that need the same power of two of memory, and are otherwise for everybody.
    Memory(u64),
    /// With those that must be looked at one by one.
    Picky,
}

/// What an instruction is found by: receipts that rest on outcomes which another limit would change, and those of another
/// policy, are not the same.
pub(crate) fn work_key(digest: &Digest, policy: &Policy, rests_on: &[Cid]) -> Digest {
    if *policy == Policy::Any && rests_on.is_empty() {
        *digest
    } else {
        content_cid(&encode(&(Bytes::new(digest), policy, rests_on))).digest()
    }
}

/// What a canonical receipt is found by.
pub(crate) fn memory_key(digest: &Digest, rests_on: &[Cid]) -> Digest {
    work_key(digest, &Policy::Any, rests_on)
}

impl Work {
    /// What it is found by.
    fn key(&self) -> &Digest {
        self.key.as_deref().unwrap_or(&self.digest)
    }

    /// Where the nodes that want it stand.
    pub(crate) fn state(&self) -> TaskState {
        if self
            .proof
            .as_ref()
            .is_some_and(|proof| proof.provisional.is_some())
        {
            TaskState::Provisional
        } else if !self.leases.is_empty() {
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

    /// What keeps this executor from it, if anything does.
    pub(crate) fn obstacle(&self, asker: &Asker<'_>) -> Option<String> {
        if let Some(why) = asker.barred {
            return Some(why.to_owned());
        }
        if self.limits.memory > asker.memory {
            let (needed, has) = (self.limits.memory, asker.memory);
            return Some(format!(
                "it accepts {has} bytes of memory, {needed} are the limit"
            ));
        }
        if self.policy == Policy::Trusted && !asker.trusted {
            return Some("the operator does not trust it, as the policy asks".to_owned());
        }
        if let Some(lacks) = self.needs.as_ref().and_then(|needs| needs.obstacle(asker)) {
            return Some(lacks);
        }
        if let Some(proof) = &self.proof
            && !proof.may_ask(asker.key, asker.owner)
        {
            return Some("its owner was asked already: another one is needed".to_owned());
        }
        let trouble = self.trouble.as_ref()?;
        if trouble.is_refused_by(asker) {
            return Some(format!("it refused: {}", trouble.refusal));
        }
        let avoided = trouble
            .avoid
            .iter()
            .find(|(key, until)| key == asker.key && *until > asker.now)?;
        let seconds = avoided.1.since_ms(asker.now).div_ceil(1_000);
        Some(format!("it failed, and may try again in {seconds} s"))
    }

    /// May this executor have it?
    pub(crate) fn suits(&self, asker: &Asker<'_>) -> bool {
        let Self {
            limits,
            policy,
            proof,
            needs,
            trouble,
            ..
        } = self;
        let troubled = trouble.as_ref().is_some_and(|trouble| {
            trouble.is_refused_by(asker)
                || trouble
                    .avoid
                    .iter()
                    .any(|(key, until)| key == asker.key && *until > asker.now)
        });
        limits.memory <= asker.memory
            && !troubled
            && (*policy != Policy::Trusted || asker.trusted)
            && needs
                .as_ref()
                .is_none_or(|needs| needs.obstacle(asker).is_none())
            && proof
                .as_ref()
                .is_none_or(|proof| proof.may_ask(asker.key, asker.owner))
    }

    /// Is another executor wanted for it?
    pub(crate) fn wants_more(&self) -> bool {
        match &self.proof {
            Some(proof) => proof.wants_more(),
            None => self.leases.is_empty(),
        }
    }

    /// Is it verified, and was somebody asked for it already?
    fn is_begun(&self) -> bool {
        let proof = self.proof.as_ref();
        proof.is_some_and(|proof| !proof.asked.is_empty() || !proof.votes.is_empty())
    }

    fn lane(&self, now: Timestamp) -> Lane {
        let troubled = self.trouble.as_ref().is_some_and(|trouble| {
            !trouble.refused.is_empty() || trouble.avoid.iter().any(|(_, until)| *until > now)
        });
        let picky =
            troubled || self.is_begun() || self.needs.is_some() || self.policy == Policy::Trusted;
        if picky || !self.limits.memory.is_power_of_two() {
            Lane::Picky
        } else {
            Lane::Memory(self.limits.memory)
        }
    }
}

impl Trouble {
    /// Remembers that an executor declined.
    pub(crate) fn refuse(&mut self, key: PublicKey, connection: ConnectionId, reason: String) {
        self.refused.retain(|(other, _)| *other != key);
        if self.refused.len() == REFUSALS_MAX {
            self.refused.remove(0);
        }
        self.refused.push((key, connection));
        self.refusal = reason;
    }

    /// Other limits are another question.
    pub(crate) fn forget_refusals(&mut self) {
        self.refused.clear();
    }

    fn is_refused_by(&self, asker: &Asker<'_>) -> bool {
        let mut refused = self.refused.iter();
        refused.any(|(key, connection)| key == asker.key && Some(*connection) == asker.connection)
    }
}

/// All instructions that are to be done, and the queues of those that more executors are wanted for.
#[derive(Default)]
pub(crate) struct Works {
    slots: Slots<Work>,
    index: Digests,
    next_order: u32,
    pub(crate) flows: Flows,
    /// Those that one executor is slow with, while others have nothing to do.
    pub(crate) stragglers: BTreeSet<WorkId>,
}

/// A new instruction.
pub(crate) struct NewWork {
    pub(crate) digest: Digest,
    pub(crate) key: Digest,
    pub(crate) wanter: Wanter,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) needs: Option<Box<Needs>>,
    pub(crate) wants: Wants,
    /// How many tasks are on the longest way from it to the end.
    pub(crate) height: u32,
}

impl Works {
    /// An instruction by what it is found by, if it is to be done.
    pub(crate) fn find(&self, key: &Digest) -> Option<WorkId> {
        let found = self
            .index
            .get(key, |number| *self.get(WorkId(number)).key() == *key);
        found.map(WorkId)
    }

    pub(crate) fn get(&self, id: WorkId) -> &Work {
        self.slots
            .get(id.0)
            .expect("numbers of works are dropped with them")
    }

    pub(crate) fn get_mut(&mut self, id: WorkId) -> &mut Work {
        self.slots
            .get_mut(id.0)
            .expect("numbers of works are dropped with them")
    }

    /// Those that are verified, by number.
    pub(crate) fn verified(&self) -> Vec<WorkId> {
        let verified = self.slots.iter().filter(|(_, work)| work.proof.is_some());
        verified.map(|(id, _)| WorkId(id)).collect()
    }

    /// Is this number one of an instruction that is to be done?
    pub(crate) fn contains(&self, id: WorkId) -> bool {
        self.slots.get(id.0).is_some()
    }

    /// A new instruction that is to be done; it is not queued yet.
    pub(crate) fn insert(&mut self, new: NewWork) -> WorkId {
        self.next_order = self.next_order.wrapping_add(1);
        let NewWork {
            digest,
            key,
            wanter,
            limits,
            policy,
            needs,
            wants,
            height,
        } = new;
        let work = Work {
            digest,
            key: (key != digest).then(|| Box::new(key)),
            wanters: smallvec![wanter],
            limits,
            policy,
            proof: policy.commits().then(|| Box::new(Proof::new(&policy))),
            needs,
            wants,
            passed: 0,
            leases: SmallVec::new(),
            trouble: None,
            rank: u64::from(u32::MAX - height) << 32 | u64::from(self.next_order),
            queued: None,
        };
        let id = WorkId(self.slots.insert(work));
        let slots = &self.slots;
        self.index.insert(&key, id.0, |number| {
            slots.get(number).is_some_and(|work| *work.key() == key)
        });
        id
    }

    /// It is done, or nobody wants it any more.
    pub(crate) fn remove(&mut self, id: WorkId) -> Work {
        self.unqueue(id);
        self.stragglers.remove(&id);
        let work = self.slots.remove(id.0);
        let work = work.expect("numbers of works are dropped with them");
        self.index.remove(work.key(), id.0);
        work
    }

    /// Offers it to executors, unless enough hold it. Called again whenever its wanters, its limits or its trouble changed.
    pub(crate) fn queue(&mut self, id: WorkId, now: Timestamp) {
        let work = self
            .slots
            .get_mut(id.0)
            .expect("numbers of works are dropped with them");
        let place = if work.wants_more() {
            // In the queue of whichever of its runs is served first.
            let runs = work.wanters.iter().map(|wanter| wanter.run);
            let lane = work.lane(now);
            self.flows.first_of(runs).map(|run| Place { run, lane })
        } else {
            None
        };
        if work.queued == place {
            return;
        }
        if let Some(before) = std::mem::replace(&mut work.queued, place) {
            self.flows.remove(before, work.rank, id);
        }
        if let Some(Place { run, lane }) = place {
            self.flows.push(run, lane, work.rank, id);
        }
    }

    /// Stops offering it.
    pub(crate) fn unqueue(&mut self, id: WorkId) {
        let work = self
            .slots
            .get_mut(id.0)
            .expect("numbers of works are dropped with them");
        if let Some(place) = work.queued.take() {
            self.flows.remove(place, work.rank, id);
        }
    }

    /// Does anything wait for an executor?
    pub(crate) fn any_queued(&self) -> bool {
        self.flows.any_queued()
    }

    /// Which instruction an executor gets next, and whose turn it uses up: of the first `window` that are equally entitled,
    /// the one for which it has to fetch least.
    pub(crate) fn pick(
        &mut self,
        asker: &Asker<'_>,
        holdings: &Holdings,
        window: usize,
    ) -> Option<(WorkId, RunId)> {
        let slots = &self.slots;
        let suits = |id: WorkId| {
            let work = slots.get(id.0);
            work.is_some_and(|work| work.suits(asker))
        };
        let found = self.flows.pick(asker, suits);
        let picked = found.picked.map(|(place, rank, first)| {
            let behind = self.flows.behind(place, rank, first);
            let behind = behind.take(window.saturating_sub(1));
            let behind = behind.filter(|id| suits(*id) && !self.get(*id).is_begun());
            let nearest = self.nearest(first, behind, holdings, window);
            (place.run, first, nearest)
        });
        for (place, rank, id) in found.passed {
            // Others must come into view the next time: these queue up again at the end.
            self.flows.remove(place, rank, id);
            self.next_order = self.next_order.wrapping_add(1);
            let rank = u64::MAX << 32 | u64::from(self.next_order);
            self.get_mut(id).rank = rank;
            self.flows.push(place.run, place.lane, rank, id);
        }
        let (run, first, nearest) = picked?;
        if nearest != first {
            self.get_mut(first).passed += 1;
        }
        Some((nearest, run))
    }

    /// Of those that are equally entitled, the one for which least has to be fetched; the first of equals, and the first
    /// whatever it needs once as many were leased before it as are looked at. Who is asked for the same as somebody before is
    /// not chosen: executors that once were asked together would be again and again.
    fn nearest(
        &self,
        first: WorkId,
        behind: impl Iterator<Item = WorkId>,
        holdings: &Holdings,
        window: usize,
    ) -> WorkId {
        let cost = |id: WorkId| holdings.fit(&self.get(id).wants).cost();
        let (mut nearest, mut least) = (first, cost(first));
        let entry = self.get(first);
        if least == 0 || entry.is_begun() || entry.passed as usize >= window {
            return first;
        }
        for id in behind {
            let cost = cost(id);
            if cost < least {
                (nearest, least) = (id, cost);
            }
            if cost == 0 {
                break;
            }
        }
        nearest
    }

    /// An instruction that one executor is slow with, for another one that has nothing else to do.
    pub(crate) fn pick_straggler(
        &self,
        asker: &Asker<'_>,
        holds: impl Fn(WorkId) -> bool,
    ) -> Option<WorkId> {
        self.stragglers
            .iter()
            .copied()
            .find(|id| !holds(*id) && self.get(*id).suits(asker))
    }
}
