//! The line of each second.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::dashboard::screen;
use super::model::Second;
use super::{Percentiles, Processes};
use crate::run::Run;

/// Writes a line for the person who watches. A closed stderr does not end a run.
pub fn line(text: impl std::fmt::Display) {
    let text = text.to_string();
    if screen::line(&text) {
        return;
    }
    if writeln!(std::io::stderr().lock(), "{text}").is_err() {
        // Nobody reads; the summary and the exit status remain.
    }
}

/// Looks once a second, until it is stopped, at what was recorded and at what processes use, keeps it, and shows it.
#[derive(Debug)]
pub struct Live {
    run: Arc<Run>,
    looking: JoinHandle<()>,
}

impl Live {
    /// Begins now.
    pub fn start(run: &Arc<Run>, sessions: usize) -> Self {
        let (run, looked_at) = (Arc::clone(run), Arc::clone(run));
        Self { run, looking: tokio::spawn(look_each_second(looked_at, sessions)) }
    }

    /// Looks a last time, and no more.
    pub async fn stop(self) {
        self.looking.abort();
        if self.looking.await.is_err() {
            // It was aborted; that is how it ends.
        }
        self.run.recorder.seconds.look(&self.run.recorder, self.run.now());
    }
}

async fn look_each_second(run: Arc<Run>, sessions: usize) {
    let began = Instant::now();
    let seconds = &run.recorder.seconds;
    let mut processes = Processes::new(&run.watched, run.now());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // The first look is at once: what servers hold before any session is seen then or never.
        let now = ticks.tick().await;
        let (watched, harness) = processes.look(run.now());
        seconds.watched(watched, harness);
        let second = seconds.look(&run.recorder, run.now());
        if now > began && !screen::second(&second, sessions, seconds.fault()) {
            let refused = run.recorder.refusals().values().sum::<u64>();
            line(words(&second, (now - began).as_secs(), sessions, refused));
        }
    }
}

/// The line of a second.
fn words(second: &Second, at: u64, sessions: usize, refused: u64) -> String {
    format!(
        "{at:>5}s  {}/{sessions} connected  sent {}/s  acked {}/s  delivered {}/s  {}  waiting {}  refused {refused}",
        second.connected,
        second.a_second(second.sent),
        second.a_second(second.acked),
        second.a_second(second.delivered),
        times(&second.delivery_us),
        second.waiting,
    )
}

/// How long the deliveries of a second took; of none there is no time.
fn times(of: &Percentiles) -> String {
    if of.is_empty() {
        return "p50 - p99 -".to_owned();
    }
    format!("p50 {:.1?} p99 {:.1?}", Duration::from_micros(of.p50), Duration::from_micros(of.p99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_told_in_a_line_and_shows_no_time_if_nothing_was_delivered() {
        let mut second = Second { span_s: 2.0, sent: 20, acked: 10, delivered: 31, connected: 3, ..Second::default() };
        let line = words(&second, 7, 4, 2);
        let rates = "    7s  3/4 connected  sent 10/s  acked 5/s  delivered 16/s  p50 - p99 -  waiting 0  refused 2";
        assert_eq!(line, rates);
        second.delivery_us = Percentiles { count: 1, p50: 4_000, p99: 9_500, ..Percentiles::default() };
        assert!(words(&second, 7, 4, 2).contains("p50 4.0ms p99 9.5ms"));
    }
}
