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

use super::{Front, Local, PARTITIONS};
use crate::{
    limits::{FRAMES_AHEAD, SOCKET_BUFFER_BYTES},
    pass::{self, Onward},
    peer::Peer,
    socket::{Ears, serve_executor, serve_watcher},
    writer::Writer,
};

/// The header by which a coordinator tells what an executor has signed.
const NONCE: HeaderName = HeaderName::from_static("asterism-nonce");

/// Both ends of what a seat hears and says.
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
    let (said, hear) = mpsc::channel(FRAMES_AHEAD);
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
    let stream = pass::connect(coordinator).await?;
    let place = coordinator.strip_prefix("http://").unwrap_or_default();
    let what = match who {
        Who::Executor(_) => "executor",
        Who::Watcher => "watch",
    };
    let mut request = format!("ws://{place}/{PARTITIONS}/{partition}/ws/{what}")
        .into_client_request()
        .map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    if let Who::Executor(nonce) = who
        && let Ok(nonce) = HeaderValue::from_str(&hex(&nonce))
    {
        headers.insert(NONCE, nonce);
    }
    let onward = Onward {
        authority: &front.general.authority,
        peer: peer.0,
        over: front.closing.clone(),
    };
    onward.sign(headers);
    let config = WebSocketConfig::default()
        .read_buffer_size(SOCKET_BUFFER_BYTES)
        .write_buffer_size(SOCKET_BUFFER_BYTES)
        .max_write_buffer_size(2 * FRAME_BYTES_MAX)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let connected = client_async_with_config(request, stream, Some(config)).await;
    let (socket, _) = connected.map_err(|error| error.to_string())?;
    let (say, to_say) = mpsc::channel(FRAMES_AHEAD);
    let (heard, hear) = mpsc::channel(FRAMES_AHEAD);
    tokio::spawn(carry(socket, to_say, heard));
    Ok(Ends { say, hear })
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
