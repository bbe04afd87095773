//! All shards of a process: their threads, their links, their start and their stop.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use panda_protocol::link::{Down, Effect, LinkId, Record, Up};
use panda_storage::{CommandLog, EventStore, ShardChange, ShardGroup, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use crate::attachments::{Attachments, Control};
use crate::driver::Parts;
use crate::links::Links;
use crate::metrics::{Backlog, RouterMetrics};
use crate::shard::ShardLimits;
use crate::terms;

/// Frames that may wait before one shard.
const SHARD_QUEUE: usize = 4_096;
/// Links that may wait to be attached.
const ATTACH_QUEUE: usize = 64;

/// How a router runs.
#[derive(Clone, Copy, Debug)]
pub struct RouterConfig {
    /// This router, random at its start.
    pub router: u64,
    /// Threads that run shards; at least 1.
    pub threads: usize,
    /// Limits of each shard.
    pub limits: ShardLimits,
}

/// Why a router does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// A thread could not be started.
    #[error("cannot start a router thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The store or the log failed and no repetition mends it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A shard's task broke.
    #[error("a router thread ended with a panic")]
    Panic,
}

/// A running router. Dropping it ends it without storing its rows.
pub struct Router {
    links: Attachments,
    shards: usize,
    stop: watch::Sender<bool>,
    ended: Vec<oneshot::Receiver<Result<(), RouterError>>>,
    ready: Arc<AtomicUsize>,
    metrics: RouterMetrics,
}

/// Starts every shard that the log assigns to this process. Effects that the store still owes are
/// appended before it returns, so nothing that an earlier process promised is missing.
///
/// # Errors
/// [`RouterError`].
pub async fn start<L: CommandLog, S: EventStore>(
    config: RouterConfig,
    log: L,
    store: S,
) -> Result<Router, RouterError> {
    let metrics = RouterMetrics::default();
    let backlog = Backlog::new(log.shards());
    let (stop, stopped) = watch::channel(false);
    let ready = Arc::new(AtomicUsize::new(0));
    let mut threads = Vec::new();
    let mut ended = Vec::new();
    for index in 0..config.threads.max(1) {
        let (control, controls) = mpsc::channel(ATTACH_QUEUE + usize::from(log.shards()));
        let (end, done) = oneshot::channel();
        let thread = Thread {
            config,
            log: log.clone(),
            store: store.clone(),
            metrics: metrics.clone(),
            backlog: backlog.clone(),
            stop: stopped.clone(),
            ready: Arc::clone(&ready),
        };
        std::thread::Builder::new().name(format!("router-{index}")).spawn(move || {
            // A closed receiver means that nobody waits for the end any more.
            drop(end.send(thread.run(controls)));
        })?;
        threads.push(control);
        ended.push(done);
    }
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..log.shards() {
        let (sender, receiver) = mpsc::channel(SHARD_QUEUE);
        senders.push(sender);
        receivers.push(Some(receiver));
    }
    let mut group = log.join(config.router);
    let mut owned = 0;
    while owned < usize::from(log.shards()) {
        // An embedded log assigns every shard at once and takes none away.
        if let ShardChange::Assigned(shard) = group.next().await?
            && let Some(receiver) = receivers.get_mut(usize::from(shard.0)).and_then(Option::take)
        {
            let thread = &threads[usize::from(shard.0) % threads.len()];
            thread.send(Control::Own(shard, receiver)).await.map_err(|_| RouterError::Panic)?;
            owned += 1;
        }
    }
    let shards = senders.len();
    let router = Router { links: Attachments::new(threads, senders), shards, stop, ended, ready, metrics };
    append_owed(&log, &store).await?;
    // Dropping the membership would leave the group: it lives as long as this router owns shards.
    let mut stop = stopped;
    tokio::spawn(async move {
        drop(stop.wait_for(|stop| *stop).await);
        drop(group);
    });
    Ok(router)
}

/// Appends what stored events still owe to other entities.
async fn append_owed<L: CommandLog, S: EventStore>(log: &L, store: &S) -> Result<(), RouterError> {
    for owed in store.owed_effects().await? {
        let effect =
            Effect { source: owed.source, source_seq: owed.source_seq, target: owed.target, event: owed.event };
        let shard = effect.target.shard(log.shards());
        let record = Record::Effect(effect).to_bytes();
        while match log.append(shard, record.clone()) {
            Ok(appending) => appending.await.is_err(),
            Err(_) => true,
        } {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

impl Router {
    /// Connects an edge: what it says on `up` is handled in order, what it is told comes on `down`.
    /// The link ends when `up` is closed, or when it is attached anew: then everything of the older
    /// attachment is gone before anything of the newer one is taken in.
    pub async fn attach(&self, link: LinkId, up: mpsc::Receiver<Up>, down: mpsc::Sender<Vec<Down>>) {
        self.links.attach(link, up, down).await;
    }

    /// Whether every shard runs.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) == self.shards
    }

    /// How old the oldest unanswered command is, in milliseconds.
    pub fn backlog_ms(&self) -> u64 {
        u64::try_from(self.metrics.backlog_ms.get()).unwrap_or(0)
    }

    /// The router's figures.
    pub fn metrics(&self) -> &RouterMetrics {
        &self.metrics
    }

    /// Waits until a thread ends by itself, which it does only after a failure.
    ///
    /// # Errors
    /// Why it ended. Cancel safe.
    pub async fn failed(&mut self) -> RouterError {
        let (ended, index, _) = futures_util::future::select_all(self.ended.iter_mut()).await;
        // Its end was taken: a stop must not wait for it again.
        drop(self.ended.swap_remove(index));
        match ended {
            Ok(Err(error)) => error,
            _ => RouterError::Panic,
        }
    }

    /// Finishes what is in flight, stores all rows and ends.
    ///
    /// # Errors
    /// The first failure of a thread.
    pub async fn stop(self) -> Result<(), RouterError> {
        self.stop.send_replace(true);
        drop(self.links);
        for end in self.ended {
            end.await.map_err(|_| RouterError::Panic)??;
        }
        Ok(())
    }
}

/// One thread and what its shards share.
struct Thread<L, S> {
    config: RouterConfig,
    log: L,
    store: S,
    metrics: RouterMetrics,
    backlog: Backlog,
    stop: watch::Receiver<bool>,
    ready: Arc<AtomicUsize>,
}

impl<L: CommandLog, S: EventStore> Thread<L, S> {
    fn run(self, controls: mpsc::Receiver<Control>) -> Result<(), RouterError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.supervise(controls))
    }

    async fn supervise(self, mut controls: mpsc::Receiver<Control>) -> Result<(), RouterError> {
        let links = Rc::new(RefCell::new(Links::default()));
        let mut shards = tokio::task::JoinSet::new();
        let mut stop = self.stop.clone();
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                control = controls.recv(), if !stopping => match control {
                    Some(Control::Attach(link, down, done)) => {
                        links.borrow_mut().attach(link, down);
                        // Who attached may have gone meanwhile; the link ends by itself then.
                        let _gone = done.send(());
                    }
                    Some(Control::Detach(link)) => links.borrow_mut().detach(link),
                    Some(Control::Own(shard, outside)) => {
                        let parts = Parts {
                            shard,
                            router: self.config.router,
                            log: self.log.clone(),
                            store: self.store.clone(),
                            links: Rc::clone(&links),
                            outside,
                            metrics: self.metrics.clone(),
                            backlog: self.backlog.clone(),
                            limits: self.config.limits,
                            stop: self.stop.clone(),
                        };
                        let (ready, shards_owned) = (Arc::clone(&self.ready), self.metrics.shards.clone());
                        shards.spawn_local(terms::run(parts, move || {
                            ready.fetch_add(1, Ordering::AcqRel);
                            shards_owned.inc();
                        }));
                    }
                    None => stopping = true,
                },
                Some(ended) = shards.join_next() => {
                    ended.map_err(|_| RouterError::Panic)??;
                    if shards.is_empty() {
                        return Ok(());
                    }
                }
                () = async { drop(stop.wait_for(|stop| *stop).await) }, if !stopping => stopping = true,
                else => return Ok(()),
            }
        }
    }
}
