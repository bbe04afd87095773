//! What a store needs before routers own shards of another log than the one that it knows, because that
//! one is gone.
//!
//! **Commands** that nobody had read are gone with it. Nobody was told that they were applied; whoever
//! sent them sends them again.
//!
//! **Effects** may be gone although the event's shard has a checkpoint behind it: they were confirmed by
//! the target's log, and its owner had not read them. For how long a shard had no owner no position
//! tells. So what every chat says of its members is compared with what their inboxes say, and what an
//! inbox has not taken is appended to the new log, in order. An inbox takes none twice: appending one
//! again does no harm.
//!
//! **What only a minority of replicas holds** is of commands that nobody reads again. An owner that finds
//! it writes it again before it builds on it, as after any takeover; but it may not find it at first, and
//! then not append what it owes. So the tail of each chat and inbox is read from all replicas here, and
//! written again. After this, every whole command that a write left anywhere is known: the next event of its
//! entity has a later time, whatever the clocks of the new brokers say. Of a command that is not whole, and of
//! what follows no command, rows stay; their times are known, too.
//!
//! **Late writes** of a router that hung are not known. They carry append times of the old log, and lose
//! against the events of the new one while those have later times. [`begin_shards`] sees to it for every row that
//! is known. A late one may have a later time than all of these, and not than the clocks showed when the routers
//! were gone: so whoever opens an epoch has it wait for its own clock, too.
//!
//! **What is damaged** keeps nothing else from being made whole: it is named at the end. Whoever opens an epoch
//! without it accepts that what it owed is never made good, and that its owners may find different ends of it.
//!
//! Everything here may be cut short and done again from the start.

mod damaged;
mod everywhere;
mod owed;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures_util::{TryStreamExt as _, stream};
use panda_protocol::link::Record;
use panda_protocol::{EntityId, Position, Seq, ShardId, Time};
use panda_storage::event_store::BUCKET_EVENTS;
use panda_storage::{
    Appender, CommandLog, Copies, EntityStore, EventStore as _, ReadOrder, ShardReader as _, StoreError,
};
use tokio::time::{Instant, sleep};

pub use self::damaged::Damaged;

use self::everywhere::Everywhere;
use crate::fold::RULES_FIRST;
use crate::rows::{Row, RowId};
use crate::shard::Loaded;
use crate::shard::load::{Wanted, load};

/// Entities named at once.
const ENTITIES_AT_ONCE: usize = 256;
/// Events read at once, and bytes of them.
const EVENTS_AT_ONCE: usize = 512;
const BYTES_AT_ONCE: usize = 512 * 1024;
/// Entities that are looked at side by side; as many shards.
const SIDE_BY_SIDE: usize = 32;
/// Before what is away is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often the log says how far it is, and what is away.
const REMIND: Duration = Duration::from_secs(10);
/// The clock of a log is waited for if it is behind by no more than this.
const BEHIND_MAX: Duration = Duration::from_secs(600);
/// What is waited for where each copy of what is stored must answer.
const EVERY_COPY: &str = "every copy of the event store";
/// Behind every position: what a load is to bring has no effects of its own.
const NOWHERE: Position = Position { epoch: u32::MAX, offset: u64::MAX };

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeWhole {
    /// Chats and inboxes whose tail all replicas were asked for; those that are damaged do not count.
    pub entities: u64,
    /// Members and former members whose inbox was compared with their chat.
    pub members: u64,
    /// Effects that were appended.
    pub effects: u64,
    /// The highest time of any event that some replica holds, whether it is of a whole command or not.
    pub newest: Time,
    /// What could not be made whole. Nobody may own a shard of the new log before a person said so.
    pub damaged: Damaged,
}

/// Makes the store whole for a new log: what is owed is in it then, and all that any replica holds is
/// known. Takes a few reads for each chat, inbox and membership there is; holds a few hundred of them in
/// memory. What is away is waited for and named in the log. What is damaged is gone past, and named in what is
/// returned.
///
/// # Errors
/// [`StoreError`] that no waiting mends and that is not about one chat or inbox.
pub async fn make_whole<S: EntityStore, L: CommandLog>(store: &S, log: &L) -> Result<MadeWhole, StoreError> {
    let making = Making::new(store, log);
    let mut last: Option<EntityId> = None;
    loop {
        let page = patiently(EVERY_COPY, async || store.entities(Copies::All, last, ENTITIES_AT_ONCE).await);
        let page = page.await?;
        let Some(end) = page.last() else { break };
        last = Some(*end);
        stream::iter(page.into_iter().map(Ok))
            .try_for_each_concurrent(SIDE_BY_SIDE, |entity| making.entity(entity))
            .await?;
    }
    Ok(making.end())
}

/// Begins every shard of the new log with a record that says which rules hold, and waits until the log
/// takes it at a time behind `newest`: so every event of this log is later than every one that is known.
///
/// # Errors
/// [`StoreError::Misconfigured`] if that would take longer than ten minutes; else as [`make_whole`].
pub async fn begin_shards<S: EntityStore, L: CommandLog>(store: &S, log: &L, newest: Time) -> Result<(), StoreError> {
    let shards = stream::iter((0..log.shards()).map(|shard| Ok(ShardId(shard))));
    shards.try_for_each_concurrent(SIDE_BY_SIDE, |shard| begin_shard(store, log, shard, newest)).await
}

async fn begin_shard<S: EntityStore, L: CommandLog>(
    store: &S,
    log: &L,
    shard: ShardId,
    newest: Time,
) -> Result<(), StoreError> {
    let stored = patiently("the event store", async || store.checkpoint(shard).await).await?;
    let record = Record::Rules { version: stored.map_or(RULES_FIRST, |stored| stored.rules) };
    loop {
        let position = append(log, shard, &record).await;
        let appended = patiently("the command log", async || {
            let mut reader = log.read(shard, Some(position)).await?;
            let read = reader.next(1).await?;
            // A log that gives none has not said at which time it took the record.
            read.first().map(|record| record.time).ok_or_else(|| StoreError::Unavailable("it gave no record".into()))
        });
        let time = appended.await?;
        let behind = Duration::from_micros(newest.0.saturating_sub(time.0));
        if time > newest {
            return Ok(());
        }
        if behind > BEHIND_MAX {
            return Err(StoreError::Misconfigured(format!(
                "the clock of the command log's broker for shard {shard} is {} s behind the newest event that is stored, \
                 or behind this machine's clock: an event of this log could lose against an older one. Set the clocks \
                 right, and run this again",
                behind.as_secs()
            )));
        }
        tracing::warn!(
            shard = shard.0,
            behind_ms = behind.as_millis(),
            "the clock of the command log's broker is behind the newest event, or this machine's: waiting for it"
        );
        sleep(behind.clamp(RETRY, REMIND)).await;
    }
}

/// Appends a record, however long it takes. One that may be in the log already does no harm.
async fn append<L: CommandLog>(log: &L, shard: ShardId, record: &Record) -> Position {
    let mut away = Away::new("the command log");
    let bytes = record.to_bytes();
    loop {
        let error = match log.append(shard, bytes.clone(), Appender::Admin.into()) {
            Ok(appending) => match appending.await {
                Ok(position) => return position,
                Err(error) => error,
            },
            Err(error) => error,
        };
        away.wait(&error).await;
    }
}

/// Does something until it is done or fails for good.
async fn patiently<T>(what: &'static str, act: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let mut away = Away::new(what);
    loop {
        match act().await {
            Err(error) if error.is_retryable() => away.wait(&error).await,
            done => return done,
        }
    }
}

/// What is waited for.
struct Away {
    what: &'static str,
    reminded: Option<Instant>,
}

impl Away {
    const fn new(what: &'static str) -> Self {
        Self { what, reminded: None }
    }

    async fn wait(&mut self, error: &impl std::fmt::Display) {
        if self.reminded.is_none_or(|at| at.elapsed() >= REMIND) {
            tracing::warn!(service = self.what, %error, "waiting for a service");
            self.reminded = Some(Instant::now());
        }
        sleep(RETRY).await;
    }
}

/// As [`MadeWhole`] counts.
#[derive(Clone, Copy, Default)]
struct Done {
    entities: u64,
    members: u64,
    effects: u64,
    newest: Time,
}

/// The work and how far it is.
struct Making<'a, S, L> {
    store: Everywhere<S>,
    log: &'a L,
    done: Cell<Done>,
    damaged: RefCell<Damaged>,
    told: RefCell<Instant>,
}

impl<'a, S: EntityStore, L: CommandLog> Making<'a, S, L> {
    fn new(store: &S, log: &'a L) -> Self {
        let (store, damaged) = (Everywhere(store.clone()), RefCell::default());
        Self { store, log, done: Cell::default(), damaged, told: RefCell::new(Instant::now()) }
    }

    fn end(self) -> MadeWhole {
        let Done { entities, members, effects, newest } = self.done.get();
        MadeWhole { entities, members, effects, newest, damaged: self.damaged.into_inner() }
    }

    async fn entity(&self, entity: EntityId) -> Result<(), StoreError> {
        let newest = match self.or_damaged(entity, self.tail(entity).await)? {
            Some(newest) => {
                self.count(|done| done.entities += 1);
                newest
            }
            None => self.newest_of_damaged(entity).await?,
        };
        self.count(|done| done.newest = done.newest.max(newest));
        Ok(())
    }

    /// Returns the highest time of the entity's events.
    async fn tail(&self, entity: EntityId) -> Result<Time, StoreError> {
        let loaded = self.load(entity, RowId::Head).await?;
        let (head, time) = row(&loaded, &RowId::Head).map_or((Seq(0), Time(0)), |head| (head.seq, head.time));
        let mut newest = time;
        self.newest_behind(entity, head, &mut newest).await?;
        if let Some(chat) = entity.chat() {
            self.members(chat, &loaded).await?;
        }
        Ok(newest)
    }

    /// Raises `newest` to the highest time of what any replica holds behind an entity's head, as far as it comes. Nobody
    /// builds on that, and it would win over an event that comes to its place with an earlier time.
    async fn newest_behind(&self, entity: EntityId, head: Seq, newest: &mut Time) -> Result<(), StoreError> {
        let mut next = head.next();
        loop {
            let page = patiently(EVERY_COPY, async || {
                self.store.read_events(entity, next, ReadOrder::Forward, EVENTS_AT_ONCE, BYTES_AT_ONCE).await
            });
            let page = page.await?;
            let Some(last) = page.last() else { return Ok(()) };
            next = last.seq.next();
            *newest = page.iter().map(|row| row.time).fold(*newest, Time::max);
        }
    }

    /// Brings a row to its entity's head, as all replicas know it, and writes the tail again.
    async fn load(&self, entity: EntityId, id: RowId) -> Result<Loaded, StoreError> {
        let wanted = Wanted { ids: vec![id], base: None, owing_from: NOWHERE, bucket_events: BUCKET_EVENTS };
        patiently(EVERY_COPY, async || load(&self.store, entity, wanted.clone()).await).await
    }

    fn count(&self, count: impl FnOnce(&mut Done)) {
        let mut done = self.done.get();
        count(&mut done);
        self.done.set(done);
        let mut told = self.told.borrow_mut();
        if told.elapsed() >= REMIND {
            *told = Instant::now();
            tracing::info!(
                entities = done.entities,
                members = done.members,
                effects = done.effects,
                "chats are compared with inboxes"
            );
        }
    }
}

fn row<'a>(loaded: &'a Loaded, id: &RowId) -> Option<&'a Row> {
    loaded.rows.iter().find(|(found, _)| found == id).and_then(|(_, row)| row.as_ref())
}
