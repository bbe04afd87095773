//! Mutual TLS below a link: each side proves with a certificate that the deployment's authority knows it.
//!
//! A certificate says which machines may speak to each other, and hides what they say. Who knows the fleet secret
//! is said by the opening, with TLS as without.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use panda_protocol::link::OPENING_TIMEOUT_MS;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::LinkEnd;

/// What a link is carried over, whether TLS is in it or not.
pub trait LinkStream: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> LinkStream for S {}

/// A stream of whatever kind.
pub type AnyStream = Box<dyn LinkStream>;

/// Why there is no TLS for links.
#[derive(Debug, thiserror::Error)]
pub enum LinkTlsError {
    /// A text is not what it should be.
    #[error("there is no {what} in this file")]
    Pem {
        /// What it should hold.
        what: &'static str,
    },
    /// They do not go together, or are of a kind that is not supported.
    #[error("the certificates of links cannot be used: {0}")]
    Unusable(String),
}

/// What a process needs to speak TLS over links, as either end. Clones share it.
#[derive(Clone)]
pub struct LinkTls {
    edge: Arc<ClientConfig>,
    router: Arc<ServerConfig>,
}

impl fmt::Debug for LinkTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkTls")
    }
}

impl LinkTls {
    /// Of PEM texts: the authorities that are believed, and the certificate chain and key of this process.
    ///
    /// # Errors
    /// [`LinkTlsError`].
    pub fn from_pem(authorities: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, LinkTlsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(authorities, "certificate of an authority")? {
            roots.add(authority).map_err(unusable)?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| LinkTlsError::Pem { what: "private key" })?;
        let provider = Arc::new(default_provider());
        // Both ends are ours: there is no older version to be kind to. A link lasts, and is never resumed.
        let edges = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(unusable)?;
        let mut router = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(edges)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(unusable)?;
        router.session_storage = Arc::new(NoServerSessionStorage {});
        router.send_tls13_tickets = 0;
        let mut edge = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?;
        edge.resumption = Resumption::disabled();
        Ok(Self { edge: Arc::new(edge), router: Arc::new(router) })
    }

    /// An edge's end, to the router at `address`, `host:port`, for whose host the router's certificate must be.
    /// That this edge's own certificate is refused shows only when the link is opened. Takes no longer than an
    /// opening may. Not cancel safe: the stream is of no more use.
    ///
    /// # Errors
    /// [`LinkEnd::Tls`], `Io` and `Slow`.
    pub async fn connect<S>(&self, address: &str, stream: S) -> Result<AnyStream, LinkEnd>
    where
        S: LinkStream + 'static,
    {
        let host = host_of(address);
        let host = ServerName::try_from(host.to_owned())
            .map_err(|_| LinkEnd::Tls(rustls::Error::General(format!("\"{host}\" is the name of no host"))))?;
        let connecting = TlsConnector::from(Arc::clone(&self.edge)).connect(host, stream);
        Ok(Box::new(in_time(connecting).await?))
    }

    /// A router's end; as [`Self::connect`].
    ///
    /// # Errors
    /// [`LinkEnd::Tls`], `Io` and `Slow`.
    pub async fn accept<S>(&self, stream: S) -> Result<AnyStream, LinkEnd>
    where
        S: LinkStream + 'static,
    {
        Ok(Box::new(in_time(TlsAcceptor::from(Arc::clone(&self.router)).accept(stream)).await?))
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, LinkTlsError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    found.ok().filter(|found| !found.is_empty()).ok_or(LinkTlsError::Pem { what })
}

fn unusable(error: impl fmt::Display) -> LinkTlsError {
    LinkTlsError::Unusable(error.to_string())
}

async fn in_time<S>(handshake: impl Future<Output = std::io::Result<S>>) -> Result<S, LinkEnd> {
    match timeout(Duration::from_millis(OPENING_TIMEOUT_MS), handshake).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(LinkEnd::Slow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_stands_before_the_port() {
        for (address, host) in
            [("router-1.example:9700", "router-1.example"), ("127.0.0.1:9700", "127.0.0.1"), ("[::1]:9700", "::1")]
        {
            assert_eq!(host_of(address), host);
            assert!(ServerName::try_from(host).is_ok(), "{host}");
        }
    }
}
