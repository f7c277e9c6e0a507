//! `POST /run` and `POST /workflow`: a workflow in either form, prepared, run, and its result.

use std::{sync::Arc, time::Duration};

use asterism_protocol::{
    Cid, Invocation,
    limits::WORKFLOW_BYTES_MAX,
    to_value,
    view::{RunId, RunState, RunView},
};
use axum::{
    Json,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use super::{
    Shared,
    answer::{everything, last},
    body_of,
    prepare::{Ready, prepared, ready},
};
use crate::{app::App, error::ApiError, limits::RUN_WAIT_MAX, media, metrics::Counted};

/// Pause before a run is looked at again that could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What `?…` may say.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RunQuery {
    /// The result of every task instead of the last one's.
    #[serde(rename = "allResults")]
    all_results: bool,
    /// How long to wait for the result, in milliseconds.
    pub(super) timeout: Option<u64>,
    /// A name for people.
    pub(super) name: String,
    /// Who submits, for people.
    pub(super) submitter: String,
    /// A nonce for every task that has none: nothing is replayed.
    pub(super) nonce: Option<String>,
    /// When outcomes are believed: `any`, `trusted`, `quorum:2/3` or `spot:5%`.
    pub(super) verify: Option<String>,
    /// A head start, in steps.
    pub(super) priority: i32,
    /// By when it is wanted, in milliseconds from now.
    pub(super) deadline: Option<u64>,
    /// Run what is known too, and compare.
    pub(super) force: bool,
}

/// Prepares, runs, waits, and answers with what the last task written came to.
pub(super) async fn run(
    State(app): Shared,
    Query(query): Query<RunQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if let Some(trouble) = app.trouble.text() {
        return Err(ApiError::unavailable(trouble).hint("see /health"));
    }
    let _place = app
        .places
        .pending_runs
        .try_acquire()
        .map_err(|_| ApiError::busy("too many requests wait for runs to end"))?;
    let _counted = Counted::new(&app.metrics.pending_runs);
    let wait = query
        .timeout
        .map_or(RUN_WAIT_MAX, Duration::from_millis)
        .min(RUN_WAIT_MAX);
    let all_results = query.all_results;
    let body = body_of(&app, &headers, body, WORKFLOW_BYTES_MAX).await?;
    let Ready {
        submission,
        workflow,
    } = app.blocking(move |app| ready(app, &body, query)).await?;

    let run = app.driver.submit(submission).await?;
    let view = ended(&app, run, workflow, wait).await?;
    let names = [
        (HeaderName::from_static("asterism-run"), run.0.to_string()),
        (
            HeaderName::from_static("asterism-workflow"),
            workflow.to_string(),
        ),
    ];
    let answer = if all_results {
        everything(&app, &view).await
    } else {
        last(&app, &view).await
    };
    Ok((names, answer).into_response())
}

/// Prepares, and answers with the full workflow and its CIDs.
pub(super) async fn prepare_only(
    State(app): Shared,
    Query(query): Query<RunQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body_of(&app, &headers, body, WORKFLOW_BYTES_MAX).await?;
    let answer = app
        .blocking(move |app| {
            let (_, prepared) = prepared(app, &body, query.nonce)?;
            prepared.workflow.graph().map_err(|error| ApiError::invalid(error.to_string()))?;
            let tasks = prepared.workflow.tasks.iter().zip(&prepared.names).map(|(task, name)| {
                json!({ "name": name, "instruction": task.run.cid(), "invocation": Invocation { task }.cid() })
            });
            let tasks: Vec<Json_> = tasks.collect();
            let workflow = media::json_value(&to_value(&prepared.workflow));
            Ok(json!({ "cid": prepared.workflow.cid(), "workflow": workflow, "tasks": tasks }))
        })
        .await?;
    Ok(Json(answer).into_response())
}

/// Waits until a run has ended.
async fn ended(
    app: &Arc<App>,
    run: RunId,
    workflow: Cid,
    wait: Duration,
) -> Result<RunView, ApiError> {
    let deadline = tokio::time::sleep(wait);
    tokio::pin!(deadline);
    let at = format!("/workflows/{workflow}?run={}", run.0);
    loop {
        // Registered before looking: an end between the two is heard.
        let told = app.hub.ended(run);
        let Ok((view, _)) = app
            .driver
            .look_durable(move |scheduler| scheduler.run_view(run))
            .await
        else {
            // In trouble nothing is final, and nothing is lost: it goes on when the trouble is over.
            tokio::select! {
                () = app.trouble.over() => {}
                () = &mut deadline => return Err(ApiError::unavailable(app.trouble.text().unwrap_or_default()).hint("see /health")),
                () = app.closed() => return Err(ApiError::unavailable("the coordinator stops")),
            }
            if app.driver.is_gone() {
                return Err(ApiError::unavailable("the coordinator stops"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        };
        let view = view
            .ok_or_else(|| ApiError::not_found(format!("run {} ended and is forgotten", run.0)))?;
        if view.summary.state != RunState::Running {
            return Ok(view);
        }
        tokio::select! {
            _ = told => {}
            () = &mut deadline => {
                let message = format!("the workflow has not ended within {} ms; it goes on", wait.as_millis());
                return Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
                    .hint(if view.summary.counts.leased == 0 && app.metrics.executors.get() == 0 {
                        format!("no executor is here: open /donate in a browser or start `asterism executor start`; the run is at {at}")
                    } else {
                        format!("its state is at {at}")
                    })
                    .details(json!({ "run": run.0, "workflow": workflow, "at": at })));
            }
            () = app.closed() => {
                return Err(ApiError::unavailable("the coordinator stops; the run goes on when it is back")
                    .details(json!({ "run": run.0, "workflow": workflow, "at": at })));
            }
        }
    }
}
