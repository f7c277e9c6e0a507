//! HTTP for object stores, made of what serves HTTP here anyway: one with encryption of its own, so that clients that speak
//! with coordinators carry none.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error as ClientError, connect::HttpConnector as Tcp},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::Patience;
use crate::store::tls;

/// Idle connections that are kept, and for how long: S3 ends them after 20 s.
const IDLE_MAX: usize = 16;
const IDLE_FOR: Duration = Duration::from_secs(10);

/// What is set by the environment in vain. Saying nothing would send requests where they must not go.
const UNKNOWN: [(ClientConfigKey, &str); 2] = [
    (ClientConfigKey::ProxyUrl, "AWS_PROXY_URL"),
    (
        ClientConfigKey::AllowInvalidCertificates,
        "AWS_ALLOW_INVALID_CERTIFICATES",
    ),
];

/// Makes clients that wait so long.
#[derive(Debug)]
pub(super) struct Connector(pub(super) Patience);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let is_set = |key: &ClientConfigKey| {
            let value = options.get_config_value(key);
            value.filter(|value| value != "false").is_some()
        };
        for (key, name) in &UNKNOWN {
            if is_set(key) {
                return Err(unsupported(format!("{name} is not supported; unset it")));
            }
        }
        let in_clear = is_set(&ClientConfigKey::AllowHttp);
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.0.connect));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE_MAX);
        let client = match tls::of_machine() {
            Ok(tls) => {
                let https = HttpsConnectorBuilder::new().with_tls_config(tls);
                let https = https.https_or_http().enable_http1();
                Speaker::Both(builder.build(https.wrap_connector(tcp)))
            }
            // A machine without certificates may still speak with a store in its own network.
            Err(_) if in_clear => Speaker::InClear(builder.build(tcp)),
            Err(error) => return Err(unsupported(error.to_string())),
        };
        Ok(HttpClient::new(Service {
            client,
            in_clear,
            answer: self.0.answer,
        }))
    }
}

fn unsupported(said: String) -> object_store::Error {
    object_store::Error::NotSupported {
        source: said.into(),
    }
}

#[derive(Debug)]
enum Speaker {
    Both(Client<HttpsConnector<Tcp>, HttpRequestBody>),
    InClear(Client<Tcp, HttpRequestBody>),
}

#[derive(Debug)]
struct Service {
    client: Speaker,
    in_clear: bool,
    answer: Duration,
}

impl HttpService for Service {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            if !self.in_clear && request.uri().scheme_str() != Some("https") {
                let said = "the endpoint is not encrypted; use https, or set AWS_ALLOW_HTTP=true";
                return Err(HttpError::new(HttpErrorKind::Decode, Told(said.to_owned())));
            }
            let answer = match &self.client {
                Speaker::Both(client) => client.request(request),
                Speaker::InClear(client) => client.request(request),
            };
            let answer = timeout(self.answer, answer).await;
            let answer = answer.map_err(|_| late(self.answer))?;
            let (parts, body) = answer.map_err(|error| failed(&error))?.into_parts();
            let body = HttpResponseBody::new(Patient {
                body,
                patience: self.answer,
                late: Box::pin(sleep(self.answer)),
            });
            Ok(HttpResponse::from_parts(parts, body))
        })
    }
}

/// What people read of it.
#[derive(Debug)]
struct Told(String);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Told {}

fn late(after: Duration) -> HttpError {
    let said = format!("there was no answer within {} s", after.as_secs_f32());
    HttpError::new(HttpErrorKind::Timeout, Told(said))
}

/// The last cause says most.
fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn failed(error: &ClientError) -> HttpError {
    let cause = cause(error);
    if error.is_connect() {
        let said = format!("nobody can be reached there ({cause})");
        return HttpError::new(HttpErrorKind::Connect, Told(said));
    }
    // Each request that is sent may be sent again.
    let said = format!("the connection broke ({cause})");
    HttpError::new(HttpErrorKind::Request, Told(said))
}

/// A body whose bytes come in time, or end in an error.
struct Patient {
    body: Incoming,
    patience: Duration,
    late: Pin<Box<Sleep>>,
}

impl Body for Patient {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            // Nobody may have asked for a while.
            this.late.as_mut().reset(Instant::now() + this.patience);
            return Poll::Ready(frame.map(|frame| {
                frame.map_err(|error| {
                    let said = format!("the connection broke ({})", cause(&error));
                    HttpError::new(HttpErrorKind::Interrupted, Told(said))
                })
            }));
        }
        match this.late.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(late(this.patience)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
