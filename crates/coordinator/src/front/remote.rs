//! Connections of executors and watchers to the seats that they are passed on to: in here by channels, elsewhere by WebSockets.

use std::sync::Arc;

use asterism_protocol::{SUBPROTOCOL, limits::FRAME_BYTES_MAX};
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};
use tracing::debug;

use serde_json::{Value as Json, json};

use super::{Front, Local, PARTITIONS};
use crate::{
    error::ApiError,
    limits::{FRAMES_AHEAD, OUTBOX_MAX, SOCKET_BUFFER_BYTES},
    pass::{self, Onward},
    peer::Peer,
    rpc,
    socket::{Ears, serve_executor, serve_watcher},
    standby::nobody,
    writer::Writer,
};

/// The header by which a coordinator tells what an executor has signed.
const NONCE: HeaderName = HeaderName::from_static("asterism-nonce");

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

/// Connects with a seat in here.
pub(super) fn here(local: &Local, peer: Peer, who: Who) -> Ends {
    let (say, heard) = mpsc::channel(FRAMES_AHEAD);
    let (said, hear) = mpsc::channel(OUTBOX_MAX);
    let app = Arc::clone(&local.app);
    let (ears, writer) = (Ears::Relay(heard), Writer::Relay(said));
    tokio::spawn(async move {
        match who {
            Who::Executor(nonce) => serve_executor(app, ears, writer, peer, Some(nonce)).await,
            Who::Watcher => serve_watcher(app, ears, writer).await,
        }
    });
    Ends { say, hear }
}

/// Connects with a seat at another coordinator; why not, in words.
pub(super) async fn there(
    front: &Front,
    coordinator: &str,
    partition: u16,
    peer: Peer,
    who: Who,
) -> Result<Ends, String> {
    let path = match who {
        Who::Executor(_) => "ws/executor",
        Who::Watcher => "ws/watch",
    };
    let nonce = match who {
        Who::Executor(nonce) => HeaderValue::from_str(&hex(&nonce)).ok(),
        Who::Watcher => None,
    };
    let more = nonce.map(|nonce| (NONCE, nonce));
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    let more = more
        .into_iter()
        .chain([(header::SEC_WEBSOCKET_PROTOCOL, protocol)]);
    let at = (coordinator, partition, path);
    let socket = socket(front, at, peer, FRAME_BYTES_MAX, more.collect()).await?;
    let (say, to_say) = mpsc::channel(FRAMES_AHEAD);
    let (heard, hear) = mpsc::channel(OUTBOX_MAX);
    tokio::spawn(carry(socket, to_say, heard));
    Ok(Ends { say, hear })
}

/// A WebSocket of a partition at another coordinator.
async fn socket(
    front: &Front,
    (coordinator, partition, path): (&str, u16, &str),
    peer: Peer,
    bytes_max: usize,
    more: HeaderMap,
) -> Result<WebSocketStream<TcpStream>, String> {
    let stream = pass::connect(coordinator).await?;
    let place = coordinator.strip_prefix("http://").unwrap_or_default();
    let mut request = format!("ws://{place}/{PARTITIONS}/{partition}/{path}")
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
    let connected = client_async_with_config(request, stream, Some(config)).await;
    Ok(connected.map_err(|error| error.to_string())?.0)
}

/// As [`Front::subscribe`], at this coordinator.
pub(super) async fn subscribe(
    front: &Front,
    coordinator: &str,
    partition: u16,
    peer: Peer,
    body: &[u8],
) -> Result<mpsc::Receiver<String>, ApiError> {
    let at = (coordinator, partition, "");
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
                said = socket.next() => said,
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

/// Carries frames both ways until one side ends.
async fn carry(
    socket: WebSocketStream<TcpStream>,
    mut to_say: mpsc::Receiver<Bytes>,
    heard: mpsc::Sender<Bytes>,
) {
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            frame = to_say.recv() => {
                let Some(frame) = frame else {
                    // The other side ends as well, or notices that nobody is there.
                    let _ = sink.close().await;
                    return;
                };
                if let Err(error) = sink.send(Message::Binary(frame)).await {
                    debug!(%error, "a connection to another coordinator broke");
                    return;
                }
            }
            message = stream.next() => match message {
                Some(Ok(Message::Binary(frame))) => if heard.send(frame).await.is_err() {
                    let _ = sink.close().await;
                    return;
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
        }
    }
}

/// What another coordinator says that an executor has signed.
pub(crate) fn nonce_of(headers: &HeaderMap) -> Option<[u8; 32]> {
    let text = headers.get(NONCE)?.to_str().ok()?;
    let mut nonce = [0; 32];
    if text.len() != 2 * nonce.len() || !text.is_ascii() {
        return None;
    }
    for (place, byte) in nonce.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(nonce)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
