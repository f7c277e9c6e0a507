//! Where an executor asks for leases: at one seat after the other where something waits, else where it will come to be.

use asterism_protocol::{
    limits::POLL_WAIT_MS_MAX,
    message::{LeaseId, ToCoordinator, ToExecutor},
};
use axum::body::Bytes;
use tokio::time::Instant;
use tracing::debug;

use super::{Asked, End, Relay, Turned};
use crate::{
    driver::Waiting,
    front::{Front, PAUSE, Seat},
    limits::ASK_AGAIN,
};

/// How often the pause doubles before a seat is asked again that had nothing: what waits there is for others, as long as nothing
/// comes to it. This is a minute nearly; seldom may an executor have what it could not have before.
const VAIN_MAX: u32 = 7;

/// A seat had nothing for an executor, though something waits there.
pub(super) struct Vain {
    /// The last time.
    at: Instant,
    /// How often after that time, one after the other.
    again: u32,
    /// How often what waits had become more until then.
    news: u64,
}

impl Vain {
    /// The seat has nothing.
    fn after(before: Option<Self>, news: u64, now: Instant) -> Self {
        let again = before.map_or(0, |before| VAIN_MAX.min(before.again + 1));
        Self {
            at: now,
            again,
            news,
        }
    }

    /// May it be asked again, when what waits has become more so often?
    fn is_over(&self, news: u64, now: Instant) -> bool {
        let again = if news == self.news { self.again } else { 0 };
        now.duration_since(self.at) >= ASK_AGAIN * (1 << again)
    }
}

impl Front {
    /// The partitions at which more waits than executors there can take, and what.
    fn hungry(&self) -> Vec<(u16, Waiting)> {
        let seats = self.seats.borrow();
        let waiting = (0..).zip(&*seats).map(|(partition, seat)| {
            let waiting = match seat {
                Seat::Here(local) => local.unmet.waiting(),
                Seat::There { waiting, .. } => *waiting,
                Seat::Nobody => Waiting::default(),
            };
            (partition, waiting)
        });
        waiting.filter(|(_, waiting)| waiting.count > 0).collect()
    }
}

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
                let vain = Vain::after(seat.vain.take(), seat.news, Instant::now());
                seat.vain = Some(vain);
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
        seat.vain = None;
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
    /// One that does not welcome it is tried once. If that took long, others are for later: nobody hears the executor meanwhile.
    pub(super) async fn look(&mut self) -> Result<(), End> {
        let begun = Instant::now();
        while self.waits() {
            let slots = self.wanted.as_ref().map_or(0, |wanted| wanted.slots);
            if slots == 0 || self.front.is_drained(self.hello.key) {
                self.withdraw_all().await;
                return Ok(());
            }
            match self.hungry(begun) {
                Some((partition, news)) => {
                    let turning = Instant::now();
                    if !self.seats.contains_key(&partition)
                        && let Turned::Away(why) = self.turn_to(partition).await?
                    {
                        debug!(partition, why, "a seat does not welcome");
                        self.failed.insert(partition, Instant::now());
                        if turning.elapsed() > PAUSE {
                            return Ok(());
                        }
                        continue;
                    }
                    self.withdraw_all().await;
                    if let Some(seat) = self.seats.get_mut(&partition) {
                        seat.news = news;
                    }
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

    /// The next seat, in turn, at which more waits than it can give away, unless it had nothing for this executor just before, or was
    /// tried in vain since `begun`; and how often what waits there has become more.
    fn hungry(&self, begun: Instant) -> Option<(u16, u64)> {
        let now = Instant::now();
        let may = |(partition, waiting): &(u16, Waiting)| {
            let seat = self.seats.get(partition);
            let tried = self.failed.get(partition).is_some_and(|at| *at >= begun);
            // Where it waits, it has nothing for this one.
            let vain = seat.is_some_and(|seat| {
                let vain = seat.vain.as_ref();
                seat.asked == Asked::Waits
                    || vain.is_some_and(|vain| !vain.is_over(waiting.news, now))
            });
            !vain && !tried && !self.has_failed(*partition)
        };
        let hungry: Vec<(u16, Waiting)> = self.front.hungry().into_iter().filter(may).collect();
        let next = hungry
            .iter()
            .find(|(partition, _)| *partition > self.served);
        let (partition, waiting) = next.or(hungry.first())?;
        Some((*partition, waiting.news))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_waits_for_others_is_asked_for_ever_more_rarely_until_more_waits() {
        let mut now = Instant::now();
        let mut vain = Vain::after(None, 1, now);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let begun = now;
            while !vain.is_over(1, now) {
                now += Duration::from_millis(100);
            }
            pauses.push(now.duration_since(begun).as_millis());
            vain = Vain::after(Some(vain), 1, now);
        }
        let longest = 51_200;
        assert_eq!(pauses[..4], [400, 800, 1_600, 3_200]);
        assert_eq!(pauses[7..], [longest; 3]);
        // Something new is looked at soon, and not at once: many ask for it.
        assert!(!vain.is_over(2, now));
        assert!(vain.is_over(2, now + ASK_AGAIN));
        assert!(!vain.is_over(1, now + ASK_AGAIN));
    }
}
