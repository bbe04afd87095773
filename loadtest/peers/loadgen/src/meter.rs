//! CPU and wall time between two moments: of the server, of this process, and of everybody else.

use anyhow::Result;

use crate::clock::{SECOND, now, own_cpu};
use crate::procfs::{self, Busy};
use crate::row::{Row, percent};

/// Begins to measure when it is made.
#[derive(Debug)]
pub struct Meter {
    server: f64,
    own: f64,
    at: u64,
    busy: Busy,
    pids: Vec<u32>,
}

/// What was used between a meter's start and its reading.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// CPU seconds of the server.
    pub server: f64,
    /// CPU seconds of this process.
    pub own: f64,
    /// Seconds that passed.
    pub wall: f64,
    /// What neither of them used, in per cent of one CPU: a row beside it is measured again.
    pub other_pct: f64,
    /// What the host took.
    pub stolen_pct: f64,
}

impl Meter {
    /// Of the server's processes.
    ///
    /// # Errors
    /// One of them ended.
    pub fn start(pids: &[u32]) -> Result<Self> {
        let (server, busy) = (procfs::cpu(pids)?, procfs::busy());
        Ok(Self { server, own: own_cpu(), at: now(), busy, pids: pids.to_vec() })
    }

    /// What was used since the start.
    ///
    /// # Errors
    /// One of the server's processes ended.
    pub fn read(&self) -> Result<Used> {
        let wall = now().saturating_sub(self.at) as f64 / SECOND as f64;
        let (server, own) = (procfs::cpu(&self.pids)? - self.server, own_cpu() - self.own);
        let busy = procfs::busy();
        Ok(Used {
            server,
            own,
            wall,
            other_pct: percent(busy.processes - self.busy.processes - server - own, wall),
            stolen_pct: percent(busy.stolen - self.busy.stolen, wall),
        })
    }
}

impl Used {
    /// The figures that every row of a rate has: how many of `what` a second, and for each CPU second of the server.
    pub fn row(&self, what: &'static str, count: u64) -> Row {
        let mut row = Row::default();
        row.extend([
            (what, count as f64 / self.wall),
            ("per_cpu_s", per_cpu_second(count, self.server)),
            ("server_cpu_pct", percent(self.server, self.wall)),
            ("client_cpu_pct", percent(self.own, self.wall)),
            ("other_cpu_pct", self.other_pct),
            ("steal_pct", self.stolen_pct),
        ]);
        row
    }
}

/// So many for each CPU second. A server that used less than the kernel counts is taken to have used one step.
pub fn per_cpu_second(count: u64, cpu_seconds: f64) -> f64 {
    count as f64 / cpu_seconds.max(0.01)
}
