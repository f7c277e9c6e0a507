//! Runs and executors as they are.

use std::sync::Arc;

use asterism_protocol::{
    Policy,
    limits::PAGE_TASKS_MAX,
    view::{RunId, RunState, RunSummary, TaskState, TaskView},
};
use asterism_scheduler::Scheduler;
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Shared, cid_of, events,
    explain::{explain, waits},
    extract::{Asked, Client, FromNetwork, Named, Operator, Who},
    json_of_view, partly,
    prepare::ready_as,
    receipts::answering,
    run::{self, RunQuery, Waiter, Wanted, forgotten, names_of},
    wants_page, whole,
};
use crate::{app::App, authority::Asker, error::ApiError, front::Partly, media};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichRun {
    /// Which run of the workflow; the latest without it.
    run: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PartQuery {
    run: Option<String>,
    /// The place of the first task in the answer.
    from: u32,
    /// Most tasks in it; [`PAGE_TASKS_MAX`] without it.
    limit: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ResultQuery {
    run: Option<String>,
    /// As of `/run`.
    timeout: Option<u64>,
    #[serde(rename = "allResults")]
    all_results: bool,
}

/// Which runs are listed.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only those in this state.
    state: Option<RunState>,
    /// At most so many.
    limit: Option<u32>,
}

pub(super) async fn list(
    State(app): Shared,
    Asked(query): Asked<ListQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(page) = app.panel.index(&headers).filter(|_| wants_page(&headers)) {
        return Ok(page);
    }
    let (runs, missing) = match app.front() {
        Some(front) => {
            let Partly { found, missing } = front.runs().await?;
            (found, missing)
        }
        None => {
            let (overview, _) = app.driver.look(Scheduler::overview).await?;
            (overview.runs, Vec::new())
        }
    };
    let wanted = |run: &&RunSummary| query.state.is_none_or(|state| run.state == state);
    let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
    let runs: Vec<&RunSummary> = runs.iter().filter(wanted).take(limit).collect();
    Ok(partly(json_of_view(&runs)?, &missing))
}

pub(super) async fn show(
    State(app): Shared,
    Named(cid): Named<String>,
    Asked(part): Asked<PartQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // The panel knows what it can show; its page comes for any address below.
    if let Some(page) = app.panel.index(&headers).filter(|_| wants_page(&headers)) {
        return Ok(page);
    }
    let most = part.limit.unwrap_or(PAGE_TASKS_MAX);
    if !(1..=PAGE_TASKS_MAX).contains(&most) {
        let message = format!("limit={most} is not from 1 to {PAGE_TASKS_MAX}");
        return Err(ApiError::invalid(message)
            .hint("an answer with tasks left out has a Link header with the address of the next"));
    }
    let RunSummary { run, workflow, .. } = run_of(&app, &cid, part.run.as_deref()).await?;
    let (view, _) = app
        .driver
        .look(move |scheduler| scheduler.part_view(run, part.from, most))
        .await?;
    let view = view.ok_or_else(|| forgotten(run))?;
    let next = view.tasks.last().map_or(0, |last| last.index + 1);
    let more = next > 0 && next < view.summary.counts.total();
    let link = more.then(|| {
        let limit = part
            .limit
            .map_or(String::new(), |most| format!("&limit={most}"));
        let at = run::at(run, workflow);
        [(
            header::LINK,
            format!("<{at}&from={next}{limit}>; rel=\"next\""),
        )]
    });
    Ok((link, json_of_view(&view)?).into_response())
}

/// The run that is meant: of a workflow the one that is named or the latest, or the one with the number in the path.
async fn run_of(app: &App, workflow: &str, run: Option<&str>) -> Result<RunSummary, ApiError> {
    let run = run.map(number_of).transpose()?;
    if is_number(workflow) {
        let number = number_of(workflow)?;
        if let Some(other) = run.filter(|run| *run != number) {
            let (number, other) = (number.0, other.0);
            let message = format!("the path says run {number}, and the query run {other}");
            return Err(ApiError::invalid(message).hint("leave one of them away"));
        }
        return run::summary(app, number).await;
    }
    let workflow = cid_of(workflow)?;
    let Some(run) = run else {
        let (latest, _) = app
            .driver
            .look(move |scheduler| {
                let latest = scheduler.latest_run_of(workflow)?;
                scheduler.run_summary(latest)
            })
            .await?;
        return latest.ok_or_else(|| {
            ApiError::not_found(format!("no run of {workflow} is here"))
                .hint("POST the workflow to /run; /workflows lists what is here")
                .command(
                    "`asterism run FILE` runs one, `asterism workflow list` lists what is here",
                )
        });
    };
    let summary = run::summary(app, run).await?;
    if summary.workflow == workflow {
        return Ok(summary);
    }
    let message = format!("run {} is not one of {workflow}", run.0);
    Err(ApiError::not_found(message).hint(format!(
        "it is at {}",
        run::at(summary.run, summary.workflow)
    )))
}

/// Is it a whole number, of whatever size?
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The run that has a number, as it is written.
///
/// # Errors
/// It is no number, or one that no run has.
fn number_of(text: &str) -> Result<RunId, ApiError> {
    if let Ok(number) = text.parse() {
        return Ok(RunId(number));
    }
    let said: String = text.chars().take(100).collect();
    if is_number(text) {
        return Err(run::absent(format!(
            "run {said} is not here: runs are counted from 1"
        )));
    }
    Err(
        ApiError::invalid(format!("run: `{said}` is not the number of a run"))
            .hint("/workflows lists the runs"),
    )
}

/// The full workflow of a run, as `/workflow` prepares it.
pub(super) async fn document(
    State(app): Shared,
    Named(cid): Named<String>,
    Asked(which): Asked<WhichRun>,
    FromNetwork(network): FromNetwork,
) -> Result<Response, ApiError> {
    let summary = run_of(&app, &cid, which.run.as_deref()).await?;
    let run = summary.run;
    let place = whole::place_of_whole(&app, network, &summary)?;
    let making = whole::making_whole(&app, summary.counts.total()).await?;
    let (prepared, _) = app
        .driver
        .look(move |scheduler| scheduler.prepared_of(run))
        .await?;
    let prepared = prepared.ok_or_else(|| forgotten(run))?;
    let answer = run::prepared_answer(&app, move |_| Ok((None, prepared))).await?;
    drop(making);
    Ok(whole::held_until_sent(answer, place))
}

/// Runs the workflow of a run once more: what is known is replayed, what failed or was cancelled is tried again.
pub(super) async fn rerun(
    State(app): Shared,
    Named(cid): Named<String>,
    Asked(mut query): Asked<RunQuery>,
    client: Client,
) -> Result<Response, ApiError> {
    if query.nonce.is_some() {
        return Err(
            ApiError::invalid("a run is repeated with the nonces that it has")
                .hint("?force=true runs what is known too; POST the workflow to /run with a nonce"),
        );
    }
    let before = run_of(&app, &cid, None).await?;
    let run = before.run;
    let (prepared, _) = app
        .driver
        .look(move |scheduler| scheduler.prepared_of(run))
        .await?;
    let prepared = prepared.ok_or_else(|| forgotten(run))?;
    if query.name.is_empty() {
        query.name = before.name;
    }
    let wanted = Wanted::of(&query);
    let ready = move |app: &App| ready_as(app, None, &prepared, query);
    run::answer(&app, None, wanted, ready, &client).await
}

/// What a run came to, as `/run` answers it.
pub(super) async fn result(
    State(app): Shared,
    Named(cid): Named<String>,
    Asked(query): Asked<ResultQuery>,
    FromNetwork(network): FromNetwork,
) -> Result<Response, ApiError> {
    let waiter = Waiter::new(&app, network)?;
    let RunSummary { run, workflow, .. } = run_of(&app, &cid, query.run.as_deref()).await?;
    let answer = waiter
        .result(run, workflow, query.timeout, query.all_results)
        .await;
    Ok((names_of(run, workflow), answer).into_response())
}

/// What happens to a run, as a stream.
pub(super) async fn watch(
    State(app): Shared,
    Named(cid): Named<String>,
    Asked(which): Asked<WhichRun>,
    FromNetwork(network): FromNetwork,
) -> Result<Response, ApiError> {
    let place = app.room.watchers.take(network)?;
    let RunSummary { run, workflow, .. } = run_of(&app, &cid, which.run.as_deref()).await?;
    Ok((
        names_of(run, workflow),
        events::follow(&app, run, workflow, place),
    )
        .into_response())
}

/// One task, what was said while it was performed, and why it is where it is.
pub(super) async fn task(
    State(app): Shared,
    Named((cid, task)): Named<(String, String)>,
    Asked(which): Asked<WhichRun>,
) -> Result<Response, ApiError> {
    let summary = run_of(&app, &cid, which.run.as_deref()).await?;
    let run = summary.run;
    let place = place_of(&app, run, task).await?;
    let look = move |scheduler: &Scheduler| {
        let found = scheduler.task_and_needs(run, place);
        let is_withheld = scheduler.is_withheld(run, place);
        let is_short = scheduler.lacks_executors(run, place);
        found.map(|found| (found, is_withheld, is_short, scheduler.overview()))
    };
    let (found, _) = app.driver.look(look).await?;
    let ((mut found, needs), is_withheld, is_short, overview) =
        found.ok_or_else(|| forgotten(run))?;
    if found.remark.is_none() {
        found = with_remark(&app, found, summary.policy).await?;
    }
    let executors = app.executors(overview.executors).await;
    let nobody = !executors.iter().any(|executor| executor.connected);
    let why = explain(&found, &needs, is_withheld, &executors, app.clock.now());
    Ok(Json(json!({
        "run": run.0,
        "workflow": summary.workflow,
        "state": summary.state,
        "task": media::json_of_view(&found),
        "why": why,
        "waits": waits(&found, is_short, nobody),
    }))
    .into_response())
}

/// What was said when it was computed, in this run or another with the same policy.
async fn with_remark(
    app: &Arc<App>,
    mut task: TaskView,
    policy: Policy,
) -> Result<TaskView, ApiError> {
    app.blocking(move |app| {
        let receipt = match task.receipt {
            Some(receipt) => Some(receipt),
            None => {
                let receipts = app.journal.receipts_of(&[task.instruction])?;
                answering(receipts, &task.limits, &policy).map(|receipt| receipt.cid())
            }
        };
        if let Some(receipt) = receipt {
            task.remark = app.journal.remark(receipt)?;
        }
        Ok(task)
    })
    .await
}

/// The place of a task that is asked for by its name, its place, or the CID of its instruction.
async fn place_of(app: &App, run: RunId, asked: String) -> Result<u32, ApiError> {
    let words = asked.clone();
    let look = move |scheduler: &Scheduler| {
        let all = scheduler.run_summary(run)?.counts.total();
        let named = || Some(&words).filter(|words| !words.is_empty());
        let by_name = named().and_then(|name| scheduler.task_named(run, name));
        let by_place = || words.parse().ok().filter(|place| *place < all);
        let by_instruction = || scheduler.task_of_instruction(run, words.parse().ok()?);
        let found = by_name.or_else(by_place).or_else(by_instruction);
        Some(found.ok_or_else(|| scheduler.task_nearest(run, &words)))
    };
    let (found, _) = app.driver.look(look).await?;
    found.ok_or_else(|| forgotten(run))?.map_err(|nearest| {
        let meant = nearest
            .map(|name| format!(", did you mean `{name}`?"))
            .unwrap_or_default();
        let asked: String = asked.chars().take(100).collect();
        ApiError::not_found(format!("run {} has no task `{asked}`{meant}", run.0)).hint(
            "a task is named by its name, its place counted from 0, or the CID of its instruction",
        )
    })
}

pub(super) async fn cancel(
    Who(asker): Who,
    State(app): Shared,
    Named(cid): Named<String>,
    Asked(which): Asked<WhichRun>,
) -> Result<Response, ApiError> {
    let RunSummary { run, workflow, .. } = run_of(&app, &cid, which.run.as_deref()).await?;
    app.authority.of_submitter(&asker, run, workflow)?;
    app.driver.cancel(run).await?;
    // It may have ended by itself before: then it is not cancelled, and saying so would be a lie.
    let summary = run::summary(&app, run).await?;
    let state = media::json_of_view(&summary.state);
    if summary.state == RunState::Cancelled {
        return Ok(
            Json(json!({ "run": run.0, "cancelled": true, "state": state })).into_response(),
        );
    }
    Err(already_ended(&summary))
}

fn already_ended(summary: &RunSummary) -> ApiError {
    let (run, state) = (summary.run.0, media::json_of_view(&summary.state));
    let how = match summary.state {
        RunState::Running => "it goes on",
        RunState::Done => "it is done",
        RunState::Failed => "it has failed",
        RunState::Cancelled => "it was cancelled",
    };
    let message = format!("run {run} has ended already: {how}");
    ApiError::conflict("already-ended", message)
        .details(json!({ "run": run, "workflow": summary.workflow, "state": state }))
}

/// Ends one task; what awaits it fails.
pub(super) async fn cancel_task(
    Who(asker): Who,
    State(app): Shared,
    Named((cid, task)): Named<(String, String)>,
    Asked(which): Asked<WhichRun>,
) -> Result<Response, ApiError> {
    let RunSummary { run, workflow, .. } = run_of(&app, &cid, which.run.as_deref()).await?;
    app.authority.of_submitter(&asker, run, workflow)?;
    let task = place_of(&app, run, task).await?;
    let run = app.driver.cancel_task(run, task).await?;
    // As with runs: what had ended by itself is not cancelled.
    let look = move |scheduler: &Scheduler| scheduler.task_and_needs(run, task);
    let (found, _) = app.driver.look(look).await?;
    let state = found.ok_or_else(|| forgotten(run))?.0.state;
    let how = match state {
        TaskState::Cancelled => {
            return Ok(
                Json(json!({ "run": run.0, "task": task, "cancelled": true })).into_response(),
            );
        }
        TaskState::Skipped => "nothing needed it",
        TaskState::Failed => "it has failed",
        TaskState::Replayed => "its outcome was known",
        _ => "it is done",
    };
    let message = format!("task {task} of run {} has ended already: {how}", run.0);
    Err(ApiError::conflict("already-ended", message)
        .details(json!({ "run": run, "task": task, "state": state })))
}

/// Leases nothing more of a run until it is resumed.
pub(super) async fn pause(
    Who(asker): Who,
    State(app): Shared,
    Named(cid): Named<String>,
    Asked(which): Asked<WhichRun>,
) -> Result<Response, ApiError> {
    set_paused(&app, &asker, &cid, which.run.as_deref(), true).await
}

/// Leases what a run waits for again.
pub(super) async fn resume(
    Who(asker): Who,
    State(app): Shared,
    Named(cid): Named<String>,
    Asked(which): Asked<WhichRun>,
) -> Result<Response, ApiError> {
    set_paused(&app, &asker, &cid, which.run.as_deref(), false).await
}

async fn set_paused(
    app: &App,
    asker: &Asker,
    cid: &str,
    run: Option<&str>,
    paused: bool,
) -> Result<Response, ApiError> {
    let summary = run_of(app, cid, run).await?;
    let run = summary.run;
    app.authority.of_submitter(asker, run, summary.workflow)?;
    if summary.state != RunState::Running {
        return Err(already_ended(&summary));
    }
    app.driver.pause(Some(run), paused).await?;
    Ok(Json(json!({ "run": run.0, "paused": paused })).into_response())
}

/// Leases nothing more of any run until all is resumed.
pub(super) async fn pause_all(_: Operator, State(app): Shared) -> Result<Response, ApiError> {
    pause_whole(&app, true).await?;
    Ok(Json(json!({ "paused": true })).into_response())
}

/// Leases again.
pub(super) async fn resume_all(_: Operator, State(app): Shared) -> Result<Response, ApiError> {
    pause_whole(&app, false).await?;
    Ok(Json(json!({ "paused": false })).into_response())
}

/// As [`pause_all`], of one of several partitions.
pub(super) async fn paused(State(app): Shared) -> Result<(), ApiError> {
    Ok(app.driver.pause(None, true).await?)
}

/// As [`resume_all`], of one of several partitions.
pub(super) async fn resumed(State(app): Shared) -> Result<(), ApiError> {
    Ok(app.driver.pause(None, false).await?)
}

async fn pause_whole(app: &App, paused: bool) -> Result<(), ApiError> {
    match app.front() {
        Some(front) => front.pause(paused).await,
        None => Ok(app.driver.pause(None, paused).await?),
    }
}
