//! Clients that read and hear nothing are replaced.
//!
//! A client can lose its brokers in ways that it does not get over and that its statistics do not show: it names a
//! broker, and never connects to it again. Seen with librdkafka 2.12 on a machine so busy that brokers were taken
//! away and came back many times: a router owned its shards and read none of them, and everything that it said of
//! itself was well. Whoever reads asks a broker several times a second, though, and is answered each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::bootstrap::look_every;

/// A client that reads is given up if it hears nothing for so long. A broker that hangs is no reason to lose what was
/// read ahead.
const DEAF_AFTER_MIN: Duration = Duration::from_secs(10);
/// The client says only now and then what it heard.
const DEAF_AFTER_LOOKS: u32 = 3;

/// How many answers of brokers a client has counted; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<AtomicU64>);

impl Answers {
    /// Notes what a client's statistics say, in the library's JSON.
    pub(super) fn look(&self, statistics: &[u8]) {
        if let Some(answers) = answers(statistics) {
            self.0.store(answers, Ordering::Release);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The sum over all brokers, which comes behind those of each.
fn answers(statistics: &[u8]) -> Option<u64> {
    const NAME: &[u8] = br#""rx":"#;
    let at = statistics.windows(NAME.len()).rposition(|found| found == NAME)? + NAME.len();
    let digits = statistics[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(None, |sum: Option<u64>, digit| {
        Some(sum.unwrap_or(0).wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
    })
}

/// Since when a client that reads hears nothing.
#[derive(Debug)]
pub(super) struct Hearing {
    deaf_after: Duration,
    answers: u64,
    heard: Instant,
}

impl Hearing {
    /// Of a client that begins now and knows so many partitions.
    pub(super) fn new(partitions: u16, now: Instant) -> Self {
        let deaf_after = DEAF_AFTER_MIN.max(look_every(partitions) * DEAF_AFTER_LOOKS);
        Self { deaf_after, answers: 0, heard: now }
    }

    /// Whether it is to be given up. Who asks for nothing hears nothing, and is not deaf.
    pub(super) fn is_deaf(&mut self, answers: u64, asks: bool, now: Instant) -> bool {
        if answers != self.answers || !asks {
            self.answers = answers;
            self.heard = now;
        }
        now.duration_since(self.heard) > self.deaf_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_all_brokers_are_counted() {
        let of_two =
            br#"{ "brokers":{ "a/1":{ "rx":3, "rxbytes":9 }, "b/2":{ "rx":4 } }, "tx":9, "rx":17, "rx_bytes":5 }"#;
        assert_eq!(answers(of_two), Some(17));
        assert_eq!(answers(br#"{ "rx":"#), None);
        assert_eq!(answers(b"{}"), None);
        let counted = Answers::default();
        counted.look(of_two);
        counted.look(b"{}");
        assert_eq!(counted.count(), 17);
    }

    #[test]
    fn a_client_is_deaf_once_it_asked_for_long_and_heard_nothing() {
        let began = Instant::now();
        let mut hearing = Hearing::new(64, began);
        let after = |ms| began + Duration::from_millis(ms);
        assert!(!hearing.is_deaf(1, true, after(1_000)));
        assert!(!hearing.is_deaf(1, true, after(11_000)));
        assert!(hearing.is_deaf(1, true, after(11_001)));
        assert!(!hearing.is_deaf(2, true, after(11_002)), "an answer came");
        assert!(!hearing.is_deaf(2, false, after(60_000)), "it asked for nothing");
        assert!(!hearing.is_deaf(2, true, after(70_000)), "it asks since then");
        assert!(hearing.is_deaf(2, true, after(70_001)));
    }

    #[test]
    fn a_client_that_seldom_says_what_it_heard_has_more_time() {
        let began = Instant::now();
        let mut hearing = Hearing::new(u16::MAX, began);
        assert!(!hearing.is_deaf(0, true, began + Duration::from_secs(90)));
        assert!(hearing.is_deaf(0, true, began + Duration::from_secs(91)));
    }
}
