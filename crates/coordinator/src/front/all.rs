//! What the operator decides of all partitions.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use asterism_protocol::PublicKey;
use asterism_scheduler::SubmitError;
use axum::{
    Json,
    body::Body,
    extract::Request,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{COORDINATORS, Front, Seat, routing::uri};
use crate::{
    driver::NoAnswer,
    error::ApiError,
    http,
    pass::{self, Onward},
    peer::Peer,
    standby::nobody,
};

/// Longest answer that is shown of what went wrong elsewhere.
const SHOWN_BYTES: usize = 4 << 10;

/// For whom a coordinator asks that asks for itself: an address that nobody has, so nobody may more who hears its word for it.
pub(super) const ITSELF: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The partition whose coordinator tells all others what is decided of all of them.
pub(super) const FIRST: u16 = 0;

/// What begins the path of what it is to tell them.
pub(super) const ALL: &str = "all";

/// What is told of an executor that is drained.
const DRAINED: &str = "/drained";

/// Time for all to be told: some of them may be between two holders.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

/// What one coordinator asks all others when an executor is drained.
#[derive(Serialize, Deserialize)]
struct Drain {
    executor: String,
    draining: bool,
}

/// What it is told.
#[derive(Serialize, Deserialize)]
struct Drained {
    /// Is the executor here?
    known: bool,
}

impl Front {
    /// Pauses or resumes all partitions.
    pub(crate) async fn pause(&self, paused: bool) -> Result<(), ApiError> {
        let what = if paused { http::PAUSED } else { http::RESUMED };
        self.in_turn(what).await.map(drop)
    }

    /// Has all partitions told what the operator decided by whoever has the first one: what is decided at two coordinators in the same
    /// moment is told to all in one order.
    async fn in_turn(&self, what: &str) -> Result<Vec<u8>, ApiError> {
        let request = self.own_request(Method::POST, &format!("/{ALL}{what}"))?;
        let response = match self.seat(FIRST).await? {
            Seat::Here(_) => {
                let query = request.uri().query().unwrap_or_default();
                let what = what.split_once('?').map_or(what, |(what, _)| what);
                self.tell_all(what, query).await?
            }
            Seat::There { .. } | Seat::Nobody => self.ask(FIRST, ITSELF, request).await?,
        };
        said_yes(response).await
    }

    /// Tells all partitions what the operator decided, one thing after the other.
    pub(super) async fn tell_all(&self, what: &str, query: &str) -> Result<Response, ApiError> {
        let told = async {
            let _turn = self.turn.lock().await;
            if what == DRAINED {
                return self.drain_all(query).await;
            }
            let paths = [http::PAUSED, http::RESUMED];
            let path = paths.into_iter().find(|path| *path == what);
            let path = path.ok_or_else(|| ApiError::not_found("nothing like this is decided"))?;
            // Nothing is under way any more when something else is told.
            let told = (0..self.partitions).map(|partition| self.tell(partition, path));
            let told: Result<Vec<()>, ApiError> = join_all(told).await.into_iter().collect();
            told.map(|_| StatusCode::OK.into_response())
        };
        let told = timeout(TOLD_WITHIN, told).await;
        told.unwrap_or_else(|_| Err(nobody("not all of them are told in time")))
    }

    /// Tells one partition what the operator decided.
    async fn tell(&self, partition: u16, path: &str) -> Result<(), ApiError> {
        let request = self.own_request(Method::POST, path)?;
        let response = self.ask(partition, ITSELF, request).await?;
        said_yes(response).await.map(drop)
    }

    /// A request of the coordinator's own. It shows no token: the other one knows it by what goes with all that is passed on.
    pub(super) fn own_request(&self, method: Method, path: &str) -> Result<Request, ApiError> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = uri(path)?;
        request.extensions_mut().insert(Peer(ITSELF));
        Ok(request)
    }

    /// Leases nothing more to an executor anywhere, or does again.
    pub(crate) async fn drain(&self, executor: PublicKey, draining: bool) -> Result<(), ApiError> {
        let query = serde_urlencoded::to_string(Drain {
            executor: executor.did(),
            draining,
        });
        let query = query.map_err(|error| ApiError::internal(&error))?;
        let said = self.in_turn(&format!("{DRAINED}?{query}")).await?;
        let said: Drained =
            serde_json::from_slice(&said).map_err(|error| ApiError::internal(&error))?;
        if said.known {
            Ok(())
        } else {
            Err(NoAnswer::Refused(SubmitError::UnknownExecutor(executor)).into())
        }
    }

    /// Tells all coordinators of an executor that is drained, or is no longer.
    async fn drain_all(&self, query: &str) -> Result<Response, ApiError> {
        let Drain { executor, draining } = drain_of(query)?;
        let executor = executor.parse::<PublicKey>().map_err(odd)?;
        let mut known = self.drain_at_seats(executor, draining).await?;
        let mut others = self.present().clone();
        others.retain(|other| other.name != self.holder.name);
        let told = others
            .iter()
            .map(|other| self.drain_at(&other.address, query));
        for said in join_all(told).await {
            known |= said?.known;
        }
        Ok(Json(Drained { known }).into_response())
    }

    /// Tells another one of them.
    async fn drain_at(&self, coordinator: &str, query: &str) -> Result<Drained, ApiError> {
        let path = format!("/{COORDINATORS}/drain?{query}");
        let request = self.own_request(Method::POST, &path)?;
        let stream = pass::connect(coordinator)
            .await
            .map_err(|why| nobody(&why))?;
        let onward = Onward {
            authority: &self.general.authority,
            peer: ITSELF,
            over: self.closing.clone(),
        };
        let passed = onward.pass_on(stream, request).await;
        let response = passed.map_err(|error| nobody(&error.to_string()))?;
        if response.status() == StatusCode::NOT_FOUND {
            let why = self.found_outdated(coordinator);
            return Err(ApiError::unavailable(format!(
                "another coordinator cannot be told: {why}"
            )));
        }
        let said = said_yes(response).await?;
        serde_json::from_slice(&said).map_err(|error| ApiError::internal(&error))
    }

    /// As another coordinator asks for it.
    pub(super) async fn drain_here(&self, query: &str) -> Result<Response, ApiError> {
        let Drain { executor, draining } = drain_of(query)?;
        let executor = executor.parse::<PublicKey>().map_err(odd)?;
        let known = self.drain_at_seats(executor, draining).await?;
        Ok(Json(Drained { known }).into_response())
    }

    /// Tells the partitions that are here, and those who carry what executors say. Is it known to one of them?
    async fn drain_at_seats(&self, executor: PublicKey, draining: bool) -> Result<bool, ApiError> {
        let mut known = false;
        for (_, local) in self.locals() {
            match local.app.driver.drain(executor, draining).await {
                Ok(()) => known = true,
                Err(NoAnswer::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(known | self.set_drained(executor, draining))
    }
}

fn drain_of(query: &str) -> Result<Drain, ApiError> {
    serde_urlencoded::from_str(query).map_err(odd)
}

fn odd(error: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(format!("the query is not understood: {error}"))
}

/// The body of an answer that is a good one.
pub(super) async fn said_yes(response: Response) -> Result<Vec<u8>, ApiError> {
    const LIST_BYTES_MAX: usize = 64 << 20;
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), LIST_BYTES_MAX).await;
    let body = body.map_err(|error| nobody(&error.to_string()))?;
    if status.is_success() {
        return Ok(body.to_vec());
    }
    let said = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
    Err(ApiError::unavailable(format!(
        "another part of the coordinator answered {status}: {said}"
    )))
}
