//! A workflow that came over HTTP: read, prepared, looked at before a run exists.

use std::collections::BTreeSet;

use asterism_protocol::{
    Cid, DecodeError, Defaults, Prepared, Receipt, SimplifiedError, Terms, Value, decode,
    limits::{NAME_BYTES_MAX, WORKFLOW_BYTES_MAX},
    prepare, value_of_json,
};
use asterism_scheduler::Submission;
use serde_json::{Value as Json_, json};

use super::run::RunQuery;
use crate::{app::App, error::ApiError};

/// A submission, looked at from all sides but the scheduler's.
pub(super) struct Ready {
    pub(super) submission: Submission,
    pub(super) workflow: Cid,
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
pub(super) fn prepared(
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
pub(super) fn ready(app: &App, body: &[u8], query: RunQuery) -> Result<Ready, ApiError> {
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
