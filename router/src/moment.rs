//! Moments of a clock that goes on while the machine is suspended.
//!
//! The runtime's clock stands still then, as the system's monotonic one does: a router on a machine that slept for an
//! hour would take what it knew of its epoch for a moment old. The clock since the boot goes on, and knows nothing of a
//! test's pauses. So whatever is asked of two moments is answered by the clock that makes them lie further apart.

use std::time::Duration;

use tokio::time::Instant;

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since the machine was booted, suspensions included; zero where the system does not tell.
    boot: Duration,
    /// Of the runtime's clock.
    at: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        // A pause between the two makes the moment older, never younger.
        let boot = since_boot();
        Self { boot, at: Instant::now() }
    }

    /// How long ago it was.
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// How long it is behind an earlier one.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.at.saturating_duration_since(earlier.at).max(self.boot.saturating_sub(earlier.boot))
    }

    /// Whether it is at another one or later, by both clocks.
    pub(crate) fn is_from(self, other: Self) -> bool {
        self.at >= other.at && self.boot >= other.boot
    }

    /// The first moment that is from both.
    pub(crate) fn latest(self, other: Self) -> Self {
        Self { boot: self.boot.max(other.boot), at: self.at.max(other.at) }
    }

    /// So much earlier, if the clocks know such a moment.
    pub(crate) fn before(self, by: Duration) -> Self {
        Self { boot: self.boot.saturating_sub(by), at: self.at.checked_sub(by).unwrap_or(self.at) }
    }

    /// So much later.
    pub(crate) fn behind(self, by: Duration) -> Self {
        Self { boot: self.boot.saturating_add(by), at: self.at + by }
    }

    /// By the runtime's clock, for its timers.
    pub(crate) const fn for_timers(self) -> Instant {
        self.at
    }
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = Duration::from_secs(u64::try_from(since.tv_sec).unwrap_or(0));
    seconds + Duration::from_nanos(u64::try_from(since.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
const fn since_boot() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
impl Moment {
    /// As if the machine had been suspended for so long since.
    pub(crate) fn before_a_suspension_of(self, by: Duration) -> Self {
        Self { boot: self.boot.saturating_sub(by), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_moment_grows_old_by_whichever_clock_goes_on() {
        let now = Moment::now();
        assert!(now.elapsed() < MINUTE);
        assert!(now.before_a_suspension_of(MINUTE).elapsed() >= MINUTE, "nothing else tells of it");
        tokio::time::sleep(MINUTE).await;
        assert!(now.elapsed() >= MINUTE);
        assert!(Moment::now().is_from(now) && !now.is_from(Moment::now()));
        let suspended = now.before_a_suspension_of(MINUTE);
        assert!(!suspended.is_from(now) && now.is_from(suspended) && suspended.latest(now) == now);
        assert!(now.before(MINUTE).elapsed() >= 2 * MINUTE && now.behind(MINUTE).since(now) == MINUTE);
    }

    /// The system's clock is one at all.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_since_the_boot_goes_on() {
        let before = since_boot();
        assert!(before > Duration::ZERO && since_boot() >= before);
    }
}
