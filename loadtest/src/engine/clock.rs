//! The one clock of a run. Senders and receivers are in one process, so a latency is a difference of two of its readings.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of the monotonic clock.
pub fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Seconds of CPU that this process used so far, in user space and in the kernel.
pub fn own_cpu() -> f64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime)) as f64 / SECOND as f64
}

fn nanoseconds(time: Timespec) -> u64 {
    let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0) * SECOND + rest.unwrap_or(0)
}

/// A wait in nanoseconds, as the kernel takes it.
pub fn timespec(nanoseconds: u64) -> Timespec {
    let part = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Timespec { tv_sec: part(nanoseconds / SECOND), tv_nsec: part(nanoseconds % SECOND) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_keeps_its_nanoseconds() {
        let wait = timespec(3 * SECOND + 7);
        assert_eq!((wait.tv_sec, wait.tv_nsec), (3, 7));
        assert_eq!(nanoseconds(wait), 3 * SECOND + 7);
    }
}
