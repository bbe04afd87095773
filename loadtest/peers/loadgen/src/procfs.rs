//! Readings of the server's processes and of the kernel, from `/proc`.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::param::clock_ticks_per_second;

/// utime of `/proc/PID/stat`, counted from behind the command's name, which may hold anything.
const UTIME: usize = 11;

/// What processes and kernel use, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident memory of the processes.
    pub rss: u64,
    /// The same, with pages that several processes share divided among them.
    pub pss: u64,
    /// The kernel's slab, of the whole machine: sockets and epoll items of both ends are in it.
    pub slab: u64,
    /// Buffers of all TCP sockets of the machine.
    pub tcp: u64,
}

/// CPU seconds of a machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Busy {
    /// Used so far by all processes and by those that they waited for.
    pub processes: f64,
    /// Taken by the host of a virtual machine.
    pub stolen: f64,
}

/// utime and stime of the processes, in seconds; the kernel counts in steps of 10 ms.
///
/// # Errors
/// A process that ended: figures without it would look better than they are.
pub fn cpu(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        ticks += ticks_of(&stat.with_context(|| format!("process {pid} of the server ended"))?, 2);
    }
    Ok(seconds(ticks))
}

/// What the whole machine used. Not the busy time of `/proc/stat`: that is sampled at the timer's tick, which a fixed
/// schedule of sends keeps step with.
pub fn busy() -> Busy {
    let mut ticks = 0;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if process.file_name().to_string_lossy().starts_with(|first: char| first.is_ascii_digit()) {
            // One that ended meanwhile is in its parent's figure.
            ticks += fs::read_to_string(process.path().join("stat")).map_or(0, |stat| ticks_of(&stat, 4));
        }
    }
    let stolen = fs::read_to_string("/proc/stat").map_or(0, |stat| stolen_ticks(&stat));
    Busy { processes: seconds(ticks), stolen: seconds(stolen) }
}

/// Memory of the processes and of the kernel.
///
/// # Errors
/// As [`cpu()`], and a kernel whose files cannot be read.
pub fn memory(pids: &[u32]) -> Result<Memory> {
    let mut memory = Memory::default();
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let rollup = rollup.with_context(|| format!("memory of process {pid} of the server"))?;
        memory.rss += kib_of(&rollup, "Rss:");
        memory.pss += kib_of(&rollup, "Pss:");
    }
    memory.slab = kib_of(&fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?, "Slab:");
    memory.tcp = tcp_kib(&fs::read_to_string("/proc/net/sockstat").context("/proc/net/sockstat")?);
    Ok(memory)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

/// The sum of `fields` numbers of a `stat` file from utime on: utime, stime and those of children.
fn ticks_of(stat: &str, fields: usize) -> u64 {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    behind_name.split_whitespace().skip(UTIME).take(fields).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn stolen_ticks(stat: &str) -> u64 {
    // cpu user nice system idle iowait irq softirq steal
    stat.split_whitespace().nth(8).and_then(|field| field.parse().ok()).unwrap_or(0)
}

fn kib_of(file: &str, field: &str) -> u64 {
    let line = file.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn tcp_kib(sockstat: &str) -> u64 {
    const PAGE_KIB: u64 = 4;
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or("");
    let pages = line.split_whitespace().skip_while(|word| *word != "mem").nth(1);
    pages.and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_KIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_process_are_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 7 3 20 5 20 0 1 0 900 1000 10 18446744073709551615";
        assert_eq!(ticks_of(stat, 2), 10);
        assert_eq!(ticks_of(stat, 4), 35, "with children");
        assert_eq!(ticks_of("", 2), 0);
    }

    #[test]
    fn figures_of_the_kernel_are_found_by_their_names() {
        assert_eq!(stolen_ticks("cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2"), 8);
        assert_eq!(kib_of("Size: 9 kB\nRss:      1234 kB\nPss:  7 kB\n", "Rss:"), 1_234);
        assert_eq!(tcp_kib("sockets: used 5\nTCP: inuse 4 orphan 0 tw 9 alloc 5 mem 12\nUDP: inuse 1 mem 3\n"), 48);
    }

    #[test]
    fn a_process_that_ended_is_an_error_and_no_zero() {
        assert!(cpu(&[u32::MAX]).is_err());
        assert!(memory(&[u32::MAX]).is_err());
        let own = std::process::id();
        assert!(memory(&[own]).is_ok_and(|memory| memory.rss > 0 && memory.slab > 0));
    }
}
