//! The hub of an edge process: one link to each router that owns a shard, shared by the process's workers and
//! its API.
//!
//! Each of them has a **lane**: channels as those of a link of its own, through which it sees what it would see
//! with one. `core` decides, `run` moves, `dial` keeps a connection to each address that the board of
//! owners names.
//!
//! ```text
//!   worker 0 ── lane 0 ─┐                     ┌─ link ── router A
//!   worker 1 ── lane 1 ─┼─ core: owner of the ┼─ link ── router B
//!   API ─────── lane 2 ─┘  shard, interest    └─ ...
//! ```
//!
//! **No owner.** While a shard has none, or the link to it is down, questions are dropped here: who waits for
//! an answer asks again when an `Owner` comes down, and gets it without an error if a takeover was all. Signals
//! are dropped, too. A shard that has had no owner for longer than a takeover lasts is another matter: its
//! questions are refused at once with `unavailable` and a wait, and its lanes are told of a backlog, so that
//! commands are refused as `backlogged` instead of ending in `outcome_unknown`.
//!
//! **Bounds.** A lane that is slow gets heads instead of events, as a slow link does. A link that takes
//! nothing has its questions refused, then is opened anew. Nobody waits for either.
//!
//! **Failure.** A hub that broke, or that learns of no owners any more, cannot mend itself, and says so:
//! [`Hub::failed`]. Where only the board has ended, the links that are open stay, so that the process may hand
//! its sessions over before it ends.

mod core;
mod dial;
mod interest;
mod lanes;
mod metrics;
mod routers;
mod run;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use lanes::HUB_LANES_MAX;
pub use metrics::HubMetrics;
use panda_link_io::DownQueue;
use panda_link_io::tls::LinkTls;
use panda_protocol::link::{Down, LinkId, LinkKey, Up};
use panda_storage::StoreError;
use panda_storage::ownership::OwnershipWatch;
use tokio::sync::{mpsc, oneshot};

use self::core::Core;
use self::dial::Dialing;
use self::routers::Routers;
use self::run::Lane;

/// Frames that may wait in a lane on their way up; its owner waits for more room.
const LANE_UP_QUEUE: usize = 4_096;
/// Batches that may wait in a lane on their way down; more wait in its bounded queue.
const LANE_DOWN_QUEUE: usize = 8;
/// Batches that may wait for the hub; links are not read meanwhile.
const EVENTS_QUEUE: usize = 64;

/// What a hub is made of.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// This process's links; random and new at each start. Commands of all lanes carry it.
    pub link: LinkId,
    /// The deployment's link keys, the current one first.
    pub keys: Vec<LinkKey>,
    /// TLS of links, if routers ask for it.
    pub tls: Option<LinkTls>,
    /// Shards of the log.
    pub shards: u16,
    /// Ends that share the links: 1 to [`HUB_LANES_MAX`].
    pub lanes: u8,
}

/// One end that shares the links of a hub. Dropping `up` ends the lane.
#[derive(Debug)]
pub struct HubLane {
    /// Its number, which the tokens of its questions and commands carry.
    pub lane: u8,
    /// What it sends.
    pub up: mpsc::Sender<Up>,
    /// What it is told.
    pub down: mpsc::Receiver<Vec<Down>>,
}

/// Why a hub does its work no more.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Nobody tells any more who owns which shard.
    #[error("the board of shards' owners ended")]
    Board(#[source] StoreError),
    /// A fault of this program; its text is on standard error.
    #[error("the thread of the hub of links panicked")]
    Panic,
}

/// A running hub. Dropping it closes its links.
#[derive(Debug)]
pub struct Hub {
    metrics: HubMetrics,
    stop: oneshot::Sender<()>,
    /// Why it failed; taken once it was told. Closed if it broke.
    failed: Option<oneshot::Receiver<HubError>>,
    ended: oneshot::Receiver<()>,
}

impl Hub {
    /// Starts a hub on a thread of its own, with its lanes in order.
    ///
    /// # Errors
    /// `InvalidInput` for a number of lanes that is not allowed or a missing key; what the system says if it
    /// gives no thread.
    pub fn start(config: HubConfig, board: impl OwnershipWatch) -> io::Result<(Self, Vec<HubLane>)> {
        if config.lanes == 0 || config.lanes > HUB_LANES_MAX || config.keys.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a hub needs a link key, and 1 to 64 lanes"));
        }
        let metrics = HubMetrics::default();
        let (mut lanes, mut ends) = (Vec::new(), Vec::new());
        for lane in 0..config.lanes {
            let (up, ups) = mpsc::channel(LANE_UP_QUEUE);
            let (downs, down) = mpsc::channel(LANE_DOWN_QUEUE);
            lanes.push(HubLane { lane, up, down });
            ends.push(Lane { up: Some(ups), down: DownQueue::new(downs), touched: false, full: false });
        }
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (fail, failed) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hub_metrics = metrics.clone();
        std::thread::Builder::new().name("hub".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let (events, received) = mpsc::channel(EVENTS_QUEUE);
                let dialing = Dialing {
                    link: config.link,
                    keys: config.keys.into(),
                    tls: config.tls,
                    events,
                    next_number: Arc::new(AtomicU64::new(1)),
                };
                let core = Core::new(config.shards, config.lanes);
                let routers = Routers::new(dialing, config.shards);
                run::Hub::new(core, ends, routers, received, board, hub_metrics, fail).run(stopped).await;
            });
            // Nobody may wait for it any more.
            end.send(()).ok();
        })?;
        Ok((Self { metrics, stop, failed: Some(failed), ended }, lanes))
    }

    /// The hub's figures.
    pub const fn metrics(&self) -> &HubMetrics {
        &self.metrics
    }

    /// Waits until the hub cannot do its work any more: only a new start of the process helps. Never resolves
    /// once it did. Cancel safe.
    pub async fn failed(&mut self) -> HubError {
        let Some(failed) = &mut self.failed else { return std::future::pending().await };
        let error = failed.await.unwrap_or(HubError::Panic);
        self.failed = None;
        error
    }

    /// Closes the links and ends. Whoever has a lane is to be stopped before.
    pub async fn stop(self) {
        drop(self.stop);
        // An error says the same: its thread has ended.
        drop(self.ended.await);
    }
}
