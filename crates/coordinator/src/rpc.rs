//! JSON-RPC 2.0 over a WebSocket, as Homestar's JavaScript client speaks it: workflows in, a notification for each task
//! out.
//!
//! Values travel in DAG-JSON, inside of notifications as an array of its bytes. Where Homestar stays silent (a task that
//! failed without a receipt), a notification says so: the client counts them, and would wait for ever.

mod network;
mod teller;

use std::{collections::BTreeMap, sync::Arc};

use asterism_protocol::{limits::DOCUMENT_BYTES_MAX, view::RunId};
use axum::{
    body::Bytes,
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, interval_at},
};

use self::{network::Network, teller::Teller};
use crate::{
    app::App,
    error::ApiError,
    http::{self, Started},
    limits::{PING_EVERY, SILENCE_MAX, SOCKET_BUFFER_BYTES},
    metrics::Counted,
    peer::Peer,
    places::Place,
    writer::{GOING_AWAY, NORMAL, POLICY, Writer, turn_away},
};

/// Largest message of a client: an array of byte numbers, with commas, of the largest workflow that is usual here.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Runs that one connection may follow at the same time.
const SUBSCRIPTIONS_MAX: usize = 64;

/// Notifications between runs and the socket.
const NOTIFICATIONS_AHEAD: usize = 16;

/// Error codes of JSON-RPC 2.0.
const PARSE: i64 = -32_700;
const INVALID_REQUEST: i64 = -32_600;
const UNKNOWN_METHOD: i64 = -32_601;
const INVALID_PARAMS: i64 = -32_602;
const INTERNAL: i64 = -32_603;

/// Takes the connection over, if there is a place.
pub(crate) fn upgrade(app: Arc<App>, ws: WebSocketUpgrade, peer: Peer, host: String) -> Response {
    let network = peer.network();
    let place = match app.room.watchers.take(network) {
        Ok(place) => place,
        Err(error) => return turn_away(ws, &error),
    };
    ws.read_buffer_size(SOCKET_BUFFER_BYTES)
        .write_buffer_size(SOCKET_BUFFER_BYTES)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| serve(app, socket, peer, place, host))
}

#[derive(Deserialize)]
struct Request {
    jsonrpc: String,
    method: String,
    #[serde(default)]
    params: Json,
    #[serde(default)]
    id: Json,
}

/// One client.
struct Client {
    app: Arc<App>,
    peer: Peer,
    host: String,
    /// Runs that it follows, by the subscription's name.
    following: BTreeMap<String, AbortHandle>,
    next: u64,
    notifications: mpsc::Sender<Notification>,
}

enum Notification {
    Text(String),
    /// A subscription has nothing more to say.
    Ended(String),
}

/// What a request is answered with, and what begins with the answer.
struct Answered {
    result: Json,
    begins: Option<Begins>,
}

/// A subscription that was acknowledged and is to begin.
struct Begins {
    subscription: String,
    of: Subscribed,
    place: Place,
}

/// What a subscription tells of.
enum Subscribed {
    /// A run, of whom has it.
    Here {
        app: Arc<App>,
        run: RunId,
        name: String,
    },
    /// A run of another coordinator, which tells of so many tasks.
    There {
        told: mpsc::Receiver<String>,
        tasks: usize,
    },
}

struct Refused {
    code: i64,
    message: String,
    data: Json,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        let code = if error.status() < 500 {
            INVALID_PARAMS
        } else {
            INTERNAL
        };
        let data = serde_json::to_value(&error).unwrap_or_default();
        let message = data["message"].as_str().unwrap_or_default().to_owned();
        Self {
            code,
            message,
            data,
        }
    }
}

fn refused(code: i64, message: impl Into<String>) -> Refused {
    Refused {
        code,
        message: message.into(),
        data: Json::Null,
    }
}

async fn serve(app: Arc<App>, socket: WebSocket, peer: Peer, place: Place, host: String) {
    let _counted = Counted::new(&app.metrics.watcher_connections);
    let (sink, mut stream) = socket.split();
    let mut writer = Writer::new(sink);
    let (notifications, mut to_send) = mpsc::channel(NOTIFICATIONS_AHEAD);
    let mut client = Client {
        app: Arc::clone(&app),
        peer,
        host,
        following: BTreeMap::new(),
        next: 1,
        notifications,
    };
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    let mut heard = Instant::now();
    // Clients register for notifications once they have read the answer. A notification in the same packet would come
    // before that and be lost, so it waits for the pong of a ping that is sent behind the answer.
    let mut begin: BTreeMap<Bytes, Begins> = BTreeMap::new();
    // Where the client did not go by itself.
    let mut end = (NORMAL, "");
    loop {
        let mut frames = Vec::new();
        tokio::select! {
            frame = stream.next() => {
                heard = Instant::now();
                match frame {
                    None | Some(Err(_) | Ok(Message::Close(_))) => break,
                    Some(Ok(Message::Pong(payload))) => {
                        if let Some(begins) = begin.remove(&payload) {
                            client.begin(begins);
                        }
                    }
                    Some(Ok(Message::Ping(_))) => {}
                    Some(Ok(Message::Text(text))) => {
                        let (answer, begins) = client.answer(text.as_bytes()).await;
                        frames.extend(answer.map(|answer| Message::Text(answer.to_string().into())));
                        if let Some(begins) = begins {
                            let payload = Bytes::from(begins.subscription.clone());
                            frames.push(Message::Ping(payload.clone()));
                            begin.insert(payload, begins);
                        }
                    }
                    Some(Ok(Message::Binary(_))) => {
                        let answer = error_of(&Json::Null, refused(PARSE, "messages are texts of JSON"));
                        frames.push(Message::Text(answer.to_string().into()));
                    }
                }
            }
            notification = to_send.recv() => match notification {
                Some(Notification::Text(text)) => frames.push(Message::Text(text.into())),
                Some(Notification::Ended(subscription)) => {
                    client.following.remove(&subscription);
                }
                None => break,
            },
            _ = ping.tick() => frames.push(Message::Ping(Bytes::new())),
            () = tokio::time::sleep_until(heard + SILENCE_MAX) => {
                end = (POLICY, "nothing was heard, not even answers to pings");
                break;
            }
            () = app.closed() => {
                end = (GOING_AWAY, "the coordinator stops; connect again later");
                break;
            }
        }
        for frame in frames {
            if writer.send(frame).await.is_err() {
                client.leave();
                return;
            }
        }
    }
    client.leave();
    let (code, reason) = end;
    writer.close(code, reason).await;
    drop(place);
}

fn error_of(id: &Json, refused: Refused) -> Json {
    let Refused {
        code,
        message,
        data,
    } = refused;
    let mut error = json!({ "code": code, "message": message });
    if !data.is_null() {
        error["data"] = data;
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

impl Client {
    fn leave(&mut self) {
        std::mem::take(&mut self.following)
            .values()
            .for_each(AbortHandle::abort);
    }

    async fn answer(&mut self, text: &[u8]) -> (Option<Json>, Option<Begins>) {
        let request: Request = match serde_json::from_slice::<Json>(text) {
            Err(error) => {
                return (
                    Some(error_of(&Json::Null, refused(PARSE, error.to_string()))),
                    None,
                );
            }
            Ok(json) => {
                let id = json["id"].clone();
                match serde_json::from_value::<Request>(json) {
                    Ok(request) if request.jsonrpc == "2.0" => request,
                    Ok(_) => {
                        return (
                            Some(error_of(
                                &id,
                                refused(INVALID_REQUEST, "jsonrpc must be \"2.0\""),
                            )),
                            None,
                        );
                    }
                    Err(error) => {
                        return (
                            Some(error_of(&id, refused(INVALID_REQUEST, error.to_string()))),
                            None,
                        );
                    }
                }
            }
        };
        let Request {
            method, params, id, ..
        } = request;
        match self.call(&method, params).await {
            // Without an id nobody waits for the answer.
            Ok(Answered { begins, .. }) if id.is_null() => (None, begins),
            Ok(Answered { result, begins }) => (
                Some(json!({ "jsonrpc": "2.0", "id": id, "result": result })),
                begins,
            ),
            Err(refused) => (Some(error_of(&id, refused)), None),
        }
    }

    async fn call(&mut self, method: &str, params: Json) -> Result<Answered, Refused> {
        let result = match method {
            "health" => json!({ "healthy": self.app.trouble().is_none() }),
            "node" => json!({
                "static": { "peer_id": concat!("asterism-", env!("CARGO_PKG_VERSION")) },
                "dynamic": { "listeners": [format!("ws://{}", self.host)] },
            }),
            "metrics" => json!({ "metrics": metrics_of(&self.app.metrics.text()) }),
            "rpc_discover" => discover(),
            "subscribe_run_workflow" => return self.run_workflow(params).await,
            "subscribe_network_events" => {
                let watches = self.app.front.is_some();
                let place = watches.then(|| self.app.room.watchers.take(self.peer.network()));
                let subscription = self.name();
                let network = Network::new(
                    Arc::clone(&self.app),
                    subscription.clone(),
                    self.notifications.clone(),
                    place.transpose()?,
                );
                let task = tokio::spawn(network.follow(self.peer));
                self.keep(&subscription, task.abort_handle())?;
                json!(subscription)
            }
            "unsubscribe_run_workflow" | "unsubscribe_network_events" => {
                let subscription = match &params[0] {
                    Json::String(subscription) => subscription.clone(),
                    other => other.to_string(),
                };
                match self.following.remove(&subscription) {
                    Some(following) => {
                        following.abort();
                        json!(true)
                    }
                    None => json!(false),
                }
            }
            _ => {
                let methods = METHODS.iter().map(|(name, _)| *name);
                let meant = asterism_protocol::nearest(method, methods)
                    .map(|name| format!(", did you mean `{name}`?"))
                    .unwrap_or_default();
                let method: String = method.chars().take(100).collect();
                return Err(refused(
                    UNKNOWN_METHOD,
                    format!("there is no method `{method}`{meant}"),
                ));
            }
        };
        Ok(Answered {
            result,
            begins: None,
        })
    }

    fn name(&mut self) -> String {
        let name = format!("{}-{}", self.app.connection().0, self.next);
        self.next += 1;
        name
    }

    fn keep(&mut self, subscription: &str, following: AbortHandle) -> Result<(), Refused> {
        if self.following.len() >= SUBSCRIPTIONS_MAX {
            following.abort();
            let message = format!("one connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(refused(INVALID_REQUEST, message));
        }
        self.following.insert(subscription.to_owned(), following);
        Ok(())
    }

    /// `[{"name", "workflow"}]`, or `[[byte, …]]` of the same in DAG-CBOR.
    async fn run_workflow(&mut self, params: Json) -> Result<Answered, Refused> {
        let usage = || {
            refused(
                INVALID_PARAMS,
                "params are [{\"name\", \"workflow\"}], or [[byte, …]] of it in DAG-CBOR",
            )
        };
        let body = match params {
            Json::Array(params) => match <[Json; 1]>::try_from(params) {
                Ok([Json::Array(bytes)]) => {
                    let bytes = bytes.iter().map(|byte| u8::try_from(byte.as_u64()?).ok());
                    bytes.collect::<Option<Vec<u8>>>().ok_or_else(usage)?
                }
                Ok([document @ Json::Object(_)]) => document.to_string().into_bytes(),
                _ => return Err(usage()),
            },
            _ => return Err(usage()),
        };
        if body.len() > DOCUMENT_BYTES_MAX {
            return Err(usage());
        }
        if self.following.len() >= SUBSCRIPTIONS_MAX {
            let message = format!("one connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(refused(INVALID_REQUEST, message));
        }
        let place = self.app.room.watchers.take(self.peer.network())?;
        let of = match http::start(&self.app, body.into()).await? {
            Started::Here { app, run, name } => Subscribed::Here { app, run, name },
            Started::There {
                partition,
                body,
                tasks,
            } => {
                let front = self.app.front();
                let front = front.ok_or_else(|| ApiError::unavailable("the coordinator stops"))?;
                let told = front.subscribe(partition, self.peer, &body).await?;
                Subscribed::There { told, tasks }
            }
        };
        let subscription = self.name();
        Ok(Answered {
            result: json!(subscription),
            begins: Some(Begins {
                subscription,
                of,
                place,
            }),
        })
    }

    fn begin(&mut self, begins: Begins) {
        let Begins {
            subscription,
            of,
            place,
        } = begins;
        let notifications = self.notifications.clone();
        let task = match of {
            Subscribed::Here { app, run, name } => {
                let teller = Teller {
                    app,
                    subscription: subscription.clone(),
                    run,
                    name,
                    notifications,
                };
                tokio::spawn(teller.tell(place))
            }
            Subscribed::There { told, tasks } => {
                let subscription = subscription.clone();
                tokio::spawn(pass_on(told, tasks, subscription, notifications, place))
            }
        };
        self.following.insert(subscription, task.abort_handle());
    }
}

/// Tells what another coordinator tells of a run, under the name that the client knows.
async fn pass_on(
    mut told: mpsc::Receiver<String>,
    tasks: usize,
    subscription: String,
    notifications: mpsc::Sender<Notification>,
    place: Place,
) {
    let mut left = tasks;
    while left > 0 {
        let text = told.recv().await.unwrap_or_else(|| {
            let message = format!(
                "subscription {subscription} ends before all is told: the coordinator that has the run is gone; subscribe to the \
                 workflow again, what is known is replayed"
            );
            error_of(&Json::Null, refused(INTERNAL, message)).to_string()
        });
        let Ok(mut said) = serde_json::from_str::<Json>(&text) else {
            continue;
        };
        // What is no notification is why no more of them come.
        left = match said.get("params").is_some() {
            true => left - 1,
            false => 0,
        };
        if let Some(params) = said.get_mut("params") {
            params["subscription"] = subscription.as_str().into();
        }
        // A client that went away does not hear what follows.
        let text = Notification::Text(said.to_string());
        let _ = notifications.send(text).await;
    }
    let _ = notifications.send(Notification::Ended(subscription)).await;
    drop(place);
}

fn notification_of(method: &str, subscription: &str, dag_json: &str) -> String {
    json!({
        "jsonrpc": "2.0",
        "method": method,
        "params": { "subscription": subscription, "result": dag_json.as_bytes() },
    })
    .to_string()
}

/// Homestar's form of gauges, from the text that Prometheus gets.
fn metrics_of(text: &str) -> Vec<Json> {
    let mut help = BTreeMap::new();
    let mut metrics = Vec::new();
    for line in text.lines() {
        if let Some((name, text)) = line
            .strip_prefix("# HELP ")
            .and_then(|line| line.split_once(' '))
        {
            help.insert(name, text);
        } else if !line.starts_with('#')
            && let Some((name, value)) = line.split_once(' ')
            && !name.contains('{')
        {
            let base = name.strip_suffix("_total").unwrap_or(name);
            metrics.push(json!({
                "metric_type": "gauge",
                "metric_name": name,
                "help": help.get(base).copied().unwrap_or_default(),
                "data": [{ "type": "metric", "labels": null, "value": value }],
            }));
        }
    }
    metrics
}

/// Methods with what they do.
const METHODS: [(&str, &str); 8] = [
    ("health", "Is work accepted?"),
    ("node", "Who answers"),
    ("metrics", "Counters and gauges"),
    ("rpc_discover", "This description"),
    (
        "subscribe_run_workflow",
        "Run a workflow; a notification tells each task's receipt",
    ),
    (
        "unsubscribe_run_workflow",
        "End the notifications of a run; the run goes on",
    ),
    ("subscribe_network_events", "Executors that come and go"),
    ("unsubscribe_network_events", "End these notifications"),
];

fn discover() -> Json {
    let methods: Vec<Json> = METHODS
        .iter()
        .map(|(name, summary)| json!({ "name": name, "summary": summary, "params": [] }))
        .collect();
    json!({
        "openrpc": "1.2.6",
        "info": { "title": "Asterism", "version": env!("CARGO_PKG_VERSION") },
        "methods": methods,
    })
}
