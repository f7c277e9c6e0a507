//! Connections of executors and watchers to the seats that they are passed on to: in here by channels, elsewhere by WebSockets.

use std::{sync::Arc, time::Duration};

use asterism_protocol::{SUBPROTOCOL, limits::FRAME_BYTES_MAX};
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};
use tracing::debug;

use super::{Front, Local, PARTITIONS};
use crate::{
    error::ApiError,
    limits::{FRAMES_AHEAD, OUTBOX_MAX, SEND_MAX, SILENCE_MAX, SOCKET_BUFFER_BYTES},
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
    tokio::spawn(carry(socket, to_say, heard, SILENCE_MAX));
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

/// Carries frames both ways until one side ends. A coordinator pings: one that is silent for `silence_max` is gone with its machine,
/// and nobody has said so.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    mut to_say: mpsc::Receiver<Bytes>,
    heard: mpsc::Sender<Bytes>,
    silence_max: Duration,
) {
    let (mut sink, mut stream) = socket.split();
    let mut last = Instant::now();
    loop {
        tokio::select! {
            frame = to_say.recv() => {
                let Some(frame) = frame else {
                    // The other side ends as well, or notices that nobody is there.
                    let _ = sink.close().await;
                    return;
                };
                match timeout(SEND_MAX, sink.send(Message::Binary(frame))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        debug!(%error, "a connection to another coordinator broke");
                        return;
                    }
                    Err(_) => {
                        debug!("another coordinator does not read");
                        return;
                    }
                }
            }
            message = stream.next() => {
                match message {
                    Some(Ok(Message::Binary(frame))) => if heard.send(frame).await.is_err() {
                        let _ = sink.close().await;
                        return;
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                }
                last = Instant::now();
            }
            () = sleep_until(last + silence_max) => {
                debug!("another coordinator is silent");
                return;
            }
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

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[tokio::test]
    async fn a_coordinator_that_is_silent_is_given_up() {
        let silence_max = Duration::from_millis(400);
        let (near, far) = tokio::io::duplex(1 << 10);
        let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let mut far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let (_say, to_say) = mpsc::channel(1);
        let (heard, mut hear) = mpsc::channel(1);
        let carried = tokio::spawn(carry(near, to_say, heard, silence_max));
        // Who pings is there, however long nothing else is said.
        for _ in 0..6 {
            tokio::time::sleep(silence_max / 4).await;
            far.send(Message::Ping(Bytes::new())).await.unwrap();
        }
        far.send(Message::Binary(Bytes::from_static(b"word")))
            .await
            .unwrap();
        assert_eq!(hear.recv().await.as_deref(), Some(b"word".as_slice()));
        // From now on it is as after a loss of power: the connection stays.
        let ended = timeout(50 * silence_max, hear.recv()).await;
        assert_eq!(ended.expect("it is noticed"), None);
        carried.await.unwrap();
    }
}
