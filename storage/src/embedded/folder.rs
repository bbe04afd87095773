//! The data folder: locked against a second process, marked with the version of what is in it.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, Folder, Found, Lock, SyncSite, SystemDisk};
use crate::error::StoreError;
use crate::private;

/// The version of the folder that this program writes. A value that grows at its end, where older programs read only what
/// they know, is no other version.
///
/// 1: every event is a row of the index. 2: events may stand in blocks. What 1 wrote is read as it is, and stays so.
/// 3: users have logins. 4: keys have ends, and accounts proven addresses, counted failures and logins elsewhere.
const VERSION: u32 = 4;
const LOCK_NAME: &str = "lock";
const VERSION_NAME: &str = "version";
/// Being written; it takes its name when it is whole.
const VERSION_NEW_NAME: &str = "version.new";
const VERSION_PREFIX: &str = "panda data ";
/// Nothing longer is a version file.
const VERSION_BYTES_MAX: u64 = 64;
const EVENTS_NAME: &str = "events";

/// A folder that this process alone may use, until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    folder: Folder,
    _lock: Lock,
}

impl DataFolder {
    /// Makes the folder if it is not there, locks it, and checks its version. What it made is durable
    /// when it returns. What others than its owner could read of it is tightened.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process uses it; [`StoreError::Newer`] if a newer version wrote
    /// it: nothing in it is touched then; [`StoreError::Corrupt`] if its version file is none, or is
    /// missing beside events; [`StoreError::Unavailable`] or [`StoreError::Full`], with a sentence that
    /// says what to do.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = Self::open_on(Arc::new(SystemDisk), path)?;
        // Not before it is locked, and known to be of a version that this program may touch.
        private::tighten(path);
        Ok(opened)
    }

    /// Opens a folder that holds data already. Nothing is made where there is none.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if it holds none; else as [`Self::open`].
    pub fn open_existing(path: &Path) -> Result<Self, StoreError> {
        if !path.join(VERSION_NAME).is_file() {
            return Err(StoreError::Misconfigured(format!(
                "{} holds no data of Panda: name the folder that 'panda serve' was given",
                path.display()
            )));
        }
        Self::open(path)
    }

    /// Opens a folder of this disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        let folder = Folder::new(disk, path.to_owned());
        let refused = |error: io::Error| refused(path, &error);
        if folder.find().map_err(refused)? == Found::File {
            return Err(StoreError::Unavailable(format!(
                "{} is a file, not a folder: name another folder",
                path.display()
            )));
        }
        folder.make().map_err(refused)?;
        let lock = match folder.lock(LOCK_NAME) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(StoreError::Locked(path.display().to_string()));
            }
            lock => lock.map_err(refused)?,
        };
        match read_version(&folder)? {
            Some(found) if found > VERSION => {
                return Err(StoreError::Newer { what: path.display().to_string(), found, known: VERSION });
            }
            Some(VERSION) => {}
            // From now on an older program would not find everything, so it must not open the folder.
            Some(_) => write_version(&folder).map_err(refused)?,
            None => mark(&folder)?,
        }
        // Also if it was found: whoever wrote it may have been killed before this.
        folder.sync_names(SyncSite::VersionName).map_err(refused)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The events' folder in it, made if it is not there.
    pub(super) fn events(&self) -> Result<Folder, StoreError> {
        self.folder.child(EVENTS_NAME, SyncSite::EventsName).map_err(|error| refused(self.path(), &error))
    }
}

fn read_version(folder: &Folder) -> Result<Option<u32>, StoreError> {
    let text = match read_short(folder, VERSION_NAME) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| refused(folder.path(), &error))?,
    };
    let text = text.and_then(|text| String::from_utf8(text).ok());
    let version = text.and_then(|text| text.strip_prefix(VERSION_PREFIX)?.trim_end().parse().ok());
    version.filter(|version| *version > 0).map(Some).ok_or_else(|| {
        StoreError::Corrupt(format!(
            "{} does not hold a version of Panda's data: restore it, or name another folder",
            folder.path().join(VERSION_NAME).display()
        ))
    })
}

/// A file's content, if it is not too long for a version.
fn read_short(folder: &Folder, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = folder.open(name)?;
    let len = file.len()?;
    let Some(len) = usize::try_from(len).ok().filter(|_| len <= VERSION_BYTES_MAX) else { return Ok(None) };
    let mut content = vec![0; len];
    file.read_at(0, &mut content)?;
    Ok(Some(content))
}

/// Gives a new folder its version.
fn mark(folder: &Folder) -> Result<(), StoreError> {
    let refused = |error: io::Error| refused(folder.path(), &error);
    if folder.names().map_err(refused)?.iter().any(|name| name == EVENTS_NAME) {
        return Err(StoreError::Corrupt(format!(
            "{} holds events and no file that tells their version: restore all of it, or name another folder",
            folder.path().display()
        )));
    }
    write_version(folder).map_err(refused)
}

/// Whole or not at all, whatever is cut.
fn write_version(folder: &Folder) -> io::Result<()> {
    let file = folder.create(VERSION_NEW_NAME)?;
    file.write_at(0, format!("{VERSION_PREFIX}{VERSION}\n").as_bytes())?;
    file.sync(SyncSite::VersionFile)?;
    folder.rename(VERSION_NEW_NAME, VERSION_NAME)
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
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_is_made_and_opened_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("one/two");
        let folder = DataFolder::open(&path).unwrap();
        assert_eq!(folder.path(), path);
        drop(folder);
        DataFolder::open(&path).unwrap();
        assert_eq!(fs::read_to_string(path.join("version")).unwrap(), "panda data 4\n");
    }

    #[test]
    fn a_folder_of_an_older_version_is_refused_by_that_version_once_it_was_opened() {
        let place = tempfile::tempdir().unwrap();
        drop(DataFolder::open(place.path()).unwrap().events().unwrap());
        fs::write(place.path().join("version"), "panda data 1\n").unwrap();
        DataFolder::open(place.path()).unwrap();
        assert_eq!(fs::read_to_string(place.path().join("version")).unwrap(), "panda data 4\n");
    }

    #[test]
    fn a_folder_without_data_is_not_made_when_there_should_be_some() {
        let place = tempfile::tempdir().unwrap();
        for path in [place.path().to_owned(), place.path().join("nowhere")] {
            let refused = DataFolder::open_existing(&path).map(drop);
            assert!(matches!(refused, Err(StoreError::Misconfigured(_))), "{refused:?}");
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        drop(DataFolder::open(place.path()).unwrap());
        let folder = DataFolder::open_existing(place.path()).unwrap();
        assert!(matches!(DataFolder::open_existing(place.path()), Err(StoreError::Locked(_))));
        drop(folder);
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
        let newer = format!("panda data {}\n", VERSION + 1);
        fs::write(place.path().join("version"), &newer).unwrap();
        let error = DataFolder::open(place.path()).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found, known: VERSION, .. } if found == VERSION + 1), "{error}");
        assert_eq!(fs::read_to_string(place.path().join("version")).unwrap(), newer);
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
    fn events_without_a_version_are_corrupt() {
        let place = tempfile::tempdir().unwrap();
        drop(DataFolder::open(place.path()).unwrap().events().unwrap());
        fs::remove_file(place.path().join("version")).unwrap();
        assert!(matches!(DataFolder::open(place.path()), Err(StoreError::Corrupt(_))));
        assert!(!place.path().join("version").exists());
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
