//! Which keys there are, what each takes, and which one an unknown key was meant to be.

use std::net::SocketAddr;

use toml::{Table, Value};

use super::{Config, login_providers};

/// What every variable of this project begins with.
pub(super) const VARIABLE_PREFIX: &str = "PANDA_";
/// Variables that are no keys: the configuration's own path, the terminal client's password, where a heap profile goes,
/// and the variables of the tests.
pub(super) const OTHER_VARIABLES: [&str; 14] = [
    "PANDA_CONFIG",
    "PANDA_PASSWORD",
    "PANDA_CLUSTERS",
    "PANDA_BUILD",
    "PANDA_HEAP_PROFILE",
    "PANDA_VECTORS",
    "PANDA_SIM_SEED",
    "PANDA_SIM_SEEDS",
    "PANDA_HISTORIES",
    "PANDA_TEST_KAFKA",
    "PANDA_TEST_CASSANDRA",
    "PANDA_TEST_POSTGRES",
    "PANDA_TEST_REDIS",
    "PANDA_TEST_S3",
];
/// How like a known key an unknown one must be to be taken for it; 1 is the same.
const LIKENESS_MIN: f64 = 0.85;

/// The most subscriptions of a session, as the protocol has it.
const SUBSCRIPTIONS_MAX: i64 = 10_000;
const _: () = assert!(panda_protocol::limits::SUBSCRIPTIONS_MAX == 10_000);

/// The least and most of every whole number.
const RANGES: [(&str, i64, i64); 25] = [
    ("api.connections_max", 1, 1_000_000),
    ("api.hash_queue_max", 1, 65_536),
    ("api.hash_threads", 1, 64),
    ("api.login_idle_s", 3_600, 31_536_000),
    ("api.login_lifetime_s", 3_600, 315_360_000),
    ("api.refresh_grace_s", 0, 3_600),
    ("api.threads", 1, 64),
    ("api.token_lifetime_s", 60, 604_800),
    ("commands.replicas", 1, 9),
    ("commands.shards", 1, 4_096),
    ("edge.commands_per_second", 1, u32::MAX as i64),
    ("edge.connections_per_address_max", 1, 100_000_000),
    ("edge.drain_ms", 0, 3_600_000),
    ("edge.handshake_timeout_ms", 100, 600_000),
    ("edge.handshakes_max", 1, 100_000_000),
    ("edge.heartbeat_ms", 1_000, 600_000),
    ("edge.http_connections_per_address_max", 1, 1_000_000),
    // Two of the largest frames.
    ("edge.outbox_bytes_max", 131_072, 1_073_741_824),
    ("edge.sessions_max", 1, 100_000_000),
    ("edge.subscriptions_max", 1, SUBSCRIPTIONS_MAX),
    ("edge.workers", 0, 1_024),
    ("events.replicas", 1, 255),
    ("router.shard_queue_max", 16, 1_048_576),
    ("router.threads", 1, 64),
    ("users.connections_max", 1, 1_000),
];

/// Every key with its default, as `section.key`, in the order of the names.
pub(super) fn known() -> Vec<(String, Value)> {
    let mut keys = Vec::new();
    if let Ok(Value::Table(table)) = Value::try_from(Config::default()) {
        collect(&table, "", &mut keys);
    }
    keys
}

fn collect(table: &Table, prefix: &str, keys: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => collect(inner, &key, keys),
            other => keys.push((key, other.clone())),
        }
    }
}

/// The least and most of a whole number.
pub(super) fn range(key: &str) -> (i64, i64) {
    RANGES.iter().find(|(name, ..)| *name == key).map_or((0, i64::MAX), |(_, least, most)| (*least, *most))
}

/// What a key takes, in words.
pub(super) fn wanted(key: &str, default: &Value) -> String {
    match default {
        Value::Integer(_) => {
            let (least, most) = range(key);
            format!("a whole number from {least} to {most}")
        }
        Value::Boolean(_) => "true or false".to_owned(),
        Value::Array(_) if key == "commands.brokers" => {
            "a list of host:port, such as [\"one.example:9092\"]".to_owned()
        }
        Value::Array(_) if key == "events.nodes" => "a list of host:port, such as [\"one.example:9042\"]".to_owned(),
        Value::Array(_) if key == "http.origins" => {
            "a list of origins without a path, such as [\"https://chat.example\"]".to_owned()
        }
        Value::Array(_) if key == "http.edges" => {
            "a list of http and https origins without a path, such as [\"https://edge-1.example\"]".to_owned()
        }
        Value::Array(_) if key == login_providers::KEY => login_providers::WANTED.to_owned(),
        Value::Array(_) => "a list of texts in brackets, such as [\"one\", \"two\"]".to_owned(),
        Value::String(text) if text.parse::<SocketAddr>().is_ok() => {
            format!("an IP address and a port, such as {text}")
        }
        _ if key == "users.url" => "a URL such as postgres://user:password@host:5432/database".to_owned(),
        _ if key == "cache.url" => "a URL such as redis://:password@host:6379/0".to_owned(),
        _ if key == "router.advertise" => "a host and a port, such as router-1.example:9700".to_owned(),
        _ if key == "pictures.endpoint" => "a URL such as https://storage.example:9000".to_owned(),
        _ if key == "mail.server" => "a host and a port, such as mail.example:587".to_owned(),
        _ if key == "mail.tls" => "starttls, implicit or none".to_owned(),
        _ if key == "mail.from" => "a mail address, such as Panda <panda@chat.example>".to_owned(),
        _ if key == "mail.links_base" => "the origin of the page, such as https://chat.example".to_owned(),
        _ if key == "log.format" => "auto, human or json".to_owned(),
        _ if key == "log.level" => {
            "error, warn, info, debug or trace, or a list such as info,panda_router=debug".to_owned()
        }
        _ => "a text in quotation marks".to_owned(),
    }
}

/// The environment variable of a key: `edge.workers` is `PANDA_EDGE_WORKERS`.
pub(super) fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The known key that looks most like `key`, if any does.
pub(super) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // What all variables begin with makes none alike.
    let bare = |name: &'a str| name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name);
    let key = key.strip_prefix(VARIABLE_PREFIX).unwrap_or(key);
    known
        .map(|candidate| (strsim::jaro_winkler(key, bare(candidate)), candidate))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_number_has_a_range_with_its_default_in_it() {
        let numbers: Vec<_> =
            known().into_iter().filter_map(|(key, value)| value.as_integer().map(|number| (key, number))).collect();
        assert_eq!(numbers.len(), RANGES.len());
        for (key, default) in numbers {
            let (_, least, most) = RANGES.iter().find(|(name, ..)| *name == key).unwrap_or_else(|| panic!("{key}"));
            assert!((*least..=*most).contains(&default), "{key}");
        }
    }

    /// The reference has a row for each key, in the order of the names, with its default and its range.
    #[test]
    fn the_document_has_every_key_with_its_default_and_range() {
        let document = include_str!("../../CONFIG.md");
        let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
        let shown = |value: &Value| match value {
            Value::String(text) if text.is_empty() => "empty".to_owned(),
            Value::Array(list) if list.is_empty() => "none".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let expected: Vec<String> = known()
            .iter()
            .map(|(key, default)| match default {
                Value::Integer(_) => {
                    let (least, most) = range(key);
                    format!("| `{key}` | {} | {least} to {most} | ", shown(default))
                }
                Value::Array(_) if key == login_providers::KEY => {
                    format!("| `{key}` | {} | list of tables | ", shown(default))
                }
                Value::Array(_) => format!("| `{key}` | {} | list of texts | ", shown(default)),
                Value::Boolean(_) => format!("| `{key}` | {} | true or false | ", shown(default)),
                Value::String(text) if text.parse::<SocketAddr>().is_ok() => {
                    format!("| `{key}` | {} | IP address and port | ", shown(default))
                }
                _ => format!("| `{key}` | {} | text | ", shown(default)),
            })
            .collect();
        assert_eq!(rows.len(), expected.len(), "rows of CONFIG.md");
        for (row, expected) in rows.iter().zip(&expected) {
            assert!(row.starts_with(expected), "CONFIG.md says\n{row}\nand not\n{expected}");
            assert!(row.len() > expected.len() + 8, "no meaning: {row}");
        }
    }
}
