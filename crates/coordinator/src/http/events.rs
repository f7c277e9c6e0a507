//! A run as it happens, for programs that read `text/event-stream`.
//!
//! First everything as it is (`run`, then each `task`), then every change, at last `end` with the result or the error that
//! `/run` would answer. Who reads too slowly to hear every change is told everything again; who does not read at all is
//! left.

use std::{convert::Infallible, sync::Arc};

use asterism_protocol::{
    Cid,
    message::Change,
    to_json,
    view::{RunId, RunState, RunSummary},
};
use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast, mpsc},
    time::timeout,
};

use super::{answer, run};
use crate::{
    app::App,
    error::ApiError,
    limits::{PING_EVERY, SEND_MAX},
    media,
    metrics::Counted,
};

pub(super) const MEDIA_TYPE: &str = "text/event-stream";

/// Events between the run and a socket.
const EVENTS_AHEAD: usize = 16;

/// A place among those who watch.
pub(super) fn place(app: &App) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(&app.places.watchers)
        .try_acquire_owned()
        .map_err(|_| ApiError::busy("as many watchers are connected as may be"))
}

/// A stream of what happens to a run until it has ended.
pub(super) fn follow(
    app: &Arc<App>,
    run: RunId,
    workflow: Cid,
    place: OwnedSemaphorePermit,
) -> Response {
    let (events, received) = mpsc::channel(EVENTS_AHEAD);
    let app = Arc::clone(app);
    tokio::spawn(async move {
        let counted = Counted::new(&app.metrics.watcher_connections);
        // Subscribed before it is looked at: what comes between the two is in both, and told apart by its edition.
        let changes = app.hub.subscribe();
        app.driver.watch(run).await;
        // Nobody is left to be told why it ended early.
        let _ = Teller {
            app: &app,
            run,
            workflow,
            events,
        }
        .tell(changes)
        .await;
        app.driver.unwatch(run).await;
        drop((place, counted));
    });
    let stream = stream::unfold(received, |mut received: mpsc::Receiver<Event>| async {
        let event = received.recv().await?;
        Some((Ok::<_, Infallible>(event), received))
    });
    let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(PING_EVERY));
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that collect answers before they pass them on.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    (headers, sse).into_response()
}

struct Teller<'a> {
    app: &'a Arc<App>,
    run: RunId,
    workflow: Cid,
    events: mpsc::Sender<Event>,
}

/// The reader went away, or does not read.
struct Gone;

impl Teller<'_> {
    async fn tell(
        &self,
        mut changes: broadcast::Receiver<crate::hub::Published>,
    ) -> Result<(), Gone> {
        loop {
            let run = self.run;
            let look = self
                .app
                .driver
                .look_durable(move |scheduler| scheduler.run_view(run))
                .await;
            let (view, edition) = match look {
                Ok((Some(view), edition)) => (view, edition),
                Ok((None, _)) => return self.fail(&run::forgotten(run)).await,
                Err(error) => return self.fail(&error.into()).await,
            };
            self.summary(&view.summary).await?;
            for task in &view.tasks {
                self.send("task", to_json(task)).await?;
            }
            if view.summary.state != RunState::Running {
                return self.end().await;
            }
            drop(view);
            loop {
                let published = tokio::select! {
                    published = changes.recv() => published,
                    () = self.events.closed() => return Err(Gone),
                    () = self.app.closed() => {
                        let error = ApiError::unavailable("the coordinator stops; the run goes on when it is back");
                        return self.fail(&error).await;
                    }
                };
                let batch = match published {
                    Ok((published, batch)) if published > edition => batch,
                    Ok(_) => continue,
                    // Too much was missed.
                    Err(broadcast::error::RecvError::Lagged(_)) => break,
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                };
                let mut ended = false;
                for change in &*batch {
                    match change {
                        Change::Run(summary) if summary.run == run => {
                            ended |= summary.state != RunState::Running;
                            self.summary(summary).await?;
                        }
                        Change::Task { run: of, task } if *of == run => {
                            self.send("task", to_json(&**task)).await?;
                        }
                        Change::Run(_)
                        | Change::Task { .. }
                        | Change::Executor(_)
                        | Change::ExecutorGone(_)
                        | Change::Component(_)
                        | Change::Paused(_) => {}
                    }
                }
                if ended {
                    return self.end().await;
                }
            }
        }
    }

    async fn summary(&self, summary: &RunSummary) -> Result<(), Gone> {
        self.send("run", to_json(summary)).await
    }

    async fn end(&self) -> Result<(), Gone> {
        let view = match run::whole(self.app, self.run, false).await {
            Ok(view) => view,
            Err(error) => return self.fail(&error).await,
        };
        let summary = media::json_of_view(&view.summary);
        let end = match answer::in_json(self.app, &view).await {
            Ok(result) => json!({ "summary": summary, "result": result }),
            Err(error) => json!({ "summary": summary, "error": error, "status": error.status() }),
        };
        self.send("end", end.to_string()).await
    }

    /// The stream ends, and it is not the run that did.
    async fn fail(&self, error: &ApiError) -> Result<(), Gone> {
        let at = run::at(self.run, self.workflow);
        let trouble = json!({ "error": error, "status": error.status(), "at": at });
        self.send("trouble", trouble.to_string()).await
    }

    async fn send(&self, name: &str, json: String) -> Result<(), Gone> {
        let event = Event::default().event(name).data(json);
        match timeout(SEND_MAX, self.events.send(event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}
