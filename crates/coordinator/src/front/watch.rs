//! A watcher's one connection, behind which each seat is watched.
//!
//! It sees one snapshot of all seats, then what changes at any of them. When a seat has a new snapshot to show, because too much
//! changed, or is somewhere else, all is shown again.

use std::{
    collections::BTreeMap, future::poll_fn, sync::Arc, task::Poll as Polled, time::Duration,
};

use asterism_protocol::{
    PublicKey, encode,
    limits::FRAME_BYTES_MAX,
    message::{Change, ToWatched, ToWatcher, decode_frame},
    view::{ExecutorView, Overview},
};
use axum::{body::Bytes, extract::ws::Message};
use tokio::{
    sync::broadcast,
    time::{Instant, MissedTickBehavior, timeout},
};

use super::{
    Front, PAUSE, Seat,
    line::Lines,
    lists::{both, newest},
    remote::{self, Ends, Who},
};
use crate::{
    http,
    hub::Published,
    limits::{PING_EVERY, SEND_MAX, SILENCE_MAX, WELCOME_MAX},
    peer::Peer,
    socket::{Ears, Heard, STOPS},
    writer::{GOING_AWAY, POLICY, Writer},
};

/// Longest pause between two attempts to watch a seat at a coordinator that does not answer: each shows everything again.
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// Why a connection ends.
enum End {
    Gone,
    Stops,
    Refused(String),
}

/// What is to be done after something was heard.
enum Step {
    GoOn,
    /// Everything is to be shown again.
    Again,
}

/// A seat that could not be watched.
struct Missed {
    /// The coordinator where it was.
    address: Option<String>,
    pause: Duration,
    again: Instant,
}

struct Watch {
    front: Arc<Front>,
    peer: Peer,
    lines: Lines,
    writer: Writer,
    /// Each seat that is watched, and what executors were there.
    seats: BTreeMap<u16, (Ends, BTreeMap<PublicKey, ExecutorView>)>,
    /// Those that are held and not watched.
    missed: BTreeMap<u16, Missed>,
    /// What the watcher looks at.
    sight: Option<ToWatched>,
}

/// Shows a watcher what happens at all seats until its connection ends.
pub(crate) async fn watch(front: Arc<Front>, mut ears: Ears, writer: Writer, peer: Peer) {
    let mut watch = Watch {
        front,
        peer,
        lines: Lines::new(peer, Who::Watcher),
        writer,
        seats: BTreeMap::new(),
        missed: BTreeMap::new(),
        sight: None,
    };
    let end = watch.show(&mut ears).await;
    let Watch { front, writer, .. } = watch;
    match end {
        End::Gone => {}
        End::Stops => writer.close(GOING_AWAY, STOPS).await,
        End::Refused(reason) => {
            front.general.metrics.refused_connections.inc();
            writer.close(POLICY, &reason).await;
        }
    }
}

impl Watch {
    async fn show(&mut self, ears: &mut Ears) -> End {
        let front = Arc::clone(&self.front);
        let mut added = front.general.hub.subscribe();
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut look = tokio::time::interval(PAUSE);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, relayed) = (Instant::now(), ears.are_relayed());
        if let Err(end) = self.begin().await {
            return end;
        }
        loop {
            let step = tokio::select! {
                said = ears.hear() => {
                    heard = Instant::now();
                    match said {
                        Heard::Frame(frame) => match decode_frame(&frame) {
                            Ok(watched) => {
                                self.sight = Some(watched);
                                self.look_at().await;
                                Ok(Step::GoOn)
                            }
                            Err(error) => Err(End::Refused(error.to_string())),
                        },
                        Heard::Alive => Ok(Step::GoOn),
                        Heard::Closed { .. } | Heard::Gone => Err(End::Gone),
                        Heard::Refused(reason) => Err(End::Refused(reason)),
                    }
                }
                (partition, frame) = hear(&mut self.seats) => match frame {
                    Some(frame) => self.heard(partition, frame).await,
                    None => Ok(Step::Again),
                },
                published = added.recv() => self.added(published).await,
                // A seat that was nowhere is somewhere again.
                _ = look.tick() => Ok(if self.misses_some() { Step::Again } else { Step::GoOn }),
                _ = ping.tick() => {
                    let ping = Message::Ping(Vec::new().into());
                    self.writer.send(ping).await.map(|()| Step::GoOn).map_err(|_| End::Gone)
                }
                () = tokio::time::sleep_until(heard + SILENCE_MAX), if !relayed => Err(End::Gone),
                () = front.closed() => Err(End::Stops),
            };
            let begun = match step {
                Ok(Step::GoOn) => Ok(()),
                Ok(Step::Again) => self.begin().await,
                Err(end) => Err(end),
            };
            if let Err(end) = begun {
                return end;
            }
        }
    }

    /// Is there a seat that could be watched and is not? One that was tried in vain is tried again after a pause, or when it is
    /// somewhere else.
    fn misses_some(&self) -> bool {
        let now = Instant::now();
        let seats = self.front.seats.borrow();
        let could = |(partition, seat): (u16, &Seat)| {
            let waits = self
                .missed
                .get(&partition)
                .is_some_and(|missed| now < missed.again && missed.address == address(seat));
            !matches!(seat, Seat::Nobody) && !waits && !self.seats.contains_key(&partition)
        };
        (0..).zip(&*seats).any(could)
    }

    /// A seat could not be watched.
    fn misses(&mut self, partition: u16, seat: &Seat) {
        let address = address(seat);
        let before = self.missed.get(&partition);
        let pause = match before.filter(|missed| missed.address == address) {
            Some(missed) => PAUSE_MAX.min(2 * missed.pause),
            None => PAUSE,
        };
        let again = Instant::now() + pause;
        let missed = Missed {
            address,
            pause,
            again,
        };
        self.missed.insert(partition, missed);
    }

    /// Turns to all seats that are somewhere, and shows what is there.
    async fn begin(&mut self) -> Result<(), End> {
        self.seats.clear();
        // What could not be read is told when it can be.
        drop(self.front.general.blocking(http::refresh).await);
        let mut whole: Option<Overview> = None;
        let mut missing = Vec::new();
        for partition in 0..self.front.partitions {
            let seat = self.front.seat_now(partition);
            let why = match timeout(WELCOME_MAX, self.turn_to(partition, &seat)).await {
                Ok(Ok(overview)) => {
                    self.missed.remove(&partition);
                    whole = Some(together(whole, overview));
                    continue;
                }
                Ok(Err(why)) => format!("partition {partition}: {why}"),
                Err(_) => {
                    if let Some(address) = address(&seat) {
                        self.lines.forget(&address);
                    }
                    format!("partition {partition} does not answer in time")
                }
            };
            missing.push(why);
            self.misses(partition, &seat);
        }
        let mut overview = whole.ok_or(End::Stops)?;
        overview.components = self.front.general.library.shelf().views();
        overview.runs = newest(overview.runs);
        if !missing.is_empty() {
            overview.trouble = missing.join("; ");
        }
        let mut frame = encode(&ToWatcher::Snapshot(overview.clone()));
        while frame.len() > FRAME_BYTES_MAX && !overview.runs.is_empty() {
            // Older runs are in /workflows.
            overview.runs.truncate(overview.runs.len() / 2);
            frame = encode(&ToWatcher::Snapshot(overview.clone()));
        }
        self.writer.binary(frame).await.map_err(|_| End::Gone)?;
        self.look_at().await;
        Ok(())
    }

    /// Watches a seat; what is there.
    async fn turn_to(&mut self, partition: u16, seat: &Seat) -> Result<Overview, String> {
        let mut ends = match seat {
            Seat::Here(local) => remote::here(local, self.peer, Who::Watcher),
            Seat::There { address, .. } => self.lines.talk(&self.front, address, partition).await?,
            Seat::Nobody => return Err("no coordinator holds it now".to_owned()),
        };
        loop {
            let frame = ends.hear.recv().await.ok_or("it does not answer")?;
            match decode_frame::<ToWatcher>(&frame) {
                Ok(ToWatcher::Snapshot(overview)) => {
                    let executors = overview.executors.iter();
                    let executors = executors.map(|view| (view.key, view.clone())).collect();
                    self.seats.insert(partition, (ends, executors));
                    return Ok(overview);
                }
                Ok(ToWatcher::Run(_) | ToWatcher::Changes(_)) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Tells each seat what of it is looked at.
    async fn look_at(&mut self) {
        let Some(ToWatched::Watch { run, from }) = self.sight.clone() else {
            return;
        };
        let whose = run.map(|run| self.front.partition_of_run(run));
        for (partition, (ends, _)) in &mut self.seats {
            let run = run.filter(|_| whose == Some(*partition));
            let watched = encode(&ToWatched::Watch { run, from });
            let sent = timeout(SEND_MAX, ends.say.send(watched.into())).await;
            // One that is gone is found to be so where it is listened to, and so is one that does not listen.
            if sent.is_err() {
                ends.hear.close();
            }
        }
    }

    async fn heard(&mut self, partition: u16, frame: Bytes) -> Result<Step, End> {
        let changes = match decode_frame::<ToWatcher>(&frame) {
            Ok(ToWatcher::Run(_)) => {
                let sent = self.writer.send(Message::Binary(frame)).await;
                return sent.map(|()| Step::GoOn).map_err(|_| End::Gone);
            }
            Ok(ToWatcher::Changes(changes)) => changes,
            Ok(ToWatcher::Snapshot(_)) | Err(_) => return Ok(Step::Again),
        };
        let changes = changes.into_iter().map(|change| match change {
            Change::Executor(view) => self.executor(partition, view),
            Change::ExecutorGone(key) => self.executor_gone(partition, key),
            Change::Run(_) | Change::Task { .. } | Change::Component(_) | Change::Paused(_) => {
                change
            }
        });
        let changes = changes.collect();
        self.tell(changes).await
    }

    async fn tell(&mut self, changes: Vec<Change>) -> Result<Step, End> {
        let frame = encode(&ToWatcher::Changes(changes));
        if frame.len() > FRAME_BYTES_MAX {
            return Ok(Step::Again);
        }
        let sent = self.writer.binary(frame).await;
        sent.map(|()| Step::GoOn).map_err(|_| End::Gone)
    }

    /// Components that were added here, or that another coordinator has told of.
    async fn added(
        &mut self,
        published: Result<Published, broadcast::error::RecvError>,
    ) -> Result<Step, End> {
        match published {
            Ok((_, changes)) => self.tell(changes.to_vec()).await,
            Err(broadcast::error::RecvError::Lagged(_)) => Ok(Step::Again),
            Err(broadcast::error::RecvError::Closed) => Err(End::Stops),
        }
    }

    fn executor(&mut self, partition: u16, view: ExecutorView) -> Change {
        let key = view.key;
        if let Some((_, executors)) = self.seats.get_mut(&partition) {
            executors.insert(key, view.clone());
        }
        Change::Executor(self.everywhere(key).unwrap_or(view))
    }

    fn executor_gone(&mut self, partition: u16, key: PublicKey) -> Change {
        if let Some((_, executors)) = self.seats.get_mut(&partition) {
            executors.remove(&key);
        }
        let left = self.everywhere(key);
        left.map_or(Change::ExecutorGone(key), Change::Executor)
    }

    /// An executor, as all seats know it.
    fn everywhere(&self, key: PublicKey) -> Option<ExecutorView> {
        let views = self.seats.values().filter_map(|(_, known)| known.get(&key));
        views.cloned().reduce(both)
    }
}

/// The other coordinator where a seat is.
fn address(seat: &Seat) -> Option<String> {
    match seat {
        Seat::There { address, .. } => Some(address.clone()),
        Seat::Here(_) | Seat::Nobody => None,
    }
}

/// What is at several seats.
fn together(one: Option<Overview>, mut other: Overview) -> Overview {
    let Some(mut one) = one else {
        return other;
    };
    one.runs.append(&mut other.runs);
    // Many of them have turned to many seats.
    let keys = one.executors.iter().map(|view| view.key);
    let places: BTreeMap<PublicKey, usize> = keys.zip(0..).collect();
    for view in other.executors {
        match places.get(&view.key) {
            Some(place) => {
                let known = &mut one.executors[*place];
                *known = both(known.clone(), view);
            }
            None => one.executors.push(view),
        }
    }
    if one.trouble.is_empty() {
        one.trouble = other.trouble;
    }
    one.paused |= other.paused;
    one
}

/// The next frame of any seat, or that a seat is gone.
async fn hear(
    seats: &mut BTreeMap<u16, (Ends, BTreeMap<PublicKey, ExecutorView>)>,
) -> (u16, Option<Bytes>) {
    poll_fn(|context| {
        for (partition, (ends, _)) in seats.iter_mut() {
            if let Polled::Ready(frame) = ends.hear.poll_recv(context) {
                return Polled::Ready((*partition, frame));
            }
        }
        Polled::Pending
    })
    .await
}
