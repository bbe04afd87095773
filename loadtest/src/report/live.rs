//! The line of each second.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::recorder::{Recorder, Times};

/// Writes a line for the person who watches. A closed stderr does not end a run.
pub fn line(text: impl std::fmt::Display) {
    if writeln!(std::io::stderr().lock(), "{text}").is_err() {
        // Nobody reads; the summary and the exit status remain.
    }
}

/// Prints a line a second until it is stopped.
#[derive(Debug)]
pub struct Live(JoinHandle<()>);

impl Live {
    /// Begins now.
    pub fn start(recorder: Arc<Recorder>, sessions: usize) -> Self {
        Self(tokio::spawn(async move {
            let began = Instant::now();
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            let mut before = Counts::of(&recorder);
            let mut at = began;
            loop {
                let now = ticks.tick().await;
                let counts = Counts::of(&recorder);
                let recent = recorder.take_recent();
                line(format_args!(
                    "{:>5}s  {}/{sessions} connected  sent {}/s  acked {}/s  delivered {}/s  {}  waiting {}  refused {}",
                    (now - began).as_secs(),
                    recorder.connected.load(Relaxed),
                    counts.a_second(&before, now - at, |counts| counts.sent),
                    counts.a_second(&before, now - at, |counts| counts.acked),
                    counts.a_second(&before, now - at, |counts| counts.delivered),
                    recent_times(&recent),
                    recorder.waiting.load(Relaxed),
                    recorder.refusals().values().sum::<u64>(),
                ));
                (before, at) = (counts, now);
            }
        }))
    }

    /// Prints no more.
    pub async fn stop(self) {
        self.0.abort();
        if self.0.await.is_err() {
            // It was aborted; that is how it ends.
        }
    }
}

/// How long the deliveries of a second took; of none there is no time.
fn recent_times(Times { recent, .. }: &Times) -> String {
    if recent.is_empty() {
        return "p50 - p99 -".to_owned();
    }
    let quantile = |quantile| Duration::from_micros(recent.value_at_quantile(quantile));
    format!("p50 {:.1?} p99 {:.1?}", quantile(0.5), quantile(0.99))
}

struct Counts {
    sent: u64,
    acked: u64,
    delivered: u64,
}

impl Counts {
    fn of(recorder: &Recorder) -> Self {
        Self {
            sent: recorder.sent.load(Relaxed),
            acked: recorder.acked.load(Relaxed),
            delivered: recorder.delivered.load(Relaxed),
        }
    }

    fn a_second(&self, before: &Self, time: Duration, count: impl Fn(&Self) -> u64) -> u64 {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        count(self).saturating_sub(count(before)) * 1_000 / milliseconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_in_which_nothing_was_delivered_shows_no_time() {
        let recorder = Recorder::default();
        assert_eq!(recent_times(&recorder.take_recent()), "p50 - p99 -");
        recorder.delivery(0, Duration::from_millis(4), Duration::from_secs(1));
        assert_eq!(recent_times(&recorder.take_recent()), "p50 4.0ms p99 4.0ms");
    }
}
