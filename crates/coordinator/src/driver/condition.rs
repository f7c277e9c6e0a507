//! What the time is, and what is wrong.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use asterism_protocol::Timestamp;
use tracing::error;

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
}

/// What is wrong with the coordinator itself, once something is: it stops accepting and keeps answering.
#[derive(Default)]
pub(crate) struct Trouble(OnceLock<String>);

impl Trouble {
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    pub(super) fn set(&self, text: String) {
        error!(trouble = text, "stopped accepting work");
        // The first trouble is the cause of the others.
        let _ = self.0.set(text);
    }
}
