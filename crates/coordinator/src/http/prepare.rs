//! A workflow that came over HTTP: read, prepared, looked at before a run exists.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use asterism_document::{Finding, Format};
use asterism_protocol::{
    Cid, Defaults, Input, Prepared, Receipt, SimplifiedError, Task, Terms, Value, content_cid,
    decode,
    limits::{DOCUMENT_BYTES_MAX, FILES_BYTES_MAX, NAME_BYTES_MAX},
    one_line, prepare, prepare_encoded,
};
use asterism_scheduler::{Planned, Submission, Tasks};
use axum::body::Bytes;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::json;

use super::{
    once::Key,
    run::RunQuery,
    weight::{Document, Weight},
};
use crate::{app::App, error::ApiError, limits::LINKS_AT_ONCE, places::Place};

/// A submission, looked at from all sides but the scheduler's.
pub(crate) struct Ready {
    pub(crate) submission: Submission,
    pub(crate) workflow: Cid,
}

/// What came to be run.
pub(super) enum Submitted {
    /// A document in either form.
    Written(Written),
    /// A full workflow in its encoding: read task by task, so it may be larger.
    Planned {
        plan: Box<Planned>,
        /// For as long as it is there.
        _place: Option<Place>,
    },
}

impl Submitted {
    /// Reads JSON, YAML or DAG-CBOR.
    pub(super) fn read(app: &App, mut document: Document) -> Result<Self, ApiError> {
        if Format::of(&document.bytes) != Format::Cbor {
            return Written::read(document).map(Self::Written);
        }
        let is_large = document.bytes.len() > DOCUMENT_BYTES_MAX;
        // What is large is not there twice.
        let bytes = match is_large {
            true => std::mem::take(&mut document.bytes).into(),
            false => document.bytes.to_vec(),
        };
        let plan = match Tasks::of_bytes(bytes, &[]) {
            Some(tasks) => planned(app, tasks),
            None => Err(ApiError::invalid(format!(
                "what has more than {DOCUMENT_BYTES_MAX} bytes must be a full workflow in its canonical encoding"
            ))),
        };
        match plan {
            Ok(plan) => Ok(Self::Planned {
                plan: Box::new(plan),
                _place: document.place,
            }),
            Err(error) if is_large => Err(error),
            // Where there is room for that, names are looked up, and every mistake is told.
            Err(_) => Written::read(document).map(Self::Written),
        }
    }
}

impl Submitted {
    /// What is made for it alone is the same whenever the same request comes again, to whichever coordinator.
    pub(super) fn repeats(&mut self, key: &Key, what: Cid) {
        match self {
            Self::Written(written) => {
                let digest = content_cid(&[key.bytes(), &what.digest()].concat()).digest();
                written.seed = digest.first_chunk().copied();
            }
            Self::Planned { .. } => {}
        }
    }
}

/// A prepared workflow as one coordinator hands it to another one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forwarded {
    /// The tasks' names.
    names: Vec<String>,
    /// What came with an idempotency key.
    pub(super) what: Option<Cid>,
    /// The workflow's own encoding.
    workflow: ByteBuf,
}

impl Forwarded {
    pub(crate) fn of(tasks: &Tasks, what: Option<Cid>) -> Self {
        Self {
            names: tasks.iter_names().map(str::to_owned).collect(),
            what,
            workflow: ByteBuf::from(tasks.encoded_workflow().to_vec()),
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        decode("submission", bytes, bytes.len())
            .map_err(|error| ApiError::invalid(error.to_string()))
    }

    /// The workflow, read again; `place` is for as long as it is there.
    pub(super) fn submitted(self, app: &App, place: Option<Place>) -> Result<Submitted, ApiError> {
        let tasks = Tasks::of_bytes(self.workflow.into_vec(), &self.names);
        let tasks = tasks.ok_or_else(|| ApiError::invalid("what came is no full workflow"))?;
        // Components may have been added at the other one just before.
        super::refresh(app)?;
        Ok(Submitted::Planned {
            plan: Box::new(planned(app, tasks)?),
            _place: place,
        })
    }
}

/// A full workflow, read as [`prepare`] would.
fn planned(app: &App, tasks: Tasks) -> Result<Planned, ApiError> {
    let shelf = app.library.shelf();
    let plan = Planned::of_encoded(tasks, |index, task| {
        let prepared = prepare_encoded(index, task, &*shelf)?;
        prepared.ok_or_else(|| SimplifiedError::At {
            path: format!("tasks[{index}]"),
            task: String::new(),
            reason: format!(
                "it is not a full task in its canonical encoding, as a workflow of more than {DOCUMENT_BYTES_MAX} bytes needs: \
                 without names and placeholders, with `rsc`, `op` and `nnc`"
            ),
        })
    });
    plan.map_err(|error: SimplifiedError| refused(&error, None))
}

/// A mistake, with its place apart, in its own words or better ones.
fn refused(error: &SimplifiedError, words: Option<String>) -> ApiError {
    let details = match error {
        SimplifiedError::At { path, task, reason } => {
            json!({ "path": path, "task": task, "reason": reason })
        }
        SimplifiedError::Workflow(_) => json!({}),
    };
    ApiError::invalid(words.unwrap_or_else(|| error.to_string())).details(details)
}

/// A document as it came, and what it stands for.
pub(super) struct Written {
    /// None for what was made here.
    bytes: Bytes,
    document: Value,
    /// What nonces are made of that it does not say; new ones each time without it.
    seed: Option<[u8; 12]>,
    _weight: Weight,
}

impl Written {
    /// Reads JSON, YAML or DAG-CBOR.
    pub(super) fn read(document: Document) -> Result<Self, ApiError> {
        let Document { bytes, weight, .. } = document;
        match asterism_document::read(&bytes) {
            Ok(document) => Ok(Self {
                bytes,
                document,
                seed: None,
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
            seed: None,
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
    let seed = written.seed.map_or_else(fresh, Ok)?;
    let nonce = match nonce {
        None if app.fresh => Some(HEXLOWER.encode(&seed)),
        nonce => nonce,
    };
    let shelf = app.library.shelf();
    let prepared = prepare(workflow, &*shelf, &Defaults { nonce, seed }).map_err(|error| {
        // Whoever corrects one mistake would like to know of the others.
        let findings = asterism_document::check_value(bytes, document, &*shelf);
        let first = findings.first().map(ToString::to_string);
        refused(&error, first).also("findings", json!(findings))
    })?;
    Ok((name, prepared))
}

/// Never the same twice.
fn fresh() -> Result<[u8; 12], ApiError> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::internal(&error))?;
    Ok(bytes)
}

/// Every mistake that would keep a document from being run here; none when it would run.
pub(super) fn findings(app: &App, document: Document) -> Result<Vec<Finding>, ApiError> {
    let Document {
        bytes,
        weight: _weight,
        ..
    } = document;
    let defaults = Defaults {
        nonce: None,
        seed: fresh()?,
    };
    let prepared = asterism_document::prepared(&bytes, &*app.library.shelf(), &defaults);
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(found) => return Ok(found),
    };
    let obstacle = obstacle(app, Source::Prepared(&prepared.workflow.tasks))?;
    let finding = |obstacle: Obstacle| {
        let (path, message) = (obstacle.path(), obstacle.message());
        asterism_document::finding(&bytes, path, &message, &obstacle.hint())
    };
    Ok(obstacle.map(finding).into_iter().collect())
}

/// Everything that can be refused before a run exists, and what the store knows of its tasks.
pub(super) fn ready(app: &App, submitted: Submitted, query: RunQuery) -> Result<Ready, ApiError> {
    match submitted {
        Submitted::Written(written) => {
            let (name_inside, prepared) = prepared_of(app, &written, query.nonce.clone())?;
            ready_as(app, name_inside, &prepared, query)
        }
        Submitted::Planned { plan, _place } => {
            let obstacle = obstacle(app, Source::Encoded(plan.tasks()))?;
            let title = title(Source::Encoded(plan.tasks()));
            ready_of(app, *plan, obstacle, title, query)
        }
    }
}

/// As [`ready`], of what was prepared before.
pub(super) fn ready_as(
    app: &App,
    name_inside: Option<String>,
    prepared: &Prepared,
    query: RunQuery,
) -> Result<Ready, ApiError> {
    let plan = Planned::read(prepared).map_err(|error| ApiError::invalid(error.to_string()))?;
    let tasks = Source::Prepared(&prepared.workflow.tasks);
    let obstacle = obstacle(app, tasks)?;
    let title = name_inside.unwrap_or_else(|| title(tasks));
    ready_of(app, plan, obstacle, title, query)
}

fn ready_of(
    app: &App,
    plan: Planned,
    obstacle: Option<Obstacle>,
    title: String,
    query: RunQuery,
) -> Result<Ready, ApiError> {
    if let Some(obstacle) = obstacle {
        return Err(obstacle.error());
    }
    let wanted: Vec<Cid> = plan.instructions().collect();
    let known: Vec<Receipt> = app.journal.receipts_of(&wanted)?;
    let name = if query.name.is_empty() {
        title
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

/// Tasks that are gone through more than once.
#[derive(Clone, Copy)]
enum Source<'a> {
    Prepared(&'a [Task]),
    Encoded(&'a Tasks),
}

impl<'a> Source<'a> {
    fn iter(self) -> Box<dyn Iterator<Item = Cow<'a, Task>> + 'a> {
        match self {
            Self::Prepared(tasks) => Box::new(tasks.iter().map(Cow::Borrowed)),
            Self::Encoded(tasks) => Box::new(tasks.iter().map(Cow::Owned)),
        }
    }
}

/// What a workflow without a name is called: its functions.
fn title(tasks: Source<'_>) -> String {
    const SHOWN: usize = 3;
    let mut funcs: Vec<String> = Vec::new();
    for task in tasks.iter() {
        let func = task.run.input.func.rsplit('#').next().unwrap_or_default();
        if funcs.last().is_none_or(|last| last != func) {
            funcs.push(func.to_owned());
        }
        if funcs.len() > SHOWN {
            break;
        }
    }
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
fn obstacle(app: &App, tasks: Source<'_>) -> Result<Option<Obstacle>, ApiError> {
    let mut sizes = sizes_of(app, tasks)?;
    let mut size = |cid: Cid| -> Result<Option<u64>, ApiError> {
        if let Some(size) = sizes.get(&cid) {
            return Ok(Some(*size));
        }
        let size = app.blobs.size(cid)?;
        sizes.extend(size.map(|size| (cid, size)));
        Ok(size)
    };
    for (index, task) in tasks.iter().enumerate() {
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
fn sizes_of(app: &App, tasks: Source<'_>) -> Result<BTreeMap<Cid, u64>, ApiError> {
    let mut links = BTreeSet::new();
    for task in tasks.iter() {
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
