//! Which keys there are, and which one an unknown key was meant to be.

use toml::{Table, Value};

use super::Config;

/// What every variable of this project begins with.
pub(super) const VARIABLE_PREFIX: &str = "PANDA_";
/// Variables that are no keys: the configuration's own path, the terminal client's password, and the
/// variables of the tests.
pub(super) const OTHER_VARIABLES: [&str; 10] = [
    "PANDA_CONFIG",
    "PANDA_PASSWORD",
    "PANDA_CLUSTERS",
    "PANDA_VECTORS",
    "PANDA_SIM_SEED",
    "PANDA_SIM_SEEDS",
    "PANDA_TEST_KAFKA",
    "PANDA_TEST_CASSANDRA",
    "PANDA_TEST_POSTGRES",
    "PANDA_TEST_REDIS",
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

/// Every key that a file sets.
pub(super) fn of(table: &Table) -> Vec<(String, Value)> {
    let mut keys = Vec::new();
    collect(table, "", &mut keys);
    keys
}

/// The environment variable of a key: `edge.workers` is `PANDA_EDGE_WORKERS`.
pub(super) fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The known key that looks most like `key`, if any does.
pub(super) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}
