//! What is configured of the cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::error::StoreError;

/// Characters of a keyspace's name.
const KEYSPACE_CHARACTERS_MAX: usize = 48;
/// Copies of each row in one datacenter.
const REPLICATION_FACTOR_MAX: u8 = 9;

/// How rows are copied to nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// One datacenter, nodes taken as they come: for tests and small clusters.
    Simple {
        /// Copies of each row.
        factor: u8,
    },
    /// Copies of each row in each named datacenter (`NetworkTopologyStrategy`).
    Datacenters(BTreeMap<String, u8>),
}

impl Replication {
    /// As it stands in CQL.
    pub(super) fn to_cql(&self) -> String {
        match self {
            Self::Simple { factor } => format!("{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}"),
            Self::Datacenters(factors) => {
                let factors: String = factors.iter().map(|(name, factor)| format!(", '{name}': {factor}")).collect();
                format!("{{'class': 'NetworkTopologyStrategy'{factors}}}")
            }
        }
    }
}

/// How to reach the cluster and what to expect of it.
#[derive(Clone)]
pub struct ScyllaConfig {
    /// `host:port` of some nodes; the others are learnt from them.
    pub nodes: Vec<String>,
    /// Where the tables are: lower-case letters, digits and `_`, at most 48.
    pub keyspace: String,
    /// How rows are copied; must be what the keyspace has, and makes it if there is none.
    pub replication: Replication,
    /// The datacenter whose quorum answers. Every router names the same one: a quorum of another may
    /// lack what this one has confirmed. Needed with [`Replication::Datacenters`].
    pub datacenter: Option<String>,
    /// User name and password, if the cluster asks for them.
    pub credentials: Option<(String, String)>,
    /// After so long a request is given up: [`StoreError::Unavailable`].
    pub request_timeout: Duration,
    /// Writes and reads on their way at once, each; more wait.
    pub requests_in_flight_max: usize,
    /// Writes and reads that wait, each; one more is refused.
    pub requests_waiting_max: usize,
    /// A process that makes or migrates the tables is taken for dead after so long.
    pub migration_lease: Duration,
}

impl ScyllaConfig {
    /// The usual settings.
    pub fn new(nodes: Vec<String>, keyspace: String, replication: Replication) -> Self {
        Self {
            nodes,
            keyspace,
            replication,
            datacenter: None,
            credentials: None,
            request_timeout: Duration::from_secs(5),
            requests_in_flight_max: 512,
            requests_waiting_max: 8_192,
            migration_lease: Duration::from_secs(60),
        }
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        let refuse = |why: String| Err(StoreError::Misconfigured(why));
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if self.nodes.is_empty() {
            return refuse("no node of the event store is named: name one as host:port".into());
        }
        if !self.keyspace.bytes().all(word)
            || !self.keyspace.starts_with(|first: char| first.is_ascii_lowercase())
            || self.keyspace.len() > KEYSPACE_CHARACTERS_MAX
        {
            return refuse(format!(
                "{:?} cannot be a keyspace: use a lower-case letter, then lower-case letters, digits and _, \
                 {KEYSPACE_CHARACTERS_MAX} in all",
                self.keyspace
            ));
        }
        let factors: Vec<u8> = match &self.replication {
            Replication::Simple { factor } => vec![*factor],
            Replication::Datacenters(factors) => factors.values().copied().collect(),
        };
        if factors.is_empty() || factors.iter().any(|factor| !(1..=REPLICATION_FACTOR_MAX).contains(factor)) {
            return refuse(format!("a replication factor is 1 to {REPLICATION_FACTOR_MAX}"));
        }
        if let Replication::Datacenters(factors) = &self.replication {
            if !self.datacenter.as_ref().is_some_and(|datacenter| factors.contains_key(datacenter)) {
                return refuse("name the datacenter of the routers, one of those that have replicas".into());
            }
            let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            if let Some(name) = factors.keys().find(|name| name.is_empty() || !name.bytes().all(named)) {
                return refuse(format!("{name:?} cannot be a datacenter: use letters, digits, _, - and ."));
            }
        }
        if self.requests_in_flight_max == 0 || self.request_timeout.is_zero() {
            return refuse("requests to the event store need a place and time".into());
        }
        Ok(())
    }
}

impl fmt::Debug for ScyllaConfig {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScyllaConfig")
            .field("nodes", &self.nodes)
            .field("keyspace", &self.keyspace)
            .field("replication", &self.replication)
            .field("datacenter", &self.datacenter)
            .field("user", &self.credentials.as_ref().map(|(user, _)| user))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ScyllaConfig {
        ScyllaConfig::new(vec!["127.0.0.1:9042".into()], "panda".into(), Replication::Simple { factor: 1 })
    }

    fn in_datacenters(factors: &[(&str, u8)], home: Option<&str>) -> ScyllaConfig {
        let factors = factors.iter().map(|(name, factor)| ((*name).into(), *factor)).collect();
        let replication = Replication::Datacenters(factors);
        ScyllaConfig { replication, datacenter: home.map(Into::into), ..config() }
    }

    #[test]
    fn what_cannot_be_right_is_refused_before_anything_is_asked() {
        config().check().unwrap();
        in_datacenters(&[("east", 3), ("west-2", 3)], Some("east")).check().unwrap();
        let simple = |factor| Replication::Simple { factor };
        let wrong = [
            ScyllaConfig { nodes: Vec::new(), ..config() },
            ScyllaConfig { keyspace: String::new(), ..config() },
            ScyllaConfig { keyspace: "Panda".into(), ..config() },
            ScyllaConfig { keyspace: "p; DROP TABLE users".into(), ..config() },
            ScyllaConfig { keyspace: "p".repeat(49), ..config() },
            ScyllaConfig { replication: simple(0), ..config() },
            ScyllaConfig { replication: simple(10), ..config() },
            ScyllaConfig { requests_in_flight_max: 0, ..config() },
            ScyllaConfig { request_timeout: Duration::ZERO, ..config() },
            in_datacenters(&[], None),
            in_datacenters(&[("east", 3)], None),
            in_datacenters(&[("east", 3)], Some("west")),
            in_datacenters(&[("east", 3), ("w'st", 3)], Some("east")),
        ];
        for config in wrong {
            assert!(matches!(config.check(), Err(StoreError::Misconfigured(_))), "{config:?}");
        }
    }

    #[test]
    fn replication_stands_in_cql_as_it_was_named() {
        let simple = Replication::Simple { factor: 1 };
        assert_eq!(simple.to_cql(), "{'class': 'SimpleStrategy', 'replication_factor': 1}");
        let factors = in_datacenters(&[("east", 3), ("west", 2)], None).replication;
        assert_eq!(factors.to_cql(), "{'class': 'NetworkTopologyStrategy', 'east': 3, 'west': 2}");
    }

    #[test]
    fn a_password_is_not_printed() {
        let config = ScyllaConfig { credentials: Some(("panda".into(), "bamboo".into())), ..config() };
        assert!(!format!("{config:?}").contains("bamboo"));
    }
}
