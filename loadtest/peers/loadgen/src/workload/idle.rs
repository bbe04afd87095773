//! W1: what an idle connection costs.
//!
//! Memory is what the server's grew by, for each. Two numbers of connections: a cost that grows faster than they do shows,
//! and what each one between them added depends on no first reading. Before that reading some connections come and go,
//! because a server lets go of what its start took when it first has something to do.

use anyhow::{Result, ensure};

use super::{TURN, broken, open};
use crate::adapter::Role;
use crate::cli::Idle;
use crate::clock::{SECOND, now};
use crate::engine::Engine;
use crate::meter::{Meter, per_cpu_second};
use crate::procfs;
use crate::row::{Row, percent};

/// Connections that come and go before the first reading.
pub(crate) const FIRST: u32 = 200;

pub(super) fn run(idle: &Idle, engine: &mut Engine) -> Result<Row> {
    let Idle { n1, n2, common } = idle;
    let (n1, n2, pids) = (*n1, *n2, &common.pids);
    ensure!(n1 < n2, "--n1 must be below --n2");
    let settle = u64::from(common.settle) * SECOND;
    for id in open(engine, (0..FIRST).map(|number| (Role::Subscriber, number)))? {
        engine.close(id);
    }
    rest(engine, settle)?;
    let before = procfs::memory(pids)?;
    let meter = Meter::start(pids)?;
    open(engine, (0..n1).map(|number| (Role::Subscriber, FIRST + number)))?;
    let opening = meter.read()?;
    rest(engine, settle)?;
    let some = procfs::memory(pids)?;
    open(engine, (n1..n2).map(|number| (Role::Subscriber, FIRST + number)))?;
    rest(engine, settle)?;
    let all = procfs::memory(pids)?;
    let meter = Meter::start(pids)?;
    rest(engine, settle)?;
    let resting = meter.read()?;
    let each = |after: u64, before: u64, count: u32| (after as f64 - before as f64) / f64::from(count);
    let mut row = Row::default();
    row.extend([
        ("n1", f64::from(n1)),
        ("n2", f64::from(n2)),
        ("base_rss_mib", before.rss as f64 / 1024.0),
        ("rss_mib_n2", all.rss as f64 / 1024.0),
        ("rss_kib_per_conn_n1", each(some.rss, before.rss, n1)),
        ("rss_kib_per_conn_n2", each(all.rss, before.rss, n2)),
        ("rss_kib_per_conn_between", each(all.rss, some.rss, n2 - n1)),
        ("pss_kib_per_conn_n2", each(all.pss, before.pss, n2)),
        // Of both ends, with the client's epoll items.
        ("slab_kib_per_pair", each(all.slab, before.slab, n2)),
        ("tcpmem_kib_per_pair", each(all.tcp, before.tcp, n2)),
        ("open_per_s", f64::from(n1) / opening.wall),
        ("open_per_cpu_s", per_cpu_second(u64::from(n1), opening.server)),
        ("idle_cpu_pct", percent(resting.server, resting.wall)),
        ("other_cpu_pct", opening.other_pct.max(resting.other_pct)),
    ]);
    Ok(row)
}

/// Takes what comes (heartbeats) for so many nanoseconds.
fn rest(engine: &mut Engine, nanoseconds: u64) -> Result<()> {
    let (end, mut happened) = (now() + nanoseconds, Vec::new());
    while now() < end {
        engine.poll(TURN, &mut happened)?;
        happened.drain(..).try_for_each(broken)?;
    }
    Ok(())
}
