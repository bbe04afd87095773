//! A hub's loop: moves frames between lanes and links, follows the board, and nothing waits for one who is slow.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use panda_link_io::DownQueue;
use panda_protocol::link::Up;
use panda_storage::Appender;
use panda_storage::ownership::OwnershipWatch;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::HubError;
use super::core::{Core, Figures, LinkNumber, Output};
use super::dial::{Event, UP_QUEUE};
use super::metrics::HubMetrics;
use super::routers::Routers;

/// Frames taken from one lane at once.
const UPS_AT_ONCE: usize = 256;
/// Events of links taken at once.
const EVENTS_AT_ONCE: usize = 16;
const TICK: Duration = Duration::from_millis(250);

/// The hub's end of a lane.
pub(super) struct Lane {
    /// None once the lane is gone.
    pub(super) up: Option<mpsc::Receiver<Up>>,
    pub(super) down: DownQueue,
    /// Something is to be handed over.
    pub(super) touched: bool,
    /// Its room is waited for.
    pub(super) full: bool,
}

/// What a hub's loop works with.
pub(super) struct Hub<W> {
    core: Core,
    lanes: Vec<Lane>,
    routers: Routers,
    events: mpsc::Receiver<Event>,
    board: W,
    metrics: HubMetrics,
    /// What the metrics tell already.
    figures: Figures,
    /// Told why the hub fails; none once it was.
    fail: Option<oneshot::Sender<HubError>>,
}

type Room = Pin<Box<dyn Future<Output = usize> + Send>>;

impl<W: OwnershipWatch> Hub<W> {
    pub(super) fn new(
        core: Core,
        lanes: Vec<Lane>,
        routers: Routers,
        events: mpsc::Receiver<Event>,
        board: W,
        metrics: HubMetrics,
        fail: oneshot::Sender<HubError>,
    ) -> Self {
        Self { core, lanes, routers, events, board, metrics, figures: Figures::default(), fail: Some(fail) }
    }

    /// Runs until the hub is told to stop, or dropped.
    ///
    /// # Panics
    /// A task that keeps a link panicked: the address would be dialled by nobody.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let started = Instant::now();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rooms: FuturesUnordered<Room> = FuturesUnordered::new();
        let mut ups = Vec::with_capacity(UPS_AT_ONCE);
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        let mut first_lane = 0;
        loop {
            self.act();
            self.flush(&mut rooms);
            // Not biased: under load every branch is always ready, and none may starve another.
            tokio::select! {
                (lane, count) = poll_fn(|cx| poll_lanes(&mut self.lanes, &mut first_lane, &mut ups, cx)) => {
                    let number = u8::try_from(lane).unwrap_or(u8::MAX);
                    if count == 0 {
                        self.core.lane_gone(number);
                    }
                    ups.drain(..).for_each(|up| self.core.up(number, up));
                }
                // The hub itself has a sender: it never ends.
                _ = self.events.recv_many(&mut events, EVENTS_AT_ONCE) => {
                    events.drain(..).for_each(|event| self.event(event));
                }
                owner = self.board.next(), if self.fail.is_some() => match owner {
                    Ok(owner) => {
                        let (shard, generation) = (owner.shard, owner.generation);
                        if self.routers.announced(owner) {
                            self.core.announced(shard, generation);
                        }
                    }
                    Err(error) => self.fail(HubError::Board(error)),
                },
                Some(lane) = rooms.next(), if !rooms.is_empty() => {
                    self.lanes[lane].full = false;
                    self.lanes[lane].touched = true;
                }
                _ = tick.tick() => self.tick(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)),
                _ = &mut stop => return,
            }
        }
    }

    fn fail(&mut self, error: HubError) {
        if let Some(fail) = self.fail.take() {
            tracing::error!(error = &error as &dyn std::error::Error, "links stay as they are: restart this process");
            // A hub that was dropped is about to stop.
            drop(fail.send(error));
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened { link, address, router, up } => {
                let (edge, router) = (Appender::Edge(self.routers.link()), Appender::Router(router));
                tracing::info!(%edge, %router, %address, number = link, "link opened");
                self.metrics.opened.inc();
                self.routers.opened(link, &address, up);
            }
            Event::Down { link, frames } => {
                // One that was given up may still have had frames on the way.
                if self.routers.is_open(link) {
                    self.metrics.down.inc_by(frames.len() as u64);
                    frames.into_iter().for_each(|down| self.core.down(link, down));
                }
            }
            Event::Ended { link, address, end } => {
                if self.routers.ended(link) {
                    self.core.link_ended(link);
                    tracing::warn!(%address, number = link, reason = %end, "link ended; it is opened again");
                }
            }
            Event::Failed { address, end } => {
                self.metrics.failed.inc();
                if self.routers.complain(&address) {
                    tracing::warn!(%address, reason = %end, "no link to a router; trying again");
                }
            }
        }
    }

    /// Does what the core asks for.
    fn act(&mut self) {
        while let Some(output) = self.core.next_output() {
            match output {
                Output::Down(lane, down) => {
                    if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
                        lane.down.push(down);
                        lane.touched = true;
                    }
                }
                Output::Up(link, up) => self.up(link, up),
            }
        }
    }

    /// Questions take half of the room and signals a quarter, so that what must not be lost finds some.
    fn up(&mut self, link: LinkNumber, up: Up) {
        let Some(sender) = self.routers.up(link) else { return };
        let room = sender.capacity();
        match &up {
            Up::Signal { .. } if room < UP_QUEUE / 4 * 3 => return,
            Up::Admit(_) | Up::Read(_) | Up::Ask { .. } if room < UP_QUEUE / 2 => return self.core.no_room(up),
            _ => {}
        }
        match sender.try_send(up) {
            Ok(()) => drop(self.metrics.up.inc()),
            // The router takes nothing: what it did not hear of, it learns from the next opening.
            Err(TrySendError::Full(_)) => self.routers.restart(link),
            // It has ended; that is on its way here.
            Err(TrySendError::Closed(_)) => {}
        }
    }

    fn flush(&mut self, rooms: &mut FuturesUnordered<Room>) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.touched && !lane.full {
                lane.touched = false;
                if !lane.down.flush() {
                    lane.full = true;
                    let room = lane.down.room();
                    rooms.push(Box::pin(async move {
                        room.await;
                        index
                    }));
                }
            }
        }
    }

    fn tick(&mut self, now_ms: u64) {
        self.core.tick(now_ms);
        for (link, address) in self.routers.tidy(now_ms, |link| self.core.owned_by(link)) {
            self.core.link_ended(link);
            tracing::info!(%address, number = link, "link closed: its router owns nothing");
        }
        let now = self.core.figures();
        let before = std::mem::replace(&mut self.figures, now);
        self.metrics.stale.inc_by(now.stale - before.stale);
        self.metrics.refused.inc_by(now.refused - before.refused);
        self.metrics.overflows.inc_by(self.lanes.iter_mut().map(|lane| lane.down.take_overflows()).sum());
        self.metrics.links.set(i64::try_from(self.routers.open()).unwrap_or(i64::MAX));
        self.metrics.shards.set(i64::try_from(self.core.owned()).unwrap_or(i64::MAX));
    }
}

/// Takes what a lane sends; lanes take turns. A count of 0 says that the lane is gone.
fn poll_lanes(lanes: &mut [Lane], first: &mut usize, ups: &mut Vec<Up>, cx: &mut Context<'_>) -> Poll<(usize, usize)> {
    let count = lanes.len();
    for offset in 0..count {
        let index = (*first + offset) % count;
        let lane = &mut lanes[index];
        let Some(up) = &mut lane.up else { continue };
        if let Poll::Ready(taken) = up.poll_recv_many(cx, ups, UPS_AT_ONCE) {
            *first = index + 1;
            if taken == 0 {
                lane.up = None;
            }
            return Poll::Ready((index, taken));
        }
    }
    Poll::Pending
}
