//! A disk in memory that tells what is synced from what is not, and whose power may be cut.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use panda_storage::embedded::events::disk::{Disk, DiskFile, SyncPoint};
use parking_lot::Mutex;

#[derive(Clone, Debug, Default)]
struct Content {
    written: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    files: Vec<Content>,
    /// Changes and syncs that may still happen before the power goes.
    steps_left: Option<usize>,
    /// This sync does nothing and says that it did.
    dropped: Option<SyncPoint>,
    /// No file can become longer, and none can be made.
    full: bool,
}

impl State {
    fn grow(&self, file: Option<usize>, len: usize) -> io::Result<()> {
        let has = file.map_or(0, |file| self.files[file].written.len());
        if self.full && len > has { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn step(&mut self) -> io::Result<()> {
        match &mut self.steps_left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct CutDisk {
    state: Arc<Mutex<State>>,
}

/// What is left when everything stops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// Only what was synced.
    Power,
    /// What was synced, and a part of what was appended behind it in each journal file.
    Torn(usize),
    /// All that was written; it is as little synced as before.
    Kill,
}

impl CutDisk {
    pub(crate) fn new(dropped: Option<SyncPoint>) -> Self {
        let disk = Self::default();
        disk.state.lock().dropped = dropped;
        disk
    }

    pub(crate) fn cut_after(&self, steps: Option<usize>) {
        self.state.lock().steps_left = steps;
    }

    pub(crate) fn fill(&self, full: bool) {
        self.state.lock().full = full;
    }

    /// Turns a bit in the middle of a file.
    pub(crate) fn damage(&self, name: &str) {
        let mut state = self.state.lock();
        let file = state.names[name];
        let written = &mut state.files[file].written;
        let middle = written.len() / 2;
        written[middle] ^= 1;
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.state.lock().steps_left == Some(0)
    }

    /// The disk as the next process finds it.
    pub(crate) fn restart(&self, stop: Stop) -> Self {
        let state = self.state.lock();
        let mut next = State { dropped: state.dropped, files: state.files.clone(), ..State::default() };
        next.synced_names = state.synced_names.clone();
        next.names = if matches!(stop, Stop::Kill) { state.names.clone() } else { state.synced_names.clone() };
        for (name, file) in &next.names {
            let content = &mut next.files[*file];
            match stop {
                Stop::Kill => {}
                Stop::Torn(part) if name.starts_with("journal") && content.written.starts_with(&content.synced) => {
                    let behind = content.written.len() - content.synced.len();
                    content.written.truncate(content.synced.len() + part % (behind + 1));
                    content.synced = content.written.clone();
                }
                Stop::Power | Stop::Torn(_) => content.written = content.synced.clone(),
            }
        }
        Self { state: Arc::new(Mutex::new(next)) }
    }

    fn file(&self, index: usize) -> Arc<dyn DiskFile> {
        Arc::new(CutFile { state: Arc::clone(&self.state), index })
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for CutDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let index = *self.state.lock().names.get(name).ok_or_else(missing)?;
        Ok(self.file(index))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.step()?;
        state.grow(None, 1)?;
        let index = match state.names.get(name) {
            Some(index) => *index,
            None => {
                state.files.push(Content::default());
                let index = state.files.len() - 1;
                state.names.insert(name.into(), index);
                index
            }
        };
        state.files[index].written.clear();
        Ok(self.file(index))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        let file = state.names.remove(from).ok_or_else(missing)?;
        state.names.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        state.names.remove(name).map(drop).ok_or_else(missing)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn sync_names(&self, point: SyncPoint) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        if state.dropped != Some(point) {
            state.synced_names = state.names.clone();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct CutFile {
    state: Arc<Mutex<State>>,
    index: usize,
}

impl DiskFile for CutFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().files[self.index].written.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = state.files[self.index].written.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        state.grow(Some(self.index), start + data.len())?;
        // The write at which the power goes gets half way.
        let result = state.step();
        let data = if result.is_ok() { data } else { &data[..data.len() / 2] };
        let written = &mut state.files[self.index].written;
        if written.len() < start + data.len() {
            written.resize(start + data.len(), 0);
        }
        written[start..start + data.len()].copy_from_slice(data);
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        state.grow(Some(self.index), len)?;
        state.files[self.index].written.resize(len, 0);
        Ok(())
    }

    fn sync(&self, point: SyncPoint) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        if state.dropped != Some(point) {
            let content = &mut state.files[self.index];
            content.synced = content.written.clone();
        }
        Ok(())
    }
}
