//! What every request and every socket can reach.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use asterism_scheduler::ConnectionId;
use tokio::sync::{Semaphore, watch};

use crate::{
    authority::Authority,
    driver::{Clock, Driver, Trouble},
    error::ApiError,
    http::Keys,
    hub::Hub,
    library::Library,
    limits::{
        BODIES_MAX, DOCUMENTS_UNITS, EXECUTORS_MAX, PENDING_RUNS_MAX, WATCHERS_MAX, WHOLES_MAX,
    },
    metrics::Metrics,
    origin::Origins,
    panel::Panel,
    peer::Veil,
    quota::Counts,
    store::{Blobs, Journal},
};

/// The coordinator's parts.
pub(crate) struct App {
    pub(crate) driver: Driver,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) library: Library,
    pub(crate) panel: Panel,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) origins: Origins,
    pub(crate) clock: Clock,
    pub(crate) authority: Authority,
    /// Does every task without a nonce get one of its own?
    pub(crate) fresh: bool,
    pub(crate) veil: Veil,
    /// Runs by idempotency keys.
    pub(crate) keys: Keys,
    /// Places of everything that is counted.
    pub(crate) places: Places,
    /// What networks take.
    pub(crate) counts: Arc<Counts>,
    /// Turns true when the coordinator stops.
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) next_connection: AtomicU64,
}

/// How many of each may be at the same time.
pub(crate) struct Places {
    pub(crate) bodies: Semaphore,
    pub(crate) wholes: Arc<Semaphore>,
    pub(crate) documents: Arc<Semaphore>,
    pub(crate) pending_runs: Semaphore,
    pub(crate) executors: Arc<Semaphore>,
    pub(crate) watchers: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            bodies: Semaphore::new(BODIES_MAX),
            wholes: Arc::new(Semaphore::new(WHOLES_MAX)),
            documents: Arc::new(Semaphore::new(DOCUMENTS_UNITS)),
            pending_runs: Semaphore::new(PENDING_RUNS_MAX),
            executors: Arc::new(Semaphore::new(EXECUTORS_MAX)),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        }
    }
}

impl App {
    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// Ends when the coordinator stops.
    pub(crate) async fn closed(&self) {
        // An error says that whoever could stop it is gone: stopped as well.
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }

    /// Runs what blocks (disk, hashing, large documents) off the threads that serve sockets.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&app)).await?
    }
}
