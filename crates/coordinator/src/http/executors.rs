//! Executors as they are, and what the operator decides of them.

use asterism_protocol::{
    PublicKey,
    limits::NAME_BYTES_MAX,
    nearest, one_line,
    view::{ExecutorView, Standing},
};
use asterism_scheduler::Scheduler;
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Shared,
    extract::{Asked, Named, Nothing, Operator},
    json_of_view, partly, wants_page,
};
use crate::{app::App, error::ApiError, front::Partly};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DrainQuery {
    /// Lease to it again.
    undo: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BanQuery {
    /// Why, for its owner and for people.
    reason: String,
    /// Take it back.
    undo: bool,
}

pub(super) async fn list(
    State(app): Shared,
    _: Asked<Nothing>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(page) = app.panel.index(&headers).filter(|_| wants_page(&headers)) {
        return Ok(page);
    }
    let Partly { found, missing } = executors(&app).await?;
    Ok(partly(json_of_view(&found)?, &missing))
}

/// Executors that are here, of all partitions.
async fn executors(app: &App) -> Result<Partly<Vec<ExecutorView>>, ApiError> {
    if let Some(front) = app.front() {
        return front.executors().await;
    }
    let (overview, _) = app.driver.look(Scheduler::overview).await?;
    Ok(Partly {
        found: overview.executors,
        missing: Vec::new(),
    })
}

/// Nothing more is leased to it, until it is gone or this is undone.
pub(super) async fn drain(
    _: Operator,
    State(app): Shared,
    Named(which): Named<String>,
    Asked(query): Asked<DrainQuery>,
) -> Result<Response, ApiError> {
    let executor = executor_of(&app, &which).await?;
    let is_excluded =
        |view: &ExecutorView| view.key == executor && view.standing == Standing::Excluded;
    let all = executors(&app).await?.whole()?;
    if all.iter().any(is_excluded) {
        let message = "it is excluded: nothing is leased to it, drained or not";
        return Err(ApiError::conflict("excluded", message)
            .hint(format!(
                "POST /executors/{}/ban?undo=true takes that back",
                executor.did()
            ))
            .command("`asterism executor ban EXECUTOR --undo` takes that back"));
    }
    match app.front() {
        Some(front) => front.drain(executor, !query.undo).await?,
        None => app.driver.drain(executor, !query.undo).await?,
    }
    Ok(Json(json!({ "executor": executor.did(), "draining": !query.undo })).into_response())
}

/// Nothing is leased to it or believed of it any more, until this is undone.
pub(super) async fn ban(
    _: Operator,
    State(app): Shared,
    Named(which): Named<String>,
    Asked(query): Asked<BanQuery>,
) -> Result<Response, ApiError> {
    let executor = executor_of(&app, &which).await?;
    if query.reason.len() > NAME_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "a reason has at most {NAME_BYTES_MAX} bytes"
        )));
    }
    if query.undo {
        match app.front() {
            Some(front) => front.decide(executor, None).await?,
            None => app.driver.lift(executor).await?,
        }
        return Ok(Json(json!({ "executor": executor.did(), "banned": false })).into_response());
    }
    let reason = match query.reason.as_str() {
        "" => "the operator excluded it".to_owned(),
        reason => format!("the operator excluded it: {}", one_line(reason)),
    };
    match app.front() {
        Some(front) => front.decide(executor, Some(reason.clone())).await?,
        None => app.driver.ban(executor, reason.clone()).await?,
    }
    Ok(
        Json(json!({ "executor": executor.did(), "banned": true, "reason": reason }))
            .into_response(),
    )
}

/// An executor by its key, here or not, or by its name if one alone has it.
async fn executor_of(app: &App, which: &str) -> Result<PublicKey, ApiError> {
    if let Ok(key) = which.parse() {
        return Ok(key);
    }
    // One that is not seen may have the same name.
    let executors = executors(app).await?.whole()?;
    let named: Vec<&ExecutorView> = executors
        .iter()
        .filter(|executor| executor.name == which)
        .collect();
    let shown: String = which.chars().take(100).collect();
    match &named[..] {
        [only] => Ok(only.key),
        [] => {
            let names = executors.iter().map(|executor| executor.name.as_str());
            let meant = nearest(which, names)
                .map(|name| format!(", did you mean `{name}`?"))
                .unwrap_or_default();
            Err(
                ApiError::not_found(format!("no executor `{shown}` is here{meant}"))
                    .hint("an executor is named by its key, or by its name if no other has it"),
            )
        }
        several => {
            let keys: Vec<String> = several.iter().map(|executor| executor.key.did()).collect();
            let message = format!("{} executors are called `{shown}`", several.len());
            Err(ApiError::conflict("ambiguous", message)
                .hint("name it by its key")
                .details(json!({ "keys": keys })))
        }
    }
}
