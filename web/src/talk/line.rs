//! The line to a coordinator: a WebSocket for messages, HTTP for blobs. The one file of the tab that knows sockets.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use asterism_executor::{Input, TransferError};
use asterism_protocol::{
    BlobHasher, Cid, encode,
    limits::BLOB_BYTES_MAX,
    message::{ToCoordinator, decode_frame},
    view::RunId,
};
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use web_sys::{CloseEvent, MessageEvent, WebSocket};

use super::{
    blobs::hash,
    message::Ask,
    shell::{Line, Shell},
};
use crate::js::{Listener, Method, request, socket, stream};

/// Where executors connect, from the base of the coordinator.
const PATH: &str = "ws/executor";

/// The line to a coordinator on a server.
pub(super) struct Server {
    /// Ends with `/`.
    base: String,
    connection: RefCell<Option<Connection>>,
}

impl Server {
    /// A line to the coordinator at `base`, an absolute address that ends with `/`.
    pub(super) fn new(base: String) -> Self {
        Self {
            base,
            connection: RefCell::new(None),
        }
    }
}

impl Line for Server {
    fn connect(&self, shell: &Rc<Shell>) {
        match Connection::open(&self.base, &Rc::downgrade(shell)) {
            Ok(opened) => drop(self.connection.replace(Some(opened))),
            Err(reason) => shell.tell(Input::Disconnected { reason }),
        }
    }

    fn disconnect(&self) {
        drop(self.connection.take());
    }

    fn send(&self, message: ToCoordinator) {
        if let Some(connection) = &*self.connection.borrow() {
            connection.send(&message);
        }
    }

    fn fetch(&self, shell: &Rc<Shell>, cid: Cid) {
        let base = self.base.clone();
        shell.spawn(async move |shell| {
            Some(match fetch(&base, cid).await {
                Ok(bytes) => shell.fetched(cid, bytes).await,
                Err(error) => Input::FetchFailed { cid, error },
            })
        });
    }

    fn upload(&self, shell: &Rc<Shell>, cid: Cid, bytes: Uint8Array) {
        let base = self.base.clone();
        shell.spawn(async move |_| {
            Some(match upload(&base, cid, bytes).await {
                Ok(()) => Input::Uploaded { cid },
                Err(error) => Input::UploadFailed { cid, error },
            })
        });
    }

    // A page asks a server itself.
    fn watch(&self, _: Option<RunId>, _: u32) {}

    fn ask(&self, _: u32, _: Ask) {}
}

/// A connection that is being made or is open; it is closed when this is dropped.
struct Connection {
    socket: WebSocket,
    _listeners: [Listener; 3],
}

impl Connection {
    /// Connects; the shell hears of what happens.
    fn open(base: &str, shell: &Weak<Shell>) -> Result<Self, String> {
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
    fn send(&self, message: &ToCoordinator) {
        let _ = self.socket.send_with_u8_array(&encode(message));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.socket.close();
    }
}

/// Fetches a blob, and checks it while it comes: what is too large is not waited for, and when the last byte is here its name is
/// known.
async fn fetch(base: &str, cid: Cid) -> Result<Uint8Array, TransferError> {
    let mut answer = stream(&format!("{base}blobs/{cid}")).await?;
    if !answer.is_ok() {
        let reason = format!("the coordinator answered with {}", answer.status);
        return Err(refused(answer.status, reason));
    }
    let (mut hasher, mut chunks, mut bytes) = (BlobHasher::default(), Vec::new(), 0);
    while let Some(chunk) = answer.chunk().await? {
        bytes += u64::from(chunk.length());
        if bytes > BLOB_BYTES_MAX {
            return Err(format!("it has more than {BLOB_BYTES_MAX} bytes").into());
        }
        hash(&mut hasher, &chunk);
        chunks.push(chunk);
    }
    let found = hasher.finish();
    if found != cid {
        return Err(format!("the bytes that came are {found}").into());
    }
    Ok(joined(chunks, bytes as u32))
}

/// All bytes in one array.
fn joined(mut chunks: Vec<Uint8Array>, bytes: u32) -> Uint8Array {
    if chunks.len() == 1 {
        return chunks.remove(0);
    }
    let whole = Uint8Array::new_with_length(bytes);
    let mut at = 0;
    for chunk in chunks {
        whole.set(&chunk, at);
        at += chunk.length();
    }
    whole
}

/// Brings a blob.
async fn upload(base: &str, cid: Cid, bytes: Uint8Array) -> Result<(), TransferError> {
    let body: JsValue = bytes.into();
    let url = format!("{base}blobs/{cid}");
    let answer = request(Method::PUT, &url, Some(("application/octet-stream", &body))).await?;
    if answer.is_ok() {
        Ok(())
    } else {
        let said = answer.text();
        let reason = format!(
            "the coordinator answered with {}: {}",
            answer.status,
            said.trim()
        );
        Err(refused(answer.status, reason))
    }
}

/// The status by which a coordinator says that it cannot do something now.
const UNAVAILABLE: u16 = 503;

/// What another answer than the one that was asked for means.
fn refused(status: u16, reason: String) -> TransferError {
    match status {
        UNAVAILABLE => TransferError::Unavailable(reason),
        _ => TransferError::Failed(reason),
    }
}
