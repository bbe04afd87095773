//! A disk in memory that tells what is synced from what is not, whose power may be cut and whose calls
//! may fail.
//! It is as unkind as a real one may be: what was not synced is lost or kept sector by sector, in
//! any order; names, lengths and bytes go their own ways.

mod content;
mod faults;
mod names;
mod survival;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use panda_storage::embedded::disk::{Disk, DiskFile, Found, Lock, SyncSite};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use content::Content;
pub(crate) use faults::Faults;
use names::{Names, Node};
use survival::Survival;

/// What is at a path.
#[derive(Clone, Debug)]
enum Thing {
    File(Content),
    Folder(Names),
}

/// The first of all things is the root folder.
const ROOT: Node = 0;

#[derive(Debug)]
struct State {
    things: Vec<Thing>,
    /// Changes and syncs so far.
    steps: usize,
    /// The power goes before this step.
    cut_at: Option<usize>,
    /// No file can become longer, and none can be made.
    full: bool,
    faults: Option<Faults>,
    /// How often these syncs are still to fail.
    failing: BTreeMap<SyncSite, usize>,
    /// This sync does nothing and says that it did.
    dropped: Option<SyncSite>,
    synced: BTreeSet<SyncSite>,
}

#[derive(Clone, Debug)]
pub(crate) struct CutDisk {
    state: Arc<Mutex<State>>,
}

/// How everything stops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// What was synced is there, and any part of the rest.
    Power { seed: u64 },
    /// All that was written is there; it is as little synced as before. `forgets`: what a sync that failed
    /// dropped is shown no longer.
    Kill { forgets: bool },
}

impl CutDisk {
    pub(crate) fn new(dropped: Option<SyncSite>) -> Self {
        let state = State {
            things: vec![Thing::Folder(Names::default())],
            steps: 0,
            cut_at: None,
            full: false,
            faults: None,
            failing: BTreeMap::new(),
            dropped,
            synced: BTreeSet::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The power goes after so many more steps.
    pub(crate) fn cut_after(&self, steps: Option<usize>) {
        let mut state = self.state.lock();
        state.cut_at = steps.map(|steps| state.steps + steps);
    }

    /// Whether it works no more, for lack of power or for good.
    pub(crate) fn is_cut(&self) -> bool {
        let state = self.state.lock();
        let is_broken = |faults: &Faults| faults.have_failed() && faults.are_for_good();
        state.cut_at.is_some_and(|at| state.steps >= at) || state.faults.as_ref().is_some_and(is_broken)
    }

    /// Calls fail from now on, as these say.
    pub(crate) fn fail(&self, faults: Faults) {
        self.state.lock().faults = Some(faults);
    }

    /// This sync fails so often.
    pub(crate) fn fail_sync(&self, site: SyncSite, times: usize) {
        self.state.lock().failing.insert(site, times);
    }

    /// Whether a call has failed since then.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.lock().faults.as_ref().is_some_and(Faults::have_failed)
    }

    pub(crate) fn fill(&self, full: bool) {
        self.state.lock().full = full;
    }

    /// Every site that has synced.
    pub(crate) fn synced(&self) -> BTreeSet<SyncSite> {
        self.state.lock().synced.clone()
    }

    /// Turns a bit in the middle of a file.
    pub(crate) fn damage(&self, path: &str) {
        let mut state = self.state.lock();
        let node = state.node(Path::new(path)).unwrap();
        let content = state.file(node);
        content.flip_bit(content.now().len() / 2);
    }

    /// The disk as the next process finds it.
    pub(crate) fn restart(&self, stop: Stop) -> Self {
        let state = self.state.lock();
        let mut things = state.things.clone();
        match stop {
            Stop::Power { seed } => {
                let mut random = StdRng::seed_from_u64(seed);
                let mut survival = Survival::any(StdRng::seed_from_u64(random.random()), state.steps as u64);
                for thing in &mut things {
                    match thing {
                        Thing::File(content) => content.survive(&mut survival, state.stale(&mut random)),
                        Thing::Folder(names) => names.survive(&mut survival),
                    }
                }
            }
            Stop::Kill { forgets: true } => {
                for thing in &mut things {
                    if let Thing::File(content) = thing {
                        content.forget();
                    }
                }
            }
            Stop::Kill { forgets: false } => {}
        }
        let next = State {
            things,
            steps: state.steps,
            cut_at: None,
            full: false,
            faults: None,
            failing: BTreeMap::new(),
            dropped: state.dropped,
            synced: state.synced.clone(),
        };
        Self { state: Arc::new(Mutex::new(next)) }
    }
}

impl State {
    /// One change or sync; its time.
    fn step(&mut self) -> io::Result<u64> {
        if self.cut_at.is_some_and(|at| self.steps >= at) {
            return Err(io::Error::other("the power is off"));
        }
        self.steps += 1;
        Ok(self.steps as u64)
    }

    /// One call, that changes something or only reads.
    fn call(&mut self, changes: bool) -> io::Result<()> {
        self.faults.as_mut().map_or(Ok(()), |faults| faults.call(changes))
    }

    fn call_sync(&mut self, site: SyncSite) -> io::Result<()> {
        if let Some(times) = self.failing.get_mut(&site).filter(|times| **times > 0) {
            *times -= 1;
            return Err(io::Error::other("this sync is to fail"));
        }
        self.call(true)
    }

    /// A sync of a file that fails: some of what was written is durable, the rest never will be.
    fn drop_unsynced(&mut self, node: Node) {
        let mut random = StdRng::seed_from_u64(self.steps as u64);
        let mut survival = Survival::any(StdRng::seed_from_u64(random.random()), self.steps as u64);
        let stale = self.stale(&mut random).to_vec();
        self.file(node).drop_unsynced(&mut survival, &stale, random.random());
    }

    fn grow(&self, has: usize, len: usize) -> io::Result<()> {
        if self.full && len > has { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        let mut node = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            let Thing::Folder(names) = &self.things[node] else { return Err(io::ErrorKind::NotADirectory.into()) };
            node = *names.now().get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The names of the folder that a path is in, and the path's own name.
    fn place<'a>(&mut self, path: &'a Path) -> io::Result<(&mut Names, &'a str)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let node = self.node(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        match &mut self.things[node] {
            Thing::Folder(names) => Ok((names, name)),
            Thing::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&mut self, node: Node) -> &mut Content {
        match &mut self.things[node] {
            Thing::File(content) => content,
            Thing::Folder(_) => unreachable!("only files are opened"),
        }
    }

    /// What some file holds, as blocks that it left behind.
    fn stale(&self, random: &mut StdRng) -> &[u8] {
        match &self.things[random.random_range(0..self.things.len())] {
            Thing::File(content) => content.now(),
            Thing::Folder(_) => &[],
        }
    }
}

impl Disk for CutDisk {
    fn find(&self, path: &Path) -> io::Result<Found> {
        let mut state = self.state.lock();
        state.call(false)?;
        match state.node(path) {
            Ok(node) => Ok(match state.things[node] {
                Thing::File(_) => Found::File,
                Thing::Folder(_) => Found::Folder,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(true)?;
        let time = state.step()?;
        let node = state.things.len();
        let (names, name) = state.place(path)?;
        names.put(time, name, node);
        state.things.push(Thing::Folder(Names::default()));
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Lock> {
        self.state.lock().call(true)?;
        Ok(Box::new(()))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.call(false)?;
        let node = state.node(path)?;
        Ok(Arc::new(CutFile { state: Arc::clone(&self.state), node }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.call(true)?;
        let time = state.step()?;
        state.grow(0, 1)?;
        let node = match state.node(path) {
            Ok(node) => {
                state.file(node).set_len(time, 0);
                node
            }
            Err(_) => {
                let node = state.things.len();
                let (names, name) = state.place(path)?;
                names.put(time, name, node);
                state.things.push(Thing::File(Content::default()));
                node
            }
        };
        Ok(Arc::new(CutFile { state: Arc::clone(&self.state), node }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(true)?;
        let time = state.step()?;
        let to = to.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        state.node(from)?;
        let (names, from) = state.place(from)?;
        names.rename(time, from, to);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(true)?;
        let time = state.step()?;
        state.node(path)?;
        let (names, name) = state.place(path)?;
        names.remove(time, name);
        Ok(())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.call(false)?;
        match &state.things[state.node(folder)?] {
            Thing::Folder(names) => Ok(names.now().keys().cloned().collect()),
            Thing::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn sync_names(&self, folder: &Path, site: SyncSite) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call_sync(site)?;
        state.step()?;
        state.synced.insert(site);
        let node = state.node(folder)?;
        if state.dropped != Some(site)
            && let Thing::Folder(names) = &mut state.things[node]
        {
            names.sync();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct CutFile {
    state: Arc<Mutex<State>>,
    node: Node,
}

impl DiskFile for CutFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.call(false)?;
        Ok(state.file(self.node).now().len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(false)?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = state.file(self.node).now().get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let has = state.file(self.node).now().len();
        state.grow(has, start + data.len())?;
        let result = state.call(true).and_then(|()| state.step());
        // A write that fails gets half way.
        let data = if result.is_ok() { data } else { &data[..data.len() / 2] };
        let time = state.steps as u64;
        state.file(self.node).write(time, start, data);
        result.map(drop)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.call(true)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let has = state.file(self.node).now().len();
        state.grow(has, len)?;
        let time = state.step()?;
        state.file(self.node).set_len(time, len);
        Ok(())
    }

    fn sync(&self, site: SyncSite) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Err(error) = state.call_sync(site) {
            state.drop_unsynced(self.node);
            return Err(error);
        }
        state.step()?;
        state.synced.insert(site);
        if state.dropped != Some(site) {
            state.file(self.node).sync();
        }
        Ok(())
    }
}
