//! TLS for QUIC that holds little once a handshake is done.
//!
//! quinn's own session keeps the whole TLS connection as long as the QUIC connection lives, for the sake of what
//! a server is never asked: who the peer is, early data, exported keys. Ours lets go of it with the handshake's last
//! message, and keeps the secrets that the next keys are derived from.

mod keys;
mod parameters;

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::crypto::{self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::quic::{KeyChange, Secrets, ServerConnection, Suite, Version};
use rustls::{AlertDescription, CipherSuite};

pub(in crate::transport) use self::keys::small_keys;

/// The one version that is spoken (RFC 9000).
pub(super) const VERSION: u32 = 1;

/// Makes the TLS session of each connection.
pub(super) struct ServerCrypto {
    tls: Arc<rustls::ServerConfig>,
    /// What stands before any session: initial keys and retries.
    stateless: QuicServerConfig,
    /// The suite of a connection's first packets (RFC 9001, section 5).
    initial: Suite,
}

impl ServerCrypto {
    /// # Errors
    /// Why this configuration cannot serve QUIC.
    pub(super) fn new(tls: rustls::ServerConfig) -> Result<Self, String> {
        let tls = Arc::new(tls);
        let suites = &tls.crypto_provider().cipher_suites;
        let first = suites.iter().find(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
        let initial = first.and_then(|suite| suite.tls13()?.quic_suite()).ok_or("there is no suite for QUIC")?;
        // Found out now and not by the first client.
        ServerConnection::new(Arc::clone(&tls), Version::V1, Vec::new()).map_err(|error| error.to_string())?;
        let stateless = QuicServerConfig::with_initial(Arc::clone(&tls), initial).map_err(|error| error.to_string())?;
        Ok(Self { tls, stateless, initial })
    }
}

impl crypto::ServerConfig for ServerCrypto {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.stateless.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.stateless.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, _: u32, params: &TransportParameters) -> Box<dyn crypto::Session> {
        let mut own = Vec::new();
        params.write(&mut own);
        let handshake = match ServerConnection::new(Arc::clone(&self.tls), Version::V1, own) {
            Ok(handshake) => Some(Box::new(handshake)),
            Err(error) => {
                // The configuration was tried: what is left is a system without randomness.
                tracing::error!(%error, "a QUIC handshake cannot begin");
                None
            }
        };
        Box::new(Session { initial: self.initial, handshake, is_done: false, next: None })
    }
}

/// One connection's TLS.
struct Session {
    initial: Suite,
    /// There until the last message of the handshake was written.
    handshake: Option<Box<ServerConnection>>,
    is_done: bool,
    /// What the keys after the present ones come from.
    next: Option<Secrets>,
}

impl Session {
    /// A peer that says more than its handshake.
    fn unexpected() -> TransportError {
        TransportError {
            code: TransportErrorCode::crypto(AlertDescription::UnexpectedMessage.into()),
            frame: None,
            reason: "a TLS message after the handshake".to_owned(),
        }
    }
}

impl crypto::Session for Session {
    fn initial_keys(&self, dst_cid: &ConnectionId, _: Side) -> Keys {
        from_rustls(self.initial.keys(dst_cid, rustls::Side::Server, Version::V1))
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    /// Early data is not announced.
    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        !self.is_done
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let handshake = self.handshake.as_mut().ok_or_else(Self::unexpected)?;
        handshake.read_hs(buf).map_err(|error| TransportError {
            code: handshake
                .alert()
                .map_or(TransportErrorCode::PROTOCOL_VIOLATION, |alert| TransportErrorCode::crypto(alert.into())),
            frame: None,
            reason: error.to_string(),
        })?;
        self.is_done = !handshake.is_handshaking();
        // Nobody asks for the handshake's data.
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let Some(params) = self.handshake.as_ref().and_then(|handshake| handshake.quic_transport_parameters()) else {
            return Ok(None);
        };
        Ok(Some(parameters::read(params)?))
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let change = self.handshake.as_mut()?.write_hs(buf);
        if change.is_none() && self.is_done {
            // The ticket was the last message: what is left is of no use.
            self.handshake = None;
        }
        let keys = match change? {
            KeyChange::Handshake { keys } => keys,
            KeyChange::OneRtt { keys, next } => {
                self.next = Some(next);
                keys
            }
        };
        Some(from_rustls(keys))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(KeyPair { local: Box::new(keys.local), remote: Box::new(keys.remote) })
    }

    /// Only a client gets retries.
    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn export_keying_material(&self, _: &mut [u8], _: &[u8], _: &[u8]) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}

fn from_rustls(keys: rustls::quic::Keys) -> Keys {
    Keys {
        header: KeyPair { local: Box::new(keys.local.header), remote: Box::new(keys.remote.header) },
        packet: KeyPair { local: Box::new(keys.local.packet), remote: Box::new(keys.remote.packet) },
    }
}
