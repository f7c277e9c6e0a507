//! A run as it happens, for whoever is told of it: streams of events and JSON-RPC.

use std::sync::Arc;

use asterism_protocol::{
    message::Change,
    view::{RunId, RunState, RunSummary, TaskView},
};
use tokio::{
    sync::{broadcast, mpsc},
    time::timeout,
};

use crate::{
    app::App,
    error::ApiError,
    http,
    hub::{Edition, Published},
    limits::{PART_TASKS, SEND_MAX},
    metrics::Counted,
    places::Place,
};

/// News between a run and a socket.
const NEWS_AHEAD: usize = 16;

/// What is told.
pub(crate) enum News {
    /// The run, whenever it changed.
    Run(RunSummary),
    /// A task, at first and whenever it changed.
    Task(Box<TaskView>),
    /// The run has ended; nothing follows.
    Ended,
    /// The telling ends, and it is not the run that did.
    Trouble(ApiError),
}

/// Everything as it is, then every change, until the run has ended. Who reads too slowly to hear every change is told
/// everything again; who does not read at all is left. `place` is given back at the end.
pub(crate) fn follow(app: &Arc<App>, run: RunId, place: Place) -> mpsc::Receiver<News> {
    let (news, received) = mpsc::channel(NEWS_AHEAD);
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
            news,
        }
        .tell(changes)
        .await;
        app.driver.unwatch(run).await;
        drop((place, counted));
    });
    received
}

struct Teller<'a> {
    app: &'a App,
    run: RunId,
    news: mpsc::Sender<News>,
}

/// The reader went away, or does not read.
struct Gone;

impl Teller<'_> {
    async fn tell(&self, mut changes: broadcast::Receiver<Published>) -> Result<(), Gone> {
        loop {
            let run = self.run;
            // How new each part is: a change that it shows already is not told again.
            let (mut seen, mut state): (Vec<Edition>, _) = (Vec::new(), None);
            loop {
                let from = (seen.len() * PART_TASKS) as u32;
                let look = self
                    .app
                    .driver
                    .look_durable(move |scheduler| scheduler.part_view(run, from, PART_TASKS))
                    .await;
                let (view, edition) = match look {
                    Ok((Some(view), edition)) => (view, edition),
                    Ok((None, _)) => return self.send(News::Trouble(http::forgotten(run))).await,
                    Err(error) => return self.send(News::Trouble(error.into())).await,
                };
                seen.push(edition);
                let all = view.summary.counts.total() as usize;
                if state.is_none() {
                    state = Some(view.summary.state);
                    self.send(News::Run(view.summary)).await?;
                }
                for task in view.tasks {
                    self.send(News::Task(Box::new(task))).await?;
                }
                if seen.len() * PART_TASKS >= all {
                    break;
                }
            }
            if state.is_some_and(|state| state != RunState::Running) {
                return self.send(News::Ended).await;
            }
            let oldest = seen.first().copied().unwrap_or_default();
            loop {
                let published = tokio::select! {
                    published = changes.recv() => published,
                    () = self.news.closed() => return Err(Gone),
                    () = self.app.closed() => {
                        let error = ApiError::unavailable("the coordinator stops; the run goes on when it is back");
                        return self.send(News::Trouble(error)).await;
                    }
                };
                let (edition, batch) = match published {
                    Ok((edition, batch)) if edition > oldest => (edition, batch),
                    Ok(_) => continue,
                    // Too much was missed.
                    Err(broadcast::error::RecvError::Lagged(_)) => break,
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                };
                let mut ended = false;
                for change in &*batch {
                    if let Change::Run(summary) = change
                        && summary.run == run
                    {
                        ended |= summary.state != RunState::Running;
                        self.send(News::Run(summary.clone())).await?;
                    } else if let Change::Task { run: of, task } = change
                        && *of == run
                        && seen
                            .get(task.index as usize / PART_TASKS)
                            .is_none_or(|seen| edition > *seen)
                    {
                        self.send(News::Task(task.clone())).await?;
                    }
                }
                if ended {
                    return self.send(News::Ended).await;
                }
            }
        }
    }

    async fn send(&self, news: News) -> Result<(), Gone> {
        match timeout(SEND_MAX, self.news.send(news)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}
