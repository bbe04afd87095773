//! The HTTP API of a process, whether sessions are beside it or not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use panda_access::FleetSecret;
use panda_api::{ApiConfig, ApiThreads, Bootstrap, Connection, Discovery};
use panda_edge::WorkerLink;
use panda_edge::admission::AdmissionLimits;
use panda_edge::transport::handover::HandedOver;
use panda_edge::transport::socket::{self, Socket};
use panda_edge::transport::tls::Identity;
use panda_link::{LinkClient, LinkLimits, Links};
use panda_storage::{Cache, CommandLog, PictureStore, UserStore};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{Config, LoginProviderConfig};
use crate::lifecycle::now;

/// How long requests may take to end at a stop.
const GRACE: Duration = Duration::from_secs(1);
/// Connections that may wait to be served.
pub(crate) const HANDOVER_QUEUE: usize = 256;

/// What the API works with.
pub(crate) struct ApiParts<L, U, C> {
    /// Where commands go.
    pub(crate) log: L,
    /// Its way to the routers.
    pub(crate) link: WorkerLink,
    /// Users and keys.
    pub(crate) users: U,
    /// What may be lost.
    pub(crate) cache: C,
    /// Its keys, and which logins were ended.
    pub(crate) identity: Bootstrap,
    /// Where pictures are kept, if they are.
    pub(crate) pictures: Option<PictureStore>,
    /// How mail is sent, if it is.
    pub(crate) mail: Option<panda_api::MailConfig>,
}

/// A running API.
pub(crate) struct Api {
    threads: ApiThreads,
    /// Moves what the API and the routers say to each other. It ends with the last request's way to them.
    driver: JoinHandle<()>,
}

impl Api {
    /// Resolves when it serves nobody any more, or has no way to the routers: only a new start of the process helps.
    /// Cancel safe.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            () = self.threads.failed() => {}
            // How it ended says the panic hook.
            _ = &mut self.driver => {}
        }
        anyhow::anyhow!(
            "the HTTP API broke; this is a fault of this program: start it again, and report what its log says"
        )
    }

    /// Takes no more requests, and lets those in progress end.
    pub(crate) async fn stop(self) {
        self.threads.stop(GRACE).await;
    }
}

/// Serves what `handed_over` brings, on threads of its own.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn start<L: CommandLog, U: UserStore, C: Cache>(
    config: &Config,
    discovery: Discovery,
    parts: ApiParts<L, U, C>,
    registry: &mut Registry,
    handed_over: mpsc::Receiver<HandedOver>,
) -> anyhow::Result<Api> {
    let ApiParts { log, link, users, cache, identity, pictures, mail } = parts;
    let Bootstrap { keys, refresh_tokens, flows, ended, .. } = identity;
    let (chats, driver) = client(link, log);
    let parts =
        panda_api::Parts { users, cache, chats, keys, refresh_tokens, flows, ended, pictures, mail, clock: now };
    let metrics = panda_api::Metrics::default();
    metrics.register(registry);
    let limits = &config.api;
    let origins = config.http.page_origins();
    let login_providers =
        config.login_providers.iter().map(LoginProviderConfig::provider).collect::<anyhow::Result<_>>()?;
    let config = ApiConfig {
        threads: limits.threads,
        hash_threads: limits.hash_threads,
        hash_queue_max: limits.hash_queue_max,
        connections_max: limits.connections_max,
        token_ttl: limits.token_lifetime(),
        origins,
        login_providers,
        login_idle: Duration::from_secs(limits.login_idle_s),
        login_lifetime: Duration::from_secs(limits.login_lifetime_s),
        refresh_grace: Duration::from_secs(limits.refresh_grace_s),
        discovery,
        ..ApiConfig::default()
    };
    let threads = panda_api::start::<(U, C, LinkClient), _, _, _>(config, parts, metrics, handed_over, connection)
        .context("start the HTTP API")?;
    Ok(Api { threads, driver })
}

/// Refuses an address that somebody listens on.
///
/// # Errors
/// Which address, and what to do.
pub(crate) fn claim(config: &Config) -> anyhow::Result<()> {
    let address = config.http.address;
    if address.port() == 0 {
        return Ok(());
    }
    socket::claim(address).with_context(|| format!("listen on {address} for HTTP (--http names another address)"))
}

/// Who may connect at all.
pub(crate) fn admission(config: &Config) -> AdmissionLimits {
    let edge = &config.edge;
    AdmissionLimits {
        handshakes_max: edge.handshakes_max,
        sessions_max: edge.sessions_max,
        connections_per_address_max: edge.connections_per_address_max,
        http_connections_per_address_max: edge.http_connections_per_address_max,
        handshake_timeout: Duration::from_millis(edge.handshake_timeout_ms),
    }
}

/// HTTPS, if there is a certificate.
///
/// # Errors
/// It cannot be used.
pub(crate) fn tls(config: &Config, fleet: &FleetSecret) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    if config.http.certificate.as_os_str().is_empty() {
        return Ok(None);
    }
    let identity = Identity::from_pem_files(&config.http.certificate, &config.http.key)?;
    Ok(Some(identity.https_config(fleet)?))
}

/// What a client on this machine is given.
pub(crate) fn url(config: &Config, address: SocketAddr) -> String {
    let scheme = if config.http.certificate.as_os_str().is_empty() { "http" } else { "https" };
    format!("{scheme}://{}", reachable(address))
}

/// Where something that listens on `address` is reached from this machine: one that stands for all addresses is none
/// to connect to.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Says behind an address that a client is given where the process really listens, if that is not the same.
pub(crate) fn listens(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!(" (on all addresses: {address})") } else { String::new() }
}

/// A handed-over socket, in the API's runtime.
fn connection(handed: HandedOver) -> std::io::Result<Connection<Socket>> {
    let HandedOver { socket, head, peer, place } = handed.adopt()?;
    let tls = socket.is_secure();
    Ok(Connection { stream: socket, head, peer, tls, held: Box::new(place) })
}

fn client<L: CommandLog>(link: WorkerLink, log: L) -> (LinkClient, JoinHandle<()>) {
    let WorkerLink { link, lane, up, down } = link;
    let (client, driver) = LinkClient::new(Links::new(log, link, lane, LinkLimits::default()), up, down);
    (client, tokio::spawn(driver.run()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_given_an_address_that_it_can_connect_to() {
        let given = |listen: &str| {
            let address = listen.parse().unwrap();
            format!("{}{}", url(&Config::default(), address), listens(address))
        };
        assert_eq!(given("0.0.0.0:8080"), "http://127.0.0.1:8080 (on all addresses: 0.0.0.0:8080)");
        assert_eq!(given("[::]:8080"), "http://[::1]:8080 (on all addresses: [::]:8080)");
        assert_eq!(given("192.0.2.7:8080"), "http://192.0.2.7:8080");
    }
}
