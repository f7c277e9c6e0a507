//! Which blobs are on their way, for which leases, and when a failed way is tried again. Fetches and uploads each have one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use asterism_protocol::{Cid, Timestamp, message::LeaseId};

/// Most transfers under way at a time: enough to fill a connection, few enough for a browser's own queue.
const UNDER_WAY_MAX: usize = 16;

/// How often a transfer is tried before its leases fail.
const TRIES_MAX: u32 = 4;

/// The wait before the second try, in milliseconds; each further one is four times as long.
const RETRY_MS: u64 = 250;

/// Blobs that leases need moved, in one direction.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    table: BTreeMap<Cid, Transfer>,
    /// What may start; entries whose transfer is gone or further along are skipped.
    queue: VecDeque<Cid>,
    waiting: BTreeSet<(Timestamp, Cid)>,
    under_way: usize,
}

#[derive(Debug)]
struct Transfer {
    users: BTreeSet<LeaseId>,
    state: State,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    UnderWay,
    /// It failed and starts again then.
    Waiting(Timestamp),
    /// It failed while the coordinator was away, which says nothing about the blob: it starts again on return.
    Stalled,
    Done,
}

/// What a failure means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// Nobody waits for it, or it is tried again.
    Goes,
    /// It was the last try: these leases cannot have it.
    GivenUp(Vec<LeaseId>),
}

impl Transfers {
    /// Says that a lease needs a blob moved; is that done already?
    pub(super) fn need(&mut self, cid: Cid, lease: LeaseId) -> bool {
        let transfer = self.table.entry(cid).or_insert_with(|| {
            self.queue.push_back(cid);
            Transfer {
                users: BTreeSet::new(),
                state: State::Queued,
                failures: 0,
            }
        });
        transfer.users.insert(lease);
        transfer.state == State::Done
    }

    /// Says that a lease does not need a blob any more; was it the last one?
    pub(super) fn release(&mut self, cid: Cid, lease: LeaseId) -> bool {
        let Some(transfer) = self.table.get_mut(&cid) else {
            return false;
        };
        if !transfer.users.remove(&lease) || !transfer.users.is_empty() {
            return false;
        }
        self.set(cid, State::Done);
        self.table.remove(&cid);
        true
    }

    /// Is anybody interested in this blob?
    pub(super) fn contains(&self, cid: Cid) -> bool {
        self.table.contains_key(&cid)
    }

    /// The next transfer to start now.
    pub(super) fn start(&mut self, now: Timestamp) -> Option<Cid> {
        while let Some((_, cid)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.requeue(cid);
        }
        while self.under_way < UNDER_WAY_MAX {
            let cid = self.queue.pop_front()?;
            if self
                .table
                .get(&cid)
                .is_some_and(|transfer| transfer.state == State::Queued)
            {
                self.set(cid, State::UnderWay);
                return Some(cid);
            }
        }
        None
    }

    /// A transfer succeeded: the leases that waited for it.
    pub(super) fn done(&mut self, cid: Cid) -> Vec<LeaseId> {
        match self.table.get(&cid) {
            Some(transfer) if transfer.state != State::Done => {
                let users = transfer.users.iter().copied().collect();
                self.set(cid, State::Done);
                users
            }
            _ => Vec::new(),
        }
    }

    /// A transfer failed.
    pub(super) fn failed(&mut self, cid: Cid, now: Timestamp, online: bool) -> Failed {
        let Some(transfer) = self
            .table
            .get_mut(&cid)
            .filter(|transfer| transfer.state == State::UnderWay)
        else {
            return Failed::Goes;
        };
        if !online {
            self.set(cid, State::Stalled);
            return Failed::Goes;
        }
        transfer.failures += 1;
        if transfer.failures >= TRIES_MAX {
            return Failed::GivenUp(transfer.users.iter().copied().collect());
        }
        let wait_ms = RETRY_MS << (2 * (transfer.failures - 1));
        self.set(cid, State::Waiting(now.after_ms(wait_ms)));
        Failed::Goes
    }

    /// The coordinator is there again: what stalled starts.
    pub(super) fn resume(&mut self) {
        let stalled = self
            .table
            .iter()
            .filter(|(_, transfer)| transfer.state == State::Stalled);
        let stalled: Vec<Cid> = stalled.map(|(cid, _)| *cid).collect();
        stalled.into_iter().for_each(|cid| self.requeue(cid));
    }

    /// When a failed transfer starts again.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.waiting.first().map(|(at, _)| *at)
    }

    fn requeue(&mut self, cid: Cid) {
        self.set(cid, State::Queued);
        self.queue.push_back(cid);
    }

    /// The one place that changes a state, so that the counts agree with it.
    fn set(&mut self, cid: Cid, state: State) {
        let Some(transfer) = self.table.get_mut(&cid) else {
            return;
        };
        match transfer.state {
            State::UnderWay => self.under_way -= 1,
            State::Waiting(at) => {
                self.waiting.remove(&(at, cid));
            }
            State::Queued | State::Stalled | State::Done => {}
        }
        match state {
            State::UnderWay => self.under_way += 1,
            State::Waiting(at) => {
                self.waiting.insert((at, cid));
            }
            State::Queued | State::Stalled | State::Done => {}
        }
        transfer.state = state;
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::blob_cid;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    #[test]
    fn a_blob_of_two_leases_moves_once() {
        let (mut transfers, cid) = (Transfers::default(), blob_cid(b"a"));
        assert!(!transfers.need(cid, LeaseId(1)));
        assert!(!transfers.need(cid, LeaseId(2)));
        assert_eq!(transfers.start(NOW), Some(cid));
        assert_eq!(transfers.start(NOW), None);
        assert_eq!(transfers.done(cid), [LeaseId(1), LeaseId(2)]);
        assert!(transfers.need(cid, LeaseId(3)));
        assert!(!transfers.release(cid, LeaseId(1)));
        assert!(!transfers.release(cid, LeaseId(2)));
        assert!(transfers.release(cid, LeaseId(3)));
        assert!(!transfers.contains(cid));
    }

    #[test]
    fn a_failed_transfer_waits_longer_each_time_and_is_given_up() {
        let (mut transfers, cid) = (Transfers::default(), blob_cid(b"a"));
        transfers.need(cid, LeaseId(1));
        let mut now = NOW;
        for wait_ms in [250, 1_000, 4_000] {
            assert_eq!(transfers.start(now), Some(cid));
            assert_eq!(transfers.failed(cid, now, true), Failed::Goes);
            assert_eq!(transfers.retry_at(), Some(now.after_ms(wait_ms)));
            assert_eq!(transfers.start(now), None);
            now = now.after_ms(wait_ms);
        }
        assert_eq!(transfers.start(now), Some(cid));
        assert_eq!(
            transfers.failed(cid, now, true),
            Failed::GivenUp(vec![LeaseId(1)])
        );
    }

    #[test]
    fn failures_without_a_coordinator_do_not_count() {
        let (mut transfers, cid) = (Transfers::default(), blob_cid(b"a"));
        transfers.need(cid, LeaseId(1));
        for _ in 0..10 {
            assert_eq!(transfers.start(NOW), Some(cid));
            assert_eq!(transfers.failed(cid, NOW, false), Failed::Goes);
            assert_eq!(transfers.start(NOW), None);
            transfers.resume();
        }
        assert_eq!(transfers.start(NOW), Some(cid));
    }

    #[test]
    fn only_so_many_are_under_way() {
        let mut transfers = Transfers::default();
        for n in 0..=UNDER_WAY_MAX as u8 {
            transfers.need(blob_cid(&[n]), LeaseId(u64::from(n)));
        }
        for n in 0..UNDER_WAY_MAX as u8 {
            assert_eq!(transfers.start(NOW), Some(blob_cid(&[n])));
        }
        assert_eq!(transfers.start(NOW), None);
        assert!(transfers.release(blob_cid(&[0]), LeaseId(0)));
        assert_eq!(transfers.start(NOW), Some(blob_cid(&[UNDER_WAY_MAX as u8])));
    }
}
