//! The services of a cluster: where commands, events, users and what may be lost are kept.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use panda_link_io::tls::LinkTls;
use panda_storage::postgres::PostgresConfig;
use serde::{Deserialize, Serialize, Serializer};

/// A URL with a password in it. What is printed of it shows none.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct SecretUrl(String);

impl SecretUrl {
    /// The whole URL.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none is given.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The URL as anybody may see it. What cannot be taken apart is hidden whole.
    fn shown(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return if self.0.is_empty() { String::new() } else { "(hidden)".to_owned() };
        };
        // What follows may hold a password too.
        let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
        match rest.rsplit_once('@') {
            None => format!("{scheme}://{rest}"),
            Some((who, place)) => {
                let user = who.split_once(':').map_or(who, |(user, _)| user);
                format!("{scheme}://{user}:(hidden)@{place}")
            }
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// The command log in Kafka.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CommandsConfig {
    /// `host:port` of some brokers; none: this is no cluster.
    pub(crate) brokers: Vec<String>,
    /// Shards; fixed in an epoch of the log.
    pub(crate) shards: u16,
    /// Copies of each record when the topics are made.
    pub(crate) replicas: u16,
}

impl Default for CommandsConfig {
    fn default() -> Self {
        Self { brokers: Vec::new(), shards: 64, replicas: 3 }
    }
}

/// Events and state rows in Scylla or Cassandra.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EventsConfig {
    /// `host:port` of some nodes.
    pub(crate) nodes: Vec<String>,
    /// Where the tables are.
    pub(crate) keyspace: String,
    /// The datacenter whose quorum answers; empty: the cluster is one, and rows are copied `replicas` times in it.
    pub(crate) datacenter: String,
    /// Copies of each row, in that datacenter.
    pub(crate) replicas: u8,
    /// User name, if the cluster asks for one.
    pub(crate) user: String,
    /// A file with its password.
    pub(crate) password_file: PathBuf,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            keyspace: "panda".to_owned(),
            datacenter: String::new(),
            replicas: 3,
            user: String::new(),
            password_file: PathBuf::new(),
        }
    }
}

impl EventsConfig {
    /// The password of the user; there is one wherever a user is named.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub(crate) fn password(&self) -> anyhow::Result<String> {
        let path = self.password_file.display();
        let text =
            std::fs::read_to_string(&self.password_file).with_context(|| format!("read the password in {path}"))?;
        let password = text.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(!password.is_empty(), "there is no password in {path}");
        Ok(password.to_owned())
    }
}

/// Users in Postgres.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UsersConfig {
    /// `postgres://user:password@host:5432/database`.
    pub(crate) url: SecretUrl,
    /// A PEM file with the authorities whose certificates are believed; empty: those that browsers believe.
    pub(crate) authorities: PathBuf,
    /// Connections of this process at most.
    pub(crate) connections_max: usize,
}

impl Default for UsersConfig {
    fn default() -> Self {
        Self { url: SecretUrl::default(), authorities: PathBuf::new(), connections_max: 16 }
    }
}

impl UsersConfig {
    /// How Postgres is reached.
    ///
    /// # Errors
    /// The authorities cannot be read.
    pub(crate) fn postgres(&self) -> anyhow::Result<PostgresConfig> {
        let authorities_pem = if self.authorities.as_os_str().is_empty() {
            None
        } else {
            let path = self.authorities.display();
            Some(std::fs::read(&self.authorities).with_context(|| format!("read `users.authorities`, {path}"))?)
        };
        Ok(PostgresConfig {
            authorities_pem,
            connections_max: self.connections_max,
            ..PostgresConfig::new(self.url.expose())
        })
    }
}

/// Mutual TLS between edges, APIs and routers: all three files, or none and links that are not encrypted. PEM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LinksConfig {
    /// The authorities whose certificates the other end is believed by.
    pub(crate) authorities: PathBuf,
    /// This process's certificate chain; a router's names the host that it advertises.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
}

impl LinksConfig {
    /// TLS for links, if it is configured.
    ///
    /// # Errors
    /// Which file cannot be read or used.
    pub(crate) fn tls(&self) -> anyhow::Result<Option<LinkTls>> {
        if self.certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let read =
            |key, path: &Path| std::fs::read(path).with_context(|| format!("read `links.{key}`, {}", path.display()));
        let (authorities, certificate) =
            (read("authorities", &self.authorities)?, read("certificate", &self.certificate)?);
        let tls = LinkTls::from_pem(&authorities, &certificate, &read("key", &self.key)?);
        tls.map(Some).with_context(|| {
            let [authorities, certificate, key] =
                [&self.authorities, &self.certificate, &self.key].map(|path| path.display());
            format!("TLS of links, of {authorities}, {certificate} and {key}")
        })
    }
}

/// What may be lost, in Redis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CacheConfig {
    /// `redis://:password@host:6379/0`.
    pub(crate) url: SecretUrl,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://ann:sesame@db:5432/panda", "postgres://ann:(hidden)@db:5432/panda"),
            ("postgres://ann:ses@me@db/panda?sslmode=require&password=sesame", "postgres://ann:(hidden)@db/panda"),
            ("redis://:sesame@cache:6379/0", "redis://:(hidden)@cache:6379/0"),
            ("redis://cache:6379", "redis://cache:6379"),
            ("host=/run user=ann password=sesame", "(hidden)"),
            ("", ""),
        ] {
            let url = SecretUrl(url.to_owned());
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(serde_json::to_string(&url).unwrap(), format!("{shown:?}"));
        }
    }

    #[test]
    fn tls_of_links_is_absent_or_whole_and_a_bad_file_is_named() {
        assert!(LinksConfig::default().tls().unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["router-1.example".to_owned()]).unwrap();
        let [authorities, certificate, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.path().join(name));
        let config = LinksConfig { authorities, certificate, key };
        let refusal = || format!("{:#}", config.tls().unwrap_err());
        std::fs::write(&config.authorities, made.cert.pem()).unwrap();
        std::fs::write(&config.certificate, made.cert.pem()).unwrap();
        assert!(refusal().contains("read `links.key`"), "{}", refusal());
        std::fs::write(&config.key, made.cert.pem()).unwrap();
        assert!(refusal().contains("key.pem") && refusal().contains("no private key"), "{}", refusal());
        std::fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();
        assert!(config.tls().unwrap().is_some());
    }
}
