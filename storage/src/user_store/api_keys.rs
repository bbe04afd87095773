//! API keys: what a program shows instead of a user's access token.

use std::fmt;
use std::str::FromStr;

use panda_protocol::Time;

use super::ApiKeyLabel;

/// API keys that a deployment keeps, those that open nothing any more among them while there is room.
pub const API_KEYS_MAX: usize = 1_000;
/// To this is kept when a key was used: one write an hour and key.
const USED_TO_US: u64 = 3_600 * 1_000_000;

/// SHA-256 of an API key's text. The key is random, so a plain digest tells nothing of it.
pub type ApiKeyDigest = [u8; 32];

/// What an API key may do; several are added with `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(pub u32);

impl Scopes {
    /// Create users and chats in bulk, and tokens for them.
    pub const PROVISION: Self = Self(1);
    /// All there are, and their names.
    pub const ALL: &'static [(Self, &'static str)] = &[(Self::PROVISION, "provision")];

    /// Whether all of `needed` are among these.
    pub const fn contains(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(scope, _)| *scope)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Self::ALL.iter().filter(|(scope, _)| self.contains(*scope)).map(|(_, name)| *name).collect();
        f.write_str(&names.join(","))
    }
}

/// The name by which operators know a key: the first bytes of its digest, which open nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApiKeyId(pub [u8; 8]);

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ApiKeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "an API key's ID has 16 hexadecimal digits, as 'panda admin api-keys list' shows it";
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(FORM);
        }
        u64::from_str_radix(text, 16).map(|bits| Self(bits.to_be_bytes())).map_err(|_| FORM)
    }
}

/// A key of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Names the key.
    pub digest: ApiKeyDigest,
    /// What a person calls it.
    pub label: ApiKeyLabel,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created: Time,
    /// From when on it opens nothing; absent: it has no end.
    pub ends: Option<Time>,
    /// When it was revoked.
    pub revoked: Option<Time>,
    /// When it was last used, to the hour that had begun.
    pub used: Option<Time>,
}

impl ApiKey {
    /// A new one, without an end.
    pub fn new(digest: ApiKeyDigest, label: ApiKeyLabel, scopes: Scopes, created: Time) -> Self {
        Self { digest, label, scopes, created, ends: None, revoked: None, used: None }
    }

    /// By what operators know it.
    pub fn id(&self) -> ApiKeyId {
        let mut id = [0; 8];
        id.copy_from_slice(&self.digest[..8]);
        ApiKeyId(id)
    }

    /// Whether it opens what it is for.
    pub fn is_good(&self, now: Time) -> bool {
        self.revoked.is_none() && self.ends.is_none_or(|ends| now < ends)
    }

    /// The hour to be noted for a use now, if that is not noted yet.
    pub fn hour_to_note(&self, now: Time) -> Option<Time> {
        let hour = Time(now.0 - now.0 % USED_TO_US);
        self.used.is_none_or(|used| used < hour).then_some(hour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ApiKey {
        ApiKey::new([0xab; 32], ApiKeyLabel::parse("robot").unwrap(), Scopes::PROVISION, Time(0))
    }

    #[test]
    fn a_key_is_good_until_its_end_or_until_it_is_revoked() {
        let ending = ApiKey { ends: Some(Time(10)), ..key() };
        assert!(key().is_good(Time(u64::MAX)) && ending.is_good(Time(9)) && !ending.is_good(Time(10)));
        assert!(!ApiKey { revoked: Some(Time(5)), ..key() }.is_good(Time(1)));
    }

    #[test]
    fn a_use_is_noted_once_an_hour() {
        let hour = 3_600 * 1_000_000;
        assert_eq!(key().hour_to_note(Time(hour + 5)), Some(Time(hour)));
        let used = ApiKey { used: Some(Time(hour)), ..key() };
        assert_eq!(
            (used.hour_to_note(Time(2 * hour - 1)), used.hour_to_note(Time(2 * hour))),
            (None, Some(Time(2 * hour)))
        );
        assert_eq!(used.hour_to_note(Time(5)), None, "a clock that is behind");
    }

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        assert_eq!(key().id().to_string(), "abababababababab");
        assert_eq!("abababababababab".parse(), Ok(key().id()));
        for text in ["", "abab", "ababababababababab", "+bababababababab", "xxxxxxxxxxxxxxxx", "éabababababababa"] {
            assert!(text.parse::<ApiKeyId>().is_err(), "{text}");
        }
    }

    #[test]
    fn scopes_have_names() {
        for (scope, name) in Scopes::ALL {
            assert_eq!((Scopes::named(name), scope.to_string().as_str()), (Some(*scope), *name));
        }
        assert_eq!(Scopes::named("root"), None);
        assert!(!Scopes(0).contains(Scopes::PROVISION));
    }
}
