//! Requests of tasks, to the hosts that the executor's owner allows and nowhere else.
//!
//! Names are resolved here, what they stand for is checked, and the connection goes to what was checked: a name that
//! stands for something else a moment later changes nothing. Redirects are not followed, and no proxy is asked.

mod rule;

use std::{
    error::Error as _,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use asterism_protocol::Cid;
use asterism_world::{HEADER_BYTES_MAX, Http, HttpError, HttpRequest, HttpResponse};
use reqwest::{
    Client, Method, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use tokio::{runtime::Handle, time::timeout};
use tracing::info;

pub use self::rule::{AllowHttp, AllowHttpError};
use self::rule::{Allowed, allowed};

/// What a guest waits for at most where it does not say it: for a connection, for the answer's first byte, between bytes.
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
                answer = perform(&self.outgoing.rules, request, key) => answer,
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
    rules: &[AllowHttp],
    request: &HttpRequest,
    key: Option<String>,
) -> Result<HttpResponse, HttpError> {
    let scheme = if request.is_secure { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", request.authority, request.path);
    let url = Url::parse(&url).map_err(|_| HttpError::UriInvalid)?;
    let wait = |chosen: Option<Duration>, usual| chosen.unwrap_or(usual).min(WAIT_MAX);
    let connect = wait(request.connect, CONNECT);
    let addresses = timeout(connect, addresses(rules, &url))
        .await
        .map_err(|_| HttpError::Dns)??;
    if request.is_secure {
        // This program carries no TLS.
        return Err(HttpError::Tls);
    }
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(connect)
        .pool_max_idle_per_host(0)
        .dns_resolver(Checked(addresses))
        .build()
        .map_err(|error| HttpError::Internal(error.to_string()))?;
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| HttpError::Protocol)?;
    let sent = client
        .request(method, url)
        .headers(headers(request, key)?)
        .body(request.body.clone())
        .send();
    let mut response = timeout(wait(request.first_byte, FIRST_BYTE) + connect, sent)
        .await
        .map_err(|_| HttpError::ResponseTimeout)?
        .map_err(|error| not_answered(&error))?;
    // The world bounds all of it, too; what is more is not even copied.
    let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    if response.headers().iter().map(size).sum::<usize>() > HEADER_BYTES_MAX {
        return Err(HttpError::ResponseHeaderSize);
    }
    let most = request.body_bytes_max;
    if response
        .content_length()
        .is_some_and(|length| length > most as u64)
        && request.method != "HEAD"
    {
        return Err(HttpError::ResponseBodySize);
    }
    let mut body = Vec::new();
    loop {
        let chunk = timeout(wait(request.between_bytes, BETWEEN_BYTES), response.chunk());
        let chunk = chunk.await.map_err(|_| HttpError::ReadTimeout)?;
        let Some(chunk) = chunk.map_err(|_| HttpError::ResponseIncomplete)? else {
            break;
        };
        if body.len() + chunk.len() > most {
            return Err(HttpError::ResponseBodySize);
        }
        body.extend_from_slice(&chunk);
    }
    let entry = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    Ok(HttpResponse {
        status: response.status().as_u16(),
        headers: response.headers().iter().map(entry).collect(),
        body,
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

/// Addresses that were checked, whatever the name stands for by now.
struct Checked(Vec<SocketAddr>);

impl Resolve for Checked {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// What a request that was not answered ran into.
fn not_answered(error: &reqwest::Error) -> HttpError {
    let mut source = error.source();
    let mut kind = None;
    while let Some(cause) = source {
        kind = kind.or_else(|| cause.downcast_ref::<io::Error>().map(io::Error::kind));
        source = cause.source();
    }
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => HttpError::ConnectionRefused,
        Some(io::ErrorKind::TimedOut) => HttpError::ConnectionTimeout,
        _ if error.is_connect() && error.is_timeout() => HttpError::ConnectionTimeout,
        Some(_) => HttpError::ConnectionTerminated,
        None => HttpError::Protocol,
    }
}

#[cfg(test)]
mod tests;
