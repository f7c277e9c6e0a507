//! Bringing a scheduler back from the journal.
//!
//! Events are decoded on several threads while earlier ones are applied, so that no log is ever whole in memory.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Instant,
};

use asterism_protocol::{Timestamp, decode};
use asterism_scheduler::{Config, Event, Scheduler};
use tracing::info;

use super::{EVENT_BYTES_MAX, StartError};
use crate::{
    limits::READ_EVENTS,
    store::{Journal, JournalError, Partition, Sequence},
};

/// Chunks of events between two threads.
const CHUNKS_AHEAD: usize = 2;

/// Threads that decode, at most: applying what they decoded is the work of one.
const DECODERS_MAX: usize = 4;

/// A scheduler as the journal remembers it.
pub(super) struct Recovered {
    pub(super) scheduler: Scheduler,
    /// How many events there were.
    pub(super) count: u64,
    /// Behind the last event.
    pub(super) end: Sequence,
    /// The latest time that an event tells.
    pub(super) latest: Timestamp,
}

/// Brings a scheduler back.
pub(super) fn recover(
    journal: &dyn Journal,
    partition: Partition,
    config: &Config,
    seed: u64,
    now: Timestamp,
) -> Result<Recovered, StartError> {
    let begun = Instant::now();
    let mut scheduler = Scheduler::new(config.clone(), seed);
    let (mut count, mut latest, mut broken) = (0_u64, Timestamp::default(), None);
    let end = each_event(journal, partition, |events| {
        let events = events.map_while(|event| match event {
            Ok((_, event)) => {
                count += 1;
                latest = latest.max(time_of(&event));
                Some(event)
            }
            Err(error) => {
                broken = Some(error);
                None
            }
        });
        scheduler.recover(events, now);
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    let ms = begun.elapsed().as_millis() as u64;
    info!(events = count, ms, "replayed the journal");
    Ok(Recovered {
        scheduler,
        count,
        end,
        latest,
    })
}

fn time_of(event: &Event) -> Timestamp {
    match event {
        Event::Submitted { at, .. }
        | Event::Computed { at, .. }
        | Event::Voted { at, .. }
        | Event::Parted { at, .. }
        | Event::Caught { at, .. }
        | Event::Banned { at, .. }
        | Event::Lifted { at, .. }
        | Event::Repeated { at, .. }
        | Event::GaveUp { at, .. }
        | Event::Records { at, .. }
        | Event::Cancelled { at, .. }
        | Event::TaskCancelled { at, .. } => *at,
        Event::Paused { .. } | Event::LeasesReserved { .. } => Timestamp::default(),
    }
}

/// Some events, or why there are none.
type Chunk<T> = Result<Vec<(Sequence, T)>, StartError>;

type Raw = Chunk<Vec<u8>>;
type Decoded = Chunk<Event>;

/// Hands all events of a partition to `take`, in order; after an error there are no more. Returns the number behind the
/// last one.
pub(super) fn each_event(
    journal: &dyn Journal,
    partition: Partition,
    take: impl FnOnce(&mut dyn Iterator<Item = Result<(Sequence, Event), StartError>>),
) -> Result<Sequence, StartError> {
    let decoders = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(DECODERS_MAX);
    let end = journal.end(partition)?;
    thread::scope(|scope| {
        let (mut to_decode, mut decoded) = (Vec::new(), Vec::new());
        for _ in 0..decoders {
            let (raw_sender, raw) = sync_channel::<Raw>(CHUNKS_AHEAD);
            let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
            scope.spawn(move || decode_chunks(&raw, &sender));
            to_decode.push(raw_sender);
            decoded.push(receiver);
        }
        scope.spawn(move || read_chunks(journal, partition, end, &to_decode));
        // Chunks were dealt out in turn, so they come back in order.
        let mut chunks = decoded.iter().cycle();
        let mut chunk = Vec::new().into_iter();
        let mut ended = false;
        let mut events = std::iter::from_fn(|| {
            loop {
                if let Some(event) = chunk.next() {
                    return Some(Ok(event));
                }
                if ended {
                    return None;
                }
                match chunks.next()?.recv() {
                    Ok(Ok(next)) => chunk = Vec::into_iter(next),
                    Ok(Err(error)) => {
                        ended = true;
                        return Some(Err(error));
                    }
                    // The reader is at the end, and whoever had no further chunk says so first.
                    Err(_) => ended = true,
                }
            }
        });
        take(&mut events);
    });
    Ok(end)
}

/// Reads to the end that was found before: what is appended meanwhile is not of this replay.
fn read_chunks(
    journal: &dyn Journal,
    partition: Partition,
    end: Sequence,
    decoders: &[SyncSender<Raw>],
) {
    let mut next = Sequence(0);
    for decoder in decoders.iter().cycle() {
        if next >= end {
            return;
        }
        let read = journal
            .read(partition, next, READ_EVENTS)
            .map_err(StartError::from)
            .map(|mut events| {
                events.retain(|(number, _)| *number < end);
                events
            });
        let failed = read.is_err();
        if let Ok(events) = &read {
            match events.last() {
                Some((last, _)) => next = Sequence(last.0 + 1),
                // Everything behind was dropped.
                None => return,
            }
        }
        // Nobody listens after an error.
        if decoder.send(read).is_err() || failed {
            return;
        }
    }
}

fn decode_chunks(raw: &Receiver<Raw>, decoded: &SyncSender<Decoded>) {
    while let Ok(chunk) = raw.recv() {
        let chunk = chunk.and_then(|events| {
            let events = events.into_iter();
            let events = events.map(|(number, bytes)| Ok((number, event_of(number, &bytes)?)));
            events.collect()
        });
        if decoded.send(chunk).is_err() {
            return;
        }
    }
}

/// An event of the journal.
pub(crate) fn event_of(number: Sequence, bytes: &[u8]) -> Result<Event, JournalError> {
    decode("event", bytes, EVENT_BYTES_MAX).map_err(|error| JournalError::Damaged {
        place: format!("event {}", number.0),
        reason: error.to_string(),
        last: Some(number.0),
    })
}
