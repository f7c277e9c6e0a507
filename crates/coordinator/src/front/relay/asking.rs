//! Where an executor asks for leases: at one seat after the other where something waits, else where it will come to be.

use asterism_protocol::{
    limits::POLL_WAIT_MS_MAX,
    message::{LeaseId, ToCoordinator, ToExecutor},
};
use axum::body::Bytes;
use tokio::time::Instant;
use tracing::debug;

use super::{Asked, End, Relay, Turned};
use crate::limits::ASK_AGAIN;

/// How often the pause doubles before a seat is asked again that had nothing: what waits there may be for others.
const VAIN_MAX: u32 = 3;

impl Relay {
    pub(super) async fn assigned(
        &mut self,
        partition: u16,
        leases: Vec<LeaseId>,
        frame: Bytes,
    ) -> Result<(), End> {
        let Some(seat) = self.seats.get_mut(&partition) else {
            return Ok(());
        };
        if leases.is_empty() {
            if seat.stale > 0 {
                seat.stale -= 1;
                return Ok(());
            }
            if seat.asked == Asked::Now {
                seat.not_before = Some(Instant::now() + ASK_AGAIN * (1 << seat.vain));
                seat.vain = VAIN_MAX.min(seat.vain + 1);
            }
            seat.asked = Asked::Nothing;
            return self.look().await;
        }
        if seat.stale == 0 {
            seat.asked = Asked::Nothing;
        }
        if self.wanted.take().is_none() {
            // Nobody wants it any more; it is somebody else's turn.
            let back = ToCoordinator::HandBack { leases };
            self.tell(partition, &back).await;
            return Ok(());
        }
        seat.held.extend(leases);
        seat.vain = 0;
        (self.home, self.served) = (Some(partition), partition);
        self.pass(frame).await?;
        self.withdraw_all().await;
        Ok(())
    }

    /// What was asked is asked no longer.
    async fn withdraw_all(&mut self) {
        let asked: Vec<u16> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.asked != Asked::Nothing)
            .map(|(partition, _)| *partition)
            .collect();
        for partition in asked {
            self.ask(partition, 0, Asked::Nothing).await;
        }
    }

    /// Asks a seat for leases, instead of what it was asked before.
    async fn ask(&mut self, partition: u16, slots: u32, asked: Asked) {
        let wait_ms = match asked {
            Asked::Nothing | Asked::Now => 0,
            Asked::Waits => POLL_WAIT_MS_MAX,
        };
        if let Some(seat) = self.seats.get_mut(&partition) {
            seat.asked = asked;
            // It answers at once, that there is nothing.
            seat.stale += u32::from(asked == Asked::Nothing);
        }
        self.tell(partition, &ToCoordinator::Poll { slots, wait_ms })
            .await;
    }

    /// Looks where the executor gets something: in turn where something waits, else where it will come to be.
    pub(super) async fn look(&mut self) -> Result<(), End> {
        while self.waits() {
            let slots = self.wanted.as_ref().map_or(0, |wanted| wanted.slots);
            if slots == 0 || self.front.is_drained(self.hello.key) {
                self.withdraw_all().await;
                return Ok(());
            }
            match self.hungry() {
                Some(partition) => {
                    if !self.seats.contains_key(&partition)
                        && let Turned::Away(why) = self.turn_to(partition).await?
                    {
                        debug!(partition, why, "a seat does not welcome");
                        self.failed.insert(partition, Instant::now());
                        continue;
                    }
                    self.withdraw_all().await;
                    self.ask(partition, slots, Asked::Now).await;
                }
                None => {
                    if self.seats.values().any(|seat| seat.asked == Asked::Waits) {
                        return Ok(());
                    }
                    let Some(home) = self.home.filter(|home| self.seats.contains_key(home)) else {
                        return self.new_home().await;
                    };
                    self.ask(home, slots, Asked::Waits).await;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The next seat, in turn, at which more waits than it can give away, unless it had nothing for this executor just before.
    fn hungry(&self) -> Option<u16> {
        let now = Instant::now();
        let may = |partition: &u16| {
            let seat = self.seats.get(partition);
            // Where it waits, it has nothing for this one.
            let vain = seat.is_some_and(|seat| {
                seat.asked == Asked::Waits || seat.not_before.is_some_and(|at| now < at)
            });
            !vain && !self.has_failed(*partition)
        };
        let hungry: Vec<u16> = self.front.hungry().into_iter().filter(may).collect();
        let next = hungry.iter().find(|partition| **partition > self.served);
        next.or(hungry.first()).copied()
    }

    /// Where it waited is gone.
    async fn new_home(&mut self) -> Result<(), End> {
        if let Some(other) = self.seats.keys().next().copied() {
            self.home = Some(other);
        } else {
            let partition = self.choose_home();
            self.home = Some(partition);
            if let Turned::Away(why) = self.turn_to(partition).await? {
                debug!(partition, why, "a seat does not welcome");
                return Err(End::Stops);
            }
        }
        let wanted = self.wanted.as_ref().map(|wanted| wanted.slots);
        if let (Some(home), Some(slots)) = (self.home, wanted) {
            self.ask(home, slots, Asked::Waits).await;
        }
        Ok(())
    }

    /// Nothing came for the executor in time.
    pub(super) async fn late(&mut self) -> Result<(), End> {
        self.wanted = None;
        self.withdraw_all().await;
        self.say(&ToExecutor::Assign { leases: Vec::new() }).await
    }
}
