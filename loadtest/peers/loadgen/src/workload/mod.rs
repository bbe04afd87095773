//! The workloads. Each takes an engine and gives a row.

mod ack;
mod churn;
mod fan_out;
mod idle;

use anyhow::{Context as _, Result, ensure};
pub(crate) use idle::FIRST as IDLE_FIRST;

use crate::adapter::{self, Options, Role};
use crate::cli::{Common, Workload};
use crate::clock::{SECOND, now};
use crate::engine::{Engine, Happened};
use crate::latency::Latencies;
use crate::meter::Meter;
use crate::row::Row;
use crate::{procfs, tls};

/// Handshakes under way at a time while a workload opens its connections.
const OPENING_AT_ONCE: usize = 128;
/// Nanoseconds without a connection that gets ready, after which the server is given up.
const OPENING_STALL_MAX: u64 = 20 * SECOND;
/// Nanoseconds of the longest wait, so that a turn looks at the clock.
const TURN: u64 = SECOND / 20;
/// Nanoseconds without an arrival, after which what is still missing is lost; and in all.
const DRAIN_STALL_MAX: u64 = 2 * SECOND;
const DRAIN_MAX: u64 = 15 * SECOND;

/// Runs a workload, or only makes what it needs; then there is no row.
///
/// # Errors
/// The server refused, lost or broke something that makes the row void.
pub fn run(workload: &Workload) -> Result<Option<Row>> {
    let (common, plan) = (workload.common(), workload.plan());
    let mut adapter = adapter::make(&common.adapter, &Options::parse(&common.options)?)?;
    if common.provision {
        adapter.provision(&plan)?;
        return Ok(None);
    }
    ensure!(!common.pids.is_empty(), "--pids names the processes of the server");
    adapter.begin(&plan)?;
    let needs_setup = adapter.needs_setup();
    let tls = common.tls.map(tls::Connector::new).transpose()?;
    let mut engine = Engine::new(common.addr, adapter, tls)?;
    if needs_setup {
        let made = open(&mut engine, [(Role::Setup, 0)])?;
        made.into_iter().for_each(|id| engine.close(id));
    }
    let row = match workload {
        Workload::Idle(idle) => idle::run(idle, &mut engine),
        Workload::Fanout(fan_out) => fan_out::run(fan_out, &mut engine),
        Workload::Ack(ack) => ack::run(ack, &mut engine),
        Workload::Churn(churn) => churn::run(churn, &mut engine),
    }?;
    // A process that ended meanwhile is an error.
    procfs::cpu(&common.pids)?;
    Ok(Some(row))
}

/// Opens connections, and waits until all are ready.
fn open(engine: &mut Engine, wanted: impl IntoIterator<Item = (Role, u32)>) -> Result<Vec<u32>> {
    let (mut ids, mut ready) = (Vec::new(), 0);
    let (mut wanted, mut happened, mut progress) = (wanted.into_iter().peekable(), Vec::new(), now());
    while wanted.peek().is_some() || ready < ids.len() {
        while ids.len() - ready < OPENING_AT_ONCE
            && let Some((role, channel)) = wanted.next()
        {
            ids.push(engine.connect(role, channel)?);
        }
        engine.poll(TURN, &mut happened)?;
        for each in happened.drain(..) {
            match each {
                Happened::Ready { .. } => (ready, progress) = (ready + 1, now()),
                other => broken(other).with_context(|| format!("while connections are opened; {ready} are"))?,
            }
        }
        ensure!(now() - progress < OPENING_STALL_MAX, "no connection got ready for 20 s; {ready} are");
    }
    Ok(ids)
}

/// An error, if a connection is gone; whatever else happens is no trouble.
fn broken(happened: Happened) -> Result<()> {
    match happened {
        Happened::Closed { id, why } => Err(why.context(format!("connection {id} is lost"))),
        Happened::Ready { .. } | Happened::Delivery { .. } | Happened::Ack { .. } => Ok(()),
    }
}

/// A load that runs in turns, of which none lasts for long.
trait Load {
    /// The connections.
    fn engine(&mut self) -> &mut Engine;

    /// Sends what is due, waits for at most so many nanoseconds, takes what came.
    fn turn(&mut self, wait: u64) -> Result<()>;

    /// What was done so far, as it is counted.
    fn done(&self) -> u64;

    /// From now on nothing is sent.
    fn stop(&mut self);

    /// Whether something that was sent has not arrived.
    fn is_waiting(&self) -> bool;
}

/// The moments between which a load is measured.
#[derive(Clone, Copy, Debug)]
struct Span {
    begin: u64,
    start: u64,
    end: u64,
}

impl Span {
    /// Begins now, with the seconds that warm up before those that are measured.
    fn from_now(common: &Common) -> Self {
        let begin = now();
        let start = begin + u64::from(common.warm) * SECOND;
        Self { begin, start, end: start + u64::from(common.secs) * SECOND }
    }

    /// Whether something that was due then is measured.
    fn holds(&self, due: u64) -> bool {
        (self.start..self.end).contains(&due)
    }
}

fn run_until(load: &mut impl Load, end: u64) -> Result<()> {
    loop {
        let left = end.saturating_sub(now());
        if left == 0 {
            return Ok(());
        }
        load.turn(left.min(TURN))?;
    }
}

/// Runs a load, and gives the figures of the seconds that are measured, under the name of what is counted; then lets it
/// come to its end.
fn measure(load: &mut impl Load, span: Span, pids: &[u32], what: &'static str) -> Result<Row> {
    run_until(load, span.start)?;
    let meter = Meter::start(pids)?;
    let (done, reads) = (load.done(), load.engine().reads());
    run_until(load, span.end)?;
    let used = meter.read()?;
    let (done, reads) = (load.done() - done, load.engine().reads() - reads);
    let mut row = used.row(what, done);
    row.push("done_per_read", done as f64 / reads.max(1) as f64);
    load.stop();
    drain(load)?;
    // A server that falls behind may do nothing in the seconds that are measured; that is its figure.
    ensure!(load.done() > 0, "nothing was done at all");
    Ok(row)
}

/// The figures of latencies, and how late the generator itself was: a schedule that it could not hold says nothing of the
/// server.
fn latencies(row: &mut Row, latencies: &Latencies, lateness: &Latencies) {
    for (name, share) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)] {
        row.push(name, latencies.quantile(share) as f64);
    }
    row.push("late_p99_us", lateness.quantile(0.99) as f64);
}

/// Waits until everything that was sent arrived; what did not come within the stated times is lost.
fn drain(load: &mut impl Load) -> Result<()> {
    let (begin, mut progress) = (now(), (load.done(), now()));
    while load.is_waiting() && now() - begin < DRAIN_MAX && now() - progress.1 < DRAIN_STALL_MAX {
        load.turn(TURN)?;
        if load.done() != progress.0 {
            progress = (load.done(), now());
        }
    }
    Ok(())
}
