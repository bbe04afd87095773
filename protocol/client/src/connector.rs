//! Making connections: one for a process or a few, shared by any number of clients.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio_tungstenite::tungstenite;

use crate::config::TransportKind;
use crate::discovery::{QuicTarget, Target, host_of};
use crate::updates::Reason;
use crate::wire::{Stream, Wire, quic, websocket};

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;
/// TLS alerts about a certificate (RFC 8446, 6.2), as QUIC carries them (RFC 9001, 4.8).
const CERTIFICATE_ALERTS: [u64; 8] = [0x12a, 0x12b, 0x12c, 0x12d, 0x12e, 0x130, 0x131, 0x171];
/// How long an address may be silent before the next one is tried beside it (RFC 8305).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The target does not have this transport.
    #[error("the server does not say where it serves {0:?}")]
    NotOffered(TransportKind),
    /// The target's WebSocket URL is not one.
    #[error("{0} is not a ws:// or wss:// URL with a host")]
    Url(String),
    /// TLS cannot be set up, or the server's name is not one.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    /// The built-in roots cannot be used.
    #[error("the built-in root certificates cannot be used")]
    Roots,
    /// The name leads nowhere.
    #[error("{0} has no address")]
    NoAddress(String),
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The WebSocket was refused.
    #[error("WebSocket: {0}")]
    WebSocket(Box<tungstenite::Error>),
    /// The QUIC connection was refused before it began.
    #[error("QUIC: {0}")]
    Quic(#[from] quinn::ConnectError),
    /// The QUIC connection was lost.
    #[error("QUIC: {0}")]
    QuicLost(#[from] quinn::ConnectionError),
}

impl ConnectError {
    /// What is wrong with the server's certificate, if that is why.
    fn certificate(&self) -> Option<String> {
        match self {
            Self::QuicLost(quinn::ConnectionError::TransportError(error))
                if CERTIFICATE_ALERTS.contains(&error.code.into()) =>
            {
                Some(error.reason.clone())
            }
            Self::Io(error) => match error.get_ref()?.downcast_ref()? {
                rustls::Error::InvalidCertificate(error) => Some(error.to_string()),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<&ConnectError> for Reason {
    fn from(error: &ConnectError) -> Self {
        match error.certificate() {
            Some(fault) => {
                // As rustls begins it.
                let fault = match fault.strip_prefix("invalid peer certificate: ").unwrap_or(&fault) {
                    // What the pin's verifier says, and nobody else.
                    "ApplicationVerificationFailure" => "it is not the one that the server's address names",
                    fault => fault,
                };
                Self { is_certificate: true, text: format!("the server's certificate is refused: {fault}").into() }
            }
            None => Self { is_certificate: false, text: error.to_string().into() },
        }
    }
}

/// Makes connections to one target. Clones share everything, above all the one UDP socket.
#[derive(Clone, Debug)]
pub struct Connector {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    websocket: Option<WebSocketTarget>,
    quic: Option<(QuicTarget, quinn::ClientConfig)>,
    /// Bound when the first QUIC connection is made, one for each family of addresses.
    endpoints: Mutex<Endpoints>,
}

#[derive(Debug, Default)]
struct Endpoints {
    v4: Option<quinn::Endpoint>,
    v6: Option<quinn::Endpoint>,
}

struct WebSocketTarget {
    url: String,
    host: String,
    port: u16,
    tls: Option<(tokio_rustls::TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for WebSocketTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketTarget").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Connector {
    /// Prepares what all connections share. Nothing is bound or connected yet.
    ///
    /// # Errors
    /// [`ConnectError::Url`], [`ConnectError::Tls`], [`ConnectError::Roots`]
    pub fn new(target: Target) -> Result<Self, ConnectError> {
        let Target { websocket, quic } = target;
        let pin = quic.as_ref().and_then(|quic| quic.certificate_sha256);
        let websocket = websocket.map(|url| websocket_target(url, pin)).transpose()?;
        let quic = quic.map(|quic| quic::client_config(quic.certificate_sha256).map(|config| (quic, config)));
        let shared = Shared { websocket, quic: quic.transpose()?, endpoints: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether the target has a WebSocket.
    pub(crate) fn has_websocket(&self) -> bool {
        self.shared.websocket.is_some()
    }

    /// Connects, to `address` instead of the target's if that is not empty. The certificate must be the
    /// target's either way.
    pub(crate) async fn connect(&self, kind: TransportKind, address: &str) -> Result<Wire, ConnectError> {
        match kind {
            TransportKind::WebSocket => self.connect_websocket(address).await,
            TransportKind::Quic => self.connect_quic(address).await,
        }
    }

    async fn connect_websocket(&self, address: &str) -> Result<Wire, ConnectError> {
        let target = self.shared.websocket.as_ref().ok_or(ConnectError::NotOffered(TransportKind::WebSocket))?;
        let tcp = if address.is_empty() {
            TcpStream::connect((target.host.as_str(), target.port)).await?
        } else {
            TcpStream::connect(address).await?
        };
        // Frames are small and somebody waits for each.
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &target.tls {
            None => Box::new(tcp),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), tcp).await?),
        };
        websocket::Socket::connect(&target.url, stream).await.map(|socket| Wire::WebSocket(Box::new(socket)))
    }

    async fn connect_quic(&self, address: &str) -> Result<Wire, ConnectError> {
        let (target, config) = self.shared.quic.as_ref().ok_or(ConnectError::NotOffered(TransportKind::Quic))?;
        let (name, remotes): (_, Vec<SocketAddr>) = if address.is_empty() {
            (target.host.as_str(), lookup_host((target.host.as_str(), target.port)).await?.collect())
        } else {
            (address, lookup_host(address).await?.collect())
        };
        let dial = async |remote| {
            let connecting = self.endpoint(remote)?.connect_with(config.clone(), remote, &target.host)?;
            Ok::<_, ConnectError>(connecting.await?)
        };
        let connection = first_to_answer(remotes.into_iter().take(ADDRESSES_MAX).map(dial), name).await?;
        quic::Channel::open(connection).await.map(|channel| Wire::Quic(Box::new(channel)))
    }

    fn endpoint(&self, remote: SocketAddr) -> Result<quinn::Endpoint, ConnectError> {
        let mut endpoints = self.shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let (slot, local): (_, SocketAddr) = match remote {
            SocketAddr::V4(_) => (&mut endpoints.v4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (&mut endpoints.v6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let endpoint = quinn::Endpoint::client(local)?;
        Ok(slot.insert(endpoint).clone())
    }
}

/// Begins one dial after the other, the next when the last one failed or had its time for itself, and
/// gives the first that comes about. Over UDP nobody says that an address is not served.
async fn first_to_answer<T>(
    dials: impl Iterator<Item = impl Future<Output = Result<T, ConnectError>>>,
    name: &str,
) -> Result<T, ConnectError> {
    let mut running = FuturesUnordered::new();
    let mut failed = ConnectError::NoAddress(name.to_owned());
    for dial in dials {
        running.push(dial);
        match tokio::time::timeout(NEXT_ADDRESS_AFTER, running.next()).await {
            Ok(Some(Ok(done))) => return Ok(done),
            Ok(Some(Err(error))) => failed = error,
            Ok(None) | Err(_) => {}
        }
    }
    while let Some(done) = running.next().await {
        match done {
            Ok(done) => return Ok(done),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn websocket_target(url: String, pin: Option<[u8; 32]>) -> Result<WebSocketTarget, ConnectError> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host_of(authority).to_owned();
    let default_port = match scheme {
        "ws" => 80,
        "wss" => 443,
        _ => return Err(ConnectError::Url(url)),
    };
    // Behind the host and its brackets.
    let port = match authority.rsplit_once(':') {
        Some((before, port)) if !before.contains(':') || before.ends_with(']') => port.parse().ok(),
        _ => Some(default_port),
    };
    let (Some(port), false) = (port, host.is_empty()) else { return Err(ConnectError::Url(url)) };
    let tls = if scheme == "wss" {
        let versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
        let config = crate::tls::client_config(pin, true, versions, None)?;
        let name = ServerName::try_from(host.clone()).map_err(|_| ConnectError::Url(url.clone()))?;
        Some((tokio_rustls::TlsConnector::from(Arc::new(config)), name))
    } else {
        None
    };
    Ok(WebSocketTarget { url, host, port, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_silent_or_refuses_does_not_hold_up_the_next() {
        use std::future::{pending, ready};
        use std::pin::Pin;
        type Dial = Pin<Box<dyn Future<Output = Result<u8, ConnectError>>>>;
        let refuses = || Box::pin(ready(Err(ConnectError::Roots))) as Dial;
        let silent = || Box::pin(pending()) as Dial;
        let answers = || Box::pin(ready(Ok(7_u8))) as Dial;
        let begun = tokio::time::Instant::now();
        let dialed = first_to_answer([silent(), refuses(), answers()].into_iter(), "name").await;
        assert_eq!(dialed.unwrap(), 7);
        assert_eq!(begun.elapsed(), NEXT_ADDRESS_AFTER);
        let dialed = first_to_answer([refuses(), refuses()].into_iter(), "name").await;
        assert!(matches!(dialed, Err(ConnectError::Roots)));
        let dialed = first_to_answer(std::iter::empty::<Dial>(), "name").await;
        assert!(matches!(dialed, Err(ConnectError::NoAddress(name)) if name == "name"));
    }

    #[test]
    fn a_url_gives_host_and_port() {
        let parts = |url: &str| {
            let target = websocket_target(url.to_owned(), None).unwrap();
            (target.host, target.port, target.tls.is_some())
        };
        assert_eq!(parts("ws://h:8080/ws"), ("h".into(), 8080, false));
        assert_eq!(parts("wss://h/ws"), ("h".into(), 443, true));
        assert_eq!(parts("ws://[::1]:9/ws"), ("::1".into(), 9, false));
        assert_eq!(parts("ws://[::1]/ws"), ("::1".into(), 80, false));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in ["", "http://h/", "ws://", "ws://h:99999/", "ws:///ws"] {
            assert!(matches!(websocket_target(url.to_owned(), None), Err(ConnectError::Url(_))), "{url}");
        }
    }
}
