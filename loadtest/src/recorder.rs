//! Counts and times of a run. Shared by all tasks; what they touch often is split by chat.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::report::Seconds;
use crate::series::Series;

/// Parts of the histograms, each with a lock of its own.
const PARTS: usize = 8;
/// Longer times count as this long.
const LONGEST_US: u64 = 3_600_000_000;

/// What happened so far. Times are from when a send was due.
#[derive(Debug)]
pub struct Recorder {
    parts: [Mutex<Times>; PARTS],
    refused: Mutex<BTreeMap<u16, u64>>,
    repeated: Mutex<BTreeMap<Repeated, u64>>,
    /// Of a run that watches what becomes of sends by when they were due.
    series: OnceLock<Mutex<Series>>,
    /// Sends that left.
    pub sent: AtomicU64,
    /// Sends that were acked.
    pub acked: AtomicU64,
    /// Sends whose outcome nobody told.
    pub unknown: AtomicU64,
    /// Sends that were due and never left, because their session was away or waited for an answer.
    pub unsent: AtomicU64,
    /// Events that sessions got.
    pub delivered: AtomicU64,
    /// Connections that were lost, by the place of their target.
    lost: Mutex<BTreeMap<Option<usize>, u64>>,
    /// Connections that came back after one was lost.
    pub reconnects: AtomicU64,
    /// Sessions that are connected now.
    pub connected: AtomicI64,
    /// Sends that wait for their answer now.
    pub waiting: AtomicI64,
    /// What each second showed.
    pub seconds: Seconds,
}

/// Why a client sent a command again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repeated {
    /// The refusal's code.
    pub code: u16,
    /// Whether it said how long to wait.
    pub names_wait: bool,
}

/// Histograms in microseconds.
#[derive(Clone, Debug)]
pub struct Times {
    /// Send due to ack.
    pub ack: Histogram<u64>,
    /// Send due to delivery, of every session.
    pub delivery: Histogram<u64>,
    /// From a connection's begin to a session that is subscribed to all its chats.
    pub connect: Histogram<u64>,
    /// Deliveries since the last [`Recorder::take_recent`].
    pub recent: Histogram<u64>,
    /// Acks since then.
    pub recent_acks: Histogram<u64>,
}

impl Times {
    fn new() -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, LONGEST_US, 3)
                .expect("the bounds and three digits are in the library's range")
        };
        Self { ack: empty(), delivery: empty(), connect: empty(), recent: empty(), recent_acks: empty() }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::new(Times::new())),
            refused: Mutex::default(),
            repeated: Mutex::default(),
            series: OnceLock::new(),
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            lost: Mutex::default(),
            reconnects: AtomicU64::new(0),
            connected: AtomicI64::new(0),
            waiting: AtomicI64::new(0),
            seconds: Seconds::default(),
        }
    }
}

impl Recorder {
    /// From now on also keeps a series.
    pub fn follow(&self, series: Series) {
        // A run follows once; a second series would only split what the first one counts.
        self.series.get_or_init(|| Mutex::new(series));
    }

    /// The series, if one is kept. Held for moments, never over a wait.
    pub fn series(&self) -> Option<MutexGuard<'_, Series>> {
        self.series.get().map(|series| series.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A send was due at `at`, on the run's clock. Told in the order in which sends are due.
    pub fn due(&self, at: Duration) {
        if let Some(mut series) = self.series() {
            series.due(at);
        }
    }

    /// A send of chat `chat` was acked at `now`, so long after it was due.
    pub fn ack(&self, chat: usize, after: Duration, now: Duration) {
        self.acked.fetch_add(1, Relaxed);
        self.part(chat, |times| {
            times.ack.saturating_record(micros(after));
            times.recent_acks.saturating_record(micros(after));
        });
        if let Some(mut series) = self.series() {
            series.acked(chat, after, now);
        }
    }

    /// A session got an event of chat `chat` at `now`, so long after its send was due.
    pub fn delivery(&self, chat: usize, after: Duration, now: Duration) {
        self.part(chat, |times| {
            times.delivery.saturating_record(micros(after));
            times.recent.saturating_record(micros(after));
        });
        if let Some(mut series) = self.series() {
            series.delivered(after, now);
        }
    }

    /// Session `number` connected and is subscribed, so long after it began to.
    pub fn connect(&self, number: usize, after: Duration) {
        self.part(number, |times| times.connect.saturating_record(micros(after)));
    }

    /// A client sends a command again that was refused for now.
    pub fn repeat(&self, why: Repeated) {
        *self.repeated.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }

    /// Refusals after which clients sent the command again.
    pub fn repeats(&self) -> BTreeMap<Repeated, u64> {
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A session lost its connection to the target at this place; `None` if it is none of the run's.
    pub fn lose(&self, target: Option<usize>) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner).entry(target).or_default() += 1;
    }

    /// Connections that were lost, by the place of their target.
    pub fn losses(&self) -> BTreeMap<Option<usize>, u64> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A send was refused.
    pub fn refusal(&self, code: u16) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    /// Refusals by code.
    pub fn refusals(&self) -> BTreeMap<u16, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All times so far.
    pub fn times(&self) -> Times {
        self.sum(|_| {})
    }

    /// All times so far; the next call's `recent` begins here.
    pub fn take_recent(&self) -> Times {
        self.sum(|times| {
            times.recent.reset();
            times.recent_acks.reset();
        })
    }

    fn part(&self, chat: usize, record: impl FnOnce(&mut Times)) {
        record(&mut self.parts[chat % PARTS].lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn sum(&self, after: impl Fn(&mut Times)) -> Times {
        let mut sum = Times::new();
        for part in &self.parts {
            let mut times = part.lock().unwrap_or_else(PoisonError::into_inner);
            for (into, from) in [
                (&mut sum.ack, &times.ack),
                (&mut sum.delivery, &times.delivery),
                (&mut sum.connect, &times.connect),
                (&mut sum.recent, &times.recent),
                (&mut sum.recent_acks, &times.recent_acks),
            ] {
                into.add(from).expect("histograms of the same bounds add");
            }
            after(&mut times);
        }
        sum
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_chats_add_up_and_recent_ones_are_taken_once() {
        let recorder = Recorder::default();
        for chat in 0..100 {
            recorder.ack(chat, Duration::from_millis(chat as u64), Duration::from_secs(1));
            recorder.delivery(chat, Duration::from_millis(2), Duration::from_secs(1));
        }
        let times = recorder.take_recent();
        assert_eq!((times.ack.len(), times.delivery.len(), times.recent.len()), (100, 100, 100));
        assert!(times.ack.value_at_quantile(0.5).abs_diff(49_000) < 1_100);
        assert_eq!(recorder.times().recent.len(), 0);
        assert_eq!(recorder.times().delivery.len(), 100);
    }

    #[test]
    fn a_time_beyond_the_histogram_counts_as_the_longest() {
        let recorder = Recorder::default();
        recorder.ack(0, Duration::MAX, Duration::MAX);
        assert!(recorder.times().ack.max() >= LONGEST_US);
    }

    #[test]
    fn refusals_count_by_code() {
        let recorder = Recorder::default();
        [2000, 2001, 2000].into_iter().for_each(|code| recorder.refusal(code));
        assert_eq!(recorder.refusals(), BTreeMap::from([(2000, 2), (2001, 1)]));
    }
}
