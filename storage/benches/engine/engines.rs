//! Two engines that keep the same promise: an append returns when its event survives the loss of power, a write with a
//! lower time than what is stored changes nothing, and whatever waits shares one sync.

use std::path::Path;
use std::thread::JoinHandle;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use panda_protocol::{EntityId, Seq};
use panda_storage::embedded::{DataFolder, EmbeddedEvents};
use panda_storage::event_store::{EventBatch, EventRow, EventStore as _, ReadOrder};
use tokio::sync::{mpsc, oneshot};

use crate::load::LAST;

/// As many as the embedded store takes at once.
const GROUP_MAX: usize = 1_024;

pub(crate) trait Engine: Send + Sync + 'static {
    const NAME: &'static str;

    fn open(folder: &Path) -> Self;
    /// Returns once the event is durable.
    fn append(&self, entity: EntityId, row: EventRow) -> impl Future<Output = ()> + Send;
    /// How many of the last events were found.
    fn last(&self, entity: EntityId) -> impl Future<Output = usize> + Send;
    fn close(self) -> impl Future<Output = ()> + Send;
}

pub(crate) struct Ours {
    _folder: DataFolder,
    store: EmbeddedEvents,
}

impl Engine for Ours {
    const NAME: &'static str = "journal and redb";

    fn open(folder: &Path) -> Self {
        let folder = DataFolder::open(folder).unwrap();
        let store = EmbeddedEvents::open(&folder).unwrap();
        Self { _folder: folder, store }
    }

    async fn append(&self, entity: EntityId, row: EventRow) {
        let batch = EventBatch { entity, rows: vec![row], owes: Vec::new(), settles: Vec::new() };
        self.store.write_events(batch).await.unwrap();
    }

    async fn last(&self, entity: EntityId) -> usize {
        self.store.read_events(entity, Seq(u64::MAX), ReadOrder::Backward, LAST, usize::MAX).await.unwrap().len()
    }

    async fn close(self) {
        self.store.close().await.unwrap();
    }
}

struct Append {
    entity: EntityId,
    row: EventRow,
    done: oneshot::Sender<()>,
}

pub(crate) struct Fjall {
    rows: Keyspace,
    appends: mpsc::Sender<Append>,
    writer: JoinHandle<()>,
}

impl Engine for Fjall {
    const NAME: &'static str = "fjall";

    fn open(folder: &Path) -> Self {
        let database = Database::builder(folder).open().unwrap();
        let rows = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
        let (appends, waiting) = mpsc::channel(2 * GROUP_MAX);
        let written = rows.clone();
        let writer = std::thread::spawn(move || write(&database, &written, waiting));
        Self { rows, appends, writer }
    }

    async fn append(&self, entity: EntityId, row: EventRow) {
        let (done, is_done) = oneshot::channel();
        self.appends.send(Append { entity, row, done }).await.unwrap_or_else(|_| panic!("the writer ended"));
        is_done.await.unwrap();
    }

    async fn last(&self, entity: EntityId) -> usize {
        let rows = self.rows.clone();
        let read = move || {
            let of_entity = rows.range(key(entity, Seq(0))..=key(entity, Seq(u64::MAX)));
            of_entity.rev().take(LAST).map(|row| row.into_inner().unwrap().1.len()).filter(|len| *len > 0).count()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    async fn close(self) {
        let Self { rows, appends, writer } = self;
        drop((rows, appends));
        writer.join().unwrap();
    }
}

fn write(database: &Database, rows: &Keyspace, mut waiting: mpsc::Receiver<Append>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![first];
        while let (true, Ok(next)) = (group.len() < GROUP_MAX, waiting.try_recv()) {
            group.push(next);
        }
        let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
        for Append { entity, row, .. } in &group {
            let key = key(*entity, row.seq);
            let stored = rows.get(key).unwrap();
            if stored.is_none_or(|stored| stored[..8] < row.time.0.to_be_bytes()[..]) {
                batch.insert(rows, key, value(row));
            }
        }
        batch.commit().unwrap();
        for append in group {
            append.done.send(()).unwrap();
        }
    }
}

fn key(entity: EntityId, seq: Seq) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(entity.as_bytes());
    key[16..].copy_from_slice(&seq.0.to_be_bytes());
    key
}

fn value(row: &EventRow) -> Vec<u8> {
    let mut value = Vec::with_capacity(row.event.len() + 22);
    value.extend(row.time.0.to_be_bytes());
    value.extend(row.position.epoch.to_be_bytes());
    value.extend(row.position.offset.to_be_bytes());
    value.extend([row.index, row.count]);
    value.extend(&row.event);
    value
}
