//! The WebSocket to the coordinator.

use std::time::Duration;

use asterism_protocol::{
    SUBPROTOCOL, encode,
    limits::FRAME_BYTES_MAX,
    message::{ToCoordinator, ToExecutor, decode_frame},
};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};

use crate::Server;

/// Messages between the shell and a socket. A coordinator that does not read fills it and is hung up on.
const QUEUE: usize = 1_024;

/// Longest time for one message to be taken.
const SEND: Duration = Duration::from_secs(30);

/// Longest time for the last messages when the connection is closed.
const CLOSE: Duration = Duration::from_secs(2);

/// Buffers of the socket, in bytes: messages are small, and large ones pass in pieces.
const BUFFER_BYTES: usize = 4 << 10;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a line says to the shell.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It is open.
    Connected,
    /// A message came.
    Message(ToExecutor),
    /// It is closed, or never opened: nothing follows.
    Closed {
        /// Why, in words.
        reason: String,
    },
}

/// A connection, or the attempt at one.
#[derive(Debug)]
pub(crate) struct Line {
    outgoing: mpsc::Sender<ToCoordinator>,
    task: JoinHandle<()>,
}

/// Where a line puts what it hears.
pub(crate) trait Listener: Send + Sync + 'static {
    /// Takes it, and waits while there is no room.
    fn hear(&self, heard: Heard) -> impl Future<Output = ()> + Send;
}

impl Line {
    /// Starts to connect.
    pub(crate) fn open(server: &Server, listener: impl Listener) -> Self {
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let url = server.socket();
        let task = tokio::spawn(async move {
            let reason = match connect(&url).await {
                Ok(socket) => {
                    listener.hear(Heard::Connected).await;
                    talk(socket, queue, &listener).await
                }
                Err(reason) => reason,
            };
            listener.hear(Heard::Closed { reason }).await;
        });
        Self { outgoing, task }
    }

    /// Sends a message; `false` if it cannot be taken.
    pub(crate) fn send(&self, message: ToCoordinator) -> bool {
        self.outgoing.try_send(message).is_ok()
    }

    /// Ends the connection after what was sent before.
    pub(crate) async fn close(self) {
        let Self { outgoing, mut task } = self;
        drop(outgoing);
        if timeout(CLOSE, &mut task).await.is_err() {
            task.abort();
        }
    }
}

async fn connect(url: &str) -> Result<Socket, String> {
    let mut request = url
        .into_client_request()
        .map_err(|error| error.to_string())?;
    request.headers_mut().insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(2 * FRAME_BYTES_MAX)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    // tungstenite refuses a server that chooses another protocol, or none.
    let connected = connect_async_with_config(request, Some(config), true).await;
    connected
        .map(|(socket, _)| socket)
        .map_err(|error| error.to_string())
}

/// Carries messages both ways until one side is done; says why.
async fn talk(
    socket: Socket,
    queue: mpsc::Receiver<ToCoordinator>,
    listener: &impl Listener,
) -> String {
    let (mut sink, mut stream) = socket.split();
    tokio::select! {
        reason = say(&mut sink, queue) => reason,
        reason = listen(&mut stream, listener) => reason,
    }
}

async fn say(
    sink: &mut SplitSink<Socket, Message>,
    mut queue: mpsc::Receiver<ToCoordinator>,
) -> String {
    while let Some(message) = queue.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            let frame = Message::Binary(encode(&message).into());
            match timeout(SEND, sink.feed(frame)).await {
                Ok(Ok(())) => next = queue.try_recv().ok(),
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "the coordinator does not read".into(),
            }
        }
        // One write for all that was waiting.
        match timeout(SEND, sink.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "the coordinator does not read".into(),
        }
    }
    // Whether the coordinator answers the farewell does not matter any more.
    let _ = timeout(CLOSE, sink.close()).await;
    "closed from this side".into()
}

async fn listen(stream: &mut SplitStream<Socket>, listener: &impl Listener) -> String {
    while let Some(frame) = stream.next().await {
        match frame {
            Ok(Message::Binary(frame)) => match decode_frame(&frame) {
                Ok(message) => listener.hear(Heard::Message(message)).await,
                Err(error) => return error.to_string(),
            },
            Ok(Message::Text(_)) => {
                return "the coordinator sent text, which is not spoken here".into();
            }
            Ok(Message::Close(Some(close))) if !close.reason.is_empty() => {
                return format!("the coordinator closed the connection: {}", close.reason);
            }
            Ok(Message::Close(_)) => return "the coordinator closed the connection".into(),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(error) => return error.to_string(),
        }
    }
    "the connection broke off".into()
}
