//! What the chats of a run held at its end, for a later run.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::load::Load;
use crate::output::OutputFile;
use crate::run::RunError;

/// The version that this program writes and reads.
const VERSION: u32 = 1;

/// A run's users and chats follow from these numbers; the events are digests of their bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    pub(super) seed: u64,
    pub(super) sessions: usize,
    /// Of each chat, in the order of their numbers, all events from the first on.
    pub(super) chats: Vec<Vec<u64>>,
}

impl Record {
    /// Of a load whose store was read back and is not judged yet.
    ///
    /// # Errors
    /// A chat does not begin with its first event.
    pub(super) fn of(load: &Load, seed: u64) -> Result<Self, RunError> {
        let digests = |number: usize| {
            let hole = || RunError::Usage(format!("chat {number} has no whole history that could be recorded"));
            load.run.check(number).digests().ok_or_else(hole)
        };
        let chats = (0..load.plans.len()).map(digests).collect::<Result<_, _>>()?;
        Ok(Self { version: VERSION, seed, sessions: load.sessions.len(), chats })
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`RunError::Usage`] if the file cannot be written.
    pub(super) fn write(&self, file: OutputFile) -> Result<(), RunError> {
        let json = serde_json::to_vec(self);
        file.write(&json.map_err(|error| RunError::Usage(format!("the record cannot be made: {error}")))?)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`RunError::Usage`] if the file is no record.
    pub(super) fn read(path: &Path) -> Result<Self, RunError> {
        let failed = |error: &dyn std::fmt::Display| {
            RunError::Usage(format!("{} is no record of a run: {error}; 'steady --record' writes one", path.display()))
        };
        let bytes = fs::read(path).map_err(|error| failed(&error))?;
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
        match record.version {
            VERSION if record.sessions > 0 && !record.chats.is_empty() => Ok(record),
            VERSION => Err(failed(&"it has no sessions or no chats")),
            version => Err(failed(&format!("it has version {version}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_nothing_else_is_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("record");
        let record = Record { version: VERSION, seed: u64::MAX, sessions: 3, chats: vec![vec![u64::MAX, 1], vec![]] };
        record.write(OutputFile::open("--record", &path).unwrap()).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record);
        for text in [
            "",
            "{}",
            r#"{"version":2,"seed":1,"sessions":1,"chats":[[]]}"#,
            r#"{"version":1,"seed":1,"sessions":1,"chats":[]}"#,
        ] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Record::read(&path), Err(RunError::Usage(_))), "{text}");
        }
    }
}
