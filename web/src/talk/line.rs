//! The line to a coordinator: a WebSocket for messages, HTTP for blobs. The one file of the tab that knows sockets.

use std::rc::Weak;

use asterism_executor::Input;
use asterism_protocol::{
    Cid, encode,
    limits::BLOB_BYTES_MAX,
    message::{ToCoordinator, decode_frame},
};
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{CloseEvent, MessageEvent, WebSocket};

use super::{blobs::cid_of, shell::Shell};
use crate::js::{Listener, request, socket};

/// Where executors connect, from the base of the coordinator.
const PATH: &str = "ws/executor";

/// A connection that is being made or is open; it is closed when this is dropped.
pub(super) struct Connection {
    socket: WebSocket,
    _listeners: [Listener; 3],
}

impl Connection {
    /// Connects; the shell hears of what happens.
    pub(super) fn open(base: &str, shell: &Weak<Shell>) -> Result<Self, String> {
        let url = format!("{}{PATH}", base.replacen("http", "ws", 1));
        let socket = socket(&url)?;
        let tell = |shell: &Weak<Shell>, input| {
            if let Some(shell) = shell.upgrade() {
                shell.tell(input);
            }
        };
        let (opened, heard, closed) = (shell.clone(), shell.clone(), shell.clone());
        let listeners = [
            Listener::new(&socket, "open", move |_| tell(&opened, Input::Connected)),
            Listener::new(&socket, "message", move |event| {
                let data = event.unchecked_into::<MessageEvent>().data();
                let frame = data
                    .dyn_ref::<ArrayBuffer>()
                    .map(|buffer| Uint8Array::new(buffer).to_vec());
                tell(
                    &heard,
                    match frame.as_deref().map(decode_frame) {
                        Some(Ok(message)) => Input::Received(message),
                        Some(Err(error)) => Input::Disconnected {
                            reason: format!("the coordinator sent what is not understood: {error}"),
                        },
                        None => Input::Disconnected {
                            reason: "the coordinator sent text instead of a message".to_owned(),
                        },
                    },
                );
            }),
            Listener::new(&socket, "close", move |event| {
                let event = event.unchecked_into::<CloseEvent>();
                let reason = match (event.code(), event.reason()) {
                    // 1006: there was no closing handshake, so nobody gave a reason.
                    (1006, _) => "the coordinator cannot be reached".to_owned(),
                    (code, reason) if reason.is_empty() => {
                        format!("the coordinator closed the connection ({code})")
                    }
                    (_, reason) => format!("the coordinator closed the connection: {reason}"),
                };
                tell(&closed, Input::Disconnected { reason });
            }),
        ];
        Ok(Self {
            socket,
            _listeners: listeners,
        })
    }

    /// Sends, if the connection is open; otherwise the end of it is about to be heard of.
    pub(super) fn send(&self, message: &ToCoordinator) {
        let _ = self.socket.send_with_u8_array(&encode(message));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.socket.close();
    }
}

/// Fetches a blob and checks it.
pub(super) async fn fetch(base: &str, cid: Cid) -> Result<Uint8Array, String> {
    let answer = request("GET", &format!("{base}blobs/{cid}"), None).await?;
    if !answer.is_ok() {
        return Err(format!("the coordinator answered with {}", answer.status));
    }
    if u64::from(answer.body.length()) > BLOB_BYTES_MAX {
        return Err(format!(
            "it has {} bytes, {BLOB_BYTES_MAX} is the most",
            answer.body.length()
        ));
    }
    let found = cid_of(&answer.body);
    if found == cid {
        Ok(answer.body)
    } else {
        Err(format!("the bytes that came are {found}"))
    }
}

/// Brings a blob.
pub(super) async fn upload(base: &str, cid: Cid, bytes: Uint8Array) -> Result<(), String> {
    let body: JsValue = bytes.into();
    let url = format!("{base}blobs/{cid}");
    let answer = request("PUT", &url, Some(("application/octet-stream", &body))).await?;
    if answer.is_ok() {
        Ok(())
    } else {
        Err(format!(
            "the coordinator answered with {}: {}",
            answer.status,
            answer.text().trim()
        ))
    }
}
