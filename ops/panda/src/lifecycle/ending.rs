//! The end of a process: in order and within its time, or at once when somebody insists.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

/// The signals that ask for an end. They are caught from [`Signals::listen`] on, so none is lost.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// # Errors
    /// The system lets nobody listen.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A signal that comes sooner behind the first one does not insist: `timeout` and some supervisors send the same one to
/// a process and to its group, and so it comes twice.
const INSISTS_AFTER: Duration = Duration::from_secs(1);

/// Ends with the first signal that insists on an end which has begun now.
pub(crate) async fn insisted(mut next: impl AsyncFnMut()) {
    let begun = Instant::now();
    loop {
        next().await;
        if begun.elapsed() >= INSISTS_AFTER {
            return;
        }
    }
}

/// Why a stop was not waited for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfinished {
    /// A second signal came, and not with the first one.
    #[error("ended at once by a second signal; everything that was acknowledged is stored")]
    Insisted,
    /// It took longer than it may.
    #[error("the stop took longer than {} s and was given up; everything that was acknowledged is stored", .0.as_secs())]
    TooLong(Duration),
}

/// Waits for a stop, but not for longer than `time`, nor once somebody insists.
///
/// # Errors
/// [`Unfinished`]: what is left of the stop would hold the process up.
pub(crate) async fn wait_for<T>(
    stop: impl Future<Output = T>,
    insisted: impl Future<Output = ()>,
    time: Duration,
) -> Result<T, Unfinished> {
    tokio::select! {
        biased;
        stopped = stop => Ok(stopped),
        () = insisted => Err(Unfinished::Insisted),
        () = sleep(time) => Err(Unfinished::TooLong(time)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const TIME: Duration = Duration::from_secs(13);

    #[tokio::test(start_paused = true)]
    async fn a_stop_within_its_time_is_waited_for() {
        let stop = async {
            sleep(TIME - Duration::from_millis(1)).await;
            "stopped"
        };
        assert_eq!(wait_for(stop, pending(), TIME).await, Ok("stopped"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_that_does_not_end_is_given_up_after_its_time() {
        let started = Instant::now();
        assert_eq!(wait_for(pending::<()>(), pending(), TIME).await, Err(Unfinished::TooLong(TIME)));
        assert_eq!(started.elapsed(), TIME);
        assert!(Unfinished::TooLong(TIME).to_string().contains("longer than 13 s"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_that_comes_with_the_first_one_does_not_insist_and_one_a_second_later_does() {
        let started = Instant::now();
        let mut at_ms = [1, 998, 1].into_iter();
        let next = async || match at_ms.next() {
            Some(later) => sleep(Duration::from_millis(later)).await,
            None => pending().await,
        };
        assert_eq!(wait_for(pending::<()>(), insisted(next), TIME).await, Err(Unfinished::Insisted));
        assert_eq!(started.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_a_stop_at_once() {
        let started = Instant::now();
        let insisted = sleep(Duration::from_secs(1));
        assert_eq!(wait_for(pending::<()>(), insisted, TIME).await, Err(Unfinished::Insisted));
        assert_eq!(started.elapsed(), Duration::from_secs(1));
    }
}
