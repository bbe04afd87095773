//! What each role makes of a configuration: what it cannot be without, what it reads and keeps, where it listens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use panda_edge::transport::tls::Identity;

use super::fault::{ConfigError, Fault, Place};
use super::{Config, Places};

/// What a role makes of a configuration.
pub(crate) struct Demands {
    /// Keys that must be set.
    needs: &'static [&'static str],
    /// Keys of files that it reads, where they are set.
    files: &'static [&'static [&'static str]],
    /// Whether it keeps something in the data folder.
    keeps: bool,
    /// Keys of the TCP addresses on which it listens.
    listens: &'static [&'static str],
    /// Whether it refuses the services of a cluster.
    alone: Alone,
}

/// Whether a role refuses the services of a cluster.
#[derive(Clone, Copy)]
enum Alone {
    /// It stands on them.
    No,
    /// It keeps everything itself; this is how it is called.
    Yes(&'static str),
}

// Keys of files that are read together.
const FLEET: &[&str] = &["fleet_secret"];
const HTTP: &[&str] = &["http.certificate", "http.key"];
const QUIC: &[&str] = &["quic.certificate", "quic.key"];
const LINKS: &[&str] = &["links.authorities", "links.certificate", "links.key"];
const USERS: &[&str] = &["users.authorities"];
const EVENTS: &[&str] = &["events.password_file"];
const PICTURES: &[&str] = &["pictures.secret_key_file"];
const MAIL: &[&str] = &["mail.password_file", "mail.authorities"];
/// Of tables, in which the files are named.
const PROVIDERS: &[&str] = &[super::login_providers::KEY];
/// All files that a key may name.
const FILES: &[&[&str]] = &[FLEET, HTTP, QUIC, LINKS, USERS, EVENTS, PICTURES, MAIL, PROVIDERS];

impl Demands {
    /// Of `panda serve`.
    pub(crate) const SERVE: Self = Self {
        needs: &[],
        files: &[HTTP, QUIC, PICTURES, MAIL, PROVIDERS],
        keeps: true,
        listens: &["http.address", "health.address"],
        alone: Alone::Yes("panda serve"),
    };
    /// Of `panda edge`.
    pub(crate) const EDGE: Self =
        Self { files: &[FLEET, HTTP, QUIC, LINKS, USERS, PICTURES, MAIL, PROVIDERS], ..Self::API };
    /// Of `panda api`.
    pub(crate) const API: Self = Self {
        needs: &["fleet_secret", "commands.brokers", "users.url", "cache.url"],
        files: &[FLEET, HTTP, LINKS, USERS, PICTURES, MAIL, PROVIDERS],
        keeps: true,
        listens: &["http.address", "health.address"],
        alone: Alone::No,
    };
    /// Of `panda router`.
    pub(crate) const ROUTER: Self = Self {
        needs: &["fleet_secret", "commands.brokers", "events.nodes"],
        files: &[FLEET, LINKS, EVENTS],
        keeps: false,
        listens: &["router.links", "health.address"],
        alone: Alone::No,
    };
}

impl Config {
    /// Refuses what a role cannot be made of, as far as that can be seen before it starts.
    ///
    /// # Errors
    /// All keys that are missing, that are another role's, or that name what cannot be used.
    pub(crate) fn meets(&self, demands: &Demands) -> Result<(), ConfigError> {
        let mut faults = self.missing(demands.needs);
        if let Alone::Yes(role) = demands.alone {
            faults.extend(self.services(role));
        }
        faults.extend(self.unusable(demands.files));
        faults.extend(self.no_folder().filter(|_| demands.keeps));
        for (place, key) in demands.listens.iter().enumerate() {
            faults.extend(demands.listens[..place].iter().filter_map(|other| self.clash(other, key)));
        }
        ConfigError::if_any(faults)
    }

    /// Refuses what cannot be used, where nobody says which role this is for: one that uses it would refuse it.
    ///
    /// # Errors
    /// All keys that name such files or folders, or the same place twice.
    pub(crate) fn is_usable(&self) -> Result<(), ConfigError> {
        let mut faults = self.unusable(FILES);
        faults.extend(self.no_folder());
        // Of a cluster's processes each listens on some of the addresses, so defaults are no fault there.
        let is_set = |key: &str| self.places.contains_key(key);
        let alone = self.commands.brokers.is_empty();
        for (one, other) in [("http.address", "health.address"), ("router.links", "health.address")] {
            if (is_set(one) && is_set(other)) || (alone && one == "http.address") {
                faults.extend(self.clash(one, other));
            }
        }
        ConfigError::if_any(faults)
    }

    fn missing(&self, needed: &[&str]) -> Vec<Fault> {
        let all = [
            ("fleet_secret", self.fleet_secret.as_os_str().is_empty()),
            ("commands.brokers", self.commands.brokers.is_empty()),
            ("events.nodes", self.events.nodes.is_empty()),
            ("users.url", self.users.url.is_empty()),
            ("cache.url", self.cache.url.is_empty()),
        ];
        let missing = all.into_iter().filter(|(key, missing)| *missing && needed.contains(key));
        missing.map(|(key, _)| Fault::missing(key)).collect()
    }

    /// The services of a cluster, as faults of a role that would not use them.
    fn services(&self, role: &str) -> Vec<Fault> {
        let named = [
            ("fleet_secret", !self.fleet_secret.as_os_str().is_empty()),
            ("commands.brokers", !self.commands.brokers.is_empty()),
            ("events.nodes", !self.events.nodes.is_empty()),
            ("users.url", !self.users.url.is_empty()),
            ("cache.url", !self.cache.url.is_empty()),
            ("links.certificate", !self.links.certificate.as_os_str().is_empty()),
        ];
        let refused = |key: &str| {
            let text = format!(
                "`{key}` is of a cluster, and `{role}` keeps everything in its data folder: take the key out, or start \
                 `panda edge` and `panda router`"
            );
            self.fault(key, text)
        };
        named.into_iter().filter(|(_, named)| *named).map(|(key, _)| refused(key)).collect()
    }

    /// What is wrong with the files of these keys.
    fn unusable(&self, files: &[&[&'static str]]) -> Vec<Fault> {
        let keys = files.iter().flat_map(|keys| keys.iter().copied());
        let named = keys.filter(|key| !self.file(key).as_os_str().is_empty());
        let looks: Vec<(&str, Look)> = named.map(|key| (key, look(self.file(key)))).collect();
        let mut faults = Vec::new();
        for (key, look) in &looks {
            if let Look::Unreadable(why) = look {
                faults.push(
                    self.fault(
                        key,
                        format!("`{key}` is a file that cannot be read, {}: {why}", self.file(key).display()),
                    ),
                );
            }
        }
        // What is in files is looked at where all that go together can be read.
        let readable = |wanted: &[&str]| {
            wanted.iter().all(|key| looks.iter().any(|(is, look)| is == key && *look == Look::Readable))
        };
        let pem = |certificate: &Path, key: &Path| Identity::from_pem_files(certificate, key).map(drop);
        if readable(&["fleet_secret"])
            && let Err(error) = self.shared_secret()
        {
            faults.push(self.fault("fleet_secret", format!("`fleet_secret` cannot be used: {error:#}")));
        }
        for (certificate, key) in [("http.certificate", "http.key"), ("quic.certificate", "quic.key")] {
            if readable(&[certificate, key])
                && let Err(error) = pem(self.file(certificate), self.file(key))
            {
                faults.push(self.fault(certificate, format!("`{certificate}` and `{key}` cannot be used: {error}")));
            }
        }
        if readable(&["links.authorities", "links.certificate", "links.key"])
            && let Err(error) = self.links.tls()
        {
            faults.push(self.fault("links.certificate", format!("`links.certificate` cannot be used: {error:#}")));
        }
        if readable(USERS)
            && let Err(error) = self.users.postgres().and_then(|postgres| Ok(postgres.check_authorities()?))
        {
            faults.push(self.fault("users.authorities", format!("`users.authorities` cannot be used: {error:#}")));
        }
        if readable(EVENTS)
            && !self.events.user.is_empty()
            && let Err(error) = self.events.password()
        {
            faults
                .push(self.fault("events.password_file", format!("`events.password_file` cannot be used: {error:#}")));
        }
        if readable(PICTURES)
            && !self.pictures.bucket.is_empty()
            && let Err(error) = self.pictures.secret_key()
        {
            let text = format!("`pictures.secret_key_file` cannot be used: {error:#}");
            faults.push(self.fault("pictures.secret_key_file", text));
        }
        let mail_reads = |key: &str| self.file(key).as_os_str().is_empty() || readable(&[key]);
        if files.contains(&MAIL)
            && !self.mail.server.is_empty()
            && MAIL.iter().all(|key| mail_reads(key))
            && let Err(error) = self.mail.smtp()
        {
            faults.push(self.fault("mail.server", format!("`mail.server` cannot be used: {error:#}")));
        }
        for provider in self.login_providers.iter().filter(|_| files.contains(&PROVIDERS)) {
            if let Err(error) = provider.provider() {
                let key = super::login_providers::KEY;
                faults.push(self.fault(key, format!("`{key}`: {:?} cannot be used: {error:#}", provider.name)));
            }
        }
        faults
    }

    /// What stands where the data folder is to be, or one above it.
    fn no_folder(&self) -> Option<Fault> {
        let stands = |path: &Path| std::fs::metadata(path).is_ok_and(|found| !found.is_dir());
        let file = self.data.ancestors().find(|path| stands(path))?;
        Some(self.fault("data", format!("`data` names a folder, and {} is none: name another folder", file.display())))
    }

    /// Two addresses on which nobody can listen at once.
    fn clash(&self, one: &str, other: &str) -> Option<Fault> {
        let addresses = (self.listens_on(one)?, self.listens_on(other)?);
        if !are_same(addresses.0, addresses.1) {
            return None;
        }
        // Where one of them is set.
        let key = if self.places.contains_key(other) { other } else { one };
        let text = format!(
            "`{other}` is {} and `{one}` is {}: they are the same place, and each needs one of its own",
            addresses.1, addresses.0
        );
        Some(self.fault(key, text))
    }

    /// The path of a key; empty of one that is none of a file.
    fn file(&self, key: &str) -> &Path {
        let path: Option<&PathBuf> = match key {
            "fleet_secret" => Some(&self.fleet_secret),
            "http.certificate" => Some(&self.http.certificate),
            "http.key" => Some(&self.http.key),
            "quic.certificate" => Some(&self.quic.certificate),
            "quic.key" => Some(&self.quic.key),
            "links.authorities" => Some(&self.links.authorities),
            "links.certificate" => Some(&self.links.certificate),
            "links.key" => Some(&self.links.key),
            "users.authorities" => Some(&self.users.authorities),
            "events.password_file" => Some(&self.events.password_file),
            "mail.authorities" => Some(&self.mail.authorities),
            "mail.password_file" => Some(&self.mail.password_file),
            "pictures.secret_key_file" => Some(&self.pictures.secret_key_file),
            _ => None,
        };
        path.map_or_else(|| Path::new(""), PathBuf::as_path)
    }

    const fn listens_on(&self, key: &str) -> Option<SocketAddr> {
        match key.as_bytes() {
            b"http.address" => Some(self.http.address),
            b"health.address" => Some(self.health.address),
            b"router.links" => Some(self.router.links),
            _ => None,
        }
    }

    fn fault(&self, key: &str, text: String) -> Fault {
        Fault { place: place(&self.places, key), key: key.to_owned(), text }
    }
}

fn place(places: &Places, key: &str) -> Place {
    places.get(key).cloned().unwrap_or(Place::Nowhere)
}

/// What a look at a file shows.
#[derive(PartialEq, Eq)]
enum Look {
    Readable,
    /// A pipe, which can be read once: not by whoever only looks.
    NoFile,
    Unreadable(String),
}

fn look(path: &Path) -> Look {
    match std::fs::metadata(path) {
        Err(error) => Look::Unreadable(error.to_string()),
        Ok(found) if found.is_dir() => Look::Unreadable("it is a folder".to_owned()),
        Ok(found) if !found.is_file() => Look::NoFile,
        Ok(_) => std::fs::File::open(path).map_or_else(|error| Look::Unreadable(error.to_string()), |_| Look::Readable),
    }
}

/// Whether nobody can listen on both: port 0 is any free one, and an address that stands for all takes the port of each;
/// that of IPv6 takes IPv4's, too.
fn are_same(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: SocketAddr, of: SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || of.is_ipv4());
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE: Demands = Demands { needs: &["fleet_secret", "commands.brokers"], ..Demands::EDGE };

    fn told(refused: Result<(), ConfigError>) -> Vec<String> {
        let ConfigError::Faults(faults) = refused.unwrap_err() else { panic!("no faults") };
        faults.iter().map(ToString::to_string).collect()
    }

    fn set_at(config: &mut Config, keys: &[&str]) {
        for (line, key) in keys.iter().enumerate() {
            config.places.insert((*key).to_owned(), Place::Line("panda.toml".into(), line + 1));
        }
    }

    #[test]
    fn a_process_of_a_cluster_is_told_all_keys_that_it_misses() {
        let demands = Demands { needs: &["fleet_secret", "events.nodes"], files: &[], ..Demands::ROUTER };
        let told = Config::default().meets(&demands).unwrap_err().to_string();
        let keys: Vec<_> = told.lines().skip(1).filter_map(|line| line.split('`').nth(1)).collect();
        assert_eq!(keys, ["fleet_secret", "events.nodes"], "{told}");
        let mut whole = Config { fleet_secret: "secret".into(), ..Config::default() };
        whole.events.nodes = vec!["node:9042".to_owned()];
        whole.meets(&demands).unwrap();
    }

    #[test]
    fn a_role_is_told_what_it_misses_and_which_files_are_not_there_each_where_it_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { fleet_secret: folder.path().join("secret"), ..Config::default() };
        (config.http.certificate, config.http.key) = (folder.path().join("cert.pem"), folder.path().to_owned());
        set_at(&mut config, &["fleet_secret", "http.certificate", "http.key"]);
        let said = told(config.meets(&EDGE));
        for (said, start) in said.iter().zip([
            "panda.toml:1: `fleet_secret` is a file that cannot be read, /",
            "panda.toml:2: `http.certificate` is a file that cannot be read, /",
            "panda.toml:3: `http.key` is a file that cannot be read, /",
            "`commands.brokers` is needed for a process of a cluster",
        ]) {
            assert!(said.starts_with(start), "{said}");
        }
        assert_eq!((said.len(), told(config.is_usable()).len()), (4, 3), "{said:?}");
    }

    #[test]
    fn what_is_in_a_file_is_looked_at_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { fleet_secret: folder.path().join("secret"), ..Config::default() };
        (config.http.certificate, config.http.key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["chat.example".to_owned()]).unwrap();
        std::fs::write(&config.fleet_secret, "short").unwrap();
        std::fs::write(&config.http.certificate, made.cert.pem()).unwrap();
        std::fs::write(&config.http.key, "no key").unwrap();
        set_at(&mut config, &["fleet_secret", "http.certificate"]);
        let said = told(config.is_usable());
        assert!(said.len() == 2 && said[0].starts_with("panda.toml:1: `fleet_secret` cannot be used: "), "{said:?}");
        assert!(said[1].starts_with("panda.toml:2: `http.certificate` and `http.key` cannot be used: "), "{said:?}");
        std::fs::write(&config.fleet_secret, "0f".repeat(32)).unwrap();
        std::fs::write(&config.http.key, made.signing_key.serialize_pem()).unwrap();
        config.is_usable().unwrap();
    }

    #[test]
    fn authorities_are_certificates_and_a_password_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        (config.users.authorities, config.events.password_file) =
            (folder.path().join("ca.pem"), folder.path().join("pw"));
        config.events.user = "panda".to_owned();
        std::fs::write(&config.users.authorities, "no certificate").unwrap();
        for empty in [&b""[..], b"\r\n", b"\xff\n"] {
            std::fs::write(&config.events.password_file, empty).unwrap();
            let said = told(config.is_usable());
            assert!(said.len() == 2 && said[0].starts_with("`users.authorities` cannot be used: "), "{said:?}");
            assert!(said[1].starts_with("`events.password_file` cannot be used: "), "{said:?}");
        }
        let made = rcgen::generate_simple_self_signed(["chat.example".to_owned()]).unwrap();
        std::fs::write(&config.users.authorities, made.cert.pem()).unwrap();
        std::fs::write(&config.events.password_file, "sesame\n").unwrap();
        config.is_usable().unwrap();
        assert_eq!(config.events.password().unwrap(), "sesame");
    }

    #[test]
    fn a_file_in_the_place_of_the_data_folder_is_told_to_who_keeps_something() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for data in [file.clone(), file.join("below")] {
            let mut config = Config { data, ..Config::default() };
            set_at(&mut config, &["data"]);
            let expected =
                format!("panda.toml:1: `data` names a folder, and {} is none: name another folder", file.display());
            assert_eq!(told(config.is_usable()), [&*expected]);
            assert_eq!(told(config.meets(&Demands::SERVE)), [&*expected]);
            assert!(told(config.meets(&Demands::EDGE)).contains(&expected));
            config.meets(&Demands { needs: &[], ..Demands::ROUTER }).unwrap();
        }
        Config { data: folder.path().join("new/data"), ..Config::default() }.meets(&Demands::SERVE).unwrap();
    }

    #[test]
    fn keys_of_a_cluster_are_told_to_who_stands_alone_where_they_are_set() {
        let mut config = Config::default();
        config.commands.brokers = vec!["broker:9092".to_owned()];
        set_at(&mut config, &["commands.brokers"]);
        let said = told(config.meets(&Demands::SERVE));
        assert!(said.len() == 1 && said[0].starts_with("panda.toml:1: `commands.brokers` is of a cluster"), "{said:?}");
        config.is_usable().unwrap();
    }

    #[test]
    fn addresses_of_a_role_are_different_places() {
        let with = |http: &str, health: &str| {
            let mut config = Config::default();
            (config.http.address, config.health.address) = (http.parse().unwrap(), health.parse().unwrap());
            set_at(&mut config, &["http.address", "health.address"]);
            config
        };
        let same = [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:9600", "127.0.0.1:9600"),
            ("[::1]:1", "[::]:1"),
            ("0.0.0.0:1", "[::]:1"),
            ("[::]:1", "127.0.0.1:1"),
        ];
        for (http, health) in same {
            let text = format!(
                "panda.toml:2: `health.address` is {health} and `http.address` is {http}: they are the same place, and \
                 each needs one of its own"
            );
            assert_eq!(told(with(http, health).is_usable()), [text]);
        }
        for (http, health) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:1", "127.0.0.2:1"),
            ("0.0.0.0:1", "0.0.0.0:2"),
            ("0.0.0.0:1", "[::1]:1"),
        ] {
            with(http, health).is_usable().unwrap();
        }
        let mut router = with("127.0.0.1:9600", "127.0.0.1:9600");
        let said = told(router.meets(&Demands { needs: &[], files: &[], ..EDGE }));
        assert!(said.len() == 1 && said[0].contains("they are the same place"), "{said:?}");
        // A router has no HTTP API, so only its links count.
        let demands = Demands { needs: &[], files: &[], ..Demands::ROUTER };
        router.meets(&demands).unwrap();
        router.router.links = router.health.address;
        assert_eq!(told(router.meets(&demands)).len(), 1);
    }
}
