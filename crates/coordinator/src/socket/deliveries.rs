//! Deliveries of one executor, between its connection and the scheduler: are the blobs here that they link to?

use std::{
    collections::{BTreeSet, VecDeque},
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use asterism_protocol::{
    Cid, encode,
    limits::FRAME_BYTES_MAX,
    message::{Fault, FaultKind, LeaseId, ToCoordinator, ToExecutor},
};
use asterism_scheduler::{Checker, ConnectionId};
use tokio::time::timeout;

use super::{End, tell};
use crate::{app::App, error::ApiError, http::run_blobs, limits::LINKS_AT_ONCE, writer::Writer};

/// How many missing blobs an executor is told of.
const MISSING_SHOWN: usize = 3;

/// Bytes of deliveries that wait for a look at what they link to; with more of them an executor is not heard.
const DELIVERIES_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// Longest that a connection which was closed waits for looks at its last deliveries.
const SETTLE_MAX: Duration = Duration::from_secs(3);

/// A look at the links of a delivery; what is missing comes of it.
type Look = Pin<Box<dyn Future<Output = Result<Vec<Cid>, ApiError>> + Send>>;

/// Deliveries that wait until it is known whether their blobs are here, in their order. Meanwhile the connection is heard: leases
/// end without signs of life, and a store may take its time.
#[derive(Default)]
pub(super) struct Deliveries {
    waiting: VecDeque<(ToCoordinator, usize)>,
    bytes: usize,
    /// At the first of them.
    look: Option<Look>,
}

impl Deliveries {
    /// Keeps what has to wait, and gives back what need not: so that a leave does not overtake what was delivered before it, that
    /// waits, too.
    pub(super) fn keep(
        &mut self,
        app: &Arc<App>,
        message: ToCoordinator,
        bytes: usize,
    ) -> Option<ToCoordinator> {
        let waits = match &message {
            ToCoordinator::Deliver { .. } => {
                !self.waiting.is_empty() || !links_of(&message).is_empty()
            }
            ToCoordinator::Leave => !self.waiting.is_empty(),
            _ => false,
        };
        if !waits {
            return Some(message);
        }
        self.bytes += bytes;
        self.waiting.push_back((message, bytes));
        self.look_at_first(app);
        None
    }

    pub(super) fn are_many(&self) -> bool {
        self.bytes >= DELIVERIES_BYTES_MAX
    }

    fn look_at_first(&mut self, app: &Arc<App>) {
        if self.look.is_none()
            && let Some((first, _)) = self.waiting.front()
        {
            let look = missing_blobs(Arc::clone(app), links_of(first));
            self.look = Some(Box::pin(look));
        }
    }

    /// What came of the look at the first of them; never, while there is none.
    pub(super) async fn looked(&mut self) -> Result<Vec<Cid>, ApiError> {
        match &mut self.look {
            Some(look) => look.await,
            None => pending().await,
        }
    }

    /// Hands the first of them to the scheduler, unless it promises bytes that never came. Where that cannot be found out now, nobody
    /// is to blame: the leases of all that wait are handed back.
    pub(super) async fn conclude(
        &mut self,
        app: &Arc<App>,
        connection: ConnectionId,
        checker: &mut Checker,
        looked: Result<Vec<Cid>, ApiError>,
        writer: &mut Writer,
    ) -> Result<(), End> {
        self.look = None;
        let Some(message) = self.take_first() else {
            return Ok(());
        };
        match looked {
            Ok(missing) if missing.is_empty() => {
                tell(app, connection, checker.check(message)).await?;
            }
            Ok(missing) => {
                // One signature covers them all, so they are refused together; faults free their leases.
                let some: Vec<String> = missing
                    .iter()
                    .take(MISSING_SHOWN)
                    .map(ToString::to_string)
                    .collect();
                let reason = format!(
                    "bring the blobs before the outcomes that link to them: {}",
                    some.join(", ")
                );
                for lease in leases_of(&message) {
                    let fault = Fault {
                        kind: FaultKind::Blob,
                        message: reason.clone(),
                    };
                    let fault = ToCoordinator::Fault { lease, fault };
                    tell(app, connection, checker.check(fault)).await?;
                    let rejected = ToExecutor::Rejected {
                        lease: Some(lease),
                        reason: reason.clone(),
                    };
                    writer
                        .binary(encode(&rejected))
                        .await
                        .map_err(|_| End::Gone)?;
                }
            }
            Err(error) if error.is_unavailable() => {
                let mut next = Some(message);
                while let Some(message) = next {
                    next = self.take_first();
                    let leases = leases_of(&message);
                    if leases.is_empty() {
                        tell(app, connection, checker.check(message)).await?;
                        continue;
                    }
                    let handed_back = ToCoordinator::HandBack {
                        leases: leases.clone(),
                    };
                    tell(app, connection, checker.check(handed_back)).await?;
                    let reason = error.message().to_owned();
                    let revoked = ToExecutor::Revoke { leases, reason };
                    writer
                        .binary(encode(&revoked))
                        .await
                        .map_err(|_| End::Gone)?;
                }
            }
            Err(_) => return Err(End::Stops),
        }
        self.look_at_first(app);
        Ok(())
    }

    fn take_first(&mut self) -> Option<ToCoordinator> {
        let (message, bytes) = self.waiting.pop_front()?;
        self.bytes -= bytes;
        Some(message)
    }

    /// Goes through them before a connection ends, if that does not take long.
    pub(super) async fn settle(
        &mut self,
        app: &Arc<App>,
        connection: ConnectionId,
        checker: &mut Checker,
        writer: &mut Writer,
    ) {
        let all = async {
            while !self.waiting.is_empty() {
                let looked = self.looked().await;
                let concluded = self.conclude(app, connection, checker, looked, writer);
                if concluded.await.is_err() {
                    break;
                }
            }
        };
        // What is not told by then is done again.
        let _ = timeout(SETTLE_MAX, all).await;
    }
}

fn leases_of(message: &ToCoordinator) -> Vec<LeaseId> {
    match message {
        ToCoordinator::Deliver { items, .. } => items.iter().map(|item| item.lease).collect(),
        _ => Vec::new(),
    }
}

/// The blobs that the outcomes of a delivery link to.
fn links_of(message: &ToCoordinator) -> BTreeSet<Cid> {
    let mut links = BTreeSet::new();
    if let ToCoordinator::Deliver { items, .. } = message {
        for item in items {
            run_blobs(item.outcome.out.value(), &mut links);
        }
    }
    links
}

/// Those of the links that are not here; some, if they are many.
async fn missing_blobs(app: Arc<App>, links: BTreeSet<Cid>) -> Result<Vec<Cid>, ApiError> {
    if links.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(trouble) = app.blobs.trouble() {
        return Err(ApiError::unavailable(trouble));
    }
    // Whoever is gone needs no answer.
    let wanted = Arc::new(());
    let is_wanted = Arc::downgrade(&wanted);
    let looked = app
        .blocking(move |app| {
            let links = Vec::from_iter(links);
            let mut missing = Vec::new();
            for some in links.chunks(LINKS_AT_ONCE) {
                // More are not told.
                if missing.len() >= MISSING_SHOWN || is_wanted.strong_count() == 0 {
                    break;
                }
                let here = app.blobs.has(some)?;
                missing.extend(
                    some.iter()
                        .zip(here)
                        .filter_map(|(link, here)| (!here).then_some(*link)),
                );
            }
            Ok(missing)
        })
        .await;
    drop(wanted);
    looked
}

#[cfg(test)]
mod tests;
