//! The index: a B-tree that holds what journal files held. It is filled in large, sorted, durable
//! steps, so it costs a commit nothing; the journal has what it lacks.

mod blocks;

use std::cmp::Ordering;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Memory};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadTransaction, ReadableDatabase as _, StorageBackend, TableDefinition};

use super::failure;
use super::keys;
use super::tables::Rows;
use crate::embedded::disk::{DiskFile, Folder, SyncSite};
use crate::error::StoreError;
use crate::event_store::ReadOrder;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const NAME: &str = "index";
/// Being made; it takes its name when it is whole.
const NEW_NAME: &str = "index.new";
/// Memory for pages that were read or are being written. The system has them too, at the price of a call a page; more
/// here would stay taken when nothing goes on.
const CACHE_BYTES: usize = 4 << 20;

/// A key and its value.
pub(super) type Pair = (Bytes, Bytes);

pub(super) struct Index {
    folder: Folder,
    /// Absent if it could not be opened again after an error; whoever comes next tries it.
    tree: RwLock<Option<Tree>>,
}

impl Index {
    /// Opens the index, or makes it if there is none.
    pub(super) fn open(folder: Folder) -> Result<Self, StoreError> {
        let names = folder.names().map_err(|error| failure::io(&error))?;
        if !names.iter().any(|name| name == NAME) {
            make(&folder)?;
        }
        let tree = Tree::open(&folder)?;
        Ok(Self { folder, tree: RwLock::new(Some(tree)) })
    }

    /// The last journal file that is wholly in it.
    pub(super) fn applied(&self) -> Result<u64, StoreError> {
        let value = self.snapshot()?.value(keys::APPLIED)?;
        let value =
            value.ok_or_else(|| failure::unusable("the index does not say which journal files are in it".into()))?;
        keys::read_meta(value).map(u64::from_be_bytes)
    }

    /// Takes the rows of the journal files up to `applied`; they are durable when it returns.
    pub(super) fn fill(&self, rows: &Rows, applied: u64) -> Result<(), StoreError> {
        self.with(|tree| {
            tree.is_synced_for(SyncSite::IndexFilled);
            tree.fill(rows, applied)
        })
    }

    /// What the index holds now.
    pub(super) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.with(Tree::snapshot)
    }

    /// After an error of the disk the tree refuses everything, so whoever comes next opens it again.
    fn with<T>(&self, job: impl FnOnce(&Tree) -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            if let Some(tree) = self.tree.read().as_ref().filter(|tree| !tree.trouble.is_there()) {
                return job(tree);
            }
            let mut tree = self.tree.write();
            // Somebody else may have been faster.
            if tree.as_ref().is_none_or(|tree| tree.trouble.is_there()) {
                // What is open first lets go of the file.
                *tree = None;
                *tree = Some(Tree::open(&self.folder)?);
            }
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if let Some(tree) = self.tree.get_mut() {
            tree.is_synced_for(SyncSite::IndexClosed);
        }
    }
}

pub(super) struct Snapshot {
    transaction: ReadTransaction,
    trouble: Trouble,
}

impl Snapshot {
    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.trouble.guarded(|| {
            let row = self.transaction.open_table(TABLE)?.get(key)?;
            match row {
                Some(row) => Ok(Some(Bytes::copy_from_slice(row.value()))),
                None => blocks::value(&self.transaction, key),
            }
        })
    }

    /// At most `max` rows within the bounds, from the side that `order` begins at.
    pub(super) fn range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        order: ReadOrder,
        max: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.trouble.guarded(|| {
            let table = self.transaction.open_table(TABLE)?;
            let mut range = table.range::<&[u8]>(bounds)?;
            let mut pairs = Vec::new();
            while pairs.len() < max {
                let next = match order {
                    ReadOrder::Forward => range.next(),
                    ReadOrder::Backward => range.next_back(),
                };
                let Some(next) = next else { break };
                let (key, value) = next?;
                pairs.push((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())));
            }
            Ok(over(pairs, blocks::range(&self.transaction, bounds, order, max)?, order, max))
        })
    }
}

/// Rows and what is in blocks as one; a row counts above what a block has in its place.
fn over(rows: Vec<Pair>, in_blocks: Vec<Pair>, order: ReadOrder, max: usize) -> Vec<Pair> {
    if in_blocks.is_empty() {
        return rows;
    }
    let mut pairs = Vec::with_capacity(max.min(rows.len() + in_blocks.len()));
    let (mut rows, mut in_blocks) = (rows.into_iter().peekable(), in_blocks.into_iter().peekable());
    while pairs.len() < max {
        let comes = match (rows.peek(), in_blocks.peek()) {
            (Some((row, _)), Some((in_block, _))) => match order {
                ReadOrder::Forward => row.cmp(in_block),
                ReadOrder::Backward => in_block.cmp(row),
            },
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        if comes == Ordering::Equal {
            in_blocks.next();
        }
        pairs.extend(if comes == Ordering::Greater { in_blocks.next() } else { rows.next() });
    }
    pairs
}

/// An index is whole or not there: it gets its name when it is durable. The name itself becomes
/// durable with that of the first journal file; nothing is acknowledged before.
fn make(folder: &Folder) -> Result<(), StoreError> {
    let file = folder.create(NEW_NAME).map_err(|error| failure::io(&error))?;
    let tree = Tree::on(file, SyncSite::IndexMade)?;
    tree.fill(&Rows::new(), 0)?;
    tree.close()?;
    folder.rename(NEW_NAME, NAME).map_err(|error| failure::io(&error))
}

/// The open tree.
struct Tree {
    /// Absent once it is closed.
    database: Option<Database>,
    /// What its file is synced for.
    site: Arc<Mutex<SyncSite>>,
    trouble: Trouble,
}

impl Tree {
    fn open(folder: &Folder) -> Result<Self, StoreError> {
        let file = folder.open(NAME).map_err(|error| failure::io(&error))?;
        if file.is_empty().map_err(|error| failure::io(&error))? {
            return Err(failure::unusable("the index is empty".into()));
        }
        Self::on(file, SyncSite::IndexOpened)
    }

    fn on(file: Arc<dyn DiskFile>, site: SyncSite) -> Result<Self, StoreError> {
        let site = Arc::new(Mutex::new(site));
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let file = IndexFile { file, site: Arc::clone(&site) };
        let trouble = Trouble::default();
        let database = trouble.guarded(|| Ok(builder.create_with_backend(file)?))?;
        Ok(Self { database: Some(database), site, trouble })
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_ref().ok_or(StoreError::Closed)
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let database = self.database()?;
        let transaction = self.trouble.guarded(|| Ok(database.begin_read()?))?;
        Ok(Snapshot { transaction, trouble: self.trouble.clone() })
    }

    fn is_synced_for(&self, site: SyncSite) {
        *self.site.lock() = site;
    }

    fn fill(&self, rows: &Rows, applied: u64) -> Result<(), StoreError> {
        let database = self.database()?;
        self.trouble.guarded(|| fill(database, rows, applied))
    }

    /// Marks the file as closed in order, unless there was trouble: then the next opening repairs it.
    fn close(mut self) -> Result<(), StoreError> {
        self.closed()
    }

    fn closed(&mut self) -> Result<(), StoreError> {
        let Some(database) = self.database.take() else { return Ok(()) };
        self.trouble.guarded(|| Ok(database.close()?))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = self.closed() {
            tracing::warn!(%error, "the index was not closed in order; it is repaired when it is opened");
        }
    }
}

/// Whether an error has come from an open tree that another opening may cure.
#[derive(Clone, Default)]
struct Trouble(Arc<AtomicBool>);

impl Trouble {
    fn is_there(&self) -> bool {
        self.0.load(Memory::Acquire)
    }

    /// Bytes of a disk must not end the process, and the tree panics on some damage.
    fn guarded<T>(&self, job: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let result = match catch_unwind(AssertUnwindSafe(job)) {
            Ok(result) => result.map_err(|error| failure::index(&error)),
            Err(_) => Err(failure::unusable("the index has a form that was never written".into())),
        };
        if result.as_ref().is_err_and(StoreError::is_retryable) {
            self.0.store(true, Memory::Release);
        }
        result
    }
}

fn fill(database: &Database, rows: &Rows, applied: u64) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // Opening after a crash must not walk the whole file.
    transaction.set_quick_repair(true);
    blocks::put(&transaction, rows)?;
    transaction.open_table(TABLE)?.insert(keys::APPLIED, &applied.to_be_bytes()[..])?;
    transaction.commit()?;
    Ok(())
}

#[derive(Debug)]
struct IndexFile {
    file: Arc<dyn DiskFile>,
    site: Arc<Mutex<SyncSite>>,
}

impl StorageBackend for IndexFile {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let site = *self.site.lock();
        self.file.sync(site)
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.file.write_at(offset, data)
    }
}
