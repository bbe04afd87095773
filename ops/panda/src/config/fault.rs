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
    pub(crate) fn if_any(mut faults: Vec<Fault>) -> Result<(), Self> {
        // As they stand in the file; what has no line comes last.
        faults.sort_by_key(|fault| match fault.place {
            Place::Line(_, line) => line,
            Place::Variable(_) | Place::Nowhere => usize::MAX,
        });
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
