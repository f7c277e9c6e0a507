//! Requests of tasks, to the hosts that the executor's owner allows and nowhere else.
//!
//! Names are resolved here, what they stand for is checked, and the connection goes to what was checked: a name that
//! stands for something else a moment later changes nothing. Redirects are not followed, and no proxy is asked. Each request
//! has a connection of its own, which ends with it.

mod connection;
mod rule;

use std::{
    error::Error,
    fmt, io,
    iter::successors,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use asterism_protocol::Cid;
use asterism_world::{HEADER_BYTES_MAX, Http, HttpError, HttpRequest, HttpResponse};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, Uri,
    body::{Body as _, Bytes},
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue},
};
use hyper_rustls::ConfigBuilderExt as _;
use reqwest::Url;
use rustls::ClientConfig;
use tokio::{runtime::Handle, time::timeout};
use tracing::{info, warn};

pub use self::rule::{AllowHttp, AllowHttpError};
use self::rule::{Allowed, allowed};

/// What a guest waits for at most where it does not say it: for a connection (with its handshake, if it is encrypted), for the
/// answer's first byte, between bytes.
const CONNECT: Duration = Duration::from_secs(10);
const FIRST_BYTE: Duration = Duration::from_secs(60);
const BETWEEN_BYTES: Duration = Duration::from_secs(30);

/// The longest wait that a guest may ask for; its time limit ends it before.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often a task under way is asked whether it is to end.
const TICK: Duration = Duration::from_millis(20);

/// By what a server knows a request that it got before (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Is a task to end? Asked again and again.
pub type Over = Arc<dyn Fn() -> bool + Send + Sync>;

/// The way out of this executor's tasks.
#[derive(Clone, Debug)]
pub struct Outgoing {
    rules: Arc<[AllowHttp]>,
    /// How TLS is spoken; made when the first request asks for it.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
    runtime: Handle,
}

impl Outgoing {
    /// Requests go where these rules allow it, on the runtime that is running.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn new(rules: &[AllowHttp]) -> Self {
        Self {
            rules: rules.into(),
            tls: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// The way out of the task with this instruction. Its requests block a thread that is not the runtime's, until there is
    /// an answer or the task is to end.
    #[must_use]
    pub fn of_task(&self, instruction: Cid, over: Over) -> Box<dyn Http> {
        Box::new(Sender {
            outgoing: self.clone(),
            instruction,
            changes: 0,
            over,
        })
    }

    /// Reads this machine's certificates, or those in `SSL_CERT_FILE`, once. Where there are none it is tried again: an owner
    /// who reads the log may bring some.
    fn tls(&self) -> Result<Arc<ClientConfig>, HttpError> {
        if let Some(tls) = self.tls.get() {
            return Ok(Arc::clone(tls));
        }
        let made = connection::tls(|builder| builder.with_native_roots()).map_err(|error| {
            warn!(
                %error,
                "no certificates are found on this machine; install `ca-certificates`, or name a file of them in SSL_CERT_FILE"
            );
            HttpError::Internal("this executor has no certificates to check others by".to_owned())
        })?;
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(made))))
    }
}

struct Sender {
    outgoing: Outgoing,
    instruction: Cid,
    /// How many requests were sent that may change something.
    changes: u64,
    over: Over,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("instruction", &self.instruction)
            .finish_non_exhaustive()
    }
}

impl Http for Sender {
    fn send(&mut self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        let key = self.key(request);
        let runtime = self.outgoing.runtime.clone();
        let answer = runtime.block_on(async {
            tokio::select! {
                answer = perform(&self.outgoing, request, key) => answer,
                // Nobody hears it: the host ends the task.
                () = ended(&self.over) => Err(HttpError::ConnectionTimeout),
            }
        });
        let (instruction, method, host) = (self.instruction, &request.method, &request.authority);
        match &answer {
            Ok(answer) => {
                info!(%instruction, method, host, status = answer.status, "a task sent a request")
            }
            Err(error) => info!(%instruction, method, host, ?error, "a request of a task failed"),
        }
        answer
    }
}

impl Sender {
    /// The same for every attempt at an instruction, and another one for each request of it that may change something.
    fn key(&mut self, request: &HttpRequest) -> Option<String> {
        if matches!(
            request.method.as_str(),
            "GET" | "HEAD" | "OPTIONS" | "TRACE"
        ) {
            return None;
        }
        self.changes += 1;
        Some(match self.changes {
            1 => format!("\"{}\"", self.instruction),
            number => format!("\"{}.{number}\"", self.instruction),
        })
    }
}

async fn ended(over: &Over) {
    while !over() {
        tokio::time::sleep(TICK).await;
    }
}

async fn perform(
    outgoing: &Outgoing,
    request: &HttpRequest,
    key: Option<String>,
) -> Result<HttpResponse, HttpError> {
    let scheme = if request.is_secure { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", request.authority, request.path);
    let url = Url::parse(&url).map_err(|_| HttpError::UriInvalid)?;
    let connect = wait(request.connect, CONNECT);
    let addresses = timeout(connect, addresses(&outgoing.rules, &url))
        .await
        .map_err(|_| HttpError::Dns)??;
    // What was checked: the host as URLs write it, the port only if it is not the usual one.
    let uri: Uri = url.as_str().parse().map_err(|_| HttpError::UriInvalid)?;
    let message = message(&uri, request, key)?;
    let tls = request.is_secure.then(|| outgoing.tls()).transpose()?;
    let stream = connection::open(uri, addresses, tls, connect).await?;
    let (sender, connection) = handshake(stream)
        .await
        .map_err(|error| not_answered(&error))?;
    let mut exchange = pin!(exchange(sender, message, request));
    tokio::select! {
        answer = &mut exchange => answer,
        // How it ended, and what came before, is told there.
        _ = connection => exchange.await,
    }
}

fn wait(chosen: Option<Duration>, usual: Duration) -> Duration {
    chosen.unwrap_or(usual).min(WAIT_MAX)
}

/// Sends a message, and takes all of the answer. Somebody has to move the connection meanwhile.
async fn exchange(
    mut sender: SendRequest<Full<Bytes>>,
    message: Request<Full<Bytes>>,
    request: &HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let sent = sender.send_request(message);
    let response = timeout(wait(request.first_byte, FIRST_BYTE), sent)
        .await
        .map_err(|_| HttpError::ResponseTimeout)?
        .map_err(|error| not_answered(&error))?;
    let (head, mut body) = response.into_parts();
    // The world bounds all of it, too; what is more is not even copied.
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    if head.headers.iter().map(size).sum::<usize>() > HEADER_BYTES_MAX {
        return Err(HttpError::ResponseHeaderSize);
    }
    let most = request.body_bytes_max;
    // By the length that it tells, before any of it is here.
    if body.size_hint().lower() > most as u64 {
        return Err(HttpError::ResponseBodySize);
    }
    let mut bytes = Vec::new();
    loop {
        let frame = timeout(wait(request.between_bytes, BETWEEN_BYTES), body.frame());
        let Some(frame) = frame.await.map_err(|_| HttpError::ReadTimeout)? else {
            break;
        };
        let frame = frame.map_err(|_| HttpError::ResponseIncomplete)?;
        // Trailers are not told to guests.
        let Ok(chunk) = frame.into_data() else {
            continue;
        };
        if bytes.len() + chunk.len() > most {
            return Err(HttpError::ResponseBodySize);
        }
        bytes.extend_from_slice(&chunk);
    }
    let entry = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    Ok(HttpResponse {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(entry).collect(),
        body: bytes,
    })
}

/// Where a request goes, after all that is checked.
async fn addresses(rules: &[AllowHttp], url: &Url) -> Result<Vec<SocketAddr>, HttpError> {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(HttpError::UriInvalid);
    };
    let allows = allowed(rules, host, port);
    if allows == Allowed::Never {
        return Err(HttpError::Denied);
    }
    let may = |address: &SocketAddr| match allows {
        Allowed::Never => false,
        Allowed::Anywhere => true,
        Allowed::InPublic => rule::may_reach(rules, address.ip(), port),
    };
    let found: Vec<SocketAddr> = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        // The connection goes there without asking anybody.
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let found = tokio::net::lookup_host((host, port)).await;
            found.map_err(|_| HttpError::Dns)?.collect()
        }
    };
    if found.is_empty() {
        return Err(HttpError::Dns);
    }
    let found: Vec<_> = found.into_iter().filter(may).collect();
    if found.is_empty() {
        return Err(HttpError::AddressProhibited);
    }
    Ok(found)
}

/// A request as it is written: the host stands in a field of its own.
fn message(
    uri: &Uri,
    request: &HttpRequest,
    key: Option<String>,
) -> Result<Request<Full<Bytes>>, HttpError> {
    let (Some(host), Some(path)) = (uri.authority(), uri.path_and_query()) else {
        return Err(HttpError::UriInvalid);
    };
    let host = HeaderValue::from_str(host.as_str()).map_err(|_| HttpError::UriInvalid)?;
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| HttpError::Protocol)?;
    let mut message = Request::new(Full::from(request.body.clone()));
    *message.method_mut() = method;
    *message.uri_mut() = path.clone().into();
    *message.headers_mut() = headers(request, key)?;
    message.headers_mut().insert(HOST, host);
    // The length of a body that there is, is written later. A server that expects one is told if there is none (RFC 9110, 8.6).
    let expects_body = matches!(
        *message.method(),
        Method::POST | Method::PUT | Method::PATCH
    );
    if expects_body && request.body.is_empty() {
        let none = HeaderValue::from_static("0");
        message.headers_mut().insert(CONTENT_LENGTH, none);
    }
    Ok(message)
}

fn headers(request: &HttpRequest, key: Option<String>) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HttpError::Protocol)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| HttpError::Protocol)?;
        headers.append(name, value);
    }
    if let Some(key) = key
        && !headers.contains_key(IDEMPOTENCY_KEY)
    {
        let key = HeaderValue::from_str(&key).map_err(|_| HttpError::Protocol)?;
        headers.insert(IDEMPOTENCY_KEY, key);
    }
    Ok(headers)
}

/// What a request that was not answered ran into.
fn not_answered(error: &hyper::Error) -> HttpError {
    match io_kind(error) {
        Some(io::ErrorKind::TimedOut) => HttpError::ConnectionTimeout,
        Some(_) => HttpError::ConnectionTerminated,
        None => HttpError::Protocol,
    }
}

/// What the system says of an error, if it is behind it.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>())
        .map(io::Error::kind)
}

#[cfg(test)]
mod tests;
