//! W4: connections that come and go: TCP, TLS where it is asked for, the upgrade, who it is, a subscription, the end.

use anyhow::{Result, ensure};

use super::{Load, Span, measure};
use crate::adapter::Role;
use crate::cli::Churn;
use crate::clock::{SECOND, now};
use crate::engine::{Engine, Happened};
use crate::latency::Latencies;
use crate::row::Row;

/// Connections that may fail before the row is void.
const FAILED_MAX: u64 = 100;
/// Nanoseconds that the first connections may take.
const FIRST_MAX: u64 = 60 * SECOND;

pub(super) fn run(args: &Churn, engine: &mut Engine) -> Result<Row> {
    engine.first_may_be_full(args.first);
    let span = Span::from_now(&args.common);
    let mut load = Coming {
        engine,
        args,
        span,
        begun: 0,
        done: 0,
        failed: 0,
        until: Some(u64::from(args.first)),
        latencies: Latencies::default(),
        happened: Vec::new(),
    };
    let began = now();
    while load.done + load.failed < u64::from(args.first) {
        load.turn(super::TURN)?;
        ensure!(now() - began < FIRST_MAX, "the first {} connections are not made after a minute", args.first);
    }
    (load.until, load.span) = (None, Span::from_now(&args.common));
    let span = load.span;
    let mut row = measure(&mut load, span, &args.common.pids, "handshakes_per_s")?;
    for (name, share) in [("p50_us", 0.5), ("p99_us", 0.99)] {
        row.push(name, load.latencies.quantile(share) as f64);
    }
    row.push("failed", load.failed as f64);
    Ok(row)
}

struct Coming<'e> {
    engine: &'e mut Engine,
    args: &'e Churn,
    span: Span,
    begun: u64,
    done: u64,
    failed: u64,
    /// Not more connections than so many are begun.
    until: Option<u64>,
    latencies: Latencies,
    happened: Vec<Happened>,
}

impl Coming<'_> {
    /// Keeps as many under way as there may be.
    fn connect(&mut self) -> Result<()> {
        while self.engine.live() < self.args.par as usize && self.until.is_none_or(|until| self.begun < until) {
            // As users are dealt out over the channels.
            let user = self.begun % u64::from(self.args.users);
            let channel = u32::try_from(user % u64::from(self.args.channels))?;
            self.engine.connect(Role::Subscriber, channel)?;
            self.begun += 1;
        }
        Ok(())
    }
}

impl Load for Coming<'_> {
    fn engine(&mut self) -> &mut Engine {
        self.engine
    }

    fn turn(&mut self, wait: u64) -> Result<()> {
        self.connect()?;
        let mut happened = std::mem::take(&mut self.happened);
        self.engine.poll(wait, &mut happened)?;
        for each in happened.drain(..) {
            match each {
                Happened::Ready { id } => {
                    self.done += 1;
                    if let Some(connection) = self.engine.connection(id)
                        && self.span.holds(connection.started)
                    {
                        let started = connection.started;
                        self.latencies.record(started, now());
                    }
                    self.engine.close(id);
                }
                Happened::Closed { why, .. } => {
                    self.failed += 1;
                    ensure!(self.failed < FAILED_MAX, "{FAILED_MAX} connections failed; the last one: {why:#}");
                }
                Happened::Delivery { .. } | Happened::Ack { .. } => {}
            }
        }
        self.happened = happened;
        Ok(())
    }

    fn done(&self) -> u64 {
        self.done
    }

    fn stop(&mut self) {
        self.until = Some(self.begun);
    }

    fn is_waiting(&self) -> bool {
        self.engine.live() > 0
    }
}
