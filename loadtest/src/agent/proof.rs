//! What proves that the other side knows the secret. It is never sent.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

/// The version of what controller and agent say to each other.
pub const PROTOCOL: u32 = 4;
/// The shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 16;

/// Who proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The controller, over the agent's nonce.
    Controller,
    /// The agent, over the controller's.
    Agent,
}

/// A secret that controller and agents share.
#[derive(Clone)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The text of a file or variable, without the white space around it.
    ///
    /// # Errors
    /// A sentence, if it is too short to keep anybody out.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "the agents' secret has {} bytes and needs {SECRET_BYTES_MIN}; `head -c 24 /dev/urandom | base64` makes one",
                text.len()
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// A new one.
    pub fn random() -> Self {
        Self(nonce())
    }

    /// The text, for who starts an agent.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The proof of a side over a nonce.
    pub(super) fn prove(&self, side: Side, nonce: &str) -> String {
        BASE64_STANDARD.encode(hmac::sign(&self.key(), message(side, nonce).as_bytes()))
    }

    /// Whether a proof is that of a side over a nonce.
    pub(super) fn is_proven(&self, side: Side, nonce: &str, proof: &str) -> bool {
        let Ok(proof) = BASE64_STANDARD.decode(proof) else { return false };
        hmac::verify(&self.key(), message(side, nonce).as_bytes(), &proof).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes())
    }
}

/// What nobody said before.
pub(super) fn nonce() -> String {
    BASE64_STANDARD.encode(rand::random::<[u8; 24]>())
}

/// A side's proof is not good for the other one: else an agent could be asked for the controller's.
fn message(side: Side, nonce: &str) -> String {
    format!("panda-loadtest agents {PROTOCOL} {side:?} {nonce}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_good_for_one_secret_one_side_and_one_nonce() {
        let secret = Secret::new("0123456789abcdef\n").unwrap();
        let proof = secret.prove(Side::Agent, "n");
        assert!(secret.is_proven(Side::Agent, "n", &proof));
        assert!(!secret.is_proven(Side::Controller, "n", &proof));
        assert!(!secret.is_proven(Side::Agent, "m", &proof));
        assert!(!Secret::random().is_proven(Side::Agent, "n", &proof));
        assert!(!secret.is_proven(Side::Agent, "n", "no base64") && !secret.is_proven(Side::Agent, "n", ""));
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        assert!(Secret::new(" short ").unwrap_err().contains("urandom"));
        assert!(!format!("{:?}", Secret::random()).contains('='));
    }
}
