//! Refresh tokens: what a login goes on with once its access token ends.
//!
//! A token names its login and holds 32 random bytes, and a tag by which it is known as this deployment's: so one that
//! was made up costs no question of the user store, and one that is not the present one any more was given out once.
//! The store has digests of the random bytes only. Text: `panda_rt_` and, in base64 (URL-safe, without padding), the
//! user, the login, the random bytes, and the first 16 bytes of an HMAC-SHA256 of those.
//!
//! Whoever uses a token and does not get the answer brings it again, and must be given the same next one, or two would
//! be good. The store does not have it in a form that is of use by itself: it is sealed under the token that it followed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use panda_protocol::{LoginId, UserId};
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256, Key};
use ring::rand::{SecureRandom, SystemRandom};

use crate::fleet_secret::{DerivedKeys, FleetSecret, Purpose};
use crate::seal::{SealError, Sealer};

/// What every refresh token begins with, so that one which leaks is found by a search for it.
const PREFIX: &str = "panda_rt_";
const SECRET_LEN: usize = 32;
const TAG_LEN: usize = 16;
const SAID_LEN: usize = 16 + 8 + SECRET_LEN;
/// Characters of a refresh token.
pub const REFRESH_TOKEN_LEN: usize = PREFIX.len() + (SAID_LEN + TAG_LEN) / 3 * 4;

const _: () = assert!((SAID_LEN + TAG_LEN).is_multiple_of(3), "base64 without padding has no other length then");

/// A refresh token of this deployment. Its `Debug` form shows nothing of its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    user: UserId,
    login: LoginId,
    secret: [u8; SECRET_LEN],
}

impl RefreshToken {
    /// A new one of a login.
    ///
    /// # Errors
    /// [`SealError::Random`] if the system has no random bytes.
    pub fn generate(user: UserId, login: LoginId) -> Result<Self, SealError> {
        let mut secret = [0; SECRET_LEN];
        SystemRandom::new().fill(&mut secret).map_err(|_| SealError::Random)?;
        Ok(Self { user, login, secret })
    }

    /// Whose login it is of, and which.
    pub const fn of(&self) -> (UserId, LoginId) {
        (self.user, self.login)
    }

    /// What it is stored as.
    pub fn digest(&self) -> [u8; 32] {
        let mut found = [0; 32];
        found.copy_from_slice(digest(&SHA256, &self.secret).as_ref());
        found
    }

    /// `next`, of the same login, in a form that only this token opens.
    ///
    /// # Errors
    /// [`SealError::Random`] if the system has no random bytes.
    pub fn seal_next(&self, next: &Self) -> Result<Vec<u8>, SealError> {
        self.sealer().seal(&next.secret, &self.context())
    }

    /// Opens what [`Self::seal_next`] made.
    ///
    /// # Errors
    /// [`SealError::Invalid`]: it was sealed under another token, or changed.
    pub fn open_next(&self, sealed: &[u8]) -> Result<Self, SealError> {
        let secret = self.sealer().open(sealed, &self.context())?;
        Ok(Self { secret: secret.try_into().map_err(|_| SealError::Invalid)?, ..*self })
    }

    fn sealer(&self) -> Sealer {
        Sealer::new(&DerivedKeys { current: self.secret, previous: None })
    }

    fn context(&self) -> Vec<u8> {
        [&b"panda next refresh token "[..], self.user.as_bytes(), &self.login.to_bytes()].concat()
    }

    fn said(&self) -> Vec<u8> {
        [&self.user.as_bytes()[..], &self.login.to_bytes(), &self.secret].concat()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshToken({} of {}, hidden)", self.login, self.user)
    }
}

/// Knows this deployment's refresh tokens.
#[derive(Clone)]
pub struct RefreshTokens {
    current: Key,
    previous: Option<Key>,
}

impl RefreshTokens {
    /// Those of a deployment.
    pub fn new(secret: &FleetSecret) -> Self {
        let keys = secret.derive(Purpose::RefreshToken);
        let key = |bytes: &[u8; 32]| Key::new(HMAC_SHA256, bytes);
        Self { current: key(&keys.current), previous: keys.previous.as_ref().map(key) }
    }

    /// What a client is given.
    pub fn text(&self, token: &RefreshToken) -> String {
        let mut bytes = token.said();
        let tag = hmac::sign(&self.current, &bytes);
        bytes.extend_from_slice(&tag.as_ref()[..TAG_LEN]);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The token that a client gave, if this deployment made it.
    pub fn read(&self, text: &str) -> Option<RefreshToken> {
        if text.len() != REFRESH_TOKEN_LEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (said, given) = bytes.split_at_checked(SAID_LEN)?;
        // Digests of both sides are compared, so the time it takes tells nothing of the tag.
        let given = digest(&SHA256, given);
        let made = |key: &Key| digest(&SHA256, &hmac::sign(key, said).as_ref()[..TAG_LEN]).as_ref() == given.as_ref();
        if !std::iter::once(&self.current).chain(&self.previous).any(made) {
            return None;
        }
        let (user, rest) = said.split_first_chunk::<16>()?;
        let (login, secret) = rest.split_first_chunk::<8>()?;
        Some(RefreshToken {
            user: UserId::from_bytes(*user).ok()?,
            login: LoginId::from_bytes(*login)?,
            secret: secret.try_into().ok()?,
        })
    }
}

impl fmt::Debug for RefreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshTokens(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(digits: &str) -> FleetSecret {
        FleetSecret::parse(&digits.repeat(32)).unwrap()
    }

    fn token() -> RefreshToken {
        RefreshToken::generate(UserId::from_random([1; 16]), LoginId::from_random(7)).unwrap()
    }

    #[test]
    fn a_token_is_read_by_every_process_of_its_deployment() {
        let token = token();
        let text = RefreshTokens::new(&secret("11")).text(&token);
        assert_eq!((text.len(), text.starts_with("panda_rt_")), (REFRESH_TOKEN_LEN, true));
        assert_eq!(RefreshTokens::new(&secret("11")).read(&text), Some(token.clone()));
        assert_eq!(RefreshTokens::new(&secret("22").with_previous(&secret("11"))).read(&text), Some(token));
        assert_eq!(RefreshTokens::new(&secret("22")).read(&text), None);
    }

    #[test]
    fn a_token_changed_in_any_character_is_none() {
        let tokens = RefreshTokens::new(&secret("11"));
        let text = tokens.text(&token());
        for (index, character) in text.char_indices() {
            let mut changed = text.clone();
            changed.replace_range(index..=index, if character == 'A' { "B" } else { "A" });
            assert_eq!(tokens.read(&changed), None, "character {index}");
            assert_eq!(tokens.read(&text[..index]), None, "cut at {index}");
        }
        for other in ["", "panda_rt_", &format!("{text}A"), &"é".repeat(REFRESH_TOKEN_LEN / 2), &"=".repeat(text.len())]
        {
            assert_eq!(tokens.read(other), None, "{other}");
        }
    }

    #[test]
    fn the_next_token_is_opened_by_the_one_before_only() {
        let (token, next) = (token(), token());
        let sealed = token.seal_next(&next).unwrap();
        assert_eq!(token.open_next(&sealed), Ok(next.clone()));
        assert_eq!(next.open_next(&sealed), Err(SealError::Invalid));
        let elsewhere = RefreshToken { login: LoginId::from_random(8), ..token.clone() };
        assert_eq!(elsewhere.open_next(&sealed), Err(SealError::Invalid));
        assert_eq!(token.open_next(&sealed[1..]), Err(SealError::Invalid));
        assert!(!sealed.windows(8).any(|window| next.secret.windows(8).any(|secret| secret == window)));
    }

    #[test]
    fn no_secret_is_shown() {
        let token = RefreshToken { secret: [0x77; 32], ..token() };
        let shown = format!("{token:?} {:?}", RefreshTokens::new(&secret("11")));
        assert!(shown.contains("hidden") && !shown.contains("119, 119"), "{shown}");
        assert_ne!(token.digest(), [0x77; 32]);
    }
}
