//! What a person sees who starts a server by hand.

use std::net::SocketAddr;

use super::parts::Server;
use crate::config::Config;

/// Prints where everything is. Scripts read the addresses from it, so the words at the lines' starts stay.
#[expect(clippy::print_stdout, reason = "the panel is what the command has to say")]
pub(super) fn print(server: &Server, health: SocketAddr, config: &Config) {
    let scheme = if config.http.certificate.as_os_str().is_empty() { "http" } else { "https" };
    let http = server.edge.http_address();
    println!("Panda serves.");
    println!();
    println!("  page     {scheme}://{http}");
    if let Some(quic) = server.edge.quic_address() {
        println!("  QUIC     {quic}");
    }
    if let Some(pin) = &server.pin {
        println!("  pinned   {pin} (SHA-256 of QUIC's development certificate)");
    }
    println!("  health   http://{health}");
    println!("  data     {}", server.folder.path().display());
    println!();
    println!("  stop     Ctrl-C");
}
