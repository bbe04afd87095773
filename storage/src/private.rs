//! The data folder is its owner's alone: new files and folders are made so, and older, looser ones are tightened.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The rights of a new folder.
const FOLDER_MODE: u32 = 0o700;
/// The rights of a new file.
pub(crate) const FILE_MODE: u32 = 0o600;
/// The rights of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Names in a data folder up to the first dot, also those that other parts of this program keep there.
const OURS: [&str; 9] = ["admin", "cert", "events", "fleet", "key", "lock", "quic-certificate", "users", "version"];

/// Makes a folder, and those above it that are missing, for their owner alone. One that is there is left.
///
/// # Errors
/// As of the operating system.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)
}

/// Makes one folder, for its owner alone.
pub(crate) fn make_one_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(path)
}

/// Writes a file for its owner alone, whole or not at all, in the place of one that is there.
///
/// # Errors
/// As of the operating system.
pub fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    // One that was left behind would keep its rights.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make_file(&partial)?;
    fs::write(&partial, content)?;
    fs::rename(&partial, path)
}

/// Makes an empty file for its owner alone, unless there is one.
pub(crate) fn make_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Takes everybody's rights but the owner's from a data folder and what this program keeps in it, and says so in
/// the log. A folder that holds anything else may be there for others too: it is left, with a warning. Nothing
/// that goes wrong here keeps a server from starting; it is in the log. Links are not followed.
pub fn tighten(data: &Path) {
    let mut changed = 0;
    match tighten_folder(data, &mut changed) {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            data = %data.display(),
            "the data folder holds other things too and is open to others than its owner: give the data a folder of \
             their own, or take the rights from it (chmod 700)"
        ),
        Err(error) => tracing::warn!(
            data = %data.display(), %error,
            "others than its owner may read the data folder and it cannot be tightened: run as its owner"
        ),
    }
    if changed > 0 {
        tracing::info!(data = %data.display(), changed, "tightened: only their owner may read what is in the data folder");
    }
}

/// Whether the folder itself is its owner's alone now.
fn tighten_folder(data: &Path, changed: &mut u32) -> io::Result<bool> {
    let mut only_ours = true;
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name();
        let stem = name.to_str().and_then(|name| name.split('.').next()).unwrap_or_default();
        if OURS.contains(&stem) {
            tighten_all(&entry.path(), changed)?;
        } else {
            only_ours = false;
        }
    }
    if only_ours {
        tighten_one(data, &fs::metadata(data)?, changed)?;
    }
    Ok(fs::metadata(data)?.permissions().mode() & OTHERS == 0)
}

fn tighten_all(path: &Path, changed: &mut u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            tighten_all(&entry?.path(), changed)?;
        }
    }
    if found.is_dir() || found.is_file() { tighten_one(path, &found, changed) } else { Ok(()) }
}

fn tighten_one(path: &Path, found: &fs::Metadata, changed: &mut u32) -> io::Result<()> {
    let mode = found.permissions().mode();
    if mode & OTHERS != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & !OTHERS))?;
        *changed += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::{DataFolder, EmbeddedEvents, SqliteUsers};
    use panda_protocol::Time;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Everything below `path`, `path` too.
    fn all(path: &Path) -> Vec<std::path::PathBuf> {
        let mut found = vec![path.to_owned()];
        if path.is_dir() {
            found.extend(fs::read_dir(path).unwrap().flat_map(|entry| all(&entry.unwrap().path())));
        }
        found
    }

    fn assert_private(data: &Path) {
        let found = all(data);
        assert!(found.len() >= 6, "{found:?}");
        for path in found {
            assert_eq!(mode(&path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        }
    }

    fn open(data: &Path) -> (DataFolder, EmbeddedEvents, SqliteUsers) {
        let folder = DataFolder::open(data).unwrap();
        let events = EmbeddedEvents::open(&folder).unwrap();
        let users = SqliteUsers::open(&data.join("users.db"), Time(1)).unwrap();
        (folder, events, users)
    }

    #[test]
    fn what_is_new_is_its_owners_alone_and_what_is_looser_is_tightened() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        let opened = open(&data);
        assert_private(&data);
        drop(opened);
        for path in all(&data) {
            let loose = if path.is_dir() { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
        }
        let _opened = open(&data);
        assert_private(&data);
    }

    #[test]
    fn a_file_is_written_for_its_owner_whatever_was_there() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("made.txt");
        for (name, loose) in [("made.txt", 0o644), ("made.partial", 0o666)] {
            let old = place.path().join(name);
            fs::write(&old, "older and longer").unwrap();
            fs::set_permissions(&old, fs::Permissions::from_mode(loose)).unwrap();
        }
        write_file(&path, b"new").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap(), mode(&path)), ("new".to_owned(), 0o600));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_but_not_the_data() {
        let place = tempfile::tempdir().unwrap();
        let other = place.path().join("other.txt");
        fs::write(&other, "theirs").unwrap();
        for (path, loose) in [(place.path(), 0o755), (other.as_path(), 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(loose)).unwrap();
        }
        let linked = place.path().join("cert.pem");
        std::os::unix::fs::symlink(&other, linked).unwrap();
        let _opened = open(place.path());
        assert_eq!((mode(place.path()), mode(&other)), (0o755, 0o644));
        assert_eq!((mode(&place.path().join("events")), mode(&place.path().join("users.db"))), (0o700, 0o600));
    }
}
