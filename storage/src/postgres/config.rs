//! Where the server is, how to reach it, and how long anything may take.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::StoreError;

/// How a server is reached. Its `Debug` form shows neither the URL nor what is in it.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:5432/database`. Connections are encrypted, and the server's
    /// certificate and name are checked, unless the URL says `sslmode=disable` or names no `sslmode`
    /// and only hosts of this machine. `sslmode=prefer` is not weaker than `require` here: somebody
    /// on the way would choose.
    pub url: String,
    /// PEM of the authorities whose certificates are believed; absent: those that browsers believe.
    pub authorities_pem: Option<Vec<u8>>,
    /// Connections that one process keeps at most.
    pub connections_max: usize,
    /// How long anything may take.
    pub limits: PostgresLimits,
}

impl PostgresConfig {
    /// Connections that one process keeps at most, unless told.
    pub const CONNECTIONS_MAX: usize = 16;

    /// A configuration with the defaults for everything but the place.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            authorities_pem: None,
            connections_max: Self::CONNECTIONS_MAX,
            limits: PostgresLimits::default(),
        }
    }

    /// Whether the URL is one that the store takes, as far as that can be seen without a server.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`], which shows nothing of the URL.
    pub fn check_url(&self) -> Result<(), StoreError> {
        driver_config(self).map(drop)
    }

    /// Whether the authorities, if some are named, are certificates.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`].
    pub fn check_authorities(&self) -> Result<(), StoreError> {
        roots(self).map(drop)
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("connections_max", &self.connections_max)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How long anything may take. What takes longer is `Unavailable`.
#[derive(Clone, Copy, Debug)]
pub struct PostgresLimits {
    /// Waiting for a connection while all are in use.
    pub wait: Duration,
    /// Making a connection, TLS and login included.
    pub connect: Duration,
    /// One statement; the server itself ends it.
    pub statement: Duration,
    /// Waiting for a lock of another transaction, within a statement.
    pub lock: Duration,
    /// A whole call, waiting included. It also finds a network that loses everything, so it is longer
    /// than a statement.
    pub call: Duration,
}

impl Default for PostgresLimits {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            statement: Duration::from_secs(5),
            lock: Duration::from_secs(2),
            call: Duration::from_secs(8),
        }
    }
}

// A connection that says nothing for this long is asked by TCP whether it is there, again after each interval,
// and given up after so many questions.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;

/// The driver's settings. Never the driver's own words about a URL: they may quote its password.
pub(super) fn driver_config(config: &PostgresConfig) -> Result<tokio_postgres::Config, StoreError> {
    let mut driver: tokio_postgres::Config = config.url.parse().map_err(|_| {
        StoreError::Misconfigured(
            "the user store's URL cannot be read; it looks like postgres://user:password@host:5432/database".into(),
        )
    })?;
    let (hosts, addresses, ports) = (driver.get_hosts(), driver.get_hostaddrs(), driver.get_ports().len());
    let places = hosts.len().max(addresses.len());
    let is_whole = hosts.is_empty() || addresses.is_empty() || hosts.len() == addresses.len();
    // The driver would see it with each connection only.
    if places == 0 || !is_whole || (ports > 1 && ports != places) {
        return Err(StoreError::Misconfigured(
            "the user store's URL does not say where the server is: a host, and an address and a port of each or none"
                .into(),
        ));
    }
    let encrypted = match driver.get_ssl_mode() {
        SslMode::Disable => false,
        SslMode::Prefer => !hosts.iter().all(is_this_machine) || !addresses.iter().all(IpAddr::is_loopback),
        _ => true,
    };
    let limits = &config.limits;
    // What an operator gave in the URL comes first: of two settings the last one counts.
    let options = format!(
        "{} -c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={} \
         -c synchronous_commit=on -c search_path=panda -c client_min_messages=warning",
        driver.get_options().unwrap_or_default(),
        limits.statement.as_millis(),
        limits.lock.as_millis(),
        limits.call.as_millis(),
    );
    driver
        .options(options.trim_start())
        .application_name("panda")
        .ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable })
        .connect_timeout(limits.connect)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .tcp_user_timeout(limits.call);
    Ok(driver)
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// The authorities whose certificates are believed.
fn roots(config: &PostgresConfig) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    match &config.authorities_pem {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let added = certificate.map_err(|_| no_certificates())?;
                roots.add(added).map_err(|_| no_certificates())?;
            }
        }
    }
    if roots.is_empty() { Err(no_certificates()) } else { Ok(roots) }
}

/// The connector of encrypted connections.
pub(super) fn tls(config: &PostgresConfig) -> Result<MakeRustlsConnect, StoreError> {
    let roots = roots(config)?;
    let provider = rustls::crypto::ring::default_provider().into();
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::Misconfigured(format!("no TLS for the user store: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(tls))
}

fn no_certificates() -> StoreError {
    StoreError::Misconfigured("the user store's authorities are not certificates in PEM form".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(url: &str) -> tokio_postgres::Config {
        driver_config(&PostgresConfig::new(url)).unwrap()
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_open_unasked() {
        for url in ["postgres://a@127.0.0.1/x", "postgres://a@[::1]/x", "postgres://a@localhost/x", "host=/run user=a"]
        {
            assert_eq!(driver(url).get_ssl_mode(), SslMode::Disable, "{url}");
        }
        assert_eq!(driver("postgres://a@db.example.org/x?sslmode=disable").get_ssl_mode(), SslMode::Disable);
        for url in [
            "postgres://a@db.example.org/x",
            "postgres://a@db.example.org/x?sslmode=prefer",
            "postgres://a@10.0.0.1/x",
            "postgres://a@127.0.0.1,db.example.org/x",
            "postgres://a@127.0.0.1/x?sslmode=require",
            // Where the name leads is not where it is looked for.
            "host=localhost hostaddr=10.0.0.1 user=a",
            "hostaddr=10.0.0.1 user=a",
        ] {
            assert_eq!(driver(url).get_ssl_mode(), SslMode::Require, "{url}");
        }
        assert_eq!(driver("hostaddr=127.0.0.1 user=a").get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn a_url_says_where_the_server_is() {
        for url in ["postgres://", "postgres:///x", "user=a", "host=a,b hostaddr=10.0.0.1", "host=a,b port=1,2,3"] {
            let refused = PostgresConfig::new(url).check_url().unwrap_err().to_string();
            assert!(refused.contains("does not say where the server is"), "{url}: {refused}");
        }
        for url in ["postgres://a", "host=/run user=a password=sesame", "host=a,b port=1,2", "host=a hostaddr=10.0.0.1"]
        {
            PostgresConfig::new(url).check_url().unwrap();
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let config = PostgresConfig::new("postgres://a:sesame@host/x");
        assert!(!format!("{config:?}").contains("sesame"));
        for url in ["postgress://a:sesame@host/x", "postgres://a:sesame@host:port/x", "password='sesame", "sesame"] {
            let refused = driver_config(&PostgresConfig::new(url)).unwrap_err().to_string();
            assert!(!refused.contains("sesame") && refused.contains("cannot be read"), "{refused}");
        }
    }

    #[test]
    fn the_servers_own_limits_are_asked_for_last() {
        let options =
            driver("postgres://a@localhost/x?options=-c%20statement_timeout%3D0").get_options().unwrap().to_owned();
        let (first, last) =
            (options.find("statement_timeout=0").unwrap(), options.find("statement_timeout=5000").unwrap());
        assert!(first < last, "{options}");
        assert!(options.contains("lock_timeout=2000") && options.contains("idle_in_transaction_session_timeout=8000"));
    }

    #[test]
    fn authorities_must_be_certificates() {
        for pem in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let config =
                PostgresConfig { authorities_pem: Some(pem.to_vec()), ..PostgresConfig::new("postgres://a@b/x") };
            assert!(tls(&config).is_err());
        }
        assert!(tls(&PostgresConfig::new("postgres://a@b/x")).is_ok());
    }
}
