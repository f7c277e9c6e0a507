//! A workflow that came over HTTP: read, prepared, looked at before a run exists.

use std::collections::{BTreeMap, BTreeSet};

use asterism_document::Finding;
use asterism_protocol::{
    Cid, Defaults, Input, Prepared, Receipt, SimplifiedError, Terms, Value,
    limits::{FILES_BYTES_MAX, NAME_BYTES_MAX},
    one_line, prepare,
};
use asterism_scheduler::{Planned, Submission};
use axum::body::Bytes;
use serde_json::json;

use super::{
    run::RunQuery,
    weight::{Document, Weight},
};
use crate::{app::App, error::ApiError, limits::LINKS_AT_ONCE};

/// A submission, looked at from all sides but the scheduler's.
pub(super) struct Ready {
    pub(super) submission: Submission,
    pub(super) workflow: Cid,
}

/// A document as it came, and what it stands for.
pub(super) struct Written {
    /// None for what was made here.
    bytes: Bytes,
    document: Value,
    _weight: Weight,
}

impl Written {
    /// Reads JSON, YAML or DAG-CBOR.
    pub(super) fn read(document: Document) -> Result<Self, ApiError> {
        let Document { bytes, weight } = document;
        match asterism_document::read(&bytes) {
            Ok(document) => Ok(Self {
                bytes,
                document,
                _weight: weight,
            }),
            Err(findings) => Err(misread(&findings)),
        }
    }

    /// What nobody wrote.
    pub(super) fn of_value(document: Value) -> Self {
        Self {
            bytes: Bytes::new(),
            document,
            _weight: Weight::NONE,
        }
    }
}

/// The first mistake as the message, all of them as details.
fn misread(findings: &[Finding]) -> ApiError {
    let message = findings.first().map(ToString::to_string);
    let hint = findings.first().map(|finding| finding.hint.clone());
    ApiError::invalid(message.unwrap_or_default())
        .hint(hint.unwrap_or_default())
        .details(json!({ "findings": findings }))
}

/// The name that the document carries, if it does, and the workflow in it.
pub(super) fn prepared_of(
    app: &App,
    written: &Written,
    nonce: Option<String>,
) -> Result<(Option<String>, Prepared), ApiError> {
    let Written {
        bytes, document, ..
    } = written;
    let (workflow, _) = asterism_document::inside(document);
    let name = match document {
        Value::Map(map) if !std::ptr::eq(workflow, document) => match map.get("name") {
            Some(Value::String(name)) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    };
    let nonce = match nonce {
        None if app.fresh => Some(fresh_nonce()?),
        nonce => nonce,
    };
    let seed = fresh()?;
    let shelf = app.library.shelf();
    let prepared = prepare(workflow, &*shelf, &Defaults { nonce, seed }).map_err(|error| {
        let details = match &error {
            SimplifiedError::At { path, task, reason } => {
                json!({ "path": path, "task": task, "reason": reason })
            }
            SimplifiedError::Workflow(_) => json!({}),
        };
        // Whoever corrects one mistake would like to know of the others.
        let findings = asterism_document::check_value(bytes, document, &*shelf);
        let first = findings.first().map(ToString::to_string);
        ApiError::invalid(first.unwrap_or_else(|| error.to_string()))
            .details(details)
            .also("findings", json!(findings))
    })?;
    Ok((name, prepared))
}

/// Never the same twice.
fn fresh() -> Result<[u8; 12], ApiError> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::internal(&error))?;
    Ok(bytes)
}

/// What has it was not computed before.
fn fresh_nonce() -> Result<String, ApiError> {
    let bytes = fresh()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Every mistake that would keep a document from being run here; none when it would run.
pub(super) fn findings(app: &App, document: Document) -> Result<Vec<Finding>, ApiError> {
    let found = asterism_document::check(&document.bytes, &*app.library.shelf());
    if !found.is_empty() {
        return Ok(found);
    }
    let written = Written::read(document)?;
    let (_, prepared) = prepared_of(app, &written, None)?;
    let graph = prepared.workflow.graph();
    if let Err(error) = graph {
        return Ok(vec![asterism_document::finding(
            &written.bytes,
            "tasks",
            &error.to_string(),
            "",
        )]);
    }
    let obstacle = obstacle(app, &prepared)?;
    let finding = |obstacle: Obstacle| {
        let (path, message) = (obstacle.path(), obstacle.message());
        asterism_document::finding(&written.bytes, path, &message, &obstacle.hint())
    };
    Ok(obstacle.map(finding).into_iter().collect())
}

/// Everything that can be refused before a run exists, and what the store knows of its tasks.
pub(super) fn ready(app: &App, written: &Written, query: RunQuery) -> Result<Ready, ApiError> {
    let (name_inside, prepared) = prepared_of(app, written, query.nonce.clone())?;
    ready_as(app, name_inside, &prepared, query)
}

/// As [`ready`], of what was prepared before.
pub(super) fn ready_as(
    app: &App,
    name_inside: Option<String>,
    prepared: &Prepared,
    query: RunQuery,
) -> Result<Ready, ApiError> {
    let plan = Planned::read(prepared).map_err(|error| ApiError::invalid(error.to_string()))?;
    if let Some(obstacle) = obstacle(app, prepared)? {
        return Err(obstacle.error());
    }
    let wanted: Vec<Cid> = plan.instructions().collect();
    let known: Vec<Receipt> = app.journal.receipts_of(&wanted)?;
    let name = if query.name.is_empty() {
        name_inside.unwrap_or_else(|| title(prepared))
    } else {
        query.name
    };
    let submitter = if query.submitter.is_empty() {
        "anonymous".to_owned()
    } else {
        query.submitter
    };
    let (name, submitter) = (one_line(&name), one_line(&submitter));
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
    let workflow = plan.tasks().workflow();
    Ok(Ready {
        submission: Submission {
            plan,
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

/// What keeps a workflow from being run, and only a look at the stored bytes can tell.
enum Obstacle {
    /// Bytes that it needs are not here.
    Absent {
        path: String,
        what: &'static str,
        cid: Cid,
    },
    /// Files of a task have more bytes than an executor holds.
    TooLarge { path: String, bytes: u64 },
}

impl Obstacle {
    fn path(&self) -> &str {
        match self {
            Self::Absent { path, .. } | Self::TooLarge { path, .. } => path,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Absent { what, cid, .. } => format!("{what} {cid} is not here"),
            Self::TooLarge { bytes, .. } => format!(
                "files have {bytes} bytes together, and a task's may have {FILES_BYTES_MAX}"
            ),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Absent {
                what: "component", ..
            } => "add it: `asterism fn add FILE`, or POST it to /components".to_owned(),
            Self::Absent { cid, .. } => {
                format!("add its bytes: `asterism blob put FILE`, or PUT them to /blobs/{cid}")
            }
            Self::TooLarge { .. } => {
                "give the function fewer or smaller ones, or let several tasks share them"
                    .to_owned()
            }
        }
    }

    fn error(self) -> ApiError {
        let error =
            ApiError::invalid(format!("{}: {}", self.path(), self.message())).hint(self.hint());
        match self {
            Self::Absent { path, what, cid } => error.details(json!({ "path": path, what: cid })),
            Self::TooLarge { path, bytes } => {
                error.details(json!({ "path": path, "bytes": bytes }))
            }
        }
    }
}

/// Components and linked bytes must be here before executors are sent to fetch them, and files within what these hold: the
/// first that is not so. What promises come to is seen when they are kept.
fn obstacle(app: &App, prepared: &Prepared) -> Result<Option<Obstacle>, ApiError> {
    let mut sizes = sizes_of(app, prepared)?;
    let mut size = |cid: Cid| -> Result<Option<u64>, ApiError> {
        if let Some(size) = sizes.get(&cid) {
            return Ok(Some(*size));
        }
        let size = app.blobs.size(cid)?;
        sizes.extend(size.map(|size| (cid, size)));
        Ok(size)
    };
    for (index, task) in prepared.workflow.tasks.iter().enumerate() {
        let run = format!("tasks[{index}].run");
        let absent = |place: &str, what, cid| {
            let path = format!("{run}.{place}");
            Ok(Some(Obstacle::Absent { path, what, cid }))
        };
        let component = task
            .run
            .component()
            .map_err(|error| ApiError::invalid(format!("tasks[{index}]: {error}")))?;
        if size(component)?.is_none() {
            return absent("rsc", "component", component);
        }
        let mut links = BTreeSet::new();
        let Input { args, files, .. } = &task.run.input;
        args.iter().for_each(|arg| collect_blobs(arg, &mut links));
        for link in links {
            if size(link)?.is_none() {
                return absent("input.args", "blob", link);
            }
        }
        let mut bytes: u64 = 0;
        for (path, file) in files {
            bytes += match file {
                Value::Bytes(bytes) => bytes.len() as u64,
                Value::String(text) => text.len() as u64,
                other => {
                    let mut links = BTreeSet::new();
                    collect_blobs(other, &mut links);
                    match links.pop_first() {
                        None => 0,
                        Some(link) => match size(link)? {
                            Some(size) => size,
                            None => return absent(&format!("input.files.{path}"), "blob", link),
                        },
                    }
                }
            };
        }
        if bytes > FILES_BYTES_MAX {
            let path = format!("{run}.input.files");
            return Ok(Some(Obstacle::TooLarge { path, bytes }));
        }
    }
    Ok(None)
}

/// How large the blobs are that a workflow names, as far as all of them are here: asked for together, as a store may be far away.
fn sizes_of(app: &App, prepared: &Prepared) -> Result<BTreeMap<Cid, u64>, ApiError> {
    let mut links = BTreeSet::new();
    for task in &prepared.workflow.tasks {
        links.extend(task.run.component().ok());
        let values = task.run.input.values();
        values.for_each(|value| collect_blobs(value, &mut links));
    }
    let links = Vec::from_iter(links);
    let mut sizes = BTreeMap::new();
    for some in links.chunks(LINKS_AT_ONCE) {
        let told = app.blobs.sizes(some)?;
        let known = some.iter().zip(&told);
        sizes.extend(known.filter_map(|(link, size)| Some((*link, (*size)?))));
        // The first one that is missing is found by whoever asks for this.
        if told.contains(&None) {
            break;
        }
    }
    Ok(sizes)
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
