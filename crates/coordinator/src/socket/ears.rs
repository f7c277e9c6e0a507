//! What is heard over a connection: a WebSocket, or the channel of whoever has the WebSocket.

use asterism_protocol::limits::FRAME_BYTES_MAX;
use axum::{
    body::Bytes,
    extract::ws::{Message, WebSocket},
};
use futures_util::{StreamExt as _, stream::SplitStream};
use tokio::sync::mpsc;
use tracing::debug;

use crate::writer::GOING_AWAY;

/// The half of a connection that listens.
pub(crate) enum Ears {
    /// A socket.
    Socket(SplitStream<WebSocket>),
    /// Frames of a socket that is somewhere else.
    Relay(mpsc::Receiver<Bytes>),
}

/// What was heard.
pub(crate) enum Heard {
    /// A message, as far as can be told.
    Frame(Bytes),
    /// A sign of life.
    Alive,
    /// It ends; `away` is how a browser says that its page was closed or left.
    Closed { away: bool },
    /// It broke.
    Gone,
    /// What must not be said.
    Refused(String),
}

impl Ears {
    /// Does whoever has the socket see to it that it lives, and say when it ends? Then silence says nothing.
    pub(crate) fn are_relayed(&self) -> bool {
        matches!(self, Self::Relay(_))
    }

    /// The next thing that is said.
    pub(crate) async fn hear(&mut self) -> Heard {
        let stream = match self {
            Self::Socket(stream) => stream,
            Self::Relay(frames) => {
                let frame = frames.recv().await;
                return frame.map_or(Heard::Closed { away: false }, Heard::Frame);
            }
        };
        match stream.next().await {
            None => Heard::Closed { away: false },
            Some(Ok(Message::Close(frame))) => Heard::Closed {
                away: frame.is_some_and(|frame| frame.code == GOING_AWAY),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Heard::Alive,
            Some(Ok(Message::Text(_))) => {
                Heard::Refused("messages are binary frames of DAG-CBOR".to_owned())
            }
            Some(Ok(Message::Binary(frame))) => Heard::Frame(frame),
            Some(Err(error)) => {
                debug!(%error, "a connection broke");
                if too_long(&error) {
                    Heard::Refused(format!("a frame has at most {FRAME_BYTES_MAX} bytes"))
                } else {
                    Heard::Gone
                }
            }
        }
    }
}

/// Is it our bound that broke the connection?
fn too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("too long") || error.to_string().contains("too big") {
            return true;
        }
        cause = error.source();
    }
    false
}
