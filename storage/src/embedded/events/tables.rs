//! All rows: those of the journal's newest files in memory, the others in the index.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::index::{Index, Pair};
use super::journal::Operation;
use crate::error::StoreError;
use crate::event_store::ReadOrder;

/// Rows by key; one without a value was removed.
pub(super) type Rows = BTreeMap<Bytes, Option<Bytes>>;

/// What a row costs beside its bytes.
const ROW_OVERHEAD: usize = 96;

pub(super) struct Tables {
    memory: RwLock<Memory>,
    index: Index,
}

#[derive(Default)]
struct Memory {
    /// Of the journal file that is written.
    active: Rows,
    active_bytes: usize,
    /// Of the files before it, on their way into the index.
    frozen: Option<Arc<Rows>>,
}

impl Memory {
    fn put(&mut self, operation: Operation) {
        self.active_bytes += operation.len() + ROW_OVERHEAD;
        self.active.insert(operation.key, operation.value);
    }

    /// The outer option says whether memory knows the key.
    fn value(&self, key: &[u8]) -> Option<Option<Bytes>> {
        self.active.get(key).or_else(|| self.frozen.as_ref()?.get(key)).cloned()
    }

    /// At most `max` rows in order; whether there may be more.
    fn range(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>), order: ReadOrder, max: usize) -> Part<Option<Bytes>> {
        let active = Part::take(walk(&self.active, bounds, order), max);
        match &self.frozen {
            Some(frozen) => active.over(Part::take(walk(frozen, bounds, order), max), order),
            None => active,
        }
    }
}

type Walk<'a> = Box<dyn Iterator<Item = (Bytes, Option<Bytes>)> + 'a>;

fn walk<'a>(rows: &'a Rows, bounds: (Bound<&[u8]>, Bound<&[u8]>), order: ReadOrder) -> Walk<'a> {
    let range = rows.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone()));
    match order {
        ReadOrder::Forward => Box::new(range),
        ReadOrder::Backward => Box::new(range.rev()),
    }
}

/// The beginning of a range in one source; it is whole if `reaches` is none.
struct Part<V> {
    rows: Vec<(Bytes, V)>,
    /// The last key up to which it knows everything.
    reaches: Option<Bytes>,
}

impl<V> Part<V> {
    fn take(rows: impl Iterator<Item = (Bytes, V)>, max: usize) -> Self {
        let rows: Vec<_> = rows.take(max).collect();
        let reaches = if rows.len() < max { None } else { rows.last().map(|(key, _)| key.clone()) };
        Self { rows, reaches }
    }
}

impl Part<Option<Bytes>> {
    /// Both, where this one's rows count above the other's.
    fn over(self, below: Self, order: ReadOrder) -> Self {
        let reaches = match (self.reaches, below.reaches) {
            (Some(one), Some(other)) => Some(if is_before(&one, &other, order) { one } else { other }),
            (one, other) => one.or(other),
        };
        let mut rows: BTreeMap<_, _> = below.rows.into_iter().collect();
        rows.extend(self.rows);
        let known = |key: &Bytes| reaches.as_ref().is_none_or(|reaches| !is_before(reaches, key, order));
        let rows = rows.into_iter().filter(|(key, _)| known(key));
        let rows = match order {
            ReadOrder::Forward => rows.collect(),
            ReadOrder::Backward => rows.rev().collect(),
        };
        Self { rows, reaches }
    }
}

fn is_before(one: &Bytes, other: &Bytes, order: ReadOrder) -> bool {
    match order {
        ReadOrder::Forward => one < other,
        ReadOrder::Backward => one > other,
    }
}

/// The beginning of a range.
pub(super) struct Page {
    /// Rows that are there, in order; may be none although there are more.
    pub(super) rows: Vec<Pair>,
    /// Where to go on: behind this key.
    pub(super) next: Option<Bytes>,
}

impl Tables {
    pub(super) fn new(index: Index) -> Self {
        Self { memory: RwLock::default(), index }
    }

    /// Makes rows visible.
    pub(super) fn put(&self, operations: impl IntoIterator<Item = Operation>) {
        let mut memory = self.memory.write();
        for operation in operations {
            memory.put(operation);
        }
    }

    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let snapshot = {
            let memory = self.memory.read();
            if let Some(value) = memory.value(key) {
                return Ok(value);
            }
            // Under the lock: rows that leave memory later are in this snapshot or were in memory.
            self.index.snapshot()?
        };
        snapshot.value(key)
    }

    /// The first rows within the bounds, looking at `max` of them or somewhat more (at least 1).
    pub(super) fn page(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        order: ReadOrder,
        max: usize,
    ) -> Result<Page, StoreError> {
        let (memory, snapshot) = {
            let memory = self.memory.read();
            (memory.range(bounds, order, max), self.index.snapshot()?)
        };
        let stored = snapshot.range(bounds, order, max)?;
        let stored = Part::take(stored.into_iter().map(|(key, value)| (key, Some(value))), max);
        let part = memory.over(stored, order);
        let rows = part.rows.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Ok(Page { rows, next: part.reaches })
    }

    pub(super) fn active_bytes(&self) -> usize {
        self.memory.read().active_bytes
    }

    /// Takes the active rows out of the way of new ones. Only while nothing is frozen.
    pub(super) fn freeze(&self) {
        let mut memory = self.memory.write();
        debug_assert!(memory.frozen.is_none(), "those rows would be nowhere until the index has them");
        memory.active_bytes = 0;
        memory.frozen = Some(Arc::new(std::mem::take(&mut memory.active)));
    }

    /// Moves what is frozen, the rows of the journal files up to `number`, into the index.
    pub(super) fn fill_index(&self, number: u64) -> Result<(), StoreError> {
        let frozen = self.memory.read().frozen.clone();
        match frozen {
            Some(frozen) => self.index.fill(&frozen, number),
            // It is there already, and only the files are left to be removed.
            None => Ok(()),
        }
    }

    /// Forgets the frozen rows: the index has them.
    pub(super) fn thaw(&self) {
        let frozen = self.memory.write().frozen.take();
        // Freeing many rows takes a while: not under the lock.
        drop(frozen);
    }
}
