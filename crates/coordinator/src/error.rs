//! What goes wrong over HTTP: one JSON form for all of it, `{code, message, hint, details}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value as Json_, json};

use crate::{
    driver::NoAnswer,
    store::{BlobError, JournalError},
};

/// After so many seconds somebody whose tasks are too many may ask again: some are done by then, or one has to go on waiting.
const QUEUE_AGAIN_S: u64 = 10;

/// An answer that is not what was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    /// For programs: one word in kebab-case.
    code: &'static str,
    /// For people: what is wrong.
    message: String,
    /// What to do about it; empty where there is nothing to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    hint: String,
    /// What else is known, by name.
    #[serde(skip_serializing_if = "Json_::is_null")]
    details: Json_,
    #[serde(skip)]
    retry_after_s: Option<u32>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (message, hint, details) = (message.into(), String::new(), Json_::Null);
        Self {
            status,
            code,
            message,
            hint,
            details,
            retry_after_s: None,
        }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The request is not understood.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-input", message)
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    /// It is too late, or somebody else was first.
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// A page of another site asks for what only ours may.
    pub(crate) fn foreign_origin() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "origin",
            "pages of that origin may not do this",
        )
        .hint("start the coordinator with --allow-origin <origin> to allow it")
    }

    /// The body is packed in a way that nobody here unpacks.
    pub(crate) fn encoded(encoding: &str) -> Self {
        let encoding: String = encoding.chars().take(100).collect();
        let message = format!("a body with `content-encoding: {encoding}` is not unpacked here");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message)
            .hint("send it as it is, without that header")
    }

    /// Too much at the same time.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
        }
        .hint("try again when some of it is done")
    }

    /// More than one of them may have.
    pub(crate) fn over_quota(message: impl Into<String>, wait_s: u64) -> Self {
        Self {
            retry_after_s: Some(u32::try_from(wait_s).unwrap_or(u32::MAX).max(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "over-quota", message)
        }
    }

    /// The coordinator stops or is in trouble.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self {
            retry_after_s: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
        }
    }

    /// The coordinator is in trouble, for this reason.
    pub(crate) fn trouble(message: impl Into<String>) -> Self {
        Self::unavailable(message)
            .hint("see /health")
            .command("it goes on by itself once that is over; the coordinator's log says more")
    }

    /// A fault of ours; its cause is logged here.
    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
        )
    }

    /// Is it no fault of whoever asked, and may it work in a moment?
    pub(crate) fn is_unavailable(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// The status, for answers that carry an error inside.
    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The hint for whoever is at a command line and sees no HTTP, where it is another one.
    #[must_use]
    pub(crate) fn command(self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        self.also("command", hint.into())
    }

    /// What else is known. Called before what adds to it.
    #[must_use]
    pub(crate) fn details(mut self, details: Json_) -> Self {
        self.details = details;
        self
    }

    /// One more detail.
    #[must_use]
    pub(crate) fn also(mut self, name: &str, detail: Json_) -> Self {
        self.details[name] = detail;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, retry_after_s) = (self.status, self.retry_after_s);
        let mut response = (status, Json(self)).into_response();
        // No other refusal has this status.
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            response.headers_mut().insert(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            );
        }
        if let Some(seconds) = retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<NoAnswer> for ApiError {
    fn from(error: NoAnswer) -> Self {
        use asterism_scheduler::SubmitError;
        let message = error.to_string();
        match error {
            NoAnswer::Busy => Self::busy(message),
            NoAnswer::Unavailable => Self::trouble(message),
            NoAnswer::Refused(SubmitError::Full { .. }) => Self::busy(message),
            NoAnswer::Refused(SubmitError::Quota { live, max, .. }) => {
                Self::over_quota(message, QUEUE_AGAIN_S)
                    .hint("submit it again when some are done, in smaller workflows, or ask the operator for a greater `--quota-tasks`")
                    .details(json!({ "quota": "tasks", "used": live, "max": max }))
            }
            NoAnswer::Refused(
                SubmitError::UnknownRun(_)
                | SubmitError::UnknownTask { .. }
                | SubmitError::UnknownExecutor(_),
            ) => Self::not_found(message),
            NoAnswer::Refused(SubmitError::NotExcluded(_)) => {
                Self::conflict("not-excluded", message)
                    .hint("`asterism executor list` tells who is excluded")
            }
            NoAnswer::Refused(SubmitError::UnknownPromise { .. } | SubmitError::Terms(_)) => {
                Self::invalid(message)
            }
            NoAnswer::Refused(SubmitError::Incomparable { task, policy }) => {
                Self::invalid(message).details(json!({ "task": task, "verify": policy.to_string() }))
            }
        }
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        match error {
            // It may work again in a moment.
            JournalError::Failed { .. } => {
                tracing::warn!(%error, "a request failed");
                Self::unavailable(error.to_string())
            }
            JournalError::Sequence { .. }
            | JournalError::Fenced { .. }
            | JournalError::Damaged { .. }
            | JournalError::Newer { .. }
            | JournalError::Partitions { .. } => Self::internal(&error),
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        let message = error.to_string();
        match error {
            BlobError::Mismatch(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong-bytes", message)
                .hint("name the bytes as `ipfs add --cid-version 1` does, or POST them to /blobs and read the CID"),
            BlobError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message),
            BlobError::Corrupted { .. } | BlobError::Io { .. } => Self::internal(&error),
            // It may work again in a moment, and it is not ours to repair.
            BlobError::Store { .. } => {
                tracing::warn!(%error, "a request failed");
                Self::trouble(message)
            }
        }
    }
}

/// A task of ours was cancelled or panicked.
impl From<tokio::task::JoinError> for ApiError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(&error)
    }
}
