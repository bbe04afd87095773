//! Reads the file and the environment, lays flags over them, and checks the result.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, keys};

/// What flags say; they win over file and environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// `--data`
    pub(crate) data: Option<PathBuf>,
    /// `--http`
    pub(crate) http: Option<SocketAddr>,
    /// `--quic`
    pub(crate) quic: Option<SocketAddr>,
    /// `--health`
    pub(crate) health: Option<SocketAddr>,
    /// `--links`
    pub(crate) links: Option<SocketAddr>,
}

/// Why there is no configuration, in a sentence that says what to change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is no TOML, or a value has the wrong type.
    #[error("{place}: {cause}")]
    Value {
        /// The file or variable.
        place: String,
        /// What is wrong.
        cause: String,
    },
    /// There is no such key.
    #[error("{place}: there is no key `{key}`{}", .nearest.as_ref().map(|known| format!("; did you mean `{known}`?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        place: String,
        /// What it says.
        key: String,
        /// What may be meant.
        nearest: Option<String>,
    },
    /// Values that do not go together, or are out of range.
    #[error("`{key}` {rule}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it must be.
        rule: String,
    },
}

impl ConfigError {
    /// A key that a cluster needs.
    pub(crate) fn missing(key: &'static str) -> Self {
        Self::Range { key, rule: "is needed for a process of a cluster; README.md lists the keys".to_owned() }
    }
}

/// Reads the configuration: defaults, then the file, then `PANDA_…`, then flags.
///
/// # Errors
/// [`ConfigError`], whose text says what to change and where.
pub(crate) fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Config, ConfigError> {
    let known = keys::known();
    let mut table = match file {
        Some(path) => read(path, &known)?,
        None => Table::new(),
    };
    lay_variables(&mut table, environment, &known)?;
    let place = file.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string());
    let mut config: Config = table
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::Value { place, cause: error.message().to_owned() })?;
    if let Some(data) = &overrides.data {
        config.data.clone_from(data);
    }
    config.http.address = overrides.http.unwrap_or(config.http.address);
    config.quic.address = overrides.quic.unwrap_or(config.quic.address);
    config.router.links = overrides.links.unwrap_or(config.router.links);
    config.health.address = overrides.health.unwrap_or(config.health.address);
    check(&config)?;
    Ok(config)
}

/// Lays the variables over what the file says.
fn lay_variables(
    table: &mut Table,
    environment: impl Iterator<Item = (String, String)>,
    known: &[(String, Value)],
) -> Result<(), ConfigError> {
    for (name, text) in environment {
        if let Some((key, default)) = known.iter().find(|(key, _)| keys::variable(key) == name) {
            let value = parse_variable(&text, default).map_err(|cause| ConfigError::Value { place: name, cause })?;
            set(table, key, value);
        } else if name.starts_with(keys::VARIABLE_PREFIX) && !keys::OTHER_VARIABLES.contains(&name.as_str()) {
            let variables: Vec<String> = known.iter().map(|(key, _)| keys::variable(key)).collect();
            let nearest = keys::nearest(&name, variables.iter().map(String::as_str)).map(str::to_owned);
            return Err(ConfigError::UnknownKey { place: "environment".to_owned(), key: name, nearest });
        }
    }
    Ok(())
}

fn read(path: &Path, known: &[(String, Value)]) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::File { path: path.to_owned(), cause })?;
    let place = path.display().to_string();
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| ConfigError::Value { place: place.clone(), cause: error.to_string() })?;
    for (key, _) in keys::of(&table) {
        if !known.iter().any(|(name, _)| *name == key) {
            let nearest = keys::nearest(&key, known.iter().map(|(name, _)| name.as_str())).map(str::to_owned);
            return Err(ConfigError::UnknownKey { place, key, nearest });
        }
    }
    Ok(table)
}

/// A variable's text, read as the type that its key's default has.
fn parse_variable(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::Integer(_) => text.parse().map(Value::Integer).map_err(|_| format!("`{text}` is not a whole number")),
        Value::Boolean(_) => {
            text.parse().map(Value::Boolean).map_err(|_| format!("`{text}` is neither true nor false"))
        }
        Value::Array(_) => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        )),
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn check(config: &Config) -> Result<(), ConfigError> {
    let range = |key, holds: bool, rule: &str| {
        if holds { Ok(()) } else { Err(ConfigError::Range { key, rule: rule.to_owned() }) }
    };
    let edge = &config.edge;
    range("edge.workers", edge.workers <= 1024, "is at most 1024")?;
    range("edge.sessions_max", edge.sessions_max >= 1, "is at least 1")?;
    range("edge.handshakes_max", edge.handshakes_max >= 1, "is at least 1")?;
    range("edge.connections_per_address_max", edge.connections_per_address_max >= 1, "is at least 1")?;
    range("edge.handshake_timeout_ms", (100..=600_000).contains(&edge.handshake_timeout_ms), "is 100 to 600000")?;
    range("edge.heartbeat_ms", (1_000..=600_000).contains(&edge.heartbeat_ms), "is 1000 to 600000")?;
    range(
        "edge.outbox_bytes_max",
        edge.outbox_bytes_max >= 128 * 1024,
        "is at least 131072: two of the largest frames",
    )?;
    range(
        "edge.subscriptions_max",
        (1..=panda_protocol::limits::SUBSCRIPTIONS_MAX).contains(&edge.subscriptions_max),
        "is 1 to 10000",
    )?;
    range("edge.commands_per_second", edge.commands_per_second >= 1, "is at least 1")?;
    range("edge.drain_ms", edge.drain_ms <= 3_600_000, "is at most 3600000")?;
    range("router.threads", (1..=64).contains(&config.router.threads), "is 1 to 64")?;
    range("router.shard_queue_max", (16..=1_048_576).contains(&config.router.shard_queue_max), "is 16 to 1048576")?;
    range("api.threads", (1..=64).contains(&config.api.threads), "is 1 to 64")?;
    range("api.hash_threads", (1..=64).contains(&config.api.hash_threads), "is 1 to 64")?;
    range("api.hash_queue_max", (1..=65_536).contains(&config.api.hash_queue_max), "is 1 to 65536")?;
    range("api.connections_max", config.api.connections_max >= 1, "is at least 1")?;
    range("commands.shards", (1..=4_096).contains(&config.commands.shards), "is 1 to 4096")?;
    range("commands.replicas", (1..=9).contains(&config.commands.replicas), "is 1 to 9")?;
    range("users.connections_max", (1..=1_000).contains(&config.users.connections_max), "is 1 to 1000")?;
    range("router.advertise", config.router.advertise.len() <= 255, "is at most 255 bytes")?;
    range("api.token_lifetime_s", (60..=604_800).contains(&config.api.token_lifetime_s), "is 60 to 604800")?;
    let pair = |certificate: &Path, key: &Path| certificate.as_os_str().is_empty() == key.as_os_str().is_empty();
    range(
        "http.key",
        pair(&config.http.certificate, &config.http.key),
        "goes with `http.certificate`: name both or none",
    )?;
    range(
        "quic.key",
        pair(&config.quic.certificate, &config.quic.key),
        "goes with `quic.certificate`: name both or none",
    )?;
    let links = &config.links;
    range(
        "links.certificate",
        pair(&links.certificate, &links.key) && pair(&links.certificate, &links.authorities),
        "goes with `links.key` and `links.authorities`: name all three or none",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn load_text(text: &str) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(Some(file.path()), std::iter::empty(), &Overrides::default())
    }

    #[test]
    fn no_file_gives_the_defaults() {
        assert_eq!(load(None, std::iter::empty(), &Overrides::default()).unwrap(), Config::default());
    }

    #[test]
    fn unknown_key_is_refused_and_names_the_nearest() {
        let error = load_text("[edge]\nworker = 3\n").unwrap_err().to_string();
        assert!(error.ends_with("there is no key `edge.worker`; did you mean `edge.workers`?"), "{error}");
        let error = load_text("zzz = 3\n").unwrap_err().to_string();
        assert!(error.ends_with("there is no key `zzz`"), "{error}");
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"data = \"/from/file\"\n[edge]\nworkers = 3\n[http]\naddress = \"127.0.0.1:1\"\n").unwrap();
        let variables = [
            ("PANDA_EDGE_WORKERS", "4"),
            ("PANDA_HTTP_ADDRESS", "127.0.0.1:2"),
            ("PANDA_HTTP_ORIGINS", "https://a.example, https://b.example"),
        ];
        let overrides = Overrides { http: Some("127.0.0.1:3".parse().unwrap()), ..Overrides::default() };
        let config = load(
            Some(file.path()),
            variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())),
            &overrides,
        )
        .unwrap();
        assert_eq!(config.data, Path::new("/from/file"));
        assert_eq!(config.edge.workers, 4);
        assert_eq!(config.http.address.port(), 3);
        assert_eq!(config.http.origins, ["https://a.example", "https://b.example"]);
    }

    #[test]
    fn wrong_types_and_ranges_are_refused_with_the_key() {
        assert!(load_text("[edge]\nworkers = \"many\"\n").is_err());
        let error = load_text("[edge]\nheartbeat_ms = 1\n").unwrap_err().to_string();
        assert_eq!(error, "`edge.heartbeat_ms` is 1000 to 600000");
        let error = load_text("[http]\ncertificate = \"a.pem\"\n").unwrap_err().to_string();
        assert!(error.contains("name both or none"), "{error}");
        for some in
            ["authorities = \"a\"", "certificate = \"a\"\nkey = \"a\"", "authorities = \"a\"\ncertificate = \"a\""]
        {
            let error = load_text(&format!("[links]\n{some}\n")).unwrap_err().to_string();
            assert!(error.contains("name all three or none"), "{error}");
        }
        let variables = [("PANDA_EDGE_WORKER".to_owned(), "3".to_owned())];
        let error = load(None, variables.into_iter(), &Overrides::default()).unwrap_err().to_string();
        assert_eq!(error, "environment: there is no key `PANDA_EDGE_WORKER`; did you mean `PANDA_EDGE_WORKERS`?");
        let variables = [("PANDA_EDGE_WORKERS".to_owned(), "many".to_owned())];
        let error = load(None, variables.into_iter(), &Overrides::default()).unwrap_err().to_string();
        assert_eq!(error, "PANDA_EDGE_WORKERS: `many` is not a whole number");
    }
}
