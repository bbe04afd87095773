//! The index: a B-tree that holds what journal files held. It is filled in large, sorted, durable
//! steps, so it costs a commit nothing; the journal has what it lacks.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use redb::{Database, ReadTransaction, ReadableDatabase as _, StorageBackend, TableDefinition};

use super::disk::{Disk, DiskFile, SyncPoint};
use super::keys;
use super::tables::Rows;
use crate::error::StoreError;
use crate::event_store::ReadOrder;

use super::failure;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const NAME: &str = "index";
/// Being made; it takes its name when it is whole.
const NEW_NAME: &str = "index.new";
/// Memory for pages that were read or are being written.
const CACHE_BYTES: usize = 64 << 20;

/// A key and its value.
pub(super) type Pair = (Bytes, Bytes);

pub(super) struct Index {
    disk: Arc<dyn Disk>,
    /// Absent while it could not be opened again after an error.
    database: RwLock<Option<Database>>,
}

impl Index {
    /// Opens the index, or makes it if there is none.
    pub(super) fn open(disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let names = disk.names().map_err(|error| failure::io(&error))?;
        if !names.iter().any(|name| name == NAME) {
            make(disk.as_ref())?;
        }
        let database = open(disk.as_ref())?;
        Ok(Self { disk, database: RwLock::new(Some(database)) })
    }

    /// The last journal file that is wholly in it.
    pub(super) fn applied(&self) -> Result<u64, StoreError> {
        let value = self.snapshot()?.value(keys::APPLIED)?;
        let value =
            value.ok_or_else(|| failure::corrupt("the index does not say which journal files are in it".into()))?;
        keys::read_meta(value).map(u64::from_be_bytes)
    }

    /// Takes the rows of the journal files up to `applied`; they are durable when it returns.
    pub(super) fn fill(&self, rows: &Rows, applied: u64) -> Result<(), StoreError> {
        let result = match self.database.read().as_ref() {
            Some(database) => fill(database, rows, applied).map_err(|error| failure::index(&error)),
            None => Err(StoreError::Unavailable("the index is not open".into())),
        };
        if result.is_err() {
            // After an error of the disk the database refuses everything until it is opened again.
            self.reopen()?;
        }
        result
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write();
        *database = None;
        *database = Some(open(self.disk.as_ref())?);
        Ok(())
    }

    /// What the index holds now.
    pub(super) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let database = self.database.read();
        let database = database.as_ref().ok_or_else(|| StoreError::Unavailable("the index is not open".into()))?;
        let transaction = database.begin_read().map_err(|error| failure::index(&error.into()))?;
        Ok(Snapshot { transaction })
    }
}

pub(super) struct Snapshot {
    transaction: ReadTransaction,
}

impl Snapshot {
    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let read = || -> Result<Option<Bytes>, redb::Error> {
            let table = self.transaction.open_table(TABLE)?;
            Ok(table.get(key)?.map(|value| Bytes::copy_from_slice(value.value())))
        };
        read().map_err(|error| failure::index(&error))
    }

    /// At most `max` rows within the bounds, from the side that `order` begins at.
    pub(super) fn range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        order: ReadOrder,
        max: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        let read = || -> Result<Vec<Pair>, redb::Error> {
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
            Ok(pairs)
        };
        read().map_err(|error| failure::index(&error))
    }
}

fn fill(database: &Database, rows: &Rows, applied: u64) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // Opening after a crash must not walk the whole file.
    transaction.set_quick_repair(true);
    {
        let mut table = transaction.open_table(TABLE)?;
        for (key, value) in rows {
            match value {
                Some(value) => drop(table.insert(&key[..], &value[..])?),
                None => drop(table.remove(&key[..])?),
            }
        }
        table.insert(keys::APPLIED, &applied.to_be_bytes()[..])?;
    }
    transaction.commit()?;
    Ok(())
}

/// An index is whole or not there: it gets its name when it is durable. The name itself becomes
/// durable with that of the first journal file; nothing is acknowledged before.
fn make(disk: &dyn Disk) -> Result<(), StoreError> {
    let file = disk.create(NEW_NAME).map_err(|error| failure::io(&error))?;
    let database = open_file(file)?;
    fill(&database, &Rows::new(), 0).map_err(|error| failure::index(&error))?;
    drop(database);
    disk.rename(NEW_NAME, NAME).map_err(|error| failure::io(&error))
}

fn open(disk: &dyn Disk) -> Result<Database, StoreError> {
    let file = disk.open(NAME).map_err(|error| failure::io(&error))?;
    if file.is_empty().map_err(|error| failure::io(&error))? {
        return Err(failure::corrupt("the index is empty".into()));
    }
    open_file(file)
}

fn open_file(file: Arc<dyn DiskFile>) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.create_with_backend(IndexFile(file)).map_err(|error| failure::index(&error.into()))
}

#[derive(Debug)]
struct IndexFile(Arc<dyn DiskFile>);

impl StorageBackend for IndexFile {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync(SyncPoint::Index)
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, data)
    }
}
