//! Seats that are between two holders while an executor holds leases of them. It goes on with those, and gets work of other seats.

use std::collections::{BTreeMap, BTreeSet};

use asterism_protocol::message::{Held, LeaseId, ToCoordinator};
use tokio::time::Instant;
use tracing::debug;

use super::{End, Relay, Turned};
use crate::{
    front::Seat,
    limits::{ASK_AGAIN, FOLLOWED_WITHIN},
};

/// A seat whose next holder is waited for. What the executor holds of it stands in its hello, as that is said there.
pub(super) struct Awaited {
    until: Instant,
    /// Did the executor say what nobody has heard? It says so again when it comes back.
    unheard: bool,
    /// How it has ended leases that came to no outcome. It does not say so again.
    farewells: BTreeMap<LeaseId, ToCoordinator>,
}

impl Relay {
    /// Waits for the next holders of these seats, beside all else.
    pub(super) fn wait_for(&mut self, partitions: BTreeSet<u16>) {
        let until = Instant::now() + FOLLOWED_WITHIN;
        for partition in partitions {
            let awaited = Awaited {
                until,
                unheard: false,
                farewells: BTreeMap::new(),
            };
            self.awaited.insert(partition, awaited);
        }
    }

    /// Is a seat waited for? What was said to it now is to be said again.
    pub(super) fn is_awaited(&mut self, partition: u16) -> bool {
        match self.awaited.get_mut(&partition) {
            Some(awaited) => {
                awaited.unheard = true;
                true
            }
            None => false,
        }
    }

    /// Keeps how the executor has ended a lease of a seat that is waited for, until the next holder goes on with the lease.
    pub(super) fn keep(&mut self, lease: LeaseId, farewell: ToCoordinator) {
        let partition = self.partition_of(lease);
        let is_held = self.hello.holding.iter().any(|held| held.lease == lease);
        if let Some(awaited) = self.awaited.get_mut(&partition).filter(|_| is_held) {
            awaited.farewells.insert(lease, farewell);
        }
    }

    /// Turns to those that are somewhere again, before others are given what the executor holds of them.
    pub(super) async fn look_for_holders(&mut self) -> Result<(), End> {
        let partitions: Vec<u16> = self.awaited.keys().copied().collect();
        for partition in partitions {
            let nobody = matches!(self.front.seat_now(partition), Seat::Nobody);
            if !nobody
                && !self.has_failed(partition)
                && let Turned::Away(why) = self.turn_to(partition).await?
            {
                debug!(partition, why, "a seat does not welcome");
                self.failed.insert(partition, Instant::now());
            }
            let awaited = self.awaited.get(&partition);
            if awaited.is_some_and(|awaited| awaited.until <= Instant::now()) {
                self.awaited.remove(&partition);
                self.give_up(partition, &[]).await?;
            }
        }
        Ok(())
    }

    /// A seat welcomes the executor. If it was waited for, what it does not go on with is given up, and it is told what has ended.
    pub(super) async fn followed(
        &mut self,
        partition: u16,
        resumed: &[LeaseId],
    ) -> Result<(), End> {
        let Some(awaited) = self.awaited.remove(&partition) else {
            return Ok(());
        };
        self.give_up(partition, resumed).await?;
        let mut goes_on = false;
        for lease in resumed {
            match awaited.farewells.get(lease) {
                Some(farewell) => {
                    self.let_go(partition, &[*lease]);
                    self.tell(partition, farewell).await;
                }
                None => goes_on = true,
            }
        }
        if awaited.unheard && goes_on {
            // It comes back with all that it holds, and finds everybody.
            return Err(End::Stops);
        }
        Ok(())
    }

    /// Gives up what the executor holds of a seat beside `resumed`.
    async fn give_up(&mut self, partition: u16, resumed: &[LeaseId]) -> Result<(), End> {
        let holding = std::mem::take(&mut self.hello.holding);
        let (gone, left): (Vec<Held>, Vec<Held>) = holding
            .into_iter()
            .partition(|held| self.partition_of(held.lease) == partition);
        self.hello.holding = left;
        let leases = gone.iter().map(|held| held.lease);
        let lost = leases.filter(|lease| !resumed.contains(lease)).collect();
        self.revoke(lost).await
    }

    /// Was a seat tried in vain just before?
    pub(super) fn has_failed(&self, partition: u16) -> bool {
        let failed = self.failed.get(&partition);
        failed.is_some_and(|at| at.elapsed() < ASK_AGAIN)
    }
}
