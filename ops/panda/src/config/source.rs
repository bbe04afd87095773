//! Reads the file and the environment, lays flags over them, and checks the result.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::fault::{ConfigError, Fault, Place};
use super::file::{self, Setting};
use super::{Config, check, keys, login_providers};

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

/// Reads the configuration: defaults, then the file, then `PANDA_…`, then flags.
///
/// # Errors
/// [`ConfigError`] with all that is wrong, whose text says what to change and where.
pub(crate) fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Config, ConfigError> {
    let known = keys::known();
    let (mut settings, mut faults) = match file {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|cause| ConfigError::File { path: path.to_owned(), cause })?;
            file::settings(path, &text, &known)
        }
        None => (Vec::new(), Vec::new()),
    };
    lay_variables(&mut settings, environment, &known, &mut faults);
    let mut table = Table::new();
    for Setting { key, place, value } in &settings {
        let Some((_, default)) = known.iter().find(|(name, _)| name == key) else { continue };
        match check::value(key, value, default) {
            Ok(()) => set(&mut table, key, value.clone()),
            Err(text) => faults.push(Fault { place: place.clone(), key: key.clone(), text }),
        }
    }
    let mut config: Config = match table.try_into() {
        Ok(config) => config,
        // Every value was looked at: this says that one was not looked at well enough, and which.
        Err(error) => {
            let text = error.to_string();
            faults.push(Fault { place: Place::Nowhere, key: String::new(), text });
            return Err(ConfigError::Faults(faults));
        }
    };
    if let Some(data) = &overrides.data {
        config.data.clone_from(data);
    }
    config.http.address = overrides.http.unwrap_or(config.http.address);
    config.quic.address = overrides.quic.unwrap_or(config.quic.address);
    config.router.links = overrides.links.unwrap_or(config.router.links);
    config.health.address = overrides.health.unwrap_or(config.health.address);
    // Of a file that could not be read to its end nobody knows what would have gone together.
    if faults.iter().all(|fault| !fault.key.is_empty()) {
        let place = |key: &str| {
            let setting = settings.iter().find(|setting| setting.key == key);
            setting.map_or(Place::Nowhere, |setting| setting.place.clone())
        };
        check::together(&config, place, &mut faults);
    }
    ConfigError::if_any(faults)?;
    config.places = settings.into_iter().map(|setting| (setting.key, setting.place)).collect();
    // A flag has no place to point at.
    let flags = [
        ("data", overrides.data.is_some()),
        ("http.address", overrides.http.is_some()),
        ("quic.address", overrides.quic.is_some()),
        ("router.links", overrides.links.is_some()),
        ("health.address", overrides.health.is_some()),
    ];
    for (key, _) in flags.into_iter().filter(|(_, is_given)| *is_given) {
        config.places.remove(key);
    }
    Ok(config)
}

/// Lays the variables over what the file says.
fn lay_variables(
    settings: &mut Vec<Setting>,
    environment: impl Iterator<Item = (String, String)>,
    known: &[(String, Value)],
    faults: &mut Vec<Fault>,
) {
    for (name, text) in environment {
        if let Some((key, default)) = known.iter().find(|(key, _)| keys::variable(key) == name) {
            settings.retain(|setting| setting.key != *key);
            let value = variable_value(key, &text, default);
            settings.push(Setting { key: key.clone(), place: Place::Variable(name), value });
        } else if name.starts_with(keys::VARIABLE_PREFIX) && !keys::OTHER_VARIABLES.contains(&name.as_str()) {
            let variables: Vec<String> = known.iter().map(|(key, _)| keys::variable(key)).collect();
            let nearest = keys::nearest(&name, variables.iter().map(String::as_str));
            let text = file::unknown(&name, nearest);
            faults.push(Fault { place: Place::Variable("environment".to_owned()), key: name, text });
        }
    }
}

/// A variable's text as the type that its key's default has; as a text if it is none of that type.
fn variable_value(key: &str, text: &str, default: &Value) -> Value {
    let read = match default {
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Array(_) if key == login_providers::KEY => login_providers::of_variable(text),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        _ => None,
    };
    read.unwrap_or_else(|| Value::String(text.to_owned()))
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
        assert!(error.ends_with(":2: there is no key `edge.worker`; did you mean `edge.workers`?"), "{error}");
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

    /// The faults of a text, each as what stands behind the file's name.
    fn faults(text: &str) -> Vec<String> {
        let ConfigError::Faults(faults) = load_text(text).unwrap_err() else { panic!("no faults") };
        let said = |fault: &Fault| match &fault.place {
            Place::Line(_, line) => format!("{line}: {}", fault.text),
            _ => fault.to_string(),
        };
        faults.iter().map(said).collect()
    }

    #[test]
    fn every_fault_is_told_with_its_key_and_line_and_what_is_wanted() {
        let text = "[edge]\nworkers = \"two\"\nsessions_max = -1\nheartbeat_ms = 1\n\n[commands]\nbrokers = \"h\"\n\n\
                    [http]\naddress = \"foo\"\n[log]\nformat = \"xml\"\nlevel = \"loud\"\n";
        let told = faults(text);
        let expected = [
            "2: `edge.workers` is a whole number from 0 to 1024, not \"two\"",
            "3: `edge.sessions_max` is a whole number from 1 to 100000000, not -1",
            "4: `edge.heartbeat_ms` is a whole number from 1000 to 600000, not 1",
            "7: `commands.brokers` is a list of host:port, such as [\"one.example:9092\"], not \"h\"",
            "10: `http.address` is an IP address and a port, such as 127.0.0.1:8080, not \"foo\"",
            "12: `log.format` is auto, human or json, not \"xml\"",
            "13: `log.level` is error, warn, info, debug or trace, or a list such as info,panda_router=debug, \
             not \"loud\"",
        ];
        assert_eq!(told, expected);
        let whole = load_text(text).unwrap_err().to_string();
        assert!(whole.starts_with("the configuration has 7 faults:\n  /"), "{whole}");
    }

    #[test]
    fn a_section_that_is_no_section_and_a_file_that_is_no_toml_are_told() {
        assert_eq!(faults("http = \"x\"\n"), ["1: `http` is a section: write [http] on a line and its keys below"]);
        let told = faults("data = \"/d\"\n[http\n");
        assert!(told.len() == 1 && told[0].starts_with("2: this is not TOML: "), "{told:?}");
        assert_eq!(
            faults("data = 99999999999999999999\n").len(),
            1,
            "a number that no type holds is refused like any other"
        );
    }

    #[test]
    fn what_does_not_go_together_is_told_where_it_is_set() {
        let told = faults("[http]\ncertificate = \"a.pem\"\n[links]\nkey = \"k.pem\"\n[events]\nuser = \"panda\"\n");
        assert_eq!(
            told,
            [
                "2: `http.key` goes with `http.certificate`: name both or none",
                "4: `links.certificate` goes with `links.key` and `links.authorities`: name all three or none",
                "6: `events.password_file` is needed where `events.user` is named",
            ]
        );
    }

    #[test]
    fn places_of_services_have_a_port_and_origins_no_path_and_urls_are_ones_that_the_stores_take() {
        let text = "[http]\norigins = [\"https://x.example:444\", \"x.example\"]\n[users]\nurl = \"mysql://a:sesame@x\"\n\
                    [cache]\nurl = \"memcached://x\"\n[commands]\nbrokers = [\"localhost\"]\n\
                    [events]\nnodes = [\"h1:9042\", \"::1:9042\"]\n[router]\nadvertise = \"router\"\n";
        let expected = [
            "2: `http.origins` is a list of origins without a path, such as [\"https://chat.example\"], \
             not [\"https://x.example:444\", \"x.example\"]",
            "4: `users.url` is a URL such as postgres://user:password@host:5432/database, not this",
            "6: `cache.url` is a URL such as redis://:password@host:6379/0, not this",
            "8: `commands.brokers` is a list of host:port, such as [\"one.example:9092\"], not [\"localhost\"]",
            "10: `events.nodes` is a list of host:port, such as [\"one.example:9042\"], not [\"h1:9042\", \"::1:9042\"]",
            "12: `router.advertise` is a host and a port, such as router-1.example:9700, not \"router\"",
        ];
        assert_eq!(faults(text), expected);
        load_text(
            "[http]\norigins = [\"https://x.example\", \"tauri://localhost\", \"http://[::1]:8080\"]\n\
             [users]\nurl = \"postgresql://x/panda\"\n[cache]\nurl = \"redis://x\"\n\
             [commands]\nbrokers = [\"[::1]:9092\", \"10.0.0.1:9092\"]\n[router]\nadvertise = \"r:9700\"\n",
        )
        .unwrap();
        for (section, urls) in [
            ("users", &["host=/run/postgresql user=panda", "postgres://%2Frun%2Fpostgresql/panda"][..]),
            ("cache", &["valkey+unix:///run/valkey.sock", "unix:///run/redis.sock?db=1", "valkey://x:6379/2"]),
        ] {
            for url in urls {
                load_text(&format!("[{section}]\nurl = \"{url}\"\n")).unwrap();
            }
        }
        // What the store's driver takes, in this build, is taken, and nothing else.
        for (section, urls) in [
            ("users", &["postgres://", "host=a hostaddr=b", "user=panda"][..]),
            ("cache", &["rediss://x", "valkeys://x", "redis://", "redis://x/db", "unix://"]),
        ] {
            for url in urls {
                let told = faults(&format!("[{section}]\nurl = \"{url}\"\n"));
                assert!(told.len() == 1 && told[0].ends_with(", not this"), "{url}: {told:?}");
            }
        }
        for origin in ["https://x.example/", "https://x.example/path", "https://", "https://u@x.example", "https://x:y"]
        {
            assert_eq!(faults(&format!("[http]\norigins = [\"{origin}\"]\n")).len(), 1, "{origin}");
            assert_eq!(faults(&format!("[http]\nedges = [\"{origin}\"]\n")).len(), 1, "{origin}");
        }
    }

    #[test]
    fn edges_are_what_a_browser_can_ask_and_not_more_than_a_policy_should_name() {
        let edges = |count: usize| {
            let list: Vec<_> = (0..count).map(|edge| format!("\"https://edge-{edge}.example\"")).collect();
            format!("[http]\nedges = [{}]\n", list.join(", "))
        };
        let config = load_text(&format!("{}origins = [\"tauri://localhost\"]\n", edges(16))).unwrap();
        assert_eq!(config.http.page_origins().len(), 17);
        assert_eq!(faults(&edges(17)), ["2: `http.edges` names at most 16 edges: put more of them behind one name"]);
        assert_eq!(
            faults("[http]\nedges = [\"tauri://localhost\"]\n"),
            [
                "2: `http.edges` is a list of http and https origins without a path, such as [\"https://edge-1.example\"], \
              not [\"tauri://localhost\"]"
            ]
        );
    }

    #[test]
    fn levels_of_the_log_are_known_words_or_filters() {
        for level in ["info", "WARN", "off", "info,panda_router=debug", "panda_edge=trace,error"] {
            load_text(&format!("[log]\nlevel = \"{level}\"\n")).unwrap();
        }
        for level in ["", "loud", "info,loud", "panda_router=loud"] {
            assert_eq!(faults(&format!("[log]\nlevel = \"{level}\"\n")).len(), 1, "{level}");
        }
    }

    #[test]
    fn variables_are_named_and_no_password_is_repeated() {
        let told = |name: &str, text: &str| {
            let variables = [(name.to_owned(), text.to_owned())];
            load(None, variables.into_iter(), &Overrides::default()).unwrap_err().to_string()
        };
        assert_eq!(
            told("PANDA_EDGE_WORKER", "3"),
            "environment: there is no key `PANDA_EDGE_WORKER`; did you mean `PANDA_EDGE_WORKERS`?"
        );
        assert_eq!(told("PANDA_SERVER", "x"), "environment: there is no key `PANDA_SERVER`");
        assert_eq!(
            told("PANDA_EDGE_WORKERS", "many"),
            "PANDA_EDGE_WORKERS: `edge.workers` is a whole number from 0 to 1024, not \"many\""
        );
        let told = faults("[users]\nurl = [\"postgres://ann:sesame@db/panda\"]\n");
        assert_eq!(told, ["2: `users.url` is a URL such as postgres://user:password@host:5432/database, not this"]);
    }
}
