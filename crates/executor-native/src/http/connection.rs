//! Connections to addresses that were checked, over TLS where it is asked for. They know nothing of requests.

use std::{
    convert::Infallible,
    error::Error,
    future::{Ready, poll_fn, ready},
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use asterism_world::HttpError;
use hyper::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier, client::WantsClientCert, crypto::ring};
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::io_kind;

/// What is spoken over TLS; nothing else is offered to a server.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Bytes in both directions, encrypted or not.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// How TLS is spoken, with servers whose certificates rest on these roots.
pub(super) fn tls(
    roots: impl FnOnce(
        ConfigBuilder<ClientConfig, WantsVerifier>,
    ) -> io::Result<ConfigBuilder<ClientConfig, WantsClientCert>>,
) -> io::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = roots(builder)?.with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(config)
}

/// A connection to one of these addresses, by the name and the port of this URI; over TLS, if there is a way to speak it. All of
/// it takes so long at most.
pub(super) async fn open(
    uri: Uri,
    addresses: Vec<SocketAddr>,
    tls: Option<Arc<ClientConfig>>,
    within: Duration,
) -> Result<Stream, HttpError> {
    let mut tcp = HttpConnector::new_with_resolver(Checked(addresses));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // Each address has its share of it, so that one that is silent does not take the time of all.
    tcp.set_connect_timeout(Some(within));
    let opened = async {
        match tls {
            Some(tls) => through(HttpsConnector::from((tcp, tls)), uri).await,
            None => through(tcp, uri).await.map(MaybeHttpsStream::Http),
        }
    };
    let opened = timeout(within, opened).await;
    opened.map_err(|_| HttpError::ConnectionTimeout)?
}

async fn through<C>(mut connector: C, uri: Uri) -> Result<C::Response, HttpError>
where
    C: Service<Uri>,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let is_ready = poll_fn(|cx| connector.poll_ready(cx)).await;
    is_ready.map_err(not_connected)?;
    connector.call(uri).await.map_err(not_connected)
}

/// What a connection that did not come about ran into.
fn not_connected(error: impl Into<Box<dyn Error + Send + Sync>>) -> HttpError {
    let error: Box<dyn Error + Send + Sync> = error.into();
    // What fails once there is a connection comes as it is; what fails before comes within an error of the connector.
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return no_handshake(error);
    }
    match io_kind(&*error) {
        Some(io::ErrorKind::ConnectionRefused) => HttpError::ConnectionRefused,
        Some(io::ErrorKind::TimedOut) => HttpError::ConnectionTimeout,
        Some(_) => HttpError::ConnectionTerminated,
        // The host has a name that no certificate can be for.
        None => HttpError::Tls,
    }
}

/// What a handshake failed of. Errors are wrapped in others, which do not name them as their sources.
fn no_handshake(error: &io::Error) -> HttpError {
    let inner = error.get_ref();
    if let Some(inner) = inner.and_then(|inner| inner.downcast_ref::<io::Error>()) {
        return no_handshake(inner);
    }
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => HttpError::Certificate,
        Some(_) => HttpError::Tls,
        // It ended before either of the two had anything to say of TLS.
        None => match error.kind() {
            io::ErrorKind::TimedOut => HttpError::ConnectionTimeout,
            // The system has other words for what ends a connection.
            io::ErrorKind::InvalidData | io::ErrorKind::Other => HttpError::Tls,
            _ => HttpError::ConnectionTerminated,
        },
    }
}

/// Addresses that were checked, whatever the name stands for by now.
#[derive(Clone)]
struct Checked(Vec<SocketAddr>);

impl Service<Name> for Checked {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(self.0.clone().into_iter()))
    }
}
