//! The half of a WebSocket that writes, and how one is ended.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    response::Response,
};
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use tokio::{sync::mpsc, time::timeout};

use crate::{error::ApiError, limits::SEND_MAX};

/// Close codes of RFC 6455, and of the registry that it opened.
pub(crate) const NORMAL: u16 = 1000;
pub(crate) const GOING_AWAY: u16 = 1001;
pub(crate) const POLICY: u16 = 1008;
const TRY_AGAIN_LATER: u16 = 1013;

/// Says why there is no place, by closing at once: of any other answer a browser tells its page nothing.
pub(crate) fn turn_away(ws: WebSocketUpgrade, error: &ApiError) -> Response {
    let reason = error.message().to_owned();
    ws.on_upgrade(async move |socket| {
        Writer::new(socket.split().0)
            .close(TRY_AGAIN_LATER, &reason)
            .await;
    })
}

/// Writes with a deadline: who does not read is not waited for.
pub(crate) enum Writer {
    /// To a socket.
    Socket(SplitSink<WebSocket, Message>),
    /// To whoever has the socket, frame by frame; it ends with this.
    Relay(mpsc::Sender<Bytes>),
}

impl Writer {
    pub(crate) fn new(sink: SplitSink<WebSocket, Message>) -> Self {
        Self::Socket(sink)
    }

    pub(crate) async fn send(&mut self, message: Message) -> Result<(), &'static str> {
        let sent = async {
            match (self, message) {
                (Self::Socket(sink), message) => sink.send(message).await.map_err(drop),
                (Self::Relay(frames), Message::Binary(frame)) => {
                    frames.send(frame).await.map_err(drop)
                }
                // Whoever has the socket sees to it that it lives.
                (Self::Relay(_), _) => Ok(()),
            }
        };
        match timeout(SEND_MAX, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("it is closed"),
            Err(_) => Err("it does not read"),
        }
    }

    pub(crate) async fn binary(&mut self, frame: Vec<u8>) -> Result<(), &'static str> {
        self.send(Message::Binary(frame.into())).await
    }

    /// The last words; whether they arrive is the other side's affair.
    pub(crate) async fn close(self, code: u16, reason: &str) {
        let Self::Socket(mut sink) = self else {
            return;
        };
        // A close frame carries at most 123 bytes of text.
        let end = reason
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .take_while(|end| *end <= 123)
            .last()
            .unwrap_or(0);
        let frame = CloseFrame {
            code,
            reason: reason[..end].into(),
        };
        let _ = timeout(
            Duration::from_secs(2),
            sink.send(Message::Close(Some(frame))),
        )
        .await;
    }
}
