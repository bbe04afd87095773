//! W2: publications to channels with subscribers.
//!
//! Saturated: a channel's next publication starts when all its subscribers have one, so no queue grows without end, and
//! nothing is lost unseen. On a schedule: latency from when each was due. In the end every subscriber must have got every
//! publication of its channel, once: what is missing is `lost`, what came too often is `doubled`.

use anyhow::Result;

use super::{Load, Span, broken, measure, open};
use crate::adapter::Role;
use crate::cli::FanOut;
use crate::clock::{SECOND, now};
use crate::engine::{Engine, Happened};
use crate::latency::Latencies;
use crate::row::Row;
use crate::schedule::Schedule;
use crate::{payload, procfs};

/// Nanoseconds without a delivery, after which a saturated load takes what is missing as dropped and starts anew.
const STALL: u64 = SECOND;

pub(super) fn run(args: &FanOut, engine: &mut Engine) -> Result<Row> {
    let pids = &args.common.pids;
    let before = procfs::memory(pids)?.rss;
    let connections = args.channels * args.subs;
    open(engine, (0..connections).map(|number| (Role::Subscriber, number % args.channels)))?;
    let publishers = open(engine, (0..args.publishers()).map(|number| (Role::Publisher, number)))?;
    let span = Span::from_now(&args.common);
    let mut load = Publishing::new(args, engine, publishers, span);
    load.begin()?;
    let mut row = measure(&mut load, span, pids, "deliveries_per_s")?;
    load.judge(&mut row);
    let grown = procfs::memory(pids)?.rss as f64 - before as f64;
    row.push("rss_kib_per_conn_after", grown / f64::from(connections));
    Ok(row)
}

struct Publishing<'e> {
    engine: &'e mut Engine,
    args: &'e FanOut,
    publishers: Vec<u32>,
    span: Span,
    schedule: Option<Schedule>,
    /// Publications and deliveries of each channel.
    sent: Vec<u64>,
    got: Vec<u64>,
    published: u64,
    delivered: u64,
    acked: u64,
    stopped: bool,
    /// Deliveries, and when there were so many first.
    progress: (u64, u64),
    stalls: u64,
    latencies: Latencies,
    lateness: Latencies,
    happened: Vec<Happened>,
}

impl<'e> Publishing<'e> {
    fn new(args: &'e FanOut, engine: &'e mut Engine, publishers: Vec<u32>, span: Span) -> Self {
        let channels = args.channels as usize;
        Self {
            engine,
            args,
            publishers,
            span,
            schedule: (args.rate > 0).then(|| Schedule::new(span.begin, args.rate, args.subs)),
            sent: vec![0; channels],
            got: vec![0; channels],
            published: 0,
            delivered: 0,
            acked: 0,
            stopped: false,
            progress: (0, span.begin),
            stalls: 0,
            latencies: Latencies::default(),
            lateness: Latencies::default(),
            happened: Vec::new(),
        }
    }

    fn publish(&mut self, channel: u32, due: u64) -> Result<()> {
        let publisher = self.publishers[channel as usize % self.publishers.len()];
        self.engine.publish(publisher, channel, &payload::write(due), self.args.ack, due)?;
        self.sent[channel as usize] += 1;
        self.published += 1;
        Ok(())
    }

    /// Fills the window of every channel, if there is no schedule.
    fn begin(&mut self) -> Result<()> {
        if self.schedule.is_none() {
            for channel in 0..self.args.channels {
                for _ in 0..self.args.window {
                    self.publish(channel, now())?;
                }
            }
        }
        self.engine.flush();
        Ok(())
    }

    /// Publishes what is due; returns how long nothing is.
    fn publish_due(&mut self, schedule: Schedule) -> Result<u64> {
        let now = now();
        loop {
            let due = schedule.due(self.published);
            if due > now {
                return Ok(due - now);
            }
            let channel = u32::try_from(self.published % u64::from(self.args.channels))?;
            self.publish(channel, due)?;
            if self.span.holds(due) {
                self.lateness.record(due, now);
            }
        }
    }

    fn delivered(&mut self, id: u32, due: u64, at: u64) -> Result<()> {
        self.delivered += 1;
        if self.span.holds(due) {
            self.latencies.record(due, at);
        }
        let Some(connection) = self.engine.connection(id) else { return Ok(()) };
        let channel = connection.peer.channel;
        let got = &mut self.got[channel as usize];
        *got += 1;
        if self.schedule.is_none() && !self.stopped && got.is_multiple_of(u64::from(self.args.subs)) {
            self.publish(channel, at)?;
        }
        Ok(())
    }

    fn restart_if_stalled(&mut self) -> Result<()> {
        let now = now();
        if self.delivered != self.progress.0 {
            self.progress = (self.delivered, now);
        } else if now - self.progress.1 > STALL {
            self.stalls += 1;
            for (got, sent) in self.got.iter_mut().zip(&self.sent) {
                *got = sent * u64::from(self.args.subs);
            }
            self.progress.1 = now;
            self.begin()?;
        }
        Ok(())
    }

    fn judge(&self, row: &mut Row) {
        let (mut lost, mut doubled) = (0, 0);
        for connection in self.engine.open().filter(|connection| connection.peer.role == Role::Subscriber) {
            let sent = self.sent[connection.peer.channel as usize];
            lost += sent.saturating_sub(connection.received);
            doubled += connection.received.saturating_sub(sent);
        }
        row.extend([("published", self.published as f64), ("lost", lost as f64), ("doubled", doubled as f64)]);
        if self.args.ack {
            row.push("unacked", self.published as f64 - self.acked as f64);
        }
        match self.schedule {
            None => row.push("stalls", self.stalls as f64),
            Some(_) => super::latencies(row, &self.latencies, &self.lateness),
        }
    }
}

impl Load for Publishing<'_> {
    fn engine(&mut self) -> &mut Engine {
        self.engine
    }

    fn turn(&mut self, mut wait: u64) -> Result<()> {
        if let Some(schedule) = self.schedule
            && !self.stopped
        {
            wait = wait.min(self.publish_due(schedule)?);
            self.engine.flush();
        }
        let mut happened = std::mem::take(&mut self.happened);
        self.engine.poll(wait, &mut happened)?;
        for each in happened.drain(..) {
            match each {
                Happened::Delivery { id, due, at } => self.delivered(id, due, at)?,
                Happened::Ack { .. } => self.acked += 1,
                other => broken(other)?,
            }
        }
        self.happened = happened;
        if self.schedule.is_none() && !self.stopped {
            self.restart_if_stalled()?;
        }
        self.engine.flush();
        Ok(())
    }

    fn done(&self) -> u64 {
        self.delivered
    }

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn is_waiting(&self) -> bool {
        self.delivered < self.published * u64::from(self.args.subs) || self.args.ack && self.acked < self.published
    }
}
