//! One owner of the shard: the core, and its operations of the store under way.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use panda_protocol::link::{Down, Effect, LinkId};
use panda_protocol::{EntityId, Generation, Position, Time};
use panda_router::rulebook::Rulebook;
use panda_router::shard::load::{flushed_cell, load, read_scan};
use panda_router::shard::{GivenUp, Input, Output, Shard, ShardLimits};
use panda_storage::{EpochStore, EventBatch, EventStore, LogRecord, StoreError};
use rand::Rng;
use rand::rngs::StdRng;

use super::checkpoints;
use super::support::store::MemoryStore;

type Task = Pin<Box<dyn Future<Output = Input>>>;

/// Events of a bucket here: few, so that commands cross the end of one often.
pub(crate) const BUCKET_EVENTS: u64 = 2;

fn cuts_a_command(batches: &[EventBatch]) -> bool {
    batches.iter().filter_map(|batch| batch.rows.last()).any(|last| last.index + 1 < last.count)
}

fn read_or_damaged(entity: EntityId, read: u64, brought: Result<Input, StoreError>) -> Input {
    match brought {
        Err(StoreError::Corrupt(why)) => Input::Damaged { entity, read: Some(read), why },
        brought => brought.expect("reads work"),
    }
}

pub(crate) struct Owner {
    pub(crate) core: Shard,
    /// The next record to read, in the log of all epochs.
    pub(crate) next: usize,
    pub(crate) tasks: Vec<Task>,
    pub(crate) effects: VecDeque<Effect>,
    /// Where the log ended when the core asked; not answered yet.
    pub(crate) ends: VecDeque<Position>,
    /// Parts of the log in which it looks for what a link missed: a name, the first and behind the last.
    pub(crate) tails: VecDeque<(u64, Position, Position)>,
    pub(crate) given_up: Option<GivenUp>,
    pub(crate) router: u64,
    pub(crate) epoch: u32,
    /// Where the log of its epoch begins, in the log of all epochs.
    pub(crate) epoch_at: usize,
    /// Behind the last record that it can still get: its epoch is over, and it has fetched so many.
    pub(crate) fetched: usize,
    /// What it has not noticed yet, because it was paused when it came.
    pub(crate) late: Vec<Input>,
    /// So many steps it is paused still.
    pub(crate) paused: usize,
    /// The time at which it began.
    pub(crate) started: u64,
    /// Writes of a command or more that had to be cut at a bucket's end.
    pub(crate) crossings: usize,
}

impl Owner {
    /// An owner that begins at the shard's checkpoint. The log of its epoch begins at `epoch_at` in that of all.
    pub(crate) fn new(
        router: u64,
        takeover: Position,
        (log, epoch_at): (&[LogRecord], usize),
        rulebook: Rulebook,
        store: &MemoryStore,
    ) -> Self {
        let limits = ShardLimits {
            queue_max: 40,
            reads_max: 16,
            entities_max: 1,
            entities_warm: 0,
            idle_us: 200_000,
            standing_us: 5_000_000,
            rows_max: 3,
            effects_max: 30,
            bucket_events: BUCKET_EVENTS,
            ..ShardLimits::default()
        };
        let start = checkpoints::start(store, takeover);
        checkpoints::check(&start, &log[epoch_at..]);
        let next = epoch_at + usize::try_from(start.position.offset).expect("a short log");
        let core = Shard::new(router, Generation::of(takeover), store.incarnation(), start, limits, rulebook);
        Self {
            core,
            next,
            tasks: vec![],
            effects: VecDeque::new(),
            ends: VecDeque::new(),
            tails: VecDeque::new(),
            given_up: None,
            router,
            epoch: takeover.epoch,
            epoch_at,
            fetched: usize::MAX,
            late: Vec::new(),
            paused: 0,
            started: 0,
            crossings: 0,
        }
    }

    /// Starts what the core asks for; returns what goes down the links. The log ends at `end` now.
    /// Its clock shows `now`.
    pub(crate) fn act(&mut self, store: &MemoryStore, end: Position, now: Time) -> Vec<(LinkId, Down)> {
        let mut downs = Vec::new();
        let (shard, generation) = (checkpoints::SHARD, self.core.generation());
        for output in self.core.take_outputs() {
            let store = store.clone();
            match output {
                Output::Send(link, down) => downs.push((link, down)),
                Output::AppendEffect(effect, _) => self.effects.push_back(effect),
                Output::AskEnd => self.ends.push_back(end),
                Output::GiveUp(why) => self.given_up = Some(why),
                Output::Backlog(_) | Output::Traced(_) => {}
                Output::ReadTail { tail, from, to } => self.tails.push_back((tail, from, to)),
                Output::Readmit(link) => downs.push((link, Down::Readmit { shard, generation })),
                Output::Watermark(link, position) => {
                    downs.push((link, Down::Watermark { shard, generation, position }));
                }
                Output::Checkpoint(checkpoint) => self.tasks.push(Box::pin(async move {
                    while let Err(error) = store.write_checkpoint(checkpoints::SHARD, checkpoint).await {
                        assert!(error.is_retryable(), "{error}");
                    }
                    Input::Checkpointed
                })),
                Output::ReadEpoch => self.tasks.push(Box::pin(async move {
                    let open = store.log_epoch().await.expect("reads work");
                    Input::EpochRead { open: open.map_or(0, |open| open.epoch), asked: now }
                })),
                Output::Load { entity, wanted } => self.tasks.push(Box::pin(async move {
                    loop {
                        match load(&store, entity, wanted.clone()).await {
                            Ok(loaded) => return Input::Loaded(entity, loaded),
                            Err(StoreError::Corrupt(why)) => return Input::Damaged { entity, read: None, why },
                            Err(error) => assert!(error.is_retryable(), "{error}"),
                        }
                    }
                })),
                Output::Write(batches) => {
                    self.crossings += usize::from(cuts_a_command(&batches));
                    self.tasks.push(Box::pin(async move {
                        let entity = batches[0].entity;
                        for batch in batches {
                            while store.write_events(batch.clone()).await.is_err() {}
                        }
                        Input::Written(entity)
                    }));
                }
                Output::Flush { entity, rows, through, time } => self.tasks.push(Box::pin(async move {
                    for rows in [rows, vec![flushed_cell(through, time)]] {
                        while store.write_state(entity, rows.clone()).await.is_err() {}
                    }
                    Input::Flushed(entity)
                })),
                Output::ReadEvents { read, entity, from, order, limit } => self.tasks.push(Box::pin(async move {
                    let events = store.read_events(entity, from, order, limit, 1 << 20).await;
                    read_or_damaged(entity, read, events.map(|events| Input::EventsRead(read, events)))
                })),
                Output::ScanRows { read, entity, kind, after } => self.tasks.push(Box::pin(async move {
                    let rows = store.scan_state(entity, kind, after, 512).await.and_then(read_scan);
                    read_or_damaged(entity, read, rows.map(|rows| Input::RowsScanned(read, rows)))
                })),
            }
        }
        downs
    }

    /// It is paused until another epoch is open: its operations of the store end without it.
    pub(crate) fn pause(&mut self, store: &MemoryStore) {
        while let Some(mut task) = self.tasks.pop() {
            loop {
                match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(input) => break self.late.push(input),
                    Poll::Pending => drop(store.deliver()),
                }
            }
        }
    }

    /// Lets one operation go on to its next access of the store.
    pub(crate) fn step(&mut self, index: usize) {
        let mut task = self.tasks.swap_remove(index);
        match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(input) => self.core.handle(input),
            Poll::Pending => self.tasks.push(task),
        }
    }

    /// As [`Self::step`], for any of those that are under way.
    pub(crate) fn step_any(&mut self, random: &mut StdRng) {
        if !self.tasks.is_empty() {
            self.step(random.random_range(0..self.tasks.len()));
        }
    }

    /// Whether it has taken all that the log has, and nothing is left to do.
    pub(crate) fn is_done(&self, records: usize) -> bool {
        let asks_nothing = self.effects.is_empty() && self.ends.is_empty() && self.tails.is_empty();
        self.next == records && self.tasks.is_empty() && asks_nothing && self.core.is_idle()
    }
}
