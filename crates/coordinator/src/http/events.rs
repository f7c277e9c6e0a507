//! A run as it happens, for programs that read `text/event-stream`.
//!
//! First everything as it is (`run`, then each `task`), then every change, at last `end` with the result or the error that
//! `/run` would answer; or `trouble`, when the telling ends and the run does not.

use std::{convert::Infallible, sync::Arc};

use asterism_protocol::{Cid, to_json, view::RunId};
use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde_json::{Value as Json, json};

use super::{answer, run, whole};
use crate::{
    app::App,
    error::ApiError,
    follow::{self, News},
    limits::PING_EVERY,
    media,
    places::Place,
};

pub(super) const MEDIA_TYPE: &str = "text/event-stream";

/// A stream of what happens to a run until it has ended.
pub(super) fn follow(app: &Arc<App>, run: RunId, workflow: Cid, place: Place) -> Response {
    let received = follow::follow(app, run, place);
    let app = Arc::clone(app);
    let stream = stream::unfold((received, app), move |(mut received, app)| async move {
        let event = match received.recv().await? {
            News::Run(summary) => event("run", to_json(&summary)),
            News::Task(task) => event("task", to_json(&*task)),
            News::Ended => match end(&app, run).await {
                Ok(end) => event("end", end.to_string()),
                Err(error) => trouble(&error, run, workflow),
            },
            News::Trouble(error) => trouble(&error, run, workflow),
        };
        Some((Ok::<_, Infallible>(event), (received, app)))
    });
    let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(PING_EVERY));
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that collect answers before they pass them on.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    (headers, sse).into_response()
}

fn event(name: &str, json: String) -> Event {
    Event::default().event(name).data(json)
}

fn trouble(error: &ApiError, run: RunId, workflow: Cid) -> Event {
    let at = run::at(run, workflow);
    let trouble = json!({ "error": error, "status": error.status(), "at": at });
    event("trouble", trouble.to_string())
}

async fn end(app: &Arc<App>, run: RunId) -> Result<Json, ApiError> {
    let view = whole::whole(app, run, false).await?;
    let summary = media::json_of_view(&view.summary);
    Ok(match answer::in_json(app, &view).await {
        Ok(result) => json!({ "summary": summary, "result": result }),
        Err(error) => json!({ "summary": summary, "error": error, "status": error.status() }),
    })
}
