//! What a request says beside its body; what cannot be read is refused in the one form that errors have.

use axum::{
    extract::{FromRequestParts, Query, rejection::QueryRejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

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
