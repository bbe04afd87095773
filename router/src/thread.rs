//! One thread of a router: the shards that run on it, and its ends of the links.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use panda_protocol::ShardId;
use panda_protocol::link::{Down, LinkId};
use panda_storage::{CommandLog, EpochStore, EventStore, OwnershipBoard, StoreError};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::announcer::Announcer;
use crate::beat::Beat;
use crate::doors::Doors;
use crate::driver::{Ended, Parts};
use crate::links::Links;
use crate::metrics::{Backlog, RouterMetrics};
use crate::open_epoch::OpenEpoch;
use crate::readiness::Readiness;
use crate::router::RouterConfig;
use crate::tenure::Tenure;
use crate::terms;

/// What a thread is told.
pub(crate) enum Control {
    /// A link is there; say when it is known.
    Attach(LinkId, mpsc::Sender<Vec<Down>>, oneshot::Sender<()>),
    /// It is no more.
    Detach(LinkId),
    /// The shard is to run here; say how its last term ended.
    Own(ShardId, Tenure, oneshot::Sender<Result<Ended, StoreError>>),
}

/// One thread and what its shards share.
#[derive(Clone)]
pub(crate) struct Thread<L, S, B> {
    pub(crate) config: RouterConfig,
    pub(crate) log: L,
    pub(crate) store: S,
    pub(crate) epoch: OpenEpoch,
    pub(crate) announcer: Announcer<B>,
    pub(crate) doors: Doors,
    pub(crate) metrics: RouterMetrics,
    pub(crate) backlog: Backlog,
    pub(crate) readiness: Readiness,
    pub(crate) load_places: Arc<Semaphore>,
    /// Once it is closed, the thread ends whatever it is at.
    pub(crate) halt: watch::Receiver<()>,
}

impl<L: CommandLog, S: EventStore + EpochStore, B: OwnershipBoard> Thread<L, S, B> {
    /// Runs until it is halted.
    pub(crate) fn run(self, runtime: &Runtime, controls: mpsc::Receiver<Control>) {
        LocalSet::new().block_on(runtime, self.supervise(controls));
    }

    async fn supervise(mut self, mut controls: mpsc::Receiver<Control>) {
        let links = Rc::new(RefCell::new(Links::default()));
        let beat = Beat::new();
        let mut terms = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                _ = self.halt.changed() => return,
                control = controls.recv() => match control {
                    Some(Control::Attach(link, down, done)) => {
                        links.borrow_mut().attach(link, down);
                        // Who attached may have gone meanwhile; the link ends by itself then.
                        let _gone = done.send(());
                    }
                    Some(Control::Detach(link)) => links.borrow_mut().detach(link),
                    Some(Control::Own(shard, tenure, end)) => {
                        let running = terms::run(self.parts(shard, tenure, Rc::clone(&links), beat), self.announcer.clone());
                        terms.spawn_local(async move {
                            // Nobody waits for it when the router was dropped.
                            drop(end.send(running.await));
                        });
                    }
                    None => return,
                },
                // How it ended was told, or, after a panic, is told by silence.
                Some(_) = terms.join_next() => {}
            }
        }
    }

    fn parts(&self, shard: ShardId, tenure: Tenure, links: Rc<RefCell<Links>>, beat: Beat) -> Parts<L, S> {
        Parts {
            shard,
            router: self.config.router,
            log: self.log.clone(),
            store: self.store.clone(),
            epoch: self.epoch.clone(),
            links,
            beat,
            doors: self.doors.clone(),
            metrics: self.metrics.clone(),
            backlog: self.backlog.clone(),
            readiness: self.readiness.clone(),
            limits: self.config.limits,
            load_places: Arc::clone(&self.load_places),
            tenure,
            finish_max: self.config.finish_max,
        }
    }
}
