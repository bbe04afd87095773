//! An event store of three replicas in memory. A write reaches them one by one, in any order, and is
//! durable once two have it; a read asks two and takes what has the higher time. What is on its way
//! goes on when the writer is gone, late or never.

mod replica;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use panda_protocol::{EntityId, Incarnation, Seq, ShardId};
use panda_storage::{
    Checkpoint, Copies, ENTITIES_AT_ONCE_MAX, EntityStore, EpochStore, EventBatch, EventRow, EventStore, LogEpoch,
    LogIdentity, OwedEffect, ReadOrder, RowKey, SendWhile, StateRow, StoreError,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

pub(crate) use self::replica::Replica;
use self::replica::{Change, newer};
use self::stop::Yield;

struct InTransit {
    write: u64,
    replica: usize,
    change: Change,
}

struct Inner {
    replicas: [Replica; 3],
    transit: Vec<InTransit>,
    /// How many replicas confirmed a write.
    acks: BTreeMap<u64, usize>,
    next_write: u64,
    random: StdRng,
    /// Every write arrives everywhere at once.
    calm: bool,
    /// What is stored of these cannot be read.
    damaged: BTreeSet<EntityId>,
    /// Rows of events that are not even in the form of rows.
    damaged_events: BTreeSet<(EntityId, Seq)>,
    /// Its tables are not what they were.
    altered: bool,
    /// Events of a partition, which no write may leave.
    bucket_events: u64,
    /// The epoch of the log that is in force.
    epoch: Option<LogEpoch>,
    /// How often somebody asked for it, and whether nobody is answered for now.
    epoch_reads: usize,
    epoch_held: watch::Sender<bool>,
    /// Writes that wait for their place, and whether none gets one for now.
    writes_waiting: usize,
    writes_held: watch::Sender<bool>,
    /// Reads of rows that wait for an answer, how many did at most, and whether none gets one for now.
    reads_waiting: usize,
    reads_waiting_max: usize,
    reads_held: watch::Sender<bool>,
}

#[derive(Clone)]
pub(crate) struct MemoryStore(Arc<Mutex<Inner>>, SendWhile);

impl MemoryStore {
    pub(crate) fn new(seed: u64, calm: bool, bucket_events: u64) -> Self {
        Self(
            Arc::new(Mutex::new(Inner {
                replicas: Default::default(),
                transit: Vec::new(),
                acks: BTreeMap::new(),
                next_write: 0,
                random: StdRng::seed_from_u64(seed),
                calm,
                damaged: BTreeSet::new(),
                damaged_events: BTreeSet::new(),
                altered: false,
                bucket_events,
                epoch: None,
                epoch_reads: 0,
                epoch_held: watch::channel(false).0,
                writes_waiting: 0,
                writes_held: watch::channel(false).0,
                reads_waiting: 0,
                reads_waiting_max: 0,
                reads_held: watch::channel(false).0,
            })),
            SendWhile::default(),
        )
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics while it holds the store")
    }

    /// One message arrives somewhere, or is lost if its write does not depend on it.
    pub(crate) fn deliver(&self) -> bool {
        let inner = &mut *self.inner();
        if inner.transit.is_empty() {
            return false;
        }
        let index = inner.random.random_range(0..inner.transit.len());
        let InTransit { write, replica, change } = inner.transit.swap_remove(index);
        let acks = inner.acks.entry(write).or_default();
        if *acks >= 2 && inner.random.random_bool(0.3) {
            return true;
        }
        *acks += 1;
        inner.replicas[replica].take(&change);
        true
    }

    /// Loses some of what is on its way: of writes whose writer is gone too.
    pub(crate) fn lose(&self) {
        let inner = &mut *self.inner();
        let random = &mut inner.random;
        inner.transit.retain(|_| random.random_bool(0.7));
    }

    /// Leaves a write on one replica, as a writer that died does.
    pub(crate) fn leave_on_one(&self, batch: EventBatch) {
        self.inner().replicas[0].take(&Change::Events(batch));
    }

    /// From here on nothing that is stored of an entity can be read.
    pub(crate) fn damage(&self, entity: EntityId) {
        self.inner().damaged.insert(entity);
    }

    /// From here on no read can pass over this event.
    pub(crate) fn damage_event(&self, entity: EntityId, seq: Seq) {
        self.inner().damaged_events.insert((entity, seq));
    }

    fn sound_events(&self, entity: EntityId, rows: Vec<EventRow>) -> Result<Vec<EventRow>, StoreError> {
        let inner = self.inner();
        match rows.iter().find(|row| inner.damaged_events.contains(&(entity, row.seq))) {
            Some(_) => Err(StoreError::Corrupt("a row has the wrong form".into())),
            None => Ok(rows),
        }
    }

    /// Of which nothing can be read now.
    pub(crate) fn damaged(&self) -> BTreeSet<EntityId> {
        self.inner().damaged.clone()
    }

    /// Everything can be read.
    pub(crate) fn mend(&self) {
        self.inner().damaged.clear();
    }

    /// From here on no request for events or rows is understood.
    pub(crate) fn alter(&self) {
        self.inner().altered = true;
    }

    fn sound(&self, entity: EntityId) -> Result<(), StoreError> {
        if self.inner().altered {
            return Err(StoreError::Unusable("its tables are not what they were".into()));
        }
        if self.inner().damaged.contains(&entity) {
            return Err(StoreError::Corrupt("a row has the wrong form".into()));
        }
        Ok(())
    }

    /// Changes what is stored everywhere, as no writer does.
    pub(crate) fn change(&self, change: impl Fn(&mut Replica)) {
        self.inner().replicas.iter_mut().for_each(change);
    }

    /// Forgets everything of an entity, everywhere.
    pub(crate) fn forget(&self, entity: EntityId) {
        for replica in &mut self.inner().replicas {
            replica.events.retain(|(of, _), _| *of != entity);
            replica.state.retain(|(of, _), _| *of != entity);
        }
    }

    /// Loses an event, everywhere.
    pub(crate) fn lose_event(&self, entity: EntityId, seq: Seq) {
        self.inner().replicas.iter_mut().for_each(|replica| drop(replica.events.remove(&(entity, seq))));
    }

    /// Whether so many replicas hold an event that every read finds it.
    pub(crate) fn is_durable(&self, entity: EntityId, seq: Seq) -> bool {
        let inner = self.inner();
        inner.replicas.iter().filter(|replica| replica.events.contains_key(&(entity, seq))).count() >= 2
    }

    /// The highest event that any replica holds.
    pub(crate) fn highest(&self, entity: EntityId) -> Seq {
        let inner = self.inner();
        let last = |replica: &Replica| {
            let mut rows = replica.events.range((entity, Seq(0))..=(entity, Seq(u64::MAX)));
            rows.next_back().map_or(Seq(0), |((_, seq), _)| *seq)
        };
        inner.replicas.iter().map(last).max().unwrap_or_default()
    }

    /// Entities whose last command is stored in part.
    pub(crate) fn half_commands(&self) -> usize {
        let all = self.all();
        let mut lasts: BTreeMap<EntityId, &EventRow> = BTreeMap::new();
        for ((entity, _), row) in &all.events {
            lasts.insert(*entity, row);
        }
        lasts.values().filter(|last| last.index + 1 < last.count).count()
    }

    /// What all replicas hold together.
    pub(crate) fn all(&self) -> Replica {
        let inner = self.inner();
        let mut all = inner.replicas[0].clone();
        all.merge(&inner.replicas[1]);
        all.merge(&inner.replicas[2]);
        all
    }

    fn events_of(&self, copies: Copies) -> BTreeMap<(EntityId, Seq), EventRow> {
        match copies {
            Copies::All => self.all().events,
            Copies::Enough => {
                let (mut one, other) = self.quorum(Replica::clone);
                one.merge(&other);
                one.events
            }
        }
    }

    /// What is on its way arrives, and what one replica holds comes to the others.
    pub(crate) fn repair(&self) {
        while self.deliver() {}
        let all = self.all();
        self.inner().replicas.fill(all);
    }

    /// From here on another epoch of the log is in force.
    pub(crate) fn open_epoch(&self, epoch: u32) {
        let log = LogIdentity { cluster: "cluster".into(), topic: format!("topic-{epoch}") };
        self.inner().epoch = Some(LogEpoch { epoch, log });
    }

    /// Whether writes wait for a place.
    pub(crate) fn hold_writes(&self, hold: bool) {
        self.inner().writes_held.send_replace(hold);
    }

    pub(crate) fn writes_waiting(&self) -> usize {
        self.inner().writes_waiting
    }

    /// Whether who reads rows waits for the answer.
    pub(crate) fn hold_reads(&self, hold: bool) {
        self.inner().reads_held.send_replace(hold);
    }

    pub(crate) fn reads_waiting_max(&self) -> usize {
        self.inner().reads_waiting_max
    }

    /// Whether who asks for the epoch waits for the answer.
    pub(crate) fn hold_epoch(&self, hold: bool) {
        self.inner().epoch_held.send_replace(hold);
    }

    pub(crate) fn epoch_reads(&self) -> usize {
        self.inner().epoch_reads
    }

    /// What two replicas hold: as a read would see it.
    fn quorum<T>(&self, read: impl Fn(&Replica) -> T) -> (T, T) {
        let inner = &mut *self.inner();
        let left_out = inner.random.random_range(0..3);
        let (one, other) = ((left_out + 1) % 3, (left_out + 2) % 3);
        (read(&inner.replicas[one]), read(&inner.replicas[other]))
    }

    /// The highest that two replicas hold.
    pub(crate) fn read_checkpoint(&self, shard: ShardId) -> Option<Checkpoint> {
        let (one, other) = self.quorum(|replica| replica.checkpoints.get(&shard).copied());
        one.into_iter().chain(other).max_by_key(|checkpoint| checkpoint.position)
    }

    async fn write(&self, change: Change) -> Result<(), StoreError> {
        Yield(false).await;
        let mut held = {
            let mut inner = self.inner();
            inner.writes_waiting += 1;
            inner.writes_held.subscribe()
        };
        let held = held.wait_for(|held| !held).await.map(drop);
        self.inner().writes_waiting -= 1;
        held.map_err(|_| StoreError::Closed)?;
        self.1.check()?;
        let write = {
            let inner = &mut *self.inner();
            if inner.calm {
                inner.replicas.iter_mut().for_each(|replica| replica.take(&change));
                return Ok(());
            }
            inner.next_write += 1;
            let write = inner.next_write;
            inner.transit.extend((0..3).map(|replica| InTransit { write, replica, change: change.clone() }));
            write
        };
        loop {
            {
                let inner = self.inner();
                if inner.acks.get(&write).is_some_and(|acks| *acks >= 2) {
                    return Ok(());
                }
                // What was lost is not coming: the writer learns it, and writes again.
                if !inner.transit.iter().any(|message| message.write == write) {
                    return Err(StoreError::Unavailable("replicas are away".into()));
                }
            }
            Yield(false).await;
        }
    }
}

impl EventStore for MemoryStore {
    fn incarnation(&self) -> Incarnation {
        Incarnation(*b"in tests")
    }

    fn sending_while(&self, may: SendWhile) -> Self {
        Self(Arc::clone(&self.0), may)
    }

    async fn write_events(&self, batch: EventBatch) -> Result<(), StoreError> {
        let bytes: usize = batch.rows.iter().map(|row| row.event.len()).sum();
        assert!(batch.rows.len() <= 128 && bytes <= 256 * 1024, "a write has its limits");
        let bucket_events = self.inner().bucket_events;
        let buckets = batch.rows.iter().map(|row| row.seq.0 / bucket_events);
        assert_eq!(buckets.clone().min(), buckets.max(), "a write stays in one bucket");
        self.write(Change::Events(batch)).await
    }

    async fn read_events(
        &self,
        entity: EntityId,
        from: Seq,
        order: ReadOrder,
        limit: usize,
        _bytes_max: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        Yield(false).await;
        self.sound(entity)?;
        let read = |replica: &Replica| -> BTreeMap<Seq, EventRow> {
            let (low, high) = match order {
                ReadOrder::Forward => (from, Seq(u64::MAX)),
                ReadOrder::Backward => (Seq(0), from),
            };
            let rows = replica.events.range((entity, low)..=(entity, high));
            rows.map(|((_, seq), row)| (*seq, row.clone())).collect()
        };
        let (one, other) = self.quorum(read);
        let mut seqs: Vec<Seq> = one.keys().chain(other.keys()).copied().collect();
        seqs.sort_unstable();
        seqs.dedup();
        if order == ReadOrder::Backward {
            seqs.reverse();
        }
        let row = |seq: &Seq| newer(one.get(seq), other.get(seq), |row| row.time);
        self.sound_events(entity, seqs.iter().take(limit).filter_map(row).collect())
    }

    async fn write_state(&self, entity: EntityId, rows: Vec<StateRow>) -> Result<(), StoreError> {
        self.write(Change::State(entity, rows)).await
    }

    async fn sync_state(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn read_state(&self, entity: EntityId, keys: Vec<RowKey>) -> Result<Vec<Option<StateRow>>, StoreError> {
        Yield(false).await;
        let mut held = {
            let mut inner = self.inner();
            inner.reads_waiting += 1;
            inner.reads_waiting_max = inner.reads_waiting_max.max(inner.reads_waiting);
            inner.reads_held.subscribe()
        };
        let held = held.wait_for(|held| !held).await.map(drop);
        self.inner().reads_waiting -= 1;
        held.map_err(|_| StoreError::Closed)?;
        self.sound(entity)?;
        let (one, other) = self.quorum(|replica| {
            let get = |key: &RowKey| replica.state.get(&(entity, key.clone())).cloned();
            keys.iter().map(get).collect::<Vec<_>>()
        });
        let both = one.iter().zip(&other);
        Ok(both.map(|(one, other)| newer(one.as_ref(), other.as_ref(), |row| row.time)).collect())
    }

    async fn scan_state(
        &self,
        entity: EntityId,
        kind: u8,
        after: Option<Bytes>,
        limit: usize,
    ) -> Result<Vec<StateRow>, StoreError> {
        Yield(false).await;
        self.sound(entity)?;
        let (mut one, other) = self.quorum(Replica::clone);
        one.merge(&other);
        let of_kind = one.state.into_iter().filter(|((of, key), _)| *of == entity && key.kind == kind);
        let behind = of_kind.filter(|((_, key), _)| after.as_ref().is_none_or(|after| key.key > *after));
        Ok(behind.map(|(_, row)| row).filter(|row| row.value.is_some()).take(limit).collect())
    }

    async fn owed_effects(&self) -> Result<Vec<OwedEffect>, StoreError> {
        Ok(Vec::new())
    }

    async fn checkpoint(&self, shard: ShardId) -> Result<Option<Checkpoint>, StoreError> {
        Yield(false).await;
        Ok(self.read_checkpoint(shard))
    }

    async fn write_checkpoint(&self, shard: ShardId, checkpoint: Checkpoint) -> Result<(), StoreError> {
        checkpoint.check()?;
        self.write(Change::Checkpoint(shard, checkpoint)).await
    }
}

impl EntityStore for MemoryStore {
    async fn entities(
        &self,
        copies: Copies,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityId>, StoreError> {
        Yield(false).await;
        let events = self.events_of(copies).into_keys();
        let mut entities: Vec<_> = events.map(|(entity, _)| entity).filter(|entity| Some(*entity) > after).collect();
        entities.dedup();
        entities.truncate(limit.min(ENTITIES_AT_ONCE_MAX));
        Ok(entities)
    }

    async fn read_events_of(
        &self,
        copies: Copies,
        entity: EntityId,
        from: Seq,
        order: ReadOrder,
        limit: usize,
        _bytes_max: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        Yield(false).await;
        self.sound(entity)?;
        let events = self.events_of(copies);
        let rows = match order {
            ReadOrder::Forward => {
                let rows = events.range((entity, from)..=(entity, Seq(u64::MAX)));
                rows.map(|(_, row)| row.clone()).take(limit).collect()
            }
            ReadOrder::Backward => {
                let rows = events.range((entity, Seq(0))..=(entity, from)).rev();
                rows.map(|(_, row)| row.clone()).take(limit).collect()
            }
        };
        self.sound_events(entity, rows)
    }
}

impl EpochStore for MemoryStore {
    async fn log_epoch(&self) -> Result<Option<LogEpoch>, StoreError> {
        Yield(false).await;
        let mut held = {
            let mut inner = self.inner();
            inner.epoch_reads += 1;
            inner.epoch_held.subscribe()
        };
        held.wait_for(|held| !held).await.map_err(|_| StoreError::Closed)?;
        Ok(self.inner().epoch.clone())
    }

    async fn open_log_epoch(&self, after: Option<u32>, next: LogEpoch) -> Result<LogEpoch, StoreError> {
        Yield(false).await;
        let epoch = &mut self.inner().epoch;
        let stored = epoch.as_ref().map(|stored| stored.epoch);
        if stored == after && stored.is_none_or(|stored| stored < next.epoch) {
            *epoch = Some(next);
        }
        Ok(epoch.clone().expect("one is in force"))
    }
}
