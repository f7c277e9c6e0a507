//! Runs with all of their tasks, of which few are held at the same time: one of a million tasks is large.

use std::sync::Arc;

use asterism_protocol::{
    limits::{PAGE_TASKS_MAX, WATCHED_TASKS_MAX},
    view::{RunId, RunSummary, RunView, TaskView},
};
use axum::{body::Body, response::Response};
use futures_util::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    answer::with_skipped,
    run::{at, forgotten, summary},
    weight::give_back_soon,
};
use crate::{app::App, error::ApiError, limits::PART_TASKS, peer::Network, places::Place};

/// A run with all of its tasks, and its place among those that are held so: one of a million tasks is large.
pub(super) struct Whole {
    view: RunView,
    _making: Making,
}

impl std::ops::Deref for Whole {
    type Target = RunView;

    fn deref(&self) -> &RunView {
        &self.view
    }
}

/// A place among the answers with all of a large run, from before it is made until it is sent.
pub(super) fn place_of_whole(
    app: &App,
    network: Network,
    summary: &RunSummary,
) -> Result<Option<Place>, ApiError> {
    if summary.counts.total() as usize <= WATCHED_TASKS_MAX {
        return Ok(None);
    }
    let place = app.room.large_answers.take(network);
    let place = place.map_err(|error| {
        let at = at(summary.run, summary.workflow);
        error.hint(format!(
            "try again when they are read; parts of the run are at {at}"
        ))
    });
    place.map(Some)
}

/// The answer, whose place is given back when it was sent or given up.
pub(super) fn held_until_sent(answer: Response, place: Option<Place>) -> Response {
    let Some(place) = place else {
        return answer;
    };
    let (parts, body) = answer.into_parts();
    let chunks = body.into_data_stream().map(move |chunk| {
        let _ = &place;
        chunk
    });
    Response::from_parts(parts, Body::from_stream(chunks))
}

/// Something is made of all of a run.
pub(super) struct Making {
    /// Does what it takes matter to the system?
    is_large: bool,
    _place: OwnedSemaphorePermit,
}

/// One of the few at the same time; whoever comes waits for the others.
pub(super) async fn making_whole(app: &App, tasks: u32) -> Result<Making, ApiError> {
    let place = Arc::clone(&app.room.wholes).acquire_owned().await;
    Ok(Making {
        is_large: tasks as usize > PAGE_TASKS_MAX,
        _place: place.map_err(|error| ApiError::internal(&error))?,
    })
}

impl Drop for Making {
    fn drop(&mut self) {
        if self.is_large {
            give_back_soon();
        }
    }
}

/// A run with its tasks, those that were skipped included.
pub(super) async fn whole(app: &Arc<App>, run: RunId, all: bool) -> Result<Whole, ApiError> {
    let tasks = summary(app, run).await?.counts.total();
    let making = making_whole(app, tasks).await?;
    let (view, _) = app
        .driver
        .look_durable(move |scheduler| scheduler.run_view(run))
        .await?;
    let view = with_skipped(app, view.ok_or_else(|| forgotten(run))?, all).await?;
    Ok(Whole {
        view,
        _making: making,
    })
}

/// Some hundreds of a run's tasks from a place on, those that were skipped included; none behind the last.
pub(crate) async fn tasks_from(
    app: &Arc<App>,
    run: RunId,
    from: u32,
) -> Result<Vec<TaskView>, ApiError> {
    let (view, _) = app
        .driver
        .look_durable(move |scheduler| scheduler.part_view(run, from, PART_TASKS))
        .await?;
    let view = with_skipped(app, view.ok_or_else(|| forgotten(run))?, true).await?;
    Ok(view.tasks)
}
