//! The life of a signing key: published, signing, verifying, over.
//!
//! A key is published when it is made and signs some time later, so that every process has read it by then. It signs until
//! a newer one does, verifies until the longest token that it signed is over, and is then deleted. What a key is at a time
//! follows from its row and those of the keys behind it: nobody has to write that a turn happened.

use std::time::Duration;

use panda_protocol::Time;

use super::logins::after;

/// Signing keys that a deployment has at a time.
pub const SIGNING_KEYS_MAX: usize = 16;
/// How long a new key is published before it signs: longer than any process goes on without reading them.
pub const SIGNING_KEY_LEAD: Duration = Duration::from_secs(300);
/// The longest lifetime of an access token that a deployment may have, and what is taken of a key that says none.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// A key is kept so long behind its last token: clocks of processes differ a little.
const KEPT: Duration = Duration::from_secs(300);

/// A signing key at rest; sealed under the fleet secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSigningKey {
    /// The key's name.
    pub kid: String,
    /// Its sealed bytes.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created: Time,
    /// From when on it signs.
    pub signs_from: Time,
    /// The longest lifetime of a token that it may have signed.
    pub longest_token: Duration,
}

impl SealedSigningKey {
    /// One that signs as soon as it is there, with tokens as long as any: the first of a deployment, or one from elsewhere.
    pub fn at_once(kid: String, sealed: Vec<u8>, created: Time) -> Self {
        Self { kid, sealed, created, signs_from: created, longest_token: TOKEN_LIFETIME_MAX }
    }

    /// One that is published now, and signs [`SIGNING_KEY_LEAD`] later.
    pub fn published(kid: String, sealed: Vec<u8>, now: Time, longest_token: Duration) -> Self {
        Self { kid, sealed, created: now, signs_from: after(now, SIGNING_KEY_LEAD), longest_token }
    }
}

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStage {
    /// Everybody knows it, and nobody signs with it yet.
    Published,
    /// New tokens are signed with it.
    Signing,
    /// A newer one signs. Tokens of this one are accepted until then.
    Verifying {
        /// When it is over.
        until: Time,
    },
    /// No token of it is good any more.
    Over,
}

/// What each of a deployment's keys is good for now; they come in the order of [`super::UserStore::signing_keys`].
pub fn key_stages(newest_first: &[SealedSigningKey], now: Time) -> Vec<KeyStage> {
    // A clock that is behind those of others finds none that signs: it is the oldest then.
    let signing =
        newest_first.iter().position(|key| key.signs_from <= now).unwrap_or_else(|| newest_first.len().max(1) - 1);
    let stage = |(place, key): (usize, &SealedSigningKey)| match place.cmp(&signing) {
        std::cmp::Ordering::Less => KeyStage::Published,
        std::cmp::Ordering::Equal => KeyStage::Signing,
        std::cmp::Ordering::Greater => {
            let until = after(after(newest_first[place - 1].signs_from, key.longest_token), KEPT);
            if now < until { KeyStage::Verifying { until } } else { KeyStage::Over }
        }
    };
    newest_first.iter().enumerate().map(stage).collect()
}

/// The names of those that are over.
pub(crate) fn over(newest_first: &[SealedSigningKey], now: Time) -> Vec<String> {
    let stages = key_stages(newest_first, now).into_iter().zip(newest_first);
    stages.filter(|(stage, _)| *stage == KeyStage::Over).map(|(_, key)| key.kid.clone()).collect()
}

/// When the newest key signs, if it does not yet.
pub(crate) fn turning(newest_first: &[SealedSigningKey], now: Time) -> Option<Time> {
    newest_first.first().map(|key| key.signs_from).filter(|from| *from > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn key(signs_from_s: u64, longest_s: u64) -> SealedSigningKey {
        let longest_token = Duration::from_secs(longest_s);
        let key = SealedSigningKey::at_once(format!("kid{signs_from_s}"), Vec::new(), Time(0));
        SealedSigningKey { signs_from: Time(signs_from_s * S), longest_token, ..key }
    }

    #[test]
    fn a_key_is_published_signs_verifies_and_is_over() {
        let keys = [key(2_000, 50), key(1_000, 3_600)];
        let at = |now: u64| key_stages(&keys, Time(now * S));
        assert_eq!(at(1_999), [KeyStage::Published, KeyStage::Signing]);
        // 3,600 s behind the turn, and what clocks may differ by.
        let until = Time(5_900 * S);
        assert_eq!(at(2_000), [KeyStage::Signing, KeyStage::Verifying { until }]);
        assert_eq!(at(5_899), [KeyStage::Signing, KeyStage::Verifying { until }]);
        assert_eq!(at(5_900), [KeyStage::Signing, KeyStage::Over]);
        assert_eq!(over(&keys, Time(5_900 * S)), ["kid1000"]);
        assert_eq!((turning(&keys, Time(1_999 * S)), turning(&keys, until)), (Some(Time(2_000 * S)), None));
    }

    #[test]
    fn there_is_always_one_that_signs() {
        assert_eq!(key_stages(&[], Time(0)), []);
        assert_eq!(key_stages(&[key(1_000, 1)], Time(0)), [KeyStage::Signing]);
        assert_eq!(key_stages(&[key(2_000, 1), key(1_000, 1)], Time(0)), [KeyStage::Published, KeyStage::Signing]);
        assert_eq!(key_stages(&[key(2, 1), key(1, 1)], Time(u64::MAX)), [KeyStage::Signing, KeyStage::Over]);
    }

    #[test]
    fn each_key_ends_by_the_turn_behind_it_and_not_by_the_last_one() {
        let keys = [key(9_000, 10), key(2_000, 10), key(1_000, 10)];
        let stages = key_stages(&keys, Time(2_310 * S));
        assert_eq!(stages, [KeyStage::Published, KeyStage::Signing, KeyStage::Over]);
    }
}
