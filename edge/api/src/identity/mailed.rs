//! Tokens that go out by mail.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use panda_storage::user_store::MailTokenDigest;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What every one begins with, so that one which leaks is found by a search for it.
const PREFIX: &str = "panda_mt_";
const SECRET_LEN: usize = 32;

/// 256 random bits; the store has a digest of them only.
#[derive(PartialEq, Eq)]
pub(crate) struct MailedToken([u8; SECRET_LEN]);

impl MailedToken {
    /// A new one; none: the system has no random bytes.
    pub(crate) fn generate() -> Option<Self> {
        let mut secret = [0; SECRET_LEN];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(Self(secret))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(PREFIX)?;
        let mut secret = [0; SECRET_LEN];
        // A longer one is refused before it is decoded.
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut secret).ok()?;
        (len == SECRET_LEN).then_some(Self(secret))
    }

    pub(crate) fn text(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    pub(crate) fn digest(&self) -> MailTokenDigest {
        let mut found = [0; 32];
        found.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is_one() {
        let token = MailedToken::generate().unwrap();
        assert!(MailedToken::parse(&token.text()).unwrap() == token && MailedToken::generate().unwrap() != token);
        let text = token.text();
        for other in ["", "panda_mt_", &text[1..], &text[..text.len() - 1], &format!("{text}A"), &format!("{text}=")] {
            assert!(MailedToken::parse(other).is_none(), "{other}");
        }
        assert!(MailedToken::parse(&format!("panda_mt_{}", "A".repeat(64 * 1024))).is_none());
        assert_ne!(token.digest(), token.0);
    }
}
