//! What waits at one scheduler for executors that are elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{limits::TURNED_AT_ONCE, store::Tenure};

/// How much is ready that nobody who polls there may have, as its scheduler said last.
#[derive(Default)]
pub(crate) struct Unmet {
    told: Mutex<(Option<Tenure>, u64)>,
    /// Wakes executors that wait at other schedulers.
    more: Arc<Notify>,
}

impl Unmet {
    /// One of several, which wake the same executors.
    pub(crate) fn new(more: Arc<Notify>) -> Self {
        Self {
            told: Mutex::default(),
            more,
        }
    }

    fn told(&self) -> MutexGuard<'_, (Option<Tenure>, u64)> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much waits now.
    pub(super) fn tell(&self, tenure: Tenure, count: usize) {
        let count = count as u64;
        let (_, before) = std::mem::replace(&mut *self.told(), (Some(tenure), count));
        if count > before {
            self.wake(count - before);
        }
    }

    /// Wakes as many executors that wait, if there are as many.
    pub(crate) fn wake(&self, count: u64) {
        for _ in 0..count.min(TURNED_AT_ONCE) {
            self.more.notify_one();
        }
    }

    /// How much waits.
    pub(crate) fn count(&self) -> u64 {
        self.told().1
    }

    /// How much waits, for those who hold the partition as long as this one does.
    pub(crate) fn of_tenure(&self) -> Option<(Tenure, u64)> {
        let (tenure, count) = *self.told();
        Some((tenure?, count))
    }
}
