//! `POST /run` and `POST /workflow`: a workflow in either form, prepared, run, and its result.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use asterism_protocol::{
    Cid, DecodeError, Defaults, Failure, Invocation, Out, Prepared, Receipt, Remark,
    SimplifiedError, Terms, Value, decode, json_of,
    limits::{NAME_BYTES_MAX, WORKFLOW_BYTES_MAX},
    message::FaultKind,
    prepare, to_value, value_of_json,
    view::{RunId, RunState, RunView, TaskState, TaskView},
};
use asterism_scheduler::Submission;
use axum::{
    Json,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use super::{Shared, blobs, body_of};
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
    timeout: Option<u64>,
    /// A name for people.
    name: String,
    /// Who submits, for people.
    submitter: String,
    /// A nonce for every task that has none: nothing is replayed.
    nonce: Option<String>,
    /// When outcomes are believed: `any`, `trusted`, `quorum:2/3` or `spot:5%`.
    verify: Option<String>,
    /// A head start, in steps.
    priority: i32,
    /// By when it is wanted, in milliseconds from now.
    deadline: Option<u64>,
    /// Run what is known too, and compare.
    force: bool,
}

/// A submission, looked at from all sides but the scheduler's.
struct Ready {
    submission: Submission,
    workflow: Cid,
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

/// Reads a document in DAG-JSON or DAG-CBOR.
fn document(body: &[u8]) -> Result<Value, ApiError> {
    // A map of DAG-CBOR begins with 0xa0 to 0xbf, which no JSON text does: what it is says more than what it is called.
    let read = match body.first() {
        Some(0xa0..=0xbf) => decode("workflow", body, WORKFLOW_BYTES_MAX),
        _ => value_of_json(body),
    };
    read.map_err(|error: DecodeError| {
        ApiError::invalid(error.to_string()).hint(
            "a workflow is {\"tasks\": [{\"run\": {\"input\": {\"func\": …, \"args\": […]}}}]}",
        )
    })
}

/// The name that the document carries, if it does, and the workflow in it.
fn prepared(
    app: &App,
    body: &[u8],
    nonce: Option<String>,
) -> Result<(Option<String>, Prepared), ApiError> {
    let mut document = document(body)?;
    let mut name = None;
    // Clients of Homestar wrap a workflow with its name.
    if let Value::Map(map) = &mut document
        && !map.contains_key("tasks")
        && let Some(workflow) = map.remove("workflow")
    {
        name = match map.remove("name") {
            Some(Value::String(name)) => Some(name),
            _ => None,
        };
        document = workflow;
    }
    let nonce = match nonce {
        None if app.fresh => Some(fresh_nonce()?),
        nonce => nonce,
    };
    let prepared =
        prepare(&document, &*app.library.shelf(), &Defaults { nonce }).map_err(|error| {
            let details = match &error {
                SimplifiedError::At { path, task, reason } => {
                    json!({ "path": path, "task": task, "reason": reason })
                }
                SimplifiedError::Workflow(_) => Json_::Null,
            };
            ApiError::invalid(error.to_string()).details(details)
        })?;
    Ok((name, prepared))
}

/// Never the same twice: what has it was not computed before.
fn fresh_nonce() -> Result<String, ApiError> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::internal(&error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Everything that can be refused before a run exists, and what the store knows of its tasks.
fn ready(app: &App, body: &[u8], query: RunQuery) -> Result<Ready, ApiError> {
    let (name_inside, prepared) = prepared(app, body, query.nonce)?;
    let graph = prepared
        .workflow
        .graph()
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    bytes_are_here(app, &prepared)?;
    let wanted: BTreeSet<Cid> = graph
        .instructions
        .iter()
        .copied()
        .chain(
            graph
                .external
                .iter()
                .map(|(_, promise)| promise.instruction),
        )
        .collect();
    let wanted: Vec<Cid> = wanted.into_iter().collect();
    let known: Vec<Receipt> = app.journal.receipts_of(&wanted)?;
    let name = if query.name.is_empty() {
        name_inside.unwrap_or_else(|| title(&prepared))
    } else {
        query.name
    };
    let submitter = if query.submitter.is_empty() {
        "anonymous".to_owned()
    } else {
        query.submitter
    };
    for (what, text) in [("name", &name), ("submitter", &submitter)] {
        if text.len() > NAME_BYTES_MAX {
            return Err(ApiError::invalid(format!(
                "a {what} has at most {NAME_BYTES_MAX} bytes"
            )));
        }
    }
    let verify = query.verify.map(|verify| verify.parse()).transpose();
    let terms = Terms {
        verify: verify
            .map_err(|error: asterism_protocol::Error| ApiError::invalid(error.to_string()))?,
        priority: query.priority,
        deadline: query.deadline.map(|ms| app.clock.now().after_ms(ms)),
        force: query.force,
    };
    terms
        .check()
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let workflow = prepared.workflow.cid();
    Ok(Ready {
        submission: Submission {
            prepared,
            name,
            submitter,
            known,
            terms,
        },
        workflow,
    })
}

/// What a workflow without a name is called: its functions.
fn title(prepared: &Prepared) -> String {
    const SHOWN: usize = 3;
    let tasks = &prepared.workflow.tasks;
    let mut funcs: Vec<&str> = tasks
        .iter()
        .map(|task| task.run.input.func.rsplit('#').next().unwrap_or_default())
        .collect();
    funcs.dedup();
    let more = if funcs.len() > SHOWN { ", …" } else { "" };
    funcs.truncate(SHOWN);
    let title: String = funcs.join(", ").chars().take(NAME_BYTES_MAX / 8).collect();
    title + more
}

/// Components and linked bytes must be here before executors are sent to fetch them.
fn bytes_are_here(app: &App, prepared: &Prepared) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    for (index, task) in prepared.workflow.tasks.iter().enumerate() {
        let component = task
            .run
            .component()
            .map_err(|error| ApiError::invalid(format!("tasks[{index}]: {error}")))?;
        if seen.insert(component) && app.blobs.size(component)?.is_none() {
            return Err(ApiError::invalid(format!(
                "tasks[{index}].run.rsc: component {component} is not here"
            ))
            .hint("add it with POST /components")
            .details(
                json!({ "path": format!("tasks[{index}].run.rsc"), "component": component }),
            ));
        }
        let mut links = BTreeSet::new();
        task.run
            .input
            .args
            .iter()
            .for_each(|arg| collect_blobs(arg, &mut links));
        for link in links {
            if seen.insert(link) && app.blobs.size(link)?.is_none() {
                return Err(ApiError::invalid(format!(
                    "tasks[{index}].run.input.args: blob {link} is not here"
                ))
                .hint(format!("PUT its bytes to /blobs/{link}"))
                .details(
                    json!({ "path": format!("tasks[{index}].run.input.args"), "blob": link }),
                ));
            }
        }
    }
    Ok(())
}

/// Links to blobs, not those of promises.
pub(crate) fn collect_blobs(value: &Value, found: &mut BTreeSet<Cid>) {
    match value {
        Value::Link(link) => {
            if let Ok(cid) = Cid::try_from(*link)
                && cid.is_blob()
            {
                found.insert(cid);
            }
        }
        Value::List(items) => items.iter().for_each(|item| collect_blobs(item, found)),
        Value::Map(map) => map.values().for_each(|item| collect_blobs(item, found)),
        _ => {}
    }
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

/// The result of the last task written.
async fn last(app: &Arc<App>, view: &RunView) -> Result<Response, ApiError> {
    let task = view
        .tasks
        .last()
        .ok_or_else(|| ApiError::internal(&"a run without tasks"))?;
    let mut response = match &task.out {
        // Bytes that became a blob are what the author asked for, not their CID.
        Some(Out::Ok(Value::Link(link))) => match Cid::try_from(*link) {
            Ok(cid) if cid.is_blob() => blobs::send(app, cid, None).await?,
            _ => {
                return Err(ApiError::internal(&format!(
                    "the result {link} is not a blob"
                )));
            }
        },
        Some(Out::Ok(value)) => {
            let body = media::body_of(value);
            ([(header::CONTENT_TYPE, body.media_type)], body.bytes).into_response()
        }
        Some(Out::Error(_)) | None => return Err(failed(app, view, task).await?),
    };
    if task.state == TaskState::Replayed {
        response.headers_mut().insert(
            "asterism-replayed",
            header::HeaderValue::from_static("true"),
        );
    }
    Ok(response)
}

/// The results of all tasks in the order they were written.
async fn everything(app: &Arc<App>, view: &RunView) -> Result<Response, ApiError> {
    let results: Vec<Json_> = view.tasks.iter().map(result).collect();
    match view
        .tasks
        .iter()
        .find(|task| matches!(task.out, Some(Out::Error(_))) || task.state == TaskState::Failed)
    {
        _ if view.summary.state == RunState::Done => Ok(Json(results).into_response()),
        Some(task) => {
            let error = failed(app, view, task).await?;
            Err(error.also("results", Json_::Array(results)))
        }
        None => Err(failed(app, view, &view.tasks[view.tasks.len() - 1]).await?),
    }
}

/// One entry of `?allResults=true`.
fn result(task: &TaskView) -> Json_ {
    let mut entry = json!({ "name": task.name, "replayed": task.state == TaskState::Replayed, "receipt": task.receipt });
    match &task.out {
        Some(Out::Ok(value)) => {
            let media_type = match value {
                Value::Link(_) => "application/octet-stream",
                value => media::body_of(value).media_type,
            };
            entry["out"] = media::json_value(value);
            entry["type"] = json!(media::js_type(value));
            entry["headers"] = json!({ "content-type": media_type });
        }
        Some(Out::Error(value)) => entry["error"] = media::json_value(value),
        None => entry["state"] = json!(task.state),
    }
    entry
}

/// Follows what failed a task down to the one that failed by itself.
fn root<'a>(view: &'a RunView, task: &'a TaskView) -> &'a TaskView {
    let mut task = task;
    // Needs form no circle, and each step goes to another task: it ends.
    for _ in 0..view.tasks.len() {
        if task.out.is_some() || !task.attempts.is_empty() {
            return task;
        }
        let mut needs = task
            .needs
            .iter()
            .filter_map(|need| view.tasks.get(*need as usize));
        match needs
            .find(|need| need.state == TaskState::Failed || matches!(need.out, Some(Out::Error(_))))
        {
            Some(need) => task = need,
            None => return task,
        }
    }
    task
}

/// Why there is no result: the task that failed first, its function, its kind, and what the guest itself said.
async fn failed(app: &Arc<App>, view: &RunView, task: &TaskView) -> Result<ApiError, ApiError> {
    if view.summary.state == RunState::Cancelled {
        return Ok(
            ApiError::new(StatusCode::CONFLICT, "cancelled", "the run was cancelled")
                .details(json!({ "run": view.summary.run.0, "workflow": view.summary.workflow })),
        );
    }
    let cause = root(view, task);
    let remark = match (&cause.remark, cause.receipt) {
        (Some(remark), _) => remark.clone(),
        // Replayed: what was said when it was computed.
        (None, Some(receipt)) => app
            .blocking(move |app| Ok(app.journal.remark(receipt)?))
            .await?
            .unwrap_or_default(),
        (None, None) => Remark::default(),
    };
    let what = if cause.name.is_empty() {
        format!("tasks[{}]", cause.index)
    } else {
        format!("task `{}`", cause.name)
    };
    let func = &cause.func;
    let mut details = json!({
        "task": cause.name,
        "index": cause.index,
        "function": func,
        "component": cause.component,
        "instruction": cause.instruction,
        "receipt": cause.receipt,
        "run": view.summary.run.0,
        "workflow": view.summary.workflow,
        "logs": remark.logs,
    });
    let (status, code, kind, message, hint) = match (&cause.out, cause.attempts.last()) {
        (Some(Out::Error(value)), _) => {
            details["error"] = media::json_value(value);
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            match Failure::of_value(value) {
                Some(failure) => {
                    details["backtrace"] = json!(remark.backtrace);
                    let said = remark.message.as_deref().unwrap_or_default();
                    details["message"] = json!(said);
                    let kind = failure.trap.name();
                    let colon = if said.is_empty() { "" } else { ": " };
                    let message =
                        format!("{what} failed in function `{func}` ({kind}){colon}{said}");
                    let hint = hint_of_log(&remark).unwrap_or_default();
                    (status, "task-failed", kind, message, hint)
                }
                None => {
                    let message = format!(
                        "{what} failed: function `{func}` returned the error {}",
                        short(&json_of(value))
                    );
                    (
                        status,
                        "task-failed",
                        "error",
                        message,
                        hint_of_log(&remark).unwrap_or_default(),
                    )
                }
            }
        }
        (_, Some(attempt)) => {
            let kind = match attempt.fault.kind {
                FaultKind::TimeLimit => "time-limit",
                FaultKind::StackOverflow => "stack-overflow",
                FaultKind::Blob => "blob",
                FaultKind::Host => "host",
                FaultKind::Lost => "lost",
                FaultKind::Disagreement => "disagreement",
            };
            details["attempts"] = json!(cause.attempts);
            let status = if attempt.fault.kind == FaultKind::TimeLimit {
                StatusCode::GATEWAY_TIMEOUT
            } else {
                StatusCode::BAD_GATEWAY
            };
            let attempts = cause.attempts.len();
            let message = format!(
                "{what} was given up after {attempts} attempts at `{func}` ({kind}): {}",
                attempt.fault.message
            );
            (status, "task-given-up", kind, message, String::new())
        }
        _ => {
            let message = format!("{what} could not be done: {}", cause.reason);
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                "task-failed",
                "promise",
                message,
                String::new(),
            )
        }
    };
    details["kind"] = json!(kind);
    Ok(ApiError::new(status, code, message)
        .hint(hint)
        .details(details))
}

/// The gravest thing that the guest said last is the best hint there is.
fn hint_of_log(remark: &Remark) -> Option<String> {
    let line = remark.logs.iter().rev().max_by_key(|line| line.level)?;
    Some(format!("the guest said: {}", short(&line.message)))
}

fn short(text: &str) -> String {
    const CHARS: usize = 200;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
