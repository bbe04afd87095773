//! What a person sees who starts a server by hand.

use std::io::Write as _;
use std::net::SocketAddr;

use super::parts::Server;
use crate::config::Config;

/// Prints where everything is. Scripts read the addresses from it, so the words at the lines' starts stay.
///
/// # Errors
/// Standard output takes nothing; the server serves all the same.
pub(super) fn print(server: &Server, health: SocketAddr, config: &Config) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let scheme = if config.http.certificate.as_os_str().is_empty() { "http" } else { "https" };
    let http = server.edge.http_address();
    writeln!(out, "Panda serves.")?;
    writeln!(out)?;
    writeln!(out, "  page     {scheme}://{http}")?;
    if let Some(quic) = server.edge.quic_address() {
        writeln!(out, "  QUIC     {quic}")?;
    }
    if let Some(pin) = &server.pin {
        writeln!(out, "  pinned   {pin} (SHA-256 of QUIC's development certificate)")?;
    }
    writeln!(out, "  health   http://{health}")?;
    writeln!(out, "  data     {}", server.folder.path().display())?;
    writeln!(out)?;
    writeln!(out, "  chat     panda chat --server {scheme}://{http} --register --user NAME (in a second terminal)")?;
    writeln!(out, "  stop     Ctrl-C")?;
    out.flush()
}
