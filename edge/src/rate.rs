//! How fast a session may be: a token bucket of a few bytes.

/// Tokens that come back with time. A token counts for 1,000.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// What was taken and is not back: nothing of a full one.
    missing: u64,
    at_ms: u64,
}

/// A burst that every client may make, however low its rate: what one sender may leave unanswered.
const BURST_LEAST: u32 = 64;

impl Bucket {
    /// What is missing at this moment.
    fn missing(&self, per_second: u32, now_ms: u64) -> u64 {
        let back = now_ms.saturating_sub(self.at_ms).saturating_mul(u64::from(per_second.max(1)));
        self.missing.saturating_sub(back)
    }

    /// Whether it is like a new one.
    pub(crate) fn is_full(&self, per_second: u32, now_ms: u64) -> bool {
        self.missing(per_second, now_ms) == 0
    }

    /// Takes a token, or says after how many milliseconds there is one.
    pub(crate) fn take(&mut self, per_second: u32, now_ms: u64) -> Result<(), u64> {
        let capacity = u64::from(per_second.max(BURST_LEAST)) * 1_000;
        self.missing = self.missing(per_second, now_ms);
        self.at_ms = now_ms;
        let taken = self.missing + 1_000;
        if taken <= capacity {
            self.missing = taken;
            return Ok(());
        }
        Err((taken - capacity).div_ceil(u64::from(per_second.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut bucket = Bucket::default();
        let burst = (0..200).filter(|_| bucket.take(100, 0).is_ok()).count();
        assert_eq!(burst, 100);
        let later = (1..=1_000).filter(|now_ms| bucket.take(100, *now_ms).is_ok()).count();
        assert_eq!(later, 100);
    }

    #[test]
    fn the_wait_that_it_names_is_enough() {
        for per_second in [1, 3, 7, 100, 5_000] {
            let mut bucket = Bucket::default();
            assert!(bucket.is_full(per_second, 0));
            while bucket.take(per_second, 0).is_ok() {
                assert!(!bucket.is_full(per_second, 0));
            }
            let wait_ms = bucket.take(per_second, 0).unwrap_err();
            assert!(bucket.take(per_second, wait_ms - 1).is_err());
            assert_eq!(bucket.take(per_second, wait_ms), Ok(()));
        }
    }
}
