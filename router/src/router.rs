//! One router of those that share the shards: its threads, its links, its start and its stop.

use std::sync::Arc;
use std::time::Duration;

use panda_protocol::ShardId;
use panda_protocol::link::{Down, Effect, LinkId, Record, Up};
use panda_storage::ownership::OWNER_ADDRESS_BYTES_MAX;
use panda_storage::{Appender, CommandLog, EpochStore, EventStore, OwnershipBoard, StoreError};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::announcer::Announcer;
use crate::attachments::Attachments;
use crate::doors::Doors;
use crate::membership::{self, Held};
use crate::metrics::{Backlog, RouterMetrics};
use crate::open_epoch::OpenEpoch;
use crate::readiness::Readiness;
use crate::shard::{GivenUp, ShardLimits};
use crate::thread::Thread;

/// Links and shards that a thread may have to be told of.
const CONTROL_QUEUE: usize = 64;
/// As [`RouterConfig::loads_max`] is unless somebody says otherwise.
const LOADS_MAX: usize = 128;
/// Between two tries to append an effect that is owed.
const OWED_RETRY: Duration = Duration::from_millis(20);

/// How a router runs.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// This router, random at its start.
    pub router: u64,
    /// Threads that run shards; at least 1.
    pub threads: usize,
    /// Limits of each shard.
    pub limits: ShardLimits,
    /// Chats and inboxes whose rows are loaded side by side, of all shards together; at least 1. Each holds a page of
    /// half a MiB while it looks through what was stored before.
    pub loads_max: usize,
    /// Host and port under which edges reach this router's links, at most [`OWNER_ADDRESS_BYTES_MAX`] bytes.
    /// None: nothing is announced, and whoever is to find the router is in this process.
    pub link_address: Option<String>,
    /// How long a shard that goes may take to finish what is in flight and to store its rows. Below the
    /// session timeout of the group, where there is one; what is not done by then, the next owner does again.
    pub finish_max: Duration,
}

impl RouterConfig {
    /// One thread, default limits, 128 loads at once, unannounced; a shard may take a second to finish.
    pub fn new(router: u64) -> Self {
        Self {
            router,
            threads: 1,
            limits: ShardLimits::default(),
            loads_max: LOADS_MAX,
            link_address: None,
            finish_max: Duration::from_secs(1),
        }
    }
}

/// Why a router does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// A thread could not be started.
    #[error("cannot start a router thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The store, the log, its group or the board failed and no repetition mends it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// This process cannot own a shard. It has left the group, so that another one can own its shards.
    #[error("shard {shard}: {why}; this router has left the group: {}", why.mend())]
    GivenUp {
        /// The shard.
        shard: ShardId,
        /// Why.
        why: GivenUp,
    },
    /// The address of its links cannot be announced.
    #[error("the address of the links has {bytes} bytes, {OWNER_ADDRESS_BYTES_MAX} are allowed: name a shorter one")]
    Address {
        /// How many it has.
        bytes: usize,
    },
    /// A shard's task broke.
    #[error("a router thread ended with a panic")]
    Panic,
}

/// A running router. Dropping it is as if it were killed: it leaves the group at once, finishes nothing and
/// stores no rows.
pub struct Router {
    id: u64,
    pub(crate) links: Attachments,
    stop: watch::Sender<bool>,
    /// How it ended; taken once it was told.
    ended: Option<oneshot::Receiver<Result<(), RouterError>>>,
    /// Closed when the thread has ended.
    threads: Vec<oneshot::Receiver<()>>,
    readiness: Readiness,
    metrics: RouterMetrics,
}

/// Starts a router: it joins the log's group and from then on runs what it is assigned, until it is stopped
/// or fails. Each term of a shard is announced on `board` where the configuration names an address.
///
/// Returns once the effects are in the log that the store still owes, if it knows of any: nothing that an
/// earlier process promised is missing. [`Router::ready`] says when its shards run.
///
/// # Errors
/// [`RouterError`].
pub async fn start<L: CommandLog, S: EventStore + EpochStore, B: OwnershipBoard>(
    config: RouterConfig,
    log: L,
    store: S,
    board: B,
) -> Result<Router, RouterError> {
    if let Some(bytes) = config.link_address.as_ref().map(String::len).filter(|len| *len > OWNER_ADDRESS_BYTES_MAX) {
        return Err(RouterError::Address { bytes });
    }
    let metrics = RouterMetrics::default();
    let readiness = Readiness::default();
    let doors = Doors::new(log.shards(), metrics.frames_unowned.clone());
    let (halter, halt) = watch::channel(());
    let thread = Thread {
        announcer: Announcer { board, router: config.router, address: config.link_address.clone() },
        log: log.clone(),
        store: store.clone(),
        epoch: OpenEpoch::of(store.clone(), log.epoch(), metrics.epoch_reads_late.clone()),
        doors: doors.clone(),
        metrics: metrics.clone(),
        backlog: Backlog::new(log.shards()),
        readiness: readiness.clone(),
        load_places: Arc::new(Semaphore::new(config.loads_max.max(1))),
        halt,
        config: config.clone(),
    };
    let (mut controls, mut threads) = (Vec::new(), Vec::new());
    for index in 0..config.threads.max(1) {
        let (control, told) = mpsc::channel(CONTROL_QUEUE);
        let (ends, ended) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread.clone();
        std::thread::Builder::new().name(format!("router-{index}")).spawn(move || {
            thread.run(&runtime, told);
            drop(ends);
        })?;
        controls.push(control);
        threads.push(ended);
    }
    let (stop, stopped) = watch::channel(false);
    let held = Held::new(controls.clone(), readiness.clone(), log.shards(), config.finish_max);
    let group = log.join(config.router);
    let (ends, ended) = oneshot::channel();
    tokio::spawn(async move {
        let ended = membership::follow(group, held, stopped).await;
        // The threads end before anybody hears of it.
        drop(halter);
        drop(ends.send(ended));
    });
    let links = Attachments::new(controls, doors);
    let mut router = Router { id: config.router, links, stop, ended: Some(ended), threads, readiness, metrics };
    tokio::select! {
        appended = append_owed(config.router, &log, &store) => appended?,
        error = router.failed() => return Err(error),
    }
    Ok(router)
}

/// Appends what stored events still owe to other entities.
async fn append_owed<L: CommandLog, S: EventStore>(router: u64, log: &L, store: &S) -> Result<(), RouterError> {
    for owed in store.owed_effects().await? {
        let effect =
            Effect { source: owed.source, source_seq: owed.source_seq, target: owed.target, event: owed.event };
        let shard = effect.target.shard(log.shards());
        let record = Record::Effect(effect).to_bytes();
        while match log.append(shard, record.clone(), Appender::Router(router).into()) {
            Ok(appending) => appending.await.is_err(),
            Err(_) => true,
        } {
            tokio::time::sleep(OWED_RETRY).await;
        }
    }
    Ok(())
}

impl Router {
    /// Connects an edge: what it says on `up` is handled in order, what it is told comes on `down`.
    /// The link ends when `up` is closed, or when it is attached anew: then everything of the older
    /// attachment is gone before anything of the newer one is taken in.
    ///
    /// Frames for a shard that this router does not own are dropped: the edge states and asks everything
    /// anew when it hears of the next owner.
    pub async fn attach(&self, link: LinkId, up: mpsc::Receiver<Up>, down: mpsc::Sender<Vec<Down>>) {
        self.links.attach(link, up, down).await;
    }

    /// Which router this is, as in its configuration.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whether the group counts on this router, and every shard that it assigned runs: also if it assigned none,
    /// because there are more routers than shards. A router that is out of its group is not ready.
    pub fn ready(&self) -> bool {
        self.readiness.is_ready()
    }

    /// How old the oldest unanswered command is, in milliseconds.
    pub fn backlog_ms(&self) -> u64 {
        u64::try_from(self.metrics.backlog_ms.get()).unwrap_or(0)
    }

    /// The router's figures.
    pub fn metrics(&self) -> &RouterMetrics {
        &self.metrics
    }

    /// Waits until the router ends by itself, which it does only after a failure: the shards that did not fail
    /// are finished then, and the group is left. Never resolves once it did.
    ///
    /// # Errors
    /// Why it ended. Cancel safe.
    pub async fn failed(&mut self) -> RouterError {
        let Some(ended) = &mut self.ended else { return std::future::pending().await };
        let ended = ended.await;
        // Its end was taken: a stop must not wait for it again.
        self.ended = None;
        match ended {
            Ok(Err(error)) => error,
            _ => RouterError::Panic,
        }
    }

    /// Finishes what is in flight, stores all rows, leaves the group and ends. Takes at most about
    /// [`RouterConfig::finish_max`].
    ///
    /// # Errors
    /// The first failure of a shard.
    pub async fn stop(mut self) -> Result<(), RouterError> {
        self.stop.send_replace(true);
        if let Some(ended) = self.ended.take() {
            ended.await.map_err(|_| RouterError::Panic)??;
        }
        for ended in self.threads {
            // Closed, whatever it ended by.
            drop(ended.await);
        }
        Ok(())
    }
}
