//! What the time is, and what is wrong.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use asterism_protocol::Timestamp;
use tokio::sync::watch;
use tracing::{error, info, warn};

/// Milliseconds since the epoch that never run backwards within one process.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    at_start: Timestamp,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let at_start = Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
        Self {
            started: Instant::now(),
            at_start,
        }
    }

    pub(crate) fn now(self) -> Timestamp {
        self.at_start
            .after_ms(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The same clock, not behind `known`: where the system's clock was set back, time goes on from what the journal
    /// says, and no deadline has to wait until the system's clock is there again.
    pub(super) fn not_behind(self, known: Timestamp) -> Self {
        let behind_ms = known.since_ms(self.now());
        if behind_ms == 0 {
            return self;
        }
        warn!(
            behind_ms,
            "the system's clock is behind the journal; time goes on from the journal's"
        );
        Self {
            at_start: self.at_start.after_ms(behind_ms),
            ..self
        }
    }
}

/// What is wrong with the coordinator itself, while something is: it stops accepting and keeps answering.
pub(crate) struct Trouble {
    text: watch::Sender<Option<String>>,
    /// Does somebody else hold the journal?
    overtaken: watch::Sender<bool>,
}

impl Default for Trouble {
    fn default() -> Self {
        Self {
            text: watch::Sender::new(None),
            overtaken: watch::Sender::new(false),
        }
    }
}

impl Trouble {
    /// What is wrong; `None` while nothing is.
    pub(crate) fn text(&self) -> Option<String> {
        self.text.borrow().clone()
    }

    pub(super) fn is_there(&self) -> bool {
        self.text.borrow().is_some()
    }

    /// Tells of changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.text.subscribe()
    }

    /// Ends when nothing is wrong.
    pub(crate) async fn over(&self) {
        // An error would say that its sender is gone: that is us.
        let _ = self.watch().wait_for(Option::is_none).await;
    }

    pub(super) fn set(&self, text: String) {
        self.text.send_if_modified(|now| {
            if now.is_none() {
                error!(trouble = text, "stopped accepting work");
            }
            let changed = now.as_ref() != Some(&text);
            *now = Some(text);
            changed
        });
    }

    /// Somebody else holds the journal, and goes on with it.
    pub(super) fn set_overtaken(&self) {
        self.overtaken.send_replace(true);
    }

    /// Ends when somebody else holds the journal.
    pub(crate) async fn overtaken(&self) {
        // An error would say that its sender is gone: that is us.
        let _ = self.overtaken.subscribe().wait_for(|is| *is).await;
    }

    pub(super) fn clear(&self) {
        if self.text.send_replace(None).is_some() {
            info!("accepting work again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_back_goes_on_from_the_journal() {
        let clock = Clock::new();
        let known = clock.now().after_ms(3_600_000);
        assert!(clock.not_behind(known).now() >= known);
        let earlier = Timestamp(clock.now().0 - 1_000);
        assert!(clock.not_behind(earlier).now().since_ms(clock.now()) < 1_000);
    }
}
