//! What a request says beside its body; what cannot be read is refused in the one form that errors have.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path},
    http::{HeaderMap, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    network_of, peer_of,
    query::{options_of, pairs_of},
};
use crate::{
    app::App,
    authority::Asker,
    error::ApiError,
    peer::{Network, Peer},
};

/// The operator asks: what all others depend on is decided by nobody else.
pub(super) struct Operator;

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Who(asker) = Who::from_request_parts(parts, app).await?;
        app.authority.of_operator(&asker).map(|()| Self)
    }
}

/// Who asks, for what not everybody may.
pub(super) struct Who(pub(super) Asker);

impl FromRequestParts<Arc<App>> for Who {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        Ok(Self(app.authority.asker(peer, &parts.headers)))
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

/// Who asks, as far as it decides how the answer is given.
pub(crate) struct Client {
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Peer,
    pub(crate) network: Network,
    /// Needs to show nothing for what not everybody may.
    pub(crate) is_operator: bool,
}

impl FromRequestParts<Arc<App>> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let Who(asker) = Who::from_request_parts(parts, app).await?;
        let peer = peer_of(&parts.extensions)?;
        Ok(Self {
            peer,
            network: peer.network(),
            is_operator: app.authority.of_operator(&asker).is_ok(),
            headers: parts.headers.clone(),
        })
    }
}

/// What `?…` says.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let pairs = pairs_of(parts.uri.query().unwrap_or_default())?;
        options_of(&pairs).map(Self)
    }
}

/// Of a path that is asked nothing: whatever is asked anyhow is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The parts of the path that a route leaves open.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(rejection) => Err(ApiError::invalid(format!(
                "the path is not understood: {}",
                innermost(&rejection)
            ))
            .hint("names in a path are UTF-8, percent-encoded where they need it")),
        }
    }
}

/// Is every parameter of a query written as it has to be? Readers take what is not for another text, each for its own.
///
/// # Errors
/// The first that is not, by its name.
pub(super) fn check_query(query: &str) -> Result<(), ApiError> {
    for pair in query.split('&') {
        let Some(why) = why_unreadable(pair) else {
            continue;
        };
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let name: String = name.chars().take(100).collect();
        return Err(ApiError::invalid(format!(
            "the query is not understood: `{name}`: {why}"
        ))
        .hint(
            "in a query a percent sign is %25, and other characters are % and two digits for each byte of their UTF-8",
        )
        .details(json!({ "path": name })));
    }
    Ok(())
}

/// Why a text with bytes as percent signs and digits stands for no other, if it does not.
fn why_unreadable(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).unwrap_or(part);
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if digits.len() == 2 && is_hex(digits) => bytes.push(byte),
            _ => {
                let digits: String = digits.chars().take(2).collect();
                return Some(format!("`%{digits}` is no byte in two hexadecimal digits"));
            }
        }
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    let is_text = std::str::from_utf8(&bytes).is_ok();
    (!is_text).then(|| "its bytes are no text in UTF-8".to_owned())
}

/// What is at the bottom of an error.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
