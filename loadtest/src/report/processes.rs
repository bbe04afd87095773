//! What processes of this machine use, from `/proc`: those of servers that a person named, and this one.

use std::time::Duration;

use super::model::{Harness, Process};

/// Ticks a second of `/proc/PID/stat`: the same for every program on Linux.
const TICKS: f64 = 100.0;
/// utime, counted from behind the command's name, which may hold anything.
const UTIME: usize = 11;
/// Processes that are watched at most.
pub const WATCHED_MAX: usize = 256;

/// A server's process to watch, such as `edge-1=4711`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// How reports name it.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

impl std::str::FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').unwrap_or(("server", text));
        match pid.parse() {
            Ok(pid) if !name.is_empty() => Ok(Self { name: name.into(), pid }),
            _ => Err("write NAME=PID, such as edge-1=4711, or PID alone".into()),
        }
    }
}

/// Processes that are looked at again and again.
#[derive(Debug)]
pub struct Processes {
    watched: Vec<(Watched, Option<Use>)>,
    own: Option<Use>,
    at: Duration,
}

/// What a process used so far and holds now.
#[derive(Clone, Copy, Debug)]
struct Use {
    cpu_s: f64,
    rss_bytes: u64,
}

impl Processes {
    /// Looked at first at `now`.
    pub fn new(watched: &[Watched], now: Duration) -> Self {
        let first = |watched: &Watched| (watched.clone(), look(&watched.pid.to_string()));
        Self { watched: watched.iter().map(first).collect(), own: look("self"), at: now }
    }

    /// What the watched ones used since the last look; one that ended is not among them.
    pub fn look(&mut self, now: Duration) -> (Vec<Process>, Option<Harness>) {
        let span_s = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        let mut processes = Vec::new();
        for (watched, before) in &mut self.watched {
            let after = look(&watched.pid.to_string());
            if let Some(after) = after {
                let (name, rss_bytes) = (watched.name.clone(), after.rss_bytes);
                processes.push(Process { name, rss_bytes, cpu_share: share(*before, after, span_s) });
            }
            *before = after;
        }
        let own = look("self");
        let harness =
            own.map(|after| Harness { rss_bytes: after.rss_bytes, cpu_share: share(self.own, after, span_s) });
        self.own = own;
        (processes, harness)
    }
}

fn share(before: Option<Use>, after: Use, span_s: f64) -> f64 {
    let used = before.map_or(0.0, |before| (after.cpu_s - before.cpu_s).max(0.0));
    if span_s > 0.0 { used / span_s } else { 0.0 }
}

/// `None` if the process is not there.
fn look(pid: &str) -> Option<Use> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    Some(Use { cpu_s: cpu_seconds(&read("stat")?)?, rss_bytes: rss_bytes(&read("status")?) })
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(UTIME).map_while(|field| field.parse::<u32>().ok());
    Some((f64::from(fields.next()?) + f64::from(fields.next()?)) / TICKS)
}

/// A process that is ending has none.
fn rss_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_or_not() {
        let watched = |text: &str| text.parse::<Watched>();
        assert_eq!(watched("edge-1=7"), Ok(Watched { name: "edge-1".into(), pid: 7 }));
        assert_eq!(watched("7"), Ok(Watched { name: "server".into(), pid: 7 }));
        assert!(watched("edge-1").unwrap_err().contains("NAME=PID") && watched("=7").is_err());
    }

    #[test]
    fn the_tables_of_a_process_are_read_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 170 30 20 5 20 0 1 0 900 1000 10 1844674407";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(rss_bytes("VmPeak: 9 kB\nVmRSS:\t   12 kB\n"), 12 << 10);
    }

    #[test]
    fn what_runs_is_told_and_what_ended_is_left_out() {
        let own = Watched { name: "own".into(), pid: std::process::id() };
        let mut processes = Processes::new(&[own, Watched { name: "gone".into(), pid: u32::MAX }], Duration::ZERO);
        let (seen, harness) = processes.look(Duration::from_secs(1));
        assert_eq!(seen.iter().map(|process| process.name.as_str()).collect::<Vec<_>>(), ["own"]);
        assert!(seen[0].rss_bytes > 0 && harness.is_some_and(|harness| harness.rss_bytes > 0));
        let used = share(Some(Use { cpu_s: 1.0, rss_bytes: 0 }), Use { cpu_s: 2.0, rss_bytes: 0 }, 2.0);
        assert!((used - 0.5).abs() < 1e-9);
    }
}
