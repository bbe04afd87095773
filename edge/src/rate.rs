//! How fast a session may be: a token bucket of a few bytes.

/// Tokens that come back with time. A token counts for 1,000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    level: u64,
    at_ms: u64,
}

/// A burst that every client may make, however low its rate: what one sender may leave unanswered.
const BURST_LEAST: u32 = 64;

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, now_ms: u64) -> Self {
        Self { level: Self::capacity(per_second), at_ms: now_ms }
    }

    fn capacity(per_second: u32) -> u64 {
        u64::from(per_second.max(BURST_LEAST)) * 1_000
    }

    /// Takes a token, or says after how many milliseconds there is one.
    pub(crate) fn take(&mut self, per_second: u32, now_ms: u64) -> Result<(), u64> {
        let per_ms = u64::from(per_second.max(1));
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        self.level = self.level.saturating_add(passed_ms.saturating_mul(per_ms)).min(Self::capacity(per_second));
        self.at_ms = now_ms;
        if self.level >= 1_000 {
            self.level -= 1_000;
            return Ok(());
        }
        Err((1_000 - self.level).div_ceil(per_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut bucket = Bucket::new(100, 0);
        let burst = (0..200).filter(|_| bucket.take(100, 0).is_ok()).count();
        assert_eq!(burst, 100);
        let later = (1..=1_000).filter(|now_ms| bucket.take(100, *now_ms).is_ok()).count();
        assert_eq!(later, 100);
    }

    #[test]
    fn the_wait_that_it_names_is_enough() {
        for per_second in [1, 3, 7, 100, 5_000] {
            let mut bucket = Bucket::new(per_second, 0);
            while bucket.take(per_second, 0).is_ok() {}
            let wait_ms = bucket.take(per_second, 0).unwrap_err();
            assert!(bucket.take(per_second, wait_ms - 1).is_err());
            assert_eq!(bucket.take(per_second, wait_ms), Ok(()));
        }
    }
}
