//! What a run that ended is answered with.

use std::{collections::BTreeSet, sync::Arc};

use asterism_protocol::{
    Await, Cid, Failure, Out, Promise, Remark, Value, json_of,
    message::FaultKind,
    view::{RunState, RunView, TaskState, TaskView},
};
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value as Json_, json};

use super::{blobs, receipts::answering};
use crate::{app::App, error::ApiError, media};

/// The result of the last task written: strings and numbers as text, bytes as what they are.
pub(super) async fn last(app: &Arc<App>, view: &RunView) -> Result<Response, ApiError> {
    let task = settled(app, view).await?;
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
    if is_replayed(task) {
        response.headers_mut().insert(
            "asterism-replayed",
            header::HeaderValue::from_static("true"),
        );
    }
    Ok(response)
}

/// The results of all tasks in the order they were written.
pub(super) async fn everything(app: &Arc<App>, view: &RunView) -> Result<Response, ApiError> {
    let results = || Json_::Array(view.tasks.iter().map(result).collect());
    match settled(app, view).await {
        Ok(_) => Ok(Json(results()).into_response()),
        Err(error) => Err(error.also("results", results())),
    }
}

/// What the run came to, inside a JSON document.
pub(super) async fn in_json(app: &Arc<App>, view: &RunView) -> Result<Json_, ApiError> {
    settled(app, view).await.map(result)
}

/// Looks up what tasks came to that this run skipped, because all that they feed was known.
pub(super) async fn with_skipped(
    app: &Arc<App>,
    mut view: RunView,
    all: bool,
) -> Result<RunView, ApiError> {
    let from = if all {
        0
    } else {
        view.tasks.len().saturating_sub(1)
    };
    let is_skipped = |task: &TaskView| task.state == TaskState::Skipped && task.out.is_none();
    if !view.tasks[from..].iter().any(is_skipped) {
        return Ok(view);
    }
    let policy = view.summary.policy;
    app.blocking(move |app| {
        for task in view.tasks[from..]
            .iter_mut()
            .filter(|task| is_skipped(task))
        {
            let receipts = app.journal.receipts_of(&[task.instruction])?;
            if let Some(receipt) = answering(receipts, &task.limits, &policy) {
                task.receipt = Some(receipt.cid());
                task.out = Some(receipt.out);
            }
        }
        Ok(view)
    })
    .await
}

/// The last task written, if it came to something and no failure went unnoticed.
///
/// A run is one thing: whoever reads its result alone must not miss that another task of it failed. A failure that a task
/// of the workflow awaits (`await/error`, `await/*`) is part of the plan, and so is the branch that was not taken.
async fn settled<'a>(app: &Arc<App>, view: &'a RunView) -> Result<&'a TaskView, ApiError> {
    let last = view
        .tasks
        .last()
        .ok_or_else(|| ApiError::internal(&"a run without tasks"))?;
    match (&last.out, unnoticed(view)) {
        (Some(Out::Ok(_)), None) => Ok(last),
        (Some(Out::Ok(_)), Some(task)) => {
            Err(failed(app, view, task).await?.also("result", result(last)))
        }
        (Some(Out::Error(_)) | None, _) => Err(failed(app, view, last).await?),
    }
}

/// The first task that failed by itself and whose failure no other task of the workflow awaits.
fn unnoticed(view: &RunView) -> Option<&TaskView> {
    let mut awaited = BTreeSet::new();
    let inputs = view
        .tasks
        .iter()
        .flat_map(|task| task.args.iter().chain(task.files.values()));
    inputs.for_each(|value| note_awaited_failures(value, &mut awaited));
    view.tasks.iter().find(|task| match &task.out {
        Some(Out::Error(_)) => !awaited.contains(&task.instruction),
        Some(Out::Ok(_)) => false,
        // Given up: that is no outcome, nothing can await it.
        None => task.state == TaskState::Failed && !task.attempts.is_empty(),
    })
}

/// Instructions whose failure is an input of somebody.
fn note_awaited_failures(value: &Value, found: &mut BTreeSet<Cid>) {
    if let Some(promise) = Promise::of_value(value) {
        if matches!(promise.branch, Await::Error | Await::Any) {
            found.insert(promise.instruction);
        }
        return;
    }
    match value {
        Value::List(items) => items
            .iter()
            .for_each(|item| note_awaited_failures(item, found)),
        Value::Map(map) => map
            .values()
            .for_each(|item| note_awaited_failures(item, found)),
        _ => {}
    }
}

fn is_replayed(task: &TaskView) -> bool {
    matches!(task.state, TaskState::Replayed | TaskState::Skipped)
}

/// One entry of `?allResults=true`.
fn result(task: &TaskView) -> Json_ {
    let mut entry =
        json!({ "name": task.name, "replayed": is_replayed(task), "receipt": task.receipt });
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
    let what = title(cause);
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

/// A task as an error text names it.
pub(super) fn title(task: &TaskView) -> String {
    if task.name.is_empty() {
        format!("tasks[{}]", task.index)
    } else {
        format!("task `{}`", task.name)
    }
}
