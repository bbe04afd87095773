//! `panda serve`: every role in one process, over the embedded stores.

use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use panda_access::FleetSecret;
use panda_edge::WorkerLink;
use panda_protocol::link::LinkId;
use panda_router::shard::ShardLimits;
use panda_router::{Router, RouterConfig};
use panda_storage::embedded::{DataFolder, EmbeddedEvents, EmbeddedLog, MemoryBoard, MemoryCache, SqliteUsers};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::config::{Config, ConfigError, Demands};
use crate::front::{self, BACKLOG_MAX_MS, Behind, Front};
use crate::lifecycle::{Role, now};

/// Shards of an embedded log; fixed for ever by the data that they made.
pub(crate) const SHARDS: u16 = 16;
/// In the data folder: the users, and the secret under which keys are sealed.
pub(crate) const USERS_FILE: &str = "users.db";
pub(crate) const SECRET_FILE: &str = "fleet.secret";
/// In the data folder: pictures of people, where the configuration names no other place.
const PICTURES_FOLDER: &str = "pictures";
/// Frames that may wait on their way up a link.
const UP_QUEUE: usize = 4_096;
/// Messages of many frames each that may wait on their way down a link.
const DOWN_QUEUE: usize = 64;
/// How long shards may take to store their rows at a stop. Nobody waits for them; without it the next start has
/// more to read.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// Profiles, presences and rate limits kept in memory.
const CACHE_ENTRIES: NonZeroUsize = NonZeroUsize::new(65_536).expect("above zero");

/// A whole Panda.
pub(crate) struct Server {
    front: Front,
    router: Router,
    events: EmbeddedEvents,
    folder: DataFolder,
    backlog_ms: Arc<AtomicU64>,
}

impl Role for Server {
    fn check(config: &Config) -> Result<(), ConfigError> {
        config.meets(&Demands::SERVE)
    }

    async fn start(config: &Config, registry: &mut Registry) -> anyhow::Result<Self> {
        front::claim(config)?;
        let folder = DataFolder::open(&config.data)?;
        let data = folder.path().to_owned();
        let fleet = FleetSecret::load_or_create(&data.join(SECRET_FILE))?;
        let users = SqliteUsers::open(&data.join(USERS_FILE), now()).context("open the users")?;
        let cache = MemoryCache::new(CACHE_ENTRIES);
        let events = EmbeddedEvents::open(&folder).context("open the events")?;
        let log = EmbeddedLog::new(SHARDS, events.epoch(), now);
        let limits = ShardLimits { queue_max: config.router.shard_queue_max, ..ShardLimits::default() };
        let router_config = RouterConfig {
            threads: config.router.threads,
            limits,
            finish_max: FINISH_MAX,
            ..RouterConfig::new(rand::random())
        };
        // Its only edge is in this process: nobody has to be told where it is.
        let router = panda_router::start(router_config, log.clone(), events.clone(), MemoryBoard::default())
            .await
            .context("start the router")?;
        router.metrics().register(registry);
        let mut links = Vec::new();
        // One for the API.
        for _ in 0..=front::workers(config) {
            links.push(link(&router).await);
        }
        let pictures = config.pictures.store(Some(&data.join(PICTURES_FOLDER)))?;
        let behind = Behind { log, links, users, cache, fleet, pictures, logs_mail: true };
        let front = front::start(config, &data, behind, registry).await?;
        Ok(Self { front, router, events, folder, backlog_ms: Arc::default() })
    }

    fn sends(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let (events, backlog_ms) = (self.events.clone(), Arc::clone(&self.backlog_ms));
        move || {
            let backlog_ms = backlog_ms.load(Ordering::Relaxed);
            let waits = (backlog_ms > BACKLOG_MAX_MS)
                .then(|| format!("the oldest command waits for {backlog_ms} ms: sends are refused until it is stored"));
            let cause = events.last_error().map(|error| format!("the event store refuses writes: {error}"));
            match (waits, cause) {
                (None, None) => Ok(()),
                (Some(waits), Some(cause)) => Err(format!("{waits}; {cause}")),
                (waits, cause) => Err(waits.or(cause).unwrap_or_default()),
            }
        }
    }

    fn ready(&self) -> bool {
        self.router.ready()
    }

    fn look(&self) {
        // The router's figures are this thread's to read.
        self.backlog_ms.store(self.router.backlog_ms(), Ordering::Relaxed);
    }

    /// Scripts read the addresses from it, so the words at the lines' starts stay.
    fn introduce(&self, health: SocketAddr, config: &Config) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "Panda serves.")?;
        writeln!(out)?;
        self.front.introduce(&mut out, config)?;
        writeln!(out, "  health   http://{health}")?;
        writeln!(out, "  data     {}", self.folder.path().display())?;
        writeln!(out)?;
        let url = self.front.url(config);
        // As it was started itself, so that the line can be pasted.
        let panda = std::env::args().next().unwrap_or_else(|| "panda".to_owned());
        writeln!(out, "  chat     {panda} chat --server {url} --register --user NAME (in a second terminal)")?;
        writeln!(out, "  stop     Ctrl-C")?;
        out.flush()
    }

    async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.router.failed() => anyhow::Error::new(error).context("the router failed"),
            error = self.front.failed() => error,
        }
    }

    async fn stop(self, drain: Duration) -> anyhow::Result<()> {
        let Self { front, router, events, .. } = self;
        // Each is stopped whatever became of the one before: the store last, so that it is always closed.
        let front = front.stop(drain).await;
        let router = router.stop().await.context("stop the router");
        let events = events.close().await.context("close the event store");
        front.and(router).and(events)
    }
}

async fn link(router: &Router) -> WorkerLink {
    let link = LinkId(rand::random());
    let (up, up_receiver) = mpsc::channel(UP_QUEUE);
    let (down_sender, down) = mpsc::channel(DOWN_QUEUE);
    router.attach(link, up_receiver, down_sender).await;
    // Every worker has a link of its own here.
    WorkerLink { link, lane: 0, up, down }
}
