//! Drives one shard: does what the core asks for over the log, the store and the links.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use panda_protocol::link::{Down, Effect, Record};
use panda_protocol::{Generation, Position, ShardId, Time, TraceContext};
use panda_storage::{Appender, Checkpoint, CommandLog, EpochStore, EventStore, RecordHeaders, ShardReader, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::announcer::Term;
use crate::beat::Beat;
use crate::begin::{Begun, begin, checkpoint};
use crate::damage::{DamageLog, read_or_refused, whole};
use crate::doors::{Doors, Outside};
use crate::links::Links;
use crate::metrics::{Backlog, RouterMetrics};
use crate::moment::Moment;
use crate::open_epoch::{Guard, OpenEpoch};
use crate::persist::{LOG, Persist, RETRY_MAX, RETRY_MIN, bring, flush, retry, write};
use crate::readiness::Readiness;
use crate::replies::SCAN_ROWS;
use crate::retention::Releases;
use crate::rulebook::Rulebook;
use crate::shard::load::read_scan;
use crate::shard::{GivenUp, Input, Output, Shard, ShardFigures, ShardLimits};
use crate::tail::touched;
use crate::tenure::Tenure;
use crate::traces;

/// Records taken from the log at once.
const RECORDS_AT_ONCE: usize = 512;
/// Frames of links taken at once.
const UPS_AT_ONCE: usize = 512;
const TICK: Duration = Duration::from_millis(100);
/// Bytes read at once for a page.
const PAGE_BYTES: usize = 512 * 1024;

/// What a shard's driver works with.
pub(crate) struct Parts<L, S> {
    pub(crate) shard: ShardId,
    pub(crate) router: u64,
    pub(crate) log: L,
    pub(crate) store: S,
    pub(crate) epoch: OpenEpoch,
    pub(crate) links: Rc<RefCell<Links>>,
    pub(crate) beat: Beat,
    pub(crate) doors: Doors,
    pub(crate) metrics: RouterMetrics,
    pub(crate) backlog: Backlog,
    pub(crate) readiness: Readiness,
    pub(crate) limits: ShardLimits,
    /// A load holds one while it reads; all shards of the router share them.
    pub(crate) load_places: Arc<Semaphore>,
    /// Once it is over, what is in flight is finished.
    pub(crate) tenure: Tenure,
    /// And may take so long.
    pub(crate) finish_max: Duration,
}

type Done = Pin<Box<dyn Future<Output = Result<Input, StoreError>> + Send>>;

/// How a term ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    /// The shard's tenure is over.
    Stopped,
    /// The core gave the shard up.
    GivenUp(GivenUp),
}

/// Runs one term of a shard: until its tenure is over or it is given up. `began` is called once it takes
/// frames of links.
///
/// # Errors
/// What the store or the log returned and no repetition can mend.
pub(crate) async fn term<L: CommandLog, S: EventStore + EpochStore>(
    parts: &mut Parts<L, S>,
    began: impl FnOnce(Term),
) -> Result<Ended, StoreError> {
    let rulebook = Rulebook::default();
    let mut tenure = parts.tenure.clone();
    let begun = tokio::select! {
        biased;
        () = tenure.over() => return Ok(Ended::Stopped),
        begun = begin(parts, rulebook.newest) => begun?,
    };
    let Begun { takeover, start, stored, mut reader, sure_at } = match begun {
        Ok(begun) => begun,
        Err(why) => return Ok(Ended::GivenUp(why)),
    };
    let generation = Generation::of(takeover);
    let core = Shard::new(parts.router, generation, parts.store.incarnation(), start, parts.limits, rulebook);
    let mut driver = Driver::new(core, parts, sure_at);
    let mut tick = driver.parts.beat.ticks(driver.parts.shard, TICK);
    let mut ups = Vec::with_capacity(UPS_AT_ONCE);
    let shard = driver.parts.shard;
    // Links hear of the owner when its door is open, so none has to ask again what it asks then.
    let mut door = driver.parts.doors.open(shard);
    driver.parts.links.borrow_mut().own(shard, generation);
    let _running = driver.parts.readiness.run(shard, driver.parts.metrics.shards.clone());
    began(Term { shard, generation, takeover });
    let mut finish_by = None;
    loop {
        if finish_by.is_some() && driver.work.is_empty() {
            // What became durable since the end was asked for is stored, too.
            driver.flush_all();
        }
        driver.act();
        if let Some(why) = driver.given_up {
            return Ok(Ended::GivenUp(why));
        }
        if let Some(finish_by) = finish_by
            && driver.core.is_idle()
        {
            driver.last_checkpoint(finish_by).await?;
            return Ok(Ended::Stopped);
        }
        let wants_records = finish_by.is_none() && driver.core.wants_records();
        // Not biased: under load every branch is always ready, and none may starve another.
        tokio::select! {
            Some(done) = driver.work.next(), if !driver.work.is_empty() => driver.done(done?),
            () = driver.releases.next() => {}
            open = driver.parts.epoch.over() => driver.handle(Input::EpochOver(open?)),
            () = door.next(&mut ups, UPS_AT_ONCE) => driver.hear(&mut ups),
            records = reader.next(RECORDS_AT_ONCE), if wants_records => match records {
                Ok(records) => driver.handle(Input::Records(records)),
                // Nothing was decided yet.
                Err(refused) if !reader.is_proven() => return driver.refused(stored, refused, &mut tenure).await,
                Err(error) => return Err(error),
            },
            _ = tick.tick() => {
                driver.tick();
                if finish_by.is_some() {
                    driver.flush_all();
                }
            }
            () = tenure.over(), if finish_by.is_none() => {
                // What was read is finished; what was not is the next owner's, and so is every question.
                finish_by = Some(Instant::now() + driver.parts.finish_max);
                door.close();
                driver.flush_all();
            }
            () = sleep_until(finish_by.unwrap_or_else(Instant::now)), if finish_by.is_some() => {
                // The next owner makes the same of the same commands.
                tracing::warn!(shard = shard.0, "the store is too slow to finish a shard: the next owner does");
                return Ok(Ended::Stopped);
            }
        }
    }
}

/// As the core's clock has it.
fn micros(at: Moment, started: Moment) -> Time {
    Time(u64::try_from(at.since(started).as_micros()).unwrap_or(u64::MAX))
}

struct Driver<'a, L, S> {
    core: Shard,
    parts: &'a mut Parts<L, S>,
    work: FuturesUnordered<Done>,
    /// Effects on their way to the log: one at a time, in order.
    effects: std::collections::VecDeque<(Effect, Option<TraceContext>)>,
    figures: ShardFigures,
    damages: DamageLog,
    /// What this shard has added to the gauge that all shards share.
    resident: i64,
    given_up: Option<GivenUp>,
    /// Edges were told of a backlog, and not yet of its end.
    backlogged: bool,
    /// Of the core's clock.
    started: Moment,
    /// What the core was told of it last.
    told: Moment,
    /// When the log was heard, for what is under way.
    heard: watch::Sender<Option<Moment>>,
    persist: Persist<S>,
    /// Behind the last record before the checkpoint that is being written.
    checkpoint: Position,
    /// What of the log is being deleted behind the last one.
    releases: Releases,
}

impl<'a, L: CommandLog, S: EventStore + EpochStore> Driver<'a, L, S> {
    fn new(mut core: Shard, parts: &'a mut Parts<L, S>, started: Moment) -> Self {
        if traces::are_told() {
            core.tell_traces();
        }
        let (heard, hears) = watch::channel(Some(started));
        let persist = Persist::new(parts.shard, &parts.store, Guard::new(parts.epoch.clone(), hears));
        let damages = DamageLog::new(parts.shard, parts.metrics.damaged.clone());
        Self {
            core,
            parts,
            work: FuturesUnordered::new(),
            effects: Default::default(),
            figures: ShardFigures::default(),
            damages,
            resident: 0,
            given_up: None,
            backlogged: false,
            started,
            told: started,
            heard,
            persist,
            checkpoint: Position::default(),
            releases: Releases::default(),
        }
    }

    /// The log does not go on behind what was stored when this term began. That is for good unless the owner before
    /// went on meanwhile: then the next term begins behind that.
    ///
    /// # Errors
    /// What the log returned, or the store.
    async fn refused(
        &self,
        stored: Option<Checkpoint>,
        refused: StoreError,
        tenure: &mut Tenure,
    ) -> Result<Ended, StoreError> {
        if !matches!(refused, StoreError::Misconfigured(_)) {
            return Err(refused);
        }
        let now = tokio::select! {
            biased;
            () = tenure.over() => return Ok(Ended::Stopped),
            now = checkpoint(&self.persist, self.parts.shard) => now?,
        };
        match now {
            Ok(now) if now == stored => Err(refused),
            Ok(_) => Ok(Ended::GivenUp(GivenUp::Outrun)),
            Err(open) => Ok(Ended::GivenUp(GivenUp::EpochOver { open })),
        }
    }

    /// Does everything that the core asks for now.
    fn act(&mut self) {
        let outputs = self.core.take_outputs();
        if outputs.is_empty() {
            return;
        }
        let links = Rc::clone(&self.parts.links);
        let mut links = links.borrow_mut();
        for output in outputs {
            match output {
                Output::Send(link, down) => links.send(link, down),
                Output::AppendEffect(effect, trace) => {
                    self.effects.push_back((effect, trace));
                    if self.effects.len() == 1 {
                        self.append_effect();
                    }
                }
                Output::Backlog(age_ms) => {
                    self.backlogged = age_ms > 0;
                    self.parts.backlog.announce(self.parts.shard, age_ms, &self.parts.metrics.backlog_ms);
                    links.broadcast(&Down::Backlog { shard: self.parts.shard, age_ms });
                }
                Output::GiveUp(why) => self.given_up = Some(why),
                Output::Readmit(link) => {
                    let (shard, generation) = (self.parts.shard, self.core.generation());
                    links.send(link, Down::Readmit { shard, generation });
                }
                Output::Watermark(link, position) => {
                    let (shard, generation) = (self.parts.shard, self.core.generation());
                    links.send(link, Down::Watermark { shard, generation, position });
                }
                Output::Traced(record) => {
                    let now = micros(Moment::now(), self.started);
                    traces::released(self.parts.router, self.parts.shard, &record, now);
                }
                other => self.start(other),
            }
        }
        links.flush();
    }

    fn done(&mut self, input: Input) {
        if matches!(input, Input::EffectAppended) {
            self.effects.pop_front();
            self.note_time();
            self.append_effect();
        }
        if let Input::Damaged { entity, read, why } = &input {
            self.damages.note(*entity, read.is_none(), why);
        }
        if matches!(input, Input::Checkpointed) {
            self.releases.begin(&self.parts.log, self.parts.shard, self.checkpoint);
        }
        self.handle(input);
    }

    fn hear(&mut self, ups: &mut Vec<Outside>) {
        for outside in ups.drain(..) {
            self.handle(match outside {
                Outside::Up(link, up) => Input::Up(link, up),
                Outside::Closed(link) => Input::LinkClosed(link),
            });
        }
    }

    fn handle(&mut self, input: Input) {
        self.note_time();
        self.core.handle(input);
    }

    fn flush_all(&mut self) {
        self.note_time();
        self.core.flush_all();
    }

    /// The process or the machine may have stood still since the core heard of the time.
    fn note_time(&mut self) {
        self.told = Moment::now();
        self.core.set_now(self.now());
        self.heard.send_replace(self.core.heard().map(|heard| self.started.behind(Duration::from_micros(heard.0))));
    }

    fn now(&self) -> Time {
        micros(self.told, self.started)
    }

    fn start(&mut self, output: Output) {
        let store = self.parts.store.clone();
        let persist = self.persist.clone();
        if matches!(output, Output::Load { .. } | Output::ReadEvents { .. } | Output::ScanRows { .. }) {
            self.parts.metrics.reads.inc();
        }
        let done: Done = match output {
            Output::Load { entity, wanted } => {
                Box::pin(bring(persist, Arc::clone(&self.parts.load_places), entity, wanted))
            }
            Output::Write(batches) => Box::pin(write(persist, batches)),
            Output::Flush { entity, rows, through, time } => Box::pin(flush(persist, entity, rows, through, time)),
            Output::ReadEvents { read, entity, from, order, limit } => Box::pin(async move {
                let events = store.read_events(entity, from, order, limit, PAGE_BYTES).await;
                let events = events.and_then(|rows| whole(from, order, rows));
                read_or_refused(entity, read, events.map(|events| Input::EventsRead(read, events)))
            }),
            Output::ScanRows { read, entity, kind, after } => Box::pin(async move {
                let rows = store.scan_state(entity, kind, after, SCAN_ROWS).await.and_then(read_scan);
                read_or_refused(entity, read, rows.map(|rows| Input::RowsScanned(read, rows)))
            }),
            Output::AskEnd => {
                let (log, shard) = (self.parts.log.clone(), self.parts.shard);
                Box::pin(async move {
                    let mut wait = RETRY_MIN;
                    loop {
                        match log.end(shard).await {
                            Ok(position) => return Ok(Input::End(position)),
                            Err(error) => wait = retry(LOG, Some(shard), error, wait).await?,
                        }
                    }
                })
            }
            Output::ReadEpoch => {
                let (epoch, started, since) = (self.parts.epoch.clone(), self.started, Moment::now());
                Box::pin(async move {
                    let said = epoch.since(since).await?;
                    Ok(Input::EpochRead { open: said.open, asked: micros(said.asked, started) })
                })
            }
            Output::ReadTail { tail, from, to } => {
                let (log, shard) = (self.parts.log.clone(), self.parts.shard);
                Box::pin(async move { Ok(Input::TailRead(tail, touched(&log, shard, from, to).await)) })
            }
            Output::Checkpoint(checkpoint) => {
                let shard = self.parts.shard;
                self.checkpoint = checkpoint.behind_last();
                Box::pin(async move {
                    let written =
                        persist.until_done(|store| async move { store.write_checkpoint(shard, checkpoint).await });
                    if let Err(open) = written.await? {
                        return Ok(Input::EpochOver(open));
                    }
                    Ok(Input::Checkpointed)
                })
            }
            Output::Send(..)
            | Output::AppendEffect(..)
            | Output::Traced(_)
            | Output::Backlog(_)
            | Output::GiveUp(_)
            | Output::Watermark(..)
            | Output::Readmit(_) => return,
        };
        self.work.push(done);
    }

    /// Everything is stored: the next owner is to begin behind it. Without this checkpoint it would read
    /// again what is there, so a store that refuses holds no stop up.
    async fn last_checkpoint(&mut self, by: Instant) -> Result<(), StoreError> {
        self.note_time();
        if self.core.doubts() {
            return Ok(());
        }
        let Some(checkpoint) = self.core.take_checkpoint() else { return Ok(()) };
        let kept = timeout_at(by, self.persist.once(self.parts.shard, checkpoint)).await;
        match kept.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer in time".into()))) {
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, shard = self.parts.shard.0, "the last checkpoint could not be written");
                Ok(())
            }
            ended => ended,
        }
    }

    /// Appends the first effect that waits; it stays in front until the log has confirmed it.
    fn append_effect(&mut self) {
        let Some((effect, trace)) = self.effects.front() else { return };
        let headers = RecordHeaders::from(Appender::Router(self.parts.router)).traced(*trace);
        let log = self.parts.log.clone();
        let shard = effect.target.shard(log.shards());
        let record = Record::Effect(effect.clone()).to_bytes();
        let persist = self.persist.clone();
        self.work.push(Box::pin(async move {
            let mut wait = RETRY_MIN;
            loop {
                // Who opens an epoch appends in its log what is owed, in order: a later one must not be before it.
                if let Err(open) = persist.still_open().await? {
                    return Ok(Input::EpochOver(open));
                }
                let appended = match log.append(shard, record.clone(), headers) {
                    Ok(appending) => appending.await,
                    Err(error) => Err(error),
                };
                // A record that may be in the log is appended again: its target takes it once.
                if appended.is_ok() {
                    return Ok(Input::EffectAppended);
                }
                sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
        }));
    }

    fn tick(&mut self) {
        self.note_time();
        self.core.handle(Input::Tick(self.now()));
        self.parts.links.borrow_mut().flush();
        self.note_figures();
    }
}

impl<L, S> Driver<'_, L, S> {
    fn note_figures(&mut self) {
        let (now, before) = (self.core.figures(), self.figures);
        let metrics = &self.parts.metrics;
        metrics.events.inc_by(now.events - before.events);
        metrics.applied.inc_by(now.applied - before.applied);
        metrics.rejected.inc_by(now.rejected - before.rejected);
        metrics.duplicates.inc_by(now.duplicates - before.duplicates);
        metrics.panics.inc_by(now.panics - before.panics);
        metrics.writes.inc_by(now.writes - before.writes);
        metrics.question_reads.inc_by(now.question_reads - before.question_reads);
        metrics.loads.inc_by(now.loads - before.loads);
        metrics.evictions.inc_by(now.evictions - before.evictions);
        metrics.proven.inc_by(now.proven - before.proven);
        metrics.unloaded.inc_by(now.unloaded - before.unloaded);
        let resident = i64::try_from(self.core.resident()).unwrap_or(i64::MAX);
        metrics.resident.inc_by(resident - self.resident);
        self.resident = resident;
        self.figures = now;
        metrics.link_overflows.inc_by(self.parts.links.borrow_mut().take_overflows());
    }
}

/// However a term ends, nothing of it stays.
impl<L, S> Drop for Driver<'_, L, S> {
    fn drop(&mut self) {
        self.note_figures();
        let (shard, metrics) = (self.parts.shard, &self.parts.metrics);
        metrics.resident.dec_by(self.resident);
        self.parts.backlog.announce(shard, 0, &metrics.backlog_ms);
        let mut links = self.parts.links.borrow_mut();
        if self.backlogged {
            links.broadcast(&Down::Backlog { shard, age_ms: 0 });
        }
        links.disown(shard);
        links.flush();
    }
}
