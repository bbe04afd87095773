//! When each send is due. Open loop: the schedule never waits for the target, and a send that leaves
//! late still counts from the moment at which it was due, so a stall of the target shows in full.

use std::time::Duration;

/// Sends at an even rate for a while.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    per_second: u32,
    duration: Duration,
}

impl Steady {
    /// `per_second` sends each second of `duration`.
    pub const fn new(per_second: u32, duration: Duration) -> Self {
        Self { per_second, duration }
    }

    /// How many sends there are.
    pub fn count(&self) -> u64 {
        let sends = self.duration.as_micros() * u128::from(self.per_second) / 1_000_000;
        u64::try_from(sends).unwrap_or(u64::MAX)
    }

    /// When send `number` (from 0) is due, from the start of the load.
    pub fn due(&self, number: u64) -> Duration {
        let rate = u64::from(self.per_second.max(1));
        // Whole seconds apart, so that neither precision nor range suffers in a long run.
        Duration::from_secs(number / rate) + Duration::from_micros(number % rate * 1_000_000 / rate)
    }
}

/// How fast a transcript is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times faster than it was said.
    Times(f64),
    /// As fast as the target answers.
    Max,
}

impl Speed {
    /// When message `place` of `of` in a minute is due, from the start of the load; messages of a minute are
    /// spread evenly over it. Nothing is due at a time of its own at [`Speed::Max`].
    pub fn due(self, minutes: u64, place: usize, of: usize) -> Option<Duration> {
        match self {
            Self::Max => None,
            Self::Times(times) => {
                let within = u32::try_from(place).unwrap_or(u32::MAX);
                let of = u32::try_from(of).unwrap_or(u32::MAX).max(1);
                let spread = f64::from(within) / f64::from(of) * 60.0;
                let said = Duration::from_secs(minutes.saturating_mul(60)).as_secs_f64() + spread;
                Duration::try_from_secs_f64(said / times).ok()
            }
        }
    }
}

/// Reads `max` or a positive number.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.trim_end_matches('x').parse::<f64>() {
        Ok(times) if times.is_finite() && (0.001..=1_000_000.0).contains(&times) => Ok(Speed::Times(times)),
        _ => Err("a speed is `max` or a number from 0.001 to 1000000, such as 60".into()),
    }
}

/// Reads a duration such as `90s`, `500ms`, `2m` or `1h`; a number alone counts seconds.
///
/// # Errors
/// A sentence for the person who typed it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    match total {
        Some(total) if (1..=30 * 24 * 3_600_000).contains(&total) => Ok(Duration::from_millis(total)),
        _ => Err("a duration is a number with ms, s, m or h, such as 60s, and at most 30 days".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_are_spread_evenly_and_never_drift() {
        let steady = Steady::new(3, Duration::from_secs(10));
        assert_eq!(steady.count(), 30);
        assert_eq!(steady.due(0), Duration::ZERO);
        assert_eq!(steady.due(1), Duration::from_micros(333_333));
        assert_eq!(steady.due(29), Duration::from_micros(9_666_666));
        assert_eq!(steady.due(3_000_000_000), Duration::from_secs(1_000_000_000));
    }

    #[test]
    fn a_part_of_a_second_counts() {
        assert_eq!(Steady::new(2_000, Duration::from_millis(1_500)).count(), 3_000);
        assert_eq!(Steady::new(0, Duration::from_secs(1)).count(), 0);
    }

    #[test]
    fn a_transcript_keeps_its_rhythm_at_any_speed() {
        assert_eq!(Speed::Times(1.0).due(2, 0, 4), Some(Duration::from_secs(120)));
        assert_eq!(Speed::Times(60.0).due(2, 1, 2), Some(Duration::from_millis(2_500)));
        assert_eq!(Speed::Max.due(2, 1, 2), None);
    }

    #[test]
    fn durations_and_speeds_are_read_and_refused() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "0s", "-1s", "1.5s", "10y", "99999999999999999999s", "9999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_speed("max"), Ok(Speed::Max));
        assert_eq!(parse_speed("60x"), Ok(Speed::Times(60.0)));
        for wrong in ["", "0", "-1", "nan", "inf", "fast"] {
            assert!(parse_speed(wrong).is_err(), "{wrong}");
        }
    }
}
