//! What a value must be, and which values go together.

use std::net::SocketAddr;
use std::path::Path;

use toml::Value;
use tracing_subscriber::EnvFilter;

use super::fault::{Fault, Place};
use super::{Config, keys};

/// What is wrong with a key's value, if anything is.
pub(super) fn value(key: &str, value: &Value, default: &Value) -> Result<(), String> {
    let good = match (default, value) {
        (Value::Integer(_), Value::Integer(number)) => {
            let (least, most) = keys::range(key);
            (least..=most).contains(number)
        }
        (Value::Boolean(_), Value::Boolean(_)) => true,
        (Value::Array(_), Value::Array(items)) => items.iter().all(Value::is_str),
        (Value::String(default), Value::String(text)) => match key {
            "log.format" => matches!(text.as_str(), "auto" | "human" | "json"),
            "log.level" => is_level(text),
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
    must("router.advertise", &[], config.router.advertise.len() <= 255, "is at most 255 bytes");
}
