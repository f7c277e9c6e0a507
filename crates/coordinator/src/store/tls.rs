//! How TLS is spoken with what is not ours: databases and object stores. It knows nothing of what is said.

use std::{io, sync::Arc};

use hyper_rustls::ConfigBuilderExt as _;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier, client::WantsClientCert, crypto::ring};

/// There is nothing to check certificates by.
#[derive(Debug, thiserror::Error)]
#[error(
    "no certificates are found on this machine ({0}); install `ca-certificates`, or name a file of them in SSL_CERT_FILE"
)]
pub(crate) struct NoRoots(io::Error);

/// With whom this machine trusts, or whom those in `SSL_CERT_FILE` vouch for; they are read now.
pub(super) fn of_machine() -> Result<ClientConfig, NoRoots> {
    with(|builder| builder.with_native_roots()).map_err(NoRoots)
}

/// With servers whose certificates rest on these roots.
pub(super) fn with(
    roots: impl FnOnce(
        ConfigBuilder<ClientConfig, WantsVerifier>,
    ) -> io::Result<ConfigBuilder<ClientConfig, WantsClientCert>>,
) -> io::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(roots(builder)?.with_no_client_auth())
}
