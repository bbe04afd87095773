//! What proves an account to be its user's: addresses, links that are sent to them, passwords.

use std::time::Duration;

use panda_protocol::{LoginId, Time, UserId};

use super::logins::after;
use super::{Email, PasswordHash};

/// SHA-256 of a mailed token, which is random: a plain digest tells nothing of it.
pub type MailTokenDigest = [u8; 32];

/// What a mailed token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailPurpose {
    /// It proves that its bringer reads mail at the address.
    Verification,
    /// It sets a new password.
    Reset,
}

impl MailPurpose {
    /// As it is stored.
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Verification => 1,
            Self::Reset => 2,
        }
    }
}

/// A token that is about to be sent by mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMailToken {
    /// Of the token.
    pub digest: MailTokenDigest,
    /// Whose account it is about.
    pub user: UserId,
    /// What it is good for.
    pub purpose: MailPurpose,
    /// Where it goes: it is good while this is the account's address.
    pub email: Email,
    /// Now.
    pub created: Time,
    /// When it ends.
    pub ends: Time,
}

/// How many tokens of a purpose are sent about one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailLimit {
    /// So many.
    pub count: usize,
    /// In so long.
    pub window: Duration,
}

impl MailLimit {
    /// How long to wait with one more behind those that were made at these times; none: it may be sent.
    pub(crate) fn wait(&self, mut made: Vec<Time>, now: Time) -> Option<Duration> {
        made.retain(|made| after(*made, self.window) > now);
        made.sort_unstable();
        // Once this one is out of the window there is room.
        let in_the_way = made.len().checked_sub(self.count)?;
        let until = made.get(in_the_way).map_or(now, |made| after(*made, self.window));
        Some(Duration::from_micros(until.0.saturating_sub(now.0)))
    }

    /// Tokens that were made before this count no more.
    pub(crate) fn begins(&self, now: Time) -> Time {
        Time(now.0.saturating_sub(after(Time(0), self.window).0))
    }
}

/// Whether a change of address leaves it the same one.
pub(crate) fn same_address(before: Option<&Email>, now: Option<&Email>) -> bool {
    before.map(Email::key) == now.map(Email::key)
}

/// A new password of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordChange {
    /// Whose.
    pub user: UserId,
    /// The one that its user proved to know.
    pub before: PasswordHash,
    /// The new one.
    pub password: PasswordHash,
    /// The login that goes on; all others end.
    pub keep: Option<LoginId>,
    /// Now.
    pub now: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_waits_until_the_first_of_a_full_window_has_left_it() {
        let limit = MailLimit { count: 2, window: Duration::from_micros(100) };
        assert_eq!(limit.wait(vec![], Time(1_000)), None);
        assert_eq!(limit.wait(vec![Time(950)], Time(1_000)), None);
        assert_eq!(limit.wait(vec![Time(960), Time(950)], Time(1_000)), Some(Duration::from_micros(50)));
        assert_eq!(limit.wait(vec![Time(960), Time(900)], Time(1_000)), None, "the end of a window is out of it");
        // More than may be, from before the limit was lowered.
        assert_eq!(limit.wait(vec![Time(990), Time(960), Time(950)], Time(1_000)), Some(Duration::from_micros(60)));
        // A clock that is behind another one's.
        assert_eq!(limit.wait(vec![Time(1_010), Time(1_020)], Time(1_000)), Some(Duration::from_micros(110)));
    }
}
