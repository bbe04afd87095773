//! What each second of a run showed. Bounded, however long a run is: neighbours are put together.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::model::{Harness, Process, Second};
use super::{Counts, Percentiles};
use crate::recorder::Recorder;

/// Entries that are kept: more than an hour of seconds. Beyond it each holds two seconds, then four, and so on.
pub const ENTRIES_MAX: usize = 4_096;

/// An entry that is shorter has no rates that mean anything, in seconds.
const MOMENT_S: f64 = 0.3;

/// The seconds so far. One a run.
#[derive(Debug, Default)]
pub struct Seconds(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<Second>,
    /// Looks that the last entry holds, and that each of them holds but for a first round: a power of two.
    in_last: usize,
    in_each: usize,
    seen: Seen,
    processes: Vec<Process>,
    harness: Option<Harness>,
    fault: Option<String>,
}

/// The totals at the last look.
#[derive(Debug, Default)]
struct Seen {
    at: Duration,
    sent: u64,
    delivered: u64,
    counts: Counts,
}

impl Seconds {
    /// What the servers' processes used since this was said last, for the seconds from now on. Who watches no process says
    /// nothing.
    pub fn watched(&self, processes: Vec<Process>, harness: Option<Harness>) {
        let mut kept = self.kept();
        (kept.processes, kept.harness) = (processes, harness);
    }

    /// The fault that is being done from now on, for who watches.
    pub fn fault_begins(&self, fault: String) {
        self.kept().fault = Some(fault);
    }

    /// It is over.
    pub fn fault_ends(&self) {
        self.kept().fault = None;
    }

    /// What is being done.
    pub fn fault(&self) -> Option<String> {
        self.kept().fault.clone()
    }

    /// Makes an entry of what was recorded since the last look. `now` is on the run's clock.
    pub fn look(&self, recorder: &Recorder, now: Duration) -> Second {
        let seen = Seen {
            at: now,
            sent: recorder.sent.load(Relaxed),
            delivered: recorder.delivered.load(Relaxed),
            counts: Counts::of(recorder),
        };
        let recent = recorder.take_recent();
        let mut kept = self.kept();
        let since = seen.counts.since(&kept.seen.counts);
        let second = Second {
            at_s: now.as_secs_f64(),
            span_s: now.saturating_sub(kept.seen.at).as_secs_f64(),
            sent: seen.sent.saturating_sub(kept.seen.sent),
            acked: since.acked,
            delivered: seen.delivered.saturating_sub(kept.seen.delivered),
            errors: since.by_name(),
            lost: since.connections_lost,
            connected: u64::try_from(recorder.connected.load(Relaxed)).unwrap_or(0),
            waiting: u64::try_from(recorder.waiting.load(Relaxed)).unwrap_or(0),
            ack_us: Percentiles::from(&recent.recent_acks),
            delivery_us: Percentiles::from(&recent.recent),
            servers: kept.processes.clone(),
            harness: kept.harness,
        };
        kept.seen = seen;
        kept.push(second.clone());
        second
    }

    #[cfg(test)]
    fn push(&self, second: Second) {
        self.kept().push(second);
    }

    /// All entries so far.
    pub fn all(&self) -> Vec<Second> {
        self.kept().entries.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, second: Second) {
        if let Some(last) = self.entries.last_mut().filter(|_| self.in_last < self.in_each) {
            last.join(second);
            self.in_last += 1;
            return;
        }
        if self.entries.len() >= ENTRIES_MAX {
            self.entries = std::mem::take(&mut self.entries).chunks(2).map(together).collect();
            self.in_each = self.in_each.max(1) * 2;
        }
        self.entries.push(second);
        self.in_last = 1;
    }
}

/// The same in at most so many entries. One of a moment, such as of a last look, goes with the one behind it.
pub(super) fn at_most(entries: &[Second], count: usize) -> Vec<Second> {
    let mut long: Vec<Second> = Vec::new();
    for entry in entries {
        match long.last_mut() {
            Some(last) if last.span_s < MOMENT_S || entry.span_s < MOMENT_S => last.join(entry.clone()),
            _ => long.push(entry.clone()),
        }
    }
    long.chunks(long.len().div_ceil(count.max(1)).max(1)).map(together).collect()
}

fn together(neighbours: &[Second]) -> Second {
    let mut neighbours = neighbours.iter().cloned();
    let mut first = neighbours.next().unwrap_or_default();
    neighbours.for_each(|later| first.join(later));
    first
}

impl Second {
    /// Takes in the one behind it. Of percentiles the worse one stays, because two of them have none together; of what
    /// stood at an end, the later.
    fn join(&mut self, later: Self) {
        let share = |before: f64, after: f64| {
            let (first, second) = (self.span_s, later.span_s);
            (before * first + after * second) / (first + second).max(f64::MIN_POSITIVE)
        };
        let mut servers: BTreeMap<String, Process> =
            self.servers.drain(..).map(|process| (process.name.clone(), process)).collect();
        for mut process in later.servers {
            if let Some(before) = servers.get(&process.name) {
                process.cpu_share = share(before.cpu_share, process.cpu_share);
            }
            servers.insert(process.name.clone(), process);
        }
        let harness = match (self.harness, later.harness) {
            (Some(before), Some(after)) => {
                Some(Harness { rss_bytes: after.rss_bytes, cpu_share: share(before.cpu_share, after.cpu_share) })
            }
            (before, after) => after.or(before),
        };
        self.servers = servers.into_values().collect();
        self.harness = harness;
        self.at_s = later.at_s;
        self.span_s += later.span_s;
        self.sent += later.sent;
        self.acked += later.acked;
        self.delivered += later.delivered;
        self.lost += later.lost;
        for (code, count) in later.errors {
            *self.errors.entry(code).or_default() += count;
        }
        (self.connected, self.waiting) = (later.connected, later.waiting);
        self.ack_us = self.ack_us.worse(later.ack_us);
        self.delivery_us = self.delivery_us.worse(later.delivery_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Repeated;

    #[test]
    fn a_look_tells_what_came_since_the_last_one() {
        let recorder = Recorder::default();
        recorder.sent.store(10, Relaxed);
        recorder.connected.store(3, Relaxed);
        recorder.ack(0, Duration::from_millis(4), Duration::from_secs(1));
        recorder.delivery(0, Duration::from_millis(5), Duration::from_secs(1));
        recorder.seconds.look(&recorder, Duration::from_secs(1));
        recorder.sent.store(25, Relaxed);
        recorder.refusal(2000);
        recorder.repeat(Repeated { code: 2000, names_wait: true });
        recorder.ack(0, Duration::from_millis(8), Duration::from_secs(2));
        let process = Process { name: "serve".into(), rss_bytes: 7, cpu_share: 0.5 };
        recorder.seconds.watched(vec![process.clone()], None);
        let second = recorder.seconds.look(&recorder, Duration::from_millis(2_500));
        assert_eq!((second.at_s, second.span_s, second.sent, second.acked), (2.5, 1.5, 15, 1));
        assert_eq!((second.connected, second.ack_us.count, second.delivery_us.count), (3, 1, 0));
        assert!(second.ack_us.p50.abs_diff(8_000) < 10, "{second:?}");
        assert_eq!(second.errors, BTreeMap::from([("unavailable (2000)".to_owned(), 2)]));
        assert_eq!((second.servers.as_slice(), recorder.seconds.all().len()), (&[process][..], 2));
    }

    #[test]
    fn entries_of_moments_go_with_their_neighbours_and_many_become_few() {
        let of = |span_s, sent| Second { span_s, sent, ..Second::default() };
        let entries = [of(0.0, 0), of(1.0, 4), of(1.0, 5), of(0.01, 1), of(1.0, 7)];
        let sent = |count| at_most(&entries, count).iter().map(|second| second.sent).collect::<Vec<_>>();
        assert_eq!((sent(100), sent(2), sent(1)), (vec![4, 6, 7], vec![10, 7], vec![17]));
        assert!(at_most(&[], 5).is_empty());
    }

    #[test]
    fn a_long_run_keeps_a_bounded_number_of_entries_and_every_count() {
        let seconds = Seconds::default();
        let looks = 5 * ENTRIES_MAX as u64 + 3;
        for at in 1..=looks {
            let ack_us = Percentiles { count: 1, max: at, ..Percentiles::default() };
            let process = Process { name: "serve".into(), rss_bytes: at, cpu_share: 0.5 };
            #[expect(clippy::cast_precision_loss, reason = "few seconds")]
            let at_s = at as f64;
            seconds.push(Second { at_s, span_s: 1.0, sent: 2, ack_us, servers: vec![process], ..Second::default() });
        }
        let all = seconds.all();
        assert!(all.len() <= ENTRIES_MAX && all.len() > ENTRIES_MAX / 2, "{}", all.len());
        assert_eq!(all.iter().map(|second| second.sent).sum::<u64>(), 2 * looks);
        assert_eq!(all.iter().map(|second| second.ack_us.count).sum::<u64>(), looks);
        assert_eq!(all.last().unwrap().ack_us.max, looks, "the worse of those put together");
        assert!(all.iter().all(|second| second.servers.len() == 1 && (second.servers[0].cpu_share - 0.5).abs() < 1e-9));
        assert!(all.windows(2).all(|pair| (pair[1].at_s - pair[1].span_s - pair[0].at_s).abs() < 1e-6), "no hole");
    }
}
