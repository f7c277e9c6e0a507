//! The shell around the scheduler: HTTP, WebSocket, journal and blobs, and the panel's files.
//!
//! It decides nothing about tasks (that is the scheduler's) and runs no guest code. Only here are sockets served and
//! a clock read; only [`store`] knows SQL and files. What is acknowledged is durable: see `driver`.

// What tests of the server share with those in here names this crate.
#[cfg(test)]
extern crate self as asterism_coordinator;

mod app;
mod authority;
#[cfg(test)]
mod broken;
mod diary;
mod driver;
mod error;
mod files;
mod follow;
mod http;
mod hub;
mod library;
mod limits;
mod media;
mod metrics;
mod origin;
mod panel;
mod peer;
mod places;
mod quota;
mod rpc;
mod server;
mod socket;
pub mod store;
pub mod upkeep;
mod writer;

use std::{
    future::Future,
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

pub use asterism_scheduler::Config;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    app::{App, Room},
    authority::Authority,
    driver::{Clock, Driver, Parts, StartError, Trouble},
    hub::Hub,
    library::Library,
    metrics::Metrics,
    origin::Origins,
    panel::Panel,
    peer::Veil,
    quota::Counts,
    store::{
        BlobError, Blobs, DataDirectory, Database, FolderBlobs, Journal, JournalError, LockError,
        MemoryBlobs, MemoryJournal, PostgresJournal, WrongJournal,
    },
};
pub use crate::{
    authority::TokenError, files::raise_file_limit, panel::PanelError, quota::Quotas,
    store::make_private_folder,
};

/// Is the panel built into this program?
pub const HAS_PANEL: bool = cfg!(feature = "embed-panel");

/// What whoever starts a coordinator decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where it keeps what it knows; nothing survives without it.
    pub data: Option<PathBuf>,
    /// A database that keeps the journal instead; blobs stay in the folder.
    pub journal: Option<Database>,
    /// The panel's files; the ones built into the program without it, if there are any.
    pub panel: Option<PathBuf>,
    /// Origins of pages elsewhere that may use it, such as `https://panel.example`.
    pub allow_origins: Vec<String>,
    /// What the operator shows to decide for others from elsewhere, 16 visible characters or more; nobody knows one without it.
    /// What submitters show for their runs is made of it, so a restart with the same one keeps that.
    pub operator_token: Option<String>,
    /// Want the token also of who asks from this machine: a proxy on it may not say for whom it asks. Where pages elsewhere
    /// are allowed it is wanted anyhow.
    pub require_operator_token: bool,
    /// Tell of every workflow, receipt and guest log line, through `tracing`: for those who develop.
    pub diary: bool,
    /// Give every task without a nonce one of its own: nothing is replayed.
    pub fresh: bool,
    /// Events after which the journal is compacted for the first time; a quarter of a million without it.
    pub compact_after: Option<u64>,
    /// What one network may take.
    pub quotas: Quotas,
    /// Times and bounds of the scheduler.
    pub scheduler: Config,
}

/// Why a coordinator does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] LockError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The journal is not that of the data directory.
    #[error(transparent)]
    WrongJournal(WrongJournal),
    /// The panel.
    #[error(transparent)]
    Panel(#[from] PanelError),
    /// The operator's token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The scheduler could not be brought back.
    #[error("failed to start from the journal: {0}")]
    Start(String),
    /// The listener.
    #[error("failed to listen: {0}")]
    Listen(#[from] io::Error),
}

impl From<WrongJournal> for ServeError {
    fn from(error: WrongJournal) -> Self {
        match error {
            WrongJournal::Data(error) => Self::Data(error),
            WrongJournal::Journal(error) => Self::Journal(error),
            WrongJournal::Inside { .. }
            | WrongJournal::InDatabase { .. }
            | WrongJournal::InAnother { .. }
            | WrongJournal::InNone { .. } => Self::WrongJournal(error),
        }
    }
}

impl From<StartError> for ServeError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Journal(error) => Self::Journal(error),
            StartError::Held(_) | StartError::Thread(_) => Self::Start(error.to_string()),
        }
    }
}

/// Serves on `listener` until `shutdown` ends; then connections are told, what was handled is made durable, and this returns.
///
/// # Errors
/// What is needed at the start is not there. What goes wrong later is answered to whom it concerns, and said by `/health`.
pub async fn serve(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    serve_when_ready(listener, options, || {}, shutdown).await
}

/// As [`serve`]; calls `ready` once the journal is replayed and connections are accepted.
///
/// # Errors
/// As [`serve`].
pub async fn serve_when_ready(
    listener: TcpListener,
    options: Options,
    ready: impl FnOnce() + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    // It reads files, and waits for a database.
    let opening = options.clone();
    let opened = tokio::task::spawn_blocking(move || Stores::open(&opening)).await;
    let stores = opened.map_err(io::Error::other)??;
    serve_stores(listener, stores, options, ready, shutdown).await
}

/// What a coordinator keeps things in.
struct Stores {
    journal: Arc<dyn Journal>,
    blobs: Arc<dyn Blobs>,
    /// Nobody else opens the directory as long as this is there.
    data: Option<DataDirectory>,
}

impl Stores {
    fn open(options: &Options) -> Result<Self, ServeError> {
        let data = options.data.as_deref().map(DataDirectory::open);
        let data = data.transpose()?;
        let journal: Arc<dyn Journal> = match (&options.journal, &data) {
            (Some(database), Some(data)) => Arc::new(store::open_in(data, database)?),
            (Some(database), None) => Arc::new(PostgresJournal::open(database)?),
            (None, Some(data)) => Arc::new(store::open_inside(data)?),
            (None, None) => Arc::new(MemoryJournal::default()),
        };
        let blobs: Arc<dyn Blobs> = match &data {
            Some(data) => Arc::new(FolderBlobs::open(&data.path().join(upkeep::BLOBS))?),
            None => Arc::new(MemoryBlobs::default()),
        };
        Ok(Self {
            journal,
            blobs,
            data,
        })
    }
}

async fn serve_stores(
    listener: TcpListener,
    stores: Stores,
    options: Options,
    ready: impl FnOnce() + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    let panel = match &options.panel {
        Some(folder) => Panel::of_folder(folder)?,
        None => Panel::embedded(),
    };
    let wants_token = options.require_operator_token || !options.allow_origins.is_empty();
    let authority = Authority::new(options.operator_token, wants_token)?;
    let Stores {
        journal,
        blobs,
        data,
    } = stores;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let seed = u64::from_le_bytes(seed);
    // One that was killed is followed at once by the next from the same folder, and not after its term.
    let name = match &data {
        Some(data) => data.name()?,
        None => format!("{seed:016x}"),
    };
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let metrics = Arc::new(Metrics::new());
    let hub = Arc::new(Hub::new(Arc::clone(&metrics)));
    let trouble = Arc::new(Trouble::default());
    let clock = Clock::new();
    let parts = Parts {
        config: options.scheduler,
        seed,
        name,
        address: format!("http://{address}"),
        journal: Arc::clone(&journal),
        compact_after: options.compact_after.unwrap_or(limits::COMPACT_AFTER),
        hub: Arc::clone(&hub),
        metrics: Arc::clone(&metrics),
        trouble: Arc::clone(&trouble),
        clock,
    };
    // Replaying a long journal takes a while, and there may be one thread only.
    let started = tokio::task::spawn_blocking(move || Driver::start(parts)).await;
    let (driver, threads) = started.map_err(io::Error::other)??;
    let (close, closing) = watch::channel(false);
    let app = Arc::new(App {
        driver: driver.clone(),
        journal,
        blobs,
        hub,
        library: Library::default(),
        panel,
        metrics,
        trouble,
        origins: Origins::new(&options.allow_origins, address.ip().is_loopback()),
        clock,
        authority,
        fresh: options.fresh,
        veil: Veil::new(secret),
        keys: http::Keys::default(),
        room: Room::default(),
        counts: Arc::new(Counts::new(options.quotas)),
        closing,
        next_connection: AtomicU64::new(1),
    });
    let restoring = Arc::clone(&app);
    tokio::task::spawn_blocking(move || http::restore(&restoring))
        .await
        .map_err(io::Error::other)??;

    if options.diary {
        tokio::spawn(diary::keep(Arc::clone(&app)));
    }
    tracing::info!(%address, "listening");
    ready();
    server::run(listener, app, close, shutdown).await;
    driver.stop(threads).await;
    // Nobody else opens the directory before the journal is closed.
    drop(data);
    Ok(())
}
