//! TLS of connections to a database: the driver says when it is spoken, this says how. A server that speaks it has to prove that it
//! is the one that was meant, whichever `sslmode` lets it speak.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use rustls::{CertificateError, ClientConfig, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::{TlsConnector, client};

use crate::store::tls::{self, NoRoots};

/// What is spoken over TLS, as libpq offers it: a server of another protocol, with the same certificate, is not taken for the
/// database.
const POSTGRESQL: &[u8] = b"postgresql";

/// How TLS is spoken with a database, once it turns out that it is.
#[derive(Clone, Default)]
pub(crate) struct Tls(Arc<OnceLock<Arc<ClientConfig>>>);

impl Tls {
    /// Reads what this machine trusts, once. Where that is nobody it is tried again with the next connection.
    fn config(&self) -> Result<Arc<ClientConfig>, NoRoots> {
        if let Some(config) = self.0.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(tls::of_machine()?);
        Ok(Arc::clone(self.0.get_or_init(|| config)))
    }
}

impl From<ClientConfig> for Tls {
    fn from(config: ClientConfig) -> Self {
        Self(Arc::new(OnceLock::from(Arc::new(config))))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = Infallible;

    /// Is asked for every connection, before it is known whether TLS is spoken over it: so nothing is looked at yet.
    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Infallible> {
        Ok(Handshake {
            tls: self.clone(),
            host: host.to_owned(),
        })
    }
}

/// A handshake that may come.
pub(crate) struct Handshake {
    tls: Tls,
    host: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = NoHandshake;
    type Future = BoxFuture<'static, Result<Encrypted, NoHandshake>>;

    /// Takes as long as the server likes: whoever connects bounds all of it.
    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host).map_err(|_| NoHandshake::NoName)?;
            let connector = TlsConnector::from(self.tls.config()?);
            let offered = vec![POSTGRESQL.to_vec()];
            let done = connector.with_alpn(offered).connect(name, stream).await;
            done.map(Encrypted).map_err(NoHandshake::of)
        })
    }
}

/// Why nothing is said to a server that speaks TLS. Strangers read it, so it has neither its name nor those of its certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHandshake {
    /// What is to be on its certificate?
    #[error("its address has no name that a certificate can be for")]
    NoName,
    /// Somebody proved to be somebody else.
    #[error(
        "its certificate is for another name; connect by one that it is for (`hostaddr` tells where that is), or say \
         sslmode=disable on a network of your own"
    )]
    OtherName,
    /// Anybody may have made it.
    #[error(
        "its certificate is not trusted here ({0}); name a file with its authority's certificate in SSL_CERT_FILE, or say \
         sslmode=disable on a network of your own"
    )]
    Untrusted(CertificateError),
    /// Nobody's is trusted here.
    #[error(transparent)]
    NoRoots(#[from] NoRoots),
    /// The connection broke, or both have no way to speak in common.
    #[error("{0}")]
    Broken(io::Error),
}

impl NoHandshake {
    fn of(error: io::Error) -> Self {
        let inner = error.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Self::OtherName,
            Some(rustls::Error::InvalidCertificate(reason)) => Self::Untrusted(reason.clone()),
            Some(_) | None => Self::Broken(error),
        }
    }
}

/// An encrypted connection to a server that is the one that was meant.
pub(crate) struct Encrypted(client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    /// None, for which the certificate would have to be taken apart: that it is checked tells already who answers.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
