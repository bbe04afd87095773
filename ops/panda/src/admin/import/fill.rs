//! Writes the records of an archive into the stores, many side by side. Nothing reads them meanwhile, so their order
//! is of no matter.

use std::mem;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use panda_access::{FleetSecret, SigningKey};
use panda_protocol::EntityId;
use panda_protocol::limits::{COMMAND_EVENTS_MAX, WRITE_BYTES_MAX};
use panda_storage::event_store::BUCKET_EVENTS;
use panda_storage::user_store::{Credential, SealedSigningKey, USERS_MAX};
use panda_storage::{EventBatch, EventRow, EventStore, StateRow, StoreError, UserStore};
use tokio::time::Instant;

use super::super::archive::{ArchiveDigest, Reading, Record};
use super::EVENT_STORE;
use super::empty::store_error;
use crate::cluster::services::patiently;

/// Writes that are on their way at once.
const WRITES_AT_ONCE: usize = 64;
/// State rows of a write, and bytes of them.
const ROWS_A_WRITE: usize = 128;
const USER_STORE: &str = "the user store";
/// How often the log says how far it is.
const REMIND: Duration = Duration::from_secs(10);

/// Writes everything that the archive holds. Returns its digest.
///
/// # Errors
/// Of the archive and the stores; what is away is waited for.
pub(super) async fn fill<S: EventStore, U: UserStore>(
    mut reading: Reading,
    events: &S,
    users: &U,
    fleet: &FleetSecret,
) -> anyhow::Result<ArchiveDigest> {
    let mut filling = Filling::new(events, users);
    while let Some(record) = reading.next()? {
        match record {
            Record::Header(_) => {}
            Record::SigningKey(key) => filling.signing_key(key, fleet).await?,
            Record::ApiKey(key) => {
                patiently(USER_STORE, async || users.add_api_key(key.clone()).await.map_err(store_error)).await?;
            }
            Record::User(user) => filling.user(user).await?,
            Record::Entity(entity) => filling.entity(entity).await?,
            Record::Event(row) => filling.event(row).await?,
            Record::Row(row) => filling.row(row).await?,
        }
    }
    filling.end().await?;
    let (_, _, digest) = reading.finish()?;
    Ok(digest)
}

type Write<'a> = Pin<Box<dyn Future<Output = Result<(), StoreError>> + 'a>>;

struct Filling<'a, S, U> {
    events: &'a S,
    users: &'a U,
    waiting_users: Vec<Credential>,
    /// Of the entity that is read.
    entity: Option<EntityId>,
    waiting_events: Vec<EventRow>,
    waiting_rows: Vec<StateRow>,
    /// Of what waits.
    bytes: usize,
    writes: FuturesUnordered<Write<'a>>,
    entities: u64,
    told: Instant,
}

impl<'a, S: EventStore, U: UserStore> Filling<'a, S, U> {
    fn new(events: &'a S, users: &'a U) -> Self {
        Self {
            events,
            users,
            waiting_users: Vec::new(),
            entity: None,
            waiting_events: Vec::new(),
            waiting_rows: Vec::new(),
            bytes: 0,
            writes: FuturesUnordered::new(),
            entities: 0,
            told: Instant::now(),
        }
    }

    /// Seals it under this cluster's secret. One that no longer opens is of no use, and stays behind.
    async fn signing_key(&self, key: SealedSigningKey, fleet: &FleetSecret) -> anyhow::Result<()> {
        let Ok(opened) = SigningKey::open(fleet, &key.kid, &key.sealed) else {
            tracing::warn!(kid = key.kid, "a signing key does not open with this fleet secret and stays behind");
            return Ok(());
        };
        let key = SealedSigningKey { sealed: opened.seal(fleet).context("seal a signing key")?, ..key };
        patiently(USER_STORE, async || self.users.add_signing_key(key.clone()).await.map_err(store_error)).await?;
        Ok(())
    }

    async fn user(&mut self, user: Credential) -> anyhow::Result<()> {
        self.waiting_users.push(user);
        if self.waiting_users.len() >= USERS_MAX { self.write_users().await } else { Ok(()) }
    }

    async fn write_users(&mut self) -> anyhow::Result<()> {
        let users = mem::take(&mut self.waiting_users);
        patiently(USER_STORE, async || self.users.import_users(users.clone()).await.map_err(store_error)).await?;
        Ok(())
    }

    async fn entity(&mut self, entity: EntityId) -> anyhow::Result<()> {
        self.write_users().await?;
        self.write().await?;
        self.entity = Some(entity);
        self.entities += 1;
        if self.told.elapsed() >= REMIND {
            self.told = Instant::now();
            tracing::info!(entities = self.entities, "chats and inboxes are imported");
        }
        Ok(())
    }

    async fn event(&mut self, row: EventRow) -> anyhow::Result<()> {
        let ends = self.waiting_events.last().is_some_and(|last| {
            last.seq.0 / BUCKET_EVENTS != row.seq.0 / BUCKET_EVENTS
                || self.waiting_events.len() >= COMMAND_EVENTS_MAX
                || self.bytes + row.event.len() > WRITE_BYTES_MAX
        });
        if ends {
            self.write().await?;
        }
        self.bytes += row.event.len();
        self.waiting_events.push(row);
        Ok(())
    }

    async fn row(&mut self, row: StateRow) -> anyhow::Result<()> {
        let bytes = row.key.key.len() + row.value.as_ref().map_or(0, bytes::Bytes::len);
        let full = self.waiting_rows.len() >= ROWS_A_WRITE || self.bytes + bytes > WRITE_BYTES_MAX;
        if full || !self.waiting_events.is_empty() {
            self.write().await?;
        }
        self.bytes += bytes;
        self.waiting_rows.push(row);
        Ok(())
    }

    /// Starts to write what waits, once there is room.
    async fn write(&mut self) -> anyhow::Result<()> {
        self.bytes = 0;
        let (rows, state) = (mem::take(&mut self.waiting_events), mem::take(&mut self.waiting_rows));
        let events = self.events;
        let Some(entity) = self.entity else {
            if rows.is_empty() && state.is_empty() {
                return Ok(());
            }
            bail!("rows of no entity");
        };
        if !rows.is_empty() {
            let batch = EventBatch { entity, rows, owes: Vec::new(), settles: Vec::new() };
            self.start(Box::pin(async move {
                patiently(EVENT_STORE, async || events.write_events(batch.clone()).await).await
            }))
            .await?;
        }
        if !state.is_empty() {
            self.start(Box::pin(async move {
                patiently(EVENT_STORE, async || events.write_state(entity, state.clone()).await).await
            }))
            .await?;
        }
        Ok(())
    }

    async fn start(&mut self, write: Write<'a>) -> anyhow::Result<()> {
        while self.writes.len() >= WRITES_AT_ONCE {
            self.one_is_done().await?;
        }
        self.writes.push(write);
        Ok(())
    }

    async fn one_is_done(&mut self) -> anyhow::Result<()> {
        Ok(self.writes.next().await.transpose().map(drop)?)
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.write_users().await?;
        self.write().await?;
        while !self.writes.is_empty() {
            self.one_is_done().await?;
        }
        patiently(EVENT_STORE, async || self.events.sync_state().await).await?;
        Ok(())
    }
}
