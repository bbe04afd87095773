//! TLS of the client's end.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};

use super::driver::Peer;

/// Names under which the server is asked for in turn: rustls keeps few tickets of one name, each is used once, and more
/// handshakes than those are under way at a time.
pub const NAMES: u32 = 64;
/// Names whose tickets are kept.
const NAMES_KEPT: usize = 1_024;
/// Tickets that rustls makes room for, of each name whose tickets it keeps.
const TICKETS_A_NAME: usize = 8;

/// How connections are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Every handshake is a full one.
    Full,
    /// Handshakes resume, from the second one on.
    Resumed,
}

/// Opens TLS on connections.
#[derive(Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
    /// What handshakes must be; absent where they are what the server makes of them.
    mode: Option<Mode>,
}

impl Connector {
    /// Of this mode. The certificate is not verified: the client's cost is not what is measured, and the server's is the
    /// same.
    ///
    /// # Errors
    /// rustls knows none of the protocol versions that it offers by default.
    pub fn new(mode: Mode) -> Result<Self> {
        let resumption = match mode {
            Mode::Full => Resumption::disabled(),
            Mode::Resumed => Resumption::in_memory_sessions(NAMES_KEPT),
        };
        Self::with(resumption, Some(mode))
    }

    /// For so many sessions, each of which keeps the ticket that it got itself and comes back with it, to whatever server.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_sessions(count: u32) -> Result<Self> {
        Self::with(Resumption::in_memory_sessions(count as usize * TICKETS_A_NAME), None)
    }

    fn with(resumption: Resumption, mode: Option<Mode>) -> Result<Self> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().context("the versions of TLS")?.dangerous();
        let mut config = builder.with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
        config.resumption = resumption;
        Ok(Self { config: Arc::new(config), mode })
    }

    /// Whose tickets a connection takes: those of its session, or those of whoever asked under that name before.
    pub fn number(&self, peer: &Peer) -> u32 {
        if self.mode.is_some() { peer.number % NAMES } else { peer.channel }
    }

    /// The TLS of a connection with this [`Self::number`].
    ///
    /// # Errors
    /// rustls refuses its own configuration.
    pub fn connection(&self, number: u32) -> Result<ClientConnection> {
        let name = ServerName::try_from(format!("c{number}.localhost")).context("a host's name")?;
        ClientConnection::new(Arc::clone(&self.config), name).context("TLS")
    }

    /// Checks that a handshake was of the kind that this row is about; `first` may be a full one.
    ///
    /// # Errors
    /// It was another.
    pub fn check(&self, connection: &ClientConnection, first: bool) -> Result<()> {
        let Some(mode) = self.mode else { return Ok(()) };
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed != (mode == Mode::Resumed) && !first {
            bail!("a handshake was {}, where this row is about {mode:?}", if resumed { "resumed" } else { "full" });
        }
        Ok(())
    }
}

/// Takes any certificate.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
