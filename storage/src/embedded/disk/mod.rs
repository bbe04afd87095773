//! The few things that the data folder and the event store ask of a file system. Tests put one under
//! them that keeps only what was synced, and that fails.

mod site;
mod system;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use site::SyncSite;
pub use system::SystemDisk;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file.
    File,
    /// A folder.
    Folder,
}

/// Holds a lock until it is dropped.
pub type Lock = Box<dyn Debug + Send + Sync>;

/// A file system. What it does is durable only once it is synced, and until then any part of it may
/// be lost: a name without its file, a file's length without its bytes, one sector without the next.
pub trait Disk: Debug + Send + Sync + 'static {
    /// What the path names.
    fn find(&self, path: &Path) -> io::Result<Found>;
    /// Makes a folder in one that exists, unless it is there already.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Takes a lock that no other process has, on a file that it makes if it is not there;
    /// [`io::ErrorKind::WouldBlock`] if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Lock>;
    /// Opens a file that exists.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file; one that has the name becomes empty.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name in its folder, taking the place of one that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names of all that is in a folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes the names in a folder durable: what was made, renamed and removed.
    fn sync_names(&self, folder: &Path, site: SyncSite) -> io::Result<()>;
}

/// One open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether nothing is in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `out` from `offset` on, or fails.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts it, or fills it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes what was written durable, and the length with it. After an error what was written since
    /// the last sync is in doubt until it is written again: a later sync may succeed without it.
    fn sync(&self, site: SyncSite) -> io::Result<()>;
}

/// One folder of a disk.
#[derive(Clone, Debug)]
pub struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Folder {
    /// The folder at this path, whether it is there or not.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it, and those above it that are missing. A folder's name is durable before anything is
    /// made in it, so only the lowest one that is found may be in doubt: whoever made it may have been
    /// killed before the sync.
    pub(super) fn make(&self) -> io::Result<()> {
        make(self.disk.as_ref(), &self.path)
    }

    /// The folder of this name in it, made if it is not there; its name is durable then.
    pub(super) fn child(&self, name: &str, site: SyncSite) -> io::Result<Self> {
        let path = self.path.join(name);
        if self.disk.find(&path)? == Found::Nothing {
            self.disk.make_folder(&path)?;
        }
        self.sync_names(site)?;
        Ok(Self { disk: Arc::clone(&self.disk), path })
    }

    pub(super) fn find(&self) -> io::Result<Found> {
        self.disk.find(&self.path)
    }

    pub(super) fn lock(&self, name: &str) -> io::Result<Lock> {
        self.disk.lock(&self.path.join(name))
    }

    pub(super) fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.path.join(name))
    }

    pub(super) fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(&self.path.join(name))
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.path.join(from), &self.path.join(to))
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(&self.path.join(name))
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        self.disk.names(&self.path)
    }

    pub(super) fn sync_names(&self, site: SyncSite) -> io::Result<()> {
        self.disk.sync_names(&self.path, site)
    }
}

fn make(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let above = match path.parent() {
        None => return Ok(()),
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
    };
    let found = disk.find(path)? != Found::Nothing;
    if !found {
        make(disk, above)?;
        disk.make_folder(path)?;
    }
    match disk.sync_names(above, SyncSite::FolderName) {
        // Whoever made it had a right that this process has not, so it was not made here.
        Err(error) if found && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}
