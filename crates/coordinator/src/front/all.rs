//! What the operator decides of all partitions.

use std::net::{IpAddr, Ipv4Addr};

use asterism_protocol::PublicKey;
use asterism_scheduler::SubmitError;
use axum::{
    Json,
    body::Body,
    extract::Request,
    http::Method,
    response::{IntoResponse as _, Response},
};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::{Front, seats::apply, uri};
use crate::{
    driver::NoAnswer,
    error::ApiError,
    http,
    pass::{self, Onward},
    peer::Peer,
    standby::nobody,
    store::Decision,
};

/// Longest answer that is shown of what went wrong elsewhere.
const SHOWN_BYTES: usize = 4 << 10;

/// For whom a coordinator asks that asks for itself: an address that nobody has, so nobody may more who hears its word for it.
pub(super) const ITSELF: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

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
        let path = if paused { http::PAUSED } else { http::RESUMED };
        try_join_all((0..self.partitions).map(|partition| self.tell(partition, path))).await?;
        Ok(())
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

    /// Excludes an executor everywhere, or takes that back: here at once, elsewhere as soon as it is read there.
    pub(crate) async fn decide(
        &self,
        executor: PublicKey,
        excluded: Option<String>,
    ) -> Result<(), ApiError> {
        let decision = Decision {
            executor,
            at: self.general.clock.now(),
            excluded,
        };
        if decision.excluded.is_none() && !self.is_excluded(executor).await? {
            return Err(NoAnswer::Refused(SubmitError::NotExcluded(executor)).into());
        }
        let noted = decision.clone();
        self.general
            .blocking(move |app| Ok(app.journal.decide(&noted)?))
            .await?;
        for (_, local) in self.locals() {
            match apply(&local.app.driver, &decision).await {
                // It was not, in this one.
                Ok(()) | Err(NoAnswer::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn is_excluded(&self, executor: PublicKey) -> Result<bool, ApiError> {
        let decisions = self
            .general
            .blocking(move |app| Ok(app.journal.decisions(0)?))
            .await?;
        let last = decisions.iter().find(|(_, last)| last.executor == executor);
        Ok(last.is_some_and(|(_, last)| last.excluded.is_some()))
    }

    /// Leases nothing more to an executor anywhere, or does again.
    pub(crate) async fn drain(&self, executor: PublicKey, draining: bool) -> Result<(), ApiError> {
        let query = serde_urlencoded::to_string(Drain {
            executor: executor.did(),
            draining,
        });
        let query = query.map_err(|error| ApiError::internal(&error))?;
        let mut known = self.drain_at_seats(executor, draining).await?;
        let others = self.present().clone();
        for other in others.iter().filter(|other| other.name != self.holder.name) {
            let path = format!("/coordinators/drain?{query}");
            let request = self.own_request(Method::POST, &path)?;
            let stream = pass::connect(&other.address)
                .await
                .map_err(|why| nobody(&why))?;
            let onward = Onward {
                authority: &self.general.authority,
                peer: ITSELF,
                over: self.closing.clone(),
            };
            let passed = onward.pass_on(stream, request).await;
            let response = passed.map_err(|error| nobody(&error.to_string()))?;
            let said = said_yes(response).await?;
            let said: Drained =
                serde_json::from_slice(&said).map_err(|error| ApiError::internal(&error))?;
            known |= said.known;
        }
        if known {
            Ok(())
        } else {
            Err(NoAnswer::Refused(SubmitError::UnknownExecutor(executor)).into())
        }
    }

    /// As another coordinator asks for it.
    pub(super) async fn drain_here(&self, query: &str) -> Result<Response, ApiError> {
        let odd =
            |reason: String| ApiError::invalid(format!("the query is not understood: {reason}"));
        let Drain { executor, draining } =
            serde_urlencoded::from_str(query).map_err(|error| odd(error.to_string()))?;
        let executor = executor
            .parse()
            .map_err(|error: asterism_protocol::Error| odd(error.to_string()))?;
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
