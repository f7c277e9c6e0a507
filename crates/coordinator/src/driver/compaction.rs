//! Dropping what of the journal is no longer needed, beside the work of the scheduler.
//!
//! What is left is the snapshot: see [`asterism_scheduler::Story`]. It is dropped in one transaction, so that a crash
//! leaves all of it or nothing; and only after a scheduler brought back from the rest was seen to equal one that was brought
//! back from all.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use asterism_scheduler::{Config, Story};
use tracing::{error, info};

use super::{Parts, StartError, recovery::each_event};
use crate::store::{Journal, Sequence, Tenure};

/// When to compact, and whether that goes on.
pub(super) struct Compaction {
    /// Events that were there, or came since it was last done.
    events: u64,
    /// Those that were left then.
    kept: u64,
    /// Where the log was when that was counted.
    end: Sequence,
    /// The event before which may be dropped, once it is durable: it sums up what the dropped ones say of executors.
    summary: Option<Sequence>,
    under_way: Option<thread::JoinHandle<Option<u64>>>,
    /// Nobody waits for what is under way any more.
    stop: Arc<AtomicBool>,
}

/// What is to be done for a compaction now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// The scheduler is to sum up; where that stands is told to [`Compaction::summed_up`].
    Summary,
}

impl Compaction {
    /// A log with so many events, which is at `end`.
    pub(super) fn new(events: u64, end: Sequence) -> Self {
        Self {
            events,
            kept: 0,
            end,
            summary: None,
            under_way: None,
            stop: Arc::default(),
        }
    }

    /// The scheduler was brought back: what was not durable is gone.
    pub(super) fn forget(&mut self) {
        self.summary = None;
    }

    /// The event that sums up is this one.
    pub(super) fn summed_up(&mut self, at: Sequence) {
        self.summary = Some(at);
    }

    /// The log is durable up to `end`: looks whether it is time.
    pub(super) fn durable(&mut self, parts: &Parts, tenure: Tenure, end: Sequence) -> Due {
        self.events += end.0.saturating_sub(self.end.0);
        self.end = self.end.max(end);
        if let Some(thread) = self.under_way.take_if(|thread| thread.is_finished()) {
            match thread.join() {
                Ok(kept) => self.kept = kept.unwrap_or(self.kept),
                Err(_) => error!("the thread that compacts had panicked"),
            }
        }
        if self.under_way.is_some() {
            return Due::Nothing;
        }
        match self.summary {
            Some(summary) if summary < end => {
                self.summary = None;
                self.events = 0;
                self.begin(parts, tenure, summary);
                Due::Nothing
            }
            Some(_) => Due::Nothing,
            // As much again as was left, at least: otherwise most of the work would be for nothing.
            None if self.events >= parts.compact_after.max(self.kept) => Due::Summary,
            None => Due::Nothing,
        }
    }

    fn begin(&mut self, parts: &Parts, tenure: Tenure, before: Sequence) {
        let (journal, config) = (Arc::clone(&parts.journal), parts.config.clone());
        let stop = Arc::clone(&self.stop);
        let thread = thread::Builder::new().name("compaction".to_owned());
        let spawned = thread.spawn(move || {
            compact(&*journal, &config, tenure, before, &stop).unwrap_or_else(|error| {
                // Nothing is lost by it but room on the disk.
                error!(%error, "the journal could not be compacted");
                None
            })
        });
        match spawned {
            Ok(thread) => self.under_way = Some(thread),
            Err(error) => error!(%error, "failed to start a thread that compacts"),
        }
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The journal is not closed under it. An error was a panic, which was said.
        let _ = self.under_way.take().map(thread::JoinHandle::join);
    }
}

/// Drops what is not needed before an event; tells how many events are left of those that were looked at, if that is
/// known.
pub(super) fn compact(
    journal: &dyn Journal,
    config: &Config,
    tenure: Tenure,
    before: Sequence,
    stop: &AtomicBool,
) -> Result<Option<u64>, StartError> {
    let begun = Instant::now();
    let mut story = Story::new(config.clone());
    let mut broken = Ok(());
    let end = each_event(journal, tenure.partition, |events| {
        for event in events.take_while(|_| !stop.load(Ordering::Relaxed)) {
            match event {
                Ok((number, event)) => story.take(number.0, event),
                Err(error) => {
                    broken = Err(error);
                    return;
                }
            }
        }
    })?;
    broken?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let count = story.count();
    let needed = story.needed().into_iter().map(Sequence);
    let keep: BTreeSet<Sequence> = needed.filter(|number| *number < before).collect();
    let kept = keep.len() as u64 + (end.0 - before.0);
    if kept + kept / 4 > count {
        return Ok(Some(kept));
    }
    let (mut same, mut broken) = (false, Ok(()));
    each_event(journal, tenure.partition, |events| {
        let events = events.take_while(|_| !stop.load(Ordering::Relaxed));
        let events = events.map_while(|event| match event {
            Ok((number, event)) => (number < end).then_some((number, event)),
            Err(error) => {
                broken = Err(error);
                None
            }
        });
        let left = events.filter(|(number, _)| *number >= before || keep.contains(number));
        same = story.is_told_by(left.map(|(_, event)| event));
    })?;
    broken?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    if !same {
        error!("what would be left of the journal is not the whole state; nothing is dropped");
        return Ok(None);
    }
    journal.compact(tenure, before, &keep)?;
    let ms = begun.elapsed().as_millis() as u64;
    info!(events = count, kept, ms, "compacted the journal");
    Ok(Some(kept))
}
