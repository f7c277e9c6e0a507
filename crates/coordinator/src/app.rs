//! What every request and every socket can reach.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use asterism_protocol::view::ExecutorView;
use asterism_scheduler::ConnectionId;
use tokio::sync::{Semaphore, watch};

use crate::{
    authority::Authority,
    driver::{Clock, Driver, Trouble},
    error::ApiError,
    files::connections_max,
    front::Front,
    http::Keys,
    hub::Hub,
    library::Library,
    limits::{
        BODIES_MAX, DOCUMENTS_UNITS, EXECUTORS_MAX, LARGE_ANSWERS_MAX, LARGE_WORKFLOWS_MAX,
        PENDING_RUNS_MAX, UPLOADS_MAX, WATCHERS_MAX, WHOLES_MAX,
    },
    metrics::Metrics,
    origin::Origins,
    panel::Panel,
    peer::Veil,
    places::Places,
    quota::Counts,
    store::{Blobs, Journal},
};

/// The coordinator's parts, as one partition's requests reach them; or, where there are several, as those do that are about none.
pub(crate) struct App {
    pub(crate) driver: Driver,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) library: Arc<Library>,
    pub(crate) panel: Arc<Panel>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) origins: Arc<Origins>,
    pub(crate) clock: Clock,
    pub(crate) authority: Arc<Authority>,
    /// Does every task without a nonce get one of its own?
    pub(crate) fresh: bool,
    pub(crate) veil: Arc<Veil>,
    /// Runs by idempotency keys.
    pub(crate) keys: Arc<Keys>,
    pub(crate) room: Arc<Room>,
    /// What networks take.
    pub(crate) counts: Arc<Counts>,
    /// Turns true when the coordinator stops.
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) next_connection: AtomicU64,
    /// Who knows where each partition is; nobody where this is of one partition.
    pub(crate) front: Option<Weak<Front>>,
    /// The same, where this is of one of several partitions.
    pub(crate) whole: Option<Weak<Front>>,
}

/// What each partition has for itself.
pub(crate) struct Own {
    pub(crate) driver: Driver,
    pub(crate) hub: Arc<Hub>,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) clock: Clock,
    pub(crate) closing: watch::Receiver<bool>,
}

/// How much of each there may be at the same time.
pub(crate) struct Room {
    pub(crate) connections: Arc<Places>,
    pub(crate) bodies: Arc<Places>,
    pub(crate) large_workflows: Arc<Places>,
    pub(crate) uploads: Arc<Places>,
    pub(crate) pending_runs: Arc<Places>,
    pub(crate) large_answers: Arc<Places>,
    pub(crate) executors: Arc<Places>,
    pub(crate) watchers: Arc<Places>,
    /// Whole runs; who finds none waits for a moment.
    pub(crate) wholes: Arc<Semaphore>,
    /// What documents weigh that are read; as above.
    pub(crate) documents: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            connections: Places::new("connections", connections_max()),
            bodies: Places::new("large bodies", BODIES_MAX),
            large_workflows: Places::new("workflows larger than documents", LARGE_WORKFLOWS_MAX),
            uploads: Places::new("large uploads", UPLOADS_MAX),
            pending_runs: Places::new("requests that wait for runs to end", PENDING_RUNS_MAX),
            large_answers: Places::new("answers with all of a large run", LARGE_ANSWERS_MAX),
            executors: Places::new("executors", EXECUTORS_MAX),
            watchers: Places::new("watchers", WATCHERS_MAX),
            wholes: Arc::new(Semaphore::new(WHOLES_MAX)),
            documents: Arc::new(Semaphore::new(DOCUMENTS_UNITS)),
        }
    }
}

impl App {
    /// What is the same for every partition, with what is one's own.
    pub(crate) fn of_partition(&self, own: Own) -> Self {
        let Own {
            driver,
            hub,
            trouble,
            clock,
            closing,
        } = own;
        Self {
            driver,
            journal: Arc::clone(&self.journal),
            blobs: Arc::clone(&self.blobs),
            hub,
            library: Arc::clone(&self.library),
            panel: Arc::clone(&self.panel),
            metrics: Arc::clone(&self.metrics),
            trouble,
            origins: Arc::clone(&self.origins),
            clock,
            authority: Arc::clone(&self.authority),
            fresh: self.fresh,
            veil: Arc::clone(&self.veil),
            keys: Arc::clone(&self.keys),
            room: Arc::clone(&self.room),
            counts: Arc::clone(&self.counts),
            closing,
            next_connection: AtomicU64::new(1),
            front: None,
            whole: self.front.clone(),
        }
    }

    /// Who knows where each partition is, if there are several.
    pub(crate) fn front(&self) -> Option<Arc<Front>> {
        self.front.as_ref().and_then(Weak::upgrade)
    }

    /// The executors of all partitions, of which these are this one's; these alone where others do not answer.
    pub(crate) async fn executors(&self, own: Vec<ExecutorView>) -> Vec<ExecutorView> {
        match self.whole.as_ref().and_then(Weak::upgrade) {
            Some(front) => front.executors().await.map_or(own, |some| some.found),
            None => own,
        }
    }

    /// Is no executor here, for no partition?
    pub(crate) async fn is_deserted(&self) -> bool {
        if self.metrics.executors.get() > 0 {
            return false;
        }
        let elsewhere = self.executors(Vec::new()).await;
        !elsewhere.iter().any(|executor| executor.connected)
    }

    /// What is wrong here; `None` while nothing is.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self.front() {
            Some(front) => front.trouble(),
            None => self.trouble.text(),
        }
    }

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
