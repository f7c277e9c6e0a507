//! Runs and executors as they are.

use asterism_protocol::{Cid, view::RunId};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{Shared, cid_of, json_of_view, wants_page};
use crate::{app::App, error::ApiError};

#[derive(Deserialize)]
pub(super) struct RunQuery {
    /// Which run of the workflow; the latest without it.
    run: Option<u64>,
}

pub(super) async fn list(State(app): Shared, headers: HeaderMap) -> Result<Response, ApiError> {
    if let Some(page) = app.panel.index(&headers).filter(|_| wants_page(&headers)) {
        return Ok(page);
    }
    let (overview, _) = app
        .driver
        .look(asterism_scheduler::Scheduler::overview)
        .await?;
    json_of_view(&overview.runs)
}

pub(super) async fn executors(
    State(app): Shared,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(page) = app.panel.index(&headers).filter(|_| wants_page(&headers)) {
        return Ok(page);
    }
    let (overview, _) = app
        .driver
        .look(asterism_scheduler::Scheduler::overview)
        .await?;
    json_of_view(&overview.executors)
}

pub(super) async fn show(
    State(app): Shared,
    Path(cid): Path<String>,
    Query(RunQuery { run }): Query<RunQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(page) = app.panel.index(&headers).filter(|_| wants_page(&headers)) {
        return Ok(page);
    }
    let run = run_of(&app, cid_of(&cid)?, run).await?;
    let (view, _) = app
        .driver
        .look(move |scheduler| scheduler.run_view(run))
        .await?;
    json_of_view(&view.ok_or_else(|| forgotten(run))?)
}

/// The run that is meant; the latest of its workflow where none is named.
async fn run_of(app: &App, workflow: Cid, run: Option<u64>) -> Result<RunId, ApiError> {
    match run {
        Some(run) => Ok(RunId(run)),
        None => {
            let (latest, _) = app
                .driver
                .look(move |scheduler| scheduler.latest_run_of(workflow))
                .await?;
            latest.ok_or_else(|| {
                ApiError::not_found(format!("no run of {workflow} is here"))
                    .hint("POST the workflow to /run")
            })
        }
    }
}

fn forgotten(run: RunId) -> ApiError {
    ApiError::not_found(format!("run {} is not here, or not any more", run.0))
}

pub(super) async fn cancel(
    State(app): Shared,
    Path(cid): Path<String>,
    Query(RunQuery { run }): Query<RunQuery>,
) -> Result<Response, ApiError> {
    let run = run_of(&app, cid_of(&cid)?, run).await?;
    let run = app.driver.cancel(run).await?;
    Ok(Json(json!({ "run": run.0, "cancelled": true })).into_response())
}

/// Ends one task, by its place in the workflow; what awaits it fails.
pub(super) async fn cancel_task(
    State(app): Shared,
    Path((cid, task)): Path<(String, u32)>,
    Query(RunQuery { run }): Query<RunQuery>,
) -> Result<Response, ApiError> {
    let run = run_of(&app, cid_of(&cid)?, run).await?;
    let run = app.driver.cancel_task(run, task).await?;
    Ok(Json(json!({ "run": run.0, "task": task, "cancelled": true })).into_response())
}

/// Leases nothing more of a run until it is resumed.
pub(super) async fn pause(
    State(app): Shared,
    Path(cid): Path<String>,
    Query(RunQuery { run }): Query<RunQuery>,
) -> Result<Response, ApiError> {
    set_paused(&app, &cid, run, true).await
}

/// Leases what a run waits for again.
pub(super) async fn resume(
    State(app): Shared,
    Path(cid): Path<String>,
    Query(RunQuery { run }): Query<RunQuery>,
) -> Result<Response, ApiError> {
    set_paused(&app, &cid, run, false).await
}

async fn set_paused(
    app: &App,
    cid: &str,
    run: Option<u64>,
    paused: bool,
) -> Result<Response, ApiError> {
    let run = run_of(app, cid_of(cid)?, run).await?;
    app.driver.pause(Some(run), paused).await?;
    Ok(Json(json!({ "run": run.0, "paused": paused })).into_response())
}

/// Leases nothing more of any run until all is resumed.
pub(super) async fn pause_all(State(app): Shared) -> Result<Response, ApiError> {
    app.driver.pause(None, true).await?;
    Ok(Json(json!({ "paused": true })).into_response())
}

/// Leases again.
pub(super) async fn resume_all(State(app): Shared) -> Result<Response, ApiError> {
    app.driver.pause(None, false).await?;
    Ok(Json(json!({ "paused": false })).into_response())
}
