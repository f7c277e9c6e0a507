//! The door of a coordinator where the journal has several partitions: any of them answers for all, whoever holds what.
//!
//! What names a run goes to the seat of its partition: the scheduler in here, or the coordinator that has it. What names none is
//! answered here, with the help of all seats where it is about all of them.

mod all;
mod decisions;
mod line;
mod lists;
mod relay;
mod remote;
mod routing;
mod seats;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use asterism_protocol::{Cid, PublicKey, view::RunId};
use asterism_scheduler::Config;
use axum::{
    Extension, Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch as told},
    time::timeout,
};
use tracing::warn;

use crate::{
    Place, ServeError,
    app::{App, Own},
    driver::{Clock, Driver, Trouble, Unmet, Waiting},
    error::ApiError,
    http,
    hub::Hub,
    limits::{COMPACT_AFTER, FOLLOWED_WITHIN},
    metrics::Metrics,
    peer::Peer,
    server::{self, Door, End},
    standby::nobody,
    store::{Decision, Holder},
};

use self::{
    decisions::{Decisions, Told},
    seats::Keeper,
};
pub(crate) use self::{lists::Partly, relay::relay, watch::watch};

/// Knows where every partition is.
pub(crate) struct Front {
    /// What is asked that is about no partition.
    general: Arc<App>,
    /// What answers that.
    router: TowerToHyperService<Router>,
    partitions: u16,
    seats: told::Sender<Vec<Seat>>,
    /// Wakes executors that wait, when something waits for them at another seat.
    more: Arc<Notify>,
    /// Whom all partitions exclude.
    decisions: Mutex<Decisions>,
    /// Held by what is told to all partitions and is in no journal's order, where the first partition is.
    turn: tokio::sync::Mutex<()>,
    /// Hears of executors that a seat has caught.
    caught: mpsc::UnboundedSender<Decision>,
    /// Coordinators that are here, this one too.
    present: Mutex<Vec<Holder>>,
    /// Those of them of which it was told that they are of an older version.
    outdated: Mutex<BTreeSet<String>>,
    /// Executors whose words are carried here.
    relayed: Mutex<BTreeMap<PublicKey, Relayed>>,
    holder: Holder,
    seed: u64,
    config: Config,
    compact_after: u64,
    diary: bool,
    /// Turns true when the coordinator stops.
    closing: told::Receiver<bool>,
}

/// An executor that is here.
#[derive(Default)]
struct Relayed {
    /// Over so many connections: two, while one takes the other's place.
    connections: usize,
    /// It is leased nothing more.
    drained: bool,
}

/// Where a partition is, as far as is known.
#[derive(Clone)]
pub(crate) enum Seat {
    /// In this coordinator.
    Here(Arc<Local>),
    /// In another one.
    There {
        /// Where that is reached.
        address: String,
        /// What waits there for executors.
        waiting: Waiting,
    },
    /// Between two holders.
    Nobody,
}

/// A partition that this coordinator holds.
pub(crate) struct Local {
    app: Arc<App>,
    router: TowerToHyperService<Router>,
    unmet: Arc<Unmet>,
    /// Hears of what was decided for all partitions.
    decided: mpsc::UnboundedSender<Told>,
    /// Told to hand it over.
    leave: Notify,
}

impl Local {
    async fn answer(&self, request: Request) -> Response {
        answer_of(&self.router, request).await
    }
}

async fn answer_of(router: &TowerToHyperService<Router>, request: Request) -> Response {
    match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Serves until `shutdown`, as one of the coordinators on a journal with several partitions.
pub(crate) async fn serve(
    place: &Place,
    listener: TcpListener,
    ready: impl FnOnce() + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (close, closing) = told::channel(false);
    let (caught, to_note) = mpsc::unbounded_channel();
    let front = Arc::new_cyclic(|me| Front::new(place, me, caught, closing));
    let restoring = Arc::clone(&front.general);
    tokio::task::spawn_blocking(move || http::restore(&restoring))
        .await
        .map_err(std::io::Error::other)??;
    let mut keeper = Keeper::new(Arc::clone(&front), to_note);
    keeper.begin().await?;
    tracing::info!(address = %place.address, partitions = front.partitions, "listening");
    ready();
    let keeping = tokio::spawn(keeper.keep());
    let door = Door {
        connections: Arc::clone(&front.general.room.connections),
        metrics: Arc::clone(&front.general.metrics),
        authority: Arc::clone(&place.authority),
        close: close.clone(),
    };
    let router = Router::new()
        .fallback(dispatch)
        .with_state(Arc::clone(&front));
    let router = http::guarded(router, Arc::clone(&front.general));
    let end = async {
        shutdown.await;
        End::Stop
    };
    server::run(listener, router, door, end).await;
    let _ = close.send_replace(true);
    let _ = keeping.await;
    Ok(())
}

async fn dispatch(
    State(front): State<Arc<Front>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Result<Response, Infallible> {
    let answered = front.answer(peer, request).await;
    Ok(answered.unwrap_or_else(|error| error.into_response()))
}

/// What begins the path of what is asked of one partition by another coordinator.
const PARTITIONS: &str = "partitions";

/// Where executors connect with a coordinator, and with no partition of several.
const EXECUTORS: &str = "ws/executor";

/// What begins the path of what else another coordinator asks.
const COORDINATORS: &str = "coordinators";

impl Front {
    fn new(
        place: &Place,
        me: &Weak<Self>,
        caught: mpsc::UnboundedSender<Decision>,
        closing: told::Receiver<bool>,
    ) -> Self {
        let metrics = Arc::new(Metrics::new());
        let own = Own {
            driver: Driver::nobody(),
            hub: Arc::new(Hub::new(Arc::clone(&metrics))),
            trouble: Arc::new(Trouble::default()),
            clock: Clock::new(),
            closing: closing.clone(),
        };
        let general = Arc::new(place.app(own, metrics, Some(Weak::clone(me))));
        let partitions = general.journal.partitions();
        Self {
            router: TowerToHyperService::new(http::unguarded(Arc::clone(&general))),
            general,
            partitions,
            seats: told::Sender::new(vec![Seat::Nobody; usize::from(partitions)]),
            more: Arc::default(),
            decisions: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            caught,
            present: Mutex::default(),
            outdated: Mutex::default(),
            relayed: Mutex::default(),
            holder: place.holder.clone(),
            seed: place.seed,
            config: place.options.scheduler.clone(),
            compact_after: place.options.compact_after.unwrap_or(COMPACT_AFTER),
            diary: place.options.diary,
            closing,
        }
    }

    fn relayed(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Relayed>> {
        self.relayed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of an executor begins.
    fn comes(&self, executor: PublicKey) {
        self.relayed().entry(executor).or_default().connections += 1;
    }

    /// One ends. It is drained for as long as it is here.
    fn goes(&self, executor: PublicKey) {
        let mut relayed = self.relayed();
        if let Some(known) = relayed.get_mut(&executor) {
            known.connections -= 1;
            if known.connections == 0 {
                relayed.remove(&executor);
            }
        }
    }

    /// Leases nothing more to an executor, or does again; is it here?
    fn set_drained(&self, executor: PublicKey, drained: bool) -> bool {
        match self.relayed().get_mut(&executor) {
            Some(known) => {
                known.drained = drained;
                true
            }
            None => false,
        }
    }

    fn is_drained(&self, executor: PublicKey) -> bool {
        let relayed = self.relayed();
        relayed.get(&executor).is_some_and(|known| known.drained)
    }

    fn present(&self) -> MutexGuard<'_, Vec<Holder>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A coordinator does not know what others ask of it, so it is of an older version. The operator is told once.
    fn found_outdated(&self, coordinator: &str) -> String {
        let why = "it is of an older version; update it, too";
        let outdated = self.outdated.lock();
        let mut outdated = outdated.unwrap_or_else(PoisonError::into_inner);
        if outdated.insert(coordinator.to_owned()) {
            warn!(
                coordinator,
                "executors and panels here have nothing of another coordinator's partitions: {why}"
            );
        }
        why.to_owned()
    }

    /// The partition that a workflow's runs are in.
    fn partition_of(&self, workflow: Cid) -> u16 {
        let digest = workflow.digest();
        let first = digest.first_chunk().copied().unwrap_or_default();
        (u64::from_be_bytes(first) % u64::from(self.partitions)) as u16
    }

    /// The partition that gave a number.
    fn partition_of_number(&self, number: u64) -> u16 {
        (number % u64::from(self.partitions)) as u16
    }

    fn partition_of_run(&self, run: RunId) -> u16 {
        self.partition_of_number(run.0)
    }

    /// The partition that a path means by a workflow's name, or by a run's number; either may be percent-encoded.
    fn partition_named(&self, which: &str) -> Option<u16> {
        let decoded: Vec<(String, String)> = serde_urlencoded::from_str(which).ok()?;
        let (which, _) = decoded.first()?;
        match which.parse() {
            Ok(number) => Some(self.partition_of_number(number)),
            Err(_) => which.parse().ok().map(|cid| self.partition_of(cid)),
        }
    }

    /// Where a partition is now.
    fn seat_now(&self, partition: u16) -> Seat {
        self.seats.borrow()[usize::from(partition)].clone()
    }

    /// Where a partition is, when somebody has it; between two holders there are some seconds at most.
    async fn seat(&self, partition: u16) -> Result<Seat, ApiError> {
        let mut seats = self.seats.subscribe();
        let is_held = |seats: &Vec<Seat>| !matches!(seats[usize::from(partition)], Seat::Nobody);
        let found = async {
            let found = seats.wait_for(is_held).await.ok();
            found.map(|seats| seats[usize::from(partition)].clone())
        };
        let found = tokio::select! {
            found = timeout(FOLLOWED_WITHIN, found) => found.ok().flatten(),
            () = self.closed() => None,
        };
        found.ok_or_else(|| nobody(&format!("nobody holds partition {partition}")))
    }

    /// The partitions that are here.
    fn locals(&self) -> Vec<(u16, Arc<Local>)> {
        let seats = self.seats.borrow();
        let here = (0..)
            .zip(&*seats)
            .filter_map(|(partition, seat)| match seat {
                Seat::Here(local) => Some((partition, Arc::clone(local))),
                Seat::There { .. } | Seat::Nobody => None,
            });
        here.collect()
    }

    /// What is wrong with the partitions that are here; `None` while nothing is.
    pub(crate) fn trouble(&self) -> Option<String> {
        let mut locals = self.locals().into_iter();
        locals.find_map(|(_, local)| local.app.trouble.text())
    }

    /// The partitions that are here, of how many.
    pub(crate) fn held(&self) -> serde_json::Value {
        let here = self.locals().into_iter().map(|(partition, _)| partition);
        let here: Vec<u16> = here.collect();
        serde_json::json!({ "here": here, "of": self.partitions })
    }

    /// Who has a workflow's partition, if it is here; the partition, if it is not.
    pub(crate) async fn here(&self, workflow: Cid) -> Result<Result<Arc<App>, u16>, ApiError> {
        let partition = self.partition_of(workflow);
        Ok(match self.seat(partition).await? {
            Seat::Here(local) => Ok(Arc::clone(&local.app)),
            Seat::There { .. } | Seat::Nobody => Err(partition),
        })
    }

    /// Has a workflow run at the coordinator that has its partition; what that tells of it comes through what is returned.
    pub(crate) async fn subscribe(
        &self,
        partition: u16,
        peer: Peer,
        body: &[u8],
    ) -> Result<mpsc::Receiver<String>, ApiError> {
        let Seat::There { address, .. } = self.seat(partition).await? else {
            return Err(nobody("its partition changes hands"));
        };
        let subscribed = remote::subscribe(self, &address, partition, peer, body);
        let subscribed = timeout(FOLLOWED_WITHIN, subscribed).await;
        subscribed.unwrap_or_else(|_| Err(nobody("the one that does is too slow")))
    }

    /// Ends when the coordinator stops.
    async fn closed(&self) {
        // An error says that whoever could stop it is gone: stopped as well.
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }
}

/// A pause between two attempts at something that has to be done.
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
