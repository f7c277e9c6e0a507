//! What executors and watchers talk with seats through: channels, which for seats elsewhere have a line between their ends.

use std::sync::Arc;

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode},
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

use super::{COORDINATORS, Front, Local, PARTITIONS};
use crate::{
    app::App,
    error::ApiError,
    limits::{FRAMES_AHEAD, OUTBOX_MAX, SILENCE_MAX, SOCKET_BUFFER_BYTES},
    pass::{self, Onward},
    peer::Peer,
    rpc,
    socket::{Ears, serve_executor, serve_watcher},
    standby::nobody,
    writer::Writer,
};

/// Both ends of what a seat hears and says. It may be far ahead with what it says: if each waited for the other one to listen, both would
/// wait for ever.
pub(super) struct Ends {
    pub(super) say: mpsc::Sender<Bytes>,
    pub(super) hear: mpsc::Receiver<Bytes>,
}

/// Whom a connection is for.
#[derive(Clone, Copy)]
pub(super) enum Who {
    /// An executor, which signs this to prove its key.
    Executor([u8; 32]),
    Watcher,
}

/// Both ends of a talk with a seat: the one of whoever talks with it, and the seat's.
pub(super) fn pair() -> (Ends, Ends) {
    let (say, heard) = mpsc::channel(FRAMES_AHEAD);
    let (said, hear) = mpsc::channel(OUTBOX_MAX);
    let seat = Ends {
        say: said,
        hear: heard,
    };
    (Ends { say, hear }, seat)
}

/// Connects with a seat in here.
pub(super) fn here(local: &Local, peer: Peer, who: Who) -> Ends {
    let (ends, seat) = pair();
    tokio::spawn(serve(Arc::clone(&local.app), seat, peer, who));
    ends
}

/// Serves, at a seat in here, who talks with it.
pub(super) async fn serve(app: Arc<App>, seat: Ends, peer: Peer, who: Who) {
    let (ears, writer) = (Ears::Relay(seat.hear), Writer::Relay(seat.say));
    match who {
        Who::Executor(nonce) => serve_executor(app, ears, writer, peer, Some(nonce)).await,
        Who::Watcher => serve_watcher(app, ears, writer).await,
    }
}

/// A WebSocket at another coordinator; why there is none, in words.
pub(super) async fn socket(
    front: &Front,
    (coordinator, path): (&str, &str),
    peer: Peer,
    bytes_max: usize,
    more: HeaderMap,
) -> Result<WebSocketStream<TcpStream>, String> {
    let stream = pass::connect(coordinator).await?;
    let place = coordinator.strip_prefix("http://").unwrap_or_default();
    let mut request = format!("ws://{place}/{path}")
        .into_client_request()
        .map_err(|error| error.to_string())?;
    request.headers_mut().extend(more);
    let onward = Onward {
        authority: &front.general.authority,
        peer: peer.0,
        over: front.closing.clone(),
    };
    onward.sign(request.headers_mut());
    let config = WebSocketConfig::default()
        .read_buffer_size(SOCKET_BUFFER_BYTES)
        .write_buffer_size(SOCKET_BUFFER_BYTES)
        .max_write_buffer_size(2 * bytes_max)
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer))
            if answer.status() == StatusCode::NOT_FOUND && path.starts_with(COORDINATORS) =>
        {
            Err(front.found_outdated(coordinator))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// As [`Front::subscribe`], at this coordinator.
pub(super) async fn subscribe(
    front: &Front,
    coordinator: &str,
    partition: u16,
    peer: Peer,
    body: &[u8],
) -> Result<mpsc::Receiver<String>, ApiError> {
    let path = format!("{PARTITIONS}/{partition}/");
    let at = (coordinator, path.as_str());
    let socket = socket(front, at, peer, rpc::MESSAGE_BYTES_MAX, HeaderMap::new());
    let mut socket = socket.await.map_err(|why| nobody(&why))?;
    let broken = |error: &dyn std::fmt::Display| nobody(&error.to_string());
    let request = json!({
        "jsonrpc": "2.0", "id": 1, "method": "subscribe_run_workflow", "params": [body],
    });
    let request = Message::Text(request.to_string().into());
    socket.send(request).await.map_err(|error| broken(&error))?;
    loop {
        let Some(said) = socket.next().await else {
            return Err(broken(&"it does not answer"));
        };
        let Message::Text(text) = said.map_err(|error| broken(&error))? else {
            continue;
        };
        let said: Json = serde_json::from_str(&text).map_err(|error| broken(&error))?;
        if said["result"].is_string() {
            break;
        }
        let message = said["error"]["message"].as_str().unwrap_or_default();
        return Err(ApiError::invalid(message));
    }
    let (tell, told) = mpsc::channel(FRAMES_AHEAD);
    tokio::spawn(async move {
        loop {
            let said = tokio::select! {
                // It pings: silence says that its machine is gone.
                said = timeout(SILENCE_MAX, socket.next()) => said.ok().flatten(),
                () = tell.closed() => None,
            };
            match said {
                Some(Ok(Message::Text(text))) => {
                    // Whoever is told went away.
                    if tell.send(text.to_string()).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            }
        }
    });
    Ok(told)
}
