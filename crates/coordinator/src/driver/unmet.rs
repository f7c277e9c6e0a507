//! What waits at one scheduler for executors that are elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{limits::TURNED_AT_ONCE, store::Tenure};

/// How much is ready at one scheduler that nobody who polls there may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) count: u64,
    /// How often it became more: whoever asked for it in vain asks again when this differs.
    pub(crate) news: u64,
}

impl Waiting {
    /// It is so much now; by how much that is more.
    pub(crate) fn becomes(&mut self, count: u64) -> u64 {
        let more = count.saturating_sub(self.count);
        self.count = count;
        self.news += u64::from(more > 0);
        more
    }
}

/// What waits, as its scheduler said last.
#[derive(Default)]
pub(crate) struct Unmet {
    told: Mutex<(Option<Tenure>, Waiting)>,
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

    fn told(&self) -> MutexGuard<'_, (Option<Tenure>, Waiting)> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much waits now.
    pub(super) fn tell(&self, tenure: Tenure, count: usize) {
        let mut told = self.told();
        told.0 = Some(tenure);
        let more = told.1.becomes(count as u64);
        drop(told);
        self.wake(more);
    }

    /// Wakes as many executors that wait, if there are as many.
    fn wake(&self, count: u64) {
        for _ in 0..count.min(TURNED_AT_ONCE) {
            self.more.notify_one();
        }
    }

    /// What waits.
    pub(crate) fn waiting(&self) -> Waiting {
        self.told().1
    }

    /// How much waits, for those who hold the partition as long as this one does.
    pub(crate) fn of_tenure(&self) -> Option<(Tenure, u64)> {
        let (tenure, waiting) = *self.told();
        Some((tenure?, waiting.count))
    }
}
