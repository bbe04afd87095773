//! The memory of an idle rustls connection of a server behind its handshake, without any socket: what TLS alone costs.
//! Handshakes are made in memory, and the server's ends are kept.
//!
//! `floor_rustls CERTIFICATE.pem KEY.pem [CONNECTIONS]`

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use panda_peerbench::clock::{SECOND, now};
use panda_peerbench::{procfs, tls};
use rustls::crypto::ring::default_provider;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Bytes that a server's end may hold back.
const BUFFER_MAX: usize = 16 * 1024;
/// Handshakes before memory is read: what is made once is there then.
const WARM: u32 = 10;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "floor_rustls CERTIFICATE.pem KEY.pem [CONNECTIONS]";
    let certificate = CertificateDer::from_pem_file(arguments.next().context(usage)?)?;
    let key = PrivateKeyDer::from_pem_file(arguments.next().context(usage)?)?;
    let count = arguments.next().map_or(Ok(10_000), |count| count.parse::<u32>())?;
    let server = server(certificate, key)?;
    let client = tls::Connector::new(tls::Mode::Full)?;
    let warm = (0..WARM).map(|_| handshake(&server, &client)).collect::<Result<Vec<_>>>()?;
    let (own, before) = ([std::process::id()], now());
    let rss_before = procfs::memory(&own)?.rss;
    let kept = (0..count).map(|_| handshake(&server, &client).map(Box::new)).collect::<Result<Vec<_>>>()?;
    let seconds = (now() - before) as f64 / SECOND as f64;
    let kib = (procfs::memory(&own)?.rss as f64 - rss_before as f64) / f64::from(count);
    let size = size_of::<ServerConnection>();
    let rate = f64::from(count) / seconds;
    writeln!(
        std::io::stdout(),
        "{kib:.2} KiB for each idle server connection ({size} B of it the struct); {rate:.0} handshakes/s with both ends on \
         one core",
    )?;
    drop((warm, kept));
    Ok(())
}

fn server(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate], key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The server's end of a handshake.
fn handshake(server: &Arc<ServerConfig>, client: &tls::Connector) -> Result<ServerConnection> {
    let mut server = ServerConnection::new(Arc::clone(server))?;
    let mut client: ClientConnection = client.connection(0)?;
    server.set_buffer_limit(Some(BUFFER_MAX));
    let mut bytes = Vec::new();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        bytes.clear();
        while client.wants_write() {
            client.write_tls(&mut bytes)?;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest)?;
            server.process_new_packets()?;
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes)?;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest)?;
            client.process_new_packets()?;
        }
    }
    Ok(server)
}
