//! Reads the configuration file key by key, so that every fault has its line.

use std::path::Path;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Place};
use super::keys;

/// A key that is set, where, and to what.
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a file sets, and what is wrong with its form or its keys.
pub(super) fn settings(path: &Path, text: &str, known: &[(String, Value)]) -> (Vec<Setting>, Vec<Fault>) {
    let mut reading = Reading { path, text, known, settings: Vec::new(), faults: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => reading.table(table.get_ref(), ""),
        Err(error) => {
            let place = reading.place(error.span().map_or(0, |span| span.start));
            // The message alone: the line itself may hold a password.
            let text = format!("this is not TOML: {}", error.message());
            reading.faults.push(Fault { place, key: String::new(), text });
        }
    }
    (reading.settings, reading.faults)
}

struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    known: &'a [(String, Value)],
    settings: Vec<Setting>,
    faults: Vec<Fault>,
}

impl Reading<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.as_bytes().iter().take(offset);
        Place::Line(self.path.to_owned(), before.filter(|byte| **byte == b'\n').count() + 1)
    }

    fn table(&mut self, table: &DeTable<'_>, section: &str) {
        for (name, value) in table {
            let key =
                if section.is_empty() { name.get_ref().to_string() } else { format!("{section}.{}", name.get_ref()) };
            let place = self.place(name.span().start);
            let is_key = self.known.iter().any(|(known, _)| *known == key);
            let is_section = self.known.iter().any(|(known, _)| within(known, &key));
            match value.get_ref() {
                DeValue::Table(inner) if !is_key && (is_section || !inner.is_empty()) => self.table(inner, &key),
                value if is_key => self.settings.push(Setting { key, place, value: plain(value) }),
                _ if is_section => {
                    let text = format!("`{key}` is a section: write [{key}] on a line and its keys below");
                    self.faults.push(Fault { place, key, text });
                }
                _ => {
                    let known = self.known.iter().map(|(name, _)| name.as_str());
                    let text = unknown(&key, keys::nearest(&key, known));
                    self.faults.push(Fault { place, key, text });
                }
            }
        }
    }
}

/// Whether `key` is in the section.
fn within(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

/// What is said of a key that is none.
pub(super) fn unknown(key: &str, nearest: Option<&str>) -> String {
    let meant = nearest.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
    format!("there is no key `{key}`{meant}")
}

/// A value without its places.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            // One that is too large for the type is shown as it is, and is in no range.
            parsed.map_or_else(|_| Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)), Value::Integer)
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(answer) => Value::Boolean(*answer),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(list) => Value::Array(list.iter().map(|item| plain(item.get_ref())).collect()),
        DeValue::Table(table) => Value::Table(
            table.iter().map(|(name, value)| (name.get_ref().to_string(), plain(value.get_ref()))).collect(),
        ),
    }
}
