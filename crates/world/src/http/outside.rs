//! Requests that leave the virtual world: for a task that has the effect, on a host that has the means.
//!
//! A request goes out once it was handed over and its body is whole, and the guest waits for all of the answer. So what
//! it looks at afterwards is there already, and its clock stands still meanwhile as at any call.

use std::{fmt, sync::Arc, time::Duration};

use asterism_component::Val;

use super::{Fields, Request, Timeouts, entry_bytes, none, only_handle, option};
use crate::{
    Stop, World, done, err, filesystem, ok, other_types,
    resources::{Resource, other_kind},
};

/// Most requests of a task.
pub const REQUESTS_MAX: usize = 1_000;

/// Most bytes of one body, in either direction.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Most bytes of all bodies of a task together, as a host may have to hold them all.
pub const BODIES_BYTES_MAX: usize = 64 << 20;

/// Most bytes of the fields of an answer's header.
pub const HEADER_BYTES_MAX: usize = 64 << 10;

/// Fields that belong to a connection and not to a message, and the one that would name another host than the one that was
/// asked for. They are left out: the host writes its own.
const OF_CONNECTIONS: &[&str] = &[
    "connection",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The length of the body, which is known here.
const CONTENT_LENGTH: &str = "content-length";

/// Performs requests over HTTP for one task.
pub trait Http: fmt::Debug {
    /// Sends a request and waits for all of the answer. It must give up when the task is to end.
    ///
    /// # Errors
    /// What is told to the guest.
    fn send(&mut self, request: &HttpRequest) -> Result<HttpResponse, HttpError>;
}

/// A request that goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST` …; a token of HTTP.
    pub method: String,
    /// `https`, or `http`?
    pub is_secure: bool,
    /// Host, and port if it is not the usual one; no user.
    pub authority: String,
    /// Path and query, from the slash on.
    pub path: String,
    /// Fields of messages, none of connections.
    pub headers: Vec<(String, Vec<u8>)>,
    /// All of the body.
    pub body: Vec<u8>,
    /// What the guest allows for connecting.
    pub connect: Option<Duration>,
    /// What it allows for the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// What it allows between bytes.
    pub between_bytes: Option<Duration>,
    /// Most bytes of the answer's body.
    pub body_bytes_max: usize,
}

/// An answer, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Its header's fields.
    pub headers: Vec<(String, Vec<u8>)>,
    /// All of its body.
    pub body: Vec<u8>,
}

/// Why there is no answer: the cases of `wasi:http/types.error-code` that come about here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// The name is not known, or nobody tells.
    Dns,
    /// The name stands for an address that this executor does not reach for anybody.
    AddressProhibited,
    /// Nothing listens there.
    ConnectionRefused,
    /// It ended too early.
    ConnectionTerminated,
    /// Nobody answers there.
    ConnectionTimeout,
    /// The answer stopped.
    ReadTimeout,
    /// The task has sent as many as it may.
    TooManyRequests,
    /// The two do not come to speak TLS.
    Tls,
    /// The server's certificate is not trusted, or is another host's.
    Certificate,
    /// The executor does not send requests there.
    Denied,
    /// The body is too large, or not as long as it was said to be.
    RequestBodySize(u64),
    /// This is not an address.
    UriInvalid,
    /// Fields behind a request's body, which are not sent.
    RequestTrailers,
    /// The answer ended too early.
    ResponseIncomplete,
    /// The answer's header is too large.
    ResponseHeaderSize,
    /// The answer's body is too large.
    ResponseBodySize,
    /// The answer does not begin.
    ResponseTimeout,
    /// One of the two does not speak HTTP.
    Protocol,
    /// Something else.
    Internal(String),
}

impl HttpError {
    fn val(&self) -> Val {
        let nothing = || Some(Box::new(Val::Option(None)));
        let size = |size: u64| Some(Box::new(Val::Option(Some(Box::new(Val::U64(size))))));
        let (case, payload) = match self {
            Self::Dns => {
                let payload = Val::Record(vec![Val::Option(None), Val::Option(None)]);
                (1, Some(Box::new(payload)))
            }
            Self::AddressProhibited => (4, None),
            Self::ConnectionRefused => (6, None),
            Self::ConnectionTerminated => (7, None),
            Self::ConnectionTimeout => (8, None),
            Self::ReadTimeout => (9, None),
            Self::TooManyRequests => (11, None),
            Self::Tls => (12, None),
            Self::Certificate => (13, None),
            Self::Denied => (super::REQUEST_DENIED, None),
            Self::RequestBodySize(bytes) => (17, size(*bytes)),
            Self::UriInvalid => (19, None),
            Self::RequestTrailers => (23, nothing()),
            Self::ResponseIncomplete => (25, None),
            Self::ResponseHeaderSize => (26, nothing()),
            Self::ResponseBodySize => (28, nothing()),
            Self::ResponseTimeout => (33, None),
            Self::Protocol => (35, None),
            Self::Internal(text) => {
                let text = Val::Option(Some(Box::new(Val::String(text.clone()))));
                (38, Some(Box::new(text)))
            }
        };
        Val::Variant(case, payload)
    }
}

/// What a task sends and gets.
#[derive(Debug)]
pub(crate) struct Outside {
    http: Box<dyn Http>,
    exchanges: Vec<Exchange>,
    /// Bytes of bodies so far.
    moved: usize,
}

/// A request on its way: body and request come in any order.
#[derive(Debug, Default)]
struct Exchange {
    body: Vec<u8>,
    is_whole: bool,
    /// Handed over, and not sent yet.
    request: Option<HttpRequest>,
    /// What spoiled it before it was sent.
    spoiled: Option<HttpError>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Waiting,
    Answered(Result<HttpResponse, HttpError>),
    Taken,
}

/// An answer that the guest holds.
#[derive(Debug)]
pub(crate) struct Incoming {
    status: u16,
    headers: Fields,
    body: Option<Arc<[u8]>>,
}

impl Outside {
    pub(crate) fn new(http: Box<dyn Http>) -> Self {
        Self {
            http,
            exchanges: Vec::new(),
            moved: 0,
        }
    }

    /// A request begins, with a body or without.
    pub(super) fn begin(&mut self, has_body: bool) -> Result<u32, HttpError> {
        if self.exchanges.len() >= REQUESTS_MAX {
            return Err(HttpError::TooManyRequests);
        }
        self.exchanges.push(Exchange {
            is_whole: !has_body,
            ..Exchange::default()
        });
        Ok(self.exchanges.len() as u32 - 1)
    }

    /// The guest writes into a body. What is too much spoils the request and is not kept.
    pub(crate) fn write(&mut self, exchange: u32, bytes: &[u8]) {
        let Some(exchange) = self.exchanges.get_mut(exchange as usize) else {
            return;
        };
        if exchange.is_whole || exchange.spoiled.is_some() {
            return;
        }
        let length = exchange.body.len() + bytes.len();
        if length > BODY_BYTES_MAX || self.moved + bytes.len() > BODIES_BYTES_MAX {
            exchange.spoiled = Some(HttpError::RequestBodySize(length as u64));
            exchange.body = Vec::new();
            return;
        }
        self.moved += bytes.len();
        exchange.body.extend_from_slice(bytes);
    }

    /// A body is whole, or spoiled.
    pub(crate) fn end_body(&mut self, exchange: u32, spoiled: Option<HttpError>) {
        if let Some(exchange) = self.exchanges.get_mut(exchange as usize) {
            exchange.is_whole = true;
            exchange.spoiled = exchange.spoiled.take().or(spoiled);
        }
        self.send(exchange);
    }

    /// The request is handed over.
    fn hand_over(&mut self, exchange: u32, request: HttpRequest) {
        if let Some(exchange) = self.exchanges.get_mut(exchange as usize) {
            exchange.request = Some(request);
        }
        self.send(exchange);
    }

    /// Sends a request of which everything is there.
    fn send(&mut self, exchange: u32) {
        let Some(exchange) = self.exchanges.get_mut(exchange as usize) else {
            return;
        };
        if !exchange.is_whole {
            return;
        }
        let Some(mut request) = exchange.request.take() else {
            return;
        };
        request.body = std::mem::take(&mut exchange.body);
        request.body_bytes_max = BODY_BYTES_MAX.min(BODIES_BYTES_MAX - self.moved);
        let answer = match exchange
            .spoiled
            .take()
            .map_or_else(|| length_as_said(&mut request), Err)
        {
            Ok(()) => self.http.send(&request).and_then(bounded(&request)),
            Err(error) => Err(error),
        };
        self.moved += answer.as_ref().map_or(0, |answer| answer.body.len());
        exchange.state = State::Answered(answer);
    }

    /// Is there an answer?
    pub(crate) fn is_answered(&self, exchange: u32) -> bool {
        let exchange = self.exchanges.get(exchange as usize);
        !matches!(
            exchange.map(|exchange| &exchange.state),
            Some(State::Waiting)
        )
    }
}

/// Leaves the length to the host, if it is right.
fn length_as_said(request: &mut HttpRequest) -> Result<(), HttpError> {
    let length = request.body.len() as u64;
    let is_length = |name: &str| name.eq_ignore_ascii_case(CONTENT_LENGTH);
    let mut said = request.headers.iter().filter(|(name, _)| is_length(name));
    if said.any(|(_, value)| value.as_slice() != length.to_string().as_bytes()) {
        return Err(HttpError::RequestBodySize(length));
    }
    request.headers.retain(|(name, _)| !is_length(name));
    Ok(())
}

/// Hosts keep the bounds; should one not, the guest does not see more.
fn bounded(request: &HttpRequest) -> impl Fn(HttpResponse) -> Result<HttpResponse, HttpError> {
    let most = request.body_bytes_max;
    move |response| {
        let header = response.headers.iter();
        let header: usize = header.map(|(name, value)| entry_bytes(name, value)).sum();
        if response.body.len() > most {
            Err(HttpError::ResponseBodySize)
        } else if header > HEADER_BYTES_MAX {
            Err(HttpError::ResponseHeaderSize)
        } else {
            Ok(response)
        }
    }
}

/// Hands a request over; what cannot be sent at all is refused at once.
pub(super) fn hand_over(
    world: &mut World,
    request: Request,
    timeouts: Timeouts,
) -> Result<Vec<Val>, Stop> {
    let Some(outside) = &mut world.outside else {
        return Ok(err(HttpError::Denied.val()));
    };
    let exchange = request.exchange.map_or_else(|| outside.begin(false), Ok);
    let (exchange, request) = match exchange.and_then(|it| Ok((it, outgoing(request, timeouts)?))) {
        Ok(both) => both,
        Err(error) => return Ok(err(error.val())),
    };
    outside.hand_over(exchange, request);
    let future = Resource::FutureResponse(exchange);
    Ok(vec![ok(world.resources.own(future)?)])
}

fn outgoing(request: Request, timeouts: Timeouts) -> Result<HttpRequest, HttpError> {
    let Request {
        method,
        path,
        scheme,
        authority,
        headers,
        body_taken: _,
        exchange: _,
    } = request;
    const METHODS: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    let method = match method {
        // It would make a tunnel of the connection.
        Val::Variant(5, None) => return Err(HttpError::Denied),
        Val::Variant(case, None) => METHODS.get(case as usize).map(|name| (*name).to_owned()),
        Val::Variant(_, Some(name)) => match *name {
            Val::String(name) if name.eq_ignore_ascii_case("connect") => {
                return Err(HttpError::Denied);
            }
            Val::String(name) => Some(name),
            _ => None,
        },
        _ => None,
    };
    let is_secure = match scheme {
        Some(Val::Variant(0, None)) => false,
        Some(Val::Variant(1, None)) | None => true,
        Some(_) => return Err(HttpError::Protocol),
    };
    let path = match path {
        None => "/".to_owned(),
        Some(path) if path.is_empty() => "/".to_owned(),
        Some(path) if path.starts_with('?') => format!("/{path}"),
        Some(path) => path,
    };
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_path = path.starts_with('/') && visible(&path) && !path.contains('#');
    let authority = authority.filter(|text| {
        !text.is_empty() && visible(text) && !text.contains(['@', '/', '?', '#', '\\'])
    });
    let (Some(authority), true) = (authority, is_path) else {
        return Err(HttpError::UriInvalid);
    };
    let kept = |(name, _): &(String, Vec<u8>)| {
        !OF_CONNECTIONS
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
    };
    let [connect, first_byte, between_bytes] =
        timeouts.map(|nanoseconds| nanoseconds.map(Duration::from_nanos));
    Ok(HttpRequest {
        method: method.ok_or(HttpError::Protocol)?,
        is_secure,
        authority,
        path,
        headers: headers.entries.into_iter().filter(kept).collect(),
        body: Vec::new(),
        connect,
        first_byte,
        between_bytes,
        body_bytes_max: BODY_BYTES_MAX,
    })
}

pub(super) fn future_subscribe(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let Resource::FutureResponse(exchange) = world.resources.get(only_handle(args)?)? else {
        return other_kind();
    };
    let pollable = Resource::Awaiting(*exchange);
    Ok(vec![world.resources.own(pollable)?])
}

/// `option<result<result<incoming-response, error-code>>>`: nothing yet, nothing any more, or what came of it.
pub(super) fn future_get(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let Resource::FutureResponse(exchange) = world.resources.get(only_handle(args)?)? else {
        return other_kind();
    };
    let exchange = *exchange as usize;
    let outside = world.outside.as_mut();
    let Some(exchange) = outside.and_then(|outside| outside.exchanges.get_mut(exchange)) else {
        return other_kind();
    };
    let answer = match std::mem::replace(&mut exchange.state, State::Taken) {
        State::Waiting => {
            exchange.state = State::Waiting;
            return Ok(none());
        }
        State::Taken => return Ok(option(Some(Val::Result(Err(None))))),
        State::Answered(answer) => answer,
    };
    let answer = match answer {
        Err(error) => Val::Result(Err(Some(Box::new(error.val())))),
        Ok(HttpResponse {
            status,
            headers,
            body,
        }) => {
            let incoming = Incoming {
                status,
                headers: Fields {
                    entries: headers,
                    immutable: true,
                },
                body: Some(body.into()),
            };
            let incoming = Resource::IncomingResponse(Box::new(incoming));
            ok(world.resources.own(incoming)?)
        }
    };
    Ok(option(Some(ok(answer))))
}

fn the_response<'a>(world: &'a mut World, args: &[Val]) -> Result<&'a mut Incoming, Stop> {
    match world.resources.get(only_handle(args)?)? {
        Resource::IncomingResponse(response) => Ok(response),
        _ => other_kind(),
    }
}

pub(super) fn response_status(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![Val::U16(the_response(world, args)?.status)])
}

pub(super) fn response_headers(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let headers = the_response(world, args)?.headers.clone();
    Ok(vec![world.resources.own(Resource::Fields(headers))?])
}

pub(super) fn response_consume(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let Some(body) = the_response(world, args)?.body.take() else {
        return Ok(super::result(false));
    };
    let body = Resource::IncomingBody(Some(body));
    Ok(vec![ok(world.resources.own(body)?)])
}

pub(super) fn body_stream(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let Resource::IncomingBody(body) = world.resources.get(only_handle(args)?)? else {
        return other_kind();
    };
    let Some(bytes) = body.take() else {
        return Ok(super::result(false));
    };
    let stream = Resource::File(filesystem::Reading::new(bytes));
    Ok(vec![ok(world.resources.own(stream)?)])
}

pub(super) fn body_finish(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [body] = args else {
        return other_types();
    };
    let Resource::IncomingBody(_) = world.resources.take(body)? else {
        return other_kind();
    };
    Ok(vec![world.resources.own(Resource::FutureTrailers(false))?])
}

pub(super) fn trailers_subscribe(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let Resource::FutureTrailers(_) = world.resources.get(only_handle(args)?)? else {
        return other_kind();
    };
    Ok(vec![world.resources.own(Resource::Pollable(None))?])
}

/// `option<result<result<option<trailers>, error-code>>>`: none ever come.
pub(super) fn trailers_get(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let Resource::FutureTrailers(is_taken) = world.resources.get(only_handle(args)?)? else {
        return other_kind();
    };
    let trailers = if std::mem::replace(is_taken, true) {
        Val::Result(Err(None))
    } else {
        ok(ok(Val::Option(None)))
    };
    Ok(option(Some(trailers)))
}

/// The end of an outgoing body that goes somewhere.
pub(super) fn finish_outgoing(world: &mut World, exchange: u32, has_trailers: bool) -> Vec<Val> {
    if let Some(outside) = &mut world.outside {
        let spoiled = has_trailers.then_some(HttpError::RequestTrailers);
        outside.end_body(exchange, spoiled);
    }
    done()
}

#[cfg(test)]
mod tests;
