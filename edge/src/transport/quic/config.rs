//! Settings of the endpoint and its connections, for many small conversations and not for bulk.

use std::sync::Arc;
use std::time::Duration;

use panda_access::{FleetSecret, Purpose};
use quinn_proto::{EndpointConfig, ServerConfig, TransportConfig, VarInt};
use ring::{hkdf, hmac};

use super::connection_id::FleetConnectionIds;
use super::crypto::{ServerCrypto, VERSION};
use crate::transport::tls::Identity;

/// Streams that a client may have open: the session and the pages.
const STREAMS_MAX: u32 = 2;
/// Bytes that a client may send on a stream before we took the first.
const STREAM_WINDOW: u32 = 32 * 1024;
/// The same for both streams together.
const CONNECTION_WINDOW: u32 = 48 * 1024;
/// Bytes that wait for a client that takes no more, or that it has not acknowledged.
const SEND_WINDOW: u64 = 128 * 1024;
/// Bytes of handshake messages that arrived out of order.
const CRYPTO_BUFFER_BYTES: usize = 16 * 1024;
/// A connection without any packet for so long is gone. Sessions end much earlier, by heartbeats.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Connections that wait to be looked at by the gate.
const INCOMING_MAX: usize = 4_096;
/// Bytes of packets that wait with each of them, and with all.
const INCOMING_BYTES_MAX: u64 = 8 * 1024;
const ALL_INCOMING_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Resets that an endpoint sends are at least so far apart: after a restart all clients of the process
/// before are to learn of it within seconds, and a reset is smaller than the packet that asked for it.
const RESET_INTERVAL: Duration = Duration::from_micros(200);

/// Keys that any process of the fleet has: what one endpoint gave out, another understands.
pub(super) fn endpoint(fleet: &FleetSecret) -> EndpointConfig {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &fleet.derive(Purpose::QuicReset).current);
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    endpoint
        .cid_generator(|| Box::new(FleetConnectionIds))
        .min_reset_interval(RESET_INTERVAL)
        .supported_versions(vec![VERSION]);
    endpoint
}

pub(super) fn server(identity: &Identity, fleet: &FleetSecret) -> Result<ServerConfig, String> {
    let tls = identity.quic_config(fleet).map_err(|error| error.to_string())?;
    let crypto = ServerCrypto::new(tls)?;
    let token_key = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &fleet.derive(Purpose::QuicToken).current);
    let mut server = ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
    server
        .transport_config(Arc::new(transport()?))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(ALL_INCOMING_BYTES_MAX);
    Ok(server)
}

fn transport() -> Result<TransportConfig, String> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from(0_u32))
        .stream_receive_window(VarInt::from(STREAM_WINDOW))
        .receive_window(VarInt::from(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().map_err(|_| "the idle timeout is too long")?))
        // Signals come on the stream: DATAGRAM_SIGNALS is not announced.
        .datagram_receive_buffer_size(None)
        // Chat is small packets; probing a larger size for every connection is not worth its state.
        .mtu_discovery_config(None);
    Ok(transport)
}
