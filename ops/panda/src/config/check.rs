//! What a value must be, and which values go together.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;

use panda_storage::postgres::PostgresConfig;
use panda_storage::redis::RedisConfig;
use toml::Value;
use tracing_subscriber::EnvFilter;

use super::fault::{Fault, Place};
use super::{Config, TlsMode, keys, login_providers};

/// What is wrong with a key's value, if anything is.
pub(super) fn value(key: &str, value: &Value, default: &Value) -> Result<(), String> {
    if key == login_providers::KEY {
        return login_providers::check(value);
    }
    let good = match (default, value) {
        (Value::Integer(_), Value::Integer(number)) => {
            let (least, most) = keys::range(key);
            (least..=most).contains(number)
        }
        (Value::Boolean(_), Value::Boolean(_)) => true,
        (Value::Array(_), Value::Array(items)) => {
            items.iter().all(|item| item.as_str().is_some_and(|item| is_item(key, item)))
        }
        (Value::String(default), Value::String(text)) => match key {
            "log.format" => matches!(text.as_str(), "auto" | "human" | "json"),
            "log.level" => is_level(text),
            "users.url" => text.is_empty() || PostgresConfig::new(text.as_str()).check_url().is_ok(),
            "cache.url" => text.is_empty() || RedisConfig::new(text.as_str()).check_url().is_ok(),
            "pictures.endpoint" => text.is_empty() || is_edge(text),
            "mail.server" => text.is_empty() || is_host_and_port(text),
            "mail.tls" => matches!(text.as_str(), "starttls" | "implicit" | "none"),
            "mail.links_base" => text.is_empty() || is_edge(text),
            "router.advertise" => text.is_empty() || is_host_and_port(text),
            _ => default.parse::<SocketAddr>().is_err() || text.parse::<SocketAddr>().is_ok(),
        },
        _ => false,
    };
    if good { Ok(()) } else { Err(format!("`{key}` is {}, not {}", keys::wanted(key, default), shown(key, value))) }
}

/// A value as a fault shows it. A URL may hold a password, so its place is enough.
fn shown(key: &str, value: &Value) -> String {
    if key.ends_with(".url") { "this".to_owned() } else { value.to_string() }
}

/// Whether a text may be in the list of this key.
fn is_item(key: &str, item: &str) -> bool {
    match key {
        "commands.brokers" | "events.nodes" => is_host_and_port(item),
        "http.origins" => is_origin(item),
        "http.edges" => is_edge(item),
        _ => true,
    }
}

/// `host:port`; an IPv6 address stands in brackets.
fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    }
}

/// As a browser sends it: no path, nor a slash at the end. Apps that hold a page have schemes of their own.
fn is_origin(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    text.split_once("://")
        .is_some_and(|(scheme, place)| is_scheme(scheme) && (is_host(place) || is_host_and_port(place)))
}

/// An origin that a browser can ask.
fn is_edge(text: &str) -> bool {
    is_origin(text) && ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme))
}

/// Whether a filter of the log means what it says. Of a word alone the filter makes a part of the program, so
/// that a level with a typing error would log nothing.
fn is_level(text: &str) -> bool {
    let is_word = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let alone = |part: &str| part.contains(['=', '[']) || is_word(&part.trim().to_lowercase());
    text.split(',').all(alone) && EnvFilter::try_new(text).is_ok()
}

/// What does not go together. A key that is wrong by itself is not complained of again.
pub(super) fn together(config: &Config, place: impl Fn(&str) -> Place, faults: &mut Vec<Fault>) {
    let mut must = |key: &str, others: &[&str], holds: bool, rule: &str| {
        let known_wrong = faults.iter().any(|fault| fault.key == key || others.contains(&fault.key.as_str()));
        if !holds && !known_wrong {
            // Where one of them is set.
            let places = std::iter::once(&key).chain(others).map(|key| place(key));
            let place = places.into_iter().find(|place| *place != Place::Nowhere).unwrap_or(Place::Nowhere);
            faults.push(Fault { place, key: key.to_owned(), text: format!("`{key}` {rule}") });
        }
    };
    let pair = |certificate: &Path, key: &Path| certificate.as_os_str().is_empty() == key.as_os_str().is_empty();
    let (http, quic, links) = (&config.http, &config.quic, &config.links);
    must(
        "http.key",
        &["http.certificate"],
        pair(&http.certificate, &http.key),
        "goes with `http.certificate`: name both or none",
    );
    must(
        "quic.key",
        &["quic.certificate"],
        pair(&quic.certificate, &quic.key),
        "goes with `quic.certificate`: name both or none",
    );
    must(
        "links.certificate",
        &["links.key", "links.authorities"],
        pair(&links.certificate, &links.key) && pair(&links.certificate, &links.authorities),
        "goes with `links.key` and `links.authorities`: name all three or none",
    );
    must(
        "events.password_file",
        &["events.user"],
        config.events.user.is_empty() || !config.events.password_file.as_os_str().is_empty(),
        "is needed where `events.user` is named",
    );
    let pictures = &config.pictures;
    must(
        "pictures.bucket",
        &["pictures.folder"],
        pictures.bucket.is_empty() || pictures.folder.as_os_str().is_empty(),
        "and `pictures.folder` are two places: name one",
    );
    must(
        "pictures.secret_key_file",
        &["pictures.access_key_id"],
        pictures.bucket.is_empty()
            || !pictures.access_key_id.is_empty() && !pictures.secret_key_file.as_os_str().is_empty(),
        "and `pictures.access_key_id` are needed where `pictures.bucket` is named",
    );
    let (mail, sends) = (&config.mail, !config.mail.server.is_empty());
    must("mail.from", &["mail.server"], !sends || !mail.from.is_empty(), "is needed where `mail.server` is named");
    must(
        "mail.links_base",
        &["mail.server"],
        !sends || !mail.links_base.is_empty(),
        "is needed where `mail.server` is named: links in mails begin with it",
    );
    must(
        "mail.password_file",
        &["mail.user"],
        mail.user.is_empty() || !mail.password_file.as_os_str().is_empty(),
        "is needed where `mail.user` is named",
    );
    must(
        "mail.user",
        &["mail.tls"],
        mail.user.is_empty() || mail.tls != TlsMode::None,
        "would send its password unencrypted with `mail.tls` none: encrypt, or take the user out",
    );
    // Each is named twice in the policy of every file of the page.
    must("http.edges", &[], http.edges.len() <= 16, "names at most 16 edges: put more of them behind one name");
    must("router.advertise", &[], config.router.advertise.len() <= 255, "is at most 255 bytes");
}
