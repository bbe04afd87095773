//! Files that a run writes at its end. They are opened before it begins, so that no load is run for a file that cannot
//! be written.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::run::RunError;

/// A file that is written at the end of a run.
#[derive(Debug)]
pub struct OutputFile {
    flag: &'static str,
    path: PathBuf,
    file: File,
}

impl OutputFile {
    /// Opens the file that a flag names. What is in it stays until something else is written.
    ///
    /// # Errors
    /// [`RunError::Usage`] if it cannot be written.
    pub fn open(flag: &'static str, path: &Path) -> Result<Self, RunError> {
        match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
            Ok(file) => Ok(Self { flag, path: path.to_owned(), file }),
            Err(error) => Err(refused(flag, path, &error)),
        }
    }

    /// As [`Self::open`], where a flag is given.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_if(flag: &'static str, path: Option<&Path>) -> Result<Option<Self>, RunError> {
        path.map(|path| Self::open(flag, path)).transpose()
    }

    /// Makes `bytes` all that the file holds.
    ///
    /// # Errors
    /// [`RunError::Usage`], such as for a full disk.
    pub fn write(mut self, bytes: &[u8]) -> Result<(), RunError> {
        let whole = self.empty().and_then(|()| self.file.write_all(bytes));
        whole.map_err(|error| refused(self.flag, &self.path, &error))
    }

    /// A pipe or a device has nothing to be emptied of.
    fn empty(&self) -> std::io::Result<()> {
        if self.file.metadata()?.is_file() { self.file.set_len(0) } else { Ok(()) }
    }
}

fn refused(flag: &str, path: &Path, error: &std::io::Error) -> RunError {
    RunError::Usage(format!("{flag} {} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_what_it_holds_until_it_is_written_and_holds_nothing_else_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        std::fs::write(&path, "of an earlier run").unwrap();
        let file = OutputFile::open("--record", &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"of an earlier run");
        file.write(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn what_cannot_be_opened_or_written_is_told_with_its_flag() {
        let said = OutputFile::open("--record", Path::new("/nowhere/record")).unwrap_err().to_string();
        assert!(said.starts_with("--record /nowhere/record cannot be written: "), "{said}");
        let full = OutputFile::open("--json", Path::new("/dev/full")).unwrap();
        let said = full.write(b"much").unwrap_err().to_string();
        assert!(said.starts_with("--json /dev/full cannot be written: "), "{said}");
    }
}
