//! An executor's one connection, and the seats that it works for.
//!
//! It says hello once. That is repeated to each seat that it turns to, so seats believe it as if it had come to them. What it says
//! of leases goes to whom gave them. It waits at one seat at a time, and turns to others when more waits there than they can give away.

mod asking;
mod awaiting;
mod turning;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::Arc,
    task::Poll as Polled,
    time::Duration,
};

use asterism_protocol::{
    encode,
    limits::POLL_WAIT_MS_MAX,
    message::{Hello, LeaseId, ToCoordinator, ToExecutor, decode_frame},
};
use axum::{
    body::Bytes,
    extract::ws::{Message, WebSocket},
};
use serde_bytes::ByteArray;
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tracing::warn;

use self::{
    asking::Vain,
    awaiting::Awaited,
    turning::{Away, Turned},
};
use super::{
    Front, PAUSE, Seat,
    line::Lines,
    remote::{Ends, Who},
};
use crate::{
    limits::{FIRST_WORD_MAX, HEARD_WITHIN, PING_EVERY, SILENCE_MAX},
    peer::Peer,
    socket::{Ears, End, Heard, STOPS, ends, new_nonce},
    writer::Writer,
};

/// A seat that an executor has turned to.
struct Attached {
    ends: Ends,
    /// Where it is reached, if that is another coordinator.
    address: Option<String>,
    /// The leases that it has of it, as far as is known.
    held: BTreeSet<LeaseId>,
    asked: Asked,
    /// Answers that are on their way to what is not asked any more.
    stale: u32,
    /// What was known to wait there when it was asked last: how often that had become more.
    news: u64,
    /// What is known of having asked it in vain.
    vain: Option<Vain>,
}

/// What a seat was asked, and has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// What it has now.
    Now,
    /// What it will have.
    Waits,
}

/// What the executor asked for.
struct Wanted {
    slots: u32,
    until: Instant,
}

struct Relay {
    front: Arc<Front>,
    peer: Peer,
    who: Who,
    lines: Lines,
    writer: Writer,
    hello: Hello,
    seats: BTreeMap<u16, Attached>,
    /// Where it waits when nothing is to be done.
    home: Option<u16>,
    /// Who gave it something last.
    served: u16,
    wanted: Option<Wanted>,
    /// Seats that could not be reached, and when.
    failed: BTreeMap<u16, Instant>,
    /// Coordinators that could not be reached.
    away: BTreeMap<String, Away>,
    /// Seats that it holds leases of, and that nobody holds now.
    awaited: BTreeMap<u16, Awaited>,
    leaving: bool,
}

/// Carries what an executor says until its connection ends.
pub(crate) async fn relay(front: Arc<Front>, socket: WebSocket, peer: Peer) {
    let (mut ears, mut writer) = ends(socket);
    let (end, writer) = match greet(&front, &mut ears, &mut writer).await {
        Err(end) => (end, writer),
        Ok((nonce, hello)) => {
            let (key, who) = (hello.key, Who::Executor(nonce));
            front.comes(key);
            let mut relay = Relay {
                front: Arc::clone(&front),
                peer,
                who,
                lines: Lines::new(peer, who),
                writer,
                hello,
                seats: BTreeMap::new(),
                home: None,
                served: 0,
                wanted: None,
                failed: BTreeMap::new(),
                away: BTreeMap::new(),
                awaited: BTreeMap::new(),
                leaving: false,
            };
            let end = match relay.welcome().await {
                Ok(()) => relay.run(&mut ears).await,
                Err(end) => end,
            };
            front.goes(key);
            (end, relay.writer)
        }
    };
    if let End::Refused(reason) = &end {
        warn!(reason, "an executor's connection is ended");
    }
    end.say(&front.general.metrics, writer).await;
}

/// Has an executor say who it is.
async fn greet(
    front: &Front,
    ears: &mut Ears,
    writer: &mut Writer,
) -> Result<([u8; 32], Hello), End> {
    let nonce = new_nonce().map_err(|error| {
        warn!(%error, "the system has no random bytes");
        End::Stops
    })?;
    let challenge = encode(&ToExecutor::Challenge {
        nonce: ByteArray::new(nonce),
        build: front.config.build.clone(),
    });
    writer.binary(challenge).await.map_err(|_| End::Gone)?;
    let said = async {
        loop {
            match ears.hear().await {
                Heard::Alive => {}
                heard => return heard,
            }
        }
    };
    let said = tokio::select! {
        said = timeout(FIRST_WORD_MAX, said) => said,
        () = front.closed() => return Err(End::Stops),
    };
    let frame = match said {
        Ok(Heard::Frame(frame)) => frame,
        Ok(Heard::Refused(reason)) => return Err(End::Refused(reason)),
        Ok(Heard::Closed { .. } | Heard::Gone | Heard::Alive) => return Err(End::Gone),
        Err(_) => {
            let seconds = FIRST_WORD_MAX.as_secs();
            return Err(End::Refused(format!("nothing was heard for {seconds} s")));
        }
    };
    match decode_frame::<ToCoordinator>(&frame) {
        Ok(ToCoordinator::Hello(hello)) => Ok((nonce, *hello)),
        Ok(_) => Err(End::Refused("say hello first".to_owned())),
        Err(error) => Err(End::Refused(error.to_string())),
    }
}

impl Relay {
    fn partition_of(&self, lease: LeaseId) -> u16 {
        self.front.partition_of_number(lease.0)
    }

    async fn say(&mut self, message: &ToExecutor) -> Result<(), End> {
        let frame = encode(message);
        self.writer.binary(frame).await.map_err(|_| End::Gone)
    }

    async fn pass(&mut self, frame: Bytes) -> Result<(), End> {
        let sent = self.writer.send(Message::Binary(frame)).await;
        sent.map_err(|_| End::Gone)
    }

    /// Says something to a seat. One that is gone is found to be so where it is listened to.
    async fn tell(&mut self, partition: u16, message: &ToCoordinator) {
        let frame = Bytes::from(encode(message));
        self.forward(partition, frame).await;
    }

    async fn forward(&mut self, partition: u16, frame: Bytes) {
        let Some(seat) = self.seats.get_mut(&partition) else {
            return;
        };
        // Nobody hears the executor meanwhile. A line to this seat may wait itself, for another one, and does so half as long.
        let sent = timeout(2 * HEARD_WITHIN, seat.ends.say.send(frame)).await;
        if sent.is_err() {
            // It does not listen. What it has said is heard, and then that it is gone.
            seat.ends.hear.close();
        }
    }

    async fn run(&mut self, ears: &mut Ears) -> End {
        let front = Arc::clone(&self.front);
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut again = tokio::time::interval(PAUSE);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut seats = front.seats.subscribe();
        loop {
            let awaits = !self.awaited.is_empty();
            let wanted = self.wanted.as_ref().map(|wanted| wanted.until);
            // Who is late is told so first.
            let is_late = wanted.is_some_and(|until| until <= Instant::now());
            let waits = self.waits() && !is_late;
            let step = tokio::select! {
                said = ears.hear() => match said {
                    Heard::Frame(frame) => {
                        heard = Instant::now();
                        self.said(frame).await
                    }
                    Heard::Alive => {
                        heard = Instant::now();
                        Ok(())
                    }
                    Heard::Closed { away } => {
                        if away {
                            self.tell_all(&ToCoordinator::Leave).await;
                        }
                        Err(End::Gone)
                    }
                    Heard::Gone => Err(End::Gone),
                    Heard::Refused(reason) => Err(End::Refused(reason)),
                },
                (partition, frame) = hear(&mut self.seats) => match frame {
                    Some(frame) => self.heard(partition, frame).await,
                    None => self.lost(partition).await,
                },
                _ = seats.changed(), if awaits => self.look_for_holders().await,
                () = front.more.notified(), if waits => self.look().await,
                _ = again.tick(), if waits => self.look().await,
                () = sleep_until(wanted.unwrap_or(heard)), if wanted.is_some() => self.late().await,
                _ = ping.tick() => {
                    let ping = Message::Ping(Vec::new().into());
                    self.writer.send(ping).await.map_err(|_| End::Gone)
                }
                () = sleep_until(heard + SILENCE_MAX) => {
                    let seconds = SILENCE_MAX.as_secs();
                    Err(End::Refused(format!("nothing was heard for {seconds} s")))
                }
                () = front.closed() => Err(End::Stops),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Does the executor want something, and is no seat asked what it has now?
    fn waits(&self) -> bool {
        let asked = self.seats.values().any(|seat| seat.asked == Asked::Now);
        self.wanted.is_some() && !asked && !self.leaving
    }

    async fn tell_all(&mut self, message: &ToCoordinator) {
        let partitions: Vec<u16> = self.seats.keys().copied().collect();
        for partition in partitions {
            self.tell(partition, message).await;
        }
    }

    /// The executor said something.
    async fn said(&mut self, frame: Bytes) -> Result<(), End> {
        let message = decode_frame::<ToCoordinator>(&frame);
        let message = message.map_err(|error| End::Refused(error.to_string()))?;
        match message {
            ToCoordinator::Hello(_) => Err(End::Refused("hello is said once".to_owned())),
            ToCoordinator::Poll { slots, wait_ms } => {
                let wait = Duration::from_millis(wait_ms.min(POLL_WAIT_MS_MAX));
                let until = Instant::now() + wait;
                self.wanted = Some(Wanted { slots, until });
                if slots == 0 {
                    Ok(())
                } else {
                    self.look().await
                }
            }
            ToCoordinator::Heartbeat { leases } => {
                for partition in self.moved() {
                    self.lost(partition).await?;
                }
                let mut parts = self.parts(leases, |lease| *lease);
                let partitions: Vec<u16> = self.seats.keys().copied().collect();
                for partition in partitions {
                    // Also where there are none: it is alive.
                    let leases = parts.remove(&partition).unwrap_or_default();
                    self.tell(partition, &ToCoordinator::Heartbeat { leases })
                        .await;
                }
                parts.retain(|partition, _| !self.awaited.contains_key(partition));
                self.revoke(parts.into_values().flatten().collect()).await
            }
            ToCoordinator::Started { leases } => {
                for (partition, leases) in self.parts(leases, |lease| *lease) {
                    self.tell(partition, &ToCoordinator::Started { leases })
                        .await;
                }
                Ok(())
            }
            ToCoordinator::HandBack { leases } => {
                for (partition, leases) in self.parts(leases, |lease| *lease) {
                    if self.awaited.contains_key(&partition) {
                        for lease in leases {
                            let leases = vec![lease];
                            self.keep(lease, ToCoordinator::HandBack { leases });
                        }
                        continue;
                    }
                    self.let_go(partition, &leases);
                    self.tell(partition, &ToCoordinator::HandBack { leases })
                        .await;
                }
                Ok(())
            }
            ToCoordinator::Commit { items } => {
                let mut unheard = Vec::new();
                for (partition, items) in self.parts(items, |item| item.lease) {
                    if !self.seats.contains_key(&partition) && !self.is_awaited(partition) {
                        unheard.extend(items.iter().map(|item| item.lease));
                    }
                    self.tell(partition, &ToCoordinator::Commit { items }).await;
                }
                self.revoke(unheard).await
            }
            ToCoordinator::Deliver { items, .. } => {
                let mut unheard = Vec::new();
                let leases = items.iter().map(|item| item.lease).collect();
                for (partition, leases) in self.parts(leases, |lease| *lease) {
                    if !self.seats.contains_key(&partition) && !self.is_awaited(partition) {
                        unheard.extend(leases);
                    }
                    // All of it, as one signature covers it; each takes what is its own.
                    self.forward(partition, frame.clone()).await;
                }
                self.revoke(unheard).await
            }
            ToCoordinator::Fault { lease, .. } | ToCoordinator::Refuse { lease, .. } => {
                let partition = self.partition_of(lease);
                if self.awaited.contains_key(&partition) {
                    self.keep(lease, message);
                } else {
                    self.let_go(partition, &[lease]);
                    self.forward(partition, frame).await;
                }
                Ok(())
            }
            ToCoordinator::Leave => {
                self.leaving = true;
                self.wanted = None;
                self.awaited.clear();
                self.tell_all(&ToCoordinator::Leave).await;
                if self.seats.is_empty() {
                    Err(End::Closed)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// What is whose.
    fn parts<T>(&self, items: Vec<T>, lease: impl Fn(&T) -> LeaseId) -> BTreeMap<u16, Vec<T>> {
        let mut parts: BTreeMap<u16, Vec<T>> = BTreeMap::new();
        for item in items {
            let partition = self.partition_of(lease(&item));
            parts.entry(partition).or_default().push(item);
        }
        parts
    }

    fn let_go(&mut self, partition: u16, leases: &[LeaseId]) {
        if let Some(seat) = self.seats.get_mut(&partition) {
            seat.held.retain(|lease| !leases.contains(lease));
        }
        let holding = &mut self.hello.holding;
        holding.retain(|held| !leases.contains(&held.lease));
    }

    /// Leases of a seat that nobody can be told of any more.
    async fn revoke(&mut self, leases: Vec<LeaseId>) -> Result<(), End> {
        if leases.is_empty() {
            return Ok(());
        }
        let reason = "these leases have ended".to_owned();
        self.say(&ToExecutor::Revoke { leases, reason }).await
    }

    /// A seat said something.
    async fn heard(&mut self, partition: u16, frame: Bytes) -> Result<(), End> {
        let Ok(message) = decode_frame::<ToExecutor>(&frame) else {
            return self.lost(partition).await;
        };
        match message {
            // It was welcomed.
            ToExecutor::Challenge { .. } | ToExecutor::Welcome { .. } => Ok(()),
            ToExecutor::Assign { leases } => {
                let leases: Vec<LeaseId> = leases.iter().map(|lease| lease.id).collect();
                self.assigned(partition, leases, frame).await
            }
            ToExecutor::Revoke { leases, .. } | ToExecutor::Accepted { leases } => {
                self.let_go(partition, &leases);
                self.pass(frame).await
            }
            ToExecutor::Rejected { lease, .. } => {
                self.let_go(partition, lease.as_slice());
                self.pass(frame).await
            }
            ToExecutor::Reveal { .. } | ToExecutor::Excluded { .. } => self.pass(frame).await,
            ToExecutor::Bye { reason } if reason == STOPS => self.lost(partition).await,
            ToExecutor::Bye { .. } => {
                self.pass(frame).await?;
                Err(End::Closed)
            }
        }
    }

    /// Seats that are somewhere else by now: of a coordinator whose machine is gone nobody says so, and its connection lasts.
    fn moved(&self) -> Vec<u16> {
        let seats = self.front.seats.borrow();
        let has_moved = |(partition, attached): &(&u16, &Attached)| {
            let before = attached.address.as_ref();
            before.is_some_and(|before| match &seats[usize::from(**partition)] {
                Seat::Here(_) => true,
                Seat::There { address, .. } => address != before,
                // Its last words may be on their way.
                Seat::Nobody => false,
            })
        };
        let moved = self.seats.iter().filter(has_moved);
        moved.map(|(partition, _)| *partition).collect()
    }

    /// A seat is gone: another coordinator goes on with it, or it is given back.
    async fn lost(&mut self, partition: u16) -> Result<(), End> {
        let Some(seat) = self.seats.remove(&partition) else {
            return Ok(());
        };
        if self.leaving {
            return if self.seats.is_empty() {
                Err(End::Closed)
            } else {
                Ok(())
            };
        }
        if !seat.held.is_empty() {
            // It comes back with them, and goes on with the next holder.
            return Err(End::Stops);
        }
        self.failed.insert(partition, Instant::now());
        self.home = self.home.filter(|home| *home != partition);
        self.look().await
    }
}

/// The next frame of any seat, or that a seat is gone.
async fn hear(seats: &mut BTreeMap<u16, Attached>) -> (u16, Option<Bytes>) {
    poll_fn(|context| {
        for (partition, seat) in seats.iter_mut() {
            if let Polled::Ready(frame) = seat.ends.hear.poll_recv(context) {
                return Polled::Ready((*partition, frame));
            }
        }
        Polled::Pending
    })
    .await
}
