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
#[cfg(test)]
mod disk;
mod driver;
mod error;
mod files;
mod follow;
mod front;
mod http;
mod hub;
mod library;
mod limits;
mod media;
mod metrics;
mod origin;
mod panel;
mod pass;
mod peer;
mod places;
mod quota;
mod rpc;
mod server;
mod socket;
mod standby;
pub mod store;
pub mod upkeep;
mod writer;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    sync::{Arc, Weak, atomic::AtomicU64},
};

pub use asterism_scheduler::Config;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    app::{App, Own},
    authority::Authority,
    driver::{Clock, Driver, Parts, StartError, Trouble},
    front::Front,
    hub::Hub,
    metrics::Metrics,
    origin::Origins,
    panel::Panel,
    peer::Veil,
    quota::Counts,
    server::{Door, End},
    standby::Stood,
    store::{
        BlobError, Blobs, BlobsElsewhere, DataDirectory, Database, Holder, Journal, JournalError,
        LockError, MemoryJournal, OpenedBlobs, Owner, PostgresJournal, WrongBlobs, WrongJournal,
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
    /// A database that keeps the journal instead.
    pub journal: Option<Database>,
    /// How many partitions the database's journal has; where it is made now, it has one without it.
    pub partitions: Option<u16>,
    /// Where others reach it, such as `http://10.0.0.7:3000`: those that stand by pass on to it what they are asked. The address
    /// that it listens on without it.
    pub advertise: Option<String>,
    /// Where blobs are kept instead.
    pub blobs: Option<BlobsElsewhere>,
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
    /// The blobs are not those of the journal.
    #[error(transparent)]
    WrongBlobs(WrongBlobs),
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

impl From<WrongBlobs> for ServeError {
    fn from(error: WrongBlobs) -> Self {
        match error {
            WrongBlobs::Data(error) => Self::Data(error),
            WrongBlobs::Blobs(error) => Self::Blobs(error),
            WrongBlobs::Inside { .. }
            | WrongBlobs::Elsewhere { .. }
            | WrongBlobs::InAnother { .. }
            | WrongBlobs::Unmarked { .. }
            | WrongBlobs::NotElsewhere { .. }
            | WrongBlobs::OfAnother { .. } => Self::WrongBlobs(error),
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

/// As [`serve`]; calls `ready` once the journal is replayed and connections are accepted, or are passed on to the coordinator
/// that holds the journal.
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
    /// Nor the folder of the blobs, where that is elsewhere.
    _blobs_lock: Option<DataDirectory>,
}

impl Stores {
    fn open(options: &Options) -> Result<Self, ServeError> {
        let data = options.data.as_deref().map(DataDirectory::open);
        let data = data.transpose()?;
        let (journal, owner): (Arc<dyn Journal>, _) = match (&options.journal, &data) {
            (Some(database), data) => {
                let journal = match data {
                    Some(data) => store::open_in(data, database, options.partitions)?,
                    None => PostgresJournal::open_parted(database, options.partitions)?,
                };
                let owner = Owner::in_database(&journal, database)?;
                (Arc::new(journal), Some(owner))
            }
            (None, Some(data)) => {
                let journal = store::open_inside(data)?;
                (Arc::new(journal), Some(Owner::inside(data)?))
            }
            (None, None) => (Arc::new(MemoryJournal::default()), None),
        };
        let OpenedBlobs { blobs, lock } =
            store::open_blobs(data.as_ref(), options.blobs.as_ref(), owner.as_ref())?;
        Ok(Self {
            journal,
            blobs,
            data,
            _blobs_lock: lock,
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
    let authority = Authority::new(options.operator_token.clone(), wants_token)?;
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let seed = u64::from_le_bytes(seed);
    let advertised = options.advertise.as_ref();
    let holder = Holder {
        // One that was killed is followed at once by the next from the same folder, and not after its term.
        name: match &stores.data {
            Some(data) => data.name()?,
            None => format!("{seed:016x}"),
        },
        address: advertised.map_or_else(
            || format!("http://{address}"),
            |url| url.trim_end_matches('/').to_owned(),
        ),
    };
    if options.journal.is_some() && advertised.is_none() && address.ip().is_unspecified() {
        tracing::warn!(
            %address,
            "other coordinators on this journal cannot reach that address; say where they can with --advertise"
        );
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let place = Place {
        stores,
        options,
        address,
        holder,
        seed,
        secret,
        panel: Arc::new(panel),
        authority: Arc::new(authority),
    };
    if place.stores.journal.partitions() > 1 {
        return front::serve(&place, listener, ready, shutdown).await;
    }
    let (mut listener, mut ready) = (Some(listener), Some(ready));
    let mut shutdown = pin!(shutdown);
    while let Some(here) = listener.take() {
        let stood = standby::until_ours(
            here,
            Arc::clone(&place.stores.journal),
            place.holder.clone(),
            Arc::clone(&place.authority),
            &mut ready,
            shutdown.as_mut(),
        );
        match stood.await? {
            Stood::Ours(here) => listener = Some(here),
            Stood::Stopped => break,
        }
        let held = place.hold(&mut listener, &mut ready, shutdown.as_mut());
        match held.await {
            // Whoever served before, as one that stands by, goes on trying: a database comes back.
            Err(error) if ready.is_none() && listener.is_some() => {
                tracing::warn!(%error, "the journal could not be taken over");
            }
            ended => ended?,
        }
    }
    Ok(())
}

/// A coordinator's own, whether it holds the journal or stands by.
struct Place {
    stores: Stores,
    options: Options,
    address: SocketAddr,
    holder: Holder,
    seed: u64,
    secret: [u8; 32],
    panel: Arc<Panel>,
    authority: Arc<Authority>,
}

impl Place {
    /// What requests reach.
    fn app(&self, own: Own, metrics: Arc<Metrics>, front: Option<Weak<Front>>) -> App {
        let Own {
            driver,
            hub,
            trouble,
            clock,
            closing,
        } = own;
        let Options {
            allow_origins,
            quotas,
            fresh,
            ..
        } = &self.options;
        let is_local = self.address.ip().is_loopback();
        App {
            driver,
            journal: Arc::clone(&self.stores.journal),
            blobs: Arc::clone(&self.stores.blobs),
            hub,
            library: Arc::default(),
            panel: Arc::clone(&self.panel),
            metrics,
            trouble,
            origins: Arc::new(Origins::new(allow_origins, is_local)),
            clock,
            authority: Arc::clone(&self.authority),
            fresh: *fresh,
            veil: Arc::new(Veil::new(self.secret)),
            keys: Arc::default(),
            room: Arc::default(),
            counts: Arc::new(Counts::new(quotas.clone())),
            closing,
            next_connection: AtomicU64::new(1),
            front,
            whole: None,
        }
    }

    /// Serves as the one that decides. The listener is taken; it is back when another coordinator has taken the journal.
    async fn hold(
        &self,
        listener: &mut Option<TcpListener>,
        ready: &mut Option<impl FnOnce()>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let Options {
            scheduler,
            compact_after,
            diary,
            ..
        } = self.options.clone();
        let Stores { journal, blobs, .. } = &self.stores;
        let metrics = Arc::new(Metrics::new());
        let hub = Arc::new(Hub::new(Arc::clone(&metrics)));
        let trouble = Arc::new(Trouble::default());
        let clock = Clock::new();
        let parts = Parts {
            config: scheduler,
            seed: self.seed,
            holder: self.holder.clone(),
            journal: Arc::clone(journal),
            blobs: Arc::clone(blobs),
            compact_after: compact_after.unwrap_or(limits::COMPACT_AFTER),
            hub: Arc::clone(&hub),
            metrics: Arc::clone(&metrics),
            trouble: Arc::clone(&trouble),
            clock,
            unmet: Arc::default(),
            caught: None,
        };
        // Replaying a long journal takes a while, and there may be one thread only.
        let started = tokio::task::spawn_blocking(move || Driver::start(parts)).await;
        let (driver, threads) = started.map_err(io::Error::other)??;
        let (close, closing) = watch::channel(false);
        let own = Own {
            driver: driver.clone(),
            hub,
            trouble,
            clock,
            closing,
        };
        let app = Arc::new(self.app(own, metrics, None));
        let restoring = Arc::clone(&app);
        tokio::task::spawn_blocking(move || http::restore(&restoring))
            .await
            .map_err(io::Error::other)??;

        if diary {
            tokio::spawn(diary::keep(Arc::clone(&app)));
        }
        tracing::info!(address = %self.address, "listening");
        ready.take().into_iter().for_each(|ready| ready());
        let door = Door {
            connections: Arc::clone(&app.room.connections),
            metrics: Arc::clone(&app.metrics),
            authority: Arc::clone(&self.authority),
            close: close.clone(),
        };
        let end = async {
            tokio::select! {
                () = shutdown => End::Stop,
                () = app.trouble.overtaken() => End::Change,
            }
        };
        if let Some(here) = listener.take() {
            *listener = server::run(here, http::router(Arc::clone(&app)), door, end).await;
            // Who was served by us calls again, and is served by the other one.
            let _ = close.send_replace(true);
        }
        driver.stop(threads).await;
        Ok(())
    }
}
