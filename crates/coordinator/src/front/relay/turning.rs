//! How an executor turns to a seat: the hello that it said once is said there.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use asterism_protocol::{
    encode,
    message::{LeaseId, ToCoordinator, ToExecutor, decode_frame},
};
use axum::body::Bytes;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use super::{Asked, Attached, End, Relay};
use crate::{
    front::{Seat, remote},
    limits::{ASK_EVERY, AWAY_FOR, AWAY_MAX, FOLLOWED_WITHIN, RESUMED_WITHIN, WELCOME_MAX},
    socket::STOPS,
};

/// What comes of turning to a seat.
pub(super) enum Turned {
    /// It welcomes the executor, which goes on with these leases.
    Welcomed {
        heartbeat_ms: u64,
        resumed: Vec<LeaseId>,
    },
    /// It does not answer, for this reason.
    Away(String),
}

/// A coordinator that an executor could not be brought to.
pub(super) struct Away {
    pause: Duration,
    until: Instant,
}

impl Away {
    /// It was tried in vain for so long.
    fn after(before: Option<&Self>, took: Duration) -> Self {
        let pause = before.map_or(AWAY_FOR, |before| AWAY_MAX.min(2 * before.pause));
        let pause = pause.max(took);
        let until = Instant::now() + pause;
        Self { pause, until }
    }
}

impl Relay {
    /// Turns to a seat where the executor can wait, and to those whose leases it holds. What of these is between two holders is waited
    /// for afterwards: it may go on, and there is other work.
    pub(super) async fn welcome(&mut self) -> Result<(), End> {
        let (heartbeat_ms, mut all) = self.settle().await?;
        let holding = self.hello.holding.iter();
        let mut left: BTreeSet<u16> = holding.map(|held| self.partition_of(held.lease)).collect();
        left.retain(|partition| !self.seats.contains_key(partition));
        // Those that are here first, as nobody is waited for.
        let mut order: Vec<u16> = left.iter().copied().collect();
        order.sort_by_key(|partition| !matches!(self.front.seat_now(*partition), Seat::Here(_)));
        let until = Instant::now() + RESUMED_WITHIN;
        for partition in order {
            if let Seat::Nobody = self.front.seat_now(partition) {
                continue;
            }
            match timeout_at(until, self.turn_to(partition)).await {
                Ok(turned) => match turned? {
                    Turned::Welcomed { resumed, .. } => {
                        left.remove(&partition);
                        all.extend(resumed);
                    }
                    Turned::Away(why) => debug!(partition, why, "a seat does not welcome"),
                },
                Err(_) => debug!(partition, "a seat does not welcome in time"),
            }
        }
        // What it is not told to go on with it gives up.
        let holding = std::mem::take(&mut self.hello.holding).into_iter();
        self.hello.holding = holding
            .filter(|held| left.contains(&self.partition_of(held.lease)))
            .collect();
        all.extend(self.hello.holding.iter().map(|held| held.lease));
        self.wait_for(left);
        self.say(&ToExecutor::Welcome {
            heartbeat_ms,
            resumed: all,
        })
        .await
    }

    /// Turns to a seat where the executor can wait; how often it says that it is alive, and what it goes on with there.
    async fn settle(&mut self) -> Result<(u64, Vec<LeaseId>), End> {
        let front = Arc::clone(&self.front);
        let until = Instant::now() + FOLLOWED_WITHIN;
        while Instant::now() < until {
            let home = self.choose_home();
            match timeout_at(until, self.turn_to(home)).await {
                Ok(turned) => match turned? {
                    Turned::Welcomed {
                        heartbeat_ms,
                        resumed,
                    } => {
                        (self.home, self.served) = (Some(home), home);
                        return Ok((heartbeat_ms, resumed));
                    }
                    Turned::Away(why) => debug!(home, why, "a seat does not welcome"),
                },
                Err(_) => debug!(home, "a seat does not welcome in time"),
            }
            tokio::select! {
                () = sleep(ASK_EVERY) => {}
                () = front.closed() => return Err(End::Stops),
            }
        }
        // Without any seat it comes again, perhaps to another coordinator.
        Err(End::Stops)
    }

    /// One of the seats in here, in turn; one elsewhere, if there are none.
    pub(super) fn choose_home(&self) -> u16 {
        let turn = self.front.general.connection().0 as usize;
        let locals = self.front.locals();
        if !locals.is_empty() {
            return locals[turn % locals.len()].0;
        }
        let seats = self.front.seats.borrow();
        let held: Vec<u16> = (0..)
            .zip(&*seats)
            .filter(|(_, seat)| matches!(seat, Seat::There { .. }))
            .map(|(partition, _)| partition)
            .collect();
        // If nobody holds any, one is waited for.
        let any = (turn % usize::from(self.front.partitions)) as u16;
        held.get(turn % held.len().max(1)).copied().unwrap_or(any)
    }

    /// Was a coordinator tried in vain just before? Whoever tries it again and again has no time for others.
    fn is_away(&self, coordinator: &str) -> bool {
        let away = self.away.get(coordinator);
        away.is_some_and(|away| Instant::now() < away.until)
    }

    /// A coordinator was tried in vain since `begun`.
    fn found_away(&mut self, coordinator: &str, begun: Instant) {
        let away = Away::after(self.away.get(coordinator), begun.elapsed());
        self.away.insert(coordinator.to_owned(), away);
    }

    /// Says hello to a seat, for the executor. What else it says meanwhile is passed on.
    pub(super) async fn turn_to(&mut self, partition: u16) -> Result<Turned, End> {
        let begun = Instant::now();
        let mut there = None;
        let ends = match self.front.seat(partition).await {
            Ok(Seat::Here(local)) => remote::here(&local, self.peer, self.who),
            Ok(Seat::There { address, .. }) if self.is_away(&address) => {
                return Ok(Turned::Away("it did not answer just before".to_owned()));
            }
            Ok(Seat::There { address, .. }) => {
                let made = self.lines.talk(&self.front, &address, partition);
                match timeout(WELCOME_MAX, made).await {
                    Ok(Ok(ends)) => {
                        there = Some(address);
                        ends
                    }
                    Ok(Err(why)) => {
                        self.found_away(&address, begun);
                        return Ok(Turned::Away(why));
                    }
                    Err(_) => {
                        self.lines.forget(&address);
                        self.found_away(&address, begun);
                        return Ok(Turned::Away("it does not answer in time".to_owned()));
                    }
                }
            }
            Ok(Seat::Nobody) => return Ok(Turned::Away("nobody holds it".to_owned())),
            Err(error) => return Ok(Turned::Away(error.message().to_owned())),
        };
        let mut hello = self.hello.clone();
        let front = &self.front;
        hello
            .holding
            .retain(|held| front.partition_of_number(held.lease.0) == partition);
        let hello = Bytes::from(encode(&ToCoordinator::Hello(Box::new(hello))));
        // It has not said anything yet, so there is room.
        let _ = ends.say.send(hello).await;
        let mut seat = Attached {
            ends,
            address: there,
            held: BTreeSet::new(),
            asked: Asked::Nothing,
            stale: 0,
            news: 0,
            vain: None,
        };
        let until = Instant::now() + WELCOME_MAX;
        loop {
            let frame = match timeout_at(until, seat.ends.hear.recv()).await {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    return Ok(Turned::Away("it does not welcome anybody".to_owned()));
                }
                Err(_) => {
                    if let Some(address) = &seat.address {
                        self.lines.forget(address);
                        self.found_away(address, begun);
                    }
                    return Ok(Turned::Away("it does not welcome in time".to_owned()));
                }
            };
            match decode_frame::<ToExecutor>(&frame) {
                Ok(ToExecutor::Challenge { .. }) => {}
                Ok(ToExecutor::Welcome {
                    heartbeat_ms,
                    resumed,
                }) => {
                    if let Some(address) = &seat.address {
                        self.away.remove(address);
                    }
                    seat.held.extend(&resumed);
                    self.seats.insert(partition, seat);
                    self.followed(partition, &resumed).await?;
                    return Ok(Turned::Welcomed {
                        heartbeat_ms,
                        resumed,
                    });
                }
                Ok(ToExecutor::Bye { reason }) if reason == STOPS => {
                    return Ok(Turned::Away(reason));
                }
                Ok(ToExecutor::Bye { .. }) => {
                    self.pass(frame).await?;
                    return Err(End::Closed);
                }
                Ok(_) => self.pass(frame).await?,
                Err(error) => return Ok(Turned::Away(error.to_string())),
            }
        }
    }
}
