//! The data folder: locked against a second process, marked with the version of what is in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// The version of the folder that this program writes.
const VERSION: u32 = 1;
const LOCK_NAME: &str = "lock";
const VERSION_NAME: &str = "version";
const VERSION_PREFIX: &str = "panda data ";
/// Nothing longer is a version file.
const VERSION_BYTES_MAX: u64 = 64;

/// A folder that this process alone may use, until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// Holds the lock. The system lets go of it when the process ends, however it ends.
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if it is not there, locks it, and checks its version.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process uses it; [`StoreError::Newer`] if a newer version wrote
    /// it: nothing in it is touched then; [`StoreError::Corrupt`] if its version file is none;
    /// [`StoreError::Unavailable`] or [`StoreError::Full`], with a sentence that says what to do.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if path.exists() && !path.is_dir() {
            return Err(StoreError::Unavailable(format!(
                "{} is a file, not a folder: name another folder",
                path.display()
            )));
        }
        fs::create_dir_all(path).map_err(|error| refused(path, &error))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK_NAME));
        let lock = lock.map_err(|error| refused(path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(path.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(refused(path, &error)),
        }
        match read_version(path)? {
            Some(found) if found > VERSION => {
                return Err(StoreError::Newer { what: path.display().to_string(), found, known: VERSION });
            }
            Some(_) => {}
            None => write_version(path).map_err(|error| refused(path, &error))?,
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read_version(path: &Path) -> Result<Option<u32>, StoreError> {
    let file = path.join(VERSION_NAME);
    match fs::metadata(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(path, &error)),
        Ok(metadata) if metadata.len() > VERSION_BYTES_MAX => return Err(no_version(&file)),
        Ok(_) => {}
    }
    let text = fs::read(&file).map_err(|error| refused(path, &error))?;
    let text = String::from_utf8(text).map_err(|_| no_version(&file))?;
    let version = text.strip_prefix(VERSION_PREFIX).and_then(|rest| rest.trim_end().parse().ok());
    version.filter(|version| *version > 0).map(Some).ok_or_else(|| no_version(&file))
}

fn no_version(file: &Path) -> StoreError {
    StoreError::Corrupt(format!(
        "{} does not hold a version of Panda's data: restore it, or name another folder",
        file.display()
    ))
}

/// Whole or not at all, whatever is cut.
fn write_version(path: &Path) -> io::Result<()> {
    let written = path.join("version.new");
    let mut file = File::create(&written)?;
    writeln!(file, "{VERSION_PREFIX}{VERSION}")?;
    file.sync_all()?;
    fs::rename(&written, path.join(VERSION_NAME))?;
    File::open(path)?.sync_all()?;
    // The folder's own name is its parent's content.
    match path.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn refused(path: &Path, error: &io::Error) -> StoreError {
    let path = path.display();
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => StoreError::Unavailable(format!(
            "{path} cannot be written ({error}): give this user the right to write there, or name another folder"
        )),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::Full(format!("{path}: {error}; make room, or name another folder"))
        }
        _ => StoreError::Unavailable(format!("{path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_opened_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("one/two");
        let folder = DataFolder::open(&path).unwrap();
        assert_eq!(folder.path(), path);
        drop(folder);
        DataFolder::open(&path).unwrap();
        assert_eq!(fs::read_to_string(path.join("version")).unwrap(), "panda data 1\n");
    }

    #[test]
    fn a_second_opening_is_refused_until_the_first_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        assert!(matches!(DataFolder::open(place.path()), Err(StoreError::Locked(_))));
        drop(folder);
        DataFolder::open(place.path()).unwrap();
    }

    #[test]
    fn a_newer_folder_is_refused_and_not_touched() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("version"), "panda data 2\n").unwrap();
        let error = DataFolder::open(place.path()).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
        assert_eq!(fs::read_to_string(place.path().join("version")).unwrap(), "panda data 2\n");
    }

    #[test]
    fn a_version_file_that_is_none_is_corrupt() {
        for text in ["", "panda data\n", "panda data 0\n", "panda data x\n", &"9".repeat(100)] {
            let place = tempfile::tempdir().unwrap();
            fs::write(place.path().join("version"), text).unwrap();
            assert!(matches!(DataFolder::open(place.path()), Err(StoreError::Corrupt(_))), "{text:?}");
        }
    }

    #[test]
    fn a_path_that_is_a_file_says_so() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let error = DataFolder::open(place.path()).unwrap_err().to_string();
        assert!(error.contains("is a file, not a folder"), "{error}");
    }

    #[test]
    fn a_read_only_folder_says_what_to_do() {
        let error = refused(Path::new("/data"), &io::Error::from(ErrorKind::ReadOnlyFilesystem)).to_string();
        assert!(error.contains("/data cannot be written"), "{error}");
        assert!(matches!(
            refused(Path::new("/data"), &io::Error::from(ErrorKind::StorageFull)),
            StoreError::Full(text) if text.contains("make room")
        ));
    }
}
