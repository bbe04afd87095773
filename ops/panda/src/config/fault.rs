//! What is wrong with a configuration: where it is said, which key, what is wanted.

use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A line of the file, counted from 1.
    Line(PathBuf, usize),
    /// A variable of the environment.
    Variable(String),
    /// The default, or a flag: nothing to point at.
    Nowhere,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) place: Place,
    /// The key, as `section.key`; empty if it is none.
    pub(crate) key: String,
    /// A sentence that names the key and says what is wanted.
    pub(crate) text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line(path, line) => write!(f, "{}:{line}: ", path.display())?,
            Place::Variable(name) => write!(f, "{name}: ")?,
            Place::Nowhere => {}
        }
        f.write_str(&self.text)
    }
}

/// Why there is no configuration, in sentences that say what to change.
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
    /// All that is wrong with it; at least one.
    #[error("{}", listed(.0))]
    Faults(Vec<Fault>),
}

impl ConfigError {
    /// Refuses if anything is wrong.
    ///
    /// # Errors
    /// All of `faults`, if there are any.
    pub(crate) fn if_any(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self::Faults(faults)) }
    }

    /// A key that a cluster needs.
    pub(crate) fn missing(key: &str) -> Self {
        Self::Faults(vec![Fault::missing(key)])
    }
}

impl Fault {
    /// A key that a cluster needs.
    pub(crate) fn missing(key: &str) -> Self {
        let text = format!("`{key}` is needed for a process of a cluster; README.md lists the keys");
        Self { place: Place::Nowhere, key: key.to_owned(), text }
    }
}

/// One fault is a line, several are a list under a line that counts them.
fn listed(faults: &[Fault]) -> String {
    match faults {
        [fault] => fault.to_string(),
        faults => {
            let lines: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
            format!("the configuration has {} faults:{lines}", faults.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn a_process_of_a_cluster_is_told_all_keys_that_it_misses() {
        let told = Config::default().need(&["fleet_secret", "events.nodes"]).unwrap_err().to_string();
        let keys: Vec<_> = told.lines().skip(1).filter_map(|line| line.split('`').nth(1)).collect();
        assert_eq!(keys, ["fleet_secret", "events.nodes"], "{told}");
        let whole = Config { fleet_secret: "secret".into(), ..Config::default() };
        whole.need(&["fleet_secret"]).unwrap();
    }
}
