//! The guest that sends requests over HTTP.

use wasip2::{
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody,
            OutgoingRequest, Scheme,
        },
    },
    io::streams::StreamError,
    random::random,
};

wit_bindgen::generate!({ world: "guest", path: "wit" });

struct Http;

export!(Http);

/// What WASI lets a write take that flushes, too.
const WRITE_BYTES: usize = 4096;

fn in_words(error: ErrorCode) -> String {
    format!("{error:?}")
}

fn send(
    method: &str,
    authority: &str,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<IncomingResponse, String> {
    let fields = Fields::from_list(&[("accept".to_owned(), b"*/*".to_vec())]);
    let request = OutgoingRequest::new(fields.expect("it is a field"));
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).expect("it is a method");
    let (scheme, authority) = match authority.strip_prefix("https://") {
        Some(authority) => (Scheme::Https, authority),
        None => (Scheme::Http, authority),
    };
    request.set_scheme(Some(&scheme)).expect("it is a scheme");
    request.set_authority(Some(authority)).expect("it is an authority");
    request.set_path_with_query(Some(path)).expect("it is a path");
    let out = body.map(|bytes| (request.body().expect("it is there once"), bytes));
    let future = outgoing_handler::handle(request, None).map_err(in_words)?;
    if let Some((body, bytes)) = out {
        let stream = body.write().expect("it is there once");
        for part in bytes.chunks(WRITE_BYTES) {
            stream.blocking_write_and_flush(part).expect("it is taken");
        }
        drop(stream);
        OutgoingBody::finish(body, None).map_err(in_words)?;
    }
    future.subscribe().block();
    let answer = future.get().expect("it is ready").expect("it is told once");
    answer.map_err(in_words)
}

impl Guest for Http {
    fn ask(
        method: String,
        authority: String,
        path: String,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, String> {
        let response = send(&method, &authority, &path, body)?;
        let kind = response.headers().get("X-Kind").pop().unwrap_or_default();
        let incoming = response.consume().expect("it is there once");
        let stream = incoming.stream().expect("it is there once");
        let mut body = Vec::new();
        loop {
            match stream.blocking_read(1 << 16) {
                Ok(bytes) => body.extend_from_slice(&bytes),
                Err(StreamError::Closed) => break,
                Err(error) => return Err(format!("{error:?}")),
            }
        }
        drop(stream);
        let trailers = IncomingBody::finish(incoming);
        trailers.subscribe().block();
        Ok(Answer {
            status: response.status(),
            kind: String::from_utf8_lossy(&kind).into_owned(),
            body,
        })
    }

    fn roll() -> u64 {
        random::get_random_u64()
    }
}
