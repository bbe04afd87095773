//! What a run may ask of this machine, told before it begins; and where the harness itself was the limit, told at its end.

use std::collections::BTreeMap;

use crate::lean::Second;

/// Files that the process needs besides its WebSockets.
const FILES_BESIDES: u64 = 128;

/// Of an agent's one thread, in thousandths of a core: above, it has no time left.
const CPU_PERMILLE_MAX: u32 = 950;
/// So many seconds one after the other.
const CPU_SECONDS_MAX: u32 = 3;
/// The 99th percentile of how late sends left: above, latencies are those of the harness.
const LATE_P99_US_MAX: u64 = 10_000;

/// Why a run is refused before it begins.
///
/// # Errors
/// A sentence that says what to do, if `websockets` connections need more open files than `limit`.
pub fn check_files(websockets: usize, limit: Option<u64>) -> Result<(), String> {
    let room = limit.map(|limit| limit.saturating_sub(FILES_BESIDES));
    match room {
        Some(room) if websockets as u64 > room => Err(format!(
            "{websockets} WebSocket sessions need more open files than this process may have ({room} are left); \
             take fewer, raise the limit with `ulimit -n`, or use --transport quic"
        )),
        _ => Ok(()),
    }
}

/// The process's limit of open files; `None` if the system does not say or has none.
pub fn open_files() -> Option<u64> {
    soft_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

/// Sessions for which a process of this machine has files; `None` if there is no limit.
pub fn room_for_files() -> Option<usize> {
    let room = open_files()?.saturating_sub(FILES_BESIDES);
    Some(usize::try_from(room).unwrap_or(usize::MAX))
}

/// Watches the agents of a run for what makes its figures theirs and not the target's.
#[derive(Debug, Default)]
pub struct LimitWatch {
    /// Of each agent, how many seconds it has been busy, and the longest such time.
    busy: BTreeMap<String, (u32, u32)>,
    /// How late sends left, in microseconds, and how often.
    late_us: BTreeMap<u64, u64>,
}

impl LimitWatch {
    /// What an agent counted in a second.
    pub fn agent(&mut self, name: &str, second: &Second) {
        let (now, longest) = self.busy.entry(name.to_owned()).or_default();
        *now = if second.cpu_permille > CPU_PERMILLE_MAX { *now + 1 } else { 0 };
        *longest = (*longest).max(*now);
        for &(us, count) in &second.late_us {
            *self.late_us.entry(us).or_default() += count;
        }
    }

    /// A sentence for everything in which the harness, and not the target, was the limit.
    pub fn limits(&self) -> Vec<String> {
        let busy =
            self.busy.iter().filter(|(_, (_, longest))| *longest >= CPU_SECONDS_MAX).map(|(name, (_, seconds))| {
                format!("agent {name} had no processor time left for {seconds} s; take more agents or more cores")
            });
        let late = self.late_p99_us().filter(|&late| late > LATE_P99_US_MAX).map(|late| {
            format!(
                "sends left late: p99 {:.1} ms behind their schedule; take more agents or a lower rate",
                std::time::Duration::from_micros(late).as_secs_f64() * 1e3
            )
        });
        busy.chain(late).collect()
    }

    fn late_p99_us(&self) -> Option<u64> {
        let all: u64 = self.late_us.values().sum();
        let mut counted = 0;
        self.late_us.iter().find_map(|(&us, &count)| {
            counted += count;
            (counted * 100 >= all * 99).then_some(us)
        })
    }
}

fn soft_limit(table: &str) -> Option<u64> {
    let row = table.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    row.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_from_the_systems_table() {
        let table = "Limit   Soft Limit   Hard Limit   Units\nMax open files            20000    20000    files\n";
        assert_eq!(soft_limit(table), Some(20_000));
        assert_eq!(soft_limit("Max open files   unlimited  unlimited files"), None);
        assert_eq!(soft_limit(""), None);
    }

    #[test]
    fn more_websockets_than_files_are_refused_with_a_sentence() {
        assert!(check_files(19_872, Some(20_000)).is_ok());
        assert!(check_files(19_873, Some(20_000)).unwrap_err().contains("ulimit"));
        assert!(check_files(1_000_000, None).is_ok());
        assert!(check_files(1, Some(3)).is_err());
    }

    #[test]
    fn a_busy_agent_and_a_late_schedule_are_told_and_a_moment_of_either_is_not() {
        let busy = Second { cpu_permille: 990, late_us: vec![(50_000, 1)], ..Second::default() };
        let calm = Second { cpu_permille: 300, late_us: vec![(20, 1_000)], ..Second::default() };
        let mut watch = LimitWatch::default();
        for second in [&calm, &busy, &busy, &calm, &busy] {
            watch.agent("1", second);
        }
        assert_eq!(watch.limits(), Vec::<String>::new());
        (0..3).for_each(|_| watch.agent("2", &busy));
        assert!(matches!(&watch.limits()[..], [one] if one.starts_with("agent 2 had no processor time")));
        let late = Second { late_us: vec![(50_000, 100)], ..Second::default() };
        watch.agent("3", &late);
        assert!(watch.limits().iter().any(|limit| limit.contains("p99 50.0 ms")), "{:?}", watch.limits());
    }
}
