//! Why the connection of a lean session ends: whether its server may end it so, and when the session comes back.

use panda_protocol::ErrorCode;
use panda_protocol::error_code::Recovery;
use rand::Rng;

use crate::engine::clock::SECOND;

/// The first bound of the random wait; it doubles with each attempt (SPEC.md, "Coming back").
const FIRST: u64 = SECOND;
/// The highest.
const BOUND_MAX: u64 = 30 * SECOND;
/// A session that lived so long has shown that the server is well: attempts count from 0 again. In seconds.
pub(super) const LIVED_S: u64 = 30;
/// The longest wait that a server may ask for, as in every client.
const RETRY_AFTER_MAX: u64 = 3_600 * SECOND;

/// Why a connection ends that is no breach of the protocol: it was sent away, or refused for now.
#[derive(Debug)]
pub(super) struct Away {
    /// What the server said.
    pub code: u16,
    /// Not before that, in milliseconds.
    pub retry_after_ms: u64,
    /// In words.
    pub why: String,
}

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Away {}

/// A server ended something with a code: for now, or as it must never do to sessions that keep the protocol and that nobody
/// removed from their chats.
pub(super) fn ended(code: u16, retry_after_ms: u64, why: String) -> anyhow::Error {
    match Recovery::of(code) {
        Recovery::Stop | Recovery::Fail => anyhow::Error::msg(why),
        _ => Away { code, retry_after_ms, why }.into(),
    }
}

/// A code as people read it.
pub(super) fn named(code: u16) -> String {
    ErrorCode::from_u16(code).map_or_else(|| code.to_string(), |known| known.to_string())
}

/// How long a session waits before it connects again, in nanoseconds: the rule of every client, with full jitter. `away` is what
/// the server said, if it said something; `attempt` counts from 0.
pub(super) fn back_off(attempt: u32, away: Option<&Away>, random: &mut impl Rng) -> u64 {
    let wait = match away.map(|away| Recovery::of(away.code)) {
        Some(Recovery::Authenticate) => 0,
        // Even where the server says "at once", a second time in a row is spread.
        Some(Recovery::Reconnect) if attempt == 0 => 0,
        _ => random.random_range(0..=(FIRST << attempt.min(5)).min(BOUND_MAX)),
    };
    let asked = away.map_or(0, |away| away.retry_after_ms.saturating_mul(SECOND / 1_000).min(RETRY_AFTER_MAX));
    wait.max(asked)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn away(code: ErrorCode, retry_after_ms: u64) -> Away {
        Away { code: code as u16, retry_after_ms, why: String::new() }
    }

    #[test]
    fn waits_are_spread_over_a_bound_that_doubles_up_to_thirty_seconds() {
        let mut random = StdRng::seed_from_u64(1);
        for (attempt, bound) in [(0, SECOND), (1, 2 * SECOND), (4, 16 * SECOND), (5, 30 * SECOND), (99, 30 * SECOND)] {
            let waits: Vec<u64> = (0..1_000).map(|_| back_off(attempt, None, &mut random)).collect();
            assert!(waits.iter().all(|&wait| wait <= bound));
            let below = waits.iter().filter(|&&wait| wait < bound / 2).count();
            assert!((400..600).contains(&below), "{below} of attempt {attempt} are in the first half");
        }
    }

    #[test]
    fn a_server_says_at_once_or_not_before_and_a_ticket_that_is_refused_costs_no_wait() {
        let mut random = StdRng::seed_from_u64(1);
        assert_eq!(back_off(0, Some(&away(ErrorCode::Going, 0)), &mut random), 0);
        assert!((0..99).any(|_| back_off(1, Some(&away(ErrorCode::Going, 0)), &mut random) > 0), "a second time");
        assert_eq!(back_off(3, Some(&away(ErrorCode::TicketInvalid, 0)), &mut random), 0);
        assert!((0..99).all(|_| back_off(0, Some(&away(ErrorCode::Overloaded, 2_000)), &mut random) >= 2 * SECOND));
        assert_eq!(back_off(0, Some(&away(ErrorCode::Going, u64::MAX)), &mut random), RETRY_AFTER_MAX);
    }
}
