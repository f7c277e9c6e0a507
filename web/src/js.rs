//! The little of JavaScript that pages and workers both need: listeners that end when they are dropped, requests, sockets,
//! bytes, the clock.

use std::cell::RefCell;

use asterism_protocol::{SUBPROTOCOL, Timestamp};
pub use gloo_net::http::Method;
use gloo_net::http::RequestBuilder;
use js_sys::{ArrayBuffer, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, future_to_promise, spawn_local};
use web_sys::{
    BinaryType, Event, EventTarget, ReadableStreamDefaultReader, RequestInit, Response, WebSocket,
    Worker, WorkerOptions, WorkerType,
};

#[wasm_bindgen]
extern "C" {
    /// `fetch`, which a window and a worker both have, under two types.
    #[wasm_bindgen(js_name = fetch)]
    fn global_fetch(url: &str, init: &RequestInit) -> Promise;
}

/// A listener of an event; it ends when this is dropped.
#[must_use = "a listener that is dropped hears nothing"]
pub struct Listener {
    target: EventTarget,
    event: &'static str,
    closure: Closure<dyn FnMut(Event)>,
}

impl Listener {
    /// Calls `listener` for each `event` of `target`.
    pub fn new(
        target: &EventTarget,
        event: &'static str,
        listener: impl FnMut(Event) + 'static,
    ) -> Self {
        let closure = Closure::<dyn FnMut(Event)>::new(listener);
        // Fails for nothing but a type that is not a function.
        let _ = target.add_event_listener_with_callback(event, closure.as_ref().unchecked_ref());
        Self {
            target: target.clone(),
            event,
            closure,
        }
    }

    /// Lets it listen for as long as the page or worker lives.
    pub fn forever(self) {
        std::mem::forget(self);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self
            .target
            .remove_event_listener_with_callback(self.event, self.closure.as_ref().unchecked_ref());
    }
}

/// What time it is.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(js_sys::Date::now() as u64)
}

/// What a JavaScript error says.
#[must_use]
pub fn message_of(error: &JsValue) -> String {
    let message = Reflect::get(error, &"message".into())
        .ok()
        .and_then(|message| message.as_string());
    message
        .or_else(|| error.as_string())
        .unwrap_or_else(|| "an error without a message".to_owned())
}

/// A worker whose script is a module.
///
/// # Errors
/// The browser does not start workers here.
pub fn module_worker(script: &str, name: &str) -> Result<Worker, JsValue> {
    let options = WorkerOptions::new();
    options.set_type(WorkerType::Module);
    options.set_name(name);
    Worker::new_with_options(script, &options)
}

/// Why a worker broke, by its `error` event.
#[must_use]
pub fn why_broken(event: &JsValue) -> String {
    match message_of(event) {
        // A script that does not load says nothing of itself.
        message if message.is_empty() => "the worker broke: its script did not load".to_owned(),
        message => format!("the worker broke: {message}"),
    }
}

/// Random bytes from the browser.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("every browser has crypto.getRandomValues");
    bytes
}

/// An HTTP answer, read whole.
pub struct Answer {
    /// The status, such as 404.
    pub status: u16,
    /// The body, outside of wasm's memory.
    pub body: Uint8Array,
    headers: web_sys::Headers,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.to_vec()).into_owned()
    }

    /// A header; `None` if it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).ok().flatten()
    }

    /// Is the status one of success?
    #[must_use]
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// An HTTP answer, read as it comes. The rest of it is not waited for once this is dropped.
pub struct Stream {
    /// The status, such as 404.
    pub status: u16,
    reader: ReadableStreamDefaultReader,
}

impl Stream {
    /// Is the status one of success?
    #[must_use]
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The next bytes, outside of wasm's memory; `None` at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn chunk(&mut self) -> Result<Option<Uint8Array>, String> {
        let read = JsFuture::from(self.reader.read()).await;
        let read = read.map_err(|_| BROKE.to_owned())?;
        Ok(get(&read, "value").dyn_into().ok())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let cancelled = JsFuture::from(self.reader.cancel());
        // Nobody is left to hear that it failed; unheard, it would be an error of the page.
        spawn_local(async move { drop(cancelled.await) });
    }
}

/// Gets what is at an address, piece by piece.
///
/// # Errors
/// Nobody answered.
pub async fn stream(url: &str) -> Result<Stream, String> {
    let response = JsFuture::from(global_fetch(url, &RequestInit::new())).await;
    let response: Response = response
        .map_err(|_| UNREACHABLE.to_owned())?
        .unchecked_into();
    let body = response.body().ok_or_else(|| BROKE.to_owned())?;
    Ok(Stream {
        status: response.status(),
        reader: body.get_reader().unchecked_into(),
    })
}

/// The browser tells no script why: only its console says more.
const UNREACHABLE: &str = "the server cannot be reached";

const BROKE: &str = "the connection broke in the midst of the answer";

/// Compiles a program while it comes. The promises are of a `WebAssembly.Module`, and of what the server calls those bytes (an
/// entity tag; undefined if it gives none).
pub fn compile(url: &str) -> (Promise, Promise) {
    let response = global_fetch(url, &RequestInit::new());
    let tag = {
        let response = JsFuture::from(response.clone());
        future_to_promise(async move {
            // Whoever awaits the module hears of errors.
            let response = response.await.ok();
            let tag = response
                .and_then(|response| {
                    response
                        .unchecked_into::<Response>()
                        .headers()
                        .get("etag")
                        .ok()
                })
                .flatten();
            Ok(tag.into())
        })
    };
    (js_sys::WebAssembly::compile_streaming(&response), tag)
}

/// A request; `body` is its media type and content.
///
/// # Errors
/// Nobody answered, or the connection broke.
pub async fn request(
    method: Method,
    url: &str,
    body: Option<(&str, &JsValue)>,
) -> Result<Answer, String> {
    request_as(None, method, url, body).await
}

/// As [`request`], by whoever has this token.
///
/// # Errors
/// As [`request`].
pub async fn request_as(
    token: Option<&str>,
    method: Method,
    url: &str,
    body: Option<(&str, &JsValue)>,
) -> Result<Answer, String> {
    let in_words = |_| UNREACHABLE.to_owned();
    let mut builder = RequestBuilder::new(url).method(method);
    if let Some(token) = token {
        builder = builder.header("authorization", &format!("Bearer {token}"));
    }
    let request = match body {
        Some((media_type, content)) => builder
            .header("content-type", media_type)
            .body(content.clone()),
        None => builder.build(),
    };
    let sent = request.map_err(in_words)?.send().await;
    let response: Response = sent.map_err(in_words)?.into();
    let body = match response.array_buffer() {
        // Read here and not by the library: the bytes stay outside of wasm's memory.
        Ok(body) => JsFuture::from(body).await,
        Err(error) => Err(error),
    };
    let body = body.map_err(|_| BROKE.to_owned())?;
    Ok(Answer {
        status: response.status(),
        body: Uint8Array::new(body.unchecked_ref::<ArrayBuffer>()),
        headers: response.headers(),
    })
}

thread_local! {
    /// The last socket that offered the sub-protocol.
    static OFFERED: RefCell<Option<WebSocket>> = const { RefCell::new(None) };
}

/// Opens a WebSocket that speaks the sub-protocol. A proxy in between may drop what is offered, and then a browser closes
/// the connection: if the last one ended so, the next one names the sub-protocol in its address instead.
pub fn socket(url: &str) -> Result<WebSocket, String> {
    let was_dropped = OFFERED
        .take()
        .is_some_and(|last| last.ready_state() == WebSocket::CLOSED && last.protocol().is_empty());
    let socket = if was_dropped {
        WebSocket::new(&format!("{url}?protocol={SUBPROTOCOL}"))
    } else {
        WebSocket::new_with_str(url, SUBPROTOCOL)
    }
    .map_err(|error| message_of(&error))?;
    if !was_dropped {
        OFFERED.set(Some(socket.clone()));
    }
    socket.set_binary_type(BinaryType::Arraybuffer);
    Ok(socket)
}

/// `value[key]`, or `undefined`.
#[must_use]
pub fn get(value: &JsValue, key: &str) -> JsValue {
    Reflect::get(value, &key.into()).unwrap_or(JsValue::UNDEFINED)
}
