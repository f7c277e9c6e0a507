//! `POST /run` and `POST /workflow`: a workflow in either form, prepared, run, and its result.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use asterism_protocol::{
    Cid, Invocation, Prepared, Timestamp, Value, blob_cid, decode, encode,
    limits::{DOCUMENT_BYTES_MAX, WORKFLOW_BYTES_MAX},
    to_value,
    view::{RunId, RunState, RunSummary},
};
use asterism_scheduler::{Scheduler, Submission};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json_, json};

use super::{
    Shared, accepts,
    answer::{everything, last},
    body_of, events,
    explain::first_that_waits,
    extract::{Asked, Client},
    length_of,
    once::{self, Key},
    prepare::{Forwarded, Ready, Submitted, Written, findings, prepared_of, ready},
    weight::Document,
    whole::{held_until_sent, place_of_whole, whole},
};
use crate::{
    app::App, error::ApiError, limits::RUN_WAIT_MAX, media, metrics::Counted, peer::Network,
    places::Place,
};

/// Pause before a run is looked at again that could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What `?…` may say.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RunQuery {
    /// The result of every task instead of the last one's.
    #[serde(rename = "allResults")]
    pub(super) all_results: bool,
    /// How long to wait for the result, in milliseconds.
    pub(super) timeout: Option<u64>,
    /// `false`: answer as soon as the run is durable.
    pub(super) wait: Option<bool>,
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
    Asked(query): Asked<RunQuery>,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    let place = place_of_large(&app, &client)?;
    let max = if place.is_some() {
        WORKFLOW_BYTES_MAX
    } else {
        DOCUMENT_BYTES_MAX
    };
    let body = body_of(&app, &client, body, max).await?;
    let key = once::key_of(&client.headers)?;
    let wanted = Wanted::of(&query);
    let mut body = Document::of(&app, body).await?;
    body.place = place;
    let prepare = move |app: &App| {
        // Who says the same key means the same request.
        let what = key.map(|key| (key, blob_cid(&body.bytes)));
        let mut submitted = Submitted::read(app, body)?;
        if app.front.is_some()
            && let Some((key, what)) = &what
        {
            submitted.repeats(key, *what);
        }
        Ok((what, submitted))
    };
    let (key, submitted) = app.blocking(prepare).await?;
    let ready = move |app: &App| ready(app, submitted, query);
    answer(&app, key, wanted, ready, &client).await
}

/// A place among workflows that are larger than documents, for who says at once that it sends one: nobody else may.
fn place_of_large(app: &App, client: &Client) -> Result<Option<Place>, ApiError> {
    let length = length_of(&client.headers);
    length
        .filter(|length| *length > DOCUMENT_BYTES_MAX as u64)
        .map(|_| app.room.large_workflows.take(client.network))
        .transpose()
}

/// As [`run`], of a workflow that another coordinator has prepared.
pub(super) async fn submitted(
    State(app): Shared,
    Asked(query): Asked<RunQuery>,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    let place = place_of_large(&app, &client)?;
    let body = body_of(&app, &client, body, 2 * WORKFLOW_BYTES_MAX).await?;
    let key = once::key_of(&client.headers)?;
    let wanted = Wanted::of(&query);
    let read = move |app: &App| {
        let forwarded = Forwarded::read(&body)?;
        let what = forwarded.what;
        let submitted = forwarded.submitted(app, place)?;
        Ok((key.zip(what), submitted))
    };
    let (key, submitted) = app.blocking(read).await?;
    let ready = move |app: &App| ready(app, submitted, query);
    answer(&app, key, wanted, ready, &client).await
}

/// Makes a run of a document and answers in the way that was asked for.
pub(super) async fn submit(
    app: &Arc<App>,
    written: Written,
    query: RunQuery,
    client: &Client,
) -> Result<Response, ApiError> {
    let wanted = Wanted::of(&query);
    let ready = move |app: &App| ready(app, Submitted::Written(written), query);
    answer(app, None, wanted, ready, client).await
}

/// How a run is to be answered.
pub(crate) struct Wanted {
    timeout: Option<u64>,
    all: bool,
    waits: bool,
}

impl Wanted {
    pub(super) fn of(query: &RunQuery) -> Self {
        Self {
            timeout: query.timeout,
            all: query.all_results,
            waits: query.wait.unwrap_or(true),
        }
    }

    /// The query that asks for a submission to be answered so, at another coordinator.
    pub(crate) fn query(
        &self,
        submission: &Submission,
        now: Timestamp,
    ) -> Result<String, ApiError> {
        let Submission {
            name,
            submitter,
            terms,
            ..
        } = submission;
        let query = RunQuery {
            all_results: self.all,
            timeout: self.timeout,
            wait: Some(self.waits),
            name: name.clone(),
            submitter: submitter.clone(),
            nonce: None,
            verify: terms.verify.map(|verify| verify.to_string()),
            priority: terms.priority,
            deadline: terms.deadline.map(|deadline| deadline.since_ms(now)),
            force: terms.force,
        };
        serde_urlencoded::to_string(&query).map_err(|error| ApiError::internal(&error))
    }
}

/// Makes a run of what `ready` makes ready, unless the key has one already, and answers in the way that was asked for.
pub(crate) async fn answer(
    app: &Arc<App>,
    key: Option<(Key, Cid)>,
    wanted: Wanted,
    ready: impl FnOnce(&App) -> Result<Ready, ApiError> + Send + 'static,
    client: &Client,
) -> Result<Response, ApiError> {
    if let Some(front) = app.front() {
        let ready = app.blocking(ready).await?;
        return front.submit(ready, key, wanted, client).await;
    }
    if let Some(trouble) = app.trouble.text() {
        return Err(ApiError::trouble(trouble));
    }
    let Wanted {
        timeout,
        all,
        waits,
    } = wanted;
    let streams = waits && accepts(&client.headers, events::MEDIA_TYPE);
    // Found before there is a run: whoever is refused has started nothing.
    let network = client.network;
    let watcher = streams.then(|| app.room.watchers.take(network));
    let watcher = watcher.transpose()?;
    let waiter = (waits && !streams).then(|| Waiter::new(app, network));
    let waiter = waiter.transpose()?;
    let start = async {
        let Ready {
            submission,
            workflow,
        } = app.blocking(ready).await?;
        Ok((app.driver.submit(submission).await?, workflow))
    };
    let (run, workflow) = match key {
        Some((key, what)) => app.keys.once(key, what, start).await?,
        None => start.await?,
    };
    // With it whoever asked here may end or pause the run later.
    let token = app.authority.run_token(run, workflow);
    let answer = if let Some(place) = watcher {
        Ok(events::follow(app, run, workflow, place))
    } else if let Some(waiter) = waiter {
        waiter.result(run, workflow, timeout, all).await
    } else {
        let at = at(run, workflow);
        let body = json!({ "run": run.0, "workflow": workflow, "at": at, "token": token, "needs_token": !client.is_operator });
        Ok((StatusCode::ACCEPTED, [(header::LOCATION, at)], Json(body)).into_response())
    };
    let token = [(HeaderName::from_static("asterism-run-token"), token)];
    Ok((names_of(run, workflow), token, answer).into_response())
}

/// What came of a document for somebody who follows it in another way.
pub(crate) enum Started {
    /// A run.
    Here {
        /// Who has it.
        app: Arc<App>,
        run: RunId,
        name: String,
    },
    /// It has to be made at another coordinator.
    There {
        partition: u16,
        /// The workflow as it is to be run, with its name, in DAG-CBOR.
        body: Vec<u8>,
        /// So many tasks are to be told of.
        tasks: usize,
    },
}

/// Makes a run of a document for somebody who follows it in another way.
pub(crate) async fn start(app: &Arc<App>, body: Bytes) -> Result<Started, ApiError> {
    if let Some(trouble) = app.trouble.text() {
        return Err(ApiError::trouble(trouble));
    }
    let body = Document::of(app, body).await?;
    let Ready {
        submission,
        workflow,
    } = app
        .blocking(move |app| ready(app, Submitted::read(app, body)?, RunQuery::default()))
        .await?;
    let app = match app.front() {
        Some(front) => match front.here(workflow).await? {
            Ok(app) => app,
            Err(partition) => {
                let tasks = submission.plan.tasks();
                let workflow = tasks.encoded_workflow();
                let workflow: Value = decode("workflow", workflow, workflow.len())
                    .map_err(|error| ApiError::internal(&error))?;
                let body = Value::Map(BTreeMap::from([
                    ("name".to_owned(), Value::String(submission.name.clone())),
                    ("workflow".to_owned(), workflow),
                ]));
                return Ok(Started::There {
                    partition,
                    body: encode(&body),
                    tasks: tasks.len(),
                });
            }
        },
        None => Arc::clone(app),
    };
    let name = submission.name.clone();
    let run = app.driver.submit(submission).await?;
    Ok(Started::Here { app, run, name })
}

/// Where a run is looked at.
pub(super) fn at(run: RunId, workflow: Cid) -> String {
    format!("/workflows/{workflow}?run={}", run.0)
}

/// Which run an answer is about.
pub(super) fn names_of(run: RunId, workflow: Cid) -> [(HeaderName, String); 2] {
    [
        (HeaderName::from_static("asterism-run"), run.0.to_string()),
        (
            HeaderName::from_static("asterism-workflow"),
            workflow.to_string(),
        ),
    ]
}

/// Prepares, and answers with the full workflow and its CIDs.
pub(super) async fn prepare_only(
    State(app): Shared,
    Asked(query): Asked<RunQuery>,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body_of(&app, &client, body, DOCUMENT_BYTES_MAX).await?;
    let body = Document::of(&app, body).await?;
    prepared_answer(&app, move |app| {
        prepared_of(app, &Written::read(body)?, query.nonce)
    })
    .await
}

/// Every mistake in a workflow, with line and column.
pub(super) async fn validate(
    State(app): Shared,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body_of(&app, &client, body, DOCUMENT_BYTES_MAX).await?;
    let body = Document::of(&app, body).await?;
    let findings = app.blocking(move |app| findings(app, body)).await?;
    Ok(Json(json!({ "findings": findings })).into_response())
}

/// A full workflow with its CIDs.
pub(super) async fn prepared_answer(
    app: &Arc<App>,
    prepare: impl FnOnce(&App) -> Result<(Option<String>, Prepared), ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let answer = app
        .blocking(move |app| {
            let (_, prepared) = prepare(app)?;
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

/// A place among the requests that wait for runs to end.
pub(super) struct Waiter<'a> {
    app: &'a Arc<App>,
    network: Network,
    _place: Place,
    _counted: Counted,
}

impl<'a> Waiter<'a> {
    pub(super) fn new(app: &'a Arc<App>, network: Network) -> Result<Self, ApiError> {
        Ok(Self {
            app,
            network,
            _place: app.room.pending_runs.take(network)?,
            _counted: Counted::new(&app.metrics.pending_runs),
        })
    }

    /// What a run comes to, at most `timeout` milliseconds from now.
    pub(super) async fn result(
        self,
        run: RunId,
        workflow: Cid,
        timeout: Option<u64>,
        all: bool,
    ) -> Result<Response, ApiError> {
        let wait = timeout
            .map_or(RUN_WAIT_MAX, Duration::from_millis)
            .min(RUN_WAIT_MAX);
        let summary = self.ended(run, workflow, wait).await?;
        if !all {
            let view = whole(self.app, run, false).await?;
            return last(self.app, &view).await;
        }
        let place = place_of_whole(self.app, self.network, &summary)?;
        let view = whole(self.app, run, true).await?;
        let answer = everything(self.app, &view).await?;
        Ok(held_until_sent(answer, place))
    }

    /// Waits until a run has ended.
    async fn ended(
        &self,
        run: RunId,
        workflow: Cid,
        wait: Duration,
    ) -> Result<RunSummary, ApiError> {
        let Self { app, .. } = self;
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        loop {
            // Registered before looking: an end between the two is heard.
            let told = app.hub.ended(run);
            let look = app
                .driver
                .look_durable(move |scheduler| scheduler.run_summary(run))
                .await;
            let Ok((summary, _)) = look else {
                // In trouble nothing is final, and nothing is lost: it goes on when the trouble is over.
                tokio::select! {
                    () = app.trouble.over() => {}
                    () = &mut deadline => return Err(ApiError::trouble(app.trouble.text().unwrap_or_default())),
                    () = app.closed() => return Err(stops(run, workflow)),
                }
                if app.driver.is_gone() {
                    return Err(stops(run, workflow));
                }
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            };
            let summary = summary.ok_or_else(|| forgotten(run))?;
            if summary.state != RunState::Running {
                return Ok(summary);
            }
            tokio::select! {
                _ = told => {}
                () = &mut deadline => return Err(late(app, &summary, wait).await),
                () = app.closed() => return Err(stops(run, workflow)),
            }
        }
    }
}

fn stops(run: RunId, workflow: Cid) -> ApiError {
    ApiError::unavailable("the coordinator stops; the run goes on when it is back")
        .details(json!({ "run": run.0, "workflow": workflow, "at": at(run, workflow) }))
}

async fn late(app: &App, summary: &RunSummary, wait: Duration) -> ApiError {
    let (run, at) = (summary.run, at(summary.run, summary.workflow));
    let message = format!(
        "the workflow has not ended within {} ms; it goes on",
        wait.as_millis()
    );
    let hint = if app.metrics.paused.get() == 1 {
        format!(
            "the coordinator is paused: its operator resumes it with `asterism workflow resume --all`; the run is at {at}"
        )
    } else if let Some(trouble) = app.blobs.trouble() {
        format!(
            "nothing is leased while the store of the blobs is in trouble ({trouble}); the run is at {at}"
        )
    } else if summary.counts.leased == 0 && app.is_deserted().await {
        format!(
            "no executor is here: open /donate in a browser or start `asterism executor start`; the run is at {at}"
        )
    } else if wait.is_zero() {
        // Nobody waited, as pages do that follow what they submit.
        format!("its state is at {at}")
    } else {
        let look = move |scheduler: &Scheduler| first_that_waits(scheduler, run);
        // Where nobody can look, nobody can say why.
        match app.driver.look(look).await {
            Ok((Some(why), _)) => format!("{why}; the run is at {at}"),
            Ok((None, _)) | Err(_) => format!("its state is at {at}"),
        }
    };
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
        .hint(hint)
        .details(json!({ "run": summary.run.0, "workflow": summary.workflow, "at": at }))
}

/// A run in short, if it is still known.
pub(super) async fn summary(app: &App, run: RunId) -> Result<RunSummary, ApiError> {
    let (summary, _) = app
        .driver
        .look(move |scheduler| scheduler.run_summary(run))
        .await?;
    summary.ok_or_else(|| forgotten(run))
}

pub(crate) fn forgotten(run: RunId) -> ApiError {
    absent(format!("run {} is not here, or not any more", run.0))
}

/// There is no such run.
pub(super) fn absent(message: String) -> ApiError {
    ApiError::not_found(message)
        .hint("/workflows lists the runs")
        .command("`asterism workflow list` lists the runs")
}
