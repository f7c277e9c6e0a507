//! What a request says beside its body; what cannot be read is refused in the one form that errors have.

use axum::{
    extract::{FromRequestParts, Query, rejection::QueryRejection},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use super::network_of;
use crate::{
    error::ApiError,
    peer::{Network, Peer},
};

/// Headers by which proxies say for whom they ask.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Whoever asks sits at this machine, and is its operator as far as can be told: what all others depend on is decided by
/// nobody else. A proxy on this machine says for whom it asks, or has to close these routes.
pub(super) struct Operator;

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let here = parts
            .extensions
            .get::<Peer>()
            .is_some_and(|peer| peer.0.to_canonical().is_loopback());
        let forwarded = FORWARDED
            .iter()
            .any(|header| parts.headers.contains_key(*header));
        if here && !forwarded {
            return Ok(Self);
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "operator-only",
            "only the operator may do this, from the machine that the coordinator runs on",
        )
        .hint("log in there and ask http://127.0.0.1"))
    }
}

/// Where a request comes from.
pub(super) struct FromNetwork(pub(super) Network);

impl<S: Send + Sync> FromRequestParts<S> for FromNetwork {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        network_of(&parts.extensions).map(Self)
    }
}

/// What `?…` says. A name that is not known is refused: a limit that was misspelt is a limit that does not hold.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        match read {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => {
                let mut cause: &dyn std::error::Error = &rejection;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                Err(
                    ApiError::invalid(format!("the query is not understood: {cause}"))
                        .hint("/api lists what each path may be asked"),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn status(peer: Option<&str>, header: Option<&str>) -> u16 {
        let mut request = Request::builder().uri("/pause");
        if let Some(header) = header {
            request = request.header(header, "for=192.0.2.1");
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        if let Some(peer) = peer {
            let address = peer.parse().expect("an address");
            parts.extensions.insert(Peer(address));
        }
        match Operator::from_request_parts(&mut parts, &()).await {
            Ok(Operator) => 200,
            Err(error) => error.status(),
        }
    }

    #[tokio::test]
    async fn only_who_sits_at_the_machine_is_its_operator() {
        for here in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(status(Some(here), None).await, 200, "{here}");
            for header in FORWARDED {
                assert_eq!(status(Some(here), Some(header)).await, 403, "{header}");
            }
        }
        for elsewhere in [None, Some("192.0.2.1"), Some("2001:db8::1")] {
            assert_eq!(status(elsewhere, None).await, 403, "{elsewhere:?}");
        }
    }
}
