//! W3: publish and wait for the acknowledgement, on many connections.
//!
//! What an acknowledgement promises differs from peer to peer; the README's table says what.

use anyhow::{Context as _, Result};

use super::{Load, Span, broken, measure, open};
use crate::adapter::Role;
use crate::cli::Ack;
use crate::clock::now;
use crate::engine::{Engine, Happened};
use crate::latency::Latencies;
use crate::payload;
use crate::row::Row;
use crate::schedule::Schedule;

pub(super) fn run(args: &Ack, engine: &mut Engine) -> Result<Row> {
    let ids = open(engine, (0..args.conns).map(|number| (Role::Publisher, number)))?;
    let span = Span::from_now(&args.common);
    let mut load = Asking {
        engine,
        span,
        schedule: (args.rate > 0).then(|| Schedule::new(span.begin, args.rate, 1)),
        ids,
        published: 0,
        acked: 0,
        stopped: false,
        latencies: Latencies::default(),
        lateness: Latencies::default(),
        happened: Vec::new(),
    };
    if load.schedule.is_none() {
        for place in 0..load.ids.len() {
            load.publish(load.ids[place], now())?;
        }
        load.engine.flush();
    }
    let mut row = measure(&mut load, span, &args.common.pids, "acks_per_s")?;
    row.push("unacked", load.published as f64 - load.acked as f64);
    super::latencies(&mut row, &load.latencies, &load.lateness);
    Ok(row)
}

struct Asking<'e> {
    engine: &'e mut Engine,
    span: Span,
    schedule: Option<Schedule>,
    ids: Vec<u32>,
    published: u64,
    acked: u64,
    stopped: bool,
    latencies: Latencies,
    lateness: Latencies,
    happened: Vec<Happened>,
}

impl Asking<'_> {
    fn publish(&mut self, id: u32, due: u64) -> Result<()> {
        let channel = self.engine.connection(id).context("a publisher is gone")?.peer.channel;
        self.published += 1;
        self.engine.publish(id, channel, &payload::write(due), true, due)
    }

    /// Publishes what is due; returns how long nothing is.
    fn publish_due(&mut self, schedule: Schedule) -> Result<u64> {
        let now = now();
        loop {
            let due = schedule.due(self.published);
            if due > now {
                return Ok(due - now);
            }
            let turn = usize::try_from(self.published % self.ids.len() as u64)?;
            self.publish(self.ids[turn], due)?;
            if self.span.holds(due) {
                self.lateness.record(due, now);
            }
        }
    }

    fn acked(&mut self, id: u32, at: u64) -> Result<()> {
        self.acked += 1;
        let connection = self.engine.connection(id).context("a publisher is gone")?;
        let due = connection.waiting.pop_front().context("an acknowledgement of nothing")?;
        if self.span.holds(due) {
            self.latencies.record(due, at);
        }
        if self.schedule.is_none() && !self.stopped { self.publish(id, now()) } else { Ok(()) }
    }
}

impl Load for Asking<'_> {
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
                Happened::Ack { id, at } => self.acked(id, at)?,
                other => broken(other)?,
            }
        }
        self.happened = happened;
        self.engine.flush();
        Ok(())
    }

    fn done(&self) -> u64 {
        self.acked
    }

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn is_waiting(&self) -> bool {
        self.acked < self.published
    }
}
