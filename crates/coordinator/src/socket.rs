//! The two WebSockets: executors, who get leases, and watchers, who see what happens.
//!
//! A frame that is not a message ends its connection with the reason; nobody else notices.

mod deliveries;
mod ears;

use std::{collections::BTreeSet, sync::Arc};

use asterism_protocol::{
    Cid, SUBPROTOCOL, encode,
    limits::{FRAME_BYTES_MAX, WATCHED_TASKS_MAX},
    message::{
        Change, Fault, FaultKind, Lease, LeaseId, ToCoordinator, ToExecutor, ToWatched, ToWatcher,
        decode_frame,
    },
    view::{Overview, RunId, RunView},
};
use asterism_scheduler::{Checked, Checker, ConnectionId, Scheduler};
use axum::{
    Extension,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::broadcast, time::Instant};
use tracing::warn;

use self::deliveries::Deliveries;
pub(crate) use self::ears::{Ears, Heard};
use crate::{
    app::App,
    driver::{NoAnswer, OutboxReceiver},
    error::ApiError,
    front,
    hub::Edition,
    limits::{CHANGES_FRAME_MAX, FIRST_WORD_MAX, PING_EVERY, SILENCE_MAX, SOCKET_BUFFER_BYTES},
    metrics::{Counted, Metrics},
    peer::Peer,
    writer::{GOING_AWAY, NORMAL, POLICY, Writer, turn_away},
};

/// Why a connection ends that is to be made again.
pub(crate) const STOPS: &str = "the coordinator stops; connect again later";

/// Names the sub-protocol in the query, for clients behind a proxy that does not pass sub-protocols on (Trunk's is one).
const PROTOCOL_PARAMETER: &str = "protocol=";

pub(crate) fn upgrade(upgrade: Upgrade, uri: &Uri) -> Result<WebSocketUpgrade, ApiError> {
    let upgrade = upgrade.map_err(|rejection| {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "websocket",
            rejection.body_text(),
        )
        .hint("connect with a WebSocket client")
    })?;
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    let mut parameters = uri.query().unwrap_or_default().split('&');
    let is_named =
        parameters.any(|pair| pair.strip_prefix(PROTOCOL_PARAMETER) == Some(SUBPROTOCOL));
    if upgrade.selected_protocol().is_none() && !is_named {
        let message = format!("the sub-protocol {SUBPROTOCOL} must be offered");
        return Err(ApiError::invalid(message).hint("reload the page or update the executor"));
    }
    Ok(upgrade
        .read_buffer_size(SOCKET_BUFFER_BYTES)
        .write_buffer_size(SOCKET_BUFFER_BYTES)
        .max_write_buffer_size(2 * FRAME_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX))
}

type Upgrade = Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>;

/// `/ws/executor`.
pub(crate) async fn executor(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    ws: Upgrade,
) -> Response {
    let ws = match upgrade(ws, &uri) {
        Ok(ws) => ws,
        Err(error) => return error.into_response(),
    };
    let place = match app.room.executors.take(peer.network()) {
        Ok(place) => place,
        Err(error) => return turn_away(ws, &error),
    };
    ws.on_upgrade(async move |socket| {
        let _counted = counted(&app, &app.metrics.executor_connections);
        match app.front() {
            Some(front) => front::relay(front, socket, peer).await,
            None => {
                let (ears, writer) = ends(socket);
                serve_executor(app, ears, writer, peer, None).await;
            }
        }
        drop(place);
    })
}

/// Counts a connection of somebody; one of another coordinator is counted there.
fn counted(app: &App, gauge: &Gauge) -> Option<Counted> {
    app.whole.is_none().then(|| Counted::new(gauge))
}

/// Both halves of a socket.
pub(crate) fn ends(socket: WebSocket) -> (Ears, Writer) {
    let (sink, stream) = socket.split();
    (Ears::Socket(stream), Writer::new(sink))
}

/// Why an executor's connection ends.
pub(crate) enum End {
    /// It left, or can be told no more.
    Gone,
    /// It said what it must not say, or nothing where it had to.
    Refused(String),
    /// The scheduler closes it, and has told why.
    Closed,
    /// The coordinator stops, or is in trouble: it is to come again.
    Stops,
}

/// Serves one executor until its connection ends. It has to prove its key by signing `nonce`, a new one if none is given.
pub(crate) async fn serve_executor(
    app: Arc<App>,
    mut ears: Ears,
    mut writer: Writer,
    peer: Peer,
    nonce: Option<[u8; 32]>,
) {
    let connection = app.connection();
    let end = match nonce.map_or_else(new_nonce, Ok) {
        Err(error) => {
            warn!(%error, "the system has no random bytes");
            End::Stops
        }
        Ok(nonce) => {
            let origin = app.veil.name(peer);
            match app.driver.connected(connection, nonce, origin).await {
                Ok(mut outbox) => {
                    let end = talk(&app, connection, &mut ears, &mut writer, &mut outbox).await;
                    app.driver.disconnected(connection).await;
                    end
                }
                Err(_) => End::Stops,
            }
        }
    };
    if let End::Refused(reason) = &end {
        warn!(
            connection = connection.0,
            reason, "an executor's connection is ended"
        );
    }
    end.say(&app.metrics, writer).await;
}

impl End {
    /// Tells an executor why its connection ends. Who cannot be told notices anyhow.
    pub(crate) async fn say(self, metrics: &Metrics, mut writer: Writer) {
        let bye = |reason: &str| {
            encode(&ToExecutor::Bye {
                reason: reason.to_owned(),
            })
        };
        match self {
            Self::Gone => {}
            Self::Closed => writer.close(NORMAL, "").await,
            Self::Stops => {
                let _ = writer.binary(bye(STOPS)).await;
                writer.close(GOING_AWAY, STOPS).await;
            }
            Self::Refused(reason) => {
                metrics.refused_connections.inc();
                let _ = writer.binary(bye(&reason)).await;
                writer.close(POLICY, &reason).await;
            }
        }
    }
}

/// What an executor signs to prove its key.
pub(crate) fn new_nonce() -> Result<[u8; 32], getrandom::Error> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

/// Carries messages both ways until one side ends it.
async fn talk(
    app: &Arc<App>,
    connection: ConnectionId,
    ears: &mut Ears,
    writer: &mut Writer,
    outbox: &mut OutboxReceiver,
) -> End {
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    let mut heard = Instant::now();
    let mut greeted = false;
    let mut checker = Checker::default();
    let mut deliveries = Deliveries::default();
    let relayed = ears.are_relayed();
    loop {
        let silence = if greeted { SILENCE_MAX } else { FIRST_WORD_MAX };
        tokio::select! {
            looked = deliveries.looked() => {
                if deliveries.are_many() {
                    // Nobody listened until now, so it was not silent.
                    heard = Instant::now();
                }
                if let Err(end) = deliveries.conclude(app, connection, &mut checker, looked, writer).await {
                    return end;
                }
            }
            frame = ears.hear(), if !deliveries.are_many() => {
                let message = match frame {
                    Heard::Closed { away } => {
                        deliveries.settle(app, connection, &mut checker, writer).await;
                        // A page that was closed or left: what it held does not come back.
                        if away && greeted {
                            // Whoever cannot be told has ended already.
                            let leave = checker.check(ToCoordinator::Leave);
                            let _ = tell(app, connection, leave).await;
                        }
                        return End::Gone;
                    }
                    Heard::Alive => {
                        heard = Instant::now();
                        continue;
                    }
                    Heard::Frame(frame) => match decode_frame::<ToCoordinator>(&frame) {
                        Ok(message) => (message, frame.len()),
                        Err(error) => return End::Refused(error.to_string()),
                    },
                    Heard::Gone => return End::Gone,
                    Heard::Refused(reason) => return End::Refused(reason),
                };
                heard = Instant::now();
                let (message, bytes) = message;
                greeted |= matches!(message, ToCoordinator::Hello(_));
                // Hashes and signatures are checked here: every connection has a task of its own, the scheduler has one thread.
                if let Some(message) = deliveries.keep(app, message, bytes)
                    && let Err(end) = tell(app, connection, checker.check(message)).await
                {
                    return end;
                }
            }
            message = outbox.queue.recv() => match message {
                None => return End::Closed,
                Some(message) => if let Err(end) = send(app, connection, writer, *message).await {
                    return end;
                },
            },
            () = outbox.cut.notified() => return End::Refused("messages are not read fast enough".to_owned()),
            _ = ping.tick(), if greeted => if writer.send(Message::Ping(Vec::new().into())).await.is_err() {
                return End::Gone;
            },
            () = tokio::time::sleep_until(heard + silence), if !relayed && !deliveries.are_many() => {
                return End::Refused(format!("nothing was heard for {} s", silence.as_secs()));
            }
            () = app.closed() => return End::Stops,
        }
    }
}

async fn tell(app: &App, connection: ConnectionId, message: Checked) -> Result<(), End> {
    app.driver
        .received(connection, message)
        .await
        .map_err(|_| End::Stops)
}

/// Sends within the bound of a frame: leases whose inputs are large go in several frames.
async fn send(
    app: &App,
    connection: ConnectionId,
    writer: &mut Writer,
    message: ToExecutor,
) -> Result<(), End> {
    let frame = encode(&message);
    if frame.len() <= FRAME_BYTES_MAX {
        return writer.binary(frame).await.map_err(|_| End::Gone);
    }
    drop(frame);
    match message {
        ToExecutor::Assign { leases } => {
            for frame in frames_of(leases) {
                match frame {
                    Ok(frame) => writer.binary(frame).await.map_err(|_| End::Gone)?,
                    Err(lease) => {
                        let message = format!(
                            "the task and its inputs are larger than the {FRAME_BYTES_MAX} bytes of a frame"
                        );
                        let fault = Fault {
                            kind: FaultKind::Host,
                            message,
                        };
                        let fault = ToCoordinator::Fault { lease, fault };
                        tell(app, connection, Checker::default().check(fault)).await?;
                    }
                }
            }
            Ok(())
        }
        other => {
            // Lists of lease numbers and short texts stay far below the bound.
            warn!(
                connection = connection.0,
                ?other,
                "a message is larger than a frame"
            );
            Ok(())
        }
    }
}

/// As many leases in a frame as fit; those that fit no frame by themselves are given by number.
fn frames_of(leases: Vec<Lease>) -> Vec<Result<Vec<u8>, LeaseId>> {
    const ENVELOPE_BYTES: usize = 64;
    let (mut frames, mut part, mut bytes) = (Vec::new(), Vec::new(), ENVELOPE_BYTES);
    for lease in leases {
        let size = encode(&lease).len();
        if size + ENVELOPE_BYTES > FRAME_BYTES_MAX {
            frames.push(Err(lease.id));
            continue;
        }
        if bytes + size > FRAME_BYTES_MAX {
            frames.push(Ok(encode(&ToExecutor::Assign {
                leases: std::mem::take(&mut part),
            })));
            bytes = ENVELOPE_BYTES;
        }
        bytes += size;
        part.push(lease);
    }
    frames.push(Ok(encode(&ToExecutor::Assign { leases: part })));
    frames
}

/// `/ws/watch`.
pub(crate) async fn watch(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    ws: Upgrade,
) -> Response {
    let ws = match upgrade(ws, &uri) {
        Ok(ws) => ws,
        Err(error) => return error.into_response(),
    };
    let place = match app.room.watchers.take(peer.network()) {
        Ok(place) => place,
        Err(error) => return turn_away(ws, &error),
    };
    ws.on_upgrade(async move |socket| {
        let _counted = counted(&app, &app.metrics.watcher_connections);
        let (ears, writer) = ends(socket);
        match app.front() {
            Some(front) => front::watch(front, ears, writer, peer).await,
            None => serve_watcher(app, ears, writer).await,
        }
        drop(place);
    })
}

/// Shows one watcher what happens until its connection ends.
pub(crate) async fn serve_watcher(app: Arc<App>, mut ears: Ears, mut writer: Writer) {
    let mut sight = Sight {
        run: None,
        from: 0,
        overview: Edition::default(),
        run_seen: Edition::default(),
    };
    let end = show(&app, &mut ears, &mut writer, &mut sight).await;
    if let Some(run) = sight.run {
        app.driver.unwatch(run).await;
    }
    match end {
        End::Gone => {}
        End::Closed => writer.close(NORMAL, "").await,
        End::Stops => {
            writer.close(GOING_AWAY, STOPS).await;
        }
        End::Refused(reason) => {
            app.metrics.refused_connections.inc();
            writer.close(POLICY, &reason).await;
        }
    }
}

/// What a watcher looks at, and how new what it saw is.
struct Sight {
    run: Option<RunId>,
    /// The first task of the window on it.
    from: u32,
    overview: Edition,
    run_seen: Edition,
}

impl Sight {
    fn sees(&self, run: RunId, task: u32) -> bool {
        let window = self.from..self.from.saturating_add(WATCHED_TASKS_MAX as u32);
        Some(run) == self.run && window.contains(&task)
    }
}

async fn show(app: &Arc<App>, ears: &mut Ears, writer: &mut Writer, sight: &mut Sight) -> End {
    // Subscribed before the snapshot is made: what comes between the two is in both, and told apart by its edition.
    let mut changes = app.hub.subscribe();
    let mut trouble = app.trouble.watch();
    if let Err(end) = snapshot(app, writer, sight).await {
        return end;
    }
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    let mut heard = Instant::now();
    let relayed = ears.are_relayed();
    loop {
        let step = tokio::select! {
            // An error would say that its sender is gone: the app holds it.
            _ = trouble.changed() => snapshot(app, writer, sight).await,
            frame = ears.hear() => match frame {
                Heard::Closed { .. } | Heard::Gone => return End::Gone,
                Heard::Alive => {
                    heard = Instant::now();
                    Ok(())
                }
                Heard::Refused(reason) => return End::Refused(reason),
                Heard::Frame(frame) => match decode_frame::<ToWatched>(&frame) {
                    Ok(ToWatched::Watch { run, from }) => {
                        heard = Instant::now();
                        // The new one first: a run that is watched twice is published all the same.
                        if let Some(run) = run {
                            app.driver.watch(run).await;
                        }
                        if let Some(before) = std::mem::replace(&mut sight.run, run) {
                            app.driver.unwatch(before).await;
                        }
                        sight.from = from;
                        whole_run(app, writer, sight).await
                    }
                    Err(error) => return End::Refused(error.to_string()),
                },
            },
            published = changes.recv() => match published {
                Ok((edition, batch)) => {
                    let mut batches = vec![(edition, batch)];
                    while batches.len() < CHANGES_FRAME_MAX && let Ok(next) = changes.try_recv() {
                        batches.push(next);
                    }
                    tell_changes(writer, sight, &batches).await
                }
                Err(broadcast::error::RecvError::Lagged(_)) => match snapshot(app, writer, sight).await {
                    Ok(()) => whole_run(app, writer, sight).await,
                    end => end,
                },
                Err(broadcast::error::RecvError::Closed) => return End::Stops,
            },
            _ = ping.tick() => writer.send(Message::Ping(Vec::new().into())).await.map_err(|_| End::Gone),
            () = tokio::time::sleep_until(heard + SILENCE_MAX), if !relayed => return End::Gone,
            () = app.closed() => return End::Stops,
        };
        if let Err(end) = step {
            return end;
        }
    }
}

async fn look<T: Send + 'static>(
    app: &App,
    look: impl FnOnce(&Scheduler) -> T + Send + 'static,
) -> Result<(T, Edition), End> {
    app.driver
        .look(look)
        .await
        .map_err(|_: NoAnswer| End::Stops)
}

async fn snapshot(app: &App, writer: &mut Writer, sight: &mut Sight) -> Result<(), End> {
    let (mut overview, edition) = look(app, Scheduler::overview).await?;
    overview.components = app.library.shelf().views();
    overview.trouble = app.trouble.text().unwrap_or_default();
    sight.overview = edition;
    let mut frame = encode(&ToWatcher::Snapshot(overview.clone()));
    while frame.len() > FRAME_BYTES_MAX && !overview.runs.is_empty() {
        // Older runs are in /workflows.
        overview.runs.truncate(overview.runs.len() / 2);
        frame = encode(&ToWatcher::Snapshot(Overview::clone(&overview)));
    }
    writer.binary(frame).await.map_err(|_| End::Gone)
}

async fn whole_run(app: &App, writer: &mut Writer, sight: &mut Sight) -> Result<(), End> {
    let (Some(run), from) = (sight.run, sight.from) else {
        return Ok(());
    };
    let part = move |scheduler: &Scheduler| scheduler.part_view(run, from, WATCHED_TASKS_MAX);
    let (view, edition) = look(app, part).await?;
    sight.run_seen = edition;
    let Some(view) = view else { return Ok(()) };
    let mut frame = encode(&ToWatcher::Run(Box::new(view.clone())));
    if frame.len() > FRAME_BYTES_MAX {
        // A run with much to show is shown without its values; /workflows has them.
        frame = encode(&ToWatcher::Run(Box::new(lighter(view))));
    }
    if frame.len() > FRAME_BYTES_MAX {
        return Ok(());
    }
    writer.binary(frame).await.map_err(|_| End::Gone)
}

fn lighter(mut view: RunView) -> RunView {
    for task in &mut view.tasks {
        task.args.clear();
        task.files.clear();
        task.out = None;
        task.remark = None;
        task.attempts.clear();
    }
    view
}

/// Sends what is newer than what was seen, later states of the same thing instead of earlier ones.
async fn tell_changes(
    writer: &mut Writer,
    sight: &Sight,
    batches: &[(Edition, Arc<[Change]>)],
) -> Result<(), End> {
    let mut news: Vec<&Change> = Vec::new();
    let mut told = BTreeSet::new();
    for (edition, batch) in batches.iter().rev() {
        for change in batch.iter().rev() {
            let seen = match change {
                Change::Task { run, task } if sight.sees(*run, task.index) => sight.run_seen,
                Change::Task { .. } => continue,
                Change::Run(_)
                | Change::Executor(_)
                | Change::ExecutorGone(_)
                | Change::Component(_)
                | Change::Paused(_) => sight.overview,
            };
            if *edition > seen && told.insert(subject(change)) {
                news.push(change);
            }
        }
    }
    news.reverse();
    let mut rest = news.as_slice();
    let mut size = CHANGES_FRAME_MAX;
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.len().min(size));
        let changes: Vec<Change> = part.iter().copied().cloned().collect();
        let frame = encode(&ToWatcher::Changes(changes));
        if frame.len() > FRAME_BYTES_MAX && part.len() > 1 {
            size = part.len() / 2;
            continue;
        }
        rest = behind;
        if frame.len() <= FRAME_BYTES_MAX {
            writer.binary(frame).await.map_err(|_| End::Gone)?;
        }
    }
    Ok(())
}

/// What a change is about.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Run(RunId),
    Task(RunId, u32),
    Executor(asterism_protocol::PublicKey),
    Component(Cid),
    Paused,
}

fn subject(change: &Change) -> Subject {
    match change {
        Change::Run(summary) => Subject::Run(summary.run),
        Change::Task { run, task } => Subject::Task(*run, task.index),
        Change::Executor(executor) => Subject::Executor(executor.key),
        Change::ExecutorGone(key) => Subject::Executor(*key),
        Change::Component(component) => Subject::Component(component.cid),
        Change::Paused(_) => Subject::Paused,
    }
}
